"""The loss over a plane as a filled map with its contours, the centre, the lowest and the critical points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.profile import Floats, Surface
from landscape_cli.report.picture.scale import ABOVE_SCALE, NO_NUMBER, UNMEASURED, Scale, cells, edges, scale_of
from landscape_cli.report.picture.theme import MAP, Theme, number, panels, words
from landscape_cli.report.picture.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHADES = 96
LINES = 13  # contours at most
POINTS = 24  # critical points at most
MARKS = {"minimum": "o", "saddle": "X", "maximum": "^", "monkey saddle": "P"}
HATCHES = {"above": "xxxx", "none": "////", "unmeasured": "...."}


def contour(figure: Figure, views: Sequence[View], theme: Theme) -> None:
    """Filled map and contour lines of one split's loss; several runs on one scale."""
    for view in views:
        check_planar(view)
    surfaces = [view.shown[1] for view in views]
    scale = scale_of([surface.loss[surface.measured] for surface in surfaces])
    axes = panels(figure, views)
    for panel, view in zip(axes, views, strict=True):
        filled(panel, view.shown[1], scale, theme)
        lines(panel, view.shown[1], scale)
        marks(panel, view)
        framed(panel, view)
    bar(figure, axes, scale)
    handles = [handle for surface in surfaces for handle in hatches(surface, scale, theme)]
    words(figure, views, [view.title for view in views], keys=[*symbols(views), *handles])


def check_planar(view: View) -> None:
    """Raise where the plane is a line.

    Raises:
        LandscapeError: it is.
    """
    if view.record.surface.y is None:
        what = f"{view.file}: {view.record.name} is a line"
        raise LandscapeError(what, "draw it with --kind curve", ExitCode.USAGE)


def filled(panel: Axes, surface: Surface, scale: Scale, theme: Theme, colours: str = MAP) -> None:
    """The map. What is no number is left out, so that the hatched ground shows; what is above is hatched over it."""
    x, y = surface.x.values, surface.y.values if surface.y is not None else np.zeros(1)
    height = np.where(surface.measured, scale.height(surface.loss), np.nan)
    window = edges(x)[[0, -1]] if len(x) == 1 else x[[0, -1]], edges(y)[[0, -1]] if len(y) == 1 else y[[0, -1]]
    ground(panel, surface, scale, window, theme)
    if min(height.shape) < 2:
        _blocks(panel, x, y, height, colours)
    elif np.isfinite(height).any():
        levels = np.linspace(0, 1, SHADES)
        shades = panel.contourf(x, y, height.T, levels=levels, cmap=colours, extend="max")
        shades.set_edgecolor("face")
        shades.set_linewidth(0.2)
        if (height > 1).any():
            over = panel.contourf(x, y, height.T, levels=[1, 2], colors=[theme.page], hatches=[HATCHES["above"]])
            over.set_edgecolor(theme.faint)
    panel.set(xlim=tuple(window[0]), ylim=tuple(window[1]))


def _blocks(panel: Axes, x: Floats, y: Floats, height: Floats, colours: str) -> None:
    """Single rows and columns: each point a cell."""
    shown = np.ma.masked_where(np.isnan(height) | (height > 1), height)
    panel.pcolormesh(edges(x), edges(y), shown.T, cmap=colours, vmin=0, vmax=1)


def ground(panel: Axes, surface: Surface, scale: Scale, window: tuple[Floats, Floats], theme: Theme) -> None:
    """What shows where there is no number: hatched, dotted where it has not been measured yet."""
    from matplotlib.patches import Rectangle

    (left, right), (low, high) = window
    kinds = cells(surface, scale)
    dotted = (kinds == UNMEASURED).sum() > (kinds == NO_NUMBER).sum()
    hatch = HATCHES["unmeasured" if dotted else "none"]
    patch = Rectangle((left, low), right - left, high - low, fill=False, hatch=hatch, ec=theme.faint, lw=0, zorder=0)
    panel.add_patch(patch)


def lines(panel: Axes, surface: Surface, scale: Scale) -> None:
    """Contours at the round losses that the bar names."""
    height = np.where(surface.measured, scale.height(surface.loss), np.nan)
    levels = np.unique(scale.height(np.asarray(scale.ticks(LINES))))
    inside = levels[(levels > 0) & (levels < 1)]
    if min(height.shape) > 1 and len(inside) and np.isfinite(height).any():
        y = surface.y.values if surface.y is not None else np.zeros(1)
        panel.contour(surface.x.values, y, height.T, levels=inside, colors="#ffffff", linewidths=0.7, alpha=0.75)


def marks(panel: Axes, view: View) -> None:
    """The centre, the lowest point, and the critical points that the grid resolves inside the window."""
    for point in critical_points(view):
        style = {"marker": MARKS[point["kind"]], "s": 46, "c": "#ffffff", "edgecolors": "#000000", "linewidths": 1.0}
        panel.scatter(point["x"].value, point["y"].value, zorder=5, **style)
    for width, colour in ((3.6, "#000000"), (1.8, "#ffffff")):
        panel.plot(0, 0, marker="+", ms=19, mew=width, color=colour, zorder=6)
    if (place := view.place()) is not None:
        panel.scatter(*place, marker="*", s=105, c="#ff5a36", edgecolors="#ffffff", linewidths=0.7, zorder=7)


def critical_points(view: View) -> list[Mapping[str, Any]]:
    """The most persistent that are inside and resolved."""
    found = view.statistics["critical_points"]
    return [p for p in found if p["resolved"] and not p["at_border"]][:POINTS]


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
    wide, high = (abs(a - b) for a, b in (panel.get_xlim(), panel.get_ylim()))
    if 0.5 <= wide / high <= 2:
        panel.set_aspect("equal")


def bar(figure: Figure, axes: Sequence[Axes], scale: Scale, label: str = "loss", colours: str = MAP) -> None:
    """The colour bar of all panels, its ticks the contours' losses; none without a finite loss."""
    if math.isnan(scale.highest):
        return
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    ticks = scale.ticks(LINES)
    extend = "max" if scale.clipped else "neither"
    shades = ScalarMappable(Normalize(0, 1), colours)
    if scale.clipped:
        shades.cmap = shades.cmap.with_extremes(over=figure.get_facecolor())
    drawn = figure.colorbar(shades, ax=list(axes), extend=extend, pad=0.02, fraction=0.05, aspect=30)
    logarithmic = " (log scale)" if scale.offset is not None else ""
    drawn.set_label(f"{label}{logarithmic}")
    drawn.set_ticks(scale.height(np.asarray(ticks)).tolist(), labels=[number(tick) for tick in ticks])
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
    drawn = {point["kind"] for view in views for point in critical_points(view)}
    placed = [_mark("*", "lowest point", "#ff5a36")] if any(view.place() for view in views) else []
    kinds = [_mark(mark, kind, "#ffffff") for kind, mark in MARKS.items() if kind in drawn]
    return [_mark("+", "checkpoint", "#808080"), *placed, *kinds]


def _mark(marker: str, label: str, colour: str) -> Any:
    from matplotlib.lines import Line2D

    width = 1.8 if marker == "+" else 0.8
    edge = colour if marker == "+" else "#555555"
    return Line2D([], [], ls="", marker=marker, ms=8, mfc=colour, mec=edge, mew=width, label=label)
