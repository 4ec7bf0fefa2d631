"""What a measurement was made with."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landscape_cli import __version__
from landscape_cli.files import now
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem
from landscape_cli.profile import Provenance


def versions() -> dict[str, str]:
    """Of everything that the numbers may depend on."""
    return {
        "landscape": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": platform.platform(),
    }


def make_provenance(problem: Problem, plan: Plan, seeds: dict[str, int], **more: Any) -> Provenance:
    """The provenance of a run that starts now; `more` are fields of Provenance."""
    device = problem.device
    name = f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
    return Provenance(
        hashes=dict(problem.hashes),
        facts=dict(problem.facts),
        plan=plan.as_dict(),
        seeds=seeds,
        device=name,
        dtype=problem.dtype,
        versions=versions(),
        started=now(),
        **more,
    )


def git_commit(folder: Path) -> str:
    """The commit of the folder's repository, with "-dirty" if it has changes; "" outside of one."""
    try:
        run = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        answer = subprocess.run(run, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def changed_since(stored: Provenance, problem: Problem, plan: Plan) -> Iterable[str]:
    """Notes for a run that goes on elsewhere than it began: bit-identity is then not promised."""
    here = versions() | {"device": problem.device.type}
    there = dict(stored.versions) | {"device": stored.device.split(":")[0].split(" ")[0]}
    for key in ("torch", "device", "system"):
        if here[key] != there.get(key):
            yield f"resumed with {key} {here[key]}; it began with {there.get(key)}"
    if not plan.same_numbers(stored.plan):
        yield f"resumed by another plan ({plan}): equal to rounding only"
