"""Sources of samples -> fixed, hashed tensors, dealt into groups.

A split is materialised once, in a fixed order; a source that answers differently twice is refused.
"""

from __future__ import annotations

import hashlib
import itertools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler, default_collate

from landscape_cli.errors import LandscapeError
from landscape_cli.jobs import DataSettings
from landscape_cli.measure import checkpoint
from landscape_cli.profile import MAX_GROUPS

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
Reader = Callable[[Path], Mapping[str, Any]]  # a file's arrays by name


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

    def __len__(self) -> int:
        return len(self.targets)

    def rows(self, rows: slice, device: torch.device) -> tuple[Inputs, Tensor]:
        """The inputs and targets of some samples, on the device."""
        inputs = apply(lambda t: t[rows].to(device, non_blocking=True), self.inputs)
        return inputs, self.targets[rows].to(device, non_blocking=True)

    def batches(self, size: int, device: torch.device) -> Iterator[tuple[slice, Inputs, Tensor]]:
        """The samples in order, `size` at a time, on the device."""
        for start in range(0, len(self), size):
            rows = slice(start, min(start + size, len(self)))
            yield rows, *self.rows(rows, device)


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


def load_file(path: Path, settings: DataSettings, readers: Mapping[str, Reader]) -> tuple[Inputs, Tensor]:
    """The chosen rows of the named arrays of a file, by its ending.

    Raises:
        LandscapeError: an unreadable or unknown file, names that are not in it, arrays that are no numbers.
    """
    checkpoint.sniff(path)
    known = {**READERS, **readers}
    if path.suffix not in known:
        hint = f"give {', '.join(known)}, or FILE.py:CALLABLE"
        raise LandscapeError(f"the data file {path} has an unknown ending", hint)
    arrays = known[path.suffix](path)
    pick = _picker(arrays, path)
    names = settings.inputs
    inputs: Inputs
    if isinstance(names, str):
        inputs = pick(names, "inputs")
    elif isinstance(names, dict):
        inputs = {key: pick(name, "inputs") for key, name in names.items()}
    else:
        inputs = tuple(pick(name, "inputs") for name in names)
    return take((inputs, pick(settings.targets, "targets")), settings)


def _picker(arrays: Mapping[str, Any], path: Path) -> Callable[[str, str], Tensor]:
    def pick(name: str, role: str) -> Tensor:
        if name not in arrays:
            held = ", ".join(sorted(arrays)[:20]) or "nothing"
            raise LandscapeError(
                f"{path.name} has no array named {name!r}; it holds: {held}", f"set data.NAME.{role} to one of these"
            )
        return _tensor(arrays[name], f"{name} in {path.name}")

    return pick


def _tensor(array: Any, where: str) -> Tensor:
    if isinstance(array, Tensor):
        return array.detach().cpu()
    array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise LandscapeError(f"{where} holds {array.dtype}, not numbers", "save it as a numeric array")
    if array.dtype.kind in "ui":
        if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
            raise LandscapeError(f"{where} holds values above 2^63", "save it as int64")
        array = array.astype(np.uint8 if array.dtype == np.uint8 else np.int64)
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def read_npz(path: Path) -> Mapping[str, Any]:
    """The arrays of a .npz file, read one by one when asked for; nothing is unpickled."""
    return _Npz(path)


class _Npz(Mapping[str, Any]):
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self.sizes = {i.filename.removesuffix(".npy"): i.file_size for i in archive.infolist()}
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise _damaged(path, error) from None

    def __getitem__(self, name: str) -> Any:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as member:
                version = np.lib.format.read_magic(member)
                reader = {(1, 0): np.lib.format.read_array_header_1_0}.get(version, np.lib.format.read_array_header_2_0)
                shape, _, dtype = reader(member)
            if dtype.hasobject:
                raise LandscapeError(f"{name} in {self.path.name} is an object array", "save it as a numeric array")
            if int(np.prod(shape, dtype=object)) * dtype.itemsize > self.sizes[name]:
                raise ValueError(f"{name} declares {shape}, more than the file holds")
            with np.load(self.path, allow_pickle=False) as arrays:
                return arrays[name]
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, MemoryError) as error:
            raise _damaged(self.path, error) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.sizes)

    def __len__(self) -> int:
        return len(self.sizes)


def _damaged(path: Path, error: BaseException) -> LandscapeError:
    return LandscapeError(f"{path} is damaged or truncated: {error}", "save it again, or copy it again")


