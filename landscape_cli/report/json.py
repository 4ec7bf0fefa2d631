"""The report as one JSON document with a format_version."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from landscape_cli.analyse.comparable import conditions
from landscape_cli.analyse.paths import ITSELF, flatten
from landscape_cli.analyse.subject import groups, samples, unfinished
from landscape_cli.profile import Estimate, Floats, Profile
from landscape_cli.report.run import Run

FORMAT_VERSION = 1


def to_json(runs: list[Run]) -> str:
    """{"format_version": 1, "runs": […]}; a number that is not finite is null, its status says so."""
    document = {"format_version": FORMAT_VERSION, "runs": [run_as_json(run) for run in runs]}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def to_ndjson(runs: list[Run]) -> str:
    """One JSON object a line and run, for `jq`."""
    return "".join(json.dumps(run_as_json(run), allow_nan=False) + "\n" for run in runs)


def run_as_json(run: Run) -> dict[str, Any]:
    """One run: its file, provenance, what was asked for, tree of statistics, how each section was measured, and under
    `comparison` what decides whether numbers may be held against another run's.

    `not_measured` says of every part that is null what to do for it.
    """
    subject = {
        "conditions": conditions(run.profile),
        "samples": samples(run.profile),
        "groups": groups(run.profile),
        "unfinished": unfinished(run.profile),
        "shares": {path: _written(e.shares) for path, e in flatten(run.shown) if e.shares is not None},
    }
    asked = {"confidence": run.confidence, "persistence": run.persistence or None}
    parts = {n: s for n, s in run.profile.sections.items() if run.shows(n)}
    sections = {
        n: {"complete": s.complete, "settings": dict(s.settings), "facts": dict(s.facts)} for n, s in parts.items()
    }
    lacking = {name: run.how(name) for name, branch in run.shown.items() if branch is None}
    return {
        "file": run.file,
        "provenance": provenance_as_json(run.profile),
        **{name: value for name, value in asked.items() if value is not None},
        **plain_values(run.shown),
        "sections": plain_values(sections),
        "not_measured": lacking,
        "comparison": plain_values(subject),
    }


def _written(shares: Floats) -> str:
    """The shares of an estimate's error, to the last digit, in one line."""
    return " ".join(repr(float(share)) for share in shares)


def provenance_as_json(profile: Profile) -> Any:
    """What was run, with what and when, and the hash of the problem."""
    return plain_values({**asdict(profile.provenance), "problem": profile.problem})


def plain_values(tree: Any) -> Any:
    """The tree with Estimates as objects and non-finite numbers as null."""
    if isinstance(tree, Estimate):
        return plain_values({name: value for name, value in vars(tree).items() if name != "shares"})
    if isinstance(tree, dict):
        inner = {str(key): plain_values(value) for key, value in tree.items() if key != ITSELF}
        return {**plain_values(tree[ITSELF]), **inner} if ITSELF in tree else inner
    if isinstance(tree, list | tuple):
        return [plain_values(item) for item in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
