"""The report on one screen: the few numbers that a person compares, and what there is to look at."""

from __future__ import annotations

from dataclasses import replace

from landscape_cli.analyse.paths import flatten
from landscape_cli.report.critical import critical_tables
from landscape_cli.report.legend import gloss, unit
from landscape_cli.report.numbers import plain
from landscape_cli.report.planes import centre_table, plane_table
from landscape_cli.report.run import Run, Table

CHECKPOINT = (
    "gradient.test", "gradient.noise_scale", "hessian.top.0", "hessian.bottom.0",
    "learning_rate.max_stable.gradient_descent", "learning_rate.max_stable.adam", "sharpness.pac_bayes_sigma",
)  # fmt: skip
PLANE = (
    "surface.min.drop", "basin.radius_mean", "basin.left", "basin.right", "curvature.plane.eigenvalues.0",
    "curvature.plane.eigenvalues.1", "surface.convex_fraction", "surface.roughness", "surface.cliff",
    "surface.plateau_fraction", "barrier", "monotone", "splits.centre_gap",
)  # fmt: skip
WIDE = 999  # a gloss that would fold is left out


def brief(run: Run) -> list[Table]:
    """Of each part the rows that are compared between runs."""
    planes = [
        table
        for name in run.profile.planes
        for table in (plane_table(run, name, PLANE), *critical_tables(run, name, full=False))
    ]
    made = [centre_table(run, ("weight_penalty",)), *_checkpoint(run), *planes]
    unfolded = [replace(table, gloss=WIDE) if table.gloss else table for table in made]
    return [*unfolded, _checks(run)]


def _checkpoint(run: Run) -> list[Table]:
    """What was measured in all parameters, beside the headline."""
    known = dict(flatten({name.split(".")[0]: run.tree[name.split(".")[0]] for name in CHECKPOINT}))
    there = [name for name in CHECKPOINT if name in known and known[name].status != "not measured"]
    rows = [(name, run.cell(known[name]), unit(name), gloss(name)) for name in there]
    sections = [(name, run.profile.sections[name]) for name in run.measured]
    counts = [f"{name} {s.facts.get('samples', '?')} samples of {s.settings.get('split', '?')}" for name, s in sections]
    told = [f"{name}: {text}" for name, s in sections for text in s.texts("notes")]
    told += [f"{name} out of time: {part}" for name, s in sections for part in s.texts("out_of_time")]
    title = plain(f"All parameters: {', '.join(counts)}")
    return [Table(title, ("metric", "value", "unit", "what it is"), rows, plain("; ".join(told)))] if rows else []


def _checks(run: Run) -> Table:
    """How many passed, and what there is to look at."""
    checks = run.tree["checks"]
    rows = [("LOOK", plain(str(check["text"]))) for check in checks if not check["ok"]]
    rows += [("note", plain(note)) for note in run.profile.provenance.notes]
    passed = sum(bool(check["ok"]) for check in checks)
    return Table(f"Self-checks: {passed} ok", ("", ""), rows, section="checks", spare=False)
