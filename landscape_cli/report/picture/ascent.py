"""How far the loss rises, step by step, on the ascents that look for sharpness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape_cli.analyse.neighbourhood import sharpness_statistics
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.profile import Floats
from landscape_cli.report.legend import unit
from landscape_cli.report.numbers import estimate_text
from landscape_cli.report.picture.theme import Theme, number, number_from, panels, words
from landscape_cli.report.picture.view import View, cut
from landscape_cli.section import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (7.4, 4.6)
STEP = "ascent step (0: the checkpoint, or a random point of the border)"


def ascent(figure: Figure, views: Sequence[View], theme: Theme) -> None:
    """The rise at every step of every start, by neighbourhood."""
    found = [curves_of(view.section("sharpness")) for view in views]
    for view, curves in zip(views, found, strict=True):
        if not curves:
            raise view.lacks("ascents", "landscape scan ... --only sharpness")
    axes = panels(figure, views, SIZE, sharey=True)
    least = least_of(found)
    for panel, curves in zip(axes, found, strict=True):
        _panel(panel, curves, theme)
        if least is not None:
            panel.set_yscale("symlog", linthresh=least)
        panel.yaxis.set_major_formatter(number_from(least))
        panel.set_ylabel("rise of the loss" + (f" (log scale above {number(least)})" if least is not None else ""))
    keys = [handle for panel in axes for handle in panel.get_legend_handles_labels()[0]]
    notes = ["a line for each start; the highest point is a lower bound of the maximum in the neighbourhood"]
    broken = any(not np.isfinite(curve).all() for curves in found for curve in curves.values())
    notes += ["a line that ends is not finite there"] if broken else []
    titles = [view.section_title("sharpness", "sharpness ascents") for view in views]
    reached = [(f"{view.name}: " if len(views) > 1 else "") + highest_of(view.section("sharpness")) for view in views]
    words(figure, views, titles, [*reached, "; ".join(notes)], keys)


def highest_of(section: Section) -> str:
    """What a report says of each neighbourhood: its highest rise, the unit, whether the ascents have converged."""
    tree, arrays = sharpness_statistics(section), section.arrays
    told = [estimate_text(tree[ball][ITSELF]) for ball in ("worst_adaptive", "worst") if f"{ball}_curves" in arrays]
    if "keskar_curves" in arrays:
        told += [f"{estimate_text(box[ITSELF])} in {unit('sharpness.keskar')}" for box in tree["keskar"]]
    return "highest rise: " + "; ".join(f"{name}: {text}" for name, text in zip(curves_of(section), told, strict=False))


def curves_of(section: Section) -> dict[str, Floats]:
    """{neighbourhood: (starts, steps) rise of the loss}."""
    arrays, asked = section.arrays, section.settings
    found = {
        f"adaptive ball, ρ = {asked.get('adaptive_rho', '?')}": arrays.get("worst_adaptive_curves"),
        f"ball, ρ = {asked.get('rho', '?')}": arrays.get("worst_curves"),
    }
    boxes = arrays.get("keskar_curves")
    sizes = asked.get("keskar")
    for i, box in enumerate([] if boxes is None else boxes):
        size = sizes[i] if isinstance(sizes, list) and i < len(sizes) else "?"
        found[f"box, ε = {size}"] = box
    return {cut(name): curves for name, curves in found.items() if curves is not None}


def rises_of(found: Sequence[dict[str, Floats]]) -> Floats:
    """Every finite rise of all runs."""
    rises = [curve[np.isfinite(curve)] for curves in found for curve in curves.values()]
    return np.concatenate([np.zeros(0), *rises])


def steep(rises: Floats, share: float = 0.5) -> bool:
    """That share of them, the lower ones, are told apart on a logarithmic scale alone."""
    rises = rises[rises > 0]
    return bool(len(rises)) and bool(rises.max() > 30 * np.quantile(rises, share))


def least_of(found: Sequence[dict[str, Floats]]) -> float | None:
    """Where a log scale begins, a hundredth of what the flattest neighbourhood reaches; None where none is needed."""
    if not steep(rises_of(found), 0.1):
        return None
    reached = [rises_of([{name: curve}]).max(initial=0.0) for curves in found for name, curve in curves.items()]
    return float(f"{min(rise for rise in reached if rise > 0) / 100:.1g}")


def _panel(panel: Axes, curves: dict[str, Floats], theme: Theme) -> None:
    for i, (name, starts) in enumerate(curves.items()):
        style: dict[str, Any] = {"color": theme.line(i), "lw": 1.5, "alpha": 0.9, "ls": ("-", "--", "-.", ":")[i % 4]}
        for k, rise in enumerate(starts):
            panel.plot(
                range(len(rise)), np.where(np.isfinite(rise), rise, np.nan), label=name if not k else None, **style
            )
        best = np.unravel_index(int(np.argmax(np.nan_to_num(starts, nan=-np.inf, posinf=-np.inf))), starts.shape)
        panel.scatter(best[1], starts[best], color=theme.line(i), s=28, zorder=5)
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.set_xlabel(STEP)
    panel.grid(True)
