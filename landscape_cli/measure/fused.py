"""A layer, and what can be done in the same kernel: batch norm, a sum, an activation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS: dict[type, Callable[..., Tensor]] = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d, nn.Conv3d: F.conv3d}
LAYERS = (*CONVOLUTIONS, nn.Linear)
# Activations by their names in oneDNN and its algorithm.
RELU, GELU, GELU_TANH, SILU = ("leaky_relu", ""), ("gelu", "none"), ("gelu", "tanh"), ("swish", "")
TANH, SIGMOID = ("tanh", ""), ("sigmoid", "")
NO_ACTIVATION = ("none", "")
SLOPES = {RELU: [1e-30]}  # oneDNN's own ReLU makes 0 of NaN; with a slope below any rounding it stays NaN
Run = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]


@dataclass(frozen=True)
class Kernels:
    """How a layer is run: `pack` makes its weight ready, `run` takes x, that weight, the bias, and what is added."""

    pack: Callable[[Tensor], Tensor]
    run: Run


class Fused(nn.Module):
    """activation(norm(layer(x)) + other), its weight and bias made anew at every point by `refresh`."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Module, norm: nn.Module | None, kernels: Kernels) -> None:
        super().__init__()
        # in tuples, so that they are no submodules: the graph already holds them
        self.layer, self.norm = (layer,), (norm,)
        self.kernels = kernels
        self.refresh()

    def refresh(self) -> None:
        """Fold what the batch norm holds now into what the layer holds now."""
        weight, self.bias = folded(self.layer[0], self.norm[0])
        self.weight = self.kernels.pack(weight)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """The layer, with `other` added before the activation."""
        return self.kernels.run(x, self.weight, self.bias, other)


class Folding(nn.Module):
    """norm(layer(x)) as one layer, folded at every call: it has derivatives by the parameters of both."""

    def __init__(self, layer: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.layer, self.norm = (layer,), (norm,)  # the graph already holds them

    def forward(self, x: Tensor) -> Tensor:
        """The layer with the weight W·γ/√(σ² + ε)."""
        layer: Any = self.layer[0]
        norm: Any = self.norm[0]
        scale = (norm.running_var + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight
        shift = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
        bias = shift * scale if norm.bias is None else shift * scale + norm.bias
        weight = layer.weight * scale.reshape(-1, *[1] * (layer.weight.dim() - 1))
        return plain(layer, relu=False).run(x, weight, bias, None)


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


def plain(layer: Any, relu: bool) -> Kernels:
    """PyTorch's own functions, the ReLU in place."""

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor | None) -> Tensor:
        y = F.linear(x, weight, bias)
        return y.relu_() if relu else y

    def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor | None) -> Tensor:
        y = CONVOLUTIONS[type(layer)](x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        return y.relu_() if relu else y

    return Kernels(lambda weight: weight, linear if isinstance(layer, nn.Linear) else convolution)


def onednn_linear(activation: tuple[str, str], last: bool) -> Kernels:
    """oneDNN's product with the bias, and an activation or a sum, in the same kernel; `last` is a ReLU after a sum.

    The weight is not packed: at every point anew, that costs more than it saves.
    """
    fused = torch.ops.mkldnn._linear_pointwise
    name, algorithm = activation
    slopes = SLOPES.get(activation, [])

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor | None) -> Tensor:
        if other is None:
            y: Tensor = fused(x, weight, bias, name, slopes, algorithm)
            return y
        z: Tensor = fused.binary(x, other, weight, bias, "add")
        return z.relu_() if last else z

    return Kernels(lambda weight: weight, linear)


def onednn_convolution(layer: Any, shape: list[int], activation: tuple[str, str], last: bool) -> Kernels:
    """oneDNN's convolution with an activation or a sum in the same kernel; packed for inputs of a shape."""
    fused, pack = torch.ops.mkldnn._convolution_pointwise, torch.ops.mkldnn._reorder_convolution_weight
    geometry = list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups
    name, algorithm = activation
    slopes = SLOPES.get(activation, [])

    def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor | None) -> Tensor:
        if other is None:
            y: Tensor = fused(x, weight, bias, *geometry, name, slopes, algorithm)
            return y
        z: Tensor = fused.binary(x, other, weight, bias, *geometry, "add", 1.0, None, [], None)
        return z.relu_() if last else z

    return Kernels(lambda w: pack(w.contiguous(memory_format=torch.channels_last), *geometry, shape), convolution)
