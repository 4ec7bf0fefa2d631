"""Section: what is measured at the checkpoint in all its parameters, and the arrays that it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MAX_GROUPS = 64  # of samples
UNMEASURED = ("time", "learning_rate")  # settings that change no number of a section


@dataclass(frozen=True)
class Section:
    """What is measured at the checkpoint in all its parameters: the gradient, the Hessian, sharpness.

    Attributes:
        settings: everything its fingerprint is made of.
        arrays: by name, as SECTION_ARRAYS describes them; none until it is complete.
        facts: names, counts, and how it was measured.
        argv: the command that measures it.
    """

    settings: Mapping[str, Any]
    fingerprint: str
    arrays: Mapping[str, Floats] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    argv: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """It has been measured; there is nothing in between."""
        return bool(self.arrays)

    def number(self, name: str, default: float = math.nan) -> float:
        """A fact that is a number; whatever else a file may hold there is none."""
        value = self.facts.get(name)
        return float(value) if isinstance(value, int | float) else default

    def texts(self, name: str) -> list[str]:
        """A fact that is a list of texts."""
        value = self.facts.get(name)
        return [str(item) for item in value] if isinstance(value, list) else []


Measured = tuple[dict[str, Floats], dict[str, Any]]  # the arrays and the facts of a section

# How the loss changes along unit vectors, on the half of the samples that judges what was found on the other.
WAYS = {
    "way_steps": ("T", "parameter", "steps along each way"),
    "way_changes": ("WT", "loss", "loss at each step minus the checkpoint's"),
    "way_spread": ("WTH", "loss", "the same by sample group of that half"),
    "way_penalties": ("WT", "loss", "change of half the weight decay times the squared norm"),
    "way_slopes": ("W", "loss/parameter", "gradient along each way"),
    "way_sizes": ("H", "1", "weight of each sample group of that half"),
}
# Of each section its arrays: {section: {array: (axes, units, description)}}. A letter for each axis; within a section
# the same letter is the same length, and a digit is itself: G sample groups, L parameter tensors, W ways, T steps.
SECTION_ARRAYS: dict[str, dict[str, tuple[str, str, str]]] = {
    "gradient": {
        "group_sizes": ("G", "1", "weight of each sample group"),
        "group_losses": ("G", "loss", "mean loss of each sample group"),
        "group_products": ("GG", "loss^2/parameter^2", "inner products of the groups' mean gradients"),
        "layer_norms": ("L", "loss/parameter", "norm of the mean gradient of each parameter tensor"),
        "weight_norms": ("L", "parameter", "norm of each parameter tensor"),
        "sample_squares": ("G", "loss^2/parameter^2", "summed squares of each group's per-sample gradients"),
        "sample_counts": ("G", "1", "samples of each group"),
        "pair_products": ("p", "loss^4/parameter^4", "squared products of differences of sample gradients: mean tr SS"),
        **WAYS,
    },
    "hessian": {
        "top": ("k", "loss/parameter^2", "largest eigenvalues, descending"),
        "top_residuals": ("k", "loss/parameter^2", "norm of Hu - value u"),
        "top_converged": ("k", "1", "1 where the residual is small enough"),
        "top_groups": ("kG", "loss/parameter^2", "curvature along each eigenvector over each sample group"),
        "bottom": ("b", "loss/parameter^2", "smallest eigenvalues, ascending"),
        "bottom_residuals": ("b", "loss/parameter^2", "norm of Hu - value u"),
        "bottom_converged": ("b", "1", "1 where the residual is small enough"),
        "bottom_groups": ("bG", "loss/parameter^2", "curvature along each eigenvector over each sample group"),
        "group_sizes": ("G", "1", "weight of each sample group"),
        "trace_exact": ("", "loss/parameter^2", "trace over the sketched subspace (Hutch++)"),
        "trace_residuals": ("t", "loss/parameter^2", "estimates of the trace of the remainder"),
        "squares": ("s", "loss^2/parameter^4", "estimates of the squared Frobenius norm"),
        **WAYS,
        "adam_top": ("", "1/parameter", "largest eigenvalue of the Hessian divided by Adam's √v + ε"),
        "adam_residuals": ("", "1/parameter", "norm of Hu - value u of that matrix"),
        "adam_converged": ("", "1", "1 where that residual is small enough"),
        "layer_top": ("L", "loss/parameter^2", "largest eigenvalue of each parameter tensor's own block"),
        "layer_residuals": ("L", "loss/parameter^2", "norm of Hu - value u in the block"),
        "layer_converged": ("L", "1", "1 where that residual is small enough"),
        "layer_traces": ("Lq", "loss/parameter^2", "estimates of the trace of each block"),
        "density_nodes": ("rn", "loss/parameter^2", "nodes of the spectral density, by start"),
        "density_weights": ("rn", "1", "their weights, which sum to 1 per start"),
        "density_residuals": ("rn", "loss/parameter^2", "norm of Hu - node u: how far each weight may be spread"),
    },
    "sharpness": {
        "group_sizes": ("G", "1", "weight of each sample group"),
        "centre_groups": ("G", "loss", "mean loss of each sample group at the checkpoint"),
        "average_groups": ("dG", "loss", "rise of each group's loss, the mean of a pair of perturbations"),
        "adaptive_sigmas": ("s", "1", "sizes tried of perturbations in proportion to each parameter"),
        "adaptive_groups": ("sdG", "loss", "rise of each group's loss over the same pairs at each size"),
        "worst_curves": ("ac", "loss", "rise at each step of the ascents in the ball"),
        "worst_groups": ("2G", "loss", "rise of each group's loss at one step, and at the highest point"),
        "worst_adaptive_curves": ("ac", "loss", "the same in the adaptive ball"),
        "worst_adaptive_groups": ("2G", "loss", "the same in the adaptive ball"),
        "keskar_curves": ("bac", "loss", "the same in each box"),
        "keskar_groups": ("b2G", "loss", "the same in each box"),
        "flatness_groups": ("pG", "loss", "estimates of the last layer's relative flatness by sample group"),
        "fisher_groups": ("G", "loss^2", "mean squared slope of a sample's loss along the parameters, by group"),
    },
}
# What may be left out, all of a row together.
OPTIONAL_ARRAYS: tuple[tuple[str, ...], ...] = (
    ("pair_products",),
    ("trace_exact", "trace_residuals", "squares"),
    tuple(WAYS),
    ("adam_top", "adam_residuals", "adam_converged"),
    ("layer_top", "layer_residuals", "layer_converged", "layer_traces"),
    ("density_nodes", "density_weights", "density_residuals"),
    ("average_groups",),
    ("adaptive_sigmas", "adaptive_groups"),
    ("worst_curves", "worst_groups"),
    ("worst_adaptive_curves", "worst_adaptive_groups"),
    ("keskar_curves", "keskar_groups"),
    ("flatness_groups",),
    ("fisher_groups",),
)
