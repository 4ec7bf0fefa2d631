"""The Hessian of the mean loss at the checkpoint, part by part: PARTS = {name: function}."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from landscape_cli.errors import LandscapeError
from landscape_cli.measure.budget import Ask, Budget, measured_in_time
from landscape_cli.measure.curvature import curvatures
from landscape_cli.measure.density import density
from landscape_cli.measure.gradient import sample_groups
from landscape_cli.measure.lanczos import Product, Spectrum, lanczos
from landscape_cli.measure.objective import Objective
from landscape_cli.measure.planner import in_place_plan
from landscape_cli.measure.precision import derivable
from landscape_cli.measure.problem import Problem, free_bytes
from landscape_cli.measure.routes import make_objective, refuse_false_gradient
from landscape_cli.measure.trace import PROBES, hutchpp
from landscape_cli.measure.ways import halves, judge, ways
from landscape_cli.section import Floats, Measured
from landscape_cli.settings import HessianSettings, seconds

BASIS_SHARE = 0.5  # of the free memory that the vectors of Lanczos may take


@dataclass(frozen=True)
class Run:
    """What the parts share."""

    objective: Objective
    groups: list[torch.Tensor]
    settings: HessianSettings
    budget: Budget

    def quick_ends(self, objective: Objective, top: int, bottom: int, product: Product | None = None) -> Spectrum:
        """The ends of a spectrum, equal eigenvalues not sought: of one objective, or of another matrix of its size."""
        return extremes(objective, replace(self.settings, search=False), top, bottom, self.budget, product)


def extremes(
    objective: Objective, settings: HessianSettings, top: int, bottom: int, budget: Budget,
    product: Product | None = None,
) -> Spectrum:  # fmt: skip
    """So many of the largest and of the smallest eigenvalues with their vectors, found as the settings say.

    Raises:
        LandscapeError: a product is not finite (exit 3), or the vectors do not fit in memory.
    """
    return lanczos(
        product or objective.product, objective.size, top=top, bottom=bottom, tolerance=settings.tolerance,
        products=settings.products, basis=_basis(objective, top, bottom), search=settings.search, seed=settings.seed,
        like=objective.like, on_product=budget,
    )  # fmt: skip


def eigenvalues(run: Run) -> Measured:
    """Both ends of the spectrum, and the curvature of each group of samples along its eigenvectors."""
    spectrum = extremes(run.objective, run.settings, run.settings.top, run.settings.bottom, run.budget)
    arrays = {
        "top": spectrum.top,
        "top_residuals": spectrum.top_residuals,
        "top_converged": spectrum.converged_top.astype(float),
        "bottom": spectrum.bottom,
        "bottom_residuals": spectrum.bottom_residuals,
        "bottom_converged": spectrum.converged_bottom.astype(float),
    }
    arrays["top_groups"] = _by_group(run, spectrum.top_vectors, spectrum.converged_top)
    arrays["bottom_groups"] = _by_group(run, spectrum.bottom_vectors, spectrum.converged_bottom)
    return arrays, {"eigenvalue_products": spectrum.products}


def _by_group(run: Run, vectors: torch.Tensor, converged: NDArray[np.bool_]) -> Floats:
    """(k, G) the curvature along each vector over each group; NaN of what has not converged, and after a stop."""
    rows = np.full((len(vectors), len(run.groups)), np.nan)
    for row, vector, known in zip(rows, vectors, converged, strict=True):
        if known and not run.budget.wanted:
            row[:] = curvatures(run.objective, vector[None], run.groups)[0].numpy()
            run.budget.spend(1)
    return rows


def trace(run: Run) -> Measured:
    """The trace and the squared Frobenius norm; nothing where the time does not suffice for ten probes."""
    settings, objective = run.settings, run.objective
    found = hutchpp(
        objective.product, objective.size, sketch=settings.probes, probes=settings.probes, seed=settings.seed,
        like=objective.like, on_product=run.budget,
    )  # fmt: skip
    if math.isnan(found.exact_part) or len(found.residuals) < PROBES:
        return {}, {}
    return {
        "trace_exact": np.array(found.exact_part),
        "trace_residuals": found.residuals,
        "squares": found.squares,
    }, {}


def ways_down(run: Run) -> Measured:
    """How the loss falls, on one half of the samples, along directions found on the other; nothing of under four."""
    if len(run.objective.rows) < 4:
        return {}, {}
    one, other = (run.objective.on(rows) for rows in halves(run.objective.rows, run.settings.seed))
    spectrum = run.quick_ends(one, 1, run.settings.bottom)
    if run.budget.stopped:
        return {}, {}
    arrays, found = judge(other, ways(one, spectrum, other), run.objective.split, run.budget)
    return arrays, {**found, "ways_not_converged": _astray(run, spectrum)}


def per_layer(run: Run) -> Measured:
    """The largest eigenvalue and the trace of each parameter tensor's own block."""
    ends = [_first(run.quick_ends(block, 1, 0)) for block in _blocks(run)]
    if run.budget.stopped:
        return {}, {}
    draw = torch.Generator().manual_seed(run.settings.seed)
    traces = torch.stack([_block_traces(run, draw) for _ in range(run.settings.probes)], dim=1)
    if run.budget.stopped:
        return {}, {}
    return {
        **{f"layer_{name}": column for name, column in zip(FIRST, np.array(ends).T, strict=True)},
        "layer_traces": traces.numpy(),
    }, {"layers": list(run.objective.problem.centre)}


FIRST = ("top", "residuals", "converged")


