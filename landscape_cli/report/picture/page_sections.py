"""What a page shows of the checkpoint itself, without a script: the spectrum, the ascents, the gradient by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from landscape_cli.analyse.neighbourhood import sharpness_statistics
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.profile import Estimate, Floats
from landscape_cli.report.legend import unit
from landscape_cli.report.numbers import estimate_text
from landscape_cli.report.picture.ascent import STEP, curves_of, rises_of, steep
from landscape_cli.report.picture.layers import NOTE, RATIO, Bars, bars_of
from landscape_cli.report.picture.markup import COLOURS, row, table, text, titled
from landscape_cli.report.picture.scale import Scale
from landscape_cli.report.picture.spectrum import DEEP, UNIT, WIDTH, density_of, extremes, window_of
from landscape_cli.report.picture.theme import number
from landscape_cli.report.picture.view import View
from landscape_cli.section import Section

WIDE, HIGH = 520, 280
LEFT, RIGHT, TOP, BELOW = 56, 12, 20, 44  # the margins
ROWS, ROW, LETTER = 4, 14, 8.2  # of labels over the spectrum: how many, how high, how wide a letter of a phone's is
DENSITY = "density per unit of eigenvalue (parameter distance² / loss)"
DENSE = f"density on a log scale, by stochastic Lanczos, drawn with a width of 1/{WIDTH:.0f} of the window; "
DASHES = ("", "6 3", "2 3", "7 3 2 3")  # of one neighbourhood after the other


@dataclass(frozen=True)
class Frame:
    """Where numbers stand on a picture: x between the ends of its scale, y as high as its scale says."""

    x: Scale
    y: Scale | None = None
    top: int = TOP

    def across(self, value: float) -> float:
        """CSS pixels from the left, before the picture is fitted to the page."""
        return round(LEFT + (value - self.x.low) / (self.x.high - self.x.low) * (WIDE - LEFT - RIGHT), 2)

    def down(self, value: Floats) -> Floats:
        """The same from the top."""
        assert self.y is not None
        found: Floats = self.top + (1 - self.y.height(value)) * (HIGH - self.top - BELOW)
        return found

    def path(self, x: Sequence[float], y: Floats, style: str) -> str:
        """A line, with a gap where y is NaN."""
        down, moves = self.down(y), ["M", *("M" if gap else "L" for gap in np.isnan(y[:-1]))]
        corners = zip(moves, x, down.tolist(), strict=True)
        drawn = " ".join(f"{move}{self.across(at)},{v:.1f}" for move, at, v in corners if not np.isnan(v))
        return f'<path d="{drawn}" fill="none" {style}/>'

    def axes(self, name: str, ticks: Sequence[float], upright_name: str) -> str:
        """The line below with its ticks and its name, and those of y, whose name stands on top."""
        floor = HIGH - BELOW
        drawn = [f'<path d="M{LEFT},{floor} H{WIDE - RIGHT}" stroke="currentColor"/>']
        drawn += [_label(self.across(value), floor + 16, number(value), "middle") for value in ticks]
        drawn.append(_label((LEFT + WIDE - RIGHT) / 2, HIGH - 8, name, "middle"))
        drawn.append(_label(4, 11, upright_name, "start"))
        upright = [] if self.y is None else self.y.ticks(4)
        places = self.down(np.array(upright)).tolist() if upright else []
        drawn += [_label(LEFT - 6, y + 4, number(v), "end") for v, y in zip(upright, places, strict=True)]
        return "".join(drawn)


def spectra(views: Sequence[View]) -> list[str]:
    """The density on a log scale where it was measured, a stroke at each eigenvalue found, and these as a table."""
    window = window_of([view.section("hessian") for view in views])
    return [_spectrum(view, window) for view in views]


def _spectrum(view: View, window: tuple[float, float]) -> str:
    section, top = view.section("hessian"), TOP + ROWS * ROW
    across, curve, frame = Scale(*window, None, window[1]), "", Frame(Scale(*window, None, window[1]), None, top)
    dense, found = "density_nodes" in section.arrays, extremes(section)
    if dense:
        grid, density = density_of(section, window, 400)
        highest = float(density.max()) or 1.0
        frame = Frame(across, Scale(DEEP * highest, highest, 0.0, highest), top)
        curve = frame.path(grid.tolist(), density, 'stroke="var(--line0)" stroke-width="1.6"')
    strokes = "".join(_stroke(frame, name, estimate) for name, estimate in found)
    what = f"{DENSE if dense else ''}strokes: the eigenvalues found by Lanczos, ± 1 standard error"
    rows = (row([name, text(estimate_text(estimate))]) for name, estimate in found)
    drawn = f"{curve}{strokes}{_labels(frame, found)}{frame.axes(UNIT, across.ticks(6), DENSITY if dense else '')}"
    return _svg(f"Eigenvalues of the Hessian: {what}", drawn) + _note(what) + table(("", "eigenvalue"), rows)


def _labels(frame: Frame, found: Sequence[tuple[str, Estimate]]) -> str:
    """Name and number over the strokes, λ1's first: in the first row where they cover no others, or left out."""
    taken: list[list[tuple[float, float]]] = [[] for _ in range(ROWS)]
    drawn = []
    for name, estimate in found:
        value, told = float(estimate.value or 0.0), f"{name} = {estimate_text(estimate)}"
        wide = LETTER * len(told)
        left = min(max(frame.across(value) - wide / 2, LEFT), WIDE - wide) if np.isfinite(value) else np.nan
        rows = (k for k, ends in enumerate(taken) if all(left > end or left + wide < start for start, end in ends))
        k = next(rows, None)
        if k is not None and np.isfinite(value):
            taken[k].append((left, left + wide))
            drawn.append(_label(left + wide / 2, frame.top - 6 - ROW * k, told, "middle"))
    return "".join(drawn)


