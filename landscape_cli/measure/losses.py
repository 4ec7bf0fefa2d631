"""Losses and metrics: one number per sample, in float64, however the samples are split into batches.

A sample is one entry of the first dimension. Where a target holds many values (tokens, pixels), the sample's loss
is the mean over those that count, and its weight is how many count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from landscape_cli.errors import LandscapeError, one_of
from landscape_cli.measure.usercode import UserCode, looks_like_code
from landscape_cli.profile import check_names
from landscape_cli.settings import LossSettings

PerSample = Callable[[Tensor, Tensor, LossSettings], Tensor]
CHUNK = 1 << 24  # values of the outputs that are cast to float64 at a time: 128 MB


def cross_entropy(outputs: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """Softmax cross-entropy of class indices or class probabilities. (B, ..., K), (B, ...) -> (B,)"""
    logits, targets, indices = _classes_last(outputs, targets, settings)
    smoothing, classes = settings.label_smoothing, logits.shape[-1]
    if not indices:
        soft = targets.double() * (1 - smoothing) + smoothing / classes
        return _token_mean(_weighted(soft, F.log_softmax(logits, dim=-1)), torch.ones_like(targets[..., 0]))
    counted = targets != settings.ignore_index
    safe = torch.where(counted, targets, 0)
    whole = torch.logsumexp(logits, dim=-1)  # a quarter of the time of log_softmax
    loss = whole - logits.gather(-1, safe.unsqueeze(-1)).squeeze(-1)
    if smoothing:
        loss = (1 - smoothing) * loss + smoothing * (whole - logits.mean(dim=-1))
    return _token_mean(loss, counted)


def nll(outputs: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """Negative log-likelihood of outputs that are log-probabilities already. (B, ..., K), (B, ...) -> (B,)"""
    log_p, targets, indices = _classes_last(outputs, targets, settings)
    if not indices:
        return _token_mean(_weighted(targets.double(), log_p), torch.ones_like(targets[..., 0]))
    counted = targets != settings.ignore_index
    safe = torch.where(counted, targets, 0)
    return _token_mean(-log_p.gather(-1, safe.unsqueeze(-1)).squeeze(-1), counted)


def mse(outputs: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """Squared error, averaged over a sample's outputs. (B, ...), (B, ...) -> (B,)"""
    return _mean_rest((outputs - _like(targets, outputs)) ** 2)


