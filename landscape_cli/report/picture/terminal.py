"""TERMINAL: the pictures that a terminal shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from landscape_cli.errors import LandscapeError
from landscape_cli.report.numbers import plain
from landscape_cli.report.picture.screen import PLAIN, Screen
from landscape_cli.report.picture.terminal_curve import ascents, loss_curve, spectra
from landscape_cli.report.picture.terminal_map import curvature_map, heat_map
from landscape_cli.report.picture.terminal_rows import gradients, merge_tree
from landscape_cli.report.picture.view import View, told_apart

TERMINAL: dict[str, Callable[[Sequence[View], Screen], list[str]]] = {
    "contour": heat_map,
    "curve": loss_curve,
    "curvature": curvature_map,
    "spectrum": spectra,
    "ascent": ascents,
    "gradient": gradients,
    "tree": merge_tree,
}


def drawn(kind: str, views: Sequence[View], screen: Screen) -> str:
    """The picture as text.

    Raises:
        LandscapeError: a terminal does not show such a picture.
    """
    if kind not in TERMINAL:
        what = f"a terminal shows no {kind}"
        raise LandscapeError(what, f"write it to a file: -o {plain(kind)}.png; or draw --kind {', '.join(TERMINAL)}")
    lines = TERMINAL[kind](told_apart(views), screen)
    text = "".join(f"{line if screen.colour else line.rstrip()}\n" for line in lines)
    return text if screen.blocks else text.translate(PLAIN)
