"""Tables drawn for a terminal, by rich."""

from __future__ import annotations

import io
import shutil
import sys

from landscape_cli.cli.console import CONSOLE
from landscape_cli.report.tables import Run, Table, heading, tables


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
    table = _fitting(table, console.width)
    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(table.title, "bold"), title_justify="left")
    for i, column in enumerate(table.columns):
        drawn.add_column(Text(column), overflow="fold", no_wrap=i < len(table.columns) - 1)
    for row in table.rows:
        drawn.add_row(*[Text(cell, "yellow" if cell == "LOOK" else "") for cell in row])
    console.print(drawn)
    if table.note:
        console.print(Text(table.note, "dim"))
    console.print()


def _fitting(table: Table, width: int) -> Table:
    """The table without its glosses where they would be squeezed into less than 24 columns."""
    lines = [table.columns, *table.rows]
    widths = [max(len(line[i]) for line in lines) + 2 for i in range(len(table.columns))]
    if len(widths) < 3 or sum(widths[:-1]) + min(24, widths[-1]) <= width:
        return table
    return Table(table.title, table.columns[:-1], [row[:-1] for row in table.rows], table.note)
