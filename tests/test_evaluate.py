"""The engine: losses at weight points, against an independent float64 loop and closed forms."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from problems import itself
from torch import Tensor, nn
from torch.func import functional_call

from landscape_cli.errors import LandscapeError
from landscape_cli.measure.directions import Direction, Plane, make_plane
from landscape_cli.measure.evaluate import BLOCK, MOST_PASSES, Results, evaluate, next_passes
from landscape_cli.measure.losses import make_loss
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem, make_problem
from landscape_cli.measure.scan import fill, measure_centre, new_record
from landscape_cli.measure.usercode import UserCode
from landscape_cli.profile import Axis
from landscape_cli.settings import DataSettings, LossSettings, ModelSettings, PlaneSettings, plane_with_defaults

Floats = NDArray[np.float64]
COUNT = 150  # no multiple of 7 or 128, and more than the 64 groups


class Net(nn.Module):
    """A small convolutional network with batch norm, dropout and frozen statistics that are not the default."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.bn = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(12, 4)
        nn.init.normal_(self.bn.running_mean)  # type: ignore[arg-type]
        nn.init.uniform_(self.bn.running_var, 0.5, 2)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.drop(self.bn(self.conv(images)).relu().flatten(1)))
        return out


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def images(count: int = COUNT) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, 1, 4, 4, generator=generator), torch.randint(0, 4, (count,), generator=generator)


def problem_of(
    model: nn.Module,
    split: tuple[Tensor, Tensor] | None = None,
    dtype: str = "float32",
    loss: str = "cross_entropy",
    metrics: Sequence[str] = (),
) -> Problem:
    made = {"data": (*(split or images()), DataSettings())}
    bound = make_loss(LossSettings(loss, list(metrics)), {})
    return make_problem(model, made, bound, ModelSettings(), torch.device("cpu"), dtype)


def directions_of(problem: Problem, axes: int = 2, seed: int = 0, ignore: Sequence[str] = ()) -> tuple[Direction, ...]:
    asked = PlaneSettings("-1:1:3", "-1:1:3" if axes == 2 else None, ignore=list(ignore), seed=seed)
    return make_plane("main", plane_with_defaults("main", asked, 0), problem, ModelSettings(), Path(), {}).directions


def measure(
    problem: Problem,
    directions: Sequence[Direction],
    points: Sequence[Sequence[float]],
    batch: int = 64,
    passes: int = 1,
) -> Results:
    """All points as one block."""
    plan = Plan("in place", batch, passes, 1)
    coordinates = np.array(points, dtype=np.float64).reshape(len(points), -1)
    blocks = [b.results["data"] for b in evaluate(problem, directions, coordinates, "frozen", plan)]
    metrics = {name: np.concatenate([b.metrics[name] for b in blocks]) for name in blocks[0].metrics}
    return Results(np.concatenate([b.loss for b in blocks]), np.concatenate([b.loss_groups for b in blocks]), metrics)


def weights_at(model: nn.Module, directions: Sequence[Direction], point: Sequence[float]) -> dict[str, Tensor]:
    """The state of the model at a point, in float64."""
    state = {name: t.detach().double() if t.is_floating_point() else t for name, t in model.state_dict().items()}
    for coordinate, direction in zip(point, directions, strict=True):
        for name, tensor in direction.parameters.items():
            state[name] = state[name] + coordinate * tensor.double()
    return state


def independent(model: nn.Module, directions: Sequence[Direction], points: Sequence[Sequence[float]]) -> Floats:
    """The mean cross-entropy at each point: one sample at a time, in float64, without our code."""
    plain = copy.deepcopy(model).double().eval()
    inputs, targets = images()
    losses = []
    for point in points:
        state = weights_at(model, directions, point)
        with torch.no_grad():
            each = [
                F.cross_entropy(functional_call(plain, state, (inputs[i : i + 1].double(),)), targets[i : i + 1])
                for i in range(COUNT)
            ]
        losses.append(float(torch.stack(each).mean()))
    return np.array(losses)


