"""`landscape plot`: what is where on a picture, in files and in the terminal."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import surface_of

from landscape_cli import store
from landscape_cli.cli.main import main
from landscape_cli.errors import LandscapeError
from landscape_cli.profile import Estimate, Floats, PlaneRecord, Profile, Provenance, Surface
from landscape_cli.report.picture.curvature import negative_share, ratio_of
from landscape_cli.report.picture.kinds import KINDS, SECTIONS, default_kind
from landscape_cli.report.picture.relief import faces, thinned
from landscape_cli.report.picture.scale import (
    ABOVE,
    ABOVE_SCALE,
    NO_NUMBER,
    NORMAL,
    UNMEASURED,
    cells,
    edges,
    scale_of,
    scales_of,
)
from landscape_cli.report.picture.screen import Screen
from landscape_cli.report.picture.spectrum import density_of
from landscape_cli.report.picture.terminal import drawn
from landscape_cli.report.picture.terminal_curve import sampled
from landscape_cli.report.picture.terminal_map import shape_of
from landscape_cli.report.picture.theme import MAP, THEMES, rendered
from landscape_cli.report.picture.tree import UNSURE, branches, digits
from landscape_cli.report.picture.view import View, told_apart
from landscape_cli.section import Section

Capture = pytest.CaptureFixture[str]
LOWEST = (0.5, -0.25)  # of `bowl`, on its grid
RECIPE = {"kind": "random", "normalize": "filter", "seed": 0}
SMALL = Screen(80, 30, colour=False)
EVIL = "a$\\frac{1}{0}$<b>&amp;\x1b[31m\u202e\n%s"


def bowl(x: Any, y: Any) -> Any:
    """No symmetry: steep to the right, flat upwards, lowest at LOWEST."""
    return 0.1 + 3 * (x - LOWEST[0]) ** 2 + (y - LOWEST[1]) ** 2 + 0.5 * (x - LOWEST[0]) ** 3


def profile_of(*surfaces: Surface, plane: str = "main", **provenance: Any) -> Profile:
    splits = dict(zip(("train", "test"), surfaces, strict=False))
    directions = tuple(RECIPE for _ in surfaces[0].axes)
    record = PlaneRecord(plane, surfaces[0].gram, directions, {"batchnorm": "frozen"}, "f", splits)
    centres = {split: surface.centre for split, surface in splits.items()}
    return Profile("p", Provenance(**provenance), centres, {plane: record})


def view_of(*surfaces: Surface, file: str = "run.h5", **provenance: Any) -> View:
    return View(file, profile_of(*surfaces, **provenance))


def asymmetric(noise: float = 0.0) -> Surface:
    return surface_of(bowl, "-1:1:9", "-0.5:0.5:5", noise=noise)


def with_loss(surface: Surface, loss: Floats) -> Surface:
    return replace(surface, loss=loss)


# ---- what is prepared, without matplotlib


def test_heights_are_the_logarithm_between_the_ends() -> None:
    scale = scale_of([np.array([1e-2, 1.0, 1e2])])
    np.testing.assert_allclose(scale.height(np.array([1e-2, 1e-1, 1.0, 1e2])), [0, 0.25, 0.5, 1])
    assert not scale.clipped


def test_a_narrow_range_is_linear() -> None:
    scale = scale_of([np.array([2.0, 2.25, 3.0])])
    np.testing.assert_allclose(scale.height(np.array([2.0, 2.5, 3.0])), [0, 0.5, 1])


@pytest.mark.parametrize("low", [0.0, -2.0])
def test_losses_of_zero_and_below_have_heights(low: float) -> None:
    losses = low + np.array([0.0, 1e-3, 1e-2, 1.0, 2.0, 5.0])
    heights = scale_of([losses]).height(losses)
    assert heights[0] == 0
    assert heights[-1] == 1
    assert (np.diff(heights) > 0).all()


def test_exploding_corners_end_the_scale_and_nothing_else_does() -> None:
    losses = bowl(*np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-1, 1, 21)))
    plain = scale_of([losses])
    assert plain.high == losses.max()
    losses[0, 0], losses[-1, -1] = 1e30, np.inf
    scale = scale_of([losses])
    assert scale.high == np.sort(losses.ravel())[-3]
    assert scale.highest == np.inf
    assert scale.height(np.array([1e30, np.inf])).tolist() == [ABOVE, ABOVE]


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_window_that_explodes_for_the_most_part_still_shows_the_rest(share: float) -> None:
    losses = np.geomspace(0.1, 3.0, 400)
    losses[int(400 * (1 - share)) :] = np.geomspace(1e20, 1e30, 400 - int(400 * (1 - share)))
    scale = scale_of([losses])
    assert scale.high < 1e6
    assert scale.height(np.array([1.0]))[0] > 0.3


@pytest.mark.parametrize("losses", [[], [np.nan], [np.nan, np.inf], [2.3], [2.3, 2.3], [0.0, 0.0], [-1e30, 1e30]])
def test_every_scale_is_one(losses: list[float]) -> None:
    scale = scale_of([np.array(losses)])
    heights = scale.height(np.array([0.0, 1.0, np.nan, np.inf, -np.inf]))
    assert np.isnan(heights[[2, 4]]).all()
    assert ((heights[[0, 1]] >= 0) & (heights[[0, 1]] <= ABOVE)).all()
    assert 1 <= len(scale.ticks()) <= 10


@pytest.mark.parametrize(("low", "high"), [(1e-3, 20.0), (2.0, 2.5), (1e-9, 1e3), (0.7, 30.0), (0.0, 5.0)])
def test_ticks_are_round_ordered_and_inside(low: float, high: float) -> None:
    ticks = scale_of([np.linspace(low, high, 50) if low == 0 else np.geomspace(low, high, 50)]).ticks()
    assert 3 <= len(ticks) <= 10
    assert (np.diff(ticks) > 0).all()
    assert low <= ticks[0]
    assert ticks[-1] <= high
    assert all(float(f"{tick:.3g}") == tick for tick in ticks)


@pytest.mark.parametrize(("low", "rise"), [(-0.09518, 4.9), (-5.0, 2.0), (-123.456, 400.0), (-0.0123, 1e-5)])
def test_ticks_of_negative_losses_are_round(low: float, rise: float) -> None:
    scale = scales_of([low + np.append(0.0, np.geomspace(1e-3, 1, 200)) * rise])[1]
    ticks = scale.ticks()
    assert 3 <= len(ticks) <= 10
    assert (np.diff(ticks) > 0).all()
    assert low <= ticks[0]
    assert ticks[-1] <= low + rise
    digits = 5 if rise < 1e-3 * abs(low) else 3
    assert all(float(f"{tick:.{digits}g}") == tick for tick in ticks)


def test_cells_tell_what_is_no_number_above_or_not_measured() -> None:
    surface = surface_of(lambda x: x**2 + 0.1, "-1:1:9")
    loss, measured = surface.loss.copy(), surface.measured.copy()
    loss[:4] = np.nan, -np.inf, np.inf, 1e30
    measured[8] = False
    found = cells(replace(surface, loss=loss, measured=measured), scale_of([loss]))
    assert found.tolist() == [NO_NUMBER, NO_NUMBER, ABOVE_SCALE, ABOVE_SCALE, *[NORMAL] * 4, UNMEASURED]


def test_edges_lie_half_way_between_points() -> None:
    assert edges(np.array([0.0, 1.0, 3.0])).tolist() == [-0.5, 0.5, 2.0, 4.0]
    assert edges(np.array([2.0])).tolist() == [1.5, 2.5]


def test_the_density_integrates_to_one_and_is_the_mean_over_starts() -> None:
    nodes, weights = np.array([[0.0, 1.0], [0.0, 2.0]]), np.array([[0.9, 0.1], [0.7, 0.3]])
    grid, density = density_of(section({"density_nodes": nodes, "density_weights": weights}), (-1.0, 3.0), 4001)
    step = grid[1] - grid[0]
    assert density.sum() * step == pytest.approx(1, abs=1e-6)
    assert density[np.abs(grid) < 0.5].sum() * step == pytest.approx(0.8, abs=1e-6)


def test_a_facet_has_the_mean_of_its_points_and_hides_no_hole_or_wall_among_them() -> None:
    height = np.arange(25.0).reshape(5, 5) / 100
    height[1, 1], height[3, 4] = np.nan, ABOVE
    some = np.array([0, 2, 4])
    np.testing.assert_allclose(faces(height, some, some), [[np.nan, 0.08], [0.16, ABOVE]])


@pytest.mark.parametrize("count", [2, 100, 101, 102, 150, 1001])
def test_a_surface_that_is_thinned_keeps_both_ends(count: int) -> None:
    kept = thinned(count)
    assert (kept[0], kept[-1], len(kept)) == (0, count - 1, min(count, 101))
    assert np.diff(kept).max() - np.diff(kept).min() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_a_tame_bowl_is_drawn_to_its_top_wherever_it_lies(seed: int) -> None:
    """Adding the offset back once lost a bit, and with it the highest point."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-1, 1, 11), np.linspace(-1, 1, 9))
    for low in rng.uniform(-3, 0, 50):
        losses = rng.uniform(1, 4) * x**2 + y**2 + x * y / 3 + low
        assert not scale_of([losses]).clipped
        assert scale_of([np.full(25, low)]).flat


