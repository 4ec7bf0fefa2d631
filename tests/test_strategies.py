"""Every strategy gives the losses of a plain float64 loop or says why it cannot; the planner takes no other."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cifar import ResNet
from torch import Tensor, nn

from landscape_cli.errors import LandscapeError
from landscape_cli.measure import planner, strategies
from landscape_cli.measure.directions import Plane, make_plane
from landscape_cli.measure.evaluate import evaluate
from landscape_cli.measure.losses import make_loss
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem, make_problem
from landscape_cli.measure.strategies import STRATEGIES
from landscape_cli.measure.usercode import UserCode
from landscape_cli.profile import Axis, Floats
from landscape_cli.settings import (
    DataSettings,
    LossSettings,
    ModelSettings,
    PlaneSettings,
    RunSettings,
    plane_with_defaults,
)

CPU = torch.device("cpu")
POINTS = np.array([[0.0, 0.0], [0.3, -0.2], [-1.0, 0.7], [0.0, 1.0], [0.5, 0.5]])


def trained(model: nn.Module, inputs: Tensor) -> nn.Module:
    """With running statistics, scales and shifts that are not those that it was made with."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape))
            assert name
        for _ in range(3):
            model.train()(inputs + 0.1 * torch.randn(inputs.shape))
    return model.eval()


class Residual(nn.Module):
    """Convolutions with and without a norm, a sum before a ReLU and one without, two uses of one value."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4, affine=False)
        self.down, self.bn3 = nn.Conv2d(4, 6, 1, stride=2, bias=False), nn.BatchNorm2d(6)
        self.relu = nn.ReLU()
        self.dense, self.bn4, self.head = nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + x
        y = y.relu()
        z = self.bn3(self.down(y)) + 1
        z = z.mean((2, 3))
        out: Tensor = self.head(self.relu(self.bn4(self.dense(z))))
        return out


class Recurrent(nn.Module):
    """An LSTM over a short sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.lstm(x)[0][:, -1])
        return out


