"""A run's statistics as tables: what the text and markdown reports show."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from landscape_cli.analyse.neighbourhood import RESCALING
from landscape_cli.analyse.paths import ITSELF, flatten
from landscape_cli.profile import Estimate, Profile, called
from landscape_cli.report.numbers import estimate_text, plain

# What each statistic is, in one line: metric name without indices -> (unit, gloss).
LEGEND: dict[str, tuple[str, str]] = {
    "centre.loss": ("loss", "mean loss at the checkpoint"),
    "centre.weight_penalty": ("loss", "½·weight decay·‖θ‖² of the selected parameters, not part of the loss"),
    "surface.finite_fraction": ("1", "share of the measured points that are finite"),
    "surface.nan_count": ("points", "measured points whose loss is NaN"),
    "surface.inf_count": ("points", "measured points whose loss is infinite"),
    "surface.min": ("loss", "lowest loss on the grid"),
    "surface.min.distance": ("parameter", "its distance from the checkpoint"),
    "surface.min.drop": ("loss", "lowest loss minus the checkpoint's"),
    "sharpness.plane_eps": ("% of 1 + L", "highest rise in the box of half-width ε"),
    "basin.radius_mean": ("parameter", "distance to a rise of δ, mean over rays"),
    "basin.radius_median": ("parameter", "distance to a rise of δ, median over rays"),
    "basin.area": ("parameter²", "area that stays within δ of the checkpoint"),
    "basin.left": ("parameter", "distance to a rise of δ, to the left"),
    "basin.right": ("parameter", "distance to a rise of δ, to the right"),
    "basin.asymmetry": ("1", "(right - left) / (right + left)"),
    "curvature.plane.eigenvalues": ("loss/parameter²", "of the fitted quadratic"),
    "curvature.plane.eigenvalues_unit": ("loss", "the same per squared direction unit"),
    "curvature.plane.lack_of_fit": ("1", "0: a quadratic; near 1: no quadratic at all"),
    "gradient.norm": ("loss/parameter", "norm of the mean gradient at the checkpoint"),
    "gradient.covariance_trace": ("loss²/parameter²", "tr Σ, the variance of per-sample gradients over all directions"),
    "gradient.test": ("1", "N‖g‖²/tr Σ: about 1 where the gradient is nothing but the noise of its samples"),
    "gradient.test.null_sd": ("1", "how far that strays from 1 where the population's gradient is 0"),
    "gradient.noise_scale": ("samples", "tr Σ/‖G‖²: the batch size up to which larger batches pay"),
    "gradient.drop": ("loss", "largest drop down the gradient of one half of the samples, on the other half"),
    "gradient.per_layer.norm": ("loss/parameter", "norm of the mean gradient of one parameter tensor"),
    "gradient.per_layer.ratio": ("loss/parameter²", "the same over the norm of the tensor"),
    "hessian.top": ("loss/parameter²", "largest eigenvalues of the Hessian"),
    "hessian.bottom": ("loss/parameter²", "smallest eigenvalues of the Hessian"),
    "hessian.top_ratio": ("1", "λ₁/λ₅"),
    "hessian.trace": ("loss/parameter²", "trace of the Hessian"),
    "hessian.frobenius": ("loss/parameter²", "Frobenius norm of the Hessian"),
    "hessian.effective_rank": ("1", "(∫|λ|)²·P/∫λ² of the spectral density"),
    "hessian.negative_mass": ("1", "share of the spectral density below -1e-3·max|λ|"),
    "sharpness.average_adaptive": ("loss", "mean rise of the loss at random perturbations of σ times each parameter"),
    "sharpness.pac_bayes_sigma": ("1", "the σ at which that mean rise is the one asked for"),
    "sharpness.worst_adaptive": (
        "loss",
        "highest rise met within ρ, in multiples of each parameter: a maximum, biased by choice",
    ),
    "sharpness.worst_adaptive.one_step": ("loss", "the same after one step along the scaled gradient"),
    "sharpness.worst": ("loss", "highest rise met within a distance of ρ: a maximum, biased by choice"),
    "sharpness.worst.one_step": ("loss", "the same after one step along the gradient"),
    "sharpness.average": ("loss", "mean rise at random perturbations of σ: about ½σ²·tr H"),
    "sharpness.keskar": (
        "% of 1 + L",
        "highest rise met where each θᵢ moves by up to ε·(1 + its size): biased by choice",
    ),
    "sharpness.relative_flatness": ("loss", "Σ ⟨w_s, w_s'⟩·tr H_ss' of the last linear layer"),
    "sharpness.fisher_rao": ("loss²", "⟨θ, Fθ⟩, F the Fisher matrix of the data's own labels"),
    "learning_rate.max_stable.gradient_descent": ("1", "2/λ₁: above it gradient descent diverges on the quadratic"),
    "learning_rate.max_stable.heavy_ball": ("1", "2(1+β)/λ₁, β = 0.9"),
    "learning_rate.max_stable.nesterov": ("1", "2(1+β)/((1+2β)λ₁), β = 0.9"),
    "learning_rate.stability": ("1", "η·λ₁/2 of the job's learning rate: above 1 gradient descent is unstable"),
    "learning_rate.max_stable.adam": ("1", "(2+2β₁)/((1-β₁)λ₁(P⁻¹H)), P = √v̂ + ε of the Adam in the checkpoint"),
    "hessian.per_layer.top": ("loss/parameter²", "largest eigenvalue of one parameter tensor's own block"),
    "hessian.per_layer.trace": ("loss/parameter²", "trace of that block"),
}
EVIDENCE = (
    "these compare runs of one set-up (architecture, data, recipe) well; they do not rank unrelated models, and can "
    "anti-correlate with generalisation (Dziugaite et al. 2020; Andriushchenko et al. 2023)"
)
SLICE = "A slice's minimum is a statement about the slice, not about the loss in all its parameters."


@dataclass(frozen=True)
class Table:
    """A title, column names and rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]] = ()
    note: str = ""


