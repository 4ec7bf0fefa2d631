"""Numbers as a person reads them."""

from __future__ import annotations

import math

import pytest

from landscape_cli.profile import Estimate
from landscape_cli.report.numbers import estimate_text, plain


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(1.63168, None, "not converged"), "1.632 (not converged)"),
        (Estimate(1.63168, 0.1, "not converged", "lower"), "≥ 1.63 ± 0.10 (not converged)"),
        (Estimate.of(math.nan), "nan (not finite)"),
        (Estimate.of(-math.inf), "-inf (not finite)"),
        (Estimate.missing("undefined"), "undefined"),
        (Estimate.of(0.5237, 0.0123), "0.524 ± 0.012"),
        (Estimate.of(2.0, 0.0, "upper"), "≤ 2"),
        (Estimate.of(math.inf, None, "lower"), "≥ inf (not finite)"),
        (Estimate.of(12345.6, 123.4), "12346 ± 123"),
        (Estimate.of(0.0, 0.5), "0.00 ± 0.50"),
        (Estimate.of(1.0, 1e-20), "1"),
        (Estimate(1.0, 1e-20), "1 ± 1e-20"),
        (Estimate(2e-9, 2.5e-24), "2e-09 ± 2.5e-24"),
        (Estimate.of(-0.0001, 0.013), "0.000 ± 0.013"),
        (Estimate.of(-0.012, 0.013), "-0.012 ± 0.013"),
        (Estimate.of(-1e-9, 2e-6), "0 ± 2.0e-06"),
        (Estimate.of(5e-324, 5e-324), "4.9e-324 ± 4.9e-324"),
        (Estimate.of(1e308, 1e306), "1.000e+308 ± 0.010e+308"),
        (Estimate.of(200.99), "201"),
        (Estimate.of(0.123456), "0.1235"),
        (Estimate.of(12345.6), "12346"),
        (Estimate.of(1234567.0), "1234567"),
        (Estimate.of(-0.0), "0"),
        (Estimate.of(1.5e9), "1.5e+09"),
        (Estimate.of(1e-4, 2e-6), "0.0001000 ± 0.0000020"),
        (Estimate.of(5e-5, 2e-6), "5.00e-05 ± 0.20e-05"),
        (Estimate.of(0.0, 2e-6), "0 ± 2.0e-06"),
        (Estimate.of(9e6, 2e5), "9000000 ± 200000"),
        (Estimate.of(2e7, 2e5), "2.000e+07 ± 0.020e+07"),
    ],
)
def test_a_number_says_how_well_it_is_known(estimate: Estimate, text: str) -> None:
    assert estimate_text(estimate) == text


@pytest.mark.parametrize("bad", "\x00\x1f\x7f\x80\x9f\u200e\u200f\u202a\u202e\u2028\u2029\u2066\u2069\ud800\udfff")
def test_what_moves_the_cursor_or_is_no_text_is_a_question_mark(bad: str) -> None:
    assert plain(f"1{bad}2") == "1?2"


def test_ordinary_text_stays() -> None:
    assert plain("η·λ₁/2 ≥ 1 – é, 日本") == "η·λ₁/2 ≥ 1 – é, 日本"


@pytest.mark.parametrize(("error", "kept"), [(3.5e-15, 0.0), (2e-12, 0.0), (3e-12, 3e-12), (0.0, 0.0), (None, None)])
def test_what_rounding_makes_is_no_error(error: float | None, kept: float | None) -> None:
    for value in (2.0, -2.0):
        assert Estimate.of(value, error).stderr == kept
