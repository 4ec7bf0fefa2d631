"""Directions and planes, against plain numpy and the definitions of Li et al. 2018."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure.directions import DIRECTIONS, Plane, make_plane
from landscape_cli.measure.filters import output_dims
from landscape_cli.measure.losses import make_loss
from landscape_cli.measure.normalisations import NORMALISATIONS, by_filter
from landscape_cli.measure.problem import Problem, make_problem
from landscape_cli.settings import DataSettings, LossSettings, ModelSettings, PlaneSettings, plane_with_defaults
from landscape_cli.store import READERS

Floats = NDArray[np.float64]
Arrays = dict[str, Floats]


class Holder(nn.Module):
    """Holds layers; its outputs are its inputs."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


class Conv1D(nn.Module):
    """GPT-2's linear layer: its weight is (inputs, outputs)."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.randn(outputs))


class MyRMSNorm(nn.Module):
    """As in most language models: a class of the model's own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(width) + 0.5)


LAYERS: dict[str, tuple[Callable[[], nn.Module], str, int]] = {  # how to make it, its weight, the filters' dimension
    "Linear": (lambda: nn.Linear(5, 4), "weight", 0),
    "Conv2d": (lambda: nn.Conv2d(3, 6, 3), "weight", 0),
    "Embedding": (lambda: nn.Embedding(7, 5), "weight", 0),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(3, 6, 2), "weight", 1),
    "GPT-2's Conv1D": (lambda: Conv1D(6, 4), "weight", 1),
    "LSTM": (lambda: nn.LSTM(3, 4), "weight_hh_l0", 0),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(4, 2), "in_proj_weight", 0),
}


def every_layer() -> Holder:
    """All of LAYERS; no weight is zero."""
    torch.manual_seed(1)
    model = Holder(**{f"layer{i}": make() for i, (make, _, _) in enumerate(LAYERS.values())})
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


def true_dims(model: nn.Module) -> dict[str, int]:
    kinds = {f"layer{i}.": dim for i, (_, _, dim) in enumerate(LAYERS.values())}
    return {
        name: next(d for start, d in kinds.items() if name.startswith(start)) for name, _ in model.named_parameters()
    }


def problem_of(model: nn.Module, dtype: str = "float32") -> Problem:
    if dtype == "float64":
        model = model.double()
    samples = (torch.eye(3), torch.arange(3), DataSettings())
    loss = make_loss(LossSettings(), {})
    return make_problem(model, {"data": samples}, loss, ModelSettings(), torch.device("cpu"), dtype)


def plane_of(problem: Problem, directions: list[str], folder: Path = Path(), **changes: Any) -> Plane:
    asked = PlaneSettings("-1:1:3", "-1:1:3" if len(directions) == 2 else None, directions, **changes)
    ready = plane_with_defaults("main", asked, 0)
    return make_plane("main", ready, problem, ModelSettings(), folder, READERS)


def arrays_of(tensors: Mapping[str, Tensor]) -> Arrays:
    return {name: tensor.detach().double().numpy() for name, tensor in tensors.items()}


def drawn(problem: Problem, **changes: Any) -> Arrays:
    """One random direction, nothing ignored."""
    plane = plane_of(problem, ["random"], **{"ignore": [], **changes})
    return arrays_of(plane.directions[0].parameters)


def filters(array: Floats, dim: int) -> list[Floats]:
    """The filters of a weight; a vector is one filter."""
    if array.ndim < 2:
        return [array.ravel()]
    return [array.take(i, axis=dim).ravel() for i in range(array.shape[dim])]


def norms(array: Floats, dim: int) -> Floats:
    return np.array([np.sqrt((row**2).sum()) for row in filters(array, dim)])


def save_flat(path: Path, arrays: dict[str, Any]) -> None:
    np.savez(path, **arrays)


def cosine(a: Floats, b: Floats) -> float:
    return float(a.ravel() @ b.ravel() / np.sqrt((a.ravel() @ a.ravel()) * (b.ravel() @ b.ravel())))


# Independent implementations: raw direction, weights, dimension of the filters.


