"""How often a printed 95 % interval of a surface's statistics holds the truth: 2,000 draws of the samples each.

Extremes (the lowest point, the highest rise, a cliff) are biased by being chosen, and labelled so instead; so is a
persistence where noise decides which of two minima is the deeper one: the critical points' surface here has none such.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from problems import HIMMELBLAU, surface_of

from landscape_cli.analyse.basin import basin_statistics
from landscape_cli.analyse.critical import critical_statistics
from landscape_cli.analyse.curvature import plane_curvature
from landscape_cli.analyse.jackknife import student
from landscape_cli.analyse.paths import flatten
from landscape_cli.analyse.statistics import centre_statistics
from landscape_cli.profile import Estimate, Surface

pytestmark = pytest.mark.slow
SEEDS, GROUPS = {1: 8000, 2: 2000}, 64  # of a line, where an edge bends most beside a grid line, to half a percent
HELD = (0.93, 0.97)
Floats = NDArray[np.float64]


def bowl(x: Floats, y: Floats) -> Floats:
    return 0.5 + 1.5 * x**2 + 0.4 * x * y + 0.8 * y**2 + 0.3 * x**3


def valley(x: Floats) -> Floats:
    return 0.2 + np.where(x > 0, 2.0, 0.7) * x**2


def drawn(seed: int, dims: int) -> Callable[..., Floats]:
    """Each group's own quadratic beside the loss: as if every sample had a surface of its own."""
    terms = np.random.default_rng(seed).normal(size=(GROUPS, 6)) * [0.05, 0.1, 0.1, 0.2, 0.2, 0.2]

    def apart(*at: Floats) -> Floats:
        x, y = (at[0], at[1]) if dims == 2 else (at[0], 0 * at[0])
        powers = (1 + 0 * x, x, y, x**2, x * y, y**2)
        return sum((terms[:, i] * power for i, power in enumerate(powers)), np.zeros(1))

    return apart


def statistics(surface: Surface) -> dict[str, Estimate]:
    tree: dict[str, Any] = {
        "centre": centre_statistics(surface.centre),
        "basin": basin_statistics(surface, 0.1),
        "curvature": plane_curvature(surface),
    }
    return {name: e for name, e in flatten(tree) if e.stderr is not None and e.status == "ok" and e.bound == "exact"}


@pytest.mark.parametrize("dims", [1, 2])
def test_an_interval_of_95_percent_holds_the_truth_so_often(dims: int) -> None:
    y = None if dims == 1 else "-1:1:21"
    function: Any = valley if dims == 1 else bowl
    exact = statistics(surface_of(function, "-1:1:21", y, noise=lambda *at: 1e-12 * np.arange(GROUPS)))
    names = {"centre.loss", "curvature.plane.eigenvalues.0"}
    names |= {"basin.left", "basin.right", "basin.asymmetry"} if dims == 1 else set()
    names |= {"basin.radius_mean", "basin.radius_median", "basin.area"} if dims == 2 else set()
    assert names <= set(exact)
    wide, held = student(GROUPS - 1, 0.025), dict.fromkeys(exact, 0)
    for seed in range(SEEDS[dims]):
        found = statistics(surface_of(function, "-1:1:21", y, noise=drawn(seed, dims)))
        for name, truth in exact.items():
            value, error = found[name].value, found[name].stderr
            assert value is not None
            assert error is not None
            assert truth.value is not None
            held[name] += abs(value - truth.value) <= wide * error
    shares = {name: count / SEEDS[dims] for name, count in held.items() if name != "curvature.plane.lack_of_fit"}
    assert {name: share for name, share in shares.items() if not HELD[0] <= share <= HELD[1]} == {}


def hills(x: Floats, y: Floats) -> Any:
    """Himmelblau's function, tilted: no two minima are equally deep."""
    return HIMMELBLAU.loss(5 * x, 5 * y) / 100 + 0.3 * x - 0.2 * y


def refined(surface: Surface) -> list[dict[str, Any]]:
    found = critical_statistics(surface)["critical_points"]
    return [p for p in found if p["resolved"] and p["refined"] and not p["at_border"]]


def nearest(point: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, Any]:
    """That of the same kind."""
    same = [p for p in found if p["kind"] == point["kind"]]
    return min(same, key=lambda p: sum((p[name].value - point[name].value) ** 2 for name in "xy"))


def test_an_interval_of_a_critical_point_holds_the_truth_so_often() -> None:
    grid, wide = ("-1:1:51", "-1:1:51"), student(GROUPS - 1, 0.025)
    exact = refined(surface_of(hills, *grid, noise=lambda *at: 1e-12 * np.arange(GROUPS)))
    assert sorted(p["kind"] for p in exact) == ["minimum"] * 4 + ["saddle"] * 3
    names = ("x", "y", "loss", "persistence")
    held = {(k, n): 0 for k, p in enumerate(exact) for n in names if p[n].bound == "exact"}
    for seed in range(SEEDS[2]):
        noise = drawn(seed, 2)
        found = refined(surface_of(hills, *grid, noise=lambda *at, noise=noise: noise(*at) / 2))
        points = [nearest(p, found) for p in exact]
        for k, name in held:
            estimate, truth = points[k][name], exact[k][name].value
            held[k, name] += abs(estimate.value - truth) <= wide * estimate.stderr
    shares = {f"{exact[k]['kind']} {k} {name}": count / SEEDS[2] for (k, name), count in held.items()}
    assert {name: share for name, share in shares.items() if not HELD[0] <= share <= HELD[1]} == {}
