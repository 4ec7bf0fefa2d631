"""Train the checkpoints of ``landscape demo`` and write them, or check the shipped ones.

Usage:
    python scripts/train_demo.py              retrain and overwrite the shipped checkpoints
    python scripts/train_demo.py --out DIR    write them to another folder
    python scripts/train_demo.py --check      retrain in memory and compare with the shipped ones

Every run is seeded and uses one CPU thread: on one machine with one version of PyTorch the weights come
out bit for bit the same. Another processor or version may round differently, and training amplifies that.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

DEMO = Path(__file__).resolve().parent.parent / "landscape_cli" / "demo"
TOLERANCE = 1e-4  # largest difference of any parameter or buffer that --check accepts

Images = tuple[Tensor, Tensor]
State = dict[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How one checkpoint is trained (SGD with momentum, cosine learning rate) and saved."""

    file: str
    factory: str
    batch_size: int
    epochs: int
    learning_rate: float
    weight_decay: float
    seed: int = 0
    bare: bool = True


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy and number of correct images on one split."""

    loss: float
    correct: int
    total: int

    def __str__(self) -> str:
        """Show the loss and the accuracy."""
        return f"loss {self.loss:.4f} accuracy {self.correct / self.total:7.2%} ({self.correct}/{self.total})"


RECIPES = (
    Recipe("cnn.pt", "cnn", batch_size=32, epochs=25, learning_rate=0.1, weight_decay=5e-4, bare=False),
    # the same start, driven by large batches to a similar training loss (Keskar et al. 2017)
    Recipe("cnn_large_batch.pt", "cnn", batch_size=512, epochs=100, learning_rate=0.1, weight_decay=0.0),
    Recipe("mlp.pt", "mlp", batch_size=32, epochs=25, learning_rate=0.1, weight_decay=5e-4),
)


def load_models() -> ModuleType:
    """Import the demo's model.py by its path."""
    spec = importlib.util.spec_from_file_location("demo_model", DEMO / "model.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {DEMO / 'model.py'}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_split(name: str) -> Images:
    """Return the images of a split, scaled to [0, 1], and their labels."""
    with np.load(DEMO / "digits.npz") as arrays:
        images = torch.from_numpy(arrays[f"{name}_images"]).float() / 16
        labels = torch.from_numpy(arrays[f"{name}_labels"]).long()
    return images, labels


def new_model(recipe: Recipe) -> nn.Module:
    """Return the recipe's network, freshly initialised from its seed."""
    torch.manual_seed(recipe.seed)
    return cast(nn.Module, getattr(load_models(), recipe.factory)())


def batches(data: Images, size: int, order: torch.Generator) -> Iterator[Images]:
    """Yield one epoch of shuffled mini-batches."""
    images, labels = data
    for index in torch.split(torch.randperm(len(labels), generator=order), size):
        yield images[index], labels[index]


def train(recipe: Recipe, data: Images) -> nn.Module:
    """Train the recipe's network from scratch."""
    model = new_model(recipe)
    order = torch.Generator().manual_seed(recipe.seed)
    sgd = torch.optim.SGD(model.parameters(), recipe.learning_rate, momentum=0.9, weight_decay=recipe.weight_decay)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, recipe.epochs)
    for _ in range(recipe.epochs):
        for images, labels in batches(data, recipe.batch_size, order):
            sgd.zero_grad()
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
            sgd.step()
        cosine.step()
    return model


@torch.no_grad()
def evaluate(model: nn.Module, data: Images) -> Score:
    """Score the network, in evaluation mode, on a whole split."""
    images, labels = data
    logits = model.eval()(images)
    correct = int((logits.argmax(1) == labels).sum())
    return Score(F.cross_entropy(logits, labels).item(), correct, len(labels))


def save(model: nn.Module, recipe: Recipe, folder: Path) -> None:
    """Write the checkpoint: a bare state dict, or one with its epoch beside it."""
    state = model.state_dict()
    torch.save(state if recipe.bare else {"state_dict": state, "epoch": recipe.epochs}, folder / recipe.file)


def load_shipped(recipe: Recipe) -> nn.Module:
    """Return the recipe's network with the shipped weights."""
    checkpoint = torch.load(DEMO / recipe.file, weights_only=True)
    model = new_model(recipe)
    model.load_state_dict(checkpoint if recipe.bare else checkpoint["state_dict"])
    return model


def largest_difference(first: State, second: State) -> float:
    """Return the largest absolute difference between two state dicts of the same keys."""
    return max((first[key].double() - second[key].double()).abs().max().item() for key in first)


def agrees(model: nn.Module, recipe: Recipe, test: Images) -> bool:
    """Compare a retrained network with the shipped one and print the figures."""
    shipped = load_shipped(recipe)
    difference = largest_difference(model.state_dict(), shipped.state_dict())
    images = abs(evaluate(model, test).correct - evaluate(shipped, test).correct)
    good = difference <= TOLERANCE and images <= 1
    print(f"  max abs difference {difference:.2e}, test images {images}: {'ok' if good else 'DIFFERS'}")
    return good


def report(model: nn.Module, recipe: Recipe, seconds: float, splits: dict[str, Images]) -> None:
    """Print what was trained, for how long, and the scores on every split."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{recipe.file}: {parameters:,} parameters, trained in {seconds:.1f} s")
    for name, data in splits.items():
        print(f"  {name:5} {evaluate(model, data)}")


def run(recipe: Recipe, splits: dict[str, Images], out: Path | None) -> bool:
    """Train one checkpoint, then write it to a folder or, without one, check the shipped file."""
    start = time.perf_counter()
    model = train(recipe, splits["train"])
    report(model, recipe, time.perf_counter() - start, splits)
    if out is None:
        return agrees(model, recipe, splits["test"])
    save(model, recipe, out)
    return True


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the checkpoints of `landscape demo`.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true", help="retrain and compare with the shipped files")
    choice.add_argument(
        "--out", type=Path, default=DEMO, metavar="DIR", help="where to write; the demo folder if not given"
    )
    return parser.parse_args()


def main() -> int:
    """Train every checkpoint on one thread; return 1 if a check fails."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out: Path | None = None if arguments.check else arguments.out
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    splits = {name: load_split(name) for name in ("train", "test")}
    good = [run(recipe, splits, out) for recipe in RECIPES]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
