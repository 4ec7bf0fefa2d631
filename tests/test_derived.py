"""Directions computed from the loss: exact answers, dense derivatives, float32, recipes, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cifar import resnet20
from problems import Exact, itself, quadratic, samples, turned
from test_objective import MODELS, dense, mean_loss, problem_of
from test_sections import exact_problem, go_on, linear
from torch import Tensor, nn

import landscape_cli
from landscape_cli.analyse.curvature import plane_curvature
from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure.derived import derive, sha256_of, stand_ins
from landscape_cli.measure.directions import Plane, Vector, make_plane
from landscape_cli.measure.losses import make_loss
from landscape_cli.measure.planner import in_place_plan
from landscape_cli.measure.problem import Problem, make_problem
from landscape_cli.measure.scan import fill, measure_centre, new_record
from landscape_cli.profile import PlaneRecord, Profile
from landscape_cli.report.planes import _recipe
from landscape_cli.settings import (
    DataSettings,
    HessianSettings,
    LossSettings,
    ModelSettings,
    PlaneSettings,
    plane_with_defaults,
)

CPU = torch.device("cpu")
SPECTRUM = (-2.0, -0.5, 0.25, 1.0, 3.0, 8.0)  # lowest first
EXACT = HessianSettings(tolerance=1e-10)
SharedData = Callable[[str], Path]


def derived(problem: Problem, *specs: str, settings: HessianSettings = EXACT) -> dict[str, Vector]:
    found = derive(problem, specs, settings, go_on)
    assert found is not None
    return found


def flat(tensors: Mapping[str, Tensor], like: Iterable[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return torch.cat([tensors[name].reshape(-1).double() for name in like]).numpy()


def vector_of(problem: Problem, spec: str, settings: HessianSettings = EXACT) -> Any:
    """(P,) in the order of the parameters."""
    return flat(derived(problem, spec, settings=settings)[spec].parameters, problem.centre)


def plane_of(problem: Problem, *directions: str, settings: HessianSettings = EXACT, **changes: Any) -> Plane:
    asked = {"x": "-1:1:5", **changes} | ({"y": "-1:1:5"} if len(directions) == 2 else {})
    plane = plane_with_defaults("main", PlaneSettings(directions=[*directions], **asked), 0)
    specs = [spec for spec in directions if spec.startswith(("gradient", "hessian"))]
    vectors = derived(problem, *specs, settings=settings)
    return make_plane("main", plane, problem, ModelSettings(), Path(), {}, vectors)


def measured(problem: Problem, plane: Plane) -> PlaneRecord:
    plan = in_place_plan(problem)
    record = new_record(problem, plane, measure_centre(problem, plan), plan)
    for _ in fill(record, problem, plane, plan):
        pass
    return record


def surface_of(problem: Problem, *directions: str, **changes: Any) -> Any:
    return measured(problem, plane_of(problem, *directions, **changes)).surface


# ---------------------------------------------------------------- eigenvectors


@pytest.mark.parametrize("k", [1, 2, 3, 6, -1, -2, -6])
def test_an_eigenvector_is_that_of_its_rank(k: int) -> None:
    vector = vector_of(exact_problem(quadratic(SPECTRUM)), f"hessian:{k}")
    column = -k if k > 0 else -k - 1
    exact = np.linalg.eigh(turned(SPECTRUM))[1][:, column]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-7)
    assert abs(vector @ exact) == pytest.approx(1, abs=1e-7)
    assert vector[np.abs(vector).argmax()] > 0


def test_one_run_of_lanczos_serves_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[int, int]] = []
    real = landscape_cli.measure.derived.extremes  # type: ignore[attr-defined]

    def counted(objective: Any, settings: HessianSettings, top: int, bottom: int, budget: Any) -> Any:
        runs.append((top, bottom))
        return real(objective, settings, top, bottom, budget)

    monkeypatch.setattr("landscape_cli.measure.derived.extremes", counted)
    found = derived(exact_problem(quadratic(SPECTRUM)), "hessian:3", "hessian:1", "hessian:-2", "gradient")
    assert runs == [(3, 2)]
    values = {spec: vector.recipe.get("eigenvalue") for spec, vector in found.items()}
    expected = {"gradient": None, "hessian:1": 8.0, "hessian:3": 1.0, "hessian:-2": -0.5}
    assert values == {spec: value and pytest.approx(value, rel=1e-9) for spec, value in expected.items()}


@pytest.mark.parametrize(("k", "value"), [(1, 8.0), (-1, -2.0)])
def test_a_line_along_an_eigenvector_is_the_parabola(k: int, value: float) -> None:
    surface = surface_of(exact_problem(quadratic(SPECTRUM)), f"hessian:{k}")
    np.testing.assert_allclose(surface.loss, 0.5 * value * surface.x.values**2, rtol=1e-6, atol=1e-15)


def test_the_parabola_is_exact_along_the_float32_vector_that_is_used() -> None:
    problem = exact_problem(quadratic(SPECTRUM))
    plane = plane_of(problem, "hessian:1")
    used = flat(plane.directions[0].parameters, problem.centre)
    assert (used.astype(np.float32) == used).all()
    assert plane.gram[0, 0] == pytest.approx(used @ used, rel=1e-14)
    curvature = used @ turned(SPECTRUM) @ used
    loss = measured(problem, plane).surface.loss
    np.testing.assert_allclose(loss, 0.5 * curvature * plane.x.values**2, rtol=1e-12, atol=1e-15)


def test_the_curvatures_of_the_plane_of_extremes_are_the_extreme_eigenvalues() -> None:
    surface = surface_of(exact_problem(quadratic(SPECTRUM)), "hessian:1", "hessian:-1")
    found = plane_curvature(surface)["plane"]["eigenvalues"]
    assert [estimate.value for estimate in found] == pytest.approx([-2.0, 8.0], rel=1e-6)


def test_linear_regression() -> None:
    x = torch.randn(40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    problem = linear(x, torch.randn(40, 1, dtype=torch.float64), 1, "mse")
    values, vectors = np.linalg.eigh((2 * x.T @ x / 40).numpy())
    assert abs(vector_of(problem, "hessian:2") @ vectors[:, -2]) == pytest.approx(1, abs=1e-7)
    fitted = plane_curvature(surface_of(problem, "hessian:2"))["plane"]["eigenvalues"]
    assert fitted[0].value == pytest.approx(values[-2], rel=1e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_eigenvector_of_a_network_is_one_of_its_dense_hessian(name: str, dtype: str) -> None:
    problem, split = problem_of(name)
    matrix = dense(problem, split, torch.arange(23)).numpy()
    here, _ = problem_of(name, dtype)
    settings = HessianSettings(tolerance=1e-4, products=2000)
    for k, value in ((1, np.linalg.eigvalsh(matrix)[-1]), (-1, np.linalg.eigvalsh(matrix)[0])):
        vector = vector_of(here, f"hessian:{k}", settings)
        assert vector @ matrix @ vector == pytest.approx(value, rel=1e-3)
        assert np.linalg.norm(matrix @ vector - value * vector) <= 1e-3 * abs(value)


def test_only_the_samples_of_the_subset_count() -> None:
    problem, split = problem_of("perceptron")
    chosen = torch.randperm(23, generator=torch.Generator().manual_seed(5))[:9].sort().values
    exact = np.linalg.eigh(dense(problem, split, chosen).numpy())[1][:, -1]
    settings = HessianSettings(samples=9, seed=5, tolerance=1e-8)
    assert abs(vector_of(problem, "hessian:1", settings) @ exact) == pytest.approx(1, abs=1e-6)


def test_a_float32_run_may_ask_for_products_in_float64() -> None:
    coarse, _ = problem_of("perceptron", "float32")
    fine = vector_of(coarse, "hessian:1", HessianSettings(tolerance=1e-9, dtype="float64"))
    problem, split = problem_of("perceptron")
    exact = np.linalg.eigh(dense(problem, split, torch.arange(23)).numpy())[1][:, -1]
    assert np.abs(fine * np.sign(fine @ exact) - exact).max() < 3e-7


@pytest.mark.parametrize("spec", ["gradient", "hessian:1"])
def test_a_half_precision_model_is_differentiated_in_float64(spec: str) -> None:
    def problem(dtype: str) -> Problem:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        data = {"data": (torch.arange(24).reshape(8, 3) / 16 - 1, torch.arange(8) % 2, DataSettings())}
        return make_problem(model, data, make_loss(LossSettings(), {}), ModelSettings(), CPU, dtype)

    exact = vector_of(problem("float32"), spec, HessianSettings(tolerance=1e-5))
    found = vector_of(problem("bfloat16"), spec, HessianSettings(tolerance=1e-5))
    assert np.linalg.norm(found - exact) <= 1e-4 * np.linalg.norm(exact)


# ---------------------------------------------------------------- the gradient


def test_the_gradient_of_linear_regression_and_its_line() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 4, dtype=torch.float64, generator=generator)
    y = torch.randn(50, 1, dtype=torch.float64, generator=generator)
    weight = torch.randn(1, 4, dtype=torch.float64, generator=generator)
    problem = linear(x, y, 1, "mse", weight)
    exact = (2 / 50 * x.T @ (x @ weight.T - y)).numpy()[:, 0]
    used = flat(plane_of(problem, "gradient").directions[0].parameters, problem.centre)
    np.testing.assert_allclose(used, exact, rtol=2e-7, atol=0)
    steps = [-0.5, -0.1, -0.01, 0.0, 1e-4]
    surface = surface_of(problem, "gradient", x=steps)
    stepped = [float(((x @ (weight[0] + eta * torch.from_numpy(used)) - y[:, 0]) ** 2).mean()) for eta in steps]
    np.testing.assert_allclose(surface.loss, stepped, rtol=1e-12)
    curvature = 2 / 50 * exact @ (x.T @ x).numpy() @ exact
    slope = (surface.loss[4] - surface.loss[3]) / 1e-4 - curvature * 1e-4 / 2
    assert slope == pytest.approx(exact @ exact, rel=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_step_down_the_gradient_of_a_network(name: str) -> None:
    """Of token models the samples, and so the groups, weigh differently."""
    problem, split = problem_of(name)
    eta = 0.1
    vector = torch.cat([t.flatten() for t in problem.centre.values()]).requires_grad_()
    loss = mean_loss(problem, split, torch.arange(23))
    (exact,) = torch.autograd.grad(loss(vector), vector)
    np.testing.assert_allclose(vector_of(problem, "gradient"), exact.numpy(), rtol=2e-7, atol=1e-12)
    surface = surface_of(problem, "gradient", x=[-eta, 0.0])
    with torch.no_grad():
        assert surface.loss[0] == pytest.approx(float(loss(vector - eta * exact)), rel=1e-7)


def test_samples_that_do_not_count_have_no_part_in_the_gradient() -> None:
    problem, _ = problem_of("recurrent")
    split = problem.splits["data"]
    assert isinstance(split.inputs, Tensor)
    targets = split.targets.clone()
    targets[5] = -100  # a group of its own: 23 samples lie in 23 groups

    def of(rows: Tensor) -> Any:
        data = {"data": (split.inputs[rows], targets[rows], DataSettings())}  # type: ignore[index]
        made = make_problem(problem.model, data, make_loss(LossSettings(), {}), ModelSettings(), CPU, "float64")
        return vector_of(made, "gradient")

    every = torch.arange(23)
    np.testing.assert_allclose(of(every), of(every[every != 5]), rtol=2e-7, atol=1e-12)


# ---------------------------------------------------------------- what does not move


def test_a_frozen_parameter_stays_still() -> None:
    problem, _ = problem_of("half frozen")
    before = {name: t.clone() for name, t in problem.model.state_dict().items()}
    for spec, vector in derived(problem, "gradient", "hessian:1").items():
        assert "0.weight" not in vector.parameters, spec
    measured(problem, plane_of(problem, "gradient", "hessian:1"))
    assert all(torch.equal(before[name], t) for name, t in problem.model.state_dict().items())
    assert [p.requires_grad for p in problem.model.parameters()] == [False, True, True, True]


def test_tied_weights_are_one_parameter() -> None:
    problem, _ = problem_of("attention")
    assert "head.weight" not in derived(problem, "gradient")["gradient"].parameters


def test_ignored_parameters_stay_still_where_a_plane_says_so() -> None:
    problem, _ = problem_of("perceptron")
    direction = plane_of(problem, "hessian:1", ignore=["bias"]).directions[0].parameters
    assert [name for name, t in direction.items() if not bool(t.any())] == ["0.bias", "2.bias"]


# ---------------------------------------------------------------- planes of any mix


def test_defaults_leave_a_derived_direction_as_it_is_and_a_random_one_by_filter() -> None:
    plane = plane_with_defaults("main", PlaneSettings("0:1:2", "0:1:2", ["gradient", "random"]), 0)
    assert (plane.normalize, plane.ignore, plane.orthogonal, plane.batchnorm) == (
        ["none", "filter"],
        [],
        False,
        "frozen",
    )
    line = plane_with_defaults("main", PlaneSettings("0:1:2", None, ["hessian:-3"]), 0)
    assert (line.normalize, line.ignore, line.orthogonal, line.batchnorm) == ("none", [], False, "frozen")


def test_a_random_direction_beside_an_eigenvector_can_be_made_orthogonal_to_it() -> None:
    problem, _ = problem_of("perceptron")
    gram = plane_of(problem, "hessian:1", "random", orthogonal=True, normalize="none").gram
    assert abs(gram[0, 1]) < 1e-12 * np.sqrt(gram[0, 0] * gram[1, 1])


def test_the_same_eigenvector_twice_is_parallel() -> None:
    problem = exact_problem(quadratic(SPECTRUM))
    for pair in (("hessian:1", "hessian:-6"), ("hessian:2", "hessian:2")):
        with pytest.raises(LandscapeError, match="parallel") as caught:
            plane_of(problem, *pair)
        assert caught.value.code == ExitCode.INCONCLUSIVE


def test_the_gradient_of_a_minimum_is_no_direction() -> None:
    with pytest.raises(LandscapeError, match="zero") as caught:
        plane_of(exact_problem(quadratic()), "gradient")
    assert caught.value.code == ExitCode.INCONCLUSIVE


# ---------------------------------------------------------------- recipe and fingerprint


def test_the_recipe_holds_the_rank_the_samples_the_eigenvalue_and_the_hash_of_what_is_used() -> None:
    problem, split = problem_of("perceptron")
    settings = HessianSettings(samples=20, seed=4)
    plane = plane_of(problem, "hessian:2", settings=settings)
    recipe = plane.directions[0].recipe
    vector = derived(problem, "hessian:2", settings=settings)["hessian:2"]
    assert (recipe["kind"], recipe["eigenvector"], recipe["samples"], recipe["normalize"]) == ("hessian", 2, 20, "none")
    assert recipe["over"] == ["data", split.sha256]
    assert recipe["hessian"] == [4, settings.tolerance, None]
    assert 0 < recipe["residual"] <= settings.tolerance * abs(recipe["eigenvalue"])
    assert recipe["sha256"] == sha256_of(problem, vector)
    (held,) = plane.settings["directions"]
    assert not {"from", "eigenvalue", "residual"} & set(held)


@pytest.mark.parametrize(
    ("spec", "settings"),
    [
        ("hessian:2", HessianSettings()),
        ("gradient", HessianSettings()),
        ("hessian:1", HessianSettings(samples=9)),
        ("hessian:1", HessianSettings(seed=1)),
        ("hessian:1", HessianSettings(tolerance=1e-5)),
        ("hessian:1", HessianSettings(dtype="float64")),
    ],
)
def test_the_fingerprint_follows_what_a_direction_is_computed_from(spec: str, settings: HessianSettings) -> None:
    """All but the tensors' hash: a stand-in has the same one."""
    problem, _ = problem_of("perceptron")

    def described(spec: str, settings: HessianSettings) -> dict[str, Any]:
        plane = plane_with_defaults("main", PlaneSettings("0:1:2", None, [spec]), 0)
        vectors = stand_ins(problem, [spec], settings)
        made = make_plane("main", plane, problem, ModelSettings(), Path(), {}, vectors).settings["directions"][0]
        return {key: value for key, value in made.items() if key != "sha256"}

    assert described(spec, settings) != described("hessian:1", HessianSettings())


