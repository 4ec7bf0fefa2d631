"""The discrete Hessian and the convex fraction: exact for quadratics on any axes, brute force for the errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from problems import (
    CONSTANT,
    HIMMELBLAU,
    MONKEY_SADDLE,
    SKEW,
    UNEVEN,
    deviations,
    mirrored,
    rows,
    scaled,
    surface_of,
    swapped,
)

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.convexity import convexity, hessian_map
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.profile import Estimate, Surface

Floats = NDArray[np.float64]


def quadratic(h: Floats) -> Callable[[Any, Any], Any]:
    """3 + x - 2y + ½ p'Hp."""
    return lambda x, y: 3 + x - 2 * y + 0.5 * (h[0, 0] * x**2 + 2 * h[0, 1] * x * y + h[1, 1] * y**2)


def shares(surface: Surface) -> tuple[float, float]:
    """Not surely concave, and surely convex."""
    found = convexity(surface)["convex_fraction"]
    assert all(isinstance(e, Estimate) and e.status == "ok" for e in found.values())
    return found[ITSELF].value, found["certain"].value


@pytest.mark.parametrize("gram", [np.eye(2), SKEW, np.diag([0.01, 4.0])], ids=["orthonormal", "skew", "short"])
@pytest.mark.parametrize("x", ["-1:1:9", UNEVEN], ids=["even", "uneven"])
@settings(max_examples=20, deadline=None)
@given(st.floats(-9, 9), st.floats(-9, 9), st.floats(-9, 9))
def test_of_a_quadratic_every_point_has_the_eigenvalues_of_its_hessian(
    gram: Floats, x: Any, a: float, b: float, c: float
) -> None:
    h = np.array([[a, b], [b, c]])
    found = hessian_map(surface_of(quadratic(h), x, "-2:1:8", gram=gram, groups=2))
    exact = np.linalg.eigvals(np.linalg.inv(gram) @ h).real
    size = np.abs(np.linalg.inv(gram)).max() * (np.abs(h).max() + 1)
    assert found.lowest.shape == found.highest.shape == (len(found.lowest), 6)
    np.testing.assert_allclose(found.lowest, exact.min(), atol=1e-9 * size)
    np.testing.assert_allclose(found.highest, exact.max(), atol=1e-9 * size)


@pytest.mark.parametrize("x", ["-1:1:9", UNEVEN], ids=["even", "uneven"])
def test_of_a_line_it_is_the_second_difference(x: Any) -> None:
    found = hessian_map(surface_of(lambda x: 1 - x + 3 * x**2, x, gram=[[4.0]], groups=2))
    assert found.lowest == pytest.approx(6 / 4)
    assert found.highest == pytest.approx(6 / 4)


def test_the_map_converges_to_himmelblau_s_eigenvalues_at_its_minimum() -> None:
    at, exact = HIMMELBLAU.at, HIMMELBLAU.eigenvalues
    errors = []
    for count in (21, 41, 81):
        surface = surface_of(lambda x, y: HIMMELBLAU.loss(x + at[0], y + at[1]), f"-1:1:{count}", f"-1:1:{count}")
        found, middle = hessian_map(surface), (count - 3) // 2
        values = found.lowest[middle, middle], found.highest[middle, middle]
        errors.append(float(np.abs(np.subtract(values, exact)).max()))
    assert errors[0] < 0.1
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize(
    ("function", "share"),
    [
        (quadratic(np.diag([1.0, 9.0])), 1.0),
        (quadratic(np.diag([-1e-3, 9.0])), 0.0),
        (quadratic(-np.eye(2)), 0.0),
        (lambda x, y: 7 + 3 * x - 0.1 * y, 1.0),  # a ramp, of eigenvalues 0 up to rounding
        (CONSTANT.loss, 1.0),
    ],
)
@pytest.mark.parametrize("gram", [np.eye(2), SKEW], ids=["orthonormal", "skew"])
def test_without_noise_it_is_all_or_nothing(function: Any, share: float, gram: Floats) -> None:
    assert shares(surface_of(function, UNEVEN, "-1:1:101", gram=gram, groups=4))[0] == share


def test_what_is_flat_is_not_certainly_convex() -> None:
    assert shares(surface_of(lambda x, y: 7 + 3 * x - 0.1 * y, UNEVEN, "-1:1:101", gram=SKEW)) == (1.0, 0.0)
    assert shares(surface_of(quadratic(np.eye(2)), UNEVEN, "-1:1:101", gram=SKEW)) == (1.0, 1.0)
    assert shares(surface_of(lambda x, y: 0 * x * y, UNEVEN, "-1:1:5")) == (1.0, 0.0)  # not even rounding


