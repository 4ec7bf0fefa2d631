"""Roughness: known total variations, a walk written point by point, and noise of known size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from problems import CONSTANT, HIMMELBLAU, deviations, mirrored, scaled, surface_of, swapped

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.analyse.roughness import roughness
from landscape_cli.profile import Estimate, Surface

Floats = NDArray[np.float64]


def estimate(surface: Surface) -> Estimate:
    found = roughness(surface)["roughness"][ITSELF]
    assert isinstance(found, Estimate)
    return found


def number(surface: Surface) -> float:
    found = estimate(surface)
    assert found.status == "ok"
    assert found.value is not None
    return found.value


def line(losses: list[float]) -> Surface:
    """These losses at 0, 1, 2, ..."""
    return surface_of(lambda x: np.asarray(losses)[x.astype(int)], list(range(len(losses))), groups=4)


# --- known total variations


@pytest.mark.parametrize("periods", [1, 2, 5])
def test_every_period_of_a_wave_adds_two(periods: int) -> None:
    """TV = 4k, first = last = 0, min = -1: (4k - 2) / 2."""
    wave = f"0:1:{8 * periods + 1}"
    assert number(surface_of(lambda x: np.sin(2 * np.pi * periods * x), wave)) == pytest.approx(2 * periods - 1)
    plane = surface_of(lambda x, y: np.sin(2 * np.pi * periods * x) + 0 * y, wave, "0:1:7", groups=2)
    assert number(plane) == pytest.approx(2 * periods - 1)  # the lines along y have no range


def test_the_lines_of_both_directions_count_by_their_ranges() -> None:
    """3 × sin of one period along x on 17 points, sin of two along y on 33: 33 lines of 6 and 17 of 2."""
    surface = surface_of(lambda x, y: 3 * np.sin(2 * np.pi * x) + np.sin(4 * np.pi * y), "0:1:17", "0:1:33", groups=2)
    assert number(surface) == pytest.approx((33 * 6 * 1 + 17 * 2 * 3) / (33 * 6 + 17 * 2))


@pytest.mark.parametrize(
    ("losses", "exact"),
    [
        ([1, 1, 1, 1], 0.0),  # a constant
        ([5, 3, 2, 2, 4, 9], 0.0),  # one descent and one ascent
        ([0, 1, 2, 7], 0.0),
        ([7, 2, 1], 0.0),
        ([0, 1, 0], 2.0),  # a hill: TV 2, first + last - 2·min = 0, range 1
        ([0, 1, 1, 1, 0], 2.0),
        ([3, 0, 1, 0, 3], 2 / 3),
        ([3, 0, 1, 0.5, 3], 1 / 3),  # only the smaller side of the bump is beyond need
        ([1, 0, 1, 0, 1, 0], 4.0),  # TV 5, first + last - 2·min = 1
        ([0.3, 0.1 + 0.2, 0.3], 0.0),  # a hill of rounding
    ],
)
def test_a_line_by_hand(losses: list[float], exact: float) -> None:
    assert number(line(losses)) == pytest.approx(exact, abs=1e-15)


def test_the_roughness_of_smooth_surfaces() -> None:
    assert number(surface_of(lambda x, y: x**2 + 9 * y**2 + x * y, "-1:1:31", "-1:1:41", groups=4)) == 0.0
    assert number(surface_of(lambda x, y: 3 * x - 0.1 * y, "-1:1:31", "-1:1:41", groups=4)) == 0.0
    assert estimate(surface_of(CONSTANT.loss, "-1:1:31", "-1:1:41", groups=4)) == Estimate(0.0, 0.0)
    assert number(surface_of(HIMMELBLAU.loss, "-5:5:51", "-5:5:51", groups=4)) > 0.1


# --- noise


def hill(height: float, spread: float) -> Surface:
    """3, 0, height, 0, 3; the groups differ by `spread` in the height alone, and by a constant that is common."""
    own = deviations()
    common = np.random.default_rng(1).normal(size=16) * 100
    return surface_of(
        lambda x: np.asarray([3.0, 0, height, 0, 3])[x.astype(int)], list(range(5)), groups=16,
        noise=lambda x: common + spread * own * (x == 2),
    )  # fmt: skip


def test_a_reversal_counts_from_the_paired_error_of_its_two_ends_on() -> None:
    sure = jackknife.student(15)
    assert number(hill(0.1 * sure * 1.001, 0.1)) == pytest.approx(2 * 0.1 * sure / 3, rel=0.01)
    assert number(hill(0.1 * sure * 0.999, 0.1)) == 0.0


def test_the_error_is_that_of_the_turning_points() -> None:
    found = estimate(hill(1.0, 0.1))
    assert found.value == pytest.approx(2 / 3)
    assert found.stderr == pytest.approx(2 / 3 * 0.1)


def test_the_error_is_the_jackknife_of_the_ratio() -> None:
    own = np.random.default_rng(0).normal(size=(2, 32))
    values = np.array([3.0, 0, 1, 0])

    def noise(x: Any) -> Any:
        return 0.1 * own[0] * (x == 0) + 0.1 * own[1] * (x == 2)

    found = estimate(surface_of(lambda x: values[x.astype(int)], list(range(4)), noise=noise, groups=32))
    top, bump = (jackknife.without_each(v + 0.1 * o, np.ones(32)) for v, o in zip((3, 1), own, strict=True))
    # TV - (first + last - 2·min) = (3 + 1 + 1) - (3 + 0 - 0) = 2·bump
    assert found.stderr == pytest.approx(jackknife.stderr(2 * bump / top, np.ones(32)), rel=1e-9)


def test_a_noisy_slope_and_a_noisy_bowl_are_not_rough() -> None:
    for seed in range(20):
        for function in (lambda x, y: 0 * x + 0 * y, lambda x, y: x - y, lambda x, y: x**2 + y**2):
            own = np.random.default_rng(seed).normal(size=(4, 16)) * 0.3

            def noise(x: Any, y: Any, own: Floats = own) -> Any:  # smooth: the same samples at every point
                return own[0] + own[1] * x + own[2] * y + own[3] * x * y

            assert number(surface_of(function, "-1:1:15", "-1:1:15", noise=noise, groups=16, seed=seed)) == 0.0


def test_noise_of_every_point_adds_no_more_than_its_size() -> None:
    def wave(x: Any, y: Any) -> Any:
        return np.sin(2 * np.pi * x) + np.sin(2 * np.pi * y)

    exact = number(surface_of(wave, "-1:1:33", "-1:1:33", groups=64))
    assert exact == pytest.approx(3.0)
    for error in (0.001, 0.01, 0.1):
        noisy = number(surface_of(wave, "-1:1:33", "-1:1:33", noise=8 * error, groups=64))
        assert noisy == pytest.approx(exact, abs=5 * error)  # each swing of 4 ends in two extremes of noisy points


def test_noise_of_every_point_is_not_taken_for_the_surface_s_own() -> None:
    bowl = surface_of(lambda x, y: x**2 + y**2, "-1:1:33", "-1:1:33", noise=8 * 0.03, groups=64)
    alone = replace(bowl.centre, loss_groups=np.zeros(1), group_sizes=np.ones(1))
    believed = number(replace(bowl, loss_groups=bowl.loss[..., None], centre=alone))  # one group: no error, all counts
    assert believed > 0.1
    assert number(bowl) < 0.05 * believed


@pytest.mark.slow
@pytest.mark.parametrize("size", [0.1, 0.3, 1.0])
def test_95_percent_intervals_hold_the_roughness_of_resolved_waves(size: float) -> None:
    """Noise that is smooth along the surface, as that of samples is; extremes apart from each other."""

    def wave(x: Any, y: Any) -> Any:
        return np.sin(2 * np.pi * x) + np.sin(2 * np.pi * y) + 2.5 * x**3 - 1.5 * y

    exact, held, runs = number(surface_of(wave, "-1:1:21", "-1:1:21")), 0, 1000
    for seed in range(runs):
        own = np.random.default_rng(seed).normal(size=(5, 64)) * size

        def noise(x: Any, y: Any, own: Floats = own) -> Any:
            waves = own[2] * y * np.sin(2 * np.pi * x) + own[3] * np.sin(2 * np.pi * y)
            return own[0] + own[1] * x + waves + own[4] * x * y

        found = estimate(surface_of(wave, "-1:1:21", "-1:1:21", noise=noise))
        assert found.value is not None
        assert found.stderr is not None
        held += abs(found.value - exact) <= 1.998 * found.stderr
    assert 0.93 <= held / runs <= 0.975


# --- against a walk written point by point


def pieces(surface: Surface) -> Iterator[list[tuple[float, Floats]]]:
    """Every unbroken piece of every grid line, there and back, as (loss, group losses)."""
    loss = surface.loss.reshape(len(surface.x), -1)
    groups = surface.loss_groups.reshape(*loss.shape, -1)
    finite = surface.finite.reshape(loss.shape)
    ways = [[(i, j) for j in range(loss.shape[1])] for i in range(loss.shape[0])]
    ways += [[(i, j) for i in range(loss.shape[0])] for j in range(loss.shape[1])]
    for way in [*ways, *[way[::-1] for way in ways]]:
        piece: list[tuple[float, Floats]] = []
        for at in [*way, None]:
            if at is not None and finite[at]:
                piece.append((float(loss[at]), groups[at]))
            elif piece:
                yield piece
                piece = []


def turning_points(piece: list[tuple[float, Floats]], sizes: Floats) -> list[float]:
    """The losses left when what is within the error is smoothed away."""

    def apart(a: tuple[float, Floats], b: tuple[float, Floats]) -> bool:
        error = jackknife.stderr(jackknife.without_each(a[1] - b[1], sizes), sizes)
        return a[0] - b[0] > jackknife.sure(sizes) * (error or 0.0)

    turns: list[tuple[float, Floats]] = []
    high = low = piece[0]
    up: bool | None = None
    for point in piece[1:]:
        if up is not True and apart(point, low):
            turns, up, high = [*turns, low], True, point
        elif up is not False and apart(high, point):
            turns, up, low = [*turns, high], False, point
        high, low = max(high, point, key=lambda p: p[0]), min(low, point, key=lambda p: p[0])
    return [p[0] for p in turns] + ([] if up is None else [high[0] if up else low[0]])


def by_hand(surface: Surface) -> float:
    excess = ranges = 0.0
    for piece in pieces(surface):
        turns = turning_points(piece, surface.centre.group_sizes)
        if turns:
            excess += float(np.abs(np.diff(turns)).sum()) - (turns[0] + turns[-1] - 2 * min(turns))
        ranges += max(p[0] for p in piece) - min(p[0] for p in piece)
    return excess / ranges


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("walls", [0.0, 0.1])
def test_it_is_what_a_walk_point_by_point_finds(seed: int, walls: float) -> None:
    random = np.random.default_rng(seed)
    f, shape = random.normal(size=4), (f"-1:1:{random.integers(4, 14)}", f"-1:1:{random.integers(4, 14)}")
    surface = surface_of(
        lambda x, y: f[0] * np.sin(6 * x + f[1]) + f[2] * np.sin(5 * y + f[3]), *shape,
        noise=random.choice([0.0, 0.3, 1.0]), groups=5, sizes=[1, 2, 0, 3, 1], seed=seed,
    )  # fmt: skip
    loss = np.where(random.random(surface.loss.shape) < walls, random.choice([np.nan, np.inf]), surface.loss)
    surface = replace(surface, loss=np.where(random.random(loss.shape) < walls / 2, np.nan, loss))
    assert number(surface) == pytest.approx(by_hand(surface), rel=1e-9, abs=1e-12)


# --- properties


def noisy(seed: int) -> Surface:
    random = np.random.default_rng(seed).normal(size=3)
    return surface_of(
        lambda x, y: np.sin(7 * x + random[0]) + np.sin(5 * y) + random[1] * x * y, [-1, -0.7, -0.1, 0, 0.5, 0.6, 1.3],
        "-1:1:12", noise=0.4, groups=6, seed=seed,
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 99))
def test_scaling_and_shifting_the_loss_change_nothing(scale: float, shift: float, seed: int) -> None:
    surface = noisy(seed)
    one, two = estimate(surface), estimate(scaled(surface, scale, shift))
    assert two.value == pytest.approx(one.value, rel=1e-6)
    assert two.stderr == pytest.approx(one.stderr, rel=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_mirrored_and_swapped_axes_change_nothing(seed: int) -> None:
    surface = noisy(seed)
    one = estimate(surface)
    for other in (mirrored(surface), swapped(surface)):
        assert estimate(other).value == pytest.approx(one.value, rel=1e-12)
        assert estimate(other).stderr == pytest.approx(one.stderr, rel=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_repeating_points_changes_no_line(seed: int) -> None:
    surface = surface_of(lambda x: np.sin(6 * x), "-1:1:15", noise=0.5, groups=6, seed=seed)
    twice = replace(surface, x=replace(surface.x, values=np.arange(30.0)), loss=surface.loss.repeat(2),
                    loss_groups=surface.loss_groups.repeat(2, axis=0), measured=np.ones(30, dtype=bool))  # fmt: skip
    assert number(twice) == pytest.approx(number(surface), rel=1e-12)


# --- the smallest, and reasons for none


@pytest.mark.parametrize(
    ("x", "y", "status"),
    [([0.0], None, "undefined"), ([0.0], [0.0], "undefined"), ([0.0], "-1:1:9", "ok"), ("-1:1:9", [0.0], "ok"),
     ("-1:1:2", None, "ok"), ("-1:1:3", "-1:1:3", "ok")],
)  # fmt: skip
def test_the_smallest_grids(x: Any, y: Any, status: str) -> None:
    found = estimate(surface_of(lambda *p: sum(q**2 for q in p), x, y))
    assert found.status == status
    assert found.value in (None, 0.0)


def test_without_two_neighbours_there_is_none() -> None:
    surface = surface_of(lambda x: np.where(x.astype(int) % 2 == 0, 1.0, np.nan), list(range(6)))
    assert estimate(surface) == Estimate.missing("not finite")
    assert estimate(replace(surface, measured=np.arange(6) < 3)) == Estimate.missing("not measured")
    whole = surface_of(lambda x: x**2, "-1:1:6")
    assert estimate(replace(whole, measured=np.arange(6) < 3)) == Estimate.missing("not measured")
    assert estimate(surface_of(lambda x: 1 / (x > 0), [0.0, 1.0])) == Estimate.missing("not finite")


@pytest.mark.parametrize("corner", [1e30, 1e200, np.inf, np.nan])
def test_numpy_is_not_heard_at_a_huge_corner(corner: float) -> None:
    surface = surface_of(
        lambda x, y: np.where((x > 0.9) & (y > 0.9), corner, np.sin(9 * x)), "-1:1:9", "-1:1:9", noise=1e-6
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        roughness(surface)


@pytest.mark.parametrize("sizes", [[4], [4, 0, 0]])
def test_one_group_has_no_error_and_every_reversal_counts(sizes: list[float]) -> None:
    surface = surface_of(lambda x: np.sin(9 * x), "-1:1:21", noise=0.1, groups=len(sizes), sizes=sizes)
    assert estimate(surface).stderr is None
    assert number(surface) == pytest.approx(by_hand(surface))
    assert number(surface) > 1.0


def test_two_groups_have_an_error() -> None:
    surface = surface_of(lambda x: np.sin(9 * x), "-1:1:81", noise=1.0, groups=2)
    alone = replace(surface.centre, group_sizes=np.ones(1))
    assert number(surface) < number(replace(surface, loss_groups=surface.loss[:, None], centre=alone)) / 10