def test_settings_that_name_no_other_vector_are_in_no_fingerprint() -> None:
    problem, _ = problem_of("perceptron")
    one = plane_of(problem, "hessian:1", settings=HessianSettings())
    other = plane_of(problem, "hessian:1", settings=HessianSettings(samples=23, probes=20, density=True, products=299))
    assert one.fingerprint == other.fingerprint


def test_a_report_names_the_rank_and_the_eigenvalue() -> None:
    recipe = plane_of(exact_problem(quadratic(SPECTRUM)), "hessian:-1").directions[0].recipe
    assert _recipe(recipe).startswith("hessian:-1 λ = -2 ± ")
    assert _recipe(recipe).endswith(" (none)")
    assert _recipe({**recipe, "eigenvalue": "\n", "residual": []}) == "hessian:-1 (none)"
    assert _recipe({"kind": "gradient", "normalize": "none"}) == "gradient (none)"


# ---------------------------------------------------------------- refusals and stops


@pytest.mark.parametrize("rank", ["0", "x", "7", "-7", "1.5", "+1", "01", "", "1 ", "9" * 5000, "१"])
def test_a_rank_that_there_is_not_is_refused(rank: str) -> None:
    for make in (derived, lambda problem, spec: stand_ins(problem, [spec], EXACT)):
        with pytest.raises(LandscapeError) as caught:
            make(exact_problem(quadratic(SPECTRUM)), f"hessian:{rank}")
        assert caught.value.code == ExitCode.USAGE
        assert "hessian:-1 of the smallest" in caught.value.hint


