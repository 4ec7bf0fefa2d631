"""What every format of the gate says of an outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from landscape_cli.analyse.gate import Outcome
from landscape_cli.report.numbers import estimate_text, plain

Outcomes = Sequence[Outcome]


def label(outcome: Outcome) -> str:
    """pass, fail, inconclusive; or, where it does not count, warn."""
    warns = outcome.rule.severity == "warn" and outcome.outcome != "pass"
    return f"warn ({outcome.outcome})" if warns else outcome.outcome


def row(outcome: Outcome) -> tuple[str, str, str, str, str]:
    """Outcome, metric, value ± error, limit, and why with the rule's reason, as plain text."""
    found, base = outcome.found, outcome.baseline
    value = "no number" if found is None else found if isinstance(found, str) else estimate_text(found)
    limit = str(outcome.rule) + (f" of {estimate_text(base)}" if base is not None else "")
    why = "; ".join(text for text in (outcome.why, outcome.rule.reason) if text)
    label_, path, value, limit, why = (
        plain(" ".join(t.split())) for t in (label(outcome), outcome.path, value, limit, why)
    )
    return label_, path, value, limit, why


def went(outcomes: Outcomes) -> str:
    """How it went on the whole: passed, failed or inconclusive."""
    labels = {label(outcome) for outcome in outcomes}
    return "failed" if "fail" in labels else "inconclusive" if "inconclusive" in labels else "passed"


def summary(outcomes: Outcomes) -> str:
    """The last line: how it went, and how many rules of each outcome."""
    counts = Counter(label(outcome).split()[0] for outcome in outcomes)
    names = {"fail": "failed", "inconclusive": "inconclusive", "warn": "warned", "pass": "passed"}
    told = ", ".join(f"{counts[name]} {text}" for name, text in names.items() if counts[name])
    return f"gate {went(outcomes)}: {told}"
