"""The gate's outcomes for people and machines: GATE_FORMATS = {name: function}."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from landscape_cli.analyse.gate import Outcome
from landscape_cli.report.columns import aligned
from landscape_cli.report.github import to_github
from landscape_cli.report.json import FORMAT_VERSION, plain_values
from landscape_cli.report.junit import to_junit
from landscape_cli.report.markdown import escaped
from landscape_cli.report.numbers import plain
from landscape_cli.report.outcomes import Outcomes, row, summary, went


def to_text(outcomes: Outcomes) -> str:
    """One line per rule, under the name of each run where there are several, and the last line."""
    lines = aligned([row(outcome) for outcome in outcomes])
    files = list(dict.fromkeys(outcome.file for outcome in outcomes))
    if len(files) > 1:
        pairs = list(zip(outcomes, lines, strict=True))
        of = {file: [text for outcome, text in pairs if outcome.file == file] for file in files}
        lines = [line for file in files for line in (f"run {plain(file)}", *of[file])]
    return "\n".join([*lines, summary(outcomes)]) + "\n"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """One outcome as an object."""
    rule = {name: value for name, value in asdict(outcome.rule).items() if name not in ("limit", "allowed")}
    limit = list(outcome.rule.allowed) if outcome.rule.kind == "require" else outcome.rule.limit
    numbers = {"value": outcome.found, "baseline": outcome.baseline}
    found: Any = plain_values(numbers)
    return {"file": outcome.file, "path": outcome.path, "outcome": outcome.outcome, **rule, "limit": limit, **found,
            "why": outcome.why}  # fmt: skip


def to_json(outcomes: Outcomes) -> str:
    """{"format_version": 1, "outcome": "failed", "summary": …, "rules": […]}."""
    told = {"outcome": went(outcomes), "summary": summary(outcomes)}
    document = {"format_version": FORMAT_VERSION, **told, "rules": [*map(as_json, outcomes)]}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def to_ndjson(outcomes: Outcomes) -> str:
    """One JSON object a line and rule, for `jq`."""
    return "".join(json.dumps(as_json(outcome), allow_nan=False) + "\n" for outcome in outcomes)


def to_markdown(outcomes: Outcomes) -> str:
    """A table, one row per rule, and the last line in bold above it."""
    signs = {"pass": "✅", "fail": "❌", "inconclusive": "❔", "warn": "⚠️"}
    lines = [
        f"**{escaped(summary(outcomes))}**",
        "",
        "| | run | metric | value | limit | why |",
        "|---|---|---|---|---|---|",
    ]
    for outcome in outcomes:
        first, *cells = row(outcome)
        shown = [f"{signs[first.split()[0]]} {first}", *map(escaped, [plain(outcome.file), *cells])]
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


GATE_FORMATS: dict[str, Callable[[Outcomes], str]] = {
    "text": to_text,
    "json": to_json,
    "ndjson": to_ndjson,
    "markdown": to_markdown,
    "github": to_github,
    "junit": to_junit,
}
