"""The Hessian's eigenvalues at the checkpoint: its spectral density where that was measured, else both ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape_cli.analyse.hessian import hessian_statistics
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.profile import Estimate, Floats
from landscape_cli.report.numbers import estimate_text
from landscape_cli.report.picture.theme import Theme, number, number_from, panels, words
from landscape_cli.report.picture.view import View
from landscape_cli.section import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (7.4, 4.6)
WIDTH = 100.0  # of the window over a node's: how fine the density is drawn
DEEP = 1e-9  # of the density's highest value: what is drawn of it
ROW = 0.3  # inches, of a bar
DENSER = "density: scan with --set hessian.density=true"
UNIT = "eigenvalue (loss / parameter distance²)"


def spectrum(figure: Figure, views: Sequence[View], theme: Theme) -> None:
    """Density over eigenvalues on a log scale, with the extreme ones labelled; without a density these alone."""
    sections = [view.section("hessian") for view in views]
    dense = all("density_nodes" in section.arrays for section in sections)
    axes = panels(figure, views, SIZE if dense else (SIZE[0], high_of(sections)), sharex=True, sharey=dense)
    window, least = window_of(sections), spread_of(sections)
    top = top_of(sections, window) if dense else 1.0
    for panel, section in zip(axes, sections, strict=True):
        if dense:
            _density(panel, section, window, top, theme)
        else:
            _ends(panel, section, least, theme)
        panel.grid(True, axis="y" if dense else "x")
    notes = [f"{'labelled' if dense else 'bars'}: the eigenvalues found by Lanczos, ± 1 standard error"]
    notes += [f"density: stochastic Lanczos, drawn with a width of 1/{WIDTH:.0f} of the window" if dense else DENSER]
    words(figure, views, [view.section_title("hessian", "Hessian spectrum") for view in views], ["; ".join(notes)])


def high_of(sections: Sequence[Section]) -> float:
    """Inches of the panels where the longest list of bars has its rows."""
    return max(SIZE[1], 1.0 + ROW * max(len(found_ends(section)) for section in sections))


def extremes(section: Section) -> list[tuple[str, Estimate]]:
    """The eigenvalues found at both ends, named λ1, λ2, … from the top and λP, λP-1, … from the bottom."""
    tree = hessian_statistics(section)
    top = [(f"λ{i + 1}", entry[ITSELF]) for i, entry in enumerate(tree["top"])]
    below = [(f"λP{f'-{i}' if i else ''}", entry[ITSELF]) for i, entry in enumerate(tree["bottom"])]
    return [(name, found) for name, found in [*top, *reversed(below)] if found.value is not None]


def density_of(section: Section, window: tuple[float, float], points: int = 1200) -> tuple[Floats, Floats]:
    """The eigenvalues of the window and the density there: each node a Gaussian, the mean over starts."""
    grid = np.linspace(*window, points)
    nodes, weights = section.arrays["density_nodes"], section.arrays["density_weights"]
    width = (window[1] - window[0]) / WIDTH
    used = np.isfinite(nodes) & (weights > 0)
    apart = (grid[:, None] - np.where(used, nodes, 0.0).ravel()) / width
    each = np.exp(-0.5 * apart**2) / (width * np.sqrt(2 * np.pi))
    return grid, each @ np.where(used, weights, 0.0).ravel() / len(nodes)


def window_of(sections: Sequence[Section]) -> tuple[float, float]:
    """What all of them fit in, with a margin."""
    arrays = [
        s.arrays[name].ravel() for s in sections for name in ("top", "bottom", "density_nodes") if name in s.arrays
    ]
    values = np.concatenate(arrays)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    margin = 0.06 * (high - low) or max(1e-12, 0.1 * abs(high))
    return low - margin, high + margin


def top_of(sections: Sequence[Section], window: tuple[float, float], points: int = 1200) -> float:
    """The highest density of all of them."""
    return max(float(density_of(section, window, points)[1].max()) for section in sections) or 1.0


def _density(panel: Axes, section: Section, window: tuple[float, float], top: float, theme: Theme) -> None:
    grid, density = density_of(section, window)
    panel.fill_between(grid, top * DEEP, np.maximum(density, top * DEEP), color=theme.line(0), alpha=0.3, lw=0)
    panel.plot(grid, np.maximum(density, top * DEEP), color=theme.line(0), lw=1.3)
    panel.set(yscale="log", ylim=(top * DEEP, top * 300), xlim=window, xlabel=UNIT, ylabel="density (log scale)")
    for which, formatter in (("x", number), ("y", number)):
        getattr(panel, f"{which}axis").set_major_formatter(lambda value, _, f=formatter: f(value))
    panel.yaxis.set_minor_formatter(lambda value, _: "")
    _labelled(panel, extremes(section), window, top, theme)


def _labelled(
    panel: Axes, found: list[tuple[str, Estimate]], window: tuple[float, float], top: float, theme: Theme
) -> None:
    """A tick at each extreme eigenvalue, its label at the first height where it covers no other."""
    ends: list[float] = [-np.inf] * 4
    span = window[1] - window[0]
    for name, estimate in sorted(found, key=lambda pair: float(pair[1].value or 0.0)):
        value = float(estimate.value or 0.0)
        panel.plot([value, value], [top * DEEP, top * 2], color=theme.line(1), lw=0.9, ls=(0, (3, 2)))
        text = f"{name} = {estimate_text(estimate)}"
        width = 0.0105 * span * len(text)
        left = min(max(value - width / 2, window[0] + 0.01 * span), window[1] - width)
        row = next((k for k, end in enumerate(ends) if left > end), None)
        if row is not None:
            ends[row] = left + width
            panel.text(left, top * 3 * 3.2**row, text, fontsize=7.5, color=theme.line(1))


def spread_of(sections: Sequence[Section]) -> float | None:
    """The least eigenvalue that a symmetric log scale of all of them tells from 0; None where they need none."""
    sizes = np.abs([value for section in sections for _, value, _ in found_ends(section) if value])
    return float(sizes.min()) if len(sizes) and sizes.max() > 30 * sizes.min() else None


def found_ends(section: Section) -> list[tuple[str, float, Estimate]]:
    """Name, value and estimate of the finite eigenvalues at both ends."""
    found = [(name, float(e.value or 0.0), e) for name, e in extremes(section)]
    return [(name, value, e) for name, value, e in found if np.isfinite(value)]


def _ends(panel: Axes, section: Section, least: float | None, theme: Theme) -> None:
    """A bar for each of the eigenvalues at both ends, its number beside the panel where no other stands."""
    found = found_ends(section)
    rows, values = range(len(found)), [value for _, value, _ in found]
    style: dict[str, Any] = {"color": [theme.line(0 if v >= 0 else 1) for v in values], "alpha": 0.85}
    errors = [e.stderr or 0.0 for _, _, e in found]
    panel.barh(rows, values, height=0.7, xerr=errors, ecolor=theme.ink, capsize=2.5, **style)
    if least:
        panel.set_xscale("symlog", linthresh=least)
    panel.axvline(0, color=theme.ink, lw=0.8)
    panel.margins(x=0.06)
    panel.set_yticks(rows, labels=[name for name, _, _ in found])
    panel.set_ylim(len(found) - 0.4, -0.6)
    panel.xaxis.set_major_formatter(number_from(least))
    panel.set_xlabel(UNIT + (", symmetric log scale" if least else ""), fontsize=8.5)
    for row, (_, _, e) in enumerate(found):
        place = {"xycoords": panel.get_yaxis_transform(), "va": "center", "fontsize": 8}
        panel.annotate(estimate_text(e), (1.02, row), annotation_clip=False, **place)
