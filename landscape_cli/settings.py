"""What a job asks for, as frozen dataclasses: the nouns of the job file, and the defaults of a plane.

`jobs.py` makes them from text; a measurement takes them as they are.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from landscape_cli.errors import LandscapeError, one_of
from landscape_cli.profile import check_names


@dataclass(frozen=True)
class ModelSettings:
    """[model]: the network and its weights."""

    factory: str = ""  # FILE.py:CALLABLE or package.module:CALLABLE
    args: dict[str, Any] = field(default_factory=dict)  # keyword arguments of the factory
    checkpoint: str = ""
    state_key: str = "auto"  # where the state dict lies in the checkpoint, as dotted keys
    strict: bool = True  # false: go on with missing and unexpected keys
    allow_pickle: bool = False  # unpickle freely: runs code of whoever wrote the checkpoint
    parameters: list[str] = field(default_factory=lambda: ["*"])  # name patterns; "!pattern" leaves out
    frozen: bool = False  # true: parameters with requires_grad=False are moved too
    call: str = "auto"  # how inputs are passed: auto, single, args, kwargs
    output: str = ""  # key or attribute of the model's output that holds the predictions


@dataclass(frozen=True)
class DataSettings:
    """[data.NAME]: one split."""

    source: str = ""  # .npz .pt .safetensors .h5, or FILE.py:CALLABLE
    args: dict[str, Any] = field(default_factory=dict)  # keyword arguments of the callable
    inputs: str | list[str] | dict[str, str] = "inputs"  # array name; a list is a tuple, a table a dict
    targets: str = "targets"
    scale: float | None = None  # x / scale, then (x - mean) / std per channel
    mean: list[float] | None = None
    std: list[float] | None = None
    dtype: str | None = None  # of the inputs
    rows: str | None = None  # "start:stop", before samples
    samples: int | None = None  # a fixed seeded subset of this size
    seed: int = 0  # of the subset and of the dealing into groups


@dataclass(frozen=True)
class LossSettings:
    """[loss]: one loss per sample."""

    name: str = "cross_entropy"  # or FILE.py:CALLABLE
    metrics: list[str] = field(default_factory=list)
    label_smoothing: float = 0.0
    ignore_index: int = -100
    class_dim: int | None = None  # of the logits; the last one or 1, where only one of them fits the targets
    delta: float = 1.0  # of huber
    weight_decay: float = 0.0  # reported apart, never added to the loss


@dataclass(frozen=True)
class PlaneSettings:
    """[planes.NAME]: a line (x) or a plane (x and y). None follows the kind of direction."""

    x: str | list[float] = ""
    y: str | list[float] | None = None
    directions: list[str] | None = None
    normalize: str | list[str] | None = None  # one for both axes, or one each
    ignore: list[str] | None = None
    orthogonal: bool | None = None
    batchnorm: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class GradientSettings:
    """[gradient]: the gradient of the first split's mean loss at the checkpoint, and how it varies over samples."""

    samples: int | None = None  # a fixed seeded subset of this size
    seed: int = 0  # of the subset
    time: str | float | None = None  # 90s, 20m, 1h30m: what has not been measured by then is left out


@dataclass(frozen=True)
class HessianSettings:
    """[hessian]: the second derivatives of the first split's mean loss at the checkpoint."""

    top: int = 5  # largest eigenvalues
    bottom: int = 2  # smallest eigenvalues
    tolerance: float = 1e-3  # of a residual, relative to its eigenvalue
    products: int = 300  # the most that the eigenvalues may take
    search: bool = True  # false: half the products, and equal eigenvalues may be found once only
    probes: int = 10  # of the trace: three products each
    density: bool = False  # the spectral density: starts x steps products
    starts: int = 10
    steps: int = 80
    learning_rate: float | None = None  # of the training run: η·λ₁/2 is then reported, above 1 unstable
    per_layer: bool = False  # largest eigenvalue and trace of each parameter tensor's own block
    dtype: str | None = None  # float64: products in double precision, whatever the run's dtype
    samples: int | None = None  # a fixed seeded subset of this size
    seed: int = 0  # of the subset, and of every random start
    time: str | float | None = None  # 90s, 20m, 1h30m: what has not been measured by then is left out, and said


