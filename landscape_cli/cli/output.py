"""Where a command's data goes: stdout, or a file that is replaced whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

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
        click.echo(text, nl=False)
        sys.stdout.flush()
    except BrokenPipeError:
        abandon_stdout()
    except OSError as error:
        abandon_stdout()
        raise LandscapeError(f"cannot write to stdout: {error.strerror}", "make room, or send it elsewhere") from error


def abandon_stdout() -> None:
    """What stdout still holds goes nowhere, so that closing it at the end does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def refuse_to_overwrite(inputs: Iterable[Path], output: str) -> None:
    """An input is never an output, --force or not."""
    for path in inputs:
        if output != "-" and os.path.realpath(path) == os.path.realpath(output):
            raise LandscapeError(f"{output} is the file that is read", "choose another -o")


def emit(text: str, output: str, force: bool) -> None:
    """Print to stdout if `output` is "-", else write the file; an existing one only with --force."""
    if output == "-":
        say(text)
        return
    path = files.check_output(Path(output), len(text))
    if path.exists() and not force:
        raise LandscapeError(f"{output} exists", "add --force to overwrite it, or choose another -o")
    files.write(path, text.encode())
    CONSOLE.note(f"wrote {output}")
