"""Lanczos, Hutch++ and Lanczos quadrature against matrices whose spectrum is known."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure.density import Quadrature, density
from landscape_cli.measure.lanczos import Product, Spectrum, lanczos, tridiagonal
from landscape_cli.measure.trace import Trace, hutchpp

EPS = float(np.finfo(np.float64).eps)
LIKE = torch.zeros((), dtype=torch.float64)


def turned(eigenvalues: ArrayLike, dtype: torch.dtype = torch.float64) -> Tensor:
    """A dense symmetric matrix with these eigenvalues."""
    values = np.asarray(eigenvalues, float)
    basis = np.linalg.qr(np.random.default_rng(len(values)).standard_normal((len(values), len(values))))[0]
    matrix = (basis * values) @ basis.T
    return torch.tensor((matrix + matrix.T) / 2, dtype=dtype)


def times(matrix: Tensor) -> Product:
    """v -> A·v."""
    return lambda v: matrix @ v


def ends(matrix: Tensor, **how: Any) -> Spectrum:
    """Its extreme eigenpairs."""
    return lanczos(times(matrix), len(matrix), like=matrix, **how)


def assert_ends(found: Spectrum, eigenvalues: ArrayLike, relative: float, top: int = 5, bottom: int = 2) -> None:
    """The right values, counted with their multiplicity, and each said to be converged."""
    exact = np.sort(np.asarray(eigenvalues, float))
    error = relative * np.abs(exact).max()
    np.testing.assert_allclose(found.top, exact[::-1][:top], rtol=0, atol=error)
    np.testing.assert_allclose(found.bottom, exact[:bottom], rtol=0, atol=error)
    assert found.converged_top.all()
    assert found.converged_bottom.all()


SPECTRA: dict[str, NDArray[np.float64]] = {
    "evenly spaced": np.linspace(-1, 10, 150),
    "all negative": -np.geomspace(0.1, 30, 80),
    "the largest in magnitude is negative": np.r_[-50, np.linspace(-1, 3, 99)],
    "outliers over a bulk": np.r_[np.random.default_rng(0).normal(0, 0.02, 290), 10 * 0.7 ** np.arange(10)],
    "fewer than are held": np.linspace(-2, 5, 20),
    "identity": np.ones(100),
    "minus identity": -np.ones(100),
    "zero": np.zeros(100),
    "projector of rank 1": np.r_[1, np.zeros(99)],
    "projector of rank 3": np.r_[np.ones(3), np.zeros(97)],
    "projector of rank 40": np.r_[np.ones(40), np.zeros(60)],
    "projector of rank 99": np.r_[np.ones(99), 0],
    "eight values four times": np.repeat(np.arange(8) - 2.0, 4),
    "eight positive values four times": np.repeat(np.arange(1.0, 9), 4),
    "eight values twenty times": np.repeat(np.arange(8) - 2.0, 20),
    "a triple top over a continuum": np.r_[10, 10, 10, 8, 8, np.linspace(-3, 3, 190), -6, -6],
    "softmax regression of ten classes at W = 0": np.r_[np.repeat(np.geomspace(0.01, 3, 25), 9), np.zeros(25)],
    "one parameter": np.array([-3.0]),
    "three parameters": np.array([1.0, 2.0, -4.0]),
    "seven parameters": np.arange(-3.0, 4),
    "eight parameters": np.arange(-3.0, 5),
}


def test_without_a_search_there_are_fewer_products_and_copies_may_be_missed() -> None:
    simple = torch.diag(torch.from_numpy(SPECTRA["outliers over a bulk"]))
    found, quick = ends(simple), ends(simple, search=False)
    assert_ends(quick, np.diag(simple.numpy()), 1e-3)
    assert quick.products <= found.products - 12
    double = torch.diag(torch.from_numpy(np.r_[10.0, 10.0, 5.0, np.linspace(-0.1, 0.1, 300)]))
    assert ends(double, top=2, bottom=0).top[1] == pytest.approx(10)
    assert ends(double, top=2, bottom=0, search=False).top[1] == pytest.approx(5)


@pytest.mark.parametrize("case", SPECTRA)
def test_both_ends_are_exact(case: str) -> None:
    values = SPECTRA[case]
    found = ends(turned(values), tolerance=1e-8, products=2000)
    assert_ends(found, values, 1e-8)


@pytest.mark.parametrize("case", SPECTRA)
def test_the_usual_settings_are_exact_to_their_tolerance_from_any_start(case: str) -> None:
    values = SPECTRA[case]
    matrix = turned(values)
    for seed in range(12):
        assert_ends(ends(matrix, seed=seed, products=600), values, 1e-5)


def test_a_space_that_fits_is_run_through() -> None:
    for seed in range(8):
        found = ends(turned(np.linspace(-1, 3, 20)), seed=seed)
        assert found.products == 20
        assert found.top_residuals.max() < 1e-12


@pytest.mark.parametrize("case", SPECTRA)
def test_float32_is_exact_to_a_thousandth(case: str) -> None:
    values = SPECTRA[case]
    found = ends(turned(values, torch.float32), products=1000)
    assert_ends(found, values, 1e-3)
    assert found.top_vectors.dtype == torch.float32
    assert found.top.dtype == np.float64


@pytest.mark.parametrize("case", SPECTRA)
def test_the_vectors_are_orthonormal_eigenvectors(case: str) -> None:
    matrix = turned(SPECTRA[case])
    found = ends(matrix, tolerance=1e-8, products=2000)
    for values, vectors in ((found.top, found.top_vectors), (found.bottom, found.bottom_vectors)):
        torch.testing.assert_close(vectors @ vectors.T, torch.eye(len(values)).double(), rtol=0, atol=1e-12)
        wrong = vectors @ matrix - torch.from_numpy(values)[:, None] * vectors
        assert wrong.norm(dim=1).max() <= 1e-7 * max(1.0, float(matrix.abs().max()))


def test_more_than_all_is_all_of_it() -> None:
    found = ends(turned([1, 2, -4]))
    np.testing.assert_allclose(found.top, [2, 1, -4], rtol=1e-12)
    np.testing.assert_allclose(found.bottom, [-4, 1], rtol=1e-12)
    assert found.products == 3


@pytest.mark.parametrize(("top", "bottom"), [(3, 0), (0, 3), (1, 1), (40, 10), (1, 0)])
def test_each_end_may_be_left_out(top: int, bottom: int) -> None:
    values = np.linspace(-5, 7, 120)
    found = ends(turned(values), top=top, bottom=bottom, tolerance=1e-8, products=3000)
    assert_ends(found, values, 1e-8, top, bottom)


@pytest.mark.parametrize("basis", [9, 12, 24, 60])
def test_close_eigenvalues_take_restarts(basis: int) -> None:
    matrix = turned(np.r_[np.linspace(-1, 0.999, 120), 1 + 1e-3 * np.arange(5)])
    found = ends(matrix, basis=basis, tolerance=1e-6, products=20000)
    assert_ends(found, np.linalg.eigvalsh(matrix.numpy()), 1e-8)
    assert found.products > basis


def test_a_bigger_basis_needs_no_more_products() -> None:
    matrix = turned(np.linspace(-1, 10, 300))
    used = [ends(matrix, basis=basis, products=5000).products for basis in (12, 24, 60, 150)]
    assert used == sorted(used, reverse=True)


def test_two_hundred_steps_past_a_big_outlier_return_nothing_twice() -> None:
    values = np.r_[1e6, np.linspace(0, 1, 219)]
    found = ends(turned(values), top=30, bottom=0, basis=200, products=200, tolerance=1e-14)
    assert found.products > 150  # the rest of them would only move rounding
    np.testing.assert_allclose(found.top, np.sort(values)[::-1][:30], rtol=0, atol=1e-5)
    assert (found.top[:-1] - found.top[1:]).min() > 1e-3


def test_a_used_up_budget_is_told() -> None:
    found = ends(turned(SPECTRA["outliers over a bulk"]), products=3)
    assert found.products == 3
    assert found.top.shape == found.converged_top.shape == (3,)
    assert found.bottom.shape == (2,)
    assert not found.converged_top.any()
    assert not found.converged_bottom.any()


def test_it_stops_when_asked() -> None:
    seen: list[int] = []

    def stop(count: int) -> bool:
        seen.append(count)
        return count == 11

    matrix = turned(SPECTRA["evenly spaced"])
    assert ends(matrix, on_product=stop).products == 11
    assert seen == list(range(1, 12))


def test_the_seed_decides_all() -> None:
    matrix = turned(SPECTRA["evenly spaced"])
    first, again, other = (ends(matrix, seed=seed) for seed in (4, 4, 5))
    assert first.top.tobytes() == again.top.tobytes()
    assert torch.equal(first.bottom_vectors, again.bottom_vectors)
    assert first.top.tobytes() != other.top.tobytes()


@given(
    st.lists(st.floats(-100, 100, width=16), min_size=1, max_size=40),
    st.integers(1, 60),
    st.integers(0, 3),
)
@settings(max_examples=100, deadline=None)
def test_an_eigenvalue_lies_within_each_residual(values: list[float], products: int, seed: int) -> None:
    matrix = turned(values)
    exact = np.linalg.eigvalsh(matrix.numpy())
    found = ends(matrix, products=products, seed=seed, top=3, basis=10)
    for ritz, residuals in ((found.top, found.top_residuals), (found.bottom, found.bottom_residuals)):
        nearest = np.abs(exact[:, None] - ritz).min(0)
        assert (nearest <= residuals + 100 * EPS * np.abs(exact).max()).all()


@pytest.mark.parametrize("case", SPECTRA)
@pytest.mark.parametrize("products", [2, 15, 60, 500])
def test_residuals_are_no_less_than_the_true_ones(case: str, products: int) -> None:
    matrix = turned(SPECTRA[case])
    found = ends(matrix, products=products)
    wrong = (found.top_vectors @ matrix - torch.from_numpy(found.top)[:, None] * found.top_vectors).norm(dim=1).numpy()
    assert (wrong <= found.top_residuals * (1 + 1e-6) + 100 * EPS * np.abs(SPECTRA[case]).max()).all()
    assert (found.top_residuals <= 1e-3 * np.abs(found.top))[found.converged_top & (found.top_residuals > 1e-12)].all()


def peak(run: Callable[[], object]) -> int:
    """Bytes that PyTorch holds at most during a run, beyond what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    trace: Any = profiler.profiler
    events = [e for e in trace.kineto_results.events() if e.name() == "[memory]"]
    return int(max(itertools.accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()))))