class Mixer(nn.Module):
    """A gated network over tokens: every activation, sums with and without one after them, a value used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.into, self.out = nn.LayerNorm(4), nn.Linear(4, 8), nn.Linear(8, 4)
        self.smooth, self.gate, self.drop = nn.Linear(4, 4), nn.Linear(4, 4), nn.Dropout(0.5)
        self.short, self.act = nn.Linear(4, 4), nn.GELU(approximate="tanh")
        self.squash, self.head = nn.Linear(4, 4), nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.out(F.gelu(self.into(self.norm(x)))))
        y = F.relu(self.short(x) + x) + self.act(self.smooth(x)) * torch.sigmoid(self.gate(x))
        z = F.dropout(torch.tanh(self.squash(y)), 0.5, training=self.training) + F.silu(self.gate(y))
        out: Tensor = self.head(z.mean(1))
        return out


def perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 8, bias=False), nn.GELU(), nn.Linear(8, 3)
    )


def normed() -> nn.Module:
    layers = [nn.Linear(12, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 6)]
    return nn.Sequential(*layers, nn.BatchNorm1d(6, affine=False), nn.Sigmoid(), nn.Linear(6, 3))


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12), nn.Linear(12, 3))
    model[2].weight = model[0].weight
    return model


def half_frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    model[0].requires_grad_(False)
    return model


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], set[str]]] = {
    "residual": (Residual, (2, 6, 6), {"folded"}),
    "resnet": (lambda: ResNet(1), (3, 8, 8), {"folded"}),
    "perceptron": (perceptron, (3, 4), {"stacked", "vmap"}),
    "normed": (normed, (12,), {"stacked", "folded", "vmap"}),
    "tied": (tied, (12,), {"stacked", "vmap"}),
    "half frozen": (half_frozen, (12,), {"stacked", "vmap"}),
    "recurrent": (Recurrent, (5, 4), set()),
    "mixer": (Mixer, (5, 4), {"vmap"}),
}
FUSED_LINEAR = ("perceptron", "tied", "half frozen", "recurrent", "mixer")  # folded too, where oneDNN is: in float32


@dataclass(frozen=True)
class Reference:
    """The same network and samples in float64."""

    model: nn.Module
    inputs: Tensor
    targets: Tensor


def case(
    name: str, dtype: str = "float32", count: int = 33, device: torch.device = CPU
) -> tuple[Problem, Plane, Reference]:
    torch.manual_seed(1)
    make, shape, _ = MODELS[name]
    inputs = torch.randn(count, *shape)
    model = trained(make(), inputs)
    targets = torch.randint(0, 3, (count,))
    reference = copy.deepcopy(model).double()
    measured = (model.double() if dtype == "float64" else model).to(device)
    loss = make_loss(LossSettings(metrics=["accuracy"]), {})
    problem = make_problem(measured, {"data": (inputs, targets, DataSettings())}, loss, ModelSettings(), device, dtype)
    settings = plane_with_defaults("main", PlaneSettings([0.0, 1.0], [0.0, 1.0], ignore=[]), 0)
    plane = make_plane("main", settings, problem, ModelSettings(), Path(), {})
    return problem, plane, Reference(reference, inputs.double(), targets)


def by_hand(problem: Problem, plane: Plane, reference: Reference) -> Floats:
    """The mean losses at POINTS in float64 by a loop of its own."""
    model = reference.model
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    losses = []
    for point in POINTS:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in problem.centre:
                    moves = [a * d.parameters[name].double() for a, d in zip(point, plane.directions, strict=True)]
                    parameter.copy_(start[name] + sum(moves))
            losses.append(float(F.cross_entropy(model(reference.inputs), reference.targets)))
    return np.array(losses)


def measured(problem: Problem, plane: Plane, plan: Plan, points: Floats = POINTS) -> Floats:
    blocks = evaluate(problem, plane.directions, points, plane.batchnorm, plan)
    return np.concatenate([block.results["data"].loss for block in blocks])


def plans(name: str, strategy: str) -> list[Plan]:
    many = strategy in strategies.MANY
    several = [] if many else [Plan(strategy, 5, 1, 2, workers=2), Plan(strategy, 5, 1, 2, True, 3)]
    return several + [
        Plan(strategy, batch, points, 1, last)
        for batch in (7, 33)
        for points in ((1, 2, 64) if many else (1,))
        for last in ((False, True) if not many else (False,))
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-13)])
def test_a_strategy_gives_the_losses_of_a_plain_float64_loop_or_refuses(
    name: str, strategy: str, dtype: str, tolerance: float
) -> None:
    problem, plane, reference = case(name, dtype)
    expected = by_hand(problem, plane, reference)
    fused = strategy == "folded" and dtype == "float32" and name in FUSED_LINEAR
    fits = strategy == "in place" or strategy in MODELS[name][2] or fused
    for plan in plans(name, strategy):
        if fits:
            np.testing.assert_allclose(measured(problem, plane, plan), expected, rtol=tolerance)
        elif strategy != "vmap":  # torch.func takes some convolutional models too, if slowly
            with pytest.raises(LandscapeError):
                measured(problem, plane, plan)


@pytest.mark.parametrize(("name", "strategy"), [(n, s) for n in MODELS for s in ("in place", *sorted(MODELS[n][2]))])
def test_the_model_is_left_as_it_was(name: str, strategy: str) -> None:
    problem, plane, _ = case(name)
    before = {n: t.clone() for n, t in problem.model.state_dict().items()}
    children = [type(module) for module in problem.model.modules()]
    measured(problem, plane, plans(name, strategy)[-1])
    assert all(torch.equal(t, before[n]) for n, t in problem.model.state_dict().items())
    assert [type(module) for module in problem.model.modules()] == children


def test_folding_fuses_every_norm_relu_and_sum_of_a_residual_network() -> None:
    from landscape_cli.measure.folding import fold

    problem, _, _ = case("resnet")
    graph = fold(problem, Plan("folded", 8, 1, 1, channels_last=True)).module
    assert isinstance(graph, torch.fx.GraphModule)
    called = [str(node.target) for node in graph.graph.nodes if node.op in ("call_module", "call_function")]
    assert not [name for name in called if "bn" in name or "relu" in name]
    assert sum(name.startswith("fused_") for name in called) == 8
    assert "head" not in called


def test_a_linear_layer_is_fused_with_the_activation_or_the_sum_after_it() -> None:
    from landscape_cli.measure.folding import fold

    problem, _, _ = case("mixer")
    graph = fold(problem, Plan("folded", 8, 1, 1)).module
    assert isinstance(graph, torch.fx.GraphModule)
    called = [str(node.target) for node in graph.graph.nodes if node.op == "call_module"]
    assert [n for n in called if not n.startswith("fused_")] == ["norm", "gate", "gate", "head"]  # gate is used twice
    functions = [getattr(node.target, "__name__", "") for node in graph.graph.nodes if node.op == "call_function"]
    assert sorted(functions) == ["add", "add", "mul", "sigmoid", "silu"]


@pytest.mark.parametrize("policy", ["interpolate", "recompute"])
def test_folding_follows_the_batch_norm_policy(policy: str, tmp_path: Path) -> None:
    problem, _, _ = case("resnet", count=200)
    torch.manual_seed(2)
    torch.save(trained(ResNet(1), torch.randn(200, 3, 8, 8) * 2).state_dict(), tmp_path / "other.pt")
    asked = PlaneSettings([0.0, 0.4, 1.0], directions=["checkpoint:other.pt"], batchnorm=policy)
    plane = make_plane("main", plane_with_defaults("main", asked, 0), problem, ModelSettings(), tmp_path, {})
    plain, folded = (
        measured(problem, plane, Plan(s, 50, 1, 1, s == "folded"), plane.coordinates) for s in ("in place", "folded")
    )
    np.testing.assert_allclose(folded, plain, rtol=5e-6)
    for strategy in ("stacked", "vmap"):
        with pytest.raises(LandscapeError, match="frozen"):
            measured(problem, plane, Plan(strategy, 50, 4, 1))


class Deciding(nn.Module):
    """Control flow that depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out if bool(out.sum() > 0) or True else -out


