"""Neighbourhoods of a checkpoint: closed forms, independent ascents, rescaling, faults, the file, the command."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from problems import Exact, quadratic
from test_objective import MODELS, dense, problem_of
from test_scan_faults import home, refused, scan
from test_sections import exact_problem, linear, section
from torch import Tensor, nn

from landscape_cli import store
from landscape_cli.analyse.jackknife import student
from landscape_cli.analyse.neighbourhood import sharpness_statistics
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.cli.main import main
from landscape_cli.errors import LandscapeError
from landscape_cli.measure.ascent import Ball
from landscape_cli.measure.directions import Lazy
from landscape_cli.measure.invariants import SLOPES, fisher_rao
from landscape_cli.measure.losses import make_loss
from landscape_cli.measure.objective import Objective
from landscape_cli.measure.perturb import BROKEN, LARGEST, SMALLEST, WIDTH, Around, around_rise, gaussian
from landscape_cli.measure.plan import Plan
from landscape_cli.measure.problem import Problem, make_problem
from landscape_cli.measure.routes import make_objective
from landscape_cli.measure.sharpness import measure_sharpness, steps_asked
from landscape_cli.profile import Estimate
from landscape_cli.report.numbers import estimate_text
from landscape_cli.section import Section
from landscape_cli.settings import DataSettings, LossSettings, ModelSettings, SharpnessSettings

CPU = torch.device("cpu")
PLAIN = Plan("in place", 64, 1, 1)
SPECTRUM = (0.5, 1.0, 2.0, 3.0, 8.0)
__all__ = ["home"]


def measured(problem: Problem, **settings: Any) -> Section:
    return section("sharpness", problem, SharpnessSettings(**settings))


def statistics(problem: Problem, **settings: Any) -> dict[str, Any]:
    return sharpness_statistics(measured(problem, **settings))


def objective_of(problem: Problem) -> Objective:
    split = next(iter(problem.splits.values()))
    return make_objective(problem, split, torch.arange(len(split)), 64)[0]


# ---------------------------------------------------------------- the worst


def test_the_worst_of_a_quadratic_is_half_rho_squared_lambda() -> None:
    found = statistics(exact_problem(quadratic(SPECTRUM)), rho=0.3, eta=1.0, adaptive_rho=0.2, draws=2)
    assert found["worst"][ITSELF].value == pytest.approx(0.5 * 0.3**2 * 8, rel=1e-6)
    assert found["worst_adaptive"][ITSELF].value == pytest.approx(0.5 * 0.2**2 * 8, rel=1e-6)  # at 0, where η is all
    assert (found["worst"][ITSELF].status, found["worst"][ITSELF].bound) == ("ok", "lower")
    assert found["worst"]["one_step"].status == "undefined"  # an exact minimum has no slope
    assert found["worst_adaptive"]["rescaling"] == "no"


def test_a_box_around_a_separable_quadratic() -> None:
    found = statistics(exact_problem(quadratic(SPECTRUM, None)), keskar=[0.1, 0.02], draws=2)
    assert [e[ITSELF].value for e in found["keskar"]] == pytest.approx([50 * e**2 * sum(SPECTRUM) for e in (0.1, 0.02)])
    assert [e["eps"] for e in found["keskar"]] == [0.1, 0.02]


@pytest.mark.parametrize(("spectrum", "worst"), [((-10.0, -1.0, 1.0), 1.0), ((-10.0, -3.0), 0.0), ((0.0, 0.0), 0.0)])
def test_the_worst_where_the_loss_falls_too(spectrum: tuple[float, ...], worst: float) -> None:
    """A power iteration would follow the eigenvalue of the largest magnitude, downhill."""
    found = statistics(exact_problem(quadratic(spectrum)), rho=0.5, draws=2)["worst"][ITSELF]
    assert found.value == pytest.approx(0.5 * 0.5**2 * worst, rel=1e-5)
    assert found.status == "ok"


def trust_region(gradient: Any, hessian: Any, radius: float) -> float:
    """max gᵀδ + ½δᵀHδ over ‖δ‖ ≤ radius of a convex quadratic, by its secular equation."""
    values, vectors = np.linalg.eigh(hessian)
    along = vectors.T @ gradient
    low, high = values[-1] + 1e-12, values[-1] + np.linalg.norm(gradient) / radius + 1
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.linalg.norm(along / (middle - values)) > radius else (low, middle)
    delta = along / (high - values)
    return float(along @ delta + 0.5 * delta @ (values * delta))


@pytest.mark.parametrize("kind", ["worst", "worst_adaptive"])
def test_linear_regression_against_the_exact_solution_of_its_trust_region(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(60, n, dtype=torch.float64, generator=generator) for n in (5, 1))
    weight = torch.randn(1, 5, dtype=torch.float64, generator=generator)
    problem = linear(x, y[:, 0], 1, "mse", weight)
    scale = np.ones(5) if kind == "worst" else weight[0].abs().numpy()
    gradient = (2 * x.T @ (x @ weight[0] - y[:, 0]) / 60).numpy() * scale
    hessian = (2 * x.T @ x / 60).numpy() * np.outer(scale, scale)
    found = statistics(problem, rho=0.4, adaptive_rho=0.4, ascent=40, draws=2)[kind]
    exact = trust_region(gradient, hessian, 0.4)
    step = 0.4 * gradient / np.linalg.norm(gradient)
    assert found[ITSELF].value == pytest.approx(exact, rel=1e-6)
    assert found["one_step"].value == pytest.approx(gradient @ step + 0.5 * step @ hessian @ step, rel=1e-9)
    assert found["one_step"].value <= found[ITSELF].value
    assert found[ITSELF].stderr > 0


def by_small_steps(objective: Objective, ball: Ball, starts: int, steps: int) -> float:
    """The highest rise met by short normalised gradient steps, each put back into the ball."""
    base, _ = objective.gradient()
    highest, generator = 0.0, torch.Generator().manual_seed(5)
    for _ in range(starts):
        u = ball.inside(torch.randn(len(ball.scale), generator=generator).to(ball.scale) * ball.radius)
        for _ in range(steps):
            loss, gradient = objective.gradient(ball.scale * u)
            highest = max(highest, loss - base)
            slope = ball.scale * gradient.to(ball.scale)
            step = slope.sign() if ball.box else slope / slope.norm()
            u = ball.inside(u + 0.1 * ball.radius * step)
    return highest


@pytest.mark.parametrize("kind", ["worst", "worst_adaptive", "keskar"])
@pytest.mark.parametrize("name", ["perceptron", "convolutional"])
def test_a_network_s_worst_is_as_high_as_many_random_restarts_find(name: str, kind: str) -> None:
    problem, _ = problem_of(name)
    objective, loss = objective_of(problem), objective_of(problem).gradient()[0]
    size = objective.centre().abs()
    ball = {
        "worst": Ball(torch.ones_like(size), 1.0),
        "worst_adaptive": Ball(size, 1.0),
        "keskar": Ball(size + 1, 0.1, box=True),
    }[kind]
    entry = statistics(problem, rho=1.0, adaptive_rho=1.0, keskar=[0.1], draws=2)[kind]
    found = entry[0][ITSELF].value / 100 * (1 + loss) if kind == "keskar" else entry[ITSELF].value
    short = 0.02 if ball.box else 1e-3  # a box has many local maxima
    assert found >= (1 - short) * by_small_steps(objective, ball, starts=12, steps=40)


def test_a_point_stays_in_its_ball() -> None:
    generator = torch.Generator().manual_seed(0)
    for box in (False, True):
        ball = Ball(torch.ones(7, dtype=torch.float64), 0.3, box)
        for shift in (0.0, 1e-3, 1.0):
            u, slope = (torch.randn(7, dtype=torch.float64, generator=generator) for _ in range(2))
            v = ball.highest(ball.inside(u), slope, shift)
            assert float(v.abs().max() if box else v.norm()) <= 0.3 * (1 + 1e-12)
            gain = slope @ v - shift / 2 * (v - ball.inside(u)).square().sum()
            others = [ball.inside(torch.randn(7, dtype=torch.float64, generator=generator)) for _ in range(200)]
            rivals = [slope @ w - shift / 2 * (w - ball.inside(u)).square().sum() for w in others]
            assert gain >= max(rivals)


# ---------------------------------------------------------------- the mean


def test_the_average_of_a_quadratic_has_its_trace_its_variance_and_errors_that_cover() -> None:
    problem, sigma, blocks = exact_problem(quadratic((1.0, 1.5, 2.0, 2.5, 3.0, 1.2, 0.8, 2.2))), 0.1, 100
    trace, square = 14.2, sum(v * v for v in (1.0, 1.5, 2.0, 2.5, 3.0, 1.2, 0.8, 2.2))
    draw = gaussian(problem, 0, adaptive=False)
    rises = Around.of(problem, PLAIN).pairs(draw, sigma, 16 * blocks, lambda n: None)
    each = rises.mean(1)
    assert each.var() == pytest.approx(0.5 * sigma**4 * square, rel=0.2)
    assert abs(each.mean() - 0.5 * sigma**2 * trace) < 4 * each.std() / len(each) ** 0.5
    whole = measured(problem, sigma=sigma)
    inside = 0
    for block in rises.reshape(blocks, 16, -1):
        arrays = {**whole.arrays, "average_groups": block}
        found = sharpness_statistics(dataclasses.replace(whole, arrays=arrays))["average"][ITSELF]
        inside += abs(found.value - 0.5 * sigma**2 * trace) < 3 * found.stderr
    assert inside >= 96


def test_errors_over_draws_and_samples_cover_the_mean_of_both() -> None:
    random = np.random.default_rng(0)
    whole, inside = measured(exact_problem(quadratic((1.0, 2.0)))), 0
    for _ in range(300):
        draws, groups = random.normal(size=(16, 1)), 2 * random.normal(size=(1, 40))
        rises = 3 + draws + groups + random.normal(size=(16, 40))
        arrays = {**whole.arrays, "average_groups": rises}
        found = sharpness_statistics(dataclasses.replace(whole, arrays=arrays))["average"][ITSELF]
        assert found.stderr == pytest.approx(np.hypot(1 / 4, 2 / 40**0.5), rel=0.6)
        inside += abs(found.value - 3) < 3 * found.stderr
    assert inside >= 0.98 * 300


def test_the_adaptive_average_of_linear_regression() -> None:
    """The mean over δ is ½σ²·Σ H_ii·θ_i² exactly, whatever the gradient: pairs cancel it."""
    x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([[2.0, -0.5, 1.0]], dtype=torch.float64)
    found = statistics(linear(x, torch.randn(50), 1, "mse", weight), draws=400, adaptive_sigma=0.1)
    exact = 0.5 * 0.1**2 * float((2 * (x**2).mean(0) * weight[0] ** 2).sum())
    estimate = found["average_adaptive"][ITSELF]
    assert abs(estimate.value - exact) < 4 * estimate.stderr
    sigma = found["pac_bayes_sigma"][ITSELF]
    assert sigma.value == pytest.approx(0.1 * math.sqrt(0.1 / estimate.value), rel=1e-9)  # a rise exactly quadratic
    assert sigma.stderr == pytest.approx(sigma.value * estimate.stderr / estimate.value / 2, rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_draws_are_the_same_lazily_and_as_many_points_of_a_pass(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, _ = problem_of("perceptron", "float32")
    held = gaussian(problem, seed, adaptive=True)
    monkeypatch.setattr("landscape_cli.measure.perturb.free_bytes", lambda device: 100.0)
    lazy = gaussian(problem, seed, adaptive=True)
    assert isinstance(lazy(3).parameters, Lazy)
    for name, tensor in held(3).parameters.items():
        assert torch.equal(tensor, lazy(3).parameters[name])
    monkeypatch.undo()
    many = Plan("stacked", 23, 8, 1)
    one, other = (Around.of(problem, plan).pairs(held, 0.1, 6, lambda n: None) for plan in (PLAIN, many))
    np.testing.assert_allclose(one, other, atol=1e-5)


# ---------------------------------------------------------------- the σ of a rise


def sigma_of(rise: Callable[[float], float], start: float = 0.05) -> tuple[Estimate, Any]:
    """`pac_bayes_sigma` of a loss that rises so, and the σ tried."""
    whole = measured(exact_problem(quadratic((1.0, 2.0))))
    sizes = whole.arrays["group_sizes"]
    spread = np.linspace(0.9, 1.1, 4)[:, None] * np.ones(len(sizes))
    tried, rises = around_rise(lambda sigma: rise(sigma) * spread, sizes, start, 0.1)
    arrays = {**whole.arrays, "adaptive_sigmas": tried, "adaptive_groups": rises}
    return sharpness_statistics(dataclasses.replace(whole, arrays=arrays))["pac_bayes_sigma"][ITSELF], tried


@pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("size", [1e-3, 0.04, 0.7, 9.0])
def test_the_sigma_of_a_rise_that_is_a_power(power: float, size: float) -> None:
    found, tried = sigma_of(lambda sigma: 0.1 * (sigma / size) ** power)
    assert found.value == pytest.approx(size, rel=1e-9)
    few = student(3) / 3  # of four draws three standard errors are Student's interval
    assert found.stderr == pytest.approx(few * size * np.linspace(0.9, 1.1, 4).std(ddof=1) / 2 / power, rel=1e-6)
    assert len(tried) <= 12


def test_the_sigma_of_a_rise_that_is_not_to_be_had() -> None:
    never, _ = sigma_of(lambda sigma: 0.0)
    assert (never.value, never.bound, never.stderr) == (LARGEST, "lower", None)
    always, _ = sigma_of(lambda sigma: 1e9 * (sigma / SMALLEST))
    assert (always.value, always.bound) == (SMALLEST, "upper")
    for wall in (math.nan, math.inf):
        broken, tried = sigma_of(lambda sigma, wall=wall: 1e-3 if sigma < 0.3 else wall)  # type: ignore[misc]
        assert broken.value is not None
        assert 0.3 / BROKEN <= broken.value < 0.3
        assert broken.bound == "lower"
        assert max(tried) >= 0.3
    falls, tried = sigma_of(lambda sigma: (sigma / 0.4) ** 4 - 0.01 * sigma)
    assert falls.value == pytest.approx((0.1**0.25) * 0.4, rel=0.03)
    assert (np.sort(tried)[1:] / np.sort(tried)[:-1]).min() <= WIDTH


# ---------------------------------------------------------------- rescaling


class TwoLayers(nn.Module):
    """ReLU between two linear layers; its units may be rescaled."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(F.relu(self.first(x)))
        return out


