"""A page has what it shows where its read-out and its curves say; skipped where there is no Chromium."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from typing import Any

import numpy as np
import test_page_browser
from numpy.typing import NDArray
from problems import surface_of
from test_page import held, wells
from test_plot import view_of
from test_plot_orientation import bent

from landscape_cli.report.picture.page import page

browser, shown = test_page_browser.browser, test_page_browser.shown  # fixtures
Image = NDArray[np.int64]  # [rows, columns, RGB]


def image(window: Any, canvas: str) -> Image:
    """What a canvas shows on white paper, at one pixel to a CSS pixel."""
    script = """canvas => {
      const copy = new OffscreenCanvas(canvas.clientWidth, canvas.clientHeight), pen = copy.getContext("2d");
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, copy.width, copy.height);
      pen.drawImage(canvas, 0, 0, copy.width, copy.height);
      const bytes = pen.getImageData(0, 0, copy.width, copy.height).data;
      return [copy.height, copy.width, btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))];
    }"""
    high, wide, held = window.locator(canvas).evaluate(script)
    return np.frombuffer(b64decode(held), np.uint8).reshape(high, wide, 4)[..., :3].astype(np.int64)


def place(drawn: Image, surface: Any, x: float, y: float) -> tuple[int, int]:
    """Row and column of a point on a map; as `hover` of test_page_browser points at it."""
    high, wide, _ = drawn.shape
    shares = [
        (value - axis.values[0] + axis.step / 2) / (np.ptp(axis.values) + axis.step)
        for axis, value in zip(surface.axes, (x, y), strict=True)
    ]
    return int(10 + (1 - shares[1]) * (high - 54)), int(58 + shares[0] * (wide - 132))


def cell(drawn: Image, surface: Any, x: float, y: float, reach: int = 6) -> Image:
    """Around a place beside the point, which a sign or the cursor may cover."""
    row, column = place(drawn, surface, x, y)
    return drawn[row - reach : row + reach + 1, column - reach : column + reach + 1].reshape(-1, 3)


def test_the_data_hold_each_curvature_where_it_is() -> None:
    maps = held(page([view_of(bent())]))["panels"][0]["splits"]["train"]["maps"]
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 5), (-0.5, 0.0, 0.5), indexing="ij")
    wanted = {"lowest": 12 * x, "highest": 9 + 4 * y, "share": np.maximum(0, -12 * x / (9 + 4 * y))}
    for name, values in wanted.items():
        grid = np.array(maps[name], dtype=np.float64).reshape(7, 5)[1:-1, 1:-1]
        np.testing.assert_allclose(grid, values, atol=1e-4)


def test_the_maps_cells_are_lighter_where_the_loss_is_higher(shown: Any) -> None:
    """Losses that no mirror orders alike."""
    surface = surface_of(lambda x, y: 10 + 4 * y - x, "-1:1:9", "-0.6:0.6:5")
    drawn = image(shown(view_of(surface)), ".map")
    places = [(x, y) for x in (-0.75, -0.25, 0.25, 0.75) for y in (-0.3, 0.3)]
    green = [np.median(cell(drawn, surface, x + 0.06, y + 0.08), axis=0)[1] for x, y in places]
    assert np.argsort(green).tolist() == np.argsort([4 * y - x for x, y in places]).tolist()


def test_contours_cross_only_the_cells_where_the_loss_changes(shown: Any) -> None:
    """A slope in one quadrant; beside it, rises that reach no level."""
    surface = surface_of(
        lambda x, y: 10.1 + 0.01 * (x + y) + 8 * np.maximum(x, 0) * np.maximum(y, 0), "-1:1:9", "-1:1:7"
    )
    window = shown(view_of(surface))
    window.locator("[name=scale][value=linear]").check()
    drawn = image(window, ".map")
    for x in (-0.5, 0.5):
        for y in (-2 / 3, 2 / 3):
            plain = len(np.unique(cell(drawn, surface, x + 0.06, y + 0.08), axis=0)) == 1
            assert plain != (x > 0 and y > 0), (x, y)


def test_the_map_has_a_sign_at_each_critical_point(shown: Any) -> None:
    surface = surface_of(wells, "-1.2:1.2:49", "-0.8:1:37")
    drawn = image(shown(view_of(surface)), ".map")
    for x in np.roots([4, 0, -2, -0.1]).real:
        lights = cell(drawn, surface, x, 0.2).min(1)
        assert lights.min() < 20  # white with a black rim
        assert lights.max() > 215


def test_a_surface_seen_from_above_is_its_map(shown: Any) -> None:
    surface = surface_of(lambda x, y: 10 + 4 * y - x, "-1:1:9", "-0.6:0.6:5")
    window = shown(view_of(surface))
    for key in ["ArrowRight"] * 6 + ["ArrowDown"] * 16:  # from the front, then from above
        window.locator(".surface").press(key)
    drawn = image(window, ".surface")
    painted = np.argwhere(np.ptp(drawn, axis=2) > 60)
    (top, left), (bottom, right) = painted.min(0), painted.max(0)

    def green(x: float, y: float) -> float:
        row, column = (bottom + top) / 2 - y * (bottom - top) / 2, (left + right) / 2 + x * (right - left) / 2
        around = drawn[int(row) - 3 : int(row) + 4, int(column) - 3 : int(column) + 4]
        return float(np.median(around.reshape(-1, 3), axis=0)[1])

    assert green(0.7, -0.7) < green(-0.7, -0.7) < green(0.7, 0.7) < green(-0.7, 0.7)


def test_a_curve_its_band_and_its_accuracy_lie_where_the_numbers_are(shown: Any) -> None:
    """Two places of the curve itself tell how many pixels a loss is; an accuracy of 1 is as high as the highest."""

    def loss(x: Any) -> Any:
        return 10 + x + 0.3 * x**2

    def error(x: Any) -> Any:
        return 0.05 * (2 - x)

    surface = surface_of(loss, "-1:1:41", noise=lambda x: error(x) * np.sqrt(63) * np.resize([1.0, -1.0], 64))
    window = shown(view_of(replace(surface, metrics={"accuracy": 0.75 - 0.1 * surface.x.values})))
    window.locator("[name=scale][value=linear]").check()
    blue = (drawn := image(window, ".map"))[..., 2] - drawn[..., 0]
    wide = drawn.shape[1]

    def column(x: float) -> int:
        return int(58 + (x + 1.025) / 2.05 * (wide - 132))

    def line(x: float) -> float:
        """The row of the curve, which is thicker than the accuracy."""
        return float(np.median(np.flatnonzero(blue[:, column(x)] > 120)))

    high, low = line(0.7), line(0.2)
    pixels_each = (low - high) / (loss(0.7) - loss(0.2))
    assert pixels_each > 50

    def row(value: float) -> int:
        return round(float(high + (loss(0.7) - value) * pixels_each))

    for x in (0.1, 0.3, 0.5, 0.8):
        for share in (0.75, 1.3):
            for side in (-1, 1):
                assert (blue[row(loss(x) + side * share * error(x)), column(x)] > 15) == (share < 1), (x, share, side)
    for x in (-0.8, -0.3):
        level = row(loss(-1) + (0.75 - 0.1 * x) * (loss(1) - loss(-1)))
        assert blue[level - 4 : level + 5, column(x) - 6 : column(x) + 7].max() > 60
        assert abs(line(x) - row(loss(x))) < 4