POINTS = [(0.0, 0.0), (1.0, 0.0), (-0.5, 0.25), (0.0, -1.0), (3.0, 2.0)]


# Against an independent loop


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_losses_equal_an_independent_loop(dtype: str, tolerance: float) -> None:
    model = net().double() if dtype == "float64" else net()
    problem = problem_of(model, dtype=dtype)
    directions = directions_of(problem)
    expected = independent(model, directions, POINTS)
    assert np.ptp(expected) > 0.1  # the points tell one another apart
    np.testing.assert_allclose(measure(problem, directions, POINTS).loss, expected, rtol=tolerance)


@pytest.mark.parametrize("batch", [1, 7, 128, COUNT, 10 * COUNT])
def test_the_batch_size_changes_nothing_but_rounding(batch: int) -> None:
    problem = problem_of(net(), metrics=["accuracy"])
    directions = directions_of(problem)
    expected, found = (measure(problem, directions, POINTS, b) for b in (50, batch))
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)
    np.testing.assert_allclose(found.loss_groups, expected.loss_groups, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.metrics["accuracy"], expected.metrics["accuracy"])


def test_the_same_plan_repeats_to_the_bit() -> None:
    problem = problem_of(net())
    directions = directions_of(problem)
    one, two = (measure(problem, directions, POINTS, 7) for _ in range(2))
    np.testing.assert_array_equal(one.loss, two.loss)
    np.testing.assert_array_equal(one.loss_groups, two.loss_groups)


@pytest.mark.parametrize("passes", [2, 3, 5, 100])
def test_points_per_pass_change_no_bit(passes: int) -> None:
    problem = problem_of(net())
    directions = directions_of(problem)
    np.testing.assert_array_equal(
        measure(problem, directions, POINTS, passes=passes).loss, measure(problem, directions, POINTS).loss
    )


def test_accuracy_equals_an_independent_count() -> None:
    model = net()
    problem = problem_of(model, metrics=["accuracy"])
    directions = directions_of(problem)
    plain = copy.deepcopy(model).double().eval()
    inputs, targets = images()
    with torch.no_grad():
        outputs = functional_call(plain, weights_at(model, directions, (0.5, 0.5)), (inputs.double(),))
    found = measure(problem, directions, [(0.5, 0.5)]).metrics["accuracy"][0]
    assert found == pytest.approx(np.mean(outputs.argmax(1).numpy() == targets.numpy()), abs=1e-15)


def test_rmse_is_the_root_of_the_mean_and_no_mean_of_roots() -> None:
    inputs, targets = torch.tensor([[0.0], [0.0]]), torch.tensor([[3.0], [5.0]])
    model = nn.Linear(1, 1)
    nn.init.zeros_(model.bias)
    problem = problem_of(model, (inputs, targets), loss="mse", metrics=["rmse"])
    found = measure(problem, (), [()], batch=1)
    assert found.loss[0] == 17.0
    assert found.metrics["rmse"][0] == pytest.approx(17**0.5, rel=1e-15)


# Exact symmetries


def test_swapping_the_axes_changes_no_bit() -> None:
    problem = problem_of(net())
    first, second = directions_of(problem)
    there = measure(problem, (first, second), POINTS)
    back = measure(problem, (second, first), [(b, a) for a, b in POINTS])
    np.testing.assert_array_equal(there.loss_groups, back.loss_groups)


def test_a_mirrored_coordinate_is_a_mirrored_direction_to_the_bit() -> None:
    problem = problem_of(net())
    first, second = directions_of(problem)
    mirrored = Direction({name: -d for name, d in first.parameters.items()}, {}, {})
    there = measure(problem, (first, second), [(-a, b) for a, b in POINTS])
    back = measure(problem, (mirrored, second), POINTS)
    np.testing.assert_array_equal(there.loss_groups, back.loss_groups)