@pytest.mark.parametrize(("basis", "held"), [(None, 24), (12, 12)])
def test_memory_is_the_basis_and_a_few_vectors(basis: int | None, held: int) -> None:
    diagonal = torch.linspace(-1, 3, 20000, dtype=torch.float64)
    used = peak(lambda: lanczos(lambda v: diagonal * v, 20000, products=60, basis=basis, like=diagonal))
    assert held * 160000 < used <= (held + 4) * 160000


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("measure", [lanczos, hutchpp, density])
def test_a_product_that_is_not_finite_is_refused(bad: float, measure: Callable[..., object]) -> None:
    def product(v: Tensor) -> Tensor:
        found = v.clone()
        found[7] = bad
        return found

    with pytest.raises(LandscapeError, match="Hessian product is not finite") as raised:
        measure(product, 50, like=LIKE)
    assert raised.value.code == ExitCode.INCONCLUSIVE


def test_what_cannot_be_measured_is_refused() -> None:
    for how in ({"top": 0, "bottom": 0}, {"top": -1}, {"basis": 8}, {"products": 0}):
        with pytest.raises(LandscapeError):
            ends(turned(np.arange(50.0)), **how)
    for how in ({"probes": 9}, {"sketch": 0}):
        with pytest.raises(LandscapeError):
            traced(turned(np.arange(50.0)), **how)
    for how in ({"starts": 0}, {"steps": 0}):
        with pytest.raises(LandscapeError):
            sharp(np.arange(50.0), **how)