@dataclass(frozen=True)
class SharpnessSettings:
    """[sharpness]: how far the first split's mean loss rises around the checkpoint, on average and at the worst."""

    draws: int = 16  # pairs of opposite random perturbations
    sigma: float = 0.01  # of average: the standard deviation of every parameter
    adaptive_sigma: float = 0.05  # of average_adaptive: times each parameter; trained networks rise by hundredths there
    rise: float = 0.1  # of the loss, at pac_bayes_sigma
    rho: float = 0.05  # of worst: the radius of the ball
    adaptive_rho: float = 0.5  # of worst_adaptive: the same in multiples of each parameter
    eta: float = 0.0  # of worst_adaptive: added to each parameter's size; above 0 it does not survive rescaling
    keskar: list[float] = field(default_factory=lambda: [1e-3, 5e-4])  # half-widths of the boxes
    ascent: int = 20  # steps from each start
    starts: int = 3
    relative_flatness: bool = False  # of the last linear layer: as many Hessian products as draws
    fisher_rao: bool = False
    samples: int | None = None  # a fixed seeded subset of this size
    seed: int = 0  # of the subset, and of every random perturbation
    time: str | float | None = None  # 90s, 20m, 1h30m: what has not been measured by then is left out, and said


# What is measured at the checkpoint itself, where a job names it.
OPTIONAL: dict[str, type] = {"gradient": GradientSettings, "hessian": HessianSettings, "sharpness": SharpnessSettings}


@dataclass(frozen=True)
class RunSettings:
    """[run]: where and how; none of it but dtype changes what is measured."""

    device: str = "auto"
    dtype: str = "float32"
    seed: int = 0  # of every plane that names none
    batch_size: int | None = None  # samples per pass
    strategy: str | None = None  # of the engine; measured and chosen where it is not named
    points_per_pass: int | None = None  # weight points per pass, of strategies that take many


@dataclass(frozen=True)
class Job:
    """Everything one scan needs, resolved."""

    model: ModelSettings
    data: Mapping[str, DataSettings]
    loss: LossSettings
    planes: Mapping[str, PlaneSettings]
    run: RunSettings
    folder: Path
    sources: Mapping[str, str]
    gradient: GradientSettings | None = None  # None: not asked for
    hessian: HessianSettings | None = None
    sharpness: SharpnessSettings | None = None
    eigenvectors: HessianSettings = field(default_factory=HessianSettings)  # [hessian], measured or not, of directions


# What a plane's settings are where it does not say, by its directions' kind; others follow "random".
PLANE_DEFAULTS: dict[str, dict[str, Any]] = {
    "random": {"normalize": "filter", "ignore": ["bias", "norm"], "orthogonal": True, "batchnorm": "frozen"},
    "checkpoint": {"normalize": "none", "ignore": [], "orthogonal": False, "batchnorm": "interpolate"},
    "file": {"normalize": "none", "ignore": [], "orthogonal": False, "batchnorm": "frozen"},
    "gradient": {"normalize": "none", "ignore": [], "orthogonal": False, "batchnorm": "frozen"},
    "hessian": {"normalize": "none", "ignore": [], "orthogonal": False, "batchnorm": "frozen"},
}
ARGUMENTS = {"checkpoint": "PATH", "file": "PATH", "hessian": "K"}  # what follows the colon of a kind of direction

DERIVED = ("gradient", "hessian")  # kinds of direction that are computed from the loss


def derived_in(plane: PlaneSettings) -> list[str]:
    """The directions of a plane that are computed from the loss, as its job writes them."""
    return [spec for spec in plane.directions or [] if spec.partition(":")[0] in DERIVED]


def written(kind: str) -> str:
    """A kind of direction as a job writes it: `random`, `checkpoint:PATH`, `hessian:K`."""
    return f"{kind}:{ARGUMENTS[kind]}" if kind in ARGUMENTS else kind


