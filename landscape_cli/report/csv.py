"""The report as flat CSV: one row per number."""

from __future__ import annotations

import csv
import io

from landscape_cli.analyse.paths import numbers as every_number
from landscape_cli.report.numbers import plain
from landscape_cli.report.tables import Run

COLUMNS = ("file", "metric", "value", "stderr", "status", "bound")


def to_csv(runs: list[Run]) -> str:
    """file, metric, value, stderr, status, bound; an empty field where there is no number."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for run in runs:
        for path, estimate in every_number(dict(run.tree)):
            numbers = ["" if n is None else repr(float(n)) for n in (estimate.value, estimate.stderr)]
            writer.writerow([plain(run.file), path, *numbers, estimate.status, estimate.bound])
    return out.getvalue()
