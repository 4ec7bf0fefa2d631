"""How a direction is scaled, and made orthogonal to another: NORMALISATIONS = {name: function}."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from landscape_cli.measure.problem import PIECE, Tensors

PARALLEL = 1e-6  # what is left of a direction, relative to it, when all that is left is rounding


# A normalisation takes one direction, the weights, the output dimension of each, and an earlier direction to be made
# orthogonal to (or None). All work in float64, piece by piece where a tensor falls into units.
Normalisation = Callable[[Tensors, Tensors, Mapping[str, int], Tensors | None], Tensors]


def by_filter(direction: Tensors, weights: Tensors, dims: Mapping[str, int], other: Tensors | None) -> Tensors:
    """Each filter (slice along the output dimension) gets its weights' norm; a vector is one filter. Li et al. 2018."""
    return {n: _per_unit(d, weights[n], dims[n], other[n] if other else None) for n, d in direction.items()}


def by_layer(direction: Tensors, weights: Tensors, dims: Mapping[str, int], other: Tensors | None) -> Tensors:
    """Each parameter tensor gets its weights' norm."""
    return {n: _per_unit(d, weights[n], None, other[n] if other else None) for n, d in direction.items()}


def by_weight(direction: Tensors, weights: Tensors, dims: Mapping[str, int], other: Tensors | None) -> Tensors:
    """Each entry is multiplied by the absolute value of its weight; orthogonality is per tensor, after it."""
    scaled = {n: d.double() * weights[n].double().abs() for n, d in direction.items()}
    if other is None:
        return scaled
    against = {n: o.double().reshape(1, -1) for n, o in other.items()}
    return {n: _orthogonal(d.reshape(1, -1), against[n]).reshape(d.shape) for n, d in scaled.items()}


def globally(direction: Tensors, weights: Tensors, dims: Mapping[str, int], other: Tensors | None) -> Tensors:
    """The whole direction gets unit length."""
    straight = not_at_all(direction, weights, dims, other)
    norm = inner(straight, straight) ** 0.5
    return {n: d.double() / norm if norm else d for n, d in straight.items()}


def not_at_all(direction: Tensors, weights: Tensors, dims: Mapping[str, int], other: Tensors | None) -> Tensors:
    """The direction as it is."""
    if other is None or not inner(other, other):
        return direction
    length = inner(direction, direction)
    for _ in range(2):  # once more for what rounding left
        share = inner(direction, other) / inner(other, other)
        direction = {n: d.double() - share * other[n].double() for n, d in direction.items()}
    parallel = inner(direction, direction) <= PARALLEL**2 * length
    return {n: torch.zeros_like(d) if parallel else d for n, d in direction.items()}


NORMALISATIONS: dict[str, Normalisation] = {
    "filter": by_filter,
    "layer": by_layer,
    "weight": by_weight,
    "global": globally,
    "none": not_at_all,
}
TENSORWISE = ("filter", "layer", "weight")  # normalisations that look at one tensor at a time


def _per_unit(d: Tensor, weight: Tensor, dim: int | None, other: Tensor | None) -> Tensor:
    """`d` made orthogonal to `other` within each unit and scaled to its weights' norm there."""
    dim = None if weight.dim() < 2 else dim
    rows, wanted = _units(d, dim), _units(weight, dim)
    others = None if other is None else _units(other, dim)
    size = max(1, PIECE // max(1, rows.shape[1]))
    pieces = [slice(start, start + size) for start in range(0, len(rows), size)]
    parts = [_scaled(rows[p], wanted[p], None if others is None else others[p]).to(weight.dtype) for p in pieces]
    scaled = torch.cat(parts) if parts else rows
    return scaled.reshape(weight.shape) if dim is None else _from_units(scaled, weight, dim)


def _scaled(rows: Tensor, weights: Tensor, other: Tensor | None) -> Tensor:
    """Rows made orthogonal to those of another direction, each with its weights' norm; in float64."""
    rows = _orthogonal(rows.double(), None if other is None else other.double())
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    wanted: Tensor = torch.linalg.vector_norm(weights.double(), dim=1, keepdim=True)
    return torch.where(norms > 0, rows / norms, 0.0) * wanted


def _from_units(rows: Tensor, like: Tensor, dim: int) -> Tensor:
    """The tensor whose slices along `dim` are the rows."""
    return rows.reshape(like.movedim(dim, 0).shape).movedim(0, dim)


def _units(tensor: Tensor, dim: int | None) -> Tensor:
    """(units, entries): the slices along `dim`, or the whole tensor as one."""
    return tensor.reshape(1, -1) if dim is None else tensor.movedim(dim, 0).flatten(1)


def _orthogonal(rows: Tensor, other: Tensor | None) -> Tensor:
    """Gram-Schmidt within each row; a row of one entry stays as it is, there being nothing orthogonal to it."""
    if other is None or rows.shape[1] == 1:
        return rows
    length: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    for _ in range(2):  # once more for what rounding left
        squares = (other * other).sum(1, keepdim=True)
        share = (rows * other).sum(1, keepdim=True) / torch.where(squares > 0, squares, 1.0)
        rows = rows - share * other
    left: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return torch.where(left > PARALLEL * length, rows, 0.0)


def inner(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Inner product over all parameters, in float64."""
    return sum(_inner(a[n].reshape(-1), b[n].reshape(-1)) for n in a)


def _inner(a: Tensor, b: Tensor) -> float:
    pairs = zip(torch.split(a, PIECE), torch.split(b, PIECE), strict=True)
    return sum(float((x.double() * y.double()).sum()) for x, y in pairs)
