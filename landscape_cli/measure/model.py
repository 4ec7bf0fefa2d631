"""The network as it comes: its device and precision, what of it cannot be measured, how it is called."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from landscape_cli.errors import LandscapeError
from landscape_cli.measure import data
from landscape_cli.measure.data import Inputs
from landscape_cli.settings import ModelSettings

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def device_named(name: str) -> torch.device:
    """The device for "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        LandscapeError: not a device, or none of this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise LandscapeError(f"the device {name} cannot be used: {why}", "use --device cpu, or auto") from None
    return device


def place(model: nn.Module, device: torch.device, dtype: str) -> nn.Module:
    """The model on the device, in the precision of its master copy."""
    check_model(model)
    return cast(model, torch.float64 if dtype == "float64" else torch.float32).to(device)


def copied(model: nn.Module) -> nn.Module:
    """A deep copy. What a layer has computed from its parameters, as weight norm does, Python does not copy itself."""
    held = [value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    return copy.deepcopy(model, {id(t): t.detach().clone() for t in held if not t.is_leaf})


def cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model in another precision; complex buffers stay complex, which `Module.to` does not see to."""
    pairs = torch.complex128 if dtype == torch.float64 else torch.complex64
    buffers = [(module, name, b) for module in model.modules() for name, b in module.named_buffers(recurse=False)]
    kept = [(module, name, buffer) for module, name, buffer in buffers if buffer.is_complex()]
    for module, name, _ in kept:
        setattr(module, name, None)
    model.to(dtype)
    for module, name, buffer in kept:
        setattr(module, name, buffer.to(pairs))
    return model


def check_model(model: nn.Module) -> None:
    """Refuse what cannot be moved and put back.

    Raises:
        LandscapeError: a TorchScript module, parameters without values, complex ones, or ones that share memory.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise LandscapeError("the model is a TorchScript module", "give the Python class that it was made from")
    parameters = dict(model.named_parameters())
    for name, tensor in [*parameters.items(), *model.named_buffers()]:
        if nn.parameter.is_lazy(tensor) or tensor.is_meta:
            hint = "let the factory build it with real shapes, on a real device"
            raise LandscapeError(f"the model's {name} has no values yet (lazy or meta)", hint)
        if tensor.is_inference():
            hint = "build the model outside of torch.inference_mode()"
            raise LandscapeError(f"the model's {name} is an inference tensor, which cannot be changed", hint)
        if name in parameters and tensor.is_complex():
            raise LandscapeError(f"the model's {name} is complex", "only real parameters can be measured")
    spans = sorted((p.data_ptr(), p.data_ptr() + p.numel() * p.element_size(), n) for n, p in parameters.items())
    for (_, end, one), (start, _, other) in itertools.pairwise(spans):
        if start < end:
            hint = "tie them as one parameter: b.weight = a.weight, not through .data"
            raise LandscapeError(f"the parameters {one} and {other} share memory and are two", hint)


@contextlib.contextmanager
def attributes_kept(model: nn.Module) -> Iterator[None]:
    """Whatever a forward pass stores on the model's modules is gone afterwards, and what it replaced is back."""
    held = {module: (dict(vars(module)), dict(module._parameters)) for module in model.modules()}
    try:
        yield
    finally:
        for module, (attributes, parameters) in held.items():
            vars(module).clear()
            vars(module).update(attributes)
            module._parameters.update(parameters)


def out_of_memory(error: BaseException) -> bool:
    """True for what the allocators raise; the CPU's is a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


@contextlib.contextmanager
def memory_named(batch: int) -> Iterator[None]:
    """What the allocators raise becomes an error that names a smaller batch than the one that did not fit."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        hint = f"add --batch-size {max(1, batch // 2)}" if batch > 1 else "take a device with more memory"
        raise LandscapeError("out of memory; the points measured so far are kept", hint) from error


def forward_of(model: Callable[..., Any], settings: ModelSettings) -> Callable[[Inputs], Tensor]:
    """The model's predictions for a batch of inputs, passed as `model.call` and picked as `model.output` say."""

    def forward(inputs: Inputs) -> Tensor:
        try:
            answer = _call(model, inputs, settings.call)
        except (Exception, SystemExit) as error:
            if out_of_memory(error):
                raise
            shapes = [f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in data.leaves(inputs)]
            raise LandscapeError(
                f"the model raised {type(error).__name__} on inputs {', '.join(shapes)}: {error}",
                "do the data's shape and type fit? see scale, dtype and model.call; --debug shows the traceback",
            ) from error
        return _output(answer, settings.output)

    return forward


def functional(model: nn.Module, settings: ModelSettings) -> Callable[[dict[str, Tensor], Inputs], Tensor]:
    """The model's predictions as a function of parameters by name, in the place of its own, and of inputs."""

    def forward(parameters: dict[str, Tensor], inputs: Inputs) -> Tensor:
        def call(*args: Any, **kwargs: Any) -> Any:
            return functional_call(model, parameters, args, kwargs)

        return forward_of(call, settings)(inputs)

    return forward


def _call(model: Callable[..., Any], inputs: Inputs, how: str) -> Any:
    if isinstance(inputs, dict) and how in ("auto", "kwargs"):
        return model(**inputs)
    if how == "args" or (how == "auto" and isinstance(inputs, tuple)):
        return model(*data.leaves(inputs))
    return model(inputs)


def _output(answer: Any, name: str) -> Tensor:
    """The predictions in what the model returned: by key, attribute or, of a tuple, by number."""
    if name:
        answer = _named(answer, name)
    if not isinstance(answer, Tensor):
        example = "0" if isinstance(answer, tuple | list) else "logits"
        raise LandscapeError(
            f"the model returns {_holds(answer)}, not a tensor",
            f'name the predictions, for example output = "{example}" under [model]',
        )
    if not answer.is_floating_point() or answer.dim() == 0:
        raise LandscapeError(
            f"the model returns {answer.dtype} of shape {tuple(answer.shape)}", "return one row of numbers per sample"
        )
    return answer


def _named(answer: Any, name: str) -> Tensor:
    if isinstance(answer, tuple | list) and name.isdecimal():
        found = answer[int(name)] if int(name) < len(answer) else None
    else:
        found = answer.get(name) if isinstance(answer, Mapping) else getattr(answer, name, None)
    if not isinstance(found, Tensor):
        raise LandscapeError(f"the model's output has no tensor {name!r}: {_holds(answer)}", "change model.output")
    return found


def _holds(answer: Any) -> str:
    """The type of an output and the names in it."""
    if isinstance(answer, tuple | list):
        return f"a {type(answer).__name__} of {len(answer)}"
    names = list(answer if isinstance(answer, Mapping) else getattr(answer, "__dict__", ()))
    return f"a {type(answer).__name__}" + (f" with {', '.join(map(str, names))}" if names else "")
