"""The gate's rules: every kind of rule by every kind of number and baseline, and that nothing passes by accident."""

from __future__ import annotations

import itertools
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import SAMPLES, subject, written

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.comparable import _recipe, difference_error, unlike
from landscape_cli.analyse.gate import CONFIDENCE, KINDS, Kind, Outcome, Rule, exit_code, judge
from landscape_cli.analyse.subject import Subject
from landscape_cli.cli.main import main
from landscape_cli.profile import Bound, Estimate, Status

TOP = "hessian.top"
LIMIT = 10.0
Capture = pytest.CaptureFixture[str]

# ---------------------------------------------------------------- the truth table

RULES: dict[str, tuple[Kind, float, bool]] = {
    "max": ("max", LIMIT, False),
    "min": ("min", LIMIT, False),
    "max-increase": ("max_increase", 0.5, False),
    "max-increase %": ("max_increase", 0.1, True),
    "max-decrease": ("max_decrease", 0.5, False),
    "max-decrease %": ("max_decrease", 0.1, True),
}
BASES: dict[str, Subject | None] = {
    "absent": None,
    "present": subject(Estimate.of(LIMIT, 0.01), "base.h5"),
    "zero": subject(Estimate.of(0.0, 0.01), "base.h5"),
    "negative": subject(Estimate.of(-LIMIT, 0.01), "base.h5"),
    "other data": subject(Estimate.of(LIMIT, 0.01), "base.h5", data="e"),
    "unconverged": subject(Estimate(LIMIT, None, "not converged"), "base.h5"),
    "not finite": subject(Estimate.of(math.nan), "base.h5"),
    "unfinished": subject(Estimate.of(LIMIT, 0.01), "base.h5", unfinished=["hessian"]),
    "without the metric": subject(None, "base.h5"),
}
USABLE = ("present", "zero", "negative")
VALUES = (
    "good", "bad", "good, wide", "bad, wide", "good, no error", "bad, no error", "good, lower", "good, upper",
    "bad, lower", "bad, upper", "NaN", "+inf", "-inf", "missing", "undefined", "unconverged", "unfinished",
    "no section",
)  # fmt: skip


def run_of(value: str, good: float, bad: float) -> Subject:
    """A run whose number is of this kind."""
    held, _, how = value.partition(", ")
    number = bad if held == "bad" else good
    if how:
        error = {"wide": 50.0, "no error": None}.get(how, 0.1)
        bound: Bound = "lower" if how == "lower" else "upper" if how == "upper" else "exact"
        return subject(Estimate.of(number, error, bound))
    known: dict[str, Estimate | None] = {
        "NaN": Estimate.of(math.nan),
        "+inf": Estimate.of(math.inf),
        "-inf": Estimate.of(-math.inf),
        "missing": Estimate.missing("not measured"),
        "undefined": Estimate.missing("undefined"),
        "unconverged": Estimate(good, 0.1, "not converged"),
        "no section": None,
    }
    made = known.get(value, Estimate.of(number, 0.1))
    return subject(made, unfinished=["hessian"] if value == "unfinished" else [])


def expected(rule: str, value: str, base: str) -> str:
    """As the issue says it: pass beyond the interval on the good side, fail beyond it on the bad side, and nothing else
    without a number, without a baseline where one is needed, or with a bound that hides the other side."""
    side, _, how = value.partition(", ")
    if side not in ("good", "bad") or how == "wide" or ("crease" in rule and base not in USABLE):
        return "inconclusive"
    hides_worse, hides_better = ("lower", "upper") if rule.startswith(("max-inc", "max")) else ("upper", "lower")
    if rule.startswith("max-dec"):
        hides_worse, hides_better = "upper", "lower"
    if how == (hides_worse if side == "good" else hides_better):
        return "inconclusive"
    return "pass" if side == "good" else "fail"


CELLS = list(itertools.product(RULES, VALUES, BASES))


