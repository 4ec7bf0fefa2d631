"""The numbers of a run as tables, and whether they meet the goals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from ceilings import Ceilings
from contenders import LIBRARY, LOOP, LOOP_2, PLAIN
from timing import GRID, Sample
from variants import PLANNER
from workloads import Workload

SHARE, SECONDS = "share of the ceiling", "seconds for 51×51 points"
REGRET, ERROR, CPU_ERROR = "planner's regret", "error against float64", "error against the CPU"
AT_MOST = (SECONDS, REGRET, ERROR, CPU_ERROR)  # goals that are limits; of the others, more is better
COMMON = {REGRET: 0.10, ERROR: 2e-5}  # of every workload

# By device and workload: how many times faster than a baseline the planner's choice must be, and other figures.
GOALS: dict[str, dict[str, dict[str, float]]] = {
    "cpu": {
        "resnet20": {LOOP: 1.85, LOOP_2: 2.5, LIBRARY: 3.5, PLAIN: 1.6, SHARE: 0.9},
        "resnet56": {LOOP: 1.85, LOOP_2: 2.5, LIBRARY: 3.5, PLAIN: 1.6},
        "mlp": {LOOP: 12, LOOP_2: 100, LIBRARY: 2, PLAIN: 2},
        "cnn": {LOOP: 4.8, LOOP_2: 25, LIBRARY: 3, PLAIN: 3.2},
        "transformer": {LOOP: 1.4, LOOP_2: 2.5, LIBRARY: 1.4, PLAIN: 1.35},
        "lstm": {LOOP: 1.4, LOOP_2: 2.5, LIBRARY: 1.4, PLAIN: 1.25},
    },
    "cuda": {
        "resnet20-10000": {LOOP: 30, SHARE: 0.5, SECONDS: 40, CPU_ERROR: 1e-5},
        "mlp": {SECONDS: 2, CPU_ERROR: 1e-5},
    },
}


@dataclass(frozen=True)
class Row:
    """One contender: its rounds, and the largest relative error of its losses."""

    name: str
    setting: str
    ours: bool
    rounds: Sequence[Sample]
    error: float

    @property
    def costs(self) -> list[float]:
        """Seconds per point, round by round."""
        return [found.cost for found in self.rounds]

    @property
    def seconds(self) -> float:
        """Per point, the median of the rounds."""
        return median(self.costs)


@dataclass(frozen=True)
class Result:
    """One workload: its contenders side by side, the least time of a point, notes on who is missing."""

    workload: Workload
    rows: Sequence[Row]
    floor: float
    notes: Sequence[str]
    cpu_error: float | None = None

    @property
    def chosen(self) -> Row:
        """The planner's choice."""
        return next(row for row in self.rows if row.name == PLANNER)

    def ratio(self, row: Row) -> float:
        """How many times as long as the planner's choice: the median of the rounds' ratios."""
        return median(theirs / ours for theirs, ours in zip(row.costs, self.chosen.costs, strict=True))

    def figures(self) -> dict[str, float]:
        """What goals are about, by name."""
        others = [row for row in self.rows if row.ours and row.setting != self.chosen.setting]
        figures = {row.name: self.ratio(row) for row in self.rows if not row.ours}
        figures[SHARE], figures[SECONDS] = self.floor / self.chosen.seconds, GRID * self.chosen.seconds
        figures[ERROR] = worst([row.error for row in self.rows if row.ours])
        figures[REGRET] = max([0.0, *(1 / self.ratio(row) - 1 for row in others)])
        return figures if self.cpu_error is None else {**figures, CPU_ERROR: self.cpu_error}


def worst(errors: Sequence[float]) -> float:
    """The largest; NaN where any is."""
    return math.nan if any(math.isnan(error) for error in errors) else max(errors)


def disagreeing(result: Result) -> list[str]:
    """Settings of the engine whose losses are not those of float64."""
    return [row.name for row in result.rows if row.ours and not row.error <= COMMON[ERROR]]


def table(result: Result, device: str) -> str:
    """The contenders of one workload."""
    head = ["", "setting", "ms per point", "min–max", "× planner's", "share of ceiling", "first pass ms", "error"]
    rows = [_cells(result, row) for row in result.rows]
    if device == "cuda":
        head.append("peak MiB")
        rows = [[*cells, f"{_peak(row):.0f}"] for cells, row in zip(rows, result.rows, strict=True)]
    notes = [f"- not measured: {note}" for note in result.notes]
    parts = [f"## {result.workload.title}", f"{result.workload.origin[0].upper()}{result.workload.origin[1:]}."]
    return "\n\n".join([*parts, markdown(head, rows), *(["\n".join(notes)] if notes else [])])


def _cells(result: Result, row: Row) -> list[str]:
    spread = f"{number(1000 * min(row.costs))}–{number(1000 * max(row.costs))}"
    prepared = number(1000 * median(found.preparation for found in row.rounds))
    share = f"{100 * result.floor / row.seconds:.0f} %"
    ratio = f"{result.ratio(row):.2f}"
    return [row.name, row.setting, number(1000 * row.seconds), spread, ratio, share, prepared, f"{row.error:.1e}"]


def _peak(row: Row) -> float:
    return max(found.memory for found in row.rounds) / 2**20


def goals_table(results: Sequence[Result], device: str) -> str:
    """Every goal of the workloads that were measured, what was reached, and whether that is enough."""
    rows = []
    for result in results:
        figures = result.figures()
        for what, goal in (GOALS[device].get(result.workload.name, {}) | COMMON).items():
            sign, reached = "≤" if what in AT_MOST else "≥", figures.get(what)
            met = "not measured" if reached is None else "yes" if _met(what, goal, reached) else "no"
            shown = "" if reached is None else number(reached)
            rows.append([result.workload.name, _named(what), f"{sign} {number(goal)}", shown, met])
    return markdown(["workload", "figure", "goal", "reached", "met"], rows)


def _met(what: str, goal: float, reached: float) -> bool:
    return reached <= goal if what in AT_MOST else reached >= goal


def _named(what: str) -> str:
    return f"times faster than {what}" if what in (LOOP, LOOP_2, LIBRARY, PLAIN) else what


def ceilings_table(ceilings: Ceilings) -> str:
    """The measured rates."""
    rows = [
        ["large fp32 matrix product", f"{ceilings.product / 1e9:.0f} GFLOP/s", ""],
        ["copy, bytes read and written", f"{ceilings.copy / 1e9:.1f} GB/s", ""],
    ]
    for shape, best in sorted(ceilings.convolutions.items(), key=lambda item: (-item[0].size, item[0].outputs)):
        rows.append([str(shape), f"{best.rate / 1e9:.0f} GFLOP/s", f"batch {best.batch}, {best.layout}"])
    return markdown(["", "best measured rate", "at"], rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns line up."""
    lines = [list(head), *[list(row) for row in rows]]
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
