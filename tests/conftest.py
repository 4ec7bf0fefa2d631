"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import landscape_cli

SHARED = Path(__file__).parents[2] / "shared" / "data"
DIGITS = Path(landscape_cli.__file__).parent / "demo" / "digits.npz"

torch.set_num_threads(1)
os.environ["COLUMNS"] = "100"  # as wide as through a pipe, whatever runs the tests


def shared_data(name: str) -> Path:
    """A file of the shared data folder; the test is skipped, by the file's name, where it is absent."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"needs shared/data/{name}")
    return path


@pytest.fixture(autouse=True)
def _on_the_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test but those that are for an accelerator, and the processes that it starts, on a machine that has one."""
    if "gpu" not in request.keywords:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="session", name="shared_data")
def _shared_data() -> Callable[[str], Path]:
    """`shared_data` as a fixture."""
    return shared_data


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """The first 256 handwritten digits: images (256, 1, 8, 8) in [0, 1], labels (256,). Clone before changing them."""
    with np.load(DIGITS) as arrays:
        images, labels = arrays["train_images"][:256], arrays["train_labels"][:256]
    return torch.from_numpy(images).float() / 16, torch.from_numpy(labels).long()
