"""Output files: checked before work starts, replaced whole or not at all, written by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import socket
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from landscape_cli.errors import LandscapeError


def check_output(path: Path, bytes_needed: int = 0) -> Path:
    """The real path of an output that can be written.

    Raises:
        LandscapeError: its folder is absent, it is no regular file, or the disk is too full.
    """
    path = Path(os.path.realpath(path))
    try:
        parent, there, regular = path.parent.is_dir(), path.exists(), path.is_file()
    except OSError as error:
        raise LandscapeError(f"{path} cannot be a file: {error.strerror}", "choose another -o") from None
    if not parent:
        raise LandscapeError(f"the folder {path.parent} does not exist", f"make it: mkdir -p {path.parent}")
    if there and not regular:
        kind = "a folder" if path.is_dir() else "no regular file"
        raise LandscapeError(f"{path} is {kind}", "give the path of a file, for example -o run.h5")
    free = shutil.disk_usage(path.parent).free
    if free < 2 * bytes_needed + (1 << 20):
        needed = (2 * bytes_needed >> 10) + 1024
        raise LandscapeError(f"{path.parent} has {free >> 10} KiB free, {needed} KiB are needed", "make room first")
    return path


def write(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, whole or not at all: write, fsync, rename, fsync of the folder.

    Raises:
        LandscapeError: the system refuses; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.fchmod(handle, stat.S_IMODE(os.stat(path).st_mode))
                view = memoryview(content)
                while view:
                    view = view[os.write(handle, view) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            os.replace(temporary, path)
            _sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        hint = "mend that and run the same command again: it resumes what has been saved"
        raise LandscapeError(f"cannot write {path}: {error.strerror}", hint) from error


def remove(path: Path) -> None:
    """Remove a file of ours.

    Raises:
        LandscapeError: the system refuses.
    """
    try:
        path.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise LandscapeError(f"cannot remove {path}: {error.strerror}", "remove it by hand") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """The only writer of `path`, by a lock on `path`.lock; that file stays, a dead holder's lock is free.

    Raises:
        LandscapeError: another process holds it, or the folder cannot be written.
    """
    beside = path.with_name(f"{path.name}.lock")
    try:
        handle = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise LandscapeError(
            f"cannot write in {path.parent}: {error.strerror}", "choose another folder with -o"
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = re.sub(r"[^\x20-\x7e]", "", os.read(handle, 200).decode("utf-8", "replace"))
            raise LandscapeError(
                f"{path.name} is being written by another process: {holder}", "wait for it, or choose another -o"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()} since {now()}".encode(), 0)
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