def two_layers(scales: Tensor) -> Problem:
    """The network with the inputs of each hidden unit scaled up, and its outputs down. Dinh et al. 2017."""
    torch.manual_seed(1)
    model = TwoLayers().eval()
    inputs, targets = torch.randn(96, 6), torch.randint(3, (96,))
    with torch.no_grad():
        model.first.weight.mul_(scales[:, None])
        model.first.bias.mul_(scales)
        model.second.weight.div_(scales)
    split = {"data": (inputs, targets, DataSettings())}
    return make_problem(model, split, make_loss(LossSettings(), {}), ModelSettings(), CPU)


RESCALED = {"per layer": torch.full((8,), 16.0), "per neuron": 2.0 ** torch.arange(-4, 4)}


@pytest.mark.parametrize("how", RESCALED)
def test_what_survives_a_rescaling_and_what_does_not(how: str) -> None:
    asked: dict[str, Any] = {"fisher_rao": True, "relative_flatness": True, "draws": 8, "adaptive_sigma": 0.1}
    before, after = (measured(two_layers(scales), **asked) for scales in (torch.ones(8), RESCALED[how]))
    assert np.array_equal(before.arrays["centre_groups"], after.arrays["centre_groups"])
    a, b = sharpness_statistics(before), sharpness_statistics(after)
    for name, entry in a.items():
        pairs = zip(entry, b[name], strict=True) if isinstance(entry, list) else [(entry, b[name])]
        for one, other in pairs:
            x, y = one[ITSELF], other[ITSELF]
            kept = one["rescaling"] == "yes" or (one["rescaling"] == "per layer only" and how == "per layer")
            assert x.status == y.status == "ok"
            assert (y.value == pytest.approx(x.value, rel=1e-4)) == kept, name
    shifted = statistics(two_layers(RESCALED[how]), eta=0.1, draws=2)["worst_adaptive"]
    assert shifted[ITSELF].value != pytest.approx(a["worst_adaptive"][ITSELF].value, rel=1e-2)
    assert shifted["rescaling"] == "no"


