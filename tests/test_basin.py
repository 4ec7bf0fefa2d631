"""The basin against closed forms: V-shaped valleys are exact on any grid, quadratics as the grid is refined."""

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
from problems import CONSTANT, HIMMELBLAU, SKEW, number, surface_of, swapped

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.basin import DELTA, DELTAS, RAYS, basin_levels, basin_statistics, component, inside
from landscape_cli.profile import Estimate, Surface

Floats = NDArray[np.float64]
ANGLES = 2 * np.pi * np.arange(RAYS) / RAYS
EVEN, ODD = "-1:1:40", "-1:1:41"


def valley(left: float, right: float) -> Callable[[Any], Any]:
    """Slopes of -left and right from 0."""
    return lambda x: np.where(x < 0, -left * x, right * x)


def pyramid(a: float, b: float) -> Callable[[Any, Any], Any]:
    """a|x| + b|y|: linear in each quadrant."""
    return lambda x, y: a * abs(x) + b * abs(y)


def ellipse(h: Floats) -> Callable[[Any, Any], Any]:
    """½ p'Hp."""
    return lambda x, y: 0.5 * (h[0, 0] * x**2 + 2 * h[0, 1] * x * y + h[1, 1] * y**2)


# --- lines


@settings(max_examples=40, deadline=None)
@given(st.floats(0.2, 50), st.floats(0.2, 50), st.floats(0.1, 5), st.sampled_from([ODD, "-1:1:7"]))
def test_a_valley_s_edges_are_exact_in_parameter_distance(left: float, right: float, length: float, x: str) -> None:
    found = basin_statistics(surface_of(valley(left, right), x, gram=[[length**2]]))
    assert number(found["left"]) == pytest.approx(length * DELTA / left)
    assert number(found["right"]) == pytest.approx(length * DELTA / right)
    assert number(found["asymmetry"]) == pytest.approx((left - right) / (left + right), abs=1e-12)
    assert all(found[name].bound == "exact" for name in ("left", "right", "asymmetry"))


@pytest.mark.parametrize(("delta", "curvature"), [(0.1, 1.0), (0.1, 30.0), (0.02, 3.0)])
def test_a_quadratic_s_edge_is_at_the_root_of_two_delta_over_lambda(delta: float, curvature: float) -> None:
    exact = np.sqrt(2 * delta / curvature)
    errors = []
    for count in (41, 401):
        found = basin_statistics(surface_of(lambda x: 2 + curvature * x**2 / 2, f"-1:1:{count}"), delta)
        assert found["left"].value == pytest.approx(found["right"].value)
        assert number(found["asymmetry"]) == pytest.approx(0, abs=1e-12)
        errors.append(abs(number(found["right"]) - exact))
    assert errors[0] <= curvature * 0.05**2 / (8 * curvature * (exact - 0.05))  # chord below curve, over the slope
    assert errors[1] < 1e-4


def test_the_delta_used_is_named() -> None:
    assert basin_statistics(surface_of(valley(1, 1), ODD))["delta"] == DELTA == 0.1
    assert basin_statistics(surface_of(valley(1, 1), ODD), 0.5)["delta"] == 0.5


def test_the_edge_is_the_first_crossing_not_the_last() -> None:
    surface = surface_of(lambda x: np.sin(np.pi * x) ** 2, "-3:3:601")
    assert number(basin_statistics(surface)["right"]) == pytest.approx(np.arcsin(np.sqrt(0.1)) / np.pi, rel=1e-3)


def test_from_a_slope_the_basin_reaches_as_far_down_as_the_window() -> None:
    found = basin_statistics(surface_of(lambda x: x, ODD))
    assert number(found["left"]) == 1.0
    assert number(found["right"]) == pytest.approx(0.1)
    assert (found["left"].bound, found["right"].bound) == ("lower", "exact")
    assert found["asymmetry"] == Estimate.missing("undefined")


def test_with_the_centre_between_points_the_loss_at_the_centre_is_the_start() -> None:
    # from (0, 0) straight to the first point (0.2, 0.2·a), and on
    surface = surface_of(valley(3, 0.8), [-0.6, -0.2, 0.2, 0.6])
    found = basin_statistics(surface)
    assert number(found["left"]) == pytest.approx(0.1 / 3)
    assert number(found["right"]) == pytest.approx(0.125)


