"""What an accelerator measures is what the CPU measures. Skipped, by name, where there is no CUDA device."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_strategies import MODELS, by_hand, case, measured
from torch import Tensor, nn

import landscape_cli
from landscape_cli.cli.main import main
from landscape_cli.demo.model import cnn, mlp
from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure import problem as problems
from landscape_cli.measure import strategies
from landscape_cli.measure.directions import Direction, Plane
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.strategies import STRATEGIES
from landscape_cli.measure.usercode import load, seeded
from landscape_cli.profile import Profile

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GPU = torch.device("cuda")
ROOT = Path(__file__).parents[1]
DEMO = Path(landscape_cli.__file__).parent / "demo"
LOSS, NUMBER = 1e-5, 1e-3  # relative: mean losses between devices, and what is computed from them or their derivatives
NOISE = 0.02  # of a standard error, where a number is known no better
SECTIONS: dict[str, dict[str, Any]] = {
    "gradient": {},
    "hessian": {"density": True, "starts": 2, "steps": 8, "per_layer": True, "samples": 128},
    "sharpness": {"draws": 4, "starts": 2, "ascent": 4, "samples": 128, "relative_flatness": True, "fisher_rao": True},
}


def shipped(build: Callable[[], nn.Module], name: str) -> nn.Module:
    state = torch.load(DEMO / f"{name}.pt", weights_only=True)
    model = build()
    model.load_state_dict(state.get("state_dict", state))
    return model.eval()


def character(name: str, **sizes: int) -> nn.Module:
    with seeded():
        model: nn.Module = load(f"configs/text/model.py:{name}", ROOT)(vocabulary=96, width=32, **sizes)
    return model.eval()


def tokens() -> tuple[Tensor, Tensor]:
    text = torch.randint(96, (64, 17), generator=torch.Generator().manual_seed(0))
    return text[:, :-1].contiguous(), text[:, 1:].contiguous()


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: shipped(mlp, "mlp"),
    "cnn": lambda: shipped(cnn, "cnn"),
    "transformer": lambda: character("transformer", layers=2, length=16),
    "lstm": lambda: character("lstm", layers=2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_number_is_the_cpus(name: str, digits: tuple[Tensor, Tensor]) -> None:
    data = tokens() if name in ("transformer", "lstm") else digits

    @functools.cache
    def on(device: str) -> Profile:
        axes: Any = {"x": "-0.5:0.5:5", "y": "-0.5:0.5:3"}
        return landscape_cli.scan(
            NETWORKS[name](), data, **axes, metrics=["accuracy"], device=device, sections=SECTIONS
        )

    there, here = on("cuda").planes["main"].surface, on("cpu").planes["main"].surface
    np.testing.assert_allclose(there.loss, here.loss, rtol=LOSS)
    np.testing.assert_allclose(there.loss_groups, here.loss_groups, rtol=10 * LOSS, atol=1e-6)
    np.testing.assert_allclose(there.metrics["accuracy"], here.metrics["accuracy"], atol=1 / 256)
    found, expected = (dict(numbers(landscape_cli.statistics(on(device)))) for device in ("cuda", "cpu"))
    assert found.keys() == expected.keys()
    apart = {key: (found[key], expected[key]) for key in found if not alike(found[key], expected[key])}
    assert not apart


def numbers(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every estimate of a tree of statistics, by its path."""
    if hasattr(tree, "stderr"):
        yield path, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from numbers(value, f"{path}.{key}")
    elif isinstance(tree, list | tuple):
        for i, value in enumerate(tree):
            yield from numbers(value, f"{path}.{i}")


def alike(a: Any, b: Any) -> bool:
    if a.value is None or b.value is None or not (math.isfinite(a.value) and math.isfinite(b.value)):
        return a.status == b.status and (a.value == b.value or a.value is None or math.isnan(a.value))
    apart = abs(a.value - b.value) <= NUMBER * abs(b.value) + NOISE * (b.stderr or 0.0) + 1e-7
    return bool(a.status == b.status and a.bound == b.bound and apart)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-13)])
def test_a_strategy_gives_the_losses_of_a_plain_float64_loop_on_the_cpu(
    name: str, strategy: str, dtype: str, tolerance: float
) -> None:
    problem, plane, reference = case(name, dtype, device=GPU)
    expected = by_hand(problem, on_cpu(plane), reference)
    for plan in (Plan(strategy, 7, 1, 1), Plan(strategy, 33, 2 if strategy in strategies.MANY else 1, 1)):
        try:
            found = measured(problem, plane, plan)
        except LandscapeError:
            assert strategy != "in place"
            assert strategy not in MODELS[name][2]
            return
        np.testing.assert_allclose(found, expected, rtol=tolerance)


