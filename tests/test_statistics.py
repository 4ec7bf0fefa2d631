"""The tree of statistics: its names, and that no surface, however bad, breaks it or makes it lie."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import HIMMELBLAU, PROBLEMS, quadratic, surface_of, swapped

from landscape_cli.analyse.paths import ITSELF, flatten
from landscape_cli.analyse.statistics import PLANE_STATISTICS, centre_statistics, plane_statistics, statistics
from landscape_cli.profile import Bound, Estimate, PlaneRecord, Profile, Provenance, Status, Surface
from landscape_cli.report import formats
from landscape_cli.report.run import Run
from landscape_cli.section import Section

GRAM = np.array([[4.0, 1.0], [1.0, 2.0]])


def profile_of(facts: dict[str, Any] | None = None, **planes: Surface) -> Profile:
    """A run with these planes of one split, "train"."""
    records = {n: PlaneRecord(n, s.gram, (), {}, "", {"train": s}) for n, s in planes.items()}
    centres = {"train": next(iter(planes.values())).centre}
    return Profile("", Provenance(facts=facts or {}, dtype="float64"), centres, records)


def plane_and_line() -> Profile:
    """Himmelblau's plane around (3, 2) and a line through it."""
    return profile_of(
        main=surface_of(lambda x, y: HIMMELBLAU.loss(x + 3, y + 2), "-1:1:21", "-1:1:21", GRAM, noise=0.01),
        line=surface_of(lambda x: HIMMELBLAU.loss(x + 3, 2), "-1:1:21", noise=0.01),
    )


def test_the_names_are_those_of_the_design() -> None:
    names = [name for name, _ in flatten(statistics(plane_and_line()))]
    assert len(names) == len(set(names))
    plane = [
        "surface.finite_fraction", "surface.nan_count", "surface.inf_count", "surface.min", "surface.min.distance",
        "surface.min.drop", "sharpness.plane_eps.0", "sharpness.plane_eps.1", "sharpness.plane_eps.2",
        "basin.radius_mean", "basin.radius_median", "basin.area", "curvature.plane.eigenvalues.0",
        "curvature.plane.eigenvalues.1", "curvature.plane.eigenvalues_unit.0", "curvature.plane.eigenvalues_unit.1",
        "curvature.plane.lack_of_fit", "surface.convex_fraction", "surface.convex_fraction.certain",
        "surface.roughness", "surface.cliff", "surface.cliff.rise", "surface.cliff.times_median",
        "surface.cliff.infinite_neighbours", "surface.plateau_fraction",
        *[f"basin.levels.{i}.{name}" for i in range(3) for name in ("radius_mean", "radius_median", "area")],
    ]  # fmt: skip
    listed = ("critical_points.", "merge_tree.")  # one each of the four minima in view and the rest
    held = {n.removeprefix("planes.main.train.") for n in names if n.startswith("planes.main.")}
    assert {n for n in held if not n.startswith(listed)} == set(plane)
    assert {"critical_points.0.loss", "critical_points.0.persistence", "merge_tree.0.barrier"} <= held
    line = {n.removeprefix("planes.line.train.") for n in names if n.startswith("planes.line.")}
    basins = {n for n in line if n.startswith("basin.") and "levels" not in n}
    assert basins == {"basin.left", "basin.right", "basin.asymmetry"}
    assert {"asymmetry.0", "asymmetry.2.relative"} <= line
    assert {n for n in line if "eigenvalues." in n} == {"curvature.plane.eigenvalues.0"}
    assert "centre.train.loss" in names


def test_what_has_not_been_measured_of_the_full_space_is_none() -> None:
    tree = statistics(plane_and_line())
    names = ("gradient", "hessian", "sharpness", "learning_rate", "verdict")
    assert [tree[name] for name in names] == [None] * 5
    begun = replace(plane_and_line(), sections={name: Section({}, "") for name in names[:3]})
    assert [statistics(begun)[name] for name in names] == [None] * 5


def test_a_line_between_checkpoints_has_its_barrier_and_another_has_none() -> None:
    surface = surface_of(lambda t: 4 * t * (1 - t), "0:1:5")
    for recipe, there in (({"kind": "checkpoint"}, True), ({"kind": "random"}, False)):
        plane = PlaneRecord("main", np.eye(1), (recipe,), {}, "", {"train": surface})
        found = plane_statistics(plane)["train"]
        assert ("barrier" in found, "monotone" in found) == (there, there)
        assert not there or found["barrier"][ITSELF].value == pytest.approx(1.0)


