"""The gradient of each parameter tensor, beside its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
NOTE = f"dotted: the median; orange: vanishing (below {VANISHING:g} of it) or exploding (above {EXPLODING:g})"


@dataclass(frozen=True)
class Bars:
    """Of each tensor ‖∇‖/‖w‖, NaN where ‖w‖ is 0, in the model's order; and the median of all."""

    names: list[str]
    ratios: list[float]
    left_out: int

    @property
    def median(self) -> float:
        """Of the finite ratios; NaN where there is none."""
        known = np.array([ratio for ratio in self.ratios if np.isfinite(ratio)])
        return float(np.median(known)) if len(known) else float("nan")

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
    """A bar for each tensor on a log scale; those that vanish or explode beside the median are of another colour."""
    found = [bars_of(view) for view in views]
    rows = max(len(bars.names) for bars in found)
    axes = panels(figure, views, (7.4, max(2.6, 1.0 + ROW * rows)), sharex=True)
    for panel, bars in zip(axes, found, strict=True):
        _panel(panel, bars, theme)
    left = sum(bars.left_out for bars in found)
    notes = [NOTE]
    notes += [f"{left} more tensors are left out, those nearest the median"] if left else []
    words(figure, views, [view.section_title("gradient", "gradient by layer") for view in views], ["; ".join(notes)])


def bars_of(view: View) -> Bars:
    """The tensors; of more than fit those farthest from the median."""
    layers = gradient_statistics(view.section("gradient"))["per_layer"]
    names = [cut(layer["name"], 34) for layer in layers]
    ratios = [float("nan") if layer["ratio"].value is None else float(layer["ratio"].value) for layer in layers]
    everything = Bars(names, ratios, 0)
    if len(names) <= MOST:
        return everything
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.abs(np.log(np.array(ratios) / everything.median))
    kept = sorted(np.argsort(-np.nan_to_num(far, nan=np.inf), kind="stable")[:MOST].tolist())
    return Bars([names[i] for i in kept], [ratios[i] for i in kept], len(names) - MOST)


def _panel(panel: Axes, bars: Bars, theme: Theme) -> None:
    ratios, positive = np.array(bars.ratios), bars.positive
    place = np.arange(len(ratios))
    if len(positive):
        floor = float(positive.min()) / 3
        colours = [theme.line(1 if o else 0) for o in bars.odd]
        shown = np.where(np.isfinite(ratios) & (ratios > 0), ratios, floor)
        panel.barh(place, shown - floor, left=floor, color=colours, height=0.72)
        panel.set(xscale="log", xlim=(floor, float(positive.max()) * 2))
        panel.axvline(bars.median, color=theme.ink, lw=0.9, ls=":")
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