@pytest.mark.parametrize(("name", "value", "base"), CELLS, ids=lambda part: part.replace(" ", "_"))
def test_the_truth_table(name: str, value: str, base: str) -> None:
    kind, limit, percent = RULES[name]
    baseline = BASES[base]
    middle = {"zero": 0.0, "negative": -LIMIT}.get(base, LIMIT)
    up = kind in ("max", "max_increase")
    good, bad = (middle - 5, middle + 5) if up else (middle + 5, middle - 5)
    if kind in ("max", "min"):
        good, bad = (LIMIT - 5, LIMIT + 5) if up else (LIMIT + 5, LIMIT - 5)
    found = judge(Rule(kind, TOP, limit, percent), run_of(value, good, bad), baseline)
    assert found.outcome == expected(name, value, base), found
    code = {"pass": 0, "fail": 1, "inconclusive": 3}[found.outcome]
    assert exit_code([found]) == code
    assert exit_code([found], 0) == (code if code < 3 else 0)
    assert exit_code([found], 1) == (code if code < 3 else 1)
    warned = judge(Rule(kind, TOP, limit, percent, severity="warn"), run_of(value, good, bad), baseline)
    assert (warned.outcome, exit_code([warned])) == (found.outcome, 0)
    if value in ("missing", "unconverged", "unfinished", "no section"):
        assert "landscape scan job.toml -o run.h5 --only hessian" in found.why


WORDS = ("minimum", "plateau", "saddle", "inconclusive", None)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("unfinished", [False, True])
def test_words(word: str | None, unfinished: bool) -> None:
    tree = {"verdict": None if word is None else {"kind": word, "reasons": []}}
    run = subject(tree=tree, unfinished=["hessian"] if unfinished else [])
    found = judge(Rule("require", "verdict", allowed=("minimum", "plateau")), run)
    decided = word not in (None, "inconclusive") and not unfinished
    assert found.outcome == (("fail" if word == "saddle" else "pass") if decided else "inconclusive")


@pytest.mark.parametrize(("word", "outcome"), [("yes", "pass"), ("no", "fail"), ("undecided", "inconclusive"),
                                               ("not measured", "inconclusive")])  # fmt: skip
def test_a_gradient_that_is_critical(word: str, outcome: str) -> None:
    run = subject(tree={"gradient": {"critical": word}})
    assert judge(Rule("require", "gradient.critical", allowed=("yes",)), run).outcome == outcome


def test_an_unfinished_plane_holds_back_its_own_numbers_and_the_checks_alone() -> None:
    tree = {
        "planes": {"main": {"train": {"surface": {"min": Estimate.of(1.0)}}}},
        "hessian": {"top": [Estimate.of(1.0)]},
        "checks": [{"ok": True}],
    }
    run = subject(tree=tree, unfinished=["main"])
    outcomes = {name: judge(Rule("max", name, 5), run).outcome for name in ("surface.min", TOP, "checks.0.ok")}
    assert outcomes == {"surface.min": "inconclusive", TOP: "pass", "checks.0.ok": "inconclusive"}


def test_any_failure_outweighs_any_inconclusive_one() -> None:
    made = {name: judge(Rule("max", TOP, LIMIT), run_of(name, 5, 15)) for name in ("good", "bad", "good, wide")}
    for count in (1, 2, 3):
        for names in itertools.product(made, repeat=count):
            code = 1 if "bad" in names else 3 if "good, wide" in names else 0
            assert exit_code([made[name] for name in names]) == code


# ---------------------------------------------------------------- nothing passes by accident

NUMBERS = st.one_of(st.floats(), st.floats(-20, 20), st.sampled_from([0.0, -0.0, 5e-324, 1e308, -1e308, 1e200]))
STATUSES: tuple[Status, ...] = ("ok", "not measured", "not finite", "not converged", "undefined")
BOUNDS: tuple[Bound, ...] = ("exact", "lower", "upper")


@st.composite
def any_estimate(draw: st.DrawFn) -> Estimate:
    value = draw(st.one_of(st.none(), NUMBERS))
    error = draw(st.one_of(st.none(), st.floats(0, 1), st.floats(0, 1.7e308)))
    status = draw(st.sampled_from(("ok", "ok", *STATUSES)))
    shares = draw(st.one_of(st.none(), st.integers(0, 9).map(lambda s: np.random.default_rng(s).normal(0, 0.01, 8))))
    return Estimate(value, error, status, draw(st.sampled_from(("exact", *BOUNDS))), shares)


