"""`sharpness.plane_eps` against its closed form, and each reason for having none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from problems import surface_of

from landscape_cli.analyse.paths import ITSELF
from landscape_cli.analyse.sharpness import EPSILONS, plane_sharpness
from landscape_cli.profile import Estimate, Surface

FINE, TENTHS = "-0.6:0.6:25", "-1:1:21"  # steps of 0.05 and 0.1


def at(surface: Surface, eps: float) -> Estimate:
    """The estimate for one ε."""
    found: dict[float, Estimate] = {item["eps"]: item[ITSELF] for item in plane_sharpness(surface)["plane_eps"]}
    assert tuple(found) == EPSILONS
    return found[eps]


def spoiled(surface: Surface, x: float, y: float, loss: float) -> Surface:
    """The surface with another loss at (x, y)."""
    where = (
        (int(np.abs(surface.x.values - x).argmin()), int(np.abs(surface.y.values - y).argmin())) if surface.y else ()
    )
    losses, groups = surface.loss.copy(), surface.loss_groups.copy()
    losses[where], groups[where] = loss, loss
    return replace(surface, loss=losses, loss_groups=groups)


@pytest.mark.parametrize("centre", [0.0, 0.5, 7.0])
@pytest.mark.parametrize("eps", EPSILONS)
def test_a_quadratic_is_highest_in_the_corner_of_the_box(centre: float, eps: float) -> None:
    surface = surface_of(lambda x, y: centre + x**2 + 3 * y**2, FINE, FINE)
    estimate = at(surface, eps)
    assert estimate.value == pytest.approx(100 * 4 * eps**2 / (1 + centre), rel=1e-12)
    assert (estimate.status, estimate.bound) == ("ok", "lower")


def test_a_line_is_highest_at_the_end_of_its_interval() -> None:
    surface = surface_of(lambda x: 1 + np.where(x < 0, -4 * x, x), FINE)
    assert at(surface, 0.25).value == pytest.approx(100 * 1.0 / 2)


def test_the_highest_point_inside_the_box_counts_too() -> None:
    surface = surface_of(lambda x, y: np.exp(-(((x - 0.1) ** 2 + y**2) / 0.001)) - np.exp(-10), FINE, FINE)
    assert at(surface, 0.25).value == pytest.approx(100 * (1 - np.exp(-10)), rel=1e-9)


def test_points_outside_the_box_do_not_count() -> None:
    surface = surface_of(lambda x, y: np.where(np.maximum(abs(x), abs(y)) > 0.26, 1e6, x**2), FINE, FINE)
    assert at(surface, 0.25).value == pytest.approx(100 * 0.0625)


@pytest.mark.parametrize("x", [FINE, "-0.6:0.6:24"])  # the centre on the grid, and between points
def test_a_maximum_has_a_sharpness_of_zero(x: str) -> None:
    assert at(surface_of(lambda x, y: 2 - x**2 - y**2, x, x), 0.25).value == 0.0


def test_between_grid_points_the_largest_box_that_fits_is_taken_as_a_lower_bound() -> None:
    estimate = at(surface_of(lambda x, y: x**2 + y**2, TENTHS, TENTHS), 0.25)
    assert estimate.value == pytest.approx(100 * 2 * 0.2**2)
    assert estimate.bound == "lower"


def test_epsilon_is_in_units_of_the_direction_whatever_its_length() -> None:
    function = lambda x, y: x**2 + y**2  # noqa: E731
    plain, long = surface_of(function, FINE, FINE), surface_of(function, FINE, FINE, gram=[[9.0, 1.0], [1.0, 4.0]])
    assert plane_sharpness(plain) == plane_sharpness(long)


def test_swapping_the_axes_changes_nothing() -> None:
    one = surface_of(lambda x, y: x**2 + np.sin(y), FINE, TENTHS, noise=0.01)
    other = replace(
        one, x=one.y or one.x, y=one.x, loss=one.loss.T, loss_groups=one.loss_groups.transpose(1, 0, 2),
        measured=one.measured.T,
    )  # fmt: skip
    assert plane_sharpness(one) == plane_sharpness(other)


def test_its_error_is_that_of_the_paired_rise() -> None:
    common, slope = np.random.default_rng(0).normal(size=(2, 64))
    slope -= slope.mean()
    surface = surface_of(lambda x: abs(x), FINE, noise=lambda x: 0.1 * slope * abs(x) + 0 * common)
    # L(centre) = 0 for every group, so the statistic is 100·ε·(1 + 0.1·mean slope)
    assert at(surface, 0.5).stderr == pytest.approx(100 * 0.5 * 0.1 * slope.std(ddof=1) / 8)


def test_a_shift_of_the_groups_enters_the_error_by_the_denominator_alone() -> None:
    shift = np.random.default_rng(0).normal(size=64) * 1e-3
    surface = surface_of(lambda x: 1 + abs(x), FINE, noise=lambda x: shift + 0 * x)
    slope = 100 * 0.5 / (2 + shift.mean()) ** 2  # of 100·0.5 / (1 + L)
    assert at(surface, 0.5).stderr == pytest.approx(slope * shift.std(ddof=1) / 8, rel=1e-4)


NOT_MEASURED: dict[str, Callable[[], Surface]] = {
    "the window ends before the box": lambda: surface_of(lambda x, y: x + y, "-0.4:0.4:9", "-1:1:21"),
    "the window ends before the box on one side": lambda: surface_of(lambda x, y: x + y, "-0.4:1:15", "-1:1:21"),
    "no point beside the centre lies in the box": lambda: surface_of(lambda x, y: x + y, "-1:1:3", "-1:1:3"),
    "no point beside the centre on one axis": lambda: surface_of(lambda x, y: x + y, "-1:1:21", "-1:1:3"),
    "the axis is one point": lambda: surface_of(lambda x: x, [0.0]),
    "the window does not hold the centre": lambda: surface_of(lambda x: x, "1:2:11"),
}


@pytest.mark.parametrize("case", NOT_MEASURED)
def test_it_is_not_measured_where(case: str) -> None:
    assert at(NOT_MEASURED[case](), 0.5) == Estimate.missing("not measured")


@pytest.mark.parametrize(("eps", "status"), [(0.1, "ok"), (0.25, "not measured"), (0.5, "not measured")])
def test_each_box_needs_its_own_points_measured(eps: float, status: str) -> None:
    surface = surface_of(lambda x, y: x**2 + y**2, FINE, FINE)
    measured = np.ones(surface.loss.shape, bool)
    measured[surface.x.index(surface.x.values[16]), 12] = False  # x = 0.2
    assert at(replace(surface, measured=measured), eps).status == status


def test_a_window_that_ends_at_epsilon_up_to_rounding_holds_the_box() -> None:
    surface = surface_of(lambda x: x**2, [-0.1 * 3 + 0.2, 0.0, 0.30000000000000004 - 0.2])  # ±0.1, an ulp short
    assert surface.x.values[-1] != 0.1
    assert at(surface, 0.1).value == pytest.approx(1.0)


@pytest.mark.parametrize(("eps", "status"), [(0.1, "ok"), (0.25, "not finite"), (0.5, "not finite")])
def test_infinity_in_the_box_is_an_infinite_sharpness_and_outside_it_nothing(eps: float, status: str) -> None:
    estimate = at(spoiled(surface_of(lambda x, y: x**2 + y**2, FINE, FINE), 0.2, 0.0, np.inf), eps)
    assert estimate.status == status
    assert estimate.value == (np.inf if status == "not finite" else pytest.approx(2.0))
    assert estimate.bound == "lower"


@pytest.mark.parametrize("other", [1.0, np.inf])
def test_nan_in_the_box_leaves_no_number(other: float) -> None:
    surface = spoiled(surface_of(lambda x, y: x**2 + y**2, FINE, FINE), 0.2, 0.0, np.nan)
    estimate = at(spoiled(surface, -0.2, 0.0, other), 0.25)
    assert (estimate.value, estimate.status) == (None, "not finite")
    assert at(surface, 0.1).status == "ok"


@pytest.mark.parametrize("centre", [np.nan, np.inf])
def test_a_centre_that_is_not_finite_gives_no_sharpness(centre: float) -> None:
    surface = surface_of(lambda x: x**2, FINE)
    surface = replace(surface, centre=replace(surface.centre, loss=centre, loss_groups=np.full(64, centre)))
    assert at(surface, 0.25).status == "not finite"


@pytest.mark.parametrize("centre", [-1.0, -3.0])
def test_a_loss_of_minus_one_or_less_has_no_such_sharpness(centre: float) -> None:
    """100·rise/(1 + L) would divide by 0 or be negative, which a gate takes for flat."""
    surface: Any = surface_of(lambda x: centre + x**2, FINE)
    assert at(surface, 0.25).status == "undefined"