def read_torch(path: Path) -> Mapping[str, Any]:
    """The tensors of a .pt file: a dict of them, or a pair (inputs, targets)."""
    tree = checkpoint.read(path)
    if isinstance(tree, tuple | list) and len(tree) == 2:
        tree = dict(zip(("inputs", "targets"), tree, strict=True))
    if not isinstance(tree, Mapping):
        raise LandscapeError(f"{path.name} holds no dict of tensors", "save {'inputs': x, 'targets': y}")
    return {str(key): value for key, value in tree.items() if isinstance(value, Tensor)}


READERS: dict[str, Reader] = {
    ".npz": read_npz,
    ".pt": read_torch,
    ".pth": read_torch,
    ".safetensors": checkpoint.read_safetensors,
}


def materialise(source: Any, settings: DataSettings) -> tuple[Inputs, Tensor]:
    """The samples of a Dataset, a DataLoader or a pair (inputs, targets), read once in a fixed order.

    Of a map-style Dataset only the rows asked for are read. A DataLoader's shuffling, dropping and batching are
    set aside: its dataset is read in index order through its collate function; one with a sampler of its own is read
    as it comes.

    Raises:
        LandscapeError: another kind of object, an empty one, or one that answers differently twice.
    """
    if isinstance(source, tuple | list) and len(source) == 2:
        inputs, targets = source
        return take((_inputs(inputs), _tensor(targets, "targets")), settings)
    if isinstance(source, DataLoader):
        collate, sampler = source.collate_fn, getattr(source, "sampler", None)
        plain = isinstance(sampler, SequentialSampler | RandomSampler) and not getattr(sampler, "replacement", False)
        if plain and collate is not None:
            return _read_rows(source.dataset, collate, settings)
        return take(_read_twice(lambda: iter(source), settings), settings)
    if isinstance(source, IterableDataset):
        one_by_one = _read_twice(lambda: (default_collate([sample]) for sample in source), settings)
        return take(one_by_one, settings)
    if hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        return _read_rows(source, default_collate, settings)
    raise LandscapeError(
        f"the data is a {type(source).__name__}", "return a Dataset, a DataLoader, or (inputs, targets)"
    )


def _read_rows(dataset: Any, collate: Callable[[list[Any]], Any], settings: DataSettings) -> tuple[Inputs, Tensor]:
    rows = chosen_rows(len(dataset), settings)

    def read(some: Tensor) -> tuple[Inputs, Tensor]:
        chunks = (collate([dataset[int(i)] for i in chunk]) for chunk in torch.split(some, 256))
        return _joined([_pair(chunk, settings) for chunk in chunks])

    samples = read(rows)
    probe = torch.linspace(0, len(rows) - 1, min(len(rows), 32)).long()
    again = read(rows[probe])
    if not _same((apply(lambda t: t[probe], samples[0]), samples[1][probe]), again):
        raise _random_data()
    return samples


def _read_twice(iterate: Callable[[], Iterator[Any]], settings: DataSettings) -> tuple[Inputs, Tensor]:
    samples = _joined([_pair(chunk, settings) for chunk in iterate()])
    first = _joined([_pair(chunk, settings) for chunk in itertools.islice(iterate(), 1)])
    count = len(first[1])
    if not _same((apply(lambda t: t[:count], samples[0]), samples[1][:count]), first):
        raise _random_data()
    return samples


def _random_data() -> LandscapeError:
    return LandscapeError(
        "the data answers differently twice: it is shuffled or augmented at random",
        "turn augmentation and shuffling off: the loss must be of fixed samples",
    )


def _pair(sample: Any, settings: DataSettings) -> tuple[Inputs, Tensor]:
    """(inputs, targets) of a collated chunk: a pair, or a dict that holds the targets by name."""
    if isinstance(sample, Mapping):
        name = settings.targets if settings.targets in sample else "labels"
        if name not in sample:
            raise LandscapeError(
                f"the data's dicts have no {settings.targets!r}",
                f"set targets to one of: {', '.join(map(str, sample))}",
            )
        rest = {key: value for key, value in sample.items() if key != name}
        only = rest[settings.inputs] if isinstance(settings.inputs, str) and settings.inputs in rest else rest
        return _inputs(only), _tensor(sample[name], name)
    if isinstance(sample, tuple | list) and len(sample) >= 2:
        inputs = sample[0] if len(sample) == 2 else tuple(sample[:-1])
        return _inputs(inputs), _tensor(sample[-1], "targets")
    raise LandscapeError(
        f"the data's samples are {type(sample).__name__}", "make each sample (input, target) or a dict"
    )


