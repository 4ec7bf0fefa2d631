"""Rows in a terminal: bars of blocks, and the merge tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from landscape_cli.analyse.gradient import EXPLODING, VANISHING
from landscape_cli.report.picture.layers import RATIO, bars_of, noise_of
from landscape_cli.report.picture.screen import Screen
from landscape_cli.report.picture.theme import number
from landscape_cli.report.picture.tree import SURE, UNSURE, Branch, stems_of
from landscape_cli.report.picture.view import View

EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True)
class Row:
    """A name, the value that its bar shows, and what stands beside it."""

    name: str
    value: float
    text: str


def bars(blocks: Sequence[Sequence[Row]], screen: Screen) -> list[list[str]]:
    """Lines for each block, all on one scale: bars from 0 to the right, of negative values from an axis to the left."""
    rows = [row for block in blocks for row in block]
    values = [row.value for row in rows if np.isfinite(row.value)]
    high, low = max([*values, 0.0]), -min([*values, 0.0])
    beside = max((len(row.text) for row in rows), default=0)
    named = max(1, min(max((len(row.name) for row in rows), default=0), screen.width - beside - 6))
    room = max(3, screen.width - named - beside - 2)
    left = min(max(1, round((room - 1) * low / (high + low))), room - 2) if low else 0
    right = room - 1 - left if left else room
    unit = (right / high if high >= low else left / low) if values and high + low else 0.0  # columns of 1
    return [
        [
            f"{row.name[:named]:<{named}} {_bar(row.value * unit, left, right, screen)} {row.text}".rstrip()
            for row in part
        ]
        for part in blocks
    ]


def _bar(size: float, left: int, right: int, screen: Screen) -> str:
    """So many columns beside the axis, which stands there where something is negative."""
    size = size if np.isfinite(size) else 0.0
    ahead = block(max(size, 0.0) / right, right)
    if not left:
        return screen.inked(ahead, 0)
    whole, half = divmod(round(2 * min(-size, left)), 2) if size < 0 else (0, 0)
    behind = ("▐" * half + "█" * whole).rjust(left)
    return f"{screen.inked(behind, 1)}│{screen.inked(ahead, 0)}"


def block(share: float, room: int) -> str:
    """So much of the room, to an eighth of a letter."""
    whole, rest = divmod(round(8 * min(share, 1.0) * room), 8)
    return ("█" * whole + EIGHTHS[rest : rest + 1] * (rest > 0)).ljust(room)


def gradients(views: Sequence[View], screen: Screen) -> list[str]:
    """‖∇‖/‖w‖ of each tensor as a bar; those that vanish or explode beside the median are named."""
    found = [bars_of(view) for view in views]
    blocks = [
        [Row(n, r, _ratio(r, held.median)) for n, r in zip(held.names, held.ratios, strict=True)] for held in found
    ]
    lines = []
    for view, held, drawn in zip(views, found, bars(blocks, screen), strict=True):
        lines += [*screen.told(view.section_title("gradient", "gradient by layer")), *drawn]
        left = [f"{held.left_out} more tensors are left out, those nearest the median"] if held.left_out else []
        what = f"{RATIO}, median {number(held.median)}"
        lines += screen.told(what, *left, *filter(None, [noise_of([view])]), view.caption)
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
        lines += screen.told(f"● {SURE}, ○ {UNSURE}", view.caption)
    return [line[: screen.width] for line in lines]


def _branches(stem: Branch, stems: Sequence[Branch], first: str, then: str) -> list[str]:
    """A minimum and, indented below it, those that drain into it."""
    drains = f", drains at {number(stem.merges)}" if stem.merges is not None and stem.into is not None else ""
    lines = [f"{first}{'●' if stem.sure else '○'} #{stem.number} {stem.where} loss {stem.height}{drains}"]
    below = [other for other in stems if other.into == stem.at]
    for other in below:
        last = other is below[-1]
        lines += _branches(other, stems, then + ("└─ " if last else "├─ "), then + ("   " if last else "│  "))
    return lines
