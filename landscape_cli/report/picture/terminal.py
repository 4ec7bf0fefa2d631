"""Pictures in a terminal: a heat map of half blocks, a curve of braille dots; without colour, of characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse.surface import lowest
from landscape_cli.errors import LandscapeError
from landscape_cli.profile import Floats, Surface
from landscape_cli.report.numbers import plain
from landscape_cli.report.picture.contour import check_planar
from landscape_cli.report.picture.curve import check_line, line_title
from landscape_cli.report.picture.scale import ABOVE_SCALE, NO_NUMBER, UNMEASURED, Scale, cells, scale_of
from landscape_cli.report.picture.theme import number
from landscape_cli.report.picture.view import View, cut

# viridis in the 256 colours of a terminal, dark to light
SHADES = (53, 54, 61, 25, 31, 30, 36, 35, 71, 77, 113, 149, 184, 226)
DENSITY = " .,:;ox%#@"  # the same without colour
COLOURS = {ABOVE_SCALE: 231, NO_NUMBER: 240, UNMEASURED: 235}
LETTERS = {ABOVE_SCALE: "^", NO_NUMBER: "?", UNMEASURED: "_"}
TOLD = {ABOVE_SCALE: "above", NO_NUMBER: "NaN", UNMEASURED: "not measured yet"}
LINES = (39, 208, 35, 175)  # the colours of curves
MARGIN = 9  # columns of the labels at the left
ROWS = 24  # at most, of a heat map
Cells = NDArray[np.int8]


@dataclass(frozen=True)
class Screen:
    """How wide the terminal is, how many lines it has, whether it takes colours."""

    width: int
    height: int
    colour: bool


def heat_map(views: Sequence[View], screen: Screen) -> str:
    """The first split's loss over the plane, x to the right and y upwards; a block for each run, all on one scale."""
    for view in views:
        check_planar(view)
    scale = scale_of([view.shown[1].loss[view.shown[1].measured] for view in views])
    blocks = [line for view in views for line in _block(view, scale, screen)]
    kinds = np.concatenate([cells(view.shown[1], scale).ravel() for view in views])
    return _joined([*blocks, *_legend(scale, kinds, screen)], screen)


def _joined(lines: Sequence[str], screen: Screen) -> str:
    return "".join(f"{line.rstrip() if not screen.colour else line}\n" for line in lines)


def _block(view: View, scale: Scale, screen: Screen) -> list[str]:
    surface = view.shown[1]
    assert surface.y is not None
    x, y = surface.x.values, surface.y.values
    across, down = shape_of(surface.loss.shape, screen)
    rows = _painted(surface, scale, across, down, screen.colour)
    labels = {0: number(y[-1]), len(rows) - 1: number(y[0])}
    painted = [f"{labels.get(i, '')[: MARGIN - 1]:>{MARGIN - 1}} {row}" for i, row in enumerate(rows)]
    ends = f"{number(x[0])}{number(x[-1]):>{max(1, across - len(number(x[0])))}}"
    captions = [view.title, *painted, " " * MARGIN + ends, view.label(0), view.label(1), view.caption]
    return [captions[0][: screen.width], *captions[1:-3], *[text[: screen.width] for text in captions[-3:]]]


