"""A real network on real data, against values of an independent float64 implementation (shared/data/README.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cifar import resnet20

import landscape_cli
from landscape_cli.cli.main import main
from landscape_cli.measure.checkpoint import load_into
from landscape_cli.measure.lanczos import lanczos
from landscape_cli.measure.losses import make_loss
from landscape_cli.measure.precision import in_double
from landscape_cli.measure.problem import make_problem
from landscape_cli.measure.routes import make_objective
from landscape_cli.profile import Profile
from landscape_cli.settings import DataSettings, LossSettings, ModelSettings

NET = Path(__file__).with_name("cifar.py")
REFERENCE = "resnet20_reference.npz"
SharedData = Callable[[str], Path]
KNOWN = {  # (network, images): loss, accuracy
    ("resnet20", "test"): (0.375512, 0.917258),
    ("resnet56", "test"): (0.334212, 0.932624),
}
CHECKPOINTS = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}


def scanned(shared_data: SharedData, network: str, images: str, out: Path, *more: str) -> Profile:
    """A scan of a published CIFAR network, its planes and rows as `more` says."""
    split = {
        "source": shared_data("cifar10_subset.npz"), "inputs": f"{images}_images", "targets": f"{images}_labels",
        "scale": 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
    }  # fmt: skip
    sets = [f"--set=data.{images}.{key}={value}" for key, value in split.items()]
    model = ["--model", f"{NET}:{network}", "--checkpoint", str(shared_data(CHECKPOINTS[network]))]
    assert main(["scan", *model, *sets, "--metric=accuracy", "-o", str(out), "-q", *more]) == 0
    return landscape_cli.load(out)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "images"), KNOWN)
def test_the_centre_has_the_published_loss_and_accuracy(
    shared_data: SharedData, tmp_path: Path, network: str, images: str
) -> None:
    profile = scanned(shared_data, network, images, tmp_path / "run.h5")
    loss, accuracy = KNOWN[network, images]
    assert profile.centre[images].loss == pytest.approx(loss, rel=2e-6)
    assert profile.centre[images].metrics["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert profile.provenance.facts["selected"] == {"resnet20": 269_722, "resnet56": 853_018}[network]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance", "step"), [("float32", 2e-5, 4), ("float64", 1e-10, 8)])
def test_the_surface_is_the_reference(
    shared_data: SharedData, tmp_path: Path, dtype: str, tolerance: float, step: int
) -> None:
    """Every fourth (eighth) row and column: the corners, the edges' middles and the centre."""
    path = shared_data(REFERENCE)
    with np.load(path) as held:
        axis, loss, sem, accuracy = (held[name] for name in ("coordinates", "loss", "loss_sem", "accuracy"))
    axis, every = axis[::step].tolist(), np.s_[::step, ::step]
    plane = [f"--x={axis}", f"--y={axis}", *[f"--directions=file:{path}#direction_{a}" for a in "xy"]]
    rows = ["--set=data.train.rows=0:1000", f"--dtype={dtype}"]
    surface = scanned(shared_data, "resnet20", "train", tmp_path / "run.h5", *plane, *rows).planes["main"].surface
    np.testing.assert_allclose(surface.loss, loss[every], rtol=tolerance)
    np.testing.assert_array_equal(surface.metrics["accuracy"], accuracy[every])
    # 64 groups give the error of the mean to a tenth or so; the reference has it from every sample
    errors = surface.loss_groups.std(-1, ddof=1) / 8
    np.testing.assert_allclose(errors, sem[every], rtol=0.4)


@pytest.mark.slow
def test_both_ends_of_the_spectrum_are_the_reference_in_float64(shared_data: SharedData) -> None:
    """Eigenvectors from float32 products, and their quotients uᵀHu from float64 ones: a residual's square from λ."""
    with np.load(shared_data(REFERENCE)) as held:
        wanted = np.r_[held["hessian_top"], np.ravel(held["hessian_bottom"])[:1]]
    model = resnet20()
    load_into(model, shared_data(CHECKPOINTS["resnet20"]))
    with np.load(shared_data("cifar10_subset.npz")) as held:
        images, labels = (torch.from_numpy(held[f"train_{what}"][:128]) for what in ("images", "labels"))
    pixels = DataSettings(scale=255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    splits = {"train": (images, labels, pixels)}
    problem = make_problem(model.eval(), splits, make_loss(LossSettings(), {}), ModelSettings(), torch.device("cpu"))
    single, double = (
        make_objective(each, each.splits["train"], torch.arange(128), batch=64)[0]
        for each in (problem, in_double(problem))
    )
    found = lanczos(single.product, single.size, top=5, bottom=1, tolerance=1e-2, like=single.like)
    vectors = torch.cat([found.top_vectors, found.bottom_vectors]).double()
    products = torch.stack([double.product(vector) for vector in vectors])
    values = ((vectors * products).sum(1) / (vectors**2).sum(1)).numpy()
    residuals = (products - torch.from_numpy(values)[:, None] * vectors).norm(dim=1).numpy()
    assert (residuals <= 2e-2 * np.abs(values)).all()
    np.testing.assert_allclose(values[:5], wanted[:5], rtol=1e-5)
    np.testing.assert_allclose(values[5], wanted[5], rtol=0.02)