@pytest.mark.parametrize(
    ("spec", "products"), [("hessian:1", 2), ("hessian:5", 3), ("hessian:-5", 3), ("hessian:1", 1)]
)
def test_what_has_not_converged_is_no_direction(spec: str, products: int) -> None:
    problem = exact_problem(quadratic(tuple(np.linspace(1, 2, 40))))
    with pytest.raises(LandscapeError, match="has not converged") as caught:
        derived(problem, spec, settings=HessianSettings(products=products, tolerance=1e-8))
    assert caught.value.code == ExitCode.INCONCLUSIVE
    assert "hessian.products" in caught.value.hint


def test_a_rank_counts_only_where_all_before_it_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = landscape_cli.measure.derived.extremes  # type: ignore[attr-defined]

    def first_missed(*args: Any) -> Any:
        return replace(real(*args), converged_top=np.array([False, True]))

    monkeypatch.setattr("landscape_cli.measure.derived.extremes", first_missed)
    with pytest.raises(LandscapeError, match=r"hessian:1 has not converged in \d+ products: its eigenvalue is 8 "):
        derived(exact_problem(quadratic(SPECTRUM)), "hessian:2")


@pytest.mark.parametrize("spec", ["gradient", "hessian:1"])
def test_a_derivative_that_is_not_finite_is_no_direction(spec: str) -> None:
    root = Exact("root", lambda x, y: (x * x) ** 0.5 + y * y, (), (0.0, 1.0), ())
    with pytest.raises(LandscapeError, match="not finite") as caught:
        derived(exact_problem(root), spec)
    assert caught.value.code == ExitCode.INCONCLUSIVE


