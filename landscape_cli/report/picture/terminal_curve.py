"""Lines in a terminal: curves of braille dots; several without colour, of letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from landscape_cli.profile import Floats
from landscape_cli.report.numbers import estimate_text
from landscape_cli.report.picture.ascent import curves_of, highest_of, least_of, rises_of
from landscape_cli.report.picture.curve import check_line, line_title
from landscape_cli.report.picture.scale import ABOVE_SCALE, Scale, cells, scale_of
from landscape_cli.report.picture.screen import MARGIN, Screen, bare, ends, labelled
from landscape_cli.report.picture.spectrum import DEEP, DENSER, UNIT, density_of, found_ends, top_of, window_of
from landscape_cli.report.picture.terminal_map import SIGNS, TOLD
from landscape_cli.report.picture.terminal_rows import Row, bars
from landscape_cli.report.picture.theme import number
from landscape_cli.report.picture.view import View, cut
from landscape_cli.section import Section

LETTERS = "abcdef"


def loss_curve(views: Sequence[View], screen: Screen) -> list[str]:
    """The loss along a line, every split; without colour a letter for each where there are several."""
    for view in views:
        check_line(view)
    scale = scale_of([s.loss[s.measured] for view in views for s in view.surfaces.values()])
    return [line for view in views for line in _loss(view, scale, screen)]


def _loss(view: View, scale: Scale, screen: Screen) -> list[str]:
    heights = {cut(split): np.where(s.measured, scale.height(s.loss), np.nan) for split, s in view.surfaces.items()}
    x, kinds = view.record.surface.x.values, np.stack([cells(s, scale) for s in view.surfaces.values()])
    signs = "".join(SIGNS.get(kind, " ") for kind in columns_of(kinds.max(0), x, screen.across).tolist())
    drawn = plotted(f"loss{scale.kind}:", heights, x, (scale.high, scale.low), screen, signs.rstrip())
    more = {ABOVE_SCALE: f" {number(scale.high)}, up to {number(scale.highest)}"}
    lost = [
        f"{sign} {TOLD[kind]}{more.get(kind, '')}: {n}" for kind, sign in SIGNS.items() if (n := (kinds == kind).sum())
    ]
    odd = [f"left out, points of all splits: {'; '.join(lost)}"] if lost else []
    return [*screen.told(line_title(view)), *drawn, *screen.told(*odd, view.label(0), view.caption)]


def columns_of(kinds: NDArray[np.int8], x: Floats, count: int) -> NDArray[np.int8]:
    """[count] what the nearest point to each of evenly spaced columns is, or the worst that falls into one."""
    at = np.linspace(x[0], x[-1], count)
    found: NDArray[np.int8] = kinds[np.abs(at[:, None] - x).argmin(1)]
    span = (x[-1] - x[0]) or 1.0
    np.maximum.at(found, np.rint((x - x[0]) / span * (count - 1)).astype(int), kinds)
    return found


def ascents(views: Sequence[View], screen: Screen) -> list[str]:
    """The rise at each step, by neighbourhood the highest of its starts."""
    found = [curves_of(view.section("sharpness")) for view in views]
    for view, curves in zip(views, found, strict=True):
        if not curves:
            raise view.lacks("ascents", "landscape scan ... --only sharpness")
    least, rises = least_of(found), rises_of(found)
    low = min(float(rises.min(initial=0.0)), 0.0) if least is None else least
    high = max(float(rises.max(initial=0.0)), low)
    scale = Scale(low, high, None if least is None else 0.0, high)
    scaled = "" if least is None else f" (log scale; {number(low)} and less at the bottom)"
    lines = []
    for view, curves in zip(views, found, strict=True):
        heights = {name: scale.height(highest(curve)) for name, curve in curves.items()}
        steps = np.arange(max(curve.shape[1] for curve in curves.values()), dtype=np.float64)
        drawn = plotted(f"rise of the loss{scaled}:", heights, steps, (high, low), screen)
        told = (
            "across: the ascent step; of each neighbourhood its highest start",
            highest_of(view.section("sharpness")),
        )
        lines += [*screen.told(view.section_title("sharpness", "sharpness ascents")), *drawn]
        lines += screen.told(*told, view.caption)
    return lines


def highest(curves: Floats) -> Floats:
    """[steps] the highest rise of all starts; NaN where none is finite."""
    known = np.where(np.isfinite(curves), curves, -np.inf).max(0)
    return np.where(np.isfinite(known), known, np.nan)


def spectra(views: Sequence[View], screen: Screen) -> list[str]:
    """The spectral density on a log scale over the eigenvalues, and the extreme ones; without it bars of these.

    Several runs are on one scale.
    """
    sections = [view.section("hessian") for view in views]
    window = window_of(sections) if all("density_nodes" in section.arrays for section in sections) else None
    top = top_of(sections, window, 2 * screen.across) if window else 1.0
    found = [[Row(name, value, estimate_text(e)) for name, value, e in found_ends(section)] for section in sections]
    lines = []
    for view, section, rows, drawn in zip(views, sections, found, bars(found, screen), strict=True):
        lines += screen.told(view.section_title("hessian", "Hessian spectrum"))
        if window:
            lines += _density(section, window, top, [row.value for row in rows], screen)
            lines += screen.told(f"across: {UNIT}; ^ an eigenvalue found by Lanczos")
            lines += screen.packed(f"{row.name} = {row.text}" for row in rows)
        else:
            lines += [*drawn, *screen.told(f"{UNIT}; {DENSER}")]
        lines += screen.told(view.caption)
    return lines


def _density(
    section: Section, window: tuple[float, float], top: float, found: Sequence[float], screen: Screen
) -> list[str]:
    x, density = density_of(section, window, 2 * screen.across)
    height = 1 - np.log10(np.maximum(density / top, DEEP)) / np.log10(DEEP)
    places = (np.array(found) - window[0]) / (window[1] - window[0]) * (screen.across - 1)
    signs = np.full(screen.across, " ")
    signs[np.rint(places[(places >= 0) & (places < screen.across)]).astype(int)] = "^"
    return plotted("density (log scale)", {"": height}, x, (top, top * DEEP), screen, "".join(signs))


def plotted(
    label: str,
    heights: Mapping[str, Floats],
    x: Floats,
    high_low: tuple[float, float],
    screen: Screen,
    below: str = "",
) -> list[str]:
    """Curves by name in a frame of numbers; what stands right below them; their names."""
    letters = not screen.blocks or (len(heights) > 1 and not screen.colour)
    paint = _lettered if letters else _dotted
    rows = labelled(paint(list(heights.values()), x, screen), *high_low)
    names = [f"{LETTERS[i % 6]} {name}" if letters else screen.inked(name, i) for i, name in enumerate(heights)]
    marked = [" " * MARGIN + below] if below else []
    return [*rows, *marked, ends(x[0], x[-1], screen.across), *screen.packed([label, *filter(bare, names)])]


def sampled(height: Floats, x: Floats, count: int) -> Floats:
    """[count] heights at even steps along x, by straight lines between points; NaN beside what is no number.

    A point alone is where it is.
    """
    at = np.linspace(x[0], x[-1], count)
    usable = np.where(height > 1, np.nan, height)
    if len(x) < 2:
        return np.full(count, float(usable[0]))
    shown = np.asarray(np.interp(at, x, usable))
    own = np.rint((x - x[0]) / (x[-1] - x[0]) * (count - 1)).astype(int)
    alone = np.isfinite(usable) & np.isnan(shown[own])
    shown[own[alone]] = usable[alone]
    return shown


def _lettered(heights: Sequence[Floats], x: Floats, screen: Screen) -> list[str]:
    across, down = screen.across, screen.down
    page = np.full((down, across), " ")
    for i, height in enumerate(heights):
        shown = sampled(height, x, across)
        for column in np.flatnonzero(np.isfinite(shown)):
            page[down - 1 - min(down - 1, int(shown[column] * down)), column] = LETTERS[i % 6]
    return ["".join(row) for row in page]


# The bit of each of a braille letter's dots, (4 rows, 2 columns), from U+2800 on.
DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])


def _dotted(heights: Sequence[Floats], x: Floats, screen: Screen) -> list[str]:
    """Each curve's dots, joined from column to column; a letter has the colour of the last curve in it."""
    across, down = screen.across, screen.down
    bits, owner = np.zeros((down, across), dtype=int), np.zeros((down, across), dtype=int)
    for i, height in enumerate(heights):
        for row, column in _dots(sampled(height, x, 2 * across), 4 * down):
            bits[row // 4, column // 2] |= DOTS[row % 4, column % 2]
            owner[row // 4, column // 2] = i
    return [
        "".join(screen.inked(chr(0x2800 + bit), who) if bit else " " for bit, who in zip(*pair, strict=True))
        for pair in zip(bits.tolist(), owner.tolist(), strict=True)
    ]


def _dots(shown: Floats, rows: int) -> list[tuple[int, int]]:
    """Row and column of every dot, the gaps between neighbours filled."""
    found, before = [], -1
    for column, height in enumerate(shown.tolist()):
        if not np.isfinite(height):
            before = -1
            continue
        row = rows - 1 - min(rows - 1, int(height * rows))
        step = range(min(row, before), max(row, before) + 1) if before >= 0 else range(row, row + 1)
        found += [(k, column) for k in step]
        before = row
    return found
