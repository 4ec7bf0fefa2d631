"""How the loss changes around the checkpoint: by the engine, over each sample group, at random perturbations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape_cli.measure import planner
from landscape_cli.measure.directions import Direction, Lazy, Plane, standard_normal
from landscape_cli.measure.evaluate import evaluate
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem, free_bytes
from landscape_cli.measure.strategies import MANY
from landscape_cli.profile import Axis, Floats

TRIALS = 16  # values of σ at most
WIDTH = 1.2  # ratio of the two σ between which the rise passes the one that is asked for: interpolated from there
BROKEN = 1.02  # the same where the upper one's rise is not finite: nothing to interpolate
SMALLEST, LARGEST = 1e-6, 10.0  # σ, in multiples of each weight
ROOM = 0.1  # of the free memory that the perturbations of one pass may take
Tick = Callable[[int], None]  # told of each unit of work; raises where it is asked to stop
Draw = Callable[[int], Direction]


@dataclass(frozen=True)
class Around:
    """A problem of one split, the plan that measures its loss, and that loss at the checkpoint, by group (G,)."""

    problem: Problem
    plan: Plan
    centre: Floats

    @classmethod
    def of(cls, problem: Problem, plan: Plan) -> Around:
        """With the checkpoint's losses measured."""
        return cls(problem, plan, _losses(problem, [], np.zeros((1, 0)), plan)[0])

    def rises(self, directions: list[Direction], coordinates: Floats) -> Floats:
        """(points, G) by how much each group's mean loss rises; coordinates (points, d)."""
        with np.errstate(invalid="ignore", over="ignore"):
            found: Floats = _losses(self.problem, directions, coordinates, self.plan) - self.centre
        return found

    def pairs(self, draw: Draw, size: float, count: int, tick: Tick) -> Floats:
        """(count, G) the rise at plus and at minus `size` times each direction drawn, the mean of the two."""
        at_a_time, rows = self._room(count), []
        for first in range(0, count, at_a_time):
            made = [draw(k) for k in range(first, min(first + at_a_time, count))]
            ends = size * np.eye(len(made))
            with np.errstate(invalid="ignore", over="ignore"):
                rows.append(self.rises(made, np.concatenate([ends, -ends])).reshape(2, len(made), -1).mean(0))
            tick(len(made))
        return np.concatenate(rows)

    def _room(self, count: int) -> int:
        """How many directions are taken at a time: more than one where a pass takes many points."""
        if self.plan.strategy not in MANY:
            return 1
        weights = sum(t.numel() * t.element_size() for t in self.problem.centre.values())
        fitting = int(free_bytes(self.problem.device) * ROOM // max(1, weights))
        return max(1, min(count, fitting, self.plan.points_per_pass // 2))


def _losses(problem: Problem, directions: list[Direction], coordinates: Floats, plan: Plan) -> Floats:
    """(points, G) the mean loss of each sample group, batch norm as it is stored."""
    name = next(iter(problem.splits))
    blocks = evaluate(problem, directions, coordinates, "frozen", plan)
    return np.concatenate([block.results[name].loss_groups for block in blocks])


def gaussian(problem: Problem, seed: int, adaptive: bool) -> Draw:
    """Independent normal entries of standard deviation 1, or |θ| where adaptive; the same on every device."""
    needed = sum(t.numel() * t.element_size() for t in problem.centre.values())
    again = needed > free_bytes(problem.device) // 4  # drawn when they are asked for, and not kept

    def draw(k: int) -> Direction:
        def entries(name: str) -> Tensor:
            weight = problem.centre[name]
            noise = standard_normal(weight, seed, f"draw {k}", name)
            return noise * weight.abs() if adaptive else noise

        drawn = Lazy(problem.centre, entries)
        return Direction(drawn if again else dict(drawn), {}, {})

    return draw


def chosen_plan(problem: Problem, draw: Draw, size: float, points: int) -> Plan:
    """The engine's plan for so many points, each candidate checked at perturbations of this size."""
    ends = Axis(np.array([-size, size]))
    many = Axis(np.linspace(-size, size, max(2, points // 2)))  # so that timing them takes its share of the time
    plane = Plane("neighbourhood", ends, many, (draw(0), draw(1)), "frozen", np.eye(2), {})
    return planner.choose(problem, [plane]).plan


def around_rise(
    rise_at: Callable[[float], Floats], sizes: Floats, start: float, wanted: float
) -> tuple[Floats, Floats]:
    """The σ tried until two neighbours hold the one at which the mean rise passes `wanted`; bisection in log σ.

    The rise is about quadratic in σ, which is where the first steps lead; what is not finite counts as above. Where it
    passes more than once, this is one of them.

    Args:
        rise_at: (draws, G) of a σ, over the same draws each time.
        sizes: (G,) the weight of each sample group.

    Returns:
        σ (S,) in the order of trial, and the rises (S, draws, G).
    """
    tried: list[float] = []
    rises: list[Floats] = []
    share, low, high = sizes / sizes.sum(), (0.0, 0.0), (np.inf, np.inf)
    sigma: float | None = start
    while sigma is not None and len(tried) < TRIALS:
        tried.append(sigma)
        rises.append(rise_at(sigma))
        with np.errstate(invalid="ignore", over="ignore"):
            mean = float(np.where(share > 0, rises[-1] * share, 0.0).sum(-1).mean())
        if mean <= wanted:
            low = sigma, mean
        else:
            high = sigma, mean
        sigma = _next(low, high, wanted)
    return np.array(tried), np.array(rises)


def _next(low: tuple[float, float], high: tuple[float, float], wanted: float) -> float | None:
    """The σ to try after (σ, rise) below and above; None where they are close, or there is nowhere to go."""
    if low[0] and np.isfinite(high[0]):
        close = WIDTH if np.isfinite(high[1]) else BROKEN
        return float(np.sqrt(low[0] * high[0])) if high[0] > close * low[0] else None
    if low[0]:
        guess = 1.1 * np.sqrt(wanted / low[1]) if low[1] > 0 else np.inf
        return min(low[0] * min(guess, 4.0), LARGEST) if low[0] < LARGEST else None
    guess = np.sqrt(wanted / high[1]) / 1.1 if np.isfinite(high[1]) else 0.0
    return max(high[0] * max(guess, 0.25), SMALLEST) if high[0] > SMALLEST else None


def as_direction(problem: Problem, pieces: list[Tensor]) -> Direction:
    """Tensors in the order of the parameters as a direction of the engine."""
    named = zip(problem.centre.items(), pieces, strict=True)
    return Direction({name: piece.to(centre) for (name, centre), piece in named}, {}, {})


def every_group(problem: Problem) -> list[torch.Tensor]:
    """The rows of each sample group of the problem's one split."""
    split = next(iter(problem.splits.values()))
    return [rows[rows >= 0] for rows in split.group_rows.cpu()]
