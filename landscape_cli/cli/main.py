"""`landscape`: the command group, and the one place where an error becomes an exit code."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from landscape_cli import __version__
from landscape_cli.cli.console import CONSOLE, Console
from landscape_cli.cli.output import abandon_stdout
from landscape_cli.errors import ExitCode, LandscapeError, one_of

# One file per command; imported when it is called, so that `report` starts without what `scan` needs.
COMMANDS = {
    "scan": "Measure the loss around a checkpoint.",
    "report": "Print the statistics of a run.",
    "gate": "Pass, fail or inconclusive, for CI.",
    "compare": "Runs side by side: what changed, and what did not.",
    "plot": "Draw a run: a picture file, or in the terminal.",
    "export": "Write its arrays for NumPy, tables, ParaView and the 2018 code.",
    "explain": "Print what a statistic is.",
    "info": "Print what was run, with what, when, by which version.",
    "demo": "A small real model on real data, end to end, offline.",
    "completion": "Print the shell code that completes commands.",
}


class Commands(click.Group):
    """Finds a command's file by its name."""

    def list_commands(self, context: click.Context) -> list[str]:
        """In the order they are used."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command, its file imported now."""
        if name not in COMMANDS:
            return None
        found: click.Command = getattr(importlib.import_module(f"landscape_cli.cli.{name}"), name)
        return found

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, a wrong name answered with the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not context.resilient_parsing:
            raise one_of("command", args[0], list(COMMANDS))
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands with their one line each, none imported."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


EXIT_CODES = """\b
Exit codes:
  0         done
  1         gate failed, or a difference was found
  2         usage, job file, or input that cannot be read
  3         inconclusive: unfinished, not finite, not converged, not comparable
  70        a bug in landscape
  130, 143  interrupted (Ctrl-C or --max-time, SIGTERM); what was measured is kept
"""


@click.command(cls=Commands, epilog=EXIT_CODES)
@click.version_option(__version__, message="landscape %(version)s")
def cli() -> None:
    """How sharp is the minimum that this training run found? Measure the loss around a PyTorch checkpoint."""


def run() -> NoReturn:
    """The command, its streams made such that a letter they lack is a ? and no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    sys.exit(main(sys.argv[1:]))


def main(args: Sequence[str]) -> int:
    """Run one command; the exit code. Every error is answered in two lines on stderr."""
    CONSOLE.__dict__.update(Console().__dict__)
    try:
        return invoke(args)
    except LandscapeError as error:
        _trace()
        CONSOLE.error(error)
        return error.code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else _command(args)
        CONSOLE.error(LandscapeError(error.format_message(), f"see: {path} --help"))
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    except Exception as error:
        _trace()
        what = f"{type(error).__name__}: {error}"
        hint = "this is a bug in landscape: run the command again with --debug and report what it prints"
        CONSOLE.error(LandscapeError(f"internal error, {what}", hint))
        return ExitCode.BUG


def invoke(args: Sequence[str]) -> int:
    """Run one command by its arguments; its exit code. Errors are the caller's."""
    CONSOLE.argv = ("landscape", *args)
    try:
        return int(cli.main(list(args), prog_name="landscape", standalone_mode=False) or 0)
    except SystemExit:  # click's answer to help that nobody reads is 1, which would read as "gate failed"
        abandon_stdout()
        return ExitCode.OK


def _command(args: Sequence[str]) -> str:
    """The command as typed, for an error that knows none."""
    return f"landscape {args[0]}" if args and args[0] in COMMANDS else "landscape"


def _trace() -> None:
    if CONSOLE.debug:
        import traceback

        traceback.print_exc()
