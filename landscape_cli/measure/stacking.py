"""A stack of linear layers at many weight points in one pass: a batched product per layer.

The first layer is linear in the coordinates: x(W + aD1 + bD2)ᵀ = xWᵀ + a·xD1ᵀ + b·xD2ᵀ, so that three products of
the samples serve all points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from landscape_cli.errors import LandscapeError
from landscape_cli.measure.data import Inputs, Split
from landscape_cli.measure.directions import Direction
from landscape_cli.measure.folding import trace
from landscape_cli.measure.problem import Problem
from landscape_cli.profile import Floats

Elementwise = Callable[[Tensor], Tensor]
IN_PLACE: dict[type, Elementwise] = {nn.ReLU: torch.relu_, nn.Tanh: torch.tanh_, nn.Sigmoid: torch.sigmoid_}
ELEMENTWISE = (nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Softplus, nn.Hardtanh, nn.Hardswish, nn.Mish, nn.SELU)
CACHED = 1 << 26  # values of the first layer's products that are kept from pass to pass
FUNCTIONS: dict[Any, Elementwise] = {
    F.relu: torch.relu_, torch.relu: torch.relu_, torch.tanh: torch.tanh_, torch.sigmoid: torch.sigmoid_,
    F.gelu: F.gelu, F.silu: F.silu, "relu": torch.relu_, "tanh": torch.tanh_, "sigmoid": torch.sigmoid_,
}  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A linear layer at the checkpoint and along the directions, and what is done to its output, element by element.

    weights (1 + d, out, in) and biases (1 + d, out): the checkpoint's, then each direction's. `norm` is the batch norm
    after it: γ and β (1 + d, out), and the frozen μ and 1/√(σ² + ε) (2, out); None where there is none.
    """

    weights: Tensor
    biases: Tensor
    norm: tuple[Tensor, Tensor, Tensor] | None = None
    then: list[Elementwise] = field(default_factory=list)


@dataclass(frozen=True)
class Stack:
    """The layers in order; called with weights of k points and a batch it gives outputs (k, B, out)."""

    layers: list[Layer]
    first: dict[tuple[str, int, int], Tensor]

    def weights(self, points: Floats) -> list[tuple[Tensor, Tensor]]:
        """Per layer (k, in, out) and (k, 1, out) at each point; of the first layer the coordinates (k, 1 + d)."""
        like = self.layers[0].weights
        shares = torch.cat([torch.ones(len(points), 1), torch.from_numpy(points)], dim=1).to(like)
        made = [(shares, shares)]
        for layer in self.layers[1:]:
            weight = (shares @ layer.weights.flatten(1)).reshape(len(points), *layer.weights.shape[1:])
            made.append((weight.transpose(1, 2), (shares @ layer.biases).unsqueeze(1)))
        return made

    def __call__(self, weights: list[tuple[Tensor, Tensor]], inputs: Inputs, split: Split, rows: slice) -> Tensor:
        shares = weights[0][0]
        parts = self._first(inputs, split, rows)  # (1 + d, B, out)
        y = (shares @ parts.flatten(1)).reshape(len(shares), *parts.shape[1:])
        y = self._after(self.layers[0], y, shares)
        for layer, (weight, bias) in zip(self.layers[1:], weights[1:], strict=True):
            y = self._after(layer, torch.baddbmm(bias, y, weight), shares)
        return y

    def _first(self, inputs: Inputs, split: Split, rows: slice) -> Tensor:
        """The samples through the first layer at the checkpoint and along each direction, computed once."""
        key = (split.name, rows.start, rows.stop)
        if key in self.first:
            return self.first[key]
        assert isinstance(inputs, Tensor)
        layer = self.layers[0]
        made = inputs.flatten(1) @ layer.weights.transpose(1, 2) + layer.biases.unsqueeze(1)
        if sum(held.numel() for held in self.first.values()) + made.numel() < CACHED:
            self.first[key] = made
        return made

    @staticmethod
    def _after(layer: Layer, y: Tensor, shares: Tensor) -> Tensor:
        if layer.norm is not None:
            gamma, beta, (mean, inverse) = layer.norm
            scale = (shares @ gamma) * inverse  # (k, out)
            shift = shares @ beta - mean * scale
            y = y.mul_(scale.unsqueeze(1)).add_(shift.unsqueeze(1))
        for function in layer.then:
            y = function(y)
        return y


