"""Slopes between neighbours of the grid: the steepest, and how much of the surface is a plateau."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.profile import Axis, Bound, Estimate, Floats, Status, Surface

FLAT = 0.01  # of 1 + |L|: a change that does not matter
RULE = f"steepest slope beside the point, its upper limit × half the window ≤ {FLAT}·(1 + |L|)"


@dataclass(frozen=True)
class Edges:
    """The neighbours along one axis of the grid. Arrays are the surface's, one shorter along that axis.

    Attributes:
        rise: |difference of the losses|: infinite where one of them is, NaN where no number can be had.
        error: its paired standard error; 0 with fewer than two sample groups.
        apart: distances along the axis in direction units, shaped to divide `rise`.
        length: of the direction, in parameter distance.
    """

    axis: Axis
    rise: Floats
    error: Floats
    apart: Floats
    length: float


def slopes(surface: Surface) -> dict[str, Any]:
    """`surface.cliff` and `surface.plateau_fraction`: the largest slope, and where there is next to none.

    `cliff` is the largest slope between neighbours along a grid line, in loss per parameter distance; `x`, `y` the
    middle of the two and `axis` the line's; `rise` the difference of their losses, `times_median` the slope over the
    median of all. The largest of many noisy slopes is biased upwards: `chosen_of` says of how many. Neighbours of which
    one is infinite are counted in `infinite_neighbours` instead. A lower bound where any point is not measured or
    not finite.

    `plateau_fraction` is the share of points where the upper limit of the slope × half the window is at most
    0.01·(1 + |L|): along each axis the steepest slope beside the point, plus three standard errors (Student's equal),
    times half the axis's range; then the sum over the axes, which no direction's length changes. Next to a point that
    is not finite there is no plateau. Not measured until the whole plane is.
    """
    edges = [_edges(surface, axis) for axis in range(len(surface.axes))]
    return {"cliff": _cliff(surface, edges), "plateau_fraction": {ITSELF: _plateau(surface, edges), "rule": RULE}}


def _edges(surface: Surface, axis: int) -> Edges:
    with np.errstate(invalid="ignore", over="ignore"):
        rise = np.abs(np.diff(surface.loss, axis=axis))
    error, sizes = np.zeros(rise.shape), surface.centre.group_sizes
    if np.count_nonzero(sizes) > 1 and rise.size:
        for rows in jackknife.chunks(rise.shape, len(sizes)):
            wide = slice(rows.start, rows.stop + 1) if axis == 0 else rows
            with np.errstate(invalid="ignore", over="ignore"):
                error[rows] = jackknife.errors(np.diff(surface.loss_groups[wide], axis=axis), sizes)
    measured = _both(surface.measured, axis)
    if not measured.all():
        rise = np.where(measured, rise, np.nan)
    apart = np.diff(surface.axes[axis].values)
    apart = apart if axis == rise.ndim - 1 else apart[:, None]
    return Edges(surface.axes[axis], rise, error, apart, float(np.sqrt(surface.gram[axis, axis])))


def _both(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Of both ends of every edge along an axis."""
    moved = np.moveaxis(mask, axis, 0)
    return np.moveaxis(moved[1:] & moved[:-1], 0, axis)


def _missing(surface: Surface) -> Estimate:
    """Why there is no slope."""
    status: Status = "not finite" if surface.measured.all() else "not measured"
    return Estimate.missing("undefined" if surface.loss.size < 2 else status)


def _cliff(surface: Surface, edges: list[Edges]) -> dict[str, Any]:
    infinite = Estimate.of(sum(int(np.isinf(e.rise).sum()) for e in edges))
    with np.errstate(over="ignore"):
        each = [np.where(np.isfinite(e.rise), e.rise / (e.apart * e.length), np.nan) for e in edges]
    known = [slope[np.isfinite(slope)] for slope in each]
    highest = [float(k.max()) if k.size else -np.inf for k in known]
    best = int(np.argmax(highest))
    if not np.isfinite(highest[best]):
        missing = _missing(surface)
        place: dict[str, Any] = {"x": None, "y": None, "axis": None, "chosen_of": 0}
        return {ITSELF: missing, "rise": missing, "times_median": missing, "infinite_neighbours": infinite, **place}
    edge, where = edges[best], np.unravel_index(int(np.nanargmax(each[best])), each[best].shape)
    distance = float(np.broadcast_to(edge.apart, edge.rise.shape)[where]) * edge.length
    rise, error = float(edge.rise[where]), _known(surface, float(edge.error[where]))
    median = float(np.median(np.concatenate(known)))
    bound: Bound = "exact" if surface.finite.all() else "lower"
    point = [float(axis.values[i]) for axis, i in zip(surface.axes, where, strict=True)]
    point[best] = float(edge.axis.values[where[best]] + edge.axis.values[where[best] + 1]) / 2
    return {
        ITSELF: Estimate.of(rise / distance, None if error is None else error / distance, bound),
        "x": point[0],
        "y": point[1] if surface.y is not None else None,
        "axis": "xy"[best],
        "rise": Estimate.of(rise, error, bound),
        "times_median": Estimate.of(rise / distance / median) if median > 0 else Estimate.missing("undefined"),
        "chosen_of": sum(k.size for k in known),
        "infinite_neighbours": infinite,
    }


def _known(surface: Surface, error: float) -> float | None:
    return error if np.count_nonzero(surface.centre.group_sizes) > 1 else None


def _plateau(surface: Surface, edges: list[Edges]) -> Estimate:
    change = np.zeros(surface.loss.shape)
    sure = jackknife.sure(surface.centre.group_sizes)
    for axis, edge in enumerate(edges):
        if len(edge.axis) > 1:
            half = (edge.axis.values[-1] - edge.axis.values[0]) / 2
            with np.errstate(invalid="ignore", over="ignore"):
                change += _steepest((edge.rise + sure * edge.error) / edge.apart * half, axis)
    if surface.loss.size < 2 or not surface.finite.any() or not surface.measured.all():
        return _missing(surface)
    flat = change[surface.finite] <= FLAT * (1 + np.abs(surface.loss[surface.finite]))
    return Estimate.of(float(flat.mean()))


def _steepest(edges: Floats, axis: int) -> Floats:
    """The larger of the values of the two edges at every point along an axis; infinite where one is NaN."""
    edges = np.moveaxis(np.where(np.isnan(edges), np.inf, edges), axis, 0)
    points = np.zeros((len(edges) + 1, *edges.shape[1:]))
    points[:-1] = edges
    np.maximum(points[1:], edges, out=points[1:])
    return np.moveaxis(points, 0, axis)
