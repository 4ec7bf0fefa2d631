"""The critical points of a plane as a table: what the slice is made of first, then what became of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from landscape_cli.report.numbers import plain
from landscape_cli.report.run import Run, Table

UNSURE = "whose kind and place no polynomial confirms"
GRID_POINT = "a place without an error is the grid point's, its loss biased by choice"
SHOWN = 6  # points of all splits together in the short report; --full, JSON and CSV have them all
COLUMNS = ("split", "#", "kind", "at", "loss", "persistence", "drains into", "")


def critical_tables(run: Run, name: str, full: bool = True) -> list[Table]:
    """One table for all splits of a plane: of each the resolved points inside first, the most persistent first.

    A point's number is its position in JSON's list. In full a table of the merge tree follows.
    """
    splits = run.tree["planes"][name]
    steps = _steps(run, name)
    most = None if full else max(2, SHOWN // len(splits))
    rows = [row for split, tree in splits.items() for row in _rows(run, split, tree, steps)[:most]]
    told = ". ".join(f"{plain(split)}: {_counts(run, tree, most)}" for split, tree in splits.items())
    part = f"planes.{name}"
    kept = [i for i in range(len(COLUMNS)) if any(row[i] for row in rows)]
    columns, cells = tuple(COLUMNS[i] for i in kept), [tuple(row[i] for i in kept) for row in rows]
    points = Table(plain(f"Critical points of plane {name}"), columns, cells, told, part, keys=2, gloss=0)
    tree_rows = [row for split, tree in splits.items() for row in _merging(run, split, tree)] if full else []
    title = plain(f"Merge tree of plane {name}: which minimum drains into which, over which saddle")
    merge = Table(title, ("split", "minimum", "into", "over", "barrier"), tree_rows, "", part, keys=2, gloss=0)
    return [points, *([merge] if tree_rows else [])]


def _rows(run: Run, split: str, tree: Mapping[str, Any], steps: Sequence[float]) -> list[tuple[str, ...]]:
    drains = {entry["minimum"]: drain(entry) for entry in tree["merge_tree"]}
    order = sorted(enumerate(tree["critical_points"]), key=lambda pair: rank(pair[1]))
    return [
        (plain(split), f"#{k}", p["kind"], place(run, p, steps), run.cell(p["loss"]), run.cell(p["persistence"]),
         drains.get(k, ""), flags(p))
        for k, p in order
    ]  # fmt: skip


def rank(point: Mapping[str, Any]) -> tuple[int, bool]:
    """Resolved ones inside, then those that the grid may have made, then those of the window; of each extrema first."""
    return 2 if point["at_border"] else 0 if point["resolved"] else 1, point["kind"] not in ("minimum", "maximum")


def drain(entry: Mapping[str, Any]) -> str:
    """`#0 over #9`: the deeper minimum that takes over, and the saddle where; "" of the deepest."""
    into = "" if entry["into"] is None else f"#{entry['into']}"
    return f"{into} over #{entry['saddle']}" if into and entry["saddle"] is not None else into


def _merging(run: Run, split: str, tree: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Every minimum but the lowest, the highest barrier first."""
    return [
        (plain(split), f"#{e['minimum']}", f"#{e['into']}", "" if e["saddle"] is None else f"#{e['saddle']}",
         run.cell(e["barrier"]))
        for e in tree["merge_tree"]
        if e["into"] is not None
    ]  # fmt: skip


def _steps(run: Run, name: str) -> list[float]:
    """The grid's step along each axis: what a coordinate is rounded by."""
    plane = run.profile.planes.get(name)
    return [axis.step for axis in plane.surface.axes] if plane else [0.0, 0.0]


def place(run: Run, point: Mapping[str, Any], steps: Sequence[float]) -> str:
    """With its error where it has one, else the grid point's."""
    known = [(found, step) for found, step in zip((point["x"], point["y"]), (*steps, 0.0), strict=False) if found]
    cells = [run.cell(found) if found.stderr else coordinate(found.value, step) for found, step in known]
    return f"({', '.join(cells)})"


def coordinate(value: float, step: float) -> str:
    """In four digits; 0 up to rounding of the grid's step is 0."""
    return "0" if abs(value) <= 1e-9 * step else f"{value:.4g}"


def flags(point: Mapping[str, Any]) -> str:
    """What keeps it from being one of the loss in this plane."""
    if point["at_border"]:
        return "at border"
    return "" if point["resolved"] else "unresolved" if point["coarse"] else "place unsure"


ONE = {"minima": "minimum", "maxima": "maximum", "saddles": "saddle", "monkey_saddles": "monkey saddle"}


def _counts(run: Run, tree: Mapping[str, Any], most: int | None) -> str:
    """How many there are of each, and how many the noise has swallowed."""
    topology, count = tree["topology"], len(tree["critical_points"])
    counts = topology["counts"]
    asked = f"--persistence {run.persistence:g}" if run.persistence else ""
    lost = (
        _many(counts["dropped"], "pair", "pairs") + " below what noise alone makes" + (f" or {asked}" if asked else "")
    )
    walls = _many(topology["walls"], "point", "points") + " not finite or not measured"
    inside = ", ".join(_many(counts[name], ONE[name], name.replace("_", " ")) for name in ONE if counts[name])
    told = (
        [f"{inside or 'none'} inside and resolved"]
        if count
        else ["none stands out of the noise" + (f" and above {asked}" if asked else "")]
    )
    unsure = sum(not (point["at_border"] or point["resolved"] or point["coarse"]) for point in tree["critical_points"])
    rest = {"coarse": counts["unresolved"] - unsure, "unsure": unsure, "at_border": counts["at_border"]}
    told += [f"{rest[key]} {text}" for key, text in REST.items() if rest[key]]
    told += [GRID_POINT] if any(not point["refined"] for point in tree["critical_points"]) else []
    told += [lost] * bool(counts["dropped"]) + [walls] * bool(topology["walls"])
    return "; ".join([*told, *([f"{count - most} more"] if most is not None and count > most else [])])


REST = {"coarse": "unresolved, which this grid may have made", "unsure": UNSURE, "at_border": "at the border"}


def _many(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"
