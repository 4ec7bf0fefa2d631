"""Neighbourhoods of the checkpoint: how far the loss rises there on average, and at the worst."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape_cli.measure.ascent import Ascent, Ball, ascend
from landscape_cli.measure.gradient import Ask, Measured, sample_groups
from landscape_cli.measure.invariants import fisher_rao, last_linear, relative_flatness
from landscape_cli.measure.objective import Objective, make_objective
from landscape_cli.measure.perturb import TRIALS, Around, Tick, around_rise, chosen_plan, gaussian
from landscape_cli.measure.planner import in_place_plan
from landscape_cli.measure.problem import Problem
from landscape_cli.profile import Floats
from landscape_cli.settings import SharpnessSettings


class StoppedError(Exception):
    """A measurement was asked to stop."""


def measure_sharpness(problem: Problem, settings: SharpnessSettings, ask: Ask) -> Measured | None:
    """Arrays and facts of the section `sharpness`; None where it was asked to stop.

    Args:
        ask: called after each pair of perturbations, step of an ascent or product with 1; true asks to stop.

    Raises:
        LandscapeError: the loss has no gradient.
    """

    def tick(units: int) -> None:
        if ask(units):
            raise StoppedError

    try:
        return _measured(of_some_samples(problem, settings), settings, tick)
    except StoppedError:
        return None


def of_some_samples(problem: Problem, settings: SharpnessSettings) -> Problem:
    """The problem of the first split alone, or of the fixed subset of it that the settings ask for."""
    split = next(iter(problem.splits.values()))
    if settings.samples is not None and settings.samples < len(split):
        split = split.select(torch.cat(sample_groups(split, settings.samples, settings.seed)).sort().values)
    return replace(problem, splits={split.name: split})


def _measured(problem: Problem, settings: SharpnessSettings, tick: Tick) -> Measured:
    split = next(iter(problem.splits.values()))
    rows = torch.arange(len(split))
    objective, notes = make_objective(problem, split, rows, in_place_plan(problem).batch)
    draw = gaussian(problem, settings.seed, adaptive=True)
    around = Around.of(problem, chosen_plan(problem, draw, settings.adaptive_sigma, _points(settings)))
    arrays, no_step = _averages(around, settings, tick), []
    for name, found in _worst(objective, around, settings, tick):
        arrays |= {f"{name}_curves": found.curves, f"{name}_groups": found.groups}
        no_step += [] if found.one_step else [name]
    arrays = _together(arrays, len(settings.keskar))
    invariants, facts = _invariants(objective, settings, tick)
    facts |= {
        "samples": len(split), "dtype": problem.dtype, "plan": str(around.plan), "route": objective.route,
        "scaled": list(problem.centre), "zeros": _zeros(problem), "no_step": no_step,
        "notes": list(notes) if settings.relative_flatness else [],
    }  # fmt: skip
    return {**arrays, **invariants}, facts


def _averages(around: Around, settings: SharpnessSettings, tick: Tick) -> dict[str, Floats]:
    """The rises over random perturbations: plain ones of one σ, adaptive ones of all that the bisection tries."""
    sizes = next(iter(around.problem.splits.values())).group_sizes.cpu().numpy()
    plain, adaptive = (gaussian(around.problem, settings.seed, adaptive=scaled) for scaled in (False, True))

    def rise_at(sigma: float) -> Floats:
        return around.pairs(adaptive, sigma, settings.draws, tick)

    sigmas, rises = around_rise(rise_at, sizes, settings.adaptive_sigma, settings.rise)
    return {
        "group_sizes": sizes,
        "centre_groups": around.centre,
        "average_groups": around.pairs(plain, settings.sigma, settings.draws, tick),
        "adaptive_sigmas": sigmas,
        "adaptive_groups": rises,
    }


def _worst(
    objective: Objective, around: Around, settings: SharpnessSettings, tick: Tick
) -> Iterator[tuple[str, Ascent]]:
    """The ascent in each ball, under its name."""
    for name, ball in balls(objective, settings):
        yield name, ascend(objective, around, ball, settings.ascent, settings.starts, settings.seed, tick)


def balls(objective: Objective, settings: SharpnessSettings) -> Iterator[tuple[str, Ball]]:
    """Where the loss is maximised: Foret et al. 2021, Kwon et al. 2021, and the boxes of Keskar et al. 2017."""

    def size() -> Tensor:
        return objective.centre().abs()

    yield "worst", Ball(torch.ones_like(size()), settings.rho)
    yield "worst_adaptive", Ball(size() + settings.eta, settings.adaptive_rho)
    for i, eps in enumerate(settings.keskar):
        yield f"keskar.{i}", Ball(size() + 1, eps, box=True)


def _together(arrays: dict[str, Floats], boxes: int) -> dict[str, Floats]:
    """The arrays of the boxes stacked, one after the other; none where none is asked for."""
    kept = {name: array for name, array in arrays.items() if not name.startswith("keskar.")}
    for kind in ("curves", "groups") if boxes else ():
        kept[f"keskar_{kind}"] = np.stack([arrays[f"keskar.{i}_{kind}"] for i in range(boxes)])
    return kept


def _invariants(
    objective: Objective, settings: SharpnessSettings, tick: Tick
) -> tuple[dict[str, Floats], dict[str, Any]]:
    """What is measured on request, and how."""
    arrays: dict[str, Floats] = {}
    facts: dict[str, Any] = {}
    if settings.relative_flatness:
        layer = facts["layer"] = last_linear(objective)
        if layer is not None:
            arrays["flatness_groups"] = relative_flatness(objective, layer, settings.draws, settings.seed, tick)
    if settings.fisher_rao:
        arrays["fisher_groups"], facts["slopes"] = fisher_rao(objective)
        tick(1)
    return arrays, facts


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