@given(order=st.permutations(list(range(12))))
@settings(max_examples=10, deadline=None)
def test_the_order_of_points_changes_no_bit(order: list[int]) -> None:
    problem = problem_of(net(), images(20))
    directions = directions_of(problem)
    points = [(0.1 * i, 0.3 - 0.07 * i) for i in range(12)]
    straight = measure(problem, directions, points).loss
    shuffled = measure(problem, directions, [points[i] for i in order]).loss
    np.testing.assert_array_equal(shuffled, straight[order])


def test_the_centre_is_exact_even_after_a_point_that_overflows() -> None:
    model = net()
    problem = problem_of(model)
    directions = directions_of(problem)
    weights = {name: tensor.clone() for name, tensor in problem.centre.items()}
    found = measure(problem, directions, [(0, 0), (1e38, 1e38), (0, 0), (-0.0, 0)])
    np.testing.assert_array_equal(found.loss[[2, 3]], found.loss[[0, 0]])
    assert all(torch.equal(problem.centre[name], weights[name]) for name in weights)
    with torch.no_grad():
        expected = F.cross_entropy(model.eval()(images()[0]), images()[1]).item()
    assert found.loss[0] == pytest.approx(expected, rel=1e-6)


def test_the_centre_does_not_depend_on_the_directions() -> None:
    problem = problem_of(net())
    alone = measure(problem, (), [()]).loss
    for directions in (directions_of(problem), directions_of(problem, seed=1)):
        np.testing.assert_array_equal(measure(problem, directions, [(0, 0)]).loss, alone)


