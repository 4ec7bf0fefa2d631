"""What a browser shows of `landscape plot -o run.html`, offline; skipped where there is no Chromium."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest
from problems import surface_of
from test_page import HESSIAN, KNOWN, SECTIONS, of_section, saddle, wells, with_accuracy
from test_plot import LOWEST, asymmetric, bowl, view_of

from landscape_cli.analyse.rounding import rounded
from landscape_cli.analyse.surface import standard_errors
from landscape_cli.report.picture.page import page
from landscape_cli.report.picture.view import View


def chromium() -> str | None:
    """The one that LANDSCAPE_CHROMIUM names, or the system's; None: Playwright's own."""
    return os.environ.get("LANDSCAPE_CHROMIUM") or which("chromium") or which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with sync.sync_playwright() as started:
        try:
            found = started.chromium.launch(executable_path=chromium())
        except sync.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture
def shown(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """A function that opens a page from disk, offline; a complaint of the browser or a request fails the test."""
    context, complaints = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True), []
    asked: list[str] = []
    window = context.new_page()
    window.on("console", lambda message: complaints.append(message.text))
    window.on("pageerror", lambda error: complaints.append(str(error)))
    window.on("request", lambda request: asked.append(request.url))

    def opened(*views: View) -> Any:
        (tmp_path / "run.html").write_text(page(views), "utf-8")
        window.goto((tmp_path / "run.html").as_uri())
        return window

    yield opened
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    context.close()


def two_splits() -> View:
    return view_of(with_accuracy(asymmetric()), surface_of(lambda x, y: 10 + bowl(x, y), "-1:1:9", "-0.5:0.5:5"))


def hover(window: Any, a: float, b: float) -> str:
    """The read-out with the pointer on a point of `asymmetric`, whose cells' edges are 1.125 and 0.5625 away."""
    box = window.locator(".map").bounding_box()
    left, right, top, bottom = 58, 74, 10, 44
    x = left + (a + 1.125) / 2.25 * (box["width"] - left - right)
    y = top + (0.625 - b) / 1.25 * (box["height"] - top - bottom)
    window.locator(".map").hover(position={"x": x, "y": y})
    return str(window.locator("output").inner_text())


@pytest.mark.parametrize("where", KNOWN)
def test_the_read_out_is_the_point_below_the_pointer(shown: Any, where: tuple[float, float]) -> None:
    told = hover(shown(two_splits()), *where)
    number = re.fullmatch(r"a = (\S+), b = (\S+): loss (\S+), accuracy (\S+)", told)
    assert number, told
    loss = bowl(*where)
    assert [float(text) for text in number.groups()] == pytest.approx([*where, loss, 1 / (1 + loss)], rel=1e-4)


def test_the_split_and_the_scale_switch(shown: Any) -> None:
    window = shown(two_splits())
    before = window.locator(".map").screenshot()
    window.locator("[name=scale]:not(:checked)").check()
    assert window.locator(".map").screenshot() != before
    window.locator("#split").select_option("test")
    assert f"loss {10 + bowl(*LOWEST):.4g}" in hover(window, *LOWEST)
    assert window.locator(".points:visible").get_attribute("data-split") == "test"


def test_the_keyboard_reaches_everything(shown: Any) -> None:
    window = shown(two_splits())
    window.locator(".map").focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowDown"):
        window.keyboard.press(key)
    assert window.locator("output").inner_text().startswith("a = 0.5, b = -0.25:")
    window.locator(".surface").focus()
    before = window.locator(".surface").screenshot()
    window.keyboard.press("ArrowLeft")
    assert window.locator(".surface").screenshot() != before


def test_the_pointer_on_the_surface_moves_the_same_cursor(shown: Any) -> None:
    window = shown(two_splits())
    told = set()
    for x in (0.3, 0.5, 0.7):
        box = window.locator(".surface").bounding_box()
        window.locator(".surface").hover(position={"x": box["width"] * x, "y": box["height"] * 0.55})
        told.add(window.locator("output").inner_text())
    assert len(told) == 3


