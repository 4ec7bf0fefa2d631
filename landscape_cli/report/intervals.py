"""Intervals in place of single standard errors: how wide depends on how many sample groups an error comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape_cli.analyse.jackknife import student
from landscape_cli.profile import Estimate, Floats, Profile


@dataclass(frozen=True)
class Ranged(Estimate):
    """An estimate with the interval that holds the truth with some confidence; None where there is no error."""

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
        **{name: _ranged(tree[name], width) for name, width in of.items()},
        "centre": {split: _ranged(branch, wide[split]) for split, branch in tree["centre"].items()},
        "planes": {
            plane: {split: _ranged(branch, wide[split]) for split, branch in splits.items()}
            for plane, splits in tree["planes"].items()
        },
    }


def _width(sizes: Floats, confidence: float) -> float:
    """Half of the interval in standard errors."""
    return student(max(1, int(np.count_nonzero(sizes > 0)) - 1), (1 - confidence) / 2)


def _ranged(tree: Any, width: float) -> Any:
    if isinstance(tree, Estimate):
        if tree.value is None or tree.stderr is None:
            return Ranged(**vars(tree))
        return Ranged(**vars(tree), low=tree.value - width * tree.stderr, high=tree.value + width * tree.stderr)
    if isinstance(tree, dict):
        return {key: _ranged(value, width) for key, value in tree.items()}
    return [_ranged(item, width) for item in tree] if isinstance(tree, list) else tree
