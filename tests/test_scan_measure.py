"""From a job to a filled record: the centre is checked, the end of a line is checked, a resumed plane is the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from problems import itself
from torch import Tensor, nn

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.jobs import Layer, resolve
from landscape_cli.measure.directions import Plane, make_plane
from landscape_cli.measure.losses import make_loss
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem, make_problem
from landscape_cli.measure.scan import fill, load_planes, load_problem, measure_centre, new_record
from landscape_cli.measure.usercode import UserCode
from landscape_cli.profile import PlaneRecord
from landscape_cli.settings import (
    DataSettings,
    Job,
    LossSettings,
    ModelSettings,
    PlaneSettings,
    plane_with_defaults,
)

CPU = torch.device("cpu")
COUNT = 40


def pairs(count: int = COUNT, seed: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=generator), torch.randint(0, 3, (count,), generator=generator)


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def problem_of(model: nn.Module, parameters: tuple[str, ...] = ("*",), **splits: tuple[Tensor, Tensor]) -> Problem:
    made = {name: (*split, DataSettings()) for name, split in (splits or {"train": pairs()}).items()}
    loss = make_loss(LossSettings(metrics=["accuracy"]), {})
    return make_problem(model, made, loss, ModelSettings(parameters=list(parameters)), CPU)


def plane_of(problem: Problem, folder: Path = Path(), **asked: Any) -> Plane:
    given = PlaneSettings(**{"x": "-1:1:4", "y": "-1:1:3", **asked})
    return make_plane("main", plane_with_defaults("main", given, 0), problem, ModelSettings(), folder, {})


def plan_of(batch: int = 16, passes: int = 1) -> Plan:
    return Plan("in place", batch, passes, 1)


def record_of(problem: Problem, plane: Plane, plan: Plan) -> PlaneRecord:
    return new_record(problem, plane, measure_centre(problem, plan), plan)


# The centre


def test_the_centre_is_the_checkpoints_own_loss_on_every_split() -> None:
    model, test = net(), pairs(25, seed=9)
    problem = problem_of(model, train=pairs(), test=test)
    centre = measure_centre(problem, plan_of(7))
    for name, (inputs, targets) in {"train": pairs(), "test": test}.items():
        expected = F.cross_entropy(model(inputs), targets).item()
        assert centre[name].loss == pytest.approx(expected, rel=1e-6)
        assert centre[name].plain_loss == pytest.approx(expected, rel=1e-6)
        assert centre[name].samples == len(targets)
        assert np.average(centre[name].loss_groups, weights=centre[name].group_sizes) == pytest.approx(
            expected, rel=1e-6
        )


class MixesSamples(nn.Module):
    """Subtracts the mean of the batch, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.linear(inputs - inputs.mean(0))
        return out