def test_a_critical_point_is_shown_where_it_is(shown: Any) -> None:
    window = shown(view_of(surface_of(wells, "-1.2:1.2:49", "-0.8:1:37")))
    row = window.locator("tr", has_text="minimum").filter(has_text="over").first
    before = window.locator(".map").screenshot()
    row.locator("button").press("Enter")
    assert row.locator("button").get_attribute("aria-pressed") == "true"
    assert window.locator(".map").screenshot() != before
    assert re.match(r"a = -0\.(65|7), b = 0\.2:", window.locator("output").inner_text())


def pixels(window: Any, canvas: str, x: float, y: float, wide: int = 1, high: int = 1) -> Any:
    """[rows, columns, RGBA] of a canvas, from a place that is told in its CSS pixels."""
    script = """(canvas, box) => {
      const pen = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
      pen.drawImage(canvas, 0, 0);
      return [...pen.getImageData(...box).data];
    }"""
    box = [round(x), round(y), wide, high]
    return np.array(window.locator(canvas).evaluate(script, box)).reshape(high, wide, 4)


def test_a_chosen_basin_is_not_drawn_into_the_deeper_one(shown: Any) -> None:
    window = shown(view_of(surface_of(wells, "-1.2:1.2:25", "-0.8:1:37")))
    window.locator(".map").press("Shift+ArrowUp")  # the cursor away from y = 0.2
    box = window.locator(".map").bounding_box()

    def dots(x: float) -> int:
        """The white pixels of the map around (x, 0.4), inside a basin and away from marks."""
        at = 58 + (x + 1.25) / 2.5 * (box["width"] - 132), 10 + (1.025 - 0.4) / 1.85 * (box["height"] - 54)
        around = pixels(window, ".map", at[0] - 3, at[1] - 3, 7, 7)
        return int((around[..., :3] >= 250).all(-1).sum())

    window.locator("tr", has_text="minimum").filter(has_text="over").first.locator("button").click()
    assert dots(-0.6) > 0
    assert dots(0.6) == 0


SPY = """() => {
  const write = CanvasRenderingContext2D.prototype.fillText;
  window.written = [];
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
    const at = this.getTransform().transformPoint(new DOMPoint(x, y)), wide = this.measureText(text).width;
    const left = at.x - { left: 0, center: wide / 2, right: wide }[this.textAlign];
    window.written.push({ on: this.canvas.className, text, left, right: left + wide, y: at.y - 4 });
    write.call(this, text, x, y);
  };
}"""


def written(window: Any, canvas: str, key: str = "Home") -> list[dict[str, Any]]:
    """The words on a canvas as it is drawn anew, each with its ends and its middle in CSS pixels."""
    window.evaluate(SPY)
    window.locator("[name=scale]:not(:checked)").check()
    window.locator("[name=scale]:not(:checked)").check()
    window.evaluate("window.written = []")
    window.locator(f".{canvas}").press(key)
    window.locator("#split").dispatch_event("change")
    found: list[dict[str, Any]] = window.evaluate("window.written")
    return [word for word in found if word["on"] == canvas]


def gone(x: Any) -> Any:
    """A parabola with NaN from 0.5 to 0.7, and 1e30 beyond."""
    return np.where(x > 0.71, 1e30, np.where(x > 0.49, np.nan, 1 + x**2))


LEFT, RIGHT, TOP, BELOW, HEAD, FOOT = 58, 74, 10, 44, 40, 8  # of the page's pictures


