"""The Hessian of the mean loss at the checkpoint: its extreme eigenvalues, trace, norm and density."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from landscape_cli.errors import LandscapeError
from landscape_cli.measure.density import density
from landscape_cli.measure.gradient import Ask, Measured, sample_groups
from landscape_cli.measure.lanczos import Spectrum, lanczos
from landscape_cli.measure.objective import Objective, derivable, make_objective
from landscape_cli.measure.planner import in_place_plan
from landscape_cli.measure.problem import Problem, free_bytes
from landscape_cli.measure.trace import hutchpp
from landscape_cli.measure.ways import halves, judge, ways
from landscape_cli.profile import Floats
from landscape_cli.settings import HessianSettings

BASIS_SHARE = 0.5  # of the free memory that the vectors of Lanczos may take


def measure_hessian(problem: Problem, settings: HessianSettings, ask: Ask) -> Measured | None:
    """Arrays and facts of the section `hessian`; None where it was asked to stop.

    Args:
        ask: called after each product with 1; true asks to stop.

    Raises:
        LandscapeError: the loss has no gradient, a product is not finite (exit 3), or a model too large for its basis.
    """
    problem, told = derivable(problem, settings.dtype)
    split = next(iter(problem.splits.values()))
    groups = sample_groups(split, settings.samples, settings.seed)
    objective, notes = make_objective(problem, split, torch.cat(groups), in_place_plan(problem).batch)
    stop = _Stop(ask)
    spectrum = lanczos(
        objective.product, objective.size, top=settings.top, bottom=settings.bottom, tolerance=settings.tolerance,
        products=settings.products, basis=_basis(objective, settings), seed=settings.seed, like=objective.like,
        on_product=stop,
    )  # fmt: skip
    arrays, found = _ends(objective, spectrum, groups, stop), spectrum.products
    del spectrum  # and with it the basis, the largest of what is held
    if stop.wanted:
        return None
    trace = hutchpp(
        objective.product, objective.size, sketch=settings.probes, probes=settings.probes, seed=settings.seed,
        like=objective.like, on_product=stop,
    )  # fmt: skip
    if stop.wanted:
        return None
    arrays |= {
        "group_sizes": torch.stack([split.weights[g.to(split.weights.device)].sum() for g in groups]).cpu().numpy(),
        "trace_exact": np.array(trace.exact_part),
        "trace_residuals": trace.residuals,
        "squares": trace.squares,
    }
    count = found + trace.products
    tried, found_ways = _ways_down(objective, settings, stop)
    arrays |= tried
    if settings.density:
        quadrature = density(
            objective.product, objective.size, starts=settings.starts, steps=settings.steps, seed=settings.seed,
            like=objective.like, on_product=stop,
        )  # fmt: skip
        arrays |= {"density_nodes": quadrature.nodes, "density_weights": quadrature.weights}
        count += quadrature.products
    facts: dict[str, Any] = {
        "parameters": objective.size, "samples": sum(len(g) for g in groups), "products": count,
        "eigenvalue_products": found, "route": objective.route, "dtype": problem.dtype,
        "notes": [*told, *notes], "decay": problem.loss.settings.weight_decay, **found_ways,
    }  # fmt: skip
    return None if stop.wanted else (arrays, facts)


def _ways_down(
    objective: Objective, settings: HessianSettings, stop: _Stop
) -> tuple[dict[str, Floats], dict[str, Any]]:
    """How the loss falls, on one half of the samples, along directions found on the other; nothing of under four."""
    if len(objective.rows) < 4 or stop.wanted:
        return {}, {}
    one, other = (objective.on(rows) for rows in halves(objective.rows, settings.seed))
    spectrum = lanczos(
        one.product, one.size, top=1, bottom=settings.bottom, tolerance=settings.tolerance,
        products=settings.products, basis=_basis(one, settings), seed=settings.seed, like=one.like, on_product=stop,
    )  # fmt: skip
    if stop.wanted:
        return {}, {}
    arrays, names = judge(other, ways(one, spectrum, other), objective.split)
    facts = {"ways": names, "judged_loss": other.gradient()[0], "ways_not_converged": _astray(spectrum, settings)}
    return arrays, facts


def _astray(spectrum: Spectrum, settings: HessianSettings) -> list[str]:
    """Which end has not converged; a smallest eigenvalue that is 0 within a residual small beside λ₁ will do."""
    value, residual = abs(spectrum.bottom[0]), spectrum.bottom_residuals[0]
    zero = value <= residual <= settings.tolerance * abs(spectrum.top[0])
    known = {"largest": spectrum.converged_top[0], "smallest": spectrum.converged_bottom[0] or zero}
    return [end for end, settled in known.items() if not settled]


class _Stop:
    """Counts products, and remembers that it was asked to stop."""

    def __init__(self, ask: Ask) -> None:
        self.ask, self.wanted = ask, False

    def __call__(self, count: int) -> bool:
        self.wanted = self.ask(1) or self.wanted
        return self.wanted


def _basis(objective: Objective, settings: HessianSettings) -> int | None:
    """How many vectors Lanczos may hold; None for its own choice, where that fits."""
    usual = max(2 * (settings.top + settings.bottom) + 10, 24)
    vector = objective.size * objective.like.element_size()
    fitting = int(BASIS_SHARE * free_bytes(objective.problem.device) // max(1, vector))
    if usual <= fitting:
        return None
    fewest = settings.top + settings.bottom + 2
    if fitting < fewest:
        what = f"{fewest} vectors of {vector >> 20} MiB do not fit in memory"
        raise LandscapeError(f"the eigenvalues cannot be had: {what}", "ask for fewer, or take a larger machine")
    return fitting


def _ends(objective: Objective, spectrum: Spectrum, groups: list[torch.Tensor], stop: _Stop) -> dict[str, Floats]:
    """Both ends of the spectrum, and the curvature of each group of samples along its eigenvectors."""

    def curvatures(vectors: torch.Tensor) -> Floats:
        rows = [objective.curvature(vector[None], groups).numpy() for vector in vectors if not stop(1)]
        return np.concatenate([np.zeros((0, len(groups))), *rows])

    return {
        "top": spectrum.top,
        "top_residuals": spectrum.top_residuals,
        "top_converged": spectrum.converged_top.astype(float),
        "top_groups": curvatures(spectrum.top_vectors),
        "bottom": spectrum.bottom,
        "bottom_residuals": spectrum.bottom_residuals,
        "bottom_converged": spectrum.converged_bottom.astype(float),
        "bottom_groups": curvatures(spectrum.bottom_vectors),
    }


def products_asked(settings: HessianSettings) -> int:
    """The most products that the settings may take, those of the standard errors aside."""
    return 2 * settings.products + 3 * settings.probes + (settings.starts * settings.steps if settings.density else 0)
