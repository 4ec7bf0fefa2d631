"""`landscape_cli.scan`: from tensors, datasets and loaders; the command's own numbers; the model is left alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import landscape_cli
from landscape_cli.errors import LandscapeError
from landscape_cli.profile import Profile

COUNT = 70

MODEL = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))
"""


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))


def pairs(count: int = COUNT, seed: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=generator), torch.randint(0, 3, (count,), generator=generator)


class Dicts(Dataset[dict[str, Tensor]]):
    """Samples as language-model datasets give them."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {"input": pairs()[0][row], "labels": pairs()[1][row]}


def scan(model: nn.Module | None = None, data: Any = None, *args: Any, **changes: Any) -> Profile:
    asked = {"x": "-1:1:5", **changes}
    return landscape_cli.scan(net() if model is None else model, pairs() if data is None else data, *args, **asked)


def loss_of(profile: Profile, split: str = "data") -> Any:
    return profile.planes["main"].surfaces[split].loss


SOURCES: dict[str, Callable[[], Any]] = {
    "a list": lambda: list(pairs()),
    "numpy arrays": lambda: tuple(t.numpy() for t in pairs()),
    "a Dataset": lambda: TensorDataset(*pairs()),
    "a DataLoader": lambda: DataLoader(TensorDataset(*pairs()), batch_size=32),
    "a DataLoader that shuffles and drops": lambda: DataLoader(
        TensorDataset(*pairs()), batch_size=32, shuffle=True, drop_last=True
    ),
    "a Dataset of dicts": Dicts,
}


# What it measures


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_of_the_same_samples_gives_the_same_numbers(source: str) -> None:
    model: nn.Module = net()
    if source == "a Dataset of dicts":
        inner = model

        class ByName(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, input: Tensor) -> Tensor:
                out: Tensor = self.inner(input)
                return out

        expected = scan(ByName(), {"data": pairs()}, call="single", strategy="in place")
        model = ByName()
    else:
        expected = scan(model, strategy="in place")
    found = scan(model, SOURCES[source](), strategy="in place")
    np.testing.assert_array_equal(loss_of(found), loss_of(expected))


def test_the_centre_is_the_models_own_loss() -> None:
    model = net()
    profile = scan(model)
    expected = F.cross_entropy(model.eval()(pairs()[0]), pairs()[1]).item()
    assert profile.centre["data"].loss == pytest.approx(expected, rel=1e-6)
    assert loss_of(profile)[2] == profile.centre["data"].loss


def test_a_dict_of_sources_is_a_dict_of_splits() -> None:
    other = pairs(30, seed=8)
    profile = scan(data={"train": TensorDataset(*pairs()), "test": other})
    assert list(profile.centre) == ["train", "test"]
    np.testing.assert_array_equal(loss_of(profile, "train"), loss_of(scan()))
    np.testing.assert_allclose(loss_of(profile, "test"), loss_of(scan(data=other)), rtol=1e-6)


@pytest.mark.parametrize(("y", "shape"), [(None, (5,)), ("-1:1:3", (5, 3)), ([0.0, 0.5], (5, 2))])
def test_a_line_or_a_plane_is_complete(y: Any, shape: tuple[int, ...]) -> None:
    profile = scan(y=y)
    assert loss_of(profile).shape == shape
    assert profile.complete
    assert profile.provenance.finished


def test_a_line_of_a_plane_is_the_line() -> None:
    np.testing.assert_array_equal(loss_of(scan(y=[-1.0, 0.0, 1.0]))[:, 1], loss_of(scan()))


# Losses and metrics


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs - F.one_hot(targets, 3)) ** 2).sum(1)


def largest(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.abs().amax(1)


def test_a_function_may_be_the_loss_or_a_metric() -> None:
    model = net()
    profile = scan(model, None, squared, metrics=[largest, "accuracy"])
    with torch.no_grad():
        outputs = model.eval()(pairs()[0])
    centre = profile.centre["data"]
    assert centre.loss == pytest.approx(float(squared(outputs, pairs()[1]).mean()), rel=1e-6)
    assert centre.metrics["largest"] == pytest.approx(float(largest(outputs, pairs()[1]).mean()), rel=1e-6)
    assert centre.metrics["accuracy"] == pytest.approx(float((outputs.argmax(1) == pairs()[1]).double().mean()))


def test_two_functions_without_a_name_of_their_own_are_not_confused() -> None:
    profile = scan(None, None, lambda o, t: o[:, 0] * 0 + 2, metrics=[lambda o, t: o[:, 0] * 0 + 5])
    assert profile.centre["data"].loss == 2
    assert list(profile.centre["data"].metrics.values()) == [5]


def test_two_metrics_without_a_name_of_their_own_are_both_kept() -> None:
    profile = scan(metrics=[lambda o, t: o[:, 0] * 0 + 2, lambda o, t: o[:, 0] * 0 + 5])
    assert sorted(profile.centre["data"].metrics.values()) == [2, 5]


def test_a_loss_that_bears_the_name_of_a_metric_does_not_replace_it() -> None:
    def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs[:, 0] * 0 + 2

    model = net()
    centre = scan(model, None, accuracy, metrics=["accuracy"]).centre["data"]
    with torch.no_grad():
        right = (model.eval()(pairs()[0]).argmax(1) == pairs()[1]).double().mean()
    assert centre.loss == 2
    assert centre.metrics["accuracy"] == pytest.approx(float(right))


def lipschitz_λ(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.abs().amax(1)


def a_name_as_long_as_some_people_write_them_when_they_wish_to_be_clear(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.abs().amax(1)


@pytest.mark.parametrize(
    "metric", [lipschitz_λ, a_name_as_long_as_some_people_write_them_when_they_wish_to_be_clear], ids=["λ", "long"]
)
def test_a_metric_of_any_name_is_saved_and_loaded(metric: Any, tmp_path: Path) -> None:
    profile = scan(metrics=[metric])
    landscape_cli.save(profile, tmp_path / "run.h5")
    again = landscape_cli.load(tmp_path / "run.h5")
    assert list(again.centre["data"].metrics.values()) == list(profile.centre["data"].metrics.values())


def test_a_loss_may_refer_to_a_variable_that_has_no_value() -> None:
    spare = squared

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return spare(outputs, targets) if outputs.isnan().all() else squared(outputs, targets)  # noqa: F821

    del spare
    np.testing.assert_array_equal(loss_of(scan(None, None, loss)), loss_of(scan(None, None, squared)))


class Scaled:
    """A loss that is an object."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.factor * squared(outputs, targets)


