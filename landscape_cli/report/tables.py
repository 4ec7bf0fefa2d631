"""A run's statistics as tables: what the text and markdown reports show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from landscape_cli.analyse.neighbourhood import RESCALING
from landscape_cli.analyse.paths import ITSELF, flatten
from landscape_cli.report.brief import brief
from landscape_cli.report.critical import critical_tables
from landscape_cli.report.headline import headline
from landscape_cli.report.legend import gloss, unit
from landscape_cli.report.meaning import EVIDENCE, SLICE
from landscape_cli.report.numbers import plain
from landscape_cli.report.planes import centre_table, plane_table
from landscape_cli.report.run import Run, Table

COLUMNS = ("metric", "value", "unit", "what it is")


def tables(run: Run) -> list[Table]:
    """The headline, the centre, what is measured at the checkpoint, the planes, self-checks; or some of them.

    In short, unless a part is asked for or all of them in full.
    """
    made = [headline(run), *(_full(run) if run.full or run.sections else brief(run))]
    return [table for table in made if run.shows(table.section)]


def _full(run: Run) -> list[Table]:
    """Every number."""
    measured = [table for name in run.measured for table in SECTIONS[name](run, name)]
    planes = [table for name in run.profile.planes for table in (plane_table(run, name), *critical_tables(run, name))]
    return [centre_table(run), *measured, *planes, _checks(run)]


def closing(runs: list[Run]) -> list[str]:
    """What is said once below all runs: what the signs mean, what is known of such numbers, where there is more."""
    confidence = next((run.confidence for run in runs if run.confidence is not None), None)
    width = (
        "± is one standard error" if confidence is None else f"[low, high] holds the truth {confidence:.4g} of the time"
    )
    planes = any(run.shows(f"planes.{name}") for run in runs for name in run.profile.planes)
    sharp = any(run.shows(name) and run.tree[name] for run in runs for name in ("hessian", "sharpness", "verdict"))
    full = "" if all(run.full or run.sections for run in runs) else "; --full shows every number"
    signs = f"{width}; a number without it has none or none is known. ≥, ≤: a lower, an upper bound."
    more = f"landscape explain NAME says more{full}."
    known = " ".join([*[EVIDENCE] * sharp, *[SLICE, DRAWN] * planes])
    return [line for line in (" ".join([signs, *[PERSISTENCE] * planes, more]), known) if line]


PERSISTENCE = (
    "Persistence: depth of a minimum (height of a maximum) up to the saddle where a deeper (higher) one takes over."
)
DRAWN = "Planes depend on the directions drawn: compare those of one recipe."


def heading(run: Run) -> str:
    """One line: file, checkpoint, size, device."""
    facts, provenance = run.profile.provenance.facts, run.profile.provenance
    frozen = f", {facts['frozen']} frozen" if facts.get("frozen") else ""
    moved = f"{facts.get('selected', '?')} of {facts.get('parameters', '?')} parameters moved{frozen}"
    done, asked = run.profile.done
    missing = "".join(f", without {name}" for name, section in run.profile.sections.items() if not section.complete)
    points = f", {done / asked:.1%} of the points" if done < asked else ""
    share = "" if run.profile.complete else f" — UNFINISHED{points}{missing}"
    return plain(f"{run.file}: {moved}, {provenance.dtype} on {provenance.device}{share}")


def _section(run: Run, name: str) -> list[Table]:
    """What was measured at the checkpoint in all its parameters."""
    told = [*SAID[name](run), *_notes(run, name)]
    title = f"{name.capitalize()} at the checkpoint"
    return [Table(title, COLUMNS, rows_of(run, name), plain("; ".join(told)), name)]


def _gradient(run: Run, name: str) -> list[Table]:
    """With the gradient of each parameter tensor."""
    layers = (run.tree[name] or {}).get("per_layer", [])
    cells = [(plain(layer["name"]), run.cell(layer["norm"]), run.cell(layer["ratio"])) for layer in layers]
    columns = ("parameter tensor", "‖gradient‖", "‖gradient‖ / ‖weights‖")
    told = "in loss/parameter and loss/parameter²; the noise of the samples is in them"
    made = Table("Gradient by parameter tensor", columns, cells, told, name, gloss=0)
    return [*_section(run, name), *([made] if cells else [])]


def _hessian(run: Run, name: str) -> list[Table]:
    """With the step sizes that follow, and the blocks of single parameter tensors where they were asked for."""
    why = run.profile.sections[name].facts.get("adam")
    told = plain(f"no bound for Adam: {why}") if why else ""
    rates = Table("Learning rate", COLUMNS, rows_of(run, "learning_rate"), told, "learning_rate")
    return [*_section(run, name), *_blocks(run), rates]


def rows_of(run: Run, tree: str) -> list[tuple[str, ...]]:
    """Metric, unit, value and gloss of a branch; not of single layers."""
    flat = dict(flatten({tree: run.tree[tree]}))
    return [(p, run.cell(value), unit(p), gloss(p)) for p, value in flat.items() if ".per_layer." not in p]


def _of_gradient(run: Run) -> list[str]:
    tree, facts = run.tree["gradient"], run.profile.sections["gradient"].facts
    told = [f"does a step down the gradient still help: {HELPS.get(tree['critical'], tree['critical'])}"]
    told.append(f"per-sample gradients: {facts.get('per_sample', '?')}")
    return told + [f"{kind}: {', '.join(tree[kind])}" for kind in ("vanishing", "exploding") if tree[kind]]


HELPS = {"yes": "no", "no": "yes"}  # a gradient that is critical is one that no step down helps


def _of_hessian(run: Run) -> list[str]:
    facts = run.profile.sections["hessian"].facts
    return [f"{facts.get('products', '?')} products by {facts.get('route', '?')}, {facts.get('dtype', '?')}"]


def _notes(run: Run, name: str) -> list[str]:
    """How many samples, what it said when it was measured, what it had no time for."""
    section = run.profile.sections[name]
    told = [f"{section.facts.get('samples', '?')} samples of {section.settings.get('split', '?')}"]
    return told + section.texts("notes") + [f"out of time: {part}" for part in section.texts("out_of_time")]


def _blocks(run: Run) -> list[Table]:
    """The Hessian's blocks of single parameter tensors; nothing where they were not asked for."""
    layers = (run.tree["hessian"] or {}).get("per_layer", [])
    rows = [
        (layer["name"], layer["top"][ITSELF], layer["trace"], f"{layer['top']['residual']:.2g}") for layer in layers
    ]
    columns = ("parameter tensor", "λ₁ of its block", "trace of its block", "residual of λ₁")
    cells = [tuple(map(run.cell, row)) for row in rows]
    made = Table("Hessian by parameter tensor", columns, cells, "in loss/parameter²", "hessian", gloss=0)
    return [made] if rows else []


