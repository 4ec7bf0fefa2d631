"""The gradient of each parameter tensor, beside its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse.gradient import EXPLODING, VANISHING, gradient_statistics
from landscape_cli.profile import Floats
from landscape_cli.report.picture.theme import Theme, number, panels, words
from landscape_cli.report.picture.view import View, cut

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 60  # tensors
ROW = 0.19  # inches
RATIO = "‖gradient‖ / ‖weights‖ (loss / parameter distance²)"
ODD = f"vanishing (below {VANISHING:g} of it) or exploding (above {EXPLODING:g})"
NOTE = f"dotted: the median; orange: {ODD}"


@dataclass(frozen=True)
class Bars:
    """Of each tensor ‖∇‖/‖w‖, NaN where ‖w‖ is 0, in the model's order; the median of all, NaN where there is none."""

    names: list[str]
    ratios: list[float]
    median: float
    left_out: int = 0

    @property
    def base(self) -> float:
        """Where the bars begin: the median, or the least that a logarithm has where that is 0; NaN where none is."""
        return self.median if self.median > 0 else min(self.positive, default=float("nan"))

    @property
    def odd(self) -> NDArray[np.bool_]:
        """Which of them vanish or explode beside the median."""
        ratios = np.array(self.ratios)
        return (ratios < VANISHING * self.median) | (ratios > EXPLODING * self.median)

    @property
    def positive(self) -> Floats:
        """Those that have a logarithm."""
        return np.array([ratio for ratio in self.ratios if 0 < ratio < np.inf])


def gradient(figure: Figure, views: Sequence[View], theme: Theme) -> None:
    """A bar for each tensor from the median, on a log scale; those that vanish or explode are of another colour."""
    found = [bars_of(view) for view in views]
    rows = max(len(bars.names) for bars in found)
    axes = panels(figure, views, (7.4, max(2.6, 1.0 + ROW * rows)), sharex=True)
    known = [ratio for bars in found for ratio in (*bars.ratios, bars.base) if 0 < ratio < np.inf] or [1.0]
    for panel, bars in zip(axes, found, strict=True):
        _panel(panel, bars, theme, (min(known) / 1.6, max(known) * 1.6))
    left = sum(bars.left_out for bars in found)
    notes = [f"bars begin at the median; orange, hatched: {ODD}"]
    notes += [f"{left} more tensors are left out, those nearest the median"] if left else []
    words(figure, views, [view.section_title("gradient", "gradient by layer") for view in views], ["; ".join(notes)])


def bars_of(view: View) -> Bars:
    """The tensors; of more than fit those farthest from the median."""
    layers = gradient_statistics(view.section("gradient"))["per_layer"]
    names = [cut(layer["name"], 34) for layer in layers]
    ratios = [float("nan") if layer["ratio"].value is None else float(layer["ratio"].value) for layer in layers]
    finite = [ratio for ratio in ratios if np.isfinite(ratio)]
    median = float(np.median(finite)) if finite else float("nan")
    if len(names) <= MOST:
        return Bars(names, ratios, median)
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.abs(np.log(np.array(ratios) / median))
    kept = sorted(np.argsort(-np.nan_to_num(far, nan=np.inf), kind="stable")[:MOST].tolist())
    return Bars([names[i] for i in kept], [ratios[i] for i in kept], median, len(names) - MOST)


def _panel(panel: Axes, bars: Bars, theme: Theme, ends: tuple[float, float]) -> None:
    ratios, base = np.array(bars.ratios), bars.base
    place = np.arange(len(ratios))
    panel.set(xscale="log", xlim=ends)
    if base > 0:
        reach = np.where(np.isfinite(ratios) & (ratios > 0), ratios, base) - base
        style: dict[str, Any] = {
            "color": [theme.line(int(o)) for o in bars.odd],
            "hatch": ["////" if o else "" for o in bars.odd],
        }
        panel.barh(place, reach, left=base, height=0.72, edgecolor=theme.page, lw=0, **style)
        panel.axvline(base, color=theme.ink, lw=0.9)
    for i, ratio in enumerate(bars.ratios):
        if not ratio > 0:
            text = " gradient 0" if ratio == 0 else " weights 0"
            panel.annotate(text, (panel.get_xlim()[0], i), fontsize=7, va="center", color=theme.faint)
    panel.set_yticks(place, labels=bars.names, fontsize=7.5)
    panel.set_ylim(len(ratios) - 0.4, -0.6)
    panel.set_xlabel(RATIO.replace(")", ", log scale)"), fontsize=8.5)
    panel.xaxis.set_major_formatter(lambda value, _: number(value))
    panel.xaxis.set_minor_formatter(lambda value, _: "")
    panel.grid(True, axis="x")
