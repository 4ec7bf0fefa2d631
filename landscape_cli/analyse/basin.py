"""The basin: the connected part of {L ≤ L(centre) + δ} that holds the centre."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse import jackknife
from landscape_cli.profile import Axis, Bound, Estimate, Floats, Status, Surface

DELTA = 0.1
DELTAS = (0.01, 0.1, 1.0)
NEIGHBOURS = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1)])  # edges of the triangulation
RAYS = 92  # a multiple of 4, so that swapping the axes of an orthogonal plane gives the same rays


def basin_statistics(surface: Surface, delta: float = DELTA) -> dict[str, Any]:
    """`basin`: how far from the centre the loss stays within δ of it.

    Distances are parameter distances. In 2D `radius_mean` and `radius_median` are over 92 rays at equal angles in
    parameter space, from the centre to the first crossing of L(centre) + δ, by linear interpolation between grid lines;
    `area` is that of the connected part on the triangulated grid. In 1D `left`, `right`, and `asymmetry` =
    (right - left) / (right + left). Lower bounds where the window, or a point that is not finite, cuts the basin.

    The radii bend where an edge crosses a grid line, the median where the middle ray changes: their errors are those of
    balanced halves of the sample groups (`jackknife.halves`). Too small for an edge that lies within one of them of
    where it would be cut. Where δ is within a few standard errors of a loss beside the centre the basin is biased small
    (its edge is the first crossing, and noise makes early ones) and the intervals are too narrow.
    """
    (found,) = basin_levels(surface, (delta,))
    return {name: value for name, value in found.items() if name != "touches_border"}


def basin_levels(surface: Surface, deltas: Sequence[float] = DELTAS) -> list[dict[str, Any]]:
    """`basin.levels`: the same for several δ, and whether the basin's grid points touch the window's border."""
    status = _why_none(surface)
    if status:
        names = ("left", "right", "asymmetry") if surface.y is None else ("radius_mean", "radius_median", "area")
        missing = dict.fromkeys(names, Estimate.missing(status))
        return [{"delta": delta, **missing, "touches_border": None} for delta in deltas]
    rays = _rays(surface)
    return [{"delta": delta, **_level(surface, rays, delta)} for delta in deltas]


def inside(surface: Surface, delta: float = DELTA) -> NDArray[np.bool_] | Estimate:
    """The grid points of the basin, shaped like the loss; where there is none, why."""
    status = _why_none(surface)
    part = None if status else component(surface, surface.centre.loss + delta)
    return part if part is not None and part.any() else Estimate.missing(status or "undefined")


def _why_none(surface: Surface) -> Status | None:
    if not all(axis.values[0] <= 0 <= axis.values[-1] and len(axis) > 1 for axis in surface.axes):
        return "undefined"
    if not surface.measured.all():
        return "not measured"
    return None if np.isfinite(surface.centre.loss) else "not finite"


def _level(surface: Surface, rays: Rays, delta: float) -> dict[str, Any]:
    part = component(surface, surface.centre.loss + delta)
    sides = [np.moveaxis(part, axis, 0)[[0, -1]] for axis in range(part.ndim)]
    touches = any(bool(side.any()) for side in sides)
    edges = _edges(surface, rays, delta)
    found = _line(edges) if surface.y is None else _disc(surface, edges, part, delta, touches)
    return {**found, "touches_border": touches}


@dataclass(frozen=True)
class Rays:
    """Rays from the centre at the grid lines they cross: parameter distances (R, T), whether within the window (R, T),
    losses (R, T) there, and those by halves of the groups (R, T, H)."""

    distance: Floats
    inside: NDArray[np.bool_]
    losses: Floats
    replicas: Floats


@dataclass(frozen=True)
class Edges:
    """Distance to the edge along each ray: of the surface (R,), by halves of the groups (R, H); and where it is cut."""

    radius: Floats
    replicates: Floats
    cut: NDArray[np.bool_]

    def over(self, statistic: Callable[[Floats], Floats], cut: bool) -> Estimate:
        """A statistic of the radii, (R, ...) -> (...), with its error; a lower bound where they are cut."""
        bound: Bound = "lower" if cut else "exact"
        return jackknife.half_estimate(float(statistic(self.radius)), statistic(self.replicates), bound)


def _line(edges: Edges) -> dict[str, Any]:
    def skew(radius: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return np.asarray((radius[1] - radius[0]) / (radius[1] + radius[0]))

    left, right = (edges.over(itemgetter(i), bool(edges.cut[i])) for i in (0, 1))
    whole = not edges.cut.any() and edges.radius.sum() > 0
    asymmetry = edges.over(skew, False) if whole else Estimate.missing("undefined")
    return {"left": left, "right": right, "asymmetry": asymmetry}


def _disc(surface: Surface, edges: Edges, part: NDArray[np.bool_], delta: float, touches: bool) -> dict[str, Any]:
    upper_middle = np.sort(edges.radius)[RAYS // 2]
    short = bool((edges.cut & (edges.radius <= upper_middle)).any())
    return {
        "radius_mean": edges.over(lambda radius: radius.mean(axis=0), bool(edges.cut.any())),
        "radius_median": edges.over(lambda radius: np.asarray(np.median(radius, axis=0)), short),
        "area": _area(surface, part, delta, touches),
    }


def _rays(surface: Surface) -> Rays:
    """To both sides of a line; over a plane at equal angles in parameter space."""
    if surface.y is None:
        unit = np.array([[-1.0], [1.0]]) / np.sqrt(surface.gram[0, 0])
    else:
        angles = 2 * np.pi * np.arange(RAYS) / RAYS
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        unit = circle @ np.linalg.inv(np.linalg.cholesky(surface.gram))  # rows v with v' G v = 1
    distance, within = _crossings(surface, unit)  # (R, T), sorted along each ray
    points = distance[..., None] * unit[:, None, :]
    losses = _interpolate(surface.loss[..., None], surface.axes, points)[..., 0]
    groups = _interpolate(surface.loss_groups, surface.axes, points)
    return Rays(distance, within, losses, jackknife.halves(losses, groups, surface.centre.group_sizes))


def _edges(surface: Surface, rays: Rays, delta: float) -> Edges:
    """Along each ray the first parameter distance at which the loss exceeds L(centre) + δ."""
    centre = surface.centre
    base = jackknife.halves(np.asarray(centre.loss), centre.loss_groups, centre.group_sizes)
    losses = rays.losses[..., None]
    radius, cut = _first_above(rays.distance, losses, rays.inside, np.array([centre.loss]), delta)
    replicates, _ = _first_above(rays.distance, rays.replicas, rays.inside, base, delta)
    return Edges(radius[:, 0], replicates, cut[:, 0])


def _crossings(surface: Surface, unit: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Distances at which each ray crosses a grid line inside the window; unused places are infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = [axis.values[None, :] / unit[:, i, None] for i, axis in enumerate(surface.axes)]
    distance = np.concatenate(found, axis=1)
    distance = np.where(np.isfinite(distance) & (distance > 0), distance, np.inf)
    distance.sort(axis=1)
    inside = np.isfinite(distance)
    for i, axis in enumerate(surface.axes):
        at = np.where(inside, distance, 0.0) * unit[:, i, None]
        slack = 1e-9 * (axis.values[-1] - axis.values[0])
        inside &= (at >= axis.values[0] - slack) & (at <= axis.values[-1] + slack)
    longest = max(1, int(inside.sum(axis=1).max()))  # the distances are sorted: what is inside comes first
    return np.where(inside, distance, 0.0)[:, :longest], inside[:, :longest]


def _interpolate(values: Floats, axes: tuple[Axis, ...], points: Floats) -> Floats:
    """Piecewise linear in each axis: values (nx[, ny], K) at points (..., d) -> (..., K). On a grid line, along it."""
    corners: Floats = np.zeros((*points.shape[:-1], values.shape[-1]))
    spots = [_spot(axis, points[..., i]) for i, axis in enumerate(axes)]
    for corner in np.ndindex(*[2] * len(axes)):
        weight = np.ones(points.shape[:-1])
        index = []
        for side, (cell, share) in zip(corner, spots, strict=True):
            weight = weight * (share if side else 1 - share)
            index.append(cell + side)
        counts = weight > 1e-12  # a corner of weight 0 does not count, whatever it holds
        with np.errstate(invalid="ignore"):
            corners[counts] += weight[counts][:, None] * values[tuple(i[counts] for i in index)]
    return corners


def _spot(axis: Axis, at: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Cell index and share of the way through it; shares within rounding of a grid line are on it."""
    cell = np.clip(np.searchsorted(axis.values, at, side="right") - 1, 0, len(axis) - 2)
    share = (at - axis.values[cell]) / (axis.values[cell + 1] - axis.values[cell])
    return cell, np.where(share < 1e-9, 0.0, np.where(share > 1 - 1e-9, 1.0, share))


