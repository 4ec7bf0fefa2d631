"""Checkpoints of every kind load exactly or are refused in one clear line, and none of them runs code."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import random
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import shared_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure import checkpoint
from landscape_cli.measure.checkpoint import Checkpoint, load_into

State = dict[str, Tensor]
PICKLED = (".pt", ".pth", ".th", ".ckpt", ".bin")
TORCH_FORMATS = [pytest.param(new, id="zip" if new else "legacy") for new in (True, False)]


def net() -> nn.Sequential:
    """Parameters and all three buffers of a batch norm, all zero: what is loaded is seen."""
    made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    with torch.no_grad():
        for tensor in made.state_dict().values():
            tensor.zero_()
    return made


def weights(dtype: torch.dtype = torch.float32) -> State:
    """Values for every key of `net`, multiples of 1/8 that every floating-point type holds exactly."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, own in net().state_dict().items():
        drawn = torch.randint(-15, 16, own.shape, generator=generator)
        state[name] = drawn.to(dtype) / 8 if own.is_floating_point() else drawn.abs()
    return state


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def is_loaded(model: nn.Module, state: State) -> bool:
    return all(torch.equal(own, state[name].to(own.dtype)) for name, own in model.state_dict().items())


def refusal(call: Callable[[], Any]) -> LandscapeError:
    """The error of a call that must be refused: exit 2, one line each of what and hint."""
    with pytest.raises(LandscapeError) as caught:
        call()
    error = caught.value
    assert error.code == ExitCode.USAGE
    assert error.message
    assert error.hint
    return error


def refused(path: Path, model: nn.Module | None = None, **options: Any) -> LandscapeError:
    """The refusal of a checkpoint, which must leave the model as it was."""
    model = net() if model is None else model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    error = refusal(lambda: load_into(model, path, **options))
    assert is_loaded(model, before)
    return error


# ---------------------------------------------------------------- formats


@pytest.mark.parametrize("new", TORCH_FORMATS)
@pytest.mark.parametrize("suffix", PICKLED)
def test_a_state_dict_loads_whatever_its_file_is_called(tmp_path: Path, suffix: str, new: bool) -> None:
    model, state = net(), weights()
    path = saved(tmp_path / f"net{suffix}", state, _use_new_zipfile_serialization=new)
    loaded = load_into(model, path)
    assert is_loaded(model, state)
    assert loaded.found_at == ""
    assert loaded.notes == ()
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_safetensors_load(tmp_path: Path) -> None:
    model, state = net(), weights()
    save_file(state, tmp_path / "net.safetensors")
    loaded = load_into(model, tmp_path / "net.safetensors")
    assert is_loaded(model, state)
    assert set(loaded.state) == set(state)
    assert loaded.found_at == ""


def test_an_ordered_dict_with_torchs_metadata_loads(tmp_path: Path) -> None:
    trained, model = net(), net()
    trained.load_state_dict(weights())
    load_into(model, saved(tmp_path / "net.pt", trained.state_dict()))
    assert is_loaded(model, weights())


def test_parameters_load_as_well_as_tensors(tmp_path: Path) -> None:
    state = {name: nn.Parameter(t, requires_grad=t.is_floating_point()) for name, t in weights().items()}
    model = net()
    load_into(model, saved(tmp_path / "net.pt", state))
    assert is_loaded(model, weights())


def test_the_hash_is_of_the_files_bytes(tmp_path: Path) -> None:
    one = saved(tmp_path / "a.pt", weights())
    other = saved(tmp_path / "b.pt", {**weights(), "2.bias": torch.tensor([1.0, 2.0])})
    assert load_into(net(), one).sha256 != load_into(net(), other).sha256


def test_the_published_resnet_loads() -> None:
    path = shared_data("resnet20-12fca82f.th")
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    model = nn.Module()
    for name, tensor in state.items():
        owner: nn.Module = model
        *parents, last = name.removeprefix("module.").split(".")
        for parent in parents:
            if not hasattr(owner, parent):
                owner.add_module(parent, nn.Module())
            owner = owner.get_submodule(parent)
        owner.register_buffer(last, torch.zeros_like(tensor))
    loaded = load_into(model, path)
    assert loaded.found_at == "state_dict"
    assert is_loaded(model, {name.removeprefix("module."): t for name, t in state.items()})


