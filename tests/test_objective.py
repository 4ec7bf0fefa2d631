"""Gradients and Hessian products against dense derivatives of the same model by torch.func, by every route."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cifar import ResNet
from torch import Tensor, nn
from torch.func import functional_call

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure import curvature
from landscape_cli.measure.data import Split
from landscape_cli.measure.losses import make_loss
from landscape_cli.measure.model import functional
from landscape_cli.measure.objective import ROUTES, Objective
from landscape_cli.measure.precision import in_double
from landscape_cli.measure.problem import Problem, make_problem
from landscape_cli.measure.routes import make_objective, probed, refuse_false_gradient
from landscape_cli.measure.usercode import UserCode
from landscape_cli.settings import DataSettings, LossSettings, ModelSettings

CPU = torch.device("cpu")


class Recurrent(nn.Module):
    """Token ids through an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm, self.head = nn.Embedding(5, 3), nn.LSTM(3, 3, batch_first=True), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.lstm(self.embedding(x))[0])
        return out


class Attention(nn.Module):
    """Token ids through one block of causal attention, the output projection tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.mix, self.norm = nn.Embedding(4, 4), nn.Linear(4, 12), nn.LayerNorm(4)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(4, 4, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        h = self.embedding(x)
        q, k, v = self.mix(self.norm(h)).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        h = h + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        out: Tensor = self.head(h)
        return out


def convolutional() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 3, bias=False)
    )
    with torch.no_grad():
        model(torch.randn(50, 1, 5, 5))  # running statistics of its own
    return model


def half_frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    model[0].weight.requires_grad_(False)
    return model


def images(count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 1, 5, 5), torch.randint(3, (count,))


def rows(count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 4), torch.randint(3, (count,))


def tokens(count: int) -> tuple[Tensor, Tensor]:
    targets = torch.randint(4, (count, 6))
    targets[0, :4] = -100  # samples of different weight
    return torch.randint(4, (count, 6)), targets


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], tuple[Tensor, Tensor]], str]] = {
    "perceptron": (lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), rows, "double backward"),
    "half frozen": (half_frozen, rows, "double backward"),
    "convolutional": (convolutional, images, "forward over reverse, folded"),
    "attention": (Attention, tokens, "double backward"),
    "recurrent": (Recurrent, tokens, "double backward"),
}


def problem_of(name: str, dtype: str = "float64", count: int = 23) -> tuple[Problem, Split]:
    torch.manual_seed(3)
    make, data, _ = MODELS[name]
    inputs, targets = data(count)
    model = make().eval()
    model = model.double() if dtype == "float64" else model
    inputs = inputs.double() if dtype == "float64" and inputs.is_floating_point() else inputs
    problem = make_problem(
        model, {"data": (inputs, targets, DataSettings())}, make_loss(LossSettings(), {}), ModelSettings(), CPU, dtype
    )
    return problem, problem.splits["data"]


def mean_loss(problem: Problem, split: Split, chosen: Tensor) -> Callable[[Tensor], Tensor]:
    """The mean loss as a function of one flat vector, without any of our own derivatives."""
    sizes = [t.numel() for t in problem.centre.values()]

    def loss(vector: Tensor) -> Tensor:
        parts = zip(problem.centre.items(), torch.split(vector, sizes), strict=True)
        point = {name: part.view(tensor.shape) for (name, tensor), part in parts}
        assert isinstance(split.inputs, Tensor)
        outputs = functional_call(problem.model, point, (split.inputs[chosen],))
        targets = split.targets[chosen]
        return F.cross_entropy(outputs.flatten(0, -2), targets.flatten(), ignore_index=-100)

    return loss


def dense(problem: Problem, split: Split, chosen: Tensor) -> Tensor:
    """The Hessian by autograd row by row, with kernels that have a second derivative.

    torch.func.hessian of torch 2.13 is not symmetric where there is a layer norm.
    """
    off = torch.backends.mkldnn.flags(enabled=False)
    vector = torch.cat([t.flatten() for t in problem.centre.values()])
    with off, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        found: Tensor = torch.autograd.functional.hessian(mean_loss(problem, split, chosen), vector)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, found.T, rtol=1e-9, atol=1e-12)
    return found


@pytest.mark.parametrize("name", MODELS)
def test_the_fastest_route_of_a_model_gives_its_dense_hessian(name: str) -> None:
    problem, split = problem_of(name)
    chosen = torch.arange(2, 23)
    exact = dense(problem, split, torch.arange(23))
    objective, notes = make_objective(problem, split, torch.arange(23), batch=5)
    assert (objective.route, notes) == (MODELS[name][2], ())
    identity = torch.eye(objective.size, dtype=torch.float64)
    found = torch.stack([objective.product(column) for column in identity[::3]])
    torch.testing.assert_close(found, exact[::3], rtol=1e-9, atol=1e-12)
    some = objective.on(chosen).product(identity[0])
    torch.testing.assert_close(some, dense(problem, split, chosen)[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 2e-5)])
def test_every_route_agrees_with_the_dense_hessian_or_is_not_there(
    name: str, route: str, dtype: str, tolerance: float
) -> None:
    problem, split = problem_of(name, dtype)
    objective, _ = make_objective(problem, split, torch.arange(23), batch=7)
    if route == "finite differences" and name == "convolutional":
        pytest.skip("a step across the kink of a ReLU is no derivative")
    if ROUTES[route].folded and objective.route != route:
        pytest.skip("nothing to fold")
    if not ROUTES[route].folded:
        objective = replace(objective, forward=functional(problem.model, problem.settings))
    objective = replace(objective, route=route)
    vector = torch.randn(objective.size, dtype=objective.like.dtype)
    exact = dense(*(lambda p: (p, p.splits["data"]))(in_double(problem)), torch.arange(23)) @ vector.double()
    if name == "recurrent" and route.startswith("forward"):
        try:  # oneDNN's has no forward derivative, PyTorch's own has
            objective.product(vector)
        except LandscapeError:
            return
    off = 2e-2 if route == "finite differences" else tolerance
    assert float((objective.product(vector).double() - exact).norm() / exact.norm()) < off


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_is_autograd_s_and_independent_of_batches(name: str) -> None:
    problem, split = problem_of(name)
    vector = torch.cat([t.flatten() for t in problem.centre.values()]).requires_grad_()
    value = mean_loss(problem, split, torch.arange(23))(vector)
    (exact,) = torch.autograd.grad(value, vector, materialize_grads=True)
    for batch in (1, 7, 100):
        loss, found = make_objective(problem, split, torch.arange(23), batch)[0].gradient()
        assert abs(loss - float(value)) < 1e-12
        torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_left_as_it_was(name: str) -> None:
    problem, split = problem_of(name)
    before = {n: t.clone() for n, t in problem.model.state_dict().items()}
    flags = [p.requires_grad for p in problem.model.parameters()]
    objective, _ = make_objective(problem, split, torch.arange(23), batch=7)
    objective.product(torch.ones(objective.size))
    objective.gradient()
    assert all(torch.equal(t, before[n]) for n, t in problem.model.state_dict().items())
    assert [p.requires_grad for p in problem.model.parameters()] == flags
    assert all(p.grad is None for p in problem.model.parameters())
    assert torch.is_grad_enabled()


class WithoutSecond(torch.autograd.Function):
    """x², whose backward pass cannot be differentiated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g * 2 * x  # type: ignore[no-any-return]


