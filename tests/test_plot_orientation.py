"""Every picture has what it shows where its axes say: known functions without symmetry on grids that are not square."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from problems import surface_of
from test_page import of_section, wells
from test_plot import SMALL, asymmetric, bowl, view_of, with_loss

from landscape_cli.profile import Surface
from landscape_cli.report.picture.kinds import KINDS
from landscape_cli.report.picture.scale import scale_of
from landscape_cli.report.picture.screen import Screen, bare
from landscape_cli.report.picture.terminal import drawn
from landscape_cli.report.picture.terminal_map import DENSITY, SHADES
from landscape_cli.report.picture.theme import LOWEST as STAR
from landscape_cli.report.picture.theme import MAP, THEMES, prepared
from landscape_cli.report.picture.view import View

Pixels = NDArray[np.int64]  # [n, RGB]
Range = tuple[float, float]
INK = 170  # of a channel: darker than paper with a faint grid
ALIKE = 12  # of a channel: one colour, for a colour bar is drawn in steps


@dataclass(frozen=True)
class Picture:
    """A figure and its pixels, rows from the bottom; places are told in the axes' own numbers."""

    figure: Any
    pixels: NDArray[np.int64]

    def axes(self, k: int) -> Any:
        return self.figure.axes[k]

    def bar(self, k: int = 0) -> Any:
        """The axes of a colour bar, whose ends are what its colours stand for."""
        return self.figure.findobj(lambda artist: hasattr(artist, "_colorbar"))[k]

    def near(self, axes: Any, x: float, y: float, reach: int = 1) -> Pixels:
        """Around a place."""
        column, row = (int(at) for at in axes.transData.transform((x, y)))
        return self.pixels[row - reach : row + reach + 1, column - reach : column + reach + 1].reshape(-1, 3)

    def top(self, axes: Any, x: float, colour: str) -> int:
        """The row of the highest ink of this colour above x."""
        column = self.pixels[:, int(axes.transData.transform((x, 1.0))[0])]
        return int(np.flatnonzero(np.abs(column - of(colour)).max(-1) < 60).max())

    def within(self, axes: Any, x: Range, y: Range) -> Pixels:
        """In a box."""
        (left, low), (right, high) = np.rint(axes.transData.transform(list(zip(x, y, strict=True)))).astype(int)
        return self.pixels[low : high + 1, left : right + 1].reshape(-1, 3)


def picture(kind: str, view: View) -> Picture:
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with prepared(THEMES[False]) as figure:
        KINDS[kind](figure, [view], THEMES[False])
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return Picture(figure, np.asarray(canvas.buffer_rgba())[::-1, :, :3].astype(np.int64))


def apart(some: Pixels, others: Pixels) -> int:
    """How far the most alike of both are from each other."""
    return int(np.abs(some[:, None] - others[None]).max(-1).min())


def of(hexadecimal: str) -> Pixels:
    return np.array([[int(hexadecimal[k : k + 2], 16) for k in (1, 3, 5)]])


def hatched(pixels: Pixels) -> bool:
    """Grey ink on paper."""
    return bool(np.ptp(pixels, axis=1).max() < 20 and pixels.min() < INK and pixels.max() > 240)


def points(surface: Surface) -> Iterator[tuple[float, float, float]]:
    """x, y and loss of every point."""
    assert surface.y is not None
    for (i, j), loss in np.ndenumerate(surface.loss):
        yield float(surface.x.values[i]), float(surface.y.values[j]), float(loss)


# ---- files: planes


