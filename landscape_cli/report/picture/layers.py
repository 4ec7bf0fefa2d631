"""The gradient of each parameter tensor, beside its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse.gradient import EXPLODING, VANISHING, gradient_statistics
from landscape_cli.profile import Floats
from landscape_cli.report.picture.scale import Scale
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
    known = np.concatenate([bars.positive for bars in found]).tolist() or [1.0]
    for panel, bars in zip(axes, found, strict=True):
        _panel(panel, bars, theme, (min(known) / 1.6, max(known) * 1.25))
    left = sum(bars.left_out for bars in found)
    notes = [f"{NOTE.replace('orange', 'orange, hatched')}; the bars are logarithms"]
    notes += [f"{left} more tensors are left out, those nearest the median"] if left else []
    told = ["; ".join(notes), noise_of(views)]
    words(figure, views, [view.section_title("gradient", "gradient by layer") for view in views], told)


def noise_of(views: Sequence[View]) -> str:
    """That the norms are partly noise, where the data cannot tell a gradient from it."""
    scales = [gradient_statistics(view.section("gradient"))["noise_scale"] for view in views]
    unsure = [
        view.name for view, scale in zip(views, scales, strict=True) if scale.bound != "exact" or scale.value is None
    ]
    whose = f" of {', '.join(unsure)}" if len(views) > 1 else ""
    return f"the norms{whose} hold the noise of the samples: these cannot tell the gradient from 0" if unsure else ""


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
    place, ratios = np.arange(len(bars.ratios)), np.array(bars.ratios)
    shown = np.isfinite(ratios) & (ratios > 0)
    panel.set(xscale="log", xlim=ends)
    style: dict[str, Any] = {
        "color": [theme.line(int(o)) for o in bars.odd],
        "hatch": ["////" if o else "" for o in bars.odd],
    }
    panel.barh(place, np.where(shown, ratios - ends[0], 0.0), left=ends[0], height=0.72, ec=theme.page, lw=0, **style)
    if bars.median > 0:
        panel.axvline(bars.median, color=theme.ink, lw=1.1, ls=":")
    for i, ratio in enumerate(bars.ratios):
        if not ratio > 0:
            text = " gradient 0" if ratio == 0 else " weights 0"
            panel.annotate(text, (ends[0], i), fontsize=7, va="center", color=theme.faint)
    panel.set_yticks(place, labels=bars.names, fontsize=7.5)
    panel.set_ylim(len(ratios) - 0.4, -0.6)
    panel.set_xlabel(RATIO.replace(")", ", log scale)"), fontsize=8.5)
    panel.set_xticks(Scale(*ends, 0.0, ends[1]).ticks(7))
    panel.xaxis.set_major_formatter(lambda value, _: number(value))
    panel.xaxis.set_minor_formatter(lambda value, _: "")
    panel.grid(True, axis="x")
