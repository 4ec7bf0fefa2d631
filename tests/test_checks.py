"""Each self-check passes where it should and, above all, fails where it should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from problems import surface_of

from landscape_cli.analyse.checks import checks
from landscape_cli.analyse.statistics import statistics
from landscape_cli.profile import Centre, PlaneRecord, Profile, Provenance, Surface


def profile_of(*surfaces: Surface, centre: Centre | None = None, dtype: str = "float32") -> Profile:
    """A run of one plane with a split per surface."""
    splits = {f"split{i}": surface for i, surface in enumerate(surfaces)}
    planes = {"main": PlaneRecord("main", surfaces[0].gram, (), {}, "", splits)} if splits else {}
    centres = {name: centre or surface.centre for name, surface in splits.items()}
    return Profile("", Provenance(dtype=dtype), centres, planes)


def named(profile: Profile, name: str) -> list[dict[str, Any]]:
    """The checks of this name."""
    return [check for check in checks(profile) if check["name"] == name]


def ok(profile: Profile, name: str) -> bool:
    """Whether the only check of this name passed."""
    (check,) = named(profile, name)
    return bool(check["ok"])


def bowl(curvature: float = 1.0, x: str | list[float] = "-1:1:21", noise: float = 0.0) -> Surface:
    """½λ(x² + y²) above 1."""
    return surface_of(lambda x, y: 1 + curvature * (x**2 + y**2) / 2, x, x, noise=noise)


def with_loss(surface: Surface, where: tuple[int, int], loss: float) -> Surface:
    """The surface with another loss at one point."""
    losses, groups = surface.loss.copy(), surface.loss_groups.copy()
    losses[where], groups[where] = loss, loss
    return replace(surface, loss=losses, loss_groups=groups)


def test_a_good_run_passes_every_check() -> None:
    found = checks(profile_of(bowl(), bowl(2.0)))
    assert [check["name"] for check in found if not check["ok"]] == []
    expected = {"finished", "centre equals checkpoint", "grid centre", "finite", "window"}
    assert {check["name"] for check in found} == expected


@pytest.mark.parametrize(("sizes", "told"), [([4.0], True), ([4.0, 0.0], True), ([2.0, 2.0], False)])
def test_one_sample_group_is_told(sizes: list[float], told: bool) -> None:
    surface = surface_of(lambda x, y: x**2 + y**2, "-1:1:5", "-1:1:5", groups=len(sizes), sizes=sizes)
    found = named(profile_of(surface), "groups")
    text = "split0: one sample group: no standard errors, and noise counts as structure"
    assert [(check["ok"], check["text"]) for check in found] == [(False, text)] * told


def test_an_unfinished_run_says_how_much_is_done() -> None:
    measured = np.zeros((21, 21), bool)
    measured[:7] = True
    profile = profile_of(replace(bowl(), measured=measured))
    (check,) = named(profile, "finished")
    assert check["ok"] is False
    assert "147 of 441" in check["text"]
    assert "33.3%" in check["text"]
    assert named(profile, "window") == []  # nothing is known of it yet


def test_a_run_without_planes_is_finished() -> None:
    assert [check["ok"] for check in checks(profile_of())] == [True]


@pytest.mark.parametrize(("plain", "same"), [(1.0, True), (1 + 1e-6, True), (1.01, False), (np.nan, False)])
def test_a_centre_that_is_not_the_checkpoint_is_told(plain: float, same: bool) -> None:
    surface = bowl()
    profile = profile_of(surface, centre=replace(surface.centre, plain_loss=plain))
    assert ok(profile, "centre equals checkpoint") is same


@pytest.mark.parametrize(("loss", "same"), [(1.0, True), (1 + 1e-6, True), (1.001, False), (np.nan, False)])
def test_the_grid_s_own_centre_must_have_the_centre_s_loss(loss: float, same: bool) -> None:
    assert ok(profile_of(with_loss(bowl(), (10, 10), loss)), "grid centre") is same


def test_a_grid_shifted_by_one_point_is_told() -> None:
    surface = bowl()
    shifted = replace(surface, loss=np.roll(surface.loss, 1, axis=0))
    assert ok(profile_of(shifted), "grid centre") is False


@pytest.mark.parametrize("x", ["-1:1:20", "0.1:1:10"])
def test_a_grid_without_the_centre_has_no_such_check(x: str) -> None:
    assert named(profile_of(bowl(x=x)), "grid centre") == []


def test_a_grid_centre_not_yet_measured_is_not_checked() -> None:
    surface = with_loss(bowl(), (10, 10), np.nan)
    measured = np.ones((21, 21), bool)
    measured[10, 10] = False
    assert named(profile_of(replace(surface, measured=measured)), "grid centre") == []


@pytest.mark.parametrize(("loss", "text"), [(np.nan, "1 NaN and 0 infinite"), (np.inf, "0 NaN and 1 infinite")])
def test_a_point_that_is_not_finite_is_told_with_its_kind(loss: float, text: str) -> None:
    (first, second) = named(profile_of(bowl(), with_loss(bowl(), (0, 3), loss)), "finite")
    assert first["ok"] is True
    assert second["ok"] is False
    assert text in second["text"]
    assert "split1" in second["text"]


def test_a_point_not_yet_measured_is_not_taken_for_nan() -> None:
    measured = np.ones((21, 21), bool)
    measured[0, 3] = False
    assert ok(profile_of(replace(with_loss(bowl(), (0, 3), np.nan), measured=measured)), "finite") is True


# ½λ(x² + y²): the corner of the window rises by λ, the nearest point one step away by λ/200
WINDOWS: dict[str, tuple[Callable[[], Surface], bool, str]] = {
    "rises by 1": (lambda: bowl(1.0), True, "fits"),
    "rises by 0.11": (lambda: bowl(0.11), True, "fits"),
    "rises by 0.09, less than the basin's level": (lambda: bowl(0.09), False, "too narrow"),
    "falls everywhere": (lambda: bowl(-5.0), False, "too narrow"),
    "rises by less than its own error": (lambda: bowl(0.5, noise=10.0), False, "within three standard errors"),
    "rises by 0.95 in one step": (lambda: bowl(190.0), True, "fits"),
    "rises by 1.05 in one step": (lambda: bowl(210.0), False, "too wide"),
    "rises by 1.05 from a centre off the grid": (lambda: bowl(1.05 / 0.25**2, "-0.75:0.75:4"), False, "too wide"),
    "rises by 0.95 from a centre off the grid": (lambda: bowl(0.95 / 0.25**2, "-0.75:0.75:4"), True, "fits"),
}


@pytest.mark.parametrize("case", WINDOWS)
def test_the_window_is_judged_where_the_loss(case: str) -> None:
    surface, fits, text = WINDOWS[case]
    (check,) = named(profile_of(surface()), "window")
    assert check["ok"] is fits
    assert text in check["text"]


def test_a_line_s_window_is_judged_too() -> None:
    assert ok(profile_of(surface_of(lambda x: x**2, "-1:1:21")), "window") is True
    assert ok(profile_of(surface_of(lambda x: 0 * x, "-1:1:21")), "window") is False


def test_a_window_whose_points_beside_the_centre_are_all_infinite_is_too_wide() -> None:
    surface = surface_of(lambda x: np.where(abs(x) > 0.5, 1.0, np.where(x == 0, 0.0, np.inf)), [-1, -0.5, 0, 0.5, 1])
    (check,) = named(profile_of(surface), "window")
    assert check["ok"] is False


@pytest.mark.parametrize(
    ("surface", "said"),
    [
        (surface_of(lambda x: x + np.nan, "-1:1:5"), "no point is finite"),
        (surface_of(lambda x: np.where(x == 0, 0.0, np.inf), "-1:1:5"), "left what is finite"),
        (surface_of(lambda x: x**2, "1:2:11"), "does not lie around the centre"),
        (surface_of(lambda x, y: x**2 + 0 * y, "-1:1:5", [0.0]), "does not lie around the centre"),
    ],
)
def test_what_a_window_lacks_is_said(surface: Surface, said: str) -> None:
    (check,) = named(profile_of(surface), "window")
    assert check["ok"] is False
    assert said in check["text"]


@pytest.mark.parametrize(
    ("surface", "cut"),
    [
        (surface_of(lambda x, y: x**2 + y**2, "-1:1:21", "-1:1:21"), False),
        (surface_of(lambda x, y: x + 0 * y, "-1:1:21", "-1:1:21"), True),  # a ramp: falls out of the window
        (surface_of(lambda x: np.where(x > 0, x**2, -x / 50), "-1:1:21"), True),
        (surface_of(lambda x, y: np.where(x > 0.2, np.inf, x**2 + y**2), "-1:1:21", "-1:1:21"), True),
    ],
)
def test_a_window_that_cuts_the_basin_does_not_fit_it(surface: Surface, cut: bool) -> None:
    found = statistics(profile_of(surface))["checks"]
    (check,) = (check for check in found if check["name"] == "window")
    assert check["ok"] is not cut
    assert ("split0 reaches the window's border" in check["text"]) is cut


def test_of_a_plane_without_a_measured_point_nothing_is_checked() -> None:
    surface = bowl()
    bare = replace(surface, measured=np.zeros((21, 21), bool), loss=np.full((21, 21), np.nan))
    assert {check["name"] for check in statistics(profile_of(bare))["checks"]} == {
        "finished",
        "centre equals checkpoint",
    }