def test_a_line_is_hatched_where_it_has_no_number_and_above_the_scale(shown: Any) -> None:
    window = shown(view_of(surface_of(gone, "-1:1:41")))
    box = window.locator(".map").bounding_box()
    words = {word["text"]: (word["left"] + word["right"]) / 2 for word in written(window, "map")}

    def drawn(a: float) -> Any:
        """The part of the frame around a, below the words and above the curve's lower half."""
        x = LEFT + (a + 1.025) / 2.05 * (box["width"] - LEFT - RIGHT)
        return pixels(window, ".map", x - 12, 60, 24, 100).reshape(-1, 4)

    above = next(word for word in words if word.startswith("above "))
    places = {
        name: LEFT + (a + 1.025) / 2.05 * (box["width"] - LEFT - RIGHT) for name, a in (("NaN", 0.6), (above, 0.87))
    }
    for name, place in places.items():
        assert words[name] == pytest.approx(place, abs=30)
    hatched = {a: float((drawn(a)[:, 3] > 0).mean()) for a in (0.2, 0.6, 0.87)}
    assert hatched[0.2] < 0.05 < 0.1 < hatched[0.6] < hatched[0.87] - 0.05  # crossed lines are more
    all_of_it = pixels(window, ".map", places[above] - 12, TOP + 2, 24, round(box["height"]) - BELOW - TOP - 4)
    blue = (all_of_it[..., 2].astype(int) - all_of_it[..., 0] > 100) & (all_of_it[..., 3] > 200)
    assert not blue.any()  # no plateau of the line


def test_the_band_keeps_its_shape_beyond_the_top_of_the_scale(shown: Any) -> None:
    """Of a line from 1 to 2 with the error 0.1: at the right edge the upper half is above the scale."""
    apart = np.tile([0.8, -0.8], 32)
    window = shown(view_of(surface_of(lambda x: 1.5 + 0.5 * x, "-1:1:41", noise=lambda x: 0 * x + apart)))
    window.locator("[name=scale][value=linear]").check()
    box = window.locator(".map").bounding_box()
    room = box["height"] - BELOW - TOP - FOOT - HEAD
    x = LEFT + (0.96 + 1.025) / 2.05 * (box["width"] - LEFT - RIGHT)
    column = pixels(window, ".map", x, 0, 1, round(box["height"])).reshape(-1, 4)
    shaded = np.flatnonzero((column[:, 3] > 20) & (column[:, 2].astype(int) - column[:, 0] > 40))
    middle, half = box["height"] - BELOW - FOOT - 0.98 * room, 0.1 * room
    assert (shaded[0], shaded[-1]) == (pytest.approx(middle - half, abs=3), pytest.approx(middle + half, abs=3))


def test_the_accuracy_has_its_own_axis_at_its_own_heights(shown: Any) -> None:
    line = surface_of(lambda x: 1 + x**2, "-1:1:41")
    window = shown(view_of(replace(line, metrics={"accuracy": np.full(41, 0.5)})))
    box = window.locator(".map").bounding_box()
    words = written(window, "map")
    right = {word["text"]: word["y"] for word in words if word["left"] > box["width"] - RIGHT}
    column = pixels(window, ".map", LEFT + 30, 0, 60, round(box["height"]))
    rows = np.flatnonzero((column[..., 2] > column[..., 0] + 60.0).any(1) & (column[..., 3] > 150).any(1))
    assert right["0.5"] == pytest.approx((right["0"] + right["1"]) / 2)
    assert np.abs(rows - right["0.5"]).min() <= 1.5
    assert right["0"] == pytest.approx(box["height"] - BELOW - FOOT)
    assert "accuracy" in {word["text"] for word in words}


def test_the_read_out_is_rounded_by_its_error_as_in_the_report(shown: Any) -> None:
    levels = np.array([6.21372e-3, 123.456, 7.77e-7, 2.345678e9, 0.99996, 0.0, -1e-4])
    spreads = np.array([0.01, 3.0, 2e-8, 7e8, 0.07, 8e-6, 0.5])
    apart = np.tile([1.0, -1.0], 32)

    def of(values: Any) -> Any:
        return lambda x: values[np.rint(x).astype(int)]

    surface = surface_of(of(levels), "0:6:7", noise=lambda x: of(spreads)(x) * apart)
    window, errors = shown(view_of(surface)), standard_errors(surface)
    window.locator(".map").press("Home")
    for loss, error in zip(surface.loss.tolist(), errors.tolist(), strict=True):
        told = window.locator("output").inner_text().split("loss ")[1]
        assert told == " ± ".join(rounded(loss, error))
        assert float(window.locator("output").get_attribute("title").split()[1]) == loss
        window.locator(".map").press("ArrowRight")


