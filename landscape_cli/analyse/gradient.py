"""The gradient at the checkpoint: how large it is, and whether it is more than the noise of its samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from landscape_cli.analyse.jackknife import estimate, stderr
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.analyse.ways import tau_of, ways_of
from landscape_cli.profile import Estimate, Floats
from landscape_cli.section import Section

VANISHING, EXPLODING = 1e-3, 1e3  # of the median of ‖∇‖/‖w‖ over the parameter tensors


def gradient_statistics(section: Section) -> dict[str, Any]:
    """`gradient.norm`, `.test`, `.noise_scale`, `.critical`, `.per_layer`; STATISTICS.md part B.

    With N samples, g the mean gradient and Σ the covariance of per-sample gradients (McCandlish et al. 2018):
    test T = N‖g‖²/tr Σ, with mean 1 where the population gradient is 0; noise_scale = tr Σ/‖G‖², ‖G‖² = ‖g‖² - tr Σ/N.

    The norm is that of these samples, and so is its error: near a critical point it is mostly the samples' noise, and
    no estimate of the population's ‖G‖. That is what the test is for.
    """
    parts = _Parts(section)
    everything = np.ones(len(parts.sizes), dtype=bool)
    square, covariance, count = parts(everything)
    signal = square - covariance / count
    return {
        "norm": _estimate(np.sqrt(square), lambda keep: np.sqrt(parts(keep)[0]), parts.sizes),
        "covariance_trace": _estimate(covariance, lambda keep: parts(keep)[1], parts.sizes),
        "test": {
            ITSELF: Estimate.of(count * square / covariance) if covariance > 0 else Estimate.missing("undefined"),
            "null_sd": _null_sd(section, covariance),
        },
        "noise_scale": _noise_scale(signal, covariance, parts, _trace_of_square(section)),
        **_critical(section),
        **_layers(section),
    }


class _Parts:
    """‖g‖², tr Σ and N over the groups that are kept."""

    def __init__(self, section: Section) -> None:
        arrays = section.arrays
        self.sizes, self.products = arrays["group_sizes"], arrays["group_products"]
        self.squares, self.counts = arrays["sample_squares"], arrays["sample_counts"]
        self.exact = section.facts.get("per_sample") == "exact"

    def __call__(self, keep: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[float, float, float]:
        share = np.where(keep, self.sizes, 0.0)
        total = share.sum()
        share = share / total if total > 0 else share
        square = max(0.0, float(share @ self.products @ share))
        count = max(1.0, float(self.counts[keep].sum()))
        if self.exact:
            covariance = (float(self.squares[keep].sum()) - count * square) / max(1.0, count - 1)
        else:  # of the groups' means, times the samples of a group
            spread = np.diag(self.products) - 2 * self.products @ share + square
            covariance = float((self.counts * spread)[keep].sum()) / max(1, int(keep.sum()) - 1)
        return square, max(0.0, covariance), count


def _estimate(value: float, without: Callable[[Any], float], sizes: Floats) -> Estimate:
    """A statistic with its jackknife error over the groups."""
    keeps = ~np.eye(len(sizes), dtype=bool)
    return estimate(float(value), np.array([without(keep) for keep in keeps]), sizes)


def _null_sd(section: Section, covariance: float) -> Estimate:
    """√(2 tr Σ²)/tr Σ: how far T strays from 1 where the population gradient is 0."""
    square = _trace_of_square(section)
    if square is None or not covariance > 0:
        return Estimate.missing("not measured")
    return Estimate.of(float(np.sqrt(2 * square) / covariance))


def _trace_of_square(section: Section) -> float | None:
    """tr Σ², from pairs of samples where they were measured, else from the groups' means; None of under four groups."""
    pairs = section.arrays.get("pair_products")
    if pairs is not None:
        return float(pairs.mean())
    used = section.arrays["group_sizes"] > 0
    if used.sum() < 4:
        return None
    samples = float(section.arrays["sample_counts"][used].mean())
    return max(0.0, unbiased_square(section.arrays["group_products"][np.ix_(used, used)])) * samples**2