def test_a_surface_has_the_colour_of_each_loss_at_its_height_and_on_its_floor() -> None:
    """A slope that faces the eye, so that nothing hides; in front of it the floor is seen."""

    def slope(x: Any, y: Any) -> Any:
        return 10 + 4.3 * y - 2 * x

    found = surface_of(slope, "-1:1:9", "-0.5:0.5:5")
    drawing, scale = picture("surface", view_of(found)), scale_of([found.loss])
    panel, bar = drawing.axes(0), drawing.bar()

    def spot(x: float, y: float, height: float, reach: int = 1) -> Pixels:
        from mpl_toolkits.mplot3d.proj3d import proj_transform

        across, up, _ = proj_transform(x, y, height, panel.get_proj())
        return drawing.near(panel, across, up, reach)

    def shade(loss: float) -> tuple[float, Pixels]:
        height = float(scale.height(np.array(loss)))
        return height, drawing.near(bar, 0.3, height, 2)

    middles = [(x, y) for x in np.linspace(-0.875, 0.875, 8) for y in (-0.375, -0.125, 0.125, 0.375)]  # of facets
    scores = [apart(spot(x, y, height), wanted) for x, y in middles for height, wanted in [shade(slope(x, y))]]
    assert np.quantile(scores, 0.9) < ALIKE  # the checkpoint's sign may cover one
    floor = panel.get_zlim()[0]
    assert apart(spot(1.0, -0.5, floor), of(STAR)) < ALIKE
    edge, levels = -0.48, [float(label.get_text()) for label in bar.get_yticklabels()]
    seen = [(loss, x) for loss in levels if -0.9 < (x := (slope(0, edge) - loss) / 2) < 0.7]
    assert len(seen) > 2
    assert max(apart(spot(x, edge, floor, 2), shade(loss)[1]) for loss, x in seen) < ALIKE


def bent() -> Surface:
    """The discrete Hessian's eigenvalues are 12 x and 9 + 4 y."""
    return surface_of(lambda x, y: 5 + 2 * x**3 + 4.5 * y**2 + 2 / 3 * y**3, "-0.75:0.75:7", "-1:1:5")


def test_a_curvature_map_has_the_colour_of_each_eigenvalue_on_the_cell_around_its_point() -> None:
    drawing = picture("curvature", view_of(bent()))
    maps: tuple[Callable[[Any, Any], Any], ...] = (
        lambda x, y: 12 * x,
        lambda x, y: 9 + 4 * y,
        lambda x, y: max(0.0, -12 * x / (9 + 4 * y)),
    )
    for k, value in enumerate(maps):
        for x in np.linspace(-0.5, 0.5, 5):
            for y in (-0.5, 0.0, 0.5):
                bar = drawing.bar(k)
                low, high = bar.get_ylim()
                shown = drawing.near(
                    bar, 0.5, np.clip(value(x, y), low + 0.01 * (high - low), high - 0.01 * (high - low))
                )
                for side in (-0.35, 0.35):
                    cell = drawing.near(drawing.axes(k), x + 0.25 * side, y + 0.5 * side)
                    assert apart(cell, shown) < ALIKE, (k, x, y)


def test_a_curvature_map_is_hatched_where_a_neighbour_is_no_number() -> None:
    surface = surface_of(lambda x, y: 5 + x**2 + y**2, "-1:1:9", "-1:1:7")
    loss = surface.loss.copy()
    loss[0, 6] = np.nan  # of the inner points, only the upper left one has it beside
    drawing = picture("curvature", view_of(with_loss(surface, loss)))
    for k in range(3):
        inside = [(x, y) for x in np.linspace(-0.75, 0.75, 7) for y in np.linspace(-2 / 3, 2 / 3, 5) if x or y]
        found = [
            (x, y)
            for x, y in inside
            if hatched(drawing.within(drawing.axes(k), (x - 0.08, x + 0.08), (y - 0.1, y + 0.1)))
        ]
        assert found == [inside[4]]


def test_contour_lines_lie_where_the_loss_is_the_round_one_that_the_bar_names() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    surface = surface_of(lambda x, y: 10 + 3 * (y + 0.5) ** 2 + x, "-1:1:81", "-0.4:1:57")
    drawing = picture("contour", view_of(surface))
    panel, scale = drawing.axes(0), scale_of([surface.loss])
    levels = [float(label.get_text()) for label in drawing.bar().get_yticklabels()]
    checked = 0
    for x in (-0.8, -0.5, -0.2, 0.2, 0.5, 0.8):
        crossings = [np.sqrt((level - 10 - x) / 3) - 0.5 for level in levels if level > 10 + x]
        inside = [y for y in crossings if -0.35 < y < 0.95]
        for place, line in [(y, True) for y in inside] + [(y, False) for y in np.mean([inside[1:], inside[:-1]], 0)]:
            checked += 1
            height = scale.height(np.array(10 + 3 * (place + 0.5) ** 2 + x))
            fill = 255 * np.array(matplotlib.colormaps[MAP](height))[:3]
            inked = np.abs(drawing.near(panel, x, place) - fill).max() > 50
            assert inked == line, (x, place)
    assert checked > 30


