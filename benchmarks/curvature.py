"""Hessian products and eigenvalues against what there was before, side by side.

    python benchmarks/curvature.py [--rounds 5] [--threads 2] [--products 125 500] [--solve 1000] [-o FILE]

ResNet-20 at its published weights. Each contender runs in a process of its own, whose peak memory is told, never two
at a time: products in alternating rounds, then the five largest eigenvalues, until every residual is at most
1e-3·λ₁. A peer's tolerance is tightened until its pairs are so: only the run that got there is counted. Peers are
measured where they can be imported. Of one thread the processor's own clock is read, which a busy machine hardly
changes; of more, that on the wall.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from bench import Options, Pipe, machine, say
from results import markdown, number
from torch import Tensor, nn
from workloads import ROOT, Workload, resnet

from landscape_cli.measure.lanczos import lanczos
from landscape_cli.measure.losses import make_loss
from landscape_cli.measure.memory import keep_freed_memory
from landscape_cli.measure.planner import in_place_plan
from landscape_cli.measure.problem import make_problem
from landscape_cli.measure.routes import make_objective
from landscape_cli.settings import DataSettings, LossSettings, ModelSettings

TOP, RESIDUAL = 5, 1e-3
OURS, PLAIN, CURVLINOPS, PYHESSIAN = "landscape", "plain double backward", "curvlinops", "PyHessian"
FIRST = "landscape, equal eigenvalues not sought"
GOALS = {f"one product, times faster than {PLAIN}": 1.5, **{f"top 5, times faster than {p}": 3.0 for p in
         (PYHESSIAN, f"{CURVLINOPS} + eigsh")}}  # fmt: skip


@dataclass(frozen=True)
class Hessian:
    """Products with the Hessian of the mean loss, and the contender's own way to its largest eigenpairs."""

    setting: str
    size: int
    product: Callable[[Tensor], Tensor]
    solve: Callable[[float], tuple[Sequence[float], Tensor]] | None = None  # tolerance -> values, (TOP, P) vectors
    tolerances: tuple[float, ...] = (RESIDUAL,)  # tried one after another, until the residuals are small enough


@dataclass(frozen=True)
class Solved:
    """The largest eigenvalues, what they took, and the residuals relative to λ₁ by the contender's own products."""

    name: str
    setting: str
    seconds: float
    products: int
    values: list[float]
    residual: float
    memory: int


def ours(workload: Workload) -> Hessian:
    """The engine's, set up as `landscape scan --hessian` does."""
    keep_freed_memory()
    made = {"data": (workload.inputs, workload.targets, DataSettings())}
    problem = make_problem(workload.network(), made, make_loss(LossSettings(), {}), ModelSettings(), _cpu())
    rows, batch = torch.arange(len(workload.targets)), in_place_plan(problem).batch
    objective, _ = make_objective(problem, problem.splits["data"], rows, batch)

    def solve(tolerance: float) -> tuple[Sequence[float], Tensor]:
        found = lanczos(hessian.product, objective.size, top=TOP, bottom=0, tolerance=tolerance, like=objective.like)
        return found.top.tolist(), found.top_vectors

    hessian = Counted(Hessian(f"{objective.route}, batch {batch}", objective.size, objective.product)).counted
    return replace(hessian, solve=solve)


def plain(workload: Workload) -> Hessian:
    """What one writes by hand: the gradient's graph, and the gradient of gradient · vector, over one whole batch."""
    model = workload.network()
    parameters = list(model.parameters())

    def product(vector: Tensor) -> Tensor:
        loss = F.cross_entropy(model(workload.inputs), workload.targets)
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        along = _like(vector, parameters)
        return _flat(torch.autograd.grad(gradients, parameters, along))

    return Hessian("one whole batch", _flat(parameters).numel(), product)


def curvlinops(workload: Workload) -> Hessian:
    """Its HessianLinearOperator, and scipy's eigsh (ARPACK) of it."""
    library, sparse = importlib.import_module("curvlinops"), importlib.import_module("scipy.sparse.linalg")
    model = workload.network()
    batches = [*zip(torch.split(workload.inputs, CHUNK), torch.split(workload.targets, CHUNK), strict=True)]
    operator = library.HessianLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), batches, check_deterministic=False
    )
    size = operator.shape[1]

    def solve(tolerance: float) -> tuple[Sequence[float], Tensor]:
        def times(vector: Any) -> Any:
            return hessian.product(torch.from_numpy(vector.astype(np.float32).reshape(-1))).numpy()

        made = sparse.LinearOperator((size, size), matvec=times, dtype=np.float32)
        start = np.random.default_rng(0).standard_normal(size).astype(np.float32)
        values, vectors = sparse.eigsh(made, k=TOP, which="LA", tol=tolerance, v0=start)
        return values[::-1].tolist(), torch.from_numpy(vectors.T[::-1].copy())

    hessian = Counted(Hessian(f"batch {CHUNK}", size, lambda v: (operator @ v).detach())).counted
    return replace(hessian, solve=solve, tolerances=(1e-1, 1e-2, 1e-3))