# ---------------------------------------------------------------- on request


def slopes_by_loop(problem: Problem) -> Tensor:
    """(N,) ⟨θ, ∇l_i⟩ of each sample, one backward pass each."""
    split = problem.splits["data"]
    chosen = dict(problem.model.named_parameters())
    parameters = [chosen[name] for name in problem.centre]
    found = []
    for i in range(len(split)):
        assert isinstance(split.inputs, Tensor)
        out = problem.model(split.inputs[i : i + 1])
        loss = F.cross_entropy(out.flatten(0, -2), split.targets[i : i + 1].flatten(), ignore_index=-100)
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        found.append(sum((g * p).sum() for g, p in zip(gradients, parameters, strict=True)))
    return torch.stack([torch.as_tensor(slope) for slope in found]).detach()


@pytest.mark.parametrize("name", MODELS)
def test_the_fisher_rao_norm_is_that_of_a_loop_over_samples(name: str) -> None:
    problem, split = problem_of(name)
    exact = slopes_by_loop(problem)
    objective = dataclasses.replace(objective_of(problem), batch=5)
    for slopes in SLOPES.values():
        try:
            each = objective.each_sample(lambda rows, s=slopes: s(objective, objective.point(), rows))  # type: ignore[misc]
        except (RuntimeError, LandscapeError):
            assert name == "recurrent"  # whose forward-mode derivative is not written
            continue
        torch.testing.assert_close(each, exact, rtol=1e-9, atol=1e-12)
    found = statistics(problem, fisher_rao=True, draws=2, keskar=[], ascent=1)["fisher_rao"][ITSELF]
    weights = split.weights
    assert found.value == pytest.approx(float((exact**2 * weights).sum() / weights.sum()), rel=1e-9)
    assert found.stderr > 0