@given(
    st.sampled_from([kind for kind in KINDS if kind != "require"]), any_estimate(), any_estimate(), st.booleans(),
    st.floats(0, 1e308), st.sampled_from([0.5, 0.95, CONFIDENCE, 1 - 1e-12]), st.sampled_from([0, 1, 2, 64]),
    st.sampled_from([TOP, "sharpness.worst"]),
)  # fmt: skip
def test_nothing_passes_without_a_finite_converged_number_on_the_good_side(
    kind: Kind, found: Estimate, base: Estimate, percent: bool, limit: float, confidence: float, groups: int, name: str
) -> None:
    head, leaf = name.split(".")
    run, other = (
        Subject(file, {head: {leaf: e}}, {head: {"data": "d", "loss": "l"}}, {head: 9}, {head: groups})
        for file, e in (("a", found), ("b", base))
    )
    relative = kind not in ("max", "min")
    outcome = judge(Rule(kind, name, limit, percent and relative), run, other, confidence).outcome
    if outcome == "inconclusive":
        return
    assert found.status == "ok"
    assert found.value is not None
    assert math.isfinite(found.value)
    reference = 0.0
    if relative:
        assert base.status == "ok"
        assert base.value is not None
        assert math.isfinite(base.value)
        reference = base.value
    sign = 1 if kind in ("max", "max_increase") else -1
    slack = limit * max(abs(reference), 1e-6) if percent and relative else limit
    over = found.value - limit if kind == "max" else limit - found.value if kind == "min" else (
        sign * (found.value - reference) - slack)  # fmt: skip
    assert (over <= 0) is (outcome == "pass")
    if not relative or found.bound != base.bound or name == TOP:
        bad = "lower" if sign > 0 else "upper"
        assert (found.bound == bad) <= (outcome == "fail")


# ---------------------------------------------------------------- relative changes, errors, advice


@pytest.mark.parametrize(
    ("base", "value", "outcome"),
    [
        (-10, -9.5, "pass"),
        (-10, -8.5, "fail"),
        (10, 10.5, "pass"),
        (10, 11.5, "fail"),
        (0, 0.05, "pass"),
        (0, 0.2, "fail"),
    ],
)
def test_a_change_in_percent_is_of_the_size_of_the_baseline_or_of_the_floor(
    base: float, value: float, outcome: str
) -> None:
    rule = Rule("max_increase", TOP, 0.1, percent=True, floor=1.0)
    assert judge(rule, subject(Estimate.of(value, 1e-6)), subject(Estimate.of(base, 1e-6))).outcome == outcome
    falls = Rule("max_decrease", TOP, 0.1, percent=True, floor=1.0)
    assert judge(falls, subject(Estimate.of(-value, 1e-6)), subject(Estimate.of(-base, 1e-6))).outcome == outcome


@pytest.mark.parametrize("factor", [1.0, 1.1, 0.5, -0.5])
@pytest.mark.parametrize("uneven", [False, True])
def test_a_paired_error_is_the_jackknife_of_the_differences(factor: float, uneven: bool) -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(0, 1, 40)
    a, b = (3 + common + rng.normal(0, 0.1, 40) for _ in "ab")
    sizes = rng.integers(1, 9, 40).astype(float) if uneven else np.full(40, 5.0)
    one, other = (jackknife.mean(float(np.average(g, weights=sizes)), g, sizes) for g in (a, b))
    kept = ~np.eye(40, dtype=bool)
    apart = np.array([np.average((a - factor * b)[k], weights=sizes[k]) for k in kept])
    exact = math.sqrt(39 / 40 * ((apart - apart.mean()) ** 2).sum())
    assert difference_error(one, other, factor) == pytest.approx(exact, rel=1e-9)
    without = Estimate(one.value, one.stderr)
    assert one.stderr is not None
    assert other.stderr is not None
    assert difference_error(without, other, factor) == pytest.approx(math.hypot(one.stderr, factor * other.stderr))
    assert difference_error(one, one) == 0


def advised(found: Outcome) -> int:
    told = re.search(r"about (\d+) samples in place of (\d+) would decide", found.why)
    assert told, found.why
    assert int(told[2]) == SAMPLES
    return int(told[1])


@pytest.mark.parametrize(("value", "outcome"), [(9.0, "pass"), (10.7, "fail"), (9.9, "pass")])
def test_as_many_samples_as_it_says_would_decide_and_fewer_would_not(value: float, outcome: str) -> None:
    rule = Rule("max", TOP, LIMIT)
    count = advised(judge(rule, subject(Estimate.of(value, 0.8)))) + 1
    for samples, then in ((count, outcome), (count - 3, "inconclusive")):
        error = 0.8 * math.sqrt(SAMPLES / samples)
        assert judge(rule, subject(Estimate.of(value, error))).outcome == then


def test_a_number_at_its_limit_is_beyond_the_help_of_samples() -> None:
    for value, error in ((LIMIT, 1.0), (LIMIT, 1e300), (LIMIT - 1e-9, 1e300)):
        assert "no number of samples" in judge(Rule("max", TOP, LIMIT), subject(Estimate.of(value, error))).why


