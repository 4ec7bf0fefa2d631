"""The loss over a plane as a surface in three dimensions, above its own contours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

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
MOST = 61  # points along an axis that are drawn as facets


def relief(figure: Figure, views: Sequence[View], theme: Theme) -> None:
    """A surface whose colours are its heights; what is above the scale is a grey roof, what is no number a hole."""
    import mpl_toolkits.mplot3d  # noqa: F401  # makes the projection known

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


def thinned(count: int, most: int) -> slice:
    """Every k-th of that many points, so that there are no more than `most`."""
    return slice(None, None, max(1, -(-(count - 1) // (most - 1))))


def faces(height: Floats) -> Floats:
    """[nx - 1, ny - 1] the mean height of each facet's corners that are numbers; ABOVE where one of them is."""
    corners = np.stack([height[:-1, :-1], height[1:, :-1], height[:-1, 1:], height[1:, 1:]])
    known = ~np.isnan(corners)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, corners, 0.0).sum(0) / known.sum(0)
        over: Floats = np.where((corners > 1).any(0), ABOVE, mean)
    return over


def _panel(panel: Any, view: View, scale: Scale, theme: Theme) -> None:
    from matplotlib import colormaps

    surface = view.shown[1]
    rows, columns = (thinned(n, MOST) for n in surface.loss.shape)
    height = _height(view, scale)[rows, columns]
    assert surface.y is not None
    x, y = np.meshgrid(surface.x.values[rows], surface.y.values[columns], indexing="ij")
    facets = faces(height)
    colours = colormaps[MAP](np.clip(np.nan_to_num(facets), 0, 1))
    colours[np.nan_to_num(facets) > 1] = ROOF
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