# Not finite


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")], ids=str)
def test_what_is_not_finite_is_data(value: float) -> None:
    class Breaks(nn.Module):
        """The loss of the first sample is `value` wherever the weight is above 1.5."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, inputs: Tensor) -> Tensor:
            broken = torch.where((inputs == 0) & (self.weight > 1.5), value, self.weight * 1.0)
            return broken[:, None]

    code = {"itself": UserCode("itself", itself, "", Path())}
    made = {"data": (torch.arange(128.0), torch.zeros(128), DataSettings())}
    bound = make_loss(LossSettings("itself"), code)
    problem = make_problem(Breaks(), made, bound, ModelSettings(), torch.device("cpu"))
    along = Direction({"weight": torch.ones(1)}, {}, {})
    found = measure(problem, (along,), [[0.0], [1.0], [0.25]])
    np.testing.assert_array_equal(found.loss, [1.0, value, 1.25])
    hurt = np.flatnonzero((problem.splits["data"].group_rows == 0).any(1).numpy())
    assert len(hurt) == 1
    np.testing.assert_array_equal(found.loss_groups[1][hurt], [value])
    assert (np.delete(found.loss_groups[1], hurt) == 2.0).all()


def test_weights_that_overflow_give_no_number_and_no_error() -> None:
    problem = problem_of(net(), metrics=["accuracy"])
    found = measure(problem, directions_of(problem), [(1e38, 1e38), (0, 0)])
    assert not np.isfinite(found.loss[0])
    assert np.isfinite(found.loss[1])


# Groups


def group_means(losses: Floats, rows: NDArray[np.int64], weights: Floats) -> Floats:
    """By hand: the weighted mean of the losses of each row list, -1 aside."""
    return np.array([np.average(losses[r[r >= 0]], weights=weights[r[r >= 0]]) for r in rows])


@pytest.mark.parametrize("count", [1, 3, 64, 65, COUNT])
def test_samples_are_dealt_once_into_groups_of_nearly_equal_size(count: int) -> None:
    problem = problem_of(net(), images(count))
    split = problem.splits["data"]
    sizes, rows = split.group_sizes.numpy(), split.group_rows.numpy()
    assert sorted(rows[rows >= 0].tolist()) == list(range(count))
    assert len(sizes) == min(64, count)
    assert sizes.sum() == count
    assert np.ptp(sizes) <= 1


def test_the_deal_is_shuffled_by_its_seed_alone() -> None:
    """Sorted data must not put one class into one group."""

    def dealt(seed: int) -> list[list[int]]:
        made = {"data": (*images(), DataSettings(seed=seed))}
        loss = make_loss(LossSettings(), {})
        rows = make_problem(net(), made, loss, ModelSettings(), torch.device("cpu")).splits["data"].group_rows
        return [sorted(row[row >= 0].tolist()) for row in rows]

    in_order = [list(range(start, COUNT, 64)) for start in range(64)]
    blocks = [part.tolist() for part in np.array_split(np.arange(COUNT), 64)]
    assert dealt(0) == dealt(0)
    assert len({str(sorted(deal)) for deal in (dealt(0), dealt(1), in_order, blocks)}) == 4


def test_group_means_are_the_means_of_their_samples() -> None:
    model = net().double()
    problem = problem_of(model, dtype="float64")
    directions = directions_of(problem)
    found = measure(problem, directions, [(0.5, -0.5)])
    with torch.no_grad():
        outputs = functional_call(
            copy.deepcopy(model).eval(), weights_at(model, directions, (0.5, -0.5)), (images()[0].double(),)
        )
        each = F.cross_entropy(outputs, images()[1], reduction="none").numpy()
    expected = group_means(each, problem.splits["data"].group_rows.numpy(), np.ones(COUNT))
    np.testing.assert_allclose(found.loss_groups[0], expected, rtol=1e-12)
    sizes = problem.splits["data"].group_sizes.numpy()
    assert np.average(found.loss_groups[0], weights=sizes) == pytest.approx(found.loss[0], rel=1e-14)


def test_token_losses_are_weighted_by_the_tokens_that_count() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, 9, (100, 6))
    targets = torch.randint(0, 5, (100, 6))
    targets[torch.rand(100, 6) < 0.4] = -100
    targets[3] = -100  # a sequence in which nothing counts
    model = nn.Embedding(9, 5).double()
    problem = problem_of(model, (tokens, targets), dtype="float64")
    found = measure(problem, (), [()], batch=7)
    with torch.no_grad():
        expected = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten()).item()
        each = F.cross_entropy(model(tokens).movedim(2, 1), targets, reduction="none").numpy()
    assert found.loss[0] == pytest.approx(expected, rel=1e-13)
    counts = (targets != -100).sum(1).numpy()
    rows = problem.splits["data"].group_rows.numpy()
    np.testing.assert_array_equal(problem.splits["data"].group_sizes.numpy(), [counts[r[r >= 0]].sum() for r in rows])
    hand = [each[r[r >= 0]].sum() / max(1, counts[r[r >= 0]].sum()) for r in rows]
    np.testing.assert_allclose(found.loss_groups[0], hand, rtol=1e-12)


# Orientation


class TwoKnobs(nn.Module):
    """The mean loss is x + 10 y³, with x and y its two parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.y = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        return (self.x + 10 * self.y**3 + 0 * inputs).reshape(-1, 1)


def knobs() -> tuple[Problem, Plane]:
    """The problem, and a plane of 3 by 4 points whose axes are x and y themselves."""
    code = {"itself": UserCode("itself", itself, "", Path())}
    made = {"data": (torch.zeros(4), torch.zeros(4), DataSettings())}
    bound = make_loss(LossSettings("itself"), code)
    problem = make_problem(TwoKnobs(), made, bound, ModelSettings(), torch.device("cpu"), "float64")
    one, none = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    along = Direction({"x": one, "y": none}, {}, {}), Direction({"x": none, "y": one}, {}, {})
    x, y = Axis.of([-1.0, 0.0, 3.0]), Axis.of([-2.0, 0.0, 0.5, 1.0])
    return problem, Plane("main", x, y, along, "frozen", np.eye(2), {})


def test_a_grid_is_indexed_x_first() -> None:
    problem, plane = knobs()
    plan = Plan("in place", 4, 1, 1)
    record = new_record(problem, plane, measure_centre(problem, plan), plan)
    for _ in fill(record, problem, plane, plan):
        pass
    expected = [[x + 10 * y**3 for y in (-2, 0, 0.5, 1)] for x in (-1, 0, 3)]
    np.testing.assert_array_equal(record.surface.loss, expected)


