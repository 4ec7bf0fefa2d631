"""The lowest and highest eigenvalue of the discrete Hessian, cell by cell, and their ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse.convexity import HessianMap, hessian_map
from landscape_cli.errors import LandscapeError
from landscape_cli.profile import Floats, Surface
from landscape_cli.report.picture.contour import (
    HATCHES,
    centre_key,
    check_planar,
    framed,
    hatched_cells,
    holds_centre,
    proportion,
)
from landscape_cli.report.picture.scale import Scale, edges, scale_of
from landscape_cli.report.picture.theme import Theme, cross, number, words
from landscape_cli.report.picture.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNED = "PuOr"  # told apart by the colour-blind; 0 is pale
RATIO, BEYOND, BOTH = "cividis", "#e8703a", "#6e1f14"  # the colours up to 1, above, and where both are negative
NEGATIVE = "\\\\\\\\"  # the hatch where both eigenvalues are negative
SHARE = 0.95  # of the cells' curvatures that the page's colours tell apart: corners explode
MAP = 2.65  # inches, the longer side of a map
FINEST = 1e-4  # of the largest curvature: what is linear on its scale at least
UNIT = "loss / parameter distance²"
CONVEX = (
    "0 where λmin ≥ 0 (convex), above 1 where the negative curvature is the larger (Li et al. 2018 draw |λmin/λmax|)"
)


@dataclass(frozen=True)
class Ends:
    """Of all maps on a picture the largest curvature, and that up to which its colours are linear; 0, 0 where flat."""

    limit: float
    linear: float

    def ticks(self) -> list[float]:
        """0 and powers of ten to both sides, a few."""
        decades = range(math.ceil(math.log10(self.linear) - 1e-9), math.floor(math.log10(self.limit) + 1e-9) + 1)
        sizes = [10.0**k for k in decades][:: -max(1, len(decades) // 4)]
        return sorted({0.0, *sizes, *(-size for size in sizes)})


def curvature(figure: Figure, views: Sequence[View], theme: Theme) -> None:
    """Of every run three maps: λmin, λmax, and the ratio of negative curvature (after Li et al. 2018)."""
    maps = [map_of(view) for view in views]
    scale, above = walls_of(views)
    seen = [without(found, over) for found, over in zip(maps, above, strict=True)]
    ends = ends_of(seen)
    flat = max(min(proportion(view.shown[1]) or 1.0, 1.0) for view in views)
    figure.set_size_inches(13.2, (MAP * flat + 1.3) * len(views))
    grid = figure.subplots(len(views), 3, squeeze=False)
    for row, view, found, over in zip(grid, views, seen, above, strict=True):
        _row(row, view, found, over, ends, theme)
    titles = [title for view, found in zip(views, seen, strict=True) for title in _titles(view, found)]
    words(figure, views, titles, _notes(maps, ends), _keys(views, seen, above, scale, theme))


def map_of(view: View) -> HessianMap:
    """The eigenvalues cell by cell, 0 where float64 cannot tell them from it.

    Raises:
        LandscapeError: it is a line, or too small.
    """
    check_planar(view)
    found = hessian_map(view.shown[1])
    if not found.lowest.size:
        raise LandscapeError("a curvature map needs 3 × 3 points", "draw the plane with --kind contour")
    return flattened(found)


def flattened(found: HessianMap) -> HessianMap:
    """0 where float64 cannot tell an eigenvalue from it."""
    lowest, highest = (np.where(np.abs(v) <= found.rounding, 0.0, v) for v in (found.lowest, found.highest))
    return replace(found, lowest=lowest, highest=highest)


def walls_of(views: Sequence[View]) -> tuple[Scale, list[NDArray[np.bool_]]]:
    """The scale of all losses, and of each run the cells that touch one above it."""
    scale = scale_of([view.shown[1].loss[view.shown[1].measured] for view in views])
    return scale, [beside_above(view.shown[1], scale) for view in views]


def without(found: HessianMap, over: NDArray[np.bool_]) -> HessianMap:
    """NaN in these cells."""
    return HessianMap(*(np.where(over, np.nan, v) for v in (found.lowest, found.highest, found.error, found.rounding)))


def ends_of(maps: Sequence[HessianMap]) -> Ends:
    """Linear is what the best known tenth of the cells is unsure of; of large and exact curvatures some decades."""
    sizes = np.abs(_known([array for found in maps for array in (found.lowest, found.highest)]))
    errors = _known([found.error for found in maps])
    limit = float(sizes.max(initial=0.0))
    if not limit > 0:
        return Ends(0.0, 0.0)
    unsure = float(np.quantile(errors, 0.1)) if len(errors) else 0.0
    return Ends(limit, float(f"{min(max(unsure, FINEST * limit), limit / 10):.0e}"))


def _known(arrays: Sequence[Floats]) -> Floats:
    return np.concatenate([array[np.isfinite(array)] for array in arrays])


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


def ratio_of(found: HessianMap) -> Floats:
    """-λmin/|λmax| where λmin < 0 beyond rounding, else 0; infinite where λmax is 0, NaN where the map is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(found.lowest < -found.rounding, -found.lowest / np.abs(found.highest), 0.0)
    return np.where(np.isnan(found.lowest), np.nan, ratio)