@pytest.mark.parametrize("slope", [0.1, 0.3, 0.7, -0.1, -1.3])
def test_a_ramp_through_zero_is_convex_up_to_the_rounding_of_its_largest_losses(slope: float) -> None:
    assert shares(surface_of(lambda x: slope * x, UNEVEN)) == (1.0, 0.0)


def test_one_group_has_no_error_and_the_sign_alone_decides() -> None:
    assert shares(surface_of(lambda x: x**3, "-1:1:21", groups=1)) == (10 / 19, 9 / 19)


def test_a_cubic_is_convex_on_one_side() -> None:
    """Second differences of x³ are 6x: of -0.9…0.9 ten of nineteen are at least 0."""
    assert shares(surface_of(lambda x: x**3, "-1:1:21")) == (10 / 19, 9 / 19)
    assert shares(surface_of(lambda x, y: x**3 + y**2, "-1:1:21", "-1:1:5"))[0] == 10 / 19


def test_a_monkey_saddle_is_convex_nowhere_but_at_its_middle() -> None:
    assert shares(surface_of(MONKEY_SADDLE.loss, "-1:1:11", "-1:1:11")) == (1 / 81, 0.0)


def brute(surface: Surface) -> tuple[Floats, Floats]:
    """The lowest eigenvalue at the interior points, by a least-squares quadratic, and its jackknife error."""
    x, y = surface.axes[0].values, surface.axes[-1].values
    sizes = surface.centre.group_sizes
    root = np.linalg.inv(np.linalg.cholesky(surface.gram))
    values, errors = np.zeros((2, len(x) - 2, len(y) - 2))
    maps = np.concatenate([surface.loss[..., None], jackknife.without_each(surface.loss_groups, sizes)], -1)
    for i, j in np.ndindex(values.shape):
        p, q = (v.ravel() for v in np.meshgrid(x[i : i + 3] - x[i + 1], y[j : j + 3] - y[j + 1], indexing="ij"))
        terms = [p**a * q**b for a in range(3) for b in range(3)]  # through all nine points
        fits = np.linalg.solve(np.column_stack(terms), maps[i : i + 3, j : j + 3].reshape(9, -1))
        lowest = [np.linalg.eigvalsh(root @ np.array([[2 * f[6], f[4]], [f[4], 2 * f[2]]]) @ root.T)[0] for f in fits.T]
        error = jackknife.stderr(np.array(lowest[1:]), sizes)
        values[i, j], errors[i, j] = lowest[0], np.nan if error is None else error
    return values, errors


@pytest.mark.parametrize("sizes", [[1] * 6, [3, 1, 4, 0, 5, 9]])
def test_values_and_errors_are_those_of_the_polynomial_through_all_nine_points(sizes: list[float]) -> None:
    surface = surface_of(MONKEY_SADDLE.loss, UNEVEN, "-1:1:6", gram=SKEW, noise=0.1, groups=6, sizes=sizes)
    values, errors = brute(surface)
    found = hessian_map(surface)
    np.testing.assert_allclose(found.lowest, values, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found.error, errors, rtol=1e-7)


def test_a_large_grid_in_chunks_gives_what_its_rows_give_alone() -> None:
    surface = surface_of(HIMMELBLAU.loss, "-5:5:60", "-5:5:70", noise=1.0, groups=64)
    whole, alone = hessian_map(surface), [hessian_map(part) for part in rows(surface, 3)]
    for name in ("lowest", "highest", "error", "rounding"):
        np.testing.assert_array_equal(getattr(whole, name), np.concatenate([getattr(part, name) for part in alone]))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 99))
def test_scaling_and_shifting_the_loss_change_no_share(scale: float, shift: float, seed: int) -> None:
    surface = surface_of(MONKEY_SADDLE.loss, UNEVEN, "-1:1:9", gram=SKEW, noise=0.3, groups=8, seed=seed)
    assert shares(scaled(surface, scale, shift)) == shares(surface)


@pytest.mark.parametrize("seed", range(5))
def test_mirrored_and_swapped_axes_change_no_share(seed: int) -> None:
    surface = surface_of(MONKEY_SADDLE.loss, UNEVEN, "-1:2:9", gram=SKEW, noise=0.3, groups=8, seed=seed)
    assert shares(mirrored(surface)) == shares(swapped(surface)) == shares(surface)
    for name in ("lowest", "highest", "error"):
        one, other = getattr(hessian_map(surface), name), getattr(hessian_map(mirrored(surface)), name)
        np.testing.assert_array_equal(other[::-1], one)
    bounds = [hessian_map(s).rounding for s in (surface, mirrored(surface))]
    np.testing.assert_allclose(bounds[1][::-1], bounds[0], rtol=1e-12)


