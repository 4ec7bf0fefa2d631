"""`landscape plot -o run.html`: what the page holds, and what a browser shows of it."""

from __future__ import annotations

import json
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
from test_plot import EVIL, LOWEST, asymmetric, bowl, profile_of, sections, view_of

from landscape_cli import store
from landscape_cli.cli.main import main
from landscape_cli.errors import LandscapeError
from landscape_cli.profile import Profile, Provenance, Surface
from landscape_cli.report.picture.page import page
from landscape_cli.report.picture.view import View

KNOWN = ((-1.0, 0.5), LOWEST, (0.75, -0.5))  # on the grid of `asymmetric`: a corner, the lowest point, an edge
MEGABYTE = 1 << 20
HESSIAN = {"hessian": sections()["hessian"]}


def held(text: str) -> dict[str, Any]:
    """The page's data."""
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert block
    data: dict[str, Any] = json.loads(block[1])
    return data


def with_accuracy(surface: Surface) -> Surface:
    return replace(surface, metrics={"accuracy": 1 / (1 + surface.loss)})


def wells(x: Any, y: Any) -> Any:
    """Two minima on y = 0.2, the deeper one on the right, with a saddle between."""
    return 1 + (x**2 - 0.5) ** 2 - 0.1 * x + (y - 0.2) ** 2


@pytest.mark.parametrize("where", KNOWN)
def test_the_data_hold_each_loss_where_it_is(where: tuple[float, float]) -> None:
    panel = held(page([view_of(with_accuracy(asymmetric(noise=0.1)))]))["panels"][0]
    i, j = panel["x"].index(where[0]), panel["y"].index(where[1])
    assert (len(panel["x"]), len(panel["y"])) == (9, 5)
    split, k = panel["splits"]["train"], i * 5 + j
    assert split["loss"][k] == pytest.approx(bowl(*where), abs=0.1)
    assert split["stderr"][k] == pytest.approx(0.1 / 8, rel=0.5)
    assert split["metrics"]["accuracy"][k] == pytest.approx(1 / (1 + split["loss"][k]), rel=1e-4)
    assert split["status"][k] == "o"


def test_what_is_no_number_is_null_and_says_why() -> None:
    surface = asymmetric()
    loss, measured = surface.loss.copy(), surface.measured.copy()
    loss[0, :3], measured[8, 4] = (np.nan, np.inf, -np.inf), False
    split = held(page([view_of(replace(surface, loss=loss, measured=measured))]))["panels"][0]["splits"]["train"]
    assert split["status"] == "nimoo" + "o" * 39 + "u"
    assert [value is None for value in split["loss"]] == [letter != "o" for letter in split["status"]]


def test_evil_names_stay_names() -> None:
    view = replace(view_of(asymmetric(), notes=("</script><script>alert(1)</script>",)), file=f"{EVIL}</script>.h5")
    recipe = {"kind": "</script><!--{{script}}", "seed": "\u2028"}
    record = replace(view.record, directions=(recipe, recipe))
    text = page([View(view.file, replace(view.profile, planes={"main": record}))])
    assert text.count("<script") == text.count("</script") == 2
    assert "<!--" not in text
    assert "<b>" not in text
    assert "\u2028" not in text
    assert "\x1b" not in text
    assert "</script><!--{{script}}" in held(text)["panels"][0]["labels"][0]


def test_a_page_of_10201_points_and_two_splits_is_below_5_mb() -> None:
    splits = [with_accuracy(surface_of(bowl, "-1:1:101", "-1:1:101", noise=0.1, seed=seed)) for seed in (0, 1)]
    assert len(page([view_of(*splits)]).encode()) < 5 * MEGABYTE


def test_nothing_is_fetched() -> None:
    text = page([view_of(asymmetric())])
    assert not re.search(r"https?:", text)
    assert not re.search(r"""(?:src|href)=(?!"data:)|@import|url\(|fetch\(|XMLHttp|import\(""", text)
    assert "default-src 'none'" in text


