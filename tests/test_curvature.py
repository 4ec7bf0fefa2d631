"""The quadratic fit: exact on quadratics in any plane, its errors those of repeated draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from problems import CONSTANT, HIMMELBLAU, MONKEY_SADDLE, ROSENBROCK, Exact, quadratic, surface_of, turned

from landscape_cli.analyse.curvature import plane_curvature
from landscape_cli.profile import Estimate, Surface

Floats = NDArray[np.float64]
GRIDS: dict[str, str | list[float]] = {
    "centre on the grid": "-1:1:11",
    "centre between points": "-1:1:10",
    "lopsided": "-0.3:1.7:21",
    "at the border": "0:1:11",
    "uneven": [-1.0, -0.7, -0.1, 0.0, 0.2, 0.9, 1.5],
}


def fitted(surface: Surface) -> Any:
    """The values of `curvature.plane`."""
    return plane_curvature(surface)["plane"]


def numbers(estimates: list[Estimate]) -> list[float]:
    """The values of estimates that must have them."""
    assert all(e.status == "ok" and e.value is not None for e in estimates)
    return [e.value for e in estimates if e.value is not None]


def in_a_plane(spectrum: list[float], seed: int) -> tuple[Floats, Floats, list[float]]:
    """A quadratic of many parameters in a drawn, skew plane: H, G, and its eigenvalues by an orthonormal basis."""
    matrix = turned(spectrum, seed)
    directions = np.random.default_rng(seed + 1).normal(size=(len(spectrum), 2)) * [1.0, 3.0]
    basis, _ = np.linalg.qr(directions)
    exact = np.linalg.eigvalsh(basis.T @ matrix @ basis).tolist()
    return directions.T @ matrix @ directions, directions.T @ directions, exact


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=3, max_size=6), st.integers(0, 2**16), st.sampled_from(sorted(GRIDS)))
def test_a_quadratic_s_eigenvalues_are_exact_in_any_plane_on_any_grid(
    spectrum: list[float], seed: int, where: str
) -> None:
    h, gram, exact = in_a_plane(spectrum, seed)

    def loss(x: Any, y: Any) -> Any:
        return 3 + 0.7 * x - 2 * y + 0.5 * (h[0, 0] * x**2 + 2 * h[0, 1] * x * y + h[1, 1] * y**2)

    found = fitted(surface_of(loss, GRIDS[where], GRIDS[where], gram=gram))
    scale = 1e-9 * (1 + np.abs(h).max()) * np.linalg.cond(gram)
    np.testing.assert_allclose(numbers(found["eigenvalues"]), exact, atol=scale)
    np.testing.assert_allclose(numbers(found["eigenvalues_unit"]), np.linalg.eigvalsh(h), atol=scale)


def test_without_the_gram_matrix_it_would_be_ten_times_off() -> None:
    gram = np.array([[10.0, 0.0], [0.0, 10.0]])
    found = fitted(surface_of(lambda x, y: 5 * x**2 + 10 * y**2, "-1:1:11", "-1:1:11", gram=gram))
    np.testing.assert_allclose(numbers(found["eigenvalues"]), [1.0, 2.0])
    np.testing.assert_allclose(numbers(found["eigenvalues_unit"]), [10.0, 20.0])


@pytest.mark.parametrize("where", GRIDS)
def test_a_line_s_curvature_is_exact(where: str) -> None:
    found = fitted(surface_of(lambda x: 1 - x + 3 * x**2, GRIDS[where], gram=[[4.0]]))
    assert numbers(found["eigenvalues"]) == [pytest.approx(1.5)]
    assert numbers(found["eigenvalues_unit"]) == [pytest.approx(6.0)]
    if where == "at the border":  # three points fix a parabola
        assert found["lack_of_fit"].status == "undefined"
    else:
        assert found["lack_of_fit"].value == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    "problem", [quadratic((1.0, 9.0)), quadratic((-4.0, 2.0)), ROSENBROCK, HIMMELBLAU, MONKEY_SADDLE, CONSTANT]
)
def test_at_a_known_point_a_fine_grid_shows_the_known_eigenvalues(problem: Exact) -> None:
    x, y = problem.at
    surface = surface_of(lambda a, b: problem.loss(x + a, y + b), "-0.0004:0.0004:5", "-0.0004:0.0004:5")
    np.testing.assert_allclose(numbers(fitted(surface)["eigenvalues"]), problem.eigenvalues, rtol=2e-3, atol=1e-6)


def test_the_window_is_two_steps_so_what_lies_beyond_does_not_count() -> None:
    def loss(x: Any, y: Any) -> Any:
        return np.where(np.maximum(abs(x), abs(y)) > 0.41, np.nan, x**2 + y**2)

    found = fitted(surface_of(loss, "-1:1:11", "-1:1:11"))
    assert found["window"] == pytest.approx([0.4, 0.4])
    np.testing.assert_allclose(numbers(found["eigenvalues"]), [2.0, 2.0])


def test_swapping_the_axes_changes_no_eigenvalue_and_no_error() -> None:
    gram = np.array([[4.0, 1.5], [1.5, 2.0]])
    one = surface_of(lambda x, y: x**2 - x * y + 3 * y**2 + x**3, "-1:1:11", "-2:2:15", gram=gram, noise=0.05)
    assert one.y is not None
    other = replace(
        one, x=one.y, y=one.x, gram=gram[::-1, ::-1], loss=one.loss.T, loss_groups=one.loss_groups.transpose(1, 0, 2),
        measured=one.measured.T,
    )  # fmt: skip
    for name in ("eigenvalues", "eigenvalues_unit"):
        a, b = fitted(one)[name], fitted(other)[name]
        np.testing.assert_allclose(numbers(a), numbers(b), rtol=1e-10)
        np.testing.assert_allclose([e.stderr for e in a], [e.stderr for e in b], rtol=1e-8)


def test_stretching_a_direction_changes_the_unit_curvature_alone() -> None:
    short = fitted(surface_of(lambda x, y: x**2 + x * y + 3 * y**2, "-1:1:11", "-1:1:11"))
    stretched = surface_of(
        lambda x, y: (5 * x) ** 2 + 5 * x * y + 3 * y**2, "-1:1:11", "-1:1:11", gram=[[25, 0], [0, 1]]
    )
    long = fitted(stretched)
    np.testing.assert_allclose(numbers(long["eigenvalues"]), numbers(short["eigenvalues"]))
    np.testing.assert_allclose(
        numbers(long["eigenvalues_unit"]), [28 - 509**0.5, 28 + 509**0.5]
    )  # of [[50, 5], [5, 6]]


def test_where_each_group_has_its_own_curvature_the_error_is_s_over_root_g() -> None:
    own = np.random.default_rng(0).normal(size=64)
    found = fitted(surface_of(lambda x: 3 * x**2, "-1:1:11", noise=lambda x: 0.5 * own * x**2, gram=[[4.0]]))
    assert found["eigenvalues"][0].value == pytest.approx((6 + own.mean()) / 4)
    assert found["eigenvalues"][0].stderr == pytest.approx(own.std(ddof=1) / 8 / 4)


def test_a_shift_and_a_tilt_of_the_groups_are_no_error_of_the_curvature() -> None:
    shift, tilt = np.random.default_rng(0).normal(size=(2, 64))
    found = fitted(surface_of(lambda x: 3 * x**2, "-1:1:11", noise=lambda x: 9 * shift + tilt * x))
    assert found["eigenvalues"][0].stderr == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize("sizes", [None, [10.0, 30.0] * 16])
def test_the_error_is_the_spread_over_repeated_draws(sizes: list[float] | None) -> None:
    random = np.random.default_rng(0)
    values, errors = [], []
    for seed in range(200):
        per_group = 1 if sizes is None else np.sqrt(20 / np.array(sizes))
        drawn = random.normal(size=(3, 32)) * per_group

        def noise(x: Any, y: Any, drawn: Floats = drawn) -> Any:
            return 0.5 * (drawn[0] * x**2 + 2 * drawn[1] * x * y + drawn[2] * y**2)

        surface = surface_of(
            lambda x, y: x**2 + 6 * y**2 + x * y, "-1:1:5", "-1:1:5", [[2, 0.5], [0.5, 1]], noise, 32, sizes, seed
        )
        estimates = fitted(surface)["eigenvalues"]
        values.append(numbers(estimates))
        errors.append([e.stderr for e in estimates])
    ratio = np.sqrt((np.array(errors) ** 2).mean(0)) / np.std(values, axis=0, ddof=1)
    np.testing.assert_allclose(ratio, 1.0, atol=0.2)  # 200 draws: 5 % each way


def test_a_cubic_s_lack_of_fit_is_known() -> None:
    # x³ at -2..2: the best line is 3.4·x, the residuals 1.2, 2.4, 0: sqrt(14.4 / 130) of the spread
    found = fitted(surface_of(lambda x: x**3, [-2, -1, 0, 1, 2]))
    assert found["lack_of_fit"].value == pytest.approx(np.sqrt(14.4 / 130))
    assert numbers(found["eigenvalues"]) == [pytest.approx(0.0, abs=1e-12)]


def test_at_a_cusp_the_curvature_grows_with_every_finer_grid_and_the_fit_stays_bad() -> None:
    coarse, fine = (fitted(surface_of(lambda x: abs(x), [-2 * h, -h, 0, h, 2 * h])) for h in (0.1, 0.01))
    assert numbers(fine["eigenvalues"])[0] == pytest.approx(10 * numbers(coarse["eigenvalues"])[0])
    assert fine["lack_of_fit"].value == pytest.approx(coarse["lack_of_fit"].value)
    assert fine["lack_of_fit"].value > 0.1


@pytest.mark.parametrize("level", [0.0, 0.1, 2.5, 0.3, 1e6 / 3])
@pytest.mark.parametrize("y", [None, "-1:1:11"])
def test_a_constant_has_no_curvature_and_is_fitted_perfectly(level: float, y: str | None) -> None:
    found = fitted(surface_of(lambda *p: level + 0 * p[0], "-1:1:11", y))
    assert numbers(found["eigenvalues"]) == pytest.approx([0.0] * (1 if y is None else 2), abs=1e-12 * max(1, level))
    assert found["lack_of_fit"].value == pytest.approx(0.0, abs=1e-6)


def spoiled(**changes: Any) -> Surface:
    """A quadratic of which something in the window is bad."""
    return replace(surface_of(lambda x, y: x**2 + y**2, "-1:1:11", "-1:1:11"), **changes)


def with_one(value: float) -> Surface:
    loss = spoiled().loss.copy()
    loss[4, 6] = value
    return spoiled(loss=loss)


UNUSABLE = {
    "not measured": [spoiled(measured=np.arange(121).reshape(11, 11) < 70)],
    "not finite": [with_one(np.nan), with_one(np.inf), with_one(-np.inf)],
    "undefined": [
        surface_of(lambda x, y: x + y, [0.0], "-1:1:11"),
        surface_of(lambda x, y: x + y, [0.0, 1.0], "-1:1:11"),
        surface_of(lambda x, y: x + y, "5:6:11", "-1:1:11"),
    ],
}


@pytest.mark.parametrize(("status", "surface"), [(s, surface) for s, found in UNUSABLE.items() for surface in found])
def test_where_there_is_no_fit_every_value_says_why(status: Any, surface: Surface) -> None:
    found = fitted(surface)
    missing = Estimate.missing(status)
    assert found["eigenvalues"] == found["eigenvalues_unit"] == [missing, missing]
    assert found["lack_of_fit"] == missing


def test_a_plane_measured_only_around_the_centre_has_its_curvature() -> None:
    x, y = np.meshgrid(np.arange(11), np.arange(11), indexing="ij")
    near = (abs(x - 5) <= 2) & (abs(y - 5) <= 2)
    np.testing.assert_allclose(numbers(fitted(spoiled(measured=near))["eigenvalues"]), [2.0, 2.0])


def test_a_window_that_does_not_hold_the_centre_has_no_curvature_there() -> None:
    found = fitted(surface_of(lambda x: 1 + x**4, [0.5, 1, 3]))
    assert [e.status for e in found["eigenvalues"]] == ["undefined"]


def test_on_an_uneven_axis_the_window_is_of_the_near_points() -> None:
    found = fitted(surface_of(lambda x: np.where(abs(x) > 0.1, 0.0, 5 * x**2), [-1, -0.02, -0.01, 0, 0.01, 0.02, 1]))
    assert numbers(found["eigenvalues"]) == [pytest.approx(10.0)]
    assert found["window"] == [pytest.approx(0.02)]
