"""The engine against what there was before, side by side.

    python benchmarks/bench.py [--device cpu|cuda] [--workload NAME ...] [--rounds 5] [--quick] [-o FILE]

Every contender of a workload is measured in turn, round after round: the engine's own in one process, set up as a scan
is, and the others in another, as they come; never two at a time. A round takes about a second of grid points from
each; what the first pass takes beyond the others is spread over the points of a 51×51 plane. Prints a table per
workload and writes them all, with the machine, the versions and the measured ceilings. loss-landscapes is measured
where it can be imported.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import multiprocessing
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ceilings import Ceilings, floor_seconds, measure_ceilings
from contenders import BASELINES, Case, Contender, engine, exact_losses, make_case
from results import Result, Row, ceilings_table, disagreeing, goals_table, markdown, table, worst
from timing import Sample, sample
from torch import Tensor
from variants import line_up, planned, points_for
from workloads import LARGE, ROOT, WORKLOADS, Workload

from landscape_cli.files import now
from landscape_cli.measure.memory import keep_freed_memory
from landscape_cli.measure.provenance import git_commit, versions

LOAD = os.getloadavg()  # before anything is measured
Pipe = Any  # a multiprocessing.connection.Connection of what is not worth naming
OURS, THEIRS = "ours", "theirs"
CHECKED = 64  # points that are measured in float64 too
CHECKED_ON_CPU = 4  # points of a GPU's run that are measured on the CPU too

INTRO = """\
Times are medians of {} alternating rounds; what the first pass takes beyond the others is shown apart, and counted as
spread over a plane of 2601 points. Each ratio is the median of the rounds' ratios. The ceiling is the least time of the
arithmetic: every convolution at its own best measured rate, all other products with weights at that of a large one (on
a GPU, the time of the bytes that must move where that is longer). The error is the largest relative one against
float64. The 2018 loop is given its images decoded and normalised, and writes no file."""


@dataclass(frozen=True)
class Options:
    """How a run is measured: `seconds` is a round's share of each contender."""

    device: torch.device
    threads: int
    rounds: int
    quick: bool

    @property
    def seconds(self) -> float:
        """Of a contender's round, after its first pass."""
        return 0.02 if self.quick else 1.0


def measure(name: str, workload: Workload, ceilings: Ceilings, folder: Path, options: Options) -> Result:
    """One workload: every contender in alternating rounds, and its losses against float64."""
    with side(OURS, name, folder, options) as ours:
        opened = [ours.recv()]
        with side(THEIRS, name, folder, options) as theirs:
            opened.append(theirs.recv())
            rounds = [_round(ours) + _round(theirs) for _ in range(options.rounds)]
    case = make_case(workload, options.device)
    most = max(len(each.losses) for each in rounds[0])
    exact = exact_losses(case, case.points[: min(CHECKED, most)])
    titles = [title for titles, _ in opened for title in titles]
    rows = [
        Row(title, setting, own, found, worst([largest_error(each.losses, exact) for each in found]))
        for (title, setting, own), found in zip(titles, zip(*rounds, strict=True), strict=True)
    ]
    floor = floor_seconds(workload, ceilings, options.device)
    notes = [note for _, notes in opened for note in notes]
    return Result(workload, rows, floor, notes, _error_against_cpu(case, rows[0].rounds[0].losses, options))


def _round(one: Pipe) -> list[Sample]:
    """Each contender of a side, measured once."""
    one.send("round")
    found: list[Sample] = one.recv()
    return found


