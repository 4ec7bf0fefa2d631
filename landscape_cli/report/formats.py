"""Runs -> text, by format: FORMATS = {name: function}. The terminal's own format lives in cli/."""

from __future__ import annotations

from collections.abc import Callable

from landscape_cli.report.csv import to_csv
from landscape_cli.report.json import to_json, to_ndjson
from landscape_cli.report.markdown import to_markdown
from landscape_cli.report.run import Run

FORMATS: dict[str, Callable[[list[Run]], str]] = {
    "json": to_json,
    "ndjson": to_ndjson,
    "csv": to_csv,
    "markdown": to_markdown,
}
