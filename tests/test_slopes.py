"""The cliff and the plateaus against steps, ramps and cones, whose slopes are known."""

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
from problems import CONSTANT, SKEW, UNEVEN, deviations, mirrored, number, rows, scaled, surface_of, swapped

from landscape_cli.analyse.jackknife import student
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.analyse.slopes import FLAT, RULE, slopes
from landscape_cli.profile import Estimate, Surface

Floats = NDArray[np.float64]


def cliff(surface: Surface) -> dict[str, Any]:
    found: dict[str, Any] = slopes(surface)["cliff"]
    return found


def plateau(surface: Surface) -> float:
    return number(slopes(surface)["plateau_fraction"][ITSELF])


def step(height: float, at: float, slope: float = 0.0) -> Callable[[Any], Any]:
    """A step of this height, on a slope."""
    return lambda x: slope * x + height * (x > at)


# --- cliff


@pytest.mark.parametrize("length", [1.0, 0.1, 5.0])
def test_a_step_is_the_cliff_in_parameter_distance(length: float) -> None:
    found = cliff(surface_of(step(3.0, 0.25), "-1:1:21", gram=[[length**2]], groups=4))
    assert number(found[ITSELF]) == pytest.approx(3.0 / (0.1 * length))
    assert found["x"] == pytest.approx(0.25)
    assert (found["y"], found["axis"], found["chosen_of"]) == (None, "x", 20)
    assert number(found["rise"]) == pytest.approx(3.0)
    assert found["times_median"] == Estimate.missing("undefined")  # the median slope is 0


def test_a_ramp_has_one_slope_everywhere() -> None:
    found = cliff(surface_of(lambda x: 1 - 3 * x, UNEVEN, gram=[[4.0]], groups=4))
    assert number(found[ITSELF]) == pytest.approx(1.5)
    assert number(found["times_median"]) == pytest.approx(1.0)


def test_a_short_step_of_an_uneven_axis_is_steeper_than_a_long_one_that_rises_more() -> None:
    losses = dict(zip(UNEVEN, [0.0, 3, 3, 3, 3, 5, 5], strict=True))
    found = cliff(surface_of(lambda x: np.vectorize(losses.get)(x).astype(float), UNEVEN, groups=4))
    assert number(found[ITSELF]) == pytest.approx(2 / 0.1)
    assert number(found["rise"]) == pytest.approx(2.0)
    assert found["x"] == pytest.approx(0.55)


@pytest.mark.parametrize(("x_height", "y_height", "axis"), [(4.0, 1.0, "x"), (1.0, 4.0, "y"), (4.0, 5.0, "x")])
def test_the_axis_is_that_of_the_steeper_slope_by_the_directions_lengths(
    x_height: float, y_height: float, axis: str
) -> None:
    """Directions of length 2 and 3: a step between neighbours 0.1 apart is 0.2 or 0.3 long."""
    surface = surface_of(
        lambda x, y: step(x_height, 0.25)(x) + step(y_height, -0.35)(y), "-1:1:21", "-1:1:21", gram=SKEW, groups=2
    )
    found = cliff(surface)
    assert found["axis"] == axis
    assert found[axis] == pytest.approx(0.25 if axis == "x" else -0.35)
    assert number(found[ITSELF]) == pytest.approx(max(x_height / 0.2, y_height / 0.3))


def test_the_median_is_over_the_slopes_of_both_axes() -> None:
    """5 × 4 slopes of 1 along x and 5 × 4 of 3 along y, two directions of unit length: their median is 2."""
    found = cliff(surface_of(lambda x, y: x + 3 * y, "-2:2:5", "-2:2:5", groups=2))
    assert number(found["times_median"]) == pytest.approx(3 / 2)
    assert found["chosen_of"] == 40


