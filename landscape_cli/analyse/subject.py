"""Subject: a run as the gate and comparisons see it, from its file or from its report."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from landscape_cli.analyse.comparable import BRANCHES, conditions
from landscape_cli.analyse.names import full_path, named
from landscape_cli.analyse.paths import numbers, words
from landscape_cli.analyse.statistics import statistics
from landscape_cli.profile import Estimate, Profile


@dataclass(frozen=True)
class Subject:
    """A run's statistics, and what decides whether they may be held against another's.

    Attributes:
        file: its name.
        tree: its statistics.
        conditions: by branch of the tree (`centre.train`, `planes.main.train`, `hessian`) what its numbers depend on.
        samples, groups: by branch, over how many samples, in how many groups of them.
        unfinished: the planes and sections that are not measured in full.
        argv: the command that made it; empty when it was no command.
    """

    file: str
    tree: Mapping[str, Any]
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    samples: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)
    unfinished: Collection[str] = ()
    argv: tuple[str, ...] = ()

    @cached_property
    def words(self) -> dict[str, str]:
        """Its texts by their full paths."""
        return dict(words(dict(self.tree)))

    @cached_property
    def numbers(self) -> dict[str, Estimate]:
        """Its numbers by their full paths."""
        return dict(numbers(dict(self.tree)))

    def path(self, name: str) -> str | None:
        """The full path of the number that a name means; None where the run has none."""
        return full_path(self.tree, name, self.numbers)

    def named(self, name: str, others: Iterable[str] = ()) -> tuple[str, Estimate]:
        """The full path and the number that a name means.

        Raises:
            LandscapeError: there is no such number; the nearest is named, of `others` too.
        """
        return named(self.tree, name, self.numbers, others)

    def pending(self, path: str) -> bool:
        """Whether what a full path is measured by is unfinished; of the checks, which speak of all, anything."""
        part = self.part(path)
        return part in self.unfinished or (part == "checks" and bool(self.unfinished))

    def branch(self, path: str) -> str:
        """The branch of the tree that a full path lies in."""
        head, *rest = path.split(".")
        return ".".join([BRANCHES.get(head, head), *rest[: {"centre": 1, "planes": 2}.get(head, 0)]])

    def part(self, path: str) -> str:
        """The plane or section that a full path is measured by; "" of the centre."""
        head, *rest = self.branch(path).split(".")
        return "" if head == "centre" else rest[0] if head == "planes" and rest else head

    def command(self, part: str) -> str:
        """What measures a part of it."""
        kept = _without(self.argv, AFTERWARDS)
        typed = shlex.join(kept) if kept else f"landscape scan JOB.toml -o {shlex.quote(self.file)}"
        return f"{typed} --only {part}" if part in SECTION_PARTS else typed


SECTION_PARTS = ("gradient", "hessian", "sharpness")


# Of a scan's flags those that measure nothing, and whether a value follows.
AFTERWARDS = {"--max-time": True, "--report": False, "--gate": True, "--baseline": True, "-q": False, "--quiet": False}


def _without(argv: Sequence[str], flags: Mapping[str, bool]) -> list[str]:
    """A command without some of its flags and their values."""
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in flags:
            kept.append(word)
        elif flags[name] and not equals:
            next(words, None)
    return kept


def of_profile(file: str, profile: Profile, wanted: Collection[str] = ()) -> Subject:
    """A run file's subject; of its statistics only the wanted branches and parts, where any is named."""
    tree, argv = statistics(profile, wanted=wanted), profile.provenance.argv
    return Subject(file, tree, conditions(profile), samples(profile), groups(profile), unfinished(profile), argv)


def unfinished(profile: Profile) -> list[str]:
    """The planes and sections that are not measured in full."""
    planes = [name for name, plane in profile.planes.items() if not plane.complete]
    return [*planes, *[name for name, section in profile.sections.items() if not section.complete]]


def groups(profile: Profile) -> dict[str, int]:
    """In how many groups of samples each branch is measured."""
    planes = {
        f"planes.{name}.{split}": surface.centre.group_sizes
        for name, plane in profile.planes.items()
        for split, surface in plane.surfaces.items()
    }
    sections = {name: s.arrays["group_sizes"] for name, s in profile.sections.items() if s.complete}
    sizes = {**{f"centre.{split}": c.group_sizes for split, c in profile.centre.items()}, **planes, **sections}
    return {branch: int(np.count_nonzero(size > 0)) for branch, size in sizes.items()}


def samples(profile: Profile) -> dict[str, int]:
    """How many samples each branch is measured over."""
    planes = {
        f"planes.{name}.{split}": surface.centre.samples
        for name, plane in profile.planes.items()
        for split, surface in plane.surfaces.items()
    }
    sections = {name: int(s.number("samples", 0)) for name, s in profile.sections.items() if s.complete}
    return {**{f"centre.{split}": c.samples for split, c in profile.centre.items()}, **planes, **sections}
