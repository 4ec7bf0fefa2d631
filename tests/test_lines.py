"""Barriers, bumps and asymmetry of lines against closed forms, and the coverage of their errors."""

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
from problems import CONSTANT, deviations, mirrored, number, scaled, surface_of

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.lines import asymmetry, between_checkpoints, path_statistics
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.profile import Estimate, PlaneRecord, Surface

Floats = NDArray[np.float64]
PATH = "-0.5:1.5:41"  # steps of 0.05; 0 and 1 are points


def barrier(surface: Surface) -> dict[str, Any]:
    found: dict[str, Any] = path_statistics(surface)["barrier"]
    return found


def monotone(surface: Surface) -> dict[str, Any]:
    found: dict[str, Any] = path_statistics(surface)["monotone"]
    return found


def at_points(losses: list[float], noise: Any = 0.0, groups: int = 4) -> Surface:
    """These losses at 0, 1/n, 2/n, ..., 1."""
    last = len(losses) - 1
    return surface_of(
        lambda x: np.asarray(losses)[np.rint(x * last).astype(int)], [i / last for i in range(last + 1)],
        noise=noise, groups=groups,
    )  # fmt: skip


# --- barrier


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 20), st.floats(-5, 5), st.floats(-5, 5))
def test_a_parabola_over_a_chord(height: float, start: float, slope: float) -> None:
    """start + slope·t + 4·height·t(1 - t): the barrier is the height, at ½, whatever the chord."""
    found = barrier(surface_of(lambda t: start + slope * t + 4 * height * t * (1 - t), PATH))
    assert number(found[ITSELF]) == pytest.approx(height)
    assert found["t"] == 0.5
    assert number(found["ends"]) == pytest.approx(slope, abs=1e-12)
    assert found["chosen_of"] == 21


def test_over_the_mean_of_the_ends_the_highest_point_counts() -> None:
    """t + 4t(1 - t) has its maximum 25/16 at 5/8, 17/16 over the mean of its ends 0 and 1."""
    found = barrier(surface_of(lambda t: t + 4 * t * (1 - t), "0:1:17"))
    assert number(found["over_mean"][ITSELF]) == pytest.approx(17 / 16)
    assert found["over_mean"]["t"] == 5 / 8
    assert number(found[ITSELF]) == pytest.approx(1.0)


def test_a_convex_path_has_no_barrier_and_its_higher_end_is_above_the_mean() -> None:
    """A barrier of 0 is as sure as the point nearest to the chord, on this path that beside 1."""
    surface = surface_of(lambda t: 3 * (t - 1) ** 2, "0:1:5", noise=0.01, groups=8)
    found = barrier(surface)
    groups = surface.loss_groups[3] - surface.loss_groups[0] / 4 - surface.loss_groups[4] * 3 / 4
    other = surface.loss_groups[1] - surface.loss_groups[0] * 3 / 4 - surface.loss_groups[4] / 4
    errors = [each.std(ddof=1) / np.sqrt(8) for each in (groups, other)]
    assert found[ITSELF].value == 0.0
    assert found[ITSELF].stderr == pytest.approx(errors[int(other.mean() > groups.mean())])
    assert found["t"] in (0.0, 1.0)
    assert number(found["over_mean"][ITSELF]) == pytest.approx(1.5, abs=0.03)
    assert found["over_mean"]["t"] == 0.0


@pytest.mark.parametrize("function", [CONSTANT.loss, lambda t, _: 0.1 + 0.7 * t])
def test_a_straight_path_has_none_whatever_the_rounding(function: Callable[[Any, Any], Any]) -> None:
    found = barrier(surface_of(lambda t: function(t, 0 * t), "0:1:1001"))
    assert found[ITSELF].value == 0.0
    assert found["t"] == 0.0
    assert barrier(at_points([0.3, 0.1 + 0.2]))["over_mean"][ITSELF].value == 0.0


