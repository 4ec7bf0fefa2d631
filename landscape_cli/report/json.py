"""The report as one JSON document with a format_version."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from landscape_cli.profile import Estimate
from landscape_cli.report.tables import Run

FORMAT_VERSION = 1


def to_json(runs: list[Run]) -> str:
    """{"format_version": 1, "runs": […]}; a number that is not finite is null, its status says so."""
    document = {"format_version": FORMAT_VERSION, "runs": [run_as_json(run) for run in runs]}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def run_as_json(run: Run) -> dict[str, Any]:
    """One run: its file, provenance and tree of statistics."""
    provenance = asdict(run.profile.provenance)
    provenance["problem"] = run.profile.problem
    return {"file": run.file, "provenance": plain_values(provenance), **plain_values(dict(run.tree))}


def plain_values(tree: Any) -> Any:
    """The tree with Estimates as objects and non-finite numbers as null."""
    if isinstance(tree, Estimate):
        return plain_values(asdict(tree))
    if isinstance(tree, dict):
        inner = {str(key): plain_values(value) for key, value in tree.items() if key != "estimate"}
        return {**plain_values(tree["estimate"]), **inner} if "estimate" in tree else inner
    if isinstance(tree, list | tuple):
        return [plain_values(item) for item in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
