"""One run of `landscape scan`: what the file holds already, the planes and sections that are missing, and the saves."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from landscape_cli import files, jobs, store
from landscape_cli.cli.console import CONSOLE, progress
from landscape_cli.cli.directions import Derived
from landscape_cli.cli.resume import refuse_another_plane, refuse_another_problem, refuse_another_section
from landscape_cli.cli.stopping import Stop, listening
from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.profile import Profile
from landscape_cli.section import Section
from landscape_cli.settings import Job, seconds

if TYPE_CHECKING:
    from landscape_cli.measure.directions import Plane
    from landscape_cli.measure.plan import Plan
    from landscape_cli.measure.problem import Problem

WHOLE = "*"  # --force with no section


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
        from landscape_cli.measure.sections import wanted_sections

        existing = self._existing()
        loaded = load_problem(self.job, store.READERS)
        problem = loaded.problem
        if existing:
            refuse_another_problem(existing, problem.hashes, self.path)
        stop, derived = Stop(self.max_seconds), self._derived(existing)
        with listening(stop):
            ready = derived.ready(loaded, stop)
        if not ready:
            CONSOLE.note(f"stopped: {stop.why}: the directions are not computed yet, and no part of them is kept")
            CONSOLE.note(f"again: {shlex.join(CONSOLE.argv)}")
            return stop.code or ExitCode.INTERRUPTED
        planes = load_planes(self.job, loaded, store.READERS, derived.vectors)
        keep_freed_memory()  # of the passes; what loading took is given back
        wanted = [plane for plane in planes if not self._finished(existing, plane)]
        sections = wanted_sections(self.job, problem, self._again())
        missing = {n: s for n, s in sections.items() if not self._section_finished(existing, n, s)}
        noted = with_rates(existing, sections) if existing else None
        existing = noted or existing
        if existing and not wanted and not missing:
            derived.keep(existing)
            return self._nothing_to_measure(existing, noted is not None)
        plan = self._plan(existing, problem, wanted) or self._chosen(problem, planes)
        CONSOLE.detail(f"plan: {plan} ({plan.why})")
        with listening(stop):
            notes = (*loaded.notes, *[note for plane in planes for note in plane.notes])
            notes += () if existing else self._precision(problem, planes)
            profile = self._start(existing, problem, planes, plan, loaded.files, notes)
            kept = dict(existing.sections) if existing else {}
            held = {name: section for name, section in kept.items() if section.complete}  # until they are replaced
            profile = replace(profile, sections={**kept, **missing, **held})
            derived.keep(profile)
            return self._measure(profile, problem, wanted, missing, plan, stop)

    def _nothing_to_measure(self, existing: Profile, noted: bool) -> int:
        if noted:
            store.Saver(self.path).save(existing.with_provenance(job=jobs.to_toml(self._job_of_all(existing))))
        what = "has the learning rate now" if noted else "holds all that this job asks for"
        CONSOLE.note(f"nothing to {'measure' if noted else 'do'}: {self.path.name} {what}; next: {self._next()}")
        self._name_unfinished(existing)
        refuse_all_nan(existing, [*self.job.planes])
        return ExitCode.OK

    def _existing(self) -> Profile | None:
        """What the output holds already, unless all of it is to be replaced."""
        if self.force == WHOLE or not self.path.exists():
            return None
        try:
            return store.load(self.path)
        except LandscapeError as error:
            hint = "choose another -o; or replace the whole file with --force"
            raise LandscapeError(error.message, hint, error.code) from error

    def _derived(self, existing: Profile | None) -> Derived:
        held = existing.planes if existing else {}
        measured = {name: plane for name, plane in held.items() if name != self.force}
        return Derived(self.job, self.path, existing, self.force == WHOLE, measured)

    def _finished(self, existing: Profile | None, plane: Plane) -> bool:
        """True if the file holds this very plane in full; refuses one of the same name made otherwise."""
        if existing is None or plane.name not in existing.planes or self.force == plane.name:
            return False
        stored = existing.planes[plane.name]
        refuse_another_plane(stored, plane.settings, plane.fingerprint, self.path)
        return stored.complete

    def _section_finished(self, existing: Profile | None, name: str, section: Section) -> bool:
        """True if the file holds this very section, or as much of it as the time asked for allowed.

        Refuses one that was measured otherwise.
        """
        if existing is None or name not in existing.sections or self.force == name:
            return False
        stored = existing.sections[name]
        if stored.complete:
            refuse_another_section(name, stored, section, self.path)
        return stored.complete and not (stored.texts("out_of_time") and has_more_time(stored, section))

    def _chosen(self, problem: Problem, planes: list[Plane]) -> Plan:
        from landscape_cli.measure import planner

        choice = planner.choose(problem, planes)
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

    def _measure(
        self, profile: Profile, problem: Problem, wanted: list[Plane], sections: Mapping[str, Section], plan: Plan,
        stop: Stop,
    ) -> int:  # fmt: skip
        from landscape_cli.measure.scan import fill

        saver = store.Saver(self.path)
        saver.save(profile)
        done, total = profile.done
        left, refused = dict(sections), None
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
            for name, section in sections.items():
                try:
                    found = None if stop.wanted() else self._section(section, name, problem, stop)
                except LandscapeError as error:  # the other sections may be had all the same
                    refused, found = refused or error, None
                if found is not None:
                    profile = replace(profile, sections={**profile.sections, name: found})
                    del left[name]
                    saver.save(profile)
        finally:
            if profile.complete:
                profile = profile.with_provenance(finished=files.now())
            saver.save(profile)
        if refused is not None:
            raise refused
        return self._end(profile, stop, wanted, list(left))

    def _section(self, section: Section, name: str, problem: Problem, stop: Stop) -> Section | None:
        """The section measured, unless it was stopped."""
        from landscape_cli.measure.sections import STEPS, measured

        unit, most = STEPS[name]
        total = most(getattr(self.job, name), problem)
        CONSOLE.note(f"{name}: at most {total} {unit}")
        with progress(f"{name}, at most", 0, total, unit) as advance:

            def ask(steps: int) -> bool:
                advance(steps)
                return stop.wanted()

            return measured(section, name, self.job, problem, ask)

    def _end(self, profile: Profile, stop: Stop, wanted: list[Plane], unfinished: list[str]) -> int:
        done, total = profile.done
        if unfinished or not all(profile.planes[plane.name].complete for plane in wanted):
            left = f", {' and '.join(unfinished)} not measured (no part of it is kept)" if unfinished else ""
            CONSOLE.note(f"stopped: {stop.why}: {done} of {total} points are in {self.path.name}{left}")
            kept = self.force in unfinished and profile.sections[self.force].complete
            CONSOLE.note(f"resume: {shlex.join(CONSOLE.argv if kept else profile.provenance.argv)}")
            return stop.code or ExitCode.INTERRUPTED
        refuse_all_nan(profile, [plane.name for plane in wanted])
        with_them = "".join(f", {name}" for name in profile.sections)
        CONSOLE.note(f"{done} points{with_them} in {self.path.name}; next: {self._next()}")
        self._name_unfinished(profile)
        return ExitCode.OK

    def _name_unfinished(self, profile: Profile) -> None:
        for plane in profile.planes.values():
            if not plane.complete:
                CONSOLE.note(f"unfinished: the plane {plane.name}; resume: {shlex.join(plane.argv)}")
        for name, section in profile.sections.items():
            if not section.complete:
                CONSOLE.note(f"unfinished: {name}; resume: {shlex.join(section.argv)}")

    def _next(self) -> str:
        return shlex.join(["landscape", "report", _shown(self.path)])


def has_more_time(stored: Section, wanted: Section) -> bool:
    """Whether a section may take longer than it did."""
    before, now = (seconds(s.settings["time"]) if s.settings.get("time") else math.inf for s in (stored, wanted))
    return (now or 0.0) > (before or 0.0)


def with_rates(existing: Profile, wanted: Mapping[str, Section]) -> Profile | None:
    """The profile with the learning rates that are asked for, which change no number in it; None where it has them."""
    rates = {name: section.settings.get("learning_rate") for name, section in wanted.items()}
    held = {n: existing.sections[n] for n, rate in rates.items() if rate is not None and n in existing.sections}
    if all(section.settings.get("learning_rate") == rates[name] for name, section in held.items()):
        return None
    made = {n: replace(s, settings={**s.settings, "learning_rate": rates[n]}) for n, s in held.items()}
    return replace(existing, sections={**existing.sections, **made})


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
