"""The gate: rules on a run's numbers, judged by their errors. It passes on nothing but a number on the good side.

A rule passes when the limit lies beyond the number's interval on the good side, fails when it lies beyond it on the bad
side, and is inconclusive in between, or where there is no number to rely on.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from landscape_cli.analyse.comparable import difference_error, unlike
from landscape_cli.analyse.jackknife import SIGMAS, student
from landscape_cli.analyse.subject import SECTION_PARTS, Subject
from landscape_cli.errors import ExitCode
from landscape_cli.profile import MAX_GROUPS, Estimate

Kind = Literal["max", "min", "max_increase", "max_decrease", "require"]
Verdict = Literal["pass", "fail", "inconclusive"]
KINDS: tuple[Kind, ...] = ("max", "min", "max_increase", "max_decrease", "require")
RELATIVE = ("max_increase", "max_decrease")  # to a baseline
CONFIDENCE = math.erf(SIGMAS / math.sqrt(2))  # as every decision here: three standard errors
FLOOR = 1e-6  # of |baseline| in a change in percent, in the metric's own unit
FARTHEST = 1e6  # times as many samples: beyond, more of them are no advice
# Reached by a stated procedure, so that two lower bounds compare as what the same procedure reached.
REACHED = ("sharpness.worst", "sharpness.keskar", "sharpness.plane_eps")
# Named in the job, or not measured.
ON_REQUEST = {
    "hessian.negative_mass": "hessian.density=true",
    "hessian.effective_rank": "hessian.density=true",
    "hessian.per_layer": "hessian.per_layer=true",
    "sharpness.relative_flatness": "sharpness.relative_flatness=true",
    "sharpness.fisher_rao": "sharpness.fisher_rao=true",
    "learning_rate.stability": "hessian.learning_rate=0.1",
}
UNDECIDED = ("inconclusive", "undecided", "not measured")  # words that decide nothing
EXACT = ("nan_count", "inf_count", "finite_fraction", "samples", "infinite_neighbours", ".ok")  # have no error
# Of the finite points alone: they say nothing of a surface that has others.
WHOLE = ("surface.roughness", "surface.convex_fraction", "surface.plateau_fraction")
DRAWN = {"hessian.trace": "probes", "hessian.frobenius": "probes", "hessian.per_layer": "probes"}  # their error is of


@dataclass(frozen=True)
class Rule:
    """One rule: `kind` of limit on a metric.

    Attributes:
        metric: its name, full or short.
        limit: a number; of a change, a share of |baseline| where `percent`.
        allowed: of `require`, the words that pass.
        floor: what |baseline| counts as at least, where `percent`.
        reason: what people are told; severity "warn" never changes the exit code.
    """

    kind: Kind
    metric: str
    limit: float = math.nan
    percent: bool = False
    allowed: tuple[str, ...] = ()
    floor: float = FLOOR
    reason: str = ""
    severity: Literal["error", "warn"] = "error"

    def __str__(self) -> str:
        if self.kind == "require":
            return f"require {' or '.join(self.allowed)}"
        return f"{self.kind.replace('_', ' ')} {f'{100 * self.limit:g}%' if self.percent else f'{self.limit:g}'}"


@dataclass(frozen=True)
class Outcome:
    """What a rule came to for one run.

    Attributes:
        path: the metric's full path; as it was given where there is no such number.
        found: the run's number, or word; None where there is none.
        baseline: the other run's number, where the rule needs one.
        why: what decided, in a few words.
    """

    file: str
    rule: Rule
    outcome: Verdict
    path: str
    found: Estimate | str | None = None
    baseline: Estimate | None = None
    why: str = ""


class Unknown(NamedTuple):
    """No number to rely on, and why."""

    why: str
    found: Estimate | None = None


class Known(NamedTuple):
    """A number to rely on, and where it stands."""

    path: str
    found: Estimate


def judge(rule: Rule, run: Subject, baseline: Subject | None = None, confidence: float = CONFIDENCE) -> Outcome:
    """One rule on one run."""
    if rule.kind == "require":
        return _required(rule, run)
    known = _known(rule.metric, run)
    if isinstance(known, Unknown):
        return Outcome(run.file, rule, "inconclusive", rule.metric, known.found, why=known.why)
    if rule.kind not in RELATIVE:
        return _against_limit(rule, run, known, confidence)
    other = _comparable(known.path, run, baseline)
    if isinstance(other, Unknown):
        return Outcome(run.file, rule, "inconclusive", known.path, known.found, other.found, other.why)
    assert baseline is not None
    return _against_baseline(rule, run, baseline, known, other.found, confidence)


def exit_code(outcomes: Sequence[Outcome], inconclusive: int = ExitCode.INCONCLUSIVE) -> int:
    """1 if any rule failed, else that of an inconclusive one if there is any, else 0; warnings do not count."""
    found = {outcome.outcome for outcome in outcomes if outcome.rule.severity == "error"}
    return ExitCode.FAILED if "fail" in found else inconclusive if "inconclusive" in found else ExitCode.OK


def _required(rule: Rule, run: Subject) -> Outcome:
    """A word that is one of those allowed; UNDECIDED ones neither pass nor fail."""
    name = "verdict.kind" if rule.metric == "verdict" else rule.metric
    word, part = run.words.get(name), run.part(name)
    if word is None or word == "not measured":
        why = f"not measured: {run.command(part)}"
    elif run.pending(name):
        why = f"unfinished: {run.command(part)}"
    elif word in UNDECIDED:
        why = f"it is {word}: landscape report {shlex.quote(run.file)} --section {part} says why"
    else:
        return Outcome(run.file, rule, "pass" if word in rule.allowed else "fail", name, word)
    return Outcome(run.file, rule, "inconclusive", name, word, why=why)


def _known(metric: str, run: Subject) -> Known | Unknown:
    """A finished run's finite, converged number."""
    path = run.path(metric)
    if path is None:
        part = run.part(metric)
        missing = part in SECTION_PARTS and run.tree.get(metric.split(".")[0]) is None
        return Unknown(f"not measured: {run.command(part)}" if missing else "the run has no such number")
    found = run.numbers[path]
    if run.pending(path):
        return Unknown(f"unfinished: {run.command(run.part(path))}", found)
    if found.status != "ok" or found.value is None or not math.isfinite(found.value):
        status = found.status if found.status != "ok" else "not finite"
        return Unknown(f"{status}{_remedy(path, found, run)}", found)
    if found.stderr is None and run.groups.get(run.branch(path)) == 1 and not path.endswith(EXACT):
        return Unknown("one sample group: no error is known", found)
    holes = _holes(path, run)
    return Unknown(f"not finite at {holes:.1%} of the points", found) if holes else Known(path, found)


