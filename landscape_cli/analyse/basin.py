"""The basin: the connected part of {L ≤ L(centre) + δ} that holds the centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse import jackknife
from landscape_cli.profile import Axis, Bound, Estimate, Floats, Status, Surface

DELTA = 0.1
NEIGHBOURS = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1)])  # edges of the triangulation
RAYS = 92  # a multiple of 4, so that swapping the axes of an orthogonal plane gives the same rays


def basin_statistics(surface: Surface, delta: float = DELTA) -> dict[str, Any]:
    """`basin`: how far from the centre the loss stays within δ of it.

    Distances are parameter distances. In 2D `radius_mean` and `radius_median` are over 92 rays at equal angles in
    parameter space, from the centre to the first crossing of L(centre) + δ, by linear interpolation between grid lines;
    `area` is that of the connected part on the triangulated grid. In 1D `left`, `right`, and `asymmetry` =
    (right - left) / (right + left). Lower bounds where the window, or a point that is not finite, cuts the basin.
    """
    names = ("left", "right", "asymmetry") if surface.y is None else ("radius_mean", "radius_median", "area")
    inside = all(axis.values[0] <= 0 <= axis.values[-1] and len(axis) > 1 for axis in surface.axes)
    if not surface.measured.all() or not inside or not np.isfinite(surface.centre.loss):
        status: Status = "undefined" if not inside else "not finite" if surface.measured.all() else "not measured"
        return {"delta": delta, **dict.fromkeys(names, Estimate.missing(status))}
    if surface.y is None:
        return {"delta": delta, **_line(surface, delta)}
    return {"delta": delta, **_disc(surface, delta)}


@dataclass(frozen=True)
class Edges:
    """Distance to the edge along each ray: of the surface (R,), without each group (R, G); and where it is cut."""

    radius: Floats
    replicates: Floats
    cut: NDArray[np.bool_]


def _line(surface: Surface, delta: float) -> dict[str, Any]:
    length = float(np.sqrt(surface.gram[0, 0]))
    edges = _edges(surface, np.array([[-1.0], [1.0]]) / length, delta)
    sizes = surface.centre.group_sizes

    def side(i: int) -> Estimate:
        bound: Bound = "lower" if edges.cut[i] else "exact"
        return Estimate.of(float(edges.radius[i]), jackknife.stderr(edges.replicates[i], sizes), bound)

    def skew(left: Any, right: Any) -> Any:
        return (right - left) / (right + left)

    asymmetry = Estimate.missing("undefined")
    if not edges.cut.any() and edges.radius.sum() > 0:
        error = jackknife.stderr(skew(*edges.replicates), sizes)
        asymmetry = Estimate.of(float(skew(*edges.radius)), error)
    return {"left": side(0), "right": side(1), "asymmetry": asymmetry}


def _disc(surface: Surface, delta: float) -> dict[str, Any]:
    angles = 2 * np.pi * np.arange(RAYS) / RAYS
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    unit = circle @ np.linalg.inv(np.linalg.cholesky(surface.gram))  # rows v with v' G v = 1
    edges = _edges(surface, unit, delta)
    sizes = surface.centre.group_sizes
    middle = float(np.median(edges.radius))
    upper_middle = np.sort(edges.radius)[RAYS // 2]
    short = bool((edges.cut & (edges.radius <= upper_middle)).any())
    return {
        "radius_mean": Estimate.of(
            float(edges.radius.mean()),
            jackknife.stderr(edges.replicates.mean(0), sizes),
            "lower" if edges.cut.any() else "exact",
        ),
        "radius_median": Estimate.of(
            middle, jackknife.stderr(np.median(edges.replicates, axis=0), sizes), "lower" if short else "exact"
        ),
        "area": _area(surface, delta),
    }


def _edges(surface: Surface, unit: Floats, delta: float) -> Edges:
    """Along each ray t·unit (R, d), parameter distance t, the first t at which the loss exceeds L(centre) + δ."""
    distance, inside = _crossings(surface, unit)  # (R, T), sorted along each ray
    points = distance[..., None] * unit[:, None, :]
    centre = surface.centre
    sizes = centre.group_sizes
    losses = _interpolate(surface.loss[..., None], surface.axes, points)[..., 0]
    groups = _interpolate(surface.loss_groups, surface.axes, points)
    replicas = jackknife.without_each(groups, sizes)  # (R, T, G); linear too, and much less than the whole surface's
    base = jackknife.without_each(centre.loss_groups, sizes)
    radius, cut = _first_above(distance, losses[..., None], inside, np.array([centre.loss]), delta)
    without, _ = _first_above(distance, replicas, inside, base, delta)
    return Edges(radius[:, 0], without, cut[:, 0])


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
    return np.where(inside, distance, 0.0), inside


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
        with np.errstate(invalid="ignore"):  # a corner of weight 0 does not count, whatever it holds
            corners += np.where(weight[..., None] > 1e-12, weight[..., None] * values[tuple(index)], 0.0)
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


def _area(surface: Surface, delta: float) -> Estimate:
    """Area of the connected part, in squared parameter distance.

    Its error takes the part's triangles as fixed: leaving out a sample group moves the edge, not the topology.
    """
    part = component(surface, surface.centre.loss + delta)
    if not part.any():
        return Estimate.missing("undefined")
    sizes = surface.centre.group_sizes
    corners, area = _triangles(surface, part)  # (n, 3) flat indices, (n,)
    losses = surface.loss.reshape(-1)[corners]
    cut = bool(part[0].any() or part[-1].any() or part[:, 0].any() or part[:, -1].any())
    finite = np.isfinite(losses).all(axis=1)
    cut |= not finite.all()
    corners, area, losses = corners[finite], area[finite], losses[finite]
    value = float((_share_below(losses, surface.centre.loss + delta) * area).sum())
    used, places = np.unique(corners, return_inverse=True)
    left_out = jackknife.without_each(surface.loss_groups.reshape(-1, len(sizes))[used], sizes)
    level = jackknife.without_each(surface.centre.loss_groups, sizes) + delta
    places = places.reshape(corners.shape)
    replicates = np.array([(_share_below(left_out[places, g], level[g]) * area).sum() for g in range(len(sizes))])
    return Estimate.of(value, jackknife.stderr(replicates, sizes), "lower" if cut else "exact")


def component(surface: Surface, level: float) -> NDArray[np.bool_]:
    """The grid points at or below `level` joined to the centre along the triangulation's edges."""
    below = surface.finite & (surface.loss <= level)
    part = np.zeros_like(below)
    cells = [int(_spot(axis, np.zeros(1))[0][0]) for axis in surface.axes]
    shares = [float(_spot(axis, np.zeros(1))[1][0]) for axis in surface.axes]
    for corner in np.ndindex(2, 2):
        if all((share > 0) if side else (share < 1) for side, share in zip(corner, shares, strict=True)):
            part[cells[0] + corner[0], cells[1] + corner[1]] = True
    part &= below
    grow(part, below)
    return part