def _sharpness(run: Run, name: str) -> list[Table]:
    """How far the loss rises around the checkpoint, with the size of each neighbourhood and what a rescaling does."""
    section, tree = run.profile.sections["sharpness"], run.tree["sharpness"]
    boxes = {f"keskar.{i}": box for i, box in enumerate(tree["keskar"])}
    rows = []
    for measure, entry in {**tree, **boxes, "keskar": {}}.items():
        for path, value in flatten({f"sharpness.{measure}": entry}):
            size = _size_of(entry) if path == f"sharpness.{measure}" else ""
            survives = f"survives ReLU rescaling: {entry[RESCALING]}"
            rows.append((path + size, run.cell(value), unit(path), f"{gloss(path)}; {survives}"))
    asked, facts = section.settings, section.facts
    told = [f"{asked.get('draws', '?')} pairs of random perturbations"]
    told.append(f"maxima over {asked.get('starts', '?')} starts of {asked.get('ascent', '?')} steps")
    told += [f"{zeros} parameters are 0, which no σ or ρ in proportion moves"] if (zeros := facts.get("zeros")) else []
    note = plain("; ".join([*told, *_notes(run, name)]))
    return [Table("Sharpness at the checkpoint", COLUMNS, rows, note, "sharpness")]


SECTIONS: dict[str, Callable[[Run, str], list[Table]]] = {
    "gradient": _gradient,
    "hessian": _hessian,
    "sharpness": _sharpness,
}
SAID: dict[str, Callable[[Run], list[str]]] = {"gradient": _of_gradient, "hessian": _of_hessian}
SIZES = {"sigma": "σ", "rise": "rise", "rho": "ρ", "eta": "η", "eps": "ε"}  # of a neighbourhood, as rows show them


def _size_of(entry: Mapping[str, Any]) -> str:
    sizes = [f"{sign} = {entry[key]:g}" for key, sign in SIZES.items() if isinstance(entry.get(key), int | float)]
    return f" ({', '.join(sizes)})" if sizes else ""


def _checks(run: Run) -> Table:
    rows = [("ok" if check["ok"] else "LOOK", plain(str(check["text"]))) for check in run.tree["checks"]]
    notes = [("note", plain(note)) for note in run.profile.provenance.notes]
    return Table("Self-checks", ("", "what was checked"), rows + notes, section="checks", spare=False)
