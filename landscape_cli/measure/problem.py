"""Problem: a model at its checkpoint, fixed samples and a per-sample loss, checked to answer the same twice."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape_cli.errors import LandscapeError
from landscape_cli.measure import data
from landscape_cli.measure.data import Inputs, Split
from landscape_cli.measure.filters import matches
from landscape_cli.measure.losses import CLASS_LOSSES, Loss, class_dim
from landscape_cli.measure.model import DTYPES, attributes_kept, cast, check_model, forward_of, out_of_memory
from landscape_cli.measure.optimiser import Adam
from landscape_cli.measure.usercode import combined
from landscape_cli.settings import DataSettings, LossSettings, ModelSettings, RunSettings

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Problem:
    """What every measurement of one run shares.

    Attributes:
        model: the network; its parameters are moved in place while measuring and put back afterwards.
        parameters: the selected parameters, by name, tied ones once.
        centre, centre_buffers: master copies of their checkpoint values (float32, or float64 when the model is).
        hashes: SHA-256 of weights, data, loss, code, parameters and dtype: what a resumed run must share.
        facts: counts of parameters, and ½·wd·‖θ‖² with its weight decay.
        run: how passes are to be made, as far as that is asked for; no number depends on it.
    """

    model: nn.Module
    parameters: Tensors
    buffers: Tensors
    centre: Tensors
    centre_buffers: Tensors
    splits: Mapping[str, Split]
    loss: Loss
    settings: ModelSettings
    forward: Callable[[Inputs], Tensor]
    device: torch.device
    dtype: str
    hashes: Mapping[str, str]
    facts: Mapping[str, Any]
    run: RunSettings
    adam: tuple[Adam | None, str] = (None, "")  # the optimiser's state beside the weights, or why there is none
    copies: bool = False  # each pass has inputs of its own, because the model changes them in place

    def refuse_changed_samples(self) -> None:
        """The samples must be as they were.

        Raises:
            LandscapeError: the model has changed its inputs in place, and not in the pass that looked for it.
        """
        if any(split.versions != split.unchanged for split in self.splits.values()):
            hint = "begin with an operation that is not in place, for example x = x.clone()"
            raise LandscapeError("the model changes its inputs in place, now and then: nothing it gave is sure", hint)

    @property
    def sha256(self) -> str:
        """One hash over all that every section of a run must share."""
        return combined({name: sha for name, sha in self.hashes.items() if name != "criterion"})  # it is in the loss's

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Eval mode, full fp32 precision, no gradients; afterwards the model is as it was."""
        training = {module: module.training for module in self.model.modules()}
        held = {module: dict(module._buffers) for module in training}
        values = {id(b): b.detach().clone() for buffers in held.values() for b in buffers.values() if b is not None}
        precision = torch.get_float32_matmul_precision()
        try:
            self.model.eval()
            torch.set_float32_matmul_precision("highest")
            flags = torch.backends.cudnn.flags(True, benchmark=False, deterministic=True, allow_tf32=False)
            with torch.no_grad(), flags, attributes_kept(self.model):
                yield
        finally:
            torch.set_float32_matmul_precision(precision)
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(self.centre[name])
                for module, buffers in held.items():
                    module._buffers.update(buffers)
                    for buffer in buffers.values():
                        if buffer is not None:
                            buffer.copy_(values[id(buffer)])
            for module, mode in training.items():
                module.training = mode


def make_problem(
    model: nn.Module,
    splits: Mapping[str, tuple[Inputs, Tensor, DataSettings]],
    loss: Loss,
    settings: ModelSettings,
    device: torch.device,
    dtype: str = "float32",
    code: Mapping[str, str] | None = None,
    run: RunSettings | None = None,
) -> Problem:
    """A checked problem from a model that holds its checkpoint's weights.

    Raises:
        LandscapeError: nothing to measure, data that do not fit the model or the loss, a model that answers
            differently twice.
    """
    check_model(model)
    named = {n: p for n, p in model.named_parameters() if p.is_floating_point()}
    chosen = select_parameters(named, settings)
    floating = {n: b for n, b in model.named_buffers() if b.is_floating_point()}
    master = torch.float64 if dtype == "float64" else torch.float32
    centre = {n: p.detach().to(master, copy=True) for n, p in chosen.items()}
    centre_buffers = {n: b.detach().to(master, copy=True) for n, b in floating.items()}
    hashes = {
        "weights": _weights_sha256(model),
        "loss": _loss_sha256(loss),
        "criterion": _loss_sha256(replace(loss, settings=replace(loss.settings, metrics=[], weight_decay=0.0))),
        "code": combined(dict(code or {})),
        "parameters": hashlib.sha256("\n".join(sorted(chosen)).encode()).hexdigest(),
        "dtype": dtype,
    }
    if DTYPES[dtype] not in (torch.float32, torch.float64):
        cast(model, DTYPES[dtype])
        chosen = {n: p for n, p in model.named_parameters() if n in chosen}
        floating = {n: b for n, b in model.named_buffers() if n in floating}
    made = {name: _split(name, *parts, loss, device, dtype) for name, parts in splits.items()}
    hashes |= {f"data.{name}": split.sha256 for name, split in made.items()}
    problem = Problem(
        model, {n: p.data for n, p in chosen.items()}, dict(floating), centre, centre_buffers, made, loss,
        settings, forward_of(model, settings), device, dtype, hashes, _facts(named, centre, loss.settings),
        run or RunSettings(),
    )  # fmt: skip
    with problem.measuring():
        hasty = [_probe(problem, split) for split in made.values()]
    return replace(problem, copies=any(hasty))