def grow(part: NDArray[np.bool_], below: NDArray[np.bool_]) -> None:
    """Flood `part` through `below` in place, front by front, along the edges of the triangulation."""
    nx, ny = part.shape
    front = np.argwhere(part)
    while len(front):
        beside = (front[:, None, :] + NEIGHBOURS).reshape(-1, 2)
        beside = beside[((beside >= 0) & (beside < (nx, ny))).all(axis=1)]
        fresh = np.unique(beside @ (ny, 1))
        fresh = fresh[below.ravel()[fresh] & ~part.ravel()[fresh]]
        front = np.stack(np.divmod(fresh, ny), axis=1)
        part[front[:, 0], front[:, 1]] = True


def _triangles(surface: Surface, part: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Floats]:
    """The triangles that touch the part: two per cell, split from its low corner to its high one."""
    nx, ny = surface.loss.shape
    index = np.arange(nx * ny).reshape(nx, ny)
    low, right, up, high = index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]
    corners = np.concatenate([np.stack([low, right, high], -1), np.stack([low, up, high], -1)]).reshape(-1, 3)
    assert surface.y is not None
    cell = np.outer(np.diff(surface.x.values), np.diff(surface.y.values))
    area = np.concatenate([cell, cell]).reshape(-1) * 0.5 * np.sqrt(np.linalg.det(surface.gram))
    touched = part.reshape(-1)[corners].any(axis=1)
    return corners[touched], area[touched]


def _share_below(losses: Floats, level: float) -> Floats:
    """The share of each triangle (n, 3) on which the linear interpolant is at most `level`."""
    a, b, c = np.sort(losses, axis=1).T
    with np.errstate(invalid="ignore", divide="ignore"):
        tip = (level - a) ** 2 / ((b - a) * (c - a))  # only the lowest corner is below
        rest = 1 - (c - level) ** 2 / ((c - a) * (c - b))  # two corners are below
    return np.where(level >= c, 1.0, np.where(level >= b, rest, np.where(level > a, tip, 0.0)))
