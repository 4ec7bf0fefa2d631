"""The polynomial through the grid points around a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.triangulation import Bools
from landscape_cli.profile import Floats, Surface

CHUNK = 256  # windows whose groups are held at once
ORDERS = ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2))  # of the derivatives, along x and y

Spots = NDArray[np.intp]  # (k, 2) grid indices; of a line the second is 0
Planar = NDArray[np.float64]  # [nx, ny]; of a line [nx, 1]


def grid_indices(surface: Surface, points: NDArray[np.integer]) -> Spots:
    """(k,) flat indices -> (k, 2)."""
    columns = 1 if surface.y is None else len(surface.y)
    spots: Spots = np.stack(np.divmod(points.astype(np.intp), columns), axis=1)
    return spots


def planar(surface: Surface) -> Planar:
    """Losses [nx, ny], NaN where there are none."""
    losses = np.where(surface.finite, surface.loss, np.nan)
    return losses.reshape(len(surface.x), -1)


def planar_groups(surface: Surface) -> Floats:
    """[nx, ny, G]."""
    return surface.loss_groups.reshape(len(surface.x), -1, surface.loss_groups.shape[-1])


@dataclass(frozen=True)
class LocalFit:
    """By axis: coordinates [n], local step [n], the first point of each point's window [n], and [n, m, m] the
    coefficients of 1, u, u², … in the window's losses, u the distance from the point in local steps.
    """

    values: tuple[Floats, ...]
    step: tuple[Floats, ...]
    first: tuple[NDArray[np.intp], ...]
    powers: tuple[Floats, ...]
    stride: int = 1

    @classmethod
    def of(cls, surface: Surface, size: int, stride: int = 1) -> LocalFit:
        """Through `size` points along each axis, or as many as there are, every `stride`-th."""
        values = (surface.x.values, np.zeros(1) if surface.y is None else surface.y.values)
        step = tuple(np.asarray(np.gradient(v), dtype=np.float64) if len(v) > 1 else np.ones(1) for v in values)
        first: list[NDArray[np.intp]] = []
        powers: list[Floats] = []
        for v, h in zip(values, step, strict=True):
            width = min(size, (len(v) - 1) // stride + 1)
            start = np.clip(np.arange(len(v)) - width // 2 * stride, 0, len(v) - 1 - (width - 1) * stride)
            apart = v[start[:, None] + stride * np.arange(width)] - v[:, None]
            span = np.abs(apart).max(axis=1, keepdims=True) if width > 1 else np.ones((1, 1))
            inverse = _inverse((apart / span)[:, :, None] ** np.arange(width))
            first.append(start.astype(np.intp))
            powers.append(inverse * ((h[:, None] / span) ** np.arange(width))[:, :, None])
        return cls(values, step, tuple(first), tuple(powers), stride)

    def windows(self, at: Spots) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Indices (k, mx, 1) and (k, 1, my) of the windows' points."""
        x, y = (self.first[i][at[:, i], None] + self.stride * np.arange(self.powers[i].shape[-1]) for i in (0, 1))
        return x[:, :, None], y[:, None, :]

    def whole(self, losses: Planar, at: Spots) -> Bools:
        """(k,) every loss of the window is finite."""
        return np.asarray(np.isfinite(losses[self.windows(at)]).all(axis=(1, 2)))

    def coordinates(self, axis: int, at: NDArray[np.intp], offset: Floats) -> Floats:
        """Of points `offset` local steps from grid points."""
        found: Floats = self.values[axis][at] + offset * self.step[axis][at]
        return found

    def nearest(self, at: Spots, offset: Floats) -> tuple[Spots, Floats]:
        """The grid points next to places, and the places' offsets from them, in their own local steps."""
        spots, offsets = at.copy(), offset.copy()
        for i, (values, step) in enumerate(zip(self.values, self.step, strict=True)):
            old = at[:, i]
            near = np.searchsorted((values[1:] + values[:-1]) / 2, self.coordinates(i, old, offset[:, i]))
            moved = offset[:, i] * step[old] - (values[near] - values[old])
            spots[:, i], offsets[:, i] = near, moved / step[near]
        return spots, offsets

    def steps(self, at: Spots, offset: Floats) -> Floats:
        """(k, 2) how many grid steps places are from the first grid point; at most at the last one."""
        places = (self.coordinates(i, at[:, i], offset[:, i]) for i in (0, 1))
        whole = [np.interp(at, v, np.arange(len(v))) for at, v in zip(places, self.values, strict=True)]
        return np.stack(whole, axis=1)

    def weights(self, axis: int, at: NDArray[np.intp], offset: Floats, derivative: int = 0) -> Floats:
        """(k, m): of the window's losses in the polynomial's derivative at `offset`."""
        powers = self.powers[axis][at]
        exponent = np.arange(powers.shape[-1])
        lowered = np.maximum(exponent - derivative, 0)
        factor = np.prod([np.maximum(exponent - i, 0) for i in range(derivative)], axis=0)
        weights: Floats = np.einsum("kp,kpm->km", factor * offset[:, None] ** lowered, powers)
        return weights

    def mean_step(self, axis: int, at: Spots) -> Floats:
        """(k,) of the points' windows along an axis."""
        values, first, last = (
            self.values[axis],
            self.first[axis][at[:, axis]],
            self.stride * (self.powers[axis].shape[-1] - 1),
        )
        step: Floats = (values[first + last] - values[first]) / last
        return step

    def difference(self, axis: int, at: Spots, step: Floats) -> tuple[Floats, Floats]:
        """Weights (k, mx) and (k, my) of the highest difference that the windows hold along an axis, for points this
        step apart: of uneven ones the derivative.
        """
        order, still = self.powers[axis].shape[-1] - 1, np.zeros(len(at))
        weights = [self.weights(i, at[:, i], still, order if i == axis else 0) for i in (0, 1)]
        weights[axis] = weights[axis] * ((step / self.step[axis][at[:, axis]]) ** order)[:, None]
        return weights[0], weights[1]

    def combine(self, losses: Planar, at: Spots, x: Floats, y: Floats) -> Floats:
        """(k,) the losses in the windows, summed by the weights (k, mx) and (k, my)."""
        found: Floats = np.einsum("kx,kxy,ky->k", x, losses[self.windows(at)], y)
        return found

    def derivatives(self, losses: Planar, at: Spots, offset: Floats) -> tuple[Floats, Floats]:
        """Gradient (k, 2) and Hessian (k, 3), xx xy yy, in local steps. NaN where a loss is not finite."""
        window = losses[self.windows(at)]
        x, y = ([self.weights(i, at[:, i], offset[:, i], d) for d in (0, 1, 2)] for i in (0, 1))
        found = np.stack([np.einsum("kx,kxy,ky->k", x[i], window, y[j]) for i, j in ORDERS], axis=1)
        if losses.shape[1] == 1:  # a line bends across itself as along
            found[:, 4] = found[:, 2]
        return found[:, :2], found[:, 2:]

    def interpolate(self, surface: Surface, at: Spots, offset: Floats) -> tuple[Floats, Floats]:
        """Loss (k,) and that of each group (k, G)."""
        x, y = (self.weights(i, at[:, i], offset[:, i]) for i in (0, 1))
        return self.combine(planar(surface), at, x, y), self.of_groups(surface, at, x, y)

    def place_errors(self, surface: Surface, at: Spots, offset: Floats) -> Floats:
        """(k, 2) standard errors of a critical point's place, in local steps.

        To first order a group's losses l move it by -H⁻¹∇l, H and ∇ the polynomial's there: no place is sought again.
        """
        slopes = self.derivatives_of_groups(surface, at, offset, ORDERS[:2])
        _, hessian = self.derivatives(planar(surface), at, offset)
        moves = np.linalg.pinv(hessian[:, [[0, 1], [1, 2]]]) @ slopes
        return jackknife.errors(moves, surface.centre.group_sizes)

    def derivatives_of_groups(
        self, surface: Surface, at: Spots, offset: Floats, orders: tuple[tuple[int, int], ...] = ORDERS
    ) -> Floats:
        """(k, 5, G) of each group's losses what `derivatives` are of their mean, or some of them."""
        x, y = ([self.weights(i, at[:, i], offset[:, i], d) for d in (0, 1, 2)] for i in (0, 1))
        found = np.stack([self.of_groups(surface, at, x[i], y[j]) for i, j in orders], axis=1)
        if surface.y is None and len(orders) == len(ORDERS):
            found[:, 4] = found[:, 2]
        return found

    def of_groups(self, surface: Surface, at: Spots, x: Floats, y: Floats) -> Floats:
        """(k, G): the groups' losses in the windows, summed by the weights (k, mx) and (k, my)."""
        groups = planar_groups(surface)
        found = np.empty((len(at), groups.shape[-1]))
        for start in range(0, len(at), CHUNK):
            part = slice(start, start + CHUNK)
            means = groups[self.windows(at[part])]
            with np.errstate(invalid="ignore", over="ignore"):
                found[part] = np.einsum("kx,kxyg,ky->kg", x[part], means, y[part], optimize=True)
        return found