def test_several_runs_are_on_one_scale() -> None:
    high = surface_of(lambda x, y: 50 * bowl(x, y), "-1:1:9", "-0.5:0.5:5")
    data = held(page([view_of(asymmetric()), view_of(high, file="b.h5")]))
    assert [panel["scale"] for panel in data["panels"]] == [0, 0]
    assert data["scales"][0]["log"]["low"] == asymmetric().loss.min()
    assert data["scales"][0]["log"]["high"] == high.loss.max()


def test_every_plane_of_one_run_is_there_unless_one_is_asked_for() -> None:
    line = profile_of(surface_of(lambda x: x**2 + 0.1, "-1:1:9"), plane="line")
    both = profile_of(asymmetric())
    both = replace(both, planes={**both.planes, **line.planes})
    data = held(page([View("run.h5", both)]))
    assert [panel["y"] is None for panel in data["panels"]] == [False, True]
    assert len(data["scales"]) == 2
    assert [panel["y"] for panel in held(page([View("run.h5", both, "line")]))["panels"]] == [None]


def test_a_basin_ends_at_the_saddle_where_it_drains() -> None:
    data = held(page([view_of(surface_of(wells, "-1.2:1.2:49", "-0.8:1:37"))]))
    points = data["panels"][0]["splits"]["train"]["points"]
    (shallow,) = [point for point in points if "until" in point and point["sure"]]
    assert shallow["x"] == pytest.approx(-0.68, abs=0.06)
    assert shallow["y"] == pytest.approx(0.2, abs=0.06)
    assert points[shallow["into"]]["x"] > 0
    assert shallow["until"] == pytest.approx(points[shallow["saddle"]]["loss"], abs=1e-9)


def test_a_run_without_a_plane_has_its_spectrum_and_report() -> None:
    hessian = Profile("p", Provenance(), profile_of(asymmetric()).centre, {}, HESSIAN)
    text = page([View("run.h5", hessian)])
    assert held(text) == {"panels": [], "scales": []}
    assert "<svg" in text
    assert "λ1" in text
    assert "hessian.top.0" in text
    assert 'id="split"' not in text


@pytest.mark.parametrize(
    "surface",
    [
        surface_of(lambda x: x**2 + 0.1, "-1:1:9"),
        surface_of(bowl, "-1:1:3", "-1:1:3"),
        surface_of(bowl, [0.0], "-1:1:5"),
        surface_of(lambda x, y: 2.3 + 0 * x, "-1:1:5", "-1:1:5"),
        surface_of(lambda x, y: np.nan * x, "-1:1:5", "-1:1:5"),
    ],
    ids=["line", "3 x 3", "1 x 5", "constant", "no number"],
)
def test_every_odd_surface_has_a_page(surface: Surface) -> None:
    assert len(held(page([view_of(surface)]))["panels"]) == 1


def test_what_a_page_cannot_hold_is_said() -> None:
    with pytest.raises(LandscapeError, match="13 runs"):
        page([view_of(asymmetric())] * 13)
    with pytest.raises(LandscapeError, match="nothing to draw"):
        page([View("run.h5", Profile("p", Provenance(), {}, {}))])


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run.h5", tmp_path / "run.html"
    store.save(profile_of(asymmetric()), run)
    assert main(["plot", str(run), "-o", str(out)]) == 0
    assert held(out.read_text("utf-8"))["panels"]
    assert main(["plot", str(run), "-o", str(out), "--force", "--kind", "tree"]) == 2
    assert "leave out --kind" in capsys.readouterr().err


# ---- in a browser: the Chromium that LANDSCAPE_CHROMIUM names, the system's, or Playwright's own


def chromium() -> str | None:
    """None: Playwright's own."""
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
    number = re.fullmatch(r"a = (\S+), b = (\S+): loss (\S+) ± 0, accuracy (\S+)", told)
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


def test_a_phone_shows_it_all_without_scrolling_sideways(shown: Any) -> None:
    window = shown(two_splits())
    window.set_viewport_size({"width": 375, "height": 700})
    assert window.evaluate("document.documentElement.scrollWidth") <= 375


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
