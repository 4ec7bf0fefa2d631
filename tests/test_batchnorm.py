"""Batch-norm policies: what the statistics are at a perturbed point, and that nothing of it is left behind."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from landscape_cli.errors import LandscapeError
from landscape_cli.measure.batchnorm import POLICIES, RECOMPUTE_BLOCK
from landscape_cli.measure.directions import Plane, make_plane
from landscape_cli.measure.evaluate import evaluate
from landscape_cli.measure.losses import make_loss
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem, make_problem
from landscape_cli.measure.scan import fill, measure_centre, new_record
from landscape_cli.settings import DataSettings, LossSettings, ModelSettings, PlaneSettings, plane_with_defaults

COUNT = 300  # three training-mode blocks of 100
EPS = 1e-5  # of nn.BatchNorm


class Net(nn.Module):
    """Convolution, batch norm, ReLU, linear, batch norm, linear: the second layer sees what the first normalised."""

    def __init__(self, momentum: float | None = 0.1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.bn1 = nn.BatchNorm2d(3, momentum=momentum)
        self.linear = nn.Linear(12, 5)
        self.bn2 = nn.BatchNorm1d(5, momentum=momentum)
        self.head = nn.Linear(5, 4)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.bn1(self.conv(images)).relu().flatten(1)
        out: Tensor = self.head(self.bn2(self.linear(hidden)).relu())
        return out


def trained(seed: int, momentum: float | None = 0.1) -> Net:
    """A network whose running statistics are not those that it was made with."""
    torch.manual_seed(seed)
    model = Net(momentum).double()
    for layer in (model.bn1, model.bn2):
        nn.init.uniform_(layer.weight, 0.5, 1.5)
        nn.init.normal_(layer.bias)
    for _ in range(5):
        model(torch.randn(64, 2, 4, 4, dtype=torch.float64) * (seed + 1))
    return model.eval()


def samples(count: int = COUNT) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(count, 2, 4, 4, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 4, (count,), generator=generator)


def problem_of(model: nn.Module, **splits: tuple[Tensor, Tensor]) -> Problem:
    made = {name: (*split, DataSettings()) for name, split in (splits or {"train": samples()}).items()}
    loss = make_loss(LossSettings(), {})
    return make_problem(model, made, loss, ModelSettings(), torch.device("cpu"), "float64")


def line_of(problem: Problem, policy: str, directions: list[str], folder: Path = Path()) -> Plane:
    asked = PlaneSettings([0.0, 0.3, 1.0], directions=directions, batchnorm=policy)
    return make_plane("main", plane_with_defaults("main", asked, 0), problem, ModelSettings(), folder, {})


def line_to_another(problem: Problem, policy: str, folder: Path) -> Plane:
    torch.save(trained(1).state_dict(), folder / "other.pt")
    return line_of(problem, policy, ["checkpoint:other.pt"], folder)


def losses(problem: Problem, plane: Plane, batch: int = 128) -> NDArray[np.float64]:
    plan = Plan("in place", batch, 1, 1)
    blocks = evaluate(problem, plane.directions, plane.coordinates, plane.batchnorm, plan)
    return np.concatenate([block.results["train"].loss for block in blocks])


def moved(model: Net, plane: Plane, share: float) -> Net:
    """A copy of the model, its parameters moved along the first direction."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            parameter.add_(share * plane.directions[0].parameters[name])
    return other


def plain(model: nn.Module, split: tuple[Tensor, Tensor]) -> float:
    with torch.no_grad():
        return float(F.cross_entropy(model(split[0]), split[1]))


def recomputed(model: Net, images: Tensor, block: int) -> Net:
    """A copy whose statistics are pooled, layer by layer, over training-mode blocks; written out by hand."""
    other = copy.deepcopy(model)

    def block_normalised(x: Tensor, layer: nn.BatchNorm1d | nn.BatchNorm2d) -> Tensor:
        dims = [0, *range(2, x.dim())]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        mean, variance = x.mean(dims), x.var(dims, unbiased=False)
        scale = layer.weight / torch.sqrt(variance + EPS)
        return (x - mean.reshape(shape)) * scale.reshape(shape) + layer.bias.reshape(shape)

    def pooled(x: Tensor, layer: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        values = x.movedim(1, 0).flatten(1).numpy()
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.copy_(torch.from_numpy(values.mean(1)))
        layer.running_var.copy_(torch.from_numpy(values.var(1, ddof=1)))

    with torch.no_grad():
        before = [other.conv(part) for part in torch.split(images, block)]
        pooled(torch.cat(before), other.bn1)
        hidden = [other.linear(block_normalised(x, other.bn1).relu().flatten(1)) for x in before]
        pooled(torch.cat(hidden), other.bn2)
    return other


# Recompute


def test_recomputed_statistics_equal_those_worked_out_by_hand() -> None:
    model = trained(0)
    problem = problem_of(model)
    plane = line_of(problem, "recompute", ["random"])
    expected = [plain(recomputed(moved(model, plane, share), samples()[0], 100), samples()) for share in plane.x.values]
    np.testing.assert_allclose(losses(problem, plane), expected, rtol=1e-10)


def test_blocks_of_the_recomputation_are_nearly_equal_and_below_the_cap() -> None:
    assert -(-COUNT // RECOMPUTE_BLOCK) == 3  # so that the blocks of 100 above are what was meant


def test_recomputing_differs_from_frozen_statistics() -> None:
    problem = problem_of(trained(0))
    recompute, frozen = (losses(problem, line_of(problem, p, ["random"])) for p in ("recompute", "frozen"))
    assert (np.abs(recompute - frozen) > 1e-3).all()


@pytest.mark.parametrize("batch", [1, 7, 128, COUNT])
@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_depends_on_the_batch_size(policy: str, batch: int, tmp_path: Path) -> None:
    problem = problem_of(trained(0))
    plane = line_to_another(problem, policy, tmp_path)
    np.testing.assert_allclose(losses(problem, plane, batch), losses(problem, plane, 50), rtol=1e-12)


def test_every_split_uses_the_statistics_of_the_first() -> None:
    model, held_out = trained(0), (samples(40)[0] * 3 + 1, samples(40)[1])
    problem = problem_of(model, train=samples(), test=held_out)
    plane = line_of(problem, "recompute", ["random"])
    plan = Plan("in place", 64, 1, 1)
    found = [
        b.results["test"].loss[0] for b in evaluate(problem, plane.directions, plane.coordinates, "recompute", plan)
    ]
    expected = [plain(recomputed(moved(model, plane, s), samples()[0], 100), held_out) for s in plane.x.values]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_the_centre_of_a_recomputed_surface_is_the_checkpoint_under_that_policy() -> None:
    model, plan = trained(0), Plan("in place", 64, 1, 1)
    problem = problem_of(model)
    plane = line_of(problem, "recompute", ["random"])
    own = new_record(problem, plane, measure_centre(problem, plan), plan).surfaces["train"].centre
    assert own.loss == pytest.approx(plain(recomputed(model, samples()[0], 100), samples()), rel=1e-10)


def test_recomputing_without_batch_norm_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 4)).double()
    with pytest.raises(LandscapeError, match="no batch norm"):
        line_of(problem_of(model), "recompute", ["random"])


