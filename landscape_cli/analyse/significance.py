"""Which persistence pairs are more than noise, by the jackknife of extremum minus saddle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.local_fit import grid_indices
from landscape_cli.analyse.persistence import Pairs
from landscape_cli.analyse.resolution import second_difference
from landscape_cli.analyse.triangulation import Bools, Indices
from landscape_cli.profile import Floats, Surface

FALSE_RATE = 0.01  # of surfaces on which noise makes a critical point
CHUNK = 1 << 12  # pairs whose groups are held at once
STEEP, STEEP_ALONE = 3.0, 10.0  # second differences at either end; at an essential extremum
ROUNDING = 1e-12  # of the losses: what is closer is equal


@dataclass(frozen=True)
class Kept:
    """Pairs above the threshold, [k] each.

    Attributes:
        persistence, stderr: of extremum and saddle.
        enclosed: the extremum is deeper than any edge of the surface that its basin reaches, by more than noise.
        ratio: of the persistence to the second difference at either end, the larger.
        steep: so large that a round extremum needs no polynomial, as a cusp has none.
        dropped: how many pairs were below.
    """

    pairs: Pairs
    persistence: Floats
    stderr: Floats
    enclosed: Bools
    ratio: Floats
    steep: Bools
    dropped: int

    def those(self, some: Bools) -> tuple[Floats, Floats, Floats, Bools]:
        """The numbers of some of them."""
        return self.persistence[some], self.stderr[some], self.ratio[some], self.steep[some]


def kept_pairs(surface: Surface, pairs: Pairs, least: float) -> Kept:
    """The pairs whose persistence is above `least`, above rounding, and above what noise makes."""
    rises = _rises(surface, pairs.minimum, pairs.saddle) > least
    pairs = pairs.those(rises)
    above = significant(surface, pairs.minimum, pairs.saddle, pairs.essential)
    pairs = pairs.those(above)
    height, depth = (_rises(surface, pairs.minimum, end) for end in (pairs.saddle, pairs.inside))
    error = difference_errors(surface, pairs.minimum, pairs.saddle)
    enclosed = (depth > 0) & significant(surface, pairs.minimum, pairs.inside)
    own, other = (second_difference(surface, grid_indices(surface, end)) for end in (pairs.minimum, pairs.saddle))
    with np.errstate(divide="ignore"):
        ratio, alone = height / np.maximum(own, other), height / own
    steep = (ratio >= STEEP) | (pairs.essential & (alone >= STEEP_ALONE))
    return Kept(pairs, height, error, enclosed, ratio, steep, int(rises.sum() - above.sum()))


def _rises(surface: Surface, low: Indices, high: Indices) -> Floats:
    """(k,) |L(high) - L(low)|; 0 within rounding."""
    first, second = surface.loss.ravel()[low], surface.loss.ravel()[high]
    with np.errstate(over="ignore"):
        rise = np.abs(second - first)
    return np.where(rise > ROUNDING * np.maximum(np.abs(first), np.abs(second)), rise, 0.0)


def difference_errors(surface: Surface, first: Indices, second: Indices) -> Floats:
    """(k,) paired standard errors of L(second) - L(first); NaN where there are none."""
    sizes = surface.centre.group_sizes
    groups = surface.loss_groups.reshape(-1, len(sizes))
    error = np.empty(len(first))
    for start in range(0, len(error), CHUNK):
        part = slice(start, start + CHUNK)
        with np.errstate(invalid="ignore"):
            apart = groups[first[part]] - groups[second[part]]
        error[part] = jackknife.stderrs(jackknife.without_each(apart, sizes), sizes)
    return error


def significant(surface: Surface, first: Indices, second: Indices, any_two: Bools | bool = False) -> Bools:
    """(k,) whether two losses differ by more than noise makes them at as many places as the surface has points.

    Both kinds of extremum count. The lowest and the highest of all (`any_two`) are chosen from all pairs of points. An
    unknown error says nothing: true.
    """
    freedom = int((surface.centre.group_sizes > 0).sum()) - 1
    if freedom < 1:
        return np.ones(len(first), dtype=bool)
    points = max(2, int(surface.finite.sum()))
    one, two = (jackknife.student(freedom, FALSE_RATE / (points * times)) for times in (2, points - 1))
    rises = _rises(surface, first, second)
    return ~(rises <= np.where(any_two, two, one) * difference_errors(surface, first, second))