def test_a_model_that_cannot_be_traced_is_measured_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "deciding", (Deciding, (12,), set()))
    problem, plane, reference = case("deciding")
    choice = planner.choose(problem, [plane])
    assert choice.plan.strategy == "in place"
    assert any("cannot be traced" in note for note in choice.notes)
    np.testing.assert_allclose(measured(problem, plane, choice.plan), by_hand(problem, plane, reference), rtol=2e-6)


# ---------------------------------------------------------------- the planner


def wrong(problem: Problem, directions: Any, batchnorm: str, plan: Plan) -> Any:
    """A strategy that is off by 1e-3."""
    right = STRATEGIES["in place"](problem, directions, batchnorm, plan)
    return lambda points: {name: table * 1.001 for name, table in right(points).items()}


@pytest.mark.parametrize("long", [False, True])
def test_a_candidate_that_disagrees_with_a_plain_pass_is_dropped_and_named(
    monkeypatch: pytest.MonkeyPatch, long: bool
) -> None:
    monkeypatch.setitem(STRATEGIES, "folded", wrong)
    monkeypatch.setattr(planner, "SHORT", 0.0 if long else 1e9)
    problem, plane, _ = case("residual")
    choice = planner.choose(problem, [plane])
    assert choice.plan.strategy != "folded"
    assert any(note.startswith("folded: it gives") for note in choice.notes)
    with pytest.raises(LandscapeError, match="where a plain pass gives"):
        planner.choose(replace(problem, run=RunSettings(strategy="folded")), [plane])


@pytest.mark.parametrize(
    ("name", "strategy"), [("residual", "folded"), ("perceptron", "stacked"), ("recurrent", "folded")]
)
def test_a_short_run_takes_the_rule_of_thumb(name: str, strategy: str) -> None:
    problem, plane, _ = case(name)
    plan = planner.choose(problem, [plane]).plan
    assert (plan.strategy, plan.why) == (strategy, "rule of thumb")