@pytest.mark.parametrize("wall", [0.3, 0.5])
def test_a_nan_wall_makes_a_lower_bound_at_the_last_number(wall: float) -> None:
    found = basin_statistics(surface_of(lambda x: np.where(x > wall - 1e-9, np.nan, 0 * x), "-1:1:21"))
    assert number(found["right"]) == pytest.approx(wall - 0.1)
    assert found["right"].bound == "lower"


def test_a_nan_beyond_the_edge_does_not_matter() -> None:
    clean, walled = (
        basin_statistics(surface_of(lambda x, w=w: np.where(abs(x) > w, np.nan, abs(x)), ODD)) for w in (9.0, 0.2)
    )
    assert clean == walled
    assert walled["right"].bound == "exact"


def test_an_infinite_wall_is_an_edge_no_nearer_than_the_last_number() -> None:
    """ "Lower bounds where ... a point that is not finite cuts the basin"."""
    found = basin_statistics(surface_of(lambda x: np.where(x > 0.45, np.inf, 0 * x), "-1:1:21"))
    assert number(found["right"]) == pytest.approx(0.4)
    assert found["right"].bound == "lower"


@pytest.mark.parametrize("x", ["-1:1:21", "0:1:11"])
def test_the_window_s_end_is_a_lower_bound(x: str) -> None:
    found = basin_statistics(surface_of(lambda x: 0.05 * abs(x), x, gram=[[4.0]]))
    assert (number(found["right"]), found["right"].bound) == (2.0, "lower")
    assert (number(found["left"]), found["left"].bound) == (2.0 if x[0] == "-" else 0.0, "lower")
    assert found["asymmetry"] == Estimate.missing("undefined")


def test_the_errors_of_a_line_are_those_of_the_exact_edges_by_halves_of_the_groups() -> None:
    own = np.random.default_rng(0).normal(size=(2, 64)) * 0.05
    surface = surface_of(valley(1, 2), ODD, noise=lambda x: np.where(x < 0, -own[0] * x, own[1] * x), gram=[[9.0]])
    found = basin_statistics(surface)
    slopes: Floats = np.array([[1.0], [2.0]]) + own
    signs = np.ones((1, 1))
    for _ in range(6):
        signs = np.block([[signs, signs], [signs, -signs]])
    apart = (slopes - slopes.mean(1, keepdims=True)) / np.sqrt(64 * 63)
    left, right = 3 * DELTA / (slopes.mean(1, keepdims=True) + apart @ signs)
    for name, replicates in (("left", left), ("right", right), ("asymmetry", (right - left) / (right + left))):
        assert found[name].stderr == pytest.approx(np.sqrt(((replicates - number(found[name])) ** 2).mean()))


def test_near_a_grid_line_an_error_has_both_sides_of_it() -> None:
    """Slopes of 1 before and 10 after: √(½ + ½·0.01) of the error before on it, whichever side the edge is."""
    bent: Any = lambda x: np.where(abs(x) < 0.5, abs(x), 10 * abs(x) - 4.5)  # noqa: E731
    own = np.random.default_rng(0).normal(size=64)
    surface = surface_of(bent, "-1:1:5", noise=lambda x: 0.08 * (own - own.mean()) * (x != 0))
    error = 0.08 * own.std(ddof=1) / 8
    for delta, least, most in ((0.5 - 1e-9, 0.6, 0.8), (0.5 + 1e-9, 0.6, 0.8), (0.3, 0.6, 0.61), (0.7, 0.1, 0.1)):
        found = basin_statistics(surface, delta)["right"].stderr
        assert found is not None
        assert least * 0.999 <= found / error <= most * 1.001


# --- planes


