"""What is measured of a neighbourhood on request: relative flatness of the last layer, and the Fisher-Rao norm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn

from landscape_cli.errors import LandscapeError
from landscape_cli.measure.curvature import curvatures
from landscape_cli.measure.model import out_of_memory
from landscape_cli.measure.objective import Objective
from landscape_cli.measure.perturb import Tick, every_group
from landscape_cli.measure.reduce import reduce_groups
from landscape_cli.measure.routes import probed
from landscape_cli.measure.ways import last_executed
from landscape_cli.profile import Floats

Slopes = Callable[[Objective, list[Tensor], Tensor], Tensor]


def last_linear(objective: Objective) -> str | None:
    """The weight of the last linear layer of a pass; None where there is none that is selected, or it is tied."""
    problem = objective.problem
    name = last_executed(problem, (nn.Linear,))
    held = [p for module in problem.model.modules() for p in module._parameters.values() if p is not None]
    weight = dict(problem.model.named_parameters()).get(name or "")
    return name if sum(p is weight for p in held) == 1 else None


def relative_flatness(objective: Objective, name: str, probes: int, seed: int, tick: Tick) -> Floats:
    """(probes, G) estimates, by sample group, of Σ ⟨w_s, w_s'⟩·tr H_ss' over pairs of rows of a weight W.

    Petzka et al. 2021, definition 3; H_ss' is the block of the Hessian between two rows. With R from a QR
    decomposition of Wᵀ and Z of independent normal entries, the rows of V = RᵀZ have E[v_s v_s'ᵀ] = ⟨w_s, w_s'⟩·I, so
    that each vᵀHv is an estimate without bias.
    """
    weight, generator = objective.problem.centre[name], torch.Generator().manual_seed(seed)
    triangle = torch.linalg.qr(weight.double().T, mode="r").R  # (k, outputs), k the smaller dimension
    groups, rows = every_group(objective.problem), []
    for _ in range(probes):
        noise = torch.randn(len(triangle), weight.shape[1], generator=generator, dtype=torch.float64)
        probe = (triangle.T @ noise.to(triangle)).reshape(-1)
        parts = [probe if n == name else t.new_zeros(t.numel()) for n, t in objective.problem.centre.items()]
        vector = torch.cat([part.to(objective.like) for part in parts])
        rows.append(curvatures(objective, vector[None], groups)[0].numpy())
        tick(1)
    return np.array(rows)


def fisher_rao(objective: Objective) -> tuple[Floats, str]:
    """(G,) the mean over each sample group of ⟨θ, ∇l_i⟩², and how the slopes were had.

    Their mean is ⟨θ, Fθ⟩ with the Fisher matrix of the data's own labels, Liang et al. 2019, definition 2. A sample
    counts by its weight; of tokens, a sample is a sequence and its loss their mean.
    """
    theta = objective.unflat(objective.centre())
    name = next(name for name in SLOPES if _works(objective, SLOPES[name], theta))
    slopes = objective.each_sample(lambda rows: SLOPES[name](objective, theta, rows))
    split = objective.split
    return reduce_groups(slopes[None] ** 2, split).cpu().numpy()[1:], name


def forward_mode(objective: Objective, along: list[Tensor], rows: Tensor) -> Tensor:
    """(B,) the derivative of each sample's loss along a vector, carried forward with it."""
    with forward_ad.dual_level():
        pairs = zip(objective.point(), along, strict=True)
        losses = objective.losses([forward_ad.make_dual(p, v) for p, v in pairs], rows)  # type: ignore[no-untyped-call]
        tangent: Tensor | None = forward_ad.unpack_dual(losses).tangent  # type: ignore[no-untyped-call]
    return torch.zeros_like(losses) if tangent is None else tangent


def twice_backward(objective: Objective, along: list[Tensor], rows: Tensor) -> Tensor:
    """The same by reverse mode alone: the slope of Σ vᵢ·lᵢ is linear in v, and differentiated by it."""
    points = [p.requires_grad_() for p in objective.point()]
    losses = objective.losses(points, rows)
    if not losses.requires_grad:
        return torch.zeros_like(losses)
    v = torch.ones_like(losses, requires_grad=True)
    gradients = torch.autograd.grad(losses, points, v, create_graph=True, materialize_grads=True)
    total = torch.stack([(g * a).sum() for g, a in zip(gradients, along, strict=True)]).sum()
    return torch.autograd.grad(total, v, materialize_grads=True)[0]


def one_by_one(objective: Objective, along: list[Tensor], rows: Tensor) -> Tensor:
    """The same, one backward pass for each sample."""
    found = []
    for row in torch.split(rows, 1):
        points = [p.requires_grad_() for p in objective.point()]
        loss = objective.losses(points, row)
        gradients = torch.autograd.grad(loss.sum(), points, materialize_grads=True) if loss.requires_grad else points
        total = torch.stack([(g * a).double().sum() for g, a in zip(gradients, along, strict=True)]).sum()
        found.append(total.detach() if loss.requires_grad else loss.new_zeros(()))
    return torch.stack(found)


# In the order in which they are tried: the fastest first.
SLOPES: dict[str, Slopes] = {
    "forward mode": forward_mode,
    "backward twice": twice_backward,
    "one sample at a time": one_by_one,
}


def _works(objective: Objective, slopes: Slopes, along: list[Tensor]) -> bool:
    """Whether the model has these derivatives, and one backward pass for each of a few samples agrees."""
    few = objective.on(probed(objective))
    try:
        found = few.each_sample(lambda rows: slopes(few, along, rows))
        exact = few.each_sample(lambda rows: one_by_one(few, along, rows))
    except (RuntimeError, NotImplementedError, LandscapeError) as error:
        if out_of_memory(error) or slopes is one_by_one:
            raise
        return False
    return bool(torch.allclose(found, exact.to(found), rtol=1e-3, atol=1e-6 * float(exact.abs().max()), equal_nan=True))
