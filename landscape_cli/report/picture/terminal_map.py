"""Planes in a terminal: heat maps of half blocks; without colour, of characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse.surface import lowest
from landscape_cli.profile import Axis, Floats, Surface
from landscape_cli.report.picture.contour import check_planar
from landscape_cli.report.picture.curvature import UNIT, both_negative, map_of, range_of, ratio_of, walls_of, without
from landscape_cli.report.picture.scale import ABOVE_SCALE, NO_NUMBER, UNMEASURED, Scale, cells, edges, scale_of
from landscape_cli.report.picture.screen import MARGIN, Screen, ends, labelled
from landscape_cli.report.picture.theme import number
from landscape_cli.report.picture.view import View

# viridis in the 256 colours of a terminal, each lighter than the one before
SHADES = (53, 54, 24, 25, 30, 36, 71, 77, 113, 149, 184, 226)
DENSITY = " .,:;ox%#@"  # the same without colour
COLOURS = {ABOVE_SCALE: 231, NO_NUMBER: 240, UNMEASURED: 235}
SIGNS = {ABOVE_SCALE: "^", NO_NUMBER: "?", UNMEASURED: "_"}
TOLD = {ABOVE_SCALE: "above", NO_NUMBER: "NaN", UNMEASURED: "not measured yet"}
MARKS = {"+": "checkpoint", "*": "lowest point", "X": "checkpoint and lowest point"}
ROWS = 24  # at most
Cells = NDArray[np.int8]
Marks = dict[tuple[int, int], str]  # by row and column


@dataclass(frozen=True)
class Grid:
    """What each column and half-row of the map shows of a surface, the highest y first.

    A place shows the point whose cell it lies in, and the worst kind of all the points that fall into it.
    """

    surface: Surface
    columns: list[Place]
    rows: list[Place]

    @classmethod
    def of(cls, surface: Surface, screen: Screen) -> Grid:
        """The map as it fits on the screen."""
        assert surface.y is not None
        across, down = shape_of(surface.loss.shape, screen)
        return cls(surface, places(surface.x.values, across), places(surface.y.values, down)[::-1])

    def marks(self, low: bool) -> Marks:
        """Where the checkpoint is and, if asked for, the lowest point; nothing for what lies outside."""
        x, y = self._axes
        points = {"+": (0.0, 0.0)}
        if low and (where := lowest(self.surface)) is not None:
            points["*"] = (float(x[where[0]]), float(y[where[1]]))
        found: Marks = {}
        for mark, (a, b) in points.items():
            column, row = place_of(a, x, len(self.columns)), place_of(b, y, len(self.rows))
            if column is not None and row is not None:
                at = (len(self.rows) - 1 - row) // 2, column
                found[at] = "X" if at in found else mark
        return found

    @property
    def _axes(self) -> tuple[Floats, Floats]:
        assert self.surface.y is not None
        return self.surface.x.values, self.surface.y.values

    def painted(self, scale: Scale, marks: Marks, colour: bool) -> list[str]:
        """Rows of text."""
        heights, kinds = np.nan_to_num(scale.height(self.surface.loss)), cells(self.surface, scale)
        shade = heights[np.ix_([c.shown for c in self.columns], [r.shown for r in self.rows])]
        held = np.stack([kinds[c.first : c.last + 1].max(0) for c in self.columns])
        worst = np.stack([held[:, r.first : r.last + 1].max(1) for r in self.rows], axis=1)
        paint = _half_blocks if colour else _letters
        return [
            paint(shade[:, r : r + 2], worst[:, r : r + 2], {j: m for (i, j), m in marks.items() if i == r // 2})
            for r in range(0, len(self.rows), 2)
        ]


@dataclass(frozen=True)
class Place:
    """A column or half-row: the point in whose cell its middle lies, and the first and last of those it stands for."""

    shown: int
    first: int
    last: int


def places(values: Floats, count: int) -> list[Place]:
    """So many places, equally wide, over the cells of the points of an axis."""
    borders = edges(values)
    ends = np.linspace(borders[0], borders[-1], count + 1)
    shown = np.clip(np.searchsorted(borders, (ends[1:] + ends[:-1]) / 2, "right") - 1, 0, len(values) - 1)
    first, after = np.searchsorted(values, ends[:-1]), np.searchsorted(values, ends[1:])
    inside = after > first
    low, high = np.where(inside, np.minimum(first, shown), shown), np.where(inside, np.maximum(after - 1, shown), shown)
    return [Place(*found) for found in zip(shown.tolist(), low.tolist(), high.tolist(), strict=True)]


def place_of(value: float, values: Floats, count: int) -> int | None:
    """The place in which a coordinate lies; None outside of the axis's ends."""
    if not values[0] <= value <= values[-1]:
        return None
    borders = edges(values)
    at = (value - borders[0]) / (borders[-1] - borders[0]) * count
    return min(count - 1, int(at + 1e-9))


