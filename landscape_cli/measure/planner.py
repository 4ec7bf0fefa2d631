"""What fits and what is fastest: samples per pass, points per pass."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from landscape_cli.errors import LandscapeError
from landscape_cli.measure import data
from landscape_cli.measure.problem import Problem

ACTIVATION_BYTES = 8 << 20  # of the largest activation of a batch; above 32 MB the CPU page-faults on each
BATCH_CAP = 4096


@dataclass(frozen=True)
class Plan:
    """How points are evaluated; it is stored, and a resumed run uses it."""

    strategy: str
    batch: int
    points_per_pass: int
    threads: int

    def as_dict(self) -> dict[str, Any]:
        """For the run file."""
        return asdict(self)

    @classmethod
    def stored(cls, plan: Mapping[str, Any]) -> Plan:
        """The plan of an unfinished run; its number of threads is set, so that the rest is the same to the bit.

        Raises:
            LandscapeError: it is none.
        """
        counts = [plan.get(name) for name in ("batch", "points_per_pass", "threads")]
        if plan.get("strategy") != "in place" or not all(isinstance(n, int) and 0 < n < 2**31 for n in counts):
            raise LandscapeError("the run file holds no plan to resume by", "measure anew with --force")
        made = cls(**plan)
        torch.set_num_threads(made.threads)
        return made


def choose(problem: Problem, batch_size: int | None = None) -> Plan:
    """Weights in place, one point per pass; as many samples as keep the largest activation at 8 MB."""
    largest = max(len(split) for split in problem.splits.values())
    wanted = batch_size or ACTIVATION_BYTES // max(1, activation_bytes(problem))
    return Plan("in place", max(1, min(wanted, largest, batch_size or BATCH_CAP)), 1, torch.get_num_threads())


def activation_bytes(problem: Problem) -> int:
    """Bytes of the largest tensor that any layer returns for one sample."""
    seen = [1]

    def note(module: nn.Module, args: Any, answer: Any) -> None:
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
    passes_per_point: int
    bytes_master: int
    bytes_directions: int
    bytes_samples: int


def forecast(problem: Problem, plan: Plan, directions: int) -> Forecast:
    """Time one batch of each split, after one to warm up, and count the bytes."""
    seconds, passes = 0.0, 0
    with problem.measuring():
        for split in problem.splits.values():
            count = -(-len(split) // plan.batch)
            seconds += count * _seconds(problem, split, plan)
            passes += count
    parameters = sum(t.numel() * t.element_size() for t in problem.centre.values())
    samples = sum(
        t.numel() * t.element_size() for s in problem.splits.values() for t in [*data.leaves(s.inputs), s.targets]
    )
    return Forecast(seconds, passes, parameters, directions * parameters, samples)


def _seconds(problem: Problem, split: data.Split, plan: Plan) -> float:
    taken = 0.0
    for _ in range(2):
        started = time.perf_counter()
        _, inputs, targets = next(split.batches(plan.batch, problem.device))
        problem.loss(problem.forward(inputs), targets).cpu()
        taken = time.perf_counter() - started
    return taken
