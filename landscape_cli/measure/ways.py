"""Ways down: directions found on one half of the samples, and how the loss falls along them on the other half.

What the verdict on a checkpoint is made of. J = L + ½·wd·‖θ‖² where the job names a weight decay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape_cli.measure.budget import Budget
from landscape_cli.measure.data import Split
from landscape_cli.measure.directions import Direction
from landscape_cli.measure.evaluate import evaluate
from landscape_cli.measure.lanczos import Spectrum
from landscape_cli.measure.objective import Objective
from landscape_cli.measure.planner import in_place_plan
from landscape_cli.measure.problem import Problem
from landscape_cli.section import Measured

REACH = 0.01  # of ‖θ‖: the longest step
HALVINGS = 20  # steps: REACH·‖θ‖, half of it, a quarter, …


def halves(rows: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The samples dealt into two halves, by seed."""
    shuffled = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    return shuffled[: len(rows) // 2], shuffled[len(rows) // 2 :]


def ways(objective: Objective, spectrum: Spectrum, judged: Objective) -> Iterator[tuple[str, Tensor]]:
    """(name, unit vector) of each candidate: down the gradient, both ways along eigenvectors, and along the head.

    Args:
        objective, spectrum: of the half on which directions are found.
        judged: the other half, for the size of the model alone.
    """
    yield from down_the_gradient(objective)
    for i, vector in enumerate(spectrum.bottom_vectors):
        flat = abs(spectrum.bottom[i]) <= spectrum.bottom_residuals[i]  # to second order
        if i == 0 or flat or (spectrum.converged_bottom[i] and spectrum.bottom[i] < 0):
            yield from _both(f"bottom {i}", vector, (1.0, -1.0))
    yield from _both("top", spectrum.top_vectors[0], (1.0, -1.0))
    yield from _both("last layer", _last_layer(judged), (1.0, -1.0))


def down_the_gradient(objective: Objective) -> Iterator[tuple[str, Tensor]]:
    """The unit vector along -∇J; none where that is zero."""
    decay = objective.problem.loss.settings.weight_decay
    gradient = objective.gradient()[1].to(objective.like) + decay * objective.centre()
    yield from _both("gradient", -gradient, (1.0,))


def _both(name: str, vector: Tensor, signs: tuple[float, ...]) -> Iterator[tuple[str, Tensor]]:
    """The unit vector with each sign; none where it is zero."""
    norm = float(vector.double().norm())
    for sign in signs if norm > 0 else ():
        yield f"{'-' if sign < 0 else '+'}{name}", sign / norm * vector


def _last_layer(objective: Objective) -> Tensor:
    """The weights of the last linear or convolutional layer that is moved, 0 elsewhere: scaling the head.

    Where they are tied to another layer's they are moved for both.
    """
    last = last_executed(objective.problem, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    parts = [t if n == last else torch.zeros_like(t) for n, t in objective.problem.centre.items()]
    return torch.cat([part.reshape(-1) for part in parts]).to(objective.like)


def last_executed(problem: Problem, kinds: tuple[type[nn.Module], ...]) -> str | None:
    """The selected parameter that is the weight of the last layer of these kinds in a pass; None if there is none."""
    named = {id(parameter): name for name, parameter in problem.model.named_parameters() if name in problem.centre}
    seen: list[str] = []

    def note(layer: nn.Module, args: object, answer: object) -> None:
        if id(layer.weight) in named:
            seen.append(named[id(layer.weight)])

    layers = [module for module in problem.model.modules() if isinstance(module, kinds)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        with problem.measuring():
            problem.forward(next(iter(problem.splits.values())).rows(slice(0, 1), problem.device)[0])
    finally:
        for hook in hooks:
            hook.remove()
    return seen[-1] if seen else None


def judge(objective: Objective, found: Iterator[tuple[str, Tensor]], split: Split, budget: Budget) -> Measured:
    """How J changes along each way at geometric steps, by groups of the half that judges; nothing if told to stop.

    Returns:
        The arrays of profile.WAYS, none where there is no way; and as facts the ways' names and the half's mean loss.
    """
    problem = objective.problem
    part = split.select(objective.rows)
    half = replace(problem, splits={part.name: part})
    plan = in_place_plan(half)
    decay = problem.loss.settings.weight_decay
    centre = objective.centre().double()
    steps = REACH * (float(centre.norm()) or 1.0) * 2.0 ** -np.arange(HALVINGS)[::-1].astype(np.float64)
    loss, gradient = objective.gradient()
    gradient = gradient + decay * centre
    names, changes, groups, penalties, slopes = [], [], [], [], []
    for name, vector in found:
        recipe: dict[str, Any] = {}
        pieces = dict(zip(problem.centre, objective.unflat(vector), strict=True))
        direction = Direction({n: t.to(problem.centre[n]) for n, t in pieces.items()}, {}, recipe)
        points = np.concatenate([[0.0], steps])[:, None]
        blocks = []
        for block in evaluate(half, [direction], points, "frozen", plan):
            if budget.spend(0):
                return {}, {}
            blocks.append(block)
        losses = np.concatenate([block.results[part.name].loss for block in blocks])
        each = np.concatenate([block.results[part.name].loss_groups for block in blocks])
        names.append(name)
        changes.append(losses[1:] - losses[0])
        groups.append(each[1:] - each[0])
        along = float(centre @ vector.to(centre))
        penalties.append(decay * (steps * along + 0.5 * steps**2))
        slopes.append(float(gradient @ vector.to(gradient)))
    arrays = {
        "way_steps": steps,
        "way_changes": np.array(changes),
        "way_spread": np.array(groups),
        "way_penalties": np.array(penalties),
        "way_slopes": np.array(slopes),
        "way_sizes": part.group_sizes.cpu().numpy(),
    }
    return (arrays, {"ways": names, "judged_loss": loss}) if names else ({}, {})