def test_each_axis_moves_along_its_own_direction() -> None:
    problem, plane = knobs()
    found = measure(problem, plane.directions, [(2, 0), (0, 2), (-1, 3)]).loss
    np.testing.assert_array_equal(found, [2, 80, 269])


# Closed form


@pytest.mark.parametrize("axis", [0, 1])
def test_the_mean_curvature_of_random_directions_is_the_closed_form(axis: int) -> None:
    """E[dᵀHd] = Σ_f (‖w_f‖²/n_f)·tr H_ff, for a squared error that is exactly quadratic."""
    torch.manual_seed(0)
    scales = torch.tensor([3.0, 1.0, 0.3, 2.0], dtype=torch.float64)
    inputs, targets = torch.randn(30, 4, dtype=torch.float64) * scales, torch.randn(30, 3, dtype=torch.float64)
    model = nn.Linear(4, 3, bias=False).double()
    with torch.no_grad():
        model.weight *= torch.tensor([[0.1], [1.0], [5.0]], dtype=torch.float64)
    problem = problem_of(model, (inputs, targets), dtype="float64", loss="mse")
    block = (2 / 3) * np.trace((inputs.T @ inputs / 30).numpy())  # of each output's own weights; outputs averaged
    expected = sum(float(row @ row) / 4 * block for row in model.weight.detach().numpy())
    drawn = np.array([curvature(problem, directions_of(problem, seed=seed)[axis]) for seed in range(400)])
    assert abs(drawn.mean() - expected) < 4 * drawn.std() / 20
    assert drawn.std() / 20 < 0.05 * expected  # sharp enough to tell it from another normalisation


def curvature(problem: Problem, direction: Direction) -> float:
    down, middle, up = measure(problem, (direction,), [[-1.0], [0.0], [1.0]]).loss
    return float(up - 2 * middle + down)


# Failing and stopping


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def failing(model: nn.Module, error: BaseException) -> None:
    """Let the model raise from now on wherever its weights are not the present ones."""
    weight = next(model.parameters()).detach().clone()

    def hook(module: nn.Module, args: object) -> None:
        if not torch.equal(next(model.parameters()), weight):
            raise error

    model.register_forward_pre_hook(hook)


ERRORS: dict[str, Callable[[], BaseException]] = {
    "out of memory": lambda: torch.OutOfMemoryError("CUDA out of memory"),
    "out of memory on the CPU": lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
    "the model's own": lambda: ValueError("no"),
    "Ctrl-C": lambda: KeyboardInterrupt(),
}


def test_blocks_grow_while_they_are_short_and_shrink_once_a_stop_would_wait() -> None:
    assert [next_passes(1, 0.0), next_passes(8, 0.0), next_passes(MOST_PASSES, 0.0)] == [2, 16, MOST_PASSES]
    assert next_passes(4, 0.6 * BLOCK) == 4
    assert [next_passes(8, 2 * BLOCK), next_passes(1, 2 * BLOCK)] == [4, 1]


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_in_the_middle_keeps_earlier_points_and_puts_the_model_back(kind: str) -> None:
    model = net().train()
    before, problem = state_of(model), problem_of(model)
    failing(model, ERRORS[kind]())
    blocks = evaluate(
        problem, directions_of(problem), np.array([[0.0, 0], [1, 0]]), "frozen", Plan("in place", 64, 1, 1)
    )
    assert np.isfinite(next(blocks).results["data"].loss).all()
    expected = KeyboardInterrupt if kind == "Ctrl-C" else LandscapeError
    with pytest.raises(expected) as caught:
        next(blocks)
    if kind.startswith("out of memory"):
        assert "more memory" in getattr(caught.value, "hint", "")  # not even one sample fits
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training


def test_stopping_in_the_middle_puts_the_model_back() -> None:
    model = net().train()
    before, problem = state_of(model), problem_of(model)
    blocks = evaluate(problem, directions_of(problem), np.ones((3, 2)), "frozen", Plan("in place", 64, 1, 1))
    next(blocks)
    blocks.close()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
