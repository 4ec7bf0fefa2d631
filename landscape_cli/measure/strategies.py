"""How many weight points are measured in a pass: STRATEGIES = {name: function}.

A strategy takes a problem, directions, a batch-norm policy and a plan, and prepares a function from coordinates
(points, d) to one float64 table per split, (points, 1 + metrics + G): mean loss, metrics, group means. It raises
LandscapeError where it cannot be had for this model.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from landscape_cli.errors import LandscapeError
from landscape_cli.measure.batchnorm import POLICIES
from landscape_cli.measure.data import Inputs, Split, sums_on
from landscape_cli.measure.directions import Direction
from landscape_cli.measure.folding import fold
from landscape_cli.measure.model import forward_of
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem, Tensors
from landscape_cli.measure.reduce import reduce_groups
from landscape_cli.measure.stacking import stack_of
from landscape_cli.profile import Floats

Measure = Callable[[Floats], dict[str, Tensor]]
Batch = tuple[slice, Inputs, Tensor]
Strategy = Callable[[Problem, Sequence[Direction], str, Plan], Measure]
PIECE = 1 << 20  # values that are moved at a time; smaller tensors are moved together


def in_place(problem: Problem, directions: Sequence[Direction], batchnorm: str, plan: Plan) -> Measure:
    """One point at a time, the model's own weights overwritten."""
    return _one_by_one(problem, directions, batchnorm, plan, problem.forward, lambda: None)


def folded(problem: Problem, directions: Sequence[Direction], batchnorm: str, plan: Plan) -> Measure:
    """One point at a time, batch norm folded into the layers before it, ReLU and sums fused into convolutions."""
    graph = fold(problem, plan)
    forward = forward_of(graph.module, problem.settings)
    return _one_by_one(problem, directions, batchnorm, plan, forward, graph.refresh)


def _one_by_one(
    problem: Problem,
    directions: Sequence[Direction],
    batchnorm: str,
    plan: Plan,
    forward: Callable[[Inputs], Tensor],
    refresh: Callable[[], None],
) -> Measure:
    move, policy = mover(problem, directions), POLICIES[batchnorm]
    splits = {name: s.channels_last() if plan.channels_last else s for name, s in problem.splits.items()}

    def measure(points: Floats) -> dict[str, Tensor]:
        tables: dict[str, list[Tensor]] = {name: [] for name in problem.splits}
        for shares in points.tolist():
            move(shares)
            policy(problem, lambda name, shares=shares: _delta(shares, directions, name))  # type: ignore[misc]
            refresh()
            for name, split in splits.items():
                tables[name].append(_means(problem, split, forward, plan))
        return {name: torch.stack(rows) for name, rows in tables.items()}

    return measure


def _means(problem: Problem, split: Split, forward: Callable[[Inputs], Tensor], plan: Plan) -> Tensor:
    """(1 + metrics + G,) of one split at the weights that `forward` has now."""
    there = sums_on(problem.device)
    rows = torch.empty(1 + len(problem.loss.metrics), len(split), dtype=torch.float64, device=there)

    def one(batch: Batch) -> None:
        where, inputs, targets = batch
        with torch.no_grad():
            rows[:, where] = problem.loss(forward(inputs).to(there), targets)

    batches = split.batches(plan.batch, problem.device, problem.copies)
    if plan.workers > 1:
        _share(plan, one, batches)
    else:
        for batch in batches:
            one(batch)
    return reduce_groups(rows, split)


def _share(plan: Plan, one: Callable[[Batch], None], batches: Iterable[Batch]) -> None:
    """Hand the batches to the workers, each of whom has one waiting at most."""
    pool, waiting = _workers(plan.workers, plan.threads_each), deque[Future[None]]()
    for batch in batches:
        waiting.append(pool.submit(one, batch))
        if len(waiting) > 2 * plan.workers:
            waiting.popleft().result()
    for last in waiting:
        last.result()


@functools.cache
def _workers(count: int, threads: int) -> ThreadPoolExecutor:
    """Workers of so many threads each; kept, because starting them costs as much as a small pass."""
    return ThreadPoolExecutor(count, "landscape", initializer=lambda: torch.set_num_threads(threads))


def mover(problem: Problem, directions: Sequence[Direction]) -> Callable[[list[float]], None]:
    """A function that writes centre + (a·d1 + b·d2) into the model's parameters, fresh from the master copy.

    The displacement is formed first, so that swapping the axes changes no bit. Small tensors are moved together, large
    ones in pieces, so that what is in scratch does not grow with the model.
    """
    small = [name for name, tensor in problem.centre.items() if tensor.numel() <= PIECE]
    large = [name for name in problem.centre if name not in small]
    together = [problem.centre[name] for name in small], [problem.parameters[name] for name in small]
    held = [d.parameters if isinstance(d.parameters, dict) else None for d in directions]
    along = [[tensors[name] for name in small] for tensors in held if tensors is not None]

    def move(shares: list[float]) -> None:
        if small:
            here = along if len(along) == len(directions) else [[d.parameters[n] for n in small] for d in directions]
            torch._foreach_copy_(together[1], displaced(together[0], shares, here))
        for name in large:
            tensors = [problem.parameters[name], problem.centre[name], *[d.parameters[name] for d in directions]]
            for parameter, centre, *moves in zip(*_pieces(tensors), strict=True):
                parameter.copy_(displaced([centre], shares, [[piece] for piece in moves])[0])

    return move


