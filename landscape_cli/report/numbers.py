"""Numbers as a person reads them: rounded by their error, with their bound or why there is none."""

from __future__ import annotations

import math
import re

from landscape_cli.profile import Estimate

SIGNS = {"exact": "", "lower": "≥ ", "upper": "≤ "}


def estimate_text(estimate: Estimate, errors: float | None = None) -> str:
    """`0.00794 ± 0.00061`, `≥ 0.52`, `3.1 (not converged)`, or the status; an interval where `errors` says how wide."""
    value, error = estimate.value, estimate.stderr
    if value is None:
        return estimate.status
    sign = SIGNS[estimate.bound]
    why = "" if estimate.status == "ok" else f" ({estimate.status})"
    if not math.isfinite(value):
        return f"{sign}{value}{why}"
    if error is None or error == 0:
        return f"{sign}{value:.5g}{why}"
    if errors is None:
        return sign + " ± ".join(rounded(value, error)) + why
    low, high = (rounded(value + side * errors * error, error)[0] for side in (-1, 1))
    return f"{sign}{rounded(value, error)[0]} [{low}, {high}]{why}"


def interval(estimate: Estimate, errors: float) -> tuple[float, float] | None:
    """So many standard errors to both sides; None where there is no error."""
    if estimate.value is None or estimate.stderr is None:
        return None
    return estimate.value - errors * estimate.stderr, estimate.value + errors * estimate.stderr


def rounded(value: float, error: float) -> tuple[str, str]:
    """Both to two significant digits of the error; in scientific notation where that is shorter."""
    if not 1e-4 <= max(abs(value), error) < 1e7:
        power = math.floor(math.log10(max(abs(value), error)))
        whole, part = rounded(value / 10.0**power, error / 10.0**power)
        return f"{whole}e{power:+03d}", f"{part}e{power:+03d}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    if decimals > 15:
        return f"{value:.15g}", f"{error:.2g}"
    return f"{value:.{decimals}f}", f"{error:.{decimals}f}"


def plain(text: str) -> str:
    """Text that cannot move the cursor, forge a line or fail to be UTF-8."""
    return re.sub(r"[\ud800-\udfff\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069]", "?", text)
