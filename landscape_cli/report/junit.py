"""The gate's outcomes as JUnit XML: a suite per run, a case per rule; `failure`, and for the inconclusive `error`."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from landscape_cli.analyse.gate import Outcome
from landscape_cli.report.numbers import plain
from landscape_cli.report.outcomes import Outcomes, label, row

ELEMENTS = {"fail": "failure", "inconclusive": "error"}


def to_junit(outcomes: Outcomes) -> str:
    """<testsuites> as Jenkins, GitLab and GitHub's reporters read it; a warning is a case that passes and says so."""
    files = list(dict.fromkeys(outcome.file for outcome in outcomes))
    root = ElementTree.Element("testsuites", {"name": "landscape gate", **_counts(outcomes)})
    for file in files:
        _suite(root, plain(file), [outcome for outcome in outcomes if outcome.file == file])
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(root: ElementTree.Element, name: str, outcomes: Sequence[Outcome]) -> None:
    suite = ElementTree.SubElement(root, "testsuite", {"name": name, **_counts(outcomes), "skipped": "0", "time": "0"})
    for outcome in outcomes:
        shown, path, value, limit, why = row(outcome)
        named = {"classname": f"landscape.{name}", "name": f"{path} {limit}", "time": "0"}
        case = ElementTree.SubElement(suite, "testcase", named)
        told = f"{path} is {value}, {limit}" + (f": {why}" if why else "")
        element = ELEMENTS.get(label(outcome))
        if element:
            found = ElementTree.SubElement(case, element, {"message": told, "type": outcome.rule.kind})
            found.text = told
        else:
            ElementTree.SubElement(case, "system-out").text = f"{shown}: {told}"


def _counts(outcomes: Sequence[Outcome]) -> dict[str, str]:
    labels = [label(outcome) for outcome in outcomes]
    counts = {"tests": len(labels), "failures": labels.count("fail"), "errors": labels.count("inconclusive")}
    return {name: str(count) for name, count in counts.items()}