def test_a_derivative_that_is_wrong_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, _ = problem_of("perceptron")
    monkeypatch.setitem(SLOPES, "forward mode", lambda objective, along, rows: torch.ones(len(rows)))
    groups, how = fisher_rao(objective_of(problem))
    assert how == "backward twice"
    assert groups == pytest.approx(slopes_by_loop(problem).numpy()[problem.splits["data"].group_rows[:, 0]] ** 2)


@pytest.mark.slow
def test_relative_flatness_is_the_weighted_traces_of_the_last_layer_s_blocks() -> None:
    problem, split = problem_of("perceptron", count=3)
    weight = problem.centre["2.weight"]
    outputs, inputs = weight.shape
    start = sum(t.numel() for name, t in problem.centre.items() if name < "2.weight" and name != "2.bias")
    hessian = dense(problem, split, torch.arange(3))[start : start + weight.numel(), start : start + weight.numel()]
    traces = hessian.reshape(outputs, inputs, outputs, inputs).diagonal(dim1=1, dim2=3).sum(-1)
    exact = float((weight @ weight.T * traces).sum())
    found = statistics(problem, relative_flatness=True, draws=300, keskar=[], ascent=1)["relative_flatness"][ITSELF]
    held = measured(problem, relative_flatness=True, draws=300, keskar=[], ascent=1).arrays["flatness_groups"].mean(1)
    assert abs(held.mean() - exact) < 4 * held.std() / 300**0.5
    assert found.value == pytest.approx(held.mean())
    assert held.std() / 300**0.5 < 0.1 * exact


