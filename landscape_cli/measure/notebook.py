"""`landscape_cli.scan`: the same measurement from Python, without the file system."""

from __future__ import annotations

import copy
import hashlib
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from landscape_cli.errors import LandscapeError, one_of
from landscape_cli.files import now
from landscape_cli.measure import planner
from landscape_cli.measure.derived import derive
from landscape_cli.measure.directions import make_plane
from landscape_cli.measure.losses import LOSSES, METRICS, Loss, make_loss
from landscape_cli.measure.model import DTYPES, device_named, place
from landscape_cli.measure.problem import Problem, make_problem
from landscape_cli.measure.provenance import make_provenance
from landscape_cli.measure.scan import fill, measure_centre, new_record
from landscape_cli.measure.sources import materialise
from landscape_cli.measure.usercode import UserCode, callable_hash
from landscape_cli.profile import Axis, Profile, grid_bytes
from landscape_cli.settings import (
    DataSettings,
    Job,
    LossSettings,
    ModelSettings,
    PlaneSettings,
    RunSettings,
    check,
    derived_in,
    plane_with_defaults,
)

PerSampleLoss = Callable[[Tensor, Tensor], Tensor]


def scan(
    model: nn.Module,
    data: Any,
    loss: str | PerSampleLoss = "cross_entropy",
    *,
    x: str | Sequence[float] | NDArray[Any] = "-1:1:21",
    y: str | Sequence[float] | NDArray[Any] | None = None,
    metrics: list[str | PerSampleLoss] | None = None,
    directions: list[str] | None = None,
    normalize: str | list[str] | None = None,
    ignore: list[str] | None = None,
    orthogonal: bool | None = None,
    batchnorm: str | None = None,
    seed: int = 0,
    parameters: list[str] | None = None,
    frozen: bool = False,
    call: str = "auto",
    output: str = "",
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    class_dim: int | None = None,
    delta: float = 1.0,
    weight_decay: float = 0.0,
    device: str | None = None,
    dtype: str | None = None,
    batch_size: int | None = None,
    strategy: str | None = None,
    points_per_pass: int | None = None,
) -> Profile:
    """Measure the loss of `model` around its present weights, on a line (x) or a plane (x and y).

    Args:
        model: left as it was.
        data: (inputs, targets), a Dataset, a DataLoader, or a dict of these by split name.
        loss: a name of LOSSES, or a function (outputs, targets) -> one loss per sample.
        device, dtype: default to the model's own; for others a copy of the model is measured.
        directions: as in the job file. What `gradient` and `hessian:K` come to is kept in no file.
        The rest is as in the job file: [planes.main], [model], [run].

    Returns:
        A Profile with one plane, "main"; `landscape_cli.save` writes it, `landscape_cli.statistics` reads it.

    Raises:
        LandscapeError: whatever the command would refuse.
    """
    splits = {str(name): split for name, split in data.items()} if isinstance(data, Mapping) else {"data": data}
    asked = PlaneSettings(_axis(x), _axis(y), directions, normalize, ignore, orthogonal, batchnorm, seed)
    names, code = _named([loss, *(metrics or [])])
    job = Job(
        ModelSettings(parameters=parameters or ["*"], frozen=frozen, call=call, output=output),
        dict.fromkeys(splits, DataSettings()),
        LossSettings(names[0], names[1:], label_smoothing, ignore_index, class_dim, delta, weight_decay),
        {"main": plane_with_defaults("main", asked, seed)},
        RunSettings(batch_size=batch_size, strategy=strategy, points_per_pass=points_per_pass),
        Path.cwd(),
        {},
    )
    return _measured(job, model, splits, code, device, dtype)


def _measured(
    job: Job,
    model: nn.Module,
    splits: Mapping[str, Any],
    code: dict[str, UserCode],
    device: str | None,
    dtype: str | None,
) -> Profile:
    check(job)
    if not splits:
        raise LandscapeError("there is no data", "give (inputs, targets), or a dict of them by split name")
    asked = job.planes["main"]
    x, y = Axis.of(asked.x), None if asked.y is None else Axis.of(asked.y)
    grid_bytes("main", x, y, len(splits), len(job.loss.metrics))
    here, precision = _place(model, device, dtype)
    problem = _problem(here, splits, make_loss(job.loss, code), job.model, precision)
    vectors = derive(problem, derived_in(asked), job.eigenvectors, lambda steps: False)
    plane = make_plane("main", asked, problem, job.model, job.folder, {}, vectors)
    plan = planner.choose(problem, [plane], job.run).plan
    provenance = make_provenance(problem, plan, {"planes.main": job.planes["main"].seed or 0})
    centre = measure_centre(problem, plan)
    record = new_record(problem, plane, centre, plan)
    for _ in fill(record, problem, plane, plan):
        pass
    profile = Profile(problem.sha256, provenance, centre, {"main": record})
    return profile.with_provenance(finished=now())


def _axis(axis: str | Sequence[float] | NDArray[Any] | None) -> Any:
    """As a job file has it: text, or a list of numbers."""
    return axis if axis is None or isinstance(axis, str) else [float(value) for value in axis]


def _named(functions: Sequence[str | PerSampleLoss]) -> tuple[list[str], dict[str, UserCode]]:
    """The loss and the metrics by name, and the user's own functions by theirs."""
    code: dict[str, UserCode] = {}

    def name(function: str | PerSampleLoss) -> str:
        if isinstance(function, str):
            return function
        own = re.sub(r"[^A-Za-z0-9_]", "", getattr(function, "__name__", type(function).__name__))[:60] or "function"
        taken = {*code, *LOSSES, *METRICS}
        called = next(n for n in itertools.chain([own], (f"{own}_{i}" for i in itertools.count(2))) if n not in taken)
        code[called] = UserCode(called, function, callable_hash(function), Path.cwd())
        return called

    return [name(function) for function in functions], code


def _place(model: nn.Module, device: str | None, dtype: str | None) -> tuple[nn.Module, str]:
    """The model itself where it already is as asked, else a copy; and its dtype by name."""
    first = next(iter(model.parameters()), None)
    if first is None:
        raise LandscapeError("the model has no parameters", "give a torch.nn.Module with weights")
    own = str(first.dtype).removeprefix("torch.")
    wanted = dtype or (own if own == "float64" else "float32")
    if wanted not in DTYPES:
        raise one_of("dtype", wanted, [*DTYPES])
    target = first.device if device is None else device_named(device)
    held = [t for t in [*model.parameters(), *model.buffers()] if t.is_floating_point()]
    same = {(t.device, t.dtype) for t in held} == {(target, DTYPES[wanted])}
    return (model if same else place(copy.deepcopy(model), target, wanted)), wanted


def _problem(model: nn.Module, source: Mapping[str, Any], loss: Loss, settings: ModelSettings, dtype: str) -> Problem:
    rows = DataSettings()
    made = {name: (*materialise(split, rows), rows) for name, split in source.items()}
    device = next(iter(model.parameters())).device
    code = {"model": callable_hash(type(model)), "layers": hashlib.sha256(repr(model).encode()).hexdigest()}
    return make_problem(model, made, loss, settings, torch.device(device), dtype, code)