@pytest.mark.parametrize("low", [0.0, 1e-300, 1e-12])
def test_one_loss_that_is_as_good_as_0_leaves_the_others_their_colours(low: float) -> None:
    losses = np.append(np.geomspace(0.1, 8, 100), low)
    heights = scale_of([losses]).height(losses)
    assert heights[-1] == 0
    assert np.ptp(heights[:-1]) > 0.4


@pytest.mark.parametrize("losses", [[-1.7e308, 0, 1.7e308], [0, 5e-324, 1e-323], [1, 1 + 2e-16], [1e-300, 1e300]])
def test_extremes_of_floating_point_have_a_scale_and_ticks(losses: list[float]) -> None:
    for scale in scales_of([np.array(losses)]):
        assert all(scale.low <= tick <= scale.high for tick in scale.ticks())
        assert np.isfinite(scale.height(np.array(losses))).all()


def test_the_share_of_negative_curvature_is_0_where_convex() -> None:
    from landscape_cli.analyse.convexity import hessian_map

    saddle = surface_of(lambda x, y: x**2 - 0.25 * y**2, "-1:1:5", "-1:1:5")
    np.testing.assert_allclose(negative_share(hessian_map(saddle)), 0.25)
    np.testing.assert_array_equal(negative_share(hessian_map(asymmetric())), 0)
    cap = hessian_map(surface_of(lambda x, y: -(x**2) - 4 * y**2, "-1:1:5", "-1:1:5"))
    np.testing.assert_allclose(ratio_of(cap), 4)
    np.testing.assert_array_equal(negative_share(cap), 1)


