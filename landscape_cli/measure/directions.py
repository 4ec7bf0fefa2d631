"""Direction and Plane: where to move in parameter space.

Adding a direction or a normalisation is one function and one line in a dict.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape_cli.errors import ExitCode, LandscapeError, one_of
from landscape_cli.measure import batchnorm, checkpoint, data
from landscape_cli.measure.arrays import READERS, Reader, as_tensor
from landscape_cli.measure.filters import ignored, output_dims
from landscape_cli.measure.normalisations import NORMALISATIONS, TENSORWISE, inner
from landscape_cli.measure.problem import Problem, Tensors, free_bytes
from landscape_cli.profile import Axis, Floats
from landscape_cli.settings import ARGUMENTS, ModelSettings, PlaneSettings, written


@dataclass(frozen=True)
class Direction:
    """One displacement of the parameters (and, towards a checkpoint, of the buffers).

    `recipe` is what it was made from; `target` holds the state that coordinate 1 must reach, where there is one;
    `exact` says whether coordinate 1 is the checkpoint that it leads to, None where it leads to none.
    """

    parameters: Mapping[str, Tensor]
    buffers: Tensors
    recipe: Mapping[str, Any]
    target: Tensors | None = None
    notes: tuple[str, ...] = ()
    exact: bool | None = None


@dataclass(frozen=True)
class Plane:
    """A line or plane through the checkpoint: theta = centre + a·d1 + b·d2."""

    name: str
    x: Axis
    y: Axis | None
    directions: tuple[Direction, ...]
    batchnorm: str
    gram: Floats
    settings: Mapping[str, Any]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about its directions."""
        return tuple(f"{self.name}: {note}" for direction in self.directions for note in direction.notes)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the settings: axes, directions, batch-norm policy."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()

    @property
    def coordinates(self) -> Floats:
        """(points, d) coordinates of the grid, the last axis fastest."""
        axes = [self.x.values] if self.y is None else [self.x.values, self.y.values]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


@dataclass(frozen=True)
class Vector:
    """A direction derived from the loss: it is computed once, before any plane is made (measure/derived.py).

    Attributes:
        parameters: float32 on the CPU, so that a file keeps them exactly.
        recipe: what it was computed from, for the recipe of its direction.
        notes: what the user should know about it.
    """

    parameters: Mapping[str, Tensor]
    recipe: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """What a direction is asked for: `argument` is what follows the colon in the job, `vector` what was derived."""

    argument: str
    axis: int
    seed: int
    folder: Path
    readers: Mapping[str, Reader]
    model: ModelSettings
    vector: Vector | None = None


@dataclass(frozen=True)
class Made:
    """What a function of DIRECTIONS gives: displacements as they are before normalising, and notes for the user."""

    parameters: Mapping[str, Tensor]
    buffers: Tensors = field(default_factory=dict)
    target: Tensors | None = None
    notes: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)


class Lazy(Mapping[str, Tensor]):
    """Tensors by name, made when they are asked for and not kept: what does not fit in memory all at once."""

    def __init__(self, names: Iterable[str], make: Callable[[str], Tensor]) -> None:
        self.names, self.make = list(names), make

    def __getitem__(self, name: str) -> Tensor:
        return self.make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def random(problem: Problem, request: Request) -> Made:
    """Independent standard normal entries, from a CPU generator seeded by (seed, axis, parameter name)."""

    def draw(name: str) -> Tensor:
        return standard_normal(problem.centre[name], request.seed, request.axis, name)

    return Made(Lazy(problem.centre, draw))


def standard_normal(like: Tensor, *key: object) -> Tensor:
    """Independent standard normal entries of a tensor's shape, from a CPU generator seeded by the key."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randn(like.shape, generator=generator, dtype=torch.float32).to(like)


def towards_checkpoint(problem: Problem, request: Request) -> Made:
    """Another checkpoint's weights (and running statistics) minus the centre's; after a # its state key."""
    other, notes = _load_beside(problem, request)
    moved = {n: other[n].to(w) - w for n, w in problem.centre.items()}
    buffers = {n: other[n].to(b) - b for n, b in problem.centre_buffers.items() if n in other}
    return Made(moved, buffers, other, notes)


def from_file(problem: Problem, request: Request) -> Made:
    """Tensors by parameter name from .npz, .safetensors, .pt or .h5; after a # the folder they lie in."""
    name, _, prefix = request.argument.partition("#")
    path = (request.folder / name).resolve()
    checkpoint.sniff(path)
    known = {**READERS, **request.readers}
    if path.suffix not in known:
        raise LandscapeError(f"the directions file {path} has an unknown ending", f"give {', '.join(known)}")
    found = tensors_in(problem, known[path.suffix](path), prefix, name)
    return Made({parameter: tensor.to(problem.centre[parameter]) for parameter, tensor in found.items()})


