"""`landscape report`: the statistics of one or more run files."""

from __future__ import annotations

from pathlib import Path

import click

from landscape_cli import store
from landscape_cli.analyse.statistics import statistics
from landscape_cli.cli.console import CONSOLE, common
from landscape_cli.cli.output import emit, refuse_to_overwrite
from landscape_cli.cli.tables import to_text
from landscape_cli.errors import ExitCode
from landscape_cli.profile import PlaneRecord
from landscape_cli.report.formats import FORMATS
from landscape_cli.report.tables import Run

ALL_FORMATS = ("text", *FORMATS)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "name", type=click.Choice(ALL_FORMATS), default="text", show_default=True)
@click.option("-o", "--output", default="-", help="A file instead of stdout.")
@click.option("--force", is_flag=True, help="Overwrite an existing output.")
@common
def report(runs: tuple[Path, ...], name: str, output: str, force: bool) -> int:
    """Print sharpness and surface statistics of RUNS with their errors.

    Exit code 3 where a run is unfinished or has a plane without a finite point: what is there is printed all the same.
    """
    return write_report(runs, name, output, force)


def write_report(paths: tuple[Path, ...], name: str, output: str, force: bool) -> int:
    """Read, analyse, format, write; 3 if any run is unfinished."""
    refuse_to_overwrite(paths, output)
    runs = [analysed(path) for path in paths]
    text = to_text(runs, terminal=output == "-") if name == "text" else FORMATS[name](runs)
    emit(text, output, force)
    unfinished = [run.file for run in runs if not run.profile.complete]
    for file in unfinished:
        CONSOLE.note(f"{file} is unfinished: rerun the command that `landscape info {file}` shows")
    empty = [run.file for run in runs for plane in run.profile.planes.values() if not _finite(plane)]
    return ExitCode.INCONCLUSIVE if unfinished or empty else ExitCode.OK


def _finite(plane: PlaneRecord) -> bool:
    return any(surface.finite.any() for surface in plane.surfaces.values())


def analysed(path: Path) -> Run:
    """A run file with its statistics."""
    profile = store.load(path)
    return Run(str(path), profile, statistics(profile))
