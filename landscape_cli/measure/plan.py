"""Plan: how points are evaluated. It is stored, and a resumed run uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from landscape_cli.errors import LandscapeError

COUNTS = ("batch", "points_per_pass", "threads", "workers")


@dataclass(frozen=True)
class Plan:
    """How points are evaluated.

    Attributes:
        strategy: a name of STRATEGIES.
        batch: samples per pass.
        points_per_pass: weight points per pass.
        threads: of the CPU.
        workers: batches that are measured at a time, each on its share of the threads; what keeps one kernel from
            using them all (an LSTM's steps, say) keeps none of several idle.
        channels_last: whether images are laid out with their channels last.
        why: the measured times by which it was chosen.
    """

    strategy: str
    batch: int
    points_per_pass: int
    threads: int
    channels_last: bool = False
    workers: int = 1
    why: str = ""

    @property
    def threads_each(self) -> int:
        """The threads of each worker; of the caller too, whose own would spin on the cores of the others."""
        return max(1, self.threads // self.workers)

    def as_dict(self) -> dict[str, Any]:
        """For the run file."""
        return asdict(self)

    @classmethod
    def stored(cls, plan: Mapping[str, Any], known: list[str]) -> Plan:
        """The plan of an unfinished run; `known` are the strategies there are.

        Raises:
            LandscapeError: it is none.
        """
        plan = {"workers": 1, **plan}
        counts = [plan.get(name) for name in COUNTS]
        if plan.get("strategy") not in known or not all(isinstance(n, int) and 0 < n < 2**31 for n in counts):
            raise LandscapeError("the run file holds no plan to resume by", "measure anew with --force")
        batch, points, threads, workers = (int(plan[name]) for name in COUNTS)
        last = plan.get("channels_last") is True
        return cls(str(plan["strategy"]), batch, points, threads, last, workers, str(plan.get("why", "")))

    def halved(self) -> Plan | None:
        """The next smaller pass: fewer points, then fewer samples; None where there is none."""
        if self.points_per_pass > 1:
            return replace(self, points_per_pass=self.points_per_pass // 2)
        return replace(self, batch=self.batch // 2) if self.batch > 1 else None

    def same_numbers(self, other: Mapping[str, Any]) -> bool:
        """True if a stored plan gives the same numbers to the bit."""
        return {k: v for k, v in self.as_dict().items() if k != "why"} == {k: v for k, v in other.items() if k != "why"}

    def __str__(self) -> str:
        points = f"{self.points_per_pass} point{'s' if self.points_per_pass > 1 else ''} per pass"
        more = (", channels last" if self.channels_last else "") + (
            f", {self.workers} workers" if self.workers > 1 else ""
        )
        return f"{self.strategy}, {points}, {self.batch} samples per batch, {self.threads} threads{more}"
