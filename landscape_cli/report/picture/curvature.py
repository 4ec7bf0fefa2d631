"""The lowest and highest eigenvalue of the discrete Hessian, cell by cell, and their ratio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape_cli.analyse.convexity import HessianMap, hessian_map
from landscape_cli.errors import LandscapeError
from landscape_cli.profile import Floats
from landscape_cli.report.picture.contour import check_planar, framed
from landscape_cli.report.picture.scale import edges
from landscape_cli.report.picture.theme import Theme, number, words
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
    limit = limit_of([array for found in maps for array in (found.lowest, found.highest)])
    figure.set_size_inches(13.2, 4.2 * len(views))
    grid = figure.subplots(len(views), 3, squeeze=False)
    for row, view, found in zip(grid, views, maps, strict=True):
        _row(figure, row, view, found, limit, theme)
    hatched = "hatched: NaN, infinite or not measured within the 3 × 3 points around"
    ratio = "ratio: -λmin/|λmax|, 0 where λmin ≥ 0 (convex), 1 where negative curvature is as large (Li et al. 2018)"
    titles = [
        t
        for view in views
        for t in (f"{view.title}: lowest eigenvalue λmin", "highest eigenvalue λmax", "share of negative curvature")
    ]
    words(figure, views, titles, [f"{ratio}; {hatched}; colours end at {SHARE:.0%} of the cells"])


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


def _row(figure: Figure, row: Any, view: View, found: HessianMap, limit: float, theme: Theme) -> None:
    shown: tuple[tuple[Floats, str, float, str], ...] = (
        (found.lowest, SIGNED, -limit, f"λmin ({UNIT})"),
        (found.highest, SIGNED, -limit, f"λmax ({UNIT})"),
        (negative_share(found), RATIO, 0.0, "-λmin/|λmax|"),
    )
    for panel, (values, colours, low, label) in zip(row, shown, strict=True):
        high = limit if low else 1.0
        mesh = _map(panel, view, values, theme, cmap=colours, vmin=low, vmax=high)
        drawn = figure.colorbar(
            mesh, ax=panel, extend="both" if low else "neither", pad=0.02, fraction=0.05, shrink=0.8
        )
        drawn.set_label(label, fontsize=8.5)
        drawn.ax.yaxis.set_major_formatter(lambda value, _: number(value))


def _map(panel: Axes, view: View, values: Floats, theme: Theme, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    _, surface = view.shown
    assert surface.y is not None
    x, y = (edges(axis.values)[1:-1] for axis in (surface.x, surface.y))
    mesh = panel.pcolormesh(x, y, np.ma.masked_invalid(values).T, **style)
    wide, high = x[-1] - x[0], y[-1] - y[0]
    hatch = Rectangle((x[0], y[0]), wide, high, fill=False, hatch="////", ec=theme.faint, lw=0, zorder=0)
    panel.add_patch(hatch)
    panel.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    for width, colour in ((3.2, "#000000"), (1.6, "#ffffff")):
        panel.plot(0, 0, marker="+", ms=13, mew=width, color=colour)
    framed(panel, view)
    panel.set_xlabel(view.label(0).split(", 1 = ")[0], fontsize=8)
    panel.set_ylabel(view.label(1).split(", 1 = ")[0], fontsize=8)
    return mesh