@pytest.mark.parametrize(("x", "y"), [("-2:2:81", "-1:1:41"), ("-1:1:41", "-2:2:81")])
def test_a_circle_is_a_circle(shown: Any, x: str, y: str) -> None:
    """On a window that is twice as long one way; an upright one is no higher than 1.15 times the picture's width."""
    window = shown(view_of(surface_of(lambda x, y: 1 + x**2 + y**2, x, y)))
    box = window.locator(".map").bounding_box()
    wide, high = (4.05, 2.05) if x.startswith("-2") else (2.05, 4.05)
    unit = (box["height"] - TOP - BELOW) / high
    assert unit == pytest.approx(
        min((box["width"] - LEFT - RIGHT) / wide, (1.15 * box["width"] - TOP - BELOW) / high), rel=0.01
    )
    middle = LEFT + unit * wide / 2, TOP + unit * high / 2
    shades = [
        np.median(
            pixels(window, ".map", middle[0] + a * unit - 3, middle[1] + b * unit - 3, 7, 7).reshape(-1, 4), axis=0
        )
        for a, b in ((0.75, 0.03), (0.03, 0.75), (-0.75, 0.03))
    ]
    for shade in shades[1:]:
        np.testing.assert_allclose(shade, shades[0], atol=8)


@pytest.mark.parametrize("turns", [0, 6, 12, 20, 33])
def test_the_surface_names_its_axes_and_no_words_collide(shown: Any, turns: int) -> None:
    window = shown(view_of(surface_of(lambda x, y: 1 + 50 * (x**2 + y**2), "-1:1:21", "-1:1:21")))
    for _ in range(turns):
        window.locator(".surface").press("ArrowLeft")
    words = written(window, "surface")
    assert [word["text"] for word in words[:6]] == ["-1", "a", "1", "-1", "b", "1"]
    assert words[-1]["text"] == "loss"
    heights = {word["text"]: word["y"] for word in words[6:-1]}
    assert {"1", "10", "100"} <= set(heights)
    assert heights["1"] - heights["10"] == pytest.approx(heights["10"] - heights["100"], abs=0.5)
    for k, word in enumerate(words):
        for other in words[:k]:
            apart = word["left"] > other["right"] or other["left"] > word["right"] or abs(word["y"] - other["y"]) > 10
            assert apart, (word, other)


def test_the_map_shows_the_curvature_and_reads_it_out(shown: Any) -> None:
    window = shown(view_of(surface_of(saddle, "-1:1:21", "-1:1:21")))
    box = window.locator(".map").bounding_box()
    place = (58 + 0.3 * (box["width"] - 132), 10 + 0.3 * (box["height"] - 54))
    found = {}
    for name, told in (("lowest", "λmin -0.5"), ("highest", "λmax 2"), ("share", "-λmin/|λmax| 0.25")):
        window.locator("#map").select_option(name)
        assert window.locator("output").inner_text().endswith(f", {told}")
        found[name] = np.median(pixels(window, ".map", *place, 9, 9).reshape(-1, 4), axis=0)
    assert found["lowest"][0] > found["lowest"][2] + 5  # orange: negative
    assert found["highest"][2] > found["highest"][0] + 20  # purple: positive
    window.locator(".map").press("Home")
    for _ in range(3):
        window.locator(".map").press("Shift+ArrowLeft")
    assert window.locator("output").inner_text().endswith("-λmin/|λmax| none")
    window.locator("#map").select_option("loss")
    assert "λ" not in window.locator("output").inner_text()


@pytest.mark.parametrize(("count", "coarse"), [(101, True), (21, False)])
def test_a_large_surface_is_coarse_while_it_turns_and_whole_at_rest(shown: Any, count: int, coarse: bool) -> None:
    window = shown(view_of(surface_of(bowl, f"-1:1:{count}", f"-1:1:{count}")))
    surface = window.locator(".surface")
    box = surface.bounding_box()
    window.mouse.move(box["x"] + 200, box["y"] + 150)
    window.mouse.down()
    window.mouse.move(box["x"] + 290, box["y"] + 150)
    turning = surface.evaluate("canvas => canvas.toDataURL()")
    window.mouse.up()
    assert (turning != surface.evaluate("canvas => canvas.toDataURL()")) is coarse