def test_no_lines_of_a_merge_tree_cross() -> None:
    def wells(x: Any) -> Any:
        return np.cos(6 * np.pi * x) + 0.6 * np.cos(2.2 * np.pi * x + 1) + 0.3 * x

    stems = branches(view_of(surface_of(wells, "-1:1:201")).statistics, [0.01])
    assert len(stems) > 4
    assert [stem.at for stem in stems] == list(range(len(stems)))
    for stem in stems:
        if stem.into is not None and stem.merges is not None:
            between = stems[min(stem.at, stem.into) + 1 : max(stem.at, stem.into)]
            assert all(other.merges is not None and other.merges <= stem.merges for other in between)
            assert stem.merges >= stem.loss


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [(-0.0013, 0.015, "-0.001"), (0.99605075, 1e-9, "0.9961"), (0.0061, None, "0.0061"), (12.345, 2.1, "12.3")],
)
def test_numbers_have_no_more_digits_than_are_sure_or_fit(value: float, stderr: float | None, text: str) -> None:
    assert digits(Estimate.of(value, stderr), f"{value:.4g}") == text


# ---- the terminal


def painted(text: str) -> list[str]:
    """The rows of a heat map without their labels."""
    return [line[9:] for line in text.splitlines()[1:] if re.match(r"^[ \d.e+-]{8} [^-\d]", line)]


