"""The gate's outcomes as text, JSON, NDJSON, markdown, GitHub annotations and JUnit, as their readers take them."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import subject, written
from test_report_command import strict

from landscape_cli.analyse.gate import Outcome, Rule, judge
from landscape_cli.cli.main import main
from landscape_cli.profile import Estimate
from landscape_cli.report.gate import GATE_FORMATS
from landscape_cli.report.github import message, property_
from landscape_cli.report.markdown import escaped

Capture = pytest.CaptureFixture[str]
NASTY = '100%,: a|b <c> & "d" ]]> `e` \r\n::error::forged\x00\x1b[31m\ufffe\ufffféλ😀\ud800'


def outcomes(file: str = "run.h5", reason: str = "") -> list[Outcome]:
    """One of each: passed, failed, inconclusive, warned of a failure, warned of an inconclusive one."""
    made = [(5.0, 0.1, "error"), (50.0, 0.1, "error"), (9.0, 5.0, "error"), (50.0, 0.1, "warn"), (9.0, 5.0, "warn")]
    return [
        judge(Rule("max", "hessian.top", 10, reason=reason, severity="warn" if kind == "warn" else "error"),
              subject(Estimate.of(value, error), file))
        for value, error, kind in made
    ]  # fmt: skip


def words() -> Outcome:
    run = subject(tree={"verdict": {"kind": "saddle", "reasons": []}})
    return judge(Rule("require", "verdict.kind", allowed=("minimum", "plateau")), run)


BOTH = [*outcomes("a.h5", NASTY), *outcomes(f"b{NASTY}.h5"), words()]

# ---------------------------------------------------------------- JUnit

# The schema that Jenkins' xUnit plug-in and Maven's Surefire share: elements, their attributes (! must be there), and
# what they may hold, in order.
SCHEMA: dict[str, tuple[str, tuple[str, ...]]] = {
    "testsuites": ("name time tests failures disabled errors", ("testsuite",)),
    "testsuite": (
        "name! tests! failures errors time disabled skipped timestamp hostname id package",
        ("properties", "testcase", "system-out", "system-err"),
    ),
    "testcase": (
        "name! classname! assertions time status",
        ("skipped", "error", "failure", "system-out", "system-err"),
    ),
    "failure": ("type message", ()),
    "error": ("type message", ()),
    "system-out": ("", ()),
}
COUNTS = ("tests", "failures", "errors", "disabled", "skipped")


def check_schema(element: ElementTree.Element) -> None:
    attributes, children = SCHEMA[element.tag]
    known = attributes.replace("!", "").split()
    assert set(element.attrib) <= set(known), element.tag
    assert {name[:-1] for name in attributes.split() if name.endswith("!")} <= set(element.attrib)
    assert all(element.attrib[name].isdigit() for name in COUNTS if name in element.attrib)
    assert "time" not in element.attrib or float(element.attrib["time"]) >= 0
    order = [children.index(child.tag) for child in element]
    assert order == sorted(order)
    for child in element:
        check_schema(child)


def check_counts(element: ElementTree.Element) -> None:
    cases = list(element.iter("testcase"))
    for name, tag in (("failures", "failure"), ("errors", "error")):
        assert int(element.attrib[name]) == sum(case.find(tag) is not None for case in cases)
    assert int(element.attrib["tests"]) == len(cases)


@pytest.mark.parametrize("made", [outcomes(), BOTH, [words()]], ids=["one run", "hostile names", "words"])
def test_junit_is_of_its_schema_and_counts_right(made: list[Outcome]) -> None:
    text = GATE_FORMATS["junit"](made)
    root = ElementTree.fromstring(text.encode())
    assert root.tag == "testsuites"
    check_schema(root)
    for element in (root, *root):
        check_counts(element)
    cases = list(root.iter("testcase"))
    assert len(cases) == len(made)
    for outcome, case in zip(sorted(made, key=lambda o: [m.file for m in made].index(o.file)), cases, strict=True):
        warns = outcome.rule.severity == "warn"
        tag = None if warns else {"fail": "failure", "inconclusive": "error"}.get(outcome.outcome)
        assert [child.tag for child in case] == [tag or "system-out"]
        assert outcome.path in case.attrib["name"]


@given(st.text())
def test_no_name_or_reason_breaks_xml_or_a_line(text: str) -> None:
    made = outcomes(text or "x", text)
    ElementTree.fromstring(GATE_FORMATS["junit"](made).encode("utf-8", "replace"))
    assert len(GATE_FORMATS["text"](made).splitlines()) == len(made) + 1
    assert len(GATE_FORMATS["github"](made).splitlines()) == len(made)  # all but one, which passed; and the notice
    assert len(GATE_FORMATS["markdown"](made).splitlines()) == len(made) + 4
    assert strict(GATE_FORMATS["json"](made))["rules"][0]["file"] == (text or "x")


# ---------------------------------------------------------------- GitHub


def test_github_s_documented_escaping() -> None:
    """As @actions/core does it: escapeData of %, \\r, \\n; escapeProperty of : and , too."""
    assert message("a%b\rc\nd:e,f") == "a%25b%0Dc%0Ad:e,f"
    assert property_("a%b\rc\nd:e,f") == "a%25b%0Dc%0Ad%3Ae%2Cf"
    assert message("%0A") == "%250A"


def test_annotations_of_what_did_not_pass() -> None:
    lines = GATE_FORMATS["github"](outcomes("a:b,c%.h5", "50%, no: more")).splitlines()
    parsed = [re.fullmatch(r"::(error|warning|notice) title=([^:,]*)::(.*)", line) for line in lines]
    assert all(parsed)
    assert [match[1] for match in parsed if match] == ["error", "warning", "warning", "warning", "notice"]
    assert all("a:b,c%25.h5" in line and "50%25, no: more" in line for line in lines[:-1])
    assert all("landscape gate%3A " in line for line in lines[:-1])
    assert lines[-1].endswith("gate failed: 1 failed, 1 inconclusive, 2 warned, 1 passed")


def gate(tmp_path: Path, *args: str, value: float = 50.0) -> int:
    run = written(tmp_path / "run.json", subject(Estimate.of(value, 0.1)))
    return main(["gate", run, "--max", "hessian.top=10", *args])


def test_the_job_summary_is_appended_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    assert gate(tmp_path, "--format", "text") == 1
    assert page.read_text() == "before\n"
    assert gate(tmp_path, "--format", "github") == 1
    assert page.read_text().startswith("before\n**gate failed: 1 failed**\n\n| |")
    page.unlink()
    assert gate(tmp_path, "--format", "github") == 1
    assert page.is_file()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "none" / "summary.md"))
    capsys.readouterr()
    assert gate(tmp_path, "--format", "github", value=5.0) == 2
    err = capsys.readouterr().err
    assert "cannot write" in err
    assert "GITHUB_STEP_SUMMARY" in err
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "")
    assert gate(tmp_path, "--format", "github") == 1


# ---------------------------------------------------------------- the others


def test_text_is_one_line_per_rule_under_the_name_of_its_run() -> None:
    lines = GATE_FORMATS["text"](outcomes(reason="why not")).splitlines()
    assert [line.split()[0] for line in lines] == ["pass", "fail", "inconclusive", "warn", "warn", "gate"]
    assert all("hessian.top.0" in line and "max 10" in line and "why not" in line for line in lines[:-1])
    assert "50.00 ± 0.10" in lines[1]
    two = GATE_FORMATS["text"]([*outcomes("a.h5"), *outcomes("b.h5")]).splitlines()
    assert (two[0], two[6], len(two)) == ("run a.h5", "run b.h5", 13)
    assert "saddle" in GATE_FORMATS["text"]([words()])
    assert "minimum or plateau" in GATE_FORMATS["text"]([words()])


def test_json_is_strict_and_says_the_outcome() -> None:
    document = strict(GATE_FORMATS["json"](BOTH))
    assert (document["format_version"], document["outcome"]) == (1, "failed")
    assert strict(GATE_FORMATS["json"](outcomes()[:1]))["outcome"] == "passed"
    assert strict(GATE_FORMATS["json"](outcomes()[2:]))["outcome"] == "inconclusive"
    first = document["rules"][0]
    assert {name: first[name] for name in ("outcome", "path", "kind", "limit", "severity")} == {
        "outcome": "pass", "path": "hessian.top.0", "kind": "max", "limit": 10, "severity": "error"}  # fmt: skip
    assert first["value"] == {"value": 5.0, "stderr": 0.1, "status": "ok", "bound": "exact"}
    assert document["rules"][-1]["limit"] == ["minimum", "plateau"]
    assert document["rules"][-1]["value"] == "saddle"
    infinite = judge(Rule("max", "hessian.top", 1), subject(Estimate.of(float("inf"))))
    assert strict(GATE_FORMATS["json"]([infinite]))["rules"][0]["value"]["value"] is None


def test_ndjson_is_one_object_a_line() -> None:
    lines = GATE_FORMATS["ndjson"](BOTH).splitlines()
    assert [strict(line) for line in lines] == strict(GATE_FORMATS["json"](BOTH))["rules"]


def test_a_markdown_table_keeps_its_columns() -> None:
    lines = GATE_FORMATS["markdown"](BOTH).splitlines()
    assert len(lines) == len(BOTH) + 4
    assert lines[0] == f"**{escaped('gate failed: 3 failed, 2 inconclusive, 4 warned, 2 passed')}**"
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines[2:]} == {7}
    assert all("<c>" not in line for line in lines)


def test_several_formats_at_once(tmp_path: Path, capsys: Capture) -> None:
    out = {name: tmp_path / name for name in GATE_FORMATS if name != "text"}
    asked = [f"--format={name}={path}" for name, path in out.items()]
    capsys.readouterr()
    assert gate(tmp_path, "--format", "text", *asked) == 1
    assert capsys.readouterr().out.endswith("gate failed: 1 failed\n")
    ElementTree.parse(out["junit"])
    assert strict(out["json"].read_text())["outcome"] == "failed"
    assert out["markdown"].read_text().startswith("**gate failed")
    assert out["github"].read_text().startswith("::error ")
    assert strict(out["ndjson"].read_text())["outcome"] == "fail"
    assert gate(tmp_path, *asked) == 2  # they exist
    assert gate(tmp_path, *asked, "--force") == 1
    assert gate(tmp_path, "--format", "junitt") == 2
    assert "did you mean junit" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="the system refuses root nothing")
def test_a_file_that_cannot_be_written_is_no_pass(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    assert gate(tmp_path, "--format", f"json={locked / 'x.json'}", value=5.0) == 2


def test_a_folder_that_is_not_there_is_no_pass(tmp_path: Path) -> None:
    assert gate(tmp_path, "--format", f"json={tmp_path / 'none' / 'x.json'}", value=5.0) == 2


def test_several_runs_and_what_is_named_twice(tmp_path: Path, capsys: Capture) -> None:
    runs: list[Any] = [subject(Estimate.of(value, 0.1), f"{value}.h5") for value in (1, 50)]
    one, both = (written(tmp_path / f"{len(held)}.json", *held) for held in (runs[:1], runs))
    rule = ("--max", "hessian.top=10")
    assert main(["gate", one, both, *rule]) == 1
    out = capsys.readouterr().out
    assert [name for name in out.splitlines() if name.endswith((".h5", ".json"))] == [
        f"run {name}" for name in (one, "1.h5", "50.h5")
    ]
    assert main(["gate", one, one, *rule]) == 2
    assert "given twice" in capsys.readouterr().err
    again = written(tmp_path / "again.json", runs[1], runs[1])
    assert main(["gate", again, *rule]) == 2
    assert "two runs are called 50.h5" in capsys.readouterr().err
    assert main(["gate", one, "--baseline", both, *rule]) == 2
    assert "holds 2 runs" in capsys.readouterr().err
    assert json.loads(Path(both).read_text())["format_version"] == 1
