"""The directions file beside a run file: `run.h5` -> `run.directions.h5`, for directions that no seed regenerates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from landscape_cli.errors import LandscapeError
from landscape_cli.files import write
from landscape_cli.store.guard import Arrays, text
from landscape_cli.store.read import check_regular, check_seal
from landscape_cli.store.write import checked, sealed

FORMAT = "landscape-directions"
SCHEMA = """
/                        format="landscape-directions", problem: the SHA-256 that the run's sections share
/PLANE/x /PLANE/y        direction="hessian:1": what the job calls it
/PLANE/x/PARAMETER       float32, of the parameter's shape; the values that were measured along, before normalising

A folder of it is a direction of another run too: file:run.directions.h5#PLANE/x. Like a run file it begins with the
SHA-256 of all that follows; the recipe in the run file holds the SHA-256 of each direction's tensors.
"""
Folders = Mapping[str, Mapping[str, NDArray[Any]]]  # PLANE/x -> an array for each parameter


def beside(run: Path) -> Path:
    """Where the directions of a run file are kept."""
    return run.with_name(f"{run.name.removesuffix('.h5')}.directions.h5")


class Directions(Arrays):
    """The arrays of a directions file by PLANE/x/PARAMETER.

    Raises:
        LandscapeError: it cannot be read, is damaged, or is another kind of file.
    """

    def __init__(self, path: Path) -> None:
        check_regular(path)
        check_seal(path)
        super().__init__(path)
        with self._open() as file:
            ours = "format" in file.attrs and text(file, "format") == FORMAT
        if not ours:
            raise LandscapeError(f"{path} is no directions file of landscape", "move it out of the way")

    @property
    def folders(self) -> set[str]:
        """PLANE/x of each direction."""
        return {"/".join(name.split("/")[:2]) for name in self.names}

    def folder(self, prefix: str) -> Mapping[str, NDArray[Any]]:
        """One direction: its arrays by parameter, read when they are asked for."""
        return _Folder(self, f"{prefix}/")


class _Folder(Mapping[str, Any]):
    def __init__(self, whole: Directions, prefix: str) -> None:
        self.whole, self.prefix = whole, prefix

    def __getitem__(self, name: str) -> Any:
        return self.whole[self.prefix + name]

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self.prefix) for name in self.whole if name.startswith(self.prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def save_directions(path: Path, folders: Folders, called: Mapping[str, str], problem: str) -> None:
    """Write a directions file, replacing what is there; `called` names each folder's direction as its job does.

    Raises:
        LandscapeError: it cannot be written, or parameters have names that HDF5 cannot keep apart.
    """
    try:
        content = _image(folders, called, problem)
    except (ValueError, TypeError) as error:
        hint = "rename the parameters, or choose other directions"
        raise LandscapeError(f"a parameter's name cannot be kept in {path.name}: {error}", hint) from error
    write(path, content)


def _image(folders: Folders, called: Mapping[str, str], problem: str) -> bytes:
    with h5py.File.in_memory() as file:
        file.attrs.update({"format": FORMAT, "problem": problem})
        for folder, arrays in folders.items():
            file.create_group(folder).attrs["direction"] = called[folder]
            for name in arrays:
                values = np.asarray(arrays[name], dtype=np.float32)
                made = file.create_dataset(f"{folder}/{name}", data=values, **checked(values))
                if made.name != f"/{folder}/{name}":
                    raise ValueError(f"{name!r} is read as {made.name!r}")
                made.attrs["units"], made.attrs["description"] = "parameter", f"part {name} of the direction"
        file.flush()
        return sealed(bytes(file.id.get_file_image()))