def test_the_error_is_paired_and_in_the_slope_s_unit() -> None:
    common, own = np.random.default_rng(0).normal(size=(2, 64))
    surface = surface_of(step(3.0, 0.25), "-1:1:21", gram=[[4.0]], noise=lambda x: 10 * common + 0.1 * own * (x > 0.25))
    found = cliff(surface)
    assert found["rise"].stderr == pytest.approx(0.1 * own.std(ddof=1) / 8, rel=1e-6)
    assert found[ITSELF].stderr == pytest.approx(found["rise"].stderr / 0.2)


def test_two_groups_have_an_error_and_one_has_none() -> None:
    two = surface_of(step(3.0, 0.25), "-1:1:21", noise=lambda x: np.array([1.0, -1.0]) * (x > 0.25), groups=2)
    assert cliff(two)["rise"].stderr == pytest.approx(1.0)
    one = replace(two, centre=replace(two.centre, group_sizes=np.array([2.0, 0.0])))
    assert cliff(one)["rise"].stderr is None


def test_infinite_neighbours_are_counted_apart() -> None:
    def walled(x: Any, y: Any) -> Any:
        return np.where(x + y > 1.5, np.inf, np.where(x + y < -1.5, np.nan, step(1.0, 0.05)(x) + 0 * y))

    surface = surface_of(walled, "-1:1:11", "-1:1:11", groups=2)
    inf, finite = np.isinf(surface.loss), np.isfinite(surface.loss)
    across = sum(
        int((inf[a] & finite[b]).sum() + (inf[b] & finite[a]).sum())
        for a, b in (((slice(1, None),), (slice(None, -1),)), ((slice(None), slice(1, None)), (slice(None), slice(-1))))
    )
    found = cliff(surface)
    assert across > 0
    assert number(found["infinite_neighbours"]) == across
    assert number(found[ITSELF]) == pytest.approx(1 / 0.2)
    assert found[ITSELF].bound == found["rise"].bound == "lower"


def test_a_cliff_of_points_not_yet_measured_is_no_cliff() -> None:
    surface = surface_of(lambda x: x + 10 * (x > 0.55), "-1:1:21")
    found = cliff(replace(surface, measured=surface.x.values < 0.55))
    assert number(found[ITSELF]) == pytest.approx(1.0)
    assert found[ITSELF].bound == "lower"
    assert cliff(surface)[ITSELF].bound == "exact"


# --- plateaus


def test_a_constant_is_all_plateau_and_a_steep_ramp_none() -> None:
    assert plateau(surface_of(CONSTANT.loss, "-1:1:21", "-1:1:11", groups=4)) == 1.0
    assert plateau(surface_of(lambda x, y: x + 0 * y, "-1:1:21", "-1:1:11", groups=4)) == 0.0
    assert slopes(surface_of(CONSTANT.loss, "-1:1:3", "-1:1:3"))["plateau_fraction"]["rule"] == RULE


