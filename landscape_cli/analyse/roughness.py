"""Roughness: how much a surface goes up and down beyond one descent and one ascent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.profile import Estimate, Floats, Status, Surface

Indices = NDArray[np.intp]


def roughness(surface: Surface) -> dict[str, Any]:
    """`surface.roughness`: over all grid lines, total variation - (first + last - 2·min), over the summed ranges.

    0 where every line only descends and then ascends, and for a constant; one period of a wave adds up to 2. A line is
    first reduced to its turning points: walking along it, the direction turns where the loss has come back from the
    highest (lowest) point since the last turn by more than 3 standard errors (Student's equal) of that very difference,
    paired; the turning point is that extreme. What is smaller is noise, at a line's ends too. Every line is walked both
    ways and the mean taken, so that mirroring changes nothing. A point that is not finite ends a line and starts
    another. The standard error is the jackknife's with the same turning points: it holds where they and each line's
    lowest are apart by more than the noise, knows nothing of reversals below it, and is 0 where none is above. So noise
    biases it low, by several of its errors where true reversals are within three errors of a difference. Undefined
    without two finite neighbours. Not measured until the whole surface is: a part of it bounds the whole from neither
    side.
    """
    if not _has_neighbours(surface.finite) or not surface.measured.all():
        status: Status = "not finite" if surface.measured.all() else "not measured"
        return {"roughness": {ITSELF: Estimate.missing("undefined" if surface.loss.size < 2 else status)}}
    lines = _lines(surface.loss.shape)
    walk = _Walk(surface, len(lines))
    for column in np.ascontiguousarray(lines.T):
        walk.step(column)
    walk.close(np.flatnonzero(walk.going))
    sizes = surface.centre.group_sizes
    (excess, excess_groups), (ranges, range_groups) = (_weighted(surface, w) for w in (walk.excess, walk.ranges))
    value = max(0.0, excess / ranges) if ranges > 0 else 0.0  # rounding can make a sum of nothing negative
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        replicates = excess + jackknife.deviations(excess_groups, sizes)
        replicates = replicates / (ranges + jackknife.deviations(range_groups, sizes))
    error = float(jackknife.spread(replicates)) if ranges > 0 else 0.0
    return {"roughness": {ITSELF: Estimate.of(value, error)}}


def _has_neighbours(finite: NDArray[np.bool_]) -> bool:
    return any((np.moveaxis(finite, a, 0)[1:] & np.moveaxis(finite, a, 0)[:-1]).any() for a in range(finite.ndim))


def _lines(shape: tuple[int, ...]) -> Indices:
    """Flat numbers of the points of every grid line, there and back: (lines, longest); -1 beyond a shorter line."""
    index = np.arange(int(np.prod(shape)), dtype=np.intp).reshape(shape)
    families = [np.moveaxis(index, axis, -1).reshape(-1, n) for axis, n in enumerate(shape)]
    longest = max(f.shape[1] for f in families)
    there = np.concatenate([np.pad(f, ((0, 0), (0, longest - f.shape[1])), constant_values=-1) for f in families])
    return np.concatenate([there, there[:, ::-1]])


class _Walk:
    """All lines walked together, one point of each at a time.

    Of every line: whether it is inside a piece, the direction (0 until the first turn), the points of the last turn, of
    the highest and lowest since, of the lowest turn, and of the piece's extremes.
    """

    def __init__(self, surface: Surface, lines: int) -> None:
        finite = surface.finite.reshape(-1)
        self.losses = np.append(np.where(finite, surface.loss.reshape(-1), np.nan), np.nan)  # of -1: a wall
        self.sizes = surface.centre.group_sizes
        self.groups = surface.loss_groups.reshape(-1, len(self.sizes))
        self.sure = jackknife.sure(self.sizes)
        self.going = np.zeros(lines, dtype=bool)
        self.direction = np.zeros(lines, dtype=np.int8)
        self.turned, self.high, self.low, self.least, self.top, self.bottom = np.full((6, lines), -1, dtype=np.intp)
        self.highest, self.lowest, self.above, self.below = np.zeros((4, lines))  # losses of high, low, top, bottom
        self.excess, self.ranges = np.zeros((2, len(self.losses)))  # the weight of every point's loss

    def step(self, points: Indices) -> None:
        """Move every line to its next point."""
        losses = self.losses[points]
        inside = losses == losses  # not NaN
        if not inside.all() or not self.going.all():
            self.close(np.flatnonzero(self.going & ~inside))
            self._open(np.flatnonzero(inside & ~self.going), points)
        for side, beyond in ((1, losses > self.lowest), (-1, losses < self.highest)):
            rows = np.flatnonzero(beyond & (self.direction != side))
            if rows.size:
                extreme = self.low if side > 0 else self.high
                rows = rows[self._resolved(points[rows], extreme[rows])]
                self._turn(rows, side, points)
        self._extend(points, losses)

    def close(self, rows: Indices) -> None:
        """End the pieces of these lines at their last extreme."""
        for side, last in ((1, self.high), (-1, self.low)):
            ending = rows[self.direction[rows] == side]
            self._leg(ending, last, side)
            np.subtract.at(self.excess, last[ending], 1)
        moved = rows[self.direction[rows] != 0]
        np.add.at(self.excess, self.least[moved], 2)
        np.add.at(self.ranges, self.top[rows], 1)
        np.subtract.at(self.ranges, self.bottom[rows], 1)
        self.going[rows] = False

    def _open(self, rows: Indices, points: Indices) -> None:
        self.going[rows], self.direction[rows] = True, 0
        for place in (self.high, self.low, self.top, self.bottom):
            place[rows] = points[rows]
        for loss in (self.highest, self.lowest, self.above, self.below):
            loss[rows] = self.losses[points[rows]]

    def _resolved(self, here: Indices, extreme: Indices) -> NDArray[np.bool_]:
        """Are these pairs of points apart by more than the error of their difference?"""
        a, b = self.losses[here], self.losses[extreme]
        floor = jackknife.ROUNDING * np.maximum(np.abs(a), np.abs(b))
        if np.count_nonzero(self.sizes) > 1:
            floor = floor + self.sure * jackknife.errors(self.groups[here] - self.groups[extreme], self.sizes)
        return np.asarray(np.abs(a - b) > floor)

    def _turn(self, rows: Indices, side: int, points: Indices) -> None:
        """Let these lines turn upwards (side 1) at their lowest point, or downwards (-1) at their highest."""
        extreme = self.low if side > 0 else self.high
        first = self.direction[rows] == 0
        start, rest = rows[first], rows[~first]
        np.subtract.at(self.excess, extreme[start], 1)
        self.least[start] = extreme[start]
        self._leg(rest, extreme, -side)
        self.turned[rows], self.direction[rows] = extreme[rows], side
        here = points[rows]
        self.high[rows] = self.low[rows] = here
        self.highest[rows] = self.lowest[rows] = self.losses[here]

    def _leg(self, rows: Indices, end: Indices, side: int) -> None:
        """Count the way from the last turn to `end`, upwards (side 1) or downwards."""
        np.add.at(self.excess, end[rows], side)
        np.subtract.at(self.excess, self.turned[rows], side)
        lower = rows[self.losses[end[rows]] < self.losses[self.least[rows]]]
        self.least[lower] = end[lower]

    def _extend(self, points: Indices, losses: Floats) -> None:
        for place, extreme, better in (
            (self.high, self.highest, np.greater),
            (self.low, self.lowest, np.less),
            (self.top, self.above, np.greater),
            (self.bottom, self.below, np.less),
        ):
            where = better(losses, extreme)
            np.copyto(place, points, where=where)
            np.copyto(extreme, losses, where=where)


def _weighted(surface: Surface, weights: Floats) -> tuple[float, Floats]:
    """A sum over points by these weights: of the losses, and of each group's (G,)."""
    groups = surface.loss_groups.reshape(-1, surface.loss_groups.shape[-1])
    total = np.zeros(groups.shape[1])
    used = np.flatnonzero(weights)
    with np.errstate(over="ignore", invalid="ignore"):
        for part in jackknife.chunks((len(used),), groups.shape[1]):
            total += weights[used[part]] @ groups[used[part]]
        return float(weights[used] @ surface.loss.reshape(-1)[used]), total