def test_what_lies_beyond_the_ends_does_not_count() -> None:
    inner = surface_of(lambda t: 4 * t * (1 - t), "0:1:21")
    outer = surface_of(lambda t: np.where((t < 0) | (t > 1), 1e6, 4 * t * (1 - t)), PATH)
    assert path_statistics(outer) == path_statistics(inner)


def test_the_errors_are_paired() -> None:
    common, own = np.random.default_rng(0).normal(size=(2, 64))
    spread = own.std(ddof=1) / 8
    surface = surface_of(lambda t: 4 * t * (1 - t), "0:1:21", noise=lambda t: 100 * common + 0.1 * own * t**2)
    found = barrier(surface)
    assert found[ITSELF].stderr == pytest.approx(0.1 * spread * 0.25, rel=1e-6)  # t² - t at ½
    assert found["ends"].stderr == pytest.approx(0.1 * spread, rel=1e-6)
    assert found["over_mean"][ITSELF].stderr == pytest.approx(0.1 * spread * 0.25, rel=1e-6)  # ¼ - ½


@pytest.mark.parametrize("x", ["0:1:20", [0.0, 0.3, 1.0], "0:1:2", "-0.1:1.1:13"])  # the last has 1 + 2e-16
def test_any_axis_that_holds_both_ends_will_do(x: Any) -> None:
    found = path_statistics(surface_of(lambda t: 4 * (1 - t), x))
    assert found["barrier"][ITSELF] == Estimate(0.0, 0.0)
    assert number(found["barrier"]["ends"]) == pytest.approx(-4)
    assert number(found["monotone"][ITSELF]) == 1
    assert barrier(surface_of(lambda t: t, x))["over_mean"]["t"] == 1.0


@pytest.mark.parametrize("x", ["-1:0.9:20", "0.05:1:20", "-0.33:1.1:12", [0.0], "0:0.999999:4"])
def test_without_both_ends_there_is_none_and_nothing_is_interpolated(x: Any) -> None:
    found = path_statistics(surface_of(lambda t: t**2, x))
    assert found["barrier"][ITSELF] == found["monotone"][ITSELF] == Estimate.missing("undefined")


def test_a_plane_has_none() -> None:
    found = path_statistics(surface_of(lambda x, y: x + y, "0:1:5", "0:1:5"))
    assert found["barrier"][ITSELF] == Estimate.missing("undefined")


def test_the_keys_are_there_whether_there_is_a_number_or_none() -> None:
    some, none = (path_statistics(surface_of(lambda t: t, x)) for x in ("0:1:5", "2:3:5"))
    assert {k: set(v) for k, v in some.items()} == {k: set(v) for k, v in none.items()}


