"""Run: a profile with its statistics, and how its numbers are written; Table: what a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from landscape_cli.profile import Estimate, Profile
from landscape_cli.report.numbers import estimate_text, plain

MEASURED_WITH = {"verdict": "hessian", "learning_rate": "hessian"}  # parts that come with a section of another name


@dataclass(frozen=True)
class Table:
    """A title, column names, rows of text, a note below.

    Attributes:
        section: the part of the report that it belongs to; a plane's is `planes.NAME`.
        keys: how many of the first columns say what a row is.
        gloss: the columns that the last one, a text, needs to be read; 0 where it is none.
        spare: whether such a text may be left out.
    """

    title: str
    columns: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    note: str = ""
    section: str = ""
    keys: int = 1
    gloss: int = 24
    spare: bool = True


@dataclass(frozen=True)
class Run:
    """A profile with the name of its file and its statistics.

    Attributes:
        sections: the parts that are shown; all where none is named.
        full: show every number, not only those that a person compares.
        confidence, persistence: what was asked for; None and 0 where nothing was.
    """

    file: str
    profile: Profile
    tree: Mapping[str, Any]
    sections: tuple[str, ...] = ()
    full: bool = False
    confidence: float | None = None
    persistence: float = 0.0

    @property
    def parts(self) -> list[str]:
        """What can be shown alone: the tree's branches, and planes; one called like a branch by `planes.NAME`."""
        planes = self.profile.planes
        return [*self.tree, *(n for n in planes if n not in self.tree), *(f"planes.{n}" for n in planes)]

    @property
    def shown(self) -> dict[str, Any]:
        """The branches of the tree that are asked for."""
        if not self.sections:
            return dict(self.tree)
        planes = {name: tree for name, tree in self.tree["planes"].items() if self.shows(f"planes.{name}")}
        kept = {name: tree for name, tree in self.tree.items() if name in self.sections}
        return {**({"planes": planes} if planes else {}), **kept}

    def shows(self, section: str) -> bool:
        """Whether a part is asked for."""
        plane = section.removeprefix("planes.")
        alone = plane != section and plane in self.sections and plane not in self.tree
        every = plane != section and "planes" in self.sections
        return not self.sections or section in self.sections or alone or every

    @property
    def lacking(self) -> list[str]:
        """The parts that are asked for and have not been measured."""
        return [name for name in self.sections if name in self.tree and self.tree[name] is None]

    def how(self, part: str) -> str:
        """What to do for a part that is not measured."""
        section = MEASURED_WITH.get(part, part)
        if section in self.profile.sections and section not in self.measured:
            return f"unfinished: rerun the command that `landscape info {self.file}` shows"
        return f"scan again with --only {section}"

    @property
    def measured(self) -> list[str]:
        """The sections of the full parameter space that are there."""
        return [name for name, section in self.profile.sections.items() if section.complete]

    def cell(self, value: Any) -> str:
        """A statistic, or whatever else stands in a table, as text."""
        if isinstance(value, Estimate):
            return estimate_text(value)
        return "" if value is None else plain(str(value))
