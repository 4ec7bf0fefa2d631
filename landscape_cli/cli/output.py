"""Where a command's data goes: stdout, or a file that is replaced whole."""

from __future__ import annotations

from pathlib import Path

import click

from landscape_cli import files
from landscape_cli.cli.console import CONSOLE
from landscape_cli.errors import LandscapeError


def emit(text: str, output: str, force: bool) -> None:
    """Print to stdout if `output` is "-", else write the file; an existing one only with --force."""
    if output == "-":
        click.echo(text, nl=False)
        return
    path = files.check_output(Path(output), len(text))
    if path.exists() and not force:
        raise LandscapeError(f"{output} exists", "add --force to overwrite it, or choose another -o")
    files.write(path, text.encode())
    CONSOLE.note(f"wrote {output}")