def valley(x: Any, y: Any) -> Any:
    """Rises to the back, with a wall along y = 0 and a minimum behind it, at y = 0.356."""
    return 4 + 3 * y + 4 * np.exp(-((y / 0.2) ** 2)) + x**2


def test_a_minimum_behind_a_wall_is_hidden_and_its_ring_is_not(shown: Any) -> None:
    window = shown(view_of(surface_of(valley, "-1:1:41", "-1:1:41")))
    surface = window.locator(".surface")
    box = surface.bounding_box()
    window.locator("[name=scale][value=linear]").check()
    window.locator(".map").press("Shift+ArrowLeft")  # the cursor away from the minimum

    def seen(pitch: float, colour: tuple[int, int, int]) -> int:
        """The pixels of this colour around the minimum, looked at from the front."""
        size = min((box["width"] - 100) / 2.85, box["height"] / 2.7)
        z = 1.3 * (valley(0, 0.356) - 1) / (valley(1, 1) - 1) - 0.65
        y = box["height"] / 2 - size * (z * np.cos(pitch) + 0.356 * np.sin(pitch))
        around = pixels(window, ".surface", box["width"] / 2 - 14, y - 14, 28, 28)
        return int((around[..., :3] == colour).all(-1).sum())

    for _ in range(6):
        surface.press("ArrowRight")
    for key, pitch, visible in (("ArrowDown", 1.5, True), ("ArrowUp", 0.05, False)):
        for _ in range(16):
            surface.press(key)
        assert (seen(pitch, (255, 255, 255)) > 4) is visible
    window.locator("tr", has_text="minimum").filter(has_not_text="border").locator("button:visible").click(timeout=5000)
    assert seen(0.05, (255, 59, 48)) > 10


def test_the_checkpoint_itself_is_shown_without_a_plane(shown: Any) -> None:
    views = [of_section("hessian"), of_section("sharpness", keskar_groups=np.ones((1, 3, 8))), of_section("gradient")]
    for view, name in zip(views, ("Eigenvalues of the Hessian", "Sharpness ascents", ""), strict=True):
        window = shown(view)
        if name:
            assert window.get_by_role("img", name=re.compile(name)).bounding_box()["height"] > 100
    wide = [box.bounding_box()["width"] for box in window.locator(".bars td div").all()]
    assert wide[1] > wide[0] > wide[2] > 5


def test_a_phone_shows_it_all_without_scrolling_sideways(shown: Any) -> None:
    window = shown(
        View("run.h5", replace(two_splits().profile, sections={k: SECTIONS[k] for k in ("hessian", "gradient")}))
    )
    window.set_viewport_size({"width": 375, "height": 700})
    assert window.evaluate("document.documentElement.scrollWidth") <= 375


def of_many_tensors() -> View:
    names = [f"layers.{i}.weight" for i in range(40)]
    section = SECTIONS["gradient"]
    arrays = {k: np.resize(v, (40, *v.shape[1:])) if len(v) == 4 else v for k, v in section.arrays.items()}
    facts = {k: names if isinstance(v, list) and len(v) == 4 else v for k, v in section.facts.items()}
    made = replace(section, arrays=arrays, facts=facts)
    return View("run.h5", replace(two_splits().profile, sections={"gradient": made}))


def test_a_table_that_goes_on_says_so(shown: Any) -> None:
    window = shown(of_many_tensors())
    hint = "document.querySelector('.bars').closest('.scroll').previousElementSibling.innerText"
    assert window.locator(".bars tr").count() == 41
    assert window.evaluate(hint) == "40 rows, scroll down ↓"
    window = shown(of_section("gradient"))
    assert window.evaluate(hint) == ""


