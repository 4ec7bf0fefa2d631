"""A plane, and the checkpoint's own losses, as tables: a column for each split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from landscape_cli.analyse.paths import flatten
from landscape_cli.profile import Estimate, called
from landscape_cli.report.critical import coordinate
from landscape_cli.report.legend import gloss, unit
from landscape_cli.report.numbers import plain
from landscape_cli.report.run import Run, Table

ELSEWHERE = ("critical_points.", "merge_tree.")  # shown in tables of their own


def centre_table(run: Run, without: tuple[str, ...] = ()) -> Table:
    """The loss and the metrics at the checkpoint."""
    splits = run.tree["centre"]
    flat = {split: dict(flatten(values)) for split, values in splits.items()}
    paths = dict.fromkeys(path for values in flat.values() for path in values if path not in without)
    rows = split_rows(run, flat, paths, head="centre.")
    counts = ", ".join(f"{plain(name)} {values['samples']} samples" for name, values in splits.items())
    return Table(f"Centre: the checkpoint; {counts}", columns(splits), rows, "", "centre")


def plane_table(run: Run, name: str, chosen: tuple[str, ...] = ()) -> Table:
    """Every statistic of a plane, or those that are chosen, where it has them; what it is, and where things are."""
    splits = run.tree["planes"][name]
    flat = {split: dict(flatten(values)) for split, values in splits.items()}
    there = dict.fromkeys(path for values in flat.values() for path in values if not path.startswith(ELSEWHERE))
    paths = [path for path in chosen if path in there] if chosen else [*there]
    rows = split_rows(run, flat, paths, _extras(next(iter(splits.values()))))
    return Table(_title(run, name), columns(splits), rows, _notes(run, name, short=bool(chosen)), f"planes.{name}")


def columns(splits: Iterable[str]) -> tuple[str, ...]:
    """Of a table with a column for each split."""
    return ("metric", *map(plain, splits), "unit", "what it is")


def split_rows(
    run: Run,
    flat: Mapping[str, Mapping[str, Estimate]],
    paths: Iterable[str],
    extras: Mapping[str, str] | None = None,
    head: str = "",
) -> list[tuple[str, ...]]:
    """A row for each statistic; `extras` is what a row's name must add."""
    return [
        (plain(path + (extras or {}).get(path, "")), *[run.cell(values.get(path)) for values in flat.values()],
         unit(head + path), gloss(head + path))
        for path in paths
    ]  # fmt: skip


def _title(run: Run, name: str) -> str:
    record = run.profile.planes[name]
    recipe = " × ".join(_recipe(r) for r in record.directions)
    size = " × ".join(str(len(axis)) for axis in record.surface.axes)
    return plain(f"Plane {name}: {size} points, {recipe}, batch norm {record.settings.get('batchnorm')}")


def _recipe(recipe: Mapping[str, Any]) -> str:
    seed = "" if recipe.get("seed") is None else f" seed {recipe['seed']}"
    value, residual = recipe.get("eigenvalue"), recipe.get("residual")
    known = isinstance(value, float) and isinstance(residual, float)
    eigenvalue = f" λ = {value:.5g} ± {residual:.1g}" if known else ""
    return f"{called(recipe)}{seed}{eigenvalue} ({recipe.get('normalize')})"


def _notes(run: Run, name: str, short: bool) -> str:
    """Where the lowest point, the cliff and the barrier are; the rules behind the basin, curvature and plateaus."""
    splits, steps = run.tree["planes"][name], [axis.step for axis in run.profile.planes[name].surface.axes]
    first = next(iter(splits.values()))
    window = " × ".join(f"±{w:.3g}" for w in first["curvature"]["plane"]["window"])
    steepest = {split: [] if short else _steepest(tree, steps) for split, tree in splits.items()}
    places = {split: [_lowest(tree, steps), *steepest[split], *_barrier(tree)] for split, tree in splits.items()}
    told = [f"{split}: {', '.join(found)}" for split, found in places.items()]
    told += [f"basin: a rise of up to δ = {first['basin']['delta']:g}"]
    told += [] if short else [f"curvature: within {window}"]
    return plain("; ".join([*told, f"plateau: {first['surface']['plateau_fraction']['rule']}"]))


def _lowest(tree: Mapping[str, Any], steps: list[float]) -> str:
    found = tree["surface"]["min"]
    if isinstance(found, Estimate):
        return "no lowest point"
    border = ", on the window's border" if found["at_border"] else ""
    return f"lowest at {_point(found, steps)}{border}"


def _steepest(tree: Mapping[str, Any], steps: list[float]) -> list[str]:
    cliff = tree["surface"]["cliff"]
    return [] if cliff["x"] is None else [f"cliff at {_point(cliff, steps)} along {cliff['axis']}"]


def _barrier(tree: Mapping[str, Any]) -> list[str]:
    place = tree.get("barrier", {}).get("t")
    return [] if place is None else [f"barrier at t = {coordinate(place, 1.0)}"]


def _point(found: Mapping[str, Any], steps: list[float]) -> str:
    pairs = zip((found["x"], found["y"]), (*steps, 0.0), strict=False)
    return f"({', '.join(coordinate(value, step) for value, step in pairs if value is not None)})"


def _extras(tree: Mapping[str, Any]) -> dict[str, str]:
    """What a row's name must add: the ε of each box, the δ of each level, the t of a distance."""
    extras = {f"sharpness.plane_eps.{i}": f" (ε = {e['eps']:g})" for i, e in enumerate(tree["sharpness"]["plane_eps"])}
    for i, level in enumerate(tree["basin"]["levels"]):
        extras |= {f"basin.levels.{i}.{name}": f" (δ = {level['delta']:g})" for name in level}
    return extras | {f"asymmetry.{i}": f" (t = {e['t']})" for i, e in enumerate(tree.get("asymmetry", []))}
