"""Stopping a measurement so that nothing is lost: Ctrl-C, SIGTERM, --max-time."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from landscape_cli.errors import ExitCode


class Stop:
    """Asked between points: should we stop, and with which exit code?"""

    def __init__(self, max_seconds: float | None) -> None:
        self.code: ExitCode | None = None
        self.why = ""
        self.deadline = None if max_seconds is None else time.monotonic() + max_seconds

    def wanted(self) -> bool:
        """True once a signal has come or the time is over."""
        if self.code is None and self.deadline is not None and time.monotonic() >= self.deadline:
            self.code, self.why = ExitCode.INTERRUPTED, "--max-time is over"
        return self.code is not None

    def signalled(self, number: int, frame: FrameType | None) -> None:
        """The first signal finishes the point; a second Ctrl-C stops at once."""
        if self.code is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        term = number == signal.SIGTERM
        self.code, self.why = (ExitCode.TERMINATED, "SIGTERM") if term else (ExitCode.INTERRUPTED, "Ctrl-C")


@contextmanager
def listening(stop: Stop) -> Iterator[None]:
    """SIGINT and SIGTERM go to it."""
    before = {number: signal.signal(number, stop.signalled) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
