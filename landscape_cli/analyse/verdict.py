"""What the checkpoint is, from how the loss falls along candidate ways down: a plateau, slope, saddle, minimum …

The ways were found on one half of the samples and are judged here on the other. J = L + ½·wd·‖θ‖².
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape_cli.analyse.rounding import rounded, short
from landscape_cli.analyse.ways import SURE, Way, tau_of, ways_of
from landscape_cli.profile import Floats
from landscape_cli.section import Section

TOLERATED = 1e-3  # of a residual, where the settings do not say

KINDS = ("minimum", "saddle", "maximum", "plateau", "slope")  # or "inconclusive"


def verdict(section: Section | None) -> dict[str, Any] | None:
    """`verdict.kind` and `verdict.reasons`, as STATISTICS.md part B defines them; None where nothing was measured."""
    if section is None:
        return None
    arrays = section.arrays
    if "way_changes" not in arrays:
        few = "too few samples to find ways down on one half and judge them on another"
        late = "the time was over before ways down were tried: raise hessian.time"
        return _said("inconclusive", [late if "ways down" in section.texts("out_of_time") else few])
    tau, ways = tau_of(section), ways_of(section)
    flaws = _flaws(section, ways)
    if flaws or not ways:
        return _said("inconclusive", flaws or ["no way could be tried"])
    kind, reasons = _kind(ways, tau, arrays, section.number("decay", 0.0), _tried(ways, tau))
    unseen = _unseen(section, float(ways[0].steps[-1]), tau) if kind in ("plateau", "minimum") else []
    return _said("inconclusive", [*unseen, *reasons]) if unseen else _said(kind, reasons)


def _unseen(section: Section, reach: float, tau: float) -> list[str]:
    """Why the loss may fall by τ within reach though no way that was tried shows it."""
    bottom, residuals = section.arrays["bottom"] + section.number("decay", 0.0), section.arrays["bottom_residuals"]
    found_all = len(bottom) >= section.number("parameters", np.inf)
    if not found_all and _fall_by(float(bottom[-1]), reach) > tau:
        count = len(bottom)
        return [f"all {count} smallest eigenvalues are negative, and further ones may lead down: raise hessian.bottom"]
    if bottom[0] < -residuals[0] and (fall := _fall_by(float(bottom[0]), reach)) > tau:
        told = f"the lowest eigenvalue, {bottom[0]:.3g}, would lead down by {fall:.2g}"
        return [f"{told}, which samples that had no part in finding the way do not show"]
    for value, residual in zip(bottom, residuals, strict=True):
        fall = _fall_by(max(float(value - residual), float(bottom[0] - residuals[0])), reach)
        if abs(value) <= residual and fall > tau:
            known = f"an eigenvalue at the bottom, {value:.2g}, is known to within {residual:.2g} only"
            return [f"{known}, and at its lowest would lead down by {fall:.2g}: {_advice(section)}"]
    return []


def _fall_by(eigenvalue: float, reach: float) -> float:
    """By how much the loss falls along an eigenvector, to second order."""
    return max(0.0, -0.5 * eigenvalue * reach**2)


def _said(kind: str, reasons: list[str]) -> dict[str, Any]:
    return {"kind": kind, "reasons": reasons}


def _flaws(section: Section, ways: list[Way]) -> list[str]:
    """What is not finite or has not converged."""
    flaws = [f"the loss is not finite along {way.name}" for way in ways if not np.isfinite(way.changes).all()]
    flaws += [f"the loss along {w.name} has no error" for w in ways if not np.isfinite(w.errors).all() and not flaws]
    advice = _advice(section)
    settled = {"largest": section.arrays["top_converged"][0], "smallest": _smallest_known(section)}
    flaws += [f"the {what} eigenvalue has not converged: {advice}" for what, known in settled.items() if not known]
    astray = section.texts("ways_not_converged")
    where = "has not converged on the half where ways are found"
    return flaws + [f"the {what} eigenvalue {where}: {advice}" for what in astray if not flaws]


def _smallest_known(section: Section) -> bool:
    """Converged, or J's is next to nothing beside λ₁: no residual is small beside a value of 0."""
    arrays, asked = section.arrays, section.settings.get("tolerance")
    tolerance = asked if isinstance(asked, float) else TOLERATED
    value, residual = float(arrays["bottom"][0]) + section.number("decay", 0.0), float(arrays["bottom_residuals"][0])
    return bool(arrays["bottom_converged"][0]) or max(abs(value), residual) <= tolerance * abs(float(arrays["top"][0]))


def _advice(section: Section) -> str:
    """What to do about eigenvalues that have not converged: all products were used, or rounding stands in the way."""
    allowed = section.settings.get("products", 0)
    enough = isinstance(allowed, int) and section.number("eigenvalue_products", 0) < allowed
    if not enough or section.facts.get("dtype") == "float64":
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
        never = [] if decay else ["a separable cross-entropy without weight decay never arrives"]
        return "slope", [f"{_fall(way, decay)}, along its gradient there: the run has not arrived", *never, tried]
    if largest < -residual:
        return "maximum", [f"the largest eigenvalue is {largest:.3g}", tried]
    if down:
        way, step = _deepest(down)
        return "saddle", [_fall(way, decay), tried]
    if largest > residual and max(way.upper_drop for way in ways) <= tau:
        lowest = np.abs(arrays["bottom"] + decay) <= arrays["bottom_residuals"]
        zero = "degenerate: an eigenvalue at the bottom is 0 within its residual, and not all that is flat was tried"
        degenerate = [zero] if lowest.any() else []
        return "minimum", [f"no way leads down by more than τ = {tau:.3g}", *degenerate, tried]
    if max(way.upper_drop for way in ways) <= tau:
        why = f"no way leads down, but the largest eigenvalue, {largest:.3g}, is not above its residual {residual:.2g}"
        return "inconclusive", [f"{why}: a kink, or flat to second order", tried]
    unsure = f"a drop larger than τ = {tau:.2g} (1 % of the loss, or the numeric error) cannot be excluded"
    return "inconclusive", ["no way down is certain: take more samples", unsure, tried]


def _deepest(down: list[tuple[Way, int]]) -> tuple[Way, int]:
    return min(down, key=lambda pair: float(pair[0].changes.min()))


def _fall(way: Way, decay: float) -> str:
    """Where J, the loss where there is no weight decay, is lowest along a way."""
    step = int(way.changes.argmin())
    share = way.steps[step] / way.steps[-1]
    drop = _drop(way, step)
    what = "J" if decay else "the loss"
    return f"along {way.spoken} {what} falls by {drop} within {share:.2g} of 0.01·‖θ‖"


def _tried(ways: list[Way], tau: float) -> str:
    best = min(ways, key=lambda way: float(way.changes.min()))
    step = int(best.changes.argmin())
    both = Counter(way.line for way in ways)
    names = ", ".join(f"{'± ' if count > 1 else ''}{line}" for line, count in both.items())
    return f"tried {names}, up to 0.01·‖θ‖; largest drop {_drop(best, step)}, along {best.spoken}; τ = {tau:.3g}"


def _drop(way: Way, step: int) -> str:
    """With its error, so that the two as they are printed tell whether it is certain."""
    drop, error = -float(way.changes[step]), float(way.errors[step])
    return " ± ".join(rounded(drop, error)) if error > 0 else short(drop)
