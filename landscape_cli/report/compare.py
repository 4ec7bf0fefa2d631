"""Comparisons for people and machines: COMPARE_FORMATS = {name: function}."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from landscape_cli.analyse.compare import Change, Comparison
from landscape_cli.profile import Estimate
from landscape_cli.report.columns import aligned
from landscape_cli.report.json import FORMAT_VERSION, plain_values
from landscape_cli.report.legend import gloss
from landscape_cli.report.markdown import escaped
from landscape_cli.report.numbers import estimate_text, plain

WIDE = 4  # runs: with more of them each is a row


@dataclass(frozen=True)
class Compared:
    """Runs by name in order, their metrics, and what is not alike about them."""

    files: Sequence[str]
    rows: Sequence[Comparison]
    apart: Sequence[str]


def table(compared: Compared) -> list[tuple[str, ...]]:
    """A header and rows of text: metrics by runs, or runs by metrics where there are many runs.

    Of two runs the difference has a column of its own; * marks what differs from the first.
    """
    if len(compared.files) > WIDE:
        return [("run", *[plain(row.metric) for row in compared.rows]), *_by_run(compared)]
    two = len(compared.files) == 2
    head = ("metric", *map(plain, compared.files), *(("difference",) if two else ()), "")
    return [head, *[_by_metric(row, two) for row in compared.rows]]


def _by_metric(row: Comparison, two: bool) -> tuple[str, ...]:
    changes = [_marked(change) if not two else _text(change.found) for change in row.changes]
    difference = [_text(row.changes[0].difference) if row.changes[0].difference else ""] if two else []
    told = "; ".join(dict.fromkeys(_told(change) for change in row.changes if _told(change)))
    return plain(row.metric), _text(row.first), *changes, *difference, plain(told)


def _by_run(compared: Compared) -> list[tuple[str, ...]]:
    first = (plain(compared.files[0]), *[_text(row.first) for row in compared.rows])
    others = [
        (plain(file), *[_marked(row.changes[i]) for row in compared.rows]) for i, file in enumerate(compared.files[1:])
    ]
    return [first, *others]


def _marked(change: Change) -> str:
    return _text(change.found) + (" *" if change.differs else " ?" if change.differs is None else "")


def _told(change: Change) -> str:
    if change.differs is None:
        return f"cannot be compared: {change.why}"
    return ("DIFFERS" if change.differs else "") + (f" ({change.why})" if change.why and change.differs else "")


def _text(value: Estimate | str | None) -> str:
    return "-" if value is None else plain(value) if isinstance(value, str) else estimate_text(value)


def summary(compared: Compared) -> str:
    """How many metrics differ, and how many cannot be compared."""
    changes = [change for row in compared.rows for change in row.changes]
    unknown = sum(change.differs is None for change in changes)
    told = f"{sum(row.differs for row in compared.rows)} of {len(compared.rows)} metrics differ"
    told += f", {unknown} cannot be compared" if unknown else ""
    marks = f"; * differs from {plain(compared.files[0])}" + (", ? cannot be compared" if unknown else "")
    return told + (marks if len(compared.files) > 2 else "")


def to_text(compared: Compared) -> str:
    """What is not alike, the numbers side by side, and how many differ."""
    told = [f"not alike: {plain(text)}" for text in compared.apart]
    return "\n".join([*told, *aligned(table(compared)), summary(compared)]) + "\n"


def to_markdown(compared: Compared) -> str:
    """The same as a table."""
    head, *rows = [[escaped(cell) for cell in row] for row in table(compared)]
    lines = [f"- not alike: {escaped(plain(text))}" for text in compared.apart]
    lines += ["", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *[f"| {' | '.join(row)} |" for row in rows], "", summary(compared)]) + "\n"


def _objects(compared: Compared) -> list[dict[str, Any]]:
    """One object for each metric and run but the first."""
    return [
        {
            "metric": row.metric,
            "first": compared.files[0],
            "run": file,
            **plain_values({"base": row.first, "value": change.found, "difference": change.difference}),
            "differs": change.differs,
            "why": change.why,
            "gloss": gloss(row.metric),
        }
        for row in compared.rows
        for file, change in zip(compared.files[1:], row.changes, strict=True)
    ]


def to_json(compared: Compared) -> str:
    """{"format_version": 1, "runs": […], "not_alike": […], "metrics": […]}."""
    document = {"format_version": FORMAT_VERSION, "runs": list(compared.files), "not_alike": list(compared.apart),
                "metrics": _objects(compared)}  # fmt: skip
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def to_ndjson(compared: Compared) -> str:
    """One JSON object a line, metric and run."""
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in _objects(compared))


def to_csv(compared: Compared) -> str:
    """run, metric, value, stderr, difference, difference_stderr, differs; a row for every metric and run."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", "metric", "value", "stderr", "difference", "difference_stderr", "differs"])
    for row in compared.rows:
        pairs = zip(compared.files, (Change(row.first), *row.changes), strict=True)
        for file, change in pairs:
            differs = "" if change.differs is None else str(change.differs).lower()
            cells = [*_fields(change.found), *_fields(change.difference), differs]
            writer.writerow([plain(file), plain(row.metric), *cells])
    return out.getvalue()


def _fields(value: Estimate | str | None) -> tuple[str, str]:
    """A number and its error, or a word; empty where there is none."""
    if not isinstance(value, Estimate):
        return plain(value or ""), ""
    number, error = ("" if n is None else repr(float(n)) for n in (value.value, value.stderr))
    return number, error


COMPARE_FORMATS: dict[str, Callable[[Compared], str]] = {
    "text": to_text,
    "json": to_json,
    "ndjson": to_ndjson,
    "csv": to_csv,
    "markdown": to_markdown,
}