def test_a_long_run_times_its_candidates_and_says_what_came_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "SHORT", 0.0)
    monkeypatch.setattr(planner, "SHARE", 1e9)
    timed: list[Plan] = []

    def seconds(problem: Problem, planes: Any, plan: Plan, expected: float) -> float:
        timed.append(plan)
        return 1.0 / plan.batch + (plan.strategy != "folded")

    monkeypatch.setattr(planner, "_seconds", seconds)
    problem, plane, _ = case("residual")
    plan = planner.choose(problem, [plane]).plan
    assert (plan.strategy, plan.batch) == ("folded", 33)
    assert "next in place" in plan.why
    assert {p.strategy for p in timed} == {"folded", "in place"}
    assert {p.batch for p in timed} >= {8, 16, 32, 33}


def test_what_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, plane, _ = case("perceptron")
    for short in (0.0, 1e9):
        monkeypatch.setattr(planner, "SHORT", short)
        plan = planner.choose(
            replace(problem, run=RunSettings(strategy="vmap", batch_size=5, points_per_pass=3)), [plane]
        ).plan
        assert (plan.strategy, plan.batch, plan.points_per_pass) == ("vmap", 5, 3)
    with pytest.raises(LandscapeError, match="unknown strategy"):
        planner.choose(replace(problem, run=RunSettings(strategy="stakced")), [plane])
    other, along, _ = case("recurrent")
    with pytest.raises(LandscapeError, match="no stack"):
        planner.choose(replace(other, run=RunSettings(strategy="stacked")), [along])
    problem, plane, _ = case("perceptron", "float64")
    with pytest.raises(LandscapeError, match="no layer to fold"):
        planner.choose(replace(problem, run=RunSettings(strategy="folded")), [plane])


def test_a_candidate_that_does_not_fit_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(problem: Problem, directions: Any, batchnorm: str, plan: Plan) -> Any:
        def measure(points: Floats) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory")

        return measure

    monkeypatch.setitem(STRATEGIES, "folded", greedy)
    problem, plane, _ = case("residual")
    choice = planner.choose(problem, [plane])
    assert choice.plan.strategy == "in place"
    assert any("does not fit in memory" in note for note in choice.notes)


def test_out_of_memory_halves_the_points_first_and_then_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, plane, reference = case("perceptron")
    real, seen = strategies.prepare, []

    def prepare(problem: Problem, directions: Any, batchnorm: str, plan: Plan) -> Any:
        measure = real(problem, directions, batchnorm, plan)

        def limited(points: Floats) -> Any:
            seen.append((plan.points_per_pass, plan.batch))
            if plan.points_per_pass * plan.batch > 8:
                raise RuntimeError("can't allocate memory")
            return measure(points)

        return limited

    monkeypatch.setattr("landscape_cli.measure.evaluate.prepare", prepare)
    found = measured(problem, plane, Plan("stacked", 33, 4, 1))
    np.testing.assert_allclose(found, by_hand(problem, plane, reference), rtol=2e-6)
    assert seen[:6] == [(4, 33), (2, 33), (1, 33), (1, 16), (1, 8), (1, 8)]


# ---------------------------------------------------------------- samples


def test_samples_that_change_behind_our_back_are_refused() -> None:
    """A model that works in place only at some points is not caught by the pass that looks for it."""
    problem, plane, _ = case("perceptron")
    inputs = problem.splits["data"].inputs
    assert isinstance(inputs, Tensor)
    inputs.add_(0.0)
    with pytest.raises(LandscapeError, match="changes its inputs in place"):
        measured(problem, plane, Plan("in place", 33, 1, 1))


def test_the_head_of_a_split_is_its_first_samples_dealt_anew() -> None:
    problem, _, _ = case("perceptron")
    split = problem.splits["data"]
    head = split.head(10)
    assert isinstance(head.inputs, Tensor)
    assert isinstance(split.inputs, Tensor)
    assert torch.equal(head.inputs, split.inputs[:10])
    assert sorted(head.group_rows.flatten().tolist()) == list(range(10))
    assert len(split.head(1000)) == 33


