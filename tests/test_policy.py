"""Rules as people write them: what is refused, in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import subject, written

from landscape_cli.analyse.gate import FLOOR, Kind, Rule
from landscape_cli.analyse.policy import from_flag, read_policy, share
from landscape_cli.cli.gate import MAX_POLICY
from landscape_cli.cli.main import main
from landscape_cli.errors import LandscapeError
from landscape_cli.profile import Estimate

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(("kind", "text", "rule"), [
    ("max", "hessian.top=50", Rule("max", "hessian.top", 50)),
    ("min", " basin.left = 1e-3 ", Rule("min", "basin.left", 1e-3)),
    ("max", "hessian.top=-50", Rule("max", "hessian.top", -50)),
    ("max_increase", "hessian.top=10%", Rule("max_increase", "hessian.top", 0.1, percent=True)),
    ("max_decrease", "hessian.top=0.5", Rule("max_decrease", "hessian.top", 0.5)),
    ("require", "verdict.kind=minimum, plateau", Rule("require", "verdict.kind", allowed=("minimum", "plateau"))),
])  # fmt: skip
def test_rules_on_the_command_line(kind: Kind, text: str, rule: Rule) -> None:
    found = from_flag(kind, text)
    assert str(found) == str(rule)
    assert (found.kind, found.metric, found.percent, found.allowed) == (kind, rule.metric, rule.percent, rule.allowed)
    assert kind == "require" or found.limit == rule.limit


@pytest.mark.parametrize(("kind", "text", "told"), [
    ("max", "hessian.top", "--max hessian.top=50"),
    ("max", "=50", "--max hessian.top=50"),
    ("max", "hessian.top=", "--max hessian.top=50"),
    ("max_increase", "", "--max-increase hessian.top=50"),
    ("max", "hessian.top=fifty", "finite number"),
    ("max", "hessian.top=nan", "finite number"),
    ("max", "hessian.top=inf", "finite number"),
    ("max", "hessian.top=1e999", "finite number"),
    ("max", "hessian.top=5=5", "finite number"),
    ("max", "hessian.top=10%", "--max-increase"),
    ("min", "hessian.top=10%", "--max-increase"),
    ("max_increase", "hessian.top=%", "finite number"),
    ("max_increase", "hessian.top=5%%", "finite number"),
    ("max_increase", "hessian.top=-5%", "0 or more"),
    ("max_decrease", "hessian.top=-5", "0 or more"),
    ("require", "verdict.kind=minimun", "did you mean minimum"),
    ("require", "verdict.kind=minimum,,plateau", "one of: minimum"),
    ("require", "verdict.kind=inconclusive", "one of: minimum"),
    ("require", "verdict.kid=minimum", "did you mean verdict.kind"),
    ("require", "hessian.top=minimum", "one of: verdict.kind"),
])  # fmt: skip
def test_a_rule_that_means_nothing_is_refused(kind: Kind, text: str, told: str) -> None:
    with pytest.raises(LandscapeError) as error:
        from_flag(kind, text)
    assert told in error.value.hint
    assert error.value.code == 2


def test_a_policy_says_what_flags_do_and_more() -> None:
    policy = read_policy(
        """
        confidence = 0.95
        inconclusive_exit = 1
        [[rules]]
        metric = "hessian.top"
        max = 50
        max_increase = "10%"
        floor = 0.5
        reason = "sharper than main"
        severity = "warn"
        [[rules]]
        metric = "verdict.kind"
        require = ["minimum", "plateau"]
        """,
        "gate.toml",
    )
    assert (policy.confidence, policy.inconclusive_exit) == (0.95, 1)
    rules = {rule.kind: rule for rule in policy.rules}
    assert list(rules) == ["max", "max_increase", "require"]
    for kind in ("max", "max_increase"):
        assert (rules[kind].floor, rules[kind].reason, rules[kind].severity) == (0.5, "sharper than main", "warn")
    assert (rules["max_increase"].limit, rules["max_increase"].percent) == (0.1, True)
    assert rules["require"].allowed == ("minimum", "plateau")
    assert (rules["require"].floor, rules["require"].severity) == (FLOOR, "error")


def table(**keys: Any) -> str:
    held = {"metric": '"hessian.top"', **keys}
    return "[[rules]]\n" + "".join(f"{key} = {value}\n" for key, value in held.items())


@pytest.mark.parametrize(("text", "told"), [
    ("rule = []", "did you mean rules"),
    ("confidance = 0.9", "did you mean confidence"),
    ("[rules]\nmetric = 'hessian.top'", "[[rules]]"),
    ("rules = [1]", "[[rules]]"),
    ("confidence = 1", "between 0 and 1"),
    ("confidence = 'high'", "finite number"),
    ("confidence = true", "finite number"),
    ("confidence = 95", "between 0 and 1"),
    ("inconclusive_exit = 2", "one of: 0, 1, 3"),
    ("inconclusive_exit = true", "one of: 0, 1, 3"),
    ("inconclusive_exit = [0]", "one of: 0, 1, 3"),
    (table(), "one of: max, min"),
    (table(max=5, reson="'why'"), "did you mean reason"),
    (table(maximum=5), "one of: metric"),
    ("[[rules]]\nmax = 5", "hessian.top"),
    (table(metric="5", max=5), "hessian.top"),
    (table(metric="''", max=5), "hessian.top"),
    (table(max="true"), "finite number"),
    (table(max="nan"), "finite number"),
    (table(max="[5]"), "finite number"),
    (table(max="2020-01-01"), "finite number"),
    (table(max="'5%'"), "--max-increase"),
    (table(max_increase="-1"), "0 or more"),
    (table(max=5, floor=-1), "0 or more"),
    (table(max=5, floor="'low'"), "finite number"),
    (table(max=5, reason=5), "quotes"),
    (table(max=5, severity="'warning'"), "did you mean warn"),
    (table(max=5, severity="['warn']"), "one of: error, warn"),
    (table(require="'minimum'"), "one of: verdict.kind"),
    (table(metric="'verdict.kind'", require="5"), "minimum"),
    (table(metric="'verdict.kind'", require="[]"), "minimum"),
    (table(metric="'gradient.critical'", require="[5]"), "yes"),
    ("x = [" * 5000, "landscape gate --help"),
    ("x = " + "9" * 5000, "landscape gate --help"),
    ("x = {a=" * 5000, "landscape gate --help"),
    ("x = 2020-99-99", "landscape gate --help"),
    ("no toml", "landscape gate --help"),
])  # fmt: skip
def test_a_policy_that_means_nothing_is_refused(text: str, told: str) -> None:
    with pytest.raises(LandscapeError) as error:
        read_policy(text, "gate.toml")
    assert told in error.value.hint
    assert "gate.toml" in error.value.message or told in ("finite number", "--max-increase", "0 or more", "minimum",
                                                          "yes", "one of: verdict.kind", "between 0 and 1")  # fmt: skip


@given(st.text(max_size=60))
def test_no_text_is_more_than_refused(text: str) -> None:
    for kind in ("max", "max_increase", "require"):
        with pytest.raises(LandscapeError):
            from_flag(kind, f"={text}")
    try:
        read_policy(text, "gate.toml")
    except LandscapeError:
        return


@pytest.mark.parametrize(("text", "value"), [("5%", 0.05), ("0.05", 0.05), ("0", 0), ("250%", 2.5)])
def test_a_tolerance(text: str, value: float) -> None:
    assert share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "%", "-1%", "nan", "inf%", "five"])
def test_a_tolerance_that_is_none(text: str) -> None:
    with pytest.raises(LandscapeError):
        share(text)


# ---------------------------------------------------------------- the command


@pytest.fixture
def run(tmp_path: Path) -> str:
    return written(tmp_path / "run.json", subject(Estimate.of(5.0, 0.1)))


def refused(capsys: Capture, *args: str) -> str:
    capsys.readouterr()
    assert main(["gate", *args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2, err
    return err


def test_no_rule_is_a_usage_error(run: str, tmp_path: Path, capsys: Capture) -> None:
    empty = tmp_path / "gate.toml"
    for text in ("", "# nothing but comments\n", "confidence = 0.9\n", "rules = []\n"):
        empty.write_text(text)
        assert "no rule" in refused(capsys, run, "--policy", str(empty))
    assert "no rule" in refused(capsys, run)


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize(("name", "near"), [("hessian.topp", "hessian.top"), ("hesian.trace", "hessian.trace"),
                                            ("basin.radius_men", "basin.radius_mean")])  # fmt: skip
def test_an_unknown_metric_is_refused_and_the_nearest_named(
    tmp_path: Path, capsys: Capture, measured: bool, name: str, near: str
) -> None:
    run = written(tmp_path / "run.json", subject(Estimate.of(5.0, 0.1) if measured else None))
    assert near in refused(capsys, run, "--max", f"{name}=5")


def test_a_known_metric_that_was_not_measured_is_inconclusive(tmp_path: Path) -> None:
    run = written(tmp_path / "run.json", subject(None))
    for name in ("hessian.top", "hessian.trace", "basin.radius_mean", "centre.loss"):
        assert main(["gate", run, "--max", f"{name}=5"]) == 3


def test_a_policy_that_cannot_be_read(run: str, tmp_path: Path, capsys: Capture) -> None:
    assert "cannot read" in refused(capsys, run, "--policy", str(tmp_path / "none.toml"))
    assert "cannot read" in refused(capsys, run, "--policy", str(tmp_path))
    binary, long = tmp_path / "binary.toml", tmp_path / "long.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    long.write_bytes(b"#" * (MAX_POLICY + 1))
    assert "cannot read" in refused(capsys, run, "--policy", str(binary))
    assert "1 MiB" in refused(capsys, run, "--policy", str(long))


def test_a_policy_is_never_overwritten(run: str, tmp_path: Path, capsys: Capture) -> None:
    policy = tmp_path / "gate.toml"
    policy.write_text(table(max=50))
    for name in (str(policy), run):
        assert "is read" in refused(capsys, run, "--policy", str(policy), "--force", "--format", f"json={name}")
    assert policy.read_text() == table(max=50)
