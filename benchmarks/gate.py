"""How long `gate` and `compare` take over many run files, and to start: python benchmarks/gate.py [RUNS]."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
FEW = ["hessian.samples=200", "sharpness.samples=200", "sharpness.draws=4", "sharpness.ascent=4"]  # the file is alike
GRID = ["planes.main.x=-1:1:21", "planes.main.y=-1:1:21"]
RULES = ("--max", "hessian.top=50", "--min", "basin.radius_mean=0.01", "--require", "verdict.kind=minimum,plateau")


def timed(*args: str) -> tuple[float, float]:
    """Seconds of the wall and of the processor that a command takes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "landscape_cli", *args]
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode not in (0, 1, 3):
        sys.exit(done.stderr)
    own = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, own


def main() -> None:
    """Copies of one run with a plane of 21 x 21 over two splits and every section."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "run0.h5"
        sets = [f"--set={item}" for item in [*GRID, *FEW]]
        timed("scan", str(ROOT / "configs" / "line.toml"), "-o", str(first), "-q", *sets)
        runs = [str(first), *(str(shutil.copy(first, Path(folder) / f"run{i}.h5")) for i in range(1, count))]
        for name, args in {
            "gate --help": ("gate", "--help"),
            "gate, one run": ("gate", runs[0], *RULES),
            "compare, two runs": ("compare", *runs[:2]),
            f"gate, {count} runs": ("gate", *runs, *RULES),
            f"compare, {count} runs": ("compare", *runs),
        }.items():
            wall, own = timed(*args)
            print(f"{name:20} {wall:6.2f} s, processor {own:6.2f} s", flush=True)


if __name__ == "__main__":
    main()
