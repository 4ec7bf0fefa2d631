"""Numbers as a person reads them."""

from __future__ import annotations

import math

import pytest

from landscape_cli.profile import Estimate
from landscape_cli.report.numbers import estimate_text


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(1.63168, None, "not converged"), "1.6317 (not converged)"),
        (Estimate(1.63168, 0.1, "not converged", "lower"), "≥ 1.63 ± 0.10 (not converged)"),
        (Estimate.of(math.nan), "nan (not finite)"),
        (Estimate.of(-math.inf), "-inf (not finite)"),
        (Estimate.missing("undefined"), "undefined"),
        (Estimate.of(0.5237, 0.0123), "0.524 ± 0.012"),
        (Estimate.of(2.0, 0.0, "upper"), "≤ 2"),
    ],
)
def test_a_number_says_how_well_it_is_known(estimate: Estimate, text: str) -> None:
    assert estimate_text(estimate) == text