def l1(outputs: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """Absolute error, averaged over a sample's outputs. (B, ...), (B, ...) -> (B,)"""
    return _mean_rest((outputs - _like(targets, outputs)).abs())


def huber(outputs: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """Huber loss with `delta`, averaged over a sample's outputs. (B, ...), (B, ...) -> (B,)"""
    return _mean_rest(F.huber_loss(outputs, _like(targets, outputs), reduction="none", delta=settings.delta))


def bce_with_logits(outputs: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """Binary cross-entropy of logits, averaged over a sample's outputs. (B, ...), (B, ...) -> (B,)"""
    return _mean_rest(F.binary_cross_entropy_with_logits(outputs, _like(targets, outputs), reduction="none"))


LOSSES: dict[str, PerSample] = {
    "cross_entropy": cross_entropy,
    "mse": mse,
    "l1": l1,
    "huber": huber,
    "bce_with_logits": bce_with_logits,
    "nll": nll,
}
CLASS_LOSSES = ("cross_entropy", "nll")  # the losses whose targets are classes


def accuracy(outputs: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """Share of right predictions: largest class, or sign for bce_with_logits. NaN outputs give NaN."""
    if settings.name == "bce_with_logits":
        right = ((outputs > 0) == (_like(targets, outputs) > 0.5)).double()
        return _mean_rest(torch.where(outputs.isnan(), torch.nan, right))
    return _top(outputs, targets, settings, 1)


def top5(outputs: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """Share of samples (or tokens) whose class is among the five largest. NaN outputs give NaN."""
    return _top(outputs, targets, settings, 5)


def rmse(outputs: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """Squared error per sample; its mean over samples is put under a root."""
    return mse(outputs, targets, settings)


METRICS: dict[str, PerSample] = {"accuracy": accuracy, "top5": top5, "rmse": rmse}
ROOTED = ("rmse",)  # metrics that are the root of a mean


@dataclass(frozen=True)
class Loss:
    """A loss and its metrics, bound to their settings.

    `code` holds the hash of each user callable; `names` is the order of the rows that `__call__` returns.
    """

    settings: LossSettings
    loss: PerSample
    metrics: dict[str, PerSample]
    code: dict[str, str]

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Per-sample loss and metrics of one batch, float64. (B, ...), (B, ...) -> (1 + metrics, B)"""
        size = max(1, CHUNK // max(1, outputs[0].numel())) if outputs.dim() and len(outputs) else 1
        chunks = zip(torch.split(outputs, size), torch.split(targets, size), strict=True)
        return torch.cat([self._rows(out.double(), tgt) for out, tgt in chunks], dim=1)

    def alone(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Per-sample loss of one batch, float64, without the metrics. (B, ...), (B, ...) -> (B,)"""
        return self.loss(outputs.double(), targets, self.settings)

    def _rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        functions = [self.loss, *self.metrics.values()]
        return torch.stack([function(outputs, targets, self.settings) for function in functions])

    def weights(self, targets: Tensor) -> Tensor:
        """How much each sample counts: the tokens that are not ignored, else 1. (B, ...) -> (B,)"""
        whole = not targets.is_floating_point() and self.settings.name in CLASS_LOSSES
        if not whole:
            return torch.ones(len(targets), dtype=torch.float64, device=targets.device)
        return (targets != self.settings.ignore_index).double().reshape(len(targets), -1).sum(1)


def make_loss(settings: LossSettings, code: dict[str, UserCode]) -> Loss:
    """The loss that the settings name; `code` holds the user's callables by their spec.

    Raises:
        LandscapeError: an unknown loss or metric.
    """

    def find(what: str, name: str, known: dict[str, PerSample]) -> PerSample:
        if name in code:
            return _user_function(what, code[name])
        if name not in known:
            raise one_of(what, name, [*known, "FILE.py:CALLABLE"])
        return known[name]

    short = [_short(name) for name in settings.metrics]
    twice = next((name for name in short if short.count(name) > 1), None)
    check_names((), short)
    if twice:
        raise LandscapeError(f"two metrics are called {twice}", "give one of the functions another name")
    metrics = {_short(name): find("metric", name, METRICS) for name in settings.metrics}
    hashes = {name: user.sha256 for name, user in code.items()}
    return Loss(settings, find("loss", settings.name, LOSSES), metrics, hashes)


def _short(name: str) -> str:
    """The name under which a metric is stored: a user's callable by its own name."""
    return name.rpartition(":")[2] if looks_like_code(name) else name


def _user_function(what: str, user: UserCode) -> PerSample:
    def per_sample(outputs: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
        values = _called(user, outputs, targets)
        if not isinstance(values, Tensor) or values.shape != (len(outputs),):
            shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            scalar = isinstance(values, Tensor) and values.dim() == 0
            why = "a mean over a batch cannot be averaged again without bias" if scalar else "one value per sample"
            raise LandscapeError(
                f"the {what} {user.spec} returned {shape} for {len(outputs)} samples: {why}",
                "return a tensor of shape (samples,), as with reduction='none'",
            )
        return values.double()

    return per_sample


def _called(user: UserCode, outputs: Tensor, targets: Tensor) -> object:
    """The user's function of copies of its own, so that what it does in place stays there."""
    try:
        return user(outputs.clone(), targets.clone())
    except LandscapeError as error:
        shapes = f"outputs {tuple(outputs.shape)} float64, targets {tuple(targets.shape)} {targets.dtype}"
        hint = f"it is called with {shapes.replace('torch.', '')}; --debug shows the traceback"
        raise LandscapeError(error.message, hint, error.code) from error


def _classes_last(outputs: Tensor, targets: Tensor, settings: LossSettings) -> tuple[Tensor, Tensor, bool]:
    """(B, ..., K) outputs, their targets, and whether the targets are class indices."""
    shape, indices = tuple(outputs.shape), not targets.is_floating_point()
    if indices and outputs.dim() == 2 and tuple(targets.shape) == (shape[0], 1):
        targets = targets[:, 0]
    dim = class_dim(shape, tuple(targets.shape), indices, settings.class_dim)
    return outputs.movedim(dim, -1), targets if indices else targets.movedim(dim, -1), indices


def class_dim(outputs: tuple[int, ...], targets: tuple[int, ...], indices: bool, named: int | None) -> int:
    """The dimension of the outputs that holds the classes, by shapes alone: the last, or of class indices 1.

    Raises:
        LandscapeError: neither fits, or both do.
    """
    rank = len(outputs)
    if named is None:
        dims = {rank - 1, 1} if indices else {rank - 1}
    else:
        dims = {named % rank} if -rank <= named < rank else set()
    without = {dim: outputs[:dim] + outputs[dim + 1 :] if indices else outputs for dim in dims if 0 < dim < rank}
    fitting = sorted(dim for dim, wanted in without.items() if wanted == targets)
    if not fitting:
        raise LandscapeError(
            f"outputs of shape {outputs} and targets of shape {targets} do not fit",
            "targets are class indices of the outputs' shape without the classes, or probabilities of the same shape",
        )
    if len(fitting) > 1:
        raise LandscapeError(
            f"outputs of shape {outputs} and targets of shape {targets}: are the classes in dimension 1 or {rank - 1}?",
            f"say so: --set loss.class_dim={rank - 1}, or 1 as torch.nn.CrossEntropyLoss has them",
        )
    return fitting[0]


def _weighted(probabilities: Tensor, log_p: Tensor) -> Tensor:
    """-sum p log q, where 0 · -inf is 0."""
    return -torch.where(probabilities == 0, 0.0, probabilities * log_p).sum(-1)


def _token_mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean over what counts of each sample; 0 where nothing does. (B, ...) -> (B,)"""
    counted = counted.bool()
    if values.dim() == 1:
        return torch.where(counted, values, 0.0)
    values = torch.where(counted, values, 0.0).reshape(len(values), -1)
    return values.sum(1) / counted.reshape(len(values), -1).sum(1).clamp(min=1)


def _mean_rest(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).mean(1)


def _like(targets: Tensor, outputs: Tensor) -> Tensor:
    """Float64 targets in the outputs' shape: (B,) and (B, 1) are the same, and nothing is broadcast."""
    if targets.shape != outputs.shape:
        squeezed = [tuple(s for s in t.shape[1:] if s != 1) for t in (targets, outputs)]
        if len(targets) != len(outputs) or squeezed[0] != squeezed[1]:
            raise LandscapeError(
                f"outputs of shape {tuple(outputs.shape)} and targets of shape {tuple(targets.shape)} do not fit",
                "this loss needs targets of the outputs' shape",
            )
        targets = targets.reshape(outputs.shape)
    return targets.double()


def _top(outputs: Tensor, targets: Tensor, settings: LossSettings, k: int) -> Tensor:
    logits, targets, indices = _classes_last(outputs, targets, settings)
    if logits.shape[-1] < 2:
        raise LandscapeError("a single output has no largest class", "leave out accuracy; or use bce_with_logits")
    if logits.shape[-1] < k:
        raise LandscapeError(f"top{k} needs {k} classes, the model has {logits.shape[-1]}", "use accuracy")
    counted = targets != settings.ignore_index if indices else torch.ones_like(targets[..., 0])
    wanted = targets if indices else targets.argmax(-1)
    best = logits.argmax(-1, keepdim=True) if k == 1 else logits.topk(k, dim=-1).indices
    right = (best == wanted.unsqueeze(-1)).any(-1).double()
    return _token_mean(torch.where(logits.isnan().any(-1), torch.nan, right), counted)
