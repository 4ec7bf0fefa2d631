"""Tables drawn for a terminal, by rich."""

from __future__ import annotations

import io
import shutil
import sys

from landscape_cli.cli.console import CONSOLE
from landscape_cli.report.run import Run, Table
from landscape_cli.report.tables import heading, tables


def to_text(runs: list[Run], terminal: bool = True) -> str:
    """Every run: its heading, then its tables; as wide as the terminal, coloured only for one."""
    from rich.console import Console

    out = io.StringIO()
    colour = terminal and CONSOLE.colour_on(sys.stdout)
    width = shutil.get_terminal_size((100, 24)).columns
    console = Console(file=out, width=width, force_terminal=colour, no_color=not colour, highlight=False, emoji=False)
    for run in runs:
        console.print(heading(run), style="bold", markup=False)
        for table in tables(run):
            _draw(console, table)
    return out.getvalue()


def _draw(console: object, table: Table) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    assert isinstance(console, Console)
    for i, part in enumerate(fitting(table, console.width)):
        title = Text(f"{part.title} (continued)" if i else part.title, "bold")
        drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
        for column in part.columns:
            drawn.add_column(Text(column), overflow="fold")
        for row in part.rows:
            drawn.add_row(*[Text(cell, "yellow" if cell == "LOOK" else "") for cell in row])
        console.print(drawn)
    if table.note:
        console.print(Text(table.note, "dim"))
    console.print()


GLOSS = 24  # columns that a gloss needs to be read


def fitting(table: Table, width: int) -> list[Table]:
    """The table in parts as wide as `width`, each with the first column: no number is ever cut.

    The last column, a gloss, is left out where it would be squeezed.
    """
    width -= 2  # the frame
    lines = [table.columns, *table.rows]
    widths = [max(len(line[i]) for line in lines) + 3 for i in range(len(table.columns))]
    if len(widths) < 3:
        return [table]
    gloss = len(widths) - 1
    if sum(widths[:gloss]) + min(GLOSS, widths[gloss]) <= width:
        return [table]
    parts: list[list[int]] = [[]]
    for i in range(1, gloss):
        if parts[-1] and widths[0] + sum(widths[k] for k in parts[-1]) + widths[i] > width:
            parts.append([])
        parts[-1].append(i)
    return [_columns(table, [0, *part]) for part in parts]


def _columns(table: Table, kept: list[int]) -> Table:
    rows = [tuple(row[i] for i in kept) for row in table.rows]
    return Table(table.title, tuple(table.columns[i] for i in kept), rows, table.note)
