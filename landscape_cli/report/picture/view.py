"""View: one run as a picture shows it, and the words around it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any

import numpy as np

from landscape_cli.analyse.statistics import plane_statistics, statistics
from landscape_cli.analyse.surface import lowest
from landscape_cli.errors import ExitCode, LandscapeError, one_of
from landscape_cli.profile import Centre, PlaneRecord, Profile, Surface, called
from landscape_cli.report.numbers import plain
from landscape_cli.section import Section

LONG = 48  # letters of a name
POINTS = 24  # critical points at most


@dataclass(frozen=True)
class View:
    """A run, with the plane and the split that are asked for; "" where none is; `alike`: beside one called as it is."""

    file: str
    profile: Profile
    plane: str = ""
    split: str = ""
    alike: bool = False

    @cached_property
    def record(self) -> PlaneRecord:
        """The plane that is asked for, or the first.

        Raises:
            LandscapeError: the run has no such plane, or none at all.
        """
        planes = self.profile.planes
        if not planes:
            raise self.lacks("plane", "landscape scan ... --x=-1:1:51 --y=-1:1:51")
        if self.plane and self.plane not in planes:
            raise one_of(f"plane of {self.file}", self.plane, list(planes))
        return planes[self.plane] if self.plane else next(iter(planes.values()))

    @cached_property
    def surfaces(self) -> Mapping[str, Surface]:
        """The splits of the plane, or the one that is asked for.

        Raises:
            LandscapeError: there is no such split.
        """
        held = self.record.surfaces
        if self.split and self.split not in held:
            raise one_of(f"split of {self.file}", self.split, list(held))
        return {self.split: held[self.split]} if self.split else held

    @property
    def shown(self) -> tuple[str, Surface]:
        """The split that is asked for, or the first, and its surface."""
        return next(iter(self.surfaces.items()))

    def section(self, name: str) -> Section:
        """What was measured at the checkpoint.

        Raises:
            LandscapeError: it was not, or is unfinished.
        """
        section = self.profile.sections.get(name)
        if section is None or not section.complete:
            raise self.lacks(f"finished section {name}", f"landscape scan ... --only {name}")
        return section

    def lacks(self, what: str, command: str) -> LandscapeError:
        """The error for a run without what the picture shows."""
        return LandscapeError(f"{self.file} has no {what}", f"measure it: {command}", ExitCode.INCONCLUSIVE)

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """The critical points and merge tree of the split that is shown."""
        return self.statistics_of(self.shown[0])

    def statistics_of(self, split: str) -> dict[str, Any]:
        """Those of any split."""
        return plane_statistics(self.record, wanted={"critical_points", "merge_tree", split})[split]

    def critical(self, split: str = "", unsure: bool = False) -> list[Mapping[str, Any]]:
        """The most persistent critical points that are inside and resolved, of the split that is shown or another.

        With `unsure` those too whose place alone is not sure.
        """
        found = (self.statistics_of(split) if split else self.statistics)["critical_points"]
        sure = [p for p in found if p["resolved"] or (unsure and not p["coarse"])]
        return [p for p in sure if not p["at_border"]][:POINTS]

    @property
    def name(self) -> str:
        """The checkpoint's file, as the job names it; the run's own where it does not, or before it where alike."""
        try:
            found = tomllib.loads(self.profile.provenance.job).get("model", {}).get("checkpoint")
        except (tomllib.TOMLDecodeError, AttributeError):
            found = None
        if not isinstance(found, str) or not found:
            return plain(self.file) if self.alike else cut(PurePath(self.file).name)
        name = cut(PurePath(found).name)
        return f"{plain(self.file)}: {name}" if self.alike else name

    @property
    def what(self) -> str:
        """`plane main`, `line between`."""
        return f"{'line' if self.record.surface.y is None else 'plane'} {self.record.name}"

    @property
    def title(self) -> str:
        """Checkpoint, plane, split, samples."""
        split, surface = self.shown
        return f"{self.name} · {self.what} · {counted(split, surface.centre)}"

    def section_title(self, name: str, what: str) -> str:
        """Checkpoint, what is shown, split, samples."""
        section = self.section(name)
        split = cut(str(section.settings.get("split", "?")))
        return f"{self.name} · {what} · {split}, {section.facts.get('samples', '?')} samples"

    @property
    def caption(self) -> str:
        """The verdict with its first reason; and what is unfinished."""
        told = [self.verdict]
        if not self.profile.complete:
            done, asked = self.profile.done
            points = [f"{done} of {asked} points"] if done < asked else []
            missing = [name for name, section in self.profile.sections.items() if not section.complete]
            told.append(f"UNFINISHED: {', '.join(points + [f'without {name}' for name in missing])}")
        return plain(" · ".join(told))

    @cached_property
    def verdict(self) -> str:
        """`verdict: minimum: no way leads down …`, or that there is none."""
        found = statistics(self.profile, wanted={"verdict"}).get("verdict")
        if not found:
            return "verdict: not measured (scan with --only hessian)"
        return f"verdict: {found['kind']}: {found['reasons'][0]}"

    def place(self) -> tuple[float, ...] | None:
        """The coordinates of the lowest point; None without a finite one."""
        return lowest_of(self.shown[1])

    def label(self, axis: int) -> str:
        """Of an axis its direction's kind, normalisation and unit."""
        length = float(np.sqrt(self.record.gram[axis, axis]))
        told = cut(f"{'xy'[axis]}: {self._direction(axis)}", 60)
        return f"{told}, 1 = {length:.3g} in parameter distance"

    def _direction(self, axis: int) -> str:
        """`random direction 1 (filter norm, seed 0)`: of two that are made alike, with its number."""
        recipes = [*self.record.directions, {}, {}][:2]
        recipe: Mapping[str, Any] = recipes[axis]
        source = PurePath(str(recipe.get("from") or "")).name
        kind = f"{called(recipe)} {source}" if source else called(recipe)
        made = recipe.get("normalize")
        how = [] if made in (None, "none") else [f"{made} norm"]
        how += [] if recipe.get("seed") is None else [f"seed {recipe['seed']}"]
        which = f" {axis + 1}" if recipes[0].get("kind") == recipes[1].get("kind") == "random" else ""
        return f"{kind} direction{which}" + (f" ({', '.join(how)})" if how else "")


def lowest_of(surface: Surface) -> tuple[float, ...] | None:
    """The coordinates of a surface's lowest point; None without a finite one."""
    where = lowest(surface)
    if where is None:
        return None
    return tuple(float(axis.values[i]) for axis, i in zip(surface.axes, where, strict=True))


def told_apart(views: Sequence[View]) -> list[View]:
    """Of runs whose checkpoints are called alike each named with its file."""
    names = [view.name for view in views]
    return [replace(view, alike=names.count(view.name) > 1) for view in views]


def cut(text: str, most: int = LONG) -> str:
    """A name that moves no cursor and leaves room for the rest."""
    clean = plain(text)
    return clean if len(clean) <= most else f"{clean[: most - 1]}…"


def counted(split: str, centre: Centre) -> str:
    """`train, 1437 samples`."""
    return f"{cut(split)}, {centre.samples} samples"
