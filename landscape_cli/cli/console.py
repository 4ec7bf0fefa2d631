"""All words to people go through here, and all of them to stderr; stdout carries data."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from landscape_cli.errors import LandscapeError
from landscape_cli.report.numbers import plain

FORBIDDEN_COLOUR = "NO_COLOR"


@dataclass
class Console:
    """How to speak: quiet (errors only), verbose, with colour, with tracebacks; and the command as typed."""

    quiet: bool = False
    verbose: bool = False
    colour: bool = True
    debug: bool = False
    argv: tuple[str, ...] = ()

    def note(self, text: str) -> None:
        """Something good to know."""
        if not self.quiet:
            tell(plain(text))

    def detail(self, text: str) -> None:
        """Something only --verbose shows."""
        if self.verbose:
            tell(plain(text))

    def error(self, error: LandscapeError) -> None:
        """Two lines: what is wrong, and what to type or change."""
        for label, text, tint in (("error:", error.message, "red"), ("hint:", error.hint, "yellow")):
            label = click.style(label, fg=tint, bold=True) if self.colour_on(sys.stderr) else label
            tell(f"{label} {plain(' '.join(text.split()))}")

    def colour_on(self, stream: Any) -> bool:
        """Colour only on a terminal, and only if nothing forbids it."""
        forbidden = os.environ.get(FORBIDDEN_COLOUR) or os.environ.get("TERM") == "dumb"
        return self.colour and not forbidden and is_terminal(stream)


def tell(text: str) -> None:
    """A line to stderr; one that nobody can read any more stops no measurement."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def is_terminal(stream: Any) -> bool:
    """Also of a stream that is closed, which is None or raises."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


CONSOLE = Console()


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options every command has: -q, -v, --no-color, --debug."""

    def remember(name: str, value: Any) -> Callable[[click.Context, click.Parameter, bool], None]:
        def callback(context: click.Context, parameter: click.Parameter, given: bool) -> None:
            if given:
                setattr(CONSOLE, name, value)

        return callback

    for flags, name, value, text in (
        (("--debug",), "debug", True, "Show tracebacks."),
        (("--no-color",), "colour", False, "No colour; NO_COLOR=1 does the same."),
        (("-v", "--verbose"), "verbose", True, "Say more on stderr."),
        (("-q", "--quiet"), "quiet", True, "Only errors on stderr."),
    ):
        command = click.option(*flags, is_flag=True, expose_value=False, callback=remember(name, value), help=text)(
            command
        )
    return command


@contextmanager
def progress(what: str, done: int, total: int, unit: str = "points") -> Iterator[Callable[[int], None]]:
    """A bar with points/s and time left on a terminal; a plain line every 10 % elsewhere."""
    if CONSOLE.quiet:
        yield lambda points: None
    elif is_terminal(sys.stderr):
        with _bar(what, done, total, unit) as advance:
            yield advance
    else:
        yield _Lines(what, done, total, unit)


@contextmanager
def _bar(what: str, done: int, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    lines = _Lines(what, done, total, unit)
    columns = ("[bold]{task.description}", "{task.completed}/{task.total} " + unit, "{task.fields[rate]}")
    console = RichConsole(stderr=True, no_color=not CONSOLE.colour_on(sys.stderr))
    with Progress(
        *map(TextColumn, columns), BarColumn(), TimeRemainingColumn(), console=console, redirect_stdout=False
    ) as bar:
        task = bar.add_task(what, total=total, completed=done, rate="")

        def advance(points: int) -> None:
            lines.count(points)
            bar.update(task, advance=points, rate=f"{lines.rate:.3g} {unit}/s")

        yield advance


class _Lines:
    """Progress as plain lines."""

    def __init__(self, what: str, done: int, total: int, unit: str) -> None:
        self.what, self.first, self.done, self.total, self.unit = what, done, done, total, unit
        self.started = time.monotonic()
        self.tenth = 10 * done // max(1, total)

    def count(self, points: int) -> None:
        self.done += points

    @property
    def rate(self) -> float:
        return (self.done - self.first) / max(1e-9, time.monotonic() - self.started)

    def __call__(self, points: int) -> None:
        self.count(points)
        if 10 * self.done // max(1, self.total) > self.tenth:
            self.tenth = 10 * self.done // self.total
            left = duration((self.total - self.done) / max(1e-9, self.rate))
            share = f"{self.tenth * 10:3d} %  {self.done}/{self.total} {self.unit}"
            tell(plain(f"{self.what}: {share}, {self.rate:.3g} {self.unit}/s, {left} left"))


def duration(seconds: float) -> str:
    """`1h02m`, `3m05s`, `12s`, `0.4s`."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
