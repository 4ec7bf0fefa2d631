"""Which basin drains into which, at what loss: the merge tree of a surface."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from landscape_cli.analyse.rounding import rounded
from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.profile import Estimate
from landscape_cli.report.critical import coordinate
from landscape_cli.report.picture.scale import scale_of
from landscape_cli.report.picture.theme import Theme, number, panels, words
from landscape_cli.report.picture.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (7.4, 5.0)
LABELS = 16  # minima that are named
NEAR = 1.2  # how much higher than a tick the next one is, at least
SURE, UNSURE = "inside and resolved", "at the border, its place unsure, or perhaps the grid's own"


@dataclass(frozen=True)
class Branch:
    """A minimum of the tree.

    Attributes:
        number: its position in `critical_points`.
        at: its place on the picture, whole numbers from the left.
        loss, merges: its loss, and that where a deeper basin takes over; None of the deepest.
        into: the place of that one.
        where, height: its coordinates and its loss as text, as far as they are known.
        sure: inside and resolved.
    """

    number: int
    at: int
    loss: float
    merges: float | None
    into: int | None
    where: str
    height: str
    sure: bool


def tree(figure: Figure, views: Sequence[View], theme: Theme) -> None:
    """Each minimum a stem from its loss to the saddle where a deeper basin takes over."""
    found = stems_of(views)
    axes = panels(figure, views, SIZE, sharey=True)
    scale = scale_of([view.shown[1].loss[view.shown[1].measured] for view in views])
    for panel, stems in zip(axes, found, strict=True):
        top = max(scale.high, *(stem.merges or stem.loss for stem in stems))
        _panel(panel, stems, theme, top)
        if scale.offset == 0 and min(stem.loss for stem in stems) > 0:
            panel.set_yscale("log")
            panel.set_ylabel("loss (log scale)")
            panel.set_yticks([*(tick for tick in scale.ticks() if tick < top / NEAR), top])
        panel.yaxis.set_major_formatter(lambda value, _: number(value))
        panel.yaxis.set_minor_formatter(lambda value, _: "")
    height = "a stem's height is its barrier, that of a deepest basin goes on to the highest loss of the picture"
    sure = f"filled: {SURE}, hollow: {UNSURE}"
    words(figure, views, [f"{view.title} · merge tree" for view in views], [height, sure])


def stems_of(views: Sequence[View]) -> list[list[Branch]]:
    """The minima of each run.

    Raises:
        LandscapeError: a run has none.
    """
    found = [branches(view.statistics, [axis.step for axis in view.record.surface.axes]) for view in views]
    for view, stems in zip(views, found, strict=True):
        if not stems:
            hint = "nothing there is deeper than noise; landscape report says more"
            raise LandscapeError(f"{view.file} has no minimum", hint, ExitCode.INCONCLUSIVE)
    return found


def branches(statistics: Mapping[str, Any], steps: Sequence[float]) -> list[Branch]:
    """The minima from left to right, so that no two lines cross: beside each those that drain into it, the lowest
    saddle first. Coordinates without an error are read by the grid's steps.
    """
    points, entries = statistics["critical_points"], statistics["merge_tree"]
    by_number = {entry["minimum"]: entry for entry in entries}
    heights = {k: _merging(points[k], entry) for k, entry in by_number.items()}
    roots = [k for k, entry in by_number.items() if entry["into"] not in by_number]
    order: list[int] = []
    waiting = list(reversed(roots))
    while waiting:
        k = waiting.pop()
        order.append(k)
        young = [i for i, entry in by_number.items() if entry["into"] == k]
        waiting.extend(sorted(young, key=lambda i: -(heights[i] or 0.0)))
    place = {k: i for i, k in enumerate(order)}
    return [_branch(k, place, points[k], by_number[k], heights[k], steps) for k in order]


def _merging(point: Mapping[str, Any], entry: Mapping[str, Any]) -> float | None:
    return None if entry["into"] is None else float(point["loss"].value + entry["barrier"].value)


def _branch(
    k: int,
    place: Mapping[int, int],
    point: Mapping[str, Any],
    entry: Mapping[str, Any],
    merges: float | None,
    steps: Sequence[float],
) -> Branch:
    known = [(point[axis], step) for axis, step in zip("xy", steps, strict=False)]
    where = ", ".join(digits(found, coordinate(float(found.value), step)) for found, step in known)
    sure, loss = bool(point["resolved"] and not point["at_border"]), point["loss"]
    height = digits(loss, number(float(loss.value)))
    return Branch(k, place[k], float(loss.value), merges, place.get(entry["into"]), f"({where})", height, sure)


def digits(found: Estimate, short: str) -> str:
    """As far as its error leaves it sure, as a report has it, where that is the shorter."""
    if not found.stderr or found.value is None or not math.isfinite(found.value):
        return short
    return min(short, rounded(found.value, found.stderr)[0], key=len)


def _panel(panel: Axes, stems: list[Branch], theme: Theme, top: float) -> None:
    for stem in stems:
        colour = theme.line(0 if stem.merges is not None else 1)
        end = top if stem.merges is None else stem.merges
        panel.plot([stem.at, stem.at], [stem.loss, end], color=colour, lw=2)
        if stem.merges is None:
            panel.plot(stem.at, end, marker="^", ms=6, color=colour)
        if stem.merges is not None and stem.into is not None:
            panel.plot([stem.at, stem.into], [stem.merges, stem.merges], color=theme.faint, lw=1.1)
        face = colour if stem.sure else theme.page
        panel.plot(stem.at, stem.loss, marker="o", ms=7, mfc=face, mec=colour, mew=1.4, zorder=5)
        if len(stems) <= LABELS:
            text = f"#{stem.number}\n{stem.where}\n{stem.height}"
            at = (stem.at, stem.loss)
            panel.annotate(text, at, xytext=(0, -8), textcoords="offset points", ha="center", va="top", fontsize=7.5)
    panel.set(xlim=(-0.7, len(stems) - 0.3), xticks=[], ylabel="loss")
    panel.margins(y=0.22)
    panel.grid(True, axis="y")
