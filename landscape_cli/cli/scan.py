"""`landscape scan`: joins measurement, store and progress."""

from __future__ import annotations

import contextlib
import math
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from landscape_cli import files, jobs, store
from landscape_cli.cli.console import CONSOLE, common, duration, progress
from landscape_cli.cli.output import say
from landscape_cli.cli.resume import refuse_another_plane, refuse_another_problem
from landscape_cli.cli.stopping import Stop, seconds, stopping
from landscape_cli.errors import ExitCode, LandscapeError, one_of
from landscape_cli.jobs import Layer
from landscape_cli.profile import Axis, Profile, grid_bytes
from landscape_cli.settings import Job

if TYPE_CHECKING:
    from landscape_cli.measure.directions import Plane
    from landscape_cli.measure.plan import Plan
    from landscape_cli.measure.problem import Problem

WHOLE = "*"  # --force with no section

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
    "device": ("run", "device"),
    "dtype": ("run", "dtype"),
    "seed": ("run", "seed"),
    "batch_size": ("run", "batch_size"),
    "strategy": ("run", "strategy"),
    "points_per_pass": ("run", "points_per_pass"),
}


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
@click.option("--directions", multiple=True, help=f"{_listed(jobs.choices('directions', 'DIRECTIONS'))}; one per axis.")
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
@click.option("--set", "sets", multiple=True, metavar="A.B=C", help="Any key of the job.")
@click.option("--plan", is_flag=True, help="Print what it would take, and write nothing.")
@click.option("--force", is_flag=False, flag_value=WHOLE, metavar="[SECTION]", help="Measure all, or one plane, anew.")
@click.option("--max-time", help="Stop after this long, resumably: 90s, 20m, 1h30m.")
@common
def scan(
    job: Path | None,
    output: str | None,
    sets: tuple[str, ...],
    plan: bool,
    force: str | None,
    max_time: str | None,
    **flags: Any,
) -> int:
    """Measure the loss on lines and planes around a checkpoint, as JOB (a TOML file) or the flags say."""
    if force and force != WHOLE and job is None and Path(force).suffix == ".toml":
        job, force = Path(force), WHOLE  # `scan --force JOB.toml`
    if output is None and not plan:
        raise LandscapeError("the scan has no output", "add for example -o run.h5")
    limit = seconds(max_time)
    if output == "-":
        raise LandscapeError("an HDF5 file cannot be written to stdout", "give a file, for example -o run.h5")
    settings = read_job(job, sets, flags)
    if force is not None and force != WHOLE and force not in settings.planes:
        raise one_of("section to force", force, list(settings.planes))
    needed = _bytes(settings)
    if plan or output is None:
        with contextlib.redirect_stdout(sys.stderr):
            lines = plan_lines(settings, needed)
        say(lines)
        return ExitCode.OK
    target = files.check_output(Path(output), needed)
    with files.locked(target), contextlib.redirect_stdout(sys.stderr):  # what the user's code prints is no data
        return Scan(settings, target, force, limit).run()


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


