"""Verdicts on real checkpoints: the demo's network before, amid and after its training, and ResNet-20."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cifar import resnet20
from torch import Tensor, nn

from landscape_cli.analyse.verdict import verdict
from landscape_cli.demo.model import cnn
from landscape_cli.measure import hessian, notebook
from landscape_cli.measure.checkpoint import load_into
from landscape_cli.section import Measured

pytestmark = pytest.mark.slow
SharedData = Callable[[str], Path]
Samples = tuple[Tensor, Tensor]
ASSETS = files("landscape_cli.demo")


def digits() -> Samples:
    with np.load(str(ASSETS / "digits.npz")) as held:
        return torch.from_numpy(held["train_images"]) / 16, torch.from_numpy(held["train_labels"]).long()


def after(steps: int) -> nn.Module:
    """The demo's network after so many steps of plain gradient descent, batch norm's statistics as they then are."""
    torch.manual_seed(0)
    model, (images, labels) = cnn(), digits()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(steps):
        rows = torch.arange(64 * step, 64 * (step + 1)) % len(labels)
        optimiser.zero_grad()
        F.cross_entropy(model(images[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return model.eval()


def trained() -> nn.Module:
    model = cnn()
    load_into(model, Path(str(ASSETS / "cnn.pt")))
    return model.eval()


def of_few(run: hessian.Run) -> Measured:
    """The eigenvalues over the first sample of every group: of a slope they need only be there."""
    groups = [rows[:1] for rows in run.groups]
    return hessian.eigenvalues(replace(run, objective=run.objective.on(torch.cat(groups)), groups=groups))


def judged(model: nn.Module, samples: Samples, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The verdict, from what it needs alone and no more exact than it needs."""
    parts = {"eigenvalues": of_few, "ways down": hessian.PARTS["ways down"]}
    monkeypatch.setattr(hessian, "PARTS", parts)
    asked = {"hessian": {"top": 1, "bottom": 1, "tolerance": 0.3, "search": False}}
    found = verdict(notebook.scan(model, samples, x=None, sections=asked).sections["hessian"])
    assert found is not None
    return found


def drop(model: nn.Module, samples: Samples, moved: Callable[[nn.Module], list[Tensor]]) -> float:
    """By how much plain passes say that the loss falls where the parameters are moved so far, relative to itself."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        before = float(F.cross_entropy(model(samples[0]), samples[1]))
        for parameter, delta in zip(other.parameters(), moved(model), strict=True):
            parameter.add_(delta)
        return (before - float(F.cross_entropy(other(samples[0]), samples[1]))) / before


def norm(tensors: Iterable[Tensor]) -> float:
    return float(torch.cat([t.detach().reshape(-1) for t in tensors]).norm())


def growing_head(model: nn.Module) -> list[Tensor]:
    """The last layer's weights grown by 0.01·‖θ‖."""
    named = list(model.named_parameters())
    weights = [n for n, p in named if p.dim() > 1]
    head = dict(named)[weights[-1]]
    reach = 0.01 * norm([p for _, p in named])
    return [reach * p.detach() / head.norm() if p is head else torch.zeros_like(p) for _, p in named]


def down_the_gradient(samples: Samples, share: float) -> Callable[[nn.Module], list[Tensor]]:
    """A step along -∇L of so much of 0.01·‖θ‖."""

    def step(model: nn.Module) -> list[Tensor]:
        parameters = list(model.parameters())
        with torch.enable_grad():
            gradient = torch.autograd.grad(F.cross_entropy(model(samples[0]), samples[1]), parameters)
        length = share * 0.01 * norm(parameters) / norm(list(gradient))
        return [-length * g for g in gradient]

    return step


def test_a_trained_network_without_weight_decay_has_not_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its samples are separated: a larger head lowers the loss for ever."""
    model, samples = trained(), digits()
    assert bool((model(samples[0]).argmax(1) == samples[1]).all())
    assert drop(model, samples, growing_head) > 0.01
    assert judged(model, samples, monkeypatch)["kind"] == "slope"


def test_a_half_trained_network_has_not_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    model, samples = after(80), digits()
    accuracy = float((model(samples[0]).argmax(1) == samples[1]).double().mean())
    assert 0.5 < accuracy < 0.99
    assert drop(model, samples, down_the_gradient(samples, 0.25)) > 0.01
    assert judged(model, samples, monkeypatch)["kind"] == "slope"


def test_a_network_at_its_initialisation_stands_where_the_loss_hardly_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 0.01·‖θ‖ even the gradient lowers the loss by less than a hundredth: a plateau, and no minimum."""
    model, samples = after(0), digits()
    assert all(drop(model, samples, down_the_gradient(samples, 0.5**halvings)) < 0.01 for halvings in range(10))
    assert judged(model, samples, monkeypatch)["kind"] == "plateau"


def test_resnet20_on_train_images_has_not_arrived(shared_data: SharedData, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published weights lose half of their loss where the head grows; of fewer images that is not sure."""
    model = resnet20()
    load_into(model, shared_data("resnet20-12fca82f.th"))
    with np.load(shared_data("cifar10_subset.npz")) as held:
        images, labels = (torch.from_numpy(held[f"train_{what}"][:500]) for what in ("images", "labels"))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    samples = ((images.float() / 255 - mean) / std, labels.long())
    assert drop(model.eval(), samples, growing_head) > 0.01
    found = judged(model, samples, monkeypatch)
    assert found["kind"] == "slope"
    assert any("last layer" in reason for reason in found["reasons"])
