"""Samples -> fixed, hashed tensors, dealt into groups.

What a source gives is prepared once, in a fixed order, and hashed.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from landscape_cli.errors import LandscapeError, one_of
from landscape_cli.profile import MAX_GROUPS
from landscape_cli.settings import DataSettings

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
LAID_OUT = 2 << 30  # bytes of images that may be held in a second layout
INPUT_DTYPES = {
    str(kind).removeprefix("torch."): kind
    for kind in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.bool)
}


@dataclass(frozen=True)
class Split:
    """The samples of one split, ready to be measured.

    Attributes:
        inputs, targets: on the device where they fit, else in (pinned) host memory.
        weights: (N,) how much each sample counts; 1, or its number of tokens.
        group_rows: (G, M) the samples of each group; padded with -1.
        sha256: of the samples as they were read, and of how they are normalised.
    """

    name: str
    inputs: Inputs
    targets: Tensor
    weights: Tensor
    group_rows: Tensor
    sha256: str
    unchanged: list[int] = field(init=False)  # `versions` when it was made

    def __post_init__(self) -> None:
        object.__setattr__(self, "unchanged", self.versions)

    @functools.cached_property
    def padding(self) -> Tensor:
        """(G, M) where `group_rows` holds no sample."""
        return self.group_rows < 0

    @functools.cached_property
    def group_sizes(self) -> Tensor:
        """(G,) the weight of each sample group."""
        return self.weights[self.group_rows.clamp(min=0)].masked_fill(self.padding, 0.0).sum(-1)

    @functools.cached_property
    def group_index(self) -> Tensor:
        """(G, M) the rows of each group; 0 where there is none."""
        return self.group_rows.clamp(min=0)

    @functools.cached_property
    def counted(self) -> Tensor:
        """(N,) the samples that count."""
        return self.weights > 0

    def __len__(self) -> int:
        return len(self.targets)

    def rows(self, rows: slice, device: torch.device, copy: bool = True) -> tuple[Inputs, Tensor]:
        """The inputs and targets of some samples, on the device.

        Args:
            copy: give inputs that may be changed; for a model that begins with an operation in place.
        """
        inputs = apply(lambda t: t[rows].to(device, non_blocking=True, copy=copy), self.inputs)
        return inputs, self.targets[rows].to(sums_on(device), non_blocking=True)

    def batches(self, size: int, device: torch.device, copy: bool = True) -> Iterator[tuple[slice, Inputs, Tensor]]:
        """The samples in order, `size` at a time, on the device; what is streamed there is one batch ahead."""
        slices = [slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]
        streamed = device.type == "cuda" and any(t.device.type == "cpu" for t in leaves(self.inputs))
        made = (self.rows(rows, device, copy) for rows in slices)
        yield from ((rows, *batch) for rows, batch in zip(slices, ahead(made) if streamed else made, strict=True))

    def channels_last(self) -> Split:
        """The same samples, images laid out with their channels last: in fresh memory, where they fit twice."""

        def one(t: Tensor) -> Tensor:
            small = t.numel() * t.element_size() <= LAID_OUT
            return t.clone(memory_format=torch.channels_last) if t.dim() == 4 and small else t

        return replace(self, inputs=apply(one, self.inputs))

    def head(self, count: int) -> Split:
        """The first samples alone, dealt into groups of their own."""
        kept = min(count, len(self))
        rows = deal(kept, 0).to(self.weights.device)
        inputs = apply(lambda t: t[:kept], self.inputs)
        return Split(self.name, inputs, self.targets[:kept], self.weights[:kept], rows, self.sha256)

    def select(self, rows: Tensor) -> Split:
        """Some of the samples alone, dealt into groups of their own."""
        inputs = apply(lambda t: t[rows.to(t.device)], self.inputs)
        where = rows.to(self.weights.device)
        dealt = deal(len(rows), 0).to(self.weights.device)
        targets = self.targets[rows.to(self.targets.device)]
        return Split(self.name, inputs, targets, self.weights[where], dealt, self.sha256)

    @property
    def versions(self) -> list[int]:
        """How often each tensor of the inputs has been written to."""
        return [t._version for t in leaves(self.inputs)]


def sums_on(device: torch.device) -> torch.device:
    """Where losses are float64: the device itself, but for MPS, which has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def ahead(batches: Iterator[tuple[Inputs, Tensor]]) -> Iterator[tuple[Inputs, Tensor]]:
    """Batches copied from pinned memory on a stream of their own, each while the one before it is computed."""
    stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    current = torch.cuda.current_stream()

    def fetch() -> tuple[Inputs, Tensor] | None:
        with torch.cuda.stream(stream):
            return next(batches, None)

    following = fetch()
    while following is not None:
        current.wait_stream(stream)
        batch = following
        for tensor in [*leaves(batch[0]), batch[1]]:
            tensor.record_stream(current)
        following = fetch()
        yield batch


