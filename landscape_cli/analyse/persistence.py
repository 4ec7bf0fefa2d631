"""Persistence pairs of a triangulated surface, by union-find over its saddles (Edelsbrunner et al. 2002)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse.triangulation import Bools, Indices, Triangulation


@dataclass(frozen=True)
class Pairs:
    """The minima of a triangulation [k], lowest first, by the indices of their points.

    Attributes:
        minimum: where a component of the sublevel set is born.
        saddle: where that component joins one of a lower minimum. Of an essential one the highest point of its part of
            the surface.
        elder: the minimum of the component that it joins; itself where it is essential.
        essential: the component joins no other, as the lowest minimum's.
        inside: where it ends if reaching an edge of the surface ends it too: how far the minimum is enclosed.
    """

    minimum: Indices
    saddle: Indices
    elder: Indices
    essential: Bools
    inside: Indices

    def _elders(self) -> NDArray[np.intp]:
        """[k] which of the pairs the elder is."""
        order = np.argsort(self.minimum)
        return order[np.searchsorted(self.minimum, self.elder, sorter=order)]

    def with_elders(self, keep: Bools) -> Bools:
        """`keep`, and all the elders of these: each is deeper than the younger one, whatever its own error."""
        elder = self._elders()
        while True:
            more = keep.copy()
            more[elder[keep]] = True
            if np.array_equal(more, keep):
                return more
            keep = more

    def those(self, keep: Bools) -> Pairs:
        """Some of the pairs. The elder of each is the first that is kept of its own elders."""
        elder = self._elders()
        while True:
            again = ~keep[elder] & ~self.essential[elder]
            if not again.any():
                break
            elder = np.where(again, elder[elder], elder)
        minima = self.minimum
        return Pairs(minima[keep], self.saddle[keep], minima[elder[keep]], self.essential[keep], self.inside[keep])


def minimum_pairs(surface: Triangulation) -> Pairs:
    """Every minimum and where it ends. Those of `surface.reversed` are the maxima, from the superlevel sets.

    A point's steepest way down ends in a minimum, in whose component it lies from the start. Components can meet only
    where the lower link is in parts, so that these few points are all that the union-find walks through. What reaches
    an edge joins there one more component, older than all.
    """
    basin = _basins(surface)  # by rank, that of the minimum
    minima = np.flatnonzero(basin == np.arange(len(basin))).astype(np.int32)
    number = np.zeros(len(basin), dtype=np.int32)
    number[minima] = np.arange(1, len(minima) + 1)
    ranks, first, other = _meetings(surface, basin)
    death, elder = _unite(len(minima) + 1, ranks, number[first], number[other])
    ends = np.where(death < 0, _highest(elder, number[basin]), death)[1:]
    edge = surface.rank[~surface.inner().ravel() & (surface.rank < len(basin))]
    ranks, first = np.concatenate([ranks, edge]), np.concatenate([number[first], number[basin[edge]]])
    other = np.concatenate([number[other], np.zeros(len(edge), dtype=np.int32)])
    sooner = np.argsort(ranks, kind="stable")
    inside, _ = _unite(len(minima) + 1, ranks[sooner], first[sooner], other[sooner])
    order = surface.order
    return Pairs(order[minima], order[ends], order[minima[elder[1:] - 1]], death[1:] < 0, order[inside[1:]])


def _basins(surface: Triangulation) -> Indices:
    """[n] by rank: the rank of the minimum in which the steepest way down ends."""
    target = surface.downhill()
    while True:
        further = target[target]
        if np.array_equal(further, target):
            return target
        target = further


def _meetings(surface: Triangulation, basin: Indices) -> tuple[Indices, Indices, Indices]:
    """Ranks of the points whose lower link is in parts, in order, and of two minima whose components meet there."""
    lower = surface.lower[surface.order]
    ranks = np.flatnonzero(surface.components(lower) > 1).astype(np.int32)
    bits = np.arange(len(surface.ring), dtype=np.uint8)
    starts = (surface.starts(lower[ranks])[:, None] >> bits) & 1 == 1
    row, column = np.nonzero(starts)
    beside = basin[surface.neighbours(surface.order[ranks])[row, column]]
    leading = np.r_[True, row[1:] != row[:-1]] if len(row) else np.zeros(0, dtype=bool)
    first = beside[leading][row]
    apart = first != beside
    return ranks[row[apart]], first[apart], beside[apart]


def _unite(count: int, ranks: Indices, first: Indices, other: Indices) -> tuple[Indices, Indices]:
    """Join the components of `count` minima, the oldest first: where each ends (-1: nowhere) and in which it ends."""
    root, death = list(range(count)), [-1] * count
    elder = list(range(count))
    for rank, a, b in zip(ranks.tolist(), first.tolist(), other.tolist(), strict=True):
        while root[a] != a:
            root[a] = a = root[root[a]]
        while root[b] != b:
            root[b] = b = root[root[b]]
        if a != b:
            low, high = (a, b) if a < b else (b, a)
            root[high] = elder[high] = low
            death[high] = rank
    return _settled(np.array(death, dtype=np.int32), np.array(elder, dtype=np.int32))


def _settled(death: Indices, elder: Indices) -> tuple[Indices, Indices]:
    """Where three and more meet in one point, all end in the lowest of them."""
    while True:
        again = (death >= 0) & (death[elder] == death)
        if not again.any():
            return death, elder
        elder = np.where(again, elder[elder], elder)


def _highest(elder: Indices, basin: Indices) -> Indices:
    """The rank of the highest point of the connected part of the surface in which each minimum lies."""
    part = elder
    while (part != part[part]).any():
        part = part[part]
    highest = np.zeros(len(elder), dtype=np.int32)
    highest[part[basin]] = np.arange(len(basin), dtype=np.int32)  # the last, the highest, stays
    return highest[part]
