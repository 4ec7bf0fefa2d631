"""How long critical points take, and how much memory beside the surface itself.

    python benchmarks/surface.py [--points 1001] [--groups 64]

One thread, by the clock of the processor, which a busy machine hardly changes. Peak memory is that of the arrays that
numpy and Python allocate while the surface is analysed, by tracemalloc, in a run of its own: it slows the program down.
"""

from __future__ import annotations

import argparse
import os
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse.critical import critical_statistics
from landscape_cli.profile import Axis, Centre, Surface

Floats = NDArray[np.float64]
SURFACES: dict[str, tuple[Callable[[Floats, Floats], Any], float]] = {  # the loss, and the noise of each group
    "himmelblau": (lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2, 0.0),
    "himmelblau with noise": (lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2, 1.0),
    "noise alone": (lambda x, y: 0 * x * y, 1.0),
    "rastrigin": (lambda x, y: x**2 + y**2 - 10 * (np.cos(2 * np.pi * x) + np.cos(2 * np.pi * y)), 0.0),
    "constant": (lambda x, y: 0 * x * y, 0.0),
}


def sampled(name: str, points: int, groups: int) -> Surface:
    """One of the surfaces on [-5, 5]²."""
    function, noise = SURFACES[name]
    axis = Axis.of(f"-5:5:{points}")
    clean = np.asarray(function(axis.values[:, None], axis.values[None, :]), dtype=np.float64)
    each = clean[..., None] + noise * np.random.default_rng(0).normal(size=(points, points, groups))
    loss = each.mean(axis=-1) if noise else clean
    centre = Centre(float(loss[0, 0]), each[0, 0], np.ones(groups), {}, float(loss[0, 0]), groups)
    return Surface(axis, axis, np.eye(2), loss, each, {}, np.ones(loss.shape, dtype=bool), centre)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1001)
    parser.add_argument("--groups", type=int, default=64)
    options = parser.parse_args()
    print(f"| {options.points}² points | seconds | peak MB | critical points | dropped |\n|---|---|---|---|---|")
    for name in SURFACES:
        surface = sampled(name, options.points, options.groups)
        start = time.process_time()
        found = critical_statistics(surface)
        seconds = time.process_time() - start
        tracemalloc.start()
        critical_statistics(surface)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        print(
            f"| {name} | {seconds:.2f} | {peak:.0f} | {len(found['critical_points'])} | {found['counts']['dropped']} |"
        )


if __name__ == "__main__":
    main()