# ---------------------------------------------------------------- where it lies


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net", "ema", "weights", "a.b"])
def test_a_nested_state_dict_is_found(tmp_path: Path, key: str) -> None:
    model = net()
    loaded = load_into(model, saved(tmp_path / "net.pt", {"epoch": 3, key: weights(), "best": 0.5}))
    assert loaded.found_at == key
    assert is_loaded(model, weights())


def test_a_deeply_nested_state_dict_is_found(tmp_path: Path) -> None:
    model = net()
    tree = {"run": {"last": {"student": {"weights": weights()}}}}
    assert load_into(model, saved(tmp_path / "net.pt", tree)).found_at == "run.last.student.weights"
    assert is_loaded(model, weights())


def two_states() -> dict[str, State]:
    return {"student": weights(), "ema": {name: tensor + 1 for name, tensor in weights().items()}}


def test_two_state_dicts_that_fit_are_a_question(tmp_path: Path) -> None:
    error = refused(saved(tmp_path / "net.pt", {**two_states(), "epoch": 1}))
    assert "more than one" in error.message
    assert "student" in error.message
    assert "ema" in error.message
    assert "--state-key" in error.hint


@pytest.mark.parametrize("key", ["student", "ema"])
def test_the_state_key_answers_it(tmp_path: Path, key: str) -> None:
    model = net()
    loaded = load_into(model, saved(tmp_path / "net.pt", two_states()), state_key=key)
    assert loaded.found_at == key
    assert is_loaded(model, two_states()[key])


def test_the_state_key_may_be_dotted(tmp_path: Path) -> None:
    model = net()
    load_into(model, saved(tmp_path / "net.pt", {"a": two_states(), "b": two_states()}), state_key="b.ema")
    assert is_loaded(model, two_states()["ema"])


def test_a_state_key_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    error = refused(saved(tmp_path / "net.pt", two_states()), state_key="studnt")
    assert "studnt" in error.message
    assert "did you mean student?" in error.hint
    assert "ema" in error.hint


def test_a_state_key_of_another_network_is_refused(tmp_path: Path) -> None:
    tree = {"net": weights(), "critic": {"0.weight": torch.ones(9, 9)}}
    assert "does not fit" in refused(saved(tmp_path / "net.pt", tree), state_key="critic").message


@pytest.mark.parametrize("content", [torch.ones(3), [torch.ones(3)], {"epoch": 3}, {}, {0: torch.ones(3)}, None])
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    assert "no tensors by name" in refused(saved(tmp_path / "net.pt", content)).message


