"""Objective: the mean loss of fixed samples as a function of the selected parameters, with two derivatives.

A vector of parameter space is one flat tensor, the parameters in the order of `problem.centre`. A derivative is the sum
over batches of samples of each batch's own, in float64.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape_cli.measure import data
from landscape_cli.measure.data import Inputs, Split, sums_on
from landscape_cli.measure.model import out_of_memory
from landscape_cli.measure.problem import Problem, Tensors

Forward = Callable[[Tensors, Inputs], Tensor]
T = TypeVar("T")


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

    def gradient(self, moved: Tensor | None = None) -> tuple[float, Tensor]:
        """The mean loss and its gradient (P,) in float64, at the checkpoint or displaced from it by a vector (P,)."""
        total = torch.zeros((), dtype=torch.float64)

        def one(rows: Tensor) -> list[Tensor]:
            points = [t.requires_grad_() for t in self.point(moved)]
            loss = self.part_of_mean(points, rows)
            total.add_(loss.detach().cpu())
            return gradients_of(loss, points)

        summed = self._sum(one)
        return float(total), summed

    def product(self, vector: Tensor) -> Tensor:
        """(P,) the Hessian of the mean loss at the checkpoint, times a vector (P,); in the vector's dtype."""
        along = self.unflat(vector.to(self.like))
        function = ROUTES[self.route].product
        return self._sum(lambda rows: function(self, along, rows)).to(vector.dtype)

    def each_sample(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """(n,) what a function of a batch's rows gives for each of them."""
        return torch.cat(list(self._batches(function)))

    def point(self, moved: Tensor | None = None) -> list[Tensor]:
        """Fresh copies of the checkpoint's parameters, displaced by a vector (P,), in the dtype of the model."""
        centre = list(self.problem.centre.values())
        if moved is not None:
            centre = [t + d for t, d in zip(centre, self.unflat(moved.to(centre[0])), strict=True)]
        pairs = zip(centre, self.problem.parameters.values(), strict=True)
        return [t.to(parameter.dtype, copy=True) for t, parameter in pairs]

    def losses(self, point: list[Tensor], rows: Tensor) -> Tensor:
        """(B,) each sample's loss where the parameters are these, in float64."""
        problem, split = self.problem, self.split
        inputs = data.apply(lambda t: t[rows.to(t.device)].to(problem.device), split.inputs)
        outputs = self.forward(dict(zip(problem.centre, point, strict=True)), inputs).to(sums_on(problem.device))
        return problem.loss.alone(outputs, split.targets[rows.to(split.targets.device)].to(outputs.device))

    def part_of_mean(self, point: list[Tensor], rows: Tensor) -> Tensor:
        """This batch's part of the mean loss, float64."""
        losses = self.losses(point, rows)
        weights = self.split.weights[rows.to(self.split.weights.device)]
        return torch.where(weights > 0, losses * weights, 0.0).sum() / self._weight

    @property
    def _weight(self) -> Tensor:
        return self.split.weights[self.rows.to(self.split.weights.device)].sum()

    def _sum(self, one: Callable[[Tensor], list[Tensor]]) -> Tensor:
        """The sum over the batches, in float64."""
        total = torch.zeros(self.size, dtype=torch.float64, device=sums_on(self.problem.device))
        for part in self._batches(one):
            total += flat(part).to(total)
        return total

    def _batches(self, one: Callable[[Tensor], T]) -> Iterator[T]:
        """What a function of rows gives for each batch; one that does not fit is taken in halves."""
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
                yield part
                start += size

    @contextlib.contextmanager
    def differentiating(self) -> Iterator[None]:
        """Gradients on, and kernels that have a second derivative."""
        native = ROUTES[self.route].native or self._recurrent_on_gpu
        off = native_kernels() if native else contextlib.nullcontext()
        with self.problem.measuring(), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), off:
            yield

    @property
    def _recurrent_on_gpu(self) -> bool:
        """cuDNN's recurrent layers have no gradient in eval mode, and no second derivative at all."""
        modules = self.problem.model.modules()
        return self.problem.device.type == "cuda" and any(isinstance(module, nn.RNNBase) for module in modules)

    def unflat(self, vector: Tensor) -> list[Tensor]:
        """Views of a flat vector in the shapes of the parameters."""
        sizes = [t.numel() for t in self.problem.centre.values()]
        parts = zip(torch.split(vector, sizes), self.problem.centre.values(), strict=True)
        return [part.view(tensor.shape) for part, tensor in parts]


@contextlib.contextmanager
def native_kernels() -> Iterator[None]:
    """PyTorch's own kernels in place of oneDNN's and cuDNN's."""
    libraries: tuple[Any, ...] = (torch.backends.mkldnn, torch.backends.cudnn)
    before = [library.enabled for library in libraries]  # their flags() would change, or warn of, other things
    for library in libraries:
        library.enabled = False
    try:
        yield
    finally:
        for library, enabled in zip(libraries, before, strict=True):
            library.enabled = enabled


def flat(tensors: list[Tensor]) -> Tensor:
    """Tensors as one vector."""
    return torch.cat([t.reshape(-1) for t in tensors])


def gradients_of(loss: Tensor, points: list[Tensor], create_graph: bool = False) -> list[Tensor]:
    """The gradient by each parameter; 0 where the loss does not depend on it."""
    if not loss.requires_grad:
        return [torch.zeros_like(p) for p in points]
    return list(torch.autograd.grad(loss, points, create_graph=create_graph, materialize_grads=True))


def forward_over_reverse(objective: Objective, along: list[Tensor], rows: Tensor) -> list[Tensor]:
    """The gradient's derivative along a vector, carried forward with it (Pearlmutter 1994)."""
    with forward_ad.dual_level():
        pairs = zip(objective.point(), along, strict=True)
        points = [forward_ad.make_dual(p.requires_grad_(), v) for p, v in pairs]  # type: ignore[no-untyped-call]
        gradients = gradients_of(objective.part_of_mean(points, rows), points)
        tangents = [forward_ad.unpack_dual(g).tangent for g in gradients]  # type: ignore[no-untyped-call]
    return [torch.zeros_like(v) if t is None else t for t, v in zip(tangents, along, strict=True)]


def double_backward(objective: Objective, along: list[Tensor], rows: Tensor) -> list[Tensor]:
    """The gradient of gradient · vector."""
    points = [p.requires_grad_() for p in objective.point()]
    gradients = gradients_of(objective.part_of_mean(points, rows), points, create_graph=True)
    return gradients_of(sum_of_products(gradients, along), points)


def finite_differences(objective: Objective, along: list[Tensor], rows: Tensor) -> list[Tensor]:
    """(∇L(θ + hv) - ∇L(θ - hv)) / 2h; its error is of the order of h² and of rounding / h."""
    norm = float(flat(along).double().norm())
    if norm == 0:
        return [torch.zeros_like(v) for v in along]
    h = objective.step * (float(flat(objective.point()).double().norm()) or 1.0) / norm

    def at(sign: float) -> list[Tensor]:
        moved = [(p + sign * h * v).requires_grad_() for p, v in zip(objective.point(), along, strict=True)]
        return gradients_of(objective.part_of_mean(moved, rows), moved)

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
