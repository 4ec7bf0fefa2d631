"""Flat regions: neighbours of exactly the same loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape_cli.analyse.triangulation import Bools, Indices, Triangulation
from landscape_cli.profile import Floats


@dataclass(frozen=True)
class Plateaus:
    """By grid point [n]: the region it belongs to (its own index where no neighbour is equal), and of that region
    whether it has more points than one, and whether it is flat around one of them.
    """

    region: Indices
    many: Bools
    solid: Bools


def plateaus(triangles: Triangulation, loss: Floats) -> Plateaus:
    """The flat regions of a surface."""
    count = loss.size
    edges = [triangles.edges(step) for step in triangles.ring[: len(triangles.ring) // 2]]
    equal = np.concatenate([np.stack([a, b])[:, loss.ravel()[a] == loss.ravel()[b]] for a, b in edges], axis=1)
    region = joined(count, equal)
    alike = np.bincount(equal.ravel(), minlength=count) == len(triangles.ring)
    solid = np.zeros(count, dtype=bool)
    solid[region[alike]] = True
    many = np.zeros(count, dtype=bool)
    many[equal] = True
    return Plateaus(region, many, solid[region])


def joined(count: int, edges: Indices) -> Indices:
    """The lowest point that each of `count` points is joined to by edges (2, k)."""
    root = np.arange(count, dtype=np.int32)
    while True:
        first, second = root[edges]
        apart = first != second
        if not apart.any():
            return root
        edges = edges[:, apart]
        np.minimum.at(root, np.maximum(first, second)[apart], np.minimum(first, second)[apart])
        while not np.array_equal(further := root[root], root):
            root = further