def pyhessian(workload: Workload) -> Hessian:
    """Its products with the gradient's graph kept, over one whole batch, and its power iteration."""
    library: Any = importlib.import_module("pyhessian.hessian")
    torch.manual_seed(0)
    made = library.hessian(workload.network(), nn.CrossEntropyLoss(), (workload.inputs, workload.targets), cuda=False)
    usual = library.hessian_vector_product

    def product(vector: Tensor) -> Tensor:
        return _flat(usual(made.gradsH, made.params, _like(vector, made.params)))

    def solve(tolerance: float) -> tuple[Sequence[float], Tensor]:
        def times(gradients: Any, parameters: Any, along: list[Tensor]) -> list[Tensor]:
            return _like(hessian.product(_flat(along)), made.params)

        library.hessian_vector_product = times
        values, vectors = made.eigenvalues(maxIter=1000, tol=tolerance, top_n=TOP)
        return values, torch.stack([_flat(vector) for vector in vectors])

    hessian = Counted(Hessian("graph kept, one whole batch", _flat(made.params).numel(), product)).counted
    return replace(hessian, solve=solve, tolerances=(1e-4, 1e-5, 1e-6, 1e-7))  # of a change: looser ones end too early


CHUNK = 250  # samples per batch of curvlinops, which holds no graph between products
CONTENDERS: dict[str, Callable[[Workload], Hessian]] = {
    OURS: ours, PLAIN: plain, CURVLINOPS: curvlinops, PYHESSIAN: pyhessian
}  # fmt: skip


class Counted:
    """Counts the products, and when each was made."""

    def __init__(self, hessian: Hessian) -> None:
        self._product = hessian.product
        self.at: list[float] = []
        self.counted = replace(hessian, product=self)

    def __call__(self, vector: Tensor) -> Tensor:
        found = self._product(vector)
        self.at.append(now())
        return found


def now() -> float:
    """Seconds: of the processor where there is one thread, else of the wall's clock."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def _cpu() -> torch.device:
    return torch.device("cpu")


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.detach().reshape(-1) for t in tensors])


def _like(vector: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    parts = torch.split(vector, [p.numel() for p in parameters])
    return [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]


def solved(name: str, hessian: Hessian) -> list[Solved]:
    """The top eigenvalues by the contender's own solver, at the loosest tolerance that reaches the residual."""
    assert hessian.solve is not None
    counter = hessian.product
    assert isinstance(counter, Counted)
    for tolerance in hessian.tolerances:
        counter.at.clear()
        before = now()
        values, vectors = hessian.solve(tolerance)
        seconds, products = now() - before, len(counter.at)
        worst = _residual(hessian, values, vectors)
        say(f"  {name}: tolerance {tolerance:g}, {seconds:.0f} s, {products} products, residual {worst:.1e}·λ₁")
        if worst <= RESIDUAL:
            break
    setting = f"{hessian.setting}, tolerance {tolerance:g}"
    found = [Solved(name, setting, seconds, products, list(values), worst, _peak())]
    return [*found, _first_space(hessian, counter)] if name == OURS else found


def _residual(hessian: Hessian, values: Sequence[float], vectors: Tensor) -> float:
    """The largest ‖Hu - λu‖ of the pairs, over λ₁."""
    pairs = zip(values, vectors, strict=True)
    return max(float((hessian.product(u) - x * u).norm() / u.norm()) for x, u in pairs) / max(values)


def _first_space(hessian: Hessian, counter: Counted) -> Solved:
    """Without the search for equal eigenvalues, which the peers do not make either: hessian.search = false."""
    like = torch.empty(0)
    counter.at.clear()
    before = now()
    found = lanczos(hessian.product, hessian.size, top=TOP, bottom=0, tolerance=RESIDUAL, search=False, like=like)
    seconds, products = now() - before, len(counter.at)
    worst = _residual(hessian, found.top.tolist(), found.top_vectors)
    setting = f"{hessian.setting}, hessian.search = false"
    return Solved(FIRST, setting, seconds, products, found.top.tolist(), worst, _peak())


def _peak() -> int:
    """Bytes of this process at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def serve(pipe: Pipe, name: str, count: int, folder: Path, threads: int) -> None:
    """The contender's setting and products, or None where it cannot be had; then whatever is asked for."""
    torch.set_num_threads(threads)
    try:
        hessian = CONTENDERS[name](resnet("resnet20", count, folder))
    except ModuleNotFoundError as error:
        pipe.send(str(error))
        return
    vector = torch.randn(hessian.size, generator=torch.Generator().manual_seed(0))
    exact = hessian.product(vector)  # and the first, which warms up
    pipe.send((hessian.setting, exact))
    with contextlib.suppress(EOFError):
        while asked := pipe.recv():
            if asked == "solve":
                pipe.send(solved(name, hessian))
                continue
            before = now()
            hessian.product(vector)
            pipe.send((now() - before, _peak()))


