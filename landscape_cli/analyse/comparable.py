"""What a number depends on beside the weights: two runs' numbers are held against each other only where it is alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape_cli.profile import Estimate, Floats, PlaneRecord, Profile
from landscape_cli.section import Section

# Heads of the statistics' tree that are measured by a section of another name.
BRANCHES = {"verdict": "hessian", "learning_rate": "hessian"}
# Settings that numbers depend on, by the metric's name: all of a branch where none is named for it.
DEPENDS: dict[str, tuple[str, ...]] = {
    "hessian": ("dtype",),
    "hessian.effective_rank": ("dtype", "starts", "steps"),
    "hessian.negative_mass": ("dtype", "starts", "steps"),
    "gradient": (),
    "gradient.drop": ("weight_decay",),
    "gradient.critical": ("weight_decay",),
    "verdict": ("dtype", "weight_decay"),
    "learning_rate": ("dtype",),
    "sharpness": (),
    "sharpness.average": ("sigma",),
    "sharpness.average_adaptive": ("adaptive_sigma",),
    "sharpness.pac_bayes_sigma": ("rise",),
    "sharpness.worst": ("rho", "ascent", "starts"),
    "sharpness.worst_adaptive": ("adaptive_rho", "eta", "ascent", "starts"),
    "sharpness.keskar": ("keskar", "ascent", "starts"),
}
FIRST = "data of the first split"
HASHED = ("data", "loss", FIRST)  # alike only where both are known
ALWAYS = ("data", "loss", "dtype of the model", "parameters", "samples")
ROUNDING = 1e-12  # of a squared error
# What of a direction's recipe is its own outcome, and differs between any two checkpoints.
OUTCOMES = ("sha256", "ignored", "from", "eigenvalue", "residual")


def conditions(profile: Profile) -> dict[str, dict[str, Any]]:
    """{branch: {what: value}} of `centre.SPLIT`, `planes.NAME.SPLIT`, `gradient`, `hessian` and `sharpness`."""
    hashes, dtype = profile.provenance.hashes, profile.provenance.dtype
    criterion = hashes.get("criterion") or hashes.get("loss", "")
    of_split = {
        split: {"data": hashes.get(f"data.{split}", ""), "loss": criterion, "dtype of the model": dtype}
        for split in profile.centre
    }
    selected = {"parameters": hashes.get("parameters", "")}
    planes = {
        f"planes.{name}.{split}": {**of_split.get(split, {}), **selected, **_plane(plane), **_first(of_split, plane)}
        for name, plane in profile.planes.items()
        for split in plane.surfaces
    }
    sections = {
        name: {**of_split.get(str(section.settings.get("split")), {}), **selected, **_section(profile, section)}
        for name, section in profile.sections.items()
        if section.complete
    }
    return {**{f"centre.{split}": what for split, what in of_split.items()}, **planes, **sections}


def _plane(plane: PlaneRecord) -> dict[str, Any]:
    """Its window and recipe. Directions drawn by the same recipe are the same directions of each checkpoint."""
    axes = dict(zip("xy", plane.surface.axes, strict=False))
    window = {f"window {name}": axis.values.tolist() for name, axis in axes.items()}
    recipes = {f"direction {name}": _recipe(recipe) for name, recipe in zip("xy", plane.directions, strict=False)}
    kept = {name: plane.settings.get(name) for name in ("ignore", "orthogonal", "batchnorm")}
    return {**window, **recipes, **kept}


def _first(of_split: Mapping[str, Mapping[str, Any]], plane: PlaneRecord) -> dict[str, Any]:
    """What the numbers under `splits` are held against: the plane's first split."""
    split = next(iter(plane.surfaces), "")
    return {FIRST: of_split.get(split, {}).get("data")}


def _recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in recipe.items() if name not in OUTCOMES}
    if recipe.get("kind") not in ("file", "checkpoint"):
        return kept
    kept["file"] = str(recipe.get("from", "")).replace("\\", "/").rpartition("/")[2]
    raw = recipe.get("kind") == "file" and recipe.get("normalize") == "none"  # the tensors as they are in the file
    return {**kept, "sha256": recipe.get("sha256")} if raw else kept


def _section(profile: Profile, section: Section) -> dict[str, Any]:
    """Its settings, and which of the split's samples it is over."""
    centre = profile.centre.get(str(section.settings.get("split")))
    count = int(section.number("samples", 0))
    part = centre is not None and count < centre.samples
    subset = f"{count}, drawn with seed {section.settings.get('seed')}" if part else f"{count}"
    return {**section.settings, "samples": subset, "weight_decay": profile.provenance.facts.get("weight_decay")}


def unlike(metric: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What a metric's number depends on that differs between two runs, or is not known, each by its name.

    `metric` is its full path; `one` and `other` are the conditions of its branch in either run.
    """
    names = [name for name in {**one, **other} if _matters(metric, name)]
    return [n for n in names if one.get(n) != other.get(n) or (n in HASHED and not one.get(n))]


def difference_error(one: Estimate, other: Estimate, factor: float = 1.0) -> float | None:
    """The standard error of one - factor·other, both over the same samples: group by group where both shares are known,
    else as of two numbers measured apart. None where neither has one.
    """
    if one.stderr is None and other.stderr is None:
        return None
    if (one.value, one.stderr) == (other.value, other.stderr):  # to the last digit: the same measurement
        return abs(1 - factor) * (one.stderr or 0.0)
    first, second = one.stderr or 0.0, factor * (other.stderr or 0.0)
    a, b = one.shares, other.shares
    if a is None or b is None or a.shape != b.shape:
        return math.hypot(first, second)
    with np.errstate(over="ignore", invalid="ignore"):
        b = factor * b
        return math.hypot(float(np.linalg.norm(a - b)), _own(first, a), _own(second, b))


def _own(error: float, shares: Floats) -> float:
    """The part of an error that is not of the samples: none where it is theirs up to rounding."""
    rest = error * error - float(shares @ shares)
    return math.sqrt(rest) if rest > ROUNDING * error * error else 0.0


def _matters(metric: str, name: str) -> bool:
    if name == FIRST:
        return ".splits." in metric
    if name in ALWAYS or metric.startswith(("planes.", "centre.")):
        return True
    known = [key for key in DEPENDS if metric == key or metric.startswith(f"{key}.")]
    return name in DEPENDS[max(known, key=len)] if known else True
