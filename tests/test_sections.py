"""The gradient and the Hessian at a checkpoint: closed forms, per-sample loops, the file, the command."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import signal
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from problems import PROBLEMS, Exact, itself, quadratic, samples
from test_objective import dense, problem_of
from test_scan_faults import home, refused, scan
from torch import Tensor, nn

from landscape_cli import store
from landscape_cli.analyse.gradient import gradient_statistics
from landscape_cli.analyse.hessian import hessian_statistics, learning_rates
from landscape_cli.analyse.paths import ITSELF
from landscape_cli.analyse.verdict import verdict
from landscape_cli.cli.main import main
from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure import gradient as gradients
from landscape_cli.measure import hessian as hessians
from landscape_cli.measure import notebook
from landscape_cli.measure.curvature import curvatures
from landscape_cli.measure.gradient import measure_gradient
from landscape_cli.measure.hessian import measure_hessian
from landscape_cli.measure.lanczos import Spectrum, lanczos
from landscape_cli.measure.losses import make_loss
from landscape_cli.measure.objective import Objective
from landscape_cli.measure.problem import Problem, make_problem
from landscape_cli.measure.sections import SECTIONS
from landscape_cli.measure.trace import Trace, hutchpp
from landscape_cli.measure.usercode import UserCode
from landscape_cli.section import SECTION_ARRAYS, Section
from landscape_cli.settings import DataSettings, GradientSettings, HessianSettings, LossSettings, ModelSettings

CPU = torch.device("cpu")
SharedData = Callable[[str], Path]
__all__ = ["home"]


def go_on(steps: int) -> bool:
    return False


def section(kind: str, problem: Problem, settings: Any) -> Section:
    found = SECTIONS[kind](problem, settings, go_on)
    assert found is not None
    return Section(dataclasses.asdict(settings), "fingerprint", *found)


def hessian_of(problem: Problem, **settings: Any) -> dict[str, Any]:
    return hessian_statistics(section("hessian", problem, HessianSettings(**settings)))


def values(entries: list[dict[str, Any]]) -> list[float]:
    assert all(entry[ITSELF].status == "ok" for entry in entries)
    return [entry[ITSELF].value for entry in entries]


def exact_problem(exact: Exact, noise: float = 0.0, count: int = 40) -> Problem:
    inputs, targets = samples(count, len(exact.at), noise)
    loss = make_loss(LossSettings("itself"), {"itself": UserCode("itself", itself, "sha", Path())})
    split = {"data": (inputs, targets, DataSettings())}
    return make_problem(exact.module(), split, loss, ModelSettings(), CPU, "float64")


def linear(inputs: Tensor, targets: Tensor, outputs: int, loss: str, weight: Tensor | None = None) -> Problem:
    """A linear model without bias, in float64."""
    model = nn.Linear(inputs.shape[1], outputs, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.zeros_like(model.weight) if weight is None else weight)
    made = {"data": (inputs, targets, DataSettings())}
    return make_problem(model, made, make_loss(LossSettings(loss), {}), ModelSettings(), CPU, "float64")


# ---------------------------------------------------------------- the Hessian


@pytest.mark.parametrize("exact", PROBLEMS.values(), ids=lambda exact: exact.name)
def test_the_eigenvalues_of_a_known_problem(exact: Exact) -> None:
    found = hessian_of(exact_problem(exact), tolerance=1e-9)
    assert values(found["top"]) == pytest.approx(sorted(exact.eigenvalues, reverse=True), rel=1e-8, abs=1e-10)
    assert values(found["bottom"]) == pytest.approx(sorted(exact.eigenvalues), rel=1e-8, abs=1e-10)
    assert found["trace"].value == pytest.approx(sum(exact.eigenvalues), rel=1e-8, abs=1e-10)
    assert found["frobenius"].value == pytest.approx(np.linalg.norm(exact.eigenvalues), rel=1e-8, abs=1e-10)


def test_a_product_of_two_weights() -> None:
    valley = Exact("valley", lambda x, y: 0.5 * (x * y - 1) ** 2, (), (2.0, 0.5), (0.0, 4.25))
    saddle = dataclasses.replace(valley, at=(0.0, 0.0), eigenvalues=(-1.0, 1.0))
    for exact in (valley, saddle):
        found = hessian_of(exact_problem(exact), tolerance=1e-9)
        assert values(found["bottom"]) == pytest.approx(exact.eigenvalues, abs=1e-10)
    three = Exact("three", lambda x, y, z: 0.5 * (x * y * z - 1) ** 2, (), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    assert values(hessian_of(exact_problem(three))["top"]) == pytest.approx([0, 0, 0], abs=1e-12)


def test_linear_and_logistic_regression() -> None:
    x = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    spectrum = np.linalg.eigvalsh((x.T @ x / 50).numpy())[::-1]
    found = hessian_of(linear(x, torch.randn(50, 3), 3, "mse"), top=6, tolerance=1e-9)
    assert values(found["top"]) == pytest.approx(2 / 3 * np.repeat(spectrum, 3)[:6], rel=1e-8)
    weight = torch.randn(1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    problem = linear(x, (torch.rand(50) > 0.5).double(), 1, "bce_with_logits", weight)
    p = torch.sigmoid(x @ weight[0])
    exact = np.linalg.eigvalsh(((x * (p * (1 - p))[:, None]).T @ x / 50).numpy())[::-1]
    assert values(hessian_of(problem, top=4, tolerance=1e-9)["top"]) == pytest.approx(exact, rel=1e-8)


def test_softmax_regression_at_zero() -> None:
    x = torch.randn(60, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    problem = linear(x, torch.randint(4, (60,)), 4, "cross_entropy")
    found = hessian_of(problem, bottom=5, tolerance=1e-9)
    first = np.linalg.eigvalsh((x.T @ x / 60).numpy())[-1]
    assert values(found["top"])[:3] == pytest.approx([first / 4] * 3, rel=1e-8)
    assert values(found["bottom"]) == pytest.approx([0.0] * 5, abs=1e-12)  # one for each input: adding a row to all
    exact = (1 - 1 / 4) * float((x**2).sum(1).mean())
    assert abs(found["trace"].value - exact) <= 4 * (found["trace"].stderr or 0) + 1e-9


def test_fewer_parameters_than_eigenvalues_and_one_parameter() -> None:
    assert values(hessian_of(exact_problem(quadratic((3.0,))), tolerance=1e-9)["top"]) == pytest.approx([3.0])
    found = hessian_of(exact_problem(quadratic((1.0, 2.0, 7.0))), tolerance=1e-9)
    assert values(found["top"]) == pytest.approx([7.0, 2.0, 1.0])
    assert found["top_ratio"].status == "not measured"


def test_a_budget_that_is_too_small_is_said() -> None:
    problem = linear(torch.randn(80, 30).double(), torch.randint(8, (80,)), 8, "cross_entropy", torch.randn(8, 30))
    found = hessian_of(problem, products=6)
    assert all(entry[ITSELF].status == "not converged" for entry in found["bottom"])
    rates = learning_rates(section("hessian", problem, HessianSettings(products=3)))
    assert rates["max_stable"]["gradient_descent"].status == "not converged"


def test_the_largest_stable_step_is_two_over_the_sharpness_and_undefined_at_a_maximum() -> None:
    rates = learning_rates(section("hessian", exact_problem(quadratic((1.0, 8.0))), HessianSettings()))["max_stable"]
    assert rates["gradient_descent"].value == pytest.approx(0.25)
    assert rates["heavy_ball"].value == pytest.approx(0.475)
    assert rates["nesterov"].value == pytest.approx(0.475 / 2.8)
    top = learning_rates(section("hessian", exact_problem(quadratic((-1.0, -8.0))), HessianSettings()))
    assert top["max_stable"]["gradient_descent"].status == "undefined"


def test_the_error_of_an_eigenvalue_is_that_of_its_samples() -> None:
    """w² x²/2 per sample: the eigenvalue is mean x², its error that of a mean."""
    x = torch.randn(2000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    problem = linear(x, torch.zeros(2000), 1, "mse")
    entry = hessian_of(problem)["top"][0][ITSELF]
    squares = 2 * x[:, 0] ** 2
    assert entry.value == pytest.approx(float(squares.mean()))
    assert entry.stderr == pytest.approx(float(squares.std()) / 2000**0.5, rel=0.25)


def test_the_density_sums_to_the_trace_and_sees_what_is_negative() -> None:
    spectrum = (-2.0, -1.0, 0.5, 1.0, 3.0, 8.0)
    found = hessian_of(exact_problem(quadratic(spectrum)), density=True, starts=200, steps=6)
    mass, rank = found["negative_mass"], found["effective_rank"]
    assert abs(mass.value - 2 / 6) < 4 * mass.stderr
    exact = sum(map(abs, spectrum)) ** 2 / sum(v * v for v in spectrum)
    assert abs(rank.value - exact) < 4 * rank.stderr
    assert hessian_of(exact_problem(quadratic(spectrum)))["negative_mass"].status == "not measured"


def test_the_basis_is_given_back_before_the_trace_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[Tensor]] = []

    def noted(*args: Any, **how: Any) -> Spectrum:
        found = lanczos(*args, **how)
        held.append(weakref.ref(found.top_vectors))
        return found

    def checked(*args: Any, **how: Any) -> Trace:
        assert held[0]() is None
        return hutchpp(*args, **how)

    monkeypatch.setattr(hessians, "lanczos", noted)
    monkeypatch.setattr(hessians, "hutchpp", checked)
    section("hessian", problem_of("perceptron")[0], HessianSettings())
    assert held


def test_it_stops_between_the_eigenvectors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    usual = curvatures

    def counted(objective: Objective, vectors: Tensor, groups: list[Tensor]) -> Tensor:
        asked.append(len(vectors))
        return usual(objective, vectors, groups)

    monkeypatch.setattr(hessians, "curvatures", counted)
    assert measure_hessian(problem_of("perceptron")[0], HessianSettings(), lambda steps: len(asked) == 2) is None
    assert asked == [1, 1]


def test_float64_products_of_a_float32_run() -> None:
    problem, _ = problem_of("perceptron", "float32")
    double, _ = problem_of("perceptron", "float64")
    a = section("hessian", problem, HessianSettings(dtype="float64", tolerance=1e-8))
    b = section("hessian", double, HessianSettings(tolerance=1e-8))
    assert a.facts["dtype"] == "float64"
    np.testing.assert_allclose(a.arrays["top"], b.arrays["top"], rtol=1e-5)  # the weights are float32's
    assert problem.dtype == "float32"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_derivatives_of_a_half_precision_run_are_in_float32_and_say_so(dtype: str) -> None:
    def made(kind: str) -> Problem:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)).eval()
        inputs = torch.randn(300, 6).bfloat16().half().float()  # what both hold exactly
        splits = {"data": (inputs, torch.randint(3, (300,)), DataSettings())}
        return make_problem(model, splits, make_loss(LossSettings(), {}), ModelSettings(), CPU, kind)

    half, single = made(dtype), made("float32")
    before = {name: tensor.clone() for name, tensor in half.model.state_dict().items()}
    for kind in ("hessian", "gradient"):
        settings = HessianSettings() if kind == "hessian" else GradientSettings()
        found, wanted = (section(kind, problem, settings) for problem in (half, single))
        assert "float32" in found.facts["notes"][0]
        assert wanted.facts["notes"] == []
        key = "top" if kind == "hessian" else "group_products"
        np.testing.assert_allclose(found.arrays[key], wanted.arrays[key], rtol=1e-5, atol=1e-9)
    assert half.dtype == dtype
    assert all(torch.equal(tensor, before[name]) for name, tensor in half.model.state_dict().items())


@pytest.mark.slow
def test_resnet20_s_largest_eigenvalues_are_the_reference(shared_data: SharedData, tmp_path: Path) -> None:
    from test_reference import REFERENCE, scanned

    with np.load(shared_data(REFERENCE)) as held:
        norm, top = float(held["gradient_norm"]), held["hessian_top"]
    sets = ["--set=data.train.rows=0:128", "--gradient", "--hessian"]
    sets += ["--set=hessian.products=40", "--set=hessian.bottom=1", "--set=hessian.probes=10"]
    profile = scanned(shared_data, "resnet20", "train", tmp_path / "run.h5", *sets)
    assert gradient_statistics(profile.sections["gradient"])["norm"].value == pytest.approx(norm, rel=1e-4)
    assert values(hessian_statistics(profile.sections["hessian"])["top"]) == pytest.approx(top, rel=1e-3)


# ---------------------------------------------------------------- the gradient


def loop(problem: Problem) -> Tensor:
    """(N, P) each sample's gradient, one backward pass each, times its weight over the mean weight."""
    split = problem.splits["data"]
    parameters = [p for n, p in problem.model.named_parameters() if n in problem.centre]
    rows = []
    for i in range(len(split)):
        assert isinstance(split.inputs, Tensor)
        out = problem.model(split.inputs[i : i + 1])
        loss = F.cross_entropy(out.flatten(0, -2), split.targets[i : i + 1].flatten(), ignore_index=-100)
        found = torch.autograd.grad(loss * split.weights[i] / split.weights.mean(), parameters, materialize_grads=True)
        rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows).detach()


