"""`landscape scan`: joins measurement, store and progress."""

from __future__ import annotations

import contextlib
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from landscape_cli import files, jobs, store
from landscape_cli.cli.console import common, duration
from landscape_cli.cli.ending import ending
from landscape_cli.cli.output import say
from landscape_cli.cli.run import WHOLE, Scan
from landscape_cli.errors import ExitCode, LandscapeError, one_of
from landscape_cli.jobs import Layer
from landscape_cli.profile import Axis, grid_bytes
from landscape_cli.section import SECTION_ARRAYS
from landscape_cli.settings import OPTIONAL, Job, derived_in, seconds, written

# Flags that are one key of the job.
FLAGS: dict[str, tuple[str, ...]] = {
    "model": ("model", "factory"),
    "checkpoint": ("model", "checkpoint"),
    "state_key": ("model", "state_key"),
    "strict": ("model", "strict"),
    "allow_pickle": ("model", "allow_pickle"),
    "loss": ("loss", "name"),
    "metrics": ("loss", "metrics"),
    "x": ("planes", "main", "x"),
    "y": ("planes", "main", "y"),
    "directions": ("planes", "main", "directions"),
    "normalize": ("planes", "main", "normalize"),
    "ignore": ("planes", "main", "ignore"),
    "orthogonal": ("planes", "main", "orthogonal"),
    "batchnorm": ("planes", "main", "batchnorm"),
    "per_layer": ("hessian", "per_layer"),
    "hessian_dtype": ("hessian", "dtype"),
    "device": ("run", "device"),
    "dtype": ("run", "dtype"),
    "seed": ("run", "seed"),
    "batch_size": ("run", "batch_size"),
    "strategy": ("run", "strategy"),
    "points_per_pass": ("run", "points_per_pass"),
}


INPUT = click.Path(exists=True, dir_okay=False, path_type=Path)
DIRECTIONS = [written(kind) for kind in jobs.choices("directions", "DIRECTIONS")]


def _listed(names: list[str]) -> str:
    return ", ".join(names)


