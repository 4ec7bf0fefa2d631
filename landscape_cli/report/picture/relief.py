"""The loss over a plane as a surface in three dimensions, above its own contours."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.errors import LandscapeError
from landscape_cli.profile import Floats
from landscape_cli.report.picture.contour import LINES, bar, check_planar, constant, holds_centre, symbols
from landscape_cli.report.picture.scale import ABOVE, Scale, scale_of
from landscape_cli.report.picture.theme import LOWEST, MAP, Theme, cross, number, panels, words
from landscape_cli.report.picture.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLOOR = -0.45  # the height of the contours below
SIZE = (7.0, 6.2)
ROOF = (0.6, 0.6, 0.6, 1.0)
MOST = 101  # points along an axis that facets are drawn between


def relief(figure: Figure, views: Sequence[View], theme: Theme) -> None:
    """A surface whose colours are its heights; what is above the scale is a grey roof, what is no number a hole."""
    for view in views:
        check_planar(view)
        if min(view.shown[1].loss.shape) < 2:
            raise LandscapeError(f"{view.file}: a surface needs 2 × 2 points", "draw it with --kind contour")
    scale = scale_of([view.shown[1].loss[view.shown[1].measured] for view in views])
    axes = panels(figure, views, SIZE, subplot_kw={"projection": "3d", "computed_zorder": False})
    for panel, view in zip(axes, views, strict=True):
        _panel(panel, view, scale, theme)
    bar(figure, axes, scale)
    above = f"grey: above {number(scale.high)}, up to {number(scale.highest)}" if scale.clipped else ""
    holes = "holes: NaN or not measured" if any(not np.isfinite(_height(view, scale)).all() for view in views) else ""
    keys = [key for key in symbols(views) if key.get_label() in ("checkpoint", "lowest point")]
    words(figure, views, [view.title for view in views], [constant(scale), above, holes], keys)


def _height(view: View, scale: Scale) -> Floats:
    surface = view.shown[1]
    return np.where(surface.measured, scale.height(surface.loss), np.nan)


def thinned(count: int) -> NDArray[np.intp]:
    """The points along an axis that are drawn: all of them, or MOST, evenly, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST)).round().astype(np.intp))


def faces(height: Floats, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Floats:
    """[facets in x, in y] the mean height of the points of each facet, its edges too.

    NaN where one of them is, ABOVE where one is above: what a facet leaves out must not hide.
    """
    found = np.empty((len(rows) - 1, len(columns) - 1))
    for i, (left, right) in enumerate(itertools.pairwise(rows)):
        for j, (low, high) in enumerate(itertools.pairwise(columns)):
            points = height[left : right + 1, low : high + 1]
            found[i, j] = ABOVE if (points > 1).any() else points.mean()
    return found


def _panel(panel: Any, view: View, scale: Scale, theme: Theme) -> None:
    from matplotlib import colormaps

    surface = view.shown[1]
    rows, columns = (thinned(n) for n in surface.loss.shape)
    whole = _height(view, scale)
    height = whole[np.ix_(rows, columns)]
    assert surface.y is not None
    x, y = np.meshgrid(surface.x.values[rows], surface.y.values[columns], indexing="ij")
    facets = faces(whole, rows, columns)
    colours = colormaps[MAP](np.clip(np.nan_to_num(facets), 0, 1))
    colours[np.nan_to_num(facets) > 1] = ROOF
    colours[np.isnan(facets)] = 0.0
    if np.isfinite(height).any():
        lid = np.minimum(height, 1.0)
        levels = np.unique(scale.height(np.asarray(scale.ticks(LINES))))
        if len(levels) > 1:
            panel.contour(x, y, lid, levels=levels, cmap=MAP, offset=FLOOR, linewidths=0.8, vmin=0, vmax=1, zorder=1)
        panel.plot_surface(
            x, y, lid, facecolors=colours, rstride=1, cstride=1, lw=0.15, edgecolor="#00000030", shade=False, zorder=2
        )
    _marks(panel, view, scale)
    _frame(panel, view, scale, theme)


def _marks(panel: Any, view: View, scale: Scale) -> None:
    """The checkpoint's place on the floor, and the lowest point's."""
    if holds_centre(view):
        panel.plot([0], [0], [FLOOR], zorder=3, **cross(14))
    if (place := view.place()) is not None:
        panel.plot([place[0]], [place[1]], [FLOOR], marker="*", ms=11, mfc=LOWEST, mec="#ffffff", mew=0.6, zorder=4)


def _frame(panel: Any, view: View, scale: Scale, theme: Theme) -> None:
    ticks = scale.ticks(6) if np.isfinite(scale.highest) or scale.clipped else []
    panel.set_zticks(scale.height(np.asarray(ticks)).tolist(), labels=[number(tick) for tick in ticks])
    x, y = (axis.values[[0, -1]] + np.array([-0.04, 0.04]) * np.ptp(axis.values) for axis in view.record.surface.axes)
    panel.set(xlim=tuple(x), ylim=tuple(y), zlim=(FLOOR, 1.0))
    panel.xaxis.set_major_formatter(lambda value, _: number(value))
    panel.yaxis.set_major_formatter(lambda value, _: number(value))
    for axis in (panel.xaxis, panel.yaxis, panel.zaxis):
        axis.pane.set_facecolor(theme.page)
        axis.pane.set_edgecolor(theme.faint)
        axis._axinfo["grid"].update(color=theme.faint, linewidth=0.3)
    panel.tick_params(labelsize=8)
    for i, name in enumerate(("xlabel", "ylabel")):
        getattr(panel, f"set_{name}")(view.label(i).split(", 1 = ")[0], fontsize=8)
    panel.view_init(elev=32, azim=-55)
    panel.set_box_aspect((1, 1, 0.8), zoom=0.95)
