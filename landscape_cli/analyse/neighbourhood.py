"""Neighbourhoods of the checkpoint in all its parameters: how far the loss rises there, on average and at the worst."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.jackknife import draw_shares, estimate, joined, without_each
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.profile import TOLERANCE, Estimate, Floats
from landscape_cli.section import Section

AGREE = 0.05  # of the highest rise: how far apart starts that have converged may end
RESCALING = "rescaling"  # the key under which a measure says whether it survives that of a ReLU network
MISSING = Estimate.missing("not measured")
SURVIVES, CHANGES, PER_LAYER = "yes", "no", "per layer only"  # Dinh et al. 2017


def sharpness_statistics(section: Section) -> dict[str, Any]:
    """`sharpness.average`, `.average_adaptive`, `.pac_bayes_sigma`, `.worst`, `.worst_adaptive`, `.keskar` and, where
    they were asked for, `.relative_flatness` and `.fisher_rao`; STATISTICS.md part C.

    Each says whether it survives the rescaling of a ReLU network. Maxima are lower bounds of the true ones, and their
    errors are those of the samples at the one point that was found.
    """
    asked, sizes = section.settings, section.arrays["group_sizes"]
    plain, eta = section.arrays.get("average_groups"), _number(section, "eta")
    return {
        "average_adaptive": {**_average_adaptive(section), RESCALING: SURVIVES},
        "pac_bayes_sigma": {ITSELF: _sigma_of_rise(section), "rise": asked.get("rise"), RESCALING: SURVIVES},
        "worst_adaptive": {
            **_worst(section, "worst_adaptive"),
            "rho": asked.get("adaptive_rho"),
            "eta": eta,
            RESCALING: CHANGES if eta else SURVIVES,
        },
        "worst": {**_worst(section, "worst"), "rho": asked.get("rho"), RESCALING: CHANGES},
        "average": {
            ITSELF: _mean_rise(plain, sizes) if plain is not None else MISSING,
            "sigma": asked.get("sigma"),
            RESCALING: CHANGES,
        },
        "keskar": _keskar(section),
        "relative_flatness": {ITSELF: _relative_flatness(section), RESCALING: PER_LAYER},
        "fisher_rao": {ITSELF: _fisher_rao(section), RESCALING: SURVIVES},
    }


def _number(section: Section, key: str) -> float:
    value = section.settings.get(key)
    return float(value) if isinstance(value, int | float) else float("nan")


def _weighted(groups: Floats, sizes: Floats) -> Floats:
    """(..., G) -> (...) the mean over all samples."""
    with np.errstate(invalid="ignore", over="ignore"):
        mean: Floats = np.where(sizes > 0, groups * sizes, 0.0).sum(-1) / sizes.sum()
    return mean


def _mean_rise(rises: Floats, sizes: Floats) -> Estimate:
    """The mean over draws and samples of rises (draws, G)."""
    value = float(_weighted(rises, sizes).mean())
    return joined(value, *_crossed(rises, sizes)) if np.isfinite(rises).all() else Estimate.of(value)


def _crossed(rises: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """The shares of samples and draws in the error of a mean over both.

    What varies with both is in either, so that the error is too large, by √2 at most.
    """
    over_samples = estimate(0.0, without_each(rises.mean(0), sizes), sizes).shares
    return np.empty(0) if over_samples is None else over_samples, draw_shares(_weighted(rises, sizes))


def _crossed_error(rises: Floats, sizes: Floats) -> float | None:
    """The error of that mean."""
    return float(np.linalg.norm(np.concatenate(_crossed(rises, sizes)))) if np.isfinite(rises).all() else None


def _average_adaptive(section: Section) -> dict[str, Any]:
    """At the σ that was asked for: the first one tried."""
    arrays = section.arrays
    if "adaptive_groups" not in arrays:
        return {ITSELF: MISSING, "sigma": section.settings.get("adaptive_sigma")}
    value = _mean_rise(arrays["adaptive_groups"][0], arrays["group_sizes"])
    return {ITSELF: value, "sigma": float(arrays["adaptive_sigmas"][0])}


def _sigma_of_rise(section: Section) -> Estimate:
    """The largest σ whose mean adaptive rise is at most the one that is asked for, between the two tried around it.

    Interpolated as a power of σ. A lower bound where no σ rose as far, or what is beyond the last one that did not is
    not finite; an upper bound where even the smallest rose further. Its error is the rise's over the slope.
    """
    if "adaptive_groups" not in section.arrays:
        return MISSING
    sizes, wanted = section.arrays["group_sizes"], _number(section, "rise")
    order = np.argsort(section.arrays["adaptive_sigmas"])
    sigmas, rises = section.arrays["adaptive_sigmas"][order], section.arrays["adaptive_groups"][order]
    means = _weighted(rises, sizes).mean(-1)
    below = np.flatnonzero(means <= wanted)
    if not len(below):
        return Estimate.of(float(sigmas[0]), bound="upper")
    low = int(below[-1])
    if low + 1 == len(sigmas) or not np.isfinite(means[low + 1]):
        return Estimate.of(float(sigmas[low]), bound="lower")
    return _between(sigmas[low : low + 2], rises[low : low + 2], sizes, wanted)


def _between(sigmas: Floats, rises: Floats, sizes: Floats, wanted: float) -> Estimate:
    """Where a power of σ through two mean rises is the one wanted; a fall has no power: there it is linear in log σ."""
    means = _weighted(rises, sizes).mean(-1)
    power = bool(means[0] > 0)
    heights, goal = (np.log(means), np.log(wanted)) if power else (means, wanted)
    width = float(np.log(sigmas[1] / sigmas[0]))
    share, slope = (goal - heights[0]) / (heights[1] - heights[0]), (heights[1] - heights[0]) / width
    value = float(sigmas[0] * np.exp(share * width))
    both = [_crossed_error(rise, sizes) for rise in rises]
    if both[0] is None or both[1] is None:
        return Estimate.of(value)
    errors = np.array(both, dtype=np.float64) / (means if power else 1.0)
    return Estimate.of(value, value * float(errors[0] + share * (errors[1] - errors[0])) / float(slope))


def _worst(section: Section, name: str) -> dict[str, Any]:
    """The highest rise met, and that of the one step (Foret et al. 2021), which the checkpoint's slope leads to."""
    if f"{name}_groups" not in section.arrays:
        return {ITSELF: MISSING, "one_step": MISSING}
    sizes = section.arrays["group_sizes"]
    step, highest = section.arrays[f"{name}_groups"]
    return {
        ITSELF: _highest(section, section.arrays[f"{name}_curves"], _risen(highest, sizes)),
        "one_step": _one_step(section, name, _risen(step, sizes)),
    }