class Squares(nn.Module):
    """A layer with one derivative and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(WithoutSecond.apply(self.into(x)))  # type: ignore[no-untyped-call]
        return out


class Smooth(Squares):
    """The same with all derivatives."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.into(x) ** 2)
        return out


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 1e-2)])
def test_without_a_second_derivative_there_are_finite_differences_and_a_note(
    dtype: str, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "squares", (Squares, rows, ""))
    monkeypatch.setitem(MODELS, "smooth", (Smooth, rows, ""))
    problem, split = problem_of("squares", dtype)
    objective, notes = make_objective(problem, split, torch.arange(23), batch=7)
    assert objective.route == "finite differences"
    assert "no second derivative" in notes[0]
    vector = torch.randn(objective.size, dtype=objective.like.dtype)
    smooth = problem_of("smooth", "float64")
    exact = dense(*smooth, torch.arange(23)) @ vector.double()
    assert float((objective.product(vector).double() - exact).norm() / exact.norm()) < tolerance


def first_output(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs[:, 0]


def test_a_loss_that_is_linear_in_the_output_hides_no_missing_second_derivative() -> None:
    torch.manual_seed(0)
    model, (inputs, targets) = Squares().double(), rows(23)
    loss = make_loss(LossSettings("first"), {"first": UserCode("first", first_output, "sha", Path())})
    made = {"data": (inputs.double(), targets, DataSettings())}
    problem = make_problem(model, made, loss, ModelSettings(), CPU, "float64")
    objective, _ = make_objective(problem, problem.splits["data"], torch.arange(23), batch=7)
    assert objective.route == "finite differences"
    assert float(objective.product(torch.ones(objective.size, dtype=torch.float64)).norm()) > 0.1


class Detached(nn.Module):
    """Its output depends on its weights by value only."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.into(x).detach().numpy())


def test_a_loss_that_does_not_depend_on_the_parameters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "detached", (Detached, rows, ""))
    problem, split = problem_of("detached", "float32")
    with pytest.raises(LandscapeError, match="has no gradient") as raised:
        make_objective(problem, split, torch.arange(23), batch=7)
    assert ".detach()" in raised.value.hint


class Detaching(WithoutSecond):
    """The same, its backward pass differentiable to PyTorch, and wrong."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g * 2 * x.detach()  # type: ignore[no-any-return]


class DetachedSquares(Squares):
    """A layer whose second derivative lacks a part, silently."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(Detaching.apply(self.into(x)))  # type: ignore[no-untyped-call]
        return out


def weight_normalised() -> nn.Module:
    made: nn.Module = torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 5))
    return nn.Sequential(made, nn.Tanh(), nn.Linear(5, 3))


@pytest.mark.parametrize("model", [DetachedSquares, weight_normalised])
def test_a_second_derivative_that_is_wrong_is_not_used(
    model: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's own of weight norm is not symmetric; the truth is central differences of the gradient."""
    monkeypatch.setitem(MODELS, "wrong", (model, rows, ""))
    problem, split = problem_of("wrong")
    objective, _ = make_objective(problem, split, torch.arange(23), batch=23)
    vector = torch.randn(objective.size, dtype=torch.float64)
    step = 1e-5
    exact = (objective.gradient(step * vector)[1] - objective.gradient(-step * vector)[1]) / (2 * step)
    assert float((objective.product(vector) - exact).norm() / exact.norm()) < 1e-5


class Padded(nn.Module):
    """Half of its tokens are padding, whose row PyTorch gives no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(6, 4, padding_idx=0), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.embedding(x).mean(1))
        return out


def padded(count: int) -> tuple[Tensor, Tensor]:
    words = torch.randint(1, 6, (count, 6))
    words[:, 3:] = 0
    return words, torch.randint(3, (count,))


def test_the_row_of_padding_is_no_false_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "padded", (Padded, padded, ""))
    problem, split = problem_of("padded", "float32")
    refuse_false_gradient(make_objective(problem, split, torch.arange(23), batch=7)[0])


def test_a_loss_whose_changes_are_lost_in_rounding_is_no_false_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Confident and right: losses of 1e-8 and below, beside logits of tens."""
    labels = torch.arange(23) % 3

    def confident() -> nn.Module:
        model = nn.Linear(4, 3, bias=False)
        nn.init.zeros_(model.weight)
        with torch.no_grad():
            model.weight[:, :3] = 20 * torch.eye(3)
        return model

    data = torch.nn.functional.one_hot(labels, 4).float()
    monkeypatch.setitem(MODELS, "confident", (confident, lambda count: (data, labels), ""))
    problem, split = problem_of("confident", "float32")
    refuse_false_gradient(make_objective(problem, split, torch.arange(23), batch=23)[0])


class HalfDetached(Squares):
    """One layer that the gradient does not see."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.into(x).detach() ** 2)
        return out


class StraightThrough(Squares):
    """Rounded values with the gradient of those before."""

    def forward(self, x: Tensor) -> Tensor:
        inner = self.into(x)
        out: Tensor = self.head(inner + ((4 * inner).round() / 4 - inner).detach())
        return out


@pytest.mark.parametrize("model", [HalfDetached, StraightThrough])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gradient_that_is_not_the_loss_s_own_is_refused(
    model: Callable[[], nn.Module], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "false", (model, rows, ""))
    problem, split = problem_of("false", dtype)
    objective, _ = make_objective(problem, split, torch.arange(23), batch=7)
    with pytest.raises(LandscapeError, match="not the derivative of the loss") as raised:
        refuse_false_gradient(objective)
    assert raised.value.code == ExitCode.INCONCLUSIVE


def on_kinks() -> nn.Module:
    """Zero biases, so that zero inputs leave every ReLU at its kink."""
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    return model


def single(model: nn.Module) -> nn.Module:
    """A model that computes in float32 whatever its weights are."""

    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            weights = {name: p.float() for name, p in self.model.named_parameters()}
            out: Tensor = functional_call(self.model, weights, (x.float(),))
            return out.to(x.dtype)

    return Single()


@pytest.mark.parametrize("model", [on_kinks, lambda: single(on_kinks()), Squares, weight_normalised])
def test_a_gradient_that_is_the_loss_s_own_is_not(
    model: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On kinks, with no more digits than float32 has, with a second derivative missing or wrong."""
    monkeypatch.setitem(MODELS, "own", (model, lambda count: (rows(count)[0] * 0, rows(count)[1]), ""))
    problem, split = problem_of("own", "float32")
    refuse_false_gradient(make_objective(problem, split, torch.arange(23), batch=7)[0])


def old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        made: nn.Module = torch.nn.utils.weight_norm(nn.Linear(4, 5))
    return nn.Sequential(made, nn.Tanh(), nn.Linear(5, 3))


def test_a_model_that_holds_tensors_of_its_own_making_can_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "old", (old_weight_norm, rows, ""))
    problem, _ = problem_of("old", "float32")
    double = in_double(problem)
    single, exact = (
        Objective(p, p.splits["data"], torch.arange(23), 23, functional(p.model, p.settings)) for p in (problem, double)
    )
    assert exact.like.dtype == torch.float64
    torch.testing.assert_close(exact.gradient()[1], single.gradient()[1], rtol=1e-4, atol=1e-6)


