"""What is measured: networks at their checkpoints, with fixed samples."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import landscape_cli
from landscape_cli.demo.model import cnn, mlp
from landscape_cli.measure import checkpoint, data, usercode
from landscape_cli.settings import DataSettings

ROOT = Path(__file__).resolve().parents[1]
DEMO = Path(landscape_cli.__file__).parent / "demo"
CHECKPOINTS = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}
PIXELS = DataSettings(scale=255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
SEQUENCES, LENGTH, VOCABULARY, WIDTH = 64, 128, 96, 128


@dataclass(frozen=True)
class Workload:
    """A network in eval mode, its samples on the CPU, and where both come from."""

    name: str
    title: str
    origin: str
    model: nn.Module
    inputs: Tensor
    targets: Tensor

    def network(self) -> nn.Module:
        """A copy of its own for whoever moves the weights."""
        return copy.deepcopy(self.model).eval()


def resnet(network: str, count: int, folder: Path) -> Workload:
    """A CIFAR ResNet with its published weights where `folder` has them, else with random ones."""
    model, weights = _seeded("tests/cifar.py", network), "random weights"
    path = folder / CHECKPOINTS[network]
    if path.is_file():
        checkpoint.load_into(model, path)
        weights = "published weights"
    inputs, targets, images = _images(folder / "cifar10_subset.npz", count)
    name = network if count == 1000 else f"{network}-{count}"
    return Workload(name, f"ResNet-{network[6:]}, {count} images", f"{weights}, {images}", model, inputs, targets)


def _images(path: Path, count: int) -> tuple[Tensor, Tensor, str]:
    """Normalised images, labels, and what they are; those of the file are repeated where they are too few."""
    if not path.is_file():
        draw = torch.Generator().manual_seed(0)
        images, labels = torch.randn(count, 3, 32, 32, generator=draw), torch.randint(10, (count,), generator=draw)
        return images, labels, "random images"
    with np.load(path) as arrays:
        pixels, labels = torch.from_numpy(arrays["train_images"]), torch.from_numpy(arrays["train_labels"]).long()
    rows = torch.arange(count) % len(pixels)
    images = data.leaves(data.prepare(pixels[rows], PIXELS, torch.float32))[0]
    repeated = f", {len(pixels)} of them repeated" if count > len(pixels) else ""
    return images, labels[rows], f"CIFAR-10 training images{repeated}"


def digits(name: str, title: str, model: nn.Module) -> Workload:
    """A network of the demo with its shipped checkpoint, on every digit."""
    checkpoint.load_into(model, DEMO / f"{name}.pt")
    with np.load(DEMO / "digits.npz") as arrays:
        images = np.concatenate([arrays["train_images"], arrays["test_images"]])
        labels = np.concatenate([arrays["train_labels"], arrays["test_labels"]])
    inputs, targets = torch.from_numpy(images).float() / 16, torch.from_numpy(labels).long()
    return Workload(name, f"{title}, {len(targets)} digits", "shipped weights, UCI digits", model, inputs, targets)


def text(name: str, title: str, folder: Path, **sizes: int) -> Workload:
    """A character model with random weights, on windows of a text where `folder` has it, else on random tokens."""
    model = _seeded("configs/text/model.py", name, vocabulary=VOCABULARY, width=WIDTH, **sizes)
    path = folder / "tinyshakespeare.txt"
    if path.is_file():
        sequences = usercode.load("configs/text/data.py:sequences", ROOT)
        inputs, targets = sequences(path, length=LENGTH, count=SEQUENCES)
    else:
        tokens = torch.randint(VOCABULARY, (SEQUENCES, LENGTH + 1), generator=torch.Generator().manual_seed(0))
        inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    origin = f"random weights, {'tiny Shakespeare' if path.is_file() else 'random tokens'}"
    return Workload(name, f"{title}, {SEQUENCES} × {LENGTH} tokens", origin, model, inputs, targets)


def _seeded(file: str, factory: str, **sizes: int) -> nn.Module:
    """The network that a factory of the repository builds, the same every time."""
    build = usercode.load(f"{file}:{factory}", ROOT)
    with usercode.seeded():
        model: nn.Module = build(**sizes)
    return model


# By name, what makes it from the folder of the real data.
WORKLOADS: dict[str, Callable[[Path], Workload]] = {
    "resnet20": lambda folder: resnet("resnet20", 1000, folder),
    "resnet56": lambda folder: resnet("resnet56", 1000, folder),
    "mlp": lambda folder: digits("mlp", "MLP 64-128-128-10", mlp()),
    "cnn": lambda folder: digits("cnn", "batch-norm CNN", cnn()),
    "transformer": lambda folder: text("transformer", "Transformer, 4 layers of 128", folder, layers=4, length=LENGTH),
    "lstm": lambda folder: text("lstm", "LSTM, 2 layers of 128", folder, layers=2),
    "resnet20-10000": lambda folder: resnet("resnet20", 10_000, folder),
    "resnet56-10000": lambda folder: resnet("resnet56", 10_000, folder),
}
LARGE = ("resnet20-10000", "resnet56-10000")  # measured on a GPU unless asked for