def filter_expected(raw: Arrays, weights: Arrays, dims: dict[str, int]) -> Arrays:
    made = {name: d.copy() for name, d in raw.items()}
    for name, d in made.items():
        if d.ndim < 2:
            d *= np.linalg.norm(weights[name]) / np.linalg.norm(d)
            continue
        for i in range(d.shape[dims[name]]):
            where = (slice(None),) * dims[name] + (i,)
            d[where] *= np.sqrt((weights[name][where] ** 2).sum() / (d[where] ** 2).sum())
    return made


def layer_expected(raw: Arrays, weights: Arrays, dims: dict[str, int]) -> Arrays:
    return {n: d * np.sqrt((weights[n] ** 2).sum() / (d**2).sum()) for n, d in raw.items()}


def weight_expected(raw: Arrays, weights: Arrays, dims: dict[str, int]) -> Arrays:
    return {n: d * np.abs(weights[n]) for n, d in raw.items()}


def global_expected(raw: Arrays, weights: Arrays, dims: dict[str, int]) -> Arrays:
    length = np.sqrt(sum((d**2).sum() for d in raw.values()))
    return {n: d / length for n, d in raw.items()}


EXPECTED: dict[str, Callable[[Arrays, Arrays, dict[str, int]], Arrays]] = {
    "filter": filter_expected,
    "layer": layer_expected,
    "weight": weight_expected,
    "global": global_expected,
    "none": lambda raw, weights, dims: raw,
}


# Normalisations


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_a_normalisation_equals_plain_numpy(name: str) -> None:
    model = every_layer()
    problem = problem_of(model, "float64")
    raw, weights = drawn(problem, normalize="none"), arrays_of(problem.centre)
    expected = EXPECTED[name](raw, weights, true_dims(model))
    for parameter, found in drawn(problem, normalize=name).items():
        np.testing.assert_allclose(found, expected[parameter], rtol=1e-12, atol=0, err_msg=parameter)


@pytest.mark.parametrize("kind", LAYERS)
def test_every_filter_gets_the_norm_of_its_weights(kind: str) -> None:
    make, leaf, dim = LAYERS[kind]
    problem = problem_of(Holder(layer=make()))
    weight, found = arrays_of(problem.centre)[f"layer.{leaf}"], drawn(problem)[f"layer.{leaf}"]
    np.testing.assert_allclose(norms(found, dim), norms(weight, dim), rtol=1e-6)


def test_filter_norms_are_not_the_norms_of_whole_tensors() -> None:
    problem = problem_of(Holder(layer=nn.Linear(5, 4)))
    by_tensor = drawn(problem, normalize="layer")["layer.weight"]
    weight = arrays_of(problem.centre)["layer.weight"]
    assert np.linalg.norm(by_tensor) == pytest.approx(np.linalg.norm(weight), rel=1e-6)
    assert not np.allclose(norms(by_tensor, 0), norms(weight, 0), rtol=1e-2)


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(32), nn.LayerNorm(32)], ids=["BatchNorm2d", "LayerNorm"])
def test_a_vector_is_one_filter_and_is_never_normalised_element_by_element(layer: nn.Module) -> None:
    problem = problem_of(Holder(layer=layer))
    found = drawn(problem)["layer.weight"]
    assert np.linalg.norm(found) == pytest.approx(32**0.5, rel=1e-6)  # its weights are ones
    assert np.abs(found).std() > 0.3  # element by element, every |entry| would be 1


def test_a_filter_of_zeros_does_not_move() -> None:
    layer = nn.Linear(5, 4)
    with torch.no_grad():
        layer.weight[2] = 0
    found = drawn(problem_of(Holder(layer=layer)))["layer.weight"]
    assert (found[2] == 0).all()
    assert (found[[0, 1, 3]] != 0).all()


def test_a_direction_that_leaves_a_filter_alone_stays_finite(tmp_path: Path) -> None:
    problem = problem_of(Holder(layer=nn.Linear(5, 4, bias=False)))
    given = np.random.default_rng(0).normal(size=(4, 5))
    given[1] = 0
    save_flat(tmp_path / "d.npz", {"layer.weight": given})
    plane = plane_of(problem, ["file:d.npz"], tmp_path, normalize="filter")
    found, weight = plane.directions[0].parameters["layer.weight"].numpy(), problem.centre["layer.weight"].numpy()
    assert (found[1] == 0).all()
    np.testing.assert_allclose(norms(found, 0)[[0, 2, 3]], norms(weight, 0)[[0, 2, 3]], rtol=1e-6)


