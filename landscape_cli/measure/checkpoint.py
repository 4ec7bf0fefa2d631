"""A checkpoint file -> the state dict of a model: formats, nesting, prefixes, safety.

Checkpoints are data: read with weights_only=True or from safetensors. A file is never unpickled freely unless
the user asks for it.
"""

from __future__ import annotations

import hashlib
import pickle
import pickletools
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape_cli.errors import LandscapeError, one_of

State = dict[str, Tensor]
PREFIXES = ("module.", "_orig_mod.", "model.")  # DistributedDataParallel, torch.compile, Lightning
# What torch.load and safetensors raise on damaged files.
DAMAGE = (
    EOFError, RuntimeError, KeyError, IndexError, ValueError, TypeError, AttributeError, OSError, MemoryError,
    OverflowError, AssertionError, NotImplementedError, struct.error, pickle.UnpicklingError, zipfile.BadZipFile,
)  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """A state dict whose keys are the model's own, where it was found, and what the user should know.

    `whole` is all that the file holds, the state of an optimiser perhaps.
    """

    state: State
    found_at: str
    sha256: str
    notes: tuple[str, ...] = ()
    whole: Any = None


def load_into(
    model: nn.Module, path: Path, state_key: str = "auto", strict: bool = True, allow_pickle: bool = False
) -> Checkpoint:
    """Read `path` and copy its weights into `model`, in the model's own dtype.

    Raises:
        LandscapeError: unreadable, unsafe or damaged file, no or two matching state dicts, missing, unexpected or
            wrong-shape keys (unless not `strict`), or weights that are not finite real numbers.
    """
    tree = read(path, allow_pickle)
    own = _model_state(model)
    found_at, state = _choose(dict(_state_dicts(tree)), own, state_key, path)
    notes = [] if not allow_pickle else [f"{path.name} was unpickled freely: it could run code"]
    notes += _check_keys(state, own, model, strict, path)
    state = {name: tensor for name, tensor in state.items() if name in own}
    state = {name: t for name, t in state.items() if _shape(t) == _shape(own[name])}
    for name, tensor in state.items():
        _check_tensor(name, tensor, own[name], path)
    _check_tied(state, own, path)
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)
    return Checkpoint(state, found_at, file_sha256(path), tuple(notes), tree)


def read(path: Path, allow_pickle: bool = False) -> Any:
    """Whatever the file holds, on the CPU; a state dict somewhere inside is for the caller to find."""
    head = sniff(path)
    if path.suffix == ".safetensors" or _is_safetensors(path, head):
        return read_safetensors(path)
    if head.startswith(b"PK"):
        _check_zip(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=not allow_pickle)
    except DAMAGE as error:
        raise _load_error(path, error, head, allow_pickle) from error
    except (Exception, SystemExit) as error:  # unpickling freely runs whatever code the file names
        hint = "install or put on the path what it was pickled with, or save model.state_dict() instead"
        raise LandscapeError(f"{path} cannot be unpickled: {type(error).__name__}: {error}", hint) from error


def _is_safetensors(path: Path, head: bytes) -> bool:
    """By content, whatever the ending: the length of a JSON header, then the header."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def sniff(path: Path) -> bytes:
    """The first bytes of a file that is there, is a file and is not empty, text, or a web page."""
    hint = "give the path of a file that can be read"
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
            raise LandscapeError(f"{path} is {'a folder' if path.is_dir() else 'no regular file'}", hint)
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise LandscapeError(f"cannot read {path}: {error.strerror}", hint) from None
    if not head:
        raise LandscapeError(f"{path} is empty", "was the save or the download interrupted?")
    if head.startswith(b"version https://git-lfs"):
        raise LandscapeError(f"{path} is a Git LFS pointer, not the file itself", "run: git lfs pull")
    if re.match(rb"\s*<(!doctype|html|\?xml)", head, re.IGNORECASE):
        raise LandscapeError(f"{path} is a web page, not a checkpoint", "download the file itself, not its page")
    return head


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_safetensors(path: Path) -> State:
    """All tensors of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, *DAMAGE) as error:
        raise LandscapeError(
            f"{path} is no whole safetensors file: {error}", "save it again, or copy it again"
        ) from error


