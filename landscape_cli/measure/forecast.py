"""What a plan will take: seconds, and bytes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from landscape_cli.measure import data
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem
from landscape_cli.measure.strategies import MANY


def activation_bytes(problem: Problem) -> int:
    """Bytes of the largest tensor that any layer returns for one sample."""
    seen = [1]

    def note(module: nn.Module, args: object, answer: object) -> None:
        if isinstance(answer, Tensor):
            seen.append(answer.numel() * answer.element_size())

    hooks = [module.register_forward_hook(note) for module in problem.model.modules()]
    try:
        with problem.measuring():
            split = next(iter(problem.splits.values()))
            problem.forward(split.rows(slice(0, 1), problem.device)[0])
    finally:
        for hook in hooks:
            hook.remove()
    return max(seen)


@dataclass(frozen=True)
class Forecast:
    """What a scan will take: seconds, and bytes beyond the model's own."""

    seconds_per_point: float
    passes_per_point: float
    bytes_master: int
    bytes_directions: int
    bytes_samples: int
    bytes_pass: int


def forecast(problem: Problem, plan: Plan, seconds: float, directions: int) -> Forecast:
    """The bytes of a plan, and its time as it was measured."""
    passes = sum(-(-len(split) // plan.batch) for split in problem.splits.values())
    parameters = sum(t.numel() * t.element_size() for t in problem.centre.values())
    tensors = [t for s in problem.splits.values() for t in [*data.leaves(s.inputs), s.targets]]
    samples = sum(t.numel() * t.element_size() for t in tensors)
    activation = 2 * activation_bytes(problem) * plan.batch * plan.points_per_pass
    weights = parameters * (plan.points_per_pass if plan.strategy in MANY else 1)
    each = passes / plan.points_per_pass
    return Forecast(seconds, each, parameters, directions * parameters, samples, activation + weights)