@click.command()
@click.argument("job", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--output", help="The run file (HDF5); an unfinished one is resumed.")
@click.option("--model", help="FILE.py:CALLABLE or package.module:CALLABLE that builds the network.")
@click.option("--checkpoint", help="The trained weights.")
@click.option("--state-key", help="Where in the checkpoint the state dict lies, as dotted keys.")
@click.option("--strict/--no-strict", default=None, help="Refuse, or go on with, keys that do not match.")
@click.option("--allow-pickle", is_flag=True, default=None, help="Unpickle freely: runs the code of who wrote it.")
@click.option("--data", multiple=True, metavar="[NAME=]SOURCE", help="A split; repeat for more.")
@click.option("--loss", help=f"{_listed(jobs.choices('losses', 'LOSSES'))}, or FILE.py:CALLABLE.")
@click.option("--metric", "metrics", multiple=True, help=f"{_listed(jobs.choices('losses', 'METRICS'))}, or code.")
@click.option("--x", help="min:max:count, or [a, b, …]; write --x=-1:1:51.")
@click.option("--y", help="The same; leave out for a line.")
@click.option("--directions", multiple=True, help=f"{_listed(DIRECTIONS)}; one per axis.")
@click.option("--normalize", help=_listed(jobs.choices("normalisations", "NORMALISATIONS")) + ".")
@click.option("--ignore", multiple=True, help='"bias", "norm" or name patterns; "" for none.')
@click.option("--orthogonal/--no-orthogonal", default=None, help="Second direction orthogonal within each filter.")
@click.option("--batchnorm", help=_listed(jobs.choices("batchnorm", "POLICIES")) + ".")
@click.option("--device", help="auto, cpu, cuda, cuda:N, mps.")
@click.option("--dtype", help=_listed(jobs.choices("model", "DTYPES")) + ".")
@click.option("--seed", type=int, help="Of every plane that names none.")
@click.option("--batch-size", type=int, help="Samples per pass; changes no result.")
@click.option(
    "--strategy", help=_listed(jobs.choices("strategies", "STRATEGIES")) + "; measured and chosen if not named."
)
@click.option("--points-per-pass", type=int, help="Weight points per pass, of strategies that take many.")
@click.option("--gradient", is_flag=True, help="Measure the gradient at the checkpoint too.")
@click.option("--hessian", is_flag=True, help="Measure the Hessian's eigenvalues and trace at the checkpoint too.")
@click.option("--sharpness", is_flag=True, help="Measure how far the loss rises around the checkpoint too.")
@click.option("--per-layer", is_flag=True, default=None, help="Of every parameter tensor's own block of it too.")
@click.option("--hessian-dtype", help="float64: products with the Hessian in double precision.")
@click.option("--all", "everything", is_flag=True, help=f"{_listed([f'--{name}' for name in OPTIONAL])}.")
@click.option("--only", multiple=True, metavar="NAME", help="Measure this section or plane alone; repeat for more.")
@click.option("--set", "sets", multiple=True, metavar="A.B=C", help="Any key of the job.")
@click.option("--plan", is_flag=True, help="Print what it would take, and write nothing.")
@click.option(
    "--force",
    "forced",
    multiple=True,
    is_flag=False,
    flag_value=WHOLE,
    metavar="[NAME]",
    help="Measure all, or one section or plane, anew.",
)
@click.option("--max-time", help="Stop after this long, resumably: 90s, 20m, 1h30m.")
@click.option("--report", "reported", is_flag=True, help="Then print the report.")
@click.option("--gate", "policy", type=INPUT, metavar="POLICY.toml", help="Then judge the run; exit as `gate` does.")
@click.option("--baseline", type=INPUT, metavar="BASE.h5", help="Of --gate: the run, or its JSON report.")
@common
def scan(
    job: Path | None,
    output: str | None,
    sets: tuple[str, ...],
    only: tuple[str, ...],
    plan: bool,
    forced: tuple[str, ...],
    max_time: str | None,
    reported: bool,
    policy: Path | None,
    baseline: Path | None,
    **flags: Any,
) -> int:
    """Measure the loss on lines and planes around a checkpoint, as JOB (a TOML file) or the flags say.

    With --gate the exit code is the gate's: 0 passed, 1 failed, 3 inconclusive. A scan that does not finish keeps its
    own.
    """
    then = ending(reported, policy, baseline, output, plan)
    if len(forced) > 1:
        raise LandscapeError(
            "--force is given more than once", "force one section or plane at a time, or the whole file"
        )
    force = forced[0] if forced else None
    if force and force != WHOLE and job is None and Path(force).suffix == ".toml":
        job, force = Path(force), WHOLE  # `scan --force JOB.toml`
    if output is None and not plan:
        raise LandscapeError("the scan has no output", "add for example -o run.h5")
    limit = seconds(max_time, "--max-time")
    if output == "-":
        raise LandscapeError("an HDF5 file cannot be written to stdout", "give a file, for example -o run.h5")
    settings = with_only(read_job(job, sets, flags), only)
    asked = [*settings.planes, *sections_asked(settings)]
    if force is not None and force != WHOLE and force not in asked:
        if not asked:
            raise LandscapeError(f"the job asks for no {force}", "name it in the job file, or add its flag")
        raise one_of("section to force", force, asked)
    needed = _bytes(settings)
    if plan or output is None:
        with contextlib.redirect_stdout(sys.stderr):
            lines = plan_lines(settings, needed)
        say(lines)
        return ExitCode.OK
    target = files.check_output(Path(output), needed)
    with files.locked(target), contextlib.redirect_stdout(sys.stderr):  # what the user's code prints is no data
        code = Scan(settings, target, force, limit).run()
    return then.after(code, output)


def read_job(job: Path | None, sets: tuple[str, ...], flags: dict[str, Any]) -> Job:
    """Job file, --set and flags as one job; relative paths start from the job file's folder."""
    here = Path.cwd()
    layers = [] if job is None else [jobs.read_job_file(job)]
    folder = layers[0].folder if layers else here
    splits = [key[1] for layer in layers for key in layer.values if key[0] == "data"]
    values: dict[tuple[str, ...], Any] = {}
    for name, path in FLAGS.items():
        given = flags.get(name)
        if given is not None and given != ():
            values[path] = _value(name, given)
    for name in OPTIONAL:
        if flags.get(name) or flags.get("everything"):
            values[(name,)] = {}
    for item in flags.get("data", ()):
        name, equals, source = item.partition("=")
        name, source = (name, source) if equals and name.isidentifier() else (splits[0] if splits else "data", item)
        if ("data", name, "source") in values:
            raise LandscapeError(f"two sources are given for the split {name}", "write --data NAME=SOURCE for each")
        values["data", name, "source"] = source
    layers += [jobs.read_sets(sets, here), Layer("flag", values, here)]
    return jobs.resolve(layers, folder)


def _value(name: str, given: Any) -> Any:
    if name == "directions":
        kinds = "|".join(jobs.choices("directions", "DIRECTIONS"))
        return [part for item in given for part in re.split(rf",(?=(?:{kinds})(?::|,|$))", item)]
    if name in ("metrics", "ignore"):
        return [item for item in given if item]
    if name in ("x", "y") and given.strip().startswith("["):
        return jobs.toml_value(given)
    if name == "normalize" and "," in given:
        return given.split(",")
    return given


def _bytes(job: Job) -> int:
    """Bytes of all planes of the job; refuses a grid beyond the cap."""
    grids = [(n, Axis.of(p.x), None if p.y is None else Axis.of(p.y)) for n, p in job.planes.items()]
    return sum(grid_bytes(name, x, y, len(job.data), len(job.loss.metrics)) for name, x, y in grids)


def sections_asked(job: Job) -> list[str]:
    """The sections, besides planes, that a job names."""
    return [name for name in SECTION_ARRAYS if getattr(job, name) is not None]


def with_only(job: Job, names: tuple[str, ...]) -> Job:
    """The job without the planes and sections that are not named, where any is; a section needs no table of its own."""
    if not names:
        return job
    known = [*job.planes, *OPTIONAL]
    for name in names:
        if name not in known:
            raise one_of("plane or section", name, known)
    sections: dict[str, Any] = dict.fromkeys(OPTIONAL)
    sections |= {name: getattr(job, name) or OPTIONAL[name]() for name in names if name in OPTIONAL}
    return replace(job, planes={n: p for n, p in job.planes.items() if n in names}, **sections)


def plan_lines(job: Job, needed: int) -> str:
    """Points, passes, time, memory and bytes; nothing is written."""
    from landscape_cli.measure import planner
    from landscape_cli.measure.derived import stand_ins
    from landscape_cli.measure.forecast import forecast
    from landscape_cli.measure.memory import keep_freed_memory
    from landscape_cli.measure.scan import load_planes, load_problem
    from landscape_cli.measure.sections import STEPS

    loaded = load_problem(job, store.READERS)
    problem = loaded.problem
    asked = {name: derived_in(plane) for name, plane in job.planes.items()}
    planes = load_planes(
        job, loaded, store.READERS, {n: stand_ins(problem, specs, job.eigenvectors) for n, specs in asked.items()}
    )
    keep_freed_memory()  # as the scan will
    choice = planner.choose(problem, planes)
    plan = choice.plan
    most = max((len(plane.directions) for plane in planes), default=0)
    cost = forecast(problem, plan, choice.seconds, most)
    points = sum(len(plane.coordinates) for plane in planes)
    counts = [(name, STEPS[name]) for name in sections_asked(job)]
    table: list[tuple[str, Any]] = [
        *_computed_first(job, asked),
        ("points", points),
        ("passes", math.ceil(points * cost.passes_per_point)),
        ("strategy", str(plan)),
        ("chosen", plan.why),
        *[("not taken", note) for note in choice.notes],
        ("device", f"{problem.device}, {problem.dtype}"),
        ("estimated time", duration(points * cost.seconds_per_point)),
        ("memory: weights and master copy", _size(2 * cost.bytes_master)),
        ("memory: directions", _size(cost.bytes_directions)),
        ("memory: samples", _size(cost.bytes_samples)),
        ("memory: one pass, about", _size(cost.bytes_pass)),
        *[(name, f"at most {most(getattr(job, name), problem)} {unit}") for name, (unit, most) in counts],
        ("file", _size(needed)),
    ]
    return "".join(f"{label:<32} {value}\n" for label, value in table)


def _computed_first(job: Job, asked: dict[str, list[str]]) -> list[tuple[str, str]]:
    """The directions that are computed before the first point, whose time nobody knows beforehand."""
    specs = sorted({spec for some in asked.values() for spec in some})
    limit = f"by at most {job.eigenvectors.products} Hessian products of 9 to 13 passes each"
    how = {spec: "by one gradient" if spec == "gradient" else limit for spec in specs}
    return [(f"first, {spec}", f"to be computed, {text}; not in the estimated time") for spec, text in how.items()]


def _size(count: int) -> str:
    return f"{count / (1 << 20):.3g} MiB"