@pytest.mark.parametrize(
    ("bad", "where", "status", "value"),
    [(np.inf, 0.5, "not finite", np.inf), (np.nan, 0.5, "not finite", None), (-np.inf, 0.5, "not finite", None),
     (np.inf, 0.0, "not finite", None), (np.nan, 1.0, "not finite", None)],
)  # fmt: skip
def test_what_is_not_finite_on_the_path(bad: float, where: float, status: str, value: float | None) -> None:
    surface = surface_of(lambda t: np.where(t == where, bad, t), PATH, noise=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = path_statistics(surface)
    assert (found["barrier"][ITSELF].status, found["barrier"][ITSELF].value) == (status, value)
    assert found["barrier"]["t"] == (0.5 if value else None)
    if value:
        assert number(found["monotone"][ITSELF]) == 0.0
        assert found["monotone"]["bump"].value == np.inf


def test_an_unfinished_path_has_none_yet() -> None:
    surface = surface_of(lambda t: t, PATH)
    gap = surface.x.values != 0.5
    assert barrier(replace(surface, measured=gap))[ITSELF] == Estimate.missing("not measured")
    outside = surface.x.values > -0.3
    assert barrier(replace(surface, measured=outside))[ITSELF].status == "ok"


# --- monotone


@pytest.mark.parametrize(
    ("losses", "holds", "bump", "start", "end"),
    [
        ([5, 4, 3, 1], 1, 0, None, None),
        ([1, 3, 4, 5], 1, 0, None, None),  # walked from the higher end
        ([2, 2, 2, 2], 1, 0, None, None),
        ([5, 3, 4, 1, 0], 0, 1, 0.25, 0.5),
        ([0, 1, 4, 3, 5], 0, 1, 0.75, 0.5),  # the same, mirrored
        ([5, 3, 4, 1, 3, 0], 0, 2, 0.6, 0.8),
        ([5, 1, 3, 2, 4, 0], 0, 3, 0.2, 0.8),  # from the lowest so far
        ([1, 9, 0], 0, 8, 0.0, 0.5),
        ([2, 0, 3, 1, 2], 0, 3, 0.25, 0.5),  # of equal ends from the first
        ([5, 1, 1, 3, 0], 0, 2, 0.25, 0.75),  # of equal points from the first
        ([1, 0.3, 0.1 + 0.2, 0], 1, 0, None, None),  # a rise of rounding
    ],
)
def test_bumps_by_hand(losses: list[float], holds: int, bump: float, start: float | None, end: float | None) -> None:
    found = monotone(at_points(losses))
    assert number(found[ITSELF]) == holds
    assert number(found["bump"]) == pytest.approx(bump)
    if start is not None:
        assert (found["start"], found["end"]) == (start, end)


def test_a_rise_counts_from_its_own_paired_error_on() -> None:
    own = deviations()
    common, sure = 100 * own[::-1], jackknife.student(15)
    for factor, holds in ((1.001, 0), (0.999, 1)):
        surface = at_points(
            [3, 1, 1 + 0.1 * sure * factor, 0], lambda t: common + 0.1 * own * (t > 0.5) * (t < 0.9), 16
        )
        found = monotone(surface)
        assert number(found[ITSELF]) == holds
        assert number(found["bump"]) == pytest.approx(0.1 * sure * factor)
        assert found["bump"].stderr == pytest.approx(0.1, rel=1e-6)


def test_a_small_sure_bump_is_found_beside_a_large_doubtful_one() -> None:
    own = np.random.default_rng(0).normal(size=16) * 4
    surface = at_points([5, 3, 3.5, 2, 2.1, 0], lambda t: own * (t == 0.4), 16)
    surface = replace(surface, loss=np.array([5, 3, 3.5, 2, 2.1, 0]))
    found = monotone(surface)
    assert number(found[ITSELF]) == 0
    assert number(found["bump"]) == pytest.approx(0.1)
    assert (found["start"], found["end"]) == (0.6, 0.8)


def test_one_group_decides_without_an_error() -> None:
    found = monotone(at_points([5, 3, 3.001, 0], groups=1))
    assert (number(found[ITSELF]), found["bump"].stderr) == (0.0, None)
    assert barrier(at_points([0, 1, 0], groups=1))[ITSELF].stderr is None
    assert barrier(at_points([1, 0, 1], groups=1))[ITSELF] == Estimate(0.0, None)  # nothing lies above the chord


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 99))
def test_a_path_from_the_other_end_scaled_and_shifted_has_the_same_barrier_and_bump(
    scale: float, shift: float, seed: int
) -> None:
    surface = surface_of(lambda t: np.sin(9 * t) + t, "0:1:12", noise=0.5, groups=8, seed=seed)
    other = replace(
        surface, loss=scale * surface.loss[::-1] + shift, loss_groups=scale * surface.loss_groups[::-1] + shift
    )
    one, two = path_statistics(surface), path_statistics(other)
    assert two["monotone"][ITSELF] == one["monotone"][ITSELF]
    for name in ("start", "end"):
        assert two["monotone"][name] == pytest.approx(1 - one["monotone"][name])
    assert two["barrier"]["t"] == pytest.approx(1 - one["barrier"]["t"])
    pairs = [(one["barrier"], two["barrier"], ITSELF), (one["monotone"], two["monotone"], "bump")]
    pairs += [(one["barrier"]["over_mean"], two["barrier"]["over_mean"], ITSELF)]
    for mine, its, name in pairs:
        assert number(its[name]) == pytest.approx(scale * number(mine[name]), rel=1e-6, abs=1e-9 * scale)
        assert its[name].stderr == pytest.approx(scale * mine[name].stderr, rel=1e-6, abs=1e-9 * scale)


