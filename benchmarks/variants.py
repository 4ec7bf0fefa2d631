"""The engine's own contenders: the planner's choice, and each strategy with its best batch and points per pass."""

from __future__ import annotations

import importlib
import itertools
import math
from dataclasses import dataclass, replace

from contenders import Case, Contender, engine
from counting import largest_activation
from timing import sample

from landscape_cli.errors import LandscapeError
from landscape_cli.measure import planner
from landscape_cli.measure.plan import Plan

PLANNER = "planner's choice"
BATCHES = {"cpu": (32, 64, 125, 250, 600), "cuda": (1024, 2500)}  # besides the planner's and all samples at once
POINTS = {"stacked": (2, 8, 16, 32, 64), "vmap": (1, 4, 16)}  # points per pass that are tried; of other strategies 1
LADDER = [2**power for power in range(11)]  # points per pass that a GPU shows one by one
ROOM = {"cpu": 64 << 20, "cuda": 16 << 30}  # bytes of the largest activation of a pass
TRIAL = 0.3  # seconds of points by which the variants of a strategy are told apart
LONGEST = 3.0  # seconds of one pass, but for the fewest points


@dataclass(frozen=True)
class Search:
    """The variants of one case: its planner's choice as a base, and the seconds of a point by it."""

    case: Case
    base: Plan
    seconds: float
    largest: int
    threads: int
    quick: bool


def planned(case: Case) -> Plan:
    """The planner's choice for a plane of 51×51 points."""
    return planner.choose(case.problem, [case.plane]).plan


def strategies() -> list[str]:
    """Every strategy of the engine, by name."""
    try:
        return list(importlib.import_module("landscape_cli.measure.strategies").STRATEGIES)
    except ModuleNotFoundError:
        return ["in place"]


def line_up(case: Case, threads: int, quick: bool) -> tuple[list[Contender], list[str]]:
    """The planner's choice and the best variant of every strategy, and why any is missing."""
    base = planned(case)
    chosen = engine(case, PLANNER, base)
    seconds = sample(chosen.build(case.points[: 2 * chosen.block]), case.device, threads).seconds
    search = Search(case, base, seconds, largest_activation(case.workload), threads, quick)
    found, notes = [chosen], []
    for strategy in strategies():
        try:
            found.append(_best(search, strategy))
        except LandscapeError as error:
            notes.append(f"{strategy}: {error.message}")
    return found + _ladder(search), notes


def _best(search: Search, strategy: str) -> Contender:
    """The fastest variant of a strategy.

    Raises:
        LandscapeError: the strategy cannot be had for this model.
    """
    tried = [engine(search.case, strategy, plan) for plan in _plans(search, strategy)]
    return min(tried, key=lambda contender: _trial(search, contender))


def _trial(search: Search, contender: Contender) -> float:
    """Seconds per point, over a short run of two passes at least."""
    case, block = search.case, contender.block
    passes = 1 if search.quick else math.ceil(TRIAL / (block * search.seconds))
    return sample(contender.build(case.points[: block * (1 + passes)]), case.device, search.threads).seconds


def _plans(search: Search, strategy: str) -> list[Plan]:
    """What is worth trying: passes that fit in cache or memory and do not take too long."""
    kind, samples = search.case.device.type, len(search.case.workload.targets)
    counts, batches = POINTS.get(strategy, (1,)), dict.fromkeys([search.base.batch, samples, *BATCHES[kind]])
    pairs = [(count, batch) for count, batch in itertools.product(counts, batches) if batch <= samples]
    fitting = [
        (count, batch)
        for count, batch in pairs
        if count * batch * search.largest <= ROOM[kind] and (count == counts[0] or count * search.seconds <= LONGEST)
    ]
    chosen = (fitting or pairs[:1])[: 1 if search.quick else None]
    return [replace(search.base, strategy=strategy, points_per_pass=count, batch=batch) for count, batch in chosen]


def _ladder(search: Search) -> list[Contender]:
    """Stacked points per pass from 1 to 1024, of the digits' perceptron on a GPU."""
    case, samples = search.case, len(search.case.workload.targets)
    if case.device.type != "cuda" or case.workload.name != "mlp" or "stacked" not in strategies():
        return []
    plan = replace(search.base, strategy="stacked", batch=samples)
    return [engine(case, f"stacked, K = {count}", replace(plan, points_per_pass=count)) for count in LADDER]


def points_for(contender: Contender, case: Case, seconds: float, threads: int) -> int:
    """How many points a round takes: whole passes, two at least, for about `seconds` after the first."""
    block = contender.block
    each = sample(contender.build(case.points[: 2 * block]), case.device, threads).seconds
    passes = 1 + max(1, math.ceil(seconds / (each * block)))
    return min(len(case.points), passes * block)
