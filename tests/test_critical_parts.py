"""What critical points are made of, each against exact answers: noise, second differences, polynomials."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from problems import UNEVEN, deviations, surface_of

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.confirm import is_smooth
from landscape_cli.analyse.jackknife import student
from landscape_cli.analyse.local_fit import LocalFit, grid_indices, is_kind, newton_step
from landscape_cli.analyse.persistence import minimum_pairs
from landscape_cli.analyse.resolution import NOISY, is_noise, is_round, second_difference
from landscape_cli.analyse.significance import CHUNK, FALSE_RATE, difference_errors, kept_pairs, significant
from landscape_cli.analyse.subgrid import refine
from landscape_cli.analyse.triangulation import triangulate
from landscape_cli.profile import Surface

Floats = NDArray[np.float64]


UNIT = np.arange(-5.0, 6)


def spot(*where: int) -> Any:
    """One grid point; of a line the second index is 0."""
    return np.array([[*where, 0][:2]])


# --- what is more than noise


def two_levels(height: float, points: int = 9, groups: int = 16, extra: int = 0) -> Surface:
    """0 and, at the last point, `height` with a paired standard error of 1; far larger errors in common."""
    own, none = deviations(groups), np.zeros(extra)

    def noise(x: Any) -> Any:
        return np.concatenate([1e3 * own[::-1] + own * (x == points - 1), none + 0 * x], axis=-1)

    sizes = [1.0] * groups + [0.0] * extra
    return surface_of(lambda x: height * (x == points - 1), list(range(points)), noise=noise, sizes=sizes)


@pytest.mark.parametrize("extra", [0, 3])
@pytest.mark.parametrize("points", [2, 9])
def test_a_difference_counts_from_the_quantile_of_all_places_on(points: int, extra: int) -> None:
    """Two kinds of extremum at every point, or one of each in half a line's points; any two in either order and of
    either kind where they are the lowest and the highest of all.
    """
    first, second = np.array([0]), np.array([points - 1])
    for any_two, tests in ((False, max(2 * points, (points / 2) ** 2)), (True, 2 * points * (points - 1))):
        limit = student(15, FALSE_RATE / tests)
        for factor, counts in ((1.001, True), (0.999, False)):
            surface = two_levels(factor * limit, points, extra=extra)
            assert significant(surface, first, second, any_two).tolist() == [counts]
            assert significant(surface, second, first, any_two).tolist() == [counts]


def test_of_an_unknown_error_nothing_is_noise() -> None:
    ends = np.array([0]), np.array([8])
    one = surface_of(lambda x: 1e-9 * x, "0:1:9", groups=1)
    assert significant(one, *ends).all()
    holed = two_levels(0.1)
    holed.loss_groups[8, 3] = np.nan
    assert not significant(two_levels(0.1), *ends).any()
    assert significant(holed, *ends).all()


def test_two_groups_are_enough_to_call_it_noise() -> None:
    assert not significant(two_levels(0.1, groups=2), np.array([0]), np.array([8])).any()


@pytest.mark.parametrize("places", [(0, 8), (8, 0)])
def test_what_rounding_makes_is_no_difference(places: tuple[int, int]) -> None:
    surface = two_levels(0.0)
    surface.loss[...] = 3.0
    surface.loss_groups[...] = 3.0
    surface.loss[8] += 1e-12
    assert not significant(surface, np.array(places[:1]), np.array(places[1:])).any()
    surface.loss[8] += 1e-11
    assert significant(surface, np.array(places[:1]), np.array(places[1:])).all()


def test_many_differences_have_the_errors_they_have_alone() -> None:
    surface = surface_of(lambda x: x, list(range(CHUNK + 3)), noise=1.0, groups=4)
    first = np.arange(CHUNK + 2, dtype=np.int32)
    apart = np.diff(surface.loss_groups, axis=0)
    exact: Floats = apart.std(axis=1, ddof=1) / 2
    np.testing.assert_allclose(difference_errors(surface, first, first + 1), exact)


def kept(losses: list[float], least: float = 0.0, groups: int = 1) -> Any:
    """The minima of a line of these losses."""
    surface = surface_of(lambda x: np.array(losses)[x.astype(int)], list(range(len(losses))), groups=groups)
    return kept_pairs(surface, minimum_pairs(triangulate(surface.loss, surface.finite)), least)


WELL = [8.0, 4.5, 2, 0.5, 0, 0.5, 2, 4.5, 8, 12.5]  # a parabola of second difference 1


def test_a_minimum_is_steep_by_the_second_difference_at_either_end_and_an_essential_one_by_its_own() -> None:
    """The way out of the well leads over a peak of second difference 12: 12.5 / 12 < 3, and 12.5 / 1 > 10."""
    alone, first_of_two = kept([*WELL, 5, 6]), kept([*WELL, 5, 0, -5, -10, -5])
    assert alone.ratio[0] == first_of_two.ratio[1] == pytest.approx(12.5 / 12)
    assert (alone.pairs.essential[0], first_of_two.pairs.essential[1]) == (True, False)
    assert (alone.steep[0], first_of_two.steep[1]) == (True, False)
    assert not kept([6, 3, 0, 3, 6, 3]).steep[0]  # 6 / 6
    assert kept([9, 6, 3, 0, 3, 6, 9, 12, 15, 18, 21, 24]).steep[0]  # 24 / 6


@pytest.mark.parametrize("groups", [1, 4])
def test_only_what_is_higher_than_asked_and_than_rounding_is_kept(groups: int) -> None:
    losses = [9.0, 0, 3, 1, 9]
    for least, depths in ((0.0, [9, 2]), (1.99, [9, 2]), (2.0, [9]), (9.0, [])):
        found = kept(losses, least, groups)
        assert (found.persistence.tolist(), found.dropped) == (depths, 0)
    assert len(kept([3.0, 3 + 1e-12, 3], 0.0, groups).persistence) == 0


def test_the_way_from_the_lowest_to_the_highest_is_one_of_all_pairs_of_points() -> None:
    for tests, count in ((81 / 4, 0), (144, 1)):
        surface = two_levels(1.001 * student(15, FALSE_RATE / tests))
        pairs = minimum_pairs(triangulate(surface.loss, surface.finite))
        assert len(kept_pairs(surface, pairs, 0.0).persistence) == count


def test_what_noise_makes_is_dropped_and_counted() -> None:
    surface = surface_of(lambda x: np.array([9.0, 0, 1.001, 1, 9])[x.astype(int)], list(range(5)), noise=0.1, groups=8)
    surface.loss[...] = [9.0, 0, 1.001, 1, 9]
    pairs = minimum_pairs(triangulate(surface.loss, surface.finite))
    assert [kept_pairs(surface, pairs, least).dropped for least in (0.0, 0.5)] == [1, 0]


# --- second differences


@pytest.mark.parametrize(
    ("a", "b", "c", "largest"), [(3.0, -2, 1, 3), (1.0, -2, 3, 3), (-3.0, 2, -1, 3), (1.0, 1, 1, 4), (-1.0, -1, -1, 4)]
)
def test_the_second_difference_is_the_largest_along_the_edges_of_the_triangles(
    a: float, b: float, c: float, largest: float
) -> None:
    """Of ½ax² + bxy + ½cy² a along x, c along y, a + 2b + c along the diagonal; at the border one step inside."""
    surface = surface_of(lambda x, y: a * x**2 / 2 + b * x * y + c * y**2 / 2 + x - 7, "-2:2:5", "-3:3:7")
    everywhere = grid_indices(surface, np.arange(35))
    np.testing.assert_allclose(second_difference(surface, everywhere), largest)


def test_on_uneven_axes_a_slope_bends_nowhere_and_a_parabola_by_its_two_steps() -> None:
    line = surface_of(lambda x: 5 * x - 3, UNEVEN)
    np.testing.assert_allclose(second_difference(line, grid_indices(line, np.arange(7))), 0, atol=1e-12)
    gaps = np.diff(UNEVEN)
    inside = np.clip(np.arange(7), 1, 5)
    parabola = surface_of(lambda x: x**2 / 2, UNEVEN)
    spots = grid_indices(parabola, np.arange(7))
    np.testing.assert_allclose(second_difference(parabola, spots), gaps[inside - 1] * gaps[inside])
    plane = surface_of(lambda x, y: x**2 / 2 + 0 * y, UNEVEN, "0:1:2")  # too narrow for another edge
    found = second_difference(plane, grid_indices(plane, np.arange(14)))
    np.testing.assert_allclose(found[::2], gaps[inside - 1] * gaps[inside])


def test_beside_a_wall_the_edges_that_are_left_count() -> None:
    surface = surface_of(lambda x, y: np.where((x == 1) & (y == 0), np.inf, x**2 + 3 * y**2), "-2:2:5", "-2:2:5")
    assert second_difference(surface, spot(2, 2)).tolist() == [8.0]  # along the diagonal: 2 + 6
    surface.loss[...] = np.nan
    assert second_difference(surface, spot(2, 2)).tolist() == [0.0]


@pytest.mark.parametrize(("factor", "noise"), [(1.01, False), (0.99, True)])
@pytest.mark.parametrize("along", ["x", "y", "both"])
def test_the_shape_is_noise_within_ten_standard_errors_along_every_edge(factor: float, noise: bool, along: str) -> None:
    """A parabola whose second difference has a paired error of 1."""
    powers: dict[str, Any] = {
        "x": lambda x, y: x**2 + 0 * y,
        "y": lambda x, y: y**2 + 0 * x,
        "both": lambda x, y: (x + y) ** 2 / 4,
    }
    bend, own = powers[along], deviations()
    surface = surface_of(
        lambda x, y: factor * NOISY * bend(x, y) / 2, "-2:2:5", "-2:2:5",
        noise=lambda x, y: 1e3 * own[::-1] + own * bend(x, y) / 2, groups=16,
    )  # fmt: skip
    assert is_noise(surface, spot(2, 2)).tolist() == [noise]


def test_without_errors_only_rounding_is_noise() -> None:
    for groups in (1, 2):
        ramp = surface_of(lambda x, y: 1 + 0.1 * x + 0.3 * y, "-2:2:5", "-2:2:5", groups=groups)
        assert is_noise(ramp, spot(1, 2)).all()
        assert not is_noise(
            surface_of(lambda x, y: 1 + 1e-12 * x**2, "-2:2:5", "-2:2:5", groups=groups), spot(2, 2)
        ).any()


@pytest.mark.parametrize(("aspect", "round_"), [(1.0, True), (7.9, True), (8.1, False)])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("turn", [False, True])
def test_round_is_what_rises_nowhere_less_than_a_third(aspect: float, round_: bool, sign: int, turn: bool) -> None:
    """√(x² + a·y²) rises by 3 to (3, 0), by 3√(1 + a) to (3, 3): by three times as much at a = 8."""
    along, across = (aspect, 1.0) if turn else (1.0, aspect)
    surface = surface_of(lambda x, y: sign * np.sqrt(along * x**2 + across * y**2), "-4:4:9", "-4:4:9", groups=2)
    assert is_round(surface, spot(4, 4), np.array([sign])).tolist() == [round_]
    assert not is_round(surface, spot(4, 4), np.array([-sign])).any()
    assert not is_round(surface, spot(4, 4), np.array([0])).any()


@pytest.mark.parametrize("degrees", range(0, 180, 15))
def test_a_narrow_valley_is_not_round_at_any_of_its_points(degrees: int) -> None:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    surface = surface_of(lambda x, y: abs(c * x + s * y) + 1e-3 * (x**2 + y**2), "-4:4:9", "-4:4:9", groups=2)
    assert not is_round(surface, spot(4, 4), np.array([1])).any()


@pytest.mark.parametrize(("x", "y", "round_"), [(0.029, 0, True), (0, -0.029, True), (0.031, 0, False)])
def test_the_parabola_s_own_extremum_is_at_the_point(x: float, y: float, round_: bool) -> None:
    surface = surface_of(lambda p, q: (p - x) ** 2 + (q - y) ** 2, "-4:4:9", "-4:4:9", groups=2)
    assert is_round(surface, spot(4, 4), np.array([1])).tolist() == [round_]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_cusp_leans_to_no_side_at_any_of_three_distances(stride: int) -> None:
    """A cone, raised at one distance on one side."""
    at = np.arange(-4.0, 5)
    cone, steps = np.hypot(at[:, None], at), at.tolist()
    for raised in (0.0, 0.2):
        losses = cone.copy()
        losses[4 + stride, 4] += raised * stride
        surface = surface_of(lambda x, y, z=losses: z[x.astype(int) + 4, y.astype(int) + 4], steps, steps, groups=2)
        assert is_round(surface, spot(4, 4), np.array([1])).tolist() == [raised == 0]


@pytest.mark.parametrize(
    ("at", "round_"), [((3, 3), True), ((5, 4), True), ((2, 4), False), ((4, 2), False), ((6, 4), False)]
)
def test_near_the_edge_nothing_is_known_to_be_round(at: tuple[int, int], round_: bool) -> None:
    x, y = at[0] - 4.0, at[1] - 4.0
    surface = surface_of(lambda p, q: (p - x) ** 2 + (q - y) ** 2, "-4:4:9", "-4:4:9", groups=2)
    assert is_round(surface, spot(*at), np.array([1])).tolist() == [round_]


# --- the polynomial between the points


def polynomial(x: Any, y: Any) -> Any:
    """Of degree 4 in each axis."""
    return 2 - x + 3 * x * y + x**2 / 2 - y**2 + 0.3 * x**3 * y - 0.2 * x**4 + 0.1 * x**4 * y**4 + 0.5 * x * y**4


def slopes_of(function: Any, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Gradient (k, 2) and Hessian (k, 3), by complex steps and differences of those."""
    h, e = 1e-30, 1e-6

    def gradient(p: Floats, q: Floats) -> Floats:
        return np.stack([function(p + 1j * h, q + 0j).imag, function(p + 0j, q + 1j * h).imag], axis=1) / h

    along_x, along_y = ((gradient(x + a, y + b) - gradient(x - a, y - b)) / (2 * e) for a, b in ((e, 0.0), (0.0, e)))
    return gradient(x, y), np.stack([along_x[:, 0], along_x[:, 1], along_y[:, 1]], axis=1)