def test_a_gradient_beyond_float32_is_no_direction() -> None:
    steep = Exact("steep", lambda x, y: 1e39 * x + y, (), (0.0, 1.0), ())
    with pytest.raises(LandscapeError, match="the direction gradient is not finite"):
        derived(exact_problem(steep), "gradient")


@pytest.mark.parametrize("specs", [["gradient"], ["hessian:1"], ["gradient", "hessian:-1"]])
@pytest.mark.parametrize("at", [1, 3])
def test_it_stops_when_it_is_asked_to(specs: list[str], at: int) -> None:
    problem = exact_problem(quadratic(SPECTRUM))
    asked: list[int] = []

    def ask(steps: int) -> bool:
        asked.append(steps)
        return len(asked) >= at

    assert derive(problem, specs, EXACT, ask) is None
    assert len(asked) == at


# ---------------------------------------------------------------- from Python


def scan(model: nn.Module, data: Any, **changes: Any) -> Profile:
    return landscape_cli.scan(model, data, itself, **changes)


def test_a_notebook_measures_along_them_too() -> None:
    model = quadratic(SPECTRUM).module()
    profile = scan(model, samples(20, 6), x="-1:1:5", y="-1:1:5", directions=["hessian:1", "hessian:-1"])
    surface = profile.planes["main"].surface
    a, b = surface.x.values[:, None], surface.axes[1].values[None]
    np.testing.assert_allclose(surface.loss, 4 * a**2 - b**2, rtol=1e-5, atol=1e-6)
    assert profile.planes["main"].derived == {"x": "hessian:1", "y": "hessian:-1"}