def plane_with_defaults(name: str, plane: PlaneSettings, seed: int) -> PlaneSettings:
    """The plane with every default filled in."""
    if not plane.x:
        raise LandscapeError(f"the plane {name} has no x", f'write planes.{name}.x = "-1:1:51"')
    axes = 1 if plane.y is None else 2
    directions = plane.directions if plane.directions is not None else ["random"] * axes
    if len(directions) != axes:
        need = "a line (x alone) has one direction, a plane (x and y) two"
        raise LandscapeError(f"the plane {name} has {axes} axes and {len(directions)} directions", need)
    kinds = [direction.partition(":")[0] for direction in directions]
    rules = [PLANE_DEFAULTS.get(kind, PLANE_DEFAULTS["random"]) for kind in kinds]
    leading = PLANE_DEFAULTS[next((k for k in PLANE_DEFAULTS if k != "random" and k in kinds), "random")]
    normalize: str | list[str] = [rule["normalize"] for rule in rules]
    defaults = {
        **leading,
        "normalize": normalize[0] if len(set(normalize)) == 1 else normalize,
        "directions": directions,
        "seed": seed,
    }
    return dataclasses.replace(plane, **{k: v for k, v in defaults.items() if getattr(plane, k) is None})


def _check_sections(job: Job) -> None:
    for name, section in (("gradient", job.gradient), ("hessian", job.hessian), ("sharpness", job.sharpness)):
        if section is not None:
            _positive(f"{name}.samples", section.samples)
            seconds(section.time, f"{name}.time")
    if job.sharpness is not None:
        _check_sharpness(job.sharpness)
    hessian = job.hessian
    if hessian is None:
        return
    for key in ("tolerance", "products", "starts", "steps", "learning_rate"):
        _positive(f"hessian.{key}", getattr(hessian, key))
    if hessian.top < 1 or hessian.bottom < 1:
        raise LandscapeError("hessian.top and hessian.bottom must be at least 1", "5 and 2 are the defaults")
    if hessian.probes < 10:
        raise LandscapeError(f"hessian.probes is {hessian.probes}", "give 10 or more: fewer say nothing of their error")
    if hessian.density and hessian.starts < 2:
        raise LandscapeError("hessian.starts is 1", "give 2 or more: one start says nothing of its error")
    if hessian.dtype not in (None, "float64"):
        raise one_of("hessian.dtype", str(hessian.dtype), ["float64"])


def _check_sharpness(sharpness: SharpnessSettings) -> None:
    for key in ("sigma", "adaptive_sigma", "rise", "rho", "adaptive_rho", "ascent"):
        _positive(f"sharpness.{key}", getattr(sharpness, key))
    for i, eps in enumerate(sharpness.keskar):
        _positive(f"sharpness.keskar.{i}", eps)
    if not 0 <= sharpness.eta < math.inf:
        raise LandscapeError(f"sharpness.eta is {sharpness.eta}", "give 0 or more")
    for key in ("draws", "starts"):
        if getattr(sharpness, key) < 2:
            raise LandscapeError(f"sharpness.{key} must be at least 2", "one alone says nothing of its error")


CALLS = ("auto", "single", "args", "kwargs")  # values of model.call


def check(job: Job) -> None:
    """Refuse values that no type can refuse. Files are looked at when they are read.

    Raises:
        LandscapeError: a name that cannot be stored, or a number out of its range.
    """
    check_names(job.data, job.planes)
    for name, split in job.data.items():
        _positive(f"data.{name}.samples", split.samples)
        _positive(f"data.{name}.scale", split.scale)
    _positive("run.batch_size", job.run.batch_size)
    _positive("run.points_per_pass", job.run.points_per_pass)
    _positive("loss.delta", job.loss.delta)
    if not 0 <= job.loss.weight_decay < math.inf:
        raise LandscapeError(f"loss.weight_decay is {job.loss.weight_decay}", "give 0 or more")
    if not 0 <= job.loss.label_smoothing <= 1:
        raise LandscapeError("loss.label_smoothing must lie between 0 and 1", "0.1 is usual")
    _check_sections(job)
    if job.model.call not in CALLS:
        raise one_of("value of model.call", job.model.call, [*CALLS])


def seconds(text: str | float | None, key: str = "the time") -> float | None:
    """The seconds of `90`, `90s`, `20m`, `1h30m`; None where nothing is given.

    Raises:
        LandscapeError: another form, or nothing positive.
    """
    if text is None:
        return None
    if isinstance(text, str):
        match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
        parts = zip(match.groups(), (3600, 60, 1), strict=True) if match else ()
        total = sum(float(part or 0) * unit for part, unit in parts)
    else:
        total = text
    if not 0 < total < math.inf:
        raise LandscapeError(f"{key} {text} is no duration", "write for example 90s, 20m or 1h30m")
    return total


def _positive(key: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise LandscapeError(f"{key} must be positive, not {value}", "give a number above 0, or leave it out")
