"""The report as flat CSV: one row per number."""

from __future__ import annotations

import csv
import io

from landscape_cli.analyse.paths import numbers as every_number
from landscape_cli.report.numbers import interval, plain
from landscape_cli.report.run import Run

COLUMNS = ("file", "metric", "value", "stderr", "status", "bound")


def to_csv(runs: list[Run]) -> str:
    """file, metric, value, stderr, status, bound, and low and high where asked; an empty field for no number."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    wide = any(run.errors is not None for run in runs)
    writer.writerow([*COLUMNS, *(("low", "high") if wide else ())])
    for run in runs:
        for path, estimate in every_number(run.shown):
            ends = (interval(estimate, run.errors) or (None, None)) if run.errors is not None else ()
            value, error, *low_high = map(_text, (estimate.value, estimate.stderr, *ends))
            writer.writerow([plain(run.file), path, value, error, estimate.status, estimate.bound, *low_high])
    return out.getvalue()


def _text(number: float | None) -> str:
    return "" if number is None else repr(float(number))