def test_the_terminal_has_x_to_the_right_and_y_upwards() -> None:
    rows = painted(drawn("contour", [view_of(asymmetric())], SMALL))
    row = next(i for i, line in enumerate(rows) if "*" in line)
    across = shape_of((9, 5), SMALL)[0]
    assert (rows[row].index("*") + 0.5) / across == pytest.approx((6 + 0.5) / 9, abs=0.5 / 9)  # x = 0.5: the 7th of 9
    assert (row + 0.5) / len(rows) == pytest.approx((3 + 0.5) / 5, abs=0.5 / 5)  # y = -0.25: the 4th from the top
    plus = next(line for line in rows if "+" in line)
    assert (plus.index("+") + 0.5) / across == pytest.approx(0.5, abs=0.5 / 9)
    assert rows[0][0] == "@"  # the far corner is the highest


def test_half_blocks_hold_two_rows_and_the_colours_of_the_losses() -> None:
    lines = drawn("contour", [view_of(asymmetric())], Screen(40, 30, colour=True)).splitlines()
    first = re.findall(r"\x1b\[0;38;5;(\d+);48;5;(\d+)m", lines[1])
    assert first[0] == ("226", "226")
    assert sum("▀" in line for line in lines) == shape_of((9, 5), Screen(40, 30, True))[1] // 2


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("shape", [(9, 5), (101, 101), (1, 7), (300, 2)])
def test_no_line_is_wider_than_the_terminal(width: int, shape: tuple[int, int]) -> None:
    axes = [np.linspace(-1, 1, n).tolist() if n > 1 else [0.0] for n in shape]
    view = view_of(surface_of(bowl, axes[0], axes[1]))
    for colour in (False, True):
        text = re.sub(r"\x1b\[[\d;]*m", "", drawn("contour", [view], Screen(width, 30, colour)))
        assert max(len(line) for line in text.splitlines()) <= width


def test_a_caption_names_the_sections_that_are_missing() -> None:
    made = sections()
    half = {"hessian": made["hessian"], "sharpness": replace(made["sharpness"], arrays={})}
    assert "UNFINISHED: without sharpness" in View("run.h5", replace(profile_of(asymmetric()), sections=half)).caption
    assert "UNFINISHED" not in View("run.h5", replace(profile_of(asymmetric()), sections=made)).caption


def test_nan_infinity_and_unmeasured_points_are_seen_in_the_terminal() -> None:
    surface = asymmetric()
    loss, measured = surface.loss.copy(), surface.measured.copy()
    loss[0, 0], loss[0, 4] = np.nan, np.inf
    measured[8, 4] = False
    text = drawn("contour", [view_of(replace(surface, loss=loss, measured=measured))], SMALL)
    rows = painted(text)
    assert (rows[-1][0], rows[0][0], rows[0][-1]) == ("?", "^", "_")
    assert "? NaN" in text
    assert "^ above" in text
    assert "UNFINISHED: 44 of 45 points" in text
    assert "without" not in text


def test_runs_whose_checkpoints_are_called_alike_are_named_by_their_files() -> None:
    job = "[model]\ncheckpoint = 'cnn.pt'\n"
    views = [view_of(asymmetric(), file=file, job=job) for file in ("a.h5", "b.h5")]
    other = view_of(asymmetric(), file="c.h5", job=job.replace("cnn", "mlp"))
    assert [view.name for view in told_apart([*views, other])] == ["a.h5: cnn.pt", "b.h5: cnn.pt", "mlp.pt"]
    text = drawn("contour", [*views, other], SMALL)
    assert [line.split(" · ")[0] for line in text.splitlines() if " · plane " in line] == [
        "a.h5: cnn.pt", "b.h5: cnn.pt", "mlp.pt",
    ]  # fmt: skip
    assert "a.h5" not in drawn("contour", [views[0], other], SMALL)


