"""The model traced once, its eval-mode batch norms folded into the layers before them at every point.

A convolution or linear layer followed by a batch norm is one layer with the weight W·γ/√(σ² + ε) and the bias
β + (b - μ)·γ/√(σ² + ε). Where oneDNN can, the ReLU after it, and a sum between the two, are done in the same kernel.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from landscape_cli.errors import LandscapeError
from landscape_cli.measure import data
from landscape_cli.measure.model import attributes_kept
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem

CONVOLUTIONS: dict[type, Callable[..., Tensor]] = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d, nn.Conv3d: F.conv3d}
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
SUMS = (operator.add, operator.iadd, torch.add)
RELUS = (F.relu, F.relu_, torch.relu, torch.relu_)


@dataclass(frozen=True)
class Folded:
    """The traced model, and what must be called after its weights have been moved."""

    module: Callable[..., Any]
    refresh: Callable[[], None]


def fold(problem: Problem, plan: Plan) -> Folded:
    """The model as a graph of fused layers that share its parameters.

    Raises:
        LandscapeError: the model cannot be traced, or there is nothing to fold or to fuse.
    """
    graph = trace(problem)
    layers = [made for node in list(graph.graph.nodes) if (made := _fused(graph, node, problem, plan)) is not None]
    if not layers:
        raise LandscapeError("there is no layer to fold or to fuse", "use --strategy 'in place'")
    graph.graph.lint()
    graph.recompile()

    def refresh() -> None:
        for layer in layers:
            layer.refresh()

    return Folded(graph, refresh)


def trace(problem: Problem) -> fx.GraphModule:
    """The model as a torch.fx graph, with the shape of every value for two samples.

    Raises:
        LandscapeError: it cannot be traced (control flow that depends on the data, say).
    """
    split = next(iter(problem.splits.values()))
    inputs = split.rows(slice(0, min(2, len(split))), problem.device)[0]
    if problem.settings.call == "kwargs" or isinstance(inputs, dict):
        raise LandscapeError("a model called with named inputs is not traced", "use --strategy 'in place'")
    many = isinstance(inputs, tuple) and problem.settings.call in ("auto", "args")
    with attributes_kept(problem.model):
        try:
            graph = fx.GraphModule(problem.model, _Tracer().trace(problem.model))
            ShapeProp(graph).propagate(*(data.leaves(inputs) if many else [inputs]))
        except Exception as error:  # tracing runs the user's code with stand-ins for tensors
            first = (str(error).splitlines() or [""])[0]
            raise LandscapeError(f"the model cannot be traced: {first}", "use --strategy 'in place'") from error
    known = {*dict(problem.model.named_parameters()), *dict(problem.model.named_buffers())}
    frozen = [str(node.target) for node in graph.graph.nodes if node.op == "get_attr" and node.target not in known]
    if frozen:  # computed from weights or buffers while tracing, and then the same at every point
        raise LandscapeError("the model computes with its own weights out of sight", "use --strategy 'in place'")
    return graph


class _Tracer(fx.Tracer):
    """Buffers are followed as parameters are: what is computed from them is not the same at every point."""

    proxy_buffer_attributes = True


def _fused(graph: fx.GraphModule, node: fx.Node, problem: Problem, plan: Plan) -> Fused | None:
    """Replace a layer and what can be done with it by one fused layer; None where the node is no such layer."""
    layer = _module(graph, node)
    if layer is None or type(layer) not in (*CONVOLUTIONS, nn.Linear) or not _once(graph, node):
        return None
    if getattr(layer, "padding_mode", "zeros") != "zeros":
        return None
    chain, other = [node], None
    norm = _norm_of(graph, _only_user(node), node)
    if norm is not None:
        chain.append(_user(node))
    onednn = _has_onednn(problem, layer, plan)
    summand = _summand(_only_user(chain[-1]), chain[-1]) if onednn else None
    if summand is not None and _is_relu(graph, _only_user(_user(chain[-1]))):
        other = summand
        chain.append(_user(chain[-1]))
    relu = (norm is not None or onednn) and _is_relu(graph, _only_user(chain[-1]))
    if relu:
        chain.append(_user(chain[-1]))
    if len(chain) == 1:
        return None
    shape = node.all_input_nodes[0].meta["tensor_meta"].shape
    fused = Fused(layer, norm, relu, [plan.batch, *shape[1:]] if onednn else None)
    return _replace(graph, chain, other, fused)


def _replace(graph: fx.GraphModule, chain: list[fx.Node], other: fx.Node | None, fused: Fused) -> Fused:
    """One node in the place of a chain of them."""
    name = f"fused_{chain[0].name}"
    graph.add_submodule(name, fused)
    with graph.graph.inserting_after(chain[-1]):
        made = graph.graph.call_module(name, (chain[0].args[0], *([] if other is None else [other])))
    made.meta = chain[-1].meta
    chain[-1].replace_all_uses_with(made)
    for node in reversed(chain):
        graph.graph.erase_node(node)
    return fused


class Fused(nn.Module):
    """relu(norm(layer(x)) + other), its weight and bias made anew at every point by `refresh`.

    `packed_for` is the shape of the input for which oneDNN packs the weight; None where PyTorch's own kernel is used.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Module, norm: nn.Module | None, relu: bool, packed_for: list[int] | None) -> None:
        super().__init__()
        # in tuples, so that they are no submodules: the graph already holds them
        self.layer, self.norm = (layer,), (norm,)
        self.packed_for = packed_for
        self.run = _plain(layer, relu) if packed_for is None else _onednn(layer, relu)
        self.refresh()

    def refresh(self) -> None:
        """Fold what the batch norm holds now into what the layer holds now."""
        self.weight, self.bias = folded(self.layer[0], self.norm[0])
        if self.packed_for is not None:
            weight = self.weight.contiguous(memory_format=torch.channels_last)
            pack = torch.ops.mkldnn._reorder_convolution_weight
            self.weight = pack(weight, *_geometry(self.layer[0]), self.packed_for)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """The layer, with `other` added before the ReLU."""
        return self.run(x, self.weight, self.bias, other)


