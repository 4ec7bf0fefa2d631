"""What a sampled surface holds: counts of finite points, and its lowest point."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from problems import HIMMELBLAU, surface_of

from landscape_cli.analyse.paths import ITSELF
from landscape_cli.analyse.surface import surface_statistics
from landscape_cli.profile import Estimate, Surface

GRAM = np.array([[4.0, 3.0], [3.0, 9.0]])


def bowl(x: Any, y: Any) -> Any:
    """Lowest, at 0.25, at (1, -1)."""
    return 0.25 + (x - 1) ** 2 + 2 * (y + 1) ** 2


def value(tree: Any) -> float:
    """The number of an estimate that must have one."""
    assert isinstance(tree, Estimate)
    assert tree.value is not None
    return tree.value


def with_losses(surface: Surface, changes: dict[tuple[int, ...], float]) -> Surface:
    """The surface with other losses at some points."""
    loss, groups = surface.loss.copy(), surface.loss_groups.copy()
    for where, new in changes.items():
        loss[where], groups[where] = new, new
    return replace(surface, loss=loss, loss_groups=groups)


def test_nan_and_infinity_are_counted_apart() -> None:
    surface = with_losses(
        surface_of(bowl, "-2:2:5", "-2:2:5"),
        {(0, 0): np.nan, (0, 1): np.nan, (1, 1): np.inf, (4, 4): np.inf, (3, 0): -np.inf},
    )
    found = surface_statistics(surface)
    assert value(found["nan_count"]) == 2
    assert value(found["inf_count"]) == 3
    assert value(found["finite_fraction"]) == 20 / 25


def test_points_not_yet_measured_are_neither_counted_nor_the_lowest() -> None:
    surface = with_losses(surface_of(bowl, "-2:2:5", "-2:2:5"), {(0, 0): np.nan, (4, 4): -100.0})
    measured = np.ones((5, 5), bool)
    measured[0, 0] = measured[4, 4] = measured[4, 3] = False
    found = surface_statistics(replace(surface, measured=measured))
    assert value(found["finite_fraction"]) == 1.0
    assert value(found["nan_count"]) == 0
    assert value(found["min"][ITSELF]) == 0.25


def test_the_lowest_point_is_found_with_its_coordinates_and_parameter_distance() -> None:
    found = surface_statistics(surface_of(bowl, "-2:2:5", "-3:3:7", gram=GRAM))["min"]
    assert value(found[ITSELF]) == 0.25
    assert (found["x"], found["y"]) == (1.0, -1.0)
    assert value(found["distance"]) == pytest.approx(np.sqrt(4 - 6 + 9))
    assert value(found["drop"]) == pytest.approx(0.25 - 3.25)
    assert found["at_border"] is False


def test_himmelblau_s_lowest_grid_point_is_its_minimum_at_3_2() -> None:
    found = surface_statistics(surface_of(HIMMELBLAU.loss, "-5:5:11", "-5:5:11"))["min"]
    assert (found["x"], found["y"], value(found[ITSELF])) == (3.0, 2.0, 0.0)
    assert value(found["drop"]) == -170.0


def test_the_lowest_point_of_a_line_has_no_y() -> None:
    found = surface_statistics(surface_of(lambda x: (x - 1) ** 2, "-2:2:9", gram=[[9.0]]))["min"]
    assert (found["x"], found["y"]) == (1.0, None)
    assert value(found["distance"]) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("at", "border"), [((-2, 0), True), ((2, 0), True), ((0, -2), True), ((0, 2), True), ((1, 1), False)]
)
def test_the_border_is_any_of_the_four_edges(at: tuple[int, int], border: bool) -> None:
    found = surface_statistics(surface_of(lambda x, y: (x - at[0]) ** 2 + (y - at[1]) ** 2, "-2:2:5", "-2:2:5"))["min"]
    assert (found["x"], found["y"]) == at
    assert found["at_border"] is border


def test_the_error_of_the_drop_is_paired_and_that_of_the_minimum_is_not() -> None:
    common, slope = np.random.default_rng(0).normal(size=(2, 64))
    surface = surface_of(lambda x: 5 + x, "-2:2:5", noise=lambda x: 10 * common + 0.1 * slope * x)
    found = surface_statistics(surface)["min"]
    here = 10 * common - 0.2 * slope
    assert found["drop"].stderr == pytest.approx(0.2 * slope.std(ddof=1) / 8)
    assert found[ITSELF].stderr == pytest.approx(here.std(ddof=1) / 8)


def test_swapping_the_axes_swaps_the_coordinates_and_nothing_else() -> None:
    one = surface_statistics(surface_of(bowl, "-2:2:5", "-3:3:7", gram=GRAM))["min"]
    other = surface_statistics(surface_of(lambda x, y: bowl(y, x), "-3:3:7", "-2:2:5", gram=GRAM[::-1, ::-1]))["min"]
    assert (other["y"], other["x"]) == (one["x"], one["y"])
    assert {k: other[k] for k in (ITSELF, "distance", "drop")} == {k: one[k] for k in (ITSELF, "distance", "drop")}


def test_of_nothing_measured_nothing_is_said() -> None:
    surface = surface_of(bowl, "-2:2:5", "-2:2:5")
    found = surface_statistics(replace(surface, measured=np.zeros((5, 5), bool)))
    assert set(found) == set(surface_statistics(surface))
    assert all(estimate == Estimate.missing("not measured") for estimate in found.values())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_without_a_finite_point_there_is_no_minimum(bad: float) -> None:
    found = surface_statistics(surface_of(lambda x: x + bad, "-2:2:5"))
    assert found["min"] == Estimate.missing("not finite")
    assert value(found["finite_fraction"]) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_on_a_constant_the_lowest_point_is_still_a_finite_one(bad: float) -> None:
    surface = with_losses(surface_of(lambda x, y: 1 + 0 * x * y, "-2:2:5", "-2:2:5"), {(0, 0): bad, (0, 1): bad})
    found = surface_statistics(surface)["min"]
    assert value(found[ITSELF]) == 1.0
    assert (found["x"], found["y"]) == (0.0, 0.0)  # of equal points the nearest to the centre


def test_the_lowest_of_what_is_measured_so_far_is_an_upper_bound() -> None:
    surface = surface_of(lambda x: x**2, "-1:1:11")
    measured = np.ones(11, dtype=bool)
    measured[2:] = False
    found = surface_statistics(dataclasses.replace(surface, measured=measured))["min"]
    assert found[ITSELF].bound == found["drop"].bound == "upper"
    assert surface_statistics(surface)["min"][ITSELF].bound == "exact"


def test_of_equal_points_the_nearest_is_so_in_parameter_distance() -> None:
    def two(x: Any, y: Any) -> Any:
        return np.where((x == 1) & (y == 0) | (x == 0) & (y == 1.5), 0.0, 1.0)

    for gram, where in (([[100.0, 0], [0, 1]], (0.0, 1.5)), ([[1.0, 0], [0, 100]], (1.0, 0.0))):
        found = surface_statistics(surface_of(two, "-2:2:9", "-3:3:13", gram=gram))["min"]
        assert (found["x"], found["y"]) == where
