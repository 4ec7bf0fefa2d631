"""Persistence pairs and links against gudhi, against flooding level by level, and against Euler's formula."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from landscape_cli.analyse.persistence import Pairs, minimum_pairs
from landscape_cli.analyse.plateau import plateaus
from landscape_cli.analyse.triangulation import Triangulation, triangulate

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Simplex = tuple[int, ...]
GRIDS = 1000


def simplices(inside: Bools) -> Iterator[Simplex]:
    """Points, edges and triangles of a grid without its walls, each cell split from its low corner to its high one."""
    index = np.arange(inside.size).reshape(inside.shape)
    if inside.ndim == 1:
        parts = [(index,), (index[:-1], index[1:])]
    else:
        low, right, up, high = index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]
        parts = [(index,), (index[:-1], index[1:]), (index[:, :-1], index[:, 1:]), (low, high)]
        parts += [(low, right, high), (low, up, high)]
    for part in parts:
        for simplex in np.stack([corner.ravel() for corner in part], axis=1).tolist():
            if inside.ravel()[simplex].all():
                yield tuple(simplex)


def random_grid(seed: int) -> tuple[Floats, Bools]:
    """Up to 8 by 8 losses, or a line of them: every second grid full of ties, two of three with walls."""
    random = np.random.default_rng(seed)
    shape = random.integers(1, 9, 1 if seed % 10 == 9 else 2)
    loss = random.normal(size=shape) if seed % 2 else random.integers(0, 5, shape).astype(np.float64)
    return loss, random.random(shape) < (1.0 if seed % 3 == 0 else 0.8)


def intervals(pairs: Pairs, loss: Floats) -> list[tuple[float, float]]:
    """Birth and death of each pair of positive persistence; essential ones die at infinity."""
    flat = loss.ravel()
    deaths = np.where(pairs.essential, np.inf, flat[pairs.saddle])
    return sorted((b, d) for b, d in zip(flat[pairs.minimum].tolist(), deaths.tolist(), strict=True) if b < d)


def both_signs(seed: int) -> Iterator[tuple[Floats, Bools, Triangulation]]:
    """L with its triangulation, and -L with the reversed one."""
    loss, inside = random_grid(seed)
    surface = triangulate(loss, inside)
    yield loss, inside, surface
    yield -loss, inside, surface.reversed


def test_pairs_are_those_of_gudhi() -> None:
    gudhi = pytest.importorskip("gudhi")
    for seed in range(GRIDS):
        for loss, inside, surface in both_signs(seed):
            tree = gudhi.SimplexTree()
            for simplex in simplices(inside):
                tree.insert(simplex, loss.ravel()[list(simplex)].max())
            tree.persistence(persistence_dim_max=True)
            theirs = [(b, d) for b, d in tree.persistence_intervals_in_dimension(0) if b < d]
            assert intervals(minimum_pairs(surface), loss) == sorted(theirs), seed


def test_euler_s_formula_holds_on_every_grid() -> None:
    for seed in range(GRIDS):
        for _, inside, surface in both_signs(seed):
            counted = sum((-1) ** (len(simplex) - 1) for simplex in simplices(inside))
            assert surface.euler() == (counted, counted), seed


def parts(members: set[int], edges: Sequence[Simplex]) -> list[set[int]]:
    """The connected parts, by merging sets."""
    found = [{member} for member in members]
    for a, b in edges:
        if a in members and b in members:
            joined = [part for part in found if a in part or b in part]
            found = [part for part in found if part not in joined] + [set().union(*joined)]
    return found


@pytest.mark.parametrize("seed", range(60))
def test_pairs_are_those_of_flooding_point_by_point(seed: int) -> None:
    """Who joins whom, and where: not only at which losses."""
    for loss, inside, surface in both_signs(seed):
        edges = [s for s in simplices(inside) if len(s) == 2]
        order = [int(i) for i in surface.order]
        place = {point: k for k, point in enumerate(order)}
        assert [loss.ravel()[i] for i in order] == sorted(loss[inside])
        expected, alive = {}, set[int]()
        for k, point in enumerate(order):
            flooded = parts(set(order[: k + 1]), edges)
            lowest = {min(part, key=lambda i: place[i]) for part in flooded}
            elder = next(min(part, key=lambda i: place[i]) for part in flooded if point in part)
            expected.update(dict.fromkeys(alive - lowest, (point, elder)))
            alive = lowest
        whole = parts(set(order), edges)
        for last in alive:
            top = max(next(part for part in whole if last in part), key=lambda i: place[i])
            expected[last] = (top, last)
        pairs = minimum_pairs(surface)
        found = zip(pairs.minimum.tolist(), pairs.saddle.tolist(), pairs.elder.tolist(), strict=True)
        assert {m: (s, e) for m, s, e in found} == expected
        assert set(pairs.minimum[pairs.essential].tolist()) == alive


@pytest.mark.parametrize("seed", range(40))
def test_a_minimum_is_enclosed_up_to_where_flooding_reaches_an_edge_or_a_lower_one(seed: int) -> None:
    for _, inside, surface in both_signs(seed):
        edges = [s for s in simplices(inside) if len(s) == 2]
        order = [int(i) for i in surface.order]
        place = {point: k for k, point in enumerate(order)}
        brink = set(np.flatnonzero(~surface.inner().ravel()).tolist())
        pairs = minimum_pairs(surface)
        for minimum, end in zip(pairs.minimum.tolist(), pairs.inside.tolist(), strict=True):
            for k in range(place[minimum], len(order)):
                part = next(p for p in parts(set(order[: k + 1]), edges) if minimum in p)
                if part & brink or min(place[i] for i in part) < place[minimum]:
                    break
            assert end == order[k]


@pytest.mark.parametrize("seed", range(20))
def test_the_elder_of_some_pairs_is_the_first_that_is_left(seed: int) -> None:
    pairs = minimum_pairs(triangulate(np.random.default_rng(seed).normal(size=(12, 12)), np.ones((12, 12), dtype=bool)))
    keep = np.random.default_rng(seed).random(len(pairs.minimum)) < 0.5
    elder = dict(zip(pairs.minimum.tolist(), pairs.elder.tolist(), strict=True))
    kept = set(pairs.minimum[keep].tolist())
    some = pairs.those(keep)
    for minimum, found in zip(some.minimum.tolist(), some.elder.tolist(), strict=True):
        expected = elder[minimum]
        while expected not in kept and elder[expected] != expected:
            expected = elder[expected]
        assert found == expected


# ---------------------------------------------------------------- links


@pytest.mark.parametrize("signs", list(itertools.product([-1.0, 1.0], repeat=6)))
def test_the_components_of_a_link_are_half_its_sign_changes(signs: tuple[float, ...]) -> None:
    around = [(2, 1), (2, 2), (1, 2), (0, 1), (0, 0), (1, 0)]  # of (1, 1), in order
    loss = np.zeros((3, 3))
    for spot, sign in zip(around, signs, strict=True):
        loss[spot] = sign
    surface = triangulate(loss, np.ones((3, 3), dtype=bool))
    changes = sum(a != b for a, b in itertools.pairwise([*signs, signs[0]]))
    lower, upper = (int(t.components(t.lower[4:5])[0]) for t in (surface, surface.reversed))
    assert (lower, upper) == ((changes // 2, changes // 2) if changes else (int(signs[0] < 0), int(signs[0] > 0)))


def test_a_wall_cuts_a_link() -> None:
    inside = np.ones((3, 3), dtype=bool)
    inside[2, 2] = inside[0, 0] = False
    surface = triangulate(np.where(np.eye(3) == 1, 0.0, -1.0), inside)
    assert surface.components(surface.lower[4:5]) == [2]
    assert surface.inner().sum() == 0


def test_no_point_at_all() -> None:
    surface = triangulate(np.full((3, 4), np.nan), np.zeros((3, 4), dtype=bool))
    assert surface.euler() == (0, 0)
    assert len(minimum_pairs(surface).minimum) == 0


# ---------------------------------------------------------------- flat regions


@pytest.mark.parametrize("seed", range(40))
def test_flat_regions_are_the_parts_of_equal_neighbours(seed: int) -> None:
    loss, inside = random_grid(2 * seed)
    surface = triangulate(loss, inside)
    edges = [s for s in simplices(inside) if len(s) == 2 and loss.ravel()[s[0]] == loss.ravel()[s[1]]]
    flat = plateaus(surface, loss)
    for part in parts(set(np.flatnonzero(inside).tolist()), edges):
        assert set(flat.region[list(part)].tolist()) == {min(part)}


def test_a_region_is_solid_where_a_point_and_its_six_neighbours_are_equal() -> None:
    loss = np.random.default_rng(0).normal(size=(9, 9))
    loss[2:5, 2:5] = 7.0
    loss[7, :] = 3.0  # a line is not
    everywhere = np.ones(loss.shape, dtype=bool)
    surface = triangulate(loss, everywhere)
    solid = plateaus(surface, loss).solid.reshape(loss.shape)
    assert solid[2:5, 2:5].all()
    assert solid.sum() == 9
    loss[2, 3] = 0.0  # one of the six
    assert not plateaus(triangulate(loss, everywhere), loss).solid.any()