def test_the_numbers_of_a_split_are_those_of_its_own_surface() -> None:
    one, other = (surface_of(lambda x, k=k: k * x**2, "-1:1:21") for k in (1.0, 5.0))
    plane = PlaneRecord("main", np.eye(1), (), {}, "", {"train": one, "test": other})
    tree = statistics(Profile("", Provenance(), {"train": one.centre, "test": other.centre}, {"main": plane}))
    found = {split: tree["planes"]["main"][split]["curvature"]["plane"]["eigenvalues"][0] for split in plane.surfaces}
    assert found["train"].value == pytest.approx(2.0)
    assert found["test"].value == pytest.approx(10.0)


def test_the_centre_has_its_loss_with_its_error_and_its_metrics() -> None:
    centre = surface_of(lambda x: 3 + x**2, "-1:1:3", noise=0.5).centre
    found = centre_statistics(replace(centre, metrics={"accuracy": 0.75}))
    assert found["loss"].value == centre.loss
    assert found["loss"].stderr == pytest.approx(centre.loss_groups.std(ddof=1) / 8)
    assert found["metrics"]["accuracy"].value == 0.75
    assert found["samples"] == 64


@pytest.mark.parametrize("name", ["loss", "samples"])
def test_a_metric_of_the_user_s_cannot_take_the_place_of_the_loss(name: str) -> None:
    centre = surface_of(lambda x: 3 + x**2, "-1:1:3").centre
    found = centre_statistics(replace(centre, metrics={name: 99.0}))
    assert found["loss"].value == 3.0
    assert found["samples"] == 64


@pytest.mark.parametrize(("decay", "there"), [(0.0, False), (5e-4, True)])
def test_the_weight_penalty_is_told_where_the_job_names_a_weight_decay(decay: float, there: bool) -> None:
    profile = profile_of({"weight_decay": decay, "weight_penalty": 0.25}, main=surface_of(lambda x: x, "-1:1:5"))
    found = statistics(profile)["centre"]["train"]
    assert ("weight_penalty" in found) is there
    assert not there or found["weight_penalty"].value == 0.25


@pytest.mark.parametrize(("held", "exact"), [(0.0, Estimate(0.0)), ("much", Estimate.missing("not measured"))])
def test_a_weight_penalty_of_nothing_is_a_number_and_a_word_is_none(held: Any, exact: Estimate) -> None:
    profile = profile_of({"weight_decay": 1e-4, "weight_penalty": held}, main=surface_of(lambda x: x, "-1:1:5"))
    assert statistics(profile)["centre"]["train"]["weight_penalty"] == exact


def test_flatten_gives_an_estimate_inside_a_dict_the_dict_s_own_name() -> None:
    a, b, c = (Estimate.of(float(i)) for i in range(3))
    tree = {"min": {ITSELF: a, "x": 1.0, "drop": b}, "list": [{ITSELF: c, "eps": 0.1}], "none": None}
    assert list(flatten(tree)) == [("min", a), ("min.drop", b), ("list.0", c)]
    assert list(flatten(a, "loss")) == [("loss", a)]


def test_swapping_the_axes_changes_no_statistic_of_the_surface() -> None:
    one = surface_of(lambda x, y: x**2 - x * y + 2 * y**2 + x**3, "-1:1:21", "-1:1:17", np.diag([4.0, 1.0]), 0.01)
    found = [dict(flatten(statistics(profile_of(main=surface)))) for surface in (one, swapped(one))]
    assert set(found[0]) == set(found[1])
    there, turned_there = (
        np.sort([float(e.value or 0.0) for n, e in each.items() if "critical_points" in n]) for each in found
    )
    np.testing.assert_allclose(there, turned_there, rtol=1e-9)
    for name, estimate in found[0].items():
        if "critical_points" in name:  # of equal persistence they come in the order of the grid
            continue
        rough = "radius" in name  # the rays start along x
        other = found[1][name]
        assert (other.status, other.bound) == (estimate.status, estimate.bound), name
        if estimate.value is not None:
            assert other.value == pytest.approx(estimate.value, rel=0.02 if rough else 1e-9), name


# --- bad surfaces

