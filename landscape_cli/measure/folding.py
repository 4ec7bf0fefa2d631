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
    Folding,
    Fused,
    onednn_convolution,
    onednn_linear,
    plain,
)  # fmt: skip
from landscape_cli.measure.model import attributes_kept
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
SUMS = (operator.add, operator.iadd, torch.add)
IN_PLACE = ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "iand", "ior", "ixor", "imatmul")
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


def differentiable(problem: Problem) -> fx.GraphModule:
    """The traced model whose batch norms are folded at every call, by operations that have derivatives.

    Raises:
        LandscapeError: the model cannot be traced, or has no batch norm to fold.
    """
    graph = trace(problem)
    found = False
    for node in list(graph.graph.nodes):
        layer = _module(graph, node)
        if layer is None or type(layer) not in LAYERS or not _once(graph, node):
            continue
        norm = _norm_of(graph, _only_user(node), node)
        if norm is not None and getattr(layer, "padding_mode", "zeros") == "zeros":
            _replace(graph, [node, _user(node)], None, Folding(layer, norm))
            found = True
    if not found:
        raise LandscapeError("there is no batch norm to fold", "use the model as it is")
    graph.graph.lint()
    graph.recompile()
    return graph.eval()


def trace(problem: Problem) -> fx.GraphModule:
    """The model as a torch.fx graph, with the shape of every value for two samples.

    Raises:
        LandscapeError: it cannot be traced (control flow that depends on the data, say).
    """
    split = next(iter(problem.splits.values()))
    inputs = split.rows(slice(0, min(2, len(split))), problem.device)[0]
    if len(split) == 1:  # so that a sample is told from what is the same for all of them
        inputs = data.apply(lambda t: torch.cat([t, t]), inputs)
    if any(True for _ in _hooks(problem.model)):
        raise LandscapeError("the model has hooks, which a trace leaves out", "use --strategy 'in place'")
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
        return len(node.args) == 1 and isinstance(node.args[0], fx.Node) and node.kwargs.get("training") is False
    module = _module(graph, node)
    if module is None or any(True for _ in _hooks(module)) or len(node.args) != 1 or node.kwargs:
        return False
    return type(module) is nn.Identity or (type(module) in DROPOUTS and not module.training)


class _Tracer(fx.Tracer):
    """Buffers are followed as parameters are: what is computed from them is not the same at every point."""

    proxy_buffer_attributes = True

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """A stand-in that tells x += y, which changes x for all who hold it, from x = x + y."""
        return _Proxy(node, self)


class _Proxy(fx.Proxy):
    pass


def _in_place_method(name: str) -> Callable[[fx.Proxy, Any], Any]:
    def method(self: fx.Proxy, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", getattr(operator, name), (self, other), {})

    return method


for _name in IN_PLACE:
    setattr(_Proxy, f"__{_name}__", _in_place_method(_name))


def _fused(graph: fx.GraphModule, node: fx.Node, problem: Problem, plan: Plan) -> Fused | None:
    """Replace a layer and what can be done with it by one fused layer; None where the node is no such layer."""
    layer = _module(graph, node)
    if layer is None or type(layer) not in LAYERS or not _once(graph, node):
        return None
    if getattr(layer, "padding_mode", "zeros") != "zeros":
        return None
    chain = [node]
    norm = _norm_of(graph, _only_user(node), node)
    if norm is not None:
        chain.append(_user(node))
    shape = node.all_input_nodes[0].meta["tensor_meta"].shape if node.all_input_nodes else ()
    onednn = _has_onednn(problem, layer, len(shape), plan)
    other = _summand(_only_user(chain[-1]), chain[-1]) if onednn else None
    if other is not None:
        chain.append(_user(chain[-1]))
    activation = _activation(graph, _only_user(chain[-1]))
    if (not onednn and norm is None) or ((not onednn or other is not None) and activation != RELU):
        activation = None  # what is done after a sum, or by PyTorch's own kernels, is a ReLU in place
    if activation is not None:
        chain.append(_user(chain[-1]))
    if len(chain) == 1 and not (onednn and isinstance(layer, nn.Linear) and layer.bias is not None):
        return None
    if _changed_on_the_way(graph, chain):
        return None
    kernels = plain(layer, activation == RELU)
    if onednn and isinstance(layer, nn.Linear):
        kernels = onednn_linear(activation or NO_ACTIVATION, last=activation == RELU)
    elif onednn:
        kernels = onednn_convolution(layer, [plan.batch, *shape[1:]], activation or NO_ACTIVATION, activation == RELU)
    fused = Fused(layer, norm, kernels)
    _replace(graph, chain, other, fused)
    return fused


def _changed_on_the_way(graph: fx.GraphModule, chain: list[fx.Node]) -> bool:
    """True if anything is changed in place between a layer and the end of its chain, where the layer is then run."""
    nodes = list(graph.graph.nodes)
    between = nodes[nodes.index(chain[0]) : nodes.index(chain[-1])]
    return any(_in_place(graph, node) for node in between if node not in chain)


def _in_place(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(_module(graph, node), "inplace", False))
    if node.op not in ("call_function", "call_method"):
        return False
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    into = node.kwargs.get("inplace") or node.kwargs.get("out") is not None
    return bool(into) or name.endswith("_") or name == "setitem" or name in IN_PLACE


def _replace(graph: fx.GraphModule, chain: list[fx.Node], other: fx.Node | None, fused: nn.Module) -> None:
    """One node in the place of a chain of them."""
    name = f"fused_{chain[0].name}"
    while hasattr(graph, name):
        name += "_"
    graph.add_submodule(name, fused)
    with graph.graph.inserting_after(chain[-1]):
        made = graph.graph.call_module(name, (chain[0].args[0], *([] if other is None else [other])))
    made.meta = chain[-1].meta
    chain[-1].replace_all_uses_with(made)
    for node in reversed(chain):
        graph.graph.erase_node(node)


def _has_onednn(problem: Problem, layer: Any, rank: int, plan: Plan) -> bool:
    if problem.device.type != "cpu" or problem.dtype != "float32" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if isinstance(layer, nn.Linear):
        return hasattr(torch.ops.mkldnn, "_linear_pointwise")
    plain_padding = isinstance(layer, nn.Conv2d) and rank == 4 and not isinstance(layer.padding, str)
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
        if module is None or any(True for _ in _hooks(module)) or len(node.args) != 1 or node.kwargs:
            return None
        return GELUS.get(module.approximate) if type(module) is nn.GELU else ACTIVATIONS.get(type(module))
    if node.target is F.gelu:
        plain_call = len(node.args) == 1 and set(node.kwargs) <= {"approximate"}
        return GELUS.get(str(node.kwargs.get("approximate", "none"))) if plain_call else None
    return ACTIVATIONS.get(node.target) if len(node.args) == 1 and set(node.kwargs) <= {"inplace"} else None


def _summand(node: fx.Node | None, one: fx.Node) -> fx.Node | None:
    """The other of the two values of one shape and type that a node adds."""
    if node is None or node.op not in ("call_function", "call_method") or len(node.args) != 2 or node.kwargs:
        return None
    if node.target not in (SUMS if node.op == "call_function" else ("add", "add_")):
        return None
    left, right = node.args
    other = right if left is one else left
    if not isinstance(other, fx.Node) or other is one or "tensor_meta" not in other.meta:
        return None
    if other is left and node.target in (operator.iadd, "add_"):
        return None  # it is changed in place, which others may see
    a, b = other.meta["tensor_meta"], one.meta["tensor_meta"]
    return other if a.shape == b.shape and a.dtype == b.dtype else None
