"""The Hessian at the checkpoint: its extreme eigenvalues, trace, norm, density, and the step sizes that it allows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from landscape_cli.analyse.jackknife import draw_shares, estimate, joined, of_draws, scaled, stderr, without_each
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.profile import Estimate, Floats
from landscape_cli.section import Section

MOMENTUM = 0.9  # β of the step sizes with momentum
NEGATIVE = -1e-3  # of max|λ|: what counts as negative mass


def hessian_statistics(section: Section) -> dict[str, Any]:
    """`hessian.top`, `.bottom`, `.top_ratio`, `.trace`, `.frobenius`, and of the density `.effective_rank`,
    `.negative_mass`; `learning_rate.max_stable` follows from the largest eigenvalue. STATISTICS.md part B.
    """
    arrays = section.arrays
    top, bottom = _ends(arrays, "top"), _ends(arrays, "bottom")
    return {
        "top": top,
        "bottom": bottom,
        "top_ratio": _ratio(top),
        "trace": _trace(arrays),
        "frobenius": _frobenius(arrays),
        **_density(section),
        **_layers(section),
    }


def learning_rates(section: Section) -> dict[str, Any]:
    """`learning_rate.max_stable`: 2/λ₁ of gradient descent, 2(1+β)/λ₁ of heavy ball, 2(1+β)/((1+2β)λ₁) of Nesterov.

    Cohen et al. 2021. Undefined where λ₁ ≤ 0.
    """
    first = _ends(section.arrays, "top")[0][ITSELF]
    factors = {
        "gradient_descent": 2.0,
        "heavy_ball": 2 * (1 + MOMENTUM),
        "nesterov": 2 * (1 + MOMENTUM) / (1 + 2 * MOMENTUM),
    }
    rates = {name: _over(factor, first) for name, factor in factors.items()}
    return {"max_stable": {**rates, **_adam(section)}, "momentum": MOMENTUM, **_stability(section, first)}


def _stability(section: Section, first: Estimate) -> dict[str, Any]:
    """η·λ₁/2 of the training run's learning rate η: above 1 gradient descent diverges on the quadratic."""
    rate = section.settings.get("learning_rate")
    if not isinstance(rate, int | float):
        return {}
    if first.status != "ok" or first.value is None:
        return {"stability": Estimate.missing(first.status)}
    return {"stability": scaled(first, rate * first.value / 2, rate / 2)}


def _adam(section: Section) -> dict[str, Any]:
    """(2 + 2β₁)/((1 - β₁)·λ₁(P⁻¹H)), P = √v̂ + ε: of a checkpoint with Adam's state. Cohen et al. 2022."""
    arrays, beta = section.arrays, section.number("adam_beta")
    if "adam_top" not in arrays or not 0 <= beta < 1:
        return {}
    first = _known(float(arrays["adam_top"]), bool(arrays["adam_converged"]))
    return {"adam": _over((2 + 2 * beta) / (1 - beta), first)}


def _over(factor: float, eigenvalue: Estimate) -> Estimate:
    if eigenvalue.status != "ok" or eigenvalue.value is None:
        return Estimate.missing(eigenvalue.status)
    if eigenvalue.value <= 0:
        return Estimate.missing("undefined")
    value = factor / eigenvalue.value
    return scaled(eigenvalue, value, -value / eigenvalue.value)


def _ends(arrays: Any, end: str) -> list[dict[str, Any]]:
    """Eigenvalues with their standard error over samples and their residual, "not converged" where that is too large.

    The error is that of uᵀHu for the eigenvector as it is: the largest eigenvalue of few samples is biased upwards.
    """
    sizes = arrays["group_sizes"]
    rows = zip(*(arrays[f"{end}{what}"] for what in ("", "_converged", "_groups", "_residuals")), strict=True)
    return [
        {
            ITSELF: _eigenvalue(float(value), float(residual), bool(converged), groups, sizes),
            "residual": float(residual),
        }
        for value, converged, groups, residual in rows
    ]


def _eigenvalue(value: float, residual: float, converged: bool, groups: Floats, sizes: Floats) -> Estimate:
    """Of one that is 0 within its residual the error is at least that."""
    if not converged:
        return Estimate(value, None, "not converged")
    found = estimate(value, without_each(groups, sizes), sizes)
    return replace(found, stderr=math.hypot(found.stderr or 0.0, residual)) if abs(value) <= residual else found


