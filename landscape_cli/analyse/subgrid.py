"""Place and loss of critical points between the grid's points, by the polynomial through the points around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse.confirm import confirmed
from landscape_cli.analyse.local_fit import LocalFit, Planar, Spots, is_kind, newton_step, planar
from landscape_cli.analyse.triangulation import Bools
from landscape_cli.profile import Floats, Surface

WINDOWS = ((5, 7, 9), (3, 5))  # points along each axis that a polynomial goes through, and those that must agree
ROUNDS = 30  # of Newton's method, each of up to one grid step
FOLLOWING = 20  # in that many the window follows: two windows may each put the point into the other's middle
CONVERGED = 1e-3  # of a grid step: what the last round moves


@dataclass(frozen=True)
class Places:
    """Critical points between the grid's points.

    Attributes:
        place: [k, 2] coordinates, the grid point's own where there is no fit; of a line the second is 0.
        error: [k, 2] their standard errors; NaN where there is no fit.
        steps: [k, 2] the same in grid steps from the first point.
        loss: [k] there.
        each: [k, G] each group's.
        fitted: [k] a local polynomial has a critical point of that kind there.
        curvature: [k] its largest curvature, per squared grid step.
    """

    place: Floats
    error: Floats
    steps: Floats
    loss: Floats
    each: Floats
    fitted: Bools
    curvature: Floats

    def those(self, some: Bools) -> Places:
        """Some of them."""
        numbers = (self.loss[some], self.each[some], self.fitted[some], self.curvature[some])
        return Places(self.place[some], self.error[some], self.steps[some], *numbers)

    def inside(self, surface: Surface) -> Bools:
        """[k] which of the places lie between the first and the last grid line."""
        ends = np.array([(axis.values[0], axis.values[-1]) for axis in surface.axes]).T
        place = self.place[:, : len(surface.axes)]
        inside: Bools = ((place >= ends[0]) & (place <= ends[1])).all(axis=1)
        return inside


def refine(surface: Surface, spots: Spots, allowed: Floats, sign: NDArray[np.integer], inner: Bools) -> Places:
    """Where critical points near grid points are.

    Newton's method on the polynomial of degree 4 in each axis through 5×5 points; it counts where that through 7×7 has
    a critical point of the kind within 0.03 steps, of the same curvatures to a tenth, whose place is taken, one through
    9×9 agrees to half of that, and no wave is shorter than six points. Noise is allowed for: three standard errors of
    the differences, up to a quarter of a step. Beside walls, and on small grids, 3×3 and 5×5 points. In a narrow valley
    that is turned against the grid the lowest point may lie several steps from the minimum: the window follows. A
    critical point's loss does not change to first order with its place, so that its error is that of an interpolation
    at a fixed place.

    Args:
        spots: [k, 2] grid points.
        allowed: [k] how far the loss may change on the way.
        sign: [k] 1 for a minimum, -1 for a maximum, 0 for a saddle.
        inner: [k] only these are sought; the others stay grid points.
    """
    losses, open_ = planar(surface), inner.copy()
    found = _grid_points(surface, spots)
    for sizes in WINDOWS:
        if min(len(axis) for axis in surface.axes) < sizes[1] or not open_.any():
            continue
        fits = tuple(LocalFit.of(surface, size) for size in sizes)
        todo, check = np.flatnonzero(open_), fits[1]
        at, offset, works = _newton(fits[0], losses, spots[todo], allowed[todo], sign[todo])
        todo, at = todo[works], at[works]
        offset, works = confirmed(surface, fits, at, offset[works], sign[todo])
        _put(found, surface, check, todo[works], at[works], offset[works])
        open_ &= ~found.fitted & ~check.whole(losses, spots)
    return found


def _grid_points(surface: Surface, spots: Spots) -> Places:
    fit, still = LocalFit.of(surface, 1), np.zeros(spots.shape)
    place = np.stack([fit.coordinates(i, spots[:, i], still[:, i]) for i in (0, 1)], axis=1)
    fitted, curvature = np.zeros(len(spots), dtype=bool), np.zeros(len(spots))
    numbers = (*fit.interpolate(surface, spots, still), fitted, curvature)
    return Places(place, np.full(spots.shape, np.nan), spots.astype(np.float64), *numbers)


def _put(found: Places, surface: Surface, fit: LocalFit, which: NDArray[np.intp], at: Spots, offset: Floats) -> None:
    """Replace some of the places by `offset` local steps from grid points."""
    found.place[which] = np.stack([fit.coordinates(i, at[:, i], offset[:, i]) for i in (0, 1)], axis=1)
    steps = np.stack([fit.step[i][at[:, i]] for i in (0, 1)], axis=1)
    found.error[which] = fit.place_errors(surface, at, offset) * steps
    found.steps[which] = fit.steps(at, offset)
    found.loss[which], found.each[which] = fit.interpolate(surface, at, offset)
    found.curvature[which] = np.abs(fit.derivatives(planar(surface), at, offset)[1]).max(axis=1)
    found.fitted[which] = True


def _newton(
    fit: LocalFit, losses: Planar, spots: Spots, allowed: Floats, sign: NDArray[np.integer]
) -> tuple[Spots, Floats, Bools]:
    """The grid points next to the critical points, the offsets from them in local steps, and where that worked."""
    at, offset, level = spots.copy(), np.zeros(spots.shape), losses[tuple(spots.T)]
    todo, works = np.arange(len(at)), np.zeros(len(at), dtype=bool)
    for number in range(ROUNDS):
        if not len(todo):
            break
        gradient, hessian = fit.derivatives(losses, at[todo], offset[todo])
        move = newton_step(gradient, hessian, sign[todo])
        length = np.abs(move).max(axis=1, keepdims=True)
        whole = np.isfinite(length)
        offset[todo] += np.where(whole, move, 0.0) / np.maximum(np.where(whole, length, 1.0), 1)
        if number < FOLLOWING:
            at[todo], offset[todo] = fit.nearest(at[todo], offset[todo])
        done = length[:, 0] < CONVERGED
        works[todo[done]] = (is_kind(hessian, sign[todo]) & (np.abs(offset[todo]) <= 1).all(axis=1))[done]
        with np.errstate(invalid="ignore"):
            todo = todo[~done & whole[:, 0] & (np.abs(losses[tuple(at[todo].T)] - level[todo]) <= allowed[todo])]
    return at, offset, works
