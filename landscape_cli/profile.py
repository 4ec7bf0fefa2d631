"""The nouns: what a run file holds, as frozen dataclasses on numpy arrays.

A grid array is always indexed [ix, iy], x first; a line has [ix] alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from landscape_cli.errors import LandscapeError
from landscape_cli.section import MAX_GROUPS as MAX_GROUPS
from landscape_cli.section import Floats as Floats
from landscape_cli.section import Section

Status = Literal["ok", "not measured", "not finite", "not converged", "undefined"]
Bound = Literal["exact", "lower", "upper"]

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # of a split, a plane or a metric
RESERVED = ("axis_x", "axis_y", "gram")  # of a plane in the run file: no split can be called so
MAX_BYTES = 4 << 30  # of one plane's arrays: what we refuse to plan, write or read

ROUNDING = 1e-12  # of a value: an error below is float64's, and none of the samples'

# How far two ways of computing one mean loss may differ: relative, and absolute for losses near 0.
TOLERANCE = {"float64": (1e-10, 1e-13), "float32": (2e-5, 1e-7), "bfloat16": (5e-2, 1e-2), "float16": (1e-2, 1e-3)}


@dataclass(frozen=True)
class Estimate:
    """A number that says how well it is known.

    `value` is None where there is no number, `stderr` is None where no error could be had. `bound` is "lower"
    where the true value may be larger than `value`, "upper" where it may be smaller. `shares` [G] is the part of the
    error that comes from each sample group, the root of whose summed squares it is; of two statistics of the same
    samples the shares of their difference are the differences of their shares. None where they are not known.
    """

    value: float | None
    stderr: float | None = None
    status: Status = "ok"
    bound: Bound = "exact"
    shares: Floats | None = field(default=None, compare=False, repr=False)

    @classmethod
    def missing(cls, status: Status) -> Estimate:
        """No number, and why."""
        return cls(None, None, status)

    @classmethod
    def of(cls, value: float, stderr: float | None = None, bound: Bound = "exact") -> Estimate:
        """A measured number; NaN and infinity are kept, under the status "not finite". An error of rounding is 0."""
        error = stderr if stderr is not None and math.isfinite(stderr) else None
        error = 0.0 if error is not None and error <= ROUNDING * abs(value) else error
        return cls(value, error, "ok" if math.isfinite(value) else "not finite", bound)


@dataclass(frozen=True)
class Axis:
    """The coordinates of one grid axis, strictly increasing, in multiples of the stored direction."""

    values: Floats

    @classmethod
    def of(cls, spec: str | list[float]) -> Axis:
        """An axis from "min:max:count" or from a list of values.

        Of a symmetric range -a is exactly the negative of a, and a value that is 0 up to rounding is 0.

        Raises:
            LandscapeError: a malformed, empty, descending or non-finite range.
        """
        values = _range(spec) if isinstance(spec, str) else np.asarray(spec, dtype=np.float64).reshape(-1)
        if values.size == 0:
            raise _axis_error(spec, "it has no points")
        if not np.isfinite(values).all():
            raise _axis_error(spec, "it is not finite")
        values = np.where(np.abs(values) < 1e-12 * np.abs(values).max(), 0.0, values)
        if (np.diff(values) <= 0).any():
            raise _axis_error(spec, "its values do not increase")
        return cls(values)

    @property
    def step(self) -> float:
        """The largest distance between neighbours; 0 for a single point."""
        return float(np.diff(self.values).max()) if len(self.values) > 1 else 0.0

    def index(self, value: float) -> int | None:
        """Where `value` stands on the axis, None if it does not."""
        found = np.flatnonzero(self.values == value)
        return int(found[0]) if found.size else None

    def __len__(self) -> int:
        return len(self.values)


def _range(spec: str) -> Floats:
    match = re.fullmatch(r"\s*([^:\s]+)\s*:\s*([^:\s]+)\s*:\s*(\d+)\s*", spec)
    if not match:
        raise _axis_error(spec, "it must read min:max:count, the count a positive whole number")
    try:
        low, high, count = float(match[1]), float(match[2]), int(match[3])
    except ValueError:
        raise _axis_error(spec, "min and max must be numbers") from None
    if not (math.isfinite(low) and math.isfinite(high) and math.isfinite(high - low)):
        raise _axis_error(spec, "min and max must be finite")
    if count < 1 or count > MAX_BYTES // (8 * (MAX_GROUPS + 2)):
        raise _axis_error(spec, "the count must be at least 1 and fit in memory")
    if low >= high:
        raise _axis_error(spec, "min must be below max")
    if count == 1:
        raise _axis_error(spec, "one point is no range: give it as a list, [0.0]")
    i = np.arange(count, dtype=np.float64)
    with np.errstate(over="ignore"):
        values = (low * (count - 1 - i) + high * i) / (count - 1)  # mirrored i gives the exact negative
    values[0], values[-1] = low, high
    return values


def _axis_error(spec: object, why: str) -> LandscapeError:
    return LandscapeError(f"the range {str(spec)[:80]!r} cannot be used: {why}", "write for example --x=-1:1:51")


@dataclass(frozen=True)
class Centre:
    """One split at the checkpoint's own weights.

    `loss` is the mean over samples; `loss_groups` [G] the mean of each sample group, `group_sizes` [G] the
    weight of each group (samples, or tokens for a token loss); `plain_loss` the same loss by one separate
    plain forward pass.
    """

    loss: float
    loss_groups: Floats
    group_sizes: Floats
    metrics: Mapping[str, float]
    plain_loss: float
    samples: int


@dataclass(frozen=True)
class Surface:
    """The loss of one split over one plane. Arrays are [nx] for a line, [nx, ny] for a plane.

    Attributes:
        x, y: the axes; y is None for a line.
        gram: [d, d] inner products of the directions in parameter space.
        loss: mean per-sample loss; NaN and infinity are data.
        loss_groups: [..., G] mean loss of each sample group, the source of every standard error.
        metrics: by name, arrays like `loss`.
        measured: True where a point has been measured.
        centre: the same split at (0, 0) under the plane's own batch-norm policy.
    """

    x: Axis
    y: Axis | None
    gram: Floats
    loss: Floats
    loss_groups: Floats
    metrics: Mapping[str, Floats]
    measured: NDArray[np.bool_]
    centre: Centre

    @property
    def axes(self) -> tuple[Axis, ...]:
        """(x,) or (x, y)."""
        return (self.x,) if self.y is None else (self.x, self.y)

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Measured, and neither NaN nor infinite."""
        return self.measured & np.isfinite(self.loss)


