"""The piecewise-linear surface: grid points joined to triangles, in a fixed order, and what lies around each point.

Every cell is split from its low corner to its high one, so that swapping the axes swaps the triangles. Points that are
not finite or not measured are walls: they and their triangles are left out. Points are ordered by loss and equal ones
by index (simulation of simplicity, Edelsbrunner & Mücke 1990), so that no two are equal. A line is joined point to
point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from landscape_cli.profile import Floats

Bools = NDArray[np.bool_]
Indices = NDArray[np.int32]  # of points, or of their places in the order
Masks = NDArray[np.uint8]  # one bit for each neighbour

RING = ((1, 0), (1, 1), (0, 1), (-1, 0), (-1, -1), (0, -1))  # a point's neighbours in the order around it
SIDES = ((1,), (-1,))  # of a point on a line


def _tables() -> tuple[Masks, Masks, Masks, Masks]:
    """By the mask of a part of a ring: its points, its first ones (after a gap), its components, its Euler number."""
    masks = np.arange(1 << len(RING), dtype=np.uint8)
    size = np.array([int(mask).bit_count() for mask in masks], dtype=np.uint8)
    before = ((masks << 1) | (masks >> (len(RING) - 1))) & masks[-1]
    starts = masks & ~before
    components = size[starts]
    components[-1] = 1  # the whole ring, a circle
    return size, starts, components, size[starts]


SIZE, STARTS, COMPONENTS, EULER = _tables()


@dataclass(frozen=True)
class Triangulation:
    """A grid's points in their order.

    Attributes:
        shape: of the grid, (nx,) or (nx, ny).
        order: [n] index of each point that is no wall, lowest first.
        rank: [nx * ny] its place in the order; n for a wall.
    """

    shape: tuple[int, ...]
    order: Indices
    rank: Indices

    @property
    def ring(self) -> tuple[tuple[int, ...], ...]:
        """Steps to the neighbours."""
        return RING if len(self.shape) == 2 else SIDES

    @cached_property
    def reversed(self) -> Triangulation:
        """The same triangles with the order turned round: the triangulation of -L."""
        walls = self.rank == len(self.order)
        rank = np.where(walls, self.rank, len(self.order) - 1 - self.rank).astype(np.int32)
        return replace(self, order=self.order[::-1], rank=rank)

    @cached_property
    def _padded(self) -> Indices:
        return np.pad(self.rank.reshape(self.shape), 1, constant_values=len(self.order))

    def _beside(self, step: tuple[int, ...]) -> Indices:
        """The ranks of the neighbours at `step`, in the grid's shape."""
        window = tuple(slice(1 + s, 1 + s + n) for s, n in zip(step, self.shape, strict=True))
        return self._padded[window]

    def neighbours(self, points: NDArray[np.integer]) -> Indices:
        """(k,) indices -> (k, neighbours) ranks, n where there is none."""
        at = [i + 1 for i in np.unravel_index(points, self.shape)]
        beside = [self._padded[tuple(i + s for i, s in zip(at, step, strict=True))] for step in self.ring]
        return np.stack(beside, axis=-1)

    @cached_property
    def lower(self) -> Masks:
        """[nx * ny] which neighbours come before the point in the order: the lower link."""
        mask, own = np.zeros(self.shape, dtype=np.uint8), self.rank.reshape(self.shape)
        for bit, step in enumerate(self.ring):
            mask |= (self._beside(step) < own).astype(np.uint8) << np.uint8(bit)
        return mask.ravel()

    def starts(self, part: Masks) -> Masks:
        """The first neighbour of each component of a part of the link."""
        return STARTS[part] if len(self.shape) == 2 else part

    def components(self, part: Masks) -> Masks:
        """How many components a part of the link has."""
        return COMPONENTS[part] if len(self.shape) == 2 else SIZE[part]

    def edges(self, step: tuple[int, ...]) -> tuple[Indices, Indices]:
        """The two ends (k,) of each edge along `step`."""
        there = (self.rank.reshape(self.shape) < len(self.order)) & (self._beside(step) < len(self.order))
        first = np.flatnonzero(there).astype(np.int32)
        stride = step[0] if len(step) == 1 else step[0] * self.shape[1] + step[1]
        return first, first + np.int32(stride)

    def inner(self) -> Bools:
        """[nx(, ny)] points that every one of the 3x3 (of a line 3) around them is part of the surface."""
        inner = np.pad(self.rank.reshape(self.shape) < len(self.order), 1)
        for axis in range(inner.ndim):
            inner = inner & np.roll(inner, 1, axis) & np.roll(inner, -1, axis)
        return inner[(slice(1, -1),) * inner.ndim]

    def euler(self) -> tuple[int, int]:
        """Σ (1 - χ(lower link)) over all points, and V - E + F, which it must equal (Banchoff 1967)."""
        lower = self.lower[self.order]
        chi = EULER[lower] if len(self.shape) == 2 else SIZE[lower]
        points, edges = len(lower), sum(len(self.edges(step)[0]) for step in self.ring) // 2
        return points - int(chi.sum()), points - edges + self._faces()

    def _faces(self) -> int:
        """How many triangles there are, two in a full cell."""
        if len(self.shape) == 1:
            return 0
        there = self.rank.reshape(self.shape) < len(self.order)
        split = there[1:, 1:] & there[:-1, :-1]
        return int((split & there[1:, :-1]).sum()) + int((split & there[:-1, 1:]).sum())

    def downhill(self) -> Indices:
        """[n] by rank: the rank of the lowest of the point and its neighbours."""
        lowest = self.rank.reshape(self.shape).copy()
        for step in self.ring:
            np.minimum(lowest, self._beside(step), out=lowest)
        return lowest.ravel()[self.order]


def triangulate(loss: Floats, inside: Bools) -> Triangulation:
    """The triangulation of losses (nx,) or (nx, ny), those not `inside` being walls."""
    order = np.argsort(np.where(inside, loss, np.inf), axis=None, kind="stable")[: int(inside.sum())]
    rank = np.full(loss.size, len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return Triangulation(loss.shape, order.astype(np.int32), rank)
