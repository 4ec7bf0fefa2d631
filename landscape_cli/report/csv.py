"""The report as flat CSV: one row per number or word."""

from __future__ import annotations

import csv
import io

from landscape_cli.analyse.paths import numbers as every_number
from landscape_cli.analyse.paths import words
from landscape_cli.report.intervals import Ranged
from landscape_cli.report.numbers import plain
from landscape_cli.report.run import Run

COLUMNS = ("file", "metric", "value", "stderr", "status", "bound", "text")


def to_csv(runs: list[Run]) -> str:
    """file, metric, value, stderr, status, bound, text, and low and high where asked; an empty field for none.

    Words (the verdict, the kind of a critical point) have a column of their own, so that `value` is numbers alone.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    found = [(run, path, e) for run in runs for path, e in every_number(run.shown)]
    wide = any(isinstance(estimate, Ranged) for _, _, estimate in found)
    header = [*COLUMNS, *(("low", "high") if wide else ())]
    writer.writerow(header)
    for run, path, estimate in found:
        ends = (estimate.low, estimate.high) if isinstance(estimate, Ranged) else (None, None) if wide else ()
        value, error, *low_high = map(_text, (estimate.value, estimate.stderr, *ends))
        writer.writerow([plain(run.file), path, value, error, estimate.status, estimate.bound, "", *low_high])
    for run in runs:
        for path, word in words(run.shown):
            writer.writerow([plain(run.file), path, "", "", "", "", plain(word), *[""] * (len(header) - len(COLUMNS))])
    return out.getvalue()


def _text(number: float | None) -> str:
    return "" if number is None else repr(float(number))
