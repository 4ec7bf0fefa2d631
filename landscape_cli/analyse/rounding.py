"""Numbers rounded by their error."""

from __future__ import annotations

import math
from decimal import Decimal


def rounded(value: float, error: float) -> tuple[str, str]:
    """Both to two significant digits of the error; in scientific notation where that is shorter.

    An error beyond what a float can tell of the value stands beside the value as it is.
    """
    if error <= 1e-14 * abs(value):
        return f"{value:.15g}", f"{error:.2g}"
    power, last = _power(max(abs(value), error)), _power(error)
    if -4 <= power < 7:
        return _fixed(Decimal(value), 1 - last), _fixed(Decimal(error), 1 - last)
    whole, part = (_fixed(Decimal(number).scaleb(-power), 1 - last + power) for number in (value, error))
    return f"{whole}e{power:+03d}" if whole.strip("0.") else "0", f"{part}e{power:+03d}"


def short(value: float) -> str:
    """A number of which no error is known: to four significant digits, whole ones whole."""
    whole = abs(value) < 1e7 and (value == int(value) or abs(value) >= 1e4)
    return f"{value + 0.0:.0f}" if whole else f"{value:.4g}"


def _power(value: float) -> int:
    return math.floor(math.log10(value))


def _fixed(value: Decimal, decimals: int) -> str:
    """0 has no sign."""
    text = f"{value:.{max(0, decimals)}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text