def trained_with(optimizer: type[torch.optim.Optimizer]) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = net()
    made: torch.optim.Optimizer = optimizer(model.parameters(), lr=0.1)  # type: ignore[call-arg]
    model(torch.randn(8, 3, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    made.step()
    return model, made


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
def test_a_training_checkpoint_with_its_optimizer_loads(tmp_path: Path, optimizer: type[torch.optim.Optimizer]) -> None:
    trained, made = trained_with(optimizer)
    tree = {"optimizer": made.state_dict(), "model": trained.state_dict(), "step": 7, "rng": torch.get_rng_state()}
    model = net()
    assert load_into(model, saved(tmp_path / "net.pt", tree)).found_at == "model"
    assert is_loaded(model, dict(trained.state_dict()))


def test_a_lightning_checkpoint_loads(tmp_path: Path) -> None:
    trained, made = trained_with(torch.optim.Adam)
    tree = {
        "epoch": 4,
        "global_step": 100,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": OrderedDict((f"model.{name}", t) for name, t in trained.state_dict().items()),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val'}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [made.state_dict()],
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 0.1},
    }
    model = net()
    assert load_into(model, saved(tmp_path / "last.ckpt", tree)).found_at == "state_dict"
    assert is_loaded(model, dict(trained.state_dict()))


# ---------------------------------------------------------------- prefixes

WRAPPERS = [
    "module.",
    "_orig_mod.",
    "model.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "model.module.",
    "model._orig_mod.",
    "module._orig_mod.model.",
    "model.module._orig_mod.",
]


@pytest.mark.parametrize("prefix", WRAPPERS)
def test_wrappers_prefixes_are_set_aside(tmp_path: Path, prefix: str) -> None:
    model = net()
    state = {prefix + name: tensor for name, tensor in weights().items()}
    loaded = load_into(model, saved(tmp_path / "net.pt", {"state_dict": state}))
    assert is_loaded(model, weights())
    assert set(loaded.state) == set(weights())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
def test_a_prefix_of_the_models_own_is_kept(tmp_path: Path, prefix: str) -> None:
    inner, name = net(), prefix.removesuffix(".")
    model = nn.Module()
    model.add_module(name, inner)
    load_into(model, saved(tmp_path / "net.pt", {prefix + key: tensor for key, tensor in weights().items()}))
    assert is_loaded(inner, weights())


def test_a_model_that_calls_a_part_of_it_model_keeps_that_name_below_a_wrapper(tmp_path: Path) -> None:
    model = nn.ModuleDict({"model": nn.Linear(2, 2), "head": nn.Linear(2, 1)})
    state = {name: torch.full_like(tensor, 0.5) for name, tensor in model.state_dict().items()}
    load_into(model, saved(tmp_path / "net.pt", {f"module.{name}": tensor for name, tensor in state.items()}))
    assert is_loaded(model, state)


def test_stripping_never_merges_two_keys(tmp_path: Path) -> None:
    own, other = torch.ones(2, 2), torch.zeros(2, 2)
    model = nn.Linear(2, 2, bias=False)
    error = refused(saved(tmp_path / "net.pt", {"weight": own, "module.weight": other}), model)
    assert "1 unexpected: module.weight" in error.message


# ---------------------------------------------------------------- whole modules


def test_a_pickled_module_is_refused_and_says_how_to_go_on(tmp_path: Path) -> None:
    error = refused(saved(tmp_path / "net.pt", net()))
    assert "full unpickling" in error.message
    assert "torch.nn" in error.message
    assert "--allow-pickle" in error.hint
    assert "state_dict()" in error.hint


@pytest.mark.parametrize("new", TORCH_FORMATS)
@pytest.mark.parametrize("nest", [lambda m: m, lambda m: {"epoch": 1, "model": m}], ids=["bare", "nested"])
def test_a_pickled_module_loads_where_it_is_allowed(tmp_path: Path, new: bool, nest: Callable[[Any], Any]) -> None:
    trained, model = net(), net()
    trained.load_state_dict(weights())
    path = saved(tmp_path / "net.pt", nest(trained), _use_new_zipfile_serialization=new)
    loaded = load_into(model, path, allow_pickle=True)
    assert is_loaded(model, weights())
    assert any("unpickled freely" in note for note in loaded.notes)


def test_a_damaged_archive_is_never_said_to_need_unpickling(tmp_path: Path) -> None:
    """A flipped byte can turn the name of a function that is allowed into one that is not."""
    path = saved(tmp_path / "net.pt", weights())
    whole = path.read_bytes()
    at = whole.index(b"_rebuild_tensor_v2")
    path.write_bytes(whole[:at] + b"X" + whole[at + 1 :])
    error = refused(path)
    assert "damaged" in error.message
    assert "pickle" not in error.hint


def test_a_module_whose_class_is_not_here_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(pickled_call("no_such_module_anywhere", "Net"))
    error = refused(path, allow_pickle=True)
    assert "no_such_module_anywhere" in error.message


# ---------------------------------------------------------------- keys


def many(count: int) -> nn.Module:
    return nn.ParameterList([nn.Parameter(torch.zeros(1)) for _ in range(count)])


def numbered(start: int, stop: int, prefix: str = "") -> State:
    return {f"{prefix}{i}": torch.ones(1) for i in range(start, stop)}


def test_missing_keys_are_listed_up_to_ten(tmp_path: Path) -> None:
    error = refused(saved(tmp_path / "net.pt", numbered(0, 17)), many(30))
    assert "13 missing: 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, and 3 more" in error.message
    assert "--no-strict" in error.hint


def test_unexpected_keys_are_listed_up_to_ten(tmp_path: Path) -> None:
    error = refused(saved(tmp_path / "net.pt", numbered(0, 5) | numbered(0, 12, "head")), many(5))
    assert "12 unexpected: head0, head1, head2, head3, head4, head5, head6, head7, head8, head9, and 2 more" in str(
        error
    )


def test_ten_keys_are_listed_without_a_remainder(tmp_path: Path) -> None:
    error = refused(saved(tmp_path / "net.pt", numbered(0, 20)), many(30))
    assert "10 missing: 20, 21, 22, 23, 24, 25, 26, 27, 28, 29" in error.message
    assert "more" not in error.message


def test_wrong_shapes_are_listed_with_both_shapes(tmp_path: Path) -> None:
    state = numbered(0, 20) | {f"{i}": torch.ones(2, 3) for i in range(11)}
    error = refused(saved(tmp_path / "net.pt", state), many(20))
    assert "11 of another shape: 0 (2, 3) for (1,), 1 (2, 3) for (1,)" in error.message
    assert "and 1 more" in error.message


def test_a_shape_that_would_broadcast_is_refused(tmp_path: Path) -> None:
    state = weights() | {"0.weight": torch.ones(1, 3)}
    assert "0.weight (1, 3) for (4, 3)" in refused(saved(tmp_path / "net.pt", state)).message


def test_all_three_faults_are_told_at_once(tmp_path: Path) -> None:
    state = weights() | {"extra": torch.ones(1), "0.bias": torch.ones(9)}
    del state["2.bias"]
    message = refused(saved(tmp_path / "net.pt", state)).message
    assert "1 missing: 2.bias" in message
    assert "1 unexpected: extra" in message
    assert "1 of another shape: 0.bias (9,) for (4,)" in message


def test_not_strict_goes_on_and_says_so(tmp_path: Path) -> None:
    state = weights() | {"extra": torch.ones(1), "0.bias": torch.ones(9)}
    del state["2.bias"]
    model = net()
    loaded = load_into(model, saved(tmp_path / "net.pt", state), strict=False)
    kept = {"0.bias": torch.zeros(4), "2.bias": torch.zeros(2)}
    assert is_loaded(model, {**state, **kept})
    assert set(loaded.state) == set(weights()) - set(kept)
    assert all(key in "".join(loaded.notes) for key in ("2.bias", "extra", "0.bias"))


@pytest.mark.parametrize("make", [net, lambda: many(3)], ids=["with batch norm", "plain"])
@pytest.mark.parametrize("strict", [True, False])
def test_a_checkpoint_of_another_network_is_refused_even_if_not_strict(
    tmp_path: Path, strict: bool, make: Callable[[], nn.Module]
) -> None:
    other = {"encoder.weight": torch.ones(2, 2), "encoder.bias": torch.ones(2)}
    assert "does not fit" in refused(saved(tmp_path / "net.pt", other), make(), strict=strict).message


def test_num_batches_tracked_may_be_missing(tmp_path: Path) -> None:
    state = {name: t for name, t in weights().items() if not name.endswith("num_batches_tracked")}
    model = net()
    assert load_into(model, saved(tmp_path / "net.pt", state)).notes == ()
    assert is_loaded(model, {**state, "1.num_batches_tracked": torch.tensor(0)})


@pytest.mark.parametrize("name", ["1.running_mean", "1.running_var", "1.weight"])
def test_no_other_batch_norm_value_may_be_missing(tmp_path: Path, name: str) -> None:
    state = {key: tensor for key, tensor in weights().items() if key != name}
    assert f"1 missing: {name}" in refused(saved(tmp_path / "net.pt", state)).message


# ---------------------------------------------------------------- tied weights


class Tied(nn.Module):
    """A language model's embedding and head, one tensor under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


E = torch.arange(15.0).reshape(5, 3)


@pytest.mark.parametrize("names", [("embed.weight",), ("head.weight",), ("embed.weight", "head.weight")])
def test_tied_weights_load_from_one_name_or_both(tmp_path: Path, names: tuple[str, ...]) -> None:
    model = Tied()
    loaded = load_into(model, saved(tmp_path / "net.pt", {name: E.clone() for name in names}))
    assert torch.equal(model.embed.weight, E)
    assert model.head.weight is model.embed.weight
    assert loaded.notes == ()


def test_tied_weights_that_differ_are_refused(tmp_path: Path) -> None:
    state = {"embed.weight": E, "head.weight": E + 1}
    error = refused(saved(tmp_path / "net.pt", state), Tied())
    assert "embed.weight, head.weight are tied" in error.message


def test_tied_weights_with_neither_name_are_missing(tmp_path: Path) -> None:
    model = nn.ModuleDict({"lm": Tied(), "out": nn.Linear(2, 2)})
    state = {"out.weight": torch.ones(2, 2), "out.bias": torch.ones(2)}
    assert "2 missing: lm.embed.weight, lm.head.weight" in refused(saved(tmp_path / "net.pt", state), model).message


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_other_floating_point_types_load_exactly_in_the_models_own(
    tmp_path: Path, dtype: torch.dtype, suffix: str
) -> None:
    path, model = tmp_path / f"net{suffix}", net()
    (save_file if suffix == ".safetensors" else torch.save)(weights(dtype), path)
    load_into(model, path)
    assert is_loaded(model, weights())
    assert model[0].weight.dtype == torch.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ["0.weight", "1.running_var"])
def test_weights_that_are_not_finite_are_refused_by_name(
    tmp_path: Path, value: float, dtype: torch.dtype, name: str
) -> None:
    state = weights()
    state[name] = state[name].to(dtype)
    state[name].view(-1)[-1] = value
    error = refused(saved(tmp_path / "net.pt", state))
    assert name in error.message
    assert "not finite" in error.message
    assert "diverged" in error.hint


def with_weight(tensor: Tensor) -> State:
    return {"weight": tensor, "bias": torch.zeros(2)}


def odd_tensors() -> dict[str, Tensor]:
    ones = torch.ones(2, 3)
    return {
        "int64": ones.long(),
        "int8": ones.to(torch.int8),
        "bool": ones.bool(),
        "complex": ones.to(torch.complex64),
        "sparse_coo": ones.to_sparse(),
        "sparse_csr": ones.to_sparse_csr(),
        "meta": torch.empty(2, 3, device="meta"),
        "quantised": torch.quantize_per_tensor(ones, 0.1, 0, torch.qint8),
        "quantised by channel": torch.quantize_per_channel(ones, torch.ones(2), torch.zeros(2), 0, torch.qint8),
        "ragged": torch.nested.nested_tensor([torch.ones(3), torch.ones(2)]),
        "jagged": torch.nested.nested_tensor([torch.ones(3), torch.ones(2)], layout=torch.jagged),
    }


@pytest.mark.filterwarnings("ignore")  # torch's own, about what these tensors are
@pytest.mark.parametrize("kind", [
    "int64", "int8", "bool", "complex", "sparse_coo", "sparse_csr", "meta", "quantised", "quantised by channel",
    "ragged", "jagged",
])  # fmt: skip
def test_a_tensor_that_is_no_plain_real_one_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / "net.pt", with_weight(odd_tensors()[kind]))
    assert "weight" in refused(path, nn.Linear(3, 2)).message


def test_a_complex_model_is_refused(tmp_path: Path) -> None:
    state = with_weight(torch.ones(2, 3, dtype=torch.complex64)) | {"bias": torch.zeros(2, dtype=torch.complex64)}
    path = saved(tmp_path / "net.pt", state)
    assert "complex" in refused(path, nn.Linear(3, 2, dtype=torch.complex64)).message


def test_a_transposed_view_loads_its_values(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    load_into(model, saved(tmp_path / "net.pt", with_weight(torch.arange(6.0).reshape(3, 2).T)))
    assert model.weight.tolist() == [[0, 2, 4], [1, 3, 5]]


def test_loading_keeps_requires_grad_and_the_parameters_themselves(tmp_path: Path) -> None:
    model = net()
    model[0].requires_grad_(False)
    before = {name: (id(p), p.requires_grad, p.grad) for name, p in model.named_parameters()}
    load_into(model, saved(tmp_path / "net.pt", weights()))
    assert {name: (id(p), p.requires_grad, p.grad) for name, p in model.named_parameters()} == before


# ---------------------------------------------------------------- what is no checkpoint


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "net.pt").message


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_folder_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"net{suffix}").mkdir()
    assert "is a folder" in refused(tmp_path / f"net{suffix}").message


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pt", weights())
    path.chmod(0)
    assert "Permission" in refused(path).message


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
NO_CHECKPOINTS = [
    (b"", "is empty"),
    (POINTER, "Git LFS pointer"),
    (b"<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
    (b"\n  <html lang='en'>", "web page"),
    (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "web page"),
    (b"these are my notes about the run, not its weights\n" * 9, "text file"),
    (b'{"error": "Repository not found"}', "text file"),
    (b"short", "text file"),
]


@pytest.mark.parametrize(("content", "said"), NO_CHECKPOINTS)
def test_what_is_no_checkpoint_is_called_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "net.pt").write_bytes(content)
    assert said in refused(tmp_path / "net.pt").message


@pytest.mark.parametrize(("content", "said"), NO_CHECKPOINTS)
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_what_is_no_checkpoint_is_refused_under_every_ending(
    tmp_path: Path, content: bytes, said: str, suffix: str
) -> None:
    (tmp_path / f"net{suffix}").write_bytes(content)
    assert str(tmp_path / f"net{suffix}") in refused(tmp_path / f"net{suffix}").message


@pytest.mark.parametrize(
    "content", [b"\0" * 1000, b"\x89PNG\r\n\x1a\n" + b"\0" * 99, b"PK\x03\x04nothing", b"\x80\x02"]
)
def test_binary_rubbish_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.pt").write_bytes(content)
    assert "damaged" in refused(tmp_path / "net.pt").message


# ---------------------------------------------------------------- damage


def contents(kind: str) -> bytes:
    """A small checkpoint's bytes: "zip", "legacy" or "safetensors"."""
    buffer = io.BytesIO()
    if kind == "safetensors":
        from safetensors.torch import save

        return save(weights())
    torch.save({"state_dict": weights(), "epoch": 3}, buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


KINDS = ["zip", "legacy", "safetensors"]


def written(folder: Path, kind: str, content: bytes) -> Path:
    path = folder / ("net.safetensors" if kind == "safetensors" else "net.pt")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_damaged_wherever_it_ends(tmp_path: Path, kind: str) -> None:
    whole = contents(kind)
    for length in sorted({*range(1, len(whole), max(1, len(whole) // 60)), len(whole) - 1}):
        error = refused(written(tmp_path, kind, whole[:length]))
        assert "--allow-pickle" not in error.hint, f"{length} of {len(whole)} bytes: {error.message}"


def flipped(content: bytes, seed: int, where: int) -> bytes:
    draw, damaged = random.Random(seed), bytearray(content)
    for _ in range(draw.choice([1, 1, 4])):
        damaged[draw.randrange(where)] = draw.randrange(256)
    return bytes(damaged)


def try_to_load(path: Path, **options: Any) -> Checkpoint | LandscapeError:
    try:
        return load_into(net(), path, **options)
    except LandscapeError as error:
        return error


@pytest.mark.filterwarnings("ignore")  # a flipped byte can make torch warn
@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bytes_load_or_are_refused_and_nothing_else(tmp_path: Path, kind: str) -> None:
    whole = contents(kind)
    head = min(len(whole), 900) if kind == "legacy" else len(whole)  # where its pickles are
    answers = [try_to_load(written(tmp_path, kind, flipped(whole, seed, head))) for seed in range(700)]
    assert any(isinstance(answer, LandscapeError) for answer in answers)
    assert any(isinstance(answer, Checkpoint) for answer in answers)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x08\0\0\0\0\0\0\0"]))
def test_any_bytes_at_all_are_refused(tmp_path: Path, content: bytes, head: bytes) -> None:
    for kind in ("zip", "safetensors"):
        refused(written(tmp_path, kind, head + content))


# ---------------------------------------------------------------- made to do harm


class Payload:
    """Pickles as a call that makes a folder: proof that it ran."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


def pickled_call(module: str, name: str, argument: str = "x") -> bytes:
    """A pickle by hand that calls module.name(argument)."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"X\x01\0\0\0" + argument.encode() + b"\x85R."


@pytest.mark.parametrize("new", TORCH_FORMATS)
@pytest.mark.parametrize("variable", [None, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
@pytest.mark.parametrize("nest", [lambda p: p, lambda p: {**weights(), "x": p}, lambda p: {"a": {"b": [p]}}])
def test_a_payload_never_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: bool, variable: str | None, nest: Callable[[Any], Any]
) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    path = saved(tmp_path / "net.pt", nest(Payload(tmp_path / "proof")), _use_new_zipfile_serialization=new)
    error = refused(path)
    assert not (tmp_path / "proof").exists()
    assert "full unpickling" in error.message
    assert "mkdir" in error.message


@pytest.mark.parametrize("suffix", [*PICKLED, ".safetensors", ""])
def test_a_plain_pickle_never_runs(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(pickle.dumps(Payload(tmp_path / "proof")))
    refused(path)
    assert not (tmp_path / "proof").exists()


def test_a_payload_runs_only_where_the_user_allows_it(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pt", {"x": Payload(tmp_path / "proof")})
    refused(path, allow_pickle=True)  # it holds no tensors
    assert (tmp_path / "proof").is_dir()


@pytest.mark.parametrize("name", ["eval", "exec", "getattr", "__import__"])
def test_no_builtin_is_called(tmp_path: Path, name: str) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(pickled_call("builtins", name))
    refused(path)


def rezipped(path: Path, compression: int, extra: bytes = b"") -> Path:
    """The same archive, its entries compressed, and one more."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        if extra:
            archive.writestr("archive/data/bomb", extra)
    return path


def test_an_archive_that_inflates_is_refused_before_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = rezipped(saved(tmp_path / "net.pt", weights()), zipfile.ZIP_DEFLATED, b"\0" * (32 << 20))
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("it was opened"))
    assert "inflates to" in refused(path).message


def test_one_compressed_entry_is_enough_to_refuse_an_archive(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pt", weights())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/bomb", b"\0" * 10)
    assert "compressed archive" in refused(path).message


def test_an_archive_rewritten_without_compression_loads(tmp_path: Path) -> None:
    model = net()
    load_into(model, rezipped(saved(tmp_path / "net.pt", weights()), zipfile.ZIP_STORED))
    assert is_loaded(model, weights())


def test_a_tensor_of_a_million_millions_through_a_zero_stride_is_refused_by_its_shape(tmp_path: Path) -> None:
    giant = torch.zeros(1).as_strided((10**6, 10**6), (0, 0))
    path = saved(tmp_path / "net.pt", with_weight(giant))
    assert path.stat().st_size < 4000
    for strict in (True, False):
        model = nn.Linear(3, 2)
        if strict:
            assert "(1000000, 1000000) for (2, 3)" in refused(path, model).message
        else:
            load_into(model, path, strict=False)


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6)])
def test_a_giant_tensor_that_no_key_asks_for_is_not_looked_at(tmp_path: Path, shape: tuple[int, ...]) -> None:
    giant = torch.zeros(1).as_strided(shape, (0,) * len(shape))
    model = nn.Linear(3, 2)
    load_into(model, saved(tmp_path / "net.pt", {"model": with_weight(torch.ones(2, 3)), "cache": {"giant": giant}}))
    assert torch.equal(model.weight, torch.ones(2, 3))


def test_a_legacy_storage_that_declares_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(with_weight(torch.ones(2, 3)), buffer, _use_new_zipfile_serialization=False)
    declared = b"K\x06"  # the pickled number of elements of the weight's storage
    path = tmp_path / "net.pt"
    path.write_bytes(buffer.getvalue().replace(declared, b"\x8a\x06" + (10**13).to_bytes(6, "little")))
    assert path.read_bytes() != buffer.getvalue()
    assert "damaged" in refused(path, nn.Linear(3, 2)).message


def test_a_safetensors_header_that_declares_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    header = b'{"weight":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'
    path = tmp_path / "net.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 16)
    assert "safetensors" in refused(path).message


def test_a_tree_that_holds_itself_is_walked_once_and_left(tmp_path: Path) -> None:
    tree: dict[str, Any] = {"state_dict": weights()}
    tree["self"] = tree
    path = saved(tmp_path / "net.pt", tree)
    error = refused(path)  # the same state dict in more than one place: a question, not a crash
    assert "more than one" in error.message
    model = net()
    assert load_into(model, path, state_key="state_dict").found_at == "state_dict"


def test_keys_are_printed_without_control_characters(tmp_path: Path) -> None:
    state = weights() | {"\x1b[31mred\x1b[0m\r\n": torch.ones(1)}
    message = refused(saved(tmp_path / "net.pt", state)).message
    assert message.isprintable()


def test_sniff_returns_the_head_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(range(256)) * 4)
    assert checkpoint.sniff(tmp_path / "x") == bytes(range(256)) * 2