def test_a_last_layer_that_is_tied_or_missing_has_no_relative_flatness() -> None:
    for name in ("attention",):
        problem, _ = problem_of(name)
        found = statistics(problem, relative_flatness=True, draws=2, keskar=[], ascent=1)
        assert found["relative_flatness"][ITSELF].status == "undefined"
    assert statistics(exact_problem(quadratic()), draws=2)["relative_flatness"][ITSELF].status == "not measured"
    assert statistics(exact_problem(quadratic()), draws=2)["fisher_rao"][ITSELF].status == "not measured"


# ---------------------------------------------------------------- what can go wrong


def test_what_is_not_finite_nearby_is_said() -> None:
    wall = Exact("wall", lambda x, y: -(x + 0.02).log() + y**2, (), (0.0, 0.0), (0.0, 0.0))
    found = statistics(exact_problem(wall), sigma=0.05, draws=16)
    assert found["average"][ITSELF].status == "not finite"
    assert found["worst"][ITSELF].status == "not finite"
    assert np.isnan(found["worst"][ITSELF].value)  # by the engine, where the ascent met it
    assert (found["average_adaptive"][ITSELF].status, found["average_adaptive"][ITSELF].value) == ("ok", 0.0)
    held = measured(exact_problem(wall), sigma=0.05).arrays["worst_curves"]
    assert np.isnan(held).any()
    assert np.isfinite(held).any()


