"""Two splits of one plane, side by side: training loss against test loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.basin import DELTA, inside
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.analyse.surface import lowest
from landscape_cli.profile import Estimate, Floats, PlaneRecord, Surface

Places = NDArray[np.intp]


def split_statistics(plane: PlaneRecord, delta: float = DELTA) -> dict[str, dict[str, Any]]:
    """`splits`: by the name of each further split, how its surface differs from the first's. Empty with one split.

    `minima_distance`: parameter distance √(aᵀGa) between the two lowest grid points, `x`, `y` their displacement and
    `resolution` the diagonal of the widest cell, below which it says nothing; `loss`: the second's loss at the first's
    minimum minus that at its own, paired. The lowest of many noisy points is biased downwards, so `loss` is biased
    upwards. `centre_gap`: second minus first at the checkpoint. `correlation`: Pearson's, over the points where both
    are finite; noise attenuates it (towards 0), by several of its errors where the noise is as large as the surface's
    own spread. `loss_in_basin`: mean of the second's loss over the grid points of the first's basin at δ; `gap` that
    minus the first's mean over the same points, `points` their number. The splits are different samples: their
    errors are independent, and add in squares. Of an unfinished plane they speak of the points measured so far.
    """
    first, *others = plane.surfaces
    return {name: _pair(plane.surfaces[first], plane.surfaces[name], delta) for name in others}


def _pair(first: Surface, second: Surface, delta: float) -> dict[str, Any]:
    return {
        "minima_distance": _minima(first, second),
        "centre_gap": _gap(_centre(first), _centre(second)),
        "correlation": _correlation(first, second),
        "loss_in_basin": _in_basin(first, second, delta),
    }


def _centre(surface: Surface) -> Estimate:
    return jackknife.mean(surface.centre.loss, surface.centre.loss_groups, surface.centre.group_sizes)


def _gap(first: Estimate, second: Estimate) -> Estimate:
    """Second minus first, of independent errors."""
    if first.value is None or second.value is None:
        return Estimate.missing(next(e.status for e in (first, second) if e.value is None))
    if not (np.isfinite(first.value) and np.isfinite(second.value)):
        return Estimate.missing("not finite")
    value = second.value - first.value
    if first.shares is not None and second.shares is not None:
        return jackknife.joined(value, first.shares, second.shares)
    return Estimate.of(value, _both(first.stderr, second.stderr))


def _both(*errors: float | None) -> float | None:
    known = [e for e in errors if e is not None]
    return float(np.hypot.reduce(known)) if len(known) == len(errors) else None


def _minima(first: Surface, second: Surface) -> dict[str, Any]:
    found = [lowest(surface) for surface in (first, second)]
    if None in found:
        bare = [s for s, where in zip((first, second), found, strict=True) if where is None]
        missing = Estimate.missing("not finite" if all(s.measured.any() for s in bare) else "not measured")
        return {ITSELF: missing, "x": None, "y": None, "resolution": missing, "loss": missing}
    one, other = (np.array([a.values[i] for a, i in zip(first.axes, at, strict=True)]) for at in found if at)
    apart, step = other - one, np.array([axis.step for axis in first.axes])
    diagonals = [step * [1, sign][: len(step)] for sign in (1, -1)]
    return {
        ITSELF: Estimate.of(_length(first, apart)),
        "x": float(apart[0]),
        "y": float(apart[1]) if first.y is not None else None,
        "resolution": Estimate.of(max(_length(first, diagonal) for diagonal in diagonals)),
        "loss": _between(second, *found),
    }


def _length(surface: Surface, apart: Floats) -> float:
    return float(np.sqrt(apart @ surface.gram @ apart))


def _between(surface: Surface, a: Any, b: Any) -> Estimate:
    """The loss at one point minus that at another."""
    if not surface.measured[a]:
        return Estimate.missing("not measured")
    with np.errstate(invalid="ignore"):
        groups = surface.loss_groups[a] - surface.loss_groups[b]
    found = jackknife.mean(float(surface.loss[a] - surface.loss[b]), groups, surface.centre.group_sizes)
    return found if surface.measured.all() else replace(found, bound="lower")


def _correlation(first: Surface, second: Surface) -> Estimate:
    both = np.flatnonzero((first.finite & second.finite).reshape(-1))
    if not both.size:
        measured = (first.measured & second.measured).any()
        return Estimate.missing("not finite" if measured else "not measured")
    one, other = (_standard(surface, both) for surface in (first, second))
    if one is None or other is None:
        return Estimate.missing("undefined")
    value = float(np.clip(one[0] @ other[0] / len(both), -1.0, 1.0))
    errors = [_replicated(first, both, *one, other[0]), _replicated(second, both, *other, one[0])]
    return Estimate.of(value, _both(*errors))


def _standard(surface: Surface, points: Places) -> tuple[Floats, float] | None:
    """The losses at these points with mean 0 and variance 1, and their unit; None where they are all the same."""
    loss = surface.loss.reshape(-1)[points]
    size = float(np.abs(loss).max())
    loss = loss / size if size > 0 else loss  # so that squares stay finite
    apart = loss - loss.mean()
    spread = float(np.sqrt((apart**2).mean()))
    return (apart / spread, spread * size) if spread > jackknife.ROUNDING else None


def _replicated(surface: Surface, points: Places, own: Floats, unit: float, other: Floats) -> float | None:
    """The correlation's standard error from the groups of one surface, the other's losses held.

    With own + e the surface without a group, in own's unit: r = (r₀ + ⟨e, other⟩) / √(1 + 2⟨e, own⟩ + ⟨e, e⟩ - ⟨e⟩²).
    """
    sizes = surface.centre.group_sizes
    count = int(np.count_nonzero(sizes))
    if count < 2:
        return None
    sums = np.zeros((4, count))
    groups = surface.loss_groups.reshape(-1, len(sizes))
    with np.errstate(over="ignore", invalid="ignore"):
        for part in jackknife.chunks((len(points),), len(sizes)):
            moved = jackknife.deviations(groups[points[part]], sizes) / unit
            sums += [moved.sum(0), other[part] @ moved, own[part] @ moved, np.einsum("pg,pg->g", moved, moved)]
        mean, with_other, with_own, square = sums / len(points)
        spread = np.sqrt(1 + 2 * with_own + square - mean**2)
        return float(jackknife.spread((own @ other / len(points) + with_other) / spread))


def _in_basin(first: Surface, second: Surface, delta: float) -> dict[str, Any]:
    part = inside(first, delta)
    if isinstance(part, Estimate):
        return {ITSELF: part, "gap": part, "delta": delta, "points": 0}
    count = int(np.count_nonzero(part))
    if not second.measured[part].all():
        missing = Estimate.missing("not measured")
        return {ITSELF: missing, "gap": missing, "delta": delta, "points": count}
    means = [_mean_over(surface, part) for surface in (first, second)]
    return {ITSELF: means[1], "gap": _gap(*means), "delta": delta, "points": count}


def _mean_over(surface: Surface, part: NDArray[np.bool_]) -> Estimate:
    points, sizes = np.flatnonzero(part), surface.centre.group_sizes
    groups, total = surface.loss_groups.reshape(-1, len(sizes)), np.zeros(len(sizes))
    with np.errstate(invalid="ignore", over="ignore"):
        for rows in jackknife.chunks((len(points),), len(sizes)):
            total += groups[points[rows]].sum(0)
        return jackknife.mean(float(surface.loss[part].mean()), total / len(points), sizes)
