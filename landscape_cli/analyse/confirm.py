"""When the polynomial around a critical point is to be trusted: wider ones tell the same, and no wave is too short."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.local_fit import LocalFit, Planar, Spots, is_kind, newton_step, planar
from landscape_cli.analyse.triangulation import Bools
from landscape_cli.profile import Floats, Surface

AGREE, ALIKE = 0.03, 0.1  # of a grid step; of the curvature: what two polynomials may differ by
MOST = np.array([0.25, 0.25, 0.5, 0.5])  # of a grid step, of the curvatures: however large the noise
AGAIN = 0.5  # of both, for the polynomial that is wider still


def confirmed(
    surface: Surface, fits: tuple[LocalFit, ...], at: Spots, offset: Floats, sign: NDArray[np.integer]
) -> tuple[Floats, Bools]:
    """The offsets by the second of these polynomials, ever wider ones, and where they are to be trusted.

    In a ridge narrower than the grid's steps any polynomial has critical points that no loss has, and now and then two
    agree on one. So the third must tell the same, to half of what the first two may differ by, where its points are all
    there; and the loss must be smooth enough for a polynomial.
    """
    first, second, *wider = fits
    losses = planar(surface)
    agrees = _agree(surface, losses, first, second, at, offset, sign, 1.0)
    for _ in range(2):
        move = newton_step(*second.derivatives(losses, at, offset), sign)
        offset = offset + np.where(agrees[:, None] & (np.abs(move) <= MOST[:2]), move, 0.0)
    for fit in wider:
        agrees &= _agree(surface, losses, second, fit, at, offset, sign, AGAIN) | ~fit.whole(losses, at)
    return offset, agrees & is_smooth(surface, second, at)


def _agree(
    surface: Surface,
    losses: Planar,
    fit: LocalFit,
    wider: LocalFit,
    at: Spots,
    offset: Floats,
    sign: NDArray[np.integer],
    share: float,
) -> Bools:
    """Where the wider one's critical point is near, of the kind, and both its curvatures nearly the same: to this share
    of the tolerances, and three standard errors of the differences.
    """
    gradient, hessian = wider.derivatives(losses, at, offset)
    move = newton_step(gradient, hessian, sign)
    values, apart = _curvatures(fit.derivatives(losses, at, offset)[1], hessian)
    found = np.concatenate([np.abs(move), apart], axis=1)
    scale = np.concatenate([np.ones(move.shape), values], axis=1)
    limit = share * np.array([AGREE, AGREE, ALIKE, ALIKE]) * scale
    agrees = is_kind(hessian, sign) & (found <= MOST * scale).all(axis=1)
    unsure = np.flatnonzero(agrees & (found > limit).any(axis=1))
    noise = _errors(surface, losses, fit, wider, at[unsure], offset[unsure])
    limit[unsure] += jackknife.SIGMAS * np.where(np.isfinite(noise), noise, 0.0)
    same: Bools = agrees & (found <= limit).all(axis=1)
    return same


def _curvatures(narrow: Floats, wide: Floats) -> tuple[Floats, Floats]:
    """(k, 2) sizes of the wider one's curvatures, and by how much the other's differ."""
    both = np.stack([narrow, wide])
    known: Bools = np.asarray(np.isfinite(both).all(axis=(0, 2)))
    values = np.linalg.eigvalsh(np.where(known[:, None], both, 0.0)[..., [[0, 1], [1, 2]]])
    return np.abs(values[1]), np.where(known[:, None], np.abs(values[0] - values[1]), np.inf)


def _errors(surface: Surface, losses: Planar, fit: LocalFit, wider: LocalFit, at: Spots, offset: Floats) -> Floats:
    """(k, 4) standard errors of the differences of place and of curvature, to first order."""
    apart = wider.derivatives_of_groups(surface, at, offset) - fit.derivatives_of_groups(surface, at, offset)
    hessian = wider.derivatives(losses, at, offset)[1][:, [[0, 1], [1, 2]]]
    moves = np.linalg.pinv(hessian) @ apart[:, :2]
    vectors = np.linalg.eigh(hessian)[1]
    bends = np.einsum("kim,kijg,kjm->kmg", vectors, apart[:, 2:][:, [[0, 1], [1, 2]]], vectors)
    return jackknife.errors(np.concatenate([moves, bends], axis=1), surface.centre.group_sizes)


def is_smooth(surface: Surface, fit: LocalFit, at: Spots) -> Bools:
    """(k,) whether the highest difference that a window holds is at most the second one, along the axis of the larger.

    Of a wave of n points the sixth difference is (2 sin π/n)⁴ of the second, the fourth the square root of that: both
    1 at six points. A spike's sixth is 10 of its second, a kink's 6. Three standard errors are allowed.
    """
    losses = planar(surface)
    near, sizes = LocalFit.of(surface, 3), surface.centre.group_sizes
    highest, second, error = np.zeros((3, len(at)))
    for axis in range(len(surface.axes)):
        step = fit.mean_step(axis, at)
        highest = np.maximum(highest, np.abs(fit.combine(losses, at, *fit.difference(axis, at, step))))
        second = np.maximum(second, np.abs(near.combine(losses, at, *near.difference(axis, at, step))))
        error = np.fmax(error, jackknife.errors(fit.of_groups(surface, at, *fit.difference(axis, at, step)), sizes))
    smooth: Bools = highest <= second + jackknife.SIGMAS * error
    return smooth