@settings(max_examples=30, deadline=None)
@given(st.floats(0.3, 20), st.floats(0.3, 20), st.floats(0.3, 3), st.floats(0.3, 3), st.sampled_from([ODD, "-1:1:9"]))
def test_a_pyramid_s_radii_and_area_are_exact(a: float, b: float, long: float, wide: float, x: str) -> None:
    found = basin_statistics(surface_of(pyramid(a, b), x, "-1:1:21", gram=[[long**2, 0], [0, wide**2]]))
    radii = DELTA / (a / long * abs(np.cos(ANGLES)) + b / wide * abs(np.sin(ANGLES)))
    assert number(found["radius_mean"]) == pytest.approx(radii.mean())
    assert number(found["radius_median"]) == pytest.approx(np.median(radii))
    assert number(found["area"]) == pytest.approx(2 * DELTA**2 / (a * b) * long * wide)
    assert all(found[name].bound == "exact" for name in ("radius_mean", "radius_median", "area"))


def radii_of(h: Floats, gram: Floats) -> Floats:
    """√(2δ / v'Hv) along the unit vectors v at equal angles in parameter space, the first along x."""
    first = np.array([1.0, 0.0]) / np.sqrt(gram[0, 0])
    other = np.array([0.0, 1.0]) - (gram[0, 1] / gram[0, 0]) * np.array([1.0, 0.0])  # Gram-Schmidt
    other = other / np.sqrt(other @ gram @ other)
    vectors = np.outer(np.cos(ANGLES), first) + np.outer(np.sin(ANGLES), other)
    result: Floats = np.sqrt(2 * DELTA / np.einsum("ri,ij,rj->r", vectors, h, vectors))
    return result


HESSIANS = {"round": np.eye(2) * 4.0, "long": np.diag([1.0, 25.0]), "turned": np.array([[9.0, 4.0], [4.0, 3.0]])}
GRAMS = {"orthonormal": np.eye(2), "skew": SKEW, "short": np.diag([0.01, 4.0])}


@pytest.mark.parametrize("gram", GRAMS.values(), ids=GRAMS)
@pytest.mark.parametrize("h", HESSIANS.values(), ids=HESSIANS)
@pytest.mark.parametrize("count", [120, 121])
def test_a_quadratic_s_radii_and_area_follow_from_its_hessian(h: Floats, gram: Floats, count: int) -> None:
    found = basin_statistics(surface_of(ellipse(h), f"-1:1:{count}", f"-1:1:{count}", gram, groups=2))
    radii = radii_of(h, gram)
    assert number(found["radius_mean"]) == pytest.approx(radii.mean(), rel=0.02)
    assert number(found["radius_median"]) == pytest.approx(np.median(radii), rel=0.02)
    area = 2 * np.pi * DELTA / np.sqrt(np.linalg.det(h) / np.linalg.det(gram))
    assert number(found["area"]) == pytest.approx(area, rel=0.02)
    assert found["area"].bound == "exact"


@pytest.mark.parametrize("parity", [0, 1])
def test_halving_the_step_quarters_the_area_s_error(parity: int) -> None:
    exact = 2 * np.pi * DELTA / np.sqrt(11)
    errors = []
    for count in (40, 80, 160):
        spec = f"-1:1:{count + parity}"
        surface = surface_of(ellipse(HESSIANS["turned"]), spec, spec, groups=2)
        errors.append(abs(number(basin_statistics(surface)["area"]) - exact))
    assert errors[0] < 0.04 * exact
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 3


@pytest.mark.parametrize("gram", GRAMS.values(), ids=GRAMS)
def test_a_circle_in_parameter_space_is_round_whatever_the_directions(gram: Floats) -> None:
    """L = ½‖p‖² of parameters is ½ a'Ga of coordinates: every radius is √(2δ)."""
    found = basin_statistics(surface_of(ellipse(gram), "-8:8:401", "-1:1:401", gram, groups=2))
    assert number(found["radius_mean"]) == pytest.approx(np.sqrt(0.2), rel=0.01)
    assert number(found["radius_median"]) == pytest.approx(np.sqrt(0.2), rel=0.01)
    assert number(found["area"]) == pytest.approx(2 * np.pi * DELTA, rel=0.01)


