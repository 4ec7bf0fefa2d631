"""Directions derived from the loss: its gradient, and eigenvectors of its Hessian.

They are computed once for all planes of a job, before any plane is made. No seed regenerates them on every machine, so
they are rounded to float32, and what is measured along is what a file keeps.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure.budget import Ask, Budget
from landscape_cli.measure.directions import Lazy, Vector, tensors_in, tensors_sha256
from landscape_cli.measure.gradient import sample_groups
from landscape_cli.measure.hessian import extremes
from landscape_cli.measure.lanczos import Spectrum
from landscape_cli.measure.objective import Objective
from landscape_cli.measure.planner import in_place_plan
from landscape_cli.measure.precision import derivable
from landscape_cli.measure.problem import Problem, Tensors
from landscape_cli.measure.routes import make_objective, refuse_false_gradient
from landscape_cli.profile import Floats
from landscape_cli.settings import HessianSettings


def stand_ins(problem: Problem, specs: Iterable[str], settings: HessianSettings) -> dict[str, Vector]:
    """Random unit vectors in their place: all about a plane but its directions can be checked, and timed, with them.

    Raises:
        LandscapeError: there is no such eigenvector.
    """
    return {spec: Vector(_random(problem, spec), _made_from(problem, spec, settings)) for spec in specs}


def _random(problem: Problem, spec: str) -> Mapping[str, Tensor]:
    size = math.sqrt(sum(t.numel() for t in problem.centre.values()))

    def draw(name: str) -> Tensor:
        digest = hashlib.sha256(f"{spec}/{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return torch.randn(problem.centre[name].shape, generator=generator, dtype=torch.float32) / size

    return Lazy(problem.centre, draw)


def kept(
    problem: Problem, spec: str, settings: HessianSettings, arrays: Mapping[str, Any], folder: str, sha256: str
) -> Vector | None:
    """A direction from the folder of a file of arrays; None where it is not the one of this SHA-256.

    Raises:
        LandscapeError: the folder does not hold one for this model.
    """
    vector = Vector(tensors_in(problem, arrays, folder, "the file"), _made_from(problem, spec, settings))
    return vector if sha256_of(problem, vector) == sha256 else None


def sha256_of(problem: Problem, vector: Vector) -> str:
    """The SHA-256 that the recipe of its direction holds."""
    moved = Lazy(problem.centre, lambda name: vector.parameters[name].to(problem.centre[name]))
    return tensors_sha256(moved, {})


def derive(problem: Problem, specs: Iterable[str], settings: HessianSettings, ask: Ask) -> dict[str, Vector] | None:
    """The directions, computed; None where it was asked to stop.

    Args:
        specs: `gradient`, `hessian:K`.
        settings: of the eigenvectors; how many of each end is taken from the specs.
        ask: called after each step (a group of samples, a Hessian product) with 1; true asks to stop.

    Raises:
        LandscapeError: the loss has no gradient, or one that is not finite (exit 3); an eigenvector that there is not,
            or that has not converged (exit 3).
    """
    specs = set(specs)
    found: dict[str, Vector] = {}
    if "gradient" in specs:
        summed = _gradient(derivable(problem)[0], ask)
        if summed is None:
            return None
        found["gradient"] = Vector(_rounded(problem, "gradient", summed), _made_from(problem, "gradient", settings))
    ranks = {spec: _rank(problem, spec) for spec in sorted(specs) if spec.startswith("hessian")}
    eigenvectors = _eigenvectors(problem, ranks, settings, ask) if ranks else {}
    return None if eigenvectors is None else found | eigenvectors


def steps(problem: Problem, specs: Iterable[str], settings: HessianSettings) -> int:
    """How often `derive` asks whether to stop, at most."""
    kinds = {spec.partition(":")[0] for spec in specs}
    groups = len(next(iter(problem.splits.values())).group_rows)
    return ("gradient" in kinds) * groups + ("hessian" in kinds) * settings.products


def _gradient(problem: Problem, ask: Ask) -> Tensor | None:
    """(P,) the gradient of the first split's mean loss, in float64; None where it was asked to stop."""
    split = next(iter(problem.splits.values()))
    groups = sample_groups(split, None, 0)
    objective, _ = make_objective(problem, split, torch.cat(groups), in_place_plan(problem).batch)
    refuse_false_gradient(objective)
    sizes = torch.stack([split.weights[g.to(split.weights.device)].sum() for g in groups])
    shares = (sizes / sizes.sum()).tolist()
    total = torch.zeros(objective.size, dtype=torch.float64)
    for group, share in zip(groups, shares, strict=True):
        total += share * objective.on(group).gradient()[1].cpu()
        if ask(1):
            return None
    return total


