"""`landscape report`: the statistics of one or more run files."""

from __future__ import annotations

import math
from pathlib import Path

import click

from landscape_cli import store
from landscape_cli.analyse.names import named
from landscape_cli.analyse.statistics import statistics
from landscape_cli.cli.console import CONSOLE, common
from landscape_cli.cli.output import emit, refuse_to_overwrite
from landscape_cli.cli.tables import to_text
from landscape_cli.errors import ExitCode, LandscapeError, one_of
from landscape_cli.profile import PlaneRecord
from landscape_cli.report.formats import FORMATS
from landscape_cli.report.intervals import with_intervals
from landscape_cli.report.numbers import plain
from landscape_cli.report.run import Run

ALL_FORMATS = ("text", *FORMATS)
MEASURED_WITH = {"verdict": "hessian", "learning_rate": "hessian"}


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--section", "sections", multiple=True, metavar="NAME", help="This part alone; repeat for more.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Print this number alone, for shells.")
@click.option("--confidence", type=float, help="Print intervals that hold the truth this often: 0.95.")
@click.option("--persistence", type=float, default=0.0, help="Leave out critical points that are less persistent.")
@click.option("--format", "name", type=click.Choice(ALL_FORMATS), default="text", show_default=True)
@click.option("-o", "--output", default="-", help="A file instead of stdout.")
@click.option("--force", is_flag=True, help="Overwrite an existing output.")
@common
def report(
    runs: tuple[Path, ...],
    sections: tuple[str, ...],
    metrics: tuple[str, ...],
    confidence: float | None,
    persistence: float,
    name: str,
    output: str,
    force: bool,
) -> int:
    """Print sharpness and surface statistics of RUNS with their errors.

    Exit code 3 where a run is unfinished, has a plane without a finite point or lacks a --section: what is there is
    printed all the same; and where a --metric has no number.
    """
    refuse_to_overwrite(runs, output)
    if metrics and (sections or confidence is not None or name != "text"):
        hint = "leave out --section, --confidence and --format, or --metric"
        raise LandscapeError("--metric prints bare numbers and nothing else", hint)
    read = [analysed(path, confidence, sections, persistence) for path in runs]
    if metrics:
        found = [bare(run, metric) for run in read for metric in metrics]
        emit("".join(f"{text}\n" for text, _ in found), output, force)
        return _code(read) or (ExitCode.OK if all(sure for _, sure in found) else ExitCode.INCONCLUSIVE)
    text = to_text(read, terminal=output == "-") if name == "text" else FORMATS[name](read)
    emit(text, output, force)
    return _code(read)


def bare(run: Run, metric: str) -> tuple[str, bool]:
    """The number alone, or the verdict's word; and whether it may be relied on, which is said where not.

    Raises:
        LandscapeError: there is no such metric, or it has no number (exit 3).
    """
    if metric in ("verdict", "verdict.kind") and run.tree["verdict"] is not None:
        return plain(str(run.tree["verdict"]["kind"])), True
    path, found = named(run.tree, metric)
    if found.value is None:
        hint = "landscape report without --metric shows what there is"
        raise LandscapeError(f"{run.file}: {path} has no number: {found.status}", hint, ExitCode.INCONCLUSIVE)
    if found.status != "ok":
        CONSOLE.note(f"{run.file}: {path} is {found.status}")
    return repr(float(found.value)), found.status == "ok"


def _code(runs: list[Run]) -> int:
    """3 if any run is unfinished or empty, or lacks what is asked for; each said."""
    lacking = [(run.file, name) for run in runs for name in run.lacking]
    for file, name in lacking:
        CONSOLE.note(f"{file}: {name} is not measured: scan again with --only {MEASURED_WITH.get(name, name)}")
    unfinished = [run.file for run in runs if not run.profile.complete]
    for file in unfinished:
        CONSOLE.note(f"{file} is unfinished: rerun the command that `landscape info {file}` shows")
    empty = [run.file for run in runs for plane in run.profile.planes.values() if not _finite(plane)]
    return ExitCode.INCONCLUSIVE if unfinished or empty or lacking else ExitCode.OK


def _finite(plane: PlaneRecord) -> bool:
    return any(surface.finite.any() for surface in plane.surfaces.values())


def analysed(
    path: Path, confidence: float | None = None, sections: tuple[str, ...] = (), persistence: float = 0.0
) -> Run:
    """A run file with its statistics, how wide its intervals are, and which parts of it are shown.

    Raises:
        LandscapeError: a confidence that is none, a part that there is not, or a file that cannot be read.
    """
    if confidence is not None and not 0 < confidence < 1:
        raise LandscapeError(f"a confidence of {confidence:g} is none", "give a number between 0 and 1: 0.95")
    if not 0 <= persistence < math.inf:
        raise LandscapeError(f"a persistence of {persistence:g} is none", "give 0 or more, in units of the loss")
    profile = store.load(path)
    tree = statistics(profile, persistence)
    shown = tree if confidence is None else with_intervals(profile, tree, confidence)
    run = Run(str(path), profile, shown, sections)
    for name in sections:
        if name not in run.parts:
            raise one_of("section of the report", name, run.parts)
    return run
