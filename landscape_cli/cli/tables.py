"""Tables drawn for a terminal, by rich."""

from __future__ import annotations

import io
import shutil
import sys
from dataclasses import replace

from landscape_cli.cli.console import CONSOLE
from landscape_cli.report.run import Run, Table
from landscape_cli.report.tables import closing, heading, tables


def to_text(runs: list[Run], terminal: bool = True) -> str:
    """Every run: its heading, then its tables; as wide as the terminal, coloured only for one."""
    from rich.console import Console
    from rich.text import Text

    out = io.StringIO()
    colour = terminal and CONSOLE.colour_on(sys.stdout)
    width = shutil.get_terminal_size((100, 24)).columns
    console = Console(file=out, width=width, force_terminal=colour, no_color=not colour, highlight=False, emoji=False)
    for run in runs:
        console.print(heading(run), style="bold", markup=False)
        for table in tables(run):
            _draw(console, table)
    for line in closing(runs):
        console.print(Text(line, "dim"))
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def _draw(console: object, table: Table) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    assert isinstance(console, Console)
    console.print(Text(table.title, "bold"))
    for i, part in enumerate(fitting(table, console.width) if table.rows else []):
        if i:
            console.print(Text(f"{part.title} (continued)", "bold"))
        named = any(part.columns)
        drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=named)
        widths = widths_of(part)
        whole = sum(widths[:-1]) < console.width
        for k, column in enumerate(part.columns):  # where there is not enough room for all, the last one folds
            drawn.add_column(Text(column), overflow="fold", no_wrap=whole and k < len(widths) - 1)
        for row in part.rows:
            drawn.add_row(*[Text(cell, "yellow" if cell == "LOOK" else "") for cell in row])
        console.print(drawn)
    if table.note:
        console.print(Text(table.note, "dim"))
    console.print()


def fitting(table: Table, width: int) -> list[Table]:
    """The table in parts as wide as `width`, each with the columns that say what a row is: no number is ever cut.

    A last column that is a gloss is left out where it would be squeezed.
    """
    widths = widths_of(table)
    narrow = [*widths[:-1], min(table.gloss, widths[-1]) if table.gloss else widths[-1]]
    needed, end = sum(narrow), len(widths) - (1 if table.gloss and table.spare else 0)
    room = width + 3  # no gap beside the last column
    if needed <= room or len(widths) <= max(2, table.keys):
        return [table]
    keys = [*range(table.keys)]
    parts: list[list[int]] = [[]]
    for i in range(table.keys, end):
        if parts[-1] and sum(widths[k] for k in [*keys, *parts[-1], i]) > room:
            parts.append([])
        parts[-1].append(i)
    return [_columns(table, keys, part) for part in parts]


def widths_of(table: Table) -> list[int]:
    """What each column needs, with the gap beside it."""
    lines = [table.columns, *table.rows]
    return [max(len(line[i]) for line in lines) + 3 for i in range(len(table.columns))]


def _columns(table: Table, keys: list[int], part: list[int]) -> Table:
    """Some columns of it, and of its rows those that have something there."""
    kept = [*keys, *part]
    rows = [tuple(row[i] for i in kept) for row in table.rows if any(row[i] for i in part)]
    return replace(table, columns=tuple(table.columns[i] for i in kept), rows=rows)
