"""The ends of persistence pairs as critical points: their kind, their place, whether the grid resolves them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.local_fit import grid_indices
from landscape_cli.analyse.plateau import joined, plateaus
from landscape_cli.analyse.resolution import MADE_BY_GRID, is_noise, is_round, second_difference
from landscape_cli.analyse.significance import Kept
from landscape_cli.analyse.subgrid import Places, refine
from landscape_cli.analyse.triangulation import Bools, Indices, Triangulation
from landscape_cli.profile import Floats, Surface

KINDS = {1: "minimum", -1: "maximum", 0: "saddle", 2: "monkey saddle"}
SADDLE, MONKEY = 0, 2
APART = 0.25  # of a grid step: saddles whose places agree to half of that are one
DEGENERATE = 0.1  # of a second difference: where curvature vanishes and saddles are one, it is a monkey saddle


@dataclass(frozen=True)
class Roles:
    """What each end of a kept pair is: all minima, maxima, the minima's saddles, the maxima's saddles."""

    vertex: Indices
    kind: NDArray[np.int8]  # of KINDS
    extremum: Bools  # it is the pair's extremum
    rising: Bools  # the pair is a minimum's
    essential: Bools
    enclosed: Bools  # an extremum that no edge of the surface explains; a saddle where an enclosed one ends
    persistence: Floats
    stderr: Floats
    ratio: Floats
    steep: Bools
    other: NDArray[np.intp]  # the role of the pair's other end, itself where there is none

    @classmethod
    def of(cls, below: Kept, above: Kept, planar: bool) -> Roles:
        """On a line a minimum ends at a maximum, and the other way round."""
        ends = np.concatenate([kept.pairs.inside[kept.enclosed] for kept in (below, above)])
        parts = []
        alone = np.concatenate([kept.pairs.essential for kept in (below, above)])
        for extremum in (True, False):
            for kept, sign in ((below, 1), (above, -1)):
                some = np.ones(len(kept.persistence), dtype=bool) if extremum else ~kept.pairs.essential
                vertex = (kept.pairs.minimum if extremum else kept.pairs.saddle)[some]
                kind = sign if extremum else 0 if planar else -sign
                same = (np.full(len(vertex), value) for value in (kind, extremum, sign == 1))
                enclosed = kept.enclosed[some] if extremum else np.isin(vertex, ends)
                parts.append((vertex, *same, kept.pairs.essential[some], enclosed, *kept.those(some)))
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        other, paired = np.arange(len(columns[0])), np.flatnonzero(~alone)
        other[paired], other[len(alone) :] = np.arange(len(alone), len(other)), paired
        return cls(*(*columns, other))


@dataclass(frozen=True)
class Points:
    """Critical points, the most persistent first, [k] each.

    Attributes:
        role: its numbers among the roles.
        kind: of KINDS.
        inner: no neighbour of the grid point is missing, and the place lies in the window.
        bend: the second difference there.
        confirmed: the kind does not depend on the grid.
        position: [roles] which point each role is.
    """

    role: NDArray[np.intp]
    kind: NDArray[np.int8]
    places: Places
    inner: Bools
    bend: Floats
    confirmed: Bools
    position: NDArray[np.intp]

    def merged(self, leader: NDArray[np.intp]) -> Points:
        """Points with one leader, the most persistent of them, as that one."""
        keep = leader == np.arange(len(leader))
        position = (np.cumsum(keep) - 1)[leader[self.position]]
        rest = (self.inner[keep], self.bend[keep], self.confirmed[keep], position)
        return Points(self.role[keep], self.kind[keep], self.places.those(keep), *rest)

    def ending(self, which: Bools) -> Bools:
        """[k] where one of these roles ends."""
        return np.bincount(self.position[which], minlength=len(self.role)) > 0

    def heights(self, roles: Roles, sizes: Floats) -> tuple[Floats, Floats]:
        """[roles] persistence and its standard error: between the polynomials' places where both ends have one, whose
        weights in the losses are taken as fixed; else between grid points.
        """
        here, there = self.position, self.position[roles.other]
        rise = np.where(roles.rising == roles.extremum, 1, -1) * (self.places.loss[there] - self.places.loss[here])
        both = self.places.fitted[here] & self.places.fitted[there] & ~roles.essential & (rise > 0)
        stderr = roles.stderr.copy()
        stderr[both] = jackknife.errors(self.places.each[there[both]] - self.places.each[here[both]], sizes)
        return np.where(both, rise, roles.persistence), stderr

    def at_border(self, roles: Roles) -> Bools:
        """[k] what an edge of the surface may have made.

        What lies at an edge, or by its polynomial beyond. An extremum from which the loss does not rise on the way to
        the edge by more than noise. A saddle where no enclosed extremum ends and that does not part both basins and
        hills: then the way around it along the edge is as good.
        """
        basins, hills = (self.ending(~roles.extremum & side) for side in (roles.rising, ~roles.rising))
        inside = self.ending(~roles.extremum & roles.enclosed) | (basins & hills)
        saddle = np.isin(self.kind, (SADDLE, MONKEY))
        at_border: Bools = ~(self.inner & np.where(saddle, inside, roles.enclosed[self.role]))
        return at_border

    def coarse(self, roles: Roles) -> Bools:
        """[k] no more persistent than what the grid makes."""
        coarse: Bools = ~(roles.ratio[self.role] >= MADE_BY_GRID)
        return coarse

    def resolved(self, roles: Roles) -> Bools:
        """[k] more persistent than that, and inside confirmed."""
        resolved: Bools = ~self.coarse(roles) & (self.confirmed | self.at_border(roles))
        return resolved


def locate(surface: Surface, triangles: Triangulation, roles: Roles) -> Points:
    """The critical points that the roles are."""
    flat = plateaus(triangles, surface.loss)
    alone = ~flat.many[roles.vertex] & (roles.kind == SADDLE)
    chosen, position = _one_each(flat.region[roles.vertex] + alone * surface.loss.size, roles)
    vertex, inner = roles.vertex[chosen], triangles.inner().ravel()[roles.vertex[chosen]]
    spots = grid_indices(surface, vertex)
    noise = is_noise(surface, spots)
    monkey = _is_monkey(triangles, roles, position, chosen, noise)
    kind = np.where(monkey, MONKEY, roles.kind[chosen]).astype(np.int8)
    bend = second_difference(surface, spots)
    places = refine(surface, spots, MADE_BY_GRID * bend, kind, inner & ~monkey & ~flat.solid[vertex])
    confirmed = places.fitted | flat.solid[vertex] | monkey | noise
    confirmed |= is_round(surface, spots, kind) & roles.steep[chosen]
    inner &= places.inside(surface)
    return _without_doubles(Points(chosen, kind, places, inner, bend, confirmed, position))


def _one_each(key: NDArray[np.integer], roles: Roles) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The role that stands for each key, an extremum's own or the most persistent, and the position of every role's."""
    order = np.lexsort((-roles.persistence, ~roles.extremum, key))
    first = np.r_[True, np.diff(key[order]) != 0][: len(order)]
    chosen = order[first]
    ranking = np.lexsort((roles.vertex[chosen], ~roles.extremum[chosen], -roles.persistence[chosen]))
    place, position = np.empty(len(chosen), dtype=np.intp), np.empty(len(order), dtype=np.intp)
    place[ranking] = np.arange(len(chosen))
    position[order] = place[np.cumsum(first) - 1]
    return chosen[ranking], position


