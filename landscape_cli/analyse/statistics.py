"""Every statistic of a profile, as one tree of Estimates whose paths are the metrics' names."""

from __future__ import annotations

from collections.abc import Callable
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


def statistics(profile: Profile, persistence: float = 0.0) -> dict[str, Any]:
    """{"centre": {SPLIT: …}, "planes": {NAME: {SPLIT: {"surface": …, …}}}, "checks": […]}.

    Critical points of a persistence below the one asked for are left out.

    `gradient`, `hessian`, `sharpness` and `verdict` speak of the full parameter space; None until measured.
    """
    facts = profile.provenance.facts
    held = facts.get("weight_penalty")
    number = Estimate.of(float(held)) if isinstance(held, int | float) else Estimate.missing("not measured")
    sections = {name: section for name, section in profile.sections.items() if section.complete}
    penalty = {"weight_penalty": number} if facts.get("weight_decay") else {}
    planes = {name: plane_statistics(plane, persistence) for name, plane in profile.planes.items()}
    return {
        "centre": {name: {**centre_statistics(centre), **penalty} for name, centre in profile.centre.items()},
        "planes": planes,
        "gradient": gradient_statistics(sections["gradient"]) if "gradient" in sections else None,
        "hessian": hessian_statistics(sections["hessian"]) if "hessian" in sections else None,
        "learning_rate": learning_rates(sections["hessian"]) if "hessian" in sections else None,
        "sharpness": sharpness_statistics(sections["sharpness"]) if "sharpness" in sections else None,
        "verdict": verdict(sections.get("hessian")),
        "checks": [*checks(profile, planes), *euler_checks(planes)],
    }


def plane_statistics(plane: PlaneRecord, persistence: float = 0.0) -> dict[str, dict[str, Any]]:
    """{SPLIT: {"surface": …, "critical_points": […], …}}.

    Of a line `asymmetry`, between checkpoints `barrier` and `monotone` too; of every split but the first `splits`: how
    it differs from the first.
    """
    apart = split_statistics(plane)
    between = between_checkpoints(plane)
    return {
        split: {
            **{section: function(surface) for section, function in PLANE_STATISTICS.items()},
            **critical(surface, persistence),
            **({"asymmetry": asymmetry(surface)} if surface.y is None else {}),
            **(path_statistics(surface) if between else {}),
            **({"splits": apart[split]} if split in apart else {}),
        }
        for split, surface in plane.surfaces.items()
    }


def centre_statistics(centre: Centre) -> dict[str, Any]:
    """`centre.loss`: L(θ*), the mean per-sample loss at the checkpoint; metrics beside it."""
    metrics = {name: Estimate.of(value) for name, value in centre.metrics.items()}
    loss = jackknife.mean(centre.loss, centre.loss_groups, centre.group_sizes)
    return {"loss": loss, "samples": centre.samples, "metrics": metrics}
