"""What fits and what is fastest: the plan of a run.

A run of less than ten seconds takes the rule of thumb. For a longer one the candidates are timed on the first samples
of the real problem, for a thirtieth of the time that the best of them would take, and the fastest is taken. Either way
a candidate must agree with a plain pass.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from landscape_cli.errors import LandscapeError, one_of
from landscape_cli.measure import data
from landscape_cli.measure.directions import Direction, Plane
from landscape_cli.measure.evaluate import threads
from landscape_cli.measure.forecast import activation_bytes
from landscape_cli.measure.model import memory_named, out_of_memory
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem, free_bytes, plain_loss
from landscape_cli.measure.strategies import MANY, STRATEGIES, Measure, mover, prepare
from landscape_cli.profile import Floats, agree
from landscape_cli.settings import RunSettings

# Of the largest activation of a batch: above 32 MB the CPU page-faults on each, and a GPU with less waits for launches.
ACTIVATION_BYTES = {"cpu": 8 << 20, "cuda": 64 << 20}
STACKED_BYTES = {"cpu": 16 << 20, "cuda": 1 << 30}  # of the same over all points of a pass that takes many
BATCH_CAP = 4096
SHORT = 10.0  # seconds of a run that are not worth timing candidates for
SHARE = 0.03  # of the run that the timing may take, by the best candidate so far
USUAL = ("stacked", "folded", "in place")  # the strategies that usually pay, in this order
TINY = 0.005  # seconds of a point below which a pass has too little work for all threads
COPIES = 4  # of the weights that must fit where many points are measured in a pass
WEIGHTS_SHARE = 0.1  # of the free memory that the weights of a pass may take
CHECKED = 64  # samples on which a candidate must agree with a plain pass
TRIAL = 0.03  # seconds that one timed pass should take
BATCHES_TIMED = 4  # of samples at least, of many points: stacking their weights takes its time but once in a pass
ALIKE = 1.05  # times as slow is as fast: timings of a few passes say no more
POINTS = {"cpu": (64, 32, 16, 8), "cuda": (1024, 256, 64, 16)}  # per pass that takes many, the best guess first
BATCHES = {"cpu": (8, 16, 32, 64, 125, 250, 600), "cuda": (256, 1024, 4096)}


@dataclass(frozen=True)
class Choice:
    """The plan that was taken, the seconds of a point by it, and what was found on the way."""

    plan: Plan
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """A candidate with its seconds per point."""

    plan: Plan
    seconds: float


def choose(problem: Problem, planes: Sequence[Plane] = ()) -> Choice:
    """The plan for these planes, as far as the problem leaves it open.

    Raises:
        LandscapeError: a strategy is asked for that there is not, or that this model does not have.
    """
    asked = problem.run.strategy
    if asked is not None and asked not in STRATEGIES:
        raise one_of("strategy", asked, [*STRATEGIES])
    points = sum(len(plane.coordinates) for plane in planes)
    with problem.measuring():
        base, slow = _that_fits(problem, planes, _in_place(problem))
        bench = Bench(problem, planes, base, slow)
        return bench.by_rule() if points * slow < SHORT else bench.by_time(points)


def _that_fits(problem: Problem, planes: Sequence[Plane], plan: Plan) -> tuple[Plan, float]:
    """The plan, its batch halved until it fits in memory, and its seconds per point."""
    while True:
        try:
            return plan, _seconds(problem, planes, plan, 0.0)
        except (RuntimeError, MemoryError) as error:
            smaller = plan.halved()
            if not out_of_memory(error) or smaller is None:
                with memory_named(plan.batch):
                    raise
        plan = smaller


def suits(problem: Problem, planes: Sequence[Plane], plan: Plan) -> bool:
    """True if every plane can be measured by this plan, and agrees with a plain pass."""
    with problem.measuring():
        return Bench(problem, planes, plan, 0.0)._fault(plan) is None


@dataclass(frozen=True)
class Bench:
    """Candidates for one problem; `slow` is the seconds of a point, weights in place."""

    problem: Problem
    planes: Sequence[Plane]
    base: Plan
    slow: float

    @property
    def asked(self) -> RunSettings:
        """What is not to be chosen."""
        return self.problem.run

    def by_rule(self) -> Choice:
        """The first of the usual order that this model has and that agrees with a plain pass."""
        notes: list[str] = []
        for wanted in self._usual(USUAL):
            plan, fault = self._working(wanted)
            if fault is None:
                return Choice(replace(plan, why="rule of thumb"), self.slow, tuple(notes))
            notes.append(f"{plan.strategy}: {fault.message}")
            if self.asked.strategy is not None:
                raise fault
        return Choice(replace(self.base, why="rule of thumb"), self.slow, tuple(notes))

    def by_time(self, points: int) -> Choice:
        """The fastest: of the strategies first, then of the variants of the best one, while the time lasts."""
        began = time.perf_counter()
        notes: list[str] = []
        trials = [Trial(self.base, self.slow)] if self.asked.strategy in (None, self.base.strategy) else []

        def late() -> bool:
            return time.perf_counter() - began > SHARE * points * min(trial.seconds for trial in trials)

        for wanted in [*self._usual(USUAL), *([] if self.asked.strategy else self._mapped())]:
            if len(trials) > 1 and late():
                break
            plan, fault = self._working(wanted)
            if fault is None:
                trials.append(Trial(plan, self._time(plan)))
            else:
                notes.append(f"{plan.strategy}: {fault.message}")
                if self.asked.strategy is not None:
                    raise fault
        for stage in (self._other_batches, self._other_points, self._other_threads):
            best = _best(trials)
            for plan in stage(best):
                if late():
                    break
                if self._fault(plan, few=1) is None:
                    trials.append(Trial(plan, self._time(plan)))
        return _fastest(trials, notes)

    def _mapped(self) -> Iterator[Plan]:
        """Mapping the model over its weights pays only where one point leaves the device idle."""
        if self.slow < TINY or not self._on_cpu:
            yield from self._usual(("vmap",))

    def _usual(self, names: tuple[str, ...]) -> Iterator[Plan]:
        """One plan for each strategy, or for the one that is asked for; the best guess first."""
        if not self.asked.strategy and self._room < COPIES:  # too large to be held several times: not even to try
            names = tuple(name for name in names if name not in MANY)
        images = any(t.dim() == 4 for s in self.problem.splits.values() for t in data.leaves(s.inputs))
        for name in (self.asked.strategy,) if self.asked.strategy else names:
            many = name in MANY
            points = (self.asked.points_per_pass or min(POINTS[_kind(self.problem)][0], self._room)) if many else 1
            batch = (self.asked.batch_size or self._batch(points)) if many else self.base.batch
            last = images and not many and self._on_cpu
            yield replace(self.base, strategy=name, points_per_pass=points, batch=batch, channels_last=last)

    @property
    def _room(self) -> int:
        """How many copies of the weights may be held at a time: the CPU's allocator does not say no, it is killed."""
        weights = sum(t.numel() * t.element_size() for t in self.problem.centre.values())
        return int(max(1, min(free_bytes(self.problem.device) * WEIGHTS_SHARE // max(1, weights), BATCH_CAP)))

    @property
    def _on_cpu(self) -> bool:
        return self.problem.device.type == "cpu"

    def _batch(self, points: int) -> int:
        kind = _kind(self.problem)
        room = ACTIVATION_BYTES[kind] if points == 1 else STACKED_BYTES[kind] // points
        fitting = room // max(1, activation_bytes(self.problem))
        return max(1, min(max(fitting, 16), _most(self.problem), BATCH_CAP))

    def _other_batches(self, best: Plan) -> Iterator[Plan]:
        """Of the best so far, the nearest first; and the other layout of images."""
        most = _most(self.problem)
        if not self.asked.batch_size:
            batches = [b for b in (*BATCHES[_kind(self.problem)], most) if b <= most and b != best.batch]
            for batch in sorted(batches, key=lambda b: abs(math.log(b / best.batch))):
                yield replace(best, batch=batch)
        if best.strategy not in MANY:
            yield replace(best, channels_last=not best.channels_last)

    def _other_points(self, best: Plan) -> Iterator[Plan]:
        """Of strategies that take many in a pass."""
        if best.strategy in MANY and not self.asked.points_per_pass:
            for points in POINTS[_kind(self.problem)]:
                if points <= self._room:
                    yield replace(best, points_per_pass=points)

    def _other_threads(self, best: Plan) -> Iterator[Plan]:
        """Several batches at a time on a share of the threads each; one thread where there is little work.

        Of a traced model alone, which keeps nothing from pass to pass, and not with a user's own loss: neither they
        nor the model itself need be fit for several threads.
        """
        if best.threads == 1 or not self._on_cpu:
            return
        if best.strategy == "folded" and not self.problem.loss.code:
            for workers in sorted({2, best.threads}):
                for batch in {best.batch, max(1, best.batch // 2)} if not self.asked.batch_size else {best.batch}:
                    if batch * workers <= _most(self.problem):
                        yield replace(best, batch=batch, workers=workers)
        if self.slow < TINY:
            yield replace(best, threads=1)

    def _working(self, plan: Plan) -> tuple[Plan, LandscapeError | None]:
        """The plan, in the plain layout where the model cannot take its channels last; and why it is dropped."""
        fault = self._fault(plan)
        if fault is None or not plan.channels_last:
            return plan, fault
        plain = replace(plan, channels_last=False)
        return (plain, None) if self._fault(plain) is None else (plan, fault)

    def _fault(self, plan: Plan, few: int = 3) -> LandscapeError | None:
        """Why a candidate is dropped: this model does not have it, it does not fit, or a plain pass disagrees.

        At three points of every plane; at one where only batch, threads or points per pass differ from what is checked.
        """
        small = replace(plan, batch=min(plan.batch, CHECKED // 4)) if plan.workers > 1 else plan
        try:
            for (directions, batchnorm, points), expected in zip(_probes(self.planes), self._expected, strict=True):
                _put_back(self._few)  # so that a candidate that forgets to move shows
                measured = prepare(self._few, directions, batchnorm, small)(points[:few])
                for i, losses in enumerate(expected[:few]):
                    for name, loss in losses.items():
                        found = float(measured[name][i, 0])
                        if not agree(found, loss, self.problem.dtype):
                            what = f"gives {found!r} where a plain pass gives {loss!r}"
                            return LandscapeError(f"it {what}", "--strategy 'in place' is a plain pass")
        except LandscapeError as error:
            return error
        except Exception as error:  # what the model itself cannot do, a plain pass has told by now
            if out_of_memory(error):
                return LandscapeError("it does not fit in memory", "take a smaller batch")
            if plan.strategy == "in place":
                raise
            first = (str(error).splitlines() or [""])[0]
            return LandscapeError(f"{type(error).__name__}: {first}", "use --strategy 'in place'")
        return None

    @functools.cached_property
    def _few(self) -> Problem:
        """The first samples of every split."""
        return replace(self.problem, splits={n: s.head(CHECKED) for n, s in self.problem.splits.items()})

    @functools.cached_property
    def _expected(self) -> list[list[Mapping[str, float]]]:
        """Per plane and point what a plain pass gives; the same for every candidate."""
        batch = min(16, self.base.batch)
        return [
            [_plain(self._few, d, norm, p[None], batch) for p in points] for d, norm, points in _probes(self.planes)
        ]

    def _time(self, plan: Plan) -> float:
        try:
            return _seconds(self.problem, self.planes, plan, self.slow)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            return math.inf


def _best(trials: list[Trial]) -> Plan:
    """The fastest, or what is as fast and can be shared among threads."""
    fastest = min(trials, key=lambda trial: trial.seconds)
    shared = [t for t in trials if t.plan.strategy == "folded" and t.seconds < ALIKE * fastest.seconds]
    return min(shared, key=lambda trial: trial.seconds).plan if shared else fastest.plan


def _fastest(trials: list[Trial], notes: list[str]) -> Choice:
    """The fastest trial, its margin over the best of another strategy said."""
    best = min(trials, key=lambda trial: trial.seconds)
    others = [trial for trial in trials if trial.plan.strategy != best.plan.strategy]
    second = min(others or [t for t in trials if t is not best] or [best], key=lambda trial: trial.seconds)
    why = f"{1000 * best.seconds:.3g} ms per point, fastest of {len(trials)} that were timed"
    if second is not best:
        why += f"; next {second.plan}: {1000 * second.seconds:.3g} ms"
    return Choice(replace(best.plan, why=why), best.seconds, tuple(notes))


def in_place_plan(problem: Problem) -> Plan:
    """A plain pass with the batches asked for, else such that the largest activation fits the caches."""
    with problem.measuring():
        return _in_place(problem)


def _in_place(problem: Problem) -> Plan:
    """Weights in place, one point per pass; as many samples as keep the largest activation small."""
    fitting = ACTIVATION_BYTES[_kind(problem)] // max(1, activation_bytes(problem))
    wanted = problem.run.batch_size or min(BATCH_CAP, fitting)
    return Plan("in place", max(1, min(wanted, _most(problem))), 1, torch.get_num_threads())


def _most(problem: Problem) -> int:
    return max(len(split) for split in problem.splits.values())


def _kind(problem: Problem) -> str:
    return "cpu" if problem.device.type == "cpu" else "cuda"


def _probes(planes: Sequence[Plane]) -> list[tuple[tuple[Direction, ...], str, Floats]]:
    """Of each plane its directions, its policy and three points: a corner, and two near other sides of the centre.

    Far out both ways may overflow, and would agree; points on one ray may move some parameter not at all. Without
    planes there is the centre.
    """
    found = []
    for plane in planes:
        ends = np.array([axis.values[[0, -1]] for axis in (plane.x, plane.y) if axis is not None])  # (d, 2)
        swapped = np.abs(ends).argmax(axis=1)
        far = ends[range(len(ends)), swapped]
        back = ends[range(len(ends)), 1 - swapped]
        back = np.where(back == 0, far, back)
        skew = np.array([0.3, 0.17])[: len(ends)]
        near = np.where(range(len(ends)), far, back)  # one axis on its other side, then the other one
        points = np.array([far, skew * near, 0.1 * skew * np.where(range(len(ends)), back, far)])
        found.append((plane.directions, plane.batchnorm, points))
    return found or [((), "frozen", np.zeros((1, 0)))]


def _put_back(problem: Problem) -> None:
    """The checkpoint's own weights and statistics."""
    mover(problem, ())([])
    for name, buffer in problem.buffers.items():
        buffer.copy_(problem.centre_buffers[name])


def _plain(
    problem: Problem, directions: Sequence[Direction], batchnorm: str, point: Floats, batch: int
) -> Mapping[str, float]:
    """The losses at a point by a plain pass of the model."""
    in_place = _in_place(replace(problem, run=RunSettings(batch_size=batch)))
    prepare(problem, directions, batchnorm, in_place)(point)  # moves the weights
    return {name: plain_loss(problem, split, batch) for name, split in problem.splits.items()}


def _seconds(problem: Problem, planes: Sequence[Plane], plan: Plan, expected: float) -> float:
    """Seconds of a point by a plan: the best of some passes over the first samples; of more where they are short."""
    total = sum(len(split) for split in problem.splits.values())
    few = plan.batch * (BATCHES_TIMED if plan.points_per_pass > 1 else 1)
    wanted = total * TRIAL / (expected * plan.points_per_pass) if expected else plan.batch
    count = min(total, max(few, int(wanted)))
    part = replace(problem, splits={name: split.head(count) for name, split in problem.splits.items()})
    directions, batchnorm, points = _probes(planes)[0]
    points = np.repeat(points[:1], plan.points_per_pass, axis=0)
    with threads(plan.threads_each):
        measure = prepare(part, directions, batchnorm, plan)
        taken = [_timed(measure, points, problem.device) for _ in range(2)][1:]  # the first to warm up
        more = 1 if not expected else min(8, int(2 * TRIAL / max(taken[0], 1e-6)) + 1)
        taken += [_timed(measure, points, problem.device) for _ in range(more)]
    share = sum(len(split) for split in part.splits.values()) / total
    return min(taken) / len(points) / share


def _timed(measure: Measure, points: Floats, device: torch.device) -> float:
    started = time.perf_counter()
    for table in measure(points).values():
        table.cpu()
    return time.perf_counter() - started
