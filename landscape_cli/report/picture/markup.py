"""Text and tables as HTML; whatever is in a name, it stays text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from landscape_cli.report.numbers import plain
from landscape_cli.report.picture.view import View

COLOURS = 4  # of lines, in the page's style


def text(words: str) -> str:
    """Words that are no markup and move nothing."""
    return escape(plain(words))


def titled(view: View, title: str, many: bool) -> str:
    """A heading; among several runs, whose checkpoints may be called alike, with the file."""
    return f"<h2>{text(f'{view.file}: {title}' if many else title)}"


def head(columns: Sequence[str]) -> str:
    """A row of column names."""
    return f"<tr>{''.join(f'<th scope=col>{text(column)}</th>' for column in columns)}</tr>"


def row(cells: Iterable[str]) -> str:
    """A row of cells that are markup already."""
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def table(columns: Sequence[str], rows: Iterable[str], kind: str = "") -> str:
    """A table that scrolls by itself where it is too wide or too long, as a script says above; `kind` is its class."""
    named = f' class="{kind}"' if kind else ""
    body = f"<table{named}>{head(columns) if any(columns) else ''}{''.join(rows)}</table>"
    return f'<p class="note more"></p><div class="scroll">{body}</div>'
