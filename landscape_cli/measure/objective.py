"""Objective: the mean loss of fixed samples as a function of the selected parameters, with two derivatives.

A vector of parameter space is one flat tensor, the parameters in the order of `problem.centre`. A derivative is the sum
over batches of samples of each batch's own, in float64.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure import data
from landscape_cli.measure.data import Inputs, Split, sums_on
from landscape_cli.measure.folding import differentiable
from landscape_cli.measure.model import DTYPES, cast, forward_of, functional, out_of_memory
from landscape_cli.measure.problem import Problem, Tensors

STEPS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)  # of a finite difference, in multiples of ‖θ‖
AGREE = 1e-3  # relative to its norm, between two ways to one product
PROBED = 8  # samples on which a way to products is tried
Forward = Callable[[Tensors, Inputs], Tensor]


@dataclass(frozen=True)
class Objective:
    """The mean loss over some samples of one split.

    Attributes:
        rows: (n,) the samples, on the CPU.
        batch: how many of them are differentiated at a time.
        forward: the model's outputs, as a function of its parameters and a batch of inputs.
        route: how products with the Hessian are formed, a name of ROUTES.
        step: of finite differences, in multiples of ‖θ‖.
    """

    problem: Problem
    split: Split
    rows: Tensor
    batch: int
    forward: Forward
    route: str = "double backward"
    step: float = 1e-3

    @property
    def size(self) -> int:
        """P, the number of selected parameters."""
        return sum(t.numel() for t in self.problem.centre.values())

    @property
    def like(self) -> Tensor:
        """An empty tensor of the dtype and device of a vector."""
        return next(iter(self.problem.parameters.values())).new_empty(0)

    def centre(self) -> Tensor:
        """(P,) the checkpoint's own parameters."""
        return flat(list(self.problem.centre.values())).to(self.like)

    def on(self, rows: Tensor) -> Objective:
        """The same of other samples."""
        return replace(self, rows=rows)

    def gradient(self) -> tuple[float, Tensor]:
        """The mean loss and its gradient (P,) in float64, at the checkpoint."""
        total = torch.zeros((), dtype=torch.float64)

        def one(rows: Tensor) -> list[Tensor]:
            points = [t.requires_grad_() for t in self._point()]
            loss = self._loss(points, rows)
            total.add_(loss.detach().cpu())
            return _gradients(loss, points)

        summed = self._sum(one)
        return float(total), summed

    def product(self, vector: Tensor) -> Tensor:
        """(P,) the Hessian of the mean loss at the checkpoint, times a vector (P,); in the vector's dtype."""
        along = self.unflat(vector.to(self.like))
        function = ROUTES[self.route].product
        return self._sum(lambda rows: function(self, along, rows)).to(vector.dtype)

    def curvature(self, vectors: Tensor, groups: list[Tensor]) -> Tensor:
        """(vectors, groups) uᵀHu of each vector over each group of samples, in float64."""
        rows = [[self.on(group).product(v.to(self.like)).double() @ v.double() for group in groups] for v in vectors]
        return torch.tensor([[float(x) for x in row] for row in rows], dtype=torch.float64)

    def _point(self) -> list[Tensor]:
        """Fresh copies of the checkpoint's parameters, in the dtype of the model."""
        pairs = zip(self.problem.centre.values(), self.problem.parameters.values(), strict=True)
        return [centre.to(parameter.dtype, copy=True) for centre, parameter in pairs]

    def _loss(self, point: list[Tensor], rows: Tensor) -> Tensor:
        """This batch's part of the mean loss, float64."""
        problem, split = self.problem, self.split
        where = rows.to(split.targets.device)
        inputs = data.apply(lambda t: t[rows.to(t.device)].to(problem.device), split.inputs)
        outputs = self.forward(dict(zip(problem.centre, point, strict=True)), inputs).to(sums_on(problem.device))
        losses = problem.loss.alone(outputs, split.targets[where].to(outputs.device))
        weights = split.weights[rows.to(split.weights.device)]
        return torch.where(weights > 0, losses * weights, 0.0).sum() / self._weight

    @property
    def _weight(self) -> Tensor:
        return self.split.weights[self.rows.to(self.split.weights.device)].sum()

    def _sum(self, one: Callable[[Tensor], list[Tensor]]) -> Tensor:
        """The sum over the batches, in float64; a batch that does not fit is taken in halves."""
        total = torch.zeros(self.size, dtype=torch.float64, device=sums_on(self.problem.device))
        size, start = self.batch, 0
        with self.differentiating():
            while start < len(self.rows):
                try:
                    part = one(self.rows[start : start + size])
                except (RuntimeError, MemoryError) as error:
                    if not out_of_memory(error) or size == 1:
                        raise
                    part = None
                if part is None:  # outside of the handler, whose traceback would keep the tensors alive
                    size = max(1, size // 2)
                    continue
                total += flat(part).to(total)
                start += size
        return total

    @contextlib.contextmanager
    def differentiating(self) -> Iterator[None]:
        """Gradients on, and kernels that have a second derivative."""
        off = torch.backends.mkldnn.flags(enabled=False) if ROUTES[self.route].native else contextlib.nullcontext()
        with self.problem.measuring(), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), off:
            yield

    def unflat(self, vector: Tensor) -> list[Tensor]:
        """Views of a flat vector in the shapes of the parameters."""
        sizes = [t.numel() for t in self.problem.centre.values()]
        parts = zip(torch.split(vector, sizes), self.problem.centre.values(), strict=True)
        return [part.view(tensor.shape) for part, tensor in parts]


def flat(tensors: list[Tensor]) -> Tensor:
    """Tensors as one vector."""
    return torch.cat([t.reshape(-1) for t in tensors])


