"""The discrete Hessian of a sampled surface, point by point, and the share of it that is convex."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.profile import Estimate, Floats, Status, Surface

SURE = 2.0  # standard errors below 0 at which an eigenvalue counts as negative


@dataclass(frozen=True)
class HessianMap:
    """Eigenvalues of the discrete Hessian in parameter distance, G⁻¹H, at the interior points of a grid.

    Arrays are [nx-2, ny-2], of a line [nx-2]: loss per squared parameter distance, NaN where one of the 3×3 points is
    not measured or not finite. Point [i, j] is the surface's [i+1, j+1].

    Attributes:
        lowest, highest: the eigenvalues.
        error: jackknife standard error of `lowest`; NaN with fewer than two sample groups.
        rounding: how far float64 alone may move an eigenvalue.
    """

    lowest: Floats
    highest: Floats
    error: Floats
    rounding: Floats


def convexity(surface: Surface) -> dict[str, Any]:
    """`surface.convex_fraction`: share of interior points whose discrete Hessian has no eigenvalue below -2 SE.

    The Hessian is that of the quadratic through the 3×3 points around, in parameter distance. Points whose lowest
    eigenvalue is within two standard errors of 0 count as convex; `certain` is the share of those above +2 SE, so the
    two bracket what more samples would show. Convex in the plane does not mean minimum. Undefined without interior. Not
    measured until the whole plane is: the share of a part bounds that of the whole from neither side.
    """
    hessian = hessian_map(surface)
    known = ~np.isnan(hessian.lowest)
    if not known.any() or not surface.measured.all():
        missing = Estimate.missing(_why_none(surface))
        return {"convex_fraction": {ITSELF: missing, "certain": missing}}
    slack = SURE * np.nan_to_num(hessian.error[known], posinf=np.inf) + hessian.rounding[known]
    lowest = hessian.lowest[known]
    shares = {ITSELF: lowest >= -slack, "certain": lowest > slack}
    return {"convex_fraction": {name: Estimate.of(float(share.mean())) for name, share in shares.items()}}


def _why_none(surface: Surface) -> Status:
    if min(surface.loss.shape) < 3:
        return "undefined"
    return "not finite" if surface.measured.all() else "not measured"


def hessian_map(surface: Surface) -> HessianMap:
    """Lowest and highest eigenvalue of the discrete Hessian at every interior point, exact for quadratics on any axes.

    Source: three-point differences; the mixed one is the product of the first differences.
    """
    shape = tuple(max(0, n - 2) for n in surface.loss.shape)
    found = HessianMap(*(np.full(shape, np.nan) for _ in range(4)))
    if not all(shape):
        return found
    usable = _blocks(surface.finite, np.minimum)
    for rows in jackknife.chunks(shape, len(surface.centre.group_sizes)):
        wide = slice(rows.start, rows.stop + 2)
        with np.errstate(invalid="ignore", over="ignore"):
            part = _rows(surface, wide)
        for name, values in part.items():
            getattr(found, name)[rows] = np.where(usable[rows], values, np.nan)
    return found


def _rows(surface: Surface, rows: slice) -> dict[str, Floats]:
    """The map's arrays at the interior of these rows of the grid."""
    axes = [surface.x.values[rows], *(axis.values for axis in surface.axes[1:])]
    root = np.linalg.inv(np.linalg.cholesky(surface.gram))  # R'R = G⁻¹, so RHR' has the eigenvalues of G⁻¹H
    sizes = surface.centre.group_sizes
    whole = _in_distance(_differences(surface.loss[rows], axes), root)
    groups = _in_distance(_differences(surface.loss_groups[rows], axes), root)
    moved = tuple(w[..., None] + jackknife.deviations(g, sizes) for w, g in zip(whole, groups, strict=True))
    lowest, highest = _eigenvalues(whole)
    replicates, _ = _eigenvalues(moved)
    size = _blocks(np.abs(surface.loss[rows]), np.maximum)
    return {
        "lowest": lowest,
        "highest": highest,
        "error": jackknife.spread(replicates),
        "rounding": jackknife.ROUNDING * size * _amplification(axes, root),
    }


def _differences(values: Floats, axes: list[Floats]) -> tuple[Floats, ...]:
    """Second differences (nx[, ny], ...) -> xx[, xy, yy] at the interior points."""
    first, second = zip(*(_weights(axis) for axis in axes), strict=True)
    if len(axes) == 1:
        return (_along(values, second[0], 0),)
    mixed = _along(_along(values, first[0], 0), first[1], 1)
    return _along(values[:, 1:-1], second[0], 0), mixed, _along(values[1:-1], second[1], 1)


def _weights(axis: Floats) -> tuple[Floats, Floats]:
    """The three weights (n-2, 3) of the first and of the second derivative at each interior point of an axis."""
    before, after = np.diff(axis)[:-1], np.diff(axis)[1:]
    both = before + after
    first = np.stack([-after / (before * both), (after - before) / (before * after), before / (after * both)], 1)
    second = np.stack([2 / (before * both), -2 / (before * after), 2 / (after * both)], 1)
    return first, second


def _along(values: Floats, weights: Floats, axis: int) -> Floats:
    """Weighted sums of three neighbours along an axis of the grid."""
    count = len(weights)
    shape = [1] * values.ndim
    shape[axis] = count
    window = [slice(None)] * values.ndim
    total: Floats | float = 0.0
    for k in (0, 2, 1):  # the outer two first, so that a mirrored axis gives the same bits
        window[axis] = slice(k, k + count)
        total = total + values[tuple(window)] * weights[:, k].reshape(shape)
    return np.asarray(total)


def _in_distance(hessian: tuple[Floats, ...], root: Floats) -> tuple[Floats, ...]:
    """RHR', R lower triangular."""
    if len(hessian) == 1:
        return (hessian[0] * root[0, 0] ** 2,)
    xx, xy, yy = hessian
    r, s, t = root[0, 0], root[1, 0], root[1, 1]
    return r * r * xx, r * (s * xx + t * xy), s * s * xx + 2 * s * t * xy + t * t * yy


def _eigenvalues(hessian: tuple[Floats, ...]) -> tuple[Floats, Floats]:
    """Lowest and highest of a symmetric 2×2 matrix; of a line both are its second difference."""
    if len(hessian) == 1:
        return hessian[0], hessian[0]
    xx, xy, yy = hessian
    middle, radius = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return middle - radius, middle + radius


def _amplification(axes: list[Floats], root: Floats) -> Floats:
    """How much an eigenvalue may move when every loss moves by 1."""
    sums = [[np.abs(w).sum(1) for w in _weights(axis)] for axis in axes]
    if len(axes) == 1:
        return np.asarray(_in_distance((sums[0][1],), np.abs(root))[0])
    (first_x, second_x), (first_y, second_y) = sums
    parts = _in_distance((second_x[:, None], np.outer(first_x, first_y), second_y[None, :]), np.abs(root))
    return np.asarray(sum(parts))


def _blocks(values: Any, function: Any) -> Any:
    """A ufunc over the 3 or 3×3 points around each interior point."""
    for axis in range(values.ndim):
        values = np.moveaxis(values, axis, 0)
        values = np.moveaxis(function(function(values[:-2], values[2:]), values[1:-1]), 0, axis)
    return values
