"""How often a printed 95 % interval of a surface's statistics holds the truth: 2,000 draws of the samples each.

Extremes (the lowest point, the highest rise, a cliff) are biased by being chosen, and labelled so instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from problems import surface_of

from landscape_cli.analyse.basin import basin_statistics
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
