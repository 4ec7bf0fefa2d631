"""Standard errors against closed forms, brute force over the samples, and their coverage in simulation."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from problems import surface_of

from landscape_cli.analyse import jackknife

Floats = NDArray[np.float64]
TAILS = [  # freedom, tail, quantile: scipy.stats.t.isf
    (1, 1e-6, 318309.8861827435),
    (3, 1e-5, 47.927728375933924),
    (9, 1e-4, 6.010132129081441),
    (63, 2e-6, 5.0522217519699435),
    (63, 1e-9, 6.999812320475072),
    (63, 1e-12, 8.717510437562666),
]


def dealt(samples: Floats, sizes: list[int]) -> list[Floats]:
    """The samples in groups of these sizes."""
    return np.split(samples, np.cumsum(sizes)[:-1])


@pytest.mark.parametrize("count", [2, 3, 10, 64])
def test_the_error_of_a_mean_over_equal_groups_is_s_over_root_g(count: int) -> None:
    groups = np.random.default_rng(count).normal(2.0, 3.0, count)
    estimate = jackknife.mean(float(groups.mean()), groups, np.full(count, 5.0))
    assert estimate.stderr == pytest.approx(groups.std(ddof=1) / np.sqrt(count), rel=1e-12)


def test_two_groups_by_hand() -> None:
    # without the first 4, without the second 1: sqrt(1/2 · (1.5² + 1.5²)) = 1.5
    assert jackknife.mean(2.5, np.array([1.0, 4.0]), np.ones(2)).stderr == pytest.approx(1.5, rel=1e-15)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.integers(0, 2**16))
def test_leaving_out_a_group_is_the_mean_of_all_other_samples(sizes: list[int], seed: int) -> None:
    groups = dealt(np.random.default_rng(seed).normal(size=sum(sizes)), sizes)
    expected = [np.concatenate(groups[:g] + groups[g + 1 :]).mean() for g in range(len(sizes))]
    means = np.array([group.mean() for group in groups])
    np.testing.assert_allclose(jackknife.without_each(means, np.array(sizes, float)), expected, rtol=1e-10, atol=1e-12)


def test_leaving_out_works_on_the_last_axis_of_any_array() -> None:
    groups = np.random.default_rng(0).normal(size=(4, 5, 6))
    sizes = np.arange(1.0, 7.0)
    whole = jackknife.without_each(groups, sizes)
    assert whole.shape == groups.shape
    np.testing.assert_array_equal(whole[2, 3], jackknife.without_each(groups[2, 3], sizes))


def test_empty_groups_do_not_count_whatever_they_hold() -> None:
    groups, sizes = np.array([1.0, np.nan, 4.0, np.inf]), np.array([1.0, 0.0, 1.0, 0.0])
    assert jackknife.mean(2.5, groups, sizes).stderr == pytest.approx(1.5, rel=1e-15)


@pytest.mark.parametrize(("groups", "sizes"), [([3.0], [9.0]), ([3.0, np.nan], [9.0, 0.0])])
def test_one_group_has_no_error(groups: list[float], sizes: list[float]) -> None:
    estimate = jackknife.mean(3.0, np.array(groups), np.array(sizes))
    assert estimate.value == 3.0
    assert estimate.status == "ok"
    assert estimate.stderr is None


def test_leaving_out_the_one_infinite_group_leaves_a_finite_mean() -> None:
    found = jackknife.without_each(np.array([1.0, 2.0, np.inf]), np.ones(3))
    assert found.tolist() == [np.inf, np.inf, 1.5]


def test_leaving_out_a_huge_group_keeps_the_others_digits() -> None:
    found = jackknife.without_each(np.array([1.0, 2.0, 1e20]), np.ones(3))
    assert found[2] == pytest.approx(1.5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_mean_that_is_not_finite_has_no_error_and_says_so(value: float) -> None:
    estimate = jackknife.mean(value, np.array([1.0, value, 2.0]), np.ones(3))
    assert (estimate.status, estimate.stderr) == ("not finite", None)


def test_a_difference_is_paired_so_a_common_shift_of_the_groups_has_no_error() -> None:
    deviations = np.random.default_rng(0).normal(size=16)
    surface = surface_of(lambda x: x**2, [0, 1, 2], noise=lambda x: deviations + 0 * x, groups=16)
    rise = jackknife.difference(float(surface.loss[2]), surface.loss_groups[2], surface.centre)
    assert rise.value == pytest.approx(4.0)
    assert rise.stderr == pytest.approx(0.0, abs=1e-14)
    alone = jackknife.mean(float(surface.loss[2]), surface.loss_groups[2], surface.centre.group_sizes)
    assert alone.stderr == pytest.approx(deviations.std(ddof=1) / 4)


def test_the_error_of_a_difference_is_that_of_the_groups_differences() -> None:
    surface = surface_of(lambda x: x**2, [0, 1, 2], noise=0.3, groups=32)
    apart = surface.loss_groups[1] - surface.centre.loss_groups
    rise = jackknife.difference(float(surface.loss[1]), surface.loss_groups[1], surface.centre)
    assert rise.value == pytest.approx(apart.mean())
    assert rise.stderr == pytest.approx(apart.std(ddof=1) / np.sqrt(32))


@pytest.mark.parametrize("sizes", [[8] * 64, [7, 8] * 32, [3, 12] * 32, [5] * 10])
def test_95_percent_intervals_hold_the_truth_95_times_of_100(sizes: list[int]) -> None:
    random, runs = np.random.default_rng(1), 1500
    quantile = 1.998 if len(sizes) == 64 else 2.262  # Student's, 63 and 9 degrees of freedom
    weights, held = np.array(sizes, float), 0
    for _ in range(runs):
        means = 1.0 + random.normal(size=len(sizes)) / np.sqrt(weights)
        estimate = jackknife.mean(float(means @ weights / weights.sum()), means, weights)
        assert estimate.value is not None
        assert estimate.stderr is not None
        held += abs(estimate.value - 1.0) <= quantile * estimate.stderr
    assert abs(held / runs - 0.95) < 4 * np.sqrt(0.95 * 0.05 / runs)


def test_the_error_does_not_depend_on_the_unit_of_the_sizes() -> None:
    groups, sizes = np.random.default_rng(0).normal(size=9), np.arange(1.0, 10.0)
    one = jackknife.stderr(jackknife.without_each(groups, sizes), sizes)
    other = jackknife.stderr(jackknife.without_each(groups, 1000 * sizes), 1000 * sizes)
    assert one == pytest.approx(other, rel=1e-12)


def test_an_empty_group_at_the_centre_does_not_spoil_a_difference() -> None:
    surface = surface_of(lambda x: x**2, [0, 1], noise=0.3, groups=3, sizes=[2, 0, 2])
    centre = replace(
        surface.centre, loss_groups=np.where(surface.centre.group_sizes > 0, surface.centre.loss_groups, np.nan)
    )
    rise = jackknife.difference(float(surface.loss[1]), surface.loss_groups[1], centre)
    apart = (surface.loss_groups[1] - centre.loss_groups)[[0, 2]]
    assert rise.stderr == pytest.approx(abs(apart[0] - apart[1]) / 2)


def test_an_error_too_large_for_a_float_is_none_and_nothing_is_heard() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimate = jackknife.mean(1e200, np.array([1e200, 3e200, -1e200]), np.ones(3))
    assert (estimate.value, estimate.stderr) == (1e200, None)


# --- many at once


@pytest.mark.parametrize("sizes", [[1] * 8, [3, 1, 4, 1, 5, 9, 2, 6], [2, 0, 1, 0, 3, 1, 1, 2]])
def test_the_errors_of_many_are_those_of_each(sizes: list[int]) -> None:
    weights = np.array(sizes, dtype=float)
    groups = np.where(weights > 0, np.random.default_rng(0).normal(2.3, 1e-3, (4, 5, 8)), np.nan)
    found = jackknife.errors(groups, weights)
    for index in np.ndindex(4, 5):
        whole = jackknife.without_each(groups[index], weights)
        assert found[index] == pytest.approx(jackknife.stderr(whole, weights), rel=1e-9)
        mean = np.nansum(groups[index] * weights) / weights.sum()
        replicates = mean + jackknife.deviations(groups[index], weights)
        np.testing.assert_allclose(replicates, whole[weights > 0], rtol=1e-12)


@pytest.mark.parametrize("sizes", [[4.0], [4.0, 0.0]])
def test_of_one_group_many_have_no_error_either(sizes: list[float]) -> None:
    assert np.isnan(jackknife.errors(np.ones((3, len(sizes))), np.array(sizes))).all()


def test_what_decides_is_three_errors_and_more_where_the_groups_are_few() -> None:
    assert jackknife.sure(np.ones(10_000)) == pytest.approx(3, abs=1e-2)
    assert jackknife.sure(np.r_[np.ones(10), 0, 0]) == pytest.approx(jackknife.student(9))
    assert jackknife.sure(np.ones(1)) == jackknife.sure(np.ones(2)) == jackknife.student(1)


@pytest.mark.parametrize("shape", [(1,), (5000,), (51, 51), (3, 100_000), (0, 4)])
def test_the_chunks_are_all_rows_once(shape: tuple[int, ...]) -> None:
    parts = list(jackknife.chunks(shape, 64))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(shape[0]))
    row = 64 * int(np.prod(shape[1:]))
    assert all((part.stop - part.start) * row <= max(jackknife.CHUNK, row) for part in parts)


def test_many_errors_at_once_are_each_its_own() -> None:
    replicates = np.random.default_rng(0).normal(size=(4, 5, 8))
    replicates[1, 2, 3], replicates[2, 2, 7] = np.nan, np.inf
    sizes = np.array([1.0, 0.0, 2.0, 1.0, 1.0, 1.0, 3.0, 1.0])
    together = jackknife.stderrs(replicates, sizes)
    for spot in np.ndindex(4, 5):
        alone = jackknife.stderr(replicates[spot], sizes)
        assert np.isnan(together[spot]) if alone is None else together[spot] == pytest.approx(alone, rel=1e-14)
    assert np.isnan(together).sum() == 2
    assert np.isnan(jackknife.stderrs(replicates, np.eye(8)[0])).all()


@pytest.mark.parametrize(("freedom", "tail", "exact"), TAILS)
def test_student_s_quantile_far_out(freedom: int, tail: float, exact: float) -> None:
    assert jackknife.student(freedom, tail) == pytest.approx(exact, rel=1e-5)


# --- by halves of the groups


@pytest.mark.parametrize(
    "sizes", [[1] * 2, [1] * 64, [3, 1, 4, 1, 5, 9, 2, 6, 5], [2, 0, 1, 0, 3, 1, 1, 2], [7, 8] * 16]
)
def test_by_halves_the_error_of_what_is_linear_is_the_delete_one_error(sizes: list[int]) -> None:
    weights = np.array(sizes, dtype=float)
    groups = np.where(weights > 0, np.random.default_rng(0).normal(2.3, 1e-3, (4, 5, len(sizes))), np.nan)
    value = np.nansum(groups * weights, axis=-1) / weights.sum()
    replicates = jackknife.halves(value, groups, weights)
    used = int((weights > 0).sum())
    assert used <= replicates.shape[-1] < 2 * used
    for spot in np.ndindex(4, 5):
        found = jackknife.half_stderr(value[spot], replicates[spot])
        assert found == pytest.approx(jackknife.mean(value[spot], groups[spot], weights).stderr, rel=1e-9)


def test_a_half_has_nearly_twice_its_weight_and_the_other_none() -> None:
    groups = np.eye(8)  # the replicates of the first group's share, of the second's, …
    weights = jackknife.halves(np.full(8, 1 / 8), groups, np.ones(8))
    whole = (1 + np.array([[-1.0], [1.0]]) * np.sqrt(8 / 7)) / 8
    np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-12)
    np.testing.assert_allclose(weights[:, 0], 1 / 8, rtol=1e-12)  # the row of one sign moves nothing
    np.testing.assert_allclose(np.sort(weights[:, 1:], axis=0), np.repeat(whole, 4, axis=0) * np.ones(7), atol=1e-12)


def test_by_halves_a_statistic_with_a_bend_has_the_error_of_both_sides() -> None:
    groups = np.random.default_rng(0).normal(size=64)
    groups -= groups.mean()
    replicates = jackknife.halves(np.zeros(()), groups, np.ones(64))
    error = jackknife.half_stderr(0.0, np.where(replicates > 0, 3, 1) * replicates)
    assert error == pytest.approx(np.sqrt((1 + 9) / 2) * groups.std(ddof=1) / 8, rel=0.1)


@pytest.mark.parametrize("sizes", [[4.0], [4.0, 0.0]])
def test_of_one_group_there_are_no_halves(sizes: list[float]) -> None:
    replicates = jackknife.halves(np.ones(3), np.ones((3, len(sizes))), np.array(sizes))
    assert replicates.shape == (3, 0)
    assert jackknife.half_stderr(1.0, replicates[0]) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e308])
def test_a_group_that_is_not_finite_spoils_its_own_loss_alone_and_nothing_is_heard(bad: float) -> None:
    groups = np.random.default_rng(0).normal(size=(3, 6))
    groups[1, 4], groups[1, 5] = bad, -bad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        replicates = jackknife.halves(np.array([0.0, bad, 0.0]), groups, np.ones(6))
        assert jackknife.half_stderr(0.0, replicates[1]) is None
    assert np.isfinite(replicates[[0, 2]]).all()