def test_workers_change_no_bit_and_raise_what_the_model_raises() -> None:
    problem, plane, _ = case("recurrent")
    one, three = (measured(problem, plane, Plan("in place", 4, 1, 1, workers=w)) for w in (1, 3))
    np.testing.assert_array_equal(one, three)

    def leave(*args: Any) -> None:
        raise ValueError("not today")

    problem.model.register_forward_pre_hook(leave)
    with pytest.raises(LandscapeError, match="not today"):
        measured(problem, plane, Plan("in place", 4, 1, 1, workers=3))


def test_user_code_is_never_called_by_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "SHORT", 0.0)
    monkeypatch.setattr(planner, "SHARE", 1e9)
    tried: list[Plan] = []

    def seconds(problem: Problem, planes: Any, plan: Plan, expected: float) -> float:
        tried.append(plan)
        return 1.0 / plan.workers

    monkeypatch.setattr(planner, "_seconds", seconds)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    problem, plane, _ = case("recurrent")
    assert planner.choose(problem, [plane]).plan.workers == 2
    tried.clear()
    problem.loss.code["loss.py:own"] = "sha"
    assert planner.choose(problem, [plane]).plan.workers == 1
    assert {plan.workers for plan in tried} == {1}


# ---------------------------------------------------------------- models that make a strategy wrong, or it them


class HandWrittenNorm(nn.BatchNorm2d):
    """A batch norm whose eval pass is written out with its buffers, as torchvision's frozen one is."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            return super().forward(input)
        assert self.running_var is not None
        assert self.running_mean is not None
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return input * scale[:, None, None] + shift[:, None, None]


class WithHandWrittenNorm(nn.Module):
    """A convolution that can be fused, and a norm that cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 4, 3), HandWrittenNorm(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.norm(F.relu(self.conv(x))).mean((2, 3)))
        return out


class OutOfSight(nn.Module):
    """Computes with a weight that it reaches through a list of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Linear(4, 3)
        self.weights = [p for p in self.parameters() if p.dim() > 1]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(F.relu(self.conv(x)).mean((2, 3))) * self.weights[0].norm()
        return out


class Keeping(nn.Module):
    """Keeps its last features, for hooks and pictures."""

    last: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.last = F.relu(self.conv(x)).mean((2, 3))
        out: Tensor = self.head(self.last)
        return out


def twice() -> nn.Module:
    layer = nn.Linear(12, 12)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(12, 3))


class Viewing(nn.Module):
    """Takes its images apart in the plain layout only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv(x))
        out: Tensor = self.head(y.view(len(y), -1))
        return out


ODD: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], set[str]]] = {
    "hand-written norm": (WithHandWrittenNorm, (2, 6, 6), set()),
    "out of sight": (OutOfSight, (2, 6, 6), set()),
    "keeping": (Keeping, (2, 6, 6), {"folded"}),
    "twice": (twice, (12,), {"stacked"}),
    "viewing": (Viewing, (2, 6, 6), set()),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("long", [False, True])
def test_odd_models_are_measured_rightly_and_left_as_they_were(
    name: str, long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, name, ODD[name])
    monkeypatch.setattr(planner, "SHORT", 0.0 if long else 1e9)
    problem, plane, reference = case(name)
    before = {module: dict(vars(module)) for module in problem.model.modules()}
    plan = planner.choose(problem, [plane]).plan
    np.testing.assert_allclose(measured(problem, plane, plan), by_hand(problem, plane, reference), rtol=2e-6)
    problem.model(torch.zeros(1, *ODD[name][1]))  # no tensor of another world is left in it
    problem.model.state_dict()
    for module, attributes in before.items():
        kept = {key for key in vars(module) if key != "last"}
        assert kept == {key for key in attributes if key != "last"}


@pytest.mark.parametrize("name", ["hand-written norm", "out of sight"])
def test_what_a_trace_would_freeze_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, name, ODD[name])
    problem, plane, reference = case(name)
    expected = by_hand(problem, plane, reference)
    for last in (False, True):
        try:
            found = measured(problem, plane, Plan("folded", 33, 1, 1, last))
        except LandscapeError:
            continue
        np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_in_place_takes_a_model_that_needs_the_plain_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "viewing", ODD["viewing"])
    problem, plane, _ = case("viewing")
    plan = planner.choose(replace(problem, run=RunSettings(strategy="in place")), [plane]).plan
    assert (plan.strategy, plan.channels_last) == ("in place", False)


