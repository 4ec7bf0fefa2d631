"""What the hardware allows: the best measured rates, and the least time that a workload's arithmetic can take."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from counting import ConvShape, conv_shapes, flops, layer_bytes
from timing import best_seconds
from workloads import Workload

BATCHES = {"cpu": (32, 64, 125, 250, 600), "cuda": (256, 1024, 4096, 10_000)}
MATRIX = {"cpu": 2048, "cuda": 8192}
COPIED = {"cpu": 1 << 28, "cuda": 1 << 30}  # bytes
LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}


@dataclass(frozen=True)
class Best:
    """The best rate of a convolution in FLOP/s, and how it was reached."""

    rate: float
    batch: int
    layout: str


@dataclass(frozen=True)
class Ceilings:
    """FLOP/s of a large matrix product, bytes read and written per second by a copy, each convolution's best."""

    product: float
    copy: float
    convolutions: Mapping[ConvShape, Best]


def measure_ceilings(workloads: Iterable[Workload], device: torch.device, quick: bool) -> Ceilings:
    """At full fp32 precision, on the default number of threads."""
    shapes = dict.fromkeys(shape for workload in workloads for shape in conv_shapes(workload))
    batches = BATCHES[device.type][:1] if quick else BATCHES[device.type]
    least = 0.002 if quick else 0.05
    with torch.no_grad(), torch.backends.cudnn.flags(True, benchmark=True, allow_tf32=False):
        found = {shape: _best(shape, batches, device, least) for shape in shapes}
        return Ceilings(_product_rate(device, least), _copy_rate(device, least), found)


def _product_rate(device: torch.device, least: float) -> float:
    size = MATRIX[device.type]
    a, b, out = (torch.randn(size, size, device=device) for _ in range(3))
    return 2 * size**3 / best_seconds(lambda: torch.mm(a, b, out=out), device, least)


def _copy_rate(device: torch.device, least: float) -> float:
    count = COPIED[device.type]
    source, target = (torch.ones(count // 4, device=device) for _ in range(2))
    return 2 * count / best_seconds(lambda: target.copy_(source), device, least)


def _best(shape: ConvShape, batches: Sequence[int], device: torch.device, least: float) -> Best:
    tried = [
        Best(_conv_rate(shape, batch, LAYOUTS[layout], device, least), batch, layout)
        for batch, layout in itertools.product(batches, LAYOUTS)
    ]
    return max(tried, key=lambda best: best.rate)


def _conv_rate(shape: ConvShape, batch: int, layout: torch.memory_format, device: torch.device, least: float) -> float:
    x = torch.randn(batch, shape.inputs, shape.size, shape.size, device=device).to(memory_format=layout)
    w = torch.randn(shape.outputs, shape.inputs, shape.kernel, shape.kernel, device=device).to(memory_format=layout)
    seconds = best_seconds(lambda: F.conv2d(x, w, None, shape.stride, shape.padding), device, least)
    return batch * shape.flops / seconds


def floor_seconds(workload: Workload, ceilings: Ceilings, device: torch.device) -> float:
    """The least time of one grid point: convolutions at their own best rates, all else at that of a large product.

    On a GPU, the time of the bytes that must move where that is longer.
    """
    shapes = conv_shapes(workload)
    seconds = sum(count * shape.flops / ceilings.convolutions[shape].rate for shape, count in shapes.items())
    rest = flops(workload) - sum(count * shape.flops for shape, count in shapes.items())
    seconds += rest / ceilings.product
    if device.type == "cuda":
        seconds = max(seconds, layer_bytes(workload) / ceilings.copy)
    return len(workload.targets) * seconds