def apply(function: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """`function` of every tensor of the inputs, in the same structure."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, dict):
        return {name: function(tensor) for name, tensor in inputs.items()}
    return tuple(function(tensor) for tensor in inputs)


def leaves(inputs: Inputs) -> list[Tensor]:
    """Every tensor of the inputs, in order."""
    if isinstance(inputs, Tensor):
        return [inputs]
    return list(inputs.values()) if isinstance(inputs, dict) else list(inputs)


def prepare(inputs: Inputs, settings: DataSettings, dtype: torch.dtype) -> Inputs:
    """The inputs normalised per channel and cast: x / scale, then (x - mean) / std; indices become int64.

    Raises:
        LandscapeError: NaN in the inputs, an unknown dtype, a mean or std that does not fit the channels.
    """
    if settings.dtype and settings.dtype not in INPUT_DTYPES:
        raise one_of("dtype of the data", settings.dtype, [*INPUT_DTYPES])
    kind = INPUT_DTYPES[settings.dtype] if settings.dtype else None
    normalised = settings.scale is not None or settings.mean is not None or settings.std is not None
    if settings.std is not None and not all(0 < x < float("inf") for x in settings.std or [0.0]):
        raise LandscapeError("std must be positive", "give one positive number per channel")

    if normalised and len(leaves(inputs)) > 1:
        hint = "normalise them where they are made, or name a FILE.py:CALLABLE that does"
        raise LandscapeError("scale, mean and std do not say which of several inputs they are for", hint)

    def one(x: Tensor) -> Tensor:
        if x.is_floating_point() and bool(x.isnan().any()):
            raise LandscapeError("the inputs hold NaN", "clean the data")
        if normalised:  # in float32, as training does, whatever the run's dtype: the samples are the same numbers
            x = x if x.dtype == torch.float64 else x.float()
            x = x if settings.scale is None else x / settings.scale
            x = x if settings.mean is None else x - _channels(settings.mean, x)
            x = x if settings.std is None else x / _channels(settings.std, x)
        if kind is not None:
            return x.to(kind)
        if x.is_floating_point():
            return x.to(dtype)
        return x if x.dtype == torch.bool else x.long()

    return apply(one, inputs)


def _channels(values: list[float], x: Tensor) -> Tensor:
    if x.dim() < 2 or len(values) not in (1, x.shape[1]):
        raise LandscapeError(
            f"{len(values)} channels of mean or std do not fit inputs of shape {tuple(x.shape)}",
            "give one number per channel; the channels are the second dimension",
        )
    return torch.tensor(values, dtype=x.dtype).reshape(1, -1, *[1] * (x.dim() - 2))


def prepare_targets(targets: Tensor) -> Tensor:
    """Class indices as int64, other targets as float64."""
    if not targets.is_floating_point():
        return targets.long()
    if not bool(targets.isfinite().all()):
        raise LandscapeError("the targets hold NaN or infinity", "clean the data")
    return targets.double()


def deal(count: int, seed: int) -> Tensor:
    """(G, M) rows of each of up to 64 groups of nearly equal size, dealt once by seed; padded with -1."""
    groups = min(MAX_GROUPS, count)
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    padded = torch.full((-(-count // groups) * groups,), -1)
    padded[:count] = shuffled
    return padded.reshape(-1, groups).T.contiguous()


def samples_sha256(inputs: Inputs, targets: Tensor, settings: DataSettings) -> str:
    """SHA-256 over names, types, shapes and bytes of the samples as read, their normalisation and dealing."""
    digest = hashlib.sha256(repr((settings.scale, settings.mean, settings.std, settings.dtype, settings.seed)).encode())
    names = list(inputs) if isinstance(inputs, dict) else range(len(leaves(inputs)))
    for name, tensor in [*zip(names, leaves(inputs), strict=True), ("targets", targets)]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def tensor_bytes(tensor: Tensor) -> memoryview:
    """A tensor's values as bytes, in C order."""
    return memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
