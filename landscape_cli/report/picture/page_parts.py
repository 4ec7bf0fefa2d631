"""The parts of a page that need no script: tables of critical points, the spectrum, the report, provenance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

import numpy as np

from landscape_cli.profile import Estimate, Floats
from landscape_cli.report.critical import drain, flags, place, rank
from landscape_cli.report.json import provenance_as_json
from landscape_cli.report.numbers import estimate_text, plain
from landscape_cli.report.picture.page_data import Panel
from landscape_cli.report.picture.scale import Scale
from landscape_cli.report.picture.spectrum import UNIT, density_of, extremes, window_of
from landscape_cli.report.picture.theme import number
from landscape_cli.report.picture.view import View
from landscape_cli.report.run import Run, Table
from landscape_cli.report.tables import closing, heading, tables
from landscape_cli.section import Section

POINT = ("point", "kind", "at", "loss", "persistence", "drains into", "barrier", "")
WIDE, HIGH, LEFT, BELOW = 720, 240, 56, 44  # of the spectrum
DECADES = 9  # of the density that are drawn


def critical(panel: Panel) -> str:
    """Critical points and basins of every split, each with a button that shows it on the pictures."""
    return "".join(_critical(panel, split) for split in panel.splits)


def _critical(panel: Panel, split: str) -> str:
    tree = panel.splits[split]
    steps = [axis.step for axis in panel.view.record.surface.axes]
    entries = {entry["minimum"]: entry for entry in tree["merge_tree"]}
    rows = []
    for k, point in sorted(enumerate(tree["critical_points"]), key=lambda pair: rank(pair[1])):
        entry = entries.get(k)
        cells = [
            point["kind"], place(panel.run, point, steps),
            *(panel.run.cell(point[name]) for name in ("loss", "persistence")),
            "" if entry is None else drain(entry),
            "" if entry is None or entry["into"] is None else panel.run.cell(entry["barrier"]), flags(point),
        ]  # fmt: skip
        button = f'<button type="button" aria-pressed="false" data-point="{k}">#{k}</button>'
        rows.append(f"<tr><td>{button}</td>{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}</tr>")
    title = _text(f"Critical points and basins, {split}")
    held = f'<div class="scroll"><table>{_head(POINT)}{"".join(rows)}</table></div>' if rows else (
        '<p class="note">None stands out of the noise.</p>'
    )  # fmt: skip
    return f'<div class="points" data-split="{escape(split)}"><h3>{title}</h3>{held}</div>'


def report(run: Run) -> str:
    """The short report's tables."""
    told = "".join(f'<p class="note">{_text(line)}</p>' for line in closing([run]))
    made = "".join(_table(table) for table in tables(run))
    return f"<section><h2>Report</h2><p>{_text(heading(run))}</p>{made}{told}</section>"


def provenance(view: View) -> str:
    """What was run, with what, when, by which version."""
    held = provenance_as_json(view.profile)
    job = held.pop("job")
    rows = "".join(f"<dt>{_text(name)}</dt><dd>{_said(value)}</dd>" for name, value in held.items() if value)
    lines = "\n".join(map(_text, job.splitlines()))
    return (
        f"<details><summary>Provenance of {_text(view.file)}</summary><dl>{rows}</dl>"
        f"<h3>Job</h3><pre>{lines}</pre></details>"
    )


def spectrum_svg(section: Section) -> str:
    """The density on a log scale where it was measured, a stroke at each eigenvalue found, and these as a table."""
    window = window_of([section])
    found = extremes(section)
    dense = "density_nodes" in section.arrays
    curve = _density(*density_of(section, window, 400)) if dense else ""
    strokes = "".join(_stroke(name, estimate, window) for name, estimate in found)
    ticks = "".join(_tick(value, window) for value in Scale(*window, None, window[1]).ticks(6))
    floor = HIGH - BELOW
    axis = f'<line x1="{LEFT}" y1="{floor}" x2="{WIDE - 12}" y2="{floor}" stroke="currentColor"/>'
    unit = f'<text x="{WIDE / 2}" y="{HIGH - 8}" text-anchor="middle">{escape(UNIT)}</text>'
    rows = "".join(f"<tr><td>{name}</td><td>{_text(estimate_text(estimate))}</td></tr>" for name, estimate in found)
    what = f"{'density on a log scale; ' if dense else ''}strokes: the eigenvalues found by Lanczos"
    return (
        f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="Eigenvalues of the Hessian: {what}">'
        f'{curve}{strokes}{axis}{ticks}{unit}</svg><p class="note">{what}</p>'
        f"<table>{_head(('', 'eigenvalue'))}{rows}</table>"
    )


def _at(value: float, window: tuple[float, float]) -> float:
    return round(LEFT + (value - window[0]) / (window[1] - window[0]) * (WIDE - 12 - LEFT), 2)


def _density(grid: Floats, density: Floats) -> str:
    """With a tick for every third decade."""
    top, room = float(density.max()) or 1.0, HIGH - BELOW - 24
    with np.errstate(divide="ignore"):
        heights = np.clip(1 + np.log10(density / top) / DECADES, 0, 1)
    window = (float(grid[0]), float(grid[-1]))
    corners = " ".join(
        f"{_at(x, window)},{24 + (1 - h) * room:.1f}" for x, h in zip(grid.tolist(), heights.tolist(), strict=True)
    )
    decades = ((28 + k / DECADES * room, top * 10.0**-k) for k in range(0, DECADES, 3))
    ticks = "".join(
        f'<text x="{LEFT - 6}" y="{y:.1f}" text-anchor="end">{number(float(f"{value:.2g}"))}</text>'
        for y, value in decades
    )
    return f'<polyline points="{corners}" fill="none" stroke="var(--line0)" stroke-width="1.6"/>{ticks}'


def _stroke(name: str, estimate: Estimate, window: tuple[float, float]) -> str:
    value = float(estimate.value or 0.0)
    if not np.isfinite(value):
        return ""
    told = f"<title>{name} = {_text(estimate_text(estimate))}</title>"
    x = _at(value, window)
    style = 'stroke="var(--line1)" stroke-width="2" stroke-dasharray="4 3"'
    return f'<line x1="{x}" y1="20" x2="{x}" y2="{HIGH - BELOW}" {style}>{told}</line>'


def _tick(value: float, window: tuple[float, float]) -> str:
    x = _at(value, window)
    return f'<text x="{x}" y="{HIGH - BELOW + 16}" text-anchor="middle">{value:.4g}</text>'


def _table(table: Table) -> str:
    head = _head(table.columns) if any(table.columns) else ""
    rows = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    note = f'<p class="note">{_text(table.note)}</p>' if table.note else ""
    held = f'<div class="scroll"><table>{head}{rows}</table></div>' if rows else ""
    return f"<h3>{_text(table.title)}</h3>{held}{note}"


def _head(columns: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<th scope=col>{_text(column)}</th>' for column in columns)}</tr>"


def _said(value: object) -> str:
    """Of a mapping a line for each name."""
    if isinstance(value, dict):
        return "<br>".join(_text(f"{name}: {_plainly(held)}") for name, held in value.items())
    return _text(_plainly(value))


def _plainly(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(text: str) -> str:
    return escape(plain(text))