def test_a_table_is_whole_in_print(shown: Any) -> None:
    waves = surface_of(lambda x, y: 2 + np.sin(9 * x) * np.sin(9 * y) + 0.3 * x, "-1:1:41", "-1:1:41")
    window = shown(view_of(waves))
    assert "scroll down" in window.locator(".points .more").inner_text()
    window.emulate_media(media="print")
    for box in window.locator(".scroll:visible").all():
        assert box.evaluate("box => box.scrollHeight - box.clientHeight") <= 1


def test_a_phone_shows_loss_and_persistence_and_says_that_there_is_more(shown: Any) -> None:
    window = shown(view_of(surface_of(wells, "-1.2:1.2:49", "-0.8:1:37", noise=0.01)))
    window.set_viewport_size({"width": 390, "height": 800})
    window.wait_for_function("document.querySelector('.points .more').textContent.includes('right')")
    for name in ("loss", "persistence"):
        box = window.locator(".points th", has_text=name).bounding_box()
        assert box["x"] + box["width"] < 390


def test_nothing_covers_the_map_while_the_table_is_in_view(shown: Any) -> None:
    window = shown(view_of(surface_of(wells, "-1.2:1.2:49", "-0.8:1:37")))
    window.locator(".points .scroll").evaluate("box => box.scrollIntoView({ block: 'end' })")
    table, map_ = window.locator(".points .scroll").bounding_box(), window.locator(".map").bounding_box()
    assert 0 <= map_["y"] < table["y"] + table["height"] <= 901
    window.locator(".map").evaluate("map => map.scrollIntoView({ block: 'start' })")
    map_ = window.locator(".map").bounding_box()
    at = [map_["x"] + map_["width"] / 2, map_["y"] + 5]
    assert window.evaluate("([x, y]) => document.elementFromPoint(x, y).className", at) == "map"


def test_the_button_that_turns_the_surface_stops_it(shown: Any) -> None:
    window = shown(two_splits())
    for told in ("Rotate", "Stop", "Rotate"):
        assert window.locator("#spin").inner_text() == told
        window.locator("#spin").click()


def test_nan_walls_lines_several_runs_and_a_run_without_planes_make_no_error(shown: Any) -> None:
    surface = asymmetric()
    loss = surface.loss.copy()
    loss[0], loss[-1, -1], loss[3, 3] = np.nan, np.inf, 1e30
    assert "NaN" in hover(shown(view_of(replace(surface, loss=loss))), -1.0, 0.0)
    assert "infinite" in hover(window := shown(view_of(replace(surface, loss=loss))), 1.0, 0.5)
    line = view_of(surface_of(lambda x: x**2 + 0.1, "-1:1:9"), surface_of(lambda x: x**2 + 0.2, "-1:1:9"))
    for views in (
        [line],
        [line, two_splits()],
        [View("run.h5", replace(line.profile, planes={}, sections=HESSIAN))],
    ):
        window = shown(*views)
        assert window.locator("main").inner_text()


def test_a_split_may_be_called_as_what_every_object_has(shown: Any) -> None:
    one, other = view_of(asymmetric()), view_of(asymmetric(), file="other.h5")
    record = other.record
    renamed = replace(record, surfaces={"constructor": record.surface})
    profile = replace(other.profile, planes={"main": renamed}, centre={"constructor": record.surface.centre})
    window = shown(one, View("other.h5", profile))
    assert window.locator("output").count() == 2
    for name in ("constructor", "train"):
        window.locator("#split").select_option(name)
        assert all("loss" in text for text in window.locator("output").all_inner_texts())


@pytest.mark.slow
def test_a_large_surface_is_read_off_too(shown: Any) -> None:
    window = shown(view_of(surface_of(bowl, "-1:1:401", "-1:1:401", groups=2)))
    before = window.locator("output").inner_text()
    box = window.locator(".surface").bounding_box()
    window.locator(".surface").hover(position={"x": 0.5 * box["width"], "y": 0.6 * box["height"]})
    window.locator(".surface").hover(position={"x": 0.4 * box["width"], "y": 0.5 * box["height"]})
    assert window.locator("output").inner_text() != before
