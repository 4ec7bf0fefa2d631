"""Intervals in place of single standard errors: how wide depends on how many sample groups an error comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape_cli.analyse.jackknife import student
from landscape_cli.profile import Estimate, Floats, Profile
from landscape_cli.report.legend import LEGEND, legend_key


@dataclass(frozen=True)
class Ranged(Estimate):
    """An estimate with the interval that holds the truth with some confidence; None where there is no error.

    It ends where no such number can lie: a share at 0 and 1, a distance at 0.
    """

    low: float | None = None
    high: float | None = None


def with_intervals(profile: Profile, tree: Mapping[str, Any], confidence: float) -> dict[str, Any]:
    """A tree of statistics, each Estimate of it Ranged: Student's interval over the groups that its error is of.

    The error of a trace is that of a few random probes, and widened for it: its interval is wider still.
    """
    wide = {split: _width(centre.group_sizes, confidence) for split, centre in profile.centre.items()}
    of = {n: _width(s.arrays["group_sizes"], confidence) for n, s in profile.sections.items() if s.complete}
    of = {**of, "learning_rate": of.get("hessian", 0.0)}
    return {
        **tree,
        **{name: _ranged(tree[name], width, name) for name, width in of.items()},
        "centre": {split: _ranged(branch, wide[split], "centre") for split, branch in tree["centre"].items()},
        "planes": {
            plane: {split: _ranged(branch, wide[split]) for split, branch in splits.items()}
            for plane, splits in tree["planes"].items()
        },
    }


def _width(sizes: Floats, confidence: float) -> float:
    """Half of the interval in standard errors."""
    return student(max(1, int(np.count_nonzero(sizes > 0)) - 1), (1 - confidence) / 2)


# Between what a number lies whatever was measured, by name.
SHARE, POSITIVE, RELATIVE = (0.0, 1.0), (0.0, math.inf), (-1.0, 1.0)
POSSIBLE: dict[str, tuple[float, float]] = {
    "hessian.negative_mass": SHARE,
    **dict.fromkeys(("splits.correlation", "basin.asymmetry", "basin.levels.asymmetry"), RELATIVE),
    **dict.fromkeys([name for name in LEGEND if name.startswith(("learning_rate.max_stable", "basin.r", "basin.l"))
                     and not name.endswith("asymmetry")], POSITIVE),
    **dict.fromkeys(("basin.area", "surface.roughness", "surface.cliff", "surface.cliff.rise", "monotone.bump",
                     "critical_points.persistence", "merge_tree.barrier", "gradient.norm", "gradient.covariance_trace",
                     "gradient.noise_scale", "gradient.drop", "hessian.frobenius", "hessian.effective_rank",
                     "sharpness.pac_bayes_sigma", "sharpness.fisher_rao"), POSITIVE),
}  # fmt: skip
EVERYTHING = (-math.inf, math.inf)


def _ranged(tree: Any, width: float, path: str = "") -> Any:
    if isinstance(tree, Estimate):
        if tree.value is None or tree.stderr is None:
            return Ranged(**vars(tree))
        least, most = POSSIBLE.get(legend_key(path), EVERYTHING)
        low, high = tree.value - width * tree.stderr, tree.value + width * tree.stderr
        return Ranged(**vars(tree), low=max(low, min(least, tree.value)), high=min(high, max(most, tree.value)))
    if isinstance(tree, dict):
        return {key: _ranged(value, width, f"{path}.{key}".strip(".")) for key, value in tree.items()}
    return [_ranged(item, width, path) for item in tree] if isinstance(tree, list) else tree
