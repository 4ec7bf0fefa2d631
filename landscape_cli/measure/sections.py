"""What is measured at the checkpoint itself, section by section: SECTIONS = {name: function}."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import Any

from landscape_cli.measure.budget import Ask
from landscape_cli.measure.gradient import measure_gradient
from landscape_cli.measure.hessian import measure_hessian, products_asked
from landscape_cli.measure.problem import Problem
from landscape_cli.measure.sharpness import measure_sharpness, steps_asked
from landscape_cli.profile import MAX_GROUPS
from landscape_cli.section import UNMEASURED, Measured, Section
from landscape_cli.settings import Job

SECTIONS: dict[str, Callable[[Problem, Any, Ask], Measured | None]] = {
    "gradient": measure_gradient,
    "hessian": measure_hessian,
    "sharpness": measure_sharpness,
}
STEPS: dict[str, tuple[str, Callable[[Any, Problem], int]]] = {
    "gradient": ("groups", lambda settings, problem: 2 * MAX_GROUPS),  # as means, and sample by sample
    "hessian": ("products", products_asked),
    "sharpness": ("steps", lambda settings, problem: steps_asked(settings)),
}  # what a section counts while it is measured, and how many it takes at most


def wanted_sections(job: Job, problem: Problem, argv: tuple[str, ...]) -> dict[str, Section]:
    """The sections that a job asks for, not yet measured."""
    first = next(iter(problem.splits))
    made = {}
    for name in SECTIONS:
        settings = getattr(job, name)
        if settings is not None:
            described = {**dataclasses.asdict(settings), "split": first}
            measured = {key: value for key, value in described.items() if key not in UNMEASURED}
            digest = hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()
            made[name] = Section(described, digest, argv=argv)
    return made


def measured(section: Section, name: str, job: Job, problem: Problem, ask: Ask) -> Section | None:
    """The section with its arrays; None where it was asked to stop."""
    found = SECTIONS[name](problem, getattr(job, name), ask)
    return None if found is None else dataclasses.replace(section, arrays=found[0], facts=found[1])
