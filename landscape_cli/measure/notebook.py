"""`landscape_cli.scan`: the same measurement from Python, without the file system."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
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
from landscape_cli.measure.model import DTYPES, copied, device_named, place
from landscape_cli.measure.problem import Problem, make_problem
from landscape_cli.measure.provenance import make_provenance
from landscape_cli.measure.scan import fill, measure_centre, new_record
from landscape_cli.measure.sections import measured, wanted_sections
from landscape_cli.measure.sources import materialise
from landscape_cli.measure.usercode import UserCode, callable_hash
from landscape_cli.profile import Axis, Profile, grid_bytes
from landscape_cli.settings import (
    OPTIONAL,
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
    x: str | Sequence[float] | NDArray[Any] | None = "-1:1:21",
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
    sections: Sequence[str] | Mapping[str, Mapping[str, Any]] = (),
) -> Profile:
    """Measure the loss of `model` around its present weights, on a line (x) or a plane (x and y), or neither (x=None).

    Args:
        model: left as it was.
        data: (inputs, targets), a Dataset, a DataLoader, or a dict of these by split name.
        loss: a name of LOSSES, or a function (outputs, targets) -> one loss per sample.
        device, dtype: default to the model's own; for others a copy of the model is measured.
        sections: at the weights themselves: ["gradient", "hessian"], or {"hessian": {"top": 10}} as in the job file.
        directions: as in the job file. What `gradient` and `hessian:K` come to is kept in no file.
        The rest is as in the job file: [planes.main], [model], [run].

    Returns:
        A Profile with one plane at most, "main"; `landscape_cli.save` writes it, `landscape_cli.statistics` reads it.

    Raises:
        LandscapeError: whatever the command would refuse.
    """
    splits = {str(name): split for name, split in data.items()} if isinstance(data, Mapping) else {"data": data}
    asked = PlaneSettings(_axis(x), _axis(y), directions, normalize, ignore, orthogonal, batchnorm, seed)
    planes = {} if x is None else {"main": plane_with_defaults("main", asked, seed)}
    names, code = _named([loss, *(metrics or [])])
    model_settings = ModelSettings(parameters=parameters or ["*"], frozen=frozen, call=call, output=output)
    how = LossSettings(names[0], names[1:], label_smoothing, ignore_index, class_dim, delta, weight_decay)
    run = RunSettings(batch_size=batch_size, strategy=strategy, points_per_pass=points_per_pass)
    data_settings = dict.fromkeys(splits, DataSettings())
    job = Job(model_settings, data_settings, how, planes, run, Path.cwd(), {}, **_sections(sections))
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
    for name, asked in job.planes.items():
        x, y = Axis.of(asked.x), None if asked.y is None else Axis.of(asked.y)
        grid_bytes(name, x, y, len(splits), len(job.loss.metrics))
    here, precision = _place(model, device, dtype)
    problem = _problem(here, splits, make_loss(job.loss, code), job, precision)
    planes = []
    for name, asked in job.planes.items():
        vectors = derive(problem, derived_in(asked), job.eigenvectors, _go_on)
        planes.append(make_plane(name, asked, problem, job.model, job.folder, {}, vectors))
    plan = planner.choose(problem, planes).plan
    provenance = make_provenance(problem, plan, {f"planes.{n}": plane.seed or 0 for n, plane in job.planes.items()})
    centre = measure_centre(problem, plan)
    records = {plane.name: new_record(problem, plane, centre, plan) for plane in planes}
    for plane in planes:
        for _ in fill(records[plane.name], problem, plane, plan):
            pass
    wanted = wanted_sections(job, problem, ())
    found = {name: measured(section, name, job, problem, _go_on) for name, section in wanted.items()}
    sections = {name: section for name, section in found.items() if section is not None}
    return Profile(problem.sha256, provenance, centre, records, sections).with_provenance(finished=now())


def _go_on(steps: int) -> bool:
    """Nothing asks a measurement to stop here but an exception."""
    return False


def _sections(asked: Sequence[str] | Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The settings of each section by its name; unknown ones are refused."""
    made = {}
    given_by_name = asked if isinstance(asked, Mapping) else {name: {} for name in asked}
    for name, given in given_by_name.items():
        if name not in OPTIONAL:
            raise one_of("section", name, [*OPTIONAL])
        known = [field.name for field in fields(OPTIONAL[name])]
        for key in given:
            if key not in known:
                raise one_of("key of the job", f"{name}.{key}", [f"{name}.{key}" for key in known])
        made[name] = OPTIONAL[name](**given)
    return made


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
    return (model if same else place(copied(model), target, wanted)), wanted


def _problem(model: nn.Module, source: Mapping[str, Any], loss: Loss, job: Job, dtype: str) -> Problem:
    rows = DataSettings()
    made = {name: (*materialise(split, rows), rows) for name, split in source.items()}
    device = next(iter(model.parameters())).device
    code = {"model": callable_hash(type(model)), "layers": hashlib.sha256(repr(model).encode()).hexdigest()}
    return make_problem(model, made, loss, job.model, torch.device(device), dtype, code, job.run)