@dataclass(frozen=True)
class PlaneRecord:
    """A measured plane: its geometry, how it was made, and one surface per split.

    `directions` is the recipe of each direction, `settings` everything its fingerprint is made of, `argv` the command
    that measures it.
    """

    name: str
    gram: Floats
    directions: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any]
    fingerprint: str
    surfaces: Mapping[str, Surface]
    argv: tuple[str, ...] = ()

    @property
    def measured(self) -> NDArray[np.bool_]:
        """True where every split has been measured."""
        everywhere: NDArray[np.bool_] = np.min([s.measured for s in self.surfaces.values()], axis=0)
        return everywhere

    @property
    def complete(self) -> bool:
        """Every point of every split has been measured."""
        return bool(self.measured.all())

    @property
    def surface(self) -> Surface:
        """The first split's surface, whose axes are every split's."""
        return next(iter(self.surfaces.values()))

    @property
    def derived(self) -> dict[str, str]:
        """By axis, x or y, the directions that were computed from the loss, which no seed regenerates."""
        pairs = zip("xy", self.directions, strict=False)
        return {axis: called(recipe) for axis, recipe in pairs if "over" in recipe}


def called(recipe: Mapping[str, Any]) -> str:
    """A direction by its kind and, of eigenvectors, its rank: `random`, `hessian:1`."""
    rank = recipe.get("eigenvector")
    return f"{recipe.get('kind')}" if rank is None else f"{recipe.get('kind')}:{rank}"