@dataclass(frozen=True)
class Run:
    """A profile with the name of its file and its statistics."""

    file: str
    profile: Profile
    tree: Mapping[str, Any]


def tables(run: Run) -> list[Table]:
    """The verdict, the centre, gradient and Hessian where they are measured, one table per plane, self-checks."""
    sections = [_section(run, name) for name, section in run.profile.sections.items() if section.complete]
    sections += _blocks(run)
    return [*_verdict(run), _centre(run), *sections, *[_plane(run, name) for name in run.profile.planes], _checks(run)]


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


def legend_key(path: str) -> str:
    """A metric's name in LEGEND: without the plane, the split and list indices."""
    bare = re.sub(r"^planes\.[^.]+\.[^.]+\.", "", re.sub(r"^centre\.[^.]+\.", "centre.", path))
    return re.sub(r"\.\d+(?=\.|$)", "", bare)


def _centre(run: Run) -> Table:
    splits = run.tree["centre"]
    flat = {split: dict(flatten(values)) for split, values in splits.items()}
    names = list(dict.fromkeys(path for values in flat.values() for path in values))
    rows = [(plain(n), *[_cell(v.get(n)) for v in flat.values()], _gloss(f"centre.{n}")) for n in names]
    counts = ", ".join(f"{plain(name)} {values['samples']} samples" for name, values in splits.items())
    return Table("Centre: the checkpoint", ("metric", *map(plain, splits), "what it is"), rows, counts)


def _verdict(run: Run) -> list[Table]:
    """What the checkpoint is, and why; nothing where the Hessian has not been measured."""
    found = run.tree["verdict"]
    if found is None:
        return []
    first, *others = (plain(str(reason)) for reason in found["reasons"])
    rows = [("", reason) for reason in others]
    return [Table("Verdict", ("kind", "why"), [(plain(str(found["kind"])), first), *rows])]


