"""What batch-norm statistics are at a perturbed point: POLICIES = {name: function}."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from landscape_cli.errors import LandscapeError
from landscape_cli.measure.problem import Problem

RECOMPUTE_BLOCK = 128  # samples per training-mode batch; fixed, so that --batch-size changes nothing
Delta = Callable[[str], Tensor | None]  # name of a buffer -> its displacement at this point


def frozen(problem: Problem, displacement: Delta) -> None:
    """The checkpoint's own statistics everywhere."""


def interpolate(problem: Problem, displacement: Delta) -> None:
    """Statistics moved along with the weights, so that another checkpoint's are reached at its coordinate."""
    for name, buffer in problem.buffers.items():
        delta = displacement(name)
        if delta is not None:
            buffer.copy_(problem.centre_buffers[name] + delta)


def recompute(problem: Problem, displacement: Delta) -> None:
    """Statistics of the first split's activations at this point.

    One pass in training mode over nearly equal blocks of at most 128 samples (Izmailov et al. 2018, section 3.2), each
    layer's mean and unbiased variance pooled over all of them in float64.
    """
    layers = batch_norms(problem.model)
    sums = {layer: _Moments() for layer in layers}
    hooks = [layer.register_forward_pre_hook(sums[layer].see, with_kwargs=True) for layer in layers]
    split = next(iter(problem.splits.values()))
    blocks = -(-len(split) // RECOMPUTE_BLOCK)
    kept = {layer: (layer.momentum, layer.training) for layer in layers}
    try:
        for layer in layers:
            layer.train()
        for rows in torch.arange(len(split)).tensor_split(blocks):
            problem.forward(split.rows(slice(int(rows[0]), int(rows[-1]) + 1), problem.device, problem.copies)[0])
    finally:
        for hook in hooks:
            hook.remove()
        for layer, (momentum, training) in kept.items():
            layer.momentum, layer.training = momentum, training
    for layer in layers:
        sums[layer].store(layer)


POLICIES: dict[str, Callable[[Problem, Delta], None]] = {
    "frozen": frozen,
    "interpolate": interpolate,
    "recompute": recompute,
}


class _Moments:
    """Running count, mean and sum of squared deviations per channel (Chan et al. 1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor = torch.zeros(())
        self.squares: Tensor = torch.zeros(())

    def see(self, layer: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        """What a layer is about to be called with."""
        self.add(args[0] if args else named["input"])

    def add(self, x: Tensor) -> None:
        x = x.detach().double().movedim(1, 0).flatten(1)  # (channels, values)
        count, mean = x.shape[1], x.mean(1)
        squares = ((x - mean[:, None]) ** 2).sum(1)
        total = self.count + count
        if self.count:
            shift = mean - self.mean
            squares = squares + self.squares + shift**2 * (self.count * count / total)
            mean = self.mean + shift * (count / total)
        self.count, self.mean, self.squares = total, mean, squares

    def store(self, layer: nn.Module) -> None:
        if self.count and isinstance(layer.running_mean, Tensor) and isinstance(layer.running_var, Tensor):
            layer.running_mean.copy_(self.mean)
            layer.running_var.copy_(self.squares / max(1, self.count - 1))


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """The layers that keep running statistics."""
    kinds = nn.modules.batchnorm._BatchNorm
    return [m for m in model.modules() if isinstance(m, kinds) and m.track_running_stats]


def check(policy: str, model: nn.Module, exact: list[bool | None]) -> None:
    """Refuse to recompute the statistics of a model that has none, or to interpolate them towards nothing.

    Args:
        exact: of each direction, whether its coordinate 1 is a checkpoint; None where it leads to none.
    """
    if policy == "recompute" and not batch_norms(model):
        raise LandscapeError("batchnorm = recompute, and the model has no batch norm", "use batchnorm = frozen")
    if policy == "interpolate" and not any(found is not None for found in exact):
        hint = "use batchnorm = frozen, or recompute; interpolate goes with checkpoint:PATH"
        raise LandscapeError("batchnorm = interpolate, and no direction leads to other statistics", hint)
    if policy == "interpolate" and batch_norms(model) and False in exact:
        hint = "use normalize = none, ignore nothing, orthogonal = false; or batchnorm = frozen, or recompute"
        raise LandscapeError("batchnorm = interpolate, and the way to the checkpoint is not taken as it is", hint)