LOSSES = st.sampled_from([0.0, 1.0, 2.5, -3.0, 1e300, math.nan, math.inf, -math.inf])
AXES: list[Any] = ["-1:1:5", "-1:1:4", "-0.5:1:4", [0.0], [0.0, 1.0], "1:2:3", [-1.0, -0.1, 0.0, 2.0]]


@st.composite
def surfaces(draw: st.DrawFn) -> Surface:
    """Any surface that a scan could leave behind: holes, NaN and infinity anywhere, any window, any group count."""
    x, y = draw(st.sampled_from(AXES)), draw(st.sampled_from([None, *AXES]))
    surface = surface_of(lambda *p: 0 * p[0], x, y, None if y is None else GRAM, groups=draw(st.integers(1, 3)))
    count = surface.loss.size
    loss = np.array(draw(st.lists(LOSSES, min_size=count, max_size=count))).reshape(surface.loss.shape)
    measured = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count))) | draw(st.booleans())
    middle = draw(LOSSES)
    groups = np.broadcast_to(loss[..., None], surface.loss_groups.shape).copy()
    centre = replace(surface.centre, loss=middle, plain_loss=middle, loss_groups=np.full(groups.shape[-1], middle))
    return replace(surface, loss=loss, loss_groups=groups, measured=measured.reshape(loss.shape), centre=centre)


@settings(max_examples=250, deadline=None)
@given(surfaces())
def test_no_surface_breaks_a_statistic_or_gets_a_number_that_is_not_one(surface: Surface) -> None:
    with np.errstate(all="ignore"):
        found = dict(flatten(statistics(profile_of(main=surface))))
    assert found
    for name, estimate in found.items():
        assert estimate.status in get_args(Status), name
        assert estimate.bound in get_args(Bound), name
        finite = estimate.value is not None and math.isfinite(estimate.value)
        assert finite == (estimate.status == "ok"), name
        assert estimate.stderr is None or (math.isfinite(estimate.stderr) and estimate.stderr >= 0), name


@settings(max_examples=60, deadline=None)
@given(surfaces())
def test_the_names_do_not_depend_on_what_was_measured(surface: Surface) -> None:
    whole = replace(surface, measured=np.ones_like(surface.measured), loss=np.ones_like(surface.loss))
    with np.errstate(all="ignore"):
        for section in ("basin", "sharpness", "curvature"):
            names = [{name for name, _ in flatten(PLANE_STATISTICS[section](s))} for s in (surface, whole)]
            assert names[0] == names[1]


@pytest.mark.parametrize("name", formats.FORMATS)
@settings(max_examples=15, deadline=None)
@given(surface=surfaces())
def test_every_format_prints_any_surface(name: str, surface: Surface) -> None:
    with np.errstate(all="ignore"):
        profile = profile_of(main=surface)
        text = formats.FORMATS[name]([Run("run.h5", profile, statistics(profile))])
    assert isinstance(text, str)
    if name == "json":
        json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numpy_s_warnings_do_not_reach_the_user(bad: float) -> None:
    surface = surface_of(lambda x, y: np.where(x > 0.12, bad, x**2 + y**2), "-1:1:21", "-1:1:21", groups=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        statistics(profile_of(main=surface))


@pytest.mark.parametrize("name", PROBLEMS)
def test_an_ordinary_plane_has_every_number(name: str) -> None:
    problem = PROBLEMS[name]
    x, y = problem.at
    surface = surface_of(lambda a, b: problem.loss(x + a, y + b), "-1:1:21", "-1:1:21", noise=0.001)
    found = dict(flatten(statistics(profile_of(main=surface))))
    assert {name for name, estimate in found.items() if estimate.status != "ok"} == set()


def test_the_closed_forms_of_a_quadratic_hold_together() -> None:
    problem = quadratic((2.0, 8.0))
    surface = surface_of(problem.loss, "-1:1:201", "-1:1:201", groups=2)
    found = dict(flatten(statistics(profile_of(main=surface))))
    low, high = (found[f"planes.main.train.curvature.plane.eigenvalues.{i}"].value for i in range(2))
    area = found["planes.main.train.basin.area"].value
    assert low is not None
    assert high is not None
    assert [low, high] == pytest.approx([2.0, 8.0])
    assert area == pytest.approx(2 * np.pi * 0.1 / np.sqrt(low * high), rel=0.005)