def _check_zip(path: Path) -> None:
    """torch.save stores without compression: an archive that inflates was not written by it."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except DAMAGE as error:
        raise LandscapeError(f"{path} is damaged or truncated: {error}", "save it again, or copy it again") from None
    if any(info.filename.endswith("/constants.pkl") for info in infos):
        raise LandscapeError(f"{path} is a TorchScript archive", "save model.state_dict() instead")
    inflated = sum(info.file_size for info in infos)
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos) or inflated > path.stat().st_size:
        hint = "torch.save writes no compressed archives; load it where you trust it and save its state dict again"
        raise LandscapeError(f"{path} is a compressed archive that inflates to {inflated} bytes", hint)


def _load_error(path: Path, error: BaseException, head: bytes, allow_pickle: bool) -> LandscapeError:
    text = str(error)
    pickled = head.startswith((b"PK", b"\x80"))
    refused = isinstance(error, pickle.UnpicklingError) and "weights_only" in text and not allow_pickle
    if pickled and refused and (_whole_records(path) if head.startswith(b"PK") else _whole_pickles(path)):
        named = re.search(r"GLOBAL ([\w.]+)", text)
        what = f" (it names {named[1]})" if named else ""
        return LandscapeError(
            f"{path} needs full unpickling{what}, which can run any code",
            "if you trust whoever wrote it, add --allow-pickle; safer: save model.state_dict() alone",
        )
    if allow_pickle and "Can't get attribute" in text:
        hint = "save model.state_dict() instead; or keep the class in a module beside the job file"
        return LandscapeError(f"{path} was pickled with a class that is not here: {text.splitlines()[0][:200]}", hint)
    if all(32 <= byte < 127 or byte in b"\r\n\t" for byte in head[:64]):
        return LandscapeError(f"{path} is a text file, not a checkpoint", "give a file written by torch.save")
    first = text.splitlines()[0][:200] if text else type(error).__name__
    return LandscapeError(f"{path} is damaged or no checkpoint: {first}", "save it again, or copy it again")


def _whole_records(path: Path) -> bool:
    """True if every record of an archive has the checksum that it was written with."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except DAMAGE:
        return False


def _whole_pickles(path: Path) -> bool:
    """True if the pickles that a legacy file begins with run to their end; nothing in them is run."""
    with path.open("rb") as file:
        try:
            for _ in range(4):  # magic number, protocol, system, the object
                if file.read(1):
                    file.seek(-1, 1)
                    for _ in pickletools.genops(file):
                        pass
        except (ValueError, EOFError, OverflowError, MemoryError):
            return False
    return True


