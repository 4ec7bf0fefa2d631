"""The critical points of a plane as a table: the most persistent first, and what became of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landscape_cli.report.numbers import plain
from landscape_cli.report.run import Run, Table

SHOWN = 8  # points of each split; JSON and CSV have them all
GRID_POINT = "a place without an error is the grid point's, its loss biased by choice"


def critical_tables(run: Run, name: str) -> list[Table]:
    """One table for all splits of a plane; none where no point stands out of the noise."""
    splits = run.tree["planes"][name]
    rows = [row for split, tree in splits.items() for row in _rows(run, split, tree)]
    if not rows:
        return []
    columns = ("split", "kind", "at", "loss", "persistence", "")
    told = ". ".join(f"{plain(split)}: {_counts(tree)}" for split, tree in splits.items())
    return [Table(plain(f"Critical points of plane {name}"), columns, rows, told, name)]


def _rows(run: Run, split: str, tree: Mapping[str, Any]) -> list[tuple[str, ...]]:
    points = tree["critical_points"][:SHOWN]
    return [
        (plain(split), p["kind"], _place(run, p), run.cell(p["loss"]), run.cell(p["persistence"]), _flags(p))
        for p in points
    ]


def _place(run: Run, point: Mapping[str, Any]) -> str:
    return f"({', '.join(run.cell(point[name]) for name in 'xy' if point[name] is not None)})"


def _flags(point: Mapping[str, Any]) -> str:
    """What keeps it from being one of the loss in this plane."""
    if point["at_border"]:
        return "at the border"
    return "" if point["resolved"] else "not resolved by this grid"


def _counts(tree: Mapping[str, Any]) -> str:
    """How many there are of each, and how many the noise has swallowed."""
    topology, count = tree["topology"], len(tree["critical_points"])
    counts = topology["counts"]
    inside = f"{counts['minima']} minima, {counts['maxima']} maxima, {counts['saddles']} saddles"
    inside += f", {counts['monkey_saddles']} monkey saddles" if counts["monkey_saddles"] else ""
    rest = {"unresolved": "not resolved", "at_border": "at the border", "dropped": "in the noise"}
    told = [f"{inside} inside and resolved", *(f"{counts[key]} {text}" for key, text in rest.items() if counts[key])]
    told += [GRID_POINT] if any(not point["refined"] for point in tree["critical_points"][:SHOWN]) else []
    told += [f"{topology['walls']} points not finite or not measured"] if topology["walls"] else []
    return "; ".join([*told, *([f"the {SHOWN} most persistent of {count} shown"] if count > SHOWN else [])])