SECTION_TREES = {"gradient": ("gradient",), "hessian": ("hessian", "learning_rate")}  # what a section is shown as


def _section(run: Run, name: str) -> Table:
    """What was measured at the checkpoint in all its parameters; single layers where they vanish or explode."""
    if name == "sharpness":
        return _sharpness(run)
    section = run.profile.sections[name]
    flat = dict(flatten({tree: run.tree[tree] for tree in SECTION_TREES[name]}))
    rows = [(path, _cell(value), _gloss(path)) for path, value in flat.items() if ".per_layer." not in path]
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
    return Table(
        f"{name.capitalize()} at the checkpoint", ("metric", "value", "what it is"), rows, plain("; ".join(told))
    )


def _blocks(run: Run) -> list[Table]:
    """The Hessian's blocks of single parameter tensors; nothing where they were not asked for."""
    layers = (run.tree["hessian"] or {}).get("per_layer", [])
    rows = [
        (plain(layer["name"]), _cell(layer["top"][ITSELF]), _cell(layer["trace"]), f"{layer['top']['residual']:.2g}")
        for layer in layers
    ]
    columns = ("parameter tensor", "λ₁ of its block", "trace of its block", "residual of λ₁")
    return [Table("Hessian by parameter tensor", columns, rows, "loss/parameter²")] if rows else []


def _sharpness(run: Run) -> Table:
    """How far the loss rises around the checkpoint, with the size of each neighbourhood and what a rescaling does."""
    section, tree = run.profile.sections["sharpness"], run.tree["sharpness"]
    boxes = {f"keskar.{i}": box for i, box in enumerate(tree["keskar"])}
    rows = []
    for name, entry in {**tree, **boxes, "keskar": {}}.items():
        for path, value in flatten({f"sharpness.{name}": entry}):
            size = _size_of(entry) if path == f"sharpness.{name}" else ""
            rows.append((path + size, _cell(value), f"{_gloss(path)}; survives ReLU rescaling: {entry[RESCALING]}"))
    asked, facts = section.settings, section.facts
    told = [f"{facts.get('samples', '?')} samples of {asked.get('split', '?')}"]
    told.append(f"{asked.get('draws', '?')} pairs of random perturbations")
    told.append(f"maxima over {asked.get('starts', '?')} starts of {asked.get('ascent', '?')} steps")
    told += [f"{zeros} parameters are 0, which no σ or ρ in proportion moves"] if (zeros := facts.get("zeros")) else []
    told += section.texts("notes")
    told += [f"out of time: {part}" for part in section.texts("out_of_time")]
    told.append(EVIDENCE)
    return Table("Sharpness at the checkpoint", ("metric", "value", "what it is"), rows, plain("; ".join(told)))


SIZES = {"sigma": "σ", "rise": "rise", "rho": "ρ", "eta": "η", "eps": "ε"}  # of a neighbourhood, as rows show them


def _size_of(entry: Mapping[str, Any]) -> str:
    sizes = [f"{sign} = {entry[key]:g}" for key, sign in SIZES.items() if isinstance(entry.get(key), int | float)]
    return f" ({', '.join(sizes)})" if sizes else ""


def _plane(run: Run, name: str) -> Table:
    splits = run.tree["planes"][name]
    flat = {split: dict(flatten(values)) for split, values in splits.items()}
    paths = list(dict.fromkeys(path for values in flat.values() for path in values))
    extras = _extras(next(iter(splits.values())))
    rows = [
        (path + extras.get(path, ""), *[_cell(values.get(path)) for values in flat.values()], _gloss(path))
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
        f"{lowest}. δ = {delta}. Curvature of {window}. {SLICE}",
    )


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
    return Table("Self-checks", ("", "what was checked"), rows + notes)


def _cell(value: Any) -> str:
    return estimate_text(value) if isinstance(value, Estimate) else "" if value is None else plain(str(value))


def _gloss(path: str) -> str:
    return LEGEND.get(legend_key(path), ("", ""))[1]
