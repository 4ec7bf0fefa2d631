"""Numbers as a person reads them: rounded by their error, with their bound or why there is none."""

from __future__ import annotations

import math
import re

from landscape_cli.analyse.rounding import rounded, short
from landscape_cli.profile import Estimate
from landscape_cli.report.intervals import Ranged

SIGNS = {"exact": "", "lower": "≥ ", "upper": "≤ "}


def estimate_text(estimate: Estimate) -> str:
    """`0.00794 ± 0.00061`, `≥ 0.52`, `3.1 (not converged)`, or the status; `0.0079 [0.0067, 0.0091]` where Ranged."""
    value, error = estimate.value, estimate.stderr
    if value is None:
        return estimate.status
    sign = SIGNS[estimate.bound]
    why = "" if estimate.status == "ok" else f" ({estimate.status})"
    if not math.isfinite(value):
        return f"{sign}{value}{why}"
    if error is None or error == 0:
        return f"{sign}{short(value)}{why}"
    if not isinstance(estimate, Ranged) or estimate.low is None or estimate.high is None:
        return sign + " ± ".join(rounded(value, error)) + why
    middle, low, high = (rounded(number, error)[0] for number in (value, estimate.low, estimate.high))
    return f"{sign}{middle} [{low}, {high}]{why}"


def plain(text: str) -> str:
    """Text that cannot move the cursor, forge a line or fail to be UTF-8 or XML."""
    return re.sub(
        r"[\ud800-\udfff\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufffe\uffff]", "?", text
    )
