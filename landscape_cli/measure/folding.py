"""The model traced once, its eval-mode batch norms folded into the layers before them at every point.

A convolution or linear layer followed by a batch norm is one layer with the weight W·γ/√(σ² + ε) and the bias
β + (b - μ)·γ/√(σ² + ε). Where oneDNN can, the activation after it, and a sum, are done in the same kernel.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from landscape_cli.errors import LandscapeError
from landscape_cli.measure import data
from landscape_cli.measure.fused import (
    GELU,
    GELU_TANH,
    LAYERS,
    NO_ACTIVATION,
    RELU,
    SIGMOID,
    SILU,
    TANH,
    Fused,
    Kernels,
    onednn_convolution,
    onednn_linear,
    plain,
)  # fmt: skip
from landscape_cli.measure.model import attributes_kept
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
SUMS = (operator.add, operator.iadd, torch.add)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
GELUS = {"none": GELU, "tanh": GELU_TANH}
ACTIVATIONS: dict[Any, tuple[str, str]] = {
    **dict.fromkeys((nn.ReLU, F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"), RELU),
    **dict.fromkeys((nn.SiLU, F.silu), SILU),
    **dict.fromkeys((nn.Tanh, torch.tanh, F.tanh, "tanh"), TANH),
    **dict.fromkeys((nn.Sigmoid, torch.sigmoid, F.sigmoid, "sigmoid"), SIGMOID),
}


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
    for node in list(graph.graph.nodes):
        if _does_nothing(graph, node):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    return graph


def _does_nothing(graph: fx.GraphModule, node: fx.Node) -> bool:
    """True for dropout in eval mode, and the like."""
    if node.target is F.dropout:
        return len(node.args) == 1 and node.kwargs.get("training") is False
    module = _module(graph, node)
    if module is None or any(True for _ in _hooks(module)):
        return False
    return type(module) is nn.Identity or (type(module) in DROPOUTS and not module.training)


class _Tracer(fx.Tracer):
    """Buffers are followed as parameters are: what is computed from them is not the same at every point."""

    proxy_buffer_attributes = True


def _fused(graph: fx.GraphModule, node: fx.Node, problem: Problem, plan: Plan) -> Fused | None:
    """Replace a layer and what can be done with it by one fused layer; None where the node is no such layer."""
    layer = _module(graph, node)
    if layer is None or type(layer) not in LAYERS or not _once(graph, node):
        return None
    if getattr(layer, "padding_mode", "zeros") != "zeros":
        return None
    chain, other, activation = [node], None, None
    norm = _norm_of(graph, _only_user(node), node)
    if norm is not None:
        chain.append(_user(node))
    onednn = _has_onednn(problem, layer, plan)
    linear = isinstance(layer, nn.Linear)
    other = _summand(_only_user(chain[-1]), chain[-1]) if onednn else None
    if other is not None:
        chain.append(_user(chain[-1]))
    if not (linear and other is not None):  # oneDNN has no product with both
        activation = _activation(graph, _only_user(chain[-1]))
    if not onednn and (norm is None or activation != RELU):
        activation = None
    if activation is not None:
        chain.append(_user(chain[-1]))
    if len(chain) == 1 and not (onednn and linear and layer.bias is not None):
        return None
    shape = node.all_input_nodes[0].meta["tensor_meta"].shape
    kernels = _kernels(layer, [plan.batch, *shape[1:]], activation) if onednn else plain(layer, activation == RELU)
    return _replace(graph, chain, other, Fused(layer, norm, kernels))


def _kernels(layer: nn.Module, shape: list[int], activation: tuple[str, str] | None) -> Kernels:
    if isinstance(layer, nn.Linear):
        return onednn_linear(activation or NO_ACTIVATION)
    return onednn_convolution(layer, shape, activation or NO_ACTIVATION)


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


def _has_onednn(problem: Problem, layer: Any, plan: Plan) -> bool:
    if problem.device.type != "cpu" or problem.dtype != "float32" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if isinstance(layer, nn.Linear):
        return hasattr(torch.ops.mkldnn, "_linear_pointwise")
    plain_padding = isinstance(layer, nn.Conv2d) and not isinstance(layer.padding, str)
    return plain_padding and plan.channels_last and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


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


def _activation(graph: fx.GraphModule, node: fx.Node | None) -> tuple[str, str] | None:
    """The activation that a node is, of those that oneDNN can do in a layer's kernel."""
    if node is None or not node.op.startswith("call_"):
        return None
    if node.op == "call_module":
        module = _module(graph, node)
        if type(module) is nn.GELU:
            return GELUS.get(module.approximate) if _once(graph, node) else None
        return ACTIVATIONS.get(type(module)) if _once(graph, node) else None
    if node.target is F.gelu:
        plain_call = len(node.args) == 1 and set(node.kwargs) <= {"approximate"}
        return GELUS.get(str(node.kwargs.get("approximate", "none"))) if plain_call else None
    return ACTIVATIONS.get(node.target) if len(node.args) == 1 and set(node.kwargs) <= {"inplace"} else None


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
