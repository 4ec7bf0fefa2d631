"""The gate's outcomes as GitHub workflow commands: one annotation per rule that did not pass.

docs.github.com/actions/reference/workflow-commands-for-github-actions: `::error title=T::MESSAGE`, with %, carriage
returns and newlines percent-encoded, and in properties colons and commas too.
"""

from __future__ import annotations

from landscape_cli.analyse.gate import Outcome
from landscape_cli.report.numbers import plain
from landscape_cli.report.outcomes import Outcomes, row, summary

LEVELS = {"fail": "error", "inconclusive": "warning", "warn": "warning"}


def to_github(outcomes: Outcomes) -> str:
    """Annotations, then the last line as a notice."""
    told = [annotation(outcome) for outcome in outcomes if outcome.outcome != "pass"]
    return "".join(f"{line}\n" for line in [*told, f"::notice title=landscape::{message(summary(outcomes))}"])


def annotation(outcome: Outcome) -> str:
    """One rule that did not pass."""
    shown, path, value, limit, why = row(outcome)
    text = f"{plain(outcome.file)}: {path} is {value}, {limit}" + (f": {why}" if why else "")
    title = property_(f"landscape gate: {shown} {path}")
    return f"::{LEVELS[shown.split()[0]]} title={title}::{message(text)}"


def message(text: str) -> str:
    """A command's message, escaped."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def property_(text: str) -> str:
    """A command's property, escaped."""
    return message(text).replace(":", "%3A").replace(",", "%2C")
