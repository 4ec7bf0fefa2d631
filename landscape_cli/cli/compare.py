"""`landscape compare`: runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from landscape_cli.analyse.compare import COMPARED, Comparison, apart, order, resolved
from landscape_cli.analyse.compare import compare as compared_with
from landscape_cli.analyse.gate import CONFIDENCE
from landscape_cli.analyse.policy import confident, share
from landscape_cli.analyse.statistics import of_names
from landscape_cli.cli.console import CONSOLE, common
from landscape_cli.cli.output import emit, refuse_to_overwrite
from landscape_cli.cli.subjects import each_subject
from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.report.compare import COMPARE_FORMATS, Compared
from landscape_cli.report.legend import found_key


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="This metric; repeat; `all` for every one.")
@click.option(
    "--sort",
    metavar="NAME",
    help="The runs by this metric, lowest first, which the others are held against; -NAME highest first.",
)
@click.option("--tolerance", default="0", help="What is no difference, relative to the first run: 5%.")
@click.option("--confidence", type=float, default=CONFIDENCE, help=f"Of the intervals; {CONFIDENCE:.4f} unless given.")
@click.option(
    "--exit-code", "coded", is_flag=True, help="Exit 1 where a metric differs, else 3 where one cannot be compared."
)
@click.option("--format", "name", type=click.Choice([*COMPARE_FORMATS]), default="text", show_default=True)
@click.option("-o", "--output", default="-", help="A file instead of stdout.")
@click.option("--force", is_flag=True, help="Overwrite an existing output.")
@common
def compare(
    runs: tuple[str, ...],
    metrics: tuple[str, ...],
    sort: str | None,
    tolerance: str,
    confidence: float,
    coded: bool,
    name: str,
    output: str,
    force: bool,
) -> int:
    """Put RUNS (run files, JSON reports, or - for one on stdin) side by side, each against the first.

    What about them is not alike is told first. Two numbers differ where their difference is beyond its own interval,
    taken sample group by sample group where both were measured over the same samples. With -q only what differs or
    cannot be compared is printed, and nothing where all is as it was.
    """
    refuse_to_overwrite([Path(run) for run in runs], output)
    names = [*(metrics or COMPARED), *([sort.removeprefix("-")] if sort else [])]
    subjects = list(each_subject(runs, of_names(names)))
    if len(subjects) < 2:
        raise LandscapeError("there is one run, and nothing to compare it with", "give two runs or more")
    for metric in [*metrics, *([sort.removeprefix("-")] if sort else [])]:
        if found_key(metric) and not any(resolved(subject, metric) for subject in subjects):
            raise LandscapeError(f"no run has {metric}", "measure it first", ExitCode.INCONCLUSIVE)
    if sort:
        subjects = order(subjects, sort.removeprefix("-"), sort.startswith("-"))
    asked = [*metrics, *([sort.removeprefix("-")] if sort and metrics else [])]
    rows = compared_with(subjects, asked, confident(confidence), share(tolerance))
    shown = [row for row in rows if row.differs is not False] if CONSOLE.quiet else rows
    if shown or not CONSOLE.quiet:
        emit(COMPARE_FORMATS[name](Compared([s.file for s in subjects], shown, apart(subjects, rows))), output, force)
    return _code(rows) if coded else ExitCode.OK


def _code(rows: Sequence[Comparison]) -> int:
    """1 where a metric differs, else 3 where one could not be compared."""
    unknown = any(change.differs is None for row in rows for change in row.changes)
    return ExitCode.FAILED if any(row.differs for row in rows) else ExitCode.INCONCLUSIVE if unknown else ExitCode.OK