@pytest.mark.parametrize("peak", [1e30, 1e200])
def test_a_huge_peak_is_a_huge_barrier_and_nothing_is_heard(peak: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = path_statistics(surface_of(lambda t: np.where(t == 0.5, peak, t), "0:1:5", noise=0.1))
        sides = asymmetry(surface_of(lambda x: np.where(x == 1, peak, x**2), "-1:1:5", noise=0.1))
    for estimate in (found["barrier"][ITSELF], found["monotone"]["bump"], sides[-1][ITSELF]):
        assert number(estimate) == pytest.approx(peak)
    assert number(sides[-1]["relative"]) == pytest.approx(1.0)


# --- asymmetry


def test_a_valley_s_sides_are_compared_at_a_quarter_half_and_all_of_the_window() -> None:
    """Slopes of 1 to the left and 3 to the right: L(+t) - L(-t) = 2t, over their sum ½."""
    found = asymmetry(surface_of(lambda x: np.where(x < 0, -x, 3 * x), "-1:1:41", gram=[[4.0]]))
    assert [side["t"] for side in found] == pytest.approx([0.25, 0.5, 1.0])
    for side in found:
        assert number(side[ITSELF]) == pytest.approx(2 * side["t"])
        assert number(side["distance"]) == pytest.approx(2 * side["t"])
        assert number(side["left"]) == pytest.approx(side["t"])
        assert number(side["right"]) == pytest.approx(3 * side["t"])
        assert number(side["relative"]) == pytest.approx(0.5)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_mirrored_it_changes_sign_and_scaled_its_size(scale: float, shift: float) -> None:
    surface = surface_of(lambda x: x**2 + 0.3 * x**3, "-1:2:31", noise=0.1, groups=8)
    for one, other in zip(asymmetry(surface), asymmetry(scaled(mirrored(surface), scale, shift)), strict=True):
        assert other["t"] == one["t"]
        assert number(other[ITSELF]) == pytest.approx(-scale * number(one[ITSELF]), rel=1e-6)
        assert other[ITSELF].stderr == pytest.approx(scale * one[ITSELF].stderr, rel=1e-6)
        assert other["relative"].value == pytest.approx(-(one["relative"].value or 0), rel=1e-6)


def test_only_mirrored_points_are_compared() -> None:
    assert [side["t"] for side in asymmetry(surface_of(lambda x: x**2, [-2, -1, -0.5, 0, 0.6, 1, 3]))] == [1.0]
    assert asymmetry(surface_of(lambda x: x**2, [-2, -1, 0, 0.5])) == []
    assert asymmetry(surface_of(lambda x: x**2, [0.0])) == []
    assert [side["t"] for side in asymmetry(surface_of(lambda x: x**2, "-0.7:1.1:19"))] == pytest.approx(
        [0.2, 0.3, 0.7]
    )
    assert asymmetry(surface_of(lambda x, y: x**2 + y, "-1:1:5", "-1:1:5")) == []


def test_its_errors_are_paired() -> None:
    common, own = np.random.default_rng(0).normal(size=(2, 64))
    surface = surface_of(lambda x: x**2, "-1:1:3", noise=lambda x: 100 * common + 0.1 * own * x)
    (side,) = asymmetry(surface)
    assert side[ITSELF].stderr == pytest.approx(0.2 * own.std(ddof=1) / 8, rel=1e-6)
    assert side["right"].stderr == pytest.approx(0.1 * own.std(ddof=1) / 8, rel=1e-6)
    assert side["relative"].stderr == pytest.approx(0.1 * own.std(ddof=1) / 8, rel=1e-6)  # (2·0.1·s) / 2


@pytest.mark.parametrize(("left", "apart"), [(1.0, 2.0), (0.0, 1.0)])
def test_where_a_side_does_not_rise_the_share_is_undefined(left: float, apart: float) -> None:
    (side,) = asymmetry(surface_of(lambda x: np.where(x < 0, left * x, x), "-1:1:3"))
    assert number(side[ITSELF]) == apart
    assert side["relative"] == Estimate.missing("undefined")


@pytest.mark.parametrize(("bad", "status"), [(np.nan, "not finite"), (np.inf, "not finite")])
def test_a_side_that_is_not_finite_says_so_at_its_distance_alone(bad: float, status: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = asymmetry(surface_of(lambda x: np.where(x > 0.9, bad, x**2), "-1:1:9", noise=0.1))
    assert [side[ITSELF].status for side in found] == ["ok", "ok", status]
    assert found[-1]["left"].status == "ok"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_without_a_finite_centre_there_is_no_rise(bad: float) -> None:
    surface = surface_of(lambda x: x**2, "-1:1:9")
    for side in asymmetry(replace(surface, centre=replace(surface.centre, loss=bad))):
        assert side[ITSELF] == side["left"] == side["right"] == Estimate.missing("not finite")


def test_a_side_not_yet_measured_says_so() -> None:
    surface = surface_of(lambda x: x**2, "-1:1:9")
    found = asymmetry(replace(surface, measured=surface.x.values < 0.9))
    assert [side[ITSELF].status for side in found] == ["ok", "ok", "not measured"]


# --- which lines lead to a checkpoint


@pytest.mark.parametrize(
    ("recipes", "leads"),
    [([{"kind": "checkpoint"}], True), ([{"kind": "random"}], False), ([{}], False),
     ([{"kind": "checkpoint"}, {"kind": "checkpoint"}], False)],
)  # fmt: skip
def test_a_line_between_checkpoints_is_known_by_its_recipe(recipes: list[dict[str, Any]], leads: bool) -> None:
    assert between_checkpoints(PlaneRecord("main", np.eye(1), tuple(recipes), {}, "", {})) is leads


# --- coverage

RUNS = 3000


def drawn(seed: int, sizes: list[int]) -> Surface:
    """Samples of skewed losses of mean 1 + t(1-t), that differ by a constant, a slope and a curve."""
    random = np.random.default_rng(seed)
    z = np.array([random.exponential(size=(3, n)).mean(1) - 1 for n in sizes]).T
    return surface_of(
        lambda t: 1 + t * (1 - t), "-1:1:9", noise=lambda t: 2 * z[0] + z[1] * t + 0.5 * z[2] * (t**2 + 2 * t**3),
        groups=len(sizes), sizes=sizes,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[8] * 64, [7, 8] * 32, [30] * 10])
def test_95_percent_intervals_hold_the_barrier_the_ends_and_the_asymmetry(sizes: list[int]) -> None:
    quantile = 1.998 if len(sizes) == 64 else 2.262
    held = dict.fromkeys(("barrier", "ends", "asymmetry", "right"), 0)
    for seed in range(RUNS):
        surface = drawn(seed, sizes)
        found, side = barrier(surface), asymmetry(surface)[1]
        assert (found["t"], side["t"]) == (0.5, 0.5)  # else the barrier is chosen among noisy points
        pairs = {
            "barrier": (found[ITSELF], 0.25), "ends": (found["ends"], 0.0), "asymmetry": (side[ITSELF], 1.0),
            "right": (side["right"], 0.25),
        }  # fmt: skip
        for name, (estimate, exact) in pairs.items():
            assert estimate.stderr is not None
            held[name] += abs(number(estimate) - exact) <= quantile * estimate.stderr
    for name, count in held.items():
        assert 0.93 <= count / RUNS <= 0.97, name
