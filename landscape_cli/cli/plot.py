"""`landscape plot`: a picture of one or more runs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from landscape_cli import store
from landscape_cli.cli.console import CONSOLE, common
from landscape_cli.cli.output import emit, refuse_to_overwrite, writable
from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.report.picture.kinds import KINDS, check_split, default_kind
from landscape_cli.report.picture.page import page
from landscape_cli.report.picture.screen import Screen
from landscape_cli.report.picture.terminal import drawn
from landscape_cli.report.picture.theme import rendered
from landscape_cli.report.picture.view import View

ENDINGS = ("html", "png", "svg", "pdf")
LARGE = 10_000_000  # letters of a page


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    default="-",
    help="A file by its ending: .html (interactive), .png, .svg, .pdf; - is the terminal.",
)
@click.option("--kind", type=click.Choice(list(KINDS)), help="What to draw; by what the file holds unless told.")
@click.option("--plane", default="", metavar="NAME", help="The plane or line; the first unless told.")
@click.option("--split", default="", metavar="NAME", help="The split; the first unless told, of a curve all.")
@click.option("--dark", is_flag=True, help="Light on dark.")
@click.option("--force", is_flag=True, help="Overwrite an existing output.")
@common
def plot(runs: tuple[Path, ...], output: str, kind: str | None, plane: str, split: str, dark: bool, force: bool) -> int:
    """Draw RUNS, several on one scale. Exit code 3 where one is unfinished: what is there is drawn all the same."""
    refuse_to_overwrite(runs, output)
    ending = ending_of(output)
    if ending:
        writable(output, force)
    views = [View(str(path), store.load(path), plane, split) for path in runs]
    emit(_page(views, kind, dark) if ending == "html" else _picture(views, kind, ending, dark), output, force)
    return _code(views)


def _picture(views: list[View], kind: str | None, ending: str, dark: bool) -> str | bytes:
    chosen = kind or default_kind(views[0])
    for view in views:
        check_split(chosen, view)
    return rendered(KINDS[chosen], views, ending, dark) if ending else drawn(chosen, views, _screen())


def _page(views: list[View], kind: str | None, dark: bool) -> str:
    if kind:
        raise LandscapeError("a page shows every kind that the file holds", "leave out --kind")
    made = page(views, dark)
    if len(made) > LARGE:
        CONSOLE.note(f"the page has {len(made) / 1e6:.0f} MB, and a browser takes its time with it: a .png is lighter")
    return made


def ending_of(output: str) -> str:
    """`png` of `run.png`, "" of the terminal.

    Raises:
        LandscapeError: no picture ends like that.
    """
    ending = Path(output).suffix.lower().removeprefix(".")
    if output != "-" and ending not in ENDINGS:
        known = ", ".join(f".{known}" for known in ENDINGS)
        raise LandscapeError(
            f"no picture can be made of {output}: unknown ending", f"end it in {known}; - is the terminal"
        )
    return "" if output == "-" else ending


def _screen() -> Screen:
    """The terminal; of a pipe 100 columns unless COLUMNS says otherwise."""
    size, blocks = shutil.get_terminal_size((100, 30)), _has_blocks(getattr(sys.stdout, "encoding", None) or "utf-8")
    return Screen(size.columns, size.lines, blocks and CONSOLE.colour_on(sys.stdout), blocks)


def _has_blocks(encoding: str) -> bool:
    try:
        "▀⣿".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _code(views: list[View]) -> int:
    unfinished = [view.file for view in views if not view.profile.complete]
    for file in unfinished:
        CONSOLE.note(f"{file} is unfinished: rerun the command that `landscape info {file}` shows")
    return ExitCode.INCONCLUSIVE if unfinished else ExitCode.OK