def test_two_directions_that_are_drawn_alike_are_told_apart() -> None:
    view = view_of(asymmetric())
    assert [view.label(i).split(" (")[0] for i in (0, 1)] == ["x: random direction 1", "y: random direction 2"]
    assert (
        view_of(surface_of(lambda x: x**2, "-1:1:5")).label(0).startswith("x: random direction (filter norm, seed 0)")
    )


def test_a_line_is_called_one() -> None:
    line = surface_of(lambda x: x**2 + 0.1, "-1:1:21")
    assert "run.h5 · line main · train" in drawn("tree", [view_of(line)], SMALL)


def test_a_hollow_minimum_may_be_one_whose_place_is_unsure() -> None:
    assert "place unsure" in UNSURE
    assert f"○ {UNSURE}" in " ".join(drawn("tree", [view_of(asymmetric())], SMALL).split())


def test_a_curve_of_braille_rises_from_its_lowest_point() -> None:
    text = drawn("curve", [view_of(surface_of(lambda x: (x - 0.5) ** 2 + 1, "-1:1:41"))], SMALL)
    rows = [line[9:].ljust(70) for line in text.splitlines()[1:-5]]
    dots = [(r, c) for r, line in enumerate(rows) for c, letter in enumerate(line) if 0x2800 < ord(letter) < 0x2900]
    low = [c for r, c in dots if r == max(r for r, _ in dots)]
    assert np.mean(low) / 70 == pytest.approx(0.75, abs=0.05)
    assert min(c for r, c in dots if r == 0) == 0


def test_two_splits_without_colour_are_two_letters() -> None:
    low, high = (surface_of(lambda x, c=c: x**2 + c, "-1:1:21") for c in (0.1, 2.0))
    text = drawn("curve", [view_of(low, high)], SMALL)
    assert "a train  b test" in text
    assert text.index("b") < text.rindex("a")


def test_a_gap_is_a_gap() -> None:
    assert np.isnan(sampled(np.array([0.0, np.nan, 1.0]), np.array([0.0, 1.0, 2.0]), 5)).tolist() == [
        False, True, True, True, False,
    ]  # fmt: skip


# ---- the command


@pytest.fixture
def run(tmp_path: Path) -> Path:
    store.save(profile_of(asymmetric(0.1), asymmetric(0.2)), tmp_path / "run.h5")
    return tmp_path / "run.h5"


