"""Lines: the barrier between two checkpoints, whether the loss only falls, and the rise on either side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.profile import Axis, Centre, Estimate, Floats, PlaneRecord, Surface

SHARES = (0.25, 0.5, 1.0)  # of the farthest mirrored distance, where left and right are compared


def between_checkpoints(plane: PlaneRecord) -> bool:
    """Is it a line whose direction leads to another checkpoint, at coordinate 1?"""
    return len(plane.directions) == 1 and plane.directions[0].get("kind") == "checkpoint"


@dataclass(frozen=True)
class _Path:
    """The points of a line from 0 to 1: t (T,), losses (T,), group losses (T, G)."""

    t: Floats
    loss: Floats
    groups: Floats
    sizes: Floats

    def combination(self, weights: Floats) -> Estimate:
        """A linear combination of the losses by weights (T,)."""
        used = np.flatnonzero(weights)
        value = float(weights[used] @ self.loss[used])
        error = float(jackknife.errors(weights[used] @ self.groups[used], self.sizes)) if used.size else 0.0
        return Estimate.of(value, error)


def path_statistics(surface: Surface) -> dict[str, Any]:
    """`barrier` and `monotone`, of a line from the checkpoint (0) to another (1); both must be points of the axis.

    `barrier` is the largest L(t) - [(1-t)·L(0) + t·L(1)] over the points t in [0, 1] (Entezari et al. 2022), at `t`,
    with the paired standard error of that difference. It is 0 where no point lies above the chord; its error is then
    that of the highest point between the ends: so far noise may have lowered that point below the chord.
    `over_mean` is the largest L(t) - [L(0) + L(1)]/2 (Frankle et al. 2020), and `ends` L(1) - L(0). The largest of many
    noisy differences is biased upwards: `chosen_of` says of how many. Infinite where a point between is infinite.

    `monotone` is 1 where the loss, walked from the higher end to the lower, shows no rise beyond 3 standard errors
    (Student's equal) of the difference between a point and the lowest before it (Goodfellow et al. 2015), else 0.
    `bump` is the largest such rise, from t = `start` to `end`; where none is beyond its error, the largest of all.

    Undefined where the axis does not hold 0 and 1: nothing is interpolated.
    """
    path = _path(surface)
    if isinstance(path, Estimate):
        place = {"chosen_of": 0, "t": None}
        barrier = {ITSELF: path, **place, "over_mean": {ITSELF: path, "t": None}, "ends": path}
        return {"barrier": barrier, "monotone": {ITSELF: path, "bump": path, "start": None, "end": None}}
    return {"barrier": _barrier(path), "monotone": _monotone(path)}


def _path(surface: Surface) -> _Path | Estimate:
    """The points between 0 and 1, or why there are none."""
    start, end = _at(surface.x, 0.0), _at(surface.x, 1.0)
    if surface.y is not None or start is None or end is None:
        return Estimate.missing("undefined")
    inside = slice(start, end + 1)
    loss = surface.loss[inside]
    if not surface.measured[inside].all():
        return Estimate.missing("not measured")
    if not np.isfinite(loss[[0, -1]]).all() or np.isnan(loss).any() or (loss == -np.inf).any():
        return Estimate.missing("not finite")
    return _Path(
        np.append(surface.x.values[inside][:-1], 1.0), loss, surface.loss_groups[inside], surface.centre.group_sizes
    )


def _at(axis: Axis, value: float) -> int | None:
    """Where a value stands on the axis, up to rounding; None where it does not."""
    nearest = int(np.abs(axis.values - value).argmin())
    return nearest if abs(axis.values[nearest] - value) <= 1e-12 * np.abs(axis.values).max() else None


def _barrier(path: _Path) -> dict[str, Any]:
    (itself, t), (over_mean, mean_t) = (_highest(path, base) for base in (path.t, np.full(len(path.t), 0.5)))
    ends = path.combination(_unit(path, -1) - _unit(path, 0))
    middle = {ITSELF: over_mean, "t": mean_t}
    return {ITSELF: itself, "t": t, "chosen_of": len(path.t), "over_mean": middle, "ends": ends}


def _highest(path: _Path, share: Floats) -> tuple[Estimate, float]:
    """The largest L(t) - [(1 - share)·L(0) + share·L(1)], and its t; what rounding alone makes is 0."""
    first, last = path.loss[0], path.loss[-1]
    above = path.loss - ((1 - share) * first + share * last)
    above = np.where(np.abs(above) <= jackknife.ROUNDING * max(abs(first), abs(last)), 0.0, above)
    best = judged = int(np.argmax(above))
    if above[best] == 0 and len(above) > 2:
        judged = 1 + int(np.argmax(above[1:-1]))
    weights = _unit(path, judged) - (1 - share[judged]) * _unit(path, 0) - share[judged] * _unit(path, -1)
    return replace(path.combination(weights), value=float(above[best])), float(path.t[best])


def _unit(path: _Path, index: int) -> Floats:
    unit = np.zeros(len(path.t))
    unit[index] = 1.0
    return unit


def _monotone(path: _Path) -> dict[str, Any]:
    """Every point against the lowest before it, from the higher end to the lower."""
    order = np.arange(len(path.t)) if path.loss[0] >= path.loss[-1] else np.arange(len(path.t))[::-1]
    loss = path.loss[order]
    lowest = order[_argmin_so_far(loss)]
    rise = loss - path.loss[lowest]
    with np.errstate(invalid="ignore"):
        error = jackknife.errors(path.groups[order] - path.groups[lowest], path.sizes)
    known = np.isfinite(error)
    floor = jackknife.ROUNDING * np.abs(path.loss[lowest])
    beyond = rise > floor + jackknife.sure(path.sizes) * np.where(known, error, 0.0)
    best = int(np.argmax(np.where(beyond, rise, -np.inf) if beyond.any() else rise))
    bump = Estimate.of(float(rise[best]), float(error[best]) if known[best] else None)
    start, end = float(path.t[lowest[best]]), float(path.t[order[best]])
    return {ITSELF: Estimate.of(float(not beyond.any())), "bump": bump, "start": start, "end": end}


def _argmin_so_far(loss: Floats) -> NDArray[np.intp]:
    fresh = loss < np.minimum.accumulate(np.concatenate([[np.inf], loss[:-1]]))
    found: NDArray[np.intp] = np.maximum.accumulate(np.where(fresh, np.arange(len(loss)), 0))
    return found


def asymmetry(surface: Surface) -> list[dict[str, Any]]:
    """`asymmetry` of a line: L(+t) - L(-t), the rise to the right minus that to the left (He et al. 2019).

    At the points of the axis whose mirror image is one too, nearest to a quarter, half and all of the farthest such
    distance: coordinate `t`, parameter `distance`, the rises `right` and `left` over the centre, and `relative`, their
    difference over their sum: towards 1 where only the right rises, undefined where a side does not rise. All errors
    are paired. Empty for a plane, and where no point has a mirror image.
    """
    if surface.y is not None:
        return []
    mirrored = np.array([v for v in surface.x.values if v > 0 and _at(surface.x, -v) is not None])
    wanted = {int(np.abs(mirrored - share * mirrored[-1]).argmin()) for share in SHARES if mirrored.size}
    return [_sides(surface, float(mirrored[i])) for i in sorted(wanted)]


def _sides(surface: Surface, t: float) -> dict[str, Any]:
    right, left = (_at(surface.x, side) for side in (t, -t))
    place = {"t": t, "distance": Estimate.of(t * float(np.sqrt(surface.gram[0, 0])))}
    rises = {"right": _rise(surface, right), "left": _rise(surface, left)}
    bad = next((r for r in rises.values() if r.status != "ok"), None)
    if bad:
        missing = Estimate.missing(bad.status)
        return {ITSELF: missing, **place, **rises, "relative": missing}
    apart = surface.loss_groups[right] - surface.loss_groups[left]
    sizes = surface.centre.group_sizes
    itself = jackknife.mean(float(surface.loss[right] - surface.loss[left]), apart, sizes)
    return {ITSELF: itself, **place, **rises, "relative": _relative(surface, right, left)}


def _rise(surface: Surface, index: int | None) -> Estimate:
    if not surface.measured[index]:
        return Estimate.missing("not measured")
    if not np.isfinite(surface.centre.loss):
        return Estimate.missing("not finite")
    with np.errstate(invalid="ignore"):
        return jackknife.difference(float(surface.loss[index]), surface.loss_groups[index], surface.centre)


def _relative(surface: Surface, right: int | None, left: int | None) -> Estimate:
    def share(high: Any, low: Any, base: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (high - low) / (high + low - 2 * base)

    centre: Centre = surface.centre
    losses = [float(surface.loss[right]), float(surface.loss[left]), centre.loss]
    if min(losses[:2]) <= centre.loss:
        return Estimate.missing("undefined")
    groups = (surface.loss_groups[right], surface.loss_groups[left], centre.loss_groups)
    without = [jackknife.without_each(g, centre.group_sizes) for g in groups]
    return jackknife.estimate(float(share(*losses)), share(*without), centre.group_sizes)