def test_a_model_without_a_second_derivative_has_eigenvectors_by_differences() -> None:
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, w: Tensor) -> Tensor:
            ctx.save_for_backward(w)
            return (w**3).sum() / 6

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, slope: Tensor) -> Tensor:
            w: Tensor = ctx.saved_tensors[0]
            return slope * w**2 / 2

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            cube: Tensor = Cube.apply(self.weight)  # type: ignore[no-untyped-call]
            return (cube**2 / 2).expand(len(x), 1)

    profile = scan(Net(), samples(8, 3), x="-1:1:3", directions=["hessian:1"])
    slope = np.array([0.5, 4.5, 2.0])
    exact = np.linalg.eigvalsh(np.outer(slope, slope) + 6 * np.diag([1.0, 3.0, 2.0]))[-1]
    assert profile.planes["main"].directions[0]["eigenvalue"] == pytest.approx(exact, rel=1e-3)


# ---------------------------------------------------------------- a real network


@pytest.mark.slow
def test_the_curvature_along_the_top_eigenvector_of_resnet20(shared_data: SharedData) -> None:
    with np.load(shared_data("cifar10_subset.npz")) as arrays:
        images, labels = arrays["train_images"][:250], arrays["train_labels"][:250]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    inputs = torch.from_numpy((images / 255 - mean[:, None, None]) / std[:, None, None]).float()
    model = resnet20()
    state = torch.load(shared_data("resnet20-12fca82f.th"), weights_only=True, map_location="cpu")["state_dict"]
    model.load_state_dict({name.removeprefix("module."): tensor for name, tensor in state.items()})
    profile = landscape_cli.scan(
        model, (inputs, torch.from_numpy(labels).long()), x="-0.02:0.02:21", directions=["hessian:1"]
    )
    plane = profile.planes["main"]
    fitted = plane_curvature(plane.surface)["plane"]["eigenvalues"][0]
    assert fitted.value == pytest.approx(plane.directions[0]["eigenvalue"], rel=0.05)