@contextlib.contextmanager
def started(name: str, count: int, folder: Path, threads: int) -> Iterator[Pipe]:
    """A process that measures one contender when it is told to."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, name, count, folder, threads))
    process.start()
    there.close()
    try:
        yield here
    finally:
        here.close()
        process.join()


def products_table(count: int, folder: Path, options: Options) -> tuple[str, dict[str, float]]:
    """One product of every contender, in alternating rounds; how many times faster ours is than each."""
    with contextlib.ExitStack() as stack:
        pipes = {name: stack.enter_context(started(name, count, folder, options.threads)) for name in CONTENDERS}
        opened = {name: pipe.recv() for name, pipe in pipes.items()}
        here = {name: pipes[name] for name, what in opened.items() if not isinstance(what, str)}
        rounds = [{name: _asked(pipe, "product") for name, pipe in here.items()} for _ in range(options.rounds)]
    exact = opened[PLAIN][1]
    rows, faster = [], {}
    for name in here:
        seconds, memory = zip(*(found[name] for found in rounds), strict=True)
        ratio = median(found[name][0] / found[OURS][0] for found in rounds)
        off = float((opened[name][1] - exact).norm() / exact.norm())
        spread = f"{number(1000 * min(seconds))}–{number(1000 * max(seconds))}"
        faster[f"one product, times faster than {name}"] = ratio
        rows.append([name, opened[name][0], number(1000 * median(seconds)), spread, number(ratio),
                     number(max(memory) / 2**20), f"{off:.0e}"])  # fmt: skip
    head = ["contender", "setting", "ms", "spread", "ours is faster by", "peak RSS, MiB", "off from plain"]
    missing = "".join(f"\n\n- not measured: {n}: {what}" for n, what in opened.items() if isinstance(what, str))
    return f"## One product, ResNet-20, {count} images\n\n{markdown(head, rows)}{missing}", faster


def _asked(pipe: Pipe, what: str) -> Any:
    pipe.send(what)
    return pipe.recv()


def solve_table(count: int, folder: Path, options: Options) -> tuple[str, dict[str, float]]:
    """The five largest eigenvalues by every contender that has a solver; how many times faster ours is than each."""
    found: list[Solved] = []
    for name in (OURS, CURVLINOPS, PYHESSIAN):
        with started(name, count, folder, options.threads) as pipe:
            if not isinstance(pipe.recv(), str):
                found += _asked(pipe, "solve")
    titles = {CURVLINOPS: f"{CURVLINOPS} + eigsh"}
    rows, faster = [], {}
    for each in found:
        title = titles.get(each.name, each.name)
        faster[f"top 5, times faster than {title}"] = each.seconds / found[0].seconds
        largest = " ".join(f"{value:.5g}" for value in each.values)
        rows.append([title, each.setting, number(each.seconds), str(each.products),
                     f"{each.residual:.1e}", largest, number(each.memory / 2**20)])  # fmt: skip
    head = ["contender", "setting", "s", "products", "residual / λ₁", "eigenvalues", "peak RSS, MiB"]
    return f"## Five largest eigenvalues, ResNet-20, {count} images\n\n{markdown(head, rows)}", faster


def goals_table(faster: dict[str, float]) -> str:
    """What was to be reached, at the last number of images."""
    rows = [
        [what, f"≥ {number(goal)}", number(faster[what]), "yes" if faster[what] >= goal else "no"]
        for what, goal in GOALS.items() if what in faster
    ]  # fmt: skip
    return markdown(["figure", "goal", "reached", "met"], rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--products", type=int, nargs="*", default=[125, 500], help="images of one product")
    parser.add_argument("--solve", type=int, nargs="*", default=[1000], help="images of the eigenvalues")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="real checkpoint and data")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "benchmarks" / "results_curvature.md")
    args = parser.parse_args(argv)
    options = Options(_cpu(), args.threads, args.rounds, quick=False)
    tables: list[str] = []
    faster: dict[str, float] = {}
    work = [(products_table, count) for count in args.products] + [(solve_table, count) for count in args.solve]
    for measure, count in work:
        say(f"measuring {measure.__name__.partition('_')[0]} of {count} images")
        table, ratios = measure(count, args.data, options)
        tables.append(table)
        faster |= ratios
        print(f"{table}\n", flush=True)
        peers = [["curvlinops", _version("curvlinops-for-pytorch")], ["PyHessian", _version("PyHessian")],
                 ["scipy", _version("scipy")]]  # fmt: skip
        head = "# The Hessian's products and eigenvalues\n\nWritten by `python benchmarks/curvature.py`."
        parts = [head, __doc__.split("\n\n", 2)[2].strip(), "## Goals", goals_table(faster), *tables, "## Machine",
                 machine(options), markdown(["peer", "version"], peers)]  # fmt: skip
        args.output.write_text("\n\n".join(parts) + "\n", encoding="utf-8")  # after each


def _version(name: str) -> str:
    found = [d.version for d in importlib.metadata.distributions(name=name)]
    return found[0] if found else "not installed"


if __name__ == "__main__":
    main()
