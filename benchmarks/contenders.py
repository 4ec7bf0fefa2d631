"""Who is measured: the engine under any plan, and the loops that it is compared with.

Each contender builds, for a list of points (a, b), a run that evaluates the mean loss at theta + a·d1 + b·d2 once. All
of them work on the same samples, normalised beforehand, and along the same directions.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from timing import Run
from torch import Tensor, nn
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset
from workloads import Workload

from landscape_cli.measure.directions import Plane, make_plane
from landscape_cli.measure.evaluate import evaluate
from landscape_cli.measure.losses import make_loss
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem, make_problem
from landscape_cli.profile import Floats
from landscape_cli.settings import DataSettings, LossSettings, ModelSettings, PlaneSettings, plane_with_defaults

BATCH = 128  # of the 2018 code and of the plain loop
SPLIT = "data"
AXIS = "-0.5:0.5:51"
Move = tuple[Tensor, Tensor, Tensor]  # a parameter at the checkpoint, and its part of either direction
Along = list[tuple[NDArray[Any], NDArray[Any]]]  # the two parts of each parameter, as read from an HDF5 file
Loader = DataLoader[tuple[Tensor, ...]]


@dataclass(frozen=True)
class Case:
    """A workload on a device, and a plane through it."""

    workload: Workload
    device: torch.device
    problem: Problem
    plane: Plane

    def network(self) -> nn.Module:
        """A copy of its own on the device."""
        return self.workload.network().to(self.device)

    def samples(self) -> tuple[Tensor, Tensor]:
        """All inputs and targets, on the device."""
        return self.workload.inputs.to(self.device), self.workload.targets.to(self.device)

    @property
    def points(self) -> Floats:
        """Those of the plane in a fixed random order, of which every contender takes as many as it has time for."""
        grid = self.plane.coordinates
        return grid[np.random.default_rng(0).permutation(len(grid))]

    def moves(self) -> list[Move]:
        """In the order of the network's parameters."""
        along = [direction.parameters for direction in self.plane.directions]
        return [(weight, along[0][name], along[1][name]) for name, weight in self.problem.centre.items()]


def make_case(workload: Workload, device: torch.device) -> Case:
    """The workload as `landscape scan` would see it, on a plane of two random directions."""
    splits = {SPLIT: (workload.inputs, workload.targets, DataSettings())}
    loss = make_loss(LossSettings(), {})
    problem = make_problem(workload.network().to(device), splits, loss, ModelSettings(), device)
    settings = plane_with_defaults("main", PlaneSettings(x=AXIS, y=AXIS), 0)
    return Case(workload, device, problem, make_plane("main", settings, problem, ModelSettings(), Path(), {}))


@dataclass(frozen=True)
class Contender:
    """Who evaluates, how it is set, and how many points it takes at a time."""

    name: str
    setting: str
    build: Callable[[Floats], Run]
    block: int = 1
    ours: bool = False


def engine(case: Case, name: str, plan: Plan) -> Contender:
    """`evaluate` of the engine, under a plan."""

    def run(points: Floats) -> Iterator[Tensor]:
        torch.set_num_threads(plan.threads_each)
        for block in evaluate(case.problem, case.plane.directions, points, "frozen", plan):
            yield torch.from_numpy(block.results[SPLIT].loss)

    setting = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in plan.as_dict().items())
    build = functools.partial(functools.partial, run)
    return Contender(name, setting.removeprefix("strategy "), build, plan.points_per_pass, ours=True)


def loop_2018(case: Case, workers: int) -> Contender:
    """The loop of Li et al. 2018: a loader of single samples in batches of 128, in random order; at each point every
    weight replaced; the loss and the number of right answers fetched after every batch.

    What only costs more is left out: decoding and normalising each image anew, a line of output and a write per point.
    """

    def build(points: Floats) -> Run:
        network, moves = case.network(), case.moves()
        along = [(first.cpu().numpy(), second.cpu().numpy()) for _, first, second in moves]
        samples = TensorDataset(case.workload.inputs, case.workload.targets)
        order = SubsetRandomSampler(range(len(samples)))
        loader: Loader = DataLoader(samples, BATCH, sampler=order, num_workers=workers)

        def run() -> Iterator[Tensor]:
            for a, b in points.tolist():
                _replace_weights(network, [weight for weight, _, _ in moves], along, a, b)
                loss, _ = _loss_and_accuracy(network, loader, case.device)
                yield torch.tensor(loss)

        return run

    return Contender(f"2018 loop, {workers} workers", f"DataLoader, batch {BATCH}", build)