def _stroke(frame: Frame, name: str, estimate: Estimate) -> str:
    value = float(estimate.value or 0.0)
    if not np.isfinite(value):
        return ""
    style = 'stroke="var(--line1)" stroke-width="2" stroke-dasharray="4 3"'
    told = f"<title>{name} = {text(estimate_text(estimate))}</title>"
    return f'<path d="M{frame.across(value)},{frame.top} V{HIGH - BELOW}" {style}>{told}</path>'


def ascents(views: Sequence[View]) -> list[str]:
    """A line for each start over the steps of the ascent, and the highest rise by neighbourhood as a table."""
    found = [curves_of(view.section("sharpness")) for view in views]
    rises = rises_of(found)
    logarithmic = steep(rises)
    used = rises[rises > 0] if logarithmic else np.append(rises, 0.0)
    scale = Scale(float(used.min()), float(used.max()), 0.0 if logarithmic else None, float(used.max()))
    last = max((curve.shape[1] - 1 for curves in found for curve in curves.values()), default=0) or 1
    frame = Frame(Scale(0.0, float(last), None, float(last)), scale)
    reported = [_reported(view.section("sharpness")) for view in views]
    return [_ascent(curves, told, frame) for curves, told in zip(found, reported, strict=True)]


def _reported(section: Section) -> list[str]:
    """What the report says of each of the neighbourhoods that `curves_of` has."""
    tree = sharpness_statistics(section)
    found = {name: tree[name] for name in ("worst_adaptive", "worst") if f"{name}_curves" in section.arrays}
    found |= {f"keskar.{i}": box for i, box in enumerate(tree["keskar"])}
    return [_with_unit(f"sharpness.{name}", entry[ITSELF]) for name, entry in found.items()]


def _with_unit(path: str, found: Estimate) -> str:
    return f"{path} {estimate_text(found)}{'' if found.value is None else f' {unit(path)}'}"