# Frozen


def test_frozen_statistics_are_the_checkpoints_everywhere() -> None:
    model = trained(0)
    problem = problem_of(model)
    plane = line_of(problem, "frozen", ["random"])
    expected = [plain(moved(model, plane, share), samples()) for share in plane.x.values]
    np.testing.assert_allclose(losses(problem, plane), expected, rtol=1e-12)


# A line to another checkpoint


def end_expected(policy: str, start: Net, end: Net) -> Net:
    """The second checkpoint, its statistics by the policy."""
    if policy == "recompute":
        return recomputed(end, samples()[0], 100)
    other = copy.deepcopy(end)
    if policy == "frozen":
        other.bn1.load_state_dict({**end.bn1.state_dict(), **buffers(start.bn1)})
        other.bn2.load_state_dict({**end.bn2.state_dict(), **buffers(start.bn2)})
    return other


def buffers(layer: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in layer.named_buffers()}


@pytest.mark.parametrize("policy", POLICIES)
def test_the_end_of_a_line_is_the_second_checkpoint_evaluated_plainly(policy: str, tmp_path: Path) -> None:
    start, end = trained(0), trained(1)
    torch.save(end.state_dict(), tmp_path / "end.pt")
    problem, plan = problem_of(start), Plan("in place", 64, 1, 1)
    plane = line_of(problem, policy, ["checkpoint:end.pt"], tmp_path)
    record = new_record(problem, plane, measure_centre(problem, plan), plan)  # verifies coordinate 1 as well
    assert sum(block.stop - block.start for block in fill(record, problem, plane, plan)) == 3
    assert record.surface.loss[-1] == pytest.approx(plain(end_expected(policy, start, end), samples()), rel=1e-10)


def test_interpolated_statistics_move_with_the_weights(tmp_path: Path) -> None:
    start, end = trained(0), trained(1)
    torch.save(end.state_dict(), tmp_path / "end.pt")
    problem = problem_of(start)
    plane = line_of(problem, "interpolate", ["checkpoint:end.pt"], tmp_path)
    between = copy.deepcopy(start)
    a, b = start.state_dict(), end.state_dict()
    mixed = {n: t + 0.3 * (b[n] - t) if t.is_floating_point() else t for n, t in a.items()}
    between.load_state_dict(mixed)
    assert losses(problem, plane)[1] == pytest.approx(plain(between, samples()), rel=1e-10)


def test_a_line_between_checkpoints_interpolates_unless_told(tmp_path: Path) -> None:
    torch.save(trained(1).state_dict(), tmp_path / "end.pt")
    ready = plane_with_defaults("main", PlaneSettings("0:1:3", directions=["checkpoint:end.pt"]), 0)
    assert (ready.batchnorm, ready.normalize, ready.ignore) == ("interpolate", "none", [])


# Nothing is left behind


@pytest.mark.parametrize("momentum", [0.1, None], ids=["exponential", "cumulative"])
@pytest.mark.parametrize("policy", POLICIES)
def test_statistics_momentum_and_modes_are_as_they_were(policy: str, momentum: float | None, tmp_path: Path) -> None:
    model = trained(0, momentum)
    model.bn1.train()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    problem = problem_of(model)
    losses(problem, line_to_another(problem, policy, tmp_path))
    assert [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, state[name])] == []
    assert (model.bn1.momentum, model.bn2.momentum) == (momentum, momentum)
    assert (model.bn1.training, model.bn2.training, model.training) == (True, False, False)


def test_no_hook_is_left_on_a_layer() -> None:
    model = trained(0)
    problem = problem_of(model)
    losses(problem, line_of(problem, "recompute", ["random"]))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("policy", ["interpolate"])
def test_statistics_are_interpolated_only_towards_another_checkpoint(policy: str) -> None:
    with pytest.raises(LandscapeError, match="no direction leads to other statistics"):
        line_of(problem_of(trained(0)), policy, ["random"])
