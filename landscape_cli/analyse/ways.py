"""Ways down: how J = L + ½·wd·‖θ‖² changes along unit vectors, on a half of the samples that had no part in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape_cli.analyse.jackknife import stderr, student, without_each
from landscape_cli.profile import TOLERANCE, Floats
from landscape_cli.section import Section

SHARE = 0.01  # τ = SHARE·|L|, or the numeric error where that is larger: what counts as a change of the loss
SURE = 3.0  # standard errors


ORDINALS = {0: "the lowest", 1: "the second lowest", 2: "the third lowest"}


@dataclass(frozen=True)
class Way:
    """J(θ + t·v) - J(θ) at the steps t, its standard errors, and its slope ∇J·v at 0."""

    name: str
    steps: Floats
    changes: Floats
    errors: Floats
    slope: float

    @property
    def line(self) -> str:
        """What it leads along, as a person says it: `the lowest eigenvector`, `the last layer`."""
        kind, _, rank = self.name.lstrip("+-").partition(" ")
        if kind == "bottom" and rank.isdigit():
            return f"{ORDINALS.get(int(rank), f'the {int(rank) + 1}th lowest')} eigenvector"
        return {"top": "the top eigenvector", "gradient": "the gradient", "last": "the last layer"}.get(kind, self.name)

    @property
    def spoken(self) -> str:
        """The same with its direction."""
        if self.name == "+gradient":
            return "minus the gradient"
        if self.line == "the last layer":
            return f"the {'growing' if self.name[0] == '+' else 'shrinking'} last layer"
        return f"minus {self.line}" if self.name.startswith("-") else self.line

    @property
    def upper_drop(self) -> float:
        """The largest drop that the errors leave room for."""
        return float((SURE * self.errors - self.changes).max())

    def first_down(self, tau: float) -> int | None:
        """The first step that shows a drop beyond τ and beyond three standard errors."""
        down = np.flatnonzero((-self.changes > tau) & (-self.changes > SURE * self.errors))
        return int(down[0]) if len(down) else None


def tau_of(section: Section) -> float:
    """τ = max(0.01·|L|, the numeric error), L the mean loss of the half that judges: what counts as a change."""
    loss = section.number("judged_loss")
    relative, absolute = TOLERANCE.get(str(section.facts.get("dtype")), TOLERANCE["float32"])
    return max(SHARE * abs(loss), relative * abs(loss) + absolute)


def ways_of(section: Section) -> list[Way]:
    """Every way of a section, with its standard errors."""
    arrays = section.arrays
    sizes = arrays["way_sizes"]
    count = len(arrays["way_slopes"])
    names = section.texts("ways") if len(section.texts("ways")) == count else [f"way {i}" for i in range(count)]
    rows = zip(names, arrays["way_changes"], arrays["way_spread"], arrays["way_penalties"], arrays["way_slopes"],
               strict=True)  # fmt: skip
    made = []
    for name, changes, groups, penalties, slope in rows:
        errors = [stderr(replicates, sizes) for replicates in without_each(groups, sizes)]
        known = np.array([np.nan if error is None else error for error in errors])
        known = known * student(max(1, int((sizes > 0).sum()) - 1)) / SURE  # of few groups the error is itself unsure
        made.append(Way(name, arrays["way_steps"], changes + penalties, known, float(slope)))
    return made