def _gradients(loss: Tensor, points: list[Tensor], create_graph: bool = False) -> list[Tensor]:
    """The gradient by each parameter; 0 where the loss does not depend on it."""
    if not loss.requires_grad:
        return [torch.zeros_like(p) for p in points]
    return list(torch.autograd.grad(loss, points, create_graph=create_graph, materialize_grads=True))


def forward_over_reverse(objective: Objective, along: list[Tensor], rows: Tensor) -> list[Tensor]:
    """The gradient's derivative along a vector, carried forward with it (Pearlmutter 1994)."""
    with forward_ad.dual_level():
        pairs = zip(objective._point(), along, strict=True)
        points = [forward_ad.make_dual(p.requires_grad_(), v) for p, v in pairs]  # type: ignore[no-untyped-call]
        gradients = _gradients(objective._loss(points, rows), points)
        tangents = [forward_ad.unpack_dual(g).tangent for g in gradients]  # type: ignore[no-untyped-call]
    return [torch.zeros_like(v) if t is None else t for t, v in zip(tangents, along, strict=True)]


def double_backward(objective: Objective, along: list[Tensor], rows: Tensor) -> list[Tensor]:
    """The gradient of gradient · vector."""
    points = [p.requires_grad_() for p in objective._point()]
    gradients = _gradients(objective._loss(points, rows), points, create_graph=True)
    return _gradients(sum_of_products(gradients, along), points)


def finite_differences(objective: Objective, along: list[Tensor], rows: Tensor) -> list[Tensor]:
    """(∇L(θ + hv) - ∇L(θ - hv)) / 2h; its error is of the order of h² and of rounding / h."""
    norm = float(flat(along).double().norm())
    if norm == 0:
        return [torch.zeros_like(v) for v in along]
    h = objective.step * (float(flat(objective._point()).double().norm()) or 1.0) / norm

    def at(sign: float) -> list[Tensor]:
        moved = [(p + sign * h * v).requires_grad_() for p, v in zip(objective._point(), along, strict=True)]
        return _gradients(objective._loss(moved, rows), moved)

    return [(a - b) / (2 * h) for a, b in zip(at(1.0), at(-1.0), strict=True)]


def sum_of_products(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Σ aᵢ·bᵢ over all entries."""
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum()


@dataclass(frozen=True)
class Route:
    """A way to Hessian products: on the folded model or the model itself, with oneDNN's kernels or PyTorch's own."""

    product: Callable[[Objective, list[Tensor], Tensor], list[Tensor]]
    folded: bool = False
    native: bool = False


# In the order in which they are tried, the fastest first as a rule: forward over reverse takes 0.85 times as long as
# double backward for convolutions, 1.3 times for linear layers and attention, 50 times for a handful of parameters.
ROUTES: dict[str, Route] = {
    "forward over reverse, folded": Route(forward_over_reverse, folded=True),
    "double backward": Route(double_backward),
    "forward over reverse": Route(forward_over_reverse),
    "double backward, native kernels": Route(double_backward, native=True),
    "finite differences": Route(finite_differences),
}


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
    few = replace(objective, rows=_probed(objective), route=route)
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


def _probed(objective: Objective) -> Tensor:
    """The first few of the samples that count."""
    counted = objective.split.counted.cpu()[objective.rows]
    return objective.rows[counted][:PROBED]


def _once_differentiable(objective: Objective) -> bool:
    """True if the gradient's graph holds a node that would raise: a second derivative leaves it out, silently."""
    with objective.differentiating():
        try:
            points = [p.requires_grad_() for p in objective._point()]
            gradients = _gradients(objective._loss(points, objective.rows), points, create_graph=True)
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
        objective.on(_probed(objective)).gradient()
    except (RuntimeError, NotImplementedError) as error:
        if out_of_memory(error):
            raise
        first = str(error).splitlines()[0]
        hint = "is there a .detach(), .item() or numpy in the model or the loss?"
        raise LandscapeError(f"the loss has no gradient: {first}", hint, ExitCode.INCONCLUSIVE) from error


def derivable(problem: Problem, dtype: str | None = None) -> tuple[Problem, tuple[str, ...]]:
    """The problem in the precision of its derivatives, float32 at least, and a note where that is not the run's."""
    if dtype == "float64":
        return in_double(problem), ()
    if DTYPES[problem.dtype] in (torch.float32, torch.float64):
        return problem, ()
    note = f"derivatives are in float32: those of {problem.dtype} hold two digits; weights and samples are the run's"
    return in_precision(problem, "float32"), (note,)


def in_double(problem: Problem) -> Problem:
    """The same problem in float64."""
    return in_precision(problem, "float64")


def in_precision(problem: Problem, dtype: str) -> Problem:
    """The same problem in float32 or float64: a copy of the model at the checkpoint's own values, and the samples."""
    kind = DTYPES[dtype]
    model = cast(copy.deepcopy(problem.model), kind)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    with torch.no_grad():
        for name, value in [*problem.centre.items(), *problem.centre_buffers.items()]:
            (parameters if name in parameters else buffers)[name].copy_(value)

    def converted(split: Split) -> Split:
        inputs = data.apply(lambda t: t.to(kind) if t.is_floating_point() else t, split.inputs)
        return replace(split, inputs=inputs)

    return replace(
        problem,
        model=model,
        parameters={name: parameters[name].data for name in problem.parameters},
        buffers={name: buffers[name] for name in problem.buffers},
        centre={name: tensor.to(kind) for name, tensor in problem.centre.items()},
        centre_buffers={name: tensor.to(kind) for name, tensor in problem.centre_buffers.items()},
        splits={name: converted(split) for name, split in problem.splits.items()},
        forward=forward_of(model, problem.settings),
        dtype=dtype,
    )
