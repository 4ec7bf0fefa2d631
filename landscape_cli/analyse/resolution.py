"""What a grid can tell of the loss between its points: second differences, and the shape around a point."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.local_fit import LocalFit, Spots, is_kind, newton_step, planar, planar_groups
from landscape_cli.analyse.triangulation import RING, Bools
from landscape_cli.profile import Floats, Surface

MADE_BY_GRID = 0.4  # of a second difference: the persistence that a grid makes by itself stays below
NOISY = 10.0  # standard errors
ROUNDING = 1e-15  # of the losses
EDGE = 3  # grid steps
ROUNDNESS = 0.08  # of the determinant to the squared trace, 0.25 where all curvatures are equal


def second_difference(surface: Surface, spots: Spots) -> Floats:
    """(k, 2) -> (k,) the largest |L₋ - 2·L₀ + L₊| along the triangulation's edges; of border points one step inside.

    On uneven axes L₋ and L₊ are weighted as interpolation would. 0 where none is finite.
    """
    losses, largest = planar(surface), np.zeros(len(spots))
    for points, weights in _second_differences(surface, spots):
        largest = np.fmax(largest, np.abs((weights * losses[points]).sum(axis=1)))
    return largest


def is_noise(surface: Surface, spots: Spots) -> Bools:
    """(k, 2) -> (k,) whether every second difference is within a few of its standard errors: the shape between
    neighbours is the noise's, and the grid too fine to make points of its own. An unknown error says nothing: false.
    """
    losses, groups, sizes = planar(surface), planar_groups(surface), surface.centre.group_sizes
    noise = np.ones(len(spots), dtype=bool)
    for points, weights in _second_differences(surface, spots):
        bend = np.abs((weights * losses[points]).sum(axis=1))
        means = np.einsum("kp,kpg->kg", weights, groups[points])
        error = jackknife.stderrs(jackknife.without_each(means, sizes), sizes)
        noise &= ~(bend > NOISY * np.fmax(error, ROUNDING * np.abs(losses[points]).max(axis=1)))
    return noise


def _second_differences(surface: Surface, spots: Spots) -> Iterator[tuple[tuple[NDArray[np.intp], ...], Floats]]:
    """Along each edge of the triangulation three points (k, 3) around each spot, and their weights (k, 3)."""
    shape = (len(surface.x), 1 if surface.y is None else len(surface.y))
    for step in RING[:3]:
        if any(s and n < 3 for s, n in zip(step, shape, strict=True)):
            continue
        at, ahead = spots.copy(), np.zeros(len(spots))
        for i, axis in enumerate(surface.axes):
            if step[i]:
                at[:, i] = np.clip(at[:, i], 1, len(axis) - 2)
                gaps = np.diff(axis.values)
                ahead += gaps[at[:, i] - 1] / (gaps[at[:, i] - 1] + gaps[at[:, i]]) / sum(step)
        points = tuple(at[:, i, None] + np.array([-1, 0, 1]) * step[i] for i in (0, 1))
        yield points, 2 * np.stack([1 - ahead, np.full(len(at), -1.0), ahead], axis=1)


def is_round(surface: Surface, spots: Spots, sign: NDArray[np.integer]) -> Bools:
    """[k] whether the loss around an extremum is no narrow valley or ridge, by the parabola through 3×3 points: the
    curvatures differ by at most a factor of ten, and its own extremum is within a step. Not near the window's edge.
    """
    away = [np.minimum(spots[:, i], len(axis) - 1 - spots[:, i]) >= EDGE for i, axis in enumerate(surface.axes)]
    fit, still = LocalFit.of(surface, 3), np.zeros(spots.shape)
    gradient, hessian = fit.derivatives(planar(surface), spots, still)
    (xx, xy, yy), near = hessian.T, (np.abs(newton_step(gradient, hessian, sign)) <= 1).all(axis=1)
    with np.errstate(invalid="ignore"):
        alike = xx * yy - xy**2 >= ROUNDNESS * (xx + yy) ** 2
    found: Bools = np.min(away, axis=0) & near & alike & is_kind(hessian, sign) & (np.abs(sign) == 1)
    return found
