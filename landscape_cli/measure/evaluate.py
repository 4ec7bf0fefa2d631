"""The engine: weight points -> blocks of results.

theta = centre + (a·d1 + b·d2), fresh for each point from the master copy. Per-sample losses are float64; sums are
over fixed groups of samples in a fixed order, so that the batch split changes nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape_cli.measure.batchnorm import POLICIES
from landscape_cli.measure.data import Split, sums_on
from landscape_cli.measure.directions import Direction
from landscape_cli.measure.losses import ROOTED
from landscape_cli.measure.model import memory_named
from landscape_cli.measure.planner import Plan
from landscape_cli.measure.problem import Problem
from landscape_cli.profile import Floats


@dataclass(frozen=True)
class Results:
    """One split at the points of a block: loss (k,), loss_groups (k, G), metrics {name: (k,)}."""

    loss: Floats
    loss_groups: Floats
    metrics: Mapping[str, Floats]


@dataclass(frozen=True)
class Block:
    """Results of the points [start, stop) of the coordinates that were asked for, per split."""

    start: int
    stop: int
    results: Mapping[str, Results]


def evaluate(
    problem: Problem, directions: Sequence[Direction], coordinates: Floats, batchnorm: str, plan: Plan
) -> Generator[Block, None, None]:
    """Measure every split at each point.

    Args:
        coordinates: (points, d), in multiples of the d directions; (1, 0) is the checkpoint itself.
        batchnorm: a policy of POLICIES.

    Yields:
        Blocks in the order of the coordinates. The model is put back when the iterator ends or is closed.

    Raises:
        LandscapeError: out of memory, or what the model or the loss raises.
    """
    with problem.measuring():
        for start in range(0, len(coordinates), plan.points_per_pass):
            stop = min(start + plan.points_per_pass, len(coordinates))
            with memory_named(plan.batch):
                rows = [_point(problem, directions, point, batchnorm, plan) for point in coordinates[start:stop]]
            names = list(problem.loss.metrics)
            yield Block(start, stop, {s: _results([row[s] for row in rows], names) for s in problem.splits})


def _point(
    problem: Problem, directions: Sequence[Direction], point: Floats, batchnorm: str, plan: Plan
) -> dict[str, Tensor]:
    """Per split one float64 vector on the CPU: mean loss, metrics, group means. (1 + metrics + G,)"""
    shares = [float(coordinate) for coordinate in point]
    for name, parameter in problem.parameters.items():
        parameter.copy_(_moved(problem.centre[name], shares, [d.parameters[name] for d in directions]))
    POLICIES[batchnorm](problem, lambda name: _delta(shares, directions, name))
    return {name: _split_means(problem, split, plan).cpu() for name, split in problem.splits.items()}


def _moved(centre: Tensor, shares: list[float], along: list[Tensor]) -> Tensor:
    """centre + (a·d1 + b·d2); the displacement is formed first, so that swapping the axes changes no bit."""
    if not shares:
        return centre
    delta = along[0] * shares[0]
    for share, direction in zip(shares[1:], along[1:], strict=True):
        delta += direction * share
    return delta.add_(centre)


def _delta(shares: list[float], directions: Sequence[Direction], name: str) -> Tensor | None:
    """The displacement of one buffer; None where no direction moves it."""
    moves = [d.buffers[name] * a for a, d in zip(shares, directions, strict=True) if name in d.buffers]
    return sum(moves[1:], moves[0]) if moves else None


def _split_means(problem: Problem, split: Split, plan: Plan) -> Tensor:
    there = sums_on(problem.device)
    rows = torch.empty(1 + len(problem.loss.metrics), len(split), dtype=torch.float64, device=there)
    for where, inputs, targets in split.batches(plan.batch, problem.device):
        rows[:, where] = problem.loss(problem.forward(inputs).to(there), targets)
    return reduce_groups(rows, split)


def reduce_groups(rows: Tensor, split: Split) -> Tensor:
    """Weighted means of per-sample rows, loss first: (rows, N) -> (rows + G,), the means, then the loss's group means.

    Sums run over the groups' samples, then over the groups, in one fixed order.
    """
    weights, groups = split.weights, split.group_rows
    padding = groups < 0
    weighted = torch.where(weights > 0, rows * weights, 0.0)
    sums = weighted[:, groups.clamp(min=0)].masked_fill(padding, 0.0).sum(-1)  # (rows, G)
    sizes = group_sizes(split)
    means = sums.sum(-1) / sizes.sum()
    return torch.cat([means, torch.where(sizes > 0, sums[0] / sizes.clamp(min=1), 0.0)])


def group_sizes(split: Split) -> Tensor:
    """(G,) the weight of each sample group."""
    weights = split.weights[split.group_rows.clamp(min=0)]
    return weights.masked_fill(split.group_rows < 0, 0.0).sum(-1)


def _results(rows: list[Tensor], metrics: list[str]) -> Results:
    table = torch.stack(rows).numpy()
    values = {name: table[:, 1 + i] ** (0.5 if name in ROOTED else 1.0) for i, name in enumerate(metrics)}
    return Results(table[:, 0], table[:, 1 + len(metrics) :], values)
