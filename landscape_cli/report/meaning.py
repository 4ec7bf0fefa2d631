"""Meaning: what is known of a statistic; and what a report says once."""

from __future__ import annotations

from dataclasses import dataclass

# What is known of sharpness and generalisation, said once in a report.
EVIDENCE = (
    "These numbers compare runs of one set-up (architecture, data, recipe) well; they do not rank unrelated models, "
    "and can anti-correlate with generalisation (Dziugaite et al. 2020; Andriushchenko et al. 2023)."
)
SLICE = "A slice's minimum is one of the slice, not of the loss in all its parameters."
RECIPE = "Depends on the directions drawn: compare it between planes of the same recipe only."

YES, NO, LAYER = "yes", "no", "per layer only"  # does it survive the rescaling of a ReLU network (Dinh et al. 2017)?


@dataclass(frozen=True)
class Meaning:
    """A statistic: its unit, a gloss of one line, its definition, where it comes from, and whether it is invariant."""

    unit: str
    gloss: str
    definition: str = ""
    source: str = ""
    survives: str = ""  # the rescaling of a ReLU network; "" where the question does not arise
