"""Runs as the gate and comparisons take them: run files, JSON reports, and a JSON report on stdin as `-`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from landscape_cli import store
from landscape_cli.analyse.subject import Subject, of_profile
from landscape_cli.errors import LandscapeError
from landscape_cli.report.reading import MAX_BYTES, STDIN, read_report


def read_subjects(path: str, wanted: Collection[str] = ()) -> list[Subject]:
    """The runs of a file; of a run file only the wanted branches of its statistics.

    Raises:
        LandscapeError: it cannot be read, or is neither a run file nor a JSON report.
    """
    if path == "-":
        content = b"" if sys.stdin is None else sys.stdin.buffer.read(MAX_BYTES + 1)
        return read_report(_decoded(content, STDIN), STDIN)
    text = _text_of(Path(path))
    return [of_profile(path, store.load(path), wanted)] if text is None else read_report(text, path)


def each_subject(paths: Sequence[str], wanted: Collection[str] = ()) -> Iterator[Subject]:
    """The runs of all files, one file in memory at a time.

    Raises:
        LandscapeError: two have the same name, or one cannot be read.
    """
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise LandscapeError(f"{path} is given twice", "name each run once")
        for subject in read_subjects(path, wanted):
            if subject.file in seen:
                hint = "name each run once; in a report change its `file`"
                raise LandscapeError(f"two runs are called {subject.file}", hint)
            seen.add(subject.file)
            yield subject
        seen.add(path)


def _text_of(file: Path) -> str | None:
    """The contents of a file that begins as JSON does; None of any other, which `store.load` has the words for."""
    try:
        if not file.is_file():
            return None
        with file.open("rb") as stream:
            if not stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
                return None
            stream.seek(0)
            return _decoded(stream.read(MAX_BYTES + 1), str(file))
    except OSError as error:
        raise LandscapeError(f"cannot read {file}: {error.strerror}", "check the path") from None


def _decoded(content: bytes, source: str) -> str:
    if len(content) > MAX_BYTES:
        raise LandscapeError(f"{source} has more than {MAX_BYTES >> 20} MiB", "no JSON report is as large")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        hint = "HDF5 cannot be streamed: pipe `landscape report run.h5 --format json` instead"
        raise LandscapeError(f"{source} is no text", hint) from None