def test_a_gradient_that_is_not_finite_at_the_checkpoint_gives_values_all_the_same() -> None:
    root = Exact("root", lambda x, y: x.abs().sqrt() + y**2, (), (0.0, 0.0), (0.0, 0.0))
    found = statistics(exact_problem(root), rho=0.05, draws=4)
    assert found["worst"]["one_step"].status == "undefined"
    assert found["worst"][ITSELF].value == pytest.approx(0.05**0.5, rel=0.05)


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_is_measured_and_left_as_it_was(name: str) -> None:
    problem, _ = problem_of(name, "float32")
    problem.model.train()
    before = copy.deepcopy(problem.model.state_dict())
    flags = [p.requires_grad for p in problem.model.parameters()]
    found = measured(problem, draws=3, ascent=3)
    tree = sharpness_statistics(found)
    assert tree["worst"]["one_step"].value > 0
    assert tree["worst"][ITSELF].value >= tree["worst"]["one_step"].value * (1 - 1e-4)
    assert found.facts["scaled"] == list(problem.centre)
    assert problem.model.training
    assert [p.requires_grad for p in problem.model.parameters()] == flags
    assert all(torch.equal(before[key], tensor) for key, tensor in problem.model.state_dict().items())


def test_what_is_frozen_or_not_selected_stays_where_it_is() -> None:
    problem, _ = problem_of("half frozen")
    assert "0.weight" not in measured(problem, draws=2, ascent=1).facts["scaled"]
    alone = exact_problem(quadratic((3.0,)))
    assert statistics(alone, rho=0.1, draws=2)["worst"][ITSELF].value == pytest.approx(0.5 * 0.1**2 * 3)


@pytest.mark.parametrize("after", [1, 5, 30, 60, 89])
def test_a_measurement_that_is_stopped_gives_nothing_and_changes_nothing(after: int) -> None:
    problem, _ = problem_of("attention", "float32")
    before, asked = copy.deepcopy(problem.model.state_dict()), [0]

    def stop(units: int) -> bool:
        asked[0] += units
        return asked[0] >= after

    settings = SharpnessSettings(draws=4, ascent=5, fisher_rao=True, relative_flatness=True)
    assert measure_sharpness(problem, settings, stop) is None
    assert after <= asked[0] <= after + 4
    assert all(torch.equal(before[key], tensor) for key, tensor in problem.model.state_dict().items())