def _first(spectrum: Spectrum) -> tuple[float, float, float]:
    """The largest eigenvalue, its residual, and 1 if it has converged."""
    return float(spectrum.top[0]), float(spectrum.top_residuals[0]), float(spectrum.converged_top[0])


def _blocks(run: Run) -> Iterator[Objective]:
    """The objective as a function of one parameter tensor alone; none after a stop."""
    problem = run.objective.problem
    whole, _ = make_objective(problem, run.objective.split, run.objective.rows, run.objective.batch, fold=False)
    for name, tensor in problem.centre.items():
        if run.budget.stopped:
            return
        yield replace(
            whole,
            problem=replace(problem, centre={name: tensor}, parameters={name: problem.parameters[name]}),
        )


def _block_traces(run: Run, draw: torch.Generator) -> torch.Tensor:
    """(L,) z·Hz over each parameter tensor, for random signs z: means are traces of blocks (Hutchinson 1990)."""
    objective = run.objective
    signs = torch.randint(0, 2, (objective.size,), generator=draw).mul_(2).sub_(1).to(objective.like)
    products = signs * objective.product(signs)
    run.budget()
    return torch.stack([part.double().sum().cpu() for part in objective.unflat(products)])


def adam(run: Run) -> Measured:
    """The largest eigenvalue of P⁻¹H, P = √v̂ + ε of the Adam whose state the checkpoint holds: that of P^-½·H·P^-½."""
    objective = run.objective
    found, why = objective.problem.adam
    if found is not None and not objective.problem.centre.keys() <= found.scale.keys():
        found, why = None, "Adam's state lacks some of the selected parameters"
    if found is None:
        return {}, {"adam": why}
    scale = torch.cat([found.scale[name].reshape(-1) for name in objective.problem.centre]).to(objective.like)
    root = scale.rsqrt()
    ends = _first(run.quick_ends(objective, 1, 0, product=lambda v: root * objective.product(root * v)))
    return {f"adam_{name}": np.array(value) for name, value in zip(FIRST, ends, strict=True)}, {"adam_beta": found.beta}


def spectral_density(run: Run) -> Measured:
    """Nodes and weights of the starts that the time suffices for."""
    settings, objective = run.settings, run.objective
    found = density(
        objective.product, objective.size, starts=settings.starts, steps=settings.steps, seed=settings.seed,
        like=objective.like, on_product=run.budget,
    )  # fmt: skip
    if len(found.nodes) < 2:
        return {}, {}
    return {
        "density_nodes": found.nodes,
        "density_weights": found.weights,
        "density_residuals": found.residuals,
    }, {}


# In the order in which they are measured, and which of them the settings ask for.
PARTS: dict[str, Callable[[Run], Measured]] = {
    "eigenvalues": eigenvalues,
    "trace": trace,
    "ways down": ways_down,
    "adam": adam,
    "per layer": per_layer,
    "density": spectral_density,
}


def wanted_parts(settings: HessianSettings) -> list[str]:
    """The names of the parts that the settings ask for."""
    asked = {"per layer": settings.per_layer, "density": settings.density}
    return [name for name in PARTS if asked.get(name, True)]


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
    refuse_false_gradient(objective)
    run = Run(objective, groups, settings, Budget(ask, seconds(settings.time)))
    sizes = torch.stack([split.weights[g.to(split.weights.device)].sum() for g in groups])
    wanted = {name: functools.partial(PARTS[name], run) for name in wanted_parts(settings)}
    found = measured_in_time(wanted, run.budget)
    if found is None:
        return None
    return {"group_sizes": sizes.cpu().numpy(), **found[0]}, {
        "parameters": objective.size, "samples": sum(len(g) for g in groups), "products": run.budget.steps,
        "route": objective.route, "dtype": problem.dtype, "notes": [*told, *notes],
        "decay": problem.loss.settings.weight_decay, **found[1],
    }  # fmt: skip


def _astray(run: Run, spectrum: Spectrum) -> list[str]:
    """Which end has not converged; a smallest eigenvalue of J that is next to nothing beside λ₁ will do."""
    value, residual = (
        spectrum.bottom[0] + run.objective.problem.loss.settings.weight_decay,
        spectrum.bottom_residuals[0],
    )
    zero = max(abs(value), residual) <= run.settings.tolerance * abs(spectrum.top[0])
    known = {"largest": spectrum.converged_top[0], "smallest": spectrum.converged_bottom[0] or zero}
    return [end for end, settled in known.items() if not settled]


def _basis(objective: Objective, top: int, bottom: int) -> int | None:
    """How many vectors Lanczos may hold; None for its own choice, where that fits."""
    usual = max(2 * (top + bottom) + 10, 24)
    vector = objective.size * objective.like.element_size()
    fitting = int(BASIS_SHARE * free_bytes(objective.problem.device) // max(1, vector))
    if usual <= fitting:
        return None
    fewest = top + bottom + 2
    if fitting < fewest:
        what = f"{fewest} vectors of {vector >> 20} MiB do not fit in memory"
        raise LandscapeError(f"the eigenvalues cannot be had: {what}", "ask for fewer, or take a larger machine")
    return fitting


def products_asked(settings: HessianSettings, problem: Problem) -> int:
    """The most products that the settings may take, those of the standard errors aside."""
    layers = len(problem.centre) * settings.products + settings.probes if settings.per_layer else 0
    starts = settings.starts * settings.steps if settings.density else 0
    return 2 * settings.products + 3 * settings.probes + layers + starts
