"""Where colour is allowed."""

from __future__ import annotations

import io

import pytest

from landscape_cli.cli.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "stream", "allowed"),
    [
        ({}, Terminal(), True),
        ({"NO_COLOR": ""}, Terminal(), True),
        ({"NO_COLOR": "1"}, Terminal(), False),
        ({"TERM": "dumb"}, Terminal(), False),
        ({}, io.StringIO(), False),
        ({}, None, False),
    ],
)
def test_colour_is_for_terminals_that_nothing_forbids_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], stream: io.StringIO | None, allowed: bool
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Console().colour_on(stream) is allowed


def test_no_color_is_a_flag_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert not Console(colour=False).colour_on(Terminal())
