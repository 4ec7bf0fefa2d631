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
    """A header and rows of text: metrics by runs.

    Of two runs the difference has a column of its own; * marks what differs from the first.
    """
    two = len(compared.files) == 2
    head = ("metric", *map(plain, compared.files), *(("difference",) if two else ()), "")
    return [head, *[_by_metric(row, two) for row in compared.rows]]


def _by_metric(row: Comparison, two: bool) -> tuple[str, ...]:
    changes = [_marked(change) if not two else _text(change.found) for change in row.changes]
    difference = [_text(row.changes[0].difference) if row.changes[0].difference else ""] if two else []
    told = "; ".join(dict.fromkeys(_told(change) for change in row.changes if two or _worth(change)))
    return plain(row.metric), _text(row.first), *changes, *difference, plain(told)


def tables(compared: Compared) -> list[list[tuple[str, ...]]]:
    """One table; of many runs one for each metric, a row for each run in their order."""
    if len(compared.files) <= WIDE:
        return [table(compared)]
    return [[(plain(row.metric), "", "difference", ""), *_by_run(compared, row)] for row in compared.rows]


def _by_run(compared: Compared, row: Comparison) -> list[tuple[str, ...]]:
    pairs = zip(compared.files[1:], row.changes, strict=True)
    others = [(plain(file), _text(c.found), _text(c.difference) if c.difference else "", _told(c)) for file, c in pairs]
    return [(plain(compared.files[0]), _text(row.first), "", ""), *others]


def _marked(change: Change) -> str:
    return _text(change.found) + (" *" if change.differs else " ?" if change.differs is None else "")


def _worth(change: Change) -> bool:
    """Whether a reason adds to what the cell and the lines above say: that there is none, that runs are not alike."""
    return change.differs is None and change.found is not None and not change.why.startswith("other ")


def _told(change: Change) -> str:
    if change.differs is None:
        return f"cannot be compared: {change.why}"
    return ("DIFFERS" if change.differs else "") + (f" ({change.why})" if change.why and change.differs else "")


def _text(value: Estimate | str | None) -> str:
    return "-" if value is None else plain(value) if isinstance(value, str) else estimate_text(value)


def summary(compared: Compared) -> str:
    """How many metrics differ, and how many cannot be compared."""
    unknown = sum(any(change.differs is None for change in row.changes) for row in compared.rows)
    told = f"{sum(row.differs is True for row in compared.rows)} of {len(compared.rows)} metrics differ"
    told += f", {unknown} cannot be compared" + (" throughout" if len(compared.files) > 2 else "") if unknown else ""
    marks = f"; * differs from {plain(compared.files[0])}" + (", ? cannot be compared" if unknown else "")
    return told + (marks if 2 < len(compared.files) <= WIDE else "")


def to_text(compared: Compared) -> str:
    """What is not alike, the numbers side by side, and how many differ."""
    told = [f"not alike: {plain(text)}" for text in compared.apart]
    blocks = ["\n".join(aligned(rows)) for rows in tables(compared)]
    return "\n".join([*told, "\n\n".join(blocks), summary(compared)]) + "\n"


def to_markdown(compared: Compared) -> str:
    """The same as a table."""
    apart = "\n".join(f"- not alike: {escaped(plain(text))}" for text in compared.apart)
    blocks = [_markdown(rows) for rows in tables(compared)]
    return "\n\n".join([*([apart] if apart else []), *blocks, summary(compared)]) + "\n"


def _markdown(rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(map(escaped, row))} |" for row in rows]
    return "\n".join([lines[0], f"|{'---|' * len(rows[0])}", *lines[1:]])


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
