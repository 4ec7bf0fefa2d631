"""`landscape completion`: shell code that completes commands, options and their values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from landscape_cli.cli.console import common
from landscape_cli.cli.output import say
from landscape_cli.errors import ExitCode


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common
def completion(shell: str) -> int:
    """Print the completion code of SHELL; for bash: eval "$(landscape completion bash)"."""
    from landscape_cli.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    say(kind(cli, {}, "landscape", "_LANDSCAPE_COMPLETE").source() + "\n")
    return ExitCode.OK