def _first_above(
    distance: Floats, losses: Floats, inside: NDArray[np.bool_], base: Floats, delta: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """(R, T) distances, (R, T, K) losses, (K,) centre losses -> (R, K) edge and whether the ray was cut before it."""
    rays, _, count = losses.shape
    start = np.broadcast_to(base, (rays, 1, count))
    height = np.concatenate([start, losses], axis=1)
    along = np.concatenate([np.zeros((rays, 1)), distance], axis=1)
    open_ = np.concatenate([np.ones((rays, 1), bool), inside], axis=1)
    level = base + delta
    wall = ~open_[..., None] | ~np.isfinite(height)
    stop = wall | (height > level)
    never = ~stop.any(axis=1)
    first = np.where(never, height.shape[1] - 1, stop.argmax(axis=1))  # (R, K)
    ray, k = np.meshgrid(np.arange(rays), np.arange(count), indexing="ij")
    cut = never | wall[ray, first, k]
    before = np.where(never, first, np.maximum(first - 1, 0))
    low, high = height[ray, before, k], height[ray, first, k]
    near, far = along[ray, before], along[ray, first]
    share = np.divide(level - low, high - low, out=np.zeros_like(low), where=~cut)
    return near + share * np.where(cut, 0.0, far - near), cut


def _area(surface: Surface, part: NDArray[np.bool_], delta: float, touches: bool) -> Estimate:
    """Area of the connected part, in squared parameter distance.

    Its error takes the part's triangles as fixed: leaving out a sample group moves the edge, not the topology.
    """
    if not part.any():
        return Estimate.missing("undefined")
    sizes, flat = surface.centre.group_sizes, surface.loss.reshape(-1)
    corners, area = _triangles(surface, part)  # (3, n) flat indices, (n,)
    finite, under = _all(surface.finite.reshape(-1), corners), _all(flat <= surface.centre.loss + delta, corners)
    cut = touches or not finite.all()
    edge = finite & ~under
    value = float(
        area[finite & under].sum() + _share_below(flat[corners[:, edge]], surface.centre.loss + delta) @ area[edge]
    )
    level = jackknife.without_each(surface.centre.loss_groups, sizes) + delta
    below, above = _surely(surface, level)
    varies = finite & ~_all(below, corners) & ~_all(above, corners)  # the others add the same to every replicate
    corners, area = corners[:, varies], area[varies]
    groups, replicates = surface.loss_groups.reshape(-1, len(sizes)), np.zeros(len(sizes))
    for rows in jackknife.chunks((len(area), 3), len(sizes)):
        left_out = jackknife.without_each(groups[corners[:, rows]], sizes)  # (3, n, G)
        replicates += area[rows] @ _share_below(left_out, level)
    return jackknife.estimate(value, replicates, sizes, "lower" if cut else "exact")


def _all(mask: NDArray[np.bool_], corners: NDArray[np.intp]) -> NDArray[np.bool_]:
    """The triangles, corners (3, n), of which all corners are in the mask."""
    return np.asarray(mask[corners[0]] & mask[corners[1]] & mask[corners[2]])


def _surely(surface: Surface, level: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The points, flat, that are at or below the level whichever group is left out, and those above it."""
    below, above = np.zeros((2, *surface.loss.shape), dtype=bool)
    sizes = surface.centre.group_sizes
    used = sizes > 0
    for rows in jackknife.chunks(surface.loss.shape, len(sizes)):
        left_out = jackknife.without_each(surface.loss_groups[rows], sizes)
        under = left_out <= level
        below[rows] = under[..., used].all(-1)
        above[rows] = ~under[..., used].any(-1)
    return below.reshape(-1), above.reshape(-1)


def component(surface: Surface, level: float) -> NDArray[np.bool_]:
    """The grid points at or below `level` joined to the centre along the triangulation's edges."""
    below = surface.finite & (surface.loss <= level)
    part = np.zeros_like(below)
    cells = [int(_spot(axis, np.zeros(1))[0][0]) for axis in surface.axes]
    shares = [float(_spot(axis, np.zeros(1))[1][0]) for axis in surface.axes]
    for corner in np.ndindex(*[2] * part.ndim):
        if all((share > 0) if side else (share < 1) for side, share in zip(corner, shares, strict=True)):
            part[tuple(np.add(cells, corner))] = True
    part &= below
    grow(part.reshape(len(part), -1), below.reshape(len(part), -1))
    return part


def grow(part: NDArray[np.bool_], below: NDArray[np.bool_]) -> None:
    """Flood `part` through `below` in place, front by front, along the edges of the triangulation."""
    nx, ny = part.shape
    free, start = np.zeros((2, nx + 2, ny + 2), dtype=bool)  # with a border, so that no neighbour is outside
    free[1:-1, 1:-1], start[1:-1, 1:-1] = below & ~part, part
    flat, turn = free.reshape(-1), np.empty(free.size, dtype=np.intp)
    steps = NEIGHBOURS @ (ny + 2, 1)
    front = np.flatnonzero(start)
    while front.size:
        beside = (front[:, None] + steps).reshape(-1)
        beside = beside[flat[beside]]
        turn[beside] = order = np.arange(len(beside))
        front = beside[turn[beside] == order]  # each point once
        flat[front] = False
    part |= below & ~free[1:-1, 1:-1]


def _triangles(surface: Surface, part: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Floats]:
    """The triangles that touch the part, corners (3, n): two per cell, split from its low corner to its high one."""
    assert surface.y is not None
    index = np.arange(part.size).reshape(part.shape)
    at = (slice(None, -1), slice(1, None))
    cell = np.outer(np.diff(surface.x.values), np.diff(surface.y.values)) * 0.5 * np.sqrt(np.linalg.det(surface.gram))
    corners, areas = [], []
    for i, j in ((1, 0), (0, 1)):  # the third corner: right of the low one, or above it
        three = [(at[0], at[0]), (at[i], at[j]), (at[1], at[1])]
        touched = np.logical_or.reduce([part[corner] for corner in three])
        corners.append(np.stack([index[corner][touched] for corner in three]))
        areas.append(cell[touched])
    return np.concatenate(corners, axis=1), np.concatenate(areas)


def _share_below(losses: Floats, level: Any) -> Floats:
    """The share of each triangle (3, ...) on which the linear interpolant is at most `level`."""
    p, q, r = losses
    low, high = np.minimum(p, q), np.maximum(p, q)
    a, b, c = np.minimum(low, r), np.maximum(low, np.minimum(high, r)), np.maximum(high, r)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        tip = (level - a) ** 2 / ((b - a) * (c - a))  # only the lowest corner is below
        rest = 1 - (c - level) ** 2 / ((c - a) * (c - b))  # two corners are below
    return np.where(level >= c, 1.0, np.where(level >= b, rest, np.where(level > a, tip, 0.0)))
