"""What the checkpoint is, from how the loss falls along candidate ways down: a plateau, slope, saddle, minimum …

The ways were found on one half of the samples and are judged here on the other. J = L + ½·wd·‖θ‖².
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape_cli.analyse.jackknife import stderr, without_each
from landscape_cli.profile import TOLERANCE, Floats, Section

SHARE = 0.01  # τ = SHARE·|L|, or the numeric error where that is larger: what counts as a change of the loss
SURE = 3.0  # standard errors
TOLERATED = 1e-3  # of a residual, where the settings do not say


@dataclass(frozen=True)
class Way:
    """J(θ + t·v) - J(θ) at the steps t, its standard errors, and its slope ∇J·v at 0."""

    name: str
    steps: Floats
    changes: Floats
    errors: Floats
    slope: float

    @property
    def upper_drop(self) -> float:
        """The largest drop that the errors leave room for."""
        return float((SURE * self.errors - self.changes).max())

    def first_down(self, tau: float) -> int | None:
        """The first step that shows a drop beyond τ and beyond three standard errors."""
        down = np.flatnonzero((-self.changes > tau) & (-self.changes > SURE * self.errors))
        return int(down[0]) if len(down) else None


def verdict(section: Section | None) -> dict[str, Any] | None:
    """`verdict.kind` and `verdict.reasons`, as STATISTICS.md part B defines them; None where nothing was measured."""
    if section is None:
        return None
    facts, arrays = section.facts, section.arrays
    if "way_changes" not in arrays:
        return _said("inconclusive", ["too few samples to find ways down on one half and judge them on another"])
    loss = float(facts.get("judged_loss", np.nan))
    relative, absolute = TOLERANCE.get(str(facts.get("dtype")), TOLERANCE["float32"])
    tau = max(SHARE * abs(loss), relative * abs(loss) + absolute)
    ways = _ways(section)
    flaws = _flaws(section, ways)
    if flaws or not ways:
        return _said("inconclusive", flaws or ["no way could be tried"])
    return _said(*_kind(ways, tau, arrays, float(facts.get("decay", 0.0)), _tried(ways, tau)))


def _said(kind: str, reasons: list[str]) -> dict[str, Any]:
    return {"kind": kind, "reasons": reasons}


def _ways(section: Section) -> list[Way]:
    arrays = section.arrays
    sizes = arrays["way_sizes"]
    names = [str(name) for name in section.facts.get("ways", [])]
    rows = zip(names, arrays["way_changes"], arrays["way_spread"], arrays["way_penalties"], arrays["way_slopes"],
               strict=True)  # fmt: skip
    made = []
    for name, changes, groups, penalties, slope in rows:
        errors = [stderr(replicates, sizes) for replicates in without_each(groups, sizes)]
        known = np.array([np.nan if error is None else error for error in errors])
        made.append(Way(name, arrays["way_steps"], changes + penalties, known, float(slope)))
    return made


def _flaws(section: Section, ways: list[Way]) -> list[str]:
    """What is not finite or has not converged."""
    flaws = [f"the loss is not finite along {way.name}" for way in ways if not np.isfinite(way.changes).all()]
    flaws += [f"the loss along {w.name} has no error" for w in ways if not np.isfinite(w.errors).all() and not flaws]
    advice = _advice(section)
    settled = {"largest": section.arrays["top_converged"][0], "smallest": _smallest_known(section)}
    flaws += [f"the {what} eigenvalue has not converged: {advice}" for what, known in settled.items() if not known]
    astray = section.facts.get("ways_not_converged", [])
    where = "has not converged on the half where ways are found"
    return flaws + [f"the {what} eigenvalue {where}: {advice}" for what in astray if not flaws]


def _smallest_known(section: Section) -> bool:
    """Converged, or 0 within a residual that is small beside λ₁: a relative one never is small beside 0."""
    arrays, tolerance = section.arrays, float(section.settings.get("tolerance", TOLERATED))
    value, residual = abs(float(arrays["bottom"][0])), float(arrays["bottom_residuals"][0])
    return bool(arrays["bottom_converged"][0]) or value <= residual <= tolerance * abs(float(arrays["top"][0]))


def _advice(section: Section) -> str:
    """What to do about eigenvalues that have not converged: all products were used, or rounding stands in the way."""
    used, allowed = section.facts.get("eigenvalue_products", 0), section.settings.get("products", 0)
    if used >= allowed or section.facts.get("dtype") == "float64":
        return "raise hessian.products"
    return "rounding stands in the way, set hessian.dtype to float64"


def _kind(ways: list[Way], tau: float, arrays: Mapping[str, Floats], decay: float, tried: str) -> tuple[str, list[str]]:
    largest, residual = float(arrays["top"][0]) + decay, float(arrays["top_residuals"][0])
    down = [(way, step) for way in ways if (step := way.first_down(tau)) is not None]
    flat = max(float((np.abs(way.changes) + SURE * way.errors).max()) for way in ways)
    if flat <= tau:
        return "plateau", [f"J changes by at most {flat:.3g} everywhere, τ is {tau:.3g}", tried]
    slopes = [(way, step) for way, step in down if -way.slope * way.steps[step] >= 0.5 * -way.changes[step]]
    if slopes:
        way, step = _deepest(slopes)
        arrived = "the run has not arrived; a separable cross-entropy without weight decay never does"
        return "slope", [f"{_fall(way)}, along its gradient there: {arrived}", tried]
    if largest < -residual:
        return "maximum", [f"the largest eigenvalue is {largest:.3g}", tried]
    if down:
        way, step = _deepest(down)
        return "saddle", [_fall(way), tried]
    if largest > residual and max(way.upper_drop for way in ways) <= tau:
        lowest = np.abs(arrays["bottom"] + decay) <= arrays["bottom_residuals"]
        degenerate = ["degenerate: an eigenvalue at the bottom is 0 within its residual"] if lowest.any() else []
        return "minimum", [f"no way leads down by more than τ = {tau:.3g}", *degenerate, tried]
    return "inconclusive", [f"no way leads down for certain, and a drop of τ = {tau:.3g} cannot be ruled out", tried]


def _deepest(down: list[tuple[Way, int]]) -> tuple[Way, int]:
    return min(down, key=lambda pair: float(pair[0].changes.min()))


def _fall(way: Way) -> str:
    """Where J is lowest along a way."""
    step = int(way.changes.argmin())
    share = way.steps[step] / way.steps[-1]
    drop, error = -way.changes[step], way.errors[step]
    return f"along {way.name} the loss falls by {drop:.3g} ± {error:.1g} within {share:.2g} of 0.01·‖θ‖"


def _tried(ways: list[Way], tau: float) -> str:
    best = min(ways, key=lambda way: float(way.changes.min()))
    step = int(best.changes.argmin())
    drop, error = -best.changes[step], best.errors[step]
    names = ", ".join(way.name for way in ways)
    return f"tried {names}, up to 0.01·‖θ‖; largest drop {drop:.3g} ± {error:.1g}, along {best.name}; τ = {tau:.3g}"
