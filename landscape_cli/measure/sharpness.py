"""Neighbourhoods of the checkpoint: how far the loss rises there on average, and at the worst."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from landscape_cli.measure.ascent import Ball, ascend
from landscape_cli.measure.budget import Ask, Budget, StoppedError, measured_in_time
from landscape_cli.measure.gradient import sample_groups
from landscape_cli.measure.invariants import fisher_rao, last_linear, relative_flatness
from landscape_cli.measure.objective import Objective
from landscape_cli.measure.perturb import TRIALS, Around, Tick, around_rise, chosen_plan, gaussian
from landscape_cli.measure.planner import in_place_plan
from landscape_cli.measure.precision import derivable
from landscape_cli.measure.problem import Problem
from landscape_cli.measure.routes import make_objective
from landscape_cli.profile import Floats
from landscape_cli.section import Measured
from landscape_cli.settings import SharpnessSettings, seconds


def measure_sharpness(problem: Problem, settings: SharpnessSettings, ask: Ask) -> Measured | None:
    """Arrays and facts of the section `sharpness`; None where it was asked to stop.

    Args:
        ask: called after each pair of perturbations, step of an ascent or product with 1; true asks to stop.

    Raises:
        LandscapeError: the loss has no gradient.
    """
    problem, told = derivable(of_some_samples(problem, settings))
    budget = Budget(ask, seconds(settings.time))
    split = next(iter(problem.splits.values()))
    objective, notes = make_objective(problem, split, torch.arange(len(split)), in_place_plan(problem).batch)
    draw = gaussian(problem, settings.seed, adaptive=True)
    around = Around.of(problem, chosen_plan(problem, draw, settings.adaptive_sigma, _points(settings)))
    found = measured_in_time(parts(objective, around, settings, ticking(budget)), budget)
    if found is None:
        return None
    return {"group_sizes": split.group_sizes.cpu().numpy(), "centre_groups": around.centre, **found[0]}, {
        "samples": len(split), "dtype": problem.dtype, "plan": str(around.plan), "route": objective.route,
        "scaled": list(problem.centre), "zeros": _zeros(problem),
        "notes": [*told, *(notes if settings.relative_flatness else ())], **found[1],
    }  # fmt: skip


def ticking(budget: Budget) -> Tick:
    """A count of units of work that ends the part which is to stop."""

    def tick(units: int) -> None:
        if budget.spend(units):
            raise StoppedError

    return tick


def of_some_samples(problem: Problem, settings: SharpnessSettings) -> Problem:
    """The problem of the first split alone, or of the fixed subset of it that the settings ask for."""
    split = next(iter(problem.splits.values()))
    if settings.samples is not None and settings.samples < len(split):
        split = split.select(torch.cat(sample_groups(split, settings.samples, settings.seed)).sort().values)
    return replace(problem, splits={split.name: split})


def parts(
    objective: Objective, around: Around, settings: SharpnessSettings, tick: Tick
) -> dict[str, Callable[[], Measured]]:
    """What is measured, under the names of the statistics, in this order."""
    asked: dict[str, Callable[[], Measured]] = {
        "average_adaptive": lambda: (_adaptive(around, settings, tick), {}),
        "worst_adaptive": lambda: _worst("worst_adaptive", adaptive_ball, objective, around, settings, tick),
        "average": lambda: ({"average_groups": _pairs(around, settings, tick)}, {}),
        "worst": lambda: _worst("worst", plain_ball, objective, around, settings, tick),
    }
    if settings.keskar:
        asked["keskar"] = lambda: (_keskar(objective, around, settings, tick), {})
    if settings.relative_flatness:
        asked["relative_flatness"] = lambda: _flatness(objective, settings, tick)
    if settings.fisher_rao:
        asked["fisher_rao"] = lambda: _fisher(objective, tick)
    return asked


def _pairs(around: Around, settings: SharpnessSettings, tick: Tick) -> Floats:
    """(draws, G) rises over random perturbations of one σ."""
    return around.pairs(gaussian(around.problem, settings.seed, adaptive=False), settings.sigma, settings.draws, tick)


def _adaptive(around: Around, settings: SharpnessSettings, tick: Tick) -> dict[str, Floats]:
    """The rises over perturbations in proportion to the parameters, at all σ that the bisection tries."""
    draw = gaussian(around.problem, settings.seed, adaptive=True)
    sizes = next(iter(around.problem.splits.values())).group_sizes.cpu().numpy()

    def rise_at(sigma: float) -> Floats:
        return around.pairs(draw, sigma, settings.draws, tick)

    sigmas, rises = around_rise(rise_at, sizes, settings.adaptive_sigma, settings.rise)
    return {"adaptive_sigmas": sigmas, "adaptive_groups": rises}


def _worst(
    name: str, ball: Callable[[Objective, SharpnessSettings], Ball],
    objective: Objective, around: Around, settings: SharpnessSettings, tick: Tick,
) -> Measured:  # fmt: skip
    """The ascent in one ball."""
    found = ascend(objective, around, ball(objective, settings), settings.ascent, settings.starts, settings.seed, tick)
    arrays = {f"{name}_curves": found.curves, f"{name}_groups": found.groups}
    return arrays, {} if found.one_step else {f"{name}_no_step": True}


def _keskar(objective: Objective, around: Around, settings: SharpnessSettings, tick: Tick) -> dict[str, Floats]:
    """The ascents in all boxes."""
    found = [
        ascend(objective, around, box(objective, eps), settings.ascent, settings.starts, settings.seed, tick)
        for eps in settings.keskar
    ]
    return {"keskar_curves": np.stack([f.curves for f in found]), "keskar_groups": np.stack([f.groups for f in found])}


def _flatness(objective: Objective, settings: SharpnessSettings, tick: Tick) -> Measured:
    """Of the last linear layer, where there is one."""
    layer = last_linear(objective)
    if layer is None:
        return {}, {"layer": None}
    found = relative_flatness(objective, layer, settings.draws, settings.seed, tick)
    return {"flatness_groups": found}, {"layer": layer}


def _fisher(objective: Objective, tick: Tick) -> Measured:
    found, way = fisher_rao(objective)
    tick(1)
    return {"fisher_groups": found}, {"slopes": way}


def plain_ball(objective: Objective, settings: SharpnessSettings) -> Ball:
    """Foret et al. 2021."""
    return Ball(torch.ones_like(objective.centre()), settings.rho)


def adaptive_ball(objective: Objective, settings: SharpnessSettings) -> Ball:
    """Kwon et al. 2021."""
    return Ball(objective.centre().abs() + settings.eta, settings.adaptive_rho)


def box(objective: Objective, eps: float) -> Ball:
    """Keskar et al. 2017."""
    return Ball(objective.centre().abs() + 1, eps, box=True)


def _zeros(problem: Problem) -> int:
    """How many parameters are 0: what is in proportion to them leaves them where they are."""
    return sum(int((t == 0).sum()) for t in problem.centre.values())


def _points(settings: SharpnessSettings) -> int:
    """About how many points the engine will measure."""
    return 2 * settings.draws * (2 + TRIALS // 3)


def steps_asked(settings: SharpnessSettings) -> int:
    """The most units of work that the settings may take."""
    pairs = settings.draws * (1 + TRIALS)
    steps = (2 + len(settings.keskar)) * settings.starts * (1 + settings.ascent)
    return pairs + steps + settings.draws * settings.relative_flatness + settings.fisher_rao
