"""The lowest and highest eigenvalue of the discrete Hessian, cell by cell, and their ratio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse.convexity import HessianMap, hessian_map
from landscape_cli.errors import LandscapeError
from landscape_cli.profile import Floats, Surface
from landscape_cli.report.picture.contour import HATCHES, check_planar, framed, hatched_cells, holds_centre
from landscape_cli.report.picture.scale import Scale, edges, scale_of
from landscape_cli.report.picture.theme import Theme, cross, number, words
from landscape_cli.report.picture.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNED = "PuOr"  # told apart by the colour-blind; 0 is pale
RATIO = "cividis"
SHARE = 0.95  # of the cells' curvatures that the colours tell apart: corners explode
UNIT = "loss / parameter distance²"


def curvature(figure: Figure, views: Sequence[View], theme: Theme) -> None:
    """Of every run three maps: λmin, λmax, and how much of the curvature is negative (after Li et al. 2018)."""
    for view in views:
        check_planar(view)
    maps = [hessian_map(view.shown[1]) for view in views]
    if not all(found.lowest.size for found in maps):
        raise LandscapeError("a curvature map needs 3 × 3 points", "draw the plane with --kind contour")
    scale = scale_of([view.shown[1].loss[view.shown[1].measured] for view in views])
    above = [beside_above(view.shown[1], scale) for view in views]
    limit = limit_of([x[~over] for found, over in zip(maps, above, strict=True) for x in (found.lowest, found.highest)])
    figure.set_size_inches(13.2, 3.9 * len(views))
    grid = figure.subplots(len(views), 3, squeeze=False)
    for row, view, found, over in zip(grid, views, maps, above, strict=True):
        _row(figure, row, view, found, over, limit, theme)
    names = ("lowest eigenvalue λmin", "highest eigenvalue λmax", "share of negative curvature")
    titles = [title for view in views for title in (f"{view.title}\n{names[0]}", *names[1:])]
    ratio = "ratio: −λmin/|λmax|, 0 where λmin ≥ 0 (convex), 1 where negative curvature is as large (Li et al. 2018)"
    hatched = "hatched: of the 3 × 3 points around one is NaN, infinite or not measured"
    hatched += f", crossed: one is above {number(scale.high)}" if any(over.any() for over in above) else ""
    words(figure, views, titles, [ratio, f"{hatched}; the colours end where {SHARE:.0%} of the cells do"])


def beside_above(surface: Surface, scale: Scale) -> NDArray[np.bool_]:
    """[nx - 2, ny - 2] of the 3 × 3 points around one is above the scale, and all are numbers."""
    square = np.lib.stride_tricks.sliding_window_view(np.where(surface.measured, surface.loss, np.nan), (3, 3))
    over: NDArray[np.bool_] = (square > scale.high).any((2, 3)) & np.isfinite(square).all((2, 3))
    return over


def limit_of(maps: Sequence[Floats]) -> float:
    """The curvature up to which colours are told apart; 1 where there is none."""
    sizes = np.abs(np.concatenate([found[np.isfinite(found)] for found in maps]))
    sizes = sizes[sizes > 0]
    return float(np.quantile(sizes, SHARE)) if len(sizes) else 1.0


def negative_share(found: HessianMap) -> Floats:
    """-λmin/|λmax| where λmin < 0 beyond rounding, else 0; at most 1. NaN where the map is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(found.lowest < -found.rounding, -found.lowest / np.abs(found.highest), 0.0)
    return np.where(np.isnan(found.lowest), np.nan, np.clip(share, 0.0, 1.0))


def _row(
    figure: Figure, row: Any, view: View, found: HessianMap, over: NDArray[np.bool_], limit: float, theme: Theme
) -> None:
    shown: tuple[tuple[Floats, str, float, str], ...] = (
        (found.lowest, SIGNED, -limit, f"λmin ({UNIT})"),
        (found.highest, SIGNED, -limit, f"λmax ({UNIT})"),
        (negative_share(found), RATIO, 0.0, "−λmin/|λmax|"),
    )
    for panel, (values, colours, low, label) in zip(row, shown, strict=True):
        high = limit if low else 1.0
        mesh = _map(panel, view, np.where(over, np.nan, values), over, theme, cmap=colours, vmin=low, vmax=high)
        drawn = figure.colorbar(
            mesh, ax=panel, extend="both" if low else "neither", pad=0.02, fraction=0.05, shrink=0.8
        )
        drawn.set_label(label, fontsize=8.5)
        drawn.ax.yaxis.set_major_formatter(lambda value, _: number(value))


def _map(panel: Axes, view: View, values: Floats, over: NDArray[np.bool_], theme: Theme, **style: Any) -> Any:
    x, y = (edges(axis.values)[1:-1] for axis in view.record.surface.axes)
    # in .svg and .pdf an image: thousands of cells as paths are megabytes, with seams between them
    mesh = panel.pcolormesh(x, y, np.ma.masked_invalid(values).T, rasterized=True, **style)
    hatched_cells(panel, x, y, np.isnan(values) & ~over, HATCHES["none"], theme)
    hatched_cells(panel, x, y, over, HATCHES["above"], theme)
    panel.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    if holds_centre(view):
        panel.plot(0, 0, **cross(13))
    framed(panel, view)
    panel.set_xlabel(view.label(0).split(", 1 = ")[0], fontsize=8)
    panel.set_ylabel(view.label(1).split(", 1 = ")[0], fontsize=8)
    return mesh
