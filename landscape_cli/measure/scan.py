"""A job -> problem, planes and plan; and the profile that measuring them fills, block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from landscape_cli.errors import ExitCode, LandscapeError, one_of
from landscape_cli.measure import checkpoint, sources, usercode
from landscape_cli.measure.arrays import Reader
from landscape_cli.measure.batchnorm import POLICIES
from landscape_cli.measure.data import Inputs
from landscape_cli.measure.directions import Direction, Plane, Vector, make_plane
from landscape_cli.measure.evaluate import Block, Results, evaluate
from landscape_cli.measure.losses import Loss, make_loss
from landscape_cli.measure.model import DTYPES, device_named, memory_named, place
from landscape_cli.measure.optimiser import adam_in
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem, make_problem, plain_loss
from landscape_cli.measure.usercode import UserCode
from landscape_cli.profile import Centre, Floats, PlaneRecord, agree, empty_surface
from landscape_cli.settings import Job

Readers = Mapping[str, Reader]
Derived = Mapping[str, Mapping[str, Vector]]  # by plane, then by direction as the job writes it
FILE = "file."  # hashes of files, which may differ while the problem is the same


@dataclass(frozen=True)
class Loaded:
    """A job's problem and the code of its model, with the hashes of the files it came from and notes for the user."""

    problem: Problem
    factory: UserCode
    files: Mapping[str, str]
    notes: tuple[str, ...]


def load_problem(job: Job, readers: Readers) -> Loaded:
    """Import the model, load its checkpoint and the data, and check that they go together.

    Raises:
        LandscapeError: anything about them that the user can mend.
    """
    if job.run.dtype not in DTYPES:
        raise one_of("dtype", job.run.dtype, [*DTYPES])
    device = device_named(job.run.device)
    factory = usercode.load(job.model.factory, job.folder)
    with usercode.seeded():  # what --no-strict leaves as built is the same every time
        model = factory(**job.model.args)
    if not isinstance(model, nn.Module):
        raise LandscapeError(f"{factory.spec} returned a {type(model).__name__}", "return a torch.nn.Module")
    model = place(model, device, job.run.dtype)
    path = (job.folder / job.model.checkpoint).resolve()
    with factory.unpickling():
        read = checkpoint.load_into(model, path, job.model.state_key, job.model.strict, job.model.allow_pickle)
    sha256, notes = read.sha256, read.notes
    adam = adam_in(read.whole, model) if job.hessian is not None else (None, "")
    del read  # the model holds its weights now: a large one is not to be held twice
    args = json.dumps(job.model.args, sort_keys=True, default=str)  # TOML has dates, JSON has not
    code = {"model": usercode.combined({"source": factory.sha256, "args": args})}
    samples = {name: (*load_samples(job, name, readers), settings) for name, settings in job.data.items()}
    loss = load_loss(job)
    with memory_named(1):
        problem = make_problem(model, samples, loss, job.model, device, job.run.dtype, code, job.run)
    problem = replace(problem, adam=adam)
    files = {f"{FILE}checkpoint": sha256, f"{FILE}factory": factory.sha256}
    return Loaded(problem, factory, files, notes)


def load_samples(job: Job, name: str, readers: Readers) -> tuple[Inputs, Tensor]:
    """The samples of one split, as its source gives them."""
    settings = job.data[name]
    try:
        if usercode.looks_like_code(settings.source):
            code = usercode.load(settings.source, job.folder)
            with usercode.seeded():
                return sources.materialise(code(**settings.args), settings)
        return sources.load_file((job.folder / settings.source).resolve(), settings, readers)
    except LandscapeError as error:
        hint = error.hint.replace("data.NAME.", f"data.{name}.")
        raise LandscapeError(f"the split {name}: {error.message}", hint, error.code) from error


def load_loss(job: Job) -> Loss:
    """The loss and metrics of the job, user code imported."""
    names = [job.loss.name, *job.loss.metrics]
    return make_loss(job.loss, {n: usercode.load(n, job.folder) for n in names if usercode.looks_like_code(n)})


def load_planes(job: Job, loaded: Loaded, readers: Readers, derived: Derived | None = None) -> list[Plane]:
    """Every plane of the job; `derived` holds the directions of each that are computed from the loss."""
    given = derived or {}
    with loaded.factory.unpickling():
        return [
            make_plane(name, settings, loaded.problem, job.model, job.folder, readers, given.get(name))
            for name, settings in job.planes.items()
        ]


def measure_centre(problem: Problem, plan: Plan) -> dict[str, Centre]:
    """The checkpoint's own loss on every split, checked against one separate plain pass.

    Raises:
        LandscapeError: the two disagree (exit 2), or the loss is not finite (exit 3).
    """
    centre = _centre(problem, (), "frozen", plan)
    for name, measured in centre.items():
        if not agree(measured.loss, measured.plain_loss, problem.dtype):
            raise LandscapeError(
                f"the centre's loss on {name} is {measured.loss!r}, by a plain pass {measured.plain_loss!r}",
                "the model's answer for a sample depends on the other samples of its batch: it cannot be measured",
            )
        if not np.isfinite(measured.loss):
            raise LandscapeError(
                f"the loss at the checkpoint is not finite on {name}: {measured.loss}",
                "look at the data's scale and the loss; or take an earlier checkpoint",
                ExitCode.INCONCLUSIVE,
            )
    return centre


def _centre(
    problem: Problem, directions: tuple[Direction, ...], batchnorm: str, plan: Plan, coordinate: float = 0.0
) -> dict[str, Centre]:
    """Every split at one point: (coordinate, 0)."""
    point = np.zeros((1, len(directions)))
    point[:, :1] = coordinate
    with memory_named(plan.batch):
        return _measured_at(problem, directions, batchnorm, plan, point)