def _replace_weights(network: nn.Module, weights: list[Tensor], along: Along, a: float, b: float) -> None:
    changes = [first * a + second * b for first, second in along]
    for parameter, weight, change in zip(network.parameters(), weights, changes, strict=True):
        parameter.data = weight + torch.tensor(change).to(weight)


@torch.no_grad()
def _loss_and_accuracy(network: nn.Module, loader: Loader, device: torch.device) -> tuple[float, float]:
    network.eval()
    criterion = nn.CrossEntropyLoss()
    total_loss, right, count, answers = 0.0, 0, 0, 0
    for inputs, targets in loader:
        outputs, wanted = _flat(network(inputs.to(device)), targets.to(device))
        total_loss += criterion(outputs, wanted).item() * len(inputs)
        _, predicted = outputs.max(1)
        right += int(predicted.eq(wanted).sum().item())
        count += len(inputs)
        answers += len(wanted)
    return total_loss / count, right / answers


def loss_landscapes(case: Case) -> Contender:
    """loss-landscapes 3.0.6: its Loss metric over one whole batch, and the walk of its `random_plane`, which adds one
    step to the weights of the point before.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    wrappers = importlib.import_module("loss_landscapes.model_interface.model_wrapper")
    metrics = importlib.import_module("loss_landscapes.metrics")
    parameters = importlib.import_module("loss_landscapes.model_interface.model_parameters")

    def build(points: Floats) -> Run:
        moves = case.moves()
        wrapper = wrappers.wrap_model(case.network())
        here, centre = wrapper.get_module_parameters(), [weight for weight, _, _ in moves]
        metric = metrics.Loss(_cross_entropy, *case.samples())
        strides = np.diff(points, axis=0, prepend=0.0).tolist()
        steps = [parameters.ModelParameters([x * a + y * b for _, x, y in moves]) for a, b in strides]

        def run() -> Iterator[Tensor]:
            _copy(centre, here.parameters)
            for step in steps:
                here.add_(step)
                yield torch.tensor(metric(wrapper))

        return run

    return Contender("loss-landscapes", "one whole batch", build)


def in_memory(case: Case) -> Contender:
    """What one writes by hand: samples on the device, weights updated in place, the loss summed there in float32."""

    def build(points: Floats) -> Run:
        network, moves = case.network(), case.moves()
        batches = _batches(*case.samples())

        def run() -> Iterator[Tensor]:
            for a, b in points.tolist():
                _move(network, moves, a, b)
                yield _mean_loss(network, batches)

        return run

    return Contender(f"in memory, batch {BATCH}", "plain PyTorch", build)


def _batches(inputs: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [*zip(torch.split(inputs, BATCH), torch.split(targets, BATCH), strict=True)]


@torch.no_grad()
def _move(network: nn.Module, moves: list[Move], a: float, b: float) -> None:
    for parameter, (weight, first, second) in zip(network.parameters(), moves, strict=True):
        parameter.copy_(weight).add_(first, alpha=a).add_(second, alpha=b)


@torch.no_grad()
def _mean_loss(network: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> Tensor:
    total = torch.zeros((), device=batches[0][1].device, dtype=next(network.parameters()).dtype)
    for inputs, targets in batches:
        total += _cross_entropy(network(inputs), targets) * len(inputs)
    return total / sum(len(inputs) for inputs, _ in batches)


def exact_losses(case: Case, points: Floats) -> Tensor:
    """The same losses in float64 from weights, directions and samples as they are in float32, by a loop of its own."""
    network = case.network().double()
    moves = [(weight.double(), first.double(), second.double()) for weight, first, second in case.moves()]
    inputs, targets = case.samples()
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    batches = _batches(inputs, targets)
    losses = []
    for a, b in points.tolist():
        _move(network, moves, a, b)
        losses.append(_mean_loss(network, batches).cpu())
    return torch.stack(losses)


def _flat(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """One row per answer: of sequences, per token. (B, ..., K), (B, ...) -> (M, K), (M,)"""
    return outputs.flatten(0, -2), targets.flatten()


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(*_flat(outputs, targets))


@torch.no_grad()
def _copy(source: list[Tensor], into: list[Tensor]) -> None:
    for old, new in zip(source, into, strict=True):
        new.copy_(old)


LOOP, LOOP_2 = "2018 loop, 0 workers", "2018 loop, 2 workers"
LIBRARY, PLAIN = "loss-landscapes", f"in memory, batch {BATCH}"
BASELINES: dict[str, Callable[[Case], Contender]] = {
    LOOP: lambda case: loop_2018(case, 0),
    LOOP_2: lambda case: loop_2018(case, 2),
    LIBRARY: loss_landscapes,
    PLAIN: in_memory,
}