def negative_share(found: HessianMap) -> Floats:
    """The ratio, at most 1."""
    return np.clip(ratio_of(found), 0.0, 1.0)


def both_negative(found: HessianMap) -> NDArray[np.bool_]:
    """Where there is no way up."""
    there: NDArray[np.bool_] = found.highest < -found.rounding
    return there


def _titles(view: View, found: HessianMap) -> list[str]:
    """Over each map what it shows, with the ends of its values."""
    names = ("lowest eigenvalue λmin", "highest eigenvalue λmax")
    told = [f"{name}: {range_of(v)}" for name, v in zip(names, (found.lowest, found.highest), strict=True)]
    return [f"{view.title}\n{told[0]}", told[1], f"ratio −λmin/|λmax|: {range_of(ratio_of(found))}"]


def range_of(values: Floats) -> str:
    """`-0.03 to 4.4`."""
    known = values[~np.isnan(values)]
    return f"{known.min():.3g} to {known.max():.3g}" if len(known) else "no number"


def _notes(maps: Sequence[HessianMap], ends: Ends) -> list[str]:
    """What the colours are."""
    scale = f"λ: symmetric log scale, linear within ±{number(ends.linear)}" if ends.limit else "λ: flat"
    lost = any(((found.lowest == 0) | (found.highest == 0)).any() for found in maps)
    rounded = ["; cells within the rounding of the losses are drawn as 0"] if lost else []
    return ["".join([scale, *rounded]), f"ratio: −λmin/|λmax|, {CONVEX}"]


def _keys(
    views: Sequence[View], maps: Sequence[HessianMap], above: Sequence[NDArray[np.bool_]], scale: Scale, theme: Theme
) -> list[Any]:
    """The cross, and each hatch and colour that is drawn."""
    from matplotlib.patches import Patch

    nothing = any((np.isnan(found.lowest) & ~over).any() for found, over in zip(maps, above, strict=True))
    drawn = {
        f"a loss around is above {number(scale.high)}": (HATCHES["above"], theme.page, any(o.any() for o in above)),
        "a loss around is NaN, infinite or not measured": (HATCHES["none"], theme.page, nothing),
        "ratio above 1": ("", BEYOND, any((ratio_of(found) > 1).any() for found in maps)),
        "both eigenvalues negative": (NEGATIVE, BOTH, any(both_negative(found).any() for found in maps)),
    }
    style = {"edgecolor": theme.faint, "lw": 0}
    patches = [
        Patch(facecolor=face, hatch=h, label=label, **style) for label, (h, face, there) in drawn.items() if there
    ]
    return [*centre_key(views), *patches]


def _row(row: Any, view: View, found: HessianMap, over: NDArray[np.bool_], ends: Ends, theme: Theme) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import Normalize, SymLogNorm

    limit = ends.limit or 1.0
    signed = SymLogNorm(ends.linear or 0.1, vmin=-limit, vmax=limit, base=10)
    for panel, values, name in zip(row, (found.lowest, found.highest), ("λmin", "λmax"), strict=False):
        mesh = _map(panel, view, values, over, theme, cmap=SIGNED, norm=signed)
        if ends.limit:
            _bar(panel, mesh, f"{name} ({UNIT})", ends.ticks())
    ratio, colours = ratio_of(found), colormaps[RATIO].with_extremes(over=BEYOND)
    mesh = _map(
        row[2],
        view,
        np.where(np.isinf(ratio), np.finfo(float).max, ratio),
        over,
        theme,
        cmap=colours,
        norm=Normalize(0, 1),
    )
    x, y = (edges(axis.values)[1:-1] for axis in view.record.surface.axes)
    hatched_cells(row[2], x, y, both_negative(found), NEGATIVE, replace(theme, page=BOTH))
    _bar(row[2], mesh, "−λmin/|λmax|", None, "max" if (ratio > 1).any() else "neither")


def _bar(panel: Axes, mesh: Any, label: str, ticks: list[float] | None, extend: str = "neither") -> None:
    """A colour bar as tall as the map."""
    drawn = panel.figure.colorbar(mesh, cax=panel.inset_axes((1.03, 0, 0.05, 1)), ticks=ticks, extend=extend)
    drawn.set_label(label, fontsize=8.5)
    drawn.ax.yaxis.set_major_formatter(lambda value, _: number(value))
    drawn.ax.minorticks_off()


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
    panel.xaxis.label.set_size(8)
    panel.yaxis.label.set_size(8)
    return mesh
