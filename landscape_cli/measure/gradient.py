"""The gradient of the mean loss at the checkpoint, over each group of samples and, where they fit, over each sample."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure import data
from landscape_cli.measure.budget import Ask, Budget
from landscape_cli.measure.data import Split, deal, sums_on
from landscape_cli.measure.objective import Objective
from landscape_cli.measure.planner import in_place_plan
from landscape_cli.measure.precision import derivable
from landscape_cli.measure.problem import Problem, free_bytes
from landscape_cli.measure.routes import make_objective, refuse_false_gradient
from landscape_cli.measure.ways import down_the_gradient, halves, judge
from landscape_cli.section import Measured
from landscape_cli.settings import GradientSettings, seconds

HELD = 1 << 28  # bytes of per-sample gradients that are held at a time
FEWEST = 32  # groups whose gradients are held at a time, where all of them do not fit


def measure_gradient(problem: Problem, settings: GradientSettings, ask: Ask) -> Measured | None:
    """Arrays and facts of the section `gradient`; None where it was asked to stop.

    What has no time is left out and said: groups beyond 32, then single samples, then the steps down the gradient.

    Args:
        ask: called after each group with 1; true asks to stop.

    Raises:
        LandscapeError: the loss has no gradient, or one that is not finite (exit 3); the groups' do not fit in memory.
    """
    problem, told = derivable(problem)
    split = next(iter(problem.splits.values()))
    groups = _merged(sample_groups(split, settings.samples, settings.seed), problem)
    objective, _ = make_objective(problem, split, torch.cat(groups), in_place_plan(problem).batch)
    refuse_false_gradient(objective)
    budget = Budget(ask, seconds(settings.time))
    gradients, losses = _by_group(objective, groups, budget)
    if budget.wanted:
        return None
    left = len(groups) - len(losses)
    late = [f"{left} of {len(groups)} groups"] if left else []
    groups = groups[: len(losses)]
    objective = objective.on(torch.cat(groups))
    sizes = torch.stack([split.weights[g.to(split.weights.device)].sum() for g in groups]).cpu()
    squares, pairs = (None, None) if budget.late else per_sample(objective, groups, budget)
    late += ["single samples"] if budget.late else []
    budget.part(last=True)
    arrays = {
        "group_sizes": sizes,
        "group_losses": torch.tensor(losses, dtype=torch.float64),
        "group_products": _products(gradients),
        "layer_norms": _norms(objective, (sizes / sizes.sum()).to(gradients) @ gradients),
        "weight_norms": torch.stack([w.double().norm() for w in problem.centre.values()]),
        "sample_squares": torch.zeros(len(groups)) if squares is None else squares,
        "sample_counts": torch.tensor([float(len(g)) for g in groups]),
        **({} if pairs is None else {"pair_products": pairs}),
    }
    tried, found = ({}, {}) if budget.stopped else _down(objective, settings.seed, budget)
    late += ["steps down the gradient"] if budget.late else []
    if budget.wanted:
        return None
    facts = {
        "parameters": list(problem.centre),
        "samples": len(objective.rows),
        "dtype": problem.dtype,
        "decay": problem.loss.settings.weight_decay,
        "per_sample": "exact" if squares is not None else f"{len(groups)} micro-batches",
        "notes": list(told),
        "out_of_time": late,
        **found,
    }
    return {name: tensor.double().cpu().numpy() for name, tensor in arrays.items()} | tried, facts


def _by_group(objective: Objective, groups: list[Tensor], budget: Budget) -> tuple[Tensor, list[float]]:
    """(G, P) the gradient over each group, and the mean losses; of 32 groups at least."""
    gradients = torch.empty(len(groups), objective.size, dtype=objective.like.dtype)
    losses: list[float] = []
    budget.part()
    for i, group in enumerate(groups):
        if budget.wanted or (budget.late and i >= FEWEST):
            break
        loss, gradient = objective.on(group).gradient()
        if not bool(gradient.isfinite().all()):
            hint = "look at the loss and its derivative there: a root or a logarithm of 0?"
            raise LandscapeError("the gradient at the checkpoint is not finite", hint, ExitCode.INCONCLUSIVE)
        gradients[i] = gradient
        losses.append(loss)
        budget(1)
    return gradients[: len(losses)], losses


def _down(objective: Objective, seed: int, budget: Budget) -> Measured:
    """How the loss falls on one half of the samples down the gradient of the other; nothing of under four."""
    if len(objective.rows) < 4:
        return {}, {}
    one, other = (objective.on(rows) for rows in halves(objective.rows, seed))
    return judge(other, down_the_gradient(one), objective.split, budget)


def sample_groups(split: Split, samples: int | None, seed: int) -> list[Tensor]:
    """The rows of each sample group: those of the split, or of a seeded subset dealt anew; of samples that count."""
    table = split.group_rows.cpu()
    groups = [rows[rows >= 0] for rows in table]
    if samples is not None and samples < len(split):
        chosen = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))[:samples].sort().values
        groups = [chosen[rows[rows >= 0]] for rows in deal(samples, seed)]
    counted = split.counted.cpu()
    counting = [kept for rows in groups if len(kept := rows[counted[rows]])]
    if not counting:
        raise LandscapeError("none of the chosen samples has a target that counts", "choose more, or another seed")
    return counting


def _merged(groups: list[Tensor], problem: Problem) -> list[Tensor]:
    """The groups, or pairs of them where the gradients of all do not fit in memory."""
    room = free_bytes(torch.device("cpu")) / 3
    needed = sum(t.numel() * t.element_size() for t in problem.centre.values())
    if needed * len(groups) <= room:
        return groups
    if len(groups) < FEWEST or needed * FEWEST > room:
        what = f"{FEWEST} gradients of {needed >> 20} MiB"
        raise LandscapeError(f"the gradient needs memory for {what}", "leave out [gradient]", ExitCode.INCONCLUSIVE)
    return [torch.cat(groups[i::FEWEST]) for i in range(FEWEST)]


def _products(gradients: Tensor) -> Tensor:
    """(G, G) inner products in float64, a piece of the parameters at a time."""
    total = torch.zeros(len(gradients), len(gradients), dtype=torch.float64)
    for piece in torch.split(gradients, 1 << 16, dim=1):
        total += piece.double() @ piece.double().T
    return total


def _norms(objective: Objective, gradient: Tensor) -> Tensor:
    """The norm over each parameter tensor."""
    sizes = [t.numel() for t in objective.problem.centre.values()]
    return torch.stack([part.double().norm() for part in torch.split(gradient, sizes)])


def per_sample(objective: Objective, groups: list[Tensor], budget: Budget) -> tuple[Tensor | None, Tensor | None]:
    """Each group's Σ‖gᵢ‖² (G,), and (dᵀd′)² for independent d, d′ of covariance Σ, which estimate tr Σ²; in float64.

    gᵢ is the gradient of sample i's own loss, times its weight over the mean weight. None where torch.func has no rule
    for the model, where one gradient is too large, or where it was told to stop.
    """
    size = HELD // (objective.size * objective.like.element_size())
    if size < 1:
        return None, None
    budget.part()
    squares, pairs = [], []
    try:
        for group in groups:
            total = torch.zeros((), dtype=torch.float64)
            for gradients in _each(objective, group, size):
                if budget.spend(0):
                    return None, None
                total += (gradients.double() ** 2).sum().cpu()
                quads = gradients[: len(gradients) // 4 * 4].double().reshape(-1, 4, objective.size)
                along = ((quads[:, 0] - quads[:, 1]) * (quads[:, 2] - quads[:, 3])).sum(-1) / 2
                pairs.append((along**2).cpu())
            squares.append(total)
            budget.spend(1)
    except (RuntimeError, NotImplementedError, LandscapeError):
        return None, None
    found = torch.cat(pairs)
    return torch.stack(squares), found if len(found) else None


def _each(objective: Objective, rows: Tensor, size: int) -> Iterator[Tensor]:
    """(B, P) the gradients of single samples."""
    problem, split = objective.problem, objective.split
    mean = split.weights[objective.rows.to(split.weights.device)].mean()

    def loss(point: dict[str, Tensor], inputs: Any, target: Tensor, weight: Tensor) -> Tensor:
        outputs = objective.forward(point, data.apply(lambda t: t.unsqueeze(0), inputs))
        return problem.loss.alone(outputs, target.unsqueeze(0))[0] * weight

    point = {name: tensor.to(objective.like.dtype) for name, tensor in problem.centre.items()}
    with objective.differentiating():
        for some in torch.split(rows, min(size, objective.batch)):
            inputs = data.apply(lambda t, some=some: t[some.to(t.device)].to(problem.device), split.inputs)  # type: ignore[misc]
            targets = split.targets[some.to(split.targets.device)].to(sums_on(problem.device))
            weights = (split.weights[some.to(split.weights.device)] / mean).to(targets.device)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "There is a performance drop")  # of layers that vmap takes one by one
                made = vmap(grad(loss), in_dims=(None, 0, 0, 0), randomness="error")(point, inputs, targets, weights)
            yield torch.cat([made[name].reshape(len(some), -1) for name in problem.centre], dim=1)