def _ascent(curves: dict[str, Floats], reported: Sequence[str], frame: Frame) -> str:
    if not curves:
        return ""
    assert frame.y is not None
    logarithmic, drawn, rows = frame.y.offset is not None, [], []
    for i, (name, starts) in enumerate(curves.items()):
        style = f'stroke="var(--line{i % COLOURS})" stroke-width="1.6" stroke-dasharray="{DASHES[i % len(DASHES)]}"'
        shown = np.where(np.isfinite(starts) & ((starts > 0) | (not logarithmic)), starts, np.nan)
        drawn += [frame.path(range(len(rise)), rise, style) for rise in shown]
        key = f'<svg class="key" viewBox="0 0 34 8" aria-hidden="true"><path d="M0,4 H34" {style}/></svg>'
        most = float(np.nanmax(shown)) if not np.isnan(shown).all() else float("nan")
        step = int(np.argwhere(shown == most)[0][1]) if np.isfinite(most) else ""
        told = reported[i] if i < len(reported) else ""
        rows.append(row([key, text(name), number(most), str(step), text(told)]))
    ticks = [tick for tick in frame.x.ticks(6) if tick == round(tick)]
    what = "rise of the loss: a line for each start; one that ends is not finite there"
    if logarithmic:
        left_out = any((starts <= 0).any() for starts in curves.values())
        what = what.replace(":", " on a log scale:", 1) + ("; rises of 0 or less have no place on it" * left_out)
    drawn.append(frame.axes(STEP, ticks, "rise of the loss"))
    picture = _svg(f"Sharpness ascents: {what}", "".join(drawn)) + _note(what)
    return picture + table(("", "neighbourhood", "highest rise (loss)", "step", "in the report"), rows)


def gradients(views: Sequence[View]) -> list[str]:
    """A bar for each tensor on a log scale, from a third of the smallest to twice the largest of all runs."""
    found = [bars_of(view) for view in views]
    ratios = np.concatenate([bars.positive for bars in found])
    ends = (float(ratios.min()) / 3, float(ratios.max()) * 2) if len(ratios) else (1.0, 2.0)
    scale = Scale(*ends, 0.0, ends[1])
    return [_bars(bars, scale) for bars in found]


def _bars(bars: Bars, scale: Scale) -> str:
    if not bars.names:
        return ""
    share = np.nan_to_num(100 * scale.height(np.array([*bars.ratios, bars.median])))
    rows = []
    for name, ratio, wide, odd in zip(bars.names, bars.ratios, share.tolist(), bars.odd.tolist(), strict=False):
        bar = f'<div style="width:{wide:.1f}%;background:var(--line{int(odd)})"></div>' if ratio > 0 else ""
        value = number(ratio) if ratio > 0 else "gradient 0" if ratio == 0 else "weights 0"
        rows.append(row([text(name), bar, value]))
    left = f"; {bars.left_out} more tensors are left out, those nearest the median" if bars.left_out else ""
    named = f'<div style="--median:{share[-1]:.1f}%">{table(("tensor", "", RATIO), rows, "bars")}</div>'
    return named + _note(f"{NOTE}; the bars are logarithms{left}")


DRAWN: dict[str, tuple[str, Callable[[Sequence[View]], list[str]]]] = {
    "hessian": ("Hessian spectrum", spectra),
    "sharpness": ("sharpness ascents", ascents),
    "gradient": ("gradient by layer", gradients),
}


def sections(views: Sequence[View]) -> str:
    """All that was finished; several runs side by side on one scale."""
    return "\n".join(_side_by_side(name, views) for name in DRAWN)


def _side_by_side(name: str, views: Sequence[View]) -> str:
    what, draw = DRAWN[name]
    there = [view for view in views if name in view.profile.sections and view.profile.sections[name].complete]
    parts = zip(there, draw(there) if there else [], strict=True)
    made = [
        f"<section>{titled(view, view.section_title(name, what), len(views) > 1)}</h2>{part}</section>"
        for view, part in parts
        if part
    ]
    return f'<div class="many">{"".join(made)}</div>' if len(made) > 1 else "".join(made)


def _svg(what: str, drawn: str) -> str:
    return f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{text(what)}">{drawn}</svg>'


def _label(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text(words)}</text>'


def _note(words: str) -> str:
    return f'<p class="note">{text(words)}</p>'