def _state_dicts(tree: Any, at: str = "", depth: int = 0) -> Iterator[tuple[str, State]]:
    """Every mapping of names to tensors in what a checkpoint holds, with its place in dotted keys."""
    if isinstance(tree, nn.Module):
        tree = tree.state_dict()
    if not isinstance(tree, Mapping) or depth > 4:
        return
    tensors = {k: v for k, v in tree.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors:
        yield at, tensors
    for key, value in tree.items():
        yield from _state_dicts(value, f"{at}.{key}" if at else str(key), depth + 1)


def _model_state(model: nn.Module) -> State:
    return {k: v for k, v in model.state_dict(keep_vars=True).items() if isinstance(v, Tensor)}


def _choose(found: dict[str, State], own: State, state_key: str, path: Path) -> tuple[str, State]:
    """The state dict that is the model's: its place, and its tensors under the model's own keys."""
    if not found:
        raise LandscapeError(f"{path} holds no tensors by name", "save model.state_dict()")
    if state_key != "auto":
        if state_key not in found:
            raise one_of(f"state key of {path.name}", state_key, [at for at in found if at])
        return state_key, _stripped(found[state_key], own)
    fitted = {at: _stripped(state, own) for at, state in found.items()}
    lacking = {at: len(_missing(state, own)) for at, state in fitted.items()}
    best = min(lacking.values())
    winners = [at for at, count in lacking.items() if count == best]
    if own.keys() & fitted[winners[0]].keys() and len(winners) > 1:
        names, named = ", ".join(at or "(the top level)" for at in winners), next(at for at in winners if at)
        raise LandscapeError(
            f"{path} holds more than one state dict that fits the model: {names}",
            f"choose one, for example --state-key {named}; of a direction checkpoint:PATH#{named}",
        )
    return winners[0], fitted[winners[0]]


def _stripped(state: State, own: State) -> State:
    """`state` without the prefixes that keep its keys from being the model's; the least stripped that fits best."""
    return max(_strippings(state), key=lambda option: len(option.keys() & own.keys()))


def _strippings(state: State, depth: int = 3) -> Iterator[State]:
    yield state
    for prefix in PREFIXES if depth == 3 else ():  # the model itself may be wrapped
        yield {prefix + key: tensor for key, tensor in state.items()}
    for prefix in PREFIXES if depth else ():
        if any(key.startswith(prefix) for key in state):
            bare = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
            if len(bare) == len(state):  # never two keys into one
                yield from _strippings(bare, depth - 1)


def _check_keys(state: State, own: State, model: nn.Module, strict: bool, path: Path) -> list[str]:
    """Refuse (or, if not strict, note) keys that are missing, unexpected or of another shape."""
    missing = _missing(state, own)
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} {_shape(state[name])} for {_shape(own[name])}"
        for name in own
        if name in state and _shape(state[name]) != _shape(own[name])
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    said = [f"{len(names)} {what}: {_first(names)}" for what, names in faults.items() if names]
    if not said:
        return []
    if not any(name in state and _shape(state[name]) == _shape(own[name]) for name in own):
        hint = "is it of this architecture? look at model.args and --state-key"
        raise LandscapeError(f"{path} does not fit the model: {'; '.join(said)}", hint)
    if strict:
        raise LandscapeError(
            f"the keys of {path} do not match the model's: {'; '.join(said)}", "use --no-strict to go on"
        )
    return [f"went on although the keys of {path.name} do not match: {'; '.join(said)}"]


def _missing(state: State, own: State) -> list[str]:
    """The model's keys that a state dict lacks, but for those it can do without."""
    tied = _tied_names(own)
    return [
        name
        for name in own
        if name not in state
        and not name.endswith("num_batches_tracked")  # absent before PyTorch 0.4.1, unused in eval mode
        and not (tied[own[name].data_ptr()] & state.keys() if own[name].numel() else False)
    ]


def _first(names: list[str], most: int = 10) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "?", ", ".join(names[:most]) + more)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape; of a nested tensor, which has none, one that fits nothing."""
    return (-1,) if tensor.is_nested else tuple(tensor.shape)


def _tied_names(own: State) -> dict[int, set[str]]:
    """Names that share one tensor, by its address."""
    names: dict[int, set[str]] = {}
    for name, tensor in own.items():
        names.setdefault(tensor.data_ptr(), set()).add(name)
    return names


def _check_tied(state: State, own: State, path: Path) -> None:
    for names in _tied_names(own).values():
        held = sorted(names & state.keys())
        if len(held) > 1 and own[held[0]].numel() and not all(torch.equal(state[held[0]], state[n]) for n in held):
            raise LandscapeError(
                f"{', '.join(held)} are tied in the model but differ in {path.name}",
                "use the model class that this checkpoint was saved from",
            )


def _check_tensor(name: str, tensor: Tensor, own: Tensor, path: Path) -> None:
    """A plain, dense, finite, real tensor; its shape is known to be the model's."""
    where = f"{name} in {path.name}"
    if tensor.is_quantized or tensor.is_meta or tensor.layout != torch.strided:
        raise LandscapeError(f"{where} is quantised, sparse or without data", "save a dense floating-point model")
    if own.is_floating_point() and not tensor.is_floating_point():
        raise LandscapeError(f"{where} is {tensor.dtype}, the model's is {own.dtype}", "save a floating-point model")
    if own.is_complex() or tensor.is_complex():
        raise LandscapeError(f"{where} is complex", "only real models can be measured")
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
        raise LandscapeError(f"{where} is not finite", "the run diverged: take an earlier checkpoint")
