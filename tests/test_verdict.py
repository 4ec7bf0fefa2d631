"""Verdicts on problems whose critical points are known, with and without noise over the samples."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from problems import CONSTANT, HIMMELBLAU, MONKEY_SADDLE, Exact, form, itself, turned
from test_objective import problem_of
from test_sections import exact_problem, linear, section
from torch import nn

from landscape_cli.analyse.verdict import verdict
from landscape_cli.measure import hessian as hessians
from landscape_cli.measure.losses import make_loss
from landscape_cli.measure.problem import Problem, make_problem
from landscape_cli.measure.routes import make_objective
from landscape_cli.measure.usercode import UserCode
from landscape_cli.measure.ways import _last_layer, last_executed
from landscape_cli.settings import DataSettings, HessianSettings, LossSettings, ModelSettings


def judged(problem: Problem, **settings: Any) -> dict[str, Any]:
    found = verdict(section("hessian", problem, HessianSettings(**settings)))
    assert found is not None
    assert found["reasons"]
    return found


def at(spectrum: tuple[float, ...], seed: int = 0, level: float = 1.0) -> Exact:
    """½ uᵀAu + level, u the distance from a point a hundred away from 0: 0.01·‖θ‖ is one unit."""
    far = np.full(len(spectrum), 100.0 / len(spectrum) ** 0.5)
    a = turned(spectrum, seed)
    quadratic_form = form(a)

    def loss(*w: Any) -> Any:
        return quadratic_form(*[x - c for x, c in zip(w, far.tolist(), strict=True)]) + level

    return Exact("away", loss, (), tuple(far.tolist()), tuple(sorted(spectrum)))


@pytest.mark.parametrize(
    ("spectrum", "kind"),
    [
        ((1.0, 2.0, 5.0), "minimum"),
        ((-0.5, 2.0, 5.0), "saddle"),
        ((-5.0, 0.1, 0.2), "saddle"),
        ((-1.0, -2.0, -5.0), "maximum"),
        ((1e-4, 2e-4, 3e-4), "plateau"),
    ],
)
@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_quadratics_are_what_they_are(spectrum: tuple[float, ...], kind: str, noise: float) -> None:
    assert judged(exact_problem(at(spectrum), noise, 200))["kind"] == kind


def test_himmelblau_s_minimum_constant_and_monkey_saddle() -> None:
    assert judged(exact_problem(HIMMELBLAU))["kind"] == "minimum"
    assert judged(exact_problem(dataclasses.replace(CONSTANT, at=(1.0, 1.0))))["kind"] == "plateau"
    far = dataclasses.replace(
        MONKEY_SADDLE, loss=lambda x, y: 1 + (x - 60) ** 3 - 3 * (x - 60) * (y - 80) ** 2, at=(60.0, 80.0)
    )
    assert judged(exact_problem(far))["kind"] != "minimum"  # flat to second order, it falls in between


def test_a_slope_is_no_critical_point() -> None:
    tilted = at((1.0, 2.0, 5.0))
    moved = dataclasses.replace(tilted, at=tuple(x + 2.0 for x in tilted.at))
    found = judged(exact_problem(moved))
    assert found["kind"] == "slope"
    assert "has not arrived" in found["reasons"][0]


def test_a_separable_softmax_regression_is_a_slope_and_at_its_optimum_with_weight_decay_none() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    x = torch.randn(300, 3, dtype=torch.float64, generator=draw) * 0.05
    x[torch.arange(300), labels] += 1.0
    problem = linear(x, labels, 3, "cross_entropy", 3 * torch.eye(3, dtype=torch.float64))
    assert judged(problem, bottom=1)["kind"] == "slope"
    decayed = dataclasses.replace(problem.loss.settings, weight_decay=0.05)
    weight = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(x @ weight.T, labels) + 0.025 * (weight**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    optimum = linear(x, labels, 3, "cross_entropy", weight.detach())
    loss = dataclasses.replace(optimum.loss, settings=decayed)
    assert judged(dataclasses.replace(optimum, loss=loss), products=1000)["kind"] in ("minimum", "plateau")


def test_softmax_regression_with_weight_decay_at_its_optimum_is_a_minimum() -> None:
    """Two inputs of small scale that matter, and one of large scale that does not: τ is well within 0.01·‖θ‖."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 3, dtype=torch.float64, generator=draw) * torch.tensor([0.1, 0.1, 10.0])
    true = torch.tensor([[30.0, 0, 0], [-15, 26, 0], [-15, -26, 0]], dtype=torch.float64)
    labels = torch.multinomial((x @ true.T).softmax(1), 1, generator=draw)[:, 0]
    weight = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight], max_iter=5000, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(x @ weight.T, labels) + 0.5e-4 * (weight**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert float(weight.grad.norm()) < 1e-6
    optimum = linear(x, labels, 3, "cross_entropy", weight.detach())
    loss = dataclasses.replace(optimum.loss, settings=dataclasses.replace(optimum.loss.settings, weight_decay=1e-4))
    assert judged(dataclasses.replace(optimum, loss=loss))["kind"] == "minimum"


@pytest.mark.slow
def test_no_saddle_of_some_depth_is_ever_called_a_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fall of 0.03 to 0.3 within reach, τ = 0.01: a hundred of them, with noise that moves the gradient."""
    monkeypatch.setattr(hessians, "curvatures", lambda objective, v, groups: torch.zeros(len(v), len(groups)))
    random = np.random.default_rng(0)
    kinds = []
    for seed in range(100):
        depth = random.uniform(0.03, 0.3)
        spectrum = (-2 * depth, *random.uniform(0.5, 3.0, size=3))
        kinds.append(judged(exact_problem(at(spectrum, seed), 1e-3, 24), top=1, bottom=1)["kind"])
    assert "minimum" not in kinds
    assert kinds.count("saddle") >= 95


class Bowl(nn.Module):
    """1 + ½Σaᵢ(wᵢ - cᵢ)² at w = c, and an input that tilts it a little."""

    def __init__(self, a: torch.Tensor, norm: float) -> None:
        super().__init__()
        centre = torch.full((len(a),), norm / len(a) ** 0.5, dtype=torch.float64)
        self.a, self.centre = nn.Buffer(a), nn.Buffer(centre)
        self.w = nn.Parameter(centre.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        away = self.w - self.centre
        return 1 + 0.5 * (self.a * away**2).sum() + 1e-4 * x * away[-1]


@pytest.mark.parametrize(
    ("lowest", "largest", "norm", "dtype", "settings"),
    [
        (-1e-3, 1e4, 8e3, "float32", {}),  # a fall of 3.2, eigenvalues of rounding's size
        (-1e-4, 1e3, 1e4, "float32", {}),
        (-3e-4, 100.0, 5e3, "float64", {"products": 25, "search": False}),  # a fall of 0.375, too few products
    ],
)
def test_no_minimum_where_the_lowest_eigenvalue_is_not_known_well_enough(
    lowest: float, largest: float, norm: float, dtype: str, settings: dict[str, Any]
) -> None:
    a = torch.linspace(0, 0.5, 5000, dtype=torch.float64)
    a[-5:] = largest * torch.tensor([0.5, 0.6, 0.7, 0.8, 1.0])
    a[0] = lowest
    x = torch.randn(40, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tilts = torch.cat([x, -x])
    kind = torch.float32 if dtype == "float32" else torch.float64
    made = {"data": (tilts.to(kind), torch.zeros(80), DataSettings())}
    loss = make_loss(LossSettings("itself"), {"itself": UserCode("itself", itself, "sha", Path())})
    problem = make_problem(Bowl(a, norm).to(kind), made, loss, ModelSettings(), torch.device("cpu"), dtype)
    found = judged(problem, **settings)
    assert found["kind"] == "inconclusive"
    assert ("float64" if dtype == "float32" else "hessian.products") in found["reasons"][0]


def test_a_kink_is_said_to_be_one() -> None:
    kink = Exact("kink", lambda x, y: 1 + abs(x - 60) + abs(y - 80), (), (60.0, 80.0), ())
    found = judged(exact_problem(kink))
    assert found["kind"] == "inconclusive"
    assert "kink" in found["reasons"][0]


def test_noise_that_hides_a_drop_makes_it_inconclusive() -> None:
    assert judged(exact_problem(at((0.05, 1.0, 2.0)), 0.5, 40))["kind"] in ("inconclusive", "slope")
    assert judged(exact_problem(at((1.0, 2.0)), 0.0, 3))["kind"] == "inconclusive"  # no halves of three samples


def test_an_unconverged_spectrum_and_an_infinite_loss_are_inconclusive() -> None:
    made = section("hessian", exact_problem(at((1.0, 2.0, 5.0))), HessianSettings())
    for key, value in (
        ("bottom_converged", np.zeros(2)),
        ("way_changes", np.full_like(made.arrays["way_changes"], np.inf)),
    ):
        found = verdict(dataclasses.replace(made, arrays={**made.arrays, key: value}))
        assert found is not None
        assert found["kind"] == "inconclusive"
    assert verdict(None) is None


def test_reasons_say_what_was_tried_how_far_and_what_fell_most() -> None:
    found = judged(exact_problem(at((-0.5, 2.0, 5.0)), 1e-3, 200))
    assert "along" in found["reasons"][0]
    assert "the loss falls by 0.25" in found["reasons"][0]
    told = ("tried the gradient", "± the lowest eigenvector", "± the top eigenvector", "0.01·‖θ‖")
    assert all(words in found["reasons"][-1] for words in told)


def test_the_last_layer_is_a_way() -> None:
    labels = torch.arange(300) % 3
    x = torch.nn.functional.one_hot(labels, 3).double()
    made = section("hessian", linear(x, labels, 3, "cross_entropy", torch.eye(3).double()), HessianSettings(bottom=1))
    assert "+last layer" in made.facts["ways"]


def test_the_last_layer_may_be_tied_to_the_first() -> None:
    problem, split = problem_of("attention")
    objective, _ = make_objective(problem, split, torch.arange(23), batch=23)
    parts = dict(zip(problem.centre, objective.unflat(_last_layer(objective)), strict=True))
    assert [name for name, part in parts.items() if bool(part.any())] == ["embedding.weight"]
    torch.testing.assert_close(parts["embedding.weight"], problem.centre["embedding.weight"])


def test_ways_from_an_unconverged_half_are_inconclusive() -> None:
    made = section("hessian", exact_problem(at((1.0, 2.0, 5.0))), HessianSettings())
    assert made.facts["ways_not_converged"] == []
    found = verdict(dataclasses.replace(made, facts={**made.facts, "ways_not_converged": ["smallest"]}))
    assert found is not None
    assert found["kind"] == "inconclusive"
    assert "the smallest eigenvalue has not converged on the half" in found["reasons"][0]


def test_what_has_not_converged_comes_with_what_would_help() -> None:
    problem = exact_problem(at((1.0, 2.0, 5.0)))
    few = verdict(section("hessian", problem, HessianSettings(products=2)))
    assert few is not None
    assert "raise hessian.products" in few["reasons"][0]
    made = section("hessian", problem, HessianSettings())
    arrays = {**made.arrays, "bottom_converged": np.zeros(2)}
    rounded = verdict(dataclasses.replace(made, arrays=arrays, facts={**made.facts, "dtype": "float32"}))
    assert rounded is not None
    assert "set hessian.dtype to float64" in rounded["reasons"][0]


def test_a_smallest_eigenvalue_of_zero_is_a_degenerate_minimum_though_no_residual_is_small_beside_it() -> None:
    made = section("hessian", exact_problem(at((1.0, 2.0, 5.0))), HessianSettings())
    for value, residual, kind in (
        (1e-9, 1e-5, "minimum"),
        (-1e-3, 1e-4, "minimum"),
        (1e-2, 1e-3, "inconclusive"),
        (1e-4, 1e-2, "inconclusive"),
    ):
        ends = {"bottom": np.array([value, 2.0]), "bottom_residuals": np.array([residual, 1e-9])}
        found = verdict(dataclasses.replace(made, arrays={**made.arrays, **ends, "bottom_converged": np.zeros(2)}))
        assert found is not None
        assert found["kind"] == kind
        assert any("degenerate" in reason for reason in found["reasons"]) == (kind == "minimum" and value > 0)


@pytest.mark.slow
def test_a_convex_model_with_flat_directions_has_a_verdict(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Softmax regression of images whose borders are empty: hundreds of eigenvalues of 0."""
    images, labels = digits
    x = images.flatten(1).double()
    weight = torch.zeros(10, 64, dtype=torch.float64)
    assert judged(linear(x, labels, 10, "cross_entropy", weight + 0.05), products=60)["kind"] != "inconclusive"


def wells(depths: tuple[float, ...], curvatures: tuple[float, ...], norm: float = 100.0) -> Exact:
    """1 + Σ dᵢ·(exp(-cᵢxᵢ²/2dᵢ) - 1) + 2.5y²: hill tops of curvature -cᵢ from which the loss falls by dᵢ."""

    def loss(*w: Any) -> Any:
        falls = [d * (torch.exp(-c * x**2 / (2 * d)) - 1) for d, c, x in zip(depths, curvatures, w, strict=False)]
        return 1 + sum(falls) + 2.5 * w[-2] ** 2 + 1e-9 * (w[-1] - norm) ** 2

    return Exact("wells", loss, (), (*[0.0] * len(depths), 0.0, norm), ())


def test_further_negative_eigenvalues_than_were_asked_for_leave_it_open() -> None:
    """Two steep falls of half τ, and a third one of ten τ that is less steep."""
    exact = wells((0.005, 0.005, 0.1), (10.0, 9.0, 1.0))
    found = judged(exact_problem(exact, 1e-4, 200))
    assert found["kind"] == "inconclusive"
    assert "hessian.bottom" in found["reasons"][0]
    assert judged(exact_problem(exact, 1e-4, 200), bottom=3)["kind"] == "saddle"


def test_a_fall_much_narrower_than_the_reach_is_seen() -> None:
    """A well of depth 1 and width 0.1 beside a weight of 1e5 that hardly matters: 0.01·‖θ‖ is a thousand."""
    narrow = Exact(
        "narrow", lambda x, y: 1 - torch.exp(-((x - 0.1) ** 2) / 2e-3) - torch.exp(-((x + 0.1) ** 2) / 2e-3)
        + 1e-6 * (y - 1e5) ** 2, (), (0.0, 1e5), (),
    )  # fmt: skip
    assert judged(exact_problem(narrow, 1e-4, 200))["kind"] in ("saddle", "maximum")


def test_the_head_is_the_layer_that_runs_last() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.body = nn.Linear(4, 3), nn.Linear(5, 4)

        def forward(self, x: torch.Tensor) -> Any:
            return self.head(torch.relu(self.body(x)))

    made = {"data": (torch.randn(20, 5), torch.randint(3, (20,)), DataSettings())}
    problem = make_problem(Backwards(), made, make_loss(LossSettings(), {}), ModelSettings(), torch.device("cpu"))
    assert last_executed(problem, (nn.Linear,)) == "head.weight"
