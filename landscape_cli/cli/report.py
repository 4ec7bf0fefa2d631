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
from landscape_cli.report.headline import RATE
from landscape_cli.report.intervals import with_intervals
from landscape_cli.report.legend import found_key
from landscape_cli.report.numbers import plain
from landscape_cli.report.run import Run

ALL_FORMATS = ("text", *FORMATS)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--section", "sections", multiple=True, metavar="NAME", help="This part alone, in full; repeat.")
@click.option("--full", is_flag=True, help="Every number, not only those that are compared.")
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
    full: bool,
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
    read = [analysed(path, confidence, sections, persistence, full) for path in runs]
    if metrics:
        return _numbers(read, metrics, output, force)
    text = to_text(read, terminal=output == "-") if name == "text" else FORMATS[name](read)
    emit(text, output, force)
    return _code(read)


def _numbers(runs: list[Run], metrics: tuple[str, ...], output: str, force: bool) -> int:
    """A line for each number; an empty one for what has none, so that the others keep their places."""
    asked = [(run, metric) for run in runs for metric in metrics]
    found = [_tried(run, metric) for run, metric in asked]
    errors = [error for _, _, error in found if error]
    fatal = [error for error in errors if error.code == ExitCode.USAGE]
    if fatal or len(errors) == len(asked):
        raise (fatal or errors)[0]
    for error in errors:
        CONSOLE.error(error)
    emit("".join(f"{text}\n" for text, _, _ in found), output, force)
    return _code(runs) or (ExitCode.OK if all(sure for _, sure, _ in found) else ExitCode.INCONCLUSIVE)


def _tried(run: Run, metric: str) -> tuple[str, bool, LandscapeError | None]:
    try:
        return *bare(run, metric), None
    except LandscapeError as error:
        return "", False, error


def bare(run: Run, metric: str) -> tuple[str, bool]:
    """The number alone, or the verdict's word; and whether it may be relied on, which is said where not.

    Raises:
        LandscapeError: there is no such metric, or it has no number (exit 3).
    """
    if metric in ("verdict", "verdict.kind") and run.tree["verdict"] is not None:
        kind = plain(str(run.tree["verdict"]["kind"]))
        return kind, kind != "inconclusive"
    try:
        path, found = named(run.tree, metric)
    except LandscapeError as error:
        raise _unknown(run, metric, error) from None
    if found.value is None:
        hint = "landscape report without --metric shows what there is"
        raise LandscapeError(f"{run.file}: {path} has no number: {found.status}", hint, ExitCode.INCONCLUSIVE)
    if found.status != "ok":
        CONSOLE.note(f"{run.file}: {path} is {found.status}")
    if found.bound != "exact":
        CONSOLE.note(f"{run.file}: {path} is {'a lower' if found.bound == 'lower' else 'an upper'} bound")
    return repr(float(found.value)), found.status == "ok"


def _unknown(run: Run, metric: str, error: LandscapeError) -> LandscapeError:
    """Of a number that another run would have: what to do for it."""
    part = metric.split(".")[0]
    known = metric == part or found_key(metric) is not None
    if part in run.tree and known and run.tree[part] is None:
        return LandscapeError(f"{run.file}: {metric} is not measured", run.how(part), ExitCode.INCONCLUSIVE)
    if metric == "learning_rate.stability":
        return LandscapeError(f"{run.file}: {metric} is not measured", RATE, ExitCode.INCONCLUSIVE)
    return LandscapeError(f"{run.file}: {error.message}", error.hint)


def _code(runs: list[Run]) -> int:
    """3 if any run is unfinished or empty, or lacks what is asked for; each said."""
    for run in runs:
        for name in run.lacking:
            CONSOLE.note(f"{run.file}: {name} is not measured: {run.how(name)}")
    unfinished = [run.file for run in runs if not run.profile.complete]
    for file in unfinished:
        CONSOLE.note(f"{file} is unfinished: rerun the command that `landscape info {file}` shows")
    empty = [run.file for run in runs for plane in run.profile.planes.values() if not _finite(plane)]
    return ExitCode.INCONCLUSIVE if unfinished or empty or any(run.lacking for run in runs) else ExitCode.OK


def _finite(plane: PlaneRecord) -> bool:
    return any(surface.finite.any() for surface in plane.surfaces.values())


def analysed(
    path: Path,
    confidence: float | None = None,
    sections: tuple[str, ...] = (),
    persistence: float = 0.0,
    full: bool = False,
) -> Run:
    """A run file with its statistics, how wide its intervals are, and which parts of it are shown.

    Raises:
        LandscapeError: a confidence that is none, a part that there is not, or a file that cannot be read.
    """
    if confidence is not None and not 0 < confidence < 1:
        raise LandscapeError(f"a confidence must lie between 0 and 1, not {confidence:g}", "give for example 0.95")
    if not 0 <= persistence < math.inf:
        raise LandscapeError(f"a persistence must be 0 or more, not {persistence:g}", "give it in units of the loss")
    profile = store.load(path)
    tree = statistics(profile, persistence)
    shown = tree if confidence is None else with_intervals(profile, tree, confidence)
    run = Run(str(path), profile, shown, sections, full, confidence, persistence)
    for name in sections:
        if name not in run.parts:
            raise one_of("section of the report", name, run.parts)
    return run