@pytest.mark.parametrize("name", ["perceptron", "convolutional", "attention", "half frozen"])
def test_norm_and_covariance_are_those_of_a_loop_over_samples(name: str) -> None:
    problem, _ = problem_of(name, count=40)
    each = loop(problem)
    found = section("gradient", problem, GradientSettings())
    tree = gradient_statistics(found)
    mean = each.mean(0)
    covariance = torch.cov(each.T)
    assert found.facts["per_sample"] == "exact"
    assert tree["norm"].value == pytest.approx(float(mean.norm()), rel=1e-9)
    assert tree["covariance_trace"].value == pytest.approx(float(covariance.trace()), rel=1e-9)
    assert tree["test"][ITSELF].value == pytest.approx(float(40 * mean.norm() ** 2 / covariance.trace()), rel=1e-9)
    layers = torch.split(mean, [t.numel() for t in problem.centre.values()])
    assert [e["norm"].value for e in tree["per_layer"]] == pytest.approx([float(g.norm()) for g in layers], rel=1e-9)
    assert [e["name"] for e in tree["per_layer"]] == list(problem.centre)


def test_micro_batches_where_single_gradients_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "HELD", 1)
    problem, _ = problem_of("perceptron", count=640)
    found = section("gradient", problem, GradientSettings())
    assert found.facts["per_sample"] == "64 micro-batches"
    exact = float(torch.cov(loop(problem).T).trace())
    tree = gradient_statistics(found)
    assert abs(tree["covariance_trace"].value - exact) < 4 * tree["covariance_trace"].stderr
    square = float((torch.cov(loop(problem).T) ** 2).sum())
    assert tree["test"]["null_sd"].value == pytest.approx((2 * square) ** 0.5 / exact, rel=0.2)