@pytest.mark.parametrize("half", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("gram", [[[1.0]], [[100.0]]])
def test_a_ramp_is_a_plateau_where_half_the_window_rises_by_a_hundredth(half: float, gram: Any) -> None:
    """slope·half ≤ 0.01·(1 + |L|), L = 3 ± slope·half."""
    for factor, share in ((0.99, 1.0), (1.01, 0.0)):
        slope = 0.04 * factor / half
        surface = surface_of(lambda x, s=slope: 3 + s * x, [-half, -half / 2, 0, half / 2, half], gram=gram, groups=4)
        level = replace(surface, loss=surface.loss)
        limits = FLAT * (1 + np.abs(level.loss))
        assert plateau(surface) == pytest.approx(float((slope * half <= limits).mean()))
        assert abs(plateau(surface) - share) <= 0.5


def test_what_rises_by_just_a_hundredth_is_a_plateau() -> None:
    assert plateau(surface_of(lambda x: FLAT * x, "-1:1:3", groups=1)) == 1.0


def test_two_points_have_a_slope() -> None:
    assert plateau(surface_of(lambda x: x, "-1:1:2")) == 0.0


def test_the_axes_add() -> None:
    """Along x and along y alike 0.006: together above 0.01, each alone below."""
    assert plateau(surface_of(lambda x, y: 0.006 * x + 0 * y, "-1:1:5", "-1:1:5", groups=4)) == 1.0
    assert plateau(surface_of(lambda x, y: 0.006 * x - 0.006 * y, "-1:1:5", "-1:1:5", groups=4)) == 0.0


def test_the_bottom_of_a_v_is_no_plateau() -> None:
    assert plateau(surface_of(lambda x: abs(x), "-1:1:21")) == 0.0


def test_the_points_beside_a_step_are_no_plateau_and_all_others_are() -> None:
    assert plateau(surface_of(step(3.0, 0.25), "-1:1:21")) == 19 / 21
    assert plateau(surface_of(lambda x, y: step(3.0, 0.25)(x) + 0 * y, "-1:1:21", "-1:1:5", groups=4)) == 19 / 21


def test_the_upper_limit_counts_not_the_slope() -> None:
    """Groups that disagree by a slope: 0 in the mean, of standard error s at 1."""
    own = deviations()
    for limit, share in ((0.0101, 0.0), (0.0099, 1.0)):
        size = limit / student(15)
        surface = surface_of(lambda x: 0 * x, "-1:1:9", noise=lambda x, s=size: 100 * own + s * own * x, groups=16)
        assert plateau(surface) == share


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_beside_what_is_not_finite_there_is_no_plateau(bad: float) -> None:
    surface = surface_of(lambda x, y: np.where((x == 0) & (y == 0), bad, 0 * x + 2), "-1:1:5", "-1:1:5", groups=4)
    assert plateau(surface) == 20 / 24


@pytest.mark.parametrize("missing", [-1.0, 0.0])
def test_of_a_part_of_the_plane_no_share_is_told(missing: float) -> None:
    surface = surface_of(lambda x: 1 + step(1.0, 0.55)(x), "-1:1:11")
    found = slopes(replace(surface, measured=~np.isclose(surface.x.values, missing)))["plateau_fraction"]
    assert found[ITSELF] == Estimate.missing("not measured")


# --- properties


def noisy(seed: int) -> Surface:
    return surface_of(
        lambda x, y: np.where(x > 0.3, 1.0, 0.001 * x * y + 0.3 * (y > 0.9)), UNEVEN, "-1:1:12", gram=SKEW,
        noise=1e-4, groups=6, seed=seed,
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 99))
def test_the_cliff_scales_with_the_loss_and_a_shift_does_not_move_it(scale: float, shift: float, seed: int) -> None:
    surface = noisy(seed)
    one, two = cliff(surface), cliff(scaled(surface, scale, shift))
    assert two[ITSELF].value == pytest.approx(scale * one[ITSELF].value, rel=1e-6)
    assert two[ITSELF].stderr == pytest.approx(scale * one[ITSELF].stderr, rel=1e-6)
    assert number(two["times_median"]) == pytest.approx(number(one["times_median"]), rel=1e-6)
    assert [two[k] for k in ("x", "y", "axis")] == [one[k] for k in ("x", "y", "axis")]


@pytest.mark.parametrize("seed", range(10))
def test_mirrored_and_swapped_axes_move_the_cliff_alone(seed: int) -> None:
    surface = noisy(seed)
    one, left, turned = (cliff(s) for s in (surface, mirrored(surface), swapped(surface)))
    assert (left["x"], left["y"], left["axis"]) == (-one["x"], one["y"], one["axis"])
    assert (turned["x"], turned["y"], turned["axis"]) == (one["y"], one["x"], "y" if one["axis"] == "x" else "x")
    for other in (left, turned):
        for name in (ITSELF, "rise", "times_median"):
            assert number(other[name]) == pytest.approx(number(one[name]), rel=1e-12)
        assert other[ITSELF].stderr == pytest.approx(one[ITSELF].stderr, rel=1e-9)
    assert plateau(mirrored(surface)) == plateau(swapped(surface)) == plateau(surface)


