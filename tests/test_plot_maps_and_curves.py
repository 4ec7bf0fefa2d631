"""Curvature maps and curves as a reader sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problems import surface_of
from test_plot import bowl, view_of, with_loss
from test_plot_look import figure_of, hatches_of, legend_of, line

from landscape_cli.analyse.convexity import hessian_map
from landscape_cli.errors import LandscapeError
from landscape_cli.report.picture.contour import HATCHES
from landscape_cli.report.picture.curvature import NEGATIVE, beside_above, ends_of
from landscape_cli.report.picture.scale import scale_of
from landscape_cli.report.picture.screen import Screen
from landscape_cli.report.picture.terminal import drawn
from landscape_cli.report.picture.view import View

pytest.importorskip("matplotlib")


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


def test_two_splits_differ_in_more_than_colour() -> None:
    panel, right = figure_of("curve", [line()]).axes
    drawn = [one for one in panel.lines if one.get_label().startswith("loss")]
    assert len({one.get_marker() for one in drawn}) == 2
    assert len(right.lines) == 1


@pytest.mark.parametrize("shape", [("-1:1:2", "-1:1:2"), ([0.0], "-1:1:5"), ("-1:1:5", "-1:1:2")])
def test_what_is_too_small_for_a_curvature_map_is_refused_everywhere(shape: tuple[Any, Any]) -> None:
    view = view_of(surface_of(bowl, *shape))
    for draw in (lambda: drawn("curvature", [view], Screen(80, 30, False)), lambda: figure_of("curvature", [view])):
        with pytest.raises(LandscapeError, match="3 × 3"):
            draw()
