"""A statistic by its name: the dotted path, or a short form that speaks of the first plane and the first split."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from landscape_cli.analyse.paths import numbers
from landscape_cli.errors import LandscapeError
from landscape_cli.profile import Estimate


def named(
    tree: Mapping[str, Any], name: str, known: Mapping[str, Estimate] | None = None, others: Iterable[str] = ()
) -> tuple[str, Estimate]:
    """The full path and the estimate that a name means: `hessian.top` is `hessian.top.0`, `surface.min` that of the
    first plane's first split that has it (`splits.centre_gap` is the second's), `centre.loss` that of the first split.
    `known` are the tree's numbers, where at hand.

    Raises:
        LandscapeError: there is no such statistic; the nearest is named, of `others` too.
    """
    found = dict(numbers(dict(tree))) if known is None else known
    path = full_path(tree, name, found)
    if path is not None:
        return path, found[path]
    short = list(dict.fromkeys([*_short(tree, found), *others]))
    near = [path for path in short if path.partition(".")[2] == name][:3] or difflib.get_close_matches(name, short, n=3)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    raise LandscapeError(f"unknown metric: {name}", f"{meant}landscape report RUN --format csv shows the name of each")


def full_path(tree: Mapping[str, Any], name: str, known: Mapping[str, Estimate]) -> str | None:
    """The full path of the number that a name means; None where there is no such number."""
    candidates = (candidate for path in _meant(tree, name) for candidate in (path, f"{path}.0"))
    return next((candidate for candidate in candidates if candidate in known), None)


def _meant(tree: Mapping[str, Any], name: str) -> Iterator[str]:
    """The full paths that a name may stand for, the likeliest first."""
    yield name
    planes, splits = tree.get("planes") or {}, tree.get("centre") or {}
    for plane, surfaces in list(planes.items())[:1]:
        yield f"planes.{plane}.{name}"
        yield from (f"planes.{plane}.{split}.{name}" for split in surfaces)
    head, _, rest = name.partition(".")
    if head in planes:
        yield f"planes.{name}"
        yield from (f"planes.{head}.{split}.{rest}" for split in planes[head])
    if head == "centre":
        yield from (f"centre.{split}.{rest}" for split in list(splits)[:1])


def _short(tree: Mapping[str, Any], found: Mapping[str, Estimate]) -> list[str]:
    """Every name that works, the short ones where there are."""
    split = next(iter(tree.get("centre") or {}), "")
    planes = list(tree.get("planes") or {})
    names: dict[str, None] = {}
    for path in found:
        short = path.removeprefix(f"planes.{planes[0]}.{split}.") if planes else path
        short = re.sub(rf"^planes\.([^.]+)\.{re.escape(split)}\.", r"\1.", short)
        short = f"centre.{short.removeprefix(f'centre.{split}.')}" if short.startswith(f"centre.{split}.") else short
        names[short.removesuffix(".0")] = None
    return list(names)
