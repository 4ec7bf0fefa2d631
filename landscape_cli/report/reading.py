"""A JSON report read back, as an enemy may have written it: the inverse of report/json.py."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, get_args

from landscape_cli.analyse.paths import ITSELF
from landscape_cli.analyse.statistics import HEADS
from landscape_cli.analyse.subject import Subject
from landscape_cli.errors import LandscapeError
from landscape_cli.profile import Bound, Estimate, Status
from landscape_cli.report.json import FORMAT_VERSION

FIELDS = ("value", "stderr", "status", "bound", "low", "high")
MAX_BYTES = 256 << 20
STDIN = "stdin"  # the source of what was piped: its runs keep the names they had
DEPTH = 32  # of a tree: more than any report has
T = TypeVar("T")


def read_report(text: str, source: str) -> list[Subject]:
    """The runs of a JSON report; `source` is what errors call it, and the name of a run that is alone in a file.

    Raises:
        LandscapeError: it is empty, no JSON, no report, or one of a newer format.
    """
    if not text.strip():
        raise _none(source, "it is empty")
    try:
        document = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _none(source, f"it is no JSON ({error})") from None
    version = document.get("format_version") if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise _none(source, "it has no format_version")
    if version > FORMAT_VERSION:
        what = f"{source} is a report of format {version}, newer than {FORMAT_VERSION}"
        raise LandscapeError(what, "install the landscape that wrote it, or a later one")
    runs = document.get("runs")
    if not isinstance(runs, list) or not runs or not all(isinstance(run, dict) for run in runs):
        raise _none(source, "it holds no runs")
    subjects = [_subject(run, source) for run in runs]
    return subjects if source == STDIN or len(subjects) > 1 else [replace(subjects[0], file=source)]


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _none(source: str, why: str) -> LandscapeError:
    hint = "make one with: landscape report run.h5 --format json"
    return LandscapeError(f"{source} is no JSON report: {why}", hint)


def _subject(run: Mapping[str, Any], source: str) -> Subject:
    """One run. What is not as a report has it is refused, never guessed."""
    about = _mapping(run.get("comparison", {}), source)
    if not about.keys() >= {"conditions", "samples", "groups", "unfinished"}:
        raise _none(source, "it does not say what its numbers may be held against, or whether it is finished")
    provenance = _mapping(run.get("provenance", {}), source)
    conditions = _mapping(about["conditions"], source)
    argv = provenance.get("argv", [])
    return Subject(
        _text(run.get("file", source), source),
        _statistics(run, conditions, source),
        {branch: _mapping(what, source) for branch, what in conditions.items()},
        _counts(about["samples"], source),
        _counts(about["groups"], source),
        [_text(name, source) for name in _listed(about["unfinished"], source)],
        tuple(_text(word, source) for word in _listed(argv, source)),
    )


def _statistics(run: Mapping[str, Any], conditions: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The branches. A plane that is not shown stays the first if it was, so that short names mean what they meant."""
    tree = {name: _tree(run[name], source) for name in HEADS if name in run}
    planes: dict[str, Any] = {branch.split(".")[1]: {} for branch in conditions if branch.startswith("planes.")}
    if isinstance(tree.get("planes"), dict):
        tree["planes"] = {**planes, **tree["planes"]}
    for name in ("centre", "planes"):
        held = tree.get(name, {})
        splits = held.values() if isinstance(held, dict) else [None]
        if not all(isinstance(split, dict) for split in splits):
            raise _none(source, f"its {name} is none")
    return tree


def _tree(value: Any, source: str, depth: int = 0) -> Any:
    """Objects with a status become Estimates again; what stands beside the number keeps it under ITSELF."""
    if depth > DEPTH:
        raise _none(source, "it is nested too deeply")
    if isinstance(value, dict):
        number = not isinstance(value.get("status", {}), dict)  # a split or a metric may be called so
        inner = {
            name: _tree(part, source, depth + 1) for name, part in value.items() if not (number and name in FIELDS)
        }
        if not number:
            return inner
        return {**inner, ITSELF: _estimate(value, source)} if inner else _estimate(value, source)
    if isinstance(value, list):
        return [_tree(part, source, depth + 1) for part in value]
    return _number(value, source) if type(value) in (int, float) else value


def _estimate(found: Mapping[str, Any], source: str) -> Estimate:
    value, error = (_number(found.get(name, ""), source) for name in ("value", "stderr"))
    status, bound = found["status"], found.get("bound", "")
    if status not in get_args(Status) or bound not in get_args(Bound) or (error is not None and error < 0):
        raise _none(source, f"it holds a number that is none: {str(dict(found))[:120]}")
    if status == "ok" and value is None:
        raise _none(source, "it holds a number without a value whose status is ok")
    return Estimate(value, error, status, bound)


def _number(value: Any, source: str) -> float | None:
    if value is None:
        return None
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e308 \
        else math.nan  # fmt: skip
    if not math.isfinite(number):
        raise _none(source, f"{str(value)[:40]} is no number")
    return number


def _as(kind: type[T]) -> Callable[[Any, str], T]:
    def checked(value: Any, source: str) -> T:
        if not isinstance(value, kind):
            raise _none(source, f"{str(value)[:40]!r} is no {kind.__name__}")
        return value

    return checked


_mapping, _listed, _text = _as(dict), _as(list), _as(str)


def _counts(value: Any, source: str) -> dict[str, int]:
    counts = _mapping(value, source)
    if not all(type(count) is int and 0 <= count < 1 << 53 for count in counts.values()):
        raise _none(source, "it counts samples or groups by what is no number")
    return dict(counts)
