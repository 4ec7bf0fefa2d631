"""Runs made by hand: what the gate and comparisons see, without a scan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape_cli.analyse.paths import ITSELF
from landscape_cli.analyse.subject import Subject
from landscape_cli.profile import Estimate
from landscape_cli.report.json import plain_values

ALIKE: Mapping[str, Any] = {"data": "d", "loss": "l", "parameters": "p", "samples": "400", "dtype": "float32"}
GROUPS, SAMPLES = 64, 400


def subject(
    top: Estimate | None = None,
    file: str = "run.h5",
    tree: Mapping[str, Any] | None = None,
    unfinished: Sequence[str] = (),
    conditions: Mapping[str, Mapping[str, Any]] | None = None,
    **unlike: Any,
) -> Subject:
    """A run whose `hessian.top.0` is known; None of a Hessian that was not measured."""
    held = {"hessian": None if top is None else {"top": [{ITSELF: top, "residual": 0.0}]}} if tree is None else tree
    known = {"hessian": {**ALIKE, **unlike}} if conditions is None else conditions
    counted = dict.fromkeys(known, SAMPLES)
    groups = dict.fromkeys(known, GROUPS)
    return Subject(file, held, known, counted, groups, unfinished, ("landscape", "scan", "job.toml", "-o", file))


def document(*runs: Subject) -> dict[str, Any]:
    """Their JSON report."""
    return {
        "format_version": 1,
        "runs": [
            {
                "file": run.file,
                "provenance": {"argv": list(run.argv)},
                **plain_values(dict(run.tree)),
                "comparison": plain_values(
                    {
                        "conditions": dict(run.conditions),
                        "samples": dict(run.samples),
                        "groups": dict(run.groups),
                        "unfinished": list(run.unfinished),
                    }
                ),
            }
            for run in runs
        ],
    }


def written(path: Path, *runs: Subject) -> str:
    """Their JSON report as a file."""
    path.write_text(json.dumps(document(*runs)), "utf-8")
    return str(path)