@pytest.mark.parametrize(("factor", "convex", "certain"), [(-2.02, 0, 0), (-1.98, 1, 0), (1.98, 1, 0), (2.02, 1, 1)])
def test_two_standard_errors_decide(factor: float, convex: float, certain: float) -> None:
    own = deviations()
    surface = surface_of(
        lambda x: 3 - x + 0.1 * factor * x**2 / 2, "-1:1:9", noise=lambda x: 100 * own[::-1] + 0.1 * own * x**2 / 2,
        groups=16,
    )  # fmt: skip
    assert shares(surface) == (convex, certain)


def test_more_noise_widens_the_bracket_and_never_narrows_it() -> None:
    """With the same draws, twice the noise moves no share inwards."""
    quiet, loud = (
        shares(surface_of(quadratic(np.diag([1.0, 2.0])), "-1:1:21", "-1:1:21", noise=n, groups=64))
        for n in (0.001, 0.05)
    )
    assert quiet == (1.0, 1.0)
    assert loud[0] > 0.5 > loud[1]


def test_a_wall_takes_away_the_points_beside_it_and_no_others() -> None:
    function = quadratic(np.diag([1.0, 9.0]))
    for bad in (np.nan, np.inf, -np.inf):
        surface = surface_of(lambda x, y, b=bad: np.where((x == 0) & (y == 0), b, function(x, y)), "-1:1:9", "-1:1:9")
        found = hessian_map(surface)
        gone = np.zeros((7, 7), dtype=bool)
        gone[2:5, 2:5] = True
        assert (np.isnan(found.lowest) == gone).all()
        assert (np.isnan(found.highest) == gone).all()
        assert shares(surface) == (1.0, 1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_wall_of_a_line_takes_away_three_points(bad: float) -> None:
    found = hessian_map(surface_of(lambda x: np.where(x == 0, bad, x**2), "-1:1:9"))
    for values in (found.lowest, found.highest, found.error):
        assert np.isnan(values).tolist() == [False, False, True, True, True, False, False]


def test_a_point_not_yet_measured_counts_like_a_wall() -> None:
    surface = surface_of(quadratic(-np.eye(2)), "-1:1:9", "-1:1:9")
    measured = np.ones((9, 9), dtype=bool)
    measured[4, 4] = False
    part = replace(surface, measured=measured)
    assert np.isnan(hessian_map(part).lowest).sum() == 9
    found = convexity(part)["convex_fraction"]
    assert found[ITSELF] == found["certain"] == Estimate.missing("not measured")


@pytest.mark.parametrize(
    ("x", "y", "status"),
    [([0.0], [0.0], "undefined"), ([0.0], None, "undefined"), ([0.0], "-1:1:9", "undefined"),
     ("-1:1:2", "-1:1:9", "undefined"), ("-1:1:3", "-1:1:3", "ok"), ("-1:1:3", None, "ok")],
)  # fmt: skip
def test_the_smallest_grids(x: Any, y: Any, status: str) -> None:
    found = convexity(surface_of(lambda *p: sum(q**2 for q in p), x, y))["convex_fraction"]
    assert found[ITSELF].status == found["certain"].status == status


def test_nothing_finite_and_nothing_measured_are_told_apart() -> None:
    nowhere = surface_of(lambda x, y: x + y + np.nan, "-1:1:5", "-1:1:5")
    assert convexity(nowhere)["convex_fraction"][ITSELF] == Estimate.missing("not finite")
    for measured in (np.zeros((5, 5), dtype=bool), np.eye(5, dtype=bool)):
        unmeasured = replace(nowhere, measured=measured)
        assert convexity(unmeasured)["convex_fraction"][ITSELF] == Estimate.missing("not measured")


@pytest.mark.parametrize("corner", [1e30, 1e200, np.inf, np.nan])
def test_a_huge_corner_is_heard_nowhere_else(corner: float) -> None:
    function = quadratic(np.diag([1.0, 9.0]))
    surface = surface_of(
        lambda x, y: np.where((x > 0.9) & (y > 0.9), corner, function(x, y)), "-1:1:9", "-1:1:9", noise=1e-6
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = hessian_map(surface)
        convexity(surface)
    np.testing.assert_allclose(found.lowest.reshape(-1)[:-1], 1.0, rtol=1e-3)
