"""Directions that a scan computes from the loss: read from the file beside the run, or computed, and kept there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape_cli import files, store
from landscape_cli.cli.console import CONSOLE, progress
from landscape_cli.cli.resume import differing, refuse_another_plane
from landscape_cli.cli.stopping import Stop
from landscape_cli.errors import LandscapeError
from landscape_cli.profile import PlaneRecord, Profile
from landscape_cli.settings import Job, derived_in

if TYPE_CHECKING:
    from landscape_cli.measure.directions import Plane, Vector
    from landscape_cli.measure.problem import Problem
    from landscape_cli.measure.scan import Loaded

Vectors = dict[str, dict[str, "Vector"]]  # by plane, then by direction as the job writes it


@dataclass
class Derived:
    """The computed directions of one run; `measured` are the planes of the run file that are not to be replaced."""

    job: Job
    run: Path
    existing: Profile | None
    replaced: bool  # all of the run is measured anew
    measured: Mapping[str, PlaneRecord]

    def __post_init__(self) -> None:
        self.path = store.beside(self.run)
        self.asked = {n: specs for n, plane in self.job.planes.items() if (specs := derived_in(plane))}
        self.vectors: Vectors = {}
        self.new = False  # the file does not hold all of them
        self.old: store.Directions | None = None

    def ready(self, loaded: Loaded, stop: Stop) -> bool:
        """Read or compute every direction; false where it was stopped.

        Raises:
            LandscapeError: the file is not this run's, or one that is lost does not come out the same.
        """
        before = self.existing.planes if self.existing else {}
        dropped = any(plane.derived for name, plane in before.items() if name not in self.measured)
        if self.asked or dropped:
            self.old = self._file()
        if not self.asked:
            return True
        self._check_rest(loaded)
        problem, wanted = loaded.problem, self._recorded()
        if self.old is not None:
            for (name, axis, spec), sha256 in wanted.items():
                self.vectors.setdefault(name, {})[spec] = self._read(problem, name, axis, spec, sha256)
        if all(set(specs) <= self.vectors.get(name, {}).keys() for name, specs in self.asked.items()):
            return True
        return self._compute(problem, wanted, stop)

    def keep(self, profile: Profile) -> None:
        """Write the file where it does not hold just what the planes of the profile were measured along."""
        folders: dict[str, Mapping[str, Any]] = {}
        called: dict[str, str] = {}
        for name, plane in profile.planes.items():
            for axis, spec in self._axes(name) if name in self.vectors else plane.derived.items():
                folder = f"{name}/{axis}"
                if name in self.vectors:
                    folders[folder] = self.vectors[name][spec].parameters
                elif self.old is not None and folder in self.old.folders:
                    folders[folder] = self.old.folder(folder)
                called[folder] = spec
        if folders and (self.new or (self.old is not None and self.old.folders != folders.keys())):
            store.save_directions(self.path, folders, called, profile.problem)
        elif not folders and (self.old is not None or (self.replaced and self._ours())):
            files.remove(self.path)

    def _file(self) -> store.Directions | None:
        """The file beside the run; None where there is none, or one that is to be replaced."""
        if self.replaced or not self.path.exists():
            return None
        try:
            found = store.Directions(self.path)
        except LandscapeError as error:
            raise LandscapeError(error.message, self._remedy(), error.code) from error
        if self.existing is None:
            CONSOLE.note(f"note: {self.path.name} belongs to another run, and is replaced")
            return None
        return found

    def _ours(self) -> bool:
        """Whether there is such a file, and not another one of its name."""
        try:
            return self.path.exists() and bool(store.Directions(self.path).names)
        except LandscapeError:
            return False

    def _axes(self, name: str) -> list[tuple[str, str]]:
        """The axes of a plane of the job whose directions are computed."""
        pairs = zip("xy", self.job.planes[name].directions or [], strict=False)
        return [(axis, spec) for axis, spec in pairs if spec in self.asked.get(name, ())]

    def _check_rest(self, loaded: Loaded) -> None:
        """Refuse all that can be refused of the planes before their directions are computed, which may take long."""
        from landscape_cli.measure.derived import stand_ins
        from landscape_cli.measure.scan import load_planes

        settings = self.job.eigenvectors
        standing = {name: stand_ins(loaded.problem, specs, settings) for name, specs in self.asked.items()}
        for plane in load_planes(self.job, loaded, store.READERS, standing):
            if plane.name in self.measured:
                refuse_another_recipe(self.measured[plane.name], plane, self.run)
        size = sum(4 * t.numel() for t in loaded.problem.centre.values())
        files.check_output(self.path, size * sum(map(len, self.asked.values())))

    def _recorded(self) -> dict[tuple[str, str, str], str]:
        """The SHA-256 of each direction, by plane, axis and direction, that the run file has points along."""
        found: dict[tuple[str, str, str], str] = {}
        for name in self.asked.keys() & self.measured.keys():
            recipes = dict(zip("xy", self.measured[name].directions, strict=False))
            found |= {(name, axis, spec): str(recipes.get(axis, {}).get("sha256")) for axis, spec in self._axes(name)}
        return found

    def _read(self, problem: Problem, name: str, axis: str, spec: str, sha256: str) -> Vector:
        from landscape_cli.measure.derived import kept

        assert self.old is not None
        try:
            vector = kept(problem, spec, self.job.eigenvectors, self.old, f"{name}/{axis}", sha256)
        except LandscapeError as error:
            raise LandscapeError(f"{self.path}: {error.message}", self._remedy(name), error.code) from error
        if vector is None:
            what = f"{self.path} does not hold the direction {spec} along which {name} in {self.run.name} was measured"
            raise LandscapeError(what, self._remedy(name))
        return vector

    def _compute(self, problem: Problem, wanted: Mapping[tuple[str, str, str], str], stop: Stop) -> bool:
        from landscape_cli.measure.derived import derive, sha256_of, steps

        specs, settings = sorted({spec for some in self.asked.values() for spec in some}), self.job.eigenvectors
        CONSOLE.note(f"directions to compute first: {', '.join(specs)}")
        with progress("directions", 0, steps(problem, specs, settings), "steps") as advance:

            def ask(count: int) -> bool:
                advance(count)
                return stop.wanted()

            found = derive(problem, specs, settings, ask)
        if found is None:
            return False
        for (name, _, spec), sha256 in wanted.items():
            if spec not in self.vectors.get(name, {}) and sha256_of(problem, found[spec]) != sha256:
                what = f"{self.path} is missing, and {spec} of {name} does not come out as it was measured along"
                raise LandscapeError(what, f"put it back beside {self.run.name}, or measure anew with --force={name}")
        told = [(spec, found[spec].recipe) for spec in specs if "eigenvalue" in found[spec].recipe]
        for spec, recipe in told:
            CONSOLE.note(f"{spec}: eigenvalue {recipe['eigenvalue']:.5g}, residual {recipe['residual']:.2g}")
        for name, some in self.asked.items():
            self.vectors[name] = {spec: found[spec] for spec in some} | self.vectors.get(name, {})
        self.new = True
        return True

    def _remedy(self, name: str = "") -> str:
        """How a run goes on whose file is no good."""
        anew = f"measure {name} anew with --force={name}" if name else "replace the whole run with --force"
        return f"put back the file that belongs to {self.run.name}; or move it away, and it is computed anew; or {anew}"


def refuse_another_recipe(stored: PlaneRecord, plane: Plane, path: Path) -> None:
    """Refuse a plane that was made otherwise, its directions' tensors aside."""
    there, here = _without_tensors(stored.settings), _without_tensors(plane.settings)
    if differing(there, here):
        refuse_another_plane(replace(stored, settings=there, fingerprint=""), here, plane.fingerprint, path)


def _without_tensors(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A plane's settings without the SHA-256 of what is computed from the loss."""
    recipes: list[Any] = settings["directions"] if isinstance(settings.get("directions"), list) else []
    computed = [isinstance(recipe, dict) and "over" in recipe for recipe in recipes]
    bare = [{**r, "sha256": ""} if own else r for r, own in zip(recipes, computed, strict=True)]
    return {**settings, "directions": bare}
