"""Where samples come from: files of arrays, Datasets, DataLoaders, pairs -> tensors in a fixed order.

A source is read once; one that answers differently twice is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from landscape_cli.errors import LandscapeError
from landscape_cli.measure import checkpoint
from landscape_cli.measure.arrays import READERS, Reader, as_tensor
from landscape_cli.measure.data import Inputs, apply, leaves
from landscape_cli.settings import DataSettings


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
        return as_tensor(arrays[name], f"{name} in {path.name}")

    return pick


def materialise(source: Any, settings: DataSettings) -> tuple[Inputs, Tensor]:
    """The samples of a Dataset, a DataLoader or a pair (inputs, targets), read once in a fixed order.

    Of a map-style Dataset only the rows asked for are read. A DataLoader's shuffling, dropping and batching are
    set aside: its dataset is read in index order through its collate function; one with a sampler of its own is read
    as it comes.

    Raises:
        LandscapeError: another kind of object, an empty one, or one that answers differently twice.
    """
    try:
        return _materialised(source, settings)
    except LandscapeError:
        raise
    except (Exception, SystemExit) as error:  # the dataset is the user's code
        raise LandscapeError(
            f"reading the data raised {type(error).__name__}: {error}", "read a few samples by hand, or add --debug"
        ) from error


def _materialised(source: Any, settings: DataSettings) -> tuple[Inputs, Tensor]:
    if isinstance(source, tuple | list) and len(source) == 2 and not isinstance(source[0], tuple | list):
        inputs, targets = source
        return take((_inputs(inputs), as_tensor(targets, "targets")), settings)
    if isinstance(source, tuple) and len(source) == 2:
        return take((_inputs(source[0]), as_tensor(source[1], "targets")), settings)
    if isinstance(source, DataLoader):
        if _reads_its_dataset(source):
            return _read_rows(source.dataset, source.collate_fn, settings)
        return take(_read_twice(lambda: iter(source), settings), settings)
    if isinstance(source, IterableDataset):
        one_by_one = _read_twice(lambda: (default_collate([sample]) for sample in source), settings)
        return take(one_by_one, settings)
    if hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        return _read_rows(source, default_collate, settings)
    raise LandscapeError(
        f"the data is a {type(source).__name__}", "return a Dataset, a DataLoader, or (inputs, targets)"
    )


def _reads_its_dataset(loader: DataLoader[Any]) -> bool:
    """True if the loader gives each row of its dataset once, but for dropping, in whatever order."""
    plain = type(loader.batch_sampler) is BatchSampler and type(loader.sampler) in (SequentialSampler, RandomSampler)
    return loader.batch_size is not None and plain and not getattr(loader.sampler, "replacement", False)


def _read_rows(dataset: Any, collate: Callable[[list[Any]], Any], settings: DataSettings) -> tuple[Inputs, Tensor]:
    rows = chosen_rows(len(dataset), settings)
    size = 256 if collate is default_collate else len(rows)  # one of the user's own may pad to the longest

    def read(some: Tensor) -> tuple[Inputs, Tensor]:
        chunks = (collate([dataset[int(i)] for i in chunk]) for chunk in torch.split(some, size))
        return _joined([_pair(chunk, settings) for chunk in chunks])

    some = rows[torch.linspace(0, len(rows) - 1, min(len(rows), 32)).long()]
    if not _same(read(some), read(some)):
        raise _random_data()
    return read(rows)


def _read_twice(iterate: Callable[[], Iterator[Any]], settings: DataSettings) -> tuple[Inputs, Tensor]:
    """What cannot be read by row is read twice from end to end."""
    samples, again = (_joined([_pair(chunk, settings) for chunk in iterate()]) for _ in range(2))
    if not _same(samples, again):
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
        inputs, targets = _from_dict(sample, settings)
    elif isinstance(sample, tuple | list) and len(sample) >= 2:
        inputs, targets = (
            _inputs(sample[0] if len(sample) == 2 else tuple(sample[:-1])),
            as_tensor(sample[-1], "targets"),
        )
    else:
        raise LandscapeError(
            f"the data's samples are {type(sample).__name__}", "make each sample (input, target) or a dict"
        )
    if targets.dim() == 0:  # a single sample, of a loader that does not batch
        return apply(lambda t: t.unsqueeze(0), inputs), targets.unsqueeze(0)
    return inputs, targets


def _from_dict(sample: Mapping[Any, Any], settings: DataSettings) -> tuple[Inputs, Tensor]:
    """The inputs that the settings name, or all but the targets where they name none."""
    target = settings.targets if settings.targets in sample else "labels"
    names, default = settings.inputs, DataSettings().inputs
    asked = [names] if isinstance(names, str) else list(names.values()) if isinstance(names, dict) else names
    everything = names == default and default not in sample
    missing = [n for n in [target, *([] if everything else asked)] if n not in sample]
    if missing:
        held = ", ".join(map(str, sample))
        lacking = settings.targets if missing[0] == target else missing[0]
        raise LandscapeError(
            f"the data's dicts have no {lacking!r}; they hold: {held}", f"set inputs and targets to names of: {held}"
        )
    targets = as_tensor(sample[target], target)
    if everything:
        return _inputs({key: value for key, value in sample.items() if key != target}), targets
    if isinstance(names, str):
        return _inputs(sample[names]), targets
    if isinstance(names, dict):
        return _inputs({key: sample[name] for key, name in names.items()}), targets
    return _inputs(tuple(sample[name] for name in names)), targets


def _inputs(inputs: Any) -> Inputs:
    if isinstance(inputs, Mapping):
        return {str(key): as_tensor(value, str(key)) for key, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return tuple(as_tensor(value, f"input {i}") for i, value in enumerate(inputs))
    return as_tensor(inputs, "inputs")


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