def heat_map(views: Sequence[View], screen: Screen) -> list[str]:
    """The first split's loss over the plane, x to the right and y upwards; a block for each run, all on one scale."""
    for view in views:
        check_planar(view)
    surfaces = [view.shown[1] for view in views]
    scale = scale_of([surface.loss[surface.measured] for surface in surfaces])
    lines, marks = [], set()
    for view, surface in zip(views, surfaces, strict=True):
        grid = Grid.of(surface, screen)
        places = grid.marks(low=True)
        marks |= set(places.values())
        lines += _block(view, view.title, grid, grid.painted(scale, places, screen.colour), screen)
    kinds = np.concatenate([cells(surface, scale).ravel() for surface in surfaces])
    return [*lines, *_legend("loss", scale, kinds, marks, screen)]


def curvature_map(views: Sequence[View], screen: Screen) -> list[str]:
    """The ratio of negative curvature, cell by cell, all on one scale; below it the range of both eigenvalues."""
    whole = [map_of(view) for view in views]
    losses, above = walls_of(views)
    maps = [without(found, over) for found, over in zip(whole, above, strict=True)]
    shown = [_inner(view.shown[1], ratio_of(found)) for view, found in zip(views, maps, strict=True)]
    scale = Scale(0.0, 1.0, None, max(float(np.nanmax(s.loss, initial=0.0)) for s in shown))
    lines = []
    for view, found, surface in zip(views, maps, shown, strict=True):
        grid = Grid.of(surface, screen)
        places = grid.marks(low=False)
        title = f"{view.title} · ratio −λmin/|λmax|"
        lines += _block(view, title, grid, grid.painted(scale, places, screen.colour), screen)
        both = f"both negative in {both_negative(found).sum()} of {found.lowest.size} cells"
        lines += screen.told(f"λmin {range_of(found.lowest)}; λmax {range_of(found.highest)} ({UNIT}); {both}")
    kinds = np.concatenate([cells(surface, scale).ravel() for surface in shown])
    around = "NaN" + f", above {number(losses.high)}" * any(map(np.any, above)) + " or not measured"
    told = {**TOLD, NO_NUMBER: f"a loss around is {around}"}
    return [*lines, *_legend("0 convex, 1 as much down as up", scale, kinds, {"+"}, screen, told)]


def _inner(surface: Surface, values: Floats) -> Surface:
    """The points that have neighbours on every side, with these values."""
    assert surface.y is not None
    x, y = (Axis(axis.values[1:-1]) for axis in (surface.x, surface.y))
    return replace(surface, x=x, y=y, loss=values, measured=np.ones(values.shape, dtype=bool))


def _block(view: View, title: str, grid: Grid, rows: Sequence[str], screen: Screen) -> list[str]:
    assert grid.surface.y is not None
    x, y = grid.surface.x.values, grid.surface.y.values
    below = screen.told(view.label(0), view.label(1), view.caption)
    return [*screen.told(title), *labelled(rows, y[-1], y[0]), ends(x[0], x[-1], len(grid.columns)), *below]


def shape_of(shape: tuple[int, ...], screen: Screen) -> tuple[int, int]:
    """Columns and (even) half-rows of the map: each grid point as many, or points left out."""
    room = max(8, screen.width - MARGIN - 1), 2 * max(4, min(ROWS, screen.height - 7))
    each = min(room[0] // shape[0], room[1] // shape[1])
    if each:
        return shape[0] * each, shape[1] * each + (shape[1] * each) % 2
    shrink = max(shape[0] / room[0], shape[1] / room[1])
    across, down = (max(1, int(n / shrink)) for n in shape)
    return across, down + down % 2


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
        out.append(marks.get(i) or SIGNS.get(kind) or DENSITY[min(len(DENSITY) - 1, int(shades * len(DENSITY)))])
    return "".join(out)


def _legend(
    label: str, scale: Scale, kinds: Cells, marks: set[str], screen: Screen, told: Mapping[int, str] = TOLD
) -> list[str]:
    """The colours with their losses, and what the marks and the odd cells are."""
    ramp = "".join(_swatch(shade) for shade in SHADES) if screen.colour else f"[{DENSITY}]"
    shown = f"{number(scale.low)} {ramp} {number(scale.high)}"
    signs = [f"{mark} {name}" for mark, name in MARKS.items() if mark in marks]
    for kind, name in told.items():
        if (kinds == kind).any():
            sign = _swatch(COLOURS[kind]) * 2 if screen.colour else SIGNS[kind]
            more = f" {number(scale.high)}, up to {number(scale.highest)}" if kind == ABOVE_SCALE else ""
            signs.append(f"{sign} {name}{more}")
    return [*screen.packed([f"{label}{scale.kind}:", shown], " "), *screen.packed(signs)]


def _swatch(colour: int) -> str:
    return f"\x1b[48;5;{colour}m \x1b[0m"