@dataclass
class Scan:
    """One run of the command, its output locked."""

    job: Job
    path: Path
    force: str | None
    max_seconds: float | None

    def run(self) -> int:
        """Load, resume or start, measure, save; the exit code."""
        from landscape_cli.measure.memory import keep_freed_memory
        from landscape_cli.measure.scan import load_planes, load_problem

        existing = self._existing()
        loaded = load_problem(self.job, store.READERS)
        problem = loaded.problem
        if existing:
            refuse_another_problem(existing, problem.hashes, self.path)
        planes = load_planes(self.job, loaded, store.READERS)
        keep_freed_memory()  # of the passes; what loading took is given back
        wanted = [plane for plane in planes if not self._finished(existing, plane)]
        if existing and not wanted:
            CONSOLE.note(f"nothing to do: {self.path.name} holds all that this job asks for; next: {self._next()}")
            self._name_unfinished(existing)
            refuse_all_nan(existing, [plane.name for plane in planes])
            return ExitCode.OK
        plan = self._plan(existing, problem, wanted) or self._chosen(problem, planes)
        CONSOLE.detail(f"plan: {plan} ({plan.why})")
        with stopping(self.max_seconds) as stop:
            notes = (*loaded.notes, *[note for plane in planes for note in plane.notes])
            notes += () if existing else self._precision(problem, planes)
            profile = self._start(existing, problem, planes, plan, loaded.files, notes)
            return self._measure(profile, problem, wanted, plan, stop)

    def _existing(self) -> Profile | None:
        """What the output holds already, unless all of it is to be replaced."""
        if self.force == WHOLE or not self.path.exists():
            return None
        try:
            return store.load(self.path)
        except LandscapeError as error:
            hint = "choose another -o; or replace the whole file with --force"
            raise LandscapeError(error.message, hint, error.code) from error

    def _finished(self, existing: Profile | None, plane: Plane) -> bool:
        """True if the file holds this very plane in full; refuses one of the same name made otherwise."""
        if existing is None or plane.name not in existing.planes or self.force == plane.name:
            return False
        stored = existing.planes[plane.name]
        refuse_another_plane(stored, plane.settings, plane.fingerprint, self.path)
        return stored.complete

    def _chosen(self, problem: Problem, planes: list[Plane]) -> Plan:
        from landscape_cli.measure import planner

        choice = planner.choose(problem, planes, self.job.run)
        for note in choice.notes:
            CONSOLE.detail(f"not {note}")
        return choice.plan

    def _precision(self, problem: Problem, planes: list[Plane]) -> tuple[str, ...]:
        """What half precision costs, measured; nothing of other dtypes."""
        from landscape_cli.measure.scan import HALF, load_problem, precision_notes

        if problem.dtype not in HALF:
            return ()
        single = replace(self.job, run=replace(self.job.run, dtype="float32"))
        return precision_notes(problem, load_problem(single, store.READERS).problem, planes)

    def _plan(self, existing: Profile | None, problem: Problem, wanted: list[Plane]) -> Plan | None:
        """The plan of the file where a plane of it is resumed, but for what is asked for otherwise."""
        from landscape_cli.measure import planner
        from landscape_cli.measure.plan import Plan
        from landscape_cli.measure.strategies import MANY, STRATEGIES

        if existing is None or not any(plane.name in existing.planes for plane in wanted):
            return None
        plan, run = Plan.stored(existing.provenance.plan, [*STRATEGIES]), self.job.run
        if run.strategy not in (None, plan.strategy):
            return None  # chosen anew
        points = (run.points_per_pass if plan.strategy in MANY else None) or plan.points_per_pass
        plan = replace(plan, batch=run.batch_size or plan.batch, points_per_pass=points)
        return plan if planner.suits(problem, wanted, plan) else None

    def _start(
        self, existing: Profile | None, problem: Problem, planes: list[Plane], plan: Plan,
        hashes: Mapping[str, str], notes: tuple[str, ...],
    ) -> Profile:  # fmt: skip
        """The profile to fill: the centre measured, and every plane there, empty or as far as it is."""
        from landscape_cli.measure.provenance import changed_since, git_commit, make_provenance
        from landscape_cli.measure.scan import measure_centre, new_record

        provenance = make_provenance(
            problem, plan, {f"planes.{n}": p.seed or 0 for n, p in self.job.planes.items()},
            argv=self._again(), directory=str(Path.cwd()),
            job=jobs.to_toml(self._job_of_all(existing)), folder=str(self.job.folder),
            sources={**self._sources_before(existing), **self.job.sources}, git_commit=git_commit(self.job.folder),
            notes=notes,
        )  # fmt: skip
        provenance = replace(provenance, hashes={**provenance.hashes, **hashes})
        if existing:
            stored = existing.provenance
            kept = tuple(dict.fromkeys([*stored.notes, *notes, *changed_since(stored, problem, plan)]))
            provenance = replace(provenance, started=stored.started, notes=kept)
        for note in provenance.notes:
            CONSOLE.note(f"note: {note}")
        centre = existing.centre if existing else measure_centre(problem, plan)
        kept_planes = dict(existing.planes) if existing else {}
        for plane in planes:
            if plane.name not in kept_planes or self.force == plane.name:
                kept_planes[plane.name] = new_record(problem, plane, centre, plan)
            kept_planes[plane.name] = replace(kept_planes[plane.name], argv=self._again())
        return Profile(problem.sha256, provenance, centre, kept_planes)

    def _again(self) -> tuple[str, ...]:
        return resuming(CONSOLE.argv, self.force)

    def _sources_before(self, existing: Profile | None) -> dict[str, str]:
        held = existing.provenance.sources if existing else {}
        return {key: source for key, source in held.items() if key.startswith("planes.")}

    def _job_of_all(self, existing: Profile | None) -> Job:
        """The job that would make the whole file: this one, and the planes that were there before it."""
        if existing is None:
            return self.job
        return jobs.joined(existing.provenance.job, Path(existing.provenance.folder), self.job)

    def _measure(self, profile: Profile, problem: Problem, wanted: list[Plane], plan: Plan, stop: Stop) -> int:
        from landscape_cli.measure.scan import fill

        saver = store.Saver(self.path)
        saver.save(profile)
        done, total = profile.done
        try:
            with progress("scan", done, total) as advance:
                for plane in wanted:
                    for block in fill(profile.planes[plane.name], problem, plane, plan):
                        advance(block.stop - block.start)
                        if block.plan != plan:
                            profile, plan = with_smaller_pass(profile, block.plan), block.plan
                        saver.save_if_due(profile)
                        if stop.wanted():
                            break
                    if stop.wanted():
                        break
        finally:
            if profile.complete:
                profile = profile.with_provenance(finished=files.now())
            saver.save(profile)
        return self._end(profile, stop, wanted)

    def _end(self, profile: Profile, stop: Stop, wanted: list[Plane]) -> int:
        done, total = profile.done
        if not all(profile.planes[plane.name].complete for plane in wanted):
            CONSOLE.note(f"stopped by {stop.why}: {done} of {total} points are in {self.path.name}")
            CONSOLE.note(f"resume: {shlex.join(profile.provenance.argv)}")
            return stop.code or ExitCode.INTERRUPTED
        refuse_all_nan(profile, [plane.name for plane in wanted])
        CONSOLE.note(f"{done} points in {self.path.name}; next: {self._next()}")
        self._name_unfinished(profile)
        return ExitCode.OK

    def _name_unfinished(self, profile: Profile) -> None:
        for plane in profile.planes.values():
            if not plane.complete:
                CONSOLE.note(f"unfinished: the plane {plane.name}; resume: {shlex.join(plane.argv)}")

    def _next(self) -> str:
        return shlex.join(["landscape", "report", _shown(self.path)])