@contextlib.contextmanager
def side(kind: str, name: str, folder: Path, options: Options) -> Iterator[Pipe]:
    """A process that measures one side's contenders when it is told to; the other side's memory is not its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, kind, name, folder, options))
    process.start()
    there.close()  # so that a side that dies is an EOFError here
    try:
        yield here
    finally:
        here.close()
        process.join()


def serve(pipe: Pipe, kind: str, name: str, folder: Path, options: Options) -> None:
    """First the titles of the contenders and notes on those that cannot be had; then a round for each request."""
    if kind == THEIRS and options.device.type == "cpu":
        multiprocessing.set_start_method("fork", force=True)  # of a loader's workers, as in a script of one's own
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # of the baselines too: all compute in fp32
    if kind == OURS:
        keep_freed_memory()  # as `landscape scan` does
    case = make_case(WORKLOADS[name](folder), options.device)
    contenders, notes = line_up(case, options.threads, options.quick) if kind == OURS else _baselines(case)
    counts = [points_for(c, case, options.seconds, options.threads) for c in contenders]
    runs = [c.build(case.points[:count]) for c, count in zip(contenders, counts, strict=True)]
    pipe.send(([(c.name, c.setting, c.ours) for c in contenders], notes))
    with contextlib.suppress(EOFError):
        while pipe.recv():
            pipe.send([sample(run, options.device, options.threads) for run in runs])


def _baselines(case: Case) -> tuple[list[Contender], list[str]]:
    """Those that can be had, and notes on the others."""
    found, notes = [], []
    for name, make in BASELINES.items():
        try:
            found.append(make(case))
        except ModuleNotFoundError as error:
            notes.append(f"{name}: {error}")
    return found, notes


def largest_error(losses: Tensor, exact: Tensor) -> float:
    """Relative, over the points that both have; what is not finite must be so in both."""
    count = min(len(losses), len(exact))
    ours, wanted = losses[:count], exact[:count]
    same = (ours == wanted) | (ours.isnan() & wanted.isnan())
    return float(torch.where(same, 0.0, (ours - wanted).abs() / wanted.abs()).max())


def _error_against_cpu(case: Case, losses: Tensor, options: Options) -> float | None:
    """Of the planner's choice on a GPU, against the planner's choice on the CPU; None on the CPU itself."""
    if options.device.type == "cpu":
        return None
    here = make_case(case.workload, torch.device("cpu"))
    run = engine(here, "on the CPU", planned(here)).build(here.points[:CHECKED_ON_CPU])
    return largest_error(losses, sample(run, here.device, options.threads).losses)


def report(results: Sequence[Result], ceilings: Ceilings, options: Options, command: str) -> str:
    """The whole file."""
    device = options.device.type
    parts = [
        "# Benchmarks",
        f"Written by `{command}`. {INTRO.format(options.rounds)}",
        "## Goals",
        goals_table(results, device),
        *[table(r, device) for r in results],
    ]
    return "\n\n".join([*parts, "## Ceilings", ceilings_table(ceilings), "## Machine", machine(options)]) + "\n"


def machine(options: Options) -> str:
    """Where this was measured, and with what."""
    facts = {"processor": _processor(), "cores": str(os.cpu_count()), "threads": str(options.threads)}
    if options.device.type == "cuda":
        facts["GPU"] = torch.cuda.get_device_name(options.device)
        facts["CUDA"] = str(torch.version.cuda)
    facts |= {name: value for name, value in sorted(os.environ.items()) if name.startswith(("OMP_", "MKL_", "KMP_"))}
    facts["load before"] = " ".join(f"{load:.2f}" for load in LOAD)
    facts |= versions() | {"loss-landscapes": _library_version(), "commit": git_commit(ROOT), "date": now()}
    return markdown(["", ""], [[name, value] for name, value in facts.items()])


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.+)$", path.read_text(), re.MULTILINE) if path.is_file() else None
    return named[1] if named else platform.processor() or platform.machine()


def _library_version() -> str:
    found = [d.version for d in importlib.metadata.distributions(name="loss-landscapes")]
    return found[0] if found else "not installed"


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--workload", action="extend", nargs="+", choices=WORKLOADS, help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="few points, two rounds: only to see that all works")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="real checkpoints and data")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "benchmarks" / "results.md")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; 1 where the engine's losses are not those of float64."""
    args = arguments(argv)
    threads, rounds = torch.get_num_threads(), min(args.rounds, 2) if args.quick else args.rounds
    options = Options(torch.device(args.device), threads, rounds, args.quick)
    names = dict.fromkeys(args.workload or [n for n in WORKLOADS if args.device == "cuda" or n not in LARGE])
    workloads = {name: WORKLOADS[name](args.data) for name in names}
    say("measuring the ceilings")
    ceilings = measure_ceilings(list(workloads.values()), options.device, options.quick)
    results: list[Result] = []
    for name, workload in workloads.items():
        say(f"measuring {workload.title}")
        results.append(measure(name, workload, ceilings, args.data, options))
        print(f"{table(results[-1], args.device)}\n", flush=True)
        text = report(results, ceilings, options, " ".join(["python", "benchmarks/bench.py", *(argv or sys.argv[1:])]))
        args.output.write_text(text, encoding="utf-8")  # after each, so that a run cut short leaves what it has
    print(goals_table(results, args.device))
    wrong = [f"{result.workload.name}: {name}" for result in results for name in disagreeing(result)]
    for name in wrong:
        say(f"{name} does not agree with float64")
    return 1 if wrong else 0


def say(what: str) -> None:
    """Progress, on stderr."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
