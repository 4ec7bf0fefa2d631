"""What one sample's way through a network takes: its convolutions, its operations, its bytes."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from workloads import Workload

Note = Callable[[nn.Module, Any, Any], None]  # a layer, its arguments, its answer


@dataclass(frozen=True)
class ConvShape:
    """A convolution of square images without its batch."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    padding: int
    size: int

    @property
    def flops(self) -> int:
        """Of one sample; a multiply-add is two."""
        side = (self.size + 2 * self.padding - self.kernel) // self.stride + 1
        return 2 * self.inputs * self.outputs * self.kernel**2 * side**2

    def __str__(self) -> str:
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        return f"{self.kernel}×{self.kernel} convolution {self.inputs} → {self.outputs} at {self.size}²{stride}"


def conv_shapes(workload: Workload) -> Counter[ConvShape]:
    """How often each convolution occurs in one pass."""
    shapes: Counter[ConvShape] = Counter()

    def note(layer: nn.Module, args: Any, answer: Any) -> None:
        if isinstance(layer, nn.Conv2d):
            kernel, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
            shapes[ConvShape(layer.in_channels, layer.out_channels, kernel, stride, padding, args[0].shape[-1])] += 1

    _watched_pass(workload, note)
    return shapes


def layer_bytes(workload: Workload) -> int:
    """Read and written for one sample when every convolution and linear layer fetches its input and stores its output
    once, and all else happens on the way.
    """
    moved: list[int] = []

    def note(layer: nn.Module, args: Any, answer: Any) -> None:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            moved.append(_bytes(args[0]) + _bytes(answer))

    _watched_pass(workload, note)
    return sum(moved)


def largest_activation(workload: Workload) -> int:
    """Bytes of the largest tensor that any layer returns for one sample."""
    seen: list[int] = []
    _watched_pass(workload, lambda layer, args, answer: seen.append(_bytes(answer)))
    return max(seen)


def _bytes(tensor: Any) -> int:
    return tensor.numel() * tensor.element_size() if isinstance(tensor, Tensor) else 0


def _watched_pass(workload: Workload, note: Note) -> None:
    """One sample through a copy of the network, `note` called after every layer."""
    network = workload.network()
    for layer in network.modules():
        layer.register_forward_hook(note)
    with torch.no_grad():
        network(workload.inputs[:1])


def flops(workload: Workload) -> int:
    """Of one sample: products with weights, a multiply-add being two; what fused attention does is not counted."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the TF32 of GPUs that are not there
        # oneDNN's LSTM is one operation that the counter does not know
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            workload.network()(workload.inputs[:1])
    return int(counter.get_total_flops())
