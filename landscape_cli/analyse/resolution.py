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
EDGE = 3  # grid steps, as far as a cusp is looked at
CUSP = 0.03  # of a grid step: at most, by a parabola, from a grid point that is a cusp
ROUNDNESS = 1 / 3  # the least rise around a cusp to the largest: 0.7 of a round one


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
    """[k] whether an extremum that no polynomial confirms, a cusp, is at its grid point nevertheless.

    Each parabola through 3×3 points one, two and three steps apart has its own extremum there, to 0.03 of a step, which
    is half of how far a cusp is from its point; and three steps away the loss has risen nowhere less than a third of
    what it has elsewhere: in a narrow valley it has not, and any of its points looks alike. Not near the window's edge.
    """
    away = [np.minimum(spots[:, i], len(axis) - 1 - spots[:, i]) >= EDGE for i, axis in enumerate(surface.axes)]
    found, still = np.min(away, axis=0) & (np.abs(sign) == 1), np.zeros(spots.shape)
    losses = planar(surface)
    for stride in range(1, EDGE + 1) if found.any() else ():
        gradient, hessian = LocalFit.of(surface, 3, stride).derivatives(losses, spots, still)
        found &= (np.abs(newton_step(gradient, hessian, sign)) <= CUSP).all(axis=1) & is_kind(hessian, sign)
    is_round: Bools = found
    is_round[found] = _rises_alike(surface, spots[found], sign[found])
    return is_round


def _rises_alike(surface: Surface, spots: Spots, sign: NDArray[np.integer]) -> Bools:
    """[k] how much the loss rises to the square around each point, or falls: nowhere less than a share of the most."""
    steps = np.mgrid[-EDGE : EDGE + 1, -EDGE : EDGE + 1] if surface.y is not None else np.mgrid[-EDGE : EDGE + 1, 0:1]
    square = steps[:, np.abs(steps).max(axis=0) == EDGE]
    losses = planar(surface)
    around = losses[tuple(spots[:, i, None] + square[i] for i in (0, 1))]
    rise = sign[:, None] * (around - losses[tuple(spots.T)][:, None])
    alike: Bools = rise.min(axis=1) >= ROUNDNESS * rise.max(axis=1)
    return alike