def test_the_terminal_is_the_default_and_needs_neither_torch_nor_matplotlib(run: Path) -> None:
    code = (
        "import sys; from landscape_cli.cli.main import main; code = main(['plot', sys.argv[1]]); "
        "assert not {'torch', 'matplotlib'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True)
    assert "* lowest point" in done.stdout
    assert done.stderr == ""
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-o", "run.gif"], ".png, .svg, .pdf"),
        (["-o", "run"], "unknown ending"),
        (["--kind", "curvy"], "curvy"),
        (["--plane", "mian"], "did you mean main"),
        (["--split", "tset"], "did you mean test"),
        (["--kind", "curve"], "is a plane, not a line"),
        (["--kind", "surface"], "a terminal shows no surface"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    run: Path, args: list[str], said: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    assert main(["plot", str(run), *args]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 2
    assert sorted(path.name for path in run.parent.iterdir() if path.suffix != ".lock") == ["run.h5"]


@pytest.mark.parametrize("output", ["-", "run.png"])
@pytest.mark.parametrize(("kind", "section"), SECTIONS.items())
def test_a_section_of_another_split_is_refused(
    kind: str, section: str, output: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    held = replace(profile_of(asymmetric(), asymmetric()), sections={section: sections()[section]})
    store.save(held, tmp_path / "run.h5")
    assert main(["plot", "run.h5", "--kind", kind, "--split", "test", "-o", output]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"error: the {kind} of run.h5 was measured on train, not on test\nhint: leave out --split\n"
    assert not (tmp_path / "run.png").exists()
    if output == "-":
        assert main(["plot", "run.h5", "--kind", kind, "--split", "train"]) == 0


def test_what_a_run_lacks_is_said_in_plain_words() -> None:
    empty = View("run.h5", Profile("p", Provenance(), {}, {}))
    for ask, said in (
        (lambda: empty.section("gradient"), "finished section gradient"),
        (lambda: empty.record, "plane"),
    ):
        with pytest.raises(LandscapeError) as caught:
            ask()
        assert str(caught.value) == f"run.h5 has no {said}"
        assert caught.value.hint.startswith("measure it: landscape scan ")


def test_an_input_is_never_an_output_and_an_output_is_not_overwritten(run: Path, capsys: Capture) -> None:
    before = run.read_bytes()
    assert main(["plot", str(run), "-o", str(run), "--force"]) == 2
    assert run.read_bytes() == before
    kept = run.with_suffix(".png")
    kept.write_bytes(b"mine")
    assert main(["plot", str(run), "-o", str(kept)]) == 2
    assert kept.read_bytes() == b"mine"
    assert "--force" in capsys.readouterr().err


def test_without_matplotlib_it_says_what_to_install(
    run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["plot", str(run), "-o", str(run.with_suffix(".png"))]) == 2
    assert 'pip install "landscape-cli[plot]"' in capsys.readouterr().err
    assert not run.with_suffix(".png").exists()


def test_an_unfinished_run_is_drawn_and_exits_3(tmp_path: Path, capsys: Capture) -> None:
    surface = asymmetric()
    measured = surface.measured.copy()
    measured[5:] = False
    store.save(profile_of(replace(surface, measured=measured)), tmp_path / "run.h5")
    assert main(["plot", str(tmp_path / "run.h5")]) == 3
    out = capsys.readouterr()
    assert "not measured yet" in out.out
    assert "is unfinished" in out.err


def test_nothing_to_draw_is_inconclusive() -> None:
    empty = Profile("p", Provenance(), {}, {})
    with pytest.raises(LandscapeError) as caught:
        default_kind(View("run.h5", empty))
    assert caught.value.code == 3


# ---- the files


def section(arrays: dict[str, Floats], **facts: Any) -> Section:
    return Section({"split": "train", "keskar": [0.001]}, "f", arrays, {"samples": 64, **facts})


def sections() -> dict[str, Section]:
    """Made up, of the shapes that a scan writes."""
    groups, rng = 8, np.random.default_rng(0)
    sizes = np.ones(groups)
    top, bottom = np.array([5.0, 1.0, 0.5]), np.array([-0.02, -0.01])
    hessian = {
        "top": top, "top_residuals": top * 1e-4, "top_converged": np.ones(3), "group_sizes": sizes,
        "top_groups": top[:, None] * (1 + 0.1 * rng.normal(size=(3, groups))),
        "bottom": bottom, "bottom_residuals": np.full(2, 1e-4), "bottom_converged": np.ones(2),
        "bottom_groups": bottom[:, None] * (1 + 0.1 * rng.normal(size=(2, groups))),
    }  # fmt: skip
    density = {
        "density_nodes": np.array([[0.0, 0.3, 5.0], [0.0, 0.2, 5.0]]),
        "density_weights": np.array([[0.98, 0.019, 0.001], [0.97, 0.029, 0.001]]),
        "density_residuals": np.full((2, 3), 1e-3),
    }
    rise = np.array([[0.0, 0.1, 0.3], [0.0, 0.2, 0.25]])
    sharpness = {
        "group_sizes": sizes, "centre_groups": sizes, "worst_curves": rise / 100, "worst_adaptive_curves": rise,
        "keskar_curves": np.where(rise == 0.25, np.nan, rise)[None], "keskar_groups": np.full((1, 2, groups), 0.3),
        "worst_groups": np.full((2, groups), 0.003), "worst_adaptive_groups": np.full((2, groups), 0.3),
    }  # fmt: skip
    gradient = {
        "group_sizes": sizes, "group_losses": sizes, "group_products": np.eye(groups), "sample_squares": sizes,
        "sample_counts": sizes,
        "layer_norms": np.array([1.0, 2.0, 1e-6, 0.0]), "weight_norms": np.array([3.0, 1.0, 1.0, 0.0]),
    }  # fmt: skip
    return {
        "hessian": section({**hessian, **density}, parameters=100),
        "sharpness": section(sharpness),
        "gradient": section(gradient, parameters=["a.weight", "b.weight", "b.bias", EVIL]),
    }


def odd_surfaces() -> dict[str, Surface]:
    plane = surface_of(bowl, "-1:1:11", "-1:1:7", noise=0.01)
    walls = plane.loss.copy()
    walls[2:4, 1:5], walls[0, :2], walls[-1, -1], walls[-1, 0] = np.nan, 1e30, np.inf, -np.inf
    return {
        "plain": plane,
        "walls": with_loss(plane, walls),
        "column": surface_of(bowl, [0.0], "-1:1:7"),
        "row": surface_of(bowl, "-1:1:7", [0.0]),
        "point": surface_of(bowl, [0.0], [0.0]),
        "3x3": surface_of(bowl, "-1:1:3", "-1:1:3"),
        "constant": surface_of(lambda x, y: 2.3 + 0 * x * y, "-1:1:5", "-1:1:5"),
        "nan": with_loss(plane, np.full(plane.loss.shape, np.nan)),
        "unmeasured": replace(plane, measured=np.zeros(plane.loss.shape, dtype=bool)),
        "negative": surface_of(lambda x, y: -5 + x**2 + y**2, "-1:1:5", "-1:1:5"),
        "huge": surface_of(lambda x, y: 1e300 * (1 + x**2 + y**2), "-1:1:5", "-1:1:5"),
    }


def refused(kind: str, name: str) -> bool:
    """What is too small for a surface or a map of second differences, or has no minimum."""
    thin, empty = name in ("column", "row", "point"), name in ("nan", "unmeasured")
    return name in ("constant", "huge", "point") or empty if kind == "tree" else thin


def picture(kind: str, views: Sequence[View], ending: str = "png", dark: bool = False) -> bytes:
    pytest.importorskip("matplotlib")
    return rendered(KINDS[kind], views, ending, dark)


@pytest.mark.parametrize("dark", [False, True])
def test_a_contour_picture_has_the_colour_of_each_loss_where_it_is(dark: bool) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure, surface = Figure(layout="constrained", dpi=100), asymmetric()
    KINDS["contour"](figure, [view_of(surface)], THEMES[dark])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[::-1]  # rows from the bottom
    panel, scale, scores = figure.axes[0], scale_of([surface.loss]), []
    for i in (1, 3, 5, 7):
        for j in (1, 3):
            assert surface.y is not None
            column, row = panel.transData.transform((surface.x.values[i], surface.y.values[j]))
            near = pixels[int(row) - 1 : int(row) + 2, int(column) - 1 : int(column) + 2, :3].reshape(-1, 3)
            wanted = 255 * np.array(matplotlib.colormaps[MAP](scale.height(surface.loss[i, j])))[:3]
            scores.append(np.abs(near - wanted).max(-1).min())
    assert max(scores) < 12
    star = np.argwhere(np.abs(pixels[..., :3].astype(int) - (255, 90, 54)).max(-1) < 3)
    right = pixels.shape[1] * 0.9
    inside = star[(star[:, 0] > panel.bbox.y0) & (star[:, 1] < right)]
    np.testing.assert_allclose(inside.mean(0)[::-1], panel.transData.transform(LOWEST), atol=2)
    assert panel.transData.transform((1, 0.5))[0] > panel.transData.transform((-1, 0.5))[0]


@pytest.mark.parametrize("name", odd_surfaces())
def test_every_surface_is_drawn_or_refused_in_words(name: str) -> None:
    view = view_of(odd_surfaces()[name])
    assert picture("contour", [view]).startswith(b"\x89PNG")
    for kind in ("surface", "curvature", "tree"):
        with pytest.raises(LandscapeError) if refused(kind, name) else contextlib.nullcontext():
            assert picture(kind, [view]).startswith(b"\x89PNG")
    for colour in (False, True):
        assert drawn("contour", [view], Screen(80, 24, colour))


@pytest.mark.parametrize("name", ["plain", "nan", "huge", "point", "unmeasured", "negative"])
def test_every_line_is_drawn(name: str) -> None:
    line = surface_of(
        lambda x: {"negative": -5, "huge": 1e300}.get(name, 0.1) * (1 + x**2), [0.0] if name == "point" else "-1:1:9"
    )
    if name == "nan":
        line = with_loss(line, np.full(9, np.nan))
    if name == "unmeasured":
        line = replace(line, measured=np.zeros(9, dtype=bool))
    line = replace(line, metrics={"accuracy": np.full(line.loss.shape, 0.5)})
    assert picture("curve", [view_of(line, line)]).startswith(b"\x89PNG")
    for colour in (False, True):
        assert drawn("curve", [view_of(line, line)], Screen(80, 24, colour))


@pytest.mark.parametrize("kind", ["spectrum", "ascent", "gradient"])
def test_a_run_of_one_section_is_drawn(kind: str) -> None:
    name = {"spectrum": "hessian", "ascent": "sharpness"}.get(kind, kind)
    view = View("run.h5", Profile("p", Provenance(), {}, {}, {name: sections()[name]}))
    assert default_kind(view) == kind
    assert picture(kind, [view, view]).startswith(b"\x89PNG")
    for other in set(KINDS) - {kind}:
        with pytest.raises(LandscapeError) as caught:
            picture(other, [view])
        assert caught.value.code == 3


def test_a_spectrum_without_a_density_shows_the_ends() -> None:
    whole = sections()["hessian"]
    ends = replace(whole, arrays={k: v for k, v in whole.arrays.items() if not k.startswith("density")})
    view = View("run.h5", Profile("p", Provenance(), {}, {}, {"hessian": ends}))
    svg = picture("spectrum", [view], "svg")
    assert svg != picture("spectrum", [View("run.h5", replace(view.profile, sections={"hessian": whole}))], "svg")


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_names_are_names_and_a_picture_is_the_same_twice(ending: str) -> None:
    view = view_of(asymmetric(), file=EVIL, job=f"[model]\ncheckpoint = '''{EVIL.replace(chr(27), '')}'''\n")
    first = picture("contour", [view, view], ending)
    assert first == picture("contour", [view, view], ending)
    if ending == "svg":
        import xml.etree.ElementTree as ET

        ET.fromstring(first)


def test_several_runs_share_one_scale() -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    low, high = asymmetric(), surface_of(lambda x, y: 100 * bowl(x, y), "-1:1:9", "-0.5:0.5:5")
    figure = Figure(layout="constrained")
    KINDS["contour"](figure, [view_of(low), view_of(high)], THEMES[False])
    assert len(figure.axes) == 3  # two panels and one bar
    assert scale_of([low.loss, high.loss]).high == high.loss.max()
    with pytest.raises(LandscapeError):
        rendered(KINDS["contour"], [view_of(low)] * 13, "png")


def test_a_file_is_written_whole(run: Path, capsys: Capture) -> None:
    pytest.importorskip("matplotlib")
    for ending, magic in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        output = run.with_suffix(f".{ending}")
        assert main(["plot", str(run), str(run), "-o", str(output), "--dark"]) == 0
        assert output.read_bytes().startswith(magic)
    assert capsys.readouterr().out == ""