def select_parameters(named: Mapping[str, nn.Parameter], settings: ModelSettings) -> dict[str, nn.Parameter]:
    """The parameters that the patterns choose ("!pattern" leaves out), frozen ones only when asked for.

    Raises:
        LandscapeError: none is chosen, or a pattern matches nothing.
    """
    wanted = [p for p in settings.parameters if not p.startswith("!")] or ["*"]
    unwanted = [p[1:] for p in settings.parameters if p.startswith("!")]
    for pattern in [*wanted, *unwanted]:
        if pattern != "*" and not fnmatch.filter(named, pattern):
            some = ", ".join(list(named)[:5])
            raise LandscapeError(f"no parameter matches {pattern!r}", f"the names look like: {some}")
    chosen = {
        name: parameter
        for name, parameter in named.items()
        if matches(name, wanted) and not matches(name, unwanted) and (parameter.requires_grad or settings.frozen)
    }
    if not chosen or not any(p.numel() for p in chosen.values()):
        raise LandscapeError("no parameter is selected", "look at model.parameters; frozen ones need frozen = true")
    return chosen


def plain_loss(problem: Problem, split: Split, batch: int = 0) -> float:
    """The mean loss by one separate plain pass over the model as it stands, in batches smaller than `batch` (or 2)."""
    size = 2 if batch == 1 else min(100, len(split) // 2, batch - 1 if batch else 100)
    total = torch.zeros((), dtype=torch.float64)
    for rows, inputs, targets in split.batches(max(1, size), problem.device):
        outputs = problem.forward(inputs).to(targets.device)
        losses, weights = problem.loss(outputs, targets)[0].cpu(), split.weights[rows].cpu()
        total += torch.where(weights == 0, 0.0, losses * weights).sum()
    return float(total / split.weights.sum())


def _split(
    name: str, inputs: Inputs, targets: Tensor, settings: DataSettings, loss: Loss, device: torch.device, dtype: str
) -> Split:
    try:
        ready, wanted = data.prepare(inputs, settings, DTYPES[dtype]), data.prepare_targets(targets)
    except LandscapeError as error:
        raise LandscapeError(f"the split {name}: {error.message}", error.hint, error.code) from None
    bytes_needed = sum(t.numel() * t.element_size() for t in [*data.leaves(ready), wanted])
    if device.type != "cpu":
        fits = free_bytes(device) > 2 * bytes_needed
        ready = data.apply(lambda t: t.to(device) if fits else t.pin_memory(), ready)
        wanted = wanted.to(data.sums_on(device)) if fits else wanted.pin_memory()
    there = data.sums_on(device)
    weights = loss.weights(wanted).to(there)
    if not bool((weights > 0).any()):
        raise LandscapeError(f"the split {name} holds no target that counts", "all of them are ignore_index")
    rows = data.deal(len(wanted), settings.seed).to(there)
    return Split(name, ready, wanted, weights, rows, data.samples_sha256(inputs, targets, settings))


def free_bytes(device: torch.device) -> float:
    """Memory that is free on a device; infinite where it cannot be told."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return math.inf
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024.0 if found else math.inf


PIECE = 1 << 22  # values that are held in float64 at a time
PROBE = 64  # samples of the pass that looks whether everything fits together


def _probe(problem: Problem, split: Split) -> bool:
    """`_probe_with` as many samples as fit."""
    count = min(PROBE, problem.run.batch_size or PROBE)
    while True:
        try:
            return _probe_with(problem, split, count)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or count == 1:
                raise
        count //= 2


def _probe_with(problem: Problem, split: Split, count: int) -> bool:
    """One small batch, twice: does the model take it, are the labels in range, is the answer the same?

    Returns whether the model changes its inputs in place.
    """
    inputs, targets = split.rows(slice(0, count), problem.device)
    before = {n: b.clone() for n, b in problem.model.named_buffers()}
    versions = [t._version for t in data.leaves(inputs)]
    first = problem.forward(inputs)
    hasty = [t._version for t in data.leaves(inputs)] != versions
    if len(first) != len(targets):
        raise LandscapeError(
            f"the model returns {tuple(first.shape)} for {len(targets)} samples", "return one row per sample"
        )
    _check_labels(problem.loss.settings, first, split)
    problem.loss(first.to(targets.device), targets)
    second = problem.forward(split.rows(slice(0, count), problem.device)[0])
    scale = float(first.abs().nan_to_num(0, 0, 0).max()) if first.numel() else 0.0
    if not torch.allclose(first, second, rtol=1e-5, atol=1e-6 * scale, equal_nan=True):
        raise LandscapeError(
            "the model answers differently twice in eval mode",
            "is dropout applied with F.dropout(x) and no training=self.training? sampling inside forward?",
        )
    changed = [n for n, b in problem.model.named_buffers() if not torch.equal(before[n].nan_to_num(), b.nan_to_num())]
    if changed:
        raise LandscapeError(
            f"the model changes its buffers in eval mode: {', '.join(changed[:5])}", "update them in training mode only"
        )
    return hasty


def _check_labels(settings: LossSettings, outputs: Tensor, split: Split) -> None:
    """Class indices within the classes; probabilities between 0 and 1, that sum to 1 over the classes."""
    if settings.name == "bce_with_logits" and not bool(((split.targets >= 0) & (split.targets <= 1)).all()):
        raise LandscapeError(f"the split {split.name} has targets outside of 0 to 1", "bce_with_logits takes no others")
    if settings.name not in CLASS_LOSSES:
        return
    targets, indices = split.targets, not split.targets.is_floating_point()
    if indices and outputs.dim() == 2 and tuple(targets.shape) == (len(targets), 1):
        targets = targets[:, 0]
    shape = (len(targets), *outputs.shape[1:])
    dim = class_dim(shape, tuple(targets.shape), indices, settings.class_dim)
    if not indices:
        if bool((targets < 0).any()) or bool(((targets.sum(dim) - 1).abs() > 1e-3).any()):
            raise LandscapeError(
                f"the split {split.name} has soft labels that do not sum to 1 over dimension {dim}, or are negative",
                "they must be probabilities; where the classes are is loss.class_dim",
            )
        return
    classes, labels = outputs.shape[dim], targets[targets != settings.ignore_index]
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise LandscapeError(
            f"the split {split.name} has labels from {low} to {high} and the model {classes} classes",
            f"labels must lie between 0 and {classes - 1}; ignore_index is {settings.ignore_index}",
        )


def _facts(named: Mapping[str, nn.Parameter], centre: Tensors, loss: LossSettings) -> dict[str, Any]:
    squares = sum(float((p.double() ** 2).sum()) for t in centre.values() for p in torch.split(t.reshape(-1), PIECE))
    return {
        "parameters": sum(p.numel() for p in named.values()),
        "selected": sum(t.numel() for t in centre.values()),
        "frozen": sum(p.numel() for p in named.values() if not p.requires_grad),
        "norm": squares**0.5,
        "weight_decay": loss.weight_decay,
        "weight_penalty": 0.5 * loss.weight_decay * squares,
    }


def _weights_sha256(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            # as float64, so that a float64 run of a float32 checkpoint has the same weights
            for piece in torch.split(tensor.detach().reshape(-1), PIECE):
                digest.update(data.tensor_bytes(piece.double() if piece.is_floating_point() else piece))
    return digest.hexdigest()


def _loss_sha256(loss: Loss) -> str:
    s = loss.settings
    named = (s.name, s.metrics, s.label_smoothing, s.ignore_index, s.class_dim, s.delta, s.weight_decay)
    used = {name: sha for name, sha in loss.code.items() if name in (s.name, *s.metrics)}
    by_code = [(name.rpartition(":")[2], sha) for name, sha in sorted(used.items())]
    plain = [n for n in (s.name, *s.metrics) if n not in loss.code]
    return hashlib.sha256(repr((plain, by_code, named[2:])).encode()).hexdigest()
