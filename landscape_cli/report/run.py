"""Run: a profile with its statistics, and how its numbers are written; Table: what a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from landscape_cli.profile import Estimate, Profile
from landscape_cli.report.numbers import estimate_text, plain


@dataclass(frozen=True)
class Table:
    """A title, column names, rows of text, a note below; and the section of the report that it belongs to."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]] = ()
    note: str = ""
    section: str = ""


@dataclass(frozen=True)
class Run:
    """A profile with the name of its file and its statistics.

    Attributes:
        sections: the parts that are shown; all where none is named.
    """

    file: str
    profile: Profile
    tree: Mapping[str, Any]
    sections: tuple[str, ...] = ()

    @property
    def parts(self) -> list[str]:
        """What can be shown alone: the tree's branches, and single planes."""
        return [*self.tree, *self.profile.planes]

    @property
    def shown(self) -> dict[str, Any]:
        """The branches of the tree that are asked for."""
        if not self.sections:
            return dict(self.tree)
        planes = {name: tree for name, tree in self.tree["planes"].items() if name in self.sections}
        kept = {name: tree for name, tree in self.tree.items() if name in self.sections}
        return {**({"planes": planes} if planes else {}), **kept}

    @property
    def lacking(self) -> list[str]:
        """The parts that are asked for and have not been measured."""
        return [name for name in self.sections if name in self.tree and self.tree[name] is None]

    def shows(self, table: Table) -> bool:
        """Whether a table is of a part that is asked for."""
        names = {table.section}
        names |= {"planes"} if table.section in self.profile.planes else set()
        names |= {"learning_rate"} if table.section == "hessian" else set()
        return not self.sections or not names.isdisjoint(self.sections)

    @property
    def measured(self) -> list[str]:
        """The sections of the full parameter space that are there."""
        return [name for name, section in self.profile.sections.items() if section.complete]

    def cell(self, value: Any) -> str:
        """A statistic, or whatever else stands in a table, as text."""
        if isinstance(value, Estimate):
            return estimate_text(value)
        return "" if value is None else plain(str(value))
