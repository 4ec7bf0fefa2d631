"""Models that a trace, or a fused kernel, would get wrong: each is measured as a plain loop does, or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import test_strategies as usual
import torch
import torch.nn.functional as F
from test_strategies import by_hand, case, measured
from torch import Tensor, nn

from landscape_cli.errors import LandscapeError
from landscape_cli.measure import planner, strategies
from landscape_cli.measure.directions import Plane
from landscape_cli.measure.folding import fold, trace
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem
from landscape_cli.profile import Axis
from landscape_cli.settings import RunSettings


class Convolutions(nn.Module):
    """Three convolutions of one width and a head; `between` says what is done with them."""

    def __init__(self, between: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.into, self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.norm, self.relu, self.head = nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Linear(4, 3)
        self.scale, self.table = nn.Parameter(torch.tensor([0.5])), nn.Parameter(torch.randn(2, 5, 5))
        self.add, self.square = nn.Bilinear(4, 4, 4), nn.Linear(4, 4)
        self.out_of_sight = [self.scale]
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.between(self, self.into(x)).mean((2, 3)))
        return out


def changed_before_it_is_read(m: Any, x: Tensor) -> Tensor:
    h = m.b(x)
    return h + m.norm(m.a(m.relu(x)))  # type: ignore[no-any-return]


def changed_after_it_was_read(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    x.mul_(2)
    return F.relu(y) + x


def changed_through_a_view(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    x.view(-1).mul_(2)
    return y + x  # type: ignore[no-any-return]


def a_sum_that_others_see(m: Any, x: Tensor) -> Tensor:
    skip = x
    x += m.a(F.relu(x))
    return x * skip


def a_sum_for_its_effect(m: Any, x: Tensor) -> Tensor:
    x.add_(m.a(F.relu(x)))
    return x


def a_module_called_add(m: Any, x: Tensor) -> Tensor:
    y = x.mean((2, 3))
    return m.add(m.square(y), y)[:, :, None, None]  # type: ignore[no-any-return]


def a_sum_of_integers(m: Any, x: Tensor) -> Tensor:
    return F.relu(m.a(x) + (x > 0).long())


def every_activation_after_a_sum(m: Any, x: Tensor) -> Tensor:
    return F.silu(m.a(x) + x) + F.gelu(m.norm(m.b(x)) + x)


def one_activation_used_everywhere(m: Any, x: Tensor) -> Tensor:
    return m.relu(m.norm(m.a(m.relu(m.b(x)))) + x)  # type: ignore[no-any-return]


def an_image_without_a_batch(m: Any, x: Tensor) -> Tensor:
    table = F.relu(m.into(m.table))
    return m.a(x) + table.mean((1, 2))[:, None, None]  # type: ignore[no-any-return]


def a_weight_as_a_number(m: Any, x: Tensor) -> Tensor:
    number: float = m.out_of_sight[0].item()
    return F.relu(m.a(x)) * number


CASES = [
    changed_before_it_is_read, changed_after_it_was_read, changed_through_a_view, a_sum_that_others_see,
    a_sum_for_its_effect, a_module_called_add, a_sum_of_integers, every_activation_after_a_sum,
    one_activation_used_everywhere, an_image_without_a_batch,
]  # fmt: skip


@pytest.fixture
def odd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Problem, Plane, Any]:
    made: tuple[Any, ...] = (lambda: Convolutions(request.param), (2, 5, 5), set())
    monkeypatch.setitem(usual.MODELS, "odd", made)
    return case("odd")


@pytest.mark.parametrize("odd", CASES, indirect=True, ids=lambda function: function.__name__)
def test_what_is_folded_is_right_or_refused(odd: tuple[Problem, Plane, Any]) -> None:
    problem, plane, reference = odd
    expected = by_hand(problem, plane, reference)
    with problem.measuring():
        trace(problem)  # they are all traced: what is refused is refused for what it does
    for last in (False, True):
        try:
            found = measured(problem, plane, Plan("folded", 9, 1, 1, last))
        except LandscapeError:
            continue
        np.testing.assert_allclose(found, expected, rtol=2e-6)


@pytest.mark.parametrize("odd", [*CASES, a_weight_as_a_number], indirect=True, ids=lambda function: function.__name__)
@pytest.mark.parametrize("short", [0.0, 1e9])
def test_what_the_planner_takes_is_right(
    odd: tuple[Problem, Plane, Any], short: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "SHORT", short)
    problem, plane, reference = odd
    square = replace(plane, x=Axis.of("-1:1:3"), y=Axis.of("-1:1:3"))
    plan = planner.choose(problem, [square]).plan
    np.testing.assert_allclose(measured(problem, plane, plan), by_hand(problem, plane, reference), rtol=2e-6)


@pytest.mark.parametrize("odd", [a_weight_as_a_number], indirect=True)
@pytest.mark.parametrize("seed", range(4))
def test_a_parameter_of_one_entry_moves_at_the_points_that_are_checked(
    odd: tuple[Problem, Plane, Any], seed: int
) -> None:
    _, plane, _ = odd
    draw = torch.Generator().manual_seed(seed)
    signs = [1.0 if float(torch.rand(1, generator=draw)) > 0.5 else -1.0 for _ in range(2)]
    moved = []
    for x, y in (("-1:1:3", "-1:1:3"), ("0:1:3", "-1:1:3"), ("0:2:3", "0:1:3")):
        _, _, points = planner._probes([replace(plane, x=Axis.of(x), y=Axis.of(y))])[0]
        moved.append(np.abs(points @ signs).max())
    assert min(moved) > 0.01
    assert plane.name == "main"


@pytest.mark.parametrize("odd", [one_activation_used_everywhere], indirect=True)
def test_one_relu_called_many_times_is_fused_each_time(odd: tuple[Problem, Plane, Any]) -> None:
    with odd[0].measuring():
        graph = fold(odd[0], Plan("folded", 9, 1, 1, channels_last=True)).module
    assert isinstance(graph, torch.fx.GraphModule)
    called = [str(n.target) for n in graph.graph.nodes if n.op == "call_module"]
    assert [name for name in called if not name.startswith("fused_")] == ["into"]  # used twice


def test_hooks_of_the_model_itself_are_not_traced_away() -> None:
    problem, plane, _ = case("residual")
    handle = problem.model.register_forward_hook(lambda module, args, out: out * 2)
    with pytest.raises(LandscapeError, match="hooks"):
        measured(problem, plane, Plan("folded", 9, 1, 1))
    handle.remove()


def root_of_a_negative(m: Any, x: Tensor) -> Tensor:
    return F.relu(m.a(x * m.scale.sqrt()))


def root_of_a_negative_in_a_sum(m: Any, x: Tensor) -> Tensor:
    return F.relu(m.norm(m.b(x * m.scale.sqrt())) + x)


@pytest.mark.parametrize("odd", [root_of_a_negative, root_of_a_negative_in_a_sum], indirect=True)
@pytest.mark.parametrize("last", [False, True])
def test_nan_before_a_relu_stays_nan(odd: tuple[Problem, Plane, Any], last: bool) -> None:
    problem, plane, _ = odd
    along = float(plane.directions[0].parameters["scale"][0])
    point = np.array([[-1.0 / along, 0.0]])  # scale = 0.5 - 1
    assert np.isnan(measured(problem, plane, Plan("in place", 9, 1, 1), point)).all()
    assert np.isnan(measured(problem, plane, Plan("folded", 9, 1, 1, last), point)).all()


def test_nan_before_a_linear_layer_s_relu_stays_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, plane, _ = case("half frozen")
    with torch.no_grad():
        problem.model[0].bias[3] = torch.nan  # type: ignore[index]
    for strategy in ("in place", "folded"):
        assert np.isnan(measured(problem, plane, Plan(strategy, 9, 1, 1))).all()


def failing(problem: Problem, directions: Any, batchnorm: str, plan: Plan) -> Any:
    raise IndexError("tuple index out of range")


def test_a_strategy_that_raises_whatever_is_dropped_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(strategies.STRATEGIES, "folded", failing)
    problem, plane, _ = case("residual")
    choice = planner.choose(problem, [plane])
    assert choice.plan.strategy == "in place"
    assert any("IndexError: tuple index" in note for note in choice.notes)
    with pytest.raises(LandscapeError, match="IndexError"):
        planner.choose(replace(problem, run=RunSettings(strategy="folded")), [plane])


def test_a_stored_plan_that_gives_other_numbers_on_a_new_plane_does_not_suit(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, plane, _ = case("residual")
    plan = Plan("folded", 9, 1, 1)
    assert planner.suits(problem, [plane], plan)
    monkeypatch.setitem(strategies.STRATEGIES, "folded", usual.wrong)
    assert not planner.suits(problem, [plane], plan)


def test_dropout_called_with_its_input_by_name_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.drop, self.head = nn.Linear(12, 8), nn.Dropout(0.5), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.drop(input=torch.tanh(self.into(x))))
            return out

    monkeypatch.setitem(usual.MODELS, "named", (Named, (12,), set()))
    problem, plane, reference = case("named")
    plan = planner.choose(problem, [plane]).plan
    np.testing.assert_allclose(measured(problem, plane, plan), by_hand(problem, plane, reference), rtol=2e-6)


def test_no_more_batches_wait_than_the_workers_can_take() -> None:
    made, done = [0], [0]

    def batches() -> Iterator[Any]:
        for _ in range(50):
            made[0] += 1
            assert made[0] - done[0] <= 6  # two working, four waiting at most
            yield None

    def one(batch: Any) -> None:
        done[0] += 1

    strategies._share(Plan("folded", 1, 1, 2, workers=2), one, batches())
    assert done[0] == 50