def test_the_interval_is_student_s_of_the_fewest_groups() -> None:
    quantile = pytest.importorskip("scipy.stats").t.ppf
    for groups, confidence in ((64, CONFIDENCE), (8, 0.95), (2, 0.9)):
        width = float(quantile(0.5 + confidence / 2, groups - 1))
        for share, outcome in ((0.999, "inconclusive"), (1.001, "pass")):
            run = subject(Estimate.of(LIMIT - share * width, 1.0))
            run = Subject(run.file, run.tree, run.conditions, run.samples, {"hessian": groups})
            assert judge(Rule("max", TOP, LIMIT), run, confidence=confidence).outcome == outcome


def test_what_both_runs_reached_in_the_same_way_compares_and_else_a_bound_hides() -> None:
    alike = {"sharpness": {"data": "d", "loss": "l"}}
    for name, outcome in (("worst", "pass"), ("other", "inconclusive")):
        tree = {"sharpness": {name: Estimate.of(1.0, 0.001, "lower")}}
        run, base = (subject(file=file, tree=tree, conditions=alike) for file in "ab")
        assert judge(Rule("max_increase", f"sharpness.{name}", 1.0), run, base).outcome == outcome
        assert judge(Rule("max", f"sharpness.{name}", 5.0), run, base).outcome == "inconclusive"


# ---------------------------------------------------------------- what a number depends on

PLANE = {"data": "d", "loss": "l", "window x": [0, 1], "direction x": {"normalize": "filter"}, "batchnorm": "frozen"}
SHARP = {"data": "d", "loss": "l", "sigma": 0.1, "rho": 0.05, "adaptive_rho": 0.5, "eta": 0, "samples": "9"}


@pytest.mark.parametrize(("metric", "held", "change", "matters"), [
    ("planes.main.train.surface.min", PLANE, {"window x": [0, 2]}, True),
    ("planes.main.train.surface.min", PLANE, {"direction x": {"normalize": "layer"}}, True),
    ("planes.main.train.surface.min", PLANE, {"data of the first split": "other"}, False),
    ("planes.main.test.splits.centre_gap", PLANE, {"data of the first split": "other"}, True),
    ("sharpness.average", SHARP, {"sigma": 0.2}, True),
    ("sharpness.average", SHARP, {"rho": 0.2}, False),
    ("sharpness.worst", SHARP, {"rho": 0.2}, True),
    ("sharpness.worst_adaptive", SHARP, {"rho": 0.2}, False),
    ("sharpness.worst_adaptive", SHARP, {"adaptive_rho": 0.2}, True),
    ("sharpness.worst", SHARP, {"samples": "8"}, True),
    ("hessian.top.0", {"data": "d", "loss": "l"}, {"data": "e"}, True),
    ("hessian.top.0", {"data": "d", "loss": "l"}, {"loss": "m"}, True),
    ("hessian.top.0", {"data": "", "loss": "l"}, {}, True),
])  # fmt: skip
def test_what_makes_two_numbers_incomparable_is_named(metric: str, held: Any, change: Any, matters: bool) -> None:
    assert bool(unlike(metric, held, {**held, **change})) is matters
    assert set(unlike(metric, held, {**held, **change})) <= ({*change} or {"data"})


# ---------------------------------------------------------------- the command


@pytest.fixture
def wide(tmp_path: Path) -> str:
    return written(tmp_path / "wide.json", subject(Estimate.of(9.0, 0.8)))


@pytest.mark.parametrize(("answer", "code"), [(None, 3), ("0", 0), ("1", 1), ("3", 3)])
def test_what_an_inconclusive_gate_answers(wide: str, capsys: Capture, answer: str | None, code: int) -> None:
    more = [] if answer is None else ["--inconclusive-exit", answer]
    assert main(["gate", wide, "--max", f"{TOP}=10", *more]) == code
    assert "gate inconclusive: 1 inconclusive" in capsys.readouterr().out


def test_a_flag_s_confidence_goes_before_the_policy_s(wide: str, tmp_path: Path) -> None:
    policy = tmp_path / "gate.toml"
    policy.write_text(f'confidence = 0.5\ninconclusive_exit = 0\n[[rules]]\nmetric = "{TOP}"\nmax = 10\n')
    gate = ["gate", wide, "--policy", str(policy)]
    assert main(gate) == 0
    assert main([*gate, "--confidence", "0.99", "--inconclusive-exit", "1"]) == 1
    assert main([*gate, "--confidence", "0.99"]) == 0


