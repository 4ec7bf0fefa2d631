"""How often three standard errors hold the truth, over 500 draws of problems whose truth is known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_sections import linear, section
from test_spectrum import turned

from landscape_cli.analyse.gradient import gradient_statistics, unbiased_square
from landscape_cli.analyse.hessian import hessian_statistics
from landscape_cli.analyse.jackknife import student
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.measure.trace import hutchpp
from landscape_cli.profile import Estimate
from landscape_cli.section import Section
from landscape_cli.settings import GradientSettings

SEEDS = 500
Floats = NDArray[np.float64]


def share(inside: Sequence[bool]) -> float:
    return float(np.mean(inside))


def holds(found: Estimate, exact: float) -> bool:
    """Three standard errors hold it; of a bound, on its side."""
    assert found.value is not None
    if found.bound == "lower":
        return exact >= found.value
    return abs(found.value - exact) <= 3 * (found.stderr or 0.0) + 1e-9 * abs(exact)


# ---------------------------------------------------------------- Hutch++

SPECTRA = {
    "wishart": np.linalg.eigvalsh(np.cov(np.random.default_rng(0).normal(size=(200, 100)))),
    "geometric": np.geomspace(1e-3, 10, 200),
    "outliers over a bulk": np.r_[np.random.default_rng(0).normal(0, 0.02, 290), 10 * 0.7 ** np.arange(10)],
    "indefinite": np.linspace(-1, 1.2, 200),
}


def estimates(matrix: torch.Tensor, seed: int) -> dict[str, Any]:
    found = hutchpp(lambda v: matrix @ v, len(matrix), seed=seed, like=matrix)
    empty: dict[str, Any] = {f"{end}{what}": np.zeros((0, 1)) for end in ("top", "bottom")
                             for what in ("", "_converged", "_groups", "_residuals")}  # fmt: skip
    arrays = {"trace_exact": np.array(found.exact_part), "trace_residuals": found.residuals, "squares": found.squares}
    return hessian_statistics(Section({}, "", {**empty, **arrays, "group_sizes": np.ones(1)}))


@pytest.mark.parametrize("case", SPECTRA)
def test_three_errors_of_trace_and_norm_hold_them(case: str) -> None:
    matrix = turned(SPECTRA[case])
    found = [estimates(matrix, seed) for seed in range(SEEDS)]
    assert share([holds(f["trace"], float(matrix.trace())) for f in found]) >= 0.98
    assert share([holds(f["frobenius"], float(matrix.norm())) for f in found]) >= 0.96  # skewed: few large squares


def test_the_norm_of_outliers_is_known_far_better_than_by_random_vectors_alone() -> None:
    """√E‖Hz‖² of ten random signs has a tenth of error there; what the sketch holds is exact."""
    found = estimates(turned(SPECTRA["outliers over a bulk"]), 0)["frobenius"]
    assert found.stderr < 0.01 * found.value


@pytest.mark.parametrize(("freedom", "exact"), [(1, 235.8015), (2, 19.20674), (9, 4.094255), (63, 3.123517)])
def test_student_s_quantile(freedom: int, exact: float) -> None:
    assert student(freedom) == pytest.approx(exact, rel=1e-5)


# ---------------------------------------------------------------- the gradient of a linear regression


def sampled(dims: int, count: int, distance: float, seed: int) -> tuple[Floats, Floats, Floats]:
    """x ~ N(0, I) and y = xᵀw* + N(0, 1), looked at from w at this distance from w*: x, y, w."""
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(count, dims)), random.normal(size=count)
    return x, y, np.r_[distance, np.zeros(dims - 1)]  # w* = 0


def gradients(dims: int, count: int, distance: float, seed: int) -> Section:
    """The section that `measure_gradient` makes of it, from the gradient 2x(xᵀw - y) of each sample."""
    x, y, w = sampled(dims, count, distance, seed)
    each = 2 * x * (x @ w - y)[:, None]
    parts = np.array_split(each, min(64, count))
    means, sizes = np.array([part.mean(0) for part in parts]), np.array([float(len(part)) for part in parts])
    arrays = {
        "group_sizes": sizes, "sample_counts": sizes, "group_losses": np.zeros(len(parts)),
        "group_products": means @ means.T, "sample_squares": np.array([(part**2).sum() for part in parts]),
        "layer_norms": np.array([np.linalg.norm(each.mean(0))]), "weight_norms": np.ones(1),
    }  # fmt: skip
    return Section({}, "", arrays, {"per_sample": "exact", "parameters": ["weight"]})


def truth(dims: int, distance: float) -> tuple[float, float, float]:
    """‖G‖ = 2‖w‖; Σ = 4[(‖w‖² + 1)·I + wwᵀ]: its trace, and that of its square."""
    values = 4 * (distance**2 + 1 + np.r_[distance**2, np.zeros(dims - 1)])
    return 2 * distance, float(values.sum()), float((values**2).sum())


def test_the_sections_above_are_those_that_are_measured() -> None:
    x, y, w = sampled(5, 64, 0.7, 0)
    problem = linear(torch.from_numpy(x), torch.from_numpy(y), 1, "mse", torch.from_numpy(w)[None])
    measured = gradient_statistics(section("gradient", problem, GradientSettings()))
    ours = gradient_statistics(gradients(5, 64, 0.7, 0))
    for key in ("norm", "covariance_trace", "noise_scale"):
        assert measured[key].value == pytest.approx(ours[key].value, rel=1e-10), key
        assert measured[key].stderr == (None if ours[key].stderr is None else pytest.approx(ours[key].stderr)), key
    assert measured["test"]["null_sd"].value == pytest.approx(ours["test"]["null_sd"].value, rel=1e-10)


@pytest.mark.parametrize(
    ("dims", "count", "distance"),
    [(5, 500, 1.0), (5, 500, 0.3), (20, 200, 1.0), (20, 2000, 0.1), (2, 2000, 0.05), (50, 128, 0.5), (20, 1000, 0.0)],
)
def test_three_errors_of_the_noise_scale_hold_it_or_its_bound_does(dims: int, count: int, distance: float) -> None:
    signal, trace, _ = truth(dims, distance)
    scale = trace / signal**2 if signal else np.inf
    found = [gradient_statistics(gradients(dims, count, distance, seed)) for seed in range(SEEDS)]
    assert share([f["noise_scale"].status == "undefined" or holds(f["noise_scale"], scale) for f in found]) >= 0.98
    assert share([holds(f["covariance_trace"], trace) for f in found]) >= 0.98
    if distance >= 0.3 and count >= 10 * dims:  # else the norm is the samples', and no estimate of the population's
        assert share([holds(f["norm"], signal) for f in found]) >= 0.98


@pytest.mark.parametrize(("dims", "count"), [(20, 1000), (50, 300), (3, 100)])
def test_the_test_is_one_within_its_null_spread(dims: int, count: int) -> None:
    """T is a sum of squares: of few dimensions it is skewed, and three standard deviations hold less than 99 %."""
    _, trace, square = truth(dims, 0.0)
    found = [gradient_statistics(gradients(dims, count, 0.0, seed))["test"] for seed in range(SEEDS)]
    values = np.array([f[ITSELF].value for f in found])
    spread = np.sqrt(2 * square) / trace
    assert abs(values.mean() - 1) < 4 * spread / SEEDS**0.5
    assert np.mean([f["null_sd"].value for f in found]) == pytest.approx(spread, rel=0.1)
    assert share([abs(f[ITSELF].value - 1) <= 3 * spread for f in found]) >= 0.97


def test_the_trace_of_the_squared_covariance_is_the_mean_over_all_quadruples() -> None:
    vectors = np.random.default_rng(0).normal(size=(6, 3)) + 1
    p = vectors @ vectors.T
    all_of_them = itertools.permutations(range(6), 4)
    exact = [p[i, j] ** 2 - 2 * p[i, j] * p[j, k] + p[i, j] * p[k, m] for i, j, k, m in all_of_them]
    assert unbiased_square(p) == pytest.approx(np.mean(exact))
