"""Train a flat and a sharp minimum of the same loss, and write them with a job file that measures either.

Usage:
    python scripts/flat_and_sharp.py DIR        writes flat.pt, sharp.pt, model.py, digits.npz and job.toml

The demo's perceptron, on its digits, from the same start, in the same order, with the same steps, until the mean
training loss is 0.15: by plain gradient descent the sharp one, by sharpness-aware minimisation (Foret et al. 2021) the
flat one.
Prints the largest eigenvalue of either's Hessian over all training samples; exits 1 unless they differ by 3 times.
"""

import shutil
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from train_demo import DEMO, Images, batches, evaluate, load_models, load_split

import landscape_cli
from landscape_cli.analyse.names import named
from landscape_cli.profile import Estimate

RADII = {"flat": 0.5, "sharp": 0.0}  # of the ball in which the loss is to stay low
STEP, BATCH, LOSS, EPOCHS = 0.1, 32, 0.15, 60
APART = 3.0

JOB = """\
[model]
factory = "model.py:mlp"
checkpoint = "flat.pt"

[data.train]
source = "digits.npz"
inputs = "train_images"
targets = "train_labels"
scale = 16

[hessian]
top = 1
bottom = 1
"""


def train(radius: float, data: Images) -> nn.Module:
    """The perceptron, trained until its loss is low enough."""
    torch.manual_seed(0)
    model: nn.Module = load_models().mlp()
    order = torch.Generator().manual_seed(0)
    for _ in range(EPOCHS):
        for images, labels in batches(data, BATCH, order):
            step(model, radius, images, labels)
        if evaluate(model, data).loss <= LOSS:
            break
    return model


def step(model: nn.Module, radius: float, images: Tensor, labels: Tensor) -> None:
    """One step down the gradient at the weights, or at the worst ones within the radius, to first order."""
    weights = list(model.parameters())
    gradient = torch.autograd.grad(F.cross_entropy(model(images), labels), weights)
    if radius:
        norm = torch.sqrt(sum((part**2).sum() for part in gradient))  # type: ignore[arg-type]
        worst = [part * (radius / norm) for part in gradient]
        move(weights, worst, 1.0)
        gradient = torch.autograd.grad(F.cross_entropy(model(images), labels), weights)
        move(weights, worst, -1.0)
    move(weights, gradient, -STEP)


@torch.no_grad()
def move(weights: list[nn.Parameter], direction: list[Tensor] | tuple[Tensor, ...], times: float) -> None:
    """Add a multiple of a direction to the weights."""
    for weight, part in zip(weights, direction, strict=True):
        weight.add_(part, alpha=times)


def largest_eigenvalue(model: nn.Module, data: Images) -> Estimate:
    """Of the Hessian of the mean loss over all samples."""
    profile = landscape_cli.scan(model.eval(), data, x=None, sections={"hessian": {"top": 1, "bottom": 1}})
    return named(landscape_cli.statistics(profile), "hessian.top")[1]


def main(folder: Path) -> int:
    """Train both, write them, and print how they differ."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("model.py", "digits.npz"):
        shutil.copy(DEMO / name, folder)
    (folder / "job.toml").write_text(JOB, encoding="utf-8")
    data, test, found = load_split("train"), load_split("test"), {}
    for name, radius in RADII.items():
        start = time.perf_counter()
        model = train(radius, data)
        seconds = time.perf_counter() - start
        torch.save(model.state_dict(), folder / f"{name}.pt")
        found[name] = largest_eigenvalue(model, data)
        scores = f"train {evaluate(model, data)}, test {evaluate(model, test)}"
        print(f"{name + '.pt':9} trained in {seconds:.1f} s, {scores}")
        print(f"{'':9} largest eigenvalue {found[name].value:.3f} ± {found[name].stderr:.3f}")
    times = (found["sharp"].value or 0.0) / (found["flat"].value or float("nan"))
    print(f"sharp over flat: {times:.2f}")
    return 0 if times >= APART else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "flat-and-sharp")))