def drawn(mean: Any, count: int, groups: int, seed: int, scale: Any = 1.0) -> Section:
    """The section of `count` Gaussian per-sample gradients."""
    random = np.random.default_rng(seed)
    each = random.normal(size=(count, len(mean))) * scale + mean
    parts = np.array_split(each, groups)
    means = np.array([part.mean(0) for part in parts])
    quads = each[: count // 4 * 4].reshape(-1, 4, len(mean))
    arrays = {
        "group_sizes": np.array([float(len(p)) for p in parts]),
        "group_losses": np.zeros(groups),
        "group_products": means @ means.T,
        "layer_norms": np.array([np.linalg.norm(each.mean(0))]),
        "weight_norms": np.array([1.0]),
        "sample_squares": np.array([(p**2).sum() for p in parts]),
        "sample_counts": np.array([float(len(p)) for p in parts]),
        "pair_products": ((quads[:, 0] - quads[:, 1]) * (quads[:, 2] - quads[:, 3])).sum(1) ** 2 / 4,
    }
    return Section({}, "", arrays, {"per_sample": "exact", "parameters": ["w"]})


def test_the_test_statistic_is_one_on_average_under_the_null_with_the_spread_that_it_says() -> None:
    scale = np.array([1.0, 2.0, 3.0, 0.5])
    trees = [gradient_statistics(drawn(np.zeros(4), 256, 32, seed, scale)) for seed in range(400)]
    found = np.array([tree["test"][ITSELF].value for tree in trees])
    exact = np.sqrt(2 * (scale**4).sum()) / (scale**2).sum()
    assert abs(found.mean() - 1) < 4 * exact / 20
    assert found.std() == pytest.approx(exact, rel=0.2)
    assert np.mean([tree["test"]["null_sd"].value for tree in trees]) == pytest.approx(exact, rel=0.1)


def test_the_noise_scale_has_error_bars_or_is_a_lower_bound() -> None:
    mean = np.array([2.0, 0.0, 0.0])
    trees = [gradient_statistics(drawn(mean, 256, 32, seed, 2.0)) for seed in range(200)]
    scales = [tree["noise_scale"] for tree in trees]
    assert all(s.bound == "exact" for s in scales)
    inside = [abs(s.value - 3.0) < 3 * s.stderr for s in scales]
    assert np.mean(inside) > 0.97
    nothing = [gradient_statistics(drawn(np.zeros(3), 256, 32, seed))["noise_scale"] for seed in range(50)]
    assert all(s.bound == "lower" or s.status == "undefined" for s in nothing if s.stderr is None)
    assert sum(s.bound == "lower" for s in nothing) > 40


def test_layers_that_vanish_and_explode_are_named() -> None:
    made = drawn(np.ones(3), 64, 8, 0)
    arrays = {**made.arrays, "layer_norms": np.array([1.0, 1e-4, 1.0, 1e4, 0.5]), "weight_norms": np.ones(5)}
    names = ["a", "b", "c", "d", "e"]
    tree = gradient_statistics(dataclasses.replace(made, arrays=arrays, facts={**made.facts, "parameters": names}))
    assert (tree["vanishing"], tree["exploding"]) == (["b"], ["d"])


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    root = Exact("root", lambda x, y: x.abs().sqrt() + y * 0, (), (0.0, 0.0), (0.0, 0.0))
    for measure in (measure_gradient, measure_hessian):
        settings: Any = GradientSettings() if measure is measure_gradient else HessianSettings()
        with pytest.raises(LandscapeError, match="not finite") as raised:
            measure(exact_problem(root), settings, go_on)
        assert raised.value.code == ExitCode.INCONCLUSIVE


def test_a_fixed_subset_is_the_same_each_time_and_another_by_another_seed() -> None:
    problem, split = problem_of("perceptron", count=200)
    a, b, c = (gradients.sample_groups(split, 50, seed) for seed in (0, 0, 1))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert len(set(torch.cat(a).tolist())) == 50
    assert set(torch.cat(a).tolist()) != set(torch.cat(c).tolist())
    assert section("gradient", problem, GradientSettings(samples=50)).facts["samples"] == 50


# ---------------------------------------------------------------- the file and the command


def test_sections_are_stored_and_measured_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("job.toml", "--gradient", "--hessian", "-o", "run.h5")
    assert scan(*asked) == 0
    before = Path("run.h5").read_bytes()
    profile = store.load("run.h5")
    assert list(profile.sections) == ["gradient", "hessian"]
    assert profile.complete
    assert store.image(profile) == before
    assert scan(*asked) == 0
    assert Path("run.h5").read_bytes() == before
    capsys.readouterr()
    assert main(["report", "run.h5", "--format", "json"]) == 0
    run = json.loads(capsys.readouterr().out)["runs"][0]
    with np.load("data.npz") as data:
        x = np.hstack([data["inputs"], np.ones((20, 1))])
    exact = np.linalg.eigvalsh(2 * x.T @ x / 20)[::-1]
    assert [entry["value"] for entry in run["hessian"]["top"]] == pytest.approx(exact, rel=1e-5)
    assert all(entry["residual"] < 1e-4 for entry in run["hessian"]["top"])
    assert run["gradient"]["norm"]["status"] == "ok"
    assert run["learning_rate"]["max_stable"]["gradient_descent"]["value"] == pytest.approx(2 / exact[0], rel=1e-5)
    for name in ("text", "markdown", "csv"):
        assert main(["report", "run.h5", "--format", name]) == 0
        assert "hessian.top.0" in capsys.readouterr().out


def test_a_section_joins_an_existing_run_and_settings_are_guarded(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan("job.toml", "-o", "run.h5") == 0
    plane = store.load("run.h5").planes["main"]
    assert scan("job.toml", "--only", "hessian", "-o", "run.h5") == 0
    profile = store.load("run.h5")
    assert list(profile.sections) == ["hessian"]
    assert np.array_equal(profile.planes["main"].surface.loss, plane.surface.loss)
    assert "[hessian]" in profile.provenance.job
    assert "[planes.main]" in profile.provenance.job
    error = refused(capsys, 2, "job.toml", "--only=hessian", "--set=hessian.top=2", "-o", "run.h5")
    assert error == "error: run.h5 holds another hessian: it differs in top"
    assert scan("job.toml", "--only=hessian", "--set=hessian.top=2", "--force=hessian", "-o", "run.h5") == 0
    assert len(store.load("run.h5").sections["hessian"].arrays["top"]) == 2
    assert "unknown plane or section" in refused(capsys, 2, "job.toml", "--only=hesian", "-o", "run.h5")
    assert "hessian.probes" in refused(capsys, 2, "job.toml", "--hessian", "--set=hessian.probes=3", "-o", "new.h5")
    assert "hessian.top" in refused(capsys, 2, "job.toml", "--hessian", "--set=hessian.top=0", "-o", "new.h5")


@pytest.mark.parametrize("name", list(SECTION_ARRAYS))
def test_a_section_that_is_stopped_is_measured_by_the_next_run(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("job.toml", f"--only={name}", "-o", "run.h5")  # a file without a plane
    assert scan("job.toml", f"--only={name}", "-o", "whole.h5") == 0
    usual = SECTIONS[name]

    def interrupted(problem: Problem, settings: Any, ask: Callable[[int], bool]) -> Any:
        signal.raise_signal(signal.SIGINT)
        return usual(problem, settings, ask)

    with monkeypatch.context() as patch:
        patch.setitem(SECTIONS, name, interrupted)
        assert scan(*asked) == 130
    stopped = store.load("run.h5")
    assert not stopped.complete
    assert not stopped.sections[name].arrays
    assert main(["report", "run.h5"]) == ExitCode.INCONCLUSIVE
    assert scan(*asked) == 0
    whole, resumed = (store.load(file).sections[name] for file in ("whole.h5", "run.h5"))
    for key, array in whole.arrays.items():
        assert np.array_equal(array, resumed.arrays[key]), key


def test_a_section_that_ran_out_of_time_is_measured_when_it_is_given_more(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("job.toml", "--only=hessian", "-o", "run.h5")
    assert scan(*asked, "--set=hessian.time=0.000001") == 0
    assert "ways down" in store.load("run.h5").sections["hessian"].facts["out_of_time"]
    assert scan(*asked, "--set=hessian.time=0.000001") == 0
    assert "nothing to do" in capsys.readouterr().err
    assert scan(*asked, "--set=hessian.time=100") == 0
    assert store.load("run.h5").sections["hessian"].facts["out_of_time"] == []
    assert scan(*asked) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_a_section_that_ran_out_of_time_is_not_measured_again_with_less(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("job.toml", "--only=hessian", "-o", "run.h5")
    assert scan(*asked, "--set=hessian.time=0.00001") == 0
    for less in ("0.000001", '"0.00001s"'):
        assert scan(*asked, f"--set=hessian.time={less}") == 0
        assert "nothing to do" in capsys.readouterr().err


def test_a_section_that_cannot_be_had_leaves_the_others(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(problem: Problem, settings: Any, ask: Callable[[int], bool]) -> None:
        raise LandscapeError("no", "nothing", ExitCode.INCONCLUSIVE)

    monkeypatch.setitem(SECTIONS, "gradient", refusing)
    assert scan("job.toml", "--all", "-o", "run.h5") == ExitCode.INCONCLUSIVE
    held = {name: section.complete for name, section in store.load("run.h5").sections.items()}
    assert held == {"gradient": False, "hessian": True, "sharpness": True}


def test_one_part_is_forced_at_a_time(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan("job.toml", "--all", "-o", "run.h5") == 0
    told = refused(capsys, 2, "job.toml", "--all", "--force=hessian", "--force=gradient", "-o", "run.h5")
    assert "more than once" in told


def test_a_learning_rate_can_be_named_afterwards(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("job.toml", "--only=hessian", "-o", "run.h5")
    assert scan(*asked) == 0
    first = store.load("run.h5").sections["hessian"]
    capsys.readouterr()
    assert scan(*asked, "--set=hessian.learning_rate=0.25") == 0
    assert "has the learning rate now" in capsys.readouterr().err
    assert main(["report", "run.h5", "--format", "json"]) == 0
    run = json.loads(capsys.readouterr().out)["runs"][0]
    assert run["learning_rate"]["stability"]["value"] == pytest.approx(0.125 * first.arrays["top"][0])
    assert "learning_rate = 0.25" in store.load("run.h5").provenance.job
    assert scan(*asked) == 0  # which names none, and takes none away
    assert store.load("run.h5").sections["hessian"].settings["learning_rate"] == 0.25


def test_a_forced_section_is_kept_until_the_new_one_is_there(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("job.toml", "--only=hessian", "-o", "run.h5")
    assert scan(*asked) == 0
    before = store.load("run.h5").sections["hessian"].arrays
    capsys.readouterr()

    def interrupted(problem: Problem, settings: Any, ask: Callable[[int], bool]) -> None:
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setitem(SECTIONS, "hessian", interrupted)
        assert scan(*asked, "--set=hessian.top=2", "--force=hessian") == 130
    told = capsys.readouterr().err
    assert "hessian not measured" in told
    held = store.load("run.h5").sections["hessian"]
    assert held.complete
    assert all(np.array_equal(held.arrays[key], array) for key, array in before.items())
    resume = re.search(r"^resume: landscape (.*)$", told, re.MULTILINE)
    assert resume is not None
    assert main(shlex.split(resume[1])) == 0
    assert len(store.load("run.h5").sections["hessian"].arrays["top"]) == 2


class Narrow(nn.Linear):
    """Takes five samples at most in one pass."""

    def forward(self, inputs: Tensor) -> Tensor:
        assert inputs.shape[0] <= 5
        return super().forward(inputs)


def test_samples_per_pass_are_those_asked_for_in_every_section() -> None:
    torch.manual_seed(0)
    data = (torch.randn(40, 3), torch.randint(0, 2, (40,)))
    sections = {"gradient": {}, "hessian": {"per_layer": True}, "sharpness": {"fisher_rao": True}}
    found = notebook.scan(Narrow(3, 2), data, x=None, batch_size=5, sections=sections)
    assert all(section.complete for section in found.sections.values())
    with pytest.raises(LandscapeError, match="40 <= 5"):
        notebook.scan(Narrow(3, 2), data, x=None, sections=sections)


@pytest.mark.parametrize("name", ["top_residuals", "top_groups", "trace_exact", "group_sizes"])
def test_a_section_with_an_array_missing_or_of_another_shape_is_damage(home: Path, name: str) -> None:
    assert scan("job.toml", "--hessian", "-o", "run.h5") == 0
    profile = store.load("run.h5")
    held = profile.sections["hessian"]
    wrong: dict[str, Any] = {key: value for key, value in held.arrays.items() if key != name}
    for arrays in (wrong, {**held.arrays, name: np.concatenate([np.atleast_1d(held.arrays[name])] * 2, axis=-1)}):
        sections = {"hessian": dataclasses.replace(held, arrays=arrays)}
        Path("bad.h5").write_bytes(store.image(dataclasses.replace(profile, sections=sections)))
        with pytest.raises(LandscapeError, match="damaged"):
            store.load("bad.h5")


def test_every_array_of_a_section_has_a_unit_and_a_description(home: Path) -> None:
    sets = [f"--set={key}=true" for key in ("hessian.density", "sharpness.relative_flatness", "sharpness.fisher_rao")]
    assert scan("job.toml", "--gradient", "--hessian", "--sharpness", *sets, "-o", "run.h5") == 0
    with h5py.File("run.h5") as file:
        for name, known in SECTION_ARRAYS.items():
            for key, dataset in file[name].items():
                assert dataset.attrs["units"] == known[key][1]
                assert dataset.attrs["description"]


# ---------------------------------------------------------------- parts, budgets


@pytest.mark.parametrize("name", ["perceptron", "convolutional", "half frozen", "attention"])
def test_the_blocks_of_single_parameter_tensors(name: str) -> None:
    problem, split = problem_of(name)
    exact = dense(problem, split, torch.arange(len(split)))
    found = hessian_of(problem, per_layer=True, probes=400, tolerance=1e-9)["per_layer"]
    assert [layer["name"] for layer in found] == list(problem.centre)
    sizes = [t.numel() for t in problem.centre.values()]
    starts = np.cumsum([0, *sizes])
    for layer, start, size in zip(found, starts, sizes, strict=False):
        block = exact[start : start + size, start : start + size]
        top, trace = layer["top"][ITSELF], layer["trace"]
        assert top.status == "ok"
        assert top.value == pytest.approx(float(torch.linalg.eigvalsh(block)[-1]), rel=1e-8, abs=1e-10)
        assert abs(trace.value - float(block.trace())) <= 4 * (trace.stderr or 0) + 1e-9


def test_a_part_that_has_no_time_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("landscape_cli.measure.budget.time.monotonic", lambda: clock[0])
    problem, _ = problem_of("perceptron")

    def tick(steps: int) -> bool:  # a second for each product
        clock[0] += steps
        return False

    found = measure_hessian(problem, HessianSettings(time=150.0), tick)
    assert found is not None
    assert found[1]["out_of_time"] == []
    clock[0] = 0.0
    arrays, facts = measure_hessian(problem, HessianSettings(time=20.0), tick) or ({}, {})
    assert facts["products"] <= 21  # what is under way when time is over is finished
    assert facts["out_of_time"] == ["eigenvalues", "trace", "ways down"]
    tree = hessian_statistics(Section({}, "", arrays, facts))
    assert {entry[ITSELF].status for entry in tree["bottom"]} == {"not converged"}
    assert (tree["trace"].status, tree["frobenius"].status) == ("not measured", "not measured")
    kind = verdict(Section({}, "", arrays, facts))
    assert kind is not None
    assert kind["kind"] == "inconclusive"
    assert "time" in kind["reasons"][0]


def test_a_gradient_that_has_no_time_is_of_fewer_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("landscape_cli.measure.budget.time.monotonic", lambda: clock[0])
    problem, _ = problem_of("perceptron", count=640)

    def tick(steps: int) -> bool:
        clock[0] += steps
        return False

    found = measure_gradient(problem, GradientSettings(time="80s"), tick)  # half of it for the groups
    assert found is not None
    assert found[1]["samples"] == 400
    assert found[1]["per_sample"] == "40 micro-batches"
    assert found[1]["out_of_time"] == ["24 of 64 groups", "single samples"]
    assert gradient_statistics(Section({}, "", *found))["norm"].status == "ok"


@pytest.mark.parametrize("asks", [1, 70, 140])
def test_a_gradient_that_is_asked_to_stop_does_so_wherever_it_is(asks: int) -> None:
    """Amid the groups, the single samples and the steps down the gradient."""
    problem, _ = problem_of("perceptron", count=640)
    asked: list[int] = []

    def stop(steps: int) -> bool:
        asked.append(steps)
        return len(asked) >= asks

    assert measure_gradient(problem, GradientSettings(), stop) is None
    assert len(asked) <= asks + 1


class Scaled(nn.Linear):
    """A parameter without dimensions, such as a temperature."""

    def __init__(self) -> None:
        super().__init__(3, 2)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.scale * super().forward(inputs)


def test_a_parameter_without_dimensions_is_one_like_any_other() -> None:
    torch.manual_seed(0)
    model, (x, y) = Scaled(), (torch.randn(30, 3), torch.randint(2, (30,)))
    squares = 0.0
    for one, target in zip(x, y, strict=True):
        gradients = torch.autograd.grad(F.cross_entropy(model(one[None]), target[None]), list(model.parameters()))
        squares += sum(float((g.double() ** 2).sum()) for g in gradients)
    made = notebook.scan(model, (x, y), x=None, sections=["gradient", "hessian", "sharpness"]).sections
    assert made["gradient"].arrays["sample_squares"].sum() == pytest.approx(squares, rel=1e-5)
    assert len(made["hessian"].arrays["top"]) == 5


def test_weight_decay_alone_is_a_slope_too() -> None:
    problem = linear(torch.zeros(3, 2), torch.zeros(3, 1), 1, "mse", torch.ones(1, 2, dtype=torch.float64))
    assert gradient_statistics(section("gradient", problem, GradientSettings()))["critical"] == "yes"
    loss = dataclasses.replace(problem.loss, settings=dataclasses.replace(problem.loss.settings, weight_decay=0.5))
    decayed = dataclasses.replace(problem, loss=loss)
    assert gradient_statistics(section("gradient", decayed, GradientSettings()))["critical"] == "not measured"


def test_whether_the_gradient_is_zero_for_all_that_matters() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(400, 3, dtype=torch.float64, generator=draw)
    y = x @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) + torch.randn(400, dtype=torch.float64, generator=draw)
    optimum = torch.linalg.lstsq(x, y[:, None]).solution.T
    there, aside = (linear(x, y[:, None], 1, "mse", weight) for weight in (optimum, optimum * 0 + 100.0))
    tree = gradient_statistics(section("gradient", there, GradientSettings()))
    assert tree["critical"] == "yes"
    far = gradient_statistics(section("gradient", aside, GradientSettings()))
    assert far["critical"] == "no"
    assert far["drop"].value > 3 * far["drop"].stderr
    few = linear(x[:3], y[:3, None], 1, "mse", optimum)
    assert gradient_statistics(section("gradient", few, GradientSettings()))["critical"] == "not measured"


def test_flags_of_the_sections(home: Path) -> None:
    assert (
        scan("job.toml", "--all", "--per-layer", "--hessian-dtype=float64", "--set=hessian.time=1h", "-o", "run.h5")
        == 0
    )
    profile = store.load("run.h5")
    assert set(profile.sections) == set(SECTION_ARRAYS)
    assert "layer_top" in profile.sections["hessian"].arrays
    assert profile.sections["hessian"].facts["dtype"] == "float64"
    assert main(["report", "run.h5"]) == 0


def test_a_time_that_is_none_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "hessian.time" in refused(capsys, 2, "job.toml", "--hessian", "--set=hessian.time=soon", "-o", "new.h5")


def test_eta_lambda_over_two_and_settings_that_change_no_number(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan("job.toml", "--hessian", "--set=hessian.learning_rate=0.1", "-o", "run.h5") == 0
    capsys.readouterr()
    assert main(["report", "run.h5", "--format", "json"]) == 0
    run = json.loads(capsys.readouterr().out)["runs"][0]
    first, stability = run["hessian"]["top"][0], run["learning_rate"]["stability"]
    assert stability["value"] == pytest.approx(0.05 * first["value"])
    assert stability["stderr"] == pytest.approx(0.05 * first["stderr"])
    assert scan("job.toml", "--hessian", "--set=hessian.time=1h", "-o", "run.h5") == 0  # nothing to do
    assert "learning_rate" in refused(capsys, 2, "job.toml", "--hessian", "--set=hessian.learning_rate=0", "-o", "x.h5")


def test_samples_that_do_not_count_change_nothing() -> None:
    torch.manual_seed(0)
    inputs, targets = torch.randn(60, 4), torch.randint(3, (60,))
    padded = torch.cat([inputs, torch.randn(40, 4)]), torch.cat([targets, torch.full((40,), -100)])
    trees = []
    for data in ((inputs, targets), padded):
        torch.manual_seed(1)
        made = {"data": (*data, DataSettings())}
        problem = make_problem(nn.Linear(4, 3), made, make_loss(LossSettings(), {}), ModelSettings(), CPU)
        trees.append(gradient_statistics(section("gradient", problem, GradientSettings())))
    for name in ("norm", "covariance_trace"):
        assert trees[0][name].value == pytest.approx(trees[1][name].value, rel=1e-5)
    assert trees[0]["test"][ITSELF].value == pytest.approx(trees[1]["test"][ITSELF].value, rel=1e-5)


def test_blocks_of_a_model_whose_norm_is_folded_into_a_convolution_of_one_dimension() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).eval()
    made = {"data": (torch.randn(30, 2, 6), torch.randint(3, (30,)), DataSettings())}
    problem = make_problem(model, made, make_loss(LossSettings(), {}), ModelSettings(), CPU)
    layers = hessian_of(problem, per_layer=True)["per_layer"]
    assert [layer["name"] for layer in layers] == list(problem.centre)
    assert all(layer["top"][ITSELF].status == "ok" for layer in layers)


def test_one_sample_is_reported(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan("job.toml", "--all", "--set=data.train.samples=1", "-o", "run.h5") == 0
    for name in ("text", "json", "csv", "markdown"):
        assert main(["report", "run.h5", "--format", name]) == 0


@pytest.mark.parametrize(
    ("name", "key", "value"), [("sharpness", "keskar", 5), ("sharpness", "notes", 5), ("gradient", "sample_counts", 0)]
)
def test_a_forged_section_is_reported_without_a_crash(
    home: Path, name: str, key: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan("job.toml", "--gradient", "--sharpness", "-o", "run.h5") == 0
    profile = store.load("run.h5")
    held = profile.sections[name]
    forged = dataclasses.replace(
        held,
        settings={**held.settings, key: value} if key in held.settings else held.settings,
        facts={**held.facts, key: value} if key in held.facts else held.facts,
        arrays={**held.arrays, key: held.arrays[key] * value} if key in held.arrays else held.arrays,
    )
    sections = {**profile.sections, name: forged}
    Path("forged.h5").write_bytes(store.image(dataclasses.replace(profile, sections=sections)))
    assert main(["report", "forged.h5"]) in (0, 3)


def test_the_plan_says_how_many_products_a_section_may_take(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan("job.toml", "--hessian", "--set=hessian.density=true", "--plan") == 0
    assert "at most 1430 products" in capsys.readouterr().out