def shape_of(shape: tuple[int, ...], screen: Screen) -> tuple[int, int]:
    """Columns and (even) half-rows of the map: each grid point as many, or points left out."""
    room = max(8, screen.width - MARGIN - 1), 2 * max(4, min(ROWS, screen.height - 7))
    each = min(room[0] // shape[0], room[1] // shape[1])
    if each:
        return shape[0] * each, shape[1] * each + (shape[1] * each) % 2
    shrink = max(shape[0] / room[0], shape[1] / room[1])
    across, down = (max(1, int(n / shrink)) for n in shape)
    return across, down + down % 2


def _painted(surface: Surface, scale: Scale, across: int, down: int, colour: bool) -> list[str]:
    """Rows of text, the highest y first."""
    nx, ny = surface.loss.shape
    ix = np.arange(across) * nx // across
    iy = ny - 1 - np.arange(down) * ny // down
    shade = np.nan_to_num(scale.height(surface.loss))[np.ix_(ix, iy)]
    kinds = cells(surface, scale)[np.ix_(ix, iy)]
    marks = _marked(surface, ix, iy)
    paint = _half_blocks if colour else _letters
    return [paint(shade[:, r : r + 2], kinds[:, r : r + 2], marks.get(r // 2, {})) for r in range(0, down, 2)]


def _marked(surface: Surface, ix: NDArray[np.intp], iy: NDArray[np.intp]) -> dict[int, dict[int, str]]:
    """{row: {column: mark}}: + the checkpoint, * the lowest point; nothing for what lies outside."""
    found: dict[int, dict[int, str]] = {}
    assert surface.y is not None
    places = [("+", surface.x.index(0.0), surface.y.index(0.0))]
    if (where := lowest(surface)) is not None:
        places.append(("*", where[0], where[1]))
    for mark, i, j in places:
        if i is not None and j is not None:
            columns, rows = (np.flatnonzero(np.abs(k - at) == np.abs(k - at).min()) for k, at in ((ix, i), (iy, j)))
            row = int(rows[len(rows) // 2]) // 2
            found.setdefault(row, {})[int(columns[len(columns) // 2])] = mark
    return found


def _colour(shade: float, kind: int) -> int:
    return COLOURS.get(kind, SHADES[min(len(SHADES) - 1, int(shade * len(SHADES)))])


def _half_blocks(shade: Floats, kinds: Cells, marks: dict[int, str]) -> str:
    """(columns, 2) -> text whose upper half has the first colour, the lower half the second."""
    out, before = [], ""
    for i, (shades, kind) in enumerate(zip(shade.tolist(), kinds.tolist(), strict=True)):
        upper, lower = (_colour(s, k) for s, k in zip(shades, kind, strict=True))
        style = f"\x1b[1;38;5;{231 if lower < 70 else 16};48;5;{lower}m" if i in marks else ""
        style = style or f"\x1b[0;38;5;{upper};48;5;{lower}m"
        out.append((style if style != before else "") + marks.get(i, "▀"))
        before = style
    return "".join(out) + "\x1b[0m"


def _letters(shade: Floats, kinds: Cells, marks: dict[int, str]) -> str:
    """(columns, 2) -> a letter for each column: the worse of its halves, for NaN must not hide."""
    out = []
    for i, (shades, kind) in enumerate(zip(shade.max(1).tolist(), kinds.max(1).tolist(), strict=True)):
        out.append(marks.get(i) or LETTERS.get(kind) or DENSITY[min(len(DENSITY) - 1, int(shades * len(DENSITY)))])
    return "".join(out)


def _legend(scale: Scale, kinds: Cells, screen: Screen) -> list[str]:
    """The colours with their losses, and what the marks and the odd cells are."""
    steps = len(SHADES) if screen.colour else len(DENSITY)
    ramp = "".join(_swatch(SHADES[i]) for i in range(steps)) if screen.colour else f"[{DENSITY}]"
    shown = f"{number(scale.low)} {ramp} {number(scale.high)}"
    told = f"loss{' (log scale)' if scale.offset is not None else ''}: {shown}"
    odd = []
    for kind, name in TOLD.items():
        if (kinds == kind).any():
            sign = _swatch(COLOURS[kind]) * 2 if screen.colour else LETTERS[kind]
            more = f" {number(scale.high)}, up to {number(scale.highest)}" if kind == ABOVE_SCALE else ""
            odd.append(f"{sign} {name}{more}")
    return [told, "  ".join(["+ checkpoint", "* lowest point", *odd])]


def _swatch(colour: int) -> str:
    return f"\x1b[48;5;{colour}m \x1b[0m"


def braille(views: Sequence[View], screen: Screen) -> str:
    """The loss along a line, every split; without colour a letter for each where there are several."""
    for view in views:
        check_line(view)
    scale = scale_of([s.loss[s.measured] for view in views for s in view.surfaces.values()])
    return _joined([line for view in views for line in _curve(view, scale, screen)], screen)


def _curve(view: View, scale: Scale, screen: Screen) -> list[str]:
    x = view.record.surface.x.values
    across, down = max(8, min(100, screen.width - MARGIN - 1)), max(4, min(16, screen.height - 7))
    heights = [np.where(s.measured, scale.height(s.loss), np.nan) for s in view.surfaces.values()]
    letters = len(heights) > 1 and not screen.colour
    rows = _lettered(heights, x, across, down) if letters else _dotted(heights, x, across, down, screen.colour)
    labels = {0: number(scale.high), down - 1: number(scale.low)}
    painted = [f"{labels.get(i, '')[: MARGIN - 1]:>{MARGIN - 1}} {row}" for i, row in enumerate(rows)]
    ends = f"{number(x[0])}{number(x[-1]):>{max(1, across - len(number(x[0])))}}"
    names = [_named(i, split, letters, screen.colour) for i, split in enumerate(view.surfaces)]
    log = " (log scale)" if scale.offset is not None else ""
    lost = sum(int((cells(s, scale) != 0).sum()) for s in view.surfaces.values())
    odd = f"; left out: {lost} points that are NaN, not measured or above {number(scale.high)}" if lost else ""
    below = [f"loss{log}: {', '.join(names)}{odd}", view.label(0)[: screen.width], view.caption[: screen.width]]
    return [line_title(view)[: screen.width], *painted, " " * MARGIN + ends, *below]


def _named(i: int, split: str, letters: bool, colour: bool) -> str:
    name = cut(split)
    if letters:
        return f"{'abcdef'[i % 6]} {name}"
    return f"\x1b[38;5;{LINES[i % len(LINES)]}m{name}\x1b[0m" if colour else name


def sampled(height: Floats, x: Floats, count: int) -> Floats:
    """[count] heights at even steps along x, between points by a straight line; NaN beside what is no number."""
    at = np.linspace(x[0], x[-1], count)
    usable = np.where(height > 1, np.nan, height)
    return np.asarray(np.interp(at, x, usable)) if len(x) > 1 else np.full(count, float(usable[0]))


def _lettered(heights: Sequence[Floats], x: Floats, across: int, down: int) -> list[str]:
    page = np.full((down, across), " ")
    for i, height in enumerate(heights):
        shown = sampled(height, x, across)
        for column in np.flatnonzero(np.isfinite(shown)):
            page[down - 1 - min(down - 1, int(shown[column] * down)), column] = "abcdef"[i % 6]
    return ["".join(row) for row in page]


# The bit of each of a braille letter's dots, (4 rows, 2 columns), from U+2800 on.
DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])


def _dotted(heights: Sequence[Floats], x: Floats, across: int, down: int, colour: bool) -> list[str]:
    """Each curve's dots, joined from column to column; a letter has the colour of the last curve in it."""
    bits, owner = np.zeros((down, across), dtype=int), np.full((down, across), -1)
    for i, height in enumerate(heights):
        for row, column in _dots(sampled(height, x, 2 * across), 4 * down):
            bits[row // 4, column // 2] |= DOTS[row % 4, column % 2]
            owner[row // 4, column // 2] = i
    paint: Callable[[int, int], str] = lambda bit, who: chr(0x2800 + bit) if bit else " "  # noqa: E731
    if not colour:
        return ["".join(map(paint, *pair)) for pair in zip(bits.tolist(), owner.tolist(), strict=True)]
    return [
        "".join(f"\x1b[38;5;{LINES[w % len(LINES)]}m{paint(b, w)}" if b else " " for b, w in zip(*pair, strict=True))
        + "\x1b[0m"
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


TERMINAL: dict[str, Callable[[Sequence[View], Screen], str]] = {"contour": heat_map, "curve": braille}


def drawn(kind: str, views: Sequence[View], screen: Screen) -> str:
    """The picture as text.

    Raises:
        LandscapeError: a terminal does not show such a picture.
    """
    if kind not in TERMINAL:
        what = f"a terminal shows {' and '.join(TERMINAL)}, not {kind}"
        raise LandscapeError(what, f"write it to a file: -o {plain(kind)}.png")
    return TERMINAL[kind](views, screen)
