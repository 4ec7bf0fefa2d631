"""The gate as a CI user has it: a flat and a sharp minimum of the same loss, told apart by a shell script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SEEDS = 2


def run(*command: str, folder: Path) -> str:
    """What a command prints; `landscape` and `python` are those of this tree and interpreter."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    for name, module in (("landscape", "-m landscape_cli "), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module}"$@"\n')
        (tools / name).chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def cases(file: Path) -> list[list[str]]:
    """What each test case of a JUnit file came to."""
    return [[part.tag for part in case] for case in ElementTree.parse(file).iter("testcase")]


def test_the_gate_passes_the_flat_one_and_fails_the_sharp_one_without_a_wrong_call(tmp_path: Path) -> None:
    folder = tmp_path / "nets"
    trained = run(sys.executable, str(ROOT / "scripts/flat_and_sharp.py"), str(folder), folder=tmp_path)
    times = re.search(r"sharp over flat: ([\d.]+)", trained)
    assert times
    assert float(times[1]) >= 3
    printed = run(str(ROOT / "tests/ci_user.sh"), str(folder), str(SEEDS), folder=tmp_path)
    assert "failed: sharp.h5" in printed
    assert cases(folder / "flat.xml") == [["system-out"]]
    assert cases(folder / "sharp.xml") == [["failure"]]
    called = re.findall(r"^(\w+): passed (\d+), failed (\d+), inconclusive (\d+)$", printed, re.M)
    counts = {name: [int(number) for number in numbers] for name, *numbers in called}
    assert sum(counts["flat"]) == sum(counts["sharp"]) == SEEDS
    assert counts["flat"][1] == 0  # never failed
    assert counts["sharp"][0] == 0  # never passed
    assert counts["flat"][0] > 0
    assert counts["sharp"][1] > 0
