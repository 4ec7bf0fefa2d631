"""The curvature uᵀHu along given directions, over each group of samples."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import jvp

from landscape_cli.errors import LandscapeError
from landscape_cli.measure.objective import Objective
from landscape_cli.measure.routes import probed

AGREE = 1e4  # times the rounding of the dtype, between two ways to one curvature


def curvatures(objective: Objective, vectors: Tensor, groups: list[Tensor]) -> Tensor:
    """(V, G) the mean over each group of uᵀHᵢu for each vector (V, P), Hᵢ the Hessian of sample i's loss; in float64.

    From the second derivative of every sample's loss along the vector, which costs one product with the Hessian of all
    samples; where the model has none that agrees with such a product, from a product for each group.
    """
    along = _by_samples if all(_agrees(objective, vector) for vector in vectors) else _by_groups
    return torch.tensor([along(objective, vector, groups) for vector in vectors], dtype=torch.float64)


def _by_samples(objective: Objective, vector: Tensor, groups: list[Tensor]) -> list[float]:
    each = second_derivatives(objective.on(torch.cat(groups)), vector)
    parts = zip(torch.split(each, [len(group) for group in groups]), groups, strict=True)
    return [_mean(part, objective, group) for part, group in parts]


def _by_groups(objective: Objective, vector: Tensor, groups: list[Tensor]) -> list[float]:
    return [_along(objective.on(group), vector) for group in groups]


def second_derivatives(objective: Objective, vector: Tensor) -> Tensor:
    """(n,) d²lᵢ(θ + t·v)/dt² at 0 of every sample, in float64: forward mode over forward mode."""
    along = objective.unflat(vector.to(objective.like))
    parts = torch.split(objective.rows, objective.batch)
    return torch.cat([_second(objective, along, rows).double().cpu() for rows in parts])


def _second(objective: Objective, along: list[Tensor], rows: Tensor) -> Tensor:
    point, zero = objective.point(), objective.like.new_zeros(())

    def losses(t: Tensor) -> Tensor:
        return objective.losses([p + t * v for p, v in zip(point, along, strict=True)], rows)

    def slopes(t: Tensor) -> Tensor:
        slope: Tensor = jvp(losses, (t,), (torch.ones_like(t),))[1]
        return slope

    with objective.differentiating():
        found: Tensor = jvp(slopes, (zero,), (torch.ones_like(zero),))[1]
    return found


def _mean(values: Tensor, objective: Objective, rows: Tensor) -> float:
    weights = objective.split.weights[rows.to(objective.split.weights.device)].to(values)
    return float(torch.where(weights > 0, values * weights, 0.0).sum() / weights.sum())


def _along(objective: Objective, vector: Tensor) -> float:
    """vᵀHv by a product."""
    return float(objective.product(vector.to(objective.like)).double() @ vector.double())


def _agrees(objective: Objective, vector: Tensor) -> bool:
    """Whether forward over forward exists and gives what a product gives: PyTorch has it wrong for layer norm."""
    few = objective.on(probed(objective))
    try:
        found = _mean(second_derivatives(few, vector), few, few.rows)
    except (RuntimeError, NotImplementedError, LandscapeError):
        return False
    product = few.product(vector.to(objective.like)).double()
    scale = float(product.norm() * vector.double().norm())
    return abs(found - float(product @ vector.double())) <= AGREE * torch.finfo(objective.like.dtype).eps * scale
