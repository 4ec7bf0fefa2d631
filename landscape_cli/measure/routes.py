"""The route to Hessian products that a model has: tried on a few samples, the fastest first."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure.data import Split
from landscape_cli.measure.folding import differentiable
from landscape_cli.measure.model import functional, out_of_memory
from landscape_cli.measure.objective import ROUTES, Objective, double_backward, gradients_of
from landscape_cli.measure.problem import Problem

STEPS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)  # of a finite difference, in multiples of ‖θ‖
AGREE = 1e-3  # relative to its norm, between two ways to one product
PROBED = 8  # samples on which a way to products is tried


def make_objective(problem: Problem, split: Split, rows: Tensor, batch: int) -> tuple[Objective, tuple[str, ...]]:
    """The objective by the fastest route that this model has, and what the user should know about it.

    A route is taken when it agrees with another one on a few samples; finite differences where there is no other.

    Raises:
        LandscapeError: the loss has no gradient at all.
    """
    plain = Objective(problem, split, rows, batch, functional(problem.model, problem.settings))
    found = ((name, _tried(plain, name)) for name in ("double backward", "double backward, native kernels"))
    reference, wanted = next(((n, product) for n, product in found if product is not None), (None, None))
    if reference is None or wanted is None:
        _first_derivative(plain)
        return _by_differences(plain)
    for name in list(ROUTES)[: list(ROUTES).index(reference)]:
        candidate = _folded(plain) if ROUTES[name].folded else plain
        product = None if candidate is None else _tried(candidate, name)
        if candidate is not None and product is not None and _close(product, wanted):
            return replace(candidate, route=name), ()
    return replace(plain, route=reference), ()


def _tried(objective: Objective, route: str) -> Tensor | None:
    """A product with a random vector over a few samples; None where this route does not exist for the model."""
    few = replace(objective, rows=probed(objective), route=route)
    if ROUTES[route].product is double_backward and _once_differentiable(few):
        return None
    draw = torch.Generator().manual_seed(0)
    vector = torch.randn(objective.size, generator=draw).to(objective.like)
    try:
        return few.product(vector).double()
    except (RuntimeError, NotImplementedError, LandscapeError) as error:
        if out_of_memory(error):
            raise
        return None


def probed(objective: Objective) -> Tensor:
    """The first few of the samples that count."""
    counted = objective.split.counted.cpu()[objective.rows]
    return objective.rows[counted][:PROBED]


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


def _first_derivative(objective: Objective) -> None:
    """Refuse a loss without a gradient."""
    try:
        objective.on(probed(objective)).gradient()
    except (RuntimeError, NotImplementedError) as error:
        if out_of_memory(error):
            raise
        first = str(error).splitlines()[0]
        hint = "is there a .detach(), .item() or numpy in the model or the loss?"
        raise LandscapeError(f"the loss has no gradient: {first}", hint, ExitCode.INCONCLUSIVE) from error
