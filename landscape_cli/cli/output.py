"""Where a command's data goes: stdout, or a file that is replaced whole."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import click

from landscape_cli import files
from landscape_cli.cli.console import CONSOLE
from landscape_cli.errors import LandscapeError


def say(text: str) -> None:
    """Print data to stdout, nothing added.

    Raises:
        LandscapeError: stdout cannot take it (a full disk). A reader that has seen enough and gone is no error.
    """
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.flush()
            content = text if CONSOLE.colour_on(sys.stdout) else click.unstyle(text)
            _write_all(sys.stdout.buffer, content.encode(sys.stdout.encoding, "replace"))
        elif sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        else:
            click.echo(text, nl=False)
    except BrokenPipeError:
        abandon_stdout()
    except OSError as error:
        abandon_stdout()
        raise LandscapeError(f"cannot write to stdout: {error.strerror}", "make room, or send it elsewhere") from error


def _write_all(stream: BinaryIO, content: bytes) -> None:
    """All of it: without a buffer (PYTHONUNBUFFERED) a stream takes what fits and says so only by its count."""
    view = memoryview(content)
    while view:
        view = view[stream.write(view) or 0 :]
    stream.flush()


def abandon_stdout() -> None:
    """What stdout still holds goes nowhere, so that closing it at the end does not fail again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def refuse_to_overwrite(inputs: Iterable[Path], *outputs: str) -> None:
    """An input is never an output, --force or not."""
    read = {os.path.realpath(path) for path in inputs}
    for output in outputs:
        if output != "-" and os.path.realpath(output) in read:
            raise LandscapeError(f"{output} is the file that is read", "choose another -o")


def emit(content: str | bytes, output: str, force: bool) -> None:
    """Print to stdout if `output` is "-", else write the file; an existing one only with --force."""
    if output == "-" and isinstance(content, str):
        say(content)
        return
    data = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
    files.write(writable(output, force, len(data)), data)
    CONSOLE.note(f"wrote {output}")


def writable(output: str, force: bool, bytes_needed: int = 0) -> Path:
    """The real path of an output file.

    Raises:
        LandscapeError: it is there and --force is not, or it cannot be written.
    """
    path = files.check_output(Path(output), bytes_needed)
    if path.exists() and not force:
        raise LandscapeError(f"{output} exists", "add --force to overwrite it, or choose another file")
    return path
