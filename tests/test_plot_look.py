"""Pictures as a reader sees them: nothing is cut or covered, every hatch and colour says what it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from problems import surface_of
from test_plot import asymmetric, bowl, odd_surfaces, section, sections, view_of, with_loss

from landscape_cli.analyse.convexity import hessian_map
from landscape_cli.profile import Profile, Provenance
from landscape_cli.report.picture.ascent import least_of
from landscape_cli.report.picture.contour import BAR, HATCHES, SMALL, proportion, size_of, sizes_of
from landscape_cli.report.picture.curvature import NEGATIVE, beside_above, ends_of
from landscape_cli.report.picture.kinds import KINDS
from landscape_cli.report.picture.layers import MOST, bars_of
from landscape_cli.report.picture.scale import scale_of
from landscape_cli.report.picture.screen import Screen
from landscape_cli.report.picture.terminal import drawn
from landscape_cli.report.picture.theme import THEMES, columns_of, prepared
from landscape_cli.report.picture.view import View

pytest.importorskip("matplotlib")
LONG: dict[str, Any] = {"job": "[model]\ncheckpoint = 'resnet20-a-rather-long-name-of-a-checkpoint.th'\n"}


def figure_of(kind: str, views: Sequence[View]) -> Any:
    """The figure, drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with prepared(THEMES[False]) as figure:
        KINDS[kind](figure, views, THEMES[False])
        FigureCanvasAgg(figure).draw()
        return figure


def of_sections() -> View:
    return View("run.h5", Profile("p", Provenance(**LONG), {}, {}, sections()))


def of_ends() -> View:
    """Without a spectral density."""
    whole = sections()["hessian"]
    ends = {name: array for name, array in whole.arrays.items() if not name.startswith("density")}
    return View("run.h5", Profile("p", Provenance(**LONG), {}, {}, {"hessian": replace(whole, arrays=ends)}))


def line() -> View:
    found = surface_of(lambda x: 0.01 + x**2, "-1:1:21", noise=0.1)
    return view_of(replace(found, metrics={"accuracy": 1 - found.loss}), found, **LONG)