def test_a_product_may_answer_its_argument_or_with_a_history() -> None:
    weight = torch.ones(60, dtype=torch.float64, requires_grad=True)
    for product in (lambda v: v, lambda v: weight * v):
        assert_ends(lanczos(product, 60, like=LIKE), np.ones(60), 1e-12)
        assert hutchpp(product, 60, like=LIKE).exact_part == pytest.approx(10)
        assert density(product, 60, like=LIKE).nodes[:, 0] == pytest.approx(1)


# ---- tridiagonal, density ----


def test_tridiagonal_has_the_spectrum_of_the_matrix() -> None:
    values = np.linspace(-3, 4, 30)
    alphas, betas = tridiagonal(times(turned(values)), torch.ones(30, dtype=torch.float64), 100)
    assert (len(alphas), len(betas)) == (30, 30)
    assert betas[-1] == 0  # nothing lies outside
    full = np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1)
    np.testing.assert_allclose(np.linalg.eigvalsh(full), values, atol=1e-10)


def test_tridiagonal_stops_where_its_space_ends() -> None:
    start = torch.tensor([1.0, 1, 0, 0], dtype=torch.float64)
    alphas, betas = tridiagonal(times(torch.diag(torch.tensor([2.0, 4, 6, 8]).double())), start, 4)
    np.testing.assert_allclose(alphas, [3, 3])
    np.testing.assert_allclose(betas, [1, 0], atol=1e-12)