def test_hatches_lie_on_the_points_that_have_none_of_the_colours_and_nowhere_else() -> None:
    """Blocks of NaN, of losses above the scale, and of points not measured, none the mirror of another."""
    surface = surface_of(lambda x, y: 10 + 4 * y - x, "-1:1:21", "-0.6:0.6:17")
    nan, above, unmeasured = blocks = np.s_[1:4, 13:16], np.s_[6:9, 1:4], np.s_[14:17, 9:12]
    loss, measured = surface.loss.copy(), surface.measured.copy()
    loss[nan], loss[above], measured[unmeasured] = np.nan, 1e30, False
    surface = replace(surface, loss=loss, measured=measured)
    drawing = picture("contour", view_of(surface))
    odd = np.zeros(surface.loss.shape, dtype=bool)
    for block in blocks:
        odd[block] = True
        (left, right), (low, high) = ((k.start, k.stop - 1) for k in block)
        assert surface.y is not None
        sides = [(axis[a], axis[b]) for axis, a, b in ((surface.x.values, left, right), (surface.y.values, low, high))]
        assert hatched(drawing.within(drawing.axes(0), *sides)), block
    for (x, y, _), is_odd in zip(points(surface), odd.ravel(), strict=True):
        if not is_odd and abs(x) + abs(y) > 0.1 and max(abs(x), abs(y) / 0.6) < 0.99:
            assert np.ptp(drawing.near(drawing.axes(0), x, y), axis=1).max() > 60, (x, y)


def test_critical_points_stand_where_they_are() -> None:
    drawing = picture("contour", view_of(surface_of(wells, "-1.2:1.2:49", "-0.8:1:37")))
    left, saddle, right = np.sort(np.roots([4, 0, -2, -0.1]).real)
    for x, face in ((left, "#ffffff"), (saddle, "#ffffff"), (right, STAR)):
        assert apart(drawing.near(drawing.axes(0), x, 0.2, reach=3), of(face)) < ALIKE


@pytest.mark.parametrize("along", [0, 1])
def test_a_single_row_or_column_has_each_loss_and_each_hole_in_its_place(along: int) -> None:
    axes: list[Any] = ["-1:1:7", [0.0]] if along == 0 else [[0.0], "-1:1:7"]
    surface = surface_of(lambda x, y: 10 + x + y + (x + y) ** 2, *axes)
    loss = surface.loss.copy()
    loss.ravel()[1] = np.nan
    drawing, scale = picture("contour", view_of(with_loss(surface, loss))), scale_of([loss])
    panel, bar = drawing.axes(0), drawing.bar()
    for k, (x, y, wanted) in enumerate(points(with_loss(surface, loss))):
        a, b = (x, y + 0.3) if along == 0 else (x + 0.3, y)  # beside the marks
        if k == 1:
            assert hatched(drawing.within(panel, (a - 0.1, a + 0.1), (b - 0.1, b + 0.1)))
        elif 0 < k < 6:
            assert (
                apart(drawing.near(panel, a, b), drawing.near(bar, 0.5, float(scale.height(np.array(wanted))))) < ALIKE
            )


# ---- files: lines, and what stands on two axes


def slanted(x: Any) -> Any:
    """Lowest at 0.5, on a linear scale."""
    return 10 + (x - 0.5) ** 2


def spread(x: Any) -> Any:
    """Deviations of 64 groups whose standard error is 0.06 (2 + x)."""
    return 0.06 * (2 + x) * np.sqrt(63) * np.resize([1.0, -1.0], 64)


def test_a_curve_its_star_its_band_and_its_accuracy_lie_where_the_numbers_are() -> None:
    surface = surface_of(slanted, "-1:1:41", noise=spread)
    drawing = picture("curve", view_of(replace(surface, metrics={"accuracy": 0.7 - 0.25 * surface.x.values})))
    panel, right = drawing.figure.axes
    blue = of(THEMES[False].line(0))
    assert apart(drawing.near(panel, 0.5, 10.0), of(STAR)) < ALIKE
    for x in (-0.9, -0.65, -0.35, 0.15, 0.85):
        error = 0.06 * (2 + x)
        assert apart(drawing.near(panel, x, slanted(x), reach=2), blue) < 40
        for side in (-1, 1):
            tints = [
                np.median(drawing.near(panel, x, slanted(x) + side * share * error), axis=0) for share in (0.85, 1.2)
            ]
            assert [bool(tint[2] - tint[0] > 15) for tint in tints] == [True, False], (x, side)
        dashes = drawing.within(right, (x - 0.05, x + 0.05), (0.7 - 0.25 * x - 0.015, 0.7 - 0.25 * x + 0.015))
        assert apart(dashes, blue) < 60