def _inverse(powers: Floats) -> Floats:
    """(n, m, m); where points are so close that rounding makes them one, the pseudo-inverses."""
    try:
        return np.asarray(np.linalg.inv(powers), dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.pinv(powers, rcond=1e-15), dtype=np.float64)


def newton_step(gradient: Floats, hessian: Floats, sign: NDArray[np.integer]) -> Floats:
    """Newton's step, -H⁻¹g; towards a minimum always down, to a maximum up. Infinite where there is none."""
    finite = np.isfinite(gradient.sum(axis=1, keepdims=True) + hessian.sum(axis=1, keepdims=True))
    gradient, hessian = np.where(finite, gradient, 0.0), np.where(finite, hessian, 0.0)
    values, vectors = np.linalg.eigh(hessian[:, [[0, 1], [1, 2]]])
    values = np.where((sign == 0)[:, None], values, sign[:, None] * np.abs(values))
    along = np.einsum("kji,kj->ki", vectors, gradient)
    with np.errstate(divide="ignore"):
        along = np.divide(along, values, out=np.zeros_like(along), where=along != 0)
    step: Floats = -np.einsum("kij,kj->ki", vectors, np.clip(along, -1e9, 1e9))
    return np.where(finite, step, np.inf)


def is_kind(hessian: Floats, sign: NDArray[np.integer]) -> Bools:
    """Both eigenvalues of that sign; of a saddle (0) one of each."""
    xx, xy, yy = hessian.T
    determinant, trace = xx * yy - xy**2, xx + yy
    is_kind: Bools = np.where(sign == 0, determinant < 0, (determinant > 0) & (sign * trace > 0))
    return is_kind