def test_the_residuals_of_a_density_are_those_of_its_vectors() -> None:
    """By the Lanczos vectors made anew, in full."""
    values = np.linspace(-3, 4, 40)
    matrix = turned(values)
    found = density(times(matrix), 40, starts=1, steps=7, like=LIKE)
    basis = [torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=LIKE.dtype)]
    for _ in range(6):
        basis.append(matrix @ basis[-1])
    q, _ = torch.linalg.qr(torch.stack(basis, dim=1))
    ritz, rotation = torch.linalg.eigh(q.T @ matrix @ q)
    vectors = q @ rotation
    np.testing.assert_allclose(found.nodes[0], ritz, atol=1e-8)
    np.testing.assert_allclose(found.residuals[0], (matrix @ vectors - ritz * vectors).norm(dim=0), atol=1e-7)


def sharp(values: ArrayLike, **how: Any) -> Quadrature:
    """The quadrature of a turned matrix."""
    matrix = turned(values)
    return density(times(matrix), len(matrix), like=matrix, **how)


def within(samples: NDArray[np.float64], exact: float) -> bool:
    """Whether the mean lies within four standard errors."""
    return bool(abs(samples.mean() - exact) <= 4 * samples.std(ddof=1) / np.sqrt(len(samples)) + 1e-12)


def test_density_has_the_moments_of_the_spectrum() -> None:
    values = np.r_[np.random.default_rng(0).normal(0, 0.1, 190), np.arange(1.0, 11)]
    found = sharp(values, starts=20)
    assert found.nodes.shape == found.weights.shape == (20, 80)
    assert found.products == 1600
    np.testing.assert_allclose(found.weights.sum(1), 1)
    for power in range(1, 5):
        assert within((found.weights * found.nodes**power).sum(1), float((values**power).mean()))


def test_density_weighs_a_bulk_and_an_outlier_by_their_numbers() -> None:
    found = sharp(np.r_[np.linspace(-1, 1, 399), 20.0], starts=30, steps=40)
    assert within((found.weights * (found.nodes > 10)).sum(1), 1 / 400)
    assert within((found.weights * (found.nodes < 0)).sum(1), 199.5 / 400)


def test_density_of_few_values_has_only_these() -> None:
    values = np.repeat([-2.0, 0.0, 5.0], [30, 60, 10])
    found = sharp(values, starts=40, steps=8)
    np.testing.assert_allclose(found.nodes[:, :3], np.tile([-2.0, 0, 5], (40, 1)), atol=1e-10)
    assert np.isnan(found.nodes[:, 3:]).all()
    assert (found.weights[:, 3:] == 0).all()
    np.testing.assert_allclose(found.weights.sum(1), 1)
    assert all(within(found.weights[:, i], share) for i, share in enumerate((0.3, 0.6, 0.1)))


