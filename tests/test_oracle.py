"""Hessian products, spectrum, trace and density against curvlinops (Dangel et al. 2025) and dense float64 Hessians."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from test_sections import hessian_of, section, values
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape_cli.measure.losses import make_loss
from landscape_cli.measure.problem import Problem, make_problem
from landscape_cli.measure.routes import make_objective
from landscape_cli.settings import DataSettings, HessianSettings, LossSettings, ModelSettings

COUNT = 17
curvlinops: Any = pytest.importorskip("curvlinops", reason="needs curvlinops-for-pytorch, of the extra `dev`")


class Residual(nn.Module):
    """Two convolutions with batch norms, a shortcut, a strided third, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv3, self.head = nn.Conv2d(4, 3, 2, stride=2), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.norm1(self.conv1(x)))
        x = F.softplus(x + self.norm2(self.conv2(x)))
        out: Tensor = self.head(torch.tanh(self.conv3(x)).mean((2, 3)))
        return out


class Tokens(nn.Module):
    """Token ids to the logits of the next one, classes in dimension 1."""

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.embedding, self.body, self.head = nn.Embedding(6, 4), body, nn.Linear(width, 6)

    def forward(self, ids: Tensor) -> Tensor:
        found = self.body(self.embedding(ids))
        out: Tensor = self.head(found[0] if isinstance(found, tuple) else found)
        return out.movedim(-1, 1)


def residual() -> nn.Module:
    model = Residual()
    with torch.no_grad():
        model(torch.randn(60, 2, 6, 6) * 2 + 1)  # running statistics that are not 0 and 1
    return model


def tokens(count: int) -> tuple[Tensor, Tensor]:
    return torch.randint(6, (count, 5)), torch.randint(6, (count, 5))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], tuple[Tensor, Tensor]]]] = {
    "perceptron": (
        lambda: nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4), nn.GELU(), nn.Linear(4, 3)),
        lambda count: (torch.randn(count, 5), torch.randint(3, (count,))),
    ),
    "convolutional": (residual, lambda count: (torch.randn(count, 2, 6, 6), torch.randint(3, (count,)))),
    "lstm": (lambda: Tokens(nn.LSTM(4, 3, num_layers=2, batch_first=True), 3), tokens),
    "transformer": (
        lambda: Tokens(nn.TransformerEncoderLayer(4, 2, 6, dropout=0.1, batch_first=True, activation="gelu"), 4),
        tokens,
    ),
}


def problem_of(name: str, dtype: torch.dtype) -> Problem:
    torch.manual_seed(1)
    make, draw = MODELS[name]
    model = make().eval().to(dtype)
    inputs, targets = draw(COUNT)
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    named = str(dtype).removeprefix("torch.")
    splits = {"data": (inputs, targets, DataSettings())}
    loss = make_loss(LossSettings(class_dim=1), {})
    return make_problem(model, splits, loss, ModelSettings(), torch.device("cpu"), named)


class Elementary(nn.LayerNorm):
    """A layer norm of elementary operations: of the fused one torch.func's second derivative is not symmetric."""

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + self.eps).sqrt() * self.weight + self.bias