@given(
    shape=st.lists(st.integers(1, 4), min_size=0, max_size=4),
    dim=st.integers(0, 1),
    scale=st.floats(1e-6, 1e6),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_the_scale_of_a_raw_direction_does_not_matter(shape: list[int], dim: int, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(shape, generator=generator, dtype=torch.float64)
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    dims = {"w": min(dim, max(0, len(shape) - 1))}
    once = by_filter({"w": raw}, {"w": weight}, dims, None)["w"]
    scaled = by_filter({"w": raw * scale}, {"w": weight}, dims, None)["w"]
    assert once.shape == weight.shape
    torch.testing.assert_close(scaled, once, rtol=1e-12, atol=0)
    np.testing.assert_allclose(norms(once.numpy(), dims["w"]), norms(weight.numpy(), dims["w"]), rtol=1e-12)


def test_the_output_dimension_of_every_kind_of_layer_is_known() -> None:
    model = every_layer()
    assert {n: d for n, d in output_dims(model).items() if dict(model.named_parameters())[n].dim() > 1} == {
        n: d for n, d in true_dims(model).items() if dict(model.named_parameters())[n].dim() > 1
    }


# Orthogonality


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_two_random_directions_are_orthogonal_after_normalising(name: str) -> None:
    plane = plane_of(problem_of(every_layer()), ["random", "random"], normalize=name, orthogonal=True)
    first, second = (np.concatenate([a.ravel() for a in arrays_of(d.parameters).values()]) for d in plane.directions)
    assert abs(cosine(first, second)) <= 1e-6


def test_two_random_directions_are_orthogonal_within_each_filter() -> None:
    model = every_layer()
    plane = plane_of(problem_of(model), ["random", "random"], ignore=[], orthogonal=True)
    first, second = (arrays_of(d.parameters) for d in plane.directions)
    for name, dim in true_dims(model).items():
        for a, b in zip(filters(first[name], dim), filters(second[name], dim), strict=True):
            assert abs(cosine(a, b)) <= 1e-6, name


@pytest.mark.parametrize("name", ["layer", "weight"])
def test_two_random_directions_are_orthogonal_within_each_tensor(name: str) -> None:
    plane = plane_of(problem_of(every_layer()), ["random", "random"], normalize=name, ignore=[], orthogonal=True)
    first, second = (arrays_of(d.parameters) for d in plane.directions)
    assert all(abs(cosine(first[n], second[n])) <= 1e-6 for n in first)


def test_the_second_of_two_orthogonal_directions_keeps_the_filters_norms() -> None:
    model = every_layer()
    problem = problem_of(model)
    second = arrays_of(plane_of(problem, ["random", "random"], orthogonal=True).directions[1].parameters)
    name = "layer0.weight"
    np.testing.assert_allclose(norms(second[name], 0), norms(arrays_of(problem.centre)[name], 0), rtol=1e-6)


def test_units_of_one_entry_move_in_both_directions() -> None:
    problem = problem_of(Holder(layer=nn.Conv2d(1, 4, 1), other=nn.Linear(3, 2)))
    plane = plane_of(problem, ["random", "random"], orthogonal=True)
    weight = np.abs(arrays_of(problem.centre)["layer.weight"])
    for direction in plane.directions:
        np.testing.assert_allclose(np.abs(arrays_of(direction.parameters)["layer.weight"]), weight, rtol=1e-6)


def test_without_orthogonal_the_second_direction_is_as_drawn() -> None:
    problem = problem_of(every_layer())
    apart = plane_of(problem, ["random", "random"], orthogonal=False, normalize="none", ignore=[])
    assert apart.gram[0, 1] != 0
    assert abs(apart.gram[0, 1]) > 1e-3 * apart.gram[0, 0] ** 0.5


# Random draws


def test_random_directions_are_gaussian_and_not_uniform() -> None:
    values = drawn(problem_of(Holder(layer=nn.Linear(300, 300, bias=False))), normalize="none")["layer.weight"].ravel()
    assert abs(values.mean()) < 5 / 300
    assert abs(values.std() - 1) < 5 / 300
    assert abs((values**4).mean() / values.var() ** 2 - 3) < 5 * (24 / 90000) ** 0.5  # 1.8 for a uniform draw


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_a_draw_is_the_same_in_every_dtype(dtype: str) -> None:
    single, other = (drawn(problem_of(every_layer(), d), normalize="none") for d in ("float32", dtype))
    assert all(np.array_equal(single[name], other[name]) for name in single)


def test_a_draw_does_not_follow_the_default_dtype_of_torch() -> None:
    problem = problem_of(Holder(layer=nn.Linear(5, 4)))
    before = drawn(problem, normalize="none")
    torch.set_default_dtype(torch.float64)
    try:
        after = drawn(problem, normalize="none")
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_draw_does_not_depend_on_the_order_of_parameters() -> None:
    torch.manual_seed(0)
    a, b = nn.Linear(5, 4), nn.Conv2d(3, 2, 3)
    one, two = drawn(problem_of(Holder(a=a, b=b))), drawn(problem_of(Holder(b=b, a=a)))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_draw_neither_follows_nor_moves_the_global_generator() -> None:
    problem = problem_of(Holder(layer=nn.Linear(5, 4)))
    torch.manual_seed(1)
    one = drawn(problem)
    expected = torch.Generator().manual_seed(1)
    assert torch.equal(torch.rand(3), torch.rand(3, generator=expected))
    two = drawn(problem)
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_draw_follows_the_seed_the_axis_and_the_name_of_the_parameter() -> None:
    model = Holder(a=nn.Linear(6, 5, bias=False), b=nn.Linear(6, 5, bias=False))
    plane = plane_of(problem_of(model), ["random", "random"], normalize="none", orthogonal=False)
    reseeded = drawn(problem_of(model), normalize="none", seed=1)
    first, second = (arrays_of(d.parameters) for d in plane.directions)
    draws = [first["a.weight"], first["b.weight"], second["a.weight"], reseeded["a.weight"]]
    for i, one in enumerate(draws):
        assert all(abs(cosine(one, other)) < 0.8 for other in draws[i + 1 :])


# What is left alone


BIASES = {"linear.bias", "lstm.bias_ih_l0", "lstm.bias_hh_l0", "attention.in_proj_bias", "attention.out_proj.bias"}
NORM_LAYERS = {
    "LayerNorm": (nn.LayerNorm(4), {"layer.weight", "layer.bias"}),
    "GroupNorm": (nn.GroupNorm(2, 4), {"layer.weight", "layer.bias"}),
    "BatchNorm1d": (nn.BatchNorm1d(4), {"layer.weight", "layer.bias"}),
    "InstanceNorm2d": (nn.InstanceNorm2d(4, affine=True), {"layer.weight", "layer.bias"}),
    "RMSNorm": (nn.RMSNorm(4), {"layer.weight"}),
    "MyRMSNorm": (MyRMSNorm(4), {"layer.scale"}),
}


def unmoved(model: nn.Module, ignore: list[str]) -> set[str]:
    return {name for name, d in drawn(problem_of(model), ignore=ignore).items() if not d.any()}


def test_ignoring_bias_leaves_every_bias_alone_and_nothing_else() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(4, 2)
    nn.init.normal_(attention.in_proj_bias)
    nn.init.normal_(attention.out_proj.bias)
    model = Holder(linear=nn.Linear(5, 4), lstm=nn.LSTM(3, 4), attention=attention)
    assert unmoved(model, []) == set()
    assert unmoved(model, ["bias"]) == BIASES


@pytest.mark.parametrize("kind", NORM_LAYERS)
def test_ignoring_norm_leaves_normalisation_layers_alone(kind: str) -> None:
    layer, names = NORM_LAYERS[kind]
    nn.init.ones_(next(iter(layer.parameters())))
    assert unmoved(Holder(layer=layer, other=nn.Linear(3, 2)), ["norm"]) == names


def test_ignoring_a_pattern_leaves_what_matches_alone() -> None:
    model = Holder(head=nn.Linear(5, 4), body=nn.Linear(5, 4))
    assert unmoved(model, ["head.*"]) == {"head.weight", "head.bias"}
    assert unmoved(model, ["body.*", "bias"]) == {"body.weight", "body.bias", "head.bias"}


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(LandscapeError, match=r"haed\.\*"):
        drawn(problem_of(Holder(head=nn.Linear(5, 4))), ignore=["haed.*"])


def test_a_random_plane_ignores_biases_and_norms_unless_told() -> None:
    plane = plane_of(problem_of(Holder(linear=nn.Linear(5, 4), norm=nn.LayerNorm(4))), ["random"])
    moved = {name for name, d in plane.directions[0].parameters.items() if bool(d.any())}
    assert moved == {"linear.weight"}


def test_tied_weights_are_one_parameter() -> None:
    embedding, head = nn.Embedding(7, 5), nn.Linear(5, 7, bias=False)
    head.weight = embedding.weight
    plane = plane_of(problem_of(Holder(embedding=embedding, head=head)), ["random"])
    assert list(plane.directions[0].parameters) == ["embedding.weight"]
    assert plane.gram[0, 0] == pytest.approx(float((embedding.weight.detach().double() ** 2).sum()), rel=1e-6)


# The Gram matrix


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_the_gram_matrix_holds_the_inner_products(name: str) -> None:
    plane = plane_of(problem_of(every_layer()), ["random", "random"], normalize=name, orthogonal=False, ignore=[])
    first, second = (arrays_of(d.parameters) for d in plane.directions)
    vectors = [np.concatenate([v[n].ravel() for n in sorted(v)]) for v in (first, second)]
    np.testing.assert_allclose(plane.gram, np.array(vectors) @ np.array(vectors).T, rtol=1e-12)


# Directions from files


def save_npz(path: Path, tree: dict[str, dict[str, Floats]]) -> None:
    save_flat(path, {f"{folder}/{name}": a for folder, arrays in tree.items() for name, a in arrays.items()})


def save_safetensors(path: Path, tree: dict[str, dict[str, Floats]]) -> None:
    flat = {f"{folder}.{name}": a for folder, arrays in tree.items() for name, a in arrays.items()}
    safetensors.numpy.save_file(flat, path)


def save_h5(path: Path, tree: dict[str, dict[str, Floats]]) -> None:
    with h5py.File(path, "w") as file:
        for folder, arrays in tree.items():
            for name, array in arrays.items():
                file[f"{folder}/{name}"] = array


SAVERS = {"npz": save_npz, "safetensors": save_safetensors, "h5": save_h5}


@pytest.mark.parametrize("ending", SAVERS)
def test_directions_come_from_the_folders_of_a_file(ending: str, tmp_path: Path) -> None:
    problem = problem_of(Holder(layer=nn.Linear(5, 4)), "float64")
    rng = np.random.default_rng(0)
    tree = {f: {n: rng.normal(size=tuple(w.shape)) for n, w in problem.centre.items()} for f in ("dx", "dy")}
    SAVERS[ending](tmp_path / f"d.{ending}", tree)
    plane = plane_of(problem, [f"file:d.{ending}#dx", f"file:d.{ending}#dy"], tmp_path)
    for direction, expected in zip(plane.directions, tree.values(), strict=True):
        found = arrays_of(direction.parameters)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_torch_file_holds_a_direction_by_name(tmp_path: Path) -> None:
    problem = problem_of(Holder(layer=nn.Linear(5, 4)))
    given = {name: torch.randn_like(weight) for name, weight in problem.centre.items()}
    torch.save(given, tmp_path / "d.pt")
    found = plane_of(problem, ["file:d.pt"], tmp_path).directions[0].parameters
    assert all(torch.equal(found[name], given[name]) for name in given)


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "of another shape": ({"layer.weight": np.ones((4, 5)), "layer.bias": np.ones((2,))}, r"layer\.bias"),
    "transposed": ({"layer.weight": np.ones((5, 4)), "layer.bias": np.ones((4,))}, r"layer\.weight"),
    "missing": ({"layer.weight": np.ones((4, 5))}, r"layer\.bias"),
    "NaN": ({"layer.weight": np.full((4, 5), np.nan), "layer.bias": np.ones((4,))}, r"layer\.weight"),
    "infinite": ({"layer.weight": np.full((4, 5), np.inf), "layer.bias": np.ones((4,))}, r"layer\.weight"),
    "whole numbers": ({"layer.weight": np.ones((4, 5), dtype=int), "layer.bias": np.ones(4)}, r"layer\.weight"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_a_direction_that_does_not_fit_is_refused_by_name(what: str, tmp_path: Path) -> None:
    arrays, named = UNFIT[what]
    save_flat(tmp_path / "d.npz", arrays)
    with pytest.raises(LandscapeError, match=named) as caught:
        plane_of(problem_of(Holder(layer=nn.Linear(5, 4))), ["file:d.npz"], tmp_path)
    assert caught.value.code == ExitCode.USAGE


def test_a_direction_beyond_the_models_range_is_refused(tmp_path: Path) -> None:
    problem = problem_of(Holder(layer=nn.Linear(5, 4, bias=False)))
    save_flat(tmp_path / "d.npz", {"layer.weight": np.full((4, 5), 1e300)})  # infinite in float32
    with pytest.raises(LandscapeError):
        plane_of(problem, ["file:d.npz"], tmp_path)


# Towards another checkpoint


def with_statistics(seed: int) -> Holder:
    torch.manual_seed(seed)
    model = Holder(layer=nn.Linear(5, 4), norm=nn.BatchNorm1d(4))
    nn.init.normal_(model.norm.running_mean)  # type: ignore[arg-type, union-attr]
    nn.init.uniform_(model.norm.running_var, 1, 2)  # type: ignore[arg-type, union-attr]
    return model


def test_coordinate_one_is_the_other_checkpoint(tmp_path: Path) -> None:
    other = with_statistics(1)
    torch.save(other.state_dict(), tmp_path / "other.pt")
    problem = problem_of(with_statistics(0))
    direction = plane_of(problem, ["checkpoint:other.pt"], tmp_path).directions[0]
    for name, weight in other.named_parameters():
        torch.testing.assert_close(problem.centre[name] + direction.parameters[name], weight.detach())
    for name in ("norm.running_mean", "norm.running_var"):
        reached = problem.centre_buffers[name] + direction.buffers[name]
        torch.testing.assert_close(reached, other.state_dict()[name])


def test_reading_another_checkpoint_leaves_the_model_alone(tmp_path: Path) -> None:
    torch.save(with_statistics(1).state_dict(), tmp_path / "other.pt")
    model = with_statistics(0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plane_of(problem_of(model), ["checkpoint:other.pt"], tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# Zero and parallel directions


def refused_as_inconclusive(problem: Problem, directions: list[str], folder: Path, **changes: Any) -> bool:
    with pytest.raises(LandscapeError) as caught:
        plane_of(problem, directions, folder, **changes)
    return caught.value.code == ExitCode.INCONCLUSIVE


def test_a_checkpoint_that_is_the_centre_is_a_zero_direction(tmp_path: Path) -> None:
    model = with_statistics(0)
    torch.save(model.state_dict(), tmp_path / "same.pt")
    assert refused_as_inconclusive(problem_of(model), ["checkpoint:same.pt"], tmp_path)


def test_ignoring_everything_is_a_zero_direction(tmp_path: Path) -> None:
    problem = problem_of(Holder(layer=nn.Linear(5, 4)))
    assert refused_as_inconclusive(problem, ["random"], tmp_path, ignore=["*"])


@pytest.mark.parametrize("factor", [1.0, -3.0], ids=["equal", "opposite"])
@pytest.mark.parametrize("orthogonal", [False, True], ids=["as given", "orthogonal"])
@pytest.mark.parametrize("normalize", NORMALISATIONS)
def test_parallel_directions_are_refused(normalize: str, orthogonal: bool, factor: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    problem = problem_of(Holder(layer=nn.Linear(50, 4), other=nn.Linear(3, 2)))
    given = {name: np.random.default_rng(0).normal(size=tuple(w.shape)) for name, w in problem.centre.items()}
    save_flat(tmp_path / "a.npz", given)
    save_flat(tmp_path / "b.npz", {n: d * factor for n, d in given.items()})
    files = ["file:a.npz", "file:b.npz"]
    assert refused_as_inconclusive(problem, files, tmp_path, normalize=normalize, orthogonal=orthogonal)


# Names that are not known


@pytest.mark.parametrize(
    ("directions", "changes", "hint"),
    [
        (["randm"], {}, "random"),
        (["checkpoint"], {}, "checkpoint:PATH"),
        (["file"], {}, "file:PATH"),
        (["random:3"], {}, "random"),
        (["gradient:3"], {}, "gradient"),
        (["hessian"], {}, "hessian:K"),
        (["random"], {"normalize": "filtr"}, "filter"),
        (["random"], {"batchnorm": "frozn"}, "frozen"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known(
    directions: list[str], changes: dict[str, Any], hint: str
) -> None:
    with pytest.raises(LandscapeError) as caught:
        plane_of(problem_of(Holder(layer=nn.Linear(5, 4))), directions, **changes)
    assert hint in caught.value.hint
    assert caught.value.code == ExitCode.USAGE


def test_every_direction_and_normalisation_has_its_test() -> None:
    assert set(EXPECTED) == set(NORMALISATIONS)
    assert set(DIRECTIONS) == {"random", "checkpoint", "file", "gradient", "hessian"}  # the last two in test_derived.py


# The plane


def test_coordinates_run_x_first_with_the_last_axis_fastest() -> None:
    problem = problem_of(Holder(layer=nn.Linear(5, 4)))
    asked = PlaneSettings([0.0, 1.0], [2.0, 3.0, 4.0])
    plane = make_plane("main", plane_with_defaults("main", asked, 0), problem, ModelSettings(), Path(), {})
    assert plane.coordinates.tolist() == [[0, 2], [0, 3], [0, 4], [1, 2], [1, 3], [1, 4]]


@pytest.mark.parametrize(
    "changes",
    [{"seed": 1}, {"normalize": "layer"}, {"ignore": []}, {"orthogonal": False}, {"x": "-1:1:5"}, {"y": "-2:2:3"}],
    ids=lambda changes: next(iter(changes)),
)
def test_the_fingerprint_follows_every_setting(changes: dict[str, Any]) -> None:
    problem = problem_of(every_layer())

    def fingerprint(**given: Any) -> str:
        asked = PlaneSettings(**{"x": "-1:1:3", "y": "-1:1:3", **given})
        return make_plane(
            "main", plane_with_defaults("main", asked, 0), problem, ModelSettings(), Path(), {}
        ).fingerprint

    assert fingerprint() == fingerprint()
    assert fingerprint(**changes) != fingerprint()


def test_the_fingerprint_does_not_hold_the_path_of_a_file(tmp_path: Path) -> None:
    problem = problem_of(Holder(layer=nn.Linear(5, 4)))
    given = {name: torch.randn_like(weight) for name, weight in problem.centre.items()}
    for name in ("here.pt", "there.pt"):
        torch.save(given, tmp_path / name)
    one, two = (plane_of(problem, [f"file:{name}"], tmp_path).fingerprint for name in ("here.pt", "there.pt"))
    assert one == two


# ---------------------------------------------------------------- directions that do not fit in memory


@pytest.mark.parametrize("normalize", ["filter", "layer", "weight"])
def test_directions_that_do_not_fit_are_drawn_again_and_are_the_same(
    normalize: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = problem_of(every_layer())
    asked: dict[str, Any] = {"normalize": normalize, "orthogonal": True, "ignore": ["bias"]}
    kept = plane_of(problem, ["random", "random"], **asked)
    monkeypatch.setattr("landscape_cli.measure.directions.free_bytes", lambda device: 0)
    again = plane_of(problem, ["random", "random"], **asked)
    assert again.fingerprint == kept.fingerprint
    np.testing.assert_array_equal(again.gram, kept.gram)
    for a, b in zip(again.directions, kept.directions, strict=True):
        assert not isinstance(a.parameters, dict)
        assert all(torch.equal(a.parameters[name], b.parameters[name]) for name in b.parameters)