@pytest.mark.parametrize("batch", [1, 7, COUNT // 2, COUNT])
def test_a_model_that_mixes_the_samples_of_a_batch_is_refused_at_any_batch_size(batch: int) -> None:
    with pytest.raises(LandscapeError, match="plain pass") as caught:
        measure_centre(problem_of(MixesSamples()), plan_of(batch))
    assert caught.value.code == ExitCode.USAGE
    assert "batch" in caught.value.hint


def test_a_large_split_in_batches_of_a_hundred_is_checked_too() -> None:
    with pytest.raises(LandscapeError, match="plain pass"):
        measure_centre(problem_of(MixesSamples(), train=pairs(300)), plan_of(100))


def test_two_samples_one_at_a_time_are_checked_too() -> None:
    with pytest.raises(LandscapeError, match="plain pass"):
        measure_centre(problem_of(MixesSamples(), train=pairs(2)), plan_of(1))


class Value(nn.Module):
    """The loss of sample 7 is `value`, of every other 1."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.value = value

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.where(inputs == 7, self.value, self.weight)[:, None]


def value_problem(value: float) -> Problem:
    code = {"itself": UserCode("itself", itself, "", Path())}
    made = {"data": (torch.arange(20.0), torch.zeros(20), DataSettings())}
    return make_problem(Value(value), made, make_loss(LossSettings("itself"), code), ModelSettings(), CPU)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")], ids=str)
def test_a_centre_that_is_not_finite_is_inconclusive(value: float) -> None:
    with pytest.raises(LandscapeError, match="not finite") as caught:
        measure_centre(value_problem(value), plan_of())
    assert caught.value.code == ExitCode.INCONCLUSIVE


def test_a_centre_that_is_finite_is_taken() -> None:
    assert measure_centre(value_problem(21.0), plan_of())["data"].loss == 2.0


# The end of a line to another checkpoint


def end_of(folder: Path, change: Callable[[nn.Sequential], object]) -> None:
    """Another checkpoint of the network, saved as end.pt."""
    other = net()
    with torch.no_grad():
        change(other)
    torch.save(other.state_dict(), folder / "end.pt")


def test_a_checkpoint_that_differs_in_selected_parameters_alone_is_reached(tmp_path: Path) -> None:
    end_of(tmp_path, lambda other: other.get_parameter("2.weight").add_(1))
    problem = problem_of(net(), ("2.*",))
    plane = plane_of(problem, tmp_path, x="0:1:2", y=None, directions=["checkpoint:end.pt"])
    record_of(problem, plane, plan_of())


def test_a_checkpoint_that_differs_in_other_parameters_is_refused(tmp_path: Path) -> None:
    end_of(tmp_path, lambda other: [p.mul_(2) for p in other.parameters()])
    model = net()
    before = copy.deepcopy(model.state_dict())
    problem = problem_of(model, ("2.*",))
    plane = plane_of(problem, tmp_path, x="0:1:2", y=None, directions=["checkpoint:end.pt"])
    with pytest.raises(LandscapeError, match="coordinate 1 of main"):
        record_of(problem, plane, plan_of())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# Filling


def filled(problem: Problem, plane: Plane, plan: Plan) -> PlaneRecord:
    record = record_of(problem, plane, plan)
    for _ in fill(record, problem, plane, plan):
        pass
    return record


def assert_same(a: PlaneRecord, b: PlaneRecord) -> None:
    for split, one in a.surfaces.items():
        other = b.surfaces[split]
        np.testing.assert_array_equal(one.loss, other.loss)
        np.testing.assert_array_equal(one.loss_groups, other.loss_groups)
        np.testing.assert_array_equal(one.metrics["accuracy"], other.metrics["accuracy"])
        np.testing.assert_array_equal(one.measured, other.measured)


def two_splits() -> Problem:
    return problem_of(net(), train=pairs(), test=pairs(25, seed=9))


def test_a_new_record_holds_nothing_and_a_filled_one_everything() -> None:
    problem, plan = two_splits(), plan_of()
    plane = plane_of(problem)
    record = record_of(problem, plane, plan)
    assert not record.measured.any()
    assert np.isnan(record.surface.loss).all()
    assert sum(block.stop - block.start for block in fill(record, problem, plane, plan)) == 12
    assert record.complete
    assert all(np.isfinite(surface.loss_groups).all() for surface in record.surfaces.values())


@pytest.mark.parametrize("passes", [1, 5], ids=["a point a pass", "five points a pass"])
@pytest.mark.parametrize("stop", [1, 2, 11])
def test_an_interrupted_plane_is_resumed_to_the_bit(stop: int, passes: int) -> None:
    problem, plan = two_splits(), plan_of(7, passes)
    plane = plane_of(problem)
    record, done = record_of(problem, plane, plan), 0
    blocks = fill(record, problem, plane, plan)
    while done < stop:
        block = next(blocks)
        done += block.stop - block.start
    blocks.close()  # type: ignore[attr-defined]
    assert record.measured.sum() == done
    again = copy.deepcopy(record)
    assert sum(block.stop - block.start for block in fill(again, problem, plane, plan)) == 12 - done
    assert_same(again, filled(problem, plane, plan))


def test_only_what_is_missing_is_measured() -> None:
    problem, plan = two_splits(), plan_of()
    plane = plane_of(problem)
    record, whole = filled(problem, plane, plan), filled(problem, plane, plan)
    missing = np.zeros((4, 3), dtype=bool)
    missing[[0, 2, 3], [1, 0, 2]] = True
    for surface in record.surfaces.values():
        surface.measured[missing] = False
        surface.loss[~missing] = -1  # a mark that measuring again would remove
    assert sum(block.stop - block.start for block in fill(record, problem, plane, plan)) == 3
    for split, surface in record.surfaces.items():
        np.testing.assert_array_equal(surface.loss[missing], whole.surfaces[split].loss[missing])
        assert (surface.loss[~missing] == -1).all()


def test_a_point_that_one_split_lacks_is_measured() -> None:
    problem, plan = two_splits(), plan_of()
    plane = plane_of(problem)
    record = filled(problem, plane, plan)
    record.surfaces["test"].measured[1, 1] = False
    assert sum(block.stop - block.start for block in fill(record, problem, plane, plan)) == 1
    assert record.complete


def test_a_point_without_a_number_is_not_measured_again() -> None:
    problem, plan = problem_of(net()), plan_of()
    plane = plane_of(problem)
    record = filled(problem, plane, plan)
    record.surface.loss[1, 1] = np.nan
    assert list(fill(record, problem, plane, plan)) == []


def test_a_filled_plane_agrees_with_the_model_moved_by_hand() -> None:
    problem, plan = problem_of(net()), plan_of()
    plane = plane_of(problem)
    record = filled(problem, plane, plan)
    for point, found in zip(plane.coordinates, record.surface.loss.reshape(-1), strict=True):
        other = net()
        with torch.no_grad():
            for share, direction in zip(point, plane.directions, strict=True):
                for name, parameter in other.named_parameters():
                    parameter.add_(float(share) * direction.parameters[name])
        assert found == pytest.approx(F.cross_entropy(other(pairs()[0]), pairs()[1]).item(), rel=1e-5)


# From a job

MODEL = """
import torch

def build(width=4):
    torch.manual_seed(0)
    return torch.nn.Linear(width, 3)

def number():
    return 3

def broken():
    raise ValueError("no such dataset")
"""


def job_of(folder: Path, **changes: Any) -> Job:
    """A job of a linear model on 40 samples, both saved in the folder."""
    (folder / "net.py").write_text(MODEL)
    torch.manual_seed(1)
    torch.save(nn.Linear(4, 3).state_dict(), folder / "net.pt")
    inputs, targets = pairs()
    np.savez(folder / "val.npz", inputs=inputs.numpy(), targets=targets.numpy())
    keys: dict[str, Any] = {
        "model.factory": "net.py:build",
        "model.checkpoint": "net.pt",
        "data.val.source": "val.npz",
        "planes.main.x": "-1:1:3",
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    values = {tuple(key.split(".")): value for key, value in keys.items()}
    return resolve([Layer("flag", values, folder)], folder)


def test_a_job_becomes_a_problem_that_stands_at_its_checkpoint(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    loaded = load_problem(job, {})
    weights = torch.load(tmp_path / "net.pt", weights_only=True)
    assert all(torch.equal(loaded.problem.centre[name].cpu(), weights[name]) for name in weights)
    expected = F.cross_entropy(F.linear(pairs()[0], weights["weight"], weights["bias"]), pairs()[1]).item()
    assert measure_centre(loaded.problem, plan_of())["val"].loss == pytest.approx(expected, rel=1e-6)
    assert [plane.name for plane in load_planes(job, loaded, {})] == ["main"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__factory": "net.py:number"}, "returned a int"),
        ({"model__factory": "net.py:broken"}, "no such dataset"),
        ({"run__dtype": "float31"}, "unknown dtype"),
        ({"run__device": "abacus"}, "abacus"),
        ({"data__val__source": "net.py:broken"}, "the split val"),
        ({"data__val__source": "none.npz"}, "the split val"),
        ({"loss__name": "cross_entropie"}, "unknown loss"),
        ({"loss__metrics": ["acuracy"]}, "unknown metric"),
    ],
)
def test_a_job_that_cannot_be_loaded_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(LandscapeError, match=message) as caught:
        load_problem(job_of(tmp_path, **changes), {})
    assert caught.value.code == ExitCode.USAGE