def _measured_at(
    problem: Problem, directions: tuple[Direction, ...], batchnorm: str, plan: Plan, point: Floats
) -> dict[str, Centre]:
    block = next(iter(list(evaluate(problem, directions, point, batchnorm, plan))))
    with problem.measuring():
        if not directions:
            batch = block.plan.batch  # smaller than the plan's where memory ran out
            plain = {name: plain_loss(problem, split, batch) for name, split in problem.splits.items()}
        else:
            plain = {name: float(found.loss[0]) for name, found in block.results.items()}
    return {
        name: Centre(
            loss=float(found.loss[0]),
            loss_groups=found.loss_groups[0],
            group_sizes=problem.splits[name].group_sizes.cpu().numpy(),
            metrics={metric: float(values[0]) for metric, values in found.metrics.items()},
            plain_loss=plain[name],
            samples=len(problem.splits[name]),
        )
        for name, found in block.results.items()
    }


HALF = ("bfloat16", "float16")  # dtypes whose error is measured and told


def precision_notes(coarse: Problem, fine: Problem, planes: list[Plane]) -> tuple[str, ...]:
    """How far a half-precision problem's losses are from its float32 twin's, at the centre and the corners."""
    return tuple(note for plane in planes for note in _precision_of(coarse, fine, plane))


def _precision_of(coarse: Problem, fine: Problem, plane: Plane) -> Iterator[str]:
    axes = [axis.values[[0, -1]] for axis in (plane.x, plane.y) if axis is not None]
    corners = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, len(axes))
    points = np.concatenate([np.zeros((1, len(axes))), corners])
    plain = Plan("in place", 64, 1, torch.get_num_threads())
    pair = [list(evaluate(p, plane.directions, points, plane.batchnorm, plain)) for p in (coarse, fine)]
    for split in fine.splits:
        half, single = (np.concatenate([block.results[split].loss for block in blocks]) for blocks in pair)
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.abs(half - single) / np.abs(single)
        yield (
            f"{coarse.dtype}: on {split} of {plane.name} the loss is off float32's by {error[0]:.2g} relative at the "
            f"centre, by up to {error[1:].max():.2g} at the corners"
        )


def new_record(problem: Problem, plane: Plane, centre: Mapping[str, Centre], plan: Plan) -> PlaneRecord:
    """A plane of which no point has been measured, its coordinate 1 checked where it must be a checkpoint.

    Where batch norm is recomputed, the surface has a centre of its own: the checkpoint under that policy.
    """
    verify_targets(problem, plane, plan)
    own = _centre(problem, plane.directions, plane.batchnorm, plan) if plane.batchnorm == "recompute" else centre
    surfaces = {
        name: empty_surface(plane.x, plane.y, plane.gram, list(problem.loss.metrics), own[name])
        for name in problem.splits
    }
    recipes = tuple(direction.recipe for direction in plane.directions)
    return PlaneRecord(plane.name, plane.gram, recipes, plane.settings, plane.fingerprint, surfaces)


def verify_targets(problem: Problem, plane: Plane, plan: Plan) -> None:
    """Coordinate 1 of a direction towards a checkpoint must be that checkpoint, by one separate plain pass.

    Raises:
        LandscapeError: it is not, because something outside the selected parameters differs too.
    """
    for direction in plane.directions:
        if direction.target is None:
            continue
        reached = _centre(problem, (direction,), plane.batchnorm, plan, coordinate=1.0)
        for name, loss in _plain_at(problem, direction.target, plane.batchnorm, plan.batch).items():
            if not agree(reached[name].loss, loss, problem.dtype):
                raise LandscapeError(
                    f"coordinate 1 of {plane.name} has loss {reached[name].loss!r} on {name}, "
                    f"the checkpoint {direction.recipe['from']} {loss!r}",
                    "they differ in more than the selected parameters: look at model.parameters, frozen and batchnorm",
                )


def _plain_at(problem: Problem, state: Mapping[str, Tensor], batchnorm: str, batch: int) -> dict[str, float]:
    """The plain loss with another checkpoint's state, its batch norm by the plane's policy."""
    held = {n: t for n, t in problem.model.state_dict().items() if isinstance(t, Tensor)}
    before = {n: t.detach().clone() for n, t in held.items()}
    skipped = set(problem.centre_buffers) if batchnorm == "frozen" else set()
    with problem.measuring():
        try:
            for name, tensor in held.items():
                if name in state and name not in skipped:
                    tensor.copy_(state[name])
            if batchnorm == "recompute":
                POLICIES[batchnorm](problem, lambda name: None)
            return {name: plain_loss(problem, split, batch) for name, split in problem.splits.items()}
        finally:
            for name, tensor in held.items():
                tensor.copy_(before[name])


def fill(record: PlaneRecord, problem: Problem, plane: Plane, plan: Plan) -> Iterator[Block]:
    """Measure the points of a plane that are still missing; yields each block once it has been put there."""
    missing = np.flatnonzero(~record.measured.reshape(-1))
    blocks = evaluate(problem, plane.directions, plane.coordinates[missing], plane.batchnorm, plan)
    try:
        for block in blocks:
            for name, results in block.results.items():
                put(record, name, missing[block.start : block.stop], results)
            yield block
    finally:
        blocks.close()


def put(record: PlaneRecord, split: str, points: np.ndarray[tuple[int], np.dtype[np.intp]], results: Results) -> None:
    """Store a block's results at the flat indices `points`."""
    surface = record.surfaces[split]
    where = np.unravel_index(points, surface.loss.shape)
    surface.loss[where] = results.loss
    surface.loss_groups[where] = results.loss_groups
    for name, values in results.metrics.items():
        surface.metrics[name][where] = values
    surface.measured[where] = True
