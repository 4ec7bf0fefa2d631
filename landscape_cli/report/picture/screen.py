"""The terminal's page: how wide it is, how words fold in it, what frames a picture."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from landscape_cli.report.numbers import plain
from landscape_cli.report.picture.theme import number

LINES = (39, 208, 35, 175)  # the colours of curves and bars, in the 256 of a terminal
MARGIN = 9  # columns of the labels at the left
# What stands for blocks and lines where the terminal's encoding has none.
PLAIN = str.maketrans("█▉▊▋▌▐▍▎▏│├└─●○", "######   ||`-@o")
ESCAPE = re.compile(r"\x1b\[[\d;]*m")


@dataclass(frozen=True)
class Screen:
    """How wide the terminal is, how many lines it has, whether it takes colours, blocks and braille."""

    width: int
    height: int
    colour: bool
    blocks: bool = True

    @property
    def across(self) -> int:
        """The columns of a picture beside its labels."""
        return max(8, min(100, self.width - MARGIN - 1))

    @property
    def down(self) -> int:
        """The lines of a curve."""
        return max(4, min(16, self.height - 7))

    def inked(self, text: str, i: int) -> str:
        """The text in the i-th line's colour."""
        return f"\x1b[38;5;{LINES[i % len(LINES)]}m{text}\x1b[0m" if self.colour else text

    def told(self, *texts: str) -> list[str]:
        """Sentences, folded."""
        return [line for text in texts for line in textwrap.wrap(plain(text), self.width)]

    def packed(self, parts: Iterable[str], between: str = "  ") -> list[str]:
        """As many parts on a line as fit; escapes have no width. One that is too long by itself folds."""
        lines: list[str] = []
        for part in parts:
            if len(bare(part)) > self.width:
                lines += textwrap.wrap(bare(part), self.width)
                continue
            joined = f"{lines[-1]}{between}{part}" if lines else part
            fits = len(bare(joined)) <= self.width and bool(lines)
            lines[-1:] = [joined] if fits else [*lines[-1:], part]
        return lines


def bare(text: str) -> str:
    """Without escapes."""
    return ESCAPE.sub("", text)


def labelled(rows: Sequence[str], top: float, bottom: float) -> list[str]:
    """Rows with the numbers of the first and the last at their left."""
    labels = {0: number(top), len(rows) - 1: number(bottom)}
    return [f"{labels.get(i, '')[: MARGIN - 1]:>{MARGIN - 1}} {row}" for i, row in enumerate(rows)]


def ends(left: float, right: float, across: int) -> str:
    """The line below: the numbers of the first and the last column."""
    first, last = number(left), number(right)
    room = max(len(first) + 1 + len(last), across)
    return " " * MARGIN + first + f"{last:>{room - len(first)}}"
