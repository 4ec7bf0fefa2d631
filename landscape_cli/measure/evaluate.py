"""The engine: weight points -> blocks of results. The one interface, whatever the strategy.

theta = centre + (a·d1 + b·d2), fresh for each point from the master copy. Per-sample losses are float64; sums are
over fixed groups of samples in a fixed order, so that the batch split changes nothing but rounding.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape_cli.measure.directions import Direction
from landscape_cli.measure.losses import ROOTED
from landscape_cli.measure.model import memory_named, out_of_memory
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem
from landscape_cli.measure.strategies import prepare
from landscape_cli.profile import Floats

MOST_PASSES = 16  # per block on a GPU, where a transfer waits for all that was queued; elsewhere 1
BLOCK = 0.25  # seconds of a block: a stop and the progress bar wait for its end


@dataclass(frozen=True)
class Results:
    """One split at the points of a block: loss (k,), loss_groups (k, G), metrics {name: (k,)}."""

    loss: Floats
    loss_groups: Floats
    metrics: Mapping[str, Floats]


@dataclass(frozen=True)
class Block:
    """Results of the points [start, stop) of the coordinates that were asked for, per split, and their plan."""

    start: int
    stop: int
    results: Mapping[str, Results]
    plan: Plan


def evaluate(
    problem: Problem, directions: Sequence[Direction], coordinates: Floats, batchnorm: str, plan: Plan
) -> Generator[Block, None, None]:
    """Measure every split at each point.

    Out of memory halves the pass and goes on with the same points; the blocks tell by which plan they were measured.

    Args:
        coordinates: (points, d), in multiples of the d directions; (1, 0) is the checkpoint itself.
        batchnorm: a policy of POLICIES.

    Yields:
        Blocks in the order of the coordinates. The model is put back when the iterator ends or is closed.

    Raises:
        LandscapeError: a strategy that this model does not have, no memory for the smallest pass, or what the model or
            the loss raises.
    """
    start = 0
    with problem.measuring(), threads(plan.threads_each):
        while start < len(coordinates):
            smaller = None
            try:
                for block in _blocks(problem, directions, coordinates, batchnorm, plan, start):
                    start = block.stop
                    yield block
            except (RuntimeError, MemoryError) as error:
                smaller = plan.halved()
                if not out_of_memory(error) or smaller is None:
                    with memory_named(plan.batch):
                        raise
            if smaller is not None:  # outside of the handler, whose traceback would keep the tensors alive
                plan = smaller
                if problem.device.type == "cuda":
                    torch.cuda.empty_cache()
    problem.refuse_changed_samples()


def _blocks(
    problem: Problem, directions: Sequence[Direction], coordinates: Floats, batchnorm: str, plan: Plan, start: int
) -> Iterator[Block]:
    """The blocks from `start` on, under one plan."""
    measure, names = prepare(problem, directions, batchnorm, plan), list(problem.loss.metrics)
    passes = 1
    while start < len(coordinates):
        began = time.perf_counter()
        stop = min(start + passes * plan.points_per_pass, len(coordinates))
        tables = measure(coordinates[start:stop])
        results = {split: _results(table.cpu(), names) for split, table in tables.items()}
        if problem.device.type == "cuda":
            passes = next_passes(passes, time.perf_counter() - began)
        yield Block(start, stop, results, plan)
        start = stop


def next_passes(passes: int, seconds: float) -> int:
    """How many passes the block after one of `passes` passes and `seconds` takes: more while blocks are short."""
    if seconds > BLOCK:
        return max(1, passes // 2)
    return min(2 * passes, MOST_PASSES) if seconds < BLOCK / 2 else passes


def _results(table: Tensor, metrics: list[str]) -> Results:
    values = table.numpy()
    named = {name: values[:, 1 + i] ** (0.5 if name in ROOTED else 1.0) for i, name in enumerate(metrics)}
    return Results(values[:, 0], values[:, 1 + len(metrics) :], named)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads of the CPU, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
