"""`landscape plot -o run.html`: what the page holds; test_page_browser.py has what a browser shows of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
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
from landscape_cli.report.picture.theme import LOWEST as LOWEST_COLOUR
from landscape_cli.report.picture.view import View

KNOWN = ((-1.0, 0.5), LOWEST, (0.75, -0.5))  # on the grid of `asymmetric`: a corner, the lowest point, an edge
MEGABYTE = 1 << 20
SECTIONS = sections()
HESSIAN = {"hessian": SECTIONS["hessian"]}


def held(text: str) -> dict[str, Any]:
    """The page's data."""
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert block
    data: dict[str, Any] = json.loads(block[1])
    return data


def with_accuracy(surface: Surface) -> Surface:
    return replace(surface, metrics={"accuracy": 1 / (1 + surface.loss)})


def saddle(x: Any, y: Any) -> Any:
    """Its curvatures are 2 and -0.5 everywhere."""
    return 3 + x**2 - 0.25 * y**2


def of_section(name: str, **arrays: Any) -> View:
    """A run of this section alone."""
    section = SECTIONS[name]
    made = replace(section, arrays={**section.arrays, **arrays})
    return View("run.h5", Profile("p", Provenance(), profile_of(asymmetric()).centre, {}, {name: made}))


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


def test_the_checkpoint_the_lowest_point_and_the_samples_are_told_of_each_split() -> None:
    low = surface_of(lambda x, y: bowl(x + 0.5, y), "-1:1:9", "-0.5:0.5:5")
    splits = held(page([view_of(asymmetric(), low)]))["panels"][0]["splits"]
    assert [split["lowest"] for split in splits.values()] == [int(np.argmin(s.loss)) for s in (asymmetric(), low)]
    assert [split["centre"] for split in splits.values()] == [bowl(0, 0), bowl(0.5, 0)]
    assert [split["samples"] for split in splits.values()] == [64, 64]
    aside = surface_of(lambda x, y: np.nan * x, "0.5:1:3", "0.5:1:3")
    split = held(page([view_of(aside)]))["panels"][0]["splits"]["train"]
    assert (split["centre"], split["lowest"]) == (None, None)


@pytest.mark.parametrize(
    ("x", "y", "gram", "equal"),
    [
        ("-2:2:9", "-1:1:5", [[1, 0], [0, 1]], True),
        ("-1:1:9", "-1:1:5", [[1, 0], [0, 3]], True),
        ("-1:1:9", "-1:1:5", [[1, 0], [0, 25]], False),
        ("-5:5:9", "-1:1:5", [[1, 0], [0, 1]], False),
        ("-1:1:9", [0.0], [[1, 0], [0, 1]], False),
    ],
)
def test_units_are_equal_where_both_directions_are_alike(x: str, y: Any, gram: Any, equal: bool) -> None:
    surface = surface_of(bowl, x, y, gram=gram)
    assert held(page([view_of(surface)]))["panels"][0]["equal"] is equal


def test_a_heading_says_whether_it_is_a_line_and_how_many_samples() -> None:
    line = profile_of(surface_of(lambda x: x**2 + 0.1, "-1:1:9"), plane="<way>")
    for profile, told in (
        (line, "line &lt;way&gt; · train, 64 samples"),
        (profile_of(asymmetric()), "plane main · train, 64 samples"),
    ):
        (heading,) = re.findall(r"<h2>(.*?)</h2>", page([View("run.h5", profile)]).split("<h2>Report")[0])
        assert re.sub(r"<[^>]*>", "", heading).endswith(told)


def marks_told(view: View) -> str:
    (told,) = re.findall(r'<p class="note marks">(.*?)</p>', page([view]))
    return re.sub(r"<[^>]*>", "", told).replace("&nbsp;", " ")


def test_the_key_names_the_marks_that_are_drawn() -> None:
    assert marks_told(view_of(surface_of(wells, "-1.2:1.2:49", "-0.8:1:37"))).split(" · ") == [
        "+ checkpoint", "★ lowest point", "○ minimum", "× saddle", "△ maximum", "small: at the border or unsure",
        "chosen below: red ring, its basin dotted; yellow: what it drains into, and over which saddle",
    ]  # fmt: skip
    line = surface_of(lambda x: x**2 + 0.1, "0.5:1:9")
    told = marks_told(view_of(with_accuracy(line), line))
    nothing = surface_of(lambda x, y: np.nan * x, "-1:1:5", "-1:1:5")
    assert "lowest" not in marks_told(view_of(nothing))
    assert told.startswith("━ train · ━ test · dashed: accuracy · band: ± 1 standard error · ★ lowest point · ")
    assert "saddle" not in told


