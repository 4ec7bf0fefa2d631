"""A profile -> the bytes of a run file, and when they are written."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
from numpy.typing import NDArray

from landscape_cli.files import check_output, locked, write
from landscape_cli.profile import Profile
from landscape_cli.store.schema import BLOCK, SCHEMA_VERSION, SEAL, layout

CHUNK = 1 << 20  # bytes that have one checksum of their own
SAVE_EVERY = 2.0  # seconds: what a crash can cost


def image(profile: Profile) -> bytes:
    """The bytes of the run file."""
    whole = layout(profile)
    with h5py.File.in_memory() as file, ThreadPoolExecutor(1) as beside:
        digest = beside.submit(whole.sha256)  # hashing and filling the file take the same time, on a core each
        for path, dataset in whole.datasets.items():
            made = file.create_dataset(path, data=dataset.values, **checked(dataset.values))
            made.attrs["units"], made.attrs["description"] = dataset.units, dataset.description
        for path, texts in whole.attributes.items():
            file.require_group(path).attrs.update(texts)
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["sha256"] = digest.result()
        file.flush()
        return sealed(bytes(file.id.get_file_image()))


def sealed(content: bytes) -> bytes:
    """An HDF5 image behind a user block that holds its SHA-256."""
    return (SEAL + hashlib.sha256(content).hexdigest().encode()).ljust(BLOCK, b"\0") + content


def checked(values: NDArray[Any]) -> dict[str, Any]:
    """Options of a dataset whose chunks, whole rows of it, carry a checksum."""
    if not values.size or not values.ndim:
        return {}
    rows = max(1, min(len(values), CHUNK * len(values) // values.nbytes))
    return {"fletcher32": True, "chunks": (rows, *values.shape[1:])}


def save(profile: Profile, path: Path | str) -> None:
    """Write a profile to a file, replacing what is there.

    Raises:
        LandscapeError: the output cannot be written, or another process is writing it.
    """
    target = check_output(Path(path))
    with locked(target):
        write(target, image(profile))


class Saver:
    """Saves a growing profile at most every two seconds; where saving is slow, a tenth of the time at most."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.due = time.monotonic() + SAVE_EVERY

    def save(self, profile: Profile) -> None:
        """Save now."""
        started = time.monotonic()
        write(self.path, image(profile))
        ended = time.monotonic()
        self.due = ended + max(SAVE_EVERY, 10 * (ended - started))

    def save_if_due(self, profile: Profile) -> None:
        """Save if the last time is long enough ago."""
        if time.monotonic() >= self.due:
            self.save(profile)
