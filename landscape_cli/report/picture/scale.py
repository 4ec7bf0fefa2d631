"""Scale: how losses become heights on a picture. What it clips is clipped on the picture alone, never in the data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landscape_cli.profile import Floats, Surface

ABOVE = 1.05  # the height of what is above the scale
CURVED = 3.0  # highest over lowest loss beyond which the scale is logarithmic
FENCE = 3.0  # spreads above the median that are still drawn
SPREAD = 1.0  # decades: no landscape is taken for narrower
DECADES = 9.0  # beyond this the lower part alone is drawn; a lowest loss so far below the rest counts as 0
KEPT = 4.0  # decades of it
TINY = 1e-300  # a rise that leaves no room for round numbers

NORMAL, ABOVE_SCALE, NO_NUMBER, UNMEASURED = range(4)  # what a cell of the grid is


@dataclass(frozen=True)
class Scale:
    """Losses from `low` to `high` as heights from 0 to 1.

    Attributes:
        low, high: the ends; what is above `high` is drawn as such.
        offset: heights are logarithms of loss - offset; None where they are linear.
        highest: the highest loss there is, which may be above.
    """

    low: float
    high: float
    offset: float | None
    highest: float

    @property
    def clipped(self) -> bool:
        """Something lies above."""
        return self.highest > self.high

    @property
    def flat(self) -> bool:
        """All losses are one, or there is none."""
        return not self.high > self.low

    @property
    def kind(self) -> str:
        """What an axis says of it: logarithms are of the loss, or of its rise where that is 0 or below."""
        if self.offset is None:
            return ""
        return " (log scale)" if self.offset == 0 else " (log scale of its rise above the lowest)"

    def height(self, loss: Floats) -> Floats:
        """Losses as heights; NaN of what is no number, ABOVE of what is above, infinity too."""
        with np.errstate(all="ignore"):
            raised = self._raised(np.asarray(loss, dtype=np.float64))
            span = self._raised(np.asarray(self.high)) - self._raised(np.asarray(self.low))
            heights = (raised - self._raised(np.asarray(self.low))) / (span if span > 0 else 1.0)
        heights = np.where(np.isnan(loss) | (loss == -np.inf), np.nan, np.clip(np.nan_to_num(heights), 0.0, 1.0))
        over: Floats = np.where(loss > self.high, ABOVE, heights)
        return over

    def _raised(self, loss: Floats) -> Floats:
        return loss if self.offset is None else np.log(np.maximum(loss - self.offset, np.finfo(np.float64).tiny))

    def ticks(self, most: int = 9) -> list[float]:
        """Round losses within the ends: 1, 2 and 5, or more, times powers of ten where the scale is logarithmic."""
        if self.flat:
            return [self.low]
        if not TINY < self.high - self.low < math.inf:
            return [self.low, self.high]
        if self.offset is None or (self.low > 0 and self.high / self.low < 4):
            return _linear(self.low, self.high, most)
        if self.offset == 0:
            return _logarithmic(self.low, self.high, most)
        return self._raised_ticks(most)

    def _raised_ticks(self, most: int) -> list[float]:
        """Round losses at about 1, 2 and 5 times powers of ten above the lowest; of a narrow range at even steps."""
        rise, ends = self.high - self.low, max(abs(self.low), abs(self.high))
        steps = _logarithmic(1e-3 * max(rise, ends), rise, most - 1) if rise > 1e-2 * ends else []
        if len(steps) < 3:
            return _linear(self.low, self.high, most)
        near = [round(self.low + step, -math.floor(math.log10(step) + 1e-9)) + 0.0 for step in steps]
        first = [self.low] if float(f"{self.low:.3g}") == self.low else []
        return sorted({*first, *(tick for tick in near if self.low < tick <= self.high)})


def _linear(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * (1 - 1e-9))
    count = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [float(f"{k * step:.12g}") for k in count]


def _logarithmic(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3), (1,)):
        inside = [float(f"{f}e{k}") for k in range(first, last + 1) for f in factors]
        inside = [value for value in inside if low <= value <= high]
        if len(inside) <= most:
            return inside
    return inside[:: math.ceil(len(inside) / most)]


def scale_of(surfaces: Iterable[Floats], log: bool = True) -> Scale:
    """One scale for all of these losses: logarithmic where they span more than a factor of three.

    Where the highest lie far beyond the rest (a corner of 1e30), the scale ends before them.
    """
    linear, logarithmic = scales_of(surfaces)
    offset = logarithmic.offset or 0.0
    return logarithmic if log and linear.high - offset > CURVED * (linear.low - offset) else linear


def scales_of(surfaces: Iterable[Floats]) -> tuple[Scale, Scale]:
    """A linear and a logarithmic scale of the same ends; twice a linear one where there is no loss."""
    values = np.concatenate([np.asarray(loss).ravel() for loss in surfaces] or [np.zeros(0)])
    finite = np.sort(values[np.isfinite(values)])
    if not len(finite):
        nothing = Scale(0.0, 0.0, None, math.nan)
        return nothing, nothing
    low, highest = float(finite[0]), float(finite[-1])
    offset = 0.0 if _reached(finite) else low - _floor(finite)
    with np.errstate(over="ignore"):
        high = float(finite[_within(finite - offset)][-1])
    highest = math.inf if (values == np.inf).any() else highest
    return Scale(low, high, None, highest), Scale(low, high, offset, highest)


def _reached(finite: Floats) -> bool:
    """Whether a logarithmic scale of the losses themselves reaches the lowest: not where it is 0, or as good as."""
    if finite[0] <= 0:
        return False
    tenth = float(np.quantile(finite, 0.1, method="lower"))
    return math.log10(tenth) - math.log10(finite[0]) <= DECADES


def _floor(finite: Floats) -> float:
    """What a lowest loss that is as good as 0 counts on a logarithmic scale: a thousandth of the median's rise."""
    rise = float(np.median(finite)) - float(finite[0])
    return 1e-3 * rise if rise > 0 else 1.0


def _within(raised: Floats) -> NDArray[np.bool_]:
    """What is drawn: up to a fence of a few spreads above the median, both of the logarithms."""
    logs = np.log10(np.maximum(raised, np.finfo(np.float64).tiny))
    tenth, median = (float(q) for q in np.quantile(logs, (0.1, 0.5), method="lower"))
    fence = median + FENCE * max(SPREAD, median - tenth)
    if min(fence, float(logs[-1])) - tenth > DECADES:
        fence = tenth + KEPT
    drawn: NDArray[np.bool_] = logs <= fence
    return drawn


def cells(surface: Surface, scale: Scale) -> NDArray[np.int8]:
    """What each point is: NORMAL, ABOVE_SCALE (infinity too), NO_NUMBER (NaN, -infinity), UNMEASURED."""
    loss = surface.loss
    kinds = np.where(loss > scale.high, ABOVE_SCALE, NORMAL)
    kinds = np.where(np.isnan(loss) | (loss == -np.inf), NO_NUMBER, kinds)
    return np.where(surface.measured, kinds, UNMEASURED).astype(np.int8)


def edges(values: Floats) -> Floats:
    """[n + 1] where the cell of each grid coordinate begins and ends: half-way to its neighbours."""
    if len(values) == 1:
        return np.array([values[0] - 0.5, values[0] + 0.5])
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])