def test_the_star_has_the_colour_of_the_other_pictures() -> None:
    assert f'LOWEST = "{LOWEST_COLOUR}"' in page([view_of(asymmetric())])


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


def joined_to(start: int, below: Any) -> set[int]:
    """The points of a mask (nx, ny) that edges of the triangulation join to one of them."""
    found, waiting = {start}, [start]
    while waiting:
        i, j = divmod(waiting.pop(), below.shape[1])
        for p, q in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1), (i + 1, j + 1), (i - 1, j - 1)):
            k = p * below.shape[1] + q
            if 0 <= p < below.shape[0] and 0 <= q < below.shape[1] and below[p, q] and k not in found:
                found.add(k)
                waiting.append(k)
    return found


def test_a_basin_ends_at_the_grids_own_pass() -> None:
    """The saddle's loss, of a polynomial, is above it here, and floods the deeper basin."""
    surface = surface_of(wells, "-1.2:1.2:25", "-0.8:1:37")
    points = held(page([view_of(surface)]))["panels"][0]["splits"]["train"]["points"]
    (shallow,) = [point for point in points if "until" in point and point["sure"]]
    assert (shallow["x"], shallow["y"]) == (pytest.approx(-0.65, abs=0.06), pytest.approx(0.2, abs=0.06))
    start, deeper = shallow["from"], int(np.argmin(surface.loss))
    assert points[shallow["into"]]["x"] > 0
    assert deeper not in joined_to(start, surface.loss < shallow["until"])
    assert deeper in joined_to(start, surface.loss <= shallow["until"])
    assert deeper in joined_to(start, surface.loss < points[shallow["saddle"]]["loss"])


def test_a_run_without_a_plane_has_its_spectrum_and_report() -> None:
    text = page([of_section("hessian")])
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


def test_the_curvature_is_beside_each_loss_and_null_at_the_border() -> None:
    data = held(page([view_of(surface_of(saddle, "-1:1:5", "-1:1:7"))]))
    maps = data["panels"][0]["splits"]["train"]["maps"]
    for name, value in (("lowest", -0.5), ("highest", 2.0), ("share", 0.25)):
        grid = np.array(maps[name], dtype=np.float64).reshape(5, 7)
        np.testing.assert_allclose(grid[1:-1, 1:-1], value)
        assert np.isnan(grid).sum() == 35 - 15
    assert 0.5 < data["scales"][0]["curvature"] <= 2.0 + 1e-9


@pytest.mark.parametrize("shape", [("-1:1:2", "-1:1:9"), ("-1:1:9", None)])
def test_without_3_x_3_points_there_is_no_choice_of_a_map(shape: tuple[str, str | None]) -> None:
    surface = surface_of(bowl, *shape) if shape[1] else surface_of(lambda x: x**2 + 0.1, shape[0])
    text = page([view_of(surface)])
    assert 'id="map"' not in text
    assert held(text)["panels"][0]["splits"]["train"]["maps"] == {}


@pytest.mark.parametrize("axes", [([0.0], "-1:1:5"), ("-1:1:5", [0.0])])
def test_a_plane_of_one_row_is_no_surface(axes: tuple[Any, Any]) -> None:
    text = page([view_of(surface_of(bowl, *axes))])
    assert 'class="surface"' not in text
    assert 'id="spin"' not in text


def test_bars_are_as_long_as_the_logarithm_of_the_ratio() -> None:
    text = page([of_section("gradient")])
    bars = text[text.index('<table class="bars">') :].split("</table>")[0]
    rows = re.findall(r"<tr><td>([^<]*)</td><td>(.*?)</td><td>([^<]*)</td></tr>", bars)
    assert [row[2] for row in rows] == ["0.3333", "2", "1e-6", "weights 0"]
    assert "<b>" not in rows[3][0]
    wide = [float(re.findall(r"width:([\d.]+)%", row[1])[0]) for row in rows[:3]]
    floor, top = 1e-6 / 3, 4.0
    wanted = [100 * np.log(ratio / floor) / np.log(top / floor) for ratio in (1 / 3, 2.0, 1e-6)]
    np.testing.assert_allclose(wide, wanted, atol=0.06)
    assert [re.findall(r"--line(\d)", row[1]) for row in rows] == [["0"], ["0"], ["1"], []]
    assert f"--median:{wide[0]}%" in text