def unbiased_square(products: Floats) -> float:
    """tr Σ² from the inner products (n, n) of n ≥ 4 independent vectors of covariance Σ and any mean.

    The U-statistic of Li & Chen 2012, equation 2.1: the mean of (xᵢᵀxⱼ)² - 2·xᵢᵀxⱼ·xⱼᵀxₖ + xᵢᵀxⱼ·xₖᵀxₗ over all
    different i, j, k, l.
    """
    n = len(products)
    apart = products - np.diag(np.diag(products))
    rows, all_pairs, squares = apart.sum(1), apart.sum(), (apart**2).sum()
    chains = (rows**2).sum() - squares  # Σ xᵢᵀxⱼ·xⱼᵀxₖ
    crossed = all_pairs**2 - 2 * squares - 4 * chains  # Σ xᵢᵀxⱼ·xₖᵀxₗ
    two = n * (n - 1)
    return float(squares / two - 2 * chains / (two * (n - 2)) + crossed / (two * (n - 2) * (n - 3)))


def _noise_scale(signal: float, covariance: float, parts: _Parts, square: float | None) -> Estimate:
    """tr Σ/‖G‖²; where ‖G‖² may be 0, a lower bound.

    Its error: the jackknife's, which is linear in g and vanishes with it, and that of ‖g‖² where G = 0, √(2 tr Σ²)/N.
    """

    def signal_of(keep: Any) -> float:
        kept, trace, count = parts(keep)
        return kept - trace / count

    keeps = ~np.eye(len(parts.sizes), dtype=bool)
    linear = stderr(np.array([signal_of(keep) for keep in keeps]), parts.sizes)
    if linear is None:
        return Estimate.missing("undefined")
    error = float(np.hypot(linear, np.sqrt(2 * (square or 0.0)) / max(1.0, float(parts.counts.sum()))))
    if signal - 3 * error <= 0:
        most = signal + 3 * error
        return Estimate.of(covariance / most, bound="lower") if most > 0 else Estimate.missing("undefined")
    ratios = np.array([parts(keep)[1] / signal_of(keep) for keep in keeps])
    return estimate(covariance / signal, ratios, parts.sizes)


def _critical(section: Section) -> dict[str, Any]:
    """Whether the gradient is 0 for all that matters: `no`, `yes` or `undecided`, and the largest drop of J along -∇L.

    no: a step down the gradient of one half of the samples lowers J on the other half by more than τ and beyond 3 SE;
    yes: the upper limit of that drop is at most τ.
    """
    ways = ways_of(section) if "way_changes" in section.arrays else []
    decayed = section.number("decay", 0.0) > 0 and section.arrays["weight_norms"].any()
    if not ways and not section.arrays["group_products"].any() and not decayed:  # no group's loss has a slope
        return {"critical": "yes", "drop": Estimate.of(0.0)}
    if not ways:
        return {"critical": "not measured", "drop": Estimate.missing("not measured")}
    way, tau = ways[0], tau_of(section)
    if not (np.isfinite(way.changes).all() and np.isfinite(way.errors).all()):
        return {"critical": "undecided", "drop": Estimate.missing("not finite")}
    lowest = int(way.changes.argmin())
    drop = Estimate.of(max(0.0, -float(way.changes[lowest])), float(way.errors[lowest]), "lower")
    certain = way.first_down(tau) is not None
    return {"critical": "no" if certain else "yes" if way.upper_drop <= tau else "undecided", "drop": drop, "tau": tau}


def _layers(section: Section) -> dict[str, Any]:
    """Per parameter tensor the gradient's norm and its ratio to ‖w‖; which vanish or explode beside the median."""
    names = section.texts("parameters")
    norms, weights = section.arrays["layer_norms"], section.arrays["weight_norms"]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(weights > 0, norms / weights, np.nan)
    known = ratios[np.isfinite(ratios)]
    median = float(np.median(known)) if len(known) else 0.0
    rows = zip(names, norms, ratios, strict=False)
    return {
        "per_layer": [{"name": n, "norm": Estimate.of(float(g)), "ratio": _ratio(r)} for n, g, r in rows],
        "vanishing": [n for n, r in zip(names, ratios, strict=False) if r < VANISHING * median],
        "exploding": [n for n, r in zip(names, ratios, strict=False) if r > EXPLODING * median],
    }


def _ratio(value: float) -> Estimate:
    """A weight of norm 0 has none."""
    return Estimate.of(float(value)) if np.isfinite(value) else Estimate.missing("undefined")
