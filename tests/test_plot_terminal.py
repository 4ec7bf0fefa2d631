"""What a terminal shows beside the heat map of a plane and the curve of a line."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import surface_of
from test_plot import EVIL, asymmetric, profile_of, section, sections, view_of

from landscape_cli import store
from landscape_cli.profile import Profile, Provenance
from landscape_cli.report.picture.screen import MARGIN, Screen, bare
from landscape_cli.report.picture.terminal import TERMINAL, drawn
from landscape_cli.report.picture.terminal_curve import columns_of, highest
from landscape_cli.report.picture.terminal_map import DENSITY, SHADES
from landscape_cli.report.picture.terminal_rows import EIGHTHS, Row, bars, block
from landscape_cli.report.picture.view import View

SMALL = Screen(80, 30, colour=False)


def at_checkpoint() -> View:
    return View("run.h5", Profile("p", Provenance(), {}, {}, sections()))


def shown() -> dict[str, View]:
    """Of each kind a run that has it."""
    line = surface_of(lambda x: x**2 + 0.1, "-1:1:21")
    plane = view_of(asymmetric(), job=f"[model]\ncheckpoint = '''{EVIL.replace(chr(27), '')}'''\n")
    views = dict.fromkeys(TERMINAL, at_checkpoint())
    return {**views, "contour": plane, "curvature": plane, "tree": plane, "curve": view_of(line, line)}


def eighths(text: str) -> int:
    """How long the bar in this line is."""
    return sum({"█": 8, "▐": 4}.get(letter, max(0, EIGHTHS.find(letter))) for letter in text)


@pytest.mark.parametrize("kind", TERMINAL)
@pytest.mark.parametrize("width", [24, 40, 80, 200])
def test_no_line_of_any_kind_is_wider_than_the_terminal(kind: str, width: int) -> None:
    for view in (shown()[kind],) * 2:
        plain = drawn(kind, [view, view], Screen(width, 30, colour=False))
        coloured = drawn(kind, [view, view], Screen(width, 30, colour=True))
        assert "\x1b" not in plain
        assert "\x1b" in coloured or kind == "tree"
        assert max(len(bare(line)) for text in (plain, coloured) for line in text.splitlines()) <= width


def test_bars_are_as_long_as_their_values_and_begin_at_one_axis() -> None:
    block = [Row("a", 4.0, "4"), Row("b", 1.0, "1"), Row("c", -2.0, "-2"), Row("d", np.nan, "none")]
    (lines,) = bars([block], Screen(44, 30, False))
    assert [eighths(line) for line in lines] == [8 * 24, 8 * 6, 8 * 12, 0]  # 12 columns at the left, 24 at the right
    axis = lines[0].index("│")
    assert {line.index("│") for line in lines} == {axis}
    assert lines[2][axis - 1] == "█"
    assert lines[0][axis + 1] == "█"
    assert len({line.index(text) for line, text in zip(lines, ("4", "1", "-2", "none"), strict=True)}) == 1


def test_bars_of_positive_values_have_no_axis_and_blocks_one_scale() -> None:
    first, second = bars([[Row("a", 4.0, "4")], [Row("name", 1.0, "1.000 ± 0.001")]], Screen(60, 30, False))
    assert "│" not in first[0] + second[0]
    assert eighths(first[0]) == 4 * eighths(second[0])


@pytest.mark.parametrize(
    ("share", "bar"), [(0.0, "    "), (1.0, "████"), (5.0, "████"), (0.5, "██  "), (1 / 32, "▏   ")]
)
def test_a_block_is_drawn_to_an_eighth(share: float, bar: str) -> None:
    assert block(share, 4) == bar.ljust(4)


def test_gradients_of_all_tensors_are_bars_and_the_odd_ones_are_named() -> None:
    arrays: dict[str, Any] = {**sections()["gradient"].arrays}
    arrays |= {"layer_norms": np.array([1.0, 2.0, 1e-4, 0.0]), "weight_norms": np.array([1.0, 1.0, 1.0, 0.0])}
    names = ["a.weight", "b.weight", "b.bias", "c.bias"]
    gradient = section(arrays, parameters=names)
    view = View("run.h5", Profile("p", Provenance(), {}, {}, {"gradient": gradient}))
    rows = [line for line in drawn("gradient", [view], SMALL).splitlines() if line.startswith(tuple(names))]
    assert [row.split()[-1] for row in rows] == ["1", "2", "vanishing", "0"]
    assert eighths(rows[1]) == pytest.approx(2 * eighths(rows[0]), abs=1)
    assert eighths(rows[2]) == eighths(rows[3]) == 0


def test_two_runs_have_bars_of_one_scale() -> None:
    whole = sections()["gradient"]
    half = replace(whole, arrays={**whole.arrays, "layer_norms": whole.arrays["layer_norms"] / 2})
    views = [View("run.h5", Profile("p", Provenance(), {}, {}, {"gradient": found})) for found in (whole, half)]
    first, second = (line for line in drawn("gradient", views, SMALL).splitlines() if line.startswith("b.weight"))
    assert eighths(first) == pytest.approx(2 * eighths(second), abs=1)


def test_the_merge_tree_is_indented_by_what_drains_into_what() -> None:
    knots = np.interp(np.linspace(0, 1, 61), np.linspace(0, 1, 7), [9.0, 1.0, 5.0, 3.0, 4.0, 2.0, 9.0])
    line = surface_of(lambda x: np.interp(x, np.linspace(-1, 1, 61), knots), "-1:1:61")
    rows = [row for row in drawn("tree", [view_of(line)], SMALL).splitlines() if " loss " in row]
    told = [re.sub(r"[●○] #\d+ \(.*?\)", "o", row) for row in rows]
    assert told == ["o loss 1", "└─ o loss 2, drains at 5", "   └─ o loss 3, drains at 4"]


def test_what_a_curve_leaves_out_is_counted_by_kind_and_marked_below_it() -> None:
    line = surface_of(lambda x: x**2 + 0.1, "-1:1:21")
    loss, measured = line.loss.copy(), line.measured.copy()
    loss[:3], loss[5], measured[18:] = np.nan, 1e30, False
    text = drawn("curve", [view_of(line, replace(line, loss=loss, measured=measured))], SMALL)
    assert "^ above 1.1, up to 1e+30: 1; ? NaN: 3; _ not measured yet: 3" in " ".join(text.split())
    row = next(row for row in text.splitlines() if "?" in row)[MARGIN:].ljust(SMALL.across)
    for sign, points in (("?", (0, 1, 2)), ("^", (5,)), ("_", (18, 19, 20)), (" ", (4, 10))):
        assert all(row[round(point / 20 * (SMALL.across - 1))] == sign for point in points), sign
    assert set(row[SMALL.across // 2 :][: SMALL.across // 4]) == {" "}


@pytest.mark.parametrize("count", [5, 500])
def test_no_odd_point_is_lost_between_columns(count: int) -> None:
    kinds = np.zeros(count, dtype=np.int8)
    kinds[3] = 2
    assert (columns_of(kinds, np.linspace(0, 1, count), 40) == 2).any()
    assert not columns_of(0 * kinds, np.linspace(0, 1, count), 40).any()


def test_a_spectrum_has_its_peak_and_its_signs_where_the_eigenvalues_are() -> None:
    lines = drawn("spectrum", [at_checkpoint()], SMALL).splitlines()
    signs = next(i for i, line in enumerate(lines) if set(line) == {" ", "^"})
    left, right = (float(end) for end in lines[signs + 1].split())
    columns = [i - MARGIN for i, letter in enumerate(lines[signs]) if letter == "^"]
    wanted = np.array([-0.02, -0.01, 0.5, 1.0, 5.0])
    places = np.unique(np.rint((wanted - left) / (right - left) * (SMALL.across - 1)))
    np.testing.assert_allclose(columns, places, atol=1)
    peak = [i for i, letter in enumerate(lines[1][MARGIN:]) if letter != " "]
    assert np.mean(peak) == pytest.approx(-left / (right - left) * (SMALL.across - 1), abs=2)
    assert "λ1 = 5.00 ± " in "".join(lines)


def test_a_spectrum_without_a_density_is_bars() -> None:
    whole = sections()["hessian"]
    ends = replace(whole, arrays={k: v for k, v in whole.arrays.items() if not k.startswith("density")})
    text = drawn("spectrum", [View("run.h5", Profile("p", Provenance(), {}, {}, {"hessian": ends}))], SMALL)
    found = {line.split()[0]: eighths(line) for line in text.splitlines() if line.startswith("λ")}
    assert found["λ2"] == pytest.approx(found["λ1"] / 5, abs=1)
    assert found["λP"] <= 8
    assert "hessian.density=true" in text


def test_spectra_of_several_runs_are_on_one_scale() -> None:
    whole = sections()["hessian"]
    ends = {k: v for k, v in whole.arrays.items() if not k.startswith("density")}
    sharp = {k: v * (10 if k[:3] in ("top", "bot") and "converged" not in k else 1) for k, v in ends.items()}
    views = [
        View("run.h5", Profile("p", Provenance(), {}, {}, {"hessian": replace(whole, arrays=found)}))
        for found in (ends, sharp)
    ]
    flat, steep = (eighths(line) for line in drawn("spectrum", views, SMALL).splitlines() if line.startswith("λ1"))
    assert flat == pytest.approx(steep / 10, abs=1)


def test_densities_of_several_runs_are_on_one_scale() -> None:
    whole = sections()["hessian"]
    thin = replace(whole, arrays={**whole.arrays, "density_weights": whole.arrays["density_weights"] / 1e4})
    views = [View("run.h5", Profile("p", Provenance(), {}, {}, {"hessian": held})) for held in (whole, thin)]
    lines = drawn("spectrum", views, SMALL).splitlines()
    rows = SMALL.down
    starts = [i + 1 for i, line in enumerate(lines) if "Hessian spectrum" in line]
    tops = [[line[:MARGIN].rstrip() for line in lines[i : i + rows]] for i in starts]
    assert tops[0] == tops[1]
    peaks = [next(k for k, line in enumerate(lines[i : i + rows]) if line[MARGIN:].strip()) for i in starts]
    assert peaks[0] == 0
    assert peaks[1] == pytest.approx(rows * 4 / 9, abs=1)


def test_an_ascent_is_the_highest_of_its_starts() -> None:
    curves = np.array([[0.0, 1.0, np.nan, np.nan], [0.0, 2.0, 3.0, np.inf]])
    np.testing.assert_array_equal(highest(curves), [0.0, 2.0, 3.0, np.nan])
    text = drawn("ascent", [at_checkpoint()], SMALL)
    assert "a adaptive ball" in text
    assert text.index("a") < text.index("0.3")


def test_the_log_scale_of_an_ascent_ends_at_a_rise() -> None:
    lines = drawn("ascent", [at_checkpoint()], SMALL).splitlines()
    numbers = [line[:MARGIN].strip() for line in lines[1 : SMALL.down + 1]]
    assert (numbers[0], numbers[-1]) == ("0.3", "3e-5")
    assert "log scale; 3e-5 and less at the bottom" in " ".join(lines)


def test_what_a_file_says_of_its_ascents_moves_no_cursor() -> None:
    ascents = replace(sections()["sharpness"], settings={"rho": EVIL, "adaptive_rho": EVIL, "split": EVIL})
    view = View(EVIL, Profile("p", Provenance(), {}, {}, {"sharpness": ascents}))
    text = drawn("ascent", [view], SMALL)
    assert not {"\x1b", "\u202e"} & set(text)
    assert len(text.splitlines()) < 30


def test_a_saddle_has_the_letter_of_its_share_of_negative_curvature() -> None:
    saddle = view_of(surface_of(lambda x, y: x**2 - 0.25 * y**2, "-1:1:7", "-1:1:7"))
    rows = [line[MARGIN:] for line in drawn("curvature", [saddle], SMALL).splitlines() if "::" in line or "+" in line]
    assert {letter for row in rows[:-1] for letter in row} == {DENSITY[2], "+"}
    loss = saddle.shown[1].loss.copy()
    loss[0, 0] = np.nan
    holed = drawn("curvature", [view_of(replace(saddle.shown[1], loss=loss))], SMALL)
    assert "? a loss around is NaN or not measured" in holed
    loss[0, 0] = 1e30
    walled = " ".join(drawn("curvature", [view_of(replace(saddle.shown[1], loss=loss))], SMALL).split())
    assert "? a loss around is NaN, above 1 or not measured" in walled
    assert "λmin -0.5 to -0.5; λmax 2 to 2" in walled


def test_a_ratio_above_1_is_seen_in_the_terminal() -> None:
    cap = view_of(surface_of(lambda x, y: 9 - x**2 - 4 * y**2, "-1:1:7", "-1:1:7"))
    text = drawn("curvature", [cap], SMALL)
    assert "^ above 1, up to 4" in text
    assert "both negative in 25 of 25 cells" in " ".join(text.split())
    assert "λmin -8 to -8; λmax -2 to -2" in text


@pytest.mark.parametrize(("lowest", "signs"), [((0.0, 0.0), "X"), ((0.5, 0.25), "*+")])
def test_the_checkpoint_is_seen_where_it_is_the_lowest_point_too(lowest: tuple[float, float], signs: str) -> None:
    bowl = surface_of(lambda x, y: (x - lowest[0]) ** 2 + (y - lowest[1]) ** 2 + 1, "-1:1:9", "-1:1:9")
    text = drawn("contour", [view_of(bowl)], SMALL)
    picture, legend = text.rsplit("loss", 1)
    assert [sign for sign in picture.split("x: random")[0] if sign in "X*+"][-len(signs) :] == list(signs)
    assert ("X checkpoint and lowest point" in legend) == (signs == "X")
    assert ("+ checkpoint" in legend) == (signs != "X")


def test_each_colour_is_lighter_than_the_one_before() -> None:
    steps = np.array([0, 95, 135, 175, 215, 255]) / 255
    rgb = np.array([[steps[(n - 16) // 36], steps[(n - 16) // 6 % 6], steps[(n - 16) % 6]] for n in SHADES])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    assert (np.diff(linear @ [0.2126, 0.7152, 0.0722]) > 0).all()


def test_words_are_folded_and_not_cut() -> None:
    text = drawn("contour", [view_of(asymmetric())], Screen(30, 30, colour=False))
    assert "verdict: not measured (scan with --only hessian)" in " ".join(text.split())


def test_no_kind_needs_torch_or_matplotlib(tmp_path: Path) -> None:
    held = {name: found for name, found in sections().items() if name == "hessian"}
    store.save(replace(profile_of(asymmetric()), sections=held), tmp_path / "run.h5")
    code = (
        "import sys; from landscape_cli.cli.main import main; "
        "codes = [main(['plot', sys.argv[1], '--kind', kind]) for kind in ('spectrum', 'curvature', 'tree')]; "
        "assert not {'torch', 'matplotlib'} & set(sys.modules); sys.exit(any(codes))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run.h5")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