def test_an_object_that_can_be_called_may_be_the_loss() -> None:
    one, two = (scan(None, None, Scaled(factor)) for factor in (1.0, 2.0))
    np.testing.assert_allclose(loss_of(two), 2 * loss_of(one), rtol=1e-12)


def test_a_mean_over_the_batch_is_refused() -> None:
    with pytest.raises(LandscapeError, match="mean over a batch"):
        scan(None, None, F.cross_entropy)


@pytest.mark.parametrize(
    "changes", [{"metrics": ["acuracy"]}, {"directions": ["randm"]}, {"dtype": "float31"}, {"x": "1:-1:5"}], ids=str
)
def test_what_the_command_refuses_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(LandscapeError):
        scan(**changes)


# The model is left alone


def mixed() -> nn.Sequential:
    """In the middle of training: a gradient, a frozen parameter, modules in both modes."""
    model = net()
    torch.autograd.backward(F.cross_entropy(model(pairs()[0]), pairs()[1]))
    model.train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    return model


def snapshot(model: nn.Module) -> list[tuple[Any, ...]]:
    """Everything of the model that a scan could change, comparable by ==."""
    found: list[tuple[Any, ...]] = [(n, m.training, len(m._forward_hooks)) for n, m in model.named_modules()]
    found += [
        (n, id(p), p.requires_grad, p.grad.tolist() if p.grad is not None else None)
        for n, p in model.named_parameters()
    ]
    return found + [(n, t.dtype, t.tolist()) for n, t in model.state_dict().items()]


@pytest.mark.parametrize("dtype", [None, "float64", "bfloat16"])
@pytest.mark.parametrize("batchnorm", ["frozen", "recompute"])
def test_the_model_is_left_as_it_was(batchnorm: str, dtype: str | None) -> None:
    model = mixed()
    before = snapshot(model)
    scan(model, batchnorm=batchnorm, dtype=dtype)
    assert snapshot(model) == before


def test_a_loss_that_raises_in_the_middle_leaves_the_model_as_it_was() -> None:
    model = mixed()
    before, weight = snapshot(model), model.get_parameter("0.weight").detach().clone()

    def raises(outputs: Tensor, targets: Tensor) -> Tensor:
        if not torch.equal(model.get_parameter("0.weight"), weight):
            raise ValueError("far from home")
        return squared(outputs, targets)

    with pytest.raises(LandscapeError, match="far from home"):
        scan(model, None, raises)
    assert snapshot(model) == before


def test_training_goes_on_as_if_nothing_had_been_measured() -> None:
    def trained(measure: bool) -> Tensor:
        model = net()
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        torch.manual_seed(5)
        for _ in range(3):
            optimiser.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(pairs()[0]), pairs()[1]))
            optimiser.step()
            if measure:
                scan(model)
        return model.get_parameter("0.weight").detach()

    assert torch.equal(trained(True), trained(False))


# Dtypes


def test_float64_measures_in_float64() -> None:
    model = net()
    expected = F.cross_entropy(net().double().eval()(pairs()[0].double()), pairs()[1]).item()
    assert scan(model, dtype="float64").centre["data"].loss == pytest.approx(expected, rel=1e-13)
    assert scan(net().double()).centre["data"].loss == pytest.approx(expected, rel=1e-13)


