"""The network as it comes: what cannot be measured is refused, the rest is cast, called and put back without harm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landscape_cli
from landscape_cli.errors import LandscapeError
from landscape_cli.measure import checkpoint
from landscape_cli.measure.filters import ignored
from landscape_cli.measure.model import place

CPU = torch.device("cpu")


def pairs(count: int = 200, width: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, width, generator=generator), torch.randint(0, 3, (count,), generator=generator)


def centre(model: nn.Module, data: Any = None, **options: Any) -> float:
    profile = landscape_cli.scan(model, pairs() if data is None else data, x=[0.0, 1.0], **options)
    return profile.centre["data"].loss


class Rotary(nn.Module):
    """A linear layer after a rotation held in a complex buffer, as in LLaMA."""

    turn: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("turn", torch.polar(torch.ones(2), torch.tensor([0.3, 1.1])), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        turned = torch.view_as_complex(x.reshape(-1, 2, 2)) * self.turn
        out: Tensor = self.linear(torch.view_as_real(turned).flatten(1))
        return out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_complex_buffer_stays_complex(dtype: str) -> None:
    model = Rotary()
    with torch.no_grad():
        expected = float(F.cross_entropy(model(pairs()[0]), pairs()[1]))
    assert centre(model, dtype=dtype) == pytest.approx(expected, rel=1e-5)
    assert model.turn.dtype == torch.complex64
    moved = place(Rotary(), CPU, dtype)
    assert moved.turn.dtype == {"float32": torch.complex64, "float64": torch.complex128}[dtype]


def complex_parameter() -> nn.Module:
    return nn.Linear(4, 3, dtype=torch.complex64)


def shared_through_data() -> nn.Module:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight.data = first.weight.data
    return nn.Sequential(first, second)


def overlapping() -> nn.Module:
    first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 3, bias=False)
    second.weight.data = first.weight.data[1:]
    return nn.Sequential(first, second)


def inference() -> nn.Module:
    with torch.inference_mode():
        return nn.Linear(4, 3)


def scripted() -> nn.Module:
    return torch.jit.script(nn.Linear(4, 3))


UNFIT: dict[str, Callable[[], nn.Module]] = {
    "complex": complex_parameter,
    "share memory": shared_through_data,
    "memory": overlapping,
    "inference tensor": inference,
    "TorchScript": scripted,
    "no values yet": lambda: nn.Linear(4, 3, device="meta"),
    "lazy": lambda: nn.LazyLinear(3),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("why", UNFIT)
def test_a_model_that_cannot_be_moved_and_put_back_is_refused(why: str) -> None:
    with pytest.raises(LandscapeError, match=why):
        place(UNFIT[why](), CPU, "float32")
    with pytest.raises(LandscapeError, match=why):
        centre(UNFIT[why]())


def test_buffers_of_another_precision_are_left_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(4, 3).bfloat16(), nn.BatchNorm1d(3))
    before = {name: (t.dtype, t.clone()) for name, t in model.state_dict().items()}
    centre(model, dtype="bfloat16")
    assert all(t.dtype == before[n][0] and torch.equal(t, before[n][1]) for n, t in model.state_dict().items())


# ---------------------------------------------------------------- what is done in place stays there


class Hasty(nn.Module):
    """Begins by changing its input."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x.sub_(0.5).div_(0.25))
        return out


def test_a_model_that_begins_in_place_sees_the_same_samples_at_every_point() -> None:
    model, (inputs, targets) = Hasty(), pairs()
    kept = inputs.clone()
    expected = float(F.cross_entropy(model(inputs.clone()), targets))
    assert centre(model, (inputs, targets)) == pytest.approx(expected, rel=1e-6)
    assert torch.equal(inputs, kept)