@dataclass(frozen=True)
class Provenance:
    """What was run, with what, when and by which version.

    Attributes:
        argv, directory: the command, and the folder where it was typed; empty when called from Python.
        job, folder: the resolved job file as TOML, and the folder its relative paths start from.
        sources: for every setting where its value came from: default, job file, --set or flag.
        versions: of landscape, Python and the libraries.
        git_commit: of the job's folder, "" if it is in no repository.
        device, dtype: where and in which precision the model ran.
        plan: strategy, samples per pass, points per pass, threads.
        hashes: SHA-256 of each part of the problem (weights, data, loss, code, parameters) and of the files.
        facts: numbers of the model: parameters, selected, frozen, norm, weight_decay.
        seeds: by what they seed.
        started, finished: ISO 8601 in UTC; finished is "" while unfinished.
        notes: what the user should know about this run, each a sentence.
    """

    argv: tuple[str, ...] = ()
    directory: str = ""
    job: str = ""
    folder: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str = ""
    device: str = ""
    dtype: str = ""
    plan: Mapping[str, Any] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    started: str = ""
    finished: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    """One run: everything that a run file holds."""

    problem: str
    provenance: Provenance
    centre: Mapping[str, Centre]
    planes: Mapping[str, PlaneRecord]
    sections: Mapping[str, Section] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Everything has been measured in full."""
        sections = all(section.complete for section in self.sections.values())
        return sections and all(plane.complete for plane in self.planes.values())

    @property
    def done(self) -> tuple[int, int]:
        """Points measured, and points asked for."""
        masks = [plane.measured for plane in self.planes.values()]
        return sum(int(m.sum()) for m in masks), sum(m.size for m in masks)

    def with_provenance(self, **changes: Any) -> Profile:
        """The same run with some of its provenance replaced."""
        return replace(self, provenance=replace(self.provenance, **changes))


def check_names(splits: Iterable[str], others: Iterable[str]) -> None:
    """Refuse names that the run file cannot hold, of splits and of others (planes, metrics).

    Raises:
        LandscapeError: not up to 64 letters, digits, - and _; or a split called as a part of a plane.
    """
    splits = list(splits)
    wrong = [name for name in [*splits, *others] if not NAME.fullmatch(name)]
    wrong += [name for name in splits if name in RESERVED]
    if wrong:
        hint = f"use up to 64 letters, digits, - and _; not {', '.join(RESERVED)}"
        raise LandscapeError(f"nothing in a run file can be called {wrong[0]!r}", hint)


def agree(a: float, b: float, dtype: str) -> bool:
    """True if two ways of computing one mean loss agree up to rounding; NaN agrees with NaN."""
    relative, absolute = TOLERANCE.get(dtype, TOLERANCE["float32"])
    if not (math.isfinite(a) and math.isfinite(b)):
        return a == b or (math.isnan(a) and math.isnan(b))
    return abs(a - b) <= relative * abs(b) + absolute


def grid_bytes(plane: str, x: Axis, y: Axis | None, splits: int, metrics: int) -> int:
    """Bytes of a plane's arrays.

    Raises:
        LandscapeError: more than the cap.
    """
    points = len(x) * (1 if y is None else len(y))
    needed = points * 8 * (MAX_GROUPS + 2 + metrics) * splits
    if needed > MAX_BYTES:
        what = f"the plane {plane} has {points} points and would need {needed >> 30} GiB"
        raise LandscapeError(what, f"the cap is {MAX_BYTES >> 30} GiB: take fewer points")
    return needed


def empty_surface(x: Axis, y: Axis | None, gram: Floats, metrics: list[str], centre: Centre) -> Surface:
    """A surface of which nothing has been measured yet."""
    shape = (len(x),) if y is None else (len(x), len(y))
    return Surface(
        x, y, gram,
        loss=np.full(shape, np.nan),
        loss_groups=np.full((*shape, len(centre.group_sizes)), np.nan),
        metrics={name: np.full(shape, np.nan) for name in metrics},
        measured=np.zeros(shape, dtype=bool),
        centre=centre,
    )  # fmt: skip