def _pieces(tensors: list[Tensor]) -> list[Sequence[Tensor]]:
    """Views of tensors of one shape in the same pieces; whole where they are not laid out in order."""
    if all(tensor.is_contiguous() for tensor in tensors):
        return [torch.split(tensor.view(-1), PIECE) for tensor in tensors]
    return [[tensor] for tensor in tensors]


def displaced(centre: list[Tensor], shares: list[float], along: list[list[Tensor]]) -> list[Tensor]:
    """centre + (a·d1 + b·d2), tensor by tensor."""
    if not along:
        return centre
    delta = torch._foreach_mul(along[0], shares[0])
    for share, direction in zip(shares[1:], along[1:], strict=True):
        torch._foreach_add_(delta, torch._foreach_mul(direction, share))
    torch._foreach_add_(delta, centre)
    return list(delta)


def _delta(shares: list[float], directions: Sequence[Direction], name: str) -> Tensor | None:
    """The displacement of one buffer; None where no direction moves it."""
    moves = [d.buffers[name] * a for a, d in zip(shares, directions, strict=True) if name in d.buffers]
    return sum(moves[1:], moves[0]) if moves else None


def stacked(problem: Problem, directions: Sequence[Direction], batchnorm: str, plan: Plan) -> Measure:
    """Many points a pass through a stack of linear layers, one batched product per layer.

    Swapping the axes changes rounding here, and no bit elsewhere: the products form the displacement.
    """
    if batchnorm != "frozen":
        raise LandscapeError("stacked needs frozen batch-norm statistics", "use --strategy 'in place'")
    stack = stack_of(problem, directions)
    return _many(problem, plan, stack.weights, stack)


def vmapped(problem: Problem, directions: Sequence[Direction], batchnorm: str, plan: Plan) -> Measure:
    """Many points a pass, the model itself mapped over stacked weights by torch.func."""
    if batchnorm != "frozen":
        raise LandscapeError("vmap needs frozen batch-norm statistics", "use --strategy 'in place'")
    if len(list(problem.model.named_modules(remove_duplicate=False))) > len(list(problem.model.modules())):
        raise LandscapeError("vmap does not take a model that holds a module twice", "use --strategy 'in place'")
    names, centre = list(problem.centre), list(problem.centre.values())
    along = [[direction.parameters[name] for name in names] for direction in directions]

    def weights(points: Floats) -> Tensors:
        each = [displaced(centre, shares, along) for shares in points.tolist()]
        stacks = zip(names, zip(*each, strict=True), strict=True)
        return {name: torch.stack(tensors).to(problem.parameters[name].dtype) for name, tensors in stacks}

    def run(stacked_weights: Tensors, inputs: Inputs, split: Split, rows: slice) -> Tensor:
        def one(point: Tensors) -> Tensor:
            def call(*args: Any, **kwargs: Any) -> Any:
                return functional_call(problem.model, point, args, kwargs)

            return forward_of(call, problem.settings)(inputs)

        outputs: Tensor = vmap(one, randomness="error")(stacked_weights)
        return outputs

    return _many(problem, plan, weights, run)


def _many(
    problem: Problem,
    plan: Plan,
    weights_at: Callable[[Floats], Any],
    run: Callable[[Any, Inputs, Split, slice], Tensor],
) -> Measure:
    """Points in passes of `plan.points_per_pass`; `run` gives outputs (k, B, ...) of k stacked weights."""
    repeated: dict[tuple[str, int, int], Tensor] = {}  # targets, once for each point of a pass

    def wanted(split: Split, rows: slice, targets: Tensor, count: int) -> Tensor:
        key = (split.name, rows.start, count)
        if key not in repeated:
            repeated[key] = targets.repeat(count, *[1] * (targets.dim() - 1))
        return repeated[key]

    def one_pass(weights: Any, split: Split) -> Tensor:
        """(k, 1 + metrics + G) of one split."""
        rows: list[Tensor] = []
        for where, inputs, targets in split.batches(plan.batch, problem.device, problem.copies):
            outputs = run(weights, inputs, split, where).to(sums_on(problem.device))
            if problem.loss.code:  # the user's own may look at its batch as a whole
                rows.append(torch.stack([problem.loss(each, targets) for each in outputs]))
                continue
            flat = problem.loss(outputs.flatten(0, 1), wanted(split, where, targets, len(outputs)))
            rows.append(flat.reshape(len(flat), len(outputs), -1).transpose(0, 1))
        return reduce_groups(torch.cat(rows, dim=-1), split)

    def measure(points: Floats) -> dict[str, Tensor]:
        tables: dict[str, list[Tensor]] = {name: [] for name in problem.splits}
        for start in range(0, len(points), plan.points_per_pass):
            weights = weights_at(points[start : start + plan.points_per_pass])
            for name, split in problem.splits.items():
                tables[name].append(one_pass(weights, split))
        return {name: torch.cat(rows) for name, rows in tables.items()}

    return measure


STRATEGIES: dict[str, Strategy] = {
    "in place": in_place,
    "folded": folded,
    "stacked": stacked,
    "vmap": vmapped,
}
MANY = ("stacked", "vmap")  # strategies that take more than one point a pass


def prepare(problem: Problem, directions: Iterable[Direction], batchnorm: str, plan: Plan) -> Measure:
    """The function that measures under this plan."""
    return STRATEGIES[plan.strategy](problem, list(directions), batchnorm, plan)