@pytest.mark.parametrize("x", [ODD, EVEN])
def test_swapping_the_axes_changes_nothing(x: str) -> None:
    surface = surface_of(
        lambda x, y: ellipse(HESSIANS["turned"])(x, y) + x**3, x, "-1.2:1.4:27", np.diag([4.0, 9.0]), 0.001
    )
    one, other = basin_statistics(surface), basin_statistics(swapped(surface))
    assert number(other["area"]) == pytest.approx(number(one["area"]), rel=1e-12)
    assert other["area"].stderr == pytest.approx(one["area"].stderr, rel=1e-9)
    # the rays start along x, and 90 of them are not symmetric about the diagonal
    for name in ("radius_mean", "radius_median"):
        assert number(other[name]) == pytest.approx(number(one[name]), rel=0.01)
        assert other[name].stderr == pytest.approx(one[name].stderr, rel=0.1)


def test_mirroring_an_axis_changes_no_radius() -> None:
    def function(x: Any, y: Any) -> Any:
        return ellipse(HESSIANS["turned"])(x, y) + x**3

    one = basin_statistics(surface_of(function, ODD, ODD, groups=2))
    other = basin_statistics(surface_of(lambda x, y: function(-x, y), ODD, ODD, groups=2))
    assert number(other["radius_mean"]) == pytest.approx(number(one["radius_mean"]), rel=1e-9)
    assert number(other["area"]) == pytest.approx(number(one["area"]), rel=0.03)  # cells are split along one diagonal


def test_a_second_basin_beyond_a_barrier_does_not_count() -> None:
    def wells(x: Any, y: Any) -> Any:
        return np.minimum(4 * x**2 + 4 * y**2, 4 * (x - 1.5) ** 2 + 4 * y**2)

    alone = basin_statistics(surface_of(lambda x, y: 4 * x**2 + 4 * y**2, "-1:3:81", "-1:1:41", groups=2))
    both = basin_statistics(surface_of(wells, "-1:3:81", "-1:1:41", groups=2))
    assert both == alone


def test_a_basin_that_bends_is_followed_further_than_the_rays_see() -> None:
    def channel(x: Any, y: Any) -> Any:  # an L: along x to 0.8, then up
        along = (abs(y) < 0.11) & (x > -0.11) & (x < 0.91)
        up = (abs(x - 0.8) < 0.11) & (y > -0.11) & (y < 0.71)
        return np.where(along | up, 0.0, 1e9)

    surface = surface_of(channel, "-1:1:21", "-1:1:21", groups=2)
    part = component(surface, surface.centre.loss + DELTA)
    assert part.sum() == 11 * 3 + 3 * 6  # x -0.1…0.9, y -0.1…0.1; then x 0.7…0.9, y 0.2…0.7
    corner = 0.005  # of the L: the cell in it has three corners below, one triangle of them inside
    assert number(basin_statistics(surface)["area"]) == pytest.approx(1.0 * 0.2 + 0.2 * 0.6 + corner, rel=1e-6)


@pytest.mark.parametrize(("slope", "joined"), [(1, True), (-1, False)])
def test_two_points_are_joined_along_the_diagonal_that_splits_a_cell_and_not_across_it(
    slope: int, joined: bool
) -> None:
    surface = surface_of(lambda x, y: np.where(abs(y - slope * x) < 0.05, 0.0, 1.0), "-1:1:21", "-1:1:21", groups=2)
    assert component(surface, 0.1).sum() == (21 if joined else 1)


def test_from_a_centre_between_points_the_basin_starts_at_any_corner_of_its_cell() -> None:
    """On a plane that falls towards high x and y the low corner is above L + δ: x + y ≥ -0.1 of [-0.6, 0.6]²."""
    spec = [-0.6, -0.2, 0.2, 0.6]
    area = basin_statistics(surface_of(lambda x, y: -x - y, spec, spec, groups=2))["area"]
    assert number(area) == pytest.approx(1.44 - 1.1**2 / 2)
    assert area.bound == "lower"


def index(surface: Surface, point: tuple[float, ...]) -> tuple[int, int]:
    """The grid point nearest to a point of Himmelblau's plane, of which (3, 2) is the centre."""
    assert surface.y is not None
    return int(abs(surface.x.values - point[0] + 3).argmin()), int(abs(surface.y.values - point[1] + 2).argmin())