def spoiling(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy that leaves neither its outputs nor its targets as they were."""
    loss = F.cross_entropy(outputs, targets, reduction="none")
    targets.zero_()
    outputs.zero_()
    return loss


@pytest.mark.parametrize("count", [20, 200])
def test_a_loss_that_works_in_place_spoils_nothing(count: int) -> None:
    model, (inputs, targets) = nn.Linear(4, 3), pairs(count)
    kept = targets.clone()
    profile = landscape_cli.scan(model, (inputs, targets), spoiling, x=[0.0, 1.0], metrics=["accuracy"])
    outputs = model(inputs)
    assert profile.centre["data"].loss == pytest.approx(float(F.cross_entropy(outputs, targets)), rel=1e-6)
    assert profile.centre["data"].metrics["accuracy"] == float((outputs.argmax(1) == kept).double().mean())
    assert torch.equal(targets, kept)


# ---------------------------------------------------------------- what it returns


class Pair(nn.Linear):
    """(features, logits)."""

    def forward(self, x: Tensor) -> Any:
        return x, super().forward(x)


def test_one_of_a_tuple_is_named_by_its_number() -> None:
    model = Pair(4, 3)
    with pytest.raises(LandscapeError, match="a tuple of 2") as caught:
        centre(model)
    assert 'output = "0"' in caught.value.hint
    assert centre(model, output="1") == pytest.approx(float(F.cross_entropy(model(pairs()[0])[1], pairs()[1])))
    with pytest.raises(LandscapeError, match="no tensor '2'"):
        centre(model, output="2")


# ---------------------------------------------------------------- norms by name


class NormedLinear(nn.Linear):
    """No normalisation layer, though its name says so in the middle."""


class LlamaRMSNorm(nn.Module):
    """One that is not PyTorch's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))


class PreNormBlock(nn.Module):
    """A block that holds a matrix of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.ones(3, 3))


def test_a_norm_is_a_layer_that_normalises_not_one_that_is_called_so() -> None:
    model = nn.ModuleDict({
        "linear": NormedLinear(3, 3), "rms": LlamaRMSNorm(), "block": PreNormBlock(), "batch": nn.BatchNorm2d(3),
        "layer": nn.LayerNorm((2, 3)), "group": nn.GroupNorm(1, 3), "own": nn.RMSNorm(3),
    })  # fmt: skip
    names = dict(model.named_parameters())
    still = ignored(model, names, ["norm"])
    assert {name.split(".")[0] for name in still} == {"rms", "batch", "layer", "group", "own"}


# ---------------------------------------------------------------- checkpoints that two wrappings keep apart


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile], ids=["DataParallel", "compile"])
def test_a_wrapped_model_takes_a_bare_checkpoint(wrap: Callable[[nn.Module], Any], tmp_path: Path) -> None:
    trained, model = nn.Linear(4, 3), nn.Linear(4, 3)
    torch.save(trained.state_dict(), tmp_path / "net.pt")
    checkpoint.load_into(wrap(model), tmp_path / "net.pt")
    assert torch.equal(model.weight, trained.weight)


def test_two_state_dicts_that_fit_are_asked_about_though_one_lacks_what_is_not_needed(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    state = model.state_dict()
    old = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    torch.save({"state_dict": old, "ema": state}, tmp_path / "net.pt")
    with pytest.raises(LandscapeError, match="more than one state dict"):
        checkpoint.load_into(model, tmp_path / "net.pt")
    assert checkpoint.load_into(model, tmp_path / "net.pt", "state_dict").found_at == "state_dict"


def test_a_direction_names_its_own_state_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    a, b = nn.Linear(4, 3).state_dict(), nn.Linear(4, 3).state_dict()
    torch.save({"state_dict": a, "ema": b}, "two.pt")
    model = nn.Linear(4, 3)
    with pytest.raises(LandscapeError, match="more than one") as caught:
        landscape_cli.scan(model, pairs(), x=[0.0, 1.0], directions=["checkpoint:two.pt"])
    assert "checkpoint:PATH#" in caught.value.hint
    reached = landscape_cli.scan(model, pairs(), x=[0.0, 1.0], directions=["checkpoint:two.pt#ema"])
    expected = F.cross_entropy(F.linear(pairs()[0], b["weight"], b["bias"]), pairs()[1])
    assert reached.planes["main"].surface.loss[1] == pytest.approx(float(expected), rel=1e-5)


def test_the_way_to_a_checkpoint_is_interpolated_only_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scaled weights with unscaled statistics would be no network that anybody trained."""
    monkeypatch.chdir(tmp_path)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    torch.save(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).state_dict(), "other.pt")
    options: dict[str, Any] = {"x": [0.0, 1.0], "directions": ["checkpoint:other.pt"]}
    for change in ({"normalize": "global"}, {"ignore": ["bias"]}):
        with pytest.raises(LandscapeError, match="not taken as it is"):
            landscape_cli.scan(model, pairs(), **options, **change)
        landscape_cli.scan(model, pairs(), **options, **change, batchnorm="frozen")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["TorchScript", "safetensors in .bin", "raises", "exits"])
def test_a_file_is_known_by_what_is_in_it(kind: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    trained, model, path = nn.Linear(4, 3), nn.Linear(4, 3), tmp_path / "net.bin"
    if kind == "safetensors in .bin":
        save_file(trained.state_dict(), path)
        checkpoint.load_into(model, path)
        assert torch.equal(model.weight, trained.weight)
        return
    if kind == "TorchScript":
        torch.jit.save(torch.jit.script(trained), path)
    else:
        torch.save({"raises": Raising, "exits": Leaving}[kind](), path)
    with pytest.raises(LandscapeError, match={"TorchScript": "TorchScript"}.get(kind, "cannot be unpickled")):
        checkpoint.load_into(model, path, allow_pickle=True)


class Raising:
    """Cannot be unpickled."""

    def __reduce__(self) -> Any:
        return divmod, (1, 0)


class Leaving:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> Any:
        return exit, (3,)


# ---------------------------------------------------------------- from Python


@pytest.mark.parametrize(
    "options", [{"batch_size": -3}, {"call": "foo"}, {"weight_decay": -1.0}, {"label_smoothing": 2.0}, {"delta": 0.0}]
)
def test_what_a_job_file_may_not_say_python_may_not_either(options: dict[str, Any]) -> None:
    with pytest.raises(LandscapeError):
        landscape_cli.scan(nn.Linear(4, 3), pairs(), x=[0.0, 1.0], **options)


def test_axes_may_be_arrays_and_splits_need_names() -> None:
    profile = landscape_cli.scan(nn.Linear(4, 3), pairs(), x=np.linspace(0, 1, 3), y=(0.0, 2.0))
    assert profile.planes["main"].surface.loss.shape == (3, 2)
    for data in ({}, {"my split": pairs()}):
        with pytest.raises(LandscapeError):
            landscape_cli.scan(nn.Linear(4, 3), data, x=[0.0, 1.0])


def test_frozen_parameters_and_the_loss_s_settings_can_be_given() -> None:
    model, (inputs, targets) = nn.Linear(4, 3).requires_grad_(False), pairs()
    found = centre(model, frozen=True, label_smoothing=0.3, ignore_index=2)
    kept = targets != 2
    smooth = F.cross_entropy(model(inputs)[kept], targets[kept], label_smoothing=0.3)
    assert found == pytest.approx(float(smooth), rel=1e-6)