def tensors_in(problem: Problem, arrays: Mapping[str, Any], prefix: str, name: str) -> Tensors:
    """One tensor for each parameter, of its shape, from the folder `prefix` of a file called `name`.

    Raises:
        LandscapeError: a tensor is missing, of another shape, or no finite floats.
    """
    found = {}
    for parameter, weight in problem.centre.items():
        keys = [f"{prefix}{joint}{parameter}" for joint in "/."] if prefix else [parameter]
        key = next((k for k in keys if k in arrays), None)
        if key is None:
            held = ", ".join(sorted(arrays)[:5]) or "nothing"
            hint = f"it holds: {held}; for names below a folder write file:{name}#FOLDER"
            raise LandscapeError(f"{Path(name).name} has no direction for {keys[0]}", hint)
        tensor = as_tensor(arrays[key], f"{key} in {Path(name).name}")
        if tensor.shape != weight.shape or not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
            shapes = f"{tuple(tensor.shape)} {tensor.dtype} for {tuple(weight.shape)}"
            why = f"does not fit: {shapes}" if tensor.shape != weight.shape else "is not of finite floats"
            hint = "one finite number is needed for each entry of the parameter"
            raise LandscapeError(f"the direction {key} of {Path(name).name} {why}", hint)
        found[parameter] = tensor
    return found


def gradient(problem: Problem, request: Request) -> Made:
    """Gradient of the first split's mean loss at the checkpoint: coordinate -η is a gradient-descent step of size η."""
    return _derived(problem, request)


def eigenvector(problem: Problem, request: Request) -> Made:
    """Unit eigenvector of the K-th largest eigenvalue of the Hessian, on the first split; -1 is the smallest."""
    return _derived(problem, request)


def _derived(problem: Problem, request: Request) -> Made:
    vector = request.vector
    assert vector is not None, "derived before the planes are made"
    moved = {n: vector.parameters[n].to(w) for n, w in problem.centre.items()}
    return Made(moved, notes=vector.notes, recipe=vector.recipe)


DIRECTIONS: dict[str, Callable[[Problem, Request], Made]] = {
    "random": random,
    "checkpoint": towards_checkpoint,
    "file": from_file,
    "gradient": gradient,
    "hessian": eigenvector,
}
UNSURE = ("from", "eigenvalue", "residual")  # of a recipe, in no fingerprint: a path, and what rounding changes


def make_plane(
    name: str,
    settings: PlaneSettings,
    problem: Problem,
    model: ModelSettings,
    folder: Path,
    readers: Mapping[str, Reader],
    derived: Mapping[str, Vector] | None = None,
) -> Plane:
    """The plane that the settings describe; `derived` holds its derived directions, by what the job calls them.

    Raises:
        LandscapeError: an unknown name, a file that does not fit, or directions that are zero or parallel (exit 3).
    """
    if settings.batchnorm not in batchnorm.POLICIES:
        raise one_of("batch-norm policy", str(settings.batchnorm), [*batchnorm.POLICIES])
    x, y = Axis.of(settings.x), None if settings.y is None else Axis.of(settings.y)
    asked = settings.directions or []
    how = settings.normalize if isinstance(settings.normalize, list) else [str(settings.normalize)] * len(asked)
    if len(how) != len(asked):
        raise LandscapeError(f"the plane {name} has {len(asked)} directions and {len(how)} normalisations", "one each")
    made: list[Direction] = []
    for axis, (spec, normalize) in enumerate(zip(asked, how, strict=True)):
        vector = (derived or {}).get(spec)
        request = Request(spec.partition(":")[2], axis, settings.seed or 0, folder, readers, model, vector)
        earlier = made[0] if axis and settings.orthogonal else None
        made.append(_make(spec, normalize, settings, problem, request, earlier))
    batchnorm.check(str(settings.batchnorm), problem.model, [direction.exact for direction in made])
    gram = np.array([[inner(a.parameters, b.parameters) for b in made] for a in made])
    _check_gram(name, gram)
    described = _described(settings, x, y, made)
    if settings.batchnorm == "recompute":  # the statistics are of the first split
        first = next(iter(problem.splits.values()))
        described["batchnorm_over"] = [first.name, first.sha256]
    return Plane(name, x, y, tuple(made), str(settings.batchnorm), gram, described)


