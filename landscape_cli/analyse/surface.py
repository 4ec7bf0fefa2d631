"""What a sampled surface holds: how much of it is finite, its errors and distances, and its lowest point."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.profile import ROUNDING, Bound, Estimate, Floats, Surface


def surface_statistics(surface: Surface) -> dict[str, Any]:
    """`surface`: finite fraction and counts of the measured points, and the lowest finite point.

    `min` is the lowest loss; `x`, `y` its coordinates in direction units, `distance` its parameter distance
    sqrt(a' G a) from the centre (G the Gram matrix), `at_border` whether it lies on the window's edge, and `drop`
    L(min) - L(centre) with its paired standard error. Of equal points the one of the least distance is taken. The
    lowest of many noisy points is biased downwards; of an unfinished surface it is an upper bound.
    """
    measured = int(surface.measured.sum())
    if not measured:
        missing = Estimate.missing("not measured")
        return dict.fromkeys(("finite_fraction", "nan_count", "inf_count", "min"), missing)
    losses = surface.loss[surface.measured]
    return {
        "finite_fraction": Estimate.of(float(np.isfinite(losses).mean())),
        "nan_count": Estimate.of(int(np.isnan(losses).sum())),
        "inf_count": Estimate.of(int(np.isinf(losses).sum())),
        "min": _lowest(surface),
    }


def standard_errors(surface: Surface) -> Floats:
    """The jackknife standard error of the loss at every point, in the loss's unit; 0 where it is rounding's alone, NaN
    where there is none: not measured, not finite, or of a single sample group."""
    found = jackknife.errors(surface.loss_groups, surface.centre.group_sizes)
    with np.errstate(invalid="ignore"):
        known = surface.finite & np.isfinite(found)
        return np.where(known, np.where(found <= ROUNDING * np.abs(surface.loss), 0.0, found), np.nan)


def squared_distances(surface: Surface) -> Floats:
    """a' G a of every grid point a, G the Gram matrix: its squared distance from the checkpoint in parameter space."""
    points = np.stack(np.meshgrid(*[axis.values for axis in surface.axes], indexing="ij"), axis=-1)
    found: Floats = np.einsum("...i,ij,...j", points, surface.gram, points)
    return found


def lowest(surface: Surface) -> tuple[int, ...] | None:
    """Where the loss is lowest: of equal points the least parameter distance away; None without a finite point."""
    if not surface.finite.any():
        return None
    least = surface.finite & (surface.loss == surface.loss[surface.finite].min())
    distance = np.where(least, squared_distances(surface), np.inf)
    return tuple(int(i) for i in np.unravel_index(int(np.argmin(distance)), least.shape))


def _lowest(surface: Surface) -> Any:
    where = lowest(surface)
    if where is None:
        return Estimate.missing("not finite")
    bound: Bound = "exact" if surface.measured.all() else "upper"
    point = np.array([axis.values[i] for axis, i in zip(surface.axes, where, strict=True)])
    groups, centre = surface.loss_groups[where], surface.centre
    return {
        ITSELF: replace(jackknife.mean(float(surface.loss[where]), groups, centre.group_sizes), bound=bound),
        "x": float(point[0]),
        "y": float(point[1]) if surface.y is not None else None,
        "distance": Estimate.of(float(np.sqrt(point @ surface.gram @ point))),
        "at_border": any(i in (0, len(axis) - 1) for axis, i in zip(surface.axes, where, strict=True)),
        "drop": replace(jackknife.difference(float(surface.loss[where]), groups, centre), bound=bound),
    }