def _holes(path: str, run: Subject) -> float:
    """The share of a plane's points that are not finite, for what may be anything there."""
    head = next((path.partition(f".{name}")[0] for name in WHOLE if f".{name}" in path), "")
    finite = run.numbers.get(f"{head}.surface.finite_fraction")
    return 0.0 if finite is None or finite.value is None else 1 - finite.value


def _remedy(path: str, found: Estimate, run: Subject) -> str:
    """What to type for a number that there is not."""
    part = run.part(path)
    asked = next((setting for name, setting in ON_REQUEST.items() if path.startswith(name)), "")
    if found.status == "not measured":
        return f": {run.command(part)}" + (f" --force {part} --set {asked}" if asked else "")
    if found.status == "not converged" and part == "hessian":
        return f": {run.command(part)} --force hessian --set hessian.products=1000"
    return ""


def _comparable(path: str, run: Subject, baseline: Subject | None) -> Known | Unknown:
    """The baseline's number, where it was measured alike."""
    if baseline is None:
        return Unknown("no baseline: give one by --baseline BASE.h5")
    branch = run.branch(path)
    if not baseline.conditions.get(branch):
        return Unknown(f"the baseline {baseline.file} has no {path}")
    apart = unlike(path, run.conditions.get(branch, {}), baseline.conditions[branch])
    if apart:
        return Unknown(f"the baseline {baseline.file} was measured with other {', '.join(apart)}")
    known = _known(path, baseline)
    if isinstance(known, Unknown):
        return Unknown(f"of the baseline {baseline.file}: {known.why}", known.found)
    return known


