"""Files of arrays, read as data: .npz, .pt, .safetensors."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape_cli.errors import LandscapeError
from landscape_cli.measure import checkpoint

Reader = Callable[[Path], Mapping[str, Any]]  # a file's arrays by name
DAMAGE = (
    zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, MemoryError, NotImplementedError, RuntimeError,
    KeyError, TypeError, SyntaxError, tokenize.TokenError,  # NumPy reads its headers as Python
)  # fmt: skip


def as_tensor(array: Any, where: str) -> Tensor:
    """A plain, dense, real tensor on the CPU; `where` names it in errors.

    Raises:
        LandscapeError: anything that is not an array of numbers.
    """
    if isinstance(array, Tensor):
        return _plain(array, where)
    try:
        array = np.asarray(array)
    except (ValueError, TypeError) as error:
        raise LandscapeError(f"{where} is no array: {error}", "give numbers of one shape") from None
    if array.dtype.kind not in "fiub" or (array.dtype.kind == "f" and array.dtype.itemsize > 8):
        raise LandscapeError(f"{where} holds {array.dtype}, not numbers", "save it as a numeric array")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise LandscapeError(f"{where} holds values above 2^63", "save it as int64")
    if array.dtype.kind in "ui":
        array = array.astype(np.uint8 if array.dtype == np.uint8 else np.int64)
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _plain(tensor: Tensor, where: str) -> Tensor:
    odd = tensor.is_nested or tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta
    if odd or tensor.is_complex():
        raise LandscapeError(
            f"{where} is nested, sparse, quantised, complex or without data", "save a dense real tensor"
        )
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise LandscapeError(f"{where} declares {tensor.numel()} values and holds fewer", "save it with .contiguous()")
    return tensor.detach().cpu()


def read_npz(path: Path) -> Mapping[str, Any]:
    """The arrays of a .npz file, read one by one when asked for; nothing is unpickled."""
    return _Npz(path)


class _Npz(Mapping[str, Any]):
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
                self.sizes = {info.filename.removesuffix(".npy"): info.file_size for info in infos}
        except DAMAGE as error:
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
        except DAMAGE as error:
            raise _damaged(self.path, error) from None

    def __contains__(self, name: object) -> bool:
        return name in self.sizes

    def __iter__(self) -> Iterator[str]:
        return iter(self.sizes)

    def __len__(self) -> int:
        return len(self.sizes)


def _damaged(path: Path, error: BaseException) -> LandscapeError:
    return LandscapeError(f"{path} is damaged or truncated: {error}", "save it again, or copy it again")


def read_torch(path: Path) -> Mapping[str, Any]:
    """The tensors of a .pt file: a dict of them, or a pair (inputs, targets)."""
    try:
        tree = checkpoint.read(path)
    except LandscapeError as error:
        if "--allow-pickle" not in error.hint:
            raise
        hint = "save {'inputs': x, 'targets': y}, tensors both; or name a FILE.py:CALLABLE that loads it"
        raise LandscapeError(error.message, hint) from error
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
