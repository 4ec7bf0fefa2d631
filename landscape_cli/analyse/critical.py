"""Critical points of the sampled surface, how deep they are, and which basin drains into which."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.critical_points import KINDS, Points, Roles, locate
from landscape_cli.analyse.persistence import minimum_pairs
from landscape_cli.analyse.significance import Kept, kept_pairs
from landscape_cli.analyse.triangulation import Triangulation, triangulate
from landscape_cli.profile import Estimate, Floats, Surface


def critical_statistics(surface: Surface, persistence: float = 0.0) -> dict[str, Any]:
    """`critical_points`: the minima, maxima and saddles of the piecewise-linear surface, the most persistent first.

    A point is critical by the sign changes of L around it (0: minimum or maximum, 4: saddle, 6: monkey saddle), ties
    broken by index. A minimum's persistence is how far the loss rises from it to the saddle over which its basin joins
    a deeper one's, a maximum's the same of -L; a saddle has that of the most persistent extremum that ends there. The
    lowest minimum and the highest maximum never end (`essential`): theirs reaches to the other end of the
    surface and is a lower bound. Kept are those above `persistence` and above what noise makes on one surface in a
    hundred: a Student quantile of the paired standard error of extremum minus saddle, corrected for the number of
    points (of pairs of points where it is essential); and the deeper minima and higher maxima in which those end.
    Without at least two sample groups nothing is known of the noise, which then counts as structure.

    `x`, `y`, `loss` are those of a polynomial through the points around, 7×7 of them (beside walls and on small grids
    5×5), where it has a critical point of that kind and a narrower one agrees (`refined`), else the grid point's, and
    its place without an error. Where both ends of a pair are refined, so is their persistence: the difference of the
    two losses. What is kept, paired with what and in which order are decided by the grid points' losses.

    `resolved` is false where the persistence is below 0.4 times the second difference at either end (`coarse`): a grid
    of this step makes such pairs by itself. It is false too inside the window where no polynomial confirms the kind and
    place, but for cusps, flat regions, monkey saddles, and where noise hides the shape between neighbours.

    `at_border`: at the window's edge, beside a wall (a point that is not finite or not measured), or not to be told
    from such: an extremum from which the loss does not rise by more than noise on the way to the edge, a saddle around
    which the way along the edge is as good. Never a minimum of the loss, which may go on falling there. A flat region
    is one point at most. A minimum of a slice is no minimum in the full space. Grid points (not `refined`) that noise
    chose are biased by choice: the lowest too low, the highest too high, persistence too large. So is a persistence
    where noise decides which of two extrema is the deeper one.

    `merge_tree`: for each minimum the deeper one `into` which it drains, the `saddle` over which it does (positions in
    `critical_points`) and the `barrier`, its persistence. On a line barriers are maxima and there are no saddles.
    `counts`: of resolved points inside by kind, of the unresolved and those at the border, and of pairs `dropped`.
    `euler`: Σ(1 - χ(lower link)) over all points must be V - E + F.
    """
    triangles, below, above, roles, points = _located(surface, persistence)
    heights = _heights(points, roles, surface.centre.group_sizes)
    total, expected = triangles.euler()
    return {
        "critical_points": _entries(surface, points, roles, heights),
        "merge_tree": _merge_tree(below, roles, points.position, heights),
        "walls": int(surface.loss.size - len(triangles.order)),
        "counts": {**_counts(points, roles), "dropped": below.dropped + above.dropped},
        "euler": {"sum": total, "expected": expected, "ok": total == expected},
    }


def passes(surface: Surface, persistence: float = 0.0) -> dict[int, tuple[int, float]]:
    """Of each minimum that drains, by its number: its grid point, and the loss of the grid's own pass where it does.

    What is below that loss and joined to the grid point is the minimum's basin; a polynomial's saddle may be above it.
    """
    _, below, _, _, points = _located(surface, persistence)
    pairs, loss = below.pairs, surface.loss.ravel()
    return {
        int(points.position[k]): (int(pairs.minimum[k]), float(loss[pairs.saddle[k]]))
        for k in np.flatnonzero(~pairs.essential).tolist()
    }


def _located(surface: Surface, persistence: float) -> tuple[Triangulation, Kept, Kept, Roles, Points]:
    """The surface's triangles, the pairs of its minima and of its maxima, what their ends are, and where."""
    triangles = triangulate(surface.loss, surface.finite)
    below = kept_pairs(surface, minimum_pairs(triangles), persistence)
    above = kept_pairs(surface, minimum_pairs(triangles.reversed), persistence)
    roles = Roles.of(below, above, planar=surface.y is not None)
    return triangles, below, above, roles, locate(surface, triangles, roles)


def _heights(points: Points, roles: Roles, sizes: Floats) -> list[Estimate]:
    """[roles] their persistence."""
    numbers = zip(*points.heights(roles, sizes), roles.essential.tolist(), strict=True)
    return [Estimate.of(float(v), float(error), "lower" if essential else "exact") for v, error, essential in numbers]


def _entries(surface: Surface, points: Points, roles: Roles, heights: list[Estimate]) -> list[dict[str, Any]]:
    """The points as the report has them."""
    errors = jackknife.errors(points.places.each, surface.centre.group_sizes)
    at_border, resolved, coarse = points.at_border(roles), points.resolved(roles), points.coarse(roles)
    places = points.places
    found = []
    for k, role in enumerate(points.role.tolist()):
        x, y = map(Estimate.of, places.place[k].tolist(), places.error[k].tolist())
        found.append({
            "kind": KINDS[int(points.kind[k])],
            "x": x,
            "y": y if surface.y is not None else None,
            "loss": Estimate.of(float(places.loss[k]), float(errors[k])),
            "persistence": heights[role],
            "essential": bool(roles.essential[role]),
            "at_border": bool(at_border[k]),
            "resolved": bool(resolved[k]),
            "coarse": bool(coarse[k]),
            "refined": bool(places.fitted[k]),
        })  # fmt: skip
    return found


def _counts(points: Points, roles: Roles) -> dict[str, int]:
    """How many there are of each."""
    at_border, resolved = points.at_border(roles), points.resolved(roles)
    inside = resolved & ~at_border
    names = {"minima": 1, "maxima": -1, "saddles": 0, "monkey_saddles": 2}
    counts = {name: int((inside & (points.kind == kind)).sum()) for name, kind in names.items()}
    unresolved = int((~resolved & ~at_border).sum())
    return {**counts, "unresolved": unresolved, "at_border": int(at_border.sum())}


def _merge_tree(below: Kept, roles: Roles, position: NDArray[np.intp], heights: list[Estimate]) -> list[dict[str, Any]]:
    """Of each kept minimum, the most persistent first."""
    count, pairs = len(below.persistence), below.pairs
    saddle = np.full(count, -1)
    saddle[~pairs.essential] = position[~roles.extremum & roles.rising]
    listed = dict(zip(pairs.minimum.tolist(), position[:count].tolist(), strict=True))
    tree = []
    for k in np.argsort(position[:count]).tolist():
        essential = bool(pairs.essential[k])
        tree.append({
            "minimum": int(position[k]),
            "into": None if essential else listed.get(int(pairs.elder[k])),
            "saddle": None if essential else int(saddle[k]),
            "barrier": heights[k],
        })  # fmt: skip
    return tree