def _eigenvectors(
    problem: Problem, ranks: Mapping[str, int], settings: HessianSettings, ask: Ask
) -> dict[str, Vector] | None:
    """By one run of Lanczos; None where it was asked to stop."""
    top, bottom = max(0, *ranks.values()), max(0, *(-k for k in ranks.values()))
    objective, notes = _objective(problem, settings)
    budget = Budget(ask)
    spectrum = extremes(objective, settings, top, bottom, budget)
    if budget.wanted:
        return None
    ends = _ends(spectrum)
    for sign, wanted in ((1, top), (-1, bottom)):
        _check_converged(ends[sign], sign, wanted, spectrum.products, settings)
    found = {}
    for spec, k in ranks.items():
        end, i = ends[1 if k > 0 else -1], abs(k) - 1
        made = {"eigenvalue": float(end.values[i]), "residual": float(end.residuals[i])}
        parameters = _signed(_rounded(problem, spec, end.vectors[i]))
        found[spec] = Vector(parameters, {**_made_from(problem, spec, settings), **made}, notes)
    return found


@dataclass(frozen=True)
class _End:
    """One end of a spectrum, from the outside in."""

    values: Floats
    residuals: Floats
    vectors: Tensor
    converged: NDArray[np.bool_]


ROUNDED = "set hessian.dtype to float64, for rounding stands in the way; or ask for fewer"


def _ends(spectrum: Spectrum) -> dict[int, _End]:
    """The largest eigenvalues under 1, the smallest under -1."""
    top = _End(spectrum.top, spectrum.top_residuals, spectrum.top_vectors, spectrum.converged_top)
    bottom = _End(spectrum.bottom, spectrum.bottom_residuals, spectrum.bottom_vectors, spectrum.converged_bottom)
    return {1: top, -1: bottom}


def _objective(problem: Problem, settings: HessianSettings) -> tuple[Objective, tuple[str, ...]]:
    """The mean loss over the samples whose Hessian is meant."""
    precise = derivable(problem, settings.dtype)[0]
    split = next(iter(precise.splits.values()))
    rows = torch.cat(sample_groups(split, settings.samples, settings.seed))
    objective, notes = make_objective(precise, split, rows, in_place_plan(precise).batch)
    refuse_false_gradient(objective)
    return objective, notes


def _check_converged(end: _End, sign: int, wanted: int, products: int, settings: HessianSettings) -> None:
    """All up to the last one asked for: an earlier one that has not been found would make it another's."""
    found = min(wanted, int(np.append(end.converged, False).argmin()))
    if found == wanted:
        return
    known = (
        f": its eigenvalue is {end.values[found]:.4g} ± {end.residuals[found]:.2g}" if found < len(end.values) else ""
    )
    what = f"the eigenvector hessian:{sign * (found + 1)} has not converged in {products} products{known}"
    more = f"raise hessian.products ({settings.products} now)"
    hint = f"{more if products >= settings.products else ROUNDED}, or hessian.tolerance ({settings.tolerance:g})"
    raise LandscapeError(what, hint, ExitCode.INCONCLUSIVE)


def _rounded(problem: Problem, spec: str, vector: Tensor) -> Tensors:
    """The vector (P,) as float32 tensors by parameter.

    Raises:
        LandscapeError: it is not finite (exit 3).
    """
    flat = vector.detach().to("cpu", torch.float32)
    if not bool(flat.isfinite().all()):
        hint = "look at the loss and its derivative there: a root or a logarithm of 0?"
        raise LandscapeError(f"the direction {spec} is not finite", hint, ExitCode.INCONCLUSIVE)
    parts = torch.split(flat, [t.numel() for t in problem.centre.values()])
    return {n: part.reshape(t.shape).clone() for (n, t), part in zip(problem.centre.items(), parts, strict=True)}


def _signed(parameters: Mapping[str, Tensor]) -> Tensors:
    """An eigenvector has no sign of its own: the first of its largest entries is made positive."""
    flat = torch.cat([t.reshape(-1) for t in parameters.values()])
    sign = -1.0 if float(flat[flat.abs() == flat.abs().max()][0]) < 0 else 1.0
    return {name: sign * tensor for name, tensor in parameters.items()}


def _made_from(problem: Problem, spec: str, settings: HessianSettings) -> dict[str, Any]:
    """What a derived direction adds to its recipe, and to its plane's fingerprint."""
    split = next(iter(problem.splits.values()))
    if spec.partition(":")[0] == "gradient":
        return {"over": [split.name, split.sha256]}
    chosen = settings.samples is not None and settings.samples < len(split)
    return {
        "eigenvector": _rank(problem, spec),
        "over": [split.name, split.sha256],
        "samples": settings.samples if chosen else len(split),
        "hessian": [settings.seed, settings.tolerance, settings.dtype],
    }


def _rank(problem: Problem, spec: str) -> int:
    """K of `hessian:K`: 1 is the largest eigenvalue, -1 the smallest."""
    size = sum(t.numel() for t in problem.centre.values())
    text = spec.partition(":")[2]
    hint = "hessian:1 is the eigenvector of the largest eigenvalue, hessian:2 of the next; hessian:-1 of the smallest"
    if not re.fullmatch(r"-?[1-9][0-9]{0,17}", text):
        raise LandscapeError(f"the direction {spec!r} cannot be used: {text!r} is no rank", hint)
    if abs(int(text)) > size:
        raise LandscapeError(f"the direction {spec!r} cannot be used: {size} parameters have {size} eigenvalues", hint)
    return int(text)