def test_himmelblau_s_four_basins_are_apart_until_the_saddle_drowns() -> None:
    surface = surface_of(lambda x, y: HIMMELBLAU.loss(x + 3, y + 2), "-8:2:201", "-7:3:201", groups=2)
    lowest = HIMMELBLAU.saddles[0]  # 13.312, between (3, 2) and (3.584, -1.848)
    ax, ay = index(surface, HIMMELBLAU.minima[0][0])
    bx, by = index(surface, HIMMELBLAU.minima[3][0])
    below, above = component(surface, 0.97 * lowest), component(surface, 1.03 * lowest)
    assert below[ax, ay]
    assert not below[bx, by]
    assert above[ax, ay]
    assert above[bx, by]


def test_a_constant_fills_the_window_and_everything_is_a_lower_bound() -> None:
    found = basin_statistics(surface_of(CONSTANT.loss, "-1:1:21", "-1:1:21", groups=2))
    to_the_border = 1 / np.maximum(abs(np.cos(ANGLES)), abs(np.sin(ANGLES)))
    assert number(found["radius_mean"]) == pytest.approx(to_the_border.mean())
    assert number(found["radius_median"]) == pytest.approx(np.median(to_the_border))
    assert number(found["area"]) == pytest.approx(4.0)
    assert all(found[name].bound == "lower" for name in ("radius_mean", "radius_median", "area"))