def _is_monkey(
    triangles: Triangulation,
    roles: Roles,
    position: NDArray[np.intp],
    chosen: NDArray[np.intp],
    noise: Bools,
) -> Bools:
    """[k] three basins or three hills meet, in a point or on a plateau; or two and two meet where L changes its sign
    six times around, which is not noise.
    """
    sides = (~roles.extremum & roles.rising, ~roles.extremum & ~roles.rising)
    basins, hills = (np.bincount(position[side], minlength=len(chosen)) for side in sides)
    vertex = roles.vertex[chosen]
    parts = [t.components(t.lower[vertex]) for t in (triangles, triangles.reversed)]
    around, three = np.maximum(*parts) > 2, np.maximum(basins, hills) > 1
    found = three | (around & (basins + hills > 1) & ~noise)
    is_monkey: Bools = (roles.kind[chosen] == SADDLE) & found
    return is_monkey


def _without_doubles(points: Points) -> Points:
    """Saddles at one place are one: the grid makes two of a monkey saddle that lies between its points."""
    fitted = np.flatnonzero(points.places.fitted & (points.kind == SADDLE))
    places = points.places.steps[fitted] / APART
    pairs = [_first_in_cell(places + shift) for shift in ((0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.5, 0.5))]
    leader = joined(len(points.kind), fitted[np.concatenate(pairs, axis=1)].astype(np.int32)).astype(np.intp)
    many = np.bincount(leader, minlength=len(leader)) > 1
    kind = np.where(many & (points.places.curvature < DEGENERATE * points.bend), MONKEY, points.kind)
    return replace(points, kind=kind.astype(np.int8)).merged(leader)


def _first_in_cell(places: Floats) -> NDArray[np.intp]:
    """(k, 2) -> (2, k) each place's number, and that of the first in its unit cell. Places that are half a cell apart
    share one of the cells that are shifted by halves.
    """
    _, first, inverse = np.unique(np.floor(places), axis=0, return_index=True, return_inverse=True)
    return np.stack([np.arange(len(places)), first[inverse.ravel()]])
