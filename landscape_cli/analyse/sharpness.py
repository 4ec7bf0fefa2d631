"""Sharpness restricted to a plane."""

from __future__ import annotations

from typing import Any

import numpy as np

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.profile import Estimate, Surface

EPSILONS = (0.1, 0.25, 0.5)


def plane_sharpness(surface: Surface) -> dict[str, Any]:
    """`sharpness.plane_eps`: 100·(max over the box of half-width ε - L(centre)) / (1 + L(centre)).

    Keskar et al. 2017, metric 2.1, restricted to the plane; ε in direction units. Percent of 1 + L. A lower bound:
    the maximum is over grid points. The highest of many noisy points is biased upwards by that choice, which its error
    does not know. Infinite if the box holds infinity; not measured if the box exceeds the window,
    holds no point beside the centre, or is not yet measured; not finite if it holds NaN.
    """
    return {"plane_eps": [{ITSELF: _plane_eps(surface, eps), "eps": eps} for eps in EPSILONS]}


def _plane_eps(surface: Surface, eps: float) -> Estimate:
    slack = eps * (1 + 1e-9)
    if any(axis.values[0] > -eps / (1 + 1e-9) or axis.values[-1] < eps / (1 + 1e-9) for axis in surface.axes):
        return Estimate.missing("not measured")
    inside = [np.flatnonzero(np.abs(axis.values) <= slack) for axis in surface.axes]
    if not all((np.abs(axis.values[i]) > 0).any() for axis, i in zip(surface.axes, inside, strict=True)):
        return Estimate.missing("not measured")
    box = np.ix_(*inside)
    if not surface.measured[box].all():
        return Estimate.missing("not measured")
    losses, centre = surface.loss[box], surface.centre
    if centre.loss <= -1:
        return Estimate.missing("undefined")
    if np.isnan(losses).any() or not np.isfinite(centre.loss):
        return Estimate.missing("not finite")
    value = _keskar(float(losses.max()), centre.loss)
    if not np.isfinite(value):
        return Estimate(value, None, "not finite", "lower")
    replicates = jackknife.without_each(
        surface.loss_groups[box].reshape(-1, len(centre.group_sizes)), centre.group_sizes
    )
    base = jackknife.without_each(centre.loss_groups, centre.group_sizes)
    return jackknife.estimate(value, _keskar(replicates.max(0), base), centre.group_sizes, "lower")


def _keskar(highest: Any, centre: Any) -> Any:
    return 100 * (np.maximum(highest, centre) - centre) / (1 + centre)
