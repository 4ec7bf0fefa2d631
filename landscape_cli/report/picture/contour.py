"""The loss over a plane as a filled map with its contours, the centre, the lowest and the critical points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.profile import Floats, Surface
from landscape_cli.report.picture.scale import ABOVE_SCALE, NO_NUMBER, UNMEASURED, Scale, cells, edges, scale_of
from landscape_cli.report.picture.theme import LOWEST, MAP, Theme, cross, number, panels, words
from landscape_cli.report.picture.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHADES = 96
LINES = 13  # contours at most
MARKS = {"minimum": "o", "saddle": "X", "maximum": "^", "monkey saddle": "P"}
SEAM = 0.4  # points: what closes the seams between areas in .svg and .pdf
BAR = 0.4  # inches, of colours with its labels
BOX, AROUND = 4.6, (2.4, 1.1)  # inches: the longer side of a window, and the labels beside and below it
SMALL, CLOSE = 0.6, 0.03  # of a mark, where another is nearer than that share of the window
HATCHES = {"above": "xxxx", "none": "////", "unmeasured": "...."}


def contour(figure: Figure, views: Sequence[View], theme: Theme) -> None:
    """Filled map and contour lines of one split's loss; several runs on one scale."""
    for view in views:
        check_planar(view)
    surfaces = [view.shown[1] for view in views]
    scale = scale_of([surface.loss[surface.measured] for surface in surfaces])
    axes = panels(figure, views, size_of(views))
    for panel, view in zip(axes, views, strict=True):
        filled(panel, view.shown[1], scale, theme)
        lines(panel, view.shown[1], scale)
        marks(panel, view)
        framed(panel, view)
    bar(figure, axes, scale)
    handles = [handle for surface in surfaces for handle in hatches(surface, scale, theme)]
    words(figure, views, [view.title for view in views], [constant(scale)], [*symbols(views), *handles])


def size_of(views: Sequence[View]) -> tuple[float, float]:
    """Of a panel that holds every window with equal steps, and what stands around it."""
    shapes = [proportion(view.shown[1]) or 1.0 for view in views]
    wide, high = (max(min(1.0, side) for side in sides) for sides in ([1 / s for s in shapes], shapes))
    beside = AROUND[0] if len(views) == 1 else AROUND[0] - BAR  # one bar for all
    return BOX * wide + beside, BOX * high + AROUND[1]


def proportion(surface: Surface) -> float | None:
    """Height over width of the window where both directions are about as long, so that their steps can be equal."""
    assert surface.y is not None
    wide, high = (float(np.ptp(axis.values)) for axis in (surface.x, surface.y))
    return high / wide if wide > 0 and 0.5 <= high / wide <= 2 else None


def constant(scale: Scale) -> str:
    """What takes the place of the colour bar where there is but one loss."""
    return f"one colour: loss {number(scale.low)}" if scale.flat and not math.isnan(scale.highest) else ""


def check_planar(view: View) -> None:
    """Raise where the plane is a line.

    Raises:
        LandscapeError: it is.
    """
    if view.record.surface.y is None:
        what = f"{view.file}: {view.record.name} is a line"
        raise LandscapeError(what, "draw it with --kind curve", ExitCode.USAGE)


def filled(panel: Axes, surface: Surface, scale: Scale, theme: Theme, colours: str = MAP) -> None:
    """The map, and hatches where there is no number or one above the scale."""
    x, y = surface.x.values, surface.y.values if surface.y is not None else np.zeros(1)
    height, kinds = np.where(surface.measured, scale.height(surface.loss), np.nan), cells(surface, scale)
    for kind, name in ((NO_NUMBER, "none"), (UNMEASURED, "unmeasured")):
        hatched(panel, x, y, kinds == kind, HATCHES[name], theme)
    if min(height.shape) < 2:
        shown = np.ma.masked_where(np.isnan(height) | (height > 1), height)
        panel.pcolormesh(edges(x), edges(y), shown.T, cmap=colours, vmin=0, vmax=1, ec="face", lw=SEAM)
        hatched(panel, x, y, kinds == ABOVE_SCALE, HATCHES["above"], theme)
    elif np.isfinite(height).any():
        shades = panel.contourf(x, y, height.T, levels=np.linspace(0, 1, SHADES), cmap=colours, extend="max")
        shades.set_edgecolor("face")
        shades.set_linewidth(SEAM)
        if (height > 1).any():
            over = panel.contourf(x, y, height.T, levels=[1, 2], colors=[theme.page], hatches=[HATCHES["above"]])
            over.set_edgecolor(theme.faint)
    left, low = (edges(values) if len(values) == 1 else values for values in (x, y))
    panel.set(xlim=(left[0], left[-1]), ylim=(low[0], low[-1]))