def _risen(groups: Floats, sizes: Floats) -> Estimate:
    return jackknife.estimate(float(_weighted(groups, sizes)), without_each(groups, sizes), sizes, "lower")


def _one_step(section: Section, name: str, found: Estimate) -> Estimate:
    """Undefined where the checkpoint's gradient is zero or not finite."""
    return Estimate.missing("undefined") if section.facts.get(f"{name}_no_step") else found


def _highest(section: Section, curves: Floats, found: Estimate) -> Estimate:
    """A maximum with what the starts say of it: not finite, or not converged where they end apart.

    The checkpoint is in every ball, so that no start ends below it; rounding is no disagreement.
    """
    if not np.isfinite(curves).all() or found.status != "ok":
        return Estimate(found.value, None, "not finite", "lower")
    reached = np.maximum(curves.max(-1), 0.0)
    relative, absolute = TOLERANCE.get(str(section.facts.get("dtype")), TOLERANCE["float32"])
    centre = float(_weighted(section.arrays["centre_groups"], section.arrays["group_sizes"]))
    slack = AGREE * reached.max() + relative * abs(centre) + absolute
    agreed = reached.max() - reached.min() <= slack
    return found if agreed else replace(found, status="not converged")


def _keskar(section: Section) -> list[dict[str, Any]]:
    """100·(max over the box - L) / (1 + L) of each box. Keskar et al. 2017, metric 2.1 with A the identity."""
    given = section.settings.get("keskar")
    asked = given if isinstance(given, list) else []
    if "keskar_curves" not in section.arrays:
        return [{ITSELF: MISSING, "eps": eps, RESCALING: CHANGES} for eps in asked]
    pairs = zip(section.arrays["keskar_curves"], section.arrays["keskar_groups"], strict=True)
    return [
        {ITSELF: _in_percent(section, curves, groups[1]), "eps": eps, RESCALING: CHANGES}
        for eps, (curves, groups) in zip(asked, pairs, strict=False)
    ]


def _in_percent(section: Section, curves: Floats, groups: Floats) -> Estimate:
    sizes, centre = section.arrays["group_sizes"], section.arrays["centre_groups"]
    loss = float(_weighted(centre, sizes))
    if loss <= -1:
        return Estimate.missing("undefined")
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = 100 * without_each(groups, sizes) / (1 + without_each(centre, sizes))
    value = 100 * float(_weighted(groups, sizes)) / (1 + loss)
    return _highest(section, curves, jackknife.estimate(value, shares, sizes, "lower"))


def _relative_flatness(section: Section) -> Estimate:
    """Σ ⟨w_s, w_s'⟩·tr H_ss' of the last linear layer, with its error over probes and samples. Petzka et al. 2021."""
    groups = section.arrays.get("flatness_groups")
    if groups is None:
        return Estimate.missing("undefined" if "layer" in section.facts else "not measured")
    return _mean_rise(groups, section.arrays["group_sizes"])


def _fisher_rao(section: Section) -> Estimate:
    """⟨θ, Fθ⟩, the mean over samples of ⟨θ, ∇l_i⟩². Liang et al. 2019."""
    groups = section.arrays.get("fisher_groups")
    if groups is None:
        return Estimate.missing("not measured")
    sizes = section.arrays["group_sizes"]
    return jackknife.estimate(float(_weighted(groups, sizes)), without_each(groups, sizes), sizes)
