"""What a terminal's map and curves leave out: no hole, wall, end or lone point is hidden, on even and uneven axes."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import surface_of
from test_plot import bowl, view_of, with_loss

from landscape_cli import store
from landscape_cli.cli.main import main
from landscape_cli.report.picture.scale import edges
from landscape_cli.report.picture.screen import Screen
from landscape_cli.report.picture.terminal import drawn
from landscape_cli.report.picture.terminal_curve import sampled
from landscape_cli.report.picture.terminal_map import Grid, place_of, places
from landscape_cli.report.picture.view import View

SMALL = Screen(80, 30, colour=False)
axes = st.lists(st.floats(-10, 10).map(lambda x: round(x, 2)), min_size=1, max_size=40, unique=True).map(sorted)


@given(axes, st.integers(1, 100))
def test_every_point_is_in_a_place_and_every_place_shows_the_cell_it_lies_in(values: list[float], count: int) -> None:
    found, borders = places(np.array(values), count), edges(np.array(values))
    assert len(found) == count
    assert {i for place in found for i in range(place.first, place.last + 1)} == set(range(len(values)))
    middles = borders[0] + (np.arange(count) + 0.5) / count * (borders[-1] - borders[0])
    for place, middle in zip(found, middles, strict=True):
        assert place.first <= place.shown <= place.last
        assert borders[place.shown] - 1e-9 <= middle <= borders[place.shown + 1] + 1e-9


def test_an_even_axis_has_as_many_places_for_each_point() -> None:
    assert [place.shown for place in places(np.linspace(-1, 1, 5), 15)] == [i for i in range(5) for _ in range(3)]


def test_an_uneven_axis_is_drawn_where_it_lies() -> None:
    values = np.array([-1, -0.99, -0.98, -0.97, -0.96, 0, 10.0])
    assert place_of(0.0, values, 100) == pytest.approx(100 * (0 - -1.005) / (15 - -1.005), abs=1)
    assert place_of(10.01, values, 100) is None
    grid = Grid.of(surface_of(bowl, values.tolist(), "-1:1:5"), SMALL)
    ((_, column),) = grid.marks(low=False)
    assert column / len(grid.columns) == pytest.approx(0.063, abs=0.02)


@pytest.mark.parametrize("size", [101, 150, 1001])
def test_no_hole_or_wall_falls_between_the_places(size: int) -> None:
    surface = surface_of(lambda x, y: 1 + x**2 + y**2, f"-1:1:{size}", f"-1:1:{size}")
    for i in (0, 1, 61, size // 2 + 1, size - 2, size - 1):
        for odd, letter in ((np.nan, "?"), (1e30, "^")):
            loss = surface.loss.copy()
            loss[i, 7] = odd
            assert letter in drawn("contour", [view_of(with_loss(surface, loss))], SMALL).split("verdict")[0]


def test_the_checkpoint_is_marked_between_points_too() -> None:
    text = drawn("contour", [view_of(surface_of(bowl, "-1:1:10", "-1:1:10"))], SMALL)
    assert "+ checkpoint" in text
    assert "+" in text.split("loss")[0].replace("+ checkpoint", "")
    outside = drawn("contour", [view_of(surface_of(bowl, "0.5:1:10", "-1:1:10"))], SMALL)
    assert "checkpoint" not in outside.split("loss")[-1]


def test_a_point_alone_between_gaps_is_seen() -> None:
    x = np.linspace(-1, 1, 201)
    height = np.full(201, np.nan)
    height[1::4] = 0.5
    assert np.isfinite(sampled(height, x, 160)).sum() == 50
    surface = surface_of(lambda x: 1 + x**2, "-1:1:201")
    loss = np.where(np.isfinite(height), surface.loss, np.nan)
    text = drawn("curve", [view_of(with_loss(surface, loss))], SMALL)
    assert sum(0x2800 < ord(letter) < 0x2900 for letter in text) >= 40


@pytest.mark.parametrize("kind", ["contour", "curve", "tree"])
@pytest.mark.parametrize("width", [20, 24])
def test_a_narrow_legend_folds_and_loses_no_number(kind: str, width: int) -> None:
    plane = surface_of(bowl, "-1:1:9", "-0.5:0.5:5")
    line = surface_of(lambda x: 1 + x**2, "-1:1:9")
    surface = line if kind == "curve" else plane
    loss = surface.loss.copy()
    loss.flat[0] = 1e30
    text = drawn(kind, [view_of(replace(surface, loss=loss))], Screen(width, 30, colour=False))
    assert max(map(len, text.splitlines())) <= width
    if kind != "tree":
        assert "1e+30" in text


@pytest.mark.parametrize("kind", ["contour", "curve", "tree", "curvature"])
def test_an_encoding_without_blocks_gets_letters(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    surface = surface_of(lambda x: 1 + x**2, "-1:1:9") if kind == "curve" else surface_of(bowl, "-1:1:9", "-0.5:0.5:5")
    path = tmp_path / "run.h5"
    store.save(view_of(surface).profile, path)
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("LINES", "30")
    assert main(["plot", str(path), "--kind", kind]) == 0
    wanted = drawn(kind, [View(str(path), store.load(path))], Screen(100, 30, colour=False, blocks=False))
    written = screen.buffer.getvalue().decode("ascii")
    assert written == wanted.encode("ascii", "replace").decode("ascii")
    assert written.count("?") == sum(not letter.isascii() for letter in wanted) < 12  # λ, ± and · of words