def test_a_polynomial_of_its_degree_is_exact_everywhere_in_value_slope_curvature_and_error() -> None:
    """On uneven axes, at the border too, and for more points than are held at once."""
    own = deviations()
    surface = surface_of(
        polynomial, UNEVEN, [-1.0, -0.2, 0, 0.3, 0.9, 1], noise=lambda x, y: own * polynomial(x, y), groups=16
    )
    assert surface.y is not None
    at = grid_indices(surface, np.arange(42).repeat(7))
    offset = np.random.default_rng(0).uniform(-1, 1, at.shape)
    fit = LocalFit.of(surface, 5)
    x, y = (fit.coordinates(i, at[:, i], offset[:, i]) for i in (0, 1))
    steps = np.stack([np.gradient(axis.values)[at[:, i]] for i, axis in enumerate(surface.axes)], axis=1)
    np.testing.assert_allclose(x, surface.x.values[at[:, 0]] + offset[:, 0] * steps[:, 0])
    value, each = fit.interpolate(surface, at, offset)
    error = jackknife.errors(each, surface.centre.group_sizes)
    np.testing.assert_allclose(value, polynomial(x, y), rtol=1e-9)
    np.testing.assert_allclose(error, np.abs(polynomial(x, y)), rtol=1e-6, atol=1e-9)
    gradient, hessian = fit.derivatives(surface.loss, at, offset)
    exact = slopes_of(polynomial, x, y)
    np.testing.assert_allclose(gradient, exact[0] * steps, atol=1e-8)
    np.testing.assert_allclose(
        hessian, exact[1] * np.stack([steps[:, 0] ** 2, steps.prod(1), steps[:, 1] ** 2], 1), atol=1e-6
    )