def _make(
    spec: str, normalize: str, settings: PlaneSettings, problem: Problem, request: Request, earlier: Direction | None
) -> Direction:
    kind = spec.partition(":")[0]
    if kind not in DIRECTIONS:
        raise one_of("direction", spec, [written(k) for k in DIRECTIONS])
    if (kind in ARGUMENTS) != bool(request.argument):
        raise LandscapeError(f"the direction {spec!r} cannot be used", f"write {written(kind)}")
    if normalize not in NORMALISATIONS:
        raise one_of("normalisation", normalize, [*NORMALISATIONS])
    drawn = DIRECTIONS[kind](problem, request)
    still = ignored(problem.model, drawn.parameters, settings.ignore or [])
    parameters = scaled(problem, drawn.parameters, still, normalize, earlier)
    recipe = {  # the hash is of what was drawn: norms are sums, whose rounding depends on the number of threads
        "kind": kind,
        "from": request.argument,
        "seed": request.seed if kind == "random" else None,
        "normalize": normalize,
        "ignored": len(still),
        "sha256": tensors_sha256(drawn.parameters, drawn.buffers),
        **drawn.recipe,
    }
    as_it_is = normalize == "none" and not still and earlier is None
    exact = None if drawn.target is None else as_it_is
    return Direction(parameters, drawn.buffers, recipe, drawn.target if exact else None, drawn.notes, exact)


def scaled(
    problem: Problem, drawn: Mapping[str, Tensor], still: set[str], normalize: str, earlier: Direction | None
) -> Mapping[str, Tensor]:
    """A direction normalised and made orthogonal to an earlier one; what is ignored stays still.

    Where the tensors do not fit in memory they are drawn and normalised again each time they are asked for.
    """
    dims = output_dims(problem.model)

    def some(names: list[str]) -> Tensors:
        live = [name for name in names if name not in still]
        against = {n: earlier.parameters[n] for n in live} if earlier else None
        weights = {n: problem.centre[n] for n in live}
        made = NORMALISATIONS[normalize]({n: drawn[n] for n in live}, weights, dims, against)
        return {n: made[n].to(problem.centre[n]) if n in made else torch.zeros_like(problem.centre[n]) for n in names}

    if normalize not in TENSORWISE:
        return some(list(drawn))
    one_by_one = Lazy(drawn, lambda name: some([name])[name])
    needed = sum(t.numel() * t.element_size() for t in problem.centre.values())
    again = isinstance(drawn, Lazy) and needed > free_bytes(problem.device) // 4
    return one_by_one if again else dict(one_by_one)


def _check_gram(name: str, gram: Floats) -> None:
    hint = "change the seed, the files, model.parameters or ignore"
    norms = np.sqrt(np.diag(gram))
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise LandscapeError(f"a direction of the plane {name} is zero", hint, ExitCode.INCONCLUSIVE)
    if len(gram) == 2 and 1 - abs(gram[0, 1] / (norms[0] * norms[1])) < 1e-9:
        raise LandscapeError(f"the directions of the plane {name} are parallel", hint, ExitCode.INCONCLUSIVE)


def _described(settings: PlaneSettings, x: Axis, y: Axis | None, made: list[Direction]) -> dict[str, Any]:
    """All that a plane's fingerprint is made of: no path, device or batch size."""
    return {
        "x": x.values.tolist(),
        "y": None if y is None else y.values.tolist(),
        "directions": [{k: v for k, v in d.recipe.items() if k not in UNSURE} for d in made],
        "ignore": settings.ignore,
        "orthogonal": settings.orthogonal,
        "batchnorm": settings.batchnorm,
        "batchnorm_block": batchnorm.RECOMPUTE_BLOCK if settings.batchnorm == "recompute" else None,
    }


def tensors_sha256(*groups: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, one tensor at a time."""
    digest = hashlib.sha256()
    for tensors in groups:
        for name in sorted(tensors):
            tensor = tensors[name]
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(data.tensor_bytes(tensor))
        digest.update(b"\0")
    return digest.hexdigest()


def _load_beside(problem: Problem, request: Request) -> tuple[Tensors, tuple[str, ...]]:
    """The state of another checkpoint under the model's own names, and notes; the model itself is put back."""
    name, _, key = request.argument.partition("#")
    path = (request.folder / name).resolve()
    before = {n: t.detach().clone() for n, t in problem.model.state_dict().items() if isinstance(t, Tensor)}
    settings = request.model
    try:
        found = checkpoint.load_into(problem.model, path, key or "auto", settings.strict, settings.allow_pickle)
        reached = {n: t.detach().clone() for n, t in problem.model.state_dict().items() if isinstance(t, Tensor)}
    finally:
        with torch.no_grad():
            for name, tensor in problem.model.state_dict().items():
                if isinstance(tensor, Tensor):
                    tensor.copy_(before[name])
    exact = {n: found.state[n] for n in reached if n in found.state}  # not rounded to the model's dtype
    return {**reached, **exact}, found.notes
