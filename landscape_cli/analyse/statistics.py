"""Every statistic of a profile, as one tree of Estimates whose paths are the metrics' names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import cache
from typing import Any

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.basin import DELTA, DELTAS, basin_levels
from landscape_cli.analyse.checks import checks, euler_checks
from landscape_cli.analyse.convexity import convexity
from landscape_cli.analyse.critical import critical_statistics
from landscape_cli.analyse.curvature import plane_curvature
from landscape_cli.analyse.gradient import gradient_statistics
from landscape_cli.analyse.hessian import hessian_statistics, learning_rates
from landscape_cli.analyse.lines import asymmetry, between_checkpoints, path_statistics
from landscape_cli.analyse.neighbourhood import sharpness_statistics
from landscape_cli.analyse.roughness import roughness
from landscape_cli.analyse.sharpness import plane_sharpness
from landscape_cli.analyse.slopes import slopes
from landscape_cli.analyse.splits import split_statistics
from landscape_cli.analyse.surface import surface_statistics
from landscape_cli.analyse.verdict import verdict
from landscape_cli.profile import Centre, Estimate, PlaneRecord, Profile, Surface
from landscape_cli.section import Section


def critical(surface: Surface, persistence: float) -> dict[str, Any]:
    """`critical_points` and `merge_tree`; under `topology` their counts, walls and Euler's check."""
    found = critical_statistics(surface, persistence)
    listed = ("critical_points", "merge_tree")
    return {**{n: found[n] for n in listed}, "topology": {n: v for n, v in found.items() if n not in listed}}


def basins(surface: Surface) -> dict[str, Any]:
    """`basin` at δ = 0.1, and `basin.levels` at others too."""
    levels = basin_levels(surface)
    return {**levels[DELTAS.index(DELTA)], "levels": levels}


PLANE_STATISTICS: dict[str, Callable[[Surface], dict[str, Any]]] = {
    "surface": lambda s: {**surface_statistics(s), **convexity(s), **roughness(s), **slopes(s)},
    "sharpness": plane_sharpness,
    "basin": basins,
    "curvature": plane_curvature,
}
TOPOLOGY = ("critical_points", "merge_tree", "topology")
BETWEEN = ("barrier", "monotone")  # of a line between checkpoints
PLANE_PARTS = (*PLANE_STATISTICS, *TOPOLOGY, "asymmetry", *BETWEEN, "splits")
HEADS = ("centre", "planes", "gradient", "hessian", "learning_rate", "sharpness", "verdict", "checks")


def statistics(profile: Profile, persistence: float = 0.0, wanted: Collection[str] = ()) -> dict[str, Any]:
    """{"centre": {SPLIT: …}, "planes": {NAME: {SPLIT: {"surface": …, …}}}, "checks": […]}.

    Critical points of a persistence below the one asked for are left out.

    `gradient`, `hessian`, `sharpness` and `verdict` speak of the full parameter space; None until measured. Of these
    branches, and of the parts of a plane, only the `wanted` ones, where any is named.
    """
    facts = profile.provenance.facts
    held = facts.get("weight_penalty")
    number = Estimate.of(float(held)) if isinstance(held, int | float) else Estimate.missing("not measured")
    sections = {name: section for name, section in profile.sections.items() if section.complete}
    penalty = {"weight_penalty": number} if facts.get("weight_decay") else {}

    @cache
    def planes() -> dict[str, Any]:
        return {name: plane_statistics(plane, persistence, wanted) for name, plane in profile.planes.items()}

    def of(section: str, function: Callable[[Section], Any]) -> Callable[[], Any]:
        return lambda: function(sections[section]) if section in sections else None

    branches: dict[str, Callable[[], Any]] = {
        "centre": lambda: {name: {**centre_statistics(c), **penalty} for name, c in profile.centre.items()},
        "planes": planes,
        "gradient": of("gradient", gradient_statistics),
        "hessian": of("hessian", hessian_statistics),
        "learning_rate": of("hessian", learning_rates),
        "sharpness": of("sharpness", sharpness_statistics),
        "verdict": of("hessian", verdict),
        "checks": lambda: [*checks(profile, planes()), *euler_checks(planes())],
    }
    asked = {*wanted, *(["planes"] if not set(wanted).isdisjoint(PLANE_PARTS) else [])}
    return {name: branch() for name, branch in branches.items() if not wanted or name in asked}


def of_names(names: Iterable[str]) -> set[str]:
    """What `statistics` must be asked for to answer metrics by their names; nothing, for all, where one is unknown."""
    found = [set(name.split(".")) for name in names]
    known = {*HEADS, *PLANE_PARTS} - {"planes"}
    return set().union(*found) if all(words & known for words in found) else set()


def plane_statistics(
    plane: PlaneRecord, persistence: float = 0.0, wanted: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """{SPLIT: {"surface": …, "critical_points": […], …}}; of these parts only the wanted ones, where any is named, and
    of every split but the first only where it is named too.

    Of a line `asymmetry`, between checkpoints `barrier` and `monotone` too; of every split but the first `splits`: how
    it differs from the first.
    """
    asked = set(wanted).intersection(PLANE_PARTS) or set(PLANE_PARTS)
    apart = split_statistics(plane) if "splits" in asked else {}
    shown = {
        split: asked if i == 0 or not wanted or split in wanted else set() for i, split in enumerate(plane.surfaces)
    }
    return {
        split: {
            **_surface_parts(plane, surface, persistence, shown[split]),
            **({"splits": apart[split]} if split in apart else {}),
        }
        for split, surface in plane.surfaces.items()
    }


def _surface_parts(plane: PlaneRecord, surface: Surface, persistence: float, asked: set[str]) -> dict[str, Any]:
    between = not asked.isdisjoint(BETWEEN) and between_checkpoints(plane)
    return {
        **{part: function(surface) for part, function in PLANE_STATISTICS.items() if part in asked},
        **({} if asked.isdisjoint(TOPOLOGY) else critical(surface, persistence)),
        **({"asymmetry": asymmetry(surface)} if "asymmetry" in asked and surface.y is None else {}),
        **(path_statistics(surface) if between else {}),
    }


def centre_statistics(centre: Centre) -> dict[str, Any]:
    """`centre.loss`: L(θ*), the mean per-sample loss at the checkpoint; metrics beside it."""
    metrics = {name: Estimate.of(value) for name, value in centre.metrics.items()}
    loss = jackknife.mean(centre.loss, centre.loss_groups, centre.group_sizes)
    return {"loss": loss, "samples": centre.samples, "metrics": metrics}