def labels(text: str) -> dict[str, tuple[float, float, float]]:
    """{name: left end, right end, height} of the eigenvalues' labels, a letter as wide as on a phone."""
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="middle">(λ\S+) = ([^<]*)</text>', text)
    halves = [4.1 * len(f"{name} = {told}") for _, _, name, told in found]
    return {
        name: (float(x) - half, float(x) + half, float(y)) for (x, y, name, _), half in zip(found, halves, strict=True)
    }


@pytest.mark.parametrize(("top", "count"), [([5.0, 1.0, 0.5], 5), ([5.0, 4.99, 4.98, 4.97, 4.96, 4.95, 4.94], 6)])
def test_eigenvalues_are_labelled_and_no_label_covers_another(top: list[float], count: int) -> None:
    """Of more than there is room for the largest; and those at the other end."""
    some = {"top": np.array(top), "top_converged": np.ones(len(top)), "top_residuals": np.zeros(len(top))}
    groups = np.array(top)[:, None] * np.ones(8)
    found = labels(page([of_section("hessian", **some, top_groups=groups)]))
    assert len(found) == count
    assert {"λ1", "λ2", "λP"} <= set(found)
    for name, (left, right, height) in found.items():
        assert left >= 55
        assert right <= 521
        others = [place for other, place in found.items() if other != name]
        assert all(height != y or left >= end - 0.2 or start >= right - 0.2 for start, end, y in others)


def test_the_density_says_its_unit_and_how_finely_it_is_drawn() -> None:
    section = SECTIONS["hessian"]
    bare = replace(section, arrays={k: v for k, v in section.arrays.items() if not k.startswith("density")})
    view = of_section("hessian")
    alone = View("run.h5", replace(view.profile, sections={"hessian": bare}))
    for told in (
        "density per unit of eigenvalue (parameter distance² / loss)</text>",
        "drawn with a width of 1/100 of the window",
    ):
        assert told in page([view])
        assert told not in page([alone])


def test_an_ascent_says_what_the_report_says_of_it() -> None:
    """A box in % of 1 + L; starts that end apart have not converged."""
    apart = np.array([[[0.0, 0.1, 0.3], [0.0, 0.1, 0.1]]])
    ball = {"worst_adaptive_groups": np.full((2, 8), 0.3)}
    text = page([of_section("sharpness", keskar_curves=apart, keskar_groups=np.ones((1, 3, 8)), **ball)])
    (told,) = re.findall(r"<td>(sharpness\.keskar\.0 [^<]*)</td>", text)
    assert told.startswith("sharpness.keskar.0 ≥ ")
    assert told.endswith("(not converged) % of 1 + L")
    assert re.search(r"<td>sharpness\.worst_adaptive ≥ [^<]* loss</td>", text)
    assert re.search(r"<td>sharpness\.worst ≥ [^<]* loss</td>", text)


@pytest.mark.parametrize(("high", "said"), [(0.3, False), (300.0, True)])
def test_what_a_log_scale_of_ascents_leaves_out_is_said(high: float, said: bool) -> None:
    curves = np.array([[[0.0, 0.1, high], [0.0, 0.1, 0.2]]])
    text = page([of_section("sharpness", keskar_curves=curves, keskar_groups=np.ones((1, 3, 8)))])
    assert ("rises of 0 or less have no place on it" in text) is said


def test_a_table_has_no_empty_column() -> None:
    text = page([view_of(asymmetric())])
    assert "<th scope=col>persistence</th>" in text
    assert "drains into" not in text.split("<h2>Report")[0]


def ascents(text: str) -> list[list[tuple[float, float]]]:
    """The corners of every line of the ascents."""
    lines = re.findall(r'<path d="([^"HV]*)" fill="none"', text)
    return [[(float(x), float(y)) for x, y in re.findall(r"([\d.]+),([\d.]+)", line)] for line in lines]


