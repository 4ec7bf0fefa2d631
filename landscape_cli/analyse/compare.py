"""Runs side by side: metric by metric the difference from the first run, its error, and whether it is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from landscape_cli.analyse.comparable import difference_error, unlike
from landscape_cli.analyse.gate import CONFIDENCE, EXACT, REACHED, UNDECIDED, interval
from landscape_cli.analyse.paths import flatten
from landscape_cli.analyse.subject import Subject
from landscape_cli.profile import Estimate

# What is compared unless told: what stands for a run, the full space first.
COMPARED = (
    "verdict.kind",
    "centre.loss",
    "sharpness.average_adaptive",
    "sharpness.worst_adaptive",
    "sharpness.pac_bayes_sigma",
    "learning_rate.stability",
    "hessian.top",
    "hessian.bottom",
    "hessian.trace",
    "gradient.norm",
    "gradient.noise_scale",
    "surface.min.drop",
    "surface.convex_fraction",
    "surface.roughness",
    "surface.cliff",
    "surface.plateau_fraction",
    "basin.radius_mean",
    "basin.left",
    "basin.right",
    "curvature.plane.eigenvalues.0",
    "curvature.plane.eigenvalues.1",
    "barrier",
    "splits.centre_gap",
)
EVERY = "all"  # every number with an error that the first run has
NOTED = ("parameters",)  # told and no obstacle: architectures are what is compared


@dataclass(frozen=True)
class Change:
    """A run's number against the first run's.

    Attributes:
        found: the run's own number, or word; None where it has none.
        difference: found - the first's, with its error; None where it may not be taken.
        differs: whether it is a difference; None where nobody can tell.
        why: why not.
    """

    found: Estimate | str | None
    difference: Estimate | None = None
    differs: bool | None = None
    why: str = ""


@dataclass(frozen=True)
class Comparison:
    """One metric over all runs: the first run's value, and every other run's change."""

    metric: str
    first: Estimate | str | None
    changes: tuple[Change, ...]

    @property
    def differs(self) -> bool | None:
        """Whether any run differs from the first; None where none does for certain and one cannot be compared."""
        known = [change.differs for change in self.changes]
        return True if True in known else None if None in known else False


def compare(
    runs: Sequence[Subject], metrics: Sequence[str] = (), confidence: float = CONFIDENCE, tolerance: float = 0.0
) -> list[Comparison]:
    """Every metric of the runs, against the first run.

    Two numbers differ where their difference is beyond its interval at `confidence`, taken group by group where both
    were measured over the same samples, and beyond `tolerance` times the first's size. Of a metric that does not
    differ, a share of 1 - confidence is called different.

    Raises:
        LandscapeError: no run has a metric of that name.
    """
    paths = _paths(runs, metrics)
    rows = [_row(runs, path, confidence, tolerance) for path in paths]
    return [row for row in rows if row.first is not None or any(change.found is not None for change in row.changes)]


def apart(runs: Sequence[Subject], rows: Sequence[Comparison]) -> list[str]:
    """What is not alike about the runs, in the branches that the rows are of; one text for each run and branch."""
    first, *others = runs
    told = []
    for other in others:
        seen: dict[str, list[str]] = {}
        for row in rows:
            branch = first.branch(row.metric)
            names = unlike(row.metric, first.conditions.get(branch, {}), other.conditions.get(branch, {}))
            if branch in first.conditions and branch in other.conditions:
                seen[branch] = list(dict.fromkeys([*seen.get(branch, []), *names]))
        told += [f"{other.file}: {branch}: other {', '.join(names)}" for branch, names in seen.items() if names]
    return told


def order(runs: Sequence[Subject], metric: str, descending: bool = False) -> list[Subject]:
    """The runs by one metric, lowest first unless told; those without such a number last.

    Raises:
        LandscapeError: no run has a metric of that name.
    """
    (path,) = _paths(runs, [metric])
    values = {id(run): _value(run, path) for run in runs}
    numbers = {key: v.value for key, v in values.items() if isinstance(v, Estimate) and v.value is not None}
    sign = -1 if descending else 1
    return sorted(runs, key=lambda run: (id(run) not in numbers, sign * numbers.get(id(run), 0.0)))


def _paths(runs: Sequence[Subject], metrics: Sequence[str]) -> list[str]:
    """The full paths of the metrics asked for, in order; of those compared by default the ones there are."""
    found: dict[str, None] = {}
    for metric in metrics or COMPARED:
        if metric == EVERY:
            found |= dict.fromkeys(path for path, e in flatten(dict(runs[0].tree)) if e.stderr is not None)
            continue
        path = next((p for p in (resolved(run, metric) for run in runs) if p), None)
        if path:
            found[path] = None
        elif metrics:
            runs[0].named(metric)  # refuses it, and names the nearest
    return list(found)


def resolved(run: Subject, metric: str) -> str | None:
    """The full path of a number or word by its name; None where the run has none."""
    metric = "verdict.kind" if metric == "verdict" else metric
    return metric if metric in run.words else run.path(metric)


def _value(run: Subject, path: str) -> Estimate | str | None:
    return run.words.get(path) or run.numbers.get(path)


def _row(runs: Sequence[Subject], path: str, confidence: float, tolerance: float) -> Comparison:
    first, *others = runs
    base = _value(first, path)
    changes = [_change(first, base, other, path, confidence, tolerance) for other in others]
    return Comparison(path, base, tuple(changes))


def _change(
    first: Subject, base: Estimate | str | None, other: Subject, path: str, confidence: float, tolerance: float
) -> Change:
    found, branch = _value(other, path), first.branch(path)
    if base is None or found is None:
        return Change(found, why=f"{first.file if base is None else other.file} has no such number")
    names = unlike(path, first.conditions.get(branch, {}), other.conditions.get(branch, {}))
    unfinished = [run.file for run in (first, other) if run.pending(path)]
    if unfinished or [name for name in names if name not in NOTED]:
        why = f"unfinished: {unfinished[0]}" if unfinished else f"other {', '.join(names)}"
        return Change(found, why=why)
    if isinstance(base, str) or isinstance(found, str):
        vague = next((word for word in (base, found) if word in UNDECIDED and base != found), "")
        return Change(found, why=f"it is {vague}") if vague else Change(found, differs=base != found)
    weak = next((e for e in (base, found) if e.status != "ok" or e.value is None), None)
    if weak is not None:
        return Change(found, why=weak.status)
    if base == found:
        return Change(found, Estimate.of(0.0, difference_error(found, base)), False)
    bound = next((e.bound for e in (base, found) if e.bound != "exact"), None)
    if bound and not (base.bound == found.bound and any(name in path for name in REACHED)):
        return Change(found, why=f"a{'n' if bound == 'upper' else ''} {bound} bound")
    fewest = min(run.groups.get(branch, 0) for run in (first, other))
    return _difference(base, found, interval(fewest, confidence), tolerance, path.endswith(EXACT))


def _difference(base: Estimate, found: Estimate, width: float, tolerance: float, exact: bool) -> Change:
    """Whether two numbers differ; without an error only exact counts do for certain."""
    assert base.value is not None
    assert found.value is not None
    value, error = found.value - base.value, difference_error(found, base)
    difference, slack = Estimate.of(value, error), tolerance * abs(base.value)
    if abs(value) <= slack:
        return Change(found, difference, False)
    if error is None and not exact:
        return Change(found, difference, None, "no error is known")
    return Change(found, difference, abs(value) > max(width * (error or 0.0), slack))