def test_a_policy_s_warning_never_changes_the_exit_code(tmp_path: Path, capsys: Capture) -> None:
    run = written(tmp_path / "run.json", subject(Estimate.of(50.0, 0.1)))
    policy = tmp_path / "gate.toml"
    policy.write_text(f'[[rules]]\nmetric = "{TOP}"\nmax = 10\nreason = "too sharp"\nseverity = "warn"\n')
    assert main(["gate", run, "--policy", str(policy)]) == 0
    out = capsys.readouterr().out
    assert "warn (fail)" in out
    assert "too sharp" in out
    assert out.endswith("gate passed: 1 warned\n")


def test_a_baseline_that_cannot_be_compared_is_refused_by_name(tmp_path: Path, capsys: Capture) -> None:
    run = written(tmp_path / "run.json", subject(Estimate.of(1.0, 0.1)))
    base = written(tmp_path / "base.json", subject(Estimate.of(1.0, 0.1), data="e", dtype="float64"))
    assert main(["gate", run, "--baseline", base, "--max-increase", f"{TOP}=5", "--max", f"{TOP}=5"]) == 3
    out = capsys.readouterr().out
    assert "measured with other data, dtype" in out
    assert "1 inconclusive, 1 passed" in out


@pytest.mark.parametrize("command", [["gate", "--max", f"{TOP}=10"], ["compare", "other.json"], ["gate", "--help"]])
def test_neither_imports_what_a_scan_needs(command: list[str], tmp_path: Path) -> None:
    for name in ("run", "other"):
        written(tmp_path / f"{name}.json", subject(Estimate.of(5.0, 0.1)))
    code = "import sys; from landscape_cli.cli.main import main; code = main(sys.argv[1:])\n"
    code += "sys.exit(code or [m for m in ('torch', 'safetensors', 'rich', 'scipy') if m in sys.modules] or 0)"
    typed = [sys.executable, "-c", code, command[0], "run.json", *command[1:]]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(typed, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_with_one_sample_group_no_limit_decides() -> None:
    """Nothing is known of the error: on the good side or the bad one."""
    for limit in (0.0, 10.0):
        run = replace(subject(Estimate.of(5.0)), groups={"hessian": 1})
        outcome = judge(Rule("max", TOP, limit), run)
        assert (outcome.outcome, outcome.why) == ("inconclusive", "one sample group: no error is known")


def test_a_number_without_an_error_says_so() -> None:
    for limit, came in ((10.0, "pass"), (1.0, "fail")):
        outcome = judge(Rule("max", TOP, limit), subject(Estimate.of(5.0)))
        assert (outcome.outcome, outcome.why) == (came, "no error is known")


@pytest.mark.parametrize("name", ["roughness", "convex_fraction", "plateau_fraction"])
def test_what_speaks_of_the_finite_points_alone_decides_nothing_about_a_surface_with_holes(name: str) -> None:
    for share, came in ((1.0, "pass"), (0.75, "inconclusive")):
        surface = {name: Estimate.of(0.5, 0.01), "finite_fraction": Estimate.of(share)}
        tree = {"planes": {"p": {"s": {"surface": surface}}}}
        run = subject(tree=tree, conditions={"planes.p.s": {}})
        assert judge(Rule("max", f"surface.{name}", 1.0), run).outcome == came


def test_other_files_of_directions_are_other_directions() -> None:
    def recipe(kind: str, source: str, sha: str, normalize: str) -> Any:
        return _recipe({"kind": kind, "from": source, "normalize": normalize, "sha256": sha})

    for kind in ("file", "checkpoint"):
        assert recipe(kind, "here/a.pt", "1", "filter") == recipe(kind, "there/a.pt", "2", "filter")
        assert recipe(kind, "a.pt", "1", "filter") != recipe(kind, "b.pt", "1", "filter")
    assert recipe("file", "a.pt", "1", "none") != recipe("file", "a.pt", "2", "none")


def test_a_command_that_measures_is_told_without_what_comes_after() -> None:
    argv = ("landscape", "scan", "job.toml", "--max-time", "1s", "--gate=p.toml", "-o", "run.h5", "--report", "-q")
    run = replace(subject(None), argv=argv)
    assert judge(Rule("max", TOP, 1.0), run).why == ("not measured: landscape scan job.toml -o run.h5 --only hessian")