def test_no_more_steps_are_taken_than_were_said() -> None:
    problem, _ = problem_of("perceptron", "float32")
    settings, taken = SharpnessSettings(draws=4, ascent=5, fisher_rao=True, relative_flatness=True), [0]

    def count(units: int) -> bool:
        taken[0] += units
        return False

    measure_sharpness(problem, settings, count)
    assert 100 < taken[0] <= steps_asked(settings)


def test_a_fixed_subset_and_the_same_numbers_twice() -> None:
    problem, split = problem_of("perceptron", "float32", count=200)
    one, two, other = (measured(problem, samples=50, seed=seed, draws=2, ascent=2) for seed in (0, 0, 1))
    assert one.facts["samples"] == 50
    assert all(np.array_equal(one.arrays[key], two.arrays[key]) for key in one.arrays)
    assert not np.array_equal(one.arrays["centre_groups"], other.arrays["centre_groups"])
    whole = measured(problem, draws=2, ascent=2)
    assert np.array_equal(whole.arrays["group_sizes"], split.group_sizes.numpy())


# ---------------------------------------------------------------- from the arrays alone


def changed(**arrays: Any) -> Section:
    whole = measured(exact_problem(quadratic(SPECTRUM)), draws=2, ascent=2)
    facts = {name: fact for name, fact in whole.facts.items() if not name.endswith("_no_step")}
    return dataclasses.replace(whole, arrays={**whole.arrays, **arrays}, facts=facts)


def test_starts_that_end_apart_have_not_converged() -> None:
    apart = np.array([[0.0, 1.0, 1.0], [-0.5, 0.2, 0.94], [0.1, 0.9, 0.99]])
    near = np.array([[0.0, 1.0, 1.0], [-0.5, 0.2, 0.96], [0.1, 0.9, 0.99]])
    for curves, status in ((apart, "not converged"), (near, "ok"), (np.where(near > 0.95, np.inf, near), "not finite")):
        found = sharpness_statistics(changed(worst_curves=curves))["worst"][ITSELF]
        assert (found.status, found.bound) == (status, "lower")


def test_rounding_is_no_disagreement_between_starts() -> None:
    curves = np.array([[0.0, 1e-11], [0.0, 3e-11], [-1e-11, 2e-11]])
    for centre, status in ((1.0, "ok"), (1e-9, "not converged")):
        found = sharpness_statistics(changed(worst_curves=curves, centre_groups=np.full(40, centre)))["worst"][ITSELF]
        assert found.status == status


def test_a_value_that_has_not_converged_says_so_in_text() -> None:
    assert estimate_text(Estimate(3.1, 0.2, "not converged", "lower")) == "≥ 3.10 ± 0.20 (not converged)"
    assert estimate_text(Estimate(3.1, None, "not converged")) == "3.1 (not converged)"


def test_keskar_of_a_loss_below_minus_one_is_undefined() -> None:
    groups = np.full(40, -1.5)
    assert sharpness_statistics(changed(centre_groups=groups))["keskar"][0][ITSELF].status == "undefined"


def test_groups_without_weight_count_for_nothing() -> None:
    whole = changed()
    sizes = whole.arrays["group_sizes"].copy()
    sizes[3] = 0
    spoilt = {key: value.copy() for key, value in whole.arrays.items()}
    for key in ("average_groups", "adaptive_groups", "worst_groups", "keskar_groups", "centre_groups"):
        spoilt[key][..., 3] = np.nan
    spoilt["group_sizes"] = sizes
    found = sharpness_statistics(dataclasses.replace(whole, arrays=spoilt))
    assert found["worst"][ITSELF].value is not None
    assert np.isfinite(found["worst"][ITSELF].value)
    assert found["pac_bayes_sigma"][ITSELF].bound == "lower"


# ---------------------------------------------------------------- the file and the command