def test_an_ascent_is_as_high_as_its_rise_and_ends_where_it_is_not_finite() -> None:
    text = page([of_section("sharpness", keskar_groups=np.ones((1, 3, 8)))])
    lines = ascents(text)
    assert [len(line) for line in lines] == [3, 3, 3, 3, 3, 2]  # adaptive, plain, box: two starts each
    floor, top = lines[0][0][1], min(y for line in lines for _, y in line)
    rises = [(floor - y) / (floor - top) for _, y in (*lines[0], *lines[5])]
    np.testing.assert_allclose(rises, np.array([0.0, 0.1, 0.3, 0.0, 0.2]) / 0.3, atol=1e-3)
    assert "<td>box, ε = 0.001</td><td>0.3</td><td>2</td>" in text


def test_sections_without_a_finite_number_make_a_page() -> None:
    nothing, zero = np.full((2, 1), np.nan), np.zeros(4)
    lost = {"worst_curves": nothing, "worst_adaptive_curves": nothing, "keskar_curves": nothing[None]}
    text = page([of_section("sharpness", keskar_groups=np.ones((1, 3, 8)), **lost)])
    assert "<td>nan</td><td></td>" in text
    assert ascents(text) == [[]] * 6
    assert page([of_section("gradient", weight_norms=zero)]).count("<td>weights 0</td>") == 4


def test_several_runs_have_one_scale_of_eigenvalues() -> None:
    high = of_section("hessian", top=np.array([50.0, 1.0, 0.5]))
    strokes = re.findall(r'<path d="M([\d.]+),\d+ V[^>]*><title>λ1 ', page([of_section("hessian"), high]))
    alone = re.findall(r'<path d="M([\d.]+),\d+ V[^>]*><title>λ1 ', page([of_section("hessian")]))
    assert float(strokes[0]) < 150 < 450 < float(strokes[1])
    assert float(alone[0]) > 450


def test_runs_of_one_checkpoint_are_told_apart_by_their_files() -> None:
    views = [replace(of_section("hessian"), file=file) for file in ("a.h5", "<b>.h5")]
    text = page([View(view.file, replace(profile_of(asymmetric()), sections=HESSIAN)) for view in views])
    headings = [re.sub(r"<[^>]*>", "", heading) for heading in re.findall(r"<h2>(.*?)</h2>", text)]
    assert sum(heading.startswith("a.h5: ") for heading in headings) == 2
    assert sum(heading.startswith("&lt;b&gt;.h5: ") for heading in headings) == 2


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


def test_a_wall_does_not_set_the_colours_of_the_page_s_curvature() -> None:
    surface = surface_of(lambda x, y: x**2 + 2 * y**2, "-1:1:11", "-1:1:11")
    loss = surface.loss.copy()
    loss[:3, :3] = 1e30
    plain, walled = (held(page([view_of(s)])) for s in (surface, replace(surface, loss=loss)))
    assert walled["scales"][0]["curvature"] == pytest.approx(plain["scales"][0]["curvature"], rel=0.05)
    lowest = np.array(walled["panels"][0]["splits"]["train"]["maps"]["lowest"], dtype=float).reshape(11, 11)
    assert np.isnan(lowest[:4, :4]).all()
    assert np.isfinite(lowest[4:-1, 1:-1]).all()


def test_rounding_is_no_curvature_on_the_page() -> None:
    text = page([view_of(surface_of(lambda x, y: 2.3 + 0 * x * y, "-1:1:5", "-1:1:5"))])
    maps = held(text)["panels"][0]["splits"]["train"]["maps"]
    assert {value for name in ("lowest", "highest", "share") for value in maps[name]} == {0.0, None}


@pytest.mark.parametrize(("large", "said"), [(1000, True), (10_000_000, False)])
def test_a_large_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], large: int, said: bool
) -> None:
    monkeypatch.setattr("landscape_cli.cli.plot.LARGE", large)
    store.save(view_of(asymmetric()).profile, tmp_path / "run.h5")
    assert main(["plot", str(tmp_path / "run.h5"), "-o", str(tmp_path / "run.html")]) == 0
    assert ("MB" in capsys.readouterr().err) is said