def test_where_fewer_than_half_of_the_rays_are_cut_the_median_stays_exact() -> None:
    found = basin_statistics(surface_of(lambda x, y: 0.5 * abs(x) + 0 * y, "-1:1:21", "-1:1:21", groups=2))
    free = 0.2 / np.maximum(abs(np.cos(ANGLES)), 1e-9)
    assert number(found["radius_median"]) == pytest.approx(np.median(free))
    assert found["radius_median"].bound == "exact"
    assert found["radius_mean"].bound == found["area"].bound == "lower"
    assert number(found["area"]) == pytest.approx(0.4 * 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_wall_that_is_not_finite_bounds_radius_and_area_from_below(bad: float) -> None:
    surface = surface_of(lambda x, y: np.where(x > 0.12, bad, 2 * x**2 + 2 * y**2), "-1:1:41", "-1:1:41", groups=2)
    found = basin_statistics(surface)
    cosine = np.cos(ANGLES)
    radii = np.minimum(np.sqrt(0.05), np.where(cosine > 0, 0.1 / np.maximum(cosine, 1e-9), np.inf))
    assert number(found["radius_mean"]) == pytest.approx(radii.mean(), rel=0.02)
    assert found["radius_mean"].bound == "lower"
    r = np.sqrt(0.05)
    segment = r**2 * np.arccos(0.1 / r) - 0.1 * np.sqrt(r**2 - 0.01)
    assert number(found["area"]) == pytest.approx(np.pi * r**2 - segment, rel=0.03)
    assert found["area"].bound == "lower"


NOISY: dict[str, Callable[[], Surface]] = {
    "NaN walls": lambda: surface_of(lambda x, y: np.where(x > 0.12, np.nan, x**2 + y**2), ODD, ODD, groups=4),
    "infinite walls": lambda: surface_of(lambda x, y: np.where(x > 0.12, np.inf, x**2 + y**2), ODD, ODD, groups=4),
    "the centre at the border": lambda: surface_of(lambda x: x**2, "0:1:11", groups=4),
    "a constant": lambda: surface_of(CONSTANT.loss, ODD, ODD, groups=4),
}


@pytest.mark.parametrize("case", NOISY)
def test_numpy_is_not_heard_on_stderr_at(case: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        basin_statistics(NOISY[case]())


# --- errors


def test_a_common_shift_of_the_groups_is_no_error_of_the_basin() -> None:
    shift = np.random.default_rng(0).normal(size=16)
    found = basin_statistics(surface_of(pyramid(1, 2), ODD, ODD, noise=lambda x, y: shift + 0 * x + 0 * y, groups=16))
    assert [found[n].stderr for n in ("radius_mean", "radius_median", "area")] == pytest.approx([0.0] * 3, abs=1e-12)


def test_the_area_s_error_follows_the_curvature_s() -> None:
    """Area 2πδ/λ where group g has its own λ: the jackknife over 1/λ without each."""
    own = np.random.default_rng(0).normal(size=32) * 0.2
    surface = surface_of(
        lambda x, y: 2 * (x**2 + y**2), "-1:1:81", "-1:1:81", noise=lambda x, y: own * (x**2 + y**2) / 2, groups=32
    )
    found = basin_statistics(surface)
    curvatures = 4 + own
    without = (curvatures.sum() - curvatures) / 31
    for name, replicates in (("area", 2 * np.pi * DELTA / without), ("radius_mean", np.sqrt(2 * DELTA / without))):
        exact = np.sqrt(31 / 32 * ((replicates - replicates.mean()) ** 2).sum())
        assert found[name].stderr == pytest.approx(exact, rel=0.05)


def below(losses: list[float], level: float) -> float:
    """The share of a triangle at or below a level, from its corners' losses."""
    a, b, c = sorted(losses)
    if level >= c:
        return 1.0
    if level > b:
        return 1 - (c - level) ** 2 / ((c - a) * (c - b))
    return (level - a) ** 2 / ((b - a) * (c - a)) if level > a else 0.0


@pytest.mark.parametrize("sizes", [[1] * 5, [3, 1, 0, 5, 9]])
@pytest.mark.parametrize("seed", range(5))
def test_the_area_s_error_is_the_jackknife_over_the_part_s_triangles(sizes: list[float], seed: int) -> None:
    surface = surface_of(pyramid(0.3, 0.2), "-1:1:13", "-1:1:11", noise=0.08, groups=5, sizes=sizes, seed=seed)
    centre = surface.centre
    maps = jackknife.without_each(surface.loss_groups, centre.group_sizes)
    levels = jackknife.without_each(centre.loss_groups, centre.group_sizes) + DELTA
    part = component(surface, centre.loss + DELTA)
    assert 0 < part.sum() < part.size
    areas = np.zeros(5)
    for i, j in np.ndindex(12, 10):
        for third in ((i + 1, j), (i, j + 1)):
            corners = [(i, j), third, (i + 1, j + 1)]
            if any(part[corner] for corner in corners):
                areas += [below([maps[c][g] for c in corners], levels[g]) / 60 for g in range(5)]
    error = jackknife.stderr(areas, centre.group_sizes)
    assert error is not None
    assert error > 0
    assert basin_statistics(surface)["area"].stderr == pytest.approx(error, rel=1e-9)


def test_the_errors_are_the_spread_over_repeated_draws() -> None:
    names = ("radius_mean", "radius_median", "area")
    random = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(120):
        own = random.normal(size=(2, 16)) * 0.5

        def noise(x: Any, y: Any, own: Floats = own) -> Any:
            return own[0] * abs(x) + own[1] * abs(y)

        found = basin_statistics(surface_of(pyramid(1.0, 2.0), "-1:1:15", "-1:1:15", SKEW, noise, 16))
        values.append([number(found[name]) for name in names])
        errors.append([found[name].stderr for name in names])
    ratio = np.sqrt((np.array(errors) ** 2).mean(0)) / np.std(values, axis=0, ddof=1)
    np.testing.assert_allclose(ratio, 1.0, atol=0.25)  # 120 draws: 6 % each way


# --- reasons for none


def test_an_unfinished_surface_has_no_basin_yet() -> None:
    surface = surface_of(lambda x: x**2, ODD)
    measured = np.ones(41, bool)
    measured[-1] = False
    found = basin_statistics(replace(surface, measured=measured))
    assert {found[n] for n in ("left", "right", "asymmetry")} == {Estimate.missing("not measured")}


@pytest.mark.parametrize(("x", "y"), [("1:2:11", "-1:1:11"), ("-1:1:11", "-2:-1:11"), ([0.0], "-1:1:11")])
def test_a_window_that_does_not_surround_the_centre_has_no_basin(x: Any, y: str) -> None:
    found = basin_statistics(surface_of(lambda x, y: x**2 + y**2, x, y))
    assert {found[n] for n in ("radius_mean", "radius_median", "area")} == {Estimate.missing("undefined")}


@pytest.mark.parametrize("y", [None, ODD])
@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_around_a_centre_that_is_not_finite_there_is_no_basin(loss: float, y: str | None) -> None:
    surface = surface_of(lambda *p: p[0] ** 2, ODD, y, groups=2)
    found = basin_statistics(replace(surface, centre=replace(surface.centre, loss=loss, loss_groups=np.full(2, loss))))
    assert [e for e in found.values() if isinstance(e, Estimate) and e.status == "ok"] == []


def test_the_median_is_a_bound_where_either_middle_ray_is_cut() -> None:
    """46 of 92 rays are cut, all longer than the rest: the median is the mean of the 46th and the 47th."""
    surface = surface_of(lambda x, y: np.where(y > 0, 0.0, 1.0) * y**2 + 0 * x, "-9:9:19", "-1:1:21")
    found = basin_statistics(surface)
    edges_cut = found["radius_mean"].bound == "lower"
    assert edges_cut
    assert found["radius_median"].bound == "lower"


# --- levels


@pytest.mark.parametrize("y", [None, "-1.5:1:21"])
def test_every_level_is_the_basin_at_its_delta(y: str | None) -> None:
    surface = surface_of(lambda *p: sum(3 * q**2 for q in p), ODD, y, noise=0.01, groups=8)
    levels = basin_levels(surface)
    assert [level["delta"] for level in levels] == list(DELTAS)
    for level in levels:
        assert {k: v for k, v in level.items() if k != "touches_border"} == basin_statistics(surface, level["delta"])


@pytest.mark.parametrize(("delta", "touches"), [(0.3, False), (1.0, True), (1.3, True)])
@pytest.mark.parametrize("side", ["left", "right", "low", "high"])
def test_a_level_that_reaches_any_edge_of_the_window_says_so(delta: float, touches: bool, side: str) -> None:
    """V of slope 1 whose window ends at 1 on one side, at 2 on the others."""
    x = {"left": "-1:2:31", "right": "-2:1:31"}.get(side, "-2:2:41")
    y = {"low": "-1:2:31", "high": "-2:1:31"}.get(side, "-2:2:41")
    square = surface_of(lambda x, y: np.maximum(abs(x), abs(y)), x, y, groups=2)
    assert basin_levels(square, (delta + 1e-9,))[0]["touches_border"] is touches
    if side in ("left", "right"):
        line = surface_of(lambda x: abs(x), x, groups=2)
        assert basin_levels(line, (delta + 1e-9,))[0]["touches_border"] is touches


def test_where_there_is_no_basin_there_is_none_at_any_level() -> None:
    levels = basin_levels(surface_of(lambda x: x**2, "1:2:11"))
    assert {(level["left"].status, level["touches_border"]) for level in levels} == {("undefined", None)}
    assert inside(surface_of(lambda x: x**2, "1:2:11")) == Estimate.missing("undefined")


def test_the_points_inside_a_line_s_basin_are_those_joined_to_the_centre() -> None:
    surface = surface_of(lambda x: np.sin(np.pi * x) ** 2, "-2:2:41")
    part = inside(surface)
    assert isinstance(part, np.ndarray)
    assert surface.x.values[part] == pytest.approx([-0.1, 0.0, 0.1])


def test_a_spiral_is_flooded_to_its_end() -> None:
    """One corridor a point wide, winding outwards from the centre."""
    free = np.zeros((21, 21), dtype=bool)
    x = y = 10
    free[x, y] = True
    for turn, length in enumerate(np.repeat(np.arange(2, 20, 2), 2)):
        for _ in range(length):
            x, y = x + (1, 0, -1, 0)[turn % 4], y + (0, 1, 0, -1)[turn % 4]
            free[x, y] = True
    surface = surface_of(lambda x, y: 0 * x + 0 * y, "-1:1:21", "-1:1:21", groups=2)
    surface = replace(surface, loss=np.where(free, 0.0, 1.0))
    for one in (surface, swapped(surface)):
        assert (component(one, 0.5) == (one.loss == 0)).all()
