"""Rows in a terminal: bars of blocks, and the merge tree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from landscape_cli.analyse.gradient import EXPLODING, VANISHING
from landscape_cli.report.picture.layers import RATIO, bars_of
from landscape_cli.report.picture.screen import Screen
from landscape_cli.report.picture.theme import number
from landscape_cli.report.picture.tree import Branch, stems_of
from landscape_cli.report.picture.view import View

EIGHTHS = " ▏▎▍▌▋▊▉"


def bars(
    names: Sequence[str], values: Sequence[float], texts: Sequence[str], screen: Screen, most: float = 0
) -> list[str]:
    """A bar from 0 for each value, negative ones of another colour, its number at the right; `most` fills the room."""
    beside = max(map(len, texts), default=0)
    named = max(1, min(max(map(len, names), default=0), screen.width - beside - 6))
    room = max(1, screen.width - named - beside - 2)
    most = most or max((abs(value) for value in values if np.isfinite(value)), default=0)
    lines = []
    for name, value, text in zip(names, values, texts, strict=True):
        bar = block(abs(value) / most if most and np.isfinite(value) else 0.0, room)
        lines.append(f"{name[:named]:<{named}} {screen.inked(bar, int(value < 0))} {text}".rstrip())
    return lines


def block(share: float, room: int) -> str:
    """So much of the room, to an eighth of a letter."""
    whole, rest = divmod(round(8 * min(share, 1.0) * room), 8)
    return ("█" * whole + EIGHTHS[rest : rest + 1] * (rest > 0)).ljust(room)


def gradients(views: Sequence[View], screen: Screen) -> list[str]:
    """‖∇‖/‖w‖ of each tensor as a bar; those that vanish or explode beside the median are named."""
    found = [bars_of(view) for view in views]
    most = max((ratio for held in found for ratio in held.ratios if np.isfinite(ratio)), default=0.0)
    lines = []
    for view, held in zip(views, found, strict=True):
        texts = [_ratio(ratio, held.median) for ratio in held.ratios]
        lines += screen.told(view.section_title("gradient", "gradient by layer"))
        lines += bars(held.names, held.ratios, texts, screen, most)
        left = [f"{held.left_out} more tensors are left out, those nearest the median"] if held.left_out else []
        what = f"{RATIO}, median {number(held.median)}"
        lines += screen.told(what, *left, view.caption)
    return lines


def _ratio(ratio: float, median: float) -> str:
    if np.isnan(ratio):
        return "weights 0"
    return number(ratio) + (" vanishing" * (ratio < VANISHING * median) + " exploding" * (ratio > EXPLODING * median))


def merge_tree(views: Sequence[View], screen: Screen) -> list[str]:
    """Each minimum below the basin that it drains into, the lowest saddle first."""
    lines = []
    for view, stems in zip(views, stems_of(views), strict=True):
        lines += screen.told(f"{view.title} · merge tree")
        for stem in stems:
            if stem.into is None:
                lines += _branches(stem, stems, "", "")
        lines += screen.told("● inside and resolved, ○ at the border or perhaps the grid's own", view.caption)
    return [line[: screen.width] for line in lines]


def _branches(stem: Branch, stems: Sequence[Branch], first: str, then: str) -> list[str]:
    """A minimum and, indented below it, those that drain into it."""
    where = ", ".join(f"{value:.2g}" for value in stem.where)
    drains = f", drains at {number(stem.merges)}" if stem.merges is not None and stem.into is not None else ""
    lines = [f"{first}{'●' if stem.sure else '○'} #{stem.number} ({where}) loss {number(stem.loss)}{drains}"]
    below = [other for other in stems if other.into == stem.at]
    for other in below:
        last = other is below[-1]
        lines += _branches(other, stems, then + ("└─ " if last else "├─ "), then + ("   " if last else "│  "))
    return lines