def stack_of(problem: Problem, directions: Sequence[Direction]) -> Stack:
    """The model as a stack of linear layers.

    Raises:
        LandscapeError: it is something else.
    """
    if problem.dtype not in ("float32", "float64"):
        raise LandscapeError(f"stacked layers are not measured in {problem.dtype}", "use --strategy 'in place'")
    if not all(isinstance(split.inputs, Tensor) for split in problem.splits.values()):
        raise LandscapeError("stacked layers take one tensor of inputs", "use --strategy 'in place'")
    graph = trace(problem)
    layers: list[Layer] = []
    previous: fx.Node | None = None
    for node in graph.graph.nodes:
        if node.op in ("placeholder", "output"):
            if node.op == "placeholder" and previous is not None:
                raise _no_stack(node)
            _must_follow(node, previous)
        else:
            _must_follow(node, previous)
            _add(layers, graph, node, problem, directions)
        previous = node
    if not layers:
        raise LandscapeError("the model has no linear layer", "use --strategy 'in place'")
    return Stack(layers, {})


def _must_follow(node: fx.Node, previous: fx.Node | None) -> None:
    """Each node takes the one before it, and nothing else that is computed."""
    if previous is not None and (list(node.all_input_nodes) != [previous] or len(previous.users) != 1):
        raise _no_stack(node)


def _no_stack(node: fx.Node) -> LandscapeError:
    return LandscapeError(f"the model is no stack of linear layers: {node.name}", "use --strategy 'in place'")


def _add(
    layers: list[Layer], graph: fx.GraphModule, node: fx.Node, problem: Problem, directions: Sequence[Direction]
) -> None:
    module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    if module is not None and (module._forward_hooks or module._forward_pre_hooks):
        raise _no_stack(node)
    if type(module) is nn.Linear and len(node.all_input_nodes[0].meta["tensor_meta"].shape) == 2:
        layers.append(_linear(str(node.target), module, problem, directions))
    elif type(module) is nn.BatchNorm1d and layers and layers[-1].norm is None and not layers[-1].then:
        layers[-1] = _with_norm(layers[-1], str(node.target), module, node, problem, directions)
    elif _flattens(node, module) and not layers:
        return  # the first layer takes its samples flat
    elif (function := _elementwise(node, module)) is not None and layers:
        layers[-1].then.append(function)
    else:
        raise _no_stack(node)


def _elementwise(node: fx.Node, module: nn.Module | None) -> Elementwise | None:
    if module is None:
        plain = len(node.args) == 1 and set(node.kwargs) <= {"inplace"}
        return FUNCTIONS.get(node.target) if plain else None
    if type(module) in IN_PLACE:
        return IN_PLACE[type(module)]
    return module if type(module) in ELEMENTWISE else None


def _flattens(node: fx.Node, module: nn.Module | None) -> bool:
    if module is not None:
        return type(module) is nn.Flatten and module.start_dim == 1 and module.end_dim == -1
    return node.target in (torch.flatten, "flatten") and tuple(node.args[1:]) == (1,) and not node.kwargs


def _linear(name: str, module: nn.Linear, problem: Problem, directions: Sequence[Direction]) -> Layer:
    weights = _along(f"{name}.weight", module.weight, problem, directions)
    if module.bias is None:
        return Layer(weights, weights.new_zeros(weights.shape[:2]))
    return Layer(weights, _along(f"{name}.bias", module.bias, problem, directions))


def _with_norm(
    layer: Layer, name: str, module: nn.BatchNorm1d, node: fx.Node, problem: Problem, directions: Sequence[Direction]
) -> Layer:
    mean, variance = module.running_mean, module.running_var
    if mean is None or variance is None or len(node.args[0].meta["tensor_meta"].shape) != 2:  # type: ignore[union-attr]
        raise _no_stack(node)
    ones = mean.new_zeros(1 + len(directions), len(mean))
    ones[0] = 1
    gamma = ones if module.weight is None else _along(f"{name}.weight", module.weight, problem, directions)
    beta = torch.zeros_like(ones) if module.bias is None else _along(f"{name}.bias", module.bias, problem, directions)
    frozen = torch.stack([mean.double(), (variance.double() + module.eps).rsqrt()]).to(gamma)
    return Layer(layer.weights, layer.biases, (gamma, beta, frozen), layer.then)


def _along(name: str, parameter: Tensor, problem: Problem, directions: Sequence[Direction]) -> Tensor:
    """(1 + d, …) a parameter at the checkpoint and its displacement along each direction; 0 where it is not moved."""
    own = next((n for n, p in problem.parameters.items() if p.data_ptr() == parameter.data_ptr()), None)
    if own is None:
        still = [torch.zeros_like(parameter.data)] * len(directions)
        return torch.stack([parameter.data, *still])
    return torch.stack([problem.centre[own], *[d.parameters[own] for d in directions]])
