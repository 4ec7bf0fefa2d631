"""Figures: the one importer of matplotlib's parts that every picture needs, light and dark."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from landscape_cli.errors import LandscapeError
from landscape_cli.report.numbers import plain
from landscape_cli.report.picture.view import View, told_apart

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 12  # runs of one picture
DOTS = 160  # per inch, of a PNG
PANEL = (6.6, 5.6)  # inches
MAP = "viridis"  # from dark to light, told apart by the colour-blind and in grey
LOWEST = "#ff5a36"  # the lowest point's star
# Okabe & Ito 2008: told apart by the colour-blind.
LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DARK = ("#56B4E9", "#E69F00", "#2BC79A", "#F0A6CF", "#F0E442", "#4A90D9")


@dataclass(frozen=True)
class Theme:
    """Colours of the page, the words, what is faint, and of one line after the other."""

    page: str
    ink: str
    faint: str
    lines: tuple[str, ...]

    def line(self, i: int) -> str:
        """The colour of the i-th line."""
        return self.lines[i % len(self.lines)]


THEMES = {
    False: Theme("#ffffff", "#1b1b1b", "#8a8a8a", LIGHT),
    True: Theme("#14171c", "#e8e8e8", "#8c939c", DARK),
}
Draw = Callable[["Figure", Sequence[View], Theme], None]


def rendered(draw: Draw, views: Sequence[View], ending: str, dark: bool = False) -> bytes:
    """The picture as a file of this ending: png, svg or pdf. The same views make the same bytes.

    Raises:
        LandscapeError: matplotlib is absent, or the runs do not have what is drawn, or there are too many.
    """
    if len(views) > MOST:
        raise LandscapeError(f"{len(views)} runs do not fit in one picture", f"give at most {MOST}")
    with prepared(THEMES[dark]) as figure:
        draw(figure, told_apart(views), THEMES[dark])
        metadata: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
        out = io.BytesIO()
        figure.savefig(out, format=ending, metadata=metadata[ending])
    return out.getvalue()


@contextmanager
def prepared(theme: Theme) -> Iterator[Figure]:
    """A figure in the colours of the theme, whatever the user has set for his own."""
    try:
        import matplotlib
        import mpl_toolkits.mplot3d  # noqa: F401  # makes its projection known
        from matplotlib.figure import Figure
    except ImportError as error:
        hint = 'pip install "landscape-cli[plot]"; or -o - draws in the terminal'
        raise LandscapeError(f"pictures need matplotlib: {error}", hint) from None
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the font lacks, layouts that do not fit
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_settings(theme))
        yield Figure(layout="constrained", dpi=DOTS)


def _settings(theme: Theme) -> dict[str, Any]:
    ink = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color", "axes.edgecolor")
    page = ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor")
    return {
        **dict.fromkeys(ink, theme.ink),
        **dict.fromkeys(page, theme.page),
        "text.parse_math": False,  # a name is a name, whatever is in it
        "font.size": 10,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": theme.faint,
        "grid.alpha": 0.25,
        "grid.linewidth": 0.6,
        "hatch.color": theme.faint,
        "hatch.linewidth": 0.7,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "figure.constrained_layout.w_pad": 0.1,
        "figure.constrained_layout.h_pad": 0.07,
        "pdf.fonttype": 42,  # TrueType: printers and journals refuse the default's Type 3
        "svg.hashsalt": "landscape",
    }


def cross(size: float) -> dict[str, Any]:
    """The style of the checkpoint's +: white with a black rim."""
    from matplotlib.patheffects import withStroke

    rim = [withStroke(linewidth=size / 5, foreground="#000000")]
    return {"ls": "", "marker": "+", "ms": size, "mew": size / 10, "color": "#ffffff", "path_effects": rim}


def panels(figure: Figure, views: Sequence[View], size: tuple[float, float] = PANEL, **kinds: Any) -> list[Axes]:
    """A panel for each run, in rows that are about as wide as high."""
    columns = across(len(views))
    down = -(-len(views) // columns)
    scale = 1.0 if columns == 1 else 0.8
    figure.set_size_inches(size[0] * columns * scale, size[1] * down * scale)
    grid = figure.subplots(down, columns, squeeze=False, **kinds).ravel()
    for spare in grid[len(views) :]:
        spare.remove()
    return list(grid[: len(views)])


def words(
    figure: Figure,
    views: Sequence[View],
    titles: Sequence[str],
    notes: Sequence[str] = (),
    keys: Sequence[Artist] = (),
) -> None:
    """The titles over the panels; below them all a legend, and the captions folded to the figure's width.

    The figure grows by what stands below.
    """
    wide, high = figure.get_size_inches()
    named = [f"{view.name}: {view.caption}" if len(views) > 1 else view.caption for view in views]
    folded = [line for text in [*named, *notes] if text for line in textwrap.wrap(plain(text), int(wide * 15.5))]
    unlike = {str(key.get_label()): key for key in keys}
    columns = columns_of([0.6 + 0.07 * len(label) for label in unlike], wide)
    told, rows = 0.17 * len(folded) + 0.12, -(-len(unlike) // columns)
    below = told + 0.24 * rows
    figure.set_size_inches(wide, high + below)
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, below / (high + below), 1, high / (high + below)))
    figure.text(0.1 / wide, 0.06 / (high + below), "\n".join(folded), fontsize=8, va="bottom")
    if unlike:
        place = (0.5, told / (high + below))
        found = figure.legend(
            list(unlike.values()), list(unlike), loc="lower center", ncols=columns, bbox_to_anchor=place
        )
        found.set_in_layout(False)
    engine.execute(figure)  # where the panels stand
    lefts = [axes.get_position().x0 for axes in figure.axes[: len(titles)]]
    for axes, title, left in zip(figure.axes, titles, lefts, strict=False):
        *over, own = title.split("\n")  # what stands over several panels, and the panel's own
        room = (min((x for x in lefts if x > left + 0.05), default=1.0) - left) * wide - 0.2
        lines = textwrap.wrap(plain(own), max(12, int(room * 10.5)))
        axes.set_title("\n".join([*map(plain, over), *lines]), loc="left", fontweight="bold")


def columns_of(widths: Sequence[float], room: float) -> int:
    """How many columns a legend has: as few rows as fit, all but the last full. The order goes down the columns."""
    for rows in range(1, len(widths)):
        if sum(max(widths[i : i + rows]) for i in range(0, len(widths), rows)) <= room:
            return -(-len(widths) // rows)
    return 1


def across(count: int) -> int:
    """How many panels stand side by side."""
    return min(count, 2 if count in (2, 4) else 3)


def number(value: float) -> str:
    """A tick's loss: `0.002`, `1e+30`."""
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.3g}".replace("e-0", "e-")


def number_from(least: float | None) -> Callable[[float, int], str]:
    """The labels of an axis that is logarithmic from there on: those between it and 0 would cover the 0."""
    return lambda value, _: "" if least and 0 < abs(value) < least / 2 else number(value)