def hatched(panel: Axes, x: Floats, y: Floats, there: NDArray[np.bool_], hatch: str, theme: Theme) -> None:
    """A hatch up to the neighbours of these points, below the map; over their cells in a single row or column."""
    if there.any() and min(there.shape) > 1:
        found = panel.contourf(x, y, there.T * 1.0, levels=[1e-9, 2], colors=[theme.page], hatches=[hatch], zorder=0.5)
        found.set(linewidth=0, edgecolor=theme.faint)
    else:
        hatched_cells(panel, edges(x), edges(y), there, hatch, theme)


def hatched_cells(panel: Axes, x: Floats, y: Floats, there: NDArray[np.bool_], hatch: str, theme: Theme) -> None:
    """A hatch over these cells, whose edges are x and y: one path, for as many are slow."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    cells = [
        Path([(x[i], y[j]), (x[i + 1], y[j]), (x[i + 1], y[j + 1]), (x[i], y[j + 1]), (x[i], y[j])], closed=True)
        for i, j in np.argwhere(there)
    ]
    if cells:
        path = Path.make_compound_path(*cells)
        panel.add_patch(PathPatch(path, facecolor=theme.page, edgecolor=theme.faint, hatch=hatch, lw=0))


def lines(panel: Axes, surface: Surface, scale: Scale) -> None:
    """Contours at the round losses that the bar names; none in a cell that has a corner above, or that is no number."""
    height = np.where(surface.measured, scale.height(surface.loss), np.nan)
    height = np.where(height > 1, np.nan, height)
    levels = np.unique(scale.height(np.asarray(scale.ticks(LINES))))
    inside = levels[(levels > 0) & (levels < 1)]
    if min(height.shape) > 1 and len(inside) and np.isfinite(height).any():
        y = surface.y.values if surface.y is not None else np.zeros(1)
        style: dict[str, Any] = {"colors": "#ffffff", "linewidths": 0.7, "alpha": 0.75, "corner_mask": False}
        panel.contour(surface.x.values, y, np.ma.masked_invalid(height.T), levels=inside, **style)


def marks(panel: Axes, view: View) -> None:
    """The centre, the critical points that the grid resolves inside the window, and within them the lowest point.

    Those that fall together are small, so that what is below them is seen.
    """
    found, place, centre = view.critical(), view.place(), [(0.0, 0.0)] if holds_centre(view) else []
    at = [*centre, *([place] if place is not None else []), *((p["x"].value, p["y"].value) for p in found)]
    sizes = iter(sizes_of(np.array(at).reshape(-1, 2), [float(np.ptp(a.values)) for a in view.record.surface.axes]))
    if centre:
        size = next(sizes)
        panel.plot(0, 0, zorder=5 if size == 1 else 6.5, clip_on=False, **cross(19 * size))
    if place is not None:
        size = next(sizes)
        style = {"marker": "*", "s": 76 * size, "c": LOWEST, "edgecolors": "#ffffff", "linewidths": 0.7 * size}
        panel.scatter(*place, zorder=7, clip_on=False, **style)
    for point, size in zip(found, sizes, strict=True):
        style = {"marker": MARKS[point["kind"]], "s": 112 * size**2, "c": "#ffffff", "edgecolors": "#000000"}
        panel.scatter(point["x"].value, point["y"].value, zorder=6, linewidths=1.0, **style)


def sizes_of(places: Floats, window: Sequence[float]) -> list[float]:
    """How large the mark at each of the places (points, 2) is: less where another is nearer than a mark is wide."""
    apart = np.abs(places[:, None] - places) / np.where(np.array(window) > 0, window, 1.0)
    together = (apart.max(-1) < CLOSE).sum(1) > 1
    return [SMALL if crowded else 1.0 for crowded in together.tolist()]


def holds_centre(view: View) -> bool:
    """The checkpoint lies inside the window."""
    return all(axis.values[0] <= 0 <= axis.values[-1] for axis in view.record.surface.axes)


def framed(panel: Axes, view: View) -> None:
    """The labels of the axes; equal steps where both directions are alike in length."""
    panel.set(xlabel=view.label(0).replace(", 1 = ", "\n1 = "), ylabel=view.label(1).replace(", 1 = ", "\n1 = "))
    for axis, values in zip((panel.xaxis, panel.yaxis), view.record.surface.axes, strict=True):
        if len(values) == 1:
            axis.set_ticks(values.values)
    panel.xaxis.set_major_formatter(lambda value, _: number(value))
    panel.yaxis.set_major_formatter(lambda value, _: number(value))
    panel.xaxis.label.set_size(8.5)
    panel.yaxis.label.set_size(8.5)
    if proportion(view.record.surface):
        panel.set_aspect("equal")


def bar(figure: Figure, axes: Sequence[Axes], scale: Scale, label: str = "loss", colours: str = MAP) -> None:
    """The colour bar of all panels, its ticks the contours' losses; none where there is but one loss, or none."""
    if scale.flat:
        return
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    ticks = scale.ticks(LINES)
    shades = ScalarMappable(Normalize(0, 1), colours)
    beside = {"ax": list(axes), "pad": 0.02, "fraction": 0.05, "aspect": 30}
    if len(axes) == 1 and axes[0].name != "3d":  # as tall as the map
        beside = {"cax": axes[0].inset_axes((1.03, 0, 0.04, 1))}
    drawn = figure.colorbar(shades, **beside)
    heights = scale.height(np.asarray(ticks))
    drawn.set_label(f"{label}{scale.kind}")
    drawn.set_ticks(heights.tolist(), labels=[number(tick) for tick in ticks])
    drawn.ax.hlines(heights[(heights > 0) & (heights < 1)], 0, 1, color="#ffffff", lw=0.7, alpha=0.75)
    drawn.outline.set_visible(False)


