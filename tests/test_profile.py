"""The nouns: axes to the last bit, estimates, and how much of a run is done."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import surface_of

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.profile import Axis, Estimate, PlaneRecord, Profile, Provenance, empty_surface, grid_bytes

HALF_WIDTHS = st.floats(1e-6, 1e6)
COUNTS = st.integers(2, 300)


@settings(max_examples=100, deadline=None)
@given(HALF_WIDTHS, COUNTS)
def test_a_symmetric_range_is_exactly_antisymmetric(high: float, count: int) -> None:
    values = Axis.of(f"{-high!r}:{high!r}:{count}").values
    assert np.array_equal(values, -values[::-1])


@settings(max_examples=100, deadline=None)
@given(HALF_WIDTHS, st.integers(1, 150))
def test_the_middle_of_an_odd_symmetric_range_is_exactly_zero(high: float, half: int) -> None:
    axis = Axis.of(f"{-high!r}:{high!r}:{2 * half + 1}")
    assert axis.values[half] == 0.0
    assert axis.index(0.0) == half


@settings(max_examples=100, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), COUNTS)
def test_a_range_has_its_count_its_exact_ends_and_equal_steps(low: float, width: float, count: int) -> None:
    low = 0.0 if abs(low) < 1e-6 else low
    high = 0.0 if abs(low + width) < 1e-6 else low + width
    axis = Axis.of(f"{low!r}:{high!r}:{count}")
    assert len(axis) == count
    assert axis.values[0] == low
    assert axis.values[-1] == high
    np.testing.assert_allclose(np.diff(axis.values), (high - low) / (count - 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "zero"), [("-0.3:0.7:11", 3), ("-1:2:31", 10), ("-0.1:0.2:4", 1), ("-0.7:0.1:9", 7), ("-3.3:1.1:5", 3)]
)
def test_zero_up_to_rounding_is_exactly_zero(spec: str, zero: int) -> None:
    assert Axis.of(spec).values[zero] == 0.0
    assert not np.signbit(Axis.of(spec).values[zero])


def test_rounding_is_relative_to_the_range_so_that_small_ranges_are_kept() -> None:
    assert Axis.of("-1e-15:1e-15:3").values.tolist() == [-1e-15, 0.0, 1e-15]


@pytest.mark.parametrize("spec", ["-1:1:51", " -1 : 1 : 51 ", "-1.0:1e0:51", "-1:+1:51"])
def test_one_range_may_be_written_in_several_ways(spec: str) -> None:
    assert np.array_equal(Axis.of(spec).values, Axis.of("-1:1:51").values)


@pytest.mark.parametrize("values", [[0.0], [-1.0, 0.0, 2.5], [0.25], [-3.0, -2.0]])
def test_a_list_is_kept_as_it_is(values: list[float]) -> None:
    assert Axis.of(values).values.tolist() == values
    assert Axis.of(values).values.dtype == np.float64


MALFORMED = [
    "", ":", "::", "1", "-1:1", "-1:1:5:7", "a:b:5", "--1:1:5", "-1:1:five", "-1:1:2.5", "-1:1:1e3", "-1;1;5", "-1,1,5",
    "-1:1:0", "-1:1:-5", "-1:1:", ":1:5", "-1::5", "1:-1:5", "1:1:5", "0:-0:5", "nan:1:5", "-1:nan:5", "-inf:1:5",
    "-1:inf:5", "-1:1:1", "1:1.0000000000000002:5", "-1:1:99999999999", "-1:1:" + "9" * 5000, "-1e309:1:5",
]  # fmt: skip


@pytest.mark.parametrize("spec", MALFORMED)
def test_a_malformed_range_is_refused_with_what_to_type(spec: str) -> None:
    with pytest.raises(LandscapeError, match="the range") as caught:
        Axis.of(spec)
    assert "--x=-1:1:51" in caught.value.hint
    assert caught.value.code is ExitCode.USAGE
    assert len(caught.value.message) < 250


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([], "no points"),
        ([0.0, float("nan")], "not finite"),
        ([0.0, float("inf")], "not finite"),
        ([float("-inf"), 0.0], "not finite"),
        ([1.0, 0.0], "do not increase"),
        ([0.0, 0.0], "do not increase"),
        ([-1.0, 0.0, 1e-15, 1.0], "do not increase"),  # both are 0 up to rounding
    ],
)
def test_a_list_that_is_no_axis_is_refused_with_the_reason(values: list[float], why: str) -> None:
    with pytest.raises(LandscapeError, match=why):
        Axis.of(values)


def test_the_step_is_the_largest_distance_between_neighbours() -> None:
    assert Axis.of([-1.0, 0.0, 0.5, 2.5]).step == 2.0
    assert Axis.of([3.0]).step == 0.0


def test_a_value_that_is_not_on_the_axis_has_no_index() -> None:
    assert Axis.of("-1:1:4").index(0.0) is None
    assert Axis.of("-1:1:4").index(1.0) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_kept_and_named(value: float) -> None:
    estimate = Estimate.of(value, 0.5)
    assert estimate.status == "not finite"
    np.testing.assert_equal(estimate.value, value)


@pytest.mark.parametrize("error", [np.nan, np.inf])
def test_an_error_that_is_not_finite_is_none(error: float) -> None:
    assert Estimate.of(1.0, error) == Estimate(1.0, None, "ok", "exact")


def test_a_missing_estimate_has_no_number() -> None:
    assert Estimate.missing("not measured") == Estimate(None, None, "not measured", "exact")


@pytest.mark.parametrize("y", [None, "-1:1:3"])
def test_an_empty_surface_has_the_grid_x_first_and_nothing_measured(y: str | None) -> None:
    full = surface_of(lambda *p: sum(p), "-1:1:5", y, groups=7)
    empty = empty_surface(full.x, full.y, full.gram, ["accuracy"], full.centre)
    shape = (5,) if y is None else (5, 3)
    assert empty.loss.shape == empty.measured.shape == empty.metrics["accuracy"].shape == shape
    assert empty.loss_groups.shape == (*shape, 7)
    assert not empty.measured.any()
    assert not empty.finite.any()
    assert len(empty.axes) == len(shape)


def test_finite_points_are_measured_and_neither_nan_nor_infinite() -> None:
    surface = surface_of(lambda x: x, [0, 1, 2, 3, 4])
    surface = replace(surface, loss=np.array([0.0, np.nan, np.inf, -np.inf, 1.0]))
    surface = replace(surface, measured=np.array([True, True, True, True, False]))
    assert surface.finite.tolist() == [True, False, False, False, False]


def record(*measured: list[bool]) -> PlaneRecord:
    """A line of four points with one split per mask."""
    surface = surface_of(lambda x: x**2, [0, 1, 2, 3], groups=2)
    splits = {f"split{i}": replace(surface, measured=np.array(mask)) for i, mask in enumerate(measured)}
    return PlaneRecord("main", np.eye(1), (), {}, "", splits)


def test_a_point_counts_as_measured_when_every_split_is() -> None:
    plane = record([True, True, False, False], [True, False, True, False])
    assert plane.measured.tolist() == [True, False, False, False]
    assert not plane.complete


def test_a_profile_counts_the_points_of_all_planes() -> None:
    planes = {"a": record([True] * 4), "b": record([True, False, False, True])}
    profile = Profile("", Provenance(), {}, planes)
    assert profile.done == (6, 8)
    assert not profile.complete


def test_a_profile_without_planes_is_complete() -> None:
    profile = Profile("", Provenance(), {}, {})
    assert profile.done == (0, 0)
    assert profile.complete


def test_provenance_is_replaced_in_a_copy() -> None:
    profile = Profile("abc", Provenance(device="cpu"), {}, {})
    changed = profile.with_provenance(finished="today")
    assert (changed.provenance.finished, changed.provenance.device, changed.problem) == ("today", "cpu", "abc")
    assert profile.provenance.finished == ""


def test_a_grid_beyond_the_cap_is_refused() -> None:
    wide = Axis.of("-1:1:100001")
    with pytest.raises(LandscapeError, match="10000200001 points"):
        grid_bytes("main", wide, wide, 1, 0)
    assert grid_bytes("main", Axis.of("-1:1:11"), None, 2, 1) == 11 * 8 * (64 + 2 + 1) * 2
