"""The loss along a line with its standard error, of every split; accuracy on a second axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape_cli.analyse import jackknife
from landscape_cli.errors import LandscapeError
from landscape_cli.profile import Floats, Surface
from landscape_cli.report.picture.contour import MARKS, mark_key
from landscape_cli.report.picture.scale import Scale, scale_of
from landscape_cli.report.picture.theme import LOWEST, Theme, number, panels, words
from landscape_cli.report.picture.view import View, cut, lowest_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (7.4, 4.6)
METRIC = "accuracy"
MARKERS = "os^D"  # of one split after the other: colours alone do not survive a grey print
DASHES = ((0, (2, 1.6)), (0, (6, 1.6)), (0, (6, 1.6, 1, 1.6)))


def curve(figure: Figure, views: Sequence[View], theme: Theme) -> None:
    """The loss of every split with a band of ± one standard error; several runs on one scale."""
    for view in views:
        check_line(view)
    scale = scale_of([s.loss[s.measured] for view in views for s in view.surfaces.values()])
    axes = panels(figure, views, SIZE, sharey=True)
    ends = ends_of([s for view in views for s in view.surfaces.values()], scale)
    rights = [_panel(panel, view, scale, ends, theme) for panel, view in zip(axes, views, strict=True)]
    keys = [
        handle for panel in [*axes, *rights] if panel is not None for handle in panel.get_legend_handles_labels()[0]
    ]
    points = [point for view in views for split in view.surfaces for point in view.critical(split, unsure=True)]
    kinds = {point["kind"] for point in points}
    keys += [mark_key(mark, kind, theme.page) for kind, mark in MARKS.items() if kind in kinds]
    clipped = f"above {number(scale.high)} hatched, up to {number(scale.highest)}" if scale.clipped else ""
    unsure = "dotted: a minimum or maximum whose place is unsure" if any(not p["resolved"] for p in points) else ""
    notes = ["band: ± 1 standard error", *filter(None, (unsure, clipped))]
    words(figure, views, [line_title(view) for view in views], ["; ".join(notes)], keys)


def check_line(view: View) -> None:
    """Raise where it is no line.

    Raises:
        LandscapeError: it is a plane.
    """
    if view.record.surface.y is not None:
        lines = [name for name, plane in view.profile.planes.items() if plane.surface.y is None]
        hint = f"give --plane {lines[0]}" if lines else "draw it with --kind contour"
        raise LandscapeError(f"{view.file}: {view.record.name} is a plane, not a line", hint)


def line_title(view: View) -> str:
    """Checkpoint, line, and each split with its samples."""
    counts = ", ".join(f"{cut(split)} {surface.centre.samples} samples" for split, surface in view.surfaces.items())
    return f"{view.name} · {view.what} · {counts}"


def band(surface: Surface) -> Floats:
    """[nx] the standard error of the loss at each point; NaN where there is none."""
    with np.errstate(all="ignore"):
        errors = jackknife.errors(surface.loss_groups, surface.centre.group_sizes)
    return np.where(np.isfinite(errors), errors, np.nan)


def drawn_of(surface: Surface, scale: Scale) -> tuple[Floats, Floats, Floats]:
    """[nx] the loss, NaN where none is drawn, and the edges of its band; on a log scale not far below."""
    usable = surface.measured & np.isfinite(surface.loss) & (surface.loss <= scale.high)
    loss, error = (np.where(usable, values, np.nan) for values in (surface.loss, band(surface)))
    under = np.maximum(loss - error, scale.low / 10) if scale.offset == 0 else loss - error
    return loss, under, loss + error


def ends_of(surfaces: Sequence[Surface], scale: Scale) -> tuple[float, float]:
    """The lowest and the highest loss that is drawn, bands included."""
    edges = np.concatenate([np.concatenate(drawn_of(surface, scale)) for surface in surfaces])
    known = edges[np.isfinite(edges)]
    return min([scale.low, *known.tolist()]), max([scale.high, *known.tolist()])


def _panel(panel: Axes, view: View, scale: Scale, ends: tuple[float, float], theme: Theme) -> Axes | None:
    measured = [(split, s) for split, s in view.surfaces.items() if s.measured.any()]
    metric = any(METRIC in s.metrics for _, s in measured)
    right = panel.twinx() if metric else None
    for split, surface in measured:
        i = list(view.record.surfaces).index(split)  # a split looks the same alone
        _loss(panel, cut(split), surface, scale, {"color": theme.line(i), "marker": MARKERS[i % len(MARKERS)]})
        _marks(panel, view, split, theme.line(i))
        if right is not None and METRIC in surface.metrics:
            values = np.where(surface.measured, surface.metrics[METRIC], np.nan)
            told = f"{METRIC}, {cut(split)}"
            style: dict[str, Any] = {"ls": DASHES[i % len(DASHES)], "color": theme.line(i), "label": told}
            right.plot(surface.x.values, values, lw=1.2, alpha=0.85, **style)
    _frame(panel, view, scale, ends, theme)
    if right is not None:
        right.set(ylim=(-0.02, 1.02), ylabel=f"{METRIC} (dashed)")
        right.spines["right"].set_visible(True)
    return right


def _loss(panel: Axes, split: str, surface: Surface, scale: Scale, style: dict[str, Any]) -> None:
    """The line with its band, broken where there is no number."""
    x, (loss, under, over) = surface.x.values, drawn_of(surface, scale)
    every = max(1, len(x) // 50)
    panel.plot(x, loss, lw=1.8, ms=3.6, markevery=every, label=f"loss, {split}", zorder=4, **style)
    panel.fill_between(x, under, over, color=style["color"], alpha=0.22, lw=0, zorder=3)


def _marks(panel: Axes, view: View, split: str, colour: str) -> None:
    """The critical points inside the window, dotted where their place is unsure, and the lowest point."""
    style: dict[str, Any] = {"zorder": 6, "clip_on": False}
    for point in view.critical(split, unsure=True):
        at, dashes = (point["x"].value, point["loss"].value), "-" if point["resolved"] else ":"
        look = {"marker": MARKS[point["kind"]], "s": 115, "c": "none", "edgecolors": colour, "linestyles": dashes}
        panel.scatter(*at, linewidths=1.5, **look, **style)
    surface = view.surfaces[split]
    if (place := lowest_of(surface)) is not None:
        loss = float(np.min(surface.loss[surface.finite]))
        style |= {"marker": "*", "s": 60, "c": LOWEST, "edgecolors": colour, "linewidths": 0.6, "label": "lowest point"}
        panel.scatter(place[0], loss, **style)


def _frame(panel: Axes, view: View, scale: Scale, ends: tuple[float, float], theme: Theme) -> None:
    low, high = ends
    if scale.offset == 0:
        panel.set_yscale("log")
        span = max(high / low, 1.2)
        panel.set_ylim(low / span**0.05, high * span**0.05)
        panel.set_yticks(replace(scale, low=low, high=high).ticks())
    elif math.isnan(scale.highest):
        panel.set_yticks([])
    elif high > low:
        panel.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    panel.yaxis.set_major_formatter(lambda value, _: number(value))
    panel.yaxis.set_minor_formatter(lambda value, _: "")
    panel.xaxis.set_major_formatter(lambda value, _: number(value))
    panel.set(xlabel=view.label(0), ylabel=f"loss{scale.kind if scale.offset == 0 else ''}")
    panel.axvline(0, color=theme.faint, lw=0.9, ls=":", label="checkpoint")
    panel.grid(True)
    _gaps(panel, view, scale, theme)


def _gaps(panel: Axes, view: View, scale: Scale, theme: Theme) -> None:
    """Hatched where a split has no number, or one above the scale."""
    from landscape_cli.report.picture.scale import ABOVE_SCALE, NO_NUMBER, UNMEASURED, cells, edges

    x = view.record.surface.x.values
    kinds = np.stack([cells(surface, scale) for surface in view.surfaces.values()])
    ends = edges(x)
    panel.set_xlim(*(ends[[0, -1]] if len(x) == 1 else x[[0, -1]]))
    for kind, hatch, told in (
        (ABOVE_SCALE, "xxxx", f"above {number(scale.high)}"),
        (NO_NUMBER, "////", "NaN"),
        (UNMEASURED, "....", "not measured yet"),
    ):
        for i in np.flatnonzero((kinds == kind).any(0)):
            style: dict[str, Any] = {"fill": False, "hatch": hatch, "ec": theme.faint, "lw": 0, "label": told}
            panel.axvspan(ends[i], ends[i + 1], zorder=1, **style)
