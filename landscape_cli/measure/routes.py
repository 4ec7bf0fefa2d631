"""The route to Hessian products that a model has: tried on a few samples, the fastest first."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure.data import Split
from landscape_cli.measure.folding import differentiable
from landscape_cli.measure.model import functional, out_of_memory
from landscape_cli.measure.objective import ROUTES, Objective, double_backward, gradients_of
from landscape_cli.measure.precision import in_double
from landscape_cli.measure.problem import Problem, free_bytes

STEPS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)  # of a finite difference, in multiples of ‖θ‖
AGREE = 1e-3  # relative to its norm, between two ways to one product
PROBED = 8  # samples on which a way to products is tried
SHORT = 1e-8  # the step of a finite difference that a product in float64 is compared with, in multiples of ‖θ‖
VECTORS = 10  # of float64 that comparing a gradient with the loss holds at most, its copy of the model included
ALONG = 6  # directions along which a gradient is compared with the loss itself
ASIDE, CHANGE = 1e-3, 1e-6  # how far off the checkpoint, and the step of the loss's difference, in multiples of ‖θ‖
FALSE = 0.05  # of their size, what a gradient and the loss's differences cannot disagree by
ROOM = 0.1  # of the free memory that a copy in float64 may take
REFERENCES = ("double backward", "double backward, native kernels", "forward over reverse")


def make_objective(
    problem: Problem, split: Split, rows: Tensor, batch: int, fold: bool = True
) -> tuple[Objective, tuple[str, ...]]:
    """The objective by the fastest route that this model has, and what the user should know about it.

    A route is taken when it agrees with another one on a few samples; finite differences where there is no other.

    Raises:
        LandscapeError: the loss has no gradient at all.
    """
    plain = Objective(problem, split, rows, batch, functional(problem.model, problem.settings))
    _first_derivative(plain)
    reference = next((name for name in REFERENCES if _right(plain, name)), None)
    wanted = None if reference is None else _tried(plain, reference)
    if reference is None or wanted is None:
        return _by_differences(plain)
    for name in list(ROUTES)[: list(ROUTES).index(reference)]:
        if ROUTES[name].folded and not fold:
            continue
        candidate = _folded(plain) if ROUTES[name].folded else plain
        product = None if candidate is None else _tried(candidate, name)
        if candidate is not None and product is not None and _close(product, wanted):
            return replace(candidate, route=name), ()
    return replace(plain, route=reference), ()


def _right(objective: Objective, route: str) -> bool:
    """Whether a product is what gradients on both sides differ by: a layer's second derivative may be wrong, silently.

    In float64, where a step is so short that it crosses no kink. Where there is no room or no float64, or the point
    itself is on a kink, so that differences grow as the step shrinks, uᵀHv = vᵀHu is all that is asked.
    """
    if _tried(objective, route) is None:
        return False
    size = objective.size * torch.float64.itemsize
    try:
        few = _in_double(objective) if size < ROOM * free_bytes(objective.problem.device) else None
        found = None if few is None else _tried(few, route)
        exact = None if few is None else _tried(replace(few, step=SHORT), "finite differences")
        longer = None if few is None else _tried(replace(few, step=10 * SHORT), "finite differences")
    except (RuntimeError, NotImplementedError, LandscapeError):
        return _symmetric(objective, route)
    if found is None or exact is None or longer is None or not _close(longer, exact):
        return _symmetric(objective, route)
    return _close(found, exact) or not bool(found.isfinite().all())  # which the products themselves will say


def _in_double(objective: Objective) -> Objective:
    """The same of a few samples, in float64."""
    rows, problem = probed(objective), objective.problem
    part = objective.split.select(rows)
    double = in_double(replace(problem, splits={part.name: part}))
    forward = functional(double.model, problem.settings)
    return Objective(double, double.splits[part.name], torch.arange(len(rows)), objective.batch, forward)


def _symmetric(objective: Objective, route: str) -> bool:
    """Whether uᵀHv = vᵀHu."""
    one, other = (_tried(objective, route, seed) for seed in (0, 1))
    if one is None or other is None:
        return False
    u, v = (_drawn(objective, seed).double().to(one) for seed in (0, 1))
    scale = float(torch.maximum(one.norm(), other.norm()))
    return bool(abs(float(u @ other - v @ one)) <= AGREE * scale) or not bool(one.isfinite().all())


def _drawn(objective: Objective, seed: int) -> Tensor:
    return torch.randn(objective.size, generator=torch.Generator().manual_seed(seed)).to(objective.like)


def _tried(objective: Objective, route: str, seed: int = 0) -> Tensor | None:
    """A product with a random vector over a few samples; None where this route does not exist for the model."""
    few = replace(objective, rows=probed(objective), route=route)
    if ROUTES[route].product is double_backward and _once_differentiable(few):
        return None
    try:
        return few.product(_drawn(objective, seed)).double()
    except (RuntimeError, NotImplementedError, LandscapeError) as error:
        if out_of_memory(error):
            raise
        return None


def probed(objective: Objective) -> Tensor:
    """The first few of the samples that count, as many as a pass takes."""
    counted = objective.split.counted.cpu()[objective.rows]
    return objective.rows[counted][: min(PROBED, objective.batch)]


def _once_differentiable(objective: Objective) -> bool:
    """True if the gradient's graph holds a node that would raise: a second derivative leaves it out, silently."""
    with objective.differentiating():
        try:
            points = [p.requires_grad_() for p in objective.point()]
            loss = objective.part_of_mean(points, objective.rows)
            one = torch.ones_like(loss, requires_grad=True)  # else a node that a constant feeds is not recorded
            gradients = gradients_of(loss * one, points, create_graph=True)
        except (RuntimeError, NotImplementedError, LandscapeError):
            return False  # and the route will say so
        waiting = [g.grad_fn for g in gradients if g.grad_fn is not None]
        seen = set(waiting)
        while waiting:
            node = waiting.pop()
            if node.name().endswith("Error"):
                return True
            following = {edge[0] for edge in node.next_functions if edge[0] is not None} - seen
            seen |= following
            waiting += following
    return False


