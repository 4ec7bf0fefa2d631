"""The same problem in another precision: that of its derivatives."""

from __future__ import annotations

from dataclasses import replace

import torch

from landscape_cli.measure import data
from landscape_cli.measure.data import Split
from landscape_cli.measure.model import DTYPES, cast, copied, forward_of
from landscape_cli.measure.problem import Problem


def derivable(problem: Problem, dtype: str | None = None) -> tuple[Problem, tuple[str, ...]]:
    """The problem in the precision of its derivatives, float32 at least, and a note where that is not the run's."""
    if dtype == "float64":
        return in_double(problem), ()
    if DTYPES[problem.dtype] in (torch.float32, torch.float64):
        return problem, ()
    note = f"derivatives are in float32: those of {problem.dtype} hold two digits; weights and samples are the run's"
    return in_precision(problem, "float32"), (note,)


def in_double(problem: Problem) -> Problem:
    """The same problem in float64."""
    return in_precision(problem, "float64")


def in_precision(problem: Problem, dtype: str) -> Problem:
    """The same problem in float32 or float64: a copy of the model at the checkpoint's own values, and the samples."""
    kind = DTYPES[dtype]
    model = cast(copied(problem.model), kind)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    with torch.no_grad():
        for name, value in [*problem.centre.items(), *problem.centre_buffers.items()]:
            (parameters if name in parameters else buffers)[name].copy_(value)

    def converted(split: Split) -> Split:
        inputs = data.apply(lambda t: t.to(kind) if t.is_floating_point() else t, split.inputs)
        return replace(split, inputs=inputs)

    return replace(
        problem,
        model=model,
        parameters={name: parameters[name].data for name in problem.parameters},
        buffers={name: buffers[name] for name in problem.buffers},
        centre={name: tensor.to(kind) for name, tensor in problem.centre.items()},
        centre_buffers={name: tensor.to(kind) for name, tensor in problem.centre_buffers.items()},
        splits={name: converted(split) for name, split in problem.splits.items()},
        forward=forward_of(model, problem.settings),
        dtype=dtype,
    )