def test_the_gaps_of_a_curve_are_hatched_where_the_points_are() -> None:
    surface = surface_of(slanted, "-1:1:9")
    loss, measured = surface.loss.copy(), surface.measured.copy()
    loss[1], loss[3], measured[6] = np.nan, np.inf, False
    panel = (drawing := picture("curve", view_of(replace(surface, loss=loss, measured=measured)))).axes(0)
    low, high = panel.get_ylim()
    band = (low + 0.93 * (high - low), low + 0.98 * (high - low))
    inked = [bool(drawing.within(panel, (x - 0.09, x + 0.09), band).min() < INK) for x in surface.x.values[1:-1]]
    assert [k for k, ink in enumerate(inked, 1) if ink and k != 4] == [1, 3, 6]  # the 4th has the checkpoint's line


def test_an_ascents_dot_is_at_its_highest_step() -> None:
    worst = {
        "worst_adaptive_curves": np.array([[0.0, 0.1, 0.15, 0.2], [0.0, 0.3, 0.1, 0.05]]),
        "worst_curves": np.array([[0.0, 0.05, 0.22, 0.07], [0.0, 0.02, 0.04, 0.06]]),
    }
    drawing = picture("ascent", of_section("sharpness", **worst))
    for k, place in enumerate([(1, 0.3), (2, 0.22)]):
        solid = drawing.near(drawing.axes(0), *place, reach=3)
        assert np.abs(solid - of(THEMES[False].line(k))).max() < ALIKE


def test_an_eigenvalues_stroke_and_label_stand_at_its_value() -> None:
    drawing = picture("spectrum", of_section("hessian"))
    panel = drawing.axes(0)
    for name, value in {"λ1": 5.0, "λ2": 1.0, "λ3": 0.5, "λP": -0.02}.items():
        (text,) = [text for text in panel.texts if text.get_text().startswith(f"{name} ")]
        assert float(text.get_text().split()[2]) == value
        box, (at, _) = text.get_window_extent(), panel.transData.transform((value, 1.0))
        assert box.x0 - 1 <= at <= box.x1 + 1
        low = panel.get_ylim()[0]
        column = drawing.within(panel, (value, value), (low * 10, low * 1e4))
        assert apart(column, of(THEMES[False].line(1))) < 60
    peak, small = (drawing.top(panel, x, THEMES[False].line(0)) for x in (0.01, 4.97))  # beside the strokes
    assert peak > small + 20


def test_bars_of_eigenvalues_point_to_the_left_where_they_are_negative() -> None:
    view = of_section("hessian")
    whole = view.section("hessian")
    ends = {name: array for name, array in whole.arrays.items() if "density" not in name}
    profile = replace(view.profile, sections={"hessian": replace(whole, arrays=ends)})
    panel = (drawing := picture("spectrum", View("run.h5", profile))).axes(0)
    labels = [label.get_text() for label in panel.get_yticklabels()]
    numbers = {round(text.xy[1]): float(text.get_text().split()[0]) for text in panel.texts}  # by row
    for name, value in {"λ1": 5.0, "λ2": 1.0, "λ3": 0.5, "λP-1": -0.01, "λP": -0.02}.items():
        row = labels.index(name)
        assert numbers[row] == pytest.approx(value)
        inside, beyond, across = (np.median(drawing.near(panel, s * value, row + 0.2), 0) for s in (0.8, 1.3, -0.5))
        assert np.ptp(inside) > 60 > max(np.ptp(beyond), np.ptp(across))