def _by_differences(plain: Objective) -> tuple[Objective, tuple[str, ...]]:
    """Finite differences with the step at which a longer and a shorter one agree best."""
    tried = [_tried(replace(plain, step=step), "finite differences") for step in STEPS]
    found = [(float((a - b).norm() / b.norm()), s) for a, b, s in zip(tried, tried[1:], STEPS[1:], strict=False)
             if a is not None and b is not None and float(b.norm()) > 0]  # fmt: skip
    error, step = min(found, default=(0.0, STEPS[4]))
    note = (
        f"the model has no second derivative: products with its Hessian are finite differences of gradients, with a "
        f"step of {step:g}·‖θ‖, and change by {error:.1g} of their norm with the step"
    )
    return replace(plain, route="finite differences", step=step), (note,)


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= AGREE * b.norm()) or not bool(b.isfinite().all())


def _folded(plain: Objective) -> Objective | None:
    """The same objective by the traced model with its batch norms folded; None where there is nothing to fold."""
    try:
        with plain.problem.measuring():
            module = differentiable(plain.problem)
    except LandscapeError:
        return None
    return replace(plain, forward=functional(module, plain.problem.settings), split=plain.split.channels_last())


def refuse_false_gradient(objective: Objective) -> None:
    """Refuse a model whose gradient is, by a detached part or a backward of its own, not the derivative of its loss.

    Along some directions, in float64, a little way off the checkpoint, whose own point may be on a kink. A difference
    that changes with its step, or is lost in rounding, says nothing.

    Raises:
        LandscapeError: the loss changes otherwise than its gradient says (exit 3).
    """
    if VECTORS * objective.size * torch.float64.itemsize >= free_bytes(objective.problem.device):
        return
    try:
        few = _in_double(objective)
        norm = float(few.centre().norm()) or 1.0
        aside = ASIDE * norm * _unit(few, ALONG)
        gradient = few.gradient(aside)[1]
        slopes = [_slopes(few, aside, _unit(few, seed), norm, gradient) for seed in range(ALONG)]
        found = torch.tensor(slopes, dtype=torch.float64)
    except (RuntimeError, NotImplementedError, LandscapeError) as error:
        if out_of_memory(error):
            raise
        return
    said, short, shorter = found.T
    size = max(float(short.norm()), float(said.norm()))
    known = ((short - shorter).abs() <= 0.01 * size) & (short != 0)
    if known.sum() > ALONG / 2 and float((short - said)[known].norm()) > FALSE * float(said[known].norm()):
        what = "the gradient is not the derivative of the loss, so that its curvature means nothing"
        hint = "is there a .detach(), a rounding or a backward of its own? leave out what is frozen: model.parameters"
        raise LandscapeError(what, hint, ExitCode.INCONCLUSIVE)


def _slopes(objective: Objective, at: Tensor, unit: Tensor, norm: float, gradient: Tensor) -> list[float]:
    """How steeply the loss rises along a unit vector as its gradient says, and by two differences of its own."""

    def loss(moved: Tensor) -> float:
        with objective.problem.measuring():
            return float(objective.part_of_mean(objective.point(moved), objective.rows))

    steps = [CHANGE * norm, CHANGE * norm / 10]
    return [float(gradient @ unit), *[(loss(at + h * unit) - loss(at - h * unit)) / (2 * h) for h in steps]]


def _unit(objective: Objective, seed: int) -> Tensor:
    """A random direction; 0 where an embedding's padding is, whose gradient is left out by design."""
    drawn = _drawn(objective, seed).double()
    parts = dict(zip(objective.problem.centre, objective.unflat(drawn), strict=True))
    for name, module in objective.problem.model.named_modules():
        weight = parts.get(f"{name}.weight" if name else "weight")
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.padding_idx is not None and weight is not None:
            weight[module.padding_idx] = 0
    return torch.nn.functional.normalize(drawn, dim=0)


def _first_derivative(plain: Objective) -> None:
    """Refuse a loss that has no gradient, or does not depend on the parameters at all."""
    few, why = plain.on(probed(plain)), ""
    try:
        with few.differentiating():
            points = [p.requires_grad_() for p in few.point()]
            loss = few.part_of_mean(points, few.rows)
            if loss.requires_grad:
                gradients_of(loss, points)
            else:
                why = "nothing in it depends on the selected parameters"
    except (RuntimeError, NotImplementedError) as error:
        if out_of_memory(error):
            raise
        why = str(error).splitlines()[0]
    if why:
        hint = "is there a .detach(), .item() or numpy in the model or the loss?"
        raise LandscapeError(f"the loss has no gradient: {why}", hint, ExitCode.INCONCLUSIVE)