def folded(layer: Any, norm: Any) -> tuple[Tensor, Tensor | None]:
    """The weight and bias of a layer and the batch norm after it (or None) as one; the factors in float64."""
    if norm is None:
        return layer.weight.data, None if layer.bias is None else layer.bias.data
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.double()
    shift = -norm.running_mean.double() if layer.bias is None else layer.bias.double() - norm.running_mean.double()
    bias = shift * scale if norm.bias is None else shift * scale + norm.bias.double()
    factor = scale.to(layer.weight.dtype).reshape(-1, *[1] * (layer.weight.dim() - 1))
    return layer.weight.data * factor, bias.to(layer.weight.dtype)


Run = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]


def _plain(layer: Any, relu: bool) -> Run:
    """By PyTorch's own functions."""

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor | None) -> Tensor:
        y = F.linear(x, weight, bias)
        return y.relu_() if relu else y

    def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor | None) -> Tensor:
        y = CONVOLUTIONS[type(layer)](x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        return y.relu_() if relu else y

    return linear if isinstance(layer, nn.Linear) else convolution


def _onednn(layer: Any, relu: bool) -> Run:
    """By oneDNN's convolution with a sum and a ReLU in the same kernel."""
    fused = torch.ops.mkldnn._convolution_pointwise
    shape = _geometry(layer)
    after = "relu" if relu else "none"

    def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor | None) -> Tensor:
        if other is None:
            y: Tensor = fused(x, weight, bias, *shape, after, [], "")
            return y
        z: Tensor = fused.binary(x, other, weight, bias, *shape, "add", 1.0, "relu", [], None)
        return z

    return convolution


def _geometry(layer: Any) -> tuple[list[int], list[int], list[int], int]:
    """Padding, stride, dilation and groups, as oneDNN's functions take them."""
    return list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups


def _has_onednn(problem: Problem, layer: Any, plan: Plan) -> bool:
    here = problem.device.type == "cpu" and problem.dtype == "float32" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    plain = isinstance(layer, nn.Conv2d) and not isinstance(layer.padding, str)
    return here and plain and plan.channels_last and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def _module(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def _once(graph: fx.GraphModule, node: fx.Node) -> bool:
    """True if no other node calls the same module, whose own type it is: a subclass may do something else."""
    calls = sum(other.op == "call_module" and other.target == node.target for other in graph.graph.nodes)
    hooked = any(True for _ in _hooks(graph.get_submodule(str(node.target))))
    return calls == 1 and not hooked and len(node.args) == 1 and not node.kwargs


def _hooks(module: nn.Module) -> Iterator[Any]:
    yield from module._forward_hooks.values()
    yield from module._forward_pre_hooks.values()


def _only_user(node: fx.Node) -> fx.Node | None:
    return _user(node) if len(node.users) == 1 else None


def _user(node: fx.Node) -> fx.Node:
    return next(iter(node.users))


def _norm_of(graph: fx.GraphModule, node: fx.Node | None, layer: fx.Node) -> nn.Module | None:
    """The batch norm that the node is, if it takes a layer's output and normalises the layer's own output dimension."""
    if node is None:
        return None
    norm = _module(graph, node)
    if type(norm) not in BATCH_NORMS or not _once(graph, node) or node.args != (layer,):
        return None
    if getattr(norm, "running_mean", None) is None or getattr(norm, "running_var", None) is None:
        return None
    flat = isinstance(_module(graph, layer), nn.Linear)
    rank = len(layer.meta["tensor_meta"].shape)
    return norm if not flat or rank == 2 else None


def _is_relu(graph: fx.GraphModule, node: fx.Node | None) -> bool:
    if node is None:
        return False
    if node.op == "call_module":
        return type(_module(graph, node)) is nn.ReLU and _once(graph, node)
    method = node.op == "call_method" and node.target in ("relu", "relu_")
    return (method or (node.op == "call_function" and node.target in RELUS)) and len(node.args) >= 1


def _summand(node: fx.Node | None, one: fx.Node) -> fx.Node | None:
    """The other of the two values of one shape that a node adds."""
    if node is None or len(node.args) != 2 or node.kwargs:
        return None
    if node.target not in (SUMS if node.op == "call_function" else ("add", "add_")):
        return None
    left, right = node.args
    other = right if left is one else left
    if not isinstance(other, fx.Node) or other is one or "tensor_meta" not in other.meta:
        return None
    return other if other.meta["tensor_meta"].shape == one.meta["tensor_meta"].shape else None