def _ratio(top: list[dict[str, Any]]) -> Estimate:
    """λ₁/λ₅. Jastrzębski et al. 2020."""
    if len(top) < 5:
        return Estimate.missing("not measured")
    first, fifth = top[0][ITSELF], top[4][ITSELF]
    if first.status != "ok" or fifth.status != "ok":
        return Estimate.missing("not converged")
    return Estimate.of(first.value / fifth.value) if fifth.value > 0 else Estimate.missing("undefined")


def _trace(arrays: Any) -> Estimate:
    """Hutch++: the part over the sketch and the mean of the probes, whose spread is the error. Meyer et al. 2021.

    It is the error of the draw: the trace is that of the samples as they are.
    """
    if "trace_exact" not in arrays:
        return Estimate.missing("not measured")
    residuals = arrays["trace_residuals"]
    return joined(float(arrays["trace_exact"]) + float(residuals.mean()), draw_shares(residuals))


def _frobenius(arrays: Any) -> Estimate:
    """√E‖Hz‖² over random signs z, of which Hutch++ has the largest part exactly."""
    if "squares" not in arrays:
        return Estimate.missing("not measured")
    squares = arrays["squares"]
    norm = float(np.sqrt(squares.mean()))
    return joined(norm, draw_shares(squares) / (2 * norm)) if norm else Estimate.of(norm)


def _layers(section: Section) -> dict[str, Any]:
    """`hessian.per_layer`: λ₁ and trace of each parameter tensor's own block; nothing where it was not asked for."""
    arrays = section.arrays
    if "layer_top" not in arrays:
        return {}
    names = section.texts("layers")
    rows = zip(names, *(arrays[f"layer_{what}"] for what in ("top", "converged", "residuals", "traces")), strict=False)
    return {
        "per_layer": [
            {
                "name": name,
                "top": {ITSELF: _known(float(top), bool(converged)), "residual": float(residual)},
                "trace": joined(float(traces.mean()), draw_shares(traces)),
            }
            for name, top, converged, residual, traces in rows
        ]
    }


def _known(value: float, converged: bool) -> Estimate:
    return Estimate.of(value) if converged else Estimate(value, None, "not converged")


def _density(section: Section) -> dict[str, Any]:
    """(∫|λ|)²·P/∫λ², and the weight below -1e-3·max|λ|, with their errors over starts.

    A node's weight is spread about it, by its residual at the root of the mean square. Some of it may lie on the other
    side of the limit, in all starts alike: half of what Cantelli's inequality allows counts as error too.
    """
    nodes, weights, residuals = (section.arrays.get(f"density_{what}") for what in ("nodes", "weights", "residuals"))
    if nodes is None or weights is None or residuals is None:
        missing = Estimate.missing("not measured")
        return {"effective_rank": missing, "negative_mass": missing}
    nodes = np.where(weights > 0, nodes, 0.0)
    parameters = section.number("parameters", 0)
    first, second = (weights * np.abs(nodes)).sum(1), (weights * nodes**2).sum(1)
    keeps = ~np.eye(len(nodes), dtype=bool)
    ranks = np.array([first[k].mean() ** 2 * parameters / second[k].mean() for k in keeps if second[k].mean() > 0])
    limit = NEGATIVE * np.abs(nodes).max()
    negative = (weights * (nodes < limit)).sum(1)
    with np.errstate(invalid="ignore"):
        across = np.nan_to_num(residuals**2 / (residuals**2 + (nodes - limit) ** 2))
    doubt = float((weights * across).sum(1).mean() / 2)
    rank = first.mean() ** 2 * parameters / second.mean() if second.mean() > 0 else np.nan
    error = stderr(ranks, np.ones(len(ranks))) if len(ranks) == len(nodes) else None
    return {
        "effective_rank": Estimate.of(float(rank), error) if np.isfinite(rank) else Estimate.missing("undefined"),
        "negative_mass": Estimate.of(float(negative.mean()), math.hypot(of_draws(negative) or 0.0, doubt)),
    }
