"""Seconds on the CPU's clock or between device events, and what a contender takes per grid point."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

GRID = 51 * 51  # points of the plane over which the preparation of a pass is spread
Run = Callable[[], Iterator[Tensor]]  # evaluates its points once, and yields their losses pass by pass


class Stopwatch:
    """Marks on the device's own clock: of a GPU, events in its stream."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.marks: list[Any] = []

    def mark(self) -> None:
        """Now."""
        if self.device.type != "cuda":
            self.marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self.marks.append(event)

    def seconds(self, start: int, stop: int) -> float:
        """Between two marks; waits for the later one."""
        first, last = self.marks[start], self.marks[stop]
        if self.device.type != "cuda":
            return float(last - first)
        last.synchronize()
        return float(first.elapsed_time(last)) / 1000


def best_seconds(work: Callable[[], object], device: torch.device, least: float) -> float:
    """Of one call: the best of five stretches that take `least` seconds each, after one to warm up."""

    def stretch(calls: int) -> float:
        watch = Stopwatch(device)
        watch.mark()
        for _ in range(calls):
            work()
        watch.mark()
        return watch.seconds(0, 1) / calls

    stretch(1)
    calls = max(1, round(least / max(stretch(2), 1e-9)))
    return min(stretch(calls) for _ in range(5))


@dataclass(frozen=True)
class Sample:
    """One run of a contender.

    `seconds` is per point once it is under way, `preparation` what the first pass took beyond that, `memory` the peak
    of the GPU's bytes beyond what was allocated before.
    """

    seconds: float
    preparation: float
    losses: Tensor
    memory: int

    @property
    def cost(self) -> float:
        """Seconds per point of a 51×51 plane, its share of the preparation included."""
        return self.seconds + self.preparation / GRID


def sample(run: Run, device: torch.device, threads: int) -> Sample:
    """Time one run on the default number of threads; a run may set its own."""
    torch.set_num_threads(threads)
    before = _reset_peak(device)
    watch, found = Stopwatch(device), []
    watch.mark()
    for losses in run():
        watch.mark()
        found.append(losses)
    watch.mark()
    whole = watch.seconds(0, -1)
    memory = torch.cuda.max_memory_allocated(device) - before if device.type == "cuda" else 0
    torch.set_num_threads(threads)
    seconds, preparation = _split(watch, whole, [losses.numel() for losses in found])
    return Sample(seconds, preparation, torch.cat([losses.double().cpu().reshape(-1) for losses in found]), memory)


def _split(watch: Stopwatch, whole: float, passes: Sequence[int]) -> tuple[float, float]:
    """Seconds per point after the first pass, and what that one took beyond them."""
    if len(passes) < 2:
        return whole / sum(passes), 0.0
    first = watch.seconds(0, 1)
    each = (whole - first) / sum(passes[1:])
    return each, max(0.0, first - each * passes[0])


def _reset_peak(device: torch.device) -> int:
    """Start the count of the peak anew; bytes that are allocated now."""
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)
