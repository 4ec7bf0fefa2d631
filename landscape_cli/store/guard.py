"""HDF5 read as if an enemy had written it: hard links only, nothing outside the file, no size that cannot be."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from landscape_cli.errors import LandscapeError
from landscape_cli.profile import MAX_BYTES

MAX_TEXT = 16 << 20
MAX_NAMES, MAX_PATH = 100_000, 1000
DAMAGE = (
    OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, RecursionError, MemoryError, OverflowError,
)  # fmt: skip


def check_tree(file: h5py.File) -> list[str]:
    """Walk every hard link once; the paths of all datasets, without the leading slash.

    Raises:
        ValueError: an object that is reached twice, more names or bytes than can be, or a dataset that cannot be read.
    """
    names: list[str] = []
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", file)]
    total = 0
    while waiting:
        prefix, member = waiting.pop()
        address = h5py.h5o.get_info(member.id).addr
        if address in seen or len(seen) > MAX_NAMES or len(prefix) > MAX_PATH:
            raise ValueError("it holds links to the same object, or more names than can be")
        seen.add(address)
        if isinstance(member, h5py.Dataset):
            names.append(prefix)
            total += check_dataset(member)
        elif isinstance(member, h5py.Group):
            hard = [n for n in member if is_hard(member, n)]
            waiting += [(f"{prefix}/{n}" if prefix else n, opened(member, n)) for n in reversed(hard)]
    if total > 4 * MAX_BYTES:
        raise ValueError(f"it declares {total} bytes")
    return names


def group_of(parent: h5py.Group, name: str) -> h5py.Group:
    """A group by its name; a hard link."""
    found = _linked(parent, name)
    if not isinstance(found, h5py.Group):
        raise ValueError(f"{parent.name}/{name} is no group")
    return found


def is_hard(parent: h5py.Group, name: str) -> bool:
    """Whether a member is in this file; h5py's own `get(getlink=True)` asks the same, several times as slowly."""
    found = parent.id.links.get_info(name.encode("utf-8", "surrogateescape"))
    return bool(found.type == h5py.h5l.TYPE_HARD)


def _linked(parent: h5py.Group, name: str) -> Any:
    """A member by a hard link: soft and external ones could lead to any file of the user's."""
    try:
        held = is_hard(parent, name)
    except KeyError:
        raise ValueError(f"{parent.name} has no {clean(name)}") from None
    if not held:
        raise ValueError(f"{clean(name)} is a link to somewhere else")
    return opened(parent, name)


def opened(parent: h5py.Group, name: str) -> Any:
    """`parent[name]`, without what h5py does there for references and types: there are many, and it counts."""
    found = h5py.h5o.open(parent.id, name.encode("utf-8", "surrogateescape"))
    if isinstance(found, h5py.h5d.DatasetID):
        return h5py.Dataset(found)
    return h5py.Group(found) if isinstance(found, h5py.h5g.GroupID) else parent[name]


def array(parent: h5py.Group, name: str, rank: int, kind: str = "f") -> NDArray[Any]:
    """A dataset of this rank, float64 or bool, of a file whose datasets `check_tree` has been through."""
    found = _linked(parent, name)
    if not isinstance(found, h5py.Dataset) or found.ndim != rank:
        raise ValueError(f"{parent.name}/{name} is no array of rank {rank}")
    if found.dtype != (np.dtype(bool) if kind == "b" else np.dtype(np.float64)):
        raise ValueError(f"{parent.name}/{name} holds {found.dtype}")
    return np.asarray(found[()])


def check_dataset(dataset: h5py.Dataset) -> int:
    """The bytes of its values; refuses storage outside the file, unknown filters, and more than the file can hold."""
    options = dataset.id.get_create_plist()  # asked once: the properties of h5py's Dataset ask again for each
    laid = options.get_layout()
    if laid == h5py.h5d.VIRTUAL or options.get_external_count():
        raise ValueError(f"{dataset.name} keeps its values in another file")
    used = {options.get_filter(i)[0] for i in range(options.get_nfilters())}
    if used - {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}:
        raise ValueError(f"{dataset.name} uses filters that cannot be")
    itemsize = int(dataset.dtype.itemsize)
    size: int = math.prod(dataset.shape) * itemsize
    chunk = math.prod(options.get_chunk()) * itemsize if laid == h5py.h5d.CHUNKED else 0
    held = dataset.id.get_storage_size() * (1100 if h5py.h5z.FILTER_DEFLATE in used else 1)
    if size > min(MAX_BYTES, held) or chunk > MAX_BYTES:
        raise ValueError(f"{dataset.name} declares {size} bytes and holds {dataset.id.get_storage_size()}")
    return size


def text(parent: h5py.Group, name: str) -> str:
    """A text attribute of a size that can be."""
    attribute = h5py.h5a.open(parent.id, name.encode())
    if attribute.shape != () or attribute.get_storage_size() > MAX_TEXT:
        raise ValueError(f"the attribute {name} is no text")
    if not isinstance(attribute.get_type(), h5py.h5t.TypeStringID):  # the library crashes on some others
        raise ValueError(f"the attribute {name} is no text")
    value = parent.attrs[name]
    if name == "schema_version" or not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError(f"the attribute {name} is no text")
    return value


def parsed(parent: h5py.Group, name: str, kind: type) -> Any:
    """A text attribute that holds JSON of this type."""
    value = json.loads(text(parent, name))
    if not isinstance(value, kind):
        raise ValueError(f"the attribute {name} is no {kind.__name__}")
    return value


def clean(text: str) -> str:
    """What the library says of a hostile file may quote it: printable ASCII is left."""
    return re.sub(r"[^\x20-\x7e]", "?", text)


class Arrays(Mapping[str, Any]):
    """The datasets of any HDF5 file by path without the leading slash, each checked and read when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            self.names = check_tree(file)

    @contextlib.contextmanager
    def _open(self) -> Iterator[h5py.File]:
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                yield file
        except DAMAGE as error:
            hint = "write it again, uncompressed or with gzip"
            raise LandscapeError(f"{self.path} cannot be used: {clean(str(error))}", hint) from error

    def __getitem__(self, name: str) -> Any:
        with self._open() as file:
            return file[name][()]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


READERS = {".h5": Arrays, ".hdf5": Arrays}
