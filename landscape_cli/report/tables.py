"""A run's statistics as tables: what the text and markdown reports show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landscape_cli.analyse.neighbourhood import RESCALING
from landscape_cli.analyse.paths import ITSELF, flatten
from landscape_cli.profile import Estimate, called
from landscape_cli.report.critical import critical_tables
from landscape_cli.report.headline import headline
from landscape_cli.report.legend import SLICE, gloss
from landscape_cli.report.numbers import plain
from landscape_cli.report.run import Run, Table


def tables(run: Run) -> list[Table]:
    """The headline, the centre, what is measured at the checkpoint, the planes, self-checks; or some of them."""
    measured = [*[_section(run, name) for name in run.measured], *_blocks(run)]
    planes = [table for name in run.profile.planes for table in (_plane(run, name), *critical_tables(run, name))]
    made = [*headline(run), _centre(run), *measured, *planes, _checks(run)]
    return [table for table in made if run.shows(table)]


def heading(run: Run) -> str:
    """One line: file, checkpoint, size, device."""
    facts, provenance = run.profile.provenance.facts, run.profile.provenance
    frozen = f", {facts['frozen']} frozen" if facts.get("frozen") else ""
    moved = f"{facts.get('selected', '?')} of {facts.get('parameters', '?')} parameters moved{frozen}"
    done, asked = run.profile.done
    missing = "".join(f", without {name}" for name, section in run.profile.sections.items() if not section.complete)
    points = f", {done / asked:.1%} of the points" if asked else ""
    share = "" if run.profile.complete else f" — UNFINISHED{points}{missing}"
    return plain(f"{run.file}: {moved}, {provenance.dtype} on {provenance.device}{share}")


def _centre(run: Run) -> Table:
    splits = run.tree["centre"]
    flat = {split: dict(flatten(values)) for split, values in splits.items()}
    names = list(dict.fromkeys(path for values in flat.values() for path in values))
    rows = [(plain(n), *[run.cell(v.get(n)) for v in flat.values()], gloss(f"centre.{n}")) for n in names]
    counts = ", ".join(f"{plain(name)} {values['samples']} samples" for name, values in splits.items())
    return Table("Centre: the checkpoint", ("metric", *map(plain, splits), "what it is"), rows, counts, "centre")


SECTION_TREES = {"gradient": ("gradient",), "hessian": ("hessian", "learning_rate")}  # what a section is shown as


def _section(run: Run, name: str) -> Table:
    """What was measured at the checkpoint in all its parameters; single layers where they vanish or explode."""
    if name == "sharpness":
        return _sharpness(run)
    section = run.profile.sections[name]
    flat = dict(flatten({tree: run.tree[tree] for tree in SECTION_TREES[name]}))
    rows = [(path, run.cell(value), gloss(path)) for path, value in flat.items() if ".per_layer." not in path]
    facts = section.facts
    told = [f"{facts.get('samples', '?')} samples of {section.settings.get('split', '?')}"]
    if name == "gradient":
        told.append(f"critical, no step down the gradient up to 0.01·‖θ‖ matters: {run.tree[name]['critical']}")
        told.append(f"per-sample gradients: {facts.get('per_sample', '?')}")
        told += [
            f"{kind}: {', '.join(names)}" for kind in ("vanishing", "exploding") if (names := run.tree[name][kind])
        ]
    else:
        told.append(f"{facts.get('products', '?')} products by {facts.get('route', '?')}, {facts.get('dtype', '?')}")
        told += [f"no bound for Adam: {why}" for why in [facts.get("adam")] if why]
    told += section.texts("notes")
    told += [f"out of time: {part}" for part in section.texts("out_of_time")]
    title = f"{name.capitalize()} at the checkpoint"
    return Table(title, ("metric", "value", "what it is"), rows, plain("; ".join(told)), name)


def _blocks(run: Run) -> list[Table]:
    """The Hessian's blocks of single parameter tensors; nothing where they were not asked for."""
    layers = (run.tree["hessian"] or {}).get("per_layer", [])
    rows = [
        (layer["name"], layer["top"][ITSELF], layer["trace"], f"{layer['top']['residual']:.2g}") for layer in layers
    ]
    columns = ("parameter tensor", "λ₁ of its block", "trace of its block", "residual of λ₁")
    cells = [tuple(map(run.cell, row)) for row in rows]
    return [Table("Hessian by parameter tensor", columns, cells, "loss/parameter²", "hessian")] if rows else []


