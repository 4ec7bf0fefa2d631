"""Two splits of one plane against closed forms, brute force, and the coverage of their errors."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from problems import CONSTANT, SKEW, number, surface_of, swapped

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.analyse.splits import split_statistics
from landscape_cli.profile import Estimate, PlaneRecord, Surface

Floats = NDArray[np.float64]
X, Y = "-1:1:21", "-1.2:1.2:13"


def plane(*surfaces: Surface) -> PlaneRecord:
    """A plane of these splits, called train, test, ..."""
    names = ("train", "test", "other")
    return PlaneRecord("main", surfaces[0].gram, ({}, {}), {}, "", dict(zip(names, surfaces, strict=False)))


def pair(first: Surface, second: Surface, delta: float = 0.1) -> dict[str, Any]:
    return split_statistics(plane(first, second), delta)["test"]


def bowl(cx: float = 0.0, cy: float = 0.0, floor: float = 0.0, **how: Any) -> Surface:
    return surface_of(lambda x, y: floor + (x - cx) ** 2 + 2 * (y - cy) ** 2, X, Y, **how)


def test_every_further_split_is_compared_with_the_first() -> None:
    assert split_statistics(plane(bowl())) == {}
    found = split_statistics(plane(bowl(), bowl(0.3), bowl(floor=2)))
    assert list(found) == ["test", "other"]
    assert number(found["test"]["minima_distance"][ITSELF]) == pytest.approx(0.3)
    assert number(found["other"]["centre_gap"]) == 2.0


# --- minima


@pytest.mark.parametrize("gram", [np.eye(2), SKEW, [[4.0, -3.0], [-3.0, 9.0]]])
def test_the_distance_between_the_minima_is_a_parameter_distance(gram: Any) -> None:
    gram = np.asarray(gram)
    found = pair(bowl(-0.2, 0.4, gram=gram), bowl(0.3, -0.2, floor=1, gram=gram))["minima_distance"]
    apart = np.array([0.5, -0.6])
    assert number(found[ITSELF]) == pytest.approx(np.sqrt(apart @ gram @ apart))
    assert (found["x"], found["y"]) == pytest.approx((0.5, -0.6))
    assert number(found["loss"]) == pytest.approx(0.25 + 2 * 0.36)
    cell = max(np.sqrt(np.array(d) @ gram @ np.array(d)) for d in ((0.1, 0.2), (0.1, -0.2)))
    assert number(found["resolution"]) == pytest.approx(cell)


def test_on_a_line_there_is_no_y() -> None:
    first, second = (surface_of(lambda x, c=c: (x - c) ** 2, X, gram=[[9.0]]) for c in (0.2, -0.3))
    found = pair(first, second)["minima_distance"]
    assert number(found[ITSELF]) == pytest.approx(1.5)
    assert (found["x"], found["y"]) == (pytest.approx(-0.5), None)
    assert number(found["resolution"]) == pytest.approx(0.3)


def test_the_loss_between_the_minima_is_paired_within_the_second() -> None:
    common, own = np.random.default_rng(0).normal(size=(2, 64))
    second = bowl(0.5, noise=lambda x, y: 100 * common + 0.1 * own * x + 0 * y)
    found = pair(bowl(noise=1e-9), second)["minima_distance"]["loss"]
    assert number(found) == pytest.approx(0.25, abs=0.05)
    assert found.stderr == pytest.approx(0.1 * 0.5 * own.std(ddof=1) / 8, rel=1e-6)


# --- the gap at the centre


def test_the_gap_s_errors_are_independent_and_add_in_squares() -> None:
    first, second = bowl(noise=1.0, groups=16, seed=1), bowl(floor=2, noise=0.5, groups=64, seed=2)
    errors = [s.centre.loss_groups.std(ddof=1) / np.sqrt(len(s.centre.loss_groups)) for s in (first, second)]
    found = pair(first, second)["centre_gap"]
    assert number(found) == pytest.approx(second.centre.loss - first.centre.loss)
    assert found.stderr == pytest.approx(np.hypot(errors[0], errors[1]))
    assert pair(first, bowl(noise=1.0, groups=1))["centre_gap"].stderr is None


# --- correlation


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_a_surface_is_fully_correlated_with_itself_scaled_and_shifted(scale: float, shift: float) -> None:
    first = bowl(0.3)
    for sign in (1, -1):
        second = replace(first, loss=sign * scale * first.loss + shift)
        found = number(pair(first, second)["correlation"])
        assert found == pytest.approx(sign)
        assert abs(found) <= 1.0


def test_what_depends_on_another_axis_is_not_correlated() -> None:
    first, second = surface_of(lambda x, y: x**2 + 0 * y, X, Y), surface_of(lambda x, y: y**2 + 0 * x, X, Y)
    assert number(pair(first, second)["correlation"]) == pytest.approx(0, abs=1e-12)


def test_half_in_common_is_a_half() -> None:
    """u + v and v + w, of equal variance and uncorrelated: ½."""
    first = surface_of(lambda x, y: x + y, "-1:1:21", "-1:1:21")
    second = surface_of(lambda x, y: y + _even(x), "-1:1:21", "-1:1:21")
    assert number(pair(first, second)["correlation"]) == pytest.approx(0.5)


def _even(x: Floats) -> Floats:
    """x² with the mean and the variance of x over 21 points of [-1, 1]; it is not correlated with x."""
    axis = np.linspace(-1, 1, 21)
    scaled: Floats = (x**2 - (axis**2).mean()) * axis.std() / (axis**2).std()
    return scaled


@pytest.mark.parametrize("sizes", [[1] * 6, [3, 1, 4, 0, 5, 9], [1, 2]])
def test_its_value_and_error_are_those_of_every_left_out_map(sizes: list[float]) -> None:
    first = surface_of(lambda x, y: x**2 + y, X, Y, noise=0.5, groups=len(sizes), sizes=sizes, seed=1)
    second = surface_of(lambda x, y: x**2 - 0.3 * y, X, Y, noise=0.3, groups=9, seed=2)
    wall = np.zeros(first.loss.shape, dtype=bool)
    wall[3:5], wall[:, 7] = True, True
    first = replace(first, loss=np.where(wall, np.nan, first.loss))
    second = replace(second, measured=~wall.T[::-1].T)
    both = first.finite & second.finite

    def correlation(a: Floats, b: Floats) -> float:
        return float(np.corrcoef(a[both], b[both])[0, 1])

    errors = []
    for moved, other in ((first, second), (second, first)):
        own = moved.centre.group_sizes
        left_out = jackknife.without_each(moved.loss_groups, own)
        replicates = [correlation(left_out[..., g], other.loss) for g in range(len(own))]
        errors.append(jackknife.stderr(np.array(replicates), own) or np.nan)
    found = pair(first, second)["correlation"]
    assert number(found) == pytest.approx(correlation(first.loss, second.loss), rel=1e-9)
    assert found.stderr == pytest.approx(np.hypot(errors[0], errors[1]), rel=1e-6)


@pytest.mark.parametrize(
    "function", [CONSTANT.loss, lambda x, y: 0 * x * y, lambda x, y: np.where(x + y > 0, 0.3, 0.1 + 0.2)]
)
def test_with_a_constant_there_is_no_correlation(function: Any) -> None:
    constant = surface_of(function, X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pair(bowl(), constant)["correlation"] == Estimate.missing("undefined")
        assert pair(constant, bowl())["correlation"] == Estimate.missing("undefined")


# --- the second's loss in the first's basin


def test_the_mean_over_the_basin_s_points() -> None:
    first = surface_of(lambda x: abs(x), X)
    second = surface_of(lambda x: 2 + x + 3 * x**2, X)
    found = pair(first, second, 0.25)["loss_in_basin"]
    inside = np.array([-0.2, -0.1, 0, 0.1, 0.2])
    assert (found["points"], found["delta"]) == (5, 0.25)
    assert number(found[ITSELF]) == pytest.approx((2 + inside + 3 * inside**2).mean())
    assert number(found["gap"]) == pytest.approx((2 + inside + 3 * inside**2 - abs(inside)).mean())


def test_it_is_the_first_s_basin_and_only_the_part_that_holds_the_centre() -> None:
    first = surface_of(lambda x, y: np.sin(2 * np.pi * x) ** 2 + 4 * y**2, X, Y)  # valleys at -1, -½, 0, ½, 1
    second = surface_of(lambda x, y: 1 + 100 * (abs(x) > 0.3) + 0 * y, X, Y)
    found = pair(first, second)["loss_in_basin"]
    assert found["points"] == 1  # its neighbours are 0.35 and 0.16 higher
    assert number(found[ITSELF]) == 1.0


def test_its_error_is_that_of_the_mean_and_the_gap_s_is_independent() -> None:
    own = np.random.default_rng(0).normal(size=(2, 64))
    first = bowl(noise=lambda x, y: 0.1 * own[0] + 0 * x * y)
    second = bowl(floor=1, noise=lambda x, y: own[1] * (1 + x) + 0 * y)
    found = pair(first, second)["loss_in_basin"]
    errors = 0.1 * own[0].std(ddof=1) / 8, own[1].std(ddof=1) / 8
    assert found[ITSELF].stderr == pytest.approx(errors[1])  # the basin is even in x
    assert found["gap"].stderr == pytest.approx(np.hypot(errors[0], errors[1]))


# --- reasons for none


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_of_a_split_without_a_finite_number_nothing_is_said(bad: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nowhere = surface_of(lambda x, y: x + y + bad, X, Y, groups=4)
        found, turned = pair(bowl(), nowhere), pair(nowhere, bowl())
    for estimate in (*[found["minima_distance"][k] for k in (ITSELF, "loss")], found["correlation"],
                     found["centre_gap"], found["loss_in_basin"][ITSELF], found["loss_in_basin"]["gap"]):  # fmt: skip
        assert estimate.status == "not finite"
    assert found["centre_gap"] == turned["centre_gap"] == Estimate.missing("not finite")
    unmeasured = replace(bowl(), measured=np.zeros((21, 13), dtype=bool))
    assert pair(nowhere, unmeasured)["minima_distance"][ITSELF] == Estimate.missing("not measured")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_wall_of_the_second_inside_the_basin_is_seen(bad: float) -> None:
    second = surface_of(lambda x: np.where(x == 0.1, bad, x**2), X, groups=4)
    found = pair(surface_of(lambda x: x**2, X), second)
    assert found["loss_in_basin"][ITSELF].status == "not finite"
    assert found["loss_in_basin"]["gap"] == Estimate.missing("not finite")
    assert found["correlation"].status == found["minima_distance"][ITSELF].status == "ok"


def test_an_unfinished_second_split() -> None:
    second = bowl(0.5)
    half = replace(second, measured=np.broadcast_to(second.x.values[:, None] > 0.2, second.loss.shape))
    found = pair(bowl(), half)
    assert number(found["minima_distance"][ITSELF]) == pytest.approx(0.5)
    assert found["minima_distance"]["loss"] == found["loss_in_basin"][ITSELF] == Estimate.missing("not measured")
    assert found["correlation"].status == "ok"
    most = replace(second, measured=np.broadcast_to(second.x.values[:, None] > -0.2, second.loss.shape))
    assert pair(bowl(), most)["minima_distance"]["loss"].bound == "lower"
    assert pair(bowl(), second)["minima_distance"]["loss"].bound == "exact"
    none = pair(bowl(), replace(second, measured=np.zeros_like(second.measured)))
    for estimate in (none["minima_distance"][ITSELF], none["correlation"], none["loss_in_basin"][ITSELF]):
        assert estimate == Estimate.missing("not measured")


def test_without_a_basin_the_reason_is_the_first_s() -> None:
    first, second = (surface_of(lambda x: x**2, "1:2:5") for _ in range(2))
    assert pair(first, second)["loss_in_basin"][ITSELF] == Estimate.missing("undefined")


@pytest.mark.parametrize(("x", "y"), [([0.0], None), ([0.0], [0.0]), ([0.0], "-1:1:9"), ("-1:1:3", "-1:1:3")])
def test_the_smallest_grids(x: Any, y: Any) -> None:
    surface = surface_of(lambda *p: sum(q**2 for q in p), x, y)
    found = pair(surface, surface)
    assert number(found["minima_distance"][ITSELF]) == 0.0
    assert found["correlation"].status == ("undefined" if surface.loss.size == 1 else "ok")
    assert found["loss_in_basin"][ITSELF].status == ("ok" if len(surface.x) > 1 else "undefined")


def test_the_keys_are_there_whether_there_is_a_number_or_none() -> None:
    def keys(tree: dict[str, Any]) -> dict[str, Any]:
        return {k: set(v) if isinstance(v, dict) else None for k, v in tree.items()}

    gone = replace(bowl(), measured=np.zeros((21, 13), dtype=bool))
    assert keys(pair(bowl(), bowl())) == keys(pair(bowl(), gone)) == keys(pair(gone, bowl()))


@pytest.mark.parametrize("corner", [1e30, 1e150, 1e200, np.inf, np.nan])
def test_numpy_is_not_heard_at_a_huge_corner(corner: float) -> None:
    surface = surface_of(
        lambda x, y: np.where((x > 0.9) & (y > 0.9), corner, x**2 + y**2), "-1:1:9", "-1:1:9", noise=1e-6, groups=4
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pair(surface, surface)
    assert number(found["correlation"]) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(5))
def test_swapped_axes_change_nothing(seed: int) -> None:
    surfaces = [bowl(c, 2 * c, gram=SKEW, noise=0.03, groups=8, seed=seed + 10 * k) for k, c in enumerate((0.1, -0.2))]
    one, other = pair(surfaces[0], surfaces[1]), pair(swapped(surfaces[0]), swapped(surfaces[1]))
    assert (other["minima_distance"]["x"], other["minima_distance"]["y"]) == (
        one["minima_distance"]["y"],
        one["minima_distance"]["x"],
    )
    for estimates in zip(
        *[(found["correlation"], found["minima_distance"][ITSELF], found["minima_distance"]["loss"],
           found["loss_in_basin"][ITSELF], found["loss_in_basin"]["gap"]) for found in (one, other)], strict=True,
    ):  # fmt: skip
        assert number(estimates[1]) == pytest.approx(number(estimates[0]), rel=1e-9)
        if estimates[0].stderr is not None:
            assert estimates[1].stderr == pytest.approx(estimates[0].stderr, rel=1e-9)


# --- coverage

RUNS = 2000


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(8, 64), (3, 64)])
def test_95_percent_intervals_hold_the_gap_the_basin_s_loss_and_the_correlation(counts: tuple[int, int]) -> None:
    """Skewed samples, `counts` to a group; the first's basin is far wider than its error moves it."""
    each, groups = counts
    held = dict.fromkeys(("centre_gap", "loss_in_basin", "gap", "correlation"), 0)

    def drawn(random: np.random.Generator, function: Any) -> Surface:
        z = (random.exponential(size=(4, groups, each)).mean(-1) - 1) * 0.5
        return surface_of(
            function, "-1:1:9", "-1:1:9", noise=lambda x, y: z[0] + z[1] * x + z[2] * y + z[3] * x * y, groups=groups
        )

    def first(x: Any, y: Any) -> Any:
        return np.where(np.maximum(abs(x), abs(y)) > 0.6, 8.0, 0.0) + x + y

    def second(x: Any, y: Any) -> Any:
        return 1 + np.where(np.maximum(abs(x), abs(y)) > 0.6, 4.0, 0.0) + x - y

    clean = pair(surface_of(first, "-1:1:9", "-1:1:9"), surface_of(second, "-1:1:9", "-1:1:9"), 4.0)
    exact = {**clean, "loss_in_basin": clean["loss_in_basin"][ITSELF], "gap": clean["loss_in_basin"]["gap"]}
    for seed in range(RUNS):
        random = np.random.default_rng(seed)
        found = pair(drawn(random, first), drawn(random, second), 4.0)
        assert found["loss_in_basin"]["points"] == 25
        estimates = {**found, "loss_in_basin": found["loss_in_basin"][ITSELF], "gap": found["loss_in_basin"]["gap"]}
        for name in held:
            assert estimates[name].stderr is not None
            held[name] += abs(estimates[name].value - exact[name].value) <= 1.98 * estimates[name].stderr
    for name, count in held.items():
        assert 0.93 <= count / RUNS <= 0.97, (name, count / RUNS)