def test_a_bfloat16_model_is_moved_from_a_float32_master_copy() -> None:
    """Steps below a bfloat16 weight's own rounding add up in float32 and would vanish in bfloat16."""
    half = net().to(torch.bfloat16)
    again = net().to(torch.bfloat16).float()  # the same weights
    far = scan(half, dtype="bfloat16", x=[0.0, 0.5, 1.0])
    expected = scan(again, dtype="bfloat16", x=[0.0, 0.5, 1.0])
    np.testing.assert_array_equal(loss_of(far), loss_of(expected))


# The command, and the file


def test_the_command_measures_the_same_numbers(tmp_path: Path) -> None:
    model = net()
    (tmp_path / "net.py").write_text(MODEL)
    torch.save(model.state_dict(), tmp_path / "net.pt")
    np.savez(tmp_path / "data.npz", inputs=pairs()[0].numpy(), targets=pairs()[1].numpy())
    flags = ["--model", "net.py:build", "--checkpoint", "net.pt", "--data", "data=data.npz", "--metric", "accuracy"]
    command = [sys.executable, "-m", "landscape_cli", "scan", *flags, "--x=-1:1:5", "--y=-1:1:3", "-o", "run.h5"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    theirs = landscape_cli.load(tmp_path / "run.h5").planes["main"]
    ours = scan(model, y="-1:1:3", metrics=["accuracy"]).planes["main"]
    np.testing.assert_allclose(ours.surface.loss, theirs.surface.loss, rtol=1e-6)
    np.testing.assert_array_equal(ours.surface.metrics["accuracy"], theirs.surface.metrics["accuracy"])
    np.testing.assert_allclose(ours.surface.loss_groups, theirs.surface.loss_groups, rtol=1e-5, atol=1e-6)
    assert ours.fingerprint == theirs.fingerprint


@pytest.mark.parametrize(
    "metrics", [["accuracy"], [largest], [lambda outputs, targets: outputs[:, 0]]], ids=["named", "function", "lambda"]
)
def test_what_is_saved_is_loaded(metrics: list[Any], tmp_path: Path) -> None:
    profile = scan(y="-1:1:3", metrics=metrics, batchnorm="recompute")
    landscape_cli.save(profile, tmp_path / "run.h5")
    again = landscape_cli.load(tmp_path / "run.h5")
    assert again.problem == profile.problem
    assert again.complete
    one, two = profile.planes["main"], again.planes["main"]
    assert (one.fingerprint, one.directions) == (two.fingerprint, two.directions)
    for a, b in ((one.surface.loss, two.surface.loss), (one.surface.loss_groups, two.surface.loss_groups)):
        np.testing.assert_array_equal(a, b)
    assert {n: v.tolist() for n, v in one.surface.metrics.items()} == {
        n: v.tolist() for n, v in two.surface.metrics.items()
    }
    assert two.surface.centre.loss == one.surface.centre.loss != profile.centre["data"].loss


def test_the_statistics_of_a_profile_and_of_its_file_are_the_same(tmp_path: Path) -> None:
    profile = scan(y="-1:1:5")
    landscape_cli.save(profile, tmp_path / "run.h5")
    assert repr(landscape_cli.statistics(profile)) == repr(
        landscape_cli.statistics(landscape_cli.load(tmp_path / "run.h5"))
    )


def test_two_models_of_one_class_that_differ_are_two_problems() -> None:
    other = net()
    with torch.no_grad():
        other.get_parameter("0.weight")[0, 0] += 1
    assert scan(net()).problem == scan(net()).problem
    assert scan(other).problem != scan(net()).problem


def test_two_models_of_one_class_that_hold_other_layers_are_two_problems() -> None:
    other = net()
    other[2] = nn.Tanh()  # the same weights and the same class, nn.Sequential
    assert scan(other).problem != scan(net()).problem


def test_two_losses_of_one_class_that_differ_are_two_problems() -> None:
    assert scan(None, None, Scaled(1.0)).problem == scan(None, None, Scaled(1.0)).problem
    assert scan(None, None, Scaled(2.0)).problem != scan(None, None, Scaled(1.0)).problem


def test_sections_are_measured_from_python_as_by_the_command() -> None:
    torch.manual_seed(0)
    model, inputs, targets = nn.Linear(3, 2), torch.randn(40, 3), torch.randint(2, (40,))
    profile = landscape_cli.scan(model, (inputs, targets), x=None, sections=["gradient", "sharpness"])
    assert (list(profile.sections), profile.planes) == (["gradient", "sharpness"], {})
    assert profile.complete
    asked = {"hessian": {"top": 2, "bottom": 1}}
    tree = landscape_cli.statistics(landscape_cli.scan(model, (inputs, targets), x="-1:1:3", sections=asked))
    assert len(tree["hessian"]["top"]) == 2
    assert tree["verdict"]["kind"]
    refused: list[dict[str, dict[str, int]]] = [{"hesian": {}}, {"hessian": {"tops": 1}}, {"hessian": {"top": 0}}]
    for wrong in refused:
        with pytest.raises(LandscapeError):
            landscape_cli.scan(model, (inputs, targets), sections=wrong)