def _inputs(inputs: Any) -> Inputs:
    if isinstance(inputs, Mapping):
        return {str(key): _tensor(value, str(key)) for key, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return tuple(_tensor(value, f"input {i}") for i, value in enumerate(inputs))
    return _tensor(inputs, "inputs")


def _joined(chunks: list[tuple[Inputs, Tensor]]) -> tuple[Inputs, Tensor]:
    if not chunks:
        raise LandscapeError("the data is empty", "give at least one sample")
    parts = [leaves(inputs) for inputs, _ in chunks]
    try:
        whole = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
        targets = torch.cat([targets for _, targets in chunks])
    except (RuntimeError, ValueError) as error:
        raise LandscapeError(f"the samples differ in shape: {error}", "pad or crop them to one shape") from None
    iterator = iter(whole)
    return apply(lambda _: next(iterator), chunks[0][0]), targets


def _same(a: tuple[Inputs, Tensor], b: tuple[Inputs, Tensor]) -> bool:
    pairs = zip([*leaves(a[0]), a[1]], [*leaves(b[0]), b[1]], strict=True)
    return all(x.shape == y.shape and torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in pairs)


def chosen_rows(count: int, settings: DataSettings) -> Tensor:
    """The rows that `rows` and `samples` choose of `count`, ascending."""
    rows = torch.arange(count)
    if settings.rows is not None:
        start, colon, stop = settings.rows.partition(":")
        try:
            rows = rows[slice(int(start) if start else None, int(stop) if stop else None)]
        except ValueError:
            colon = ""
        if not colon:
            raise LandscapeError(f"rows = {settings.rows!r} is no range", 'write rows = "0:1000"')
    if settings.samples is not None:
        if settings.samples > len(rows):
            raise LandscapeError(
                f"{settings.samples} samples are asked for and there are {len(rows)}", "ask for fewer samples"
            )
        shuffled = torch.randperm(len(rows), generator=torch.Generator().manual_seed(settings.seed))
        rows = rows[shuffled[: settings.samples].sort().values]
    if not len(rows):
        raise LandscapeError("the data is empty", "give at least one sample")
    return rows


def take(samples: tuple[Inputs, Tensor], settings: DataSettings) -> tuple[Inputs, Tensor]:
    """The chosen rows of samples that have been read whole."""
    inputs, targets = samples
    lengths = {len(t) if t.dim() else 0 for t in [*leaves(inputs), targets]}
    if len(lengths) != 1:
        raise LandscapeError(
            f"inputs and targets have {' and '.join(map(str, sorted(lengths)))} samples", "they must be equally many"
        )
    rows = chosen_rows(lengths.pop(), settings)
    if len(rows) == len(targets):
        return samples
    return apply(lambda t: t[rows], inputs), targets[rows]


def prepare(inputs: Inputs, settings: DataSettings, dtype: torch.dtype) -> Inputs:
    """The inputs normalised per channel and cast: x / scale, then (x - mean) / std; indices become int64.

    Raises:
        LandscapeError: NaN in the inputs, an unknown dtype, a mean or std that does not fit the channels.
    """
    kind = getattr(torch, settings.dtype, None) if settings.dtype else None
    if settings.dtype and not isinstance(kind, torch.dtype):
        raise LandscapeError(f"unknown dtype of the data: {settings.dtype}", "write float32, int64, …")
    normalised = settings.scale is not None or settings.mean is not None or settings.std is not None
    if settings.std is not None and min(settings.std, default=0.0) <= 0:
        raise LandscapeError("std must be positive", "give one positive number per channel")

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
    """SHA-256 over names, types, shapes and bytes of the samples as read, and over their normalisation."""
    digest = hashlib.sha256(repr((settings.scale, settings.mean, settings.std, settings.dtype)).encode())
    names = list(inputs) if isinstance(inputs, dict) else range(len(leaves(inputs)))
    for name, tensor in [*zip(names, leaves(inputs), strict=True), ("targets", targets)]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def tensor_bytes(tensor: Tensor) -> memoryview:
    """A tensor's values as bytes, in C order."""
    return memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
