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

from landscape_cli.profile import Profile, Provenance
from landscape_cli.report.picture.ascent import least_of
from landscape_cli.report.picture.contour import BAR, HATCHES, SMALL, proportion, size_of, sizes_of
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


def legend_of(figure: Any) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


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