def on_cpu(plane: Plane) -> Plane:
    def moved(direction: Direction) -> Direction:
        return replace(direction, parameters={n: t.cpu() for n, t in direction.parameters.items()})

    return replace(plane, directions=tuple(moved(d) for d in plane.directions))


def test_the_same_pass_twice_is_the_same_to_the_bit() -> None:
    problem, plane, _ = case("resnet", device=GPU)
    one, two = (measured(problem, plane, Plan("folded", 33, 1, 1)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_samples_that_do_not_fit_are_streamed_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, plane, _ = case("resnet", device=GPU)
    monkeypatch.setattr(problems, "free_bytes", lambda device: 0.0)
    streamed, _, _ = case("resnet", device=GPU)
    inputs = streamed.splits["data"].inputs
    assert isinstance(inputs, Tensor)
    assert inputs.device.type == "cpu"
    assert inputs.is_pinned()
    for plan in (Plan("in place", 7, 1, 1), Plan("folded", 33, 1, 1)):
        np.testing.assert_array_equal(measured(streamed, plane, plan), measured(problem, plane, plan))


class Wide(nn.Module):
    """Needs 32 MiB for each sample of a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.unsqueeze(-1).expand(-1, -1, 1 << 22).contiguous()
        return wide.mean(-1) * self.weight


def test_memory_that_is_full_halves_the_pass_and_goes_on() -> None:
    """A real refusal of the allocator: 32 samples of 32 MiB where 256 MiB may be had."""
    data = (torch.randn(32, 2, generator=torch.Generator().manual_seed(0)), torch.randint(0, 2, (32,)))
    expected = landscape_cli.scan(Wide(), data, x="-1:1:3", ignore=[], device="cpu", batch_size=2)
    _, total = torch.cuda.mem_get_info()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((1 << 28) / total)
    try:
        found = landscape_cli.scan(Wide(), data, x="-1:1:3", ignore=[], device="cuda", batch_size=32)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_allclose(found.planes["main"].surface.loss, expected.planes["main"].surface.loss, rtol=LOSS)


def test_the_model_is_where_and_as_it_was(digits: tuple[Tensor, Tensor]) -> None:
    model = NETWORKS["cnn"]().to("cuda")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    landscape_cli.scan(model, digits, x="-1:1:3", y="-1:1:3", sections=["gradient"])
    for name, tensor in model.state_dict().items():
        assert tensor.device == before[name].device
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("policy", ["frozen", "interpolate", "recompute"])
def test_each_policy_of_batch_norm_is_the_cpus(policy: str, digits: tuple[Tensor, Tensor]) -> None:
    how: Any = {"x": "0:1:3", "directions": [f"checkpoint:{DEMO / 'cnn_large_batch.pt'}"], "batchnorm": policy}
    there, here = (landscape_cli.scan(NETWORKS["cnn"](), digits, device=device, **how) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(there.planes["main"].surface.loss, here.planes["main"].surface.loss, rtol=LOSS)


@pytest.mark.parametrize("directions", [["gradient", "random"], ["hessian:1", "hessian:2"]])
def test_directions_that_are_computed_are_the_cpus(directions: list[str], digits: tuple[Tensor, Tensor]) -> None:
    how: Any = {"x": "-0.3:0.3:3", "y": "-0.3:0.3:3", "directions": directions, "dtype": "float64"}
    there, here = (landscape_cli.scan(NETWORKS["mlp"](), digits, device=device, **how) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(there.planes["main"].surface.loss, here.planes["main"].surface.loss, rtol=NUMBER)


def test_an_interrupted_scan_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = [str(DEMO / "job.toml"), "--device=cuda", "--only=main", "-q", "--strategy=folded"]
    assert main(["scan", *job, "-o", "whole.h5"]) == 0
    assert main(["scan", *job, "-o", "parts.h5", "--max-time=0.000001"]) == ExitCode.INTERRUPTED
    assert not landscape_cli.load("parts.h5").complete
    assert main(["scan", *job, "-o", "parts.h5"]) == 0
    whole, parts = (landscape_cli.load(f"{name}.h5") for name in ("whole", "parts"))
    for split in whole.centre:
        one, two = (run.planes["main"].surfaces[split] for run in (whole, parts))
        np.testing.assert_array_equal(one.loss_groups, two.loss_groups)
    assert "cuda" in whole.provenance.device
