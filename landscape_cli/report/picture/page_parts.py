"""The parts of a page that need no script: tables of critical points, the report, provenance."""

from __future__ import annotations

import json
from html import escape

from landscape_cli.report.critical import drain, flags, place, rank
from landscape_cli.report.json import provenance_as_json
from landscape_cli.report.picture.contour import holds_centre
from landscape_cli.report.picture.markup import COLOURS, row, table, text
from landscape_cli.report.picture.page_data import Panel
from landscape_cli.report.picture.theme import LOWEST
from landscape_cli.report.picture.view import View, cut
from landscape_cli.report.run import Run, Table
from landscape_cli.report.tables import closing, heading, tables

SIGNS = {"minimum": "○", "saddle": "×", "maximum": "△", "monkey saddle": "×"}
POINT = ("point", "kind", "loss", "persistence", "at", "drains into", "barrier", "")  # first what a phone has room for


def critical(panel: Panel) -> str:
    """Critical points and basins of every split, each with a button that shows it on the pictures."""
    return "".join(_critical(panel, split) for split in panel.splits)


def key(panel: Panel) -> str:
    """What the lines and marks of a panel mean, of all its splits; a script adds its hatches."""
    trees, view = panel.splits.values(), panel.view
    points = [point for tree in trees for point in tree["critical_points"]]
    kinds = {point["kind"] for point in points}
    told = _lines(view) if view.record.surface.y is None else []
    told += ["+&nbsp;checkpoint"] if holds_centre(view) else []
    lowest = any(surface.finite.any() for surface in view.surfaces.values())
    told += [f'<span style="color:{LOWEST}">★</span>&nbsp;lowest point'] if lowest else []
    told += [f"{sign}&nbsp;{kind}" for kind, sign in SIGNS.items() if kind in kinds]
    told += ["small: at the border or unsure"] if any(p["at_border"] or not p["resolved"] for p in points) else []
    if any(entry["into"] is not None for tree in trees for entry in tree["merge_tree"]):
        over = ", and over which saddle" if view.record.surface.y is not None else ""
        told.append(f"chosen below: red ring, its basin dotted; yellow: what it drains into{over}")
    return f'<p class="note marks">{" · ".join(told)}<span class="hatched"></span></p>'


def _lines(view: View) -> list[str]:
    """The colour of each split's curve, and what is dashed and shaded."""
    named = [
        f'<span style="color:var(--line{i % COLOURS})">━</span> {text(cut(split))}'
        for i, split in enumerate(view.surfaces)
    ]
    dashed = any("accuracy" in surface.metrics for surface in view.surfaces.values())
    return [*named, *(["dashed: accuracy"] if dashed else []), "band: ± 1 standard error"]


def _critical(panel: Panel, split: str) -> str:
    tree = panel.splits[split]
    steps = [axis.step for axis in panel.view.record.surface.axes]
    entries = {entry["minimum"]: entry for entry in tree["merge_tree"]}
    rows = []
    for k, point in sorted(enumerate(tree["critical_points"]), key=lambda pair: rank(pair[1])):
        entry = entries.get(k)
        cells = [
            point["kind"], *(panel.run.cell(point[name]) for name in ("loss", "persistence")),
            place(panel.run, point, steps),
            "" if entry is None else drain(entry),
            "" if entry is None or entry["into"] is None else panel.run.cell(entry["barrier"]), flags(point),
        ]  # fmt: skip
        button = f'<button type="button" aria-pressed="false" data-point="{k}">#{k}</button>'
        rows.append([button, *map(text, cells)])
    kept = [i for i in range(len(POINT)) if any(cells[i] for cells in rows)]
    title = text(f"Critical points and basins, {split}")
    held = (
        table([POINT[i] for i in kept], [row(cells[i] for i in kept) for cells in rows])
        if rows
        else '<p class="note">None stands out of the noise.</p>'
    )
    return f'<div class="points" data-split="{escape(split)}"><h3>{title}</h3>{held}</div>'


def report(run: Run) -> str:
    """The short report's tables."""
    told = "".join(f'<p class="note">{text(line)}</p>' for line in closing([run]))
    made = "".join(map(_table, tables(run)))
    return f"<section><h2>Report</h2><p>{text(heading(run))}</p>{made}{told}</section>"


def provenance(view: View) -> str:
    """What was run, with what, when, by which version."""
    held = provenance_as_json(view.profile)
    job = held.pop("job")
    rows = "".join(f"<dt>{text(name)}</dt><dd>{_said(value)}</dd>" for name, value in held.items() if value)
    lines = "\n".join(map(text, job.splitlines()))
    return (
        f"<details><summary>Provenance of {text(view.file)}</summary><dl>{rows}</dl>"
        f"<h3>Job</h3><pre>{lines}</pre></details>"
    )


def _table(shown: Table) -> str:
    rows = [row(map(text, cells)) for cells in shown.rows]
    note = f'<p class="note">{text(shown.note)}</p>' if shown.note else ""
    return f"<h3>{text(shown.title)}</h3>{table(shown.columns, rows) if rows else ''}{note}"


def _said(value: object) -> str:
    """Of a mapping a line for each name."""
    if isinstance(value, dict):
        return "<br>".join(text(f"{name}: {_plainly(held)}") for name, held in value.items())
    return text(_plainly(value))


def _plainly(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