def test_a_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, split = problem_of("perceptron")
    objective, _ = make_objective(problem, split, torch.arange(23), batch=20)
    vector = torch.ones(objective.size, dtype=torch.float64)
    exact = objective.product(vector)
    usual = Objective.part_of_mean

    def greedy(self: Objective, point: list[Tensor], some: Tensor) -> Tensor:
        if len(some) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return usual(self, point, some)

    monkeypatch.setattr(Objective, "part_of_mean", greedy)
    torch.testing.assert_close(objective.product(vector), exact, rtol=1e-12, atol=1e-15)


def test_routes_are_compared_on_samples_that_count() -> None:
    """On samples without a target every route gives 0, a wrong one too."""
    torch.manual_seed(3)
    inputs, targets = tokens(23)
    targets[:12] = -100
    loss = make_loss(LossSettings(), {})
    problem = make_problem(Attention().eval(), {"data": (inputs, targets, DataSettings())}, loss, ModelSettings(), CPU)
    objective, _ = make_objective(problem, problem.splits["data"], torch.arange(23), batch=10)
    assert probed(objective).tolist() == list(range(12, 20))


def test_a_residual_network_is_differentiated_folded() -> None:
    torch.manual_seed(0)
    made = {"data": (torch.randn(6, 3, 8, 8), torch.randint(10, (6,)), DataSettings())}
    problem = make_problem(ResNet(1).eval(), made, make_loss(LossSettings(), {}), ModelSettings(), CPU)
    objective, _ = make_objective(problem, problem.splits["data"], torch.arange(6), batch=4)
    assert objective.route == "forward over reverse, folded"
    plain = replace(objective, route="double backward", forward=functional(problem.model, problem.settings))
    vector = torch.randn(objective.size)
    a, b = objective.product(vector), plain.product(vector)
    assert float((a - b).norm() / b.norm()) < 1e-4


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_the_curvature_of_each_group_is_that_of_its_dense_hessian(
    name: str, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, split = problem_of(name)
    groups = list(torch.split(torch.arange(23), [4, 1, 8, 10]))
    objective, _ = make_objective(problem, split, torch.arange(23), batch=5)
    vectors = torch.randn(2, objective.size, dtype=torch.float64)
    usual = curvature.second_derivatives
    if not quick:  # as PyTorch has it for some layers
        monkeypatch.setattr(curvature, "second_derivatives", lambda o, v: 1.01 * usual(o, v))
    found = curvature.curvatures(objective, vectors, groups)
    exact = [[float(v @ dense(problem, split, group) @ v) for group in groups] for v in vectors]
    torch.testing.assert_close(found, torch.tensor(exact, dtype=torch.float64), rtol=1e-9, atol=1e-12)


def test_a_point_on_a_kink_has_the_second_derivative_that_autograd_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Biases of 0 on inputs of 0: every ReLU is at its kink, where finite differences grow as their step shrinks."""

    def at_the_kink() -> nn.Module:
        first = nn.Linear(4, 6)
        nn.init.zeros_(first.bias)
        return nn.Sequential(first, nn.ReLU(), nn.Linear(6, 3))

    def half_zeros(count: int) -> tuple[Tensor, Tensor]:
        inputs, targets = rows(count)
        inputs[::2] = 0.0
        return inputs, targets

    monkeypatch.setitem(MODELS, "kink", (at_the_kink, half_zeros, ""))
    problem, split = problem_of("kink")
    objective, notes = make_objective(problem, split, torch.arange(23), batch=23)
    assert (objective.route, notes) == ("double backward", ())