class Excess(NamedTuple):
    """How far a number is on the bad side (negative: on the good side), its error, and what may hide behind it."""

    value: float
    stderr: float | None
    worse: str  # why the truth may be on the worse side of the number; "" where it is not
    better: str


def _against_limit(rule: Rule, run: Subject, known: Known, confidence: float) -> Outcome:
    found, above = known.found, rule.kind == "max"
    assert found.value is not None
    over = found.value - rule.limit if above else rule.limit - found.value
    worse, better = ("lower", "upper") if above else ("upper", "lower")
    excess = Excess(over, found.stderr, _hides(found, worse), _hides(found, better))
    outcome, why = _decide(excess, run, known.path, confidence)
    return Outcome(run.file, rule, outcome, known.path, found, why=why)


def _against_baseline(
    rule: Rule, run: Subject, baseline: Subject, known: Known, base: Estimate, confidence: float
) -> Outcome:
    found, rising = known.found, rule.kind == "max_increase"
    assert found.value is not None
    assert base.value is not None
    size = max(abs(base.value), rule.floor)
    sign = 1 if rising else -1
    over = sign * (found.value - base.value) - rule.limit * (size if rule.percent else 1.0)
    slope = rule.limit * math.copysign(1.0, base.value) if rule.percent and abs(base.value) > rule.floor else 0.0
    error = difference_error(found, base, 1 + sign * slope)
    same = found.bound == base.bound and any(name in known.path for name in REACHED)
    ends = ("lower", "upper") if rising else ("upper", "lower")
    worse, better = (
        "" if same else _hides(found, one) or _hides(base, two, "the baseline ") for one, two in (ends, ends[::-1])
    )
    fewest = min((run, baseline), key=lambda subject: subject.groups.get(run.branch(known.path), 0))
    outcome, why = _decide(Excess(over, error, worse, better), fewest, known.path, confidence)
    change = f"{found.value - base.value:+.3g}" + (f" ({(found.value - base.value) / size:+.1%})" if size else "")
    least = f"|baseline| counts as {rule.floor:g}" if rule.percent and abs(base.value) < rule.floor else ""
    told = "; ".join(text for text in (change, least, why) if text)
    return Outcome(run.file, rule, outcome, known.path, found, base, told)


def _hides(found: Estimate, bound: str, whose: str = "") -> str:
    return f"{whose or 'it '}is a{'n' if bound == 'upper' else ''} {bound} bound" if found.bound == bound else ""


def _decide(excess: Excess, run: Subject, path: str, confidence: float) -> tuple[Verdict, str]:
    """The interval of the excess against 0, and what is told."""
    if excess.worse and excess.value <= 0:
        return "inconclusive", f"{excess.worse}: the truth may be beyond the limit"
    width = interval(run.groups.get(run.branch(path), 0), confidence)
    half = width * (excess.stderr or 0.0)
    told = "no error is known" if excess.stderr is None and not path.endswith(EXACT) else ""
    if excess.value + half <= 0:
        return "pass", told
    if excess.value - half > 0 and excess.better:
        return "inconclusive", f"{excess.better}: the truth may be within the limit"
    if excess.value - half > 0:
        return "fail", told
    return "inconclusive", f"within its error at {confidence:.4g} confidence; {_more(excess.value, half, run, path)}"


def interval(groups: int, confidence: float) -> float:
    """Half an interval in standard errors: Student's, of as many groups as the error is of."""
    return student(min(max(1, groups - 1), MAX_GROUPS), (1 - confidence) / 2)


def _more(excess: float, half: float, run: Subject, path: str) -> str:
    """How much more measuring would decide, if the number stays: errors fall as one over the root of it."""
    ratio = half / abs(excess) if excess else math.inf
    factor = ratio * ratio
    if not factor <= FARTHEST:
        return "it is at the limit: no number of samples would decide"
    drawn = next((what for name, what in DRAWN.items() if path.startswith(name)), None)
    count = run.samples.get(run.branch(path), 0)
    if drawn or not count:
        return f"{factor:.2g} times as many {drawn or 'samples'} would decide"
    return f"about {math.ceil(factor * count)} samples in place of {count} would decide"