def test_sharpness_joins_an_existing_run_and_is_reported(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan("job.toml", "-o", "run.h5") == 0
    asked = ("job.toml", "--only", "sharpness", "-o", "run.h5")
    assert scan(*asked) == 0
    before = Path("run.h5").read_bytes()
    profile = store.load("run.h5")
    assert list(profile.sections) == ["sharpness"]
    assert store.image(profile) == before
    assert scan(*asked) == 0
    assert Path("run.h5").read_bytes() == before
    capsys.readouterr()
    assert main(["report", "run.h5", "--format", "json"]) == 0
    tree = json.loads(capsys.readouterr().out)["runs"][0]["sharpness"]
    assert tree["average_adaptive"]["sigma"] == 0.05
    assert tree["worst"]["bound"] == "lower"
    assert tree["worst"]["one_step"]["value"] <= tree["worst"]["value"]
    assert [entry["rescaling"] for entry in tree["keskar"]] == ["no", "no"]
    for name in ("text", "markdown", "csv"):
        assert main(["report", "run.h5", "--format", name]) == 0
        assert "sharpness.worst" in capsys.readouterr().out
    assert "it differs in rho" in refused(capsys, 2, *asked, "--set=sharpness.rho=0.1")


def test_sharpness_by_its_flag_and_on_request(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [f"--set=sharpness.{key}" for key in ("fisher_rao=true", "relative_flatness=true", "keskar=[]", "draws=2")]
    assert scan("job.toml", "--sharpness", *sets, "-o", "run.h5") == 0
    capsys.readouterr()
    assert main(["report", "run.h5", "--format", "json"]) == 0
    tree = json.loads(capsys.readouterr().out)["runs"][0]["sharpness"]
    assert tree["keskar"] == []
    assert tree["fisher_rao"]["status"] == "ok"


@pytest.mark.parametrize(
    "wrong", ["rho=-0.1", "sigma=0", "keskar=[0.001, -1]", "eta=-1", "draws=1", "starts=1", "rise=inf", "samples=0"]
)
def test_settings_out_of_their_range_are_refused(home: Path, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, 2, "job.toml", "--sharpness", f"--set=sharpness.{wrong}", "-o", "run.h5")
    assert f"sharpness.{wrong.partition('=')[0]}" in error


@pytest.mark.parametrize("name", ["worst_groups", "adaptive_sigmas", "keskar_groups", "average_groups", "worst_curves"])
def test_a_file_whose_arrays_do_not_fit_is_damage(home: Path, name: str) -> None:
    assert scan("job.toml", "--sharpness", "--set=sharpness.draws=2", "-o", "run.h5") == 0
    profile = store.load("run.h5")
    held = profile.sections["sharpness"]
    array = held.arrays[name]
    for wrong in (array[:0], array[..., :0], np.concatenate([array, array], axis=max(0, array.ndim - 2))):
        if name in ("average_groups", "worst_curves") and wrong.size:
            continue  # more draws or starts fit
        sections = {"sharpness": dataclasses.replace(held, arrays={**held.arrays, name: wrong})}
        Path("bad.h5").write_bytes(store.image(dataclasses.replace(profile, sections=sections)))
        with pytest.raises(LandscapeError, match="damaged"):
            store.load("bad.h5")


def test_what_has_no_time_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("landscape_cli.measure.budget.time.monotonic", lambda: clock[0])
    problem, _ = problem_of("perceptron", "float32")

    def tick(units: int) -> bool:  # a second for each step
        clock[0] += units
        return False

    found = measure_sharpness(problem, SharpnessSettings(draws=4, ascent=20, starts=1, time="40s"), tick)
    assert found is not None
    assert found[1]["out_of_time"] == ["average_adaptive", "worst_adaptive", "worst", "keskar"]
    tree = sharpness_statistics(Section(dataclasses.asdict(SharpnessSettings()), "", *found))
    assert tree["average"][ITSELF].status == "ok"
    left = ("average_adaptive", "pac_bayes_sigma", "worst_adaptive", "worst", "relative_flatness", "fisher_rao")
    assert {tree[name][ITSELF].status for name in left} == {"not measured"}
    assert [box[ITSELF].status for box in tree["keskar"]] == ["not measured"] * 2