def shown() -> list[tuple[str, View]]:
    """Pictures whose labels differ most in length."""
    planes = {name: view_of(odd_surfaces()[name], **LONG) for name in ("walls", "huge", "column", "negative")}
    planes["tall"] = view_of(surface_of(bowl, "-1:1:5", "-2:2:9"), **LONG)
    return [
        *(("contour", plane) for plane in planes.values()),
        *(("surface", planes[name]) for name in ("walls", "huge")),
        ("curvature", planes["walls"]),
        ("tree", planes["column"]),
        ("curve", line()),
        *((kind, of_sections()) for kind in ("spectrum", "ascent", "gradient")),
        ("spectrum", of_ends()),
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_is_cut_and_no_title_or_legend_covers_another(count: int) -> None:
    for kind, view in shown():
        figure = figure_of(kind, [view] * count)
        box, (wide, high) = figure.get_tightbbox(), figure.get_size_inches()
        assert min(box.x0, box.y0, wide - box.x1, high - box.y1) >= 0, kind
        titles = [axes._left_title.get_window_extent() for axes in figure.axes if axes.get_title("left")]
        others = [text.get_window_extent() for text in figure.texts] + [
            legend.get_window_extent() for legend in figure.legends
        ]
        assert len(titles) >= count
        apart = others if kind == "curvature" else [*titles, *others]  # whose first title stands over all three panels
        assert not any(a.overlaps(b) for a, b in combinations(apart, 2)), kind


def test_a_panel_is_as_wide_as_its_window() -> None:
    tall, flat, line = (
        surface_of(bowl, *axes) for axes in (("-1:1:3", "-2:2:3"), ("-2:2:3", "-1:1:3"), ("-1:1:3", [0.0]))
    )
    assert [proportion(surface) for surface in (tall, flat, line)] == [2, 0.5, None]
    (narrow, high), (wide, low), square = (size_of([view_of(surface)]) for surface in (tall, flat, line))
    assert square == (wide, high)
    np.testing.assert_allclose(size_of([view_of(tall), view_of(flat)]), (wide - BAR, high))
    assert narrow < wide
    assert low < high


def test_the_numbers_beside_bars_and_the_words_below_them_cover_nothing() -> None:
    figure = figure_of("spectrum", [of_ends()] * 2)
    values = [text.get_window_extent() for panel in figure.axes for text in panel.texts]
    labels = [panel.xaxis.label.get_window_extent() for panel in figure.axes]
    assert len(values) == 10
    assert not any(a.overlaps(b) for a, b in combinations([*values, *labels, figure.texts[0].get_window_extent()], 2))
    assert not any(value.overlaps(panel.bbox) for value in values for panel in figure.axes)
    assert {panel.get_xlim() for panel in figure.axes} == {figure.axes[0].get_xlim()}
    assert "hessian.density=true" in figure.texts[0].get_text()


def hatches_of(panel: Any) -> set[str]:
    drawn = (*panel.collections, *panel.patches)
    return {hatch for one in drawn for hatch in getattr(one, "hatches", [one.get_hatch()]) if hatch}


def test_nan_unmeasured_and_above_have_their_own_hatches_on_one_picture() -> None:
    plane, row = surface_of(bowl, "-1:1:11", "-1:1:7"), surface_of(bowl, "-1:1:11", [0.0])
    for surface in (plane, row):
        loss, measured = surface.loss.copy(), surface.measured.copy()
        loss[0], loss[3], measured[8:] = np.inf, np.nan, False
        figure = figure_of("contour", [view_of(replace(surface, loss=loss, measured=measured))])
        assert hatches_of(figure.axes[0]) == set(HATCHES.values())
    assert not hatches_of(figure_of("contour", [view_of(plane)]).axes[0])


def test_no_contour_is_made_up_beside_what_is_no_number_or_above() -> None:
    plane = surface_of(lambda x, y: 0.5 + (x + 1) ** 2 + y**2, "-1:1:11", "-1:1:11")
    for wall in (np.inf, np.nan, 1e30):
        loss = plane.loss.copy()
        loss[4, 4] = wall
        panel = figure_of("contour", [view_of(with_loss(plane, loss))]).axes[0]
        (drawn,) = [
            one
            for one in panel.collections
            if one.get_label() != "" and np.size(one.get_linewidth()) and not one.get_fill()
        ]
        corners = np.concatenate([path.vertices for path in drawn.get_paths() if len(path)])
        assert len(corners) > 50
        inside = (np.abs(corners - (plane.x.values[4], plane.x.values[4])) < 0.2 - 1e-9).all(1)
        assert not inside.any()


def test_only_marks_that_fall_together_are_small() -> None:
    places = np.array([[0.0, 0.0], [0.01, -0.01], [0.5, 0.0]])
    assert sizes_of(places, [2.0, 2.0]) == [SMALL, SMALL, 1.0]
    assert sizes_of(places, [0.02, 0.0]) == [1.0, 1.0, 1.0]
    assert sizes_of(np.zeros((0, 2)), [2.0, 2.0]) == []


def test_the_bar_of_one_map_is_as_tall_as_it() -> None:
    (panel,) = figure_of("contour", [view_of(surface_of(bowl, "-2:2:9", "-1:1:5"))]).axes
    (bar,) = panel.child_axes
    heights = [(box.y0, box.y1) for box in (bar.get_window_extent(), panel.get_window_extent())]
    assert heights[0] == pytest.approx(heights[1])


def test_one_loss_has_no_colour_bar_and_is_named() -> None:
    for kind in ("contour", "surface"):
        figure = figure_of(kind, [view_of(odd_surfaces()["constant"])])
        assert len(figure.axes) == 1
        assert "loss 2.3" in figure.texts[0].get_text()


def test_walls_do_not_set_the_colours_of_a_curvature_map() -> None:
    plane = surface_of(bowl, "-1:1:11", "-1:1:11")
    loss = plane.loss.copy()
    loss[:3, :3] = 1e30
    walled = with_loss(plane, loss)
    over = beside_above(walled, scale_of([loss]))
    assert np.argwhere(over).tolist() == [[i, j] for i in range(3) for j in range(3)]
    limits = [figure_of("curvature", [view_of(s)]).axes[0].collections[0].get_clim()[1] for s in (plane, walled)]
    assert limits[1] == pytest.approx(limits[0], rel=0.2)
    figure = figure_of("curvature", [view_of(walled)])
    assert HATCHES["above"] in hatches_of(figure.axes[0])
    assert f"a loss around is above {loss[loss < 1e30].max():.4g}" in legend_of(figure)


def legend_of(figure: Any) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_no_curvature_is_beyond_its_colours_and_each_map_says_its_ends() -> None:
    wave = surface_of(lambda x, y: 5 + np.sin(3 * x) + 0.01 * np.cos(9 * y), "-1:1:21", "-1:1:21", noise=1e-3)
    figure = figure_of("curvature", [view_of(wave)])
    found = hessian_map(wave)
    for panel, values in zip(figure.axes, (found.lowest, found.highest), strict=False):
        low, high = panel.collections[0].get_clim()
        assert low == -high
        assert high == max(np.abs(found.lowest).max(), np.abs(found.highest).max())
        assert panel.get_title("left").endswith(f": {values.min():.3g} to {values.max():.3g}")


def test_small_curvatures_have_a_colour_beside_large_ones() -> None:
    ends = ends_of([hessian_map(surface_of(lambda x, y: 0.001 * x**2 + y**4, "-1:1:41", "-1:1:41"))])
    assert ends.limit == pytest.approx(12, rel=0.2)
    assert ends.linear < 0.002
    assert 0.0 in ends.ticks()
    assert len(ends.ticks()) <= 11
    assert max(ends.ticks()) <= ends.limit


def test_curvature_that_is_rounding_is_flat() -> None:
    rough = surface_of(lambda x, y: 2.3 + 1e-15 * np.sin(99 * x * y), "-1:1:9", "-1:1:9")
    assert hessian_map(rough).lowest.any()
    figure = figure_of("curvature", [view_of(rough)])
    assert not any(np.asarray(panel.collections[0].get_array()).any() for panel in figure.axes[:3])
    assert "λ: flat; cells within the rounding of the losses are drawn as 0" in figure.texts[0].get_text()


def test_a_ratio_above_1_has_an_arrow_and_both_negative_a_hatch() -> None:
    cap, saddle, bowl_ = (
        surface_of(lambda x, y, a=a, b=b: 9 + a * x**2 + b * y**2, "-1:1:7", "-1:1:7")
        for a, b in ((-1, -3), (1, -4), (1, 4))
    )
    for surface, negative, beyond in ((cap, True, True), (saddle, False, True), (bowl_, False, False)):
        figure = figure_of("curvature", [view_of(surface)])
        assert (
            (NEGATIVE in hatches_of(figure.axes[2])) == negative == ("both eigenvalues negative" in legend_of(figure))
        )
        assert ("ratio above 1" in legend_of(figure)) == beyond
        (bar,) = figure.axes[2].child_axes
        assert (bar._colorbar.extend == "max") == beyond
    assert figure_of("curvature", [view_of(saddle)]).axes[2].get_title("left") == "ratio −λmin/|λmax|: 4 to 4"


def test_a_curvature_map_says_its_units_and_has_bars_as_tall_as_itself() -> None:
    figure = figure_of("curvature", [view_of(surface_of(bowl, "-1:1:9", "-0.5:0.5:5"))])
    for panel in figure.axes:
        assert "in parameter distance" in panel.get_xlabel()
        (bar,) = panel.child_axes
        heights = [(box.y0, box.y1) for box in (bar.get_window_extent(), panel.get_window_extent())]
        assert heights[0] == pytest.approx(heights[1])
    assert "checkpoint" in legend_of(figure)


def test_the_deepest_basin_goes_on_to_the_highest_loss() -> None:
    panel = figure_of("tree", [view_of(asymmetric())]).axes[0]
    low, high = sorted(panel.lines[0].get_ydata())
    assert (low, high) == pytest.approx((0.1, asymmetric().loss.max()))
    assert panel.get_ylabel() == "loss (log scale)"
    ticks = panel.get_yticks()
    assert ticks.max() == high
    assert (ticks[1:] / ticks[:-1] >= 1.19).all()


def test_an_ascent_shows_its_start_where_the_rise_is_0_or_below() -> None:
    figure = figure_of("ascent", [of_sections()])
    starts = [line.get_ydata()[0] for line in figure.axes[0].lines]
    assert starts == [0.0] * len(starts)
    assert figure.axes[0].get_ylim()[0] < 0


def test_ascents_far_apart_are_told_apart_and_say_what_a_report_says() -> None:
    figure = figure_of("ascent", [of_sections()])
    (panel,) = figure.axes
    assert panel.get_yscale() == "symlog"
    ball = max(line.get_ydata().max() for line in panel.lines if line.get_color() == panel.lines[2].get_color())
    place = panel.transAxes.inverted().transform(panel.transData.transform((0, ball)))[1]
    assert ball == pytest.approx(0.003)
    assert place > 0.3
    told = figure.texts[0].get_text().replace("\n", " ")
    assert "adaptive ball, ρ = ?: ≥ 0.3 (not converged); ball, ρ = ?: ≥ 0.003 (not converged); box" in told
    assert "box, ε = 0.001: ≥ 15 (not finite) in % of 1 + L" in told


def test_ascents_that_end_apart_have_not_converged() -> None:
    whole = sections()["sharpness"]
    apart = np.array([[0.0, 0.1, 0.3], [0.0, 0.1, 0.15]])
    view = View(
        "run.h5",
        Profile(
            "p",
            Provenance(),
            {},
            {},
            {"sharpness": replace(whole, arrays={**whole.arrays, "keskar_curves": apart[None]})},
        ),
    )
    for told in (figure_of("ascent", [view]).texts[0].get_text(), drawn("ascent", [view], Screen(200, 30, False))):
        assert "(not converged) in % of 1 + L" in told


def test_no_label_of_a_symmetric_log_scale_covers_its_0() -> None:
    rise = np.array([[0.0, 0.5, 1.0], [-1e-4, 0.5, 1.0]])
    whole = sections()["sharpness"]
    arrays = {
        **whole.arrays,
        "worst_adaptive_curves": 20 * rise,
        "worst_curves": 0.08 * rise,
        "keskar_curves": rise[None],
    }
    view = View("run.h5", Profile("p", Provenance(), {}, {}, {"sharpness": replace(whole, arrays=arrays)}))
    labels = [text for text in figure_of("ascent", [view]).axes[0].get_yticklabels() if text.get_text()]
    assert {"0", "10"} <= {text.get_text() for text in labels}
    assert not any(a.overlaps(b) for a, b in combinations([text.get_window_extent() for text in labels], 2))


@pytest.mark.parametrize(("scale", "least"), [(1.0, None), (0.1, None), (0.01, 1e-4)])
def test_a_log_scale_begins_a_hundredth_below_the_flattest(scale: float, least: float | None) -> None:
    rise = np.linspace(0.5, 1.0, 20)[None]
    assert least_of([{"a": rise, "b": scale * rise, "c": 0.0 * rise}]) == least


def test_the_median_is_that_of_all_tensors_where_not_all_are_shown() -> None:
    norms = np.geomspace(1e-3, 1.0, MOST + 41)
    norms[: MOST // 2] = 1e-5
    arrays = {**sections()["gradient"].arrays, "layer_norms": norms, "weight_norms": np.ones(len(norms))}
    names = [f"layer{i}" for i in range(len(norms))]
    view = View("run.h5", Profile("p", Provenance(), {}, {}, {"gradient": section(arrays, parameters=names)}))
    bars = bars_of(view)
    assert bars.median == np.median(norms)
    assert (len(bars.names), bars.left_out) == (MOST, 41)


def of_gradient(norms: Sequence[float], **arrays: Any) -> View:
    held = {
        **sections()["gradient"].arrays,
        "layer_norms": np.array(norms),
        "weight_norms": np.ones(len(norms)),
        **arrays,
    }
    found = section(held, parameters=[f"layer{i}" for i in range(len(norms))])
    return View("run.h5", Profile("p", Provenance(), {}, {}, {"gradient": found}))


def test_bars_begin_below_the_smallest_and_the_median_is_dotted() -> None:
    figure = figure_of("gradient", [of_gradient([0.02, 0.05, 0.3, 0.0]), of_gradient([0.04])])
    first, second = figure.axes
    left = first.get_xlim()[0]
    assert 0.01 < left < 0.02
    assert [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in first.patches] == [
        pytest.approx((left, end)) for end in (0.02, 0.05, 0.3, left)
    ]
    assert second.patches[0].get_x() == left
    (median,) = first.lines
    assert (median.get_linestyle(), median.get_xdata()[0]) == (":", pytest.approx(0.035))
    shown = [tick for tick in first.get_xticks() if left <= tick <= first.get_xlim()[1]]
    assert len(shown) >= 4
    assert "dotted: the median" in figure.texts[0].get_text()


def test_norms_that_the_samples_cannot_tell_from_noise_are_said_to_hold_it() -> None:
    rng = np.random.default_rng(0)
    apart = rng.normal(size=(8, 50))
    for signal, said in ((0.0, True), (9.0, False)):
        groups = apart + signal
        squares = (groups**2).sum(1)
        view = of_gradient([1.0, 2.0], group_products=groups @ groups.T, sample_squares=squares)
        text = figure_of("gradient", [view]).texts[0].get_text()
        assert ("the norms hold the noise of the samples" in text) == said
        assert ("noise of the samples" in drawn("gradient", [view], Screen(90, 30, False))) == said


@pytest.mark.parametrize(
    ("widths", "room", "columns"), [([], 5, 1), ([1], 0, 1), ([1, 1, 1], 3, 3), ([1, 2, 1, 1, 1], 5, 3), ([4, 4], 5, 1)]
)
def test_a_legend_has_as_few_rows_as_fit(widths: list[float], room: float, columns: int) -> None:
    assert columns_of(widths, room) == columns


def test_an_axis_says_of_what_it_is_the_logarithm() -> None:
    kinds = [scale_of([low + np.array([0.0, 0.1, 1.0, 9.0])]).kind for low in (0.5, 0.0, 50.0)]
    assert kinds == [" (log scale)", " (log scale of its rise above the lowest)", ""]


def test_two_splits_differ_in_more_than_colour() -> None:
    panel, right = figure_of("curve", [line()]).axes
    drawn = [one for one in panel.lines if one.get_label().startswith("loss")]
    assert len({one.get_marker() for one in drawn}) == 2
    assert len(right.lines) == 1


def test_a_band_is_within_the_axes() -> None:
    deep = surface_of(
        lambda x: 0.1 + x**4, "-1:1:21", noise=lambda x: np.where(np.arange(64) % 2, 1.0, -1.0) * (0.3 + 0 * x)
    )
    flat = surface_of(lambda x: 2 + 0.1 * x, "-1:1:21", noise=1.0)
    low = surface_of(lambda x: x**4 - 3, "-1:1:21", noise=3.0)
    for surface in (deep, flat, low):
        panel = figure_of("curve", [view_of(surface)]).axes[0]
        (area,) = panel.collections[:1]
        corners = area.get_paths()[0].vertices[:, 1]
        assert corners.max() - corners.min() > np.ptp(surface.loss)
        assert panel.get_ylim()[0] <= corners.min()
        assert corners.max() <= panel.get_ylim()[1]


def test_a_split_looks_the_same_alone() -> None:
    held = line().profile
    both, alone = (figure_of("curve", [View("run.h5", held, "main", split)]).axes[0] for split in ("", "test"))
    looks = [
        {(one.get_color(), one.get_marker()) for one in panel.lines if one.get_label() == "loss, test"}
        for panel in (both, alone)
    ]
    assert len(looks[0]) == 1
    assert looks[0] == looks[1]


def test_the_barrier_of_a_line_is_marked_on_every_split() -> None:
    pair = [surface_of(lambda x, c=c: c + (x**2 - 0.25) ** 2, "-1:1:41", noise=1e-3) for c in (0.1, 0.3)]
    figure = figure_of("curve", [view_of(*pair)])
    marks = [one for one in figure.axes[0].collections if len(one.get_offsets()) == 1 and one.get_paths()]
    places = np.array([one.get_offsets()[0] for one in marks])
    for level in (0.1, 0.3):
        tops = places[(np.abs(places - (0.0, level + 0.0625)) < (0.02, 0.005)).all(1)]
        ends = [places[(np.abs(places - (x, level)) < (0.03, 0.005)).all(1)] for x in (-0.5, 0.5)]
        assert len(tops) == 1
        assert sorted(map(len, ends)) == [1, 2]  # the lowest point's star is on one of them
    assert {"minimum", "maximum", "lowest point"} <= set(legend_of(figure))


def test_a_minimum_whose_place_is_unsure_is_dotted() -> None:
    kink = surface_of(
        lambda x: 0.1 + np.minimum((x + 0.5) ** 2, 0.02 + np.maximum(0.5 - x, 3 * x - 1.5)), "-1:1:41", noise=1e-4
    )
    view = view_of(kink)
    assert [point["resolved"] for point in view.critical(unsure=True) if point["kind"] == "minimum"] == [True, False]
    figure = figure_of("curve", [view])
    dotted = [one for one in figure.axes[0].collections if len(one.get_offsets()) and one.get_linestyle()[0][1]]
    assert [one.get_offsets()[0][0] for one in dotted if one.get_offsets()[0][0] > 0.2] == [pytest.approx(0.5)]
    assert "dotted: a minimum or maximum whose place is unsure" in figure.texts[0].get_text()