def hatches(surface: Surface, scale: Scale, theme: Theme) -> list[Any]:
    """What the hatches of this surface mean."""
    from matplotlib.patches import Patch

    kinds = cells(surface, scale)
    above = f"above {number(scale.high)} (up to {number(scale.highest)})"
    told = {"unmeasured": (UNMEASURED, "not measured yet"), "none": (NO_NUMBER, "NaN"), "above": (ABOVE_SCALE, above)}
    return [
        Patch(facecolor=theme.page, edgecolor=theme.faint, hatch=HATCHES[name], label=label)
        for name, (kind, label) in told.items()
        if (kinds == kind).any()
    ]


def symbols(views: Sequence[View]) -> list[Any]:
    """Each mark that is drawn somewhere."""
    drawn = {point["kind"] for view in views for point in view.critical()}
    placed = [mark_key("*", "lowest point", LOWEST)] if any(view.place() for view in views) else []
    kinds = [mark_key(mark, kind, "#ffffff") for kind, mark in MARKS.items() if kind in drawn]
    return [*centre_key(views), *placed, *kinds]


def centre_key(views: Sequence[View]) -> list[Any]:
    """The checkpoint's cross, where it is drawn."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], label="checkpoint", **cross(11))] if any(map(holds_centre, views)) else []


def mark_key(marker: str, label: str, colour: str) -> Any:
    """A mark in a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], ls="", marker=marker, ms=8.5, mfc=colour, mec="#555555", mew=0.8, label=label)