class Oracle:
    """curvlinops' Hessian of the same model and samples, in float64, with kernels that have second derivatives."""

    def __init__(self, name: str) -> None:
        problem = problem_of(name, torch.float64)
        inputs, targets = problem.splits["data"].inputs, problem.splits["data"].targets
        assert isinstance(inputs, Tensor)
        for module in problem.model.modules():
            if isinstance(module, nn.LayerNorm):
                module.__class__ = Elementary
        parameters = [p for n, p in problem.model.named_parameters() if n in problem.centre]
        batches = [(inputs[rows], targets[rows]) for rows in torch.split(torch.arange(COUNT), 6)]
        with self._kernels():
            self.operator = curvlinops.HessianLinearOperator(
                problem.model, nn.CrossEntropyLoss(), parameters, batches, check_deterministic=False
            )

    @staticmethod
    def _kernels() -> Any:
        stack = contextlib.ExitStack()
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        return stack

    def times(self, vectors: Tensor) -> Tensor:
        with self._kernels():
            found: Tensor = self.operator @ vectors
        return found.detach()

    def dense(self) -> NDArray[np.float64]:
        found = self.times(torch.eye(self.operator.shape[1], dtype=torch.float64)).numpy()
        np.testing.assert_allclose(found, found.T, rtol=0, atol=1e-12 * np.abs(found).max())
        symmetric: NDArray[np.float64] = (found + found.T) / 2
        return symmetric


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_products_are_those_of_curvlinops(name: str, dtype: torch.dtype, tolerance: float) -> None:
    problem = problem_of(name, dtype)
    objective, notes = make_objective(problem, problem.splits["data"], torch.arange(COUNT), batch=5)
    assert notes == ()
    vectors = torch.randn(objective.size, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    exact = Oracle(name).times(vectors)
    for vector, wanted in zip(vectors.T, exact.T, strict=True):
        found = objective.product(vector.to(dtype)).double()
        assert float((found - wanted).norm() / wanted.norm()) < tolerance


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-4)])
def test_both_ends_of_the_spectrum_are_those_of_the_dense_hessian(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    exact = np.linalg.eigvalsh(Oracle(name).dense())
    found = hessian_of(problem_of(name, dtype), bottom=3, tolerance=max(1e-6, tolerance), products=2000)
    scale = np.abs(exact).max()
    np.testing.assert_allclose(values(found["top"]), exact[::-1][:5], rtol=0, atol=tolerance * scale)
    np.testing.assert_allclose(values(found["bottom"]), exact[:3], rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("name", MODELS)
def test_trace_and_norm_are_exact_where_the_sketch_holds_all_and_within_their_errors_where_not(name: str) -> None:
    exact = Oracle(name).dense()
    problem = problem_of(name, torch.float64)
    whole = hessian_of(problem, probes=len(exact), products=2000)
    assert whole["trace"].value == pytest.approx(np.trace(exact), rel=1e-9)
    assert whole["frobenius"].value == pytest.approx(np.linalg.norm(exact), rel=1e-9)
    some = hessian_of(problem, probes=15, products=2000)
    for key, wanted in (("trace", np.trace(exact)), ("frobenius", np.linalg.norm(exact))):
        assert some[key].stderr > 0
        assert abs(some[key].value - wanted) < 4 * some[key].stderr


def within(each: NDArray[np.float64], wanted: float) -> bool:
    """Whether the mean over starts is within four of its standard errors."""
    return bool(abs(each.mean() - wanted) < 4 * each.std(ddof=1) / len(each) ** 0.5)


@pytest.mark.parametrize("name", MODELS)
def test_the_density_has_the_moments_of_the_dense_hessian(name: str) -> None:
    """∫λ = tr H / P and ∫λ² = ‖H‖²/P: as quadrature of few steps has them exactly, but for the choice of starts."""
    exact = np.linalg.eigvalsh(Oracle(name).dense())
    made = section("hessian", problem_of(name, torch.float64), HessianSettings(density=True, starts=30, steps=6))
    nodes, weights = np.nan_to_num(made.arrays["density_nodes"]), made.arrays["density_weights"]
    for power in (1, 2, 3):
        assert within((weights * nodes**power).sum(1), float((exact**power).mean())), power


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", MODELS)
def test_the_error_of_the_negative_mass_holds_what_the_quadrature_cannot_resolve(name: str, seed: int) -> None:
    """A bulk about 0 lies on both sides of the limit, and all starts see it alike."""
    exact = np.linalg.eigvalsh(Oracle(name).dense())
    negative = (exact < -1e-3 * np.abs(exact).max()).mean()
    mass = hessian_of(problem_of(name, torch.float64), density=True, starts=10, steps=40, seed=seed)["negative_mass"]
    assert mass.stderr is not None
    assert abs(mass.value - negative) < 4 * mass.stderr


def test_rank_and_negative_mass_are_exact_where_the_quadrature_resolves_the_whole_spectrum() -> None:
    exact = np.linalg.eigvalsh(Oracle("perceptron").dense())
    found = hessian_of(problem_of("perceptron", torch.float64), density=True, starts=40, steps=len(exact))
    rank, negative = np.abs(exact).sum() ** 2 / (exact**2).sum(), (exact < -1e-3 * np.abs(exact).max()).mean()
    assert abs(found["effective_rank"].value - rank) < 4 * found["effective_rank"].stderr
    assert abs(found["negative_mass"].value - negative) < 4 * found["negative_mass"].stderr


def test_the_oracle_sees_a_wrong_scale() -> None:
    """The comparison itself: a mean over batches of unequal size, a common mistake, is outside of every tolerance."""
    problem = problem_of("perceptron", torch.float64)
    objective, _ = make_objective(problem, problem.splits["data"], torch.arange(COUNT), batch=5)
    vector = torch.ones(objective.size, dtype=torch.float64)
    parts = torch.split(torch.arange(COUNT), 5)
    wrong = torch.stack([objective.on(rows).product(vector) for rows in parts]).mean(0)
    exact = Oracle("perceptron").times(vector)
    assert float((wrong - exact).norm() / exact.norm()) > 1e-3
