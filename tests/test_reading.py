"""A JSON report in place of its run file: the same outcomes, and nothing that an enemy writes passes by accident."""

from __future__ import annotations

import copy
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import document, subject
from test_report_command import Capture, printed
from test_report_parts import made

from landscape_cli import store
from landscape_cli.analyse.gate import Outcome, Rule, judge
from landscape_cli.analyse.subject import Subject
from landscape_cli.cli.main import main
from landscape_cli.cli.subjects import read_subjects
from landscape_cli.errors import LandscapeError
from landscape_cli.profile import Estimate
from landscape_cli.report.reading import STDIN, read_report

__all__ = ["made"]


@pytest.fixture(scope="module")
def partial(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with a plane that is unfinished, an eigenvalue that has not converged and points that are none."""
    run = tmp_path_factory.mktemp("partial") / "run.h5"
    profile = store.load(made)
    hessian, square = profile.sections["hessian"], profile.planes["square"]
    arrays = {**hessian.arrays, "top_converged": np.zeros(2)}
    surfaces = {
        name: replace(s, measured=np.arange(25).reshape(5, 5) < 20, loss=np.where(np.eye(5) > 0, np.nan, s.loss))
        for name, s in square.surfaces.items()
    }
    planes = {**profile.planes, "square": replace(square, surfaces=surfaces)}
    sections = {**profile.sections, "hessian": replace(hessian, arrays=arrays)}
    store.save(replace(profile, planes=planes, sections=sections), run)
    return run


def report(run: Path, capsys: Capture, *more: str) -> str:
    capsys.readouterr()
    assert main(["report", str(run), "--format", "json", *more]) in (0, 3)
    return capsys.readouterr().out


def piped(text: str | bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = text.encode() if isinstance(text, str) else text
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))


def rules_of(run: Subject) -> list[Rule]:
    """Limits on either side of every number, near and far, and what its words must be."""
    found = []
    for path, number in run.numbers.items():
        value, error = number.value or 0.0, number.stderr or 0.0
        for limit in (value + 1e-9 + 20 * error, value + error, value - 1e-9 - 20 * error):
            if np.isfinite(limit):
                found += [Rule("max", path, limit), Rule("min", path, limit), Rule("max_increase", path, 0.5)]
    return [*found, Rule("require", "verdict.kind", allowed=("slope", "minimum")),
            Rule("require", "gradient.critical", allowed=("yes",))]  # fmt: skip


def gist(outcome: Outcome) -> tuple[str, str, str]:
    return outcome.outcome, outcome.path, outcome.why


@pytest.mark.parametrize(("which", "way"), [("made", "file"), ("partial", "stdin"), ("partial", "with intervals")])
def test_a_report_is_judged_as_its_run_is(
    which: str,
    way: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = request.getfixturevalue(which)
    (true,) = read_subjects(str(run))
    text = report(run, capsys, *(["--confidence=0.9"] if way == "with intervals" else []))
    saved = tmp_path / "report.json"
    saved.write_text(text, "utf-8-sig")
    piped(text, monkeypatch)
    (read,) = read_subjects("-" if way == "stdin" else str(saved))
    read = replace(read, file=true.file)
    assert {p: e for p, e in read.numbers.items() if e.value is not None} == {
        path: number for path, number in true.numbers.items() if number.value is not None and np.isfinite(number.value)
    }
    assert read.words == true.words
    base = moved(true)
    assert {path for path, number in read.numbers.items() if number.shares is not None} > {"centre.train.loss"}
    rules = rules_of(true)
    assert len(rules) > 500
    rules = [rule for rule in rules if rule.metric in read.numbers or rule.kind == "require"]
    found, exact = ([gist(judge(rule, run, base)) for rule in rules] for run in (read, true))
    assert found == exact
    assert {outcome for outcome, *_ in found} == {"pass", "fail", "inconclusive"}


def moved(run: Subject) -> Subject:
    """The same run with every number a little lower: by half of what it may increase, its errors as they are."""

    def lower(tree: Any) -> Any:
        if isinstance(tree, Estimate):
            return replace(tree, value=None if tree.value is None else tree.value - 0.25)
        if isinstance(tree, dict):
            return {key: lower(value) for key, value in tree.items()}
        return [lower(value) for value in tree] if isinstance(tree, list) else tree

    return replace(run, tree=lower(run.tree))


@pytest.mark.parametrize("shares", ["1 2 nan", "x", 3, [0.1], "1e9", "1e400", " ".join(["1e200"] * 4)])
def test_shares_that_do_not_make_the_error_are_refused(shares: Any) -> None:
    report = document(subject(Estimate.of(2.0, 0.5)))
    report["runs"][0]["comparison"]["shares"] = {"hessian.top.0": "0.3 -0.4"}
    (read,) = read_report(json.dumps(report), STDIN)
    assert read.numbers["hessian.top.0"].shares.tolist() == [0.3, -0.4]  # type: ignore[union-attr]
    report["runs"][0]["comparison"]["shares"] = {"hessian.top.0": shares}
    with pytest.raises(LandscapeError):
        read_report(json.dumps(report), STDIN)


def test_the_gate_takes_either_and_a_report_as_baseline(
    made: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = report(made, capsys)
    saved = tmp_path / "base.json"
    saved.write_text(text)
    other = str(shutil.copy(made, tmp_path / "base.h5"))
    rules = ("--max", "hessian.top=1e9", "--max-increase", "centre.loss=10%", "--max-increase", "basin.left=50%")
    names = ("hessian.top.0", "centre.train.loss", "planes.main.train.basin.left")
    for run, base in (
        (str(made), other),
        (str(made), str(saved)),
        (str(saved), other),
        ("-", str(saved)),
        ("-", other),
    ):
        piped(text, monkeypatch)
        assert main(["gate", run, "--baseline", base, "--format", "json", *rules]) == 3
        found = {rule["path"]: rule["outcome"] for rule in json.loads(capsys.readouterr().out)["rules"]}
        assert found == dict(zip(names, ("pass", "pass", "inconclusive"), strict=True))  # the last is a lower bound
    piped(text, monkeypatch)
    assert main(["gate", "-", "--baseline", "-", *rules]) == 2
    assert "stdin is given twice" in capsys.readouterr().err


def test_a_section_alone_says_nothing_of_the_others_and_means_the_same_plane(
    made: Path, tmp_path: Path, capsys: Capture
) -> None:
    saved = tmp_path / "part.json"
    saved.write_text(report(made, capsys, "--section", "square", "--section", "hessian"))
    for rule, code in (("--max=hessian.top=1e9", 0), ("--max=centre.loss=1e9", 3), ("--max=sharpness.worst=1e9", 3),
                       ("--min=square.surface.min=-1e9", 0), ("--min=surface.min=-1e9", 3)):  # fmt: skip
        assert main(["gate", str(saved), rule]) == code, rule
    assert main(["gate", str(made), "--min=surface.min=-1e9"]) == 0


def test_a_run_file_on_stdin_is_told_what_to_pipe(made: Path) -> None:
    with made.open("rb") as stream:
        command = [sys.executable, "-m", "landscape_cli", "gate", "-", "--max", "hessian.top=5"]
        done = subprocess.run(command, stdin=stream, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "landscape report run.h5 --format json" in done.stderr


def test_nothing_and_a_closed_stdin(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("", " \n"):
        piped(text, monkeypatch)
        assert main(["gate", "-", "--max", "hessian.top=5"]) == 2
        assert "it is empty" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["gate", "-", "--max", "hessian.top=5"]) == 2


def test_a_split_may_be_called_status(made: Path, tmp_path: Path, capsys: Capture) -> None:
    profile = store.load(made)
    centre = {"status": profile.centre["train"], "value": profile.centre["test"]}
    run = tmp_path / "named.h5"
    store.save(replace(profile, centre=centre, planes={}, sections={}), run)
    (read,) = read_report(report(run, capsys), "x")
    assert read.named("centre.loss")[0] == "centre.status.loss"


# ---------------------------------------------------------------- hostile


def edited(**changes: Any) -> str:
    return json.dumps({**document(subject(Estimate.of(5.0, 0.1))), **changes})


HOSTILE: dict[str, str] = {
    "empty": "",
    "blank": " \n\t",
    "no JSON": "hello",
    "cut short": edited()[:-5],
    "a list": "[1]",
    "a number": "5",
    "NaN": edited().replace("5.0", "NaN"),
    "Infinity": edited().replace("5.0", "Infinity"),
    "a float beyond all": edited().replace("5.0", "1e999"),
    "an integer beyond all": edited().replace("5.0", "9" * 400),
    "an integer of too many digits": edited().replace("5.0", "9" * 5000),
    "an error below 0": edited().replace("0.1,", "-0.1,"),
    "deep": '{"format_version": 1, "runs": [{"hessian": ' + "[" * 100_000 + "]" * 100_000 + "}]}",
    "fairly deep": edited().replace('"residual": 0.0', '"residual": ' + "[" * 50 + "]" * 50),
    "a plain number beyond all": edited().replace('"residual": 0.0', '"residual": ' + "9" * 400),
    "no version": edited(format_version=None),
    "a version that is none": edited(format_version=True),
    "version 0": edited(format_version=0),
    "no runs": edited(runs=[]),
    "runs that are none": edited(runs={"a": 1}),
    "a run that is none": edited(runs=[5]),
    "a run that says nothing": edited(runs=[{}]),
    "NDJSON": json.dumps(document(subject(Estimate.of(5.0)))["runs"][0]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_report_is_refused(name: str, tmp_path: Path, capsys: Capture) -> None:
    with pytest.raises(LandscapeError) as error:
        read_report(HOSTILE[name], "x.json")
    assert error.value.code == 2
    assert "x.json" in error.value.message
    saved = tmp_path / "x.json"
    saved.write_text(HOSTILE[name])
    capsys.readouterr()
    assert main(["gate", str(saved), "--max", "hessian.top=10"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_only_utf_8_is_read(encoding: str, tmp_path: Path, capsys: Capture) -> None:
    saved = tmp_path / "x.json"
    saved.write_bytes(json.dumps(document(subject(Estimate.of(5.0), "é.h5")), ensure_ascii=False).encode(encoding))
    assert main(["gate", str(saved), "--max", "hessian.top=10"]) == 2
    saved.write_text(edited(), "utf-8-sig")
    assert main(["gate", str(saved), "--max", "hessian.top=10"]) == 0


def test_a_newer_format_says_what_to_install() -> None:
    shapes: tuple[Any, ...] = ([], "of another shape", document(subject(Estimate.of(5.0)))["runs"])
    for runs in shapes:
        with pytest.raises(LandscapeError, match="format 2, newer than 1") as error:
            read_report(edited(format_version=2, runs=runs), "x")
        assert "install" in error.value.hint


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


JUNK: tuple[Any, ...] = (
    [], {}, "", "x", True, [None], {"": 1}, {"status": "ok"}, {"value": 1, "status": "ok"}, [[[]]], 10**400, [1.0],
    {"value": 0.5, "stderr": None, "status": [], "bound": {}},
)  # fmt: skip
Mutated = Callable[[int, int], str]


@pytest.fixture(scope="module")
def mutated(partial: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Mutated, int]:
    """The true run; its report with one place deleted or of another type; and how many places there are."""
    saved = tmp_path_factory.mktemp("mutated") / "report.json"
    assert main(["report", str(partial), "--format", "json", "-o", str(saved)]) == 3
    whole = json.loads(saved.read_text())
    whole["runs"][0]["provenance"] = {"argv": ["landscape", "scan"]}  # the rest of it is not read
    known = list(places(whole))

    def change(place: int, junk: int) -> str:
        tree = copy.deepcopy(whole)
        *path, last = known[place]
        parent = at(tree, tuple(path))
        held = parent[last]
        put = JUNK[junk % len(JUNK)]
        if junk < len(JUNK) and type(put) is not type(held):
            parent[last] = put
        elif isinstance(parent, dict):
            del parent[last]
        return json.dumps(tree)

    return read_report(saved.read_text(), "x")[0], change, len(known)


@settings(max_examples=50)
@given(data=st.data())
def test_one_place_of_another_type_is_refused_or_never_passes_what_is_no_pass(
    mutated: tuple[Subject, Mutated, int], data: st.DataObject
) -> None:
    true, change, count = mutated
    text = change(data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, len(JUNK))))
    try:
        (read,) = read_report(text, "x")
    except LandscapeError:
        return
    for name in ("hessian.top.0", "hessian.trace", "sharpness.worst", "planes.square.train.surface.min",
                 "planes.main.train.basin.left", "centre.train.loss", "gradient.norm"):  # fmt: skip
        for limit in (-1.0, 1e-3, 1e9):
            for rule in (Rule("max", name, limit), Rule("min", name, limit), Rule("max_increase", name, limit, True)):
                found = judge(rule, read, true)
                assert found.outcome != "pass" or judge(rule, true, true).outcome == "pass", text[:200]
    for word in ("minimum", "slope"):
        rule = Rule("require", "verdict.kind", allowed=(word,))
        assert judge(rule, read).outcome != "pass" or judge(rule, true).outcome == "pass"


LEAVES = st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5) | st.integers()
KEYS = st.sampled_from(["status", "value", "stderr", "bound", "top", "planes", "a", ""])


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)))
def test_any_tree_is_read_or_refused(tree: Any) -> None:
    held = document(subject(Estimate.of(5.0, 0.1)))
    for branch in ("hessian", "centre", "planes", "verdict"):
        changed = copy.deepcopy(held)
        changed["runs"][0][branch] = tree
        try:
            (read,) = read_report(json.dumps(changed, allow_nan=True), STDIN)
        except LandscapeError:
            continue
        for name in ("hessian.top", "centre.loss", "surface.min", "a.b"):
            judge(Rule("max", name, 1.0), read)
        judge(Rule("require", "verdict.kind", allowed=("minimum",)), read)


def test_reports_of_several_runs_keep_their_names(made: Path, tmp_path: Path, capsys: Capture) -> None:
    other = Path(shutil.copy(made, tmp_path / "other.h5"))
    text = printed(capsys, "report", str(made), str(other), "--format", "json")
    assert [run.file for run in read_report(text, "both.json")] == [str(made), str(other)]
    assert [run.file for run in read_report(report(made, capsys), "one.json")] == ["one.json"]
    assert [run.file for run in read_report(report(made, capsys), STDIN)] == [str(made)]