def test_only_a_traced_model_is_measured_several_batches_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    problem, plane, _ = case("recurrent")
    for strategy, several in (("in place", False), ("folded", True)):
        base = Plan(strategy, 8, 1, 2)
        with problem.measuring():
            tried = list(planner.Bench(problem, [plane], base, 1.0)._other_threads(base))
        assert any(plan.workers > 1 for plan in tried) is several


def spread_out(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, shifted by the largest output of the whole batch; wrong as soon as points are mixed."""
    assert len(outputs) <= 33
    shifted = outputs - outputs.max()
    return shifted.exp().sum(1).log() - shifted.gather(1, targets[:, None])[:, 0]


@pytest.mark.parametrize("strategy", ["stacked", "vmap"])
def test_a_loss_of_the_user_s_sees_one_point_at_a_time(strategy: str) -> None:
    problem, plane, reference = case("perceptron")
    own = make_loss(LossSettings("own"), {"own": UserCode("own", spread_out, "sha", Path())})
    found = measured(replace(problem, loss=own), plane, Plan(strategy, 33, 5, 1), POINTS * 10)
    np.testing.assert_allclose(found[0], by_hand(problem, plane, reference)[0], rtol=2e-6)
    assert np.isfinite(found).all()


def test_a_perceptron_over_tokens_is_no_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, plane, _ = case("perceptron")
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    inputs, targets = torch.randn(30, 5, 4), torch.randint(0, 3, (30, 5))
    made = {"data": (inputs, targets, DataSettings())}
    problem = make_problem(model, made, make_loss(LossSettings(), {}), ModelSettings(), CPU)
    settings = plane_with_defaults("main", PlaneSettings([0.0, 1.0]), 0)
    plane = make_plane("main", settings, problem, ModelSettings(), Path(), {})
    choice = planner.choose(problem, [plane])
    assert choice.plan.strategy == "folded"
    assert any("no stack" in note for note in choice.notes)


def test_the_planner_probes_every_plane_away_from_the_centre_and_from_overflow() -> None:
    _, plane, _ = case("perceptron")
    far = replace(plane, x=Axis.of([-1.0, 0.0]), y=Axis.of([-1e20, 0.0]))
    (_, _, first), (_, _, second) = planner._probes([plane, far])
    assert np.abs(first).sum(axis=1).min() > 0
    assert np.abs(second).sum(axis=1).min() > 0
    assert len(first) == len(second) == 3


def test_a_batch_that_does_not_fit_is_halved_before_anything_is_timed() -> None:
    problem, plane, _ = case("perceptron")

    def greedy(module: nn.Module, args: Any) -> None:
        if len(args[0]) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")

    problem.model.register_forward_pre_hook(greedy)
    plan = planner.choose(replace(problem, run=RunSettings(strategy="in place")), [plane]).plan
    assert (plan.strategy, plan.batch) == ("in place", 8)  # 33, 16, 8


def test_no_more_points_are_measured_in_a_pass_than_copies_of_the_weights_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, plane, _ = case("perceptron")
    weights = sum(t.numel() * 4 for t in problem.centre.values())
    monkeypatch.setattr(planner, "free_bytes", lambda device: 55 * weights)
    assert planner.choose(problem, [plane]).plan.points_per_pass == 5
    assert planner.choose(replace(problem, run=RunSettings(points_per_pass=7)), [plane]).plan.points_per_pass == 7


def test_what_holds_the_weights_many_times_is_not_tried_where_they_hardly_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*args: Any) -> Any:
        raise AssertionError("it would have been killed")

    problem, plane, _ = case("perceptron")
    weights = sum(t.numel() * 4 for t in problem.centre.values())
    monkeypatch.setattr(planner, "free_bytes", lambda device: 30 * weights)
    for name in strategies.MANY:
        monkeypatch.setitem(STRATEGIES, name, too_large)
    for short in (0.0, 1e9):
        monkeypatch.setattr(planner, "SHORT", short)
        assert planner.choose(problem, [plane]).plan.strategy in ("folded", "in place")