def test_a_merge_trees_connectors_join_each_basin_to_the_one_that_takes_over() -> None:
    knots = [9.0, 1.0, 5.3, 3.0, 4.1, 2.0, 9.0]
    valleys = surface_of(lambda x: np.interp(x, np.linspace(-1, 1, 7), knots), "-1:1:61")
    drawing = picture("tree", view_of(valleys))
    panel = drawing.axes(0)
    place = {float(text.get_text().split("\n")[-1]): text.xy[0] for text in panel.texts}  # by the loss in its label
    joined = {5.3: (place[2.0], place[1.0]), 4.1: (place[3.0], place[2.0])}
    for height, pair in joined.items():
        for gap in (0.5, 1.5):
            inked = bool(drawing.near(panel, gap, height, reach=2).min() < INK)
            assert inked == (min(pair) < gap < max(pair)), (height, gap)


# ---- the terminal


def rows_of(text: str) -> list[str]:
    """The rows of a picture, from the first number at the left to the second."""
    lines = text.splitlines()
    first, last = (i for i, row in enumerate(lines) if re.fullmatch(r" *[-\d.e+]+ ", bare(row).ljust(9)[:9]))
    return lines[first : last + 1]


def test_a_curve_of_letters_is_not_upside_down() -> None:
    low, high = (surface_of(lambda x, c=c: (x - 0.5) ** 2 + c, "-1:1:41") for c in (1.0, 4.0))
    rows = [row[9:].ljust(SMALL.across) for row in rows_of(drawn("curve", [view_of(low, high)], SMALL))]
    first = {letter: next(i for i, row in enumerate(rows) if letter in row) for letter in "ab"}
    assert first["b"] == 0 < first["a"]
    assert np.mean([i for i, sign in enumerate(rows[-1]) if sign == "a"]) == pytest.approx(0.75 * SMALL.across, abs=2)
    assert "b" not in rows[-1]


def half_rows(text: str) -> list[list[int]]:
    """The colours of a map's half-rows from above, by column; 0 where a mark stands."""
    found: list[list[int]] = []
    for row in rows_of(text):
        upper, lower, ink = [], [], (0, 0)
        for style, sign in re.findall(r"(?:\x1b\[([\d;]*)m)?(.)", row[row.index("\x1b") :]):
            if style and style.count(";") > 4:
                ink = int(style.split(";")[3]), int(style.split(";")[6])
            if sign in "▀*+":
                upper.append(ink[0] if sign == "▀" else 0)
                lower.append(ink[1] if sign == "▀" else 0)
        found += [upper, lower]
    return found


@pytest.mark.parametrize("width", [40, 80])
def test_each_half_of_a_block_has_the_colour_of_the_point_below_it(width: int) -> None:
    surface = asymmetric()
    halves = half_rows(drawn("contour", [view_of(surface)], Screen(width, 26, colour=True)))
    height = scale_of([surface.loss]).height(surface.loss)
    for r, row in enumerate(halves):
        for c, colour in enumerate(row):
            loss = height[int((c + 0.5) * 9 / len(row)), 4 - int((r + 0.5) * 5 / len(halves))]
            assert colour in (0, SHADES[min(11, int(loss * 12))])


@pytest.mark.parametrize("colour", [False, True])
def test_the_numbers_beside_a_map_are_its_first_and_last_coordinates(colour: bool) -> None:
    for kind, surface, x, y in (
        ("contour", asymmetric(), ["-1", "1"], ["0.5", "-0.5"]),
        ("curvature", surface_of(bowl, "-1:1:9", "-0.6:0.6:7"), ["-0.75", "0.75"], ["0.4", "-0.4"]),
    ):
        text = drawn(kind, [view_of(surface)], Screen(80, 30, colour))
        rows = rows_of(text)
        assert [bare(rows[k])[:9].strip() for k in (0, -1)] == y
        lines = text.splitlines()
        assert lines[lines.index(rows[-1]) + 1].split() == x


def test_a_curvature_map_of_letters_has_each_share_where_it_is() -> None:
    rows = [row[9:] for row in rows_of(drawn("curvature", [view_of(bent())], SMALL))]
    across = SMALL.across // 5 * 5  # of 5 × 3 points
    for i, x in enumerate(np.linspace(-0.5, 0.5, 5)):
        for j, y in enumerate((-0.5, 0.0, 0.5)):
            share = max(0.0, -12 * x / (9 + 4 * y))
            row = rows[int((2.5 - j) / 3 * len(rows))].ljust(across)
            assert row[int((i + 0.5) / 5 * across)] in ("+", DENSITY[min(9, int(share * 10))]), (x, y)
