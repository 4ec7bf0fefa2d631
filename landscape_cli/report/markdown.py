"""The report as markdown tables."""

from __future__ import annotations

from landscape_cli.report.run import Run, Table
from landscape_cli.report.tables import closing, heading, tables


def to_markdown(runs: list[Run]) -> str:
    """One section per run, one table per part; below them what the signs mean."""
    return "\n".join([*map(_run, runs), *(f"{escaped(line)}\n" for line in closing(runs))])


def _run(run: Run) -> str:
    return "\n".join([f"## {escaped(heading(run))}", "", *[_table(table) for table in tables(run)]])


def _table(table: Table) -> str:
    head = f"| {' | '.join(table.columns)} |\n|{'---|' * len(table.columns)}"
    rows = [f"| {' | '.join(escaped(cell) for cell in row)} |" for row in table.rows]
    note = [escaped(table.note), ""] if table.note else []
    return "\n".join([f"### {escaped(table.title)}", "", *([head, *rows, ""] if rows else []), *note])


def escaped(text: str) -> str:
    """Text that markdown shows as it is."""
    for character in "\\|<>`*_[]":
        text = text.replace(
            character, f"\\{character}" if character not in "<>" else {"<": "&lt;", ">": "&gt;"}[character]
        )
    return text
