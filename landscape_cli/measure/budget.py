"""Budget: when a section is to stop, asked to from outside or because its time is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from landscape_cli.profile import Floats
from landscape_cli.section import Measured

Ask = Callable[[int], bool]  # told how many steps were taken; true asks to stop


class Budget:
    """What a section may spend. `wanted` and `late` are for good: of the whole section, and of its present part."""

    def __init__(self, ask: Ask, seconds: float | None = None) -> None:
        self._ask = ask
        self._end = math.inf if seconds is None else time.monotonic() + seconds
        self._part_end = self._end
        self.wanted = False  # asked to stop
        self.late = False  # the present part has run out of time
        self.steps = 0

    def part(self, last: bool = False) -> None:
        """A part begins: it may take half of the time that is left, the last one all of it."""
        now = time.monotonic()
        self._part_end = self._end if last or math.isinf(self._end) else now + (self._end - now) / 2
        self.late = now >= self._end

    def __call__(self, count: int = 0) -> bool:
        """One step more, whatever their count; true if the part is to stop."""
        return self.spend(1)

    def spend(self, steps: int) -> bool:
        """So many steps more; true if the part is to stop."""
        self.steps += steps
        self.wanted = self._ask(steps) or self.wanted
        self.late = self.late or time.monotonic() >= self._part_end
        return self.stopped

    @property
    def stopped(self) -> bool:
        """Asked to stop, or late."""
        return self.wanted or self.late


class StoppedError(Exception):
    """A part was told to stop, and leaves nothing."""


def measured_in_time(parts: Mapping[str, Callable[[], Measured]], budget: Budget) -> Measured | None:
    """Arrays and facts of the parts, one after the other; None where they were asked to stop.

    A part may take half of the time that is left, the last one all of it; the fact `out_of_time` names those that it
    did not suffice for. The first is begun whatever the time.
    """
    arrays: dict[str, Floats] = {}
    facts: dict[str, Any] = {}
    late = []
    for count, (name, part) in enumerate(parts.items(), 1):
        budget.part(last=count == len(parts))
        try:
            measured, told = part() if count == 1 or not budget.late else ({}, {})
        except StoppedError:
            measured, told = {}, {}
        if budget.wanted:
            return None
        arrays, facts = {**arrays, **measured}, {**facts, **told}
        late += [name] if budget.late else []
    return arrays, {**facts, "out_of_time": late}
