"""The tree of statistics as flat names: `planes.main.train.surface.min`.

A statistic that carries more than its estimate is a dict whose key ITSELF holds the number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from landscape_cli.profile import Estimate

ITSELF = ""  # no split, plane or metric can be called so


def flatten(tree: Any, path: str = "") -> Iterator[tuple[str, Estimate]]:
    """Every Estimate of a tree of statistics with its dotted path; list items by index."""
    return ((name, leaf) for name, leaf in _leaves(tree, path) if isinstance(leaf, Estimate))


def numbers(tree: Any) -> Iterator[tuple[str, Estimate]]:
    """As `flatten`, and the plain numbers beside the statistics too: δ, ε, coordinates, windows, checks."""
    for path, leaf in _leaves(tree, ""):
        if isinstance(leaf, Estimate):
            yield path, leaf
        elif isinstance(leaf, bool | int | float):
            yield path, Estimate.of(float(leaf))


def words(tree: Any) -> Iterator[tuple[str, str]]:
    """The texts beside them: the verdict and its reasons, the kind of each critical point."""
    return ((name, leaf) for name, leaf in _leaves(tree, "") if isinstance(leaf, str))


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            deeper = f"{path}.{key}" if path else str(key)
            yield from _leaves(value, path if key == ITSELF else deeper)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _leaves(value, f"{path}.{index}")
    else:
        yield path, tree