def _sharpness(run: Run) -> Table:
    """How far the loss rises around the checkpoint, with the size of each neighbourhood and what a rescaling does."""
    section, tree = run.profile.sections["sharpness"], run.tree["sharpness"]
    boxes = {f"keskar.{i}": box for i, box in enumerate(tree["keskar"])}
    rows = []
    for name, entry in {**tree, **boxes, "keskar": {}}.items():
        for path, value in flatten({f"sharpness.{name}": entry}):
            size = _size_of(entry) if path == f"sharpness.{name}" else ""
            rows.append((path + size, run.cell(value), f"{gloss(path)}; survives ReLU rescaling: {entry[RESCALING]}"))
    asked, facts = section.settings, section.facts
    told = [f"{facts.get('samples', '?')} samples of {asked.get('split', '?')}"]
    told.append(f"{asked.get('draws', '?')} pairs of random perturbations")
    told.append(f"maxima over {asked.get('starts', '?')} starts of {asked.get('ascent', '?')} steps")
    told += [f"{zeros} parameters are 0, which no σ or ρ in proportion moves"] if (zeros := facts.get("zeros")) else []
    told += section.texts("notes")
    told += [f"out of time: {part}" for part in section.texts("out_of_time")]
    columns = ("metric", "value", "what it is")
    return Table("Sharpness at the checkpoint", columns, rows, plain("; ".join(told)), "sharpness")


SIZES = {"sigma": "σ", "rise": "rise", "rho": "ρ", "eta": "η", "eps": "ε"}  # of a neighbourhood, as rows show them


def _size_of(entry: Mapping[str, Any]) -> str:
    sizes = [f"{sign} = {entry[key]:g}" for key, sign in SIZES.items() if isinstance(entry.get(key), int | float)]
    return f" ({', '.join(sizes)})" if sizes else ""


def _plane(run: Run, name: str) -> Table:
    splits = run.tree["planes"][name]
    flat = {split: dict(flatten(values)) for split, values in splits.items()}
    paths = list(dict.fromkeys(p for values in flat.values() for p in values if not p.startswith(ELSEWHERE)))
    extras = _extras(next(iter(splits.values())))
    rows = [
        (path + extras.get(path, ""), *[run.cell(values.get(path)) for values in flat.values()], gloss(path))
        for path in paths
    ]
    record = run.profile.planes[name]
    recipe = " × ".join(_recipe(r) for r in record.directions)
    size = " × ".join(str(len(axis)) for axis in record.surface.axes)
    lowest = ", ".join(_lowest(split, values) for split, values in splits.items())
    first = next(iter(splits.values()))
    delta, window = first["basin"]["delta"], " × ".join(f"±{w:.3g}" for w in first["curvature"]["plane"]["window"])
    title = plain(f"Plane {name}: {size} points, {recipe}, batch norm {record.settings.get('batchnorm')}")
    return Table(
        title,
        ("metric", *map(plain, splits), "what it is"),
        rows,
        f"{lowest}. δ = {delta}; {_levels(run, first)}. Curvature of {window}. {SLICE}",
        name,
    )


ELSEWHERE = ("basin.levels.", "critical_points.", "merge_tree.")  # shown below the table, or in one of their own


def _levels(run: Run, tree: Mapping[str, Any]) -> str:
    """How far the basin reaches at every δ, of the first split."""
    levels = tree["basin"]["levels"]
    name = "radius_mean" if "radius_mean" in levels[0] else "right"
    reach = ", ".join(f"{run.cell(level[name])} (δ = {level['delta']:g})" for level in levels)
    return f"{name.replace('_', ' ')} {reach}"


def _recipe(recipe: Mapping[str, Any]) -> str:
    seed = "" if recipe.get("seed") is None else f" seed {recipe['seed']}"
    value, residual = recipe.get("eigenvalue"), recipe.get("residual")
    known = isinstance(value, float) and isinstance(residual, float)
    eigenvalue = f" λ = {value:.5g} ± {residual:.1g}" if known else ""
    return f"{called(recipe)}{seed}{eigenvalue} ({recipe.get('normalize')})"


def _lowest(split: str, values: Mapping[str, Any]) -> str:
    found = values["surface"]["min"]
    if isinstance(found, Estimate):
        return plain(f"{split}: no lowest point")
    y = "" if found["y"] is None else f", {found['y']:.4g}"
    border = ", on the window's border" if found["at_border"] else ""
    return plain(f"{split}: lowest at ({found['x']:.4g}{y}){border}")


def _extras(tree: Mapping[str, Any]) -> dict[str, str]:
    """What a row's name must add: the ε of each box."""
    return {f"sharpness.plane_eps.{i}": f" (ε = {e['eps']})" for i, e in enumerate(tree["sharpness"]["plane_eps"])}


def _checks(run: Run) -> Table:
    rows = [("ok" if check["ok"] else "LOOK", plain(str(check["text"]))) for check in run.tree["checks"]]
    notes = [("note", plain(note)) for note in run.profile.provenance.notes]
    return Table("Self-checks", ("", "what was checked"), rows + notes, section="checks")