@pytest.mark.parametrize("seed", range(5))
def test_longer_directions_flatten_the_cliff_and_leave_the_plateaus(seed: int) -> None:
    surface = noisy(seed)
    longer = replace(surface, gram=9 * surface.gram)
    assert number(cliff(longer)[ITSELF]) == pytest.approx(number(cliff(surface)[ITSELF]) / 3)
    assert 0 < plateau(longer) == plateau(surface) < 1


def test_a_large_grid_in_chunks_gives_what_its_rows_give_alone() -> None:
    surface = surface_of(lambda x, y: x**2 + 3 * y, "-5:5:60", "-5:5:70", noise=1.0, groups=64)
    found = cliff(surface)
    best = max((cliff(part) for part in rows(surface, 2)), key=lambda row: number(row[ITSELF]))
    assert [found[k] for k in (ITSELF, "x", "y", "axis", "rise")] == [
        best[k] for k in (ITSELF, "x", "y", "axis", "rise")
    ]


@pytest.mark.parametrize("at", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_the_error_is_that_of_the_cliff_s_own_row(at: float, axis: str) -> None:
    """A step along one axis, highest and noisy in one row alone, in a grid of many chunks."""
    own = np.random.default_rng(0).normal(size=64)

    def height(x: Any, y: Any, far: float) -> Any:
        row, along = (x, y) if axis == "y" else (y, x)
        return (1 - far * abs(row - at)) * (along > 0.5)

    surface = surface_of(
        lambda x, y: height(x, y, 0.3), "-1:1:61", "-1:1:61", noise=lambda x, y: 0.1 * own * (height(x, y, 1e9) > 0)
    )
    found = cliff(surface)
    assert (found["axis"], found["y" if axis == "x" else "x"]) == (axis, at)
    assert found["rise"].stderr == pytest.approx(0.1 * own.std(ddof=1) / 8)


# --- the smallest, and reasons for none


@pytest.mark.parametrize(
    ("x", "y", "status"),
    [([0.0], None, "undefined"), ([0.0], [0.0], "undefined"), ([0.0], "-1:1:9", "ok"), ("-1:1:9", [0.0], "ok"),
     ("-1:1:2", None, "ok"), ("-1:1:3", "-1:1:3", "ok")],
)  # fmt: skip
def test_the_smallest_grids(x: Any, y: Any, status: str) -> None:
    found = slopes(surface_of(lambda *p: sum(q**2 for q in p), x, y))
    assert found["cliff"][ITSELF].status == found["plateau_fraction"][ITSELF].status == status
    if status == "ok":
        assert found["cliff"]["axis"] == ("y" if x == [0.0] else "x")


def test_nothing_finite_and_nothing_measured_are_told_apart() -> None:
    nowhere = surface_of(lambda x, y: x + y + np.nan, "-1:1:5", "-1:1:5")
    unmeasured = replace(nowhere, measured=np.zeros((5, 5), dtype=bool))
    for surface, status in ((nowhere, "not finite"), (unmeasured, "not measured")):
        found = slopes(surface)
        assert found["cliff"][ITSELF].status == found["plateau_fraction"][ITSELF].status == status


def test_the_keys_are_there_whether_there_is_a_number_or_none() -> None:
    some, none = (slopes(surface_of(lambda x: x, x)) for x in ("-1:1:5", [0.0]))
    assert {k: set(v) for k, v in some.items()} == {k: set(v) for k, v in none.items()}


@pytest.mark.parametrize("corner", [1e30, 1e200, np.inf, np.nan])
@pytest.mark.parametrize("groups", [1, 64])
def test_numpy_is_not_heard_at_a_huge_corner(corner: float, groups: int) -> None:
    surface = surface_of(
        lambda x, y: np.where((x > 0.9) & (y > 0.9), corner, 1e-3 * x), "-1:1:9", "-1:1:9", noise=1e-6, groups=groups
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = slopes(surface)
    assert (found["cliff"][ITSELF].stderr is None) == (groups == 1)
    assert 0 < plateau(surface) < 1 or groups == 1