def test_density_of_one_parameter_and_of_a_float32_matrix() -> None:
    assert sharp([3.0], starts=2, steps=3).nodes[:, 0] == pytest.approx(3)
    matrix = turned(np.linspace(-1, 1, 50), torch.float32)
    found = density(times(matrix), 50, like=matrix)
    np.testing.assert_allclose(np.nansum(found.weights * np.nan_to_num(found.nodes) ** 2, 1).mean(), 0.347, atol=0.05)


def test_density_keeps_finished_starts_only() -> None:
    found = sharp(np.linspace(0, 1, 50), starts=5, steps=10, on_product=lambda count: count == 25)
    assert found.nodes.shape == (2, 10)
    assert found.products == 25
    assert sharp(np.linspace(0, 1, 50), steps=10, on_product=lambda count: count == 20).nodes.shape == (2, 10)


# ---- trace ----


def traced(matrix: Tensor, **how: Any) -> Trace:
    """Hutch++ of a matrix."""
    return hutchpp(times(matrix), len(matrix), like=matrix, **how)


DECAYING = np.geomspace(1, 1e-2, 50) * np.where(np.arange(50) % 7 == 6, -1, 1)


def test_the_trace_lies_within_three_standard_errors() -> None:
    matrix = turned(DECAYING)
    runs = [traced(matrix, seed=seed, probes=20) for seed in range(500)]
    errors = np.array([run.exact_part + run.residuals.mean() - DECAYING.sum() for run in runs])
    stderr = np.array([run.residuals.std(ddof=1) / np.sqrt(20) for run in runs])
    assert (np.abs(errors) <= 3 * stderr).mean() >= 0.98
    assert abs(errors.mean()) <= 4 * errors.std() / np.sqrt(500)
    assert {run.products for run in runs} == {40}


def test_the_frobenius_norm_is_unbiased() -> None:
    matrix = turned(DECAYING)
    squares = np.concatenate([traced(matrix, seed=seed).squares for seed in range(300)])
    assert within(squares, float((DECAYING**2).sum()))


def test_hutchpp_beats_as_many_plain_probes_where_the_spectrum_decays() -> None:
    values = 0.7 ** np.arange(50)
    matrix = turned(values)
    plain = float(2 * (matrix.square().sum() - matrix.diagonal().square().sum()) / 30) ** 0.5
    runs = [traced(matrix, seed=seed) for seed in range(200)]
    assert np.std([run.exact_part + run.residuals.mean() - values.sum() for run in runs]) < 0.2 * plain


@pytest.mark.parametrize("rank", [0, 1, 4, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_rank_within_the_sketch_is_exact(rank: int, dtype: torch.dtype) -> None:
    values = np.r_[np.arange(1.0, rank + 1) * (-1) ** np.arange(rank), np.zeros(60 - rank)]
    found = traced(turned(values, dtype))
    rounding = 1e3 * float(torch.finfo(dtype).eps)
    assert found.exact_part == pytest.approx(values.sum(), abs=rounding)
    assert np.abs(found.residuals).max() <= rounding
    assert found.residuals.shape == found.squares.shape == (10,)


@pytest.mark.parametrize("size", [1, 3, 10])
def test_a_sketch_of_all_is_exact(size: int) -> None:
    values = np.arange(size) - 1.5
    found = traced(turned(values))
    assert found.exact_part == pytest.approx(values.sum())
    assert found.squares == pytest.approx((values**2).sum())
    assert (found.residuals == 0).all()
    assert found.products == size


def test_the_trace_is_of_its_seed_and_stops_when_asked() -> None:
    matrix = turned(DECAYING)
    first, again, other = (traced(matrix, seed=seed) for seed in (1, 1, 2))
    assert first.residuals.tobytes() == again.residuals.tobytes() != other.residuals.tobytes()
    for stop, made in ((4, 0), (15, 0), (20, 0), (26, 6)):
        found = traced(matrix, on_product=lambda count, stop=stop: count == stop)
        assert (found.products, len(found.squares), len(found.residuals)) == (stop, made, made)
        assert np.isnan(found.exact_part) == (stop < 20)