def test_a_line_bends_across_itself_as_along() -> None:
    surface = surface_of(lambda x: 3 * x**2, "-2:2:5", groups=2)
    gradient, hessian = LocalFit.of(surface, 3).derivatives(surface.loss[:, None], spot(2), np.array([[0.5, 0.0]]))
    np.testing.assert_allclose(gradient, [[3.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(hessian, [[6.0, 0.0, 6.0]], atol=1e-12)


@pytest.mark.parametrize(
    ("hessian", "sign", "step"),
    [
        ((2.0, 0, 4), 1, (-1.0, -0.5)),
        ((2.0, 0, -4), 1, (-1.0, -0.5)),  # down although it bends the other way
        ((2.0, 0, -4), -1, (1.0, 0.5)),
        ((2.0, 0, -4), 0, (-1.0, 0.5)),
        ((0.0, 2, 0), 0, (-1.0, -1.0)),
        ((np.nan, 0, 1), 1, (np.inf, np.inf)),
    ],
)
def test_newton_s_step_goes_down_to_a_minimum_and_up_to_a_maximum(hessian: Any, sign: int, step: Any) -> None:
    found = newton_step(np.array([[2.0, 2.0]]), np.array([hessian]), np.array([sign]))
    np.testing.assert_allclose(found, np.array([step]))


def test_where_nothing_bends_newton_s_step_is_long_not_infinite() -> None:
    (found,) = newton_step(np.array([[2.0, 2.0]]), np.array([[0.0, 0, 2]]), np.array([1]))
    assert -np.inf < found[0] < -1e6
    assert found[1] == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("hessian", "kinds"),
    [((1.0, 0.5, 1), [1]), ((-1.0, 0.5, -1), [-1]), ((1.0, 2, 1), [0]), ((1.0, 0, -1), [0]), ((1.0, 1, 1), []),
     ((0.0, 0, 0), []), ((np.nan, 0, 1), [])],
)  # fmt: skip
def test_the_signs_of_both_eigenvalues_are_the_kind(hessian: Any, kinds: list[int]) -> None:
    assert [k for k in (1, -1, 0) if is_kind(np.array([hessian]), np.array([k]))[0]] == kinds


# --- places


def refined(function: Any, at: int = 5, allowed: float = np.inf, sign: int = 1, points: int = 11, **how: Any) -> Any:
    """The critical point of a line at 0, ±1, ±2, …, sought from one of its points."""
    half = points // 2
    surface = surface_of(function, f"-{half}:{half}:{points}", **{"groups": 2, **how})
    return refine(surface, spot(at), np.array([allowed]), np.array([sign]), np.array([True]))


def test_the_place_the_loss_and_its_error_are_those_of_the_wider_polynomial() -> None:
    """½(x - 0.2)² and what only seven points see: 1e-3·x(x² - 1)(x² - 4), of slope 4e-3 at 0."""

    def bent(x: Any) -> Any:
        return (x - 0.2) ** 2 / 2 + 1e-3 * x * (x**2 - 1) * (x**2 - 4)

    own = deviations()
    found = refined(bent, noise=lambda x: own * (1 + bent(x)), groups=16)
    roots: list[complex] = np.polynomial.Polynomial([-0.2 + 4e-3, 1, -15e-3, 0, 5e-3]).roots().tolist()
    exact = next(root.real for root in roots if abs(root - 0.2) < 0.1)
    assert found.fitted.tolist() == [True]
    assert found.place[0] == pytest.approx([exact, 0], abs=1e-5)  # one of Newton's steps from the narrower's
    assert found.steps[0] == pytest.approx([5 + exact, 0], abs=1e-5)
    assert found.loss[0] == pytest.approx(bent(exact), abs=1e-10)
    assert jackknife.errors(found.each, np.ones(16))[0] == pytest.approx(1 + bent(exact), rel=1e-6)
    assert found.curvature[0] == pytest.approx(1 - 30e-3 * exact + 20e-3 * exact**3, rel=1e-4)


@pytest.mark.parametrize(("apart", "fitted"), [(0.029, True), (0.031, False)])
def test_the_two_polynomials_agree_on_the_place_to_three_hundredths(apart: float, fitted: bool) -> None:
    found = refined(lambda x: x**2 / 2 + apart / 4 * x * (x**2 - 1) * (x**2 - 4))
    assert found.fitted.tolist() == [fitted]
    assert found.place[0, 0] == pytest.approx(-apart if fitted else 0.0, abs=2e-4)


@pytest.mark.parametrize(("apart", "fitted"), [(0.014, True), (0.016, False), (-0.014, True), (-0.016, False)])
def test_the_third_polynomial_agrees_to_half_of_that(apart: float, fitted: bool) -> None:
    """x(x² - 1)(x² - 4)(x² - 9) is 0 at seven points and has the slope -36 at 0."""
    found = refined(lambda x: x**2 / 2 + apart / 36 * x * (x**2 - 1) * (x**2 - 4) * (x**2 - 9))
    assert found.fitted.tolist() == [fitted]
    assert found.place[0, 0] == pytest.approx(0.0, abs=1e-9)  # that of the second


@pytest.mark.parametrize(("apart", "fitted"), [(0.095, True), (0.105, False), (-0.095, True), (-0.105, False)])
@pytest.mark.parametrize("sign", [1, 0])
def test_the_two_polynomials_agree_on_either_curvature_to_a_tenth(sign: int, apart: float, fitted: bool) -> None:
    """x²(x² - 1)(x² - 4) is 0 at five points and has the curvature 8 at 0; across, the curvature is 100 times that of
    the valley.
    """
    bent = apart / (1 - apart)  # a share of the wider's
    slope = 1 if sign else -1
    surface = surface_of(
        lambda x, y: 50 * y**2 + slope * (x**2 / 2 + bent / 8 * x**2 * (x**2 - 1) * (x**2 - 4)),
        "-5:5:11", "-5:5:11", groups=2,
    )  # fmt: skip
    found = refine(surface, spot(5, 5), np.array([np.inf]), np.array([sign]), np.array([True]))
    assert found.fitted.tolist() == [fitted]


@pytest.mark.parametrize(
    ("error", "apart", "fitted"), [(0.02, 0.089, True), (0.02, 0.091, False), (0.2, 0.24, True), (0.2, 0.26, False)]
)
def test_three_standard_errors_are_allowed_up_to_a_quarter_of_a_step(error: float, apart: float, fitted: bool) -> None:
    own = deviations()

    def odd(x: Any) -> Any:
        return x * (x**2 - 1) * (x**2 - 4) / 4

    found = refined(
        lambda x: x**2 / 2 + apart * odd(x), noise=lambda x: 1e3 * own[::-1] + error * own * odd(x), groups=16
    )
    assert found.fitted.tolist() == [fitted]


@pytest.mark.parametrize(("points", "smooth"), [(5.8, False), (6.2, True), (40, True)])
@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("size", [5, 7])
def test_a_wave_of_six_points_is_the_shortest(points: float, smooth: bool, turn: bool, size: int) -> None:
    def wave(x: Any, y: Any) -> Any:
        return np.cos(2 * np.pi * (y if turn else x) / points) + 0 * x * y

    for at in (UNIT.tolist(), (UNIT + 0.02 * np.sin(np.arange(11.0))).tolist()):
        surface = surface_of(wave, at, at, groups=2)
        assert is_smooth(surface, LocalFit.of(surface, size), spot(5, 5)).tolist() == [smooth]


@pytest.mark.parametrize(("allowed", "fitted"), [(1.99, False), (2.01, True)])
def test_the_loss_changes_by_no_more_than_allowed_on_the_way(allowed: float, fitted: bool) -> None:
    found = refined(lambda x: x**2 / 2 + 40, at=3, allowed=allowed)
    assert found.fitted.tolist() == [fitted]
    assert found.place[0, 0] == pytest.approx(0.0 if fitted else -2.0)
    assert found.loss[0] == pytest.approx(40.0 if fitted else 42.0)


@pytest.mark.parametrize(("sign", "fitted"), [(1, True), (-1, False), (0, False)])
def test_only_a_point_of_its_kind_counts(sign: int, fitted: bool) -> None:
    assert refined(lambda x: (x - 0.3) ** 2, sign=sign).fitted.tolist() == [fitted]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_way_that_leads_out_of_the_window_leads_nowhere(sign: int) -> None:
    assert not refined(lambda x: sign * (x - 20) ** 2, sign=sign).fitted.any()


@pytest.mark.parametrize(("bad", "fitted"), [(np.nan, True), (20.0, False)])
def test_three_and_five_points_serve_beside_walls_alone(bad: float, fitted: bool) -> None:
    """Seven points are there and disagree: no narrower window is asked."""
    found = refined(lambda x: np.where(np.abs(x) == 3, bad, 0) + (x - 0.3) ** 2 / 2)
    assert found.fitted.tolist() == [fitted]


def test_a_place_that_seven_points_agree_on_is_kept_where_the_way_began_beside_a_wall() -> None:
    """Seven points see a slope of 4e-3 at 0, five see none."""
    found = refined(lambda x: np.where(x == -5, np.nan, x**2 / 2 + 1e-3 * x * (x**2 - 1) * (x**2 - 4)), at=3)
    assert found.place[0, 0] == pytest.approx(-4e-3, abs=1e-5)


def test_the_wider_polynomial_sees_a_point_of_the_same_kind() -> None:
    """Along y five points bend up by 0.05, seven down by 0.03: nothing beside the 1 along x, but another kind."""
    surface = surface_of(
        lambda x, y: x**2 / 2 + 0.025 * y**2 - 0.01 * y**2 * (y**2 - 1) * (y**2 - 4), "-4:4:9", "-4:4:9", groups=2
    )
    found = refine(surface, spot(4, 4), np.array([np.inf]), np.array([1]), np.array([True]))
    assert found.fitted.tolist() == [False]


@pytest.mark.parametrize(("points", "fitted"), [(3, False), (5, True), (7, True)])
def test_the_smallest_line_with_a_place_between_has_five_points(points: int, fitted: bool) -> None:
    found = refined(lambda x: (x - 0.3) ** 2, at=points // 2, points=points)
    assert found.fitted.tolist() == [fitted]
    assert found.place[0, 0] == pytest.approx(0.3 if fitted else 0.0)


def test_what_is_not_sought_stays_on_the_grid() -> None:
    surface = surface_of(lambda x, y: (x - 0.3) ** 2 + y**2, "-4:4:9", "-4:4:9", groups=2)
    spots = np.array([[4, 4], [4, 4]])
    found = refine(surface, spots, np.full(2, np.inf), np.array([1, 1]), np.array([False, True]))
    assert found.fitted.tolist() == [False, True]
    np.testing.assert_allclose(found.place, np.array([[0, 0], [0.3, 0]]), atol=1e-9)
    np.testing.assert_allclose(found.loss, [0.09, 0], atol=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_curvature_has_no_sign(sign: int) -> None:
    assert refined(lambda x: sign * (x - 0.3) ** 2, sign=sign).curvature[0] == pytest.approx(2.0)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_the_unit_of_an_axis_changes_nothing(unit: float) -> None:
    line = surface_of(lambda x: (x / unit - 0.3) ** 2, [unit * k for k in range(-5, 6)], groups=2)
    found = refine(line, spot(5), np.array([np.inf]), np.array([1]), np.array([True]))
    assert found.fitted.tolist() == [True]
    assert found.place[0, 0] == pytest.approx(0.3 * unit)
    assert found.curvature[0] == pytest.approx(2.0)