def with_smaller_pass(profile: Profile, plan: Plan) -> Profile:
    """What a run that was short of memory keeps of it."""
    note = f"out of memory: went on with {plan}"
    CONSOLE.note(f"note: {note}")
    return profile.with_provenance(plan=plan.as_dict(), notes=(*profile.provenance.notes, note))


def refuse_all_nan(profile: Profile, names: list[str]) -> None:
    """A plane without a finite point says nothing: exit 3, the file is kept."""
    empty = [n for n in names if not any(s.finite.any() for s in profile.planes[n].surfaces.values())]
    if empty:
        hint = "narrow the window, or look at the data and the loss; the file is kept"
        raise LandscapeError(f"no point of {', '.join(empty)} is finite", hint, ExitCode.INCONCLUSIVE)


def resuming(argv: tuple[str, ...], force: str | None) -> tuple[str, ...]:
    """The command that goes on where this one stops: without --force, which would begin anew."""
    kept = [arg for arg in argv if not arg.startswith("--force=")]
    if "--force" in kept:
        at = kept.index("--force")
        del kept[at : at + (2 if force != WHOLE else 1)]
    return tuple(kept)


def _shown(path: Path) -> str:
    """Relative where it lies below the working directory."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def plan_lines(job: Job, needed: int) -> str:
    """Points, passes, time, memory and bytes; nothing is written."""
    from landscape_cli.measure import planner
    from landscape_cli.measure.memory import keep_freed_memory
    from landscape_cli.measure.scan import load_planes, load_problem

    loaded = load_problem(job, store.READERS)
    problem, planes = loaded.problem, load_planes(job, loaded, store.READERS)
    keep_freed_memory()  # as the scan will
    choice = planner.choose(problem, planes, job.run)
    plan = choice.plan
    most = max((len(plane.directions) for plane in planes), default=0)
    cost = planner.forecast(problem, choice, most)
    points = sum(len(plane.coordinates) for plane in planes)
    table: list[tuple[str, Any]] = [
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
        ("file", _size(needed)),
    ]
    return "".join(f"{label:<32} {value}\n" for label, value in table)


def _size(count: int) -> str:
    return f"{count / (1 << 20):.3g} MiB"
