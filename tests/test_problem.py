"""Problem: the model is left as it was, what cannot be measured is refused, inputs and outputs go where they should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure.data import Inputs
from landscape_cli.measure.losses import make_loss
from landscape_cli.measure.problem import Problem, make_problem, plain_loss
from landscape_cli.profile import agree
from landscape_cli.settings import DataSettings, LossSettings, ModelSettings

CPU = torch.device("cpu")


def pairs(count: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(count, 4, generator=generator)
    return inputs, torch.randint(0, 3, (count,), generator=generator)


def problem_of(
    model: nn.Module,
    inputs: Inputs | None = None,
    targets: Tensor | None = None,
    dtype: str = "float32",
    **model_keys: Any,
) -> Problem:
    made = {
        "data": (pairs()[0] if inputs is None else inputs, pairs()[1] if targets is None else targets, DataSettings())
    }
    return make_problem(model, made, make_loss(LossSettings(), {}), ModelSettings(**model_keys), CPU, dtype)


class Net(nn.Module):
    """Linear, batch norm, dropout, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))
        self.head = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(inputs))
        return out


@dataclass(frozen=True)
class Snapshot:
    """All of a model that a measurement could leave changed."""

    state: dict[str, Tensor]
    identities: dict[str, int]
    requires_grad: dict[str, bool]
    training: dict[str, bool]
    grads: dict[str, Tensor | None]

    @classmethod
    def of(cls, model: nn.Module) -> Snapshot:
        return cls(
            {n: t.clone() for n, t in model.state_dict().items()},
            {n: id(p) for n, p in [*model.named_parameters(), *model.named_buffers()]},
            {n: p.requires_grad for n, p in model.named_parameters()},
            {n: m.training for n, m in model.named_modules()},
            {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()},
        )

    def assert_same(self, model: nn.Module) -> None:
        now = Snapshot.of(model)
        assert [n for n in self.state if not torch.equal(self.state[n], now.state[n])] == []
        assert {n: t.dtype for n, t in self.state.items()} == {n: t.dtype for n, t in now.state.items()}
        assert (self.identities, self.requires_grad, self.training) == (now.identities, now.requires_grad, now.training)
        for name, grad in self.grads.items():
            other = now.grads[name]
            assert (grad is None) == (other is None)
            assert grad is None or other is None or torch.equal(grad, other)


def mixed_modes() -> Net:
    """A model in the middle of training: modes, gradients and requires_grad all mixed."""
    torch.manual_seed(0)
    model = Net()
    torch.autograd.backward(F.cross_entropy(model(pairs()[0]), pairs()[1]))
    model.train()
    model.body[1].eval()
    model.head.eval()
    model.head.bias.requires_grad_(False)
    return model


def disturb(problem: Problem) -> None:
    """Move every parameter and buffer that the problem holds."""
    for tensor in [*problem.parameters.values(), *problem.buffers.values()]:
        tensor.fill_(float("nan"))


# The model is left as it was


def test_making_a_problem_leaves_the_model_as_it_was() -> None:
    model = mixed_modes()
    before = Snapshot.of(model)
    problem_of(model)
    before.assert_same(model)


def test_measuring_leaves_the_model_as_it_was() -> None:
    model = mixed_modes()
    before = Snapshot.of(model)
    problem = problem_of(model)
    with problem.measuring():
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        disturb(problem)
        assert model.get_parameter("body.0.weight").isnan().all()
    before.assert_same(model)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_an_exception_in_the_middle_leaves_the_model_as_it_was(error: type[BaseException]) -> None:
    model = mixed_modes()
    before = Snapshot.of(model)
    problem = problem_of(model)

    def fail_halfway() -> None:
        with problem.measuring():
            disturb(problem)
            raise error

    with pytest.raises(error):
        fail_halfway()
    before.assert_same(model)


def test_measuring_sets_the_matmul_precision_back() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with problem_of(Net()).measuring():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


# Models that cannot be measured


class DropsAlways(nn.Module):
    """Dropout that eval mode does not turn off."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.linear(F.dropout(inputs))
        return out


class Samples(DropsAlways):
    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.linear(inputs)
        return out + 1e-3 * torch.randn_like(out)


class Counts(nn.Module):
    """Changes a buffer in eval mode, in place."""

    calls: Tensor

    def __init__(self, dtype: torch.dtype = torch.int64) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros((), dtype=dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.linear(inputs)
        return out


class Replaces(Counts):
    """Changes a buffer in eval mode by putting another in its place."""

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls = self.calls + 1
        out: Tensor = self.linear(inputs)
        return out


@pytest.mark.parametrize("model", [DropsAlways, Samples])
def test_a_model_that_answers_differently_twice_is_refused(model: type[nn.Module]) -> None:
    with pytest.raises(LandscapeError, match="differently twice") as caught:
        problem_of(model())
    assert caught.value.code == ExitCode.USAGE
    assert "dropout" in caught.value.hint


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32], ids=str)
@pytest.mark.parametrize("model", [Counts, Replaces])
def test_a_model_that_changes_its_buffers_in_eval_mode_is_refused_and_put_back(
    model: Callable[[torch.dtype], nn.Module], dtype: torch.dtype
) -> None:
    changing = model(dtype)
    with pytest.raises(LandscapeError, match="calls"):
        problem_of(changing)
    assert not changing.state_dict()["calls"]


def test_a_model_whose_buffer_is_nan_and_stays_so_is_taken() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    model.register_buffer("unused", torch.tensor(float("nan")))
    problem_of(model)


def test_dropout_that_eval_mode_turns_off_is_taken() -> None:
    problem_of(nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3)).train())


def test_what_the_model_raises_is_said_with_the_shapes() -> None:
    with pytest.raises(LandscapeError, match=r"\(40, 9\) float32"):
        problem_of(nn.Linear(4, 3), inputs=torch.zeros(40, 9))


# Labels


@pytest.mark.parametrize(("label", "shown"), [(3, "from 0 to 3"), (-1, "from -1 to 2"), (255, "from 0 to 255")])
def test_a_label_out_of_range_is_refused(label: int, shown: str) -> None:
    targets = torch.arange(40) % 3
    targets[-1] = label
    with pytest.raises(LandscapeError, match=shown):
        problem_of(nn.Linear(4, 3), targets=targets)


def test_the_index_that_is_ignored_is_in_range() -> None:
    targets = torch.arange(40) % 3
    targets[-1] = -100
    assert problem_of(nn.Linear(4, 3), targets=targets).splits["data"].weights.sum() == 39


def test_a_split_in_which_nothing_counts_is_refused() -> None:
    with pytest.raises(LandscapeError, match="no target that counts"):
        problem_of(nn.Linear(4, 3), targets=torch.full((40,), -100))


def test_labels_of_tokens_are_checked_too() -> None:
    model = nn.Sequential(nn.Embedding(5, 3))
    tokens = torch.arange(40).reshape(8, 5) % 5
    problem_of(model, inputs=tokens, targets=tokens % 3)
    with pytest.raises(LandscapeError, match="from 0 to 4"):
        problem_of(model, inputs=tokens, targets=tokens)


# Outputs


class Answers(nn.Module):
    """A linear layer whose answer is wrapped."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.wrap = wrap

    def forward(self, inputs: Tensor) -> Any:
        return self.wrap(self.linear(inputs))


@dataclass
class Output:
    logits: Tensor
    loss: Any = None


WRAPS: dict[str, Callable[[Tensor], Any]] = {
    "key": lambda out: {"hidden": out * 0, "logits": out},
    "attribute": lambda out: Output(out),
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_the_output_is_picked_by_key_or_attribute(wrap: str) -> None:
    model = Answers(WRAPS[wrap])
    problem = problem_of(model, output="logits")
    expected = F.cross_entropy(model.linear(pairs()[0]), pairs()[1])
    with problem.measuring():
        assert plain_loss(problem, problem.splits["data"]) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("name", ["", "logit", "loss"])
def test_an_output_that_is_no_tensor_is_refused_with_what_there_is(wrap: str, name: str) -> None:
    with pytest.raises(LandscapeError) as caught:
        problem_of(Answers(WRAPS[wrap]), output=name)
    assert "output" in caught.value.message + caught.value.hint


UNUSABLE: dict[str, Callable[[Tensor], Any]] = {
    "a mean over the batch": lambda out: out.mean(),
    "one row less": lambda out: out[1:],
    "whole numbers": lambda out: out.argmax(1),
    "a tuple": lambda out: (out, out),
    "nothing": lambda out: None,
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_an_answer_that_is_not_one_row_per_sample_is_refused(what: str) -> None:
    with pytest.raises(LandscapeError, match="model returns"):
        problem_of(Answers(UNUSABLE[what]))


# How inputs are passed


class Two(nn.Module):
    """a - b, by position or by name; one pair where that is all it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, a: Any, b: Any = None) -> Tensor:
        if b is None:
            a, b = a.values() if isinstance(a, dict) else a
        out: Tensor = self.linear(a - b)
        return out


def two(names: tuple[str, str] | None) -> Inputs:
    first, second = pairs()[0], torch.ones(40, 4)
    return (first, second) if names is None else dict(zip(names, (first, second), strict=True))


@pytest.mark.parametrize(
    ("inputs", "call"),
    [
        (two(None), "auto"),
        (two(None), "args"),
        (two(None), "single"),
        (two(("a", "b")), "auto"),
        (two(("a", "b")), "kwargs"),
        (two(("a", "b")), "single"),
        (two(("x", "y")), "args"),
    ],
)
def test_inputs_are_passed_as_told(inputs: Inputs, call: str) -> None:
    model = Two()
    problem = problem_of(model, inputs=inputs, call=call)
    expected = F.cross_entropy(model(pairs()[0], torch.ones(40, 4)), pairs()[1]).item()
    with problem.measuring():
        assert plain_loss(problem, problem.splits["data"]) == pytest.approx(expected, rel=1e-6)


def test_a_dict_goes_by_name_and_not_by_order() -> None:
    model, (inputs, targets) = Two(), pairs()
    problem = problem_of(model, inputs={"b": torch.ones(40, 4), "a": inputs})
    expected = F.cross_entropy(model(inputs, torch.ones(40, 4)), targets).item()
    with problem.measuring():
        assert plain_loss(problem, problem.splits["data"]) == pytest.approx(expected, rel=1e-6)


# Selection of parameters


@pytest.mark.parametrize(
    ("patterns", "selected"),
    [
        (["*"], {"0.weight", "0.bias", "1.weight", "1.bias"}),
        (["0.*"], {"0.weight", "0.bias"}),
        (["!0.*"], {"1.weight", "1.bias"}),
        (["*.weight", "!1.*"], {"0.weight"}),
        (["0.bias", "1.bias"], {"0.bias", "1.bias"}),
    ],
)
def test_parameters_are_selected_by_patterns(patterns: list[str], selected: set[str]) -> None:
    problem = problem_of(nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)), parameters=patterns)
    assert set(problem.centre) == set(problem.parameters) == selected


@pytest.mark.parametrize(("frozen", "selected"), [(False, {"1.weight", "1.bias"}), (True, None)])
def test_frozen_parameters_are_out_unless_asked_for(frozen: bool, selected: set[str] | None) -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    model[0].requires_grad_(False)
    problem = problem_of(model, frozen=frozen)
    assert set(problem.centre) == (selected or {"0.weight", "0.bias", "1.weight", "1.bias"})
    assert problem.facts["frozen"] == 25
    assert problem.facts["selected"] == (43 if frozen else 18)


@pytest.mark.parametrize("patterns", [["hed.*"], ["*", "!hed.*"]])
def test_a_pattern_that_matches_nothing_is_refused(patterns: list[str]) -> None:
    with pytest.raises(LandscapeError, match=r"hed\.\*"):
        problem_of(nn.Linear(4, 3), parameters=patterns)


def test_a_model_that_is_all_frozen_is_refused() -> None:
    with pytest.raises(LandscapeError, match="no parameter"):
        problem_of(nn.Linear(4, 3).requires_grad_(False))


# Dtypes


def test_float64_measures_in_float64() -> None:
    model = nn.Linear(4, 3).double()
    problem = problem_of(model, dtype="float64")
    (inputs, targets), weight, bias = pairs(), model.weight.detach().numpy(), model.bias.detach().numpy()
    logits = inputs.double().numpy() @ weight.T + bias
    picked = logits[np.arange(40), targets.numpy()]
    expected = float((np.log(np.exp(logits).sum(1)) - picked).mean())
    with problem.measuring():
        assert plain_loss(problem, problem.splits["data"]) == pytest.approx(expected, rel=1e-13)


def test_bfloat16_keeps_a_float32_master_copy() -> None:
    model = nn.Linear(4, 3)
    weight = model.weight.detach().clone()
    problem = problem_of(model, dtype="bfloat16")
    assert problem.centre["weight"].dtype == torch.float32
    assert torch.equal(problem.centre["weight"], weight)
    assert problem.parameters["weight"].dtype == torch.bfloat16
    with problem.measuring():
        expected = F.cross_entropy(F.linear(pairs()[0], weight, model.bias.detach().float()), pairs()[1])
        assert plain_loss(problem, problem.splits["data"]) == pytest.approx(float(expected), rel=2e-2)


# Hashes and agreement


def test_the_hash_follows_weights_data_loss_selection_and_dtype() -> None:
    def sha(seed: int = 0, dtype: str = "float32", **changes: Any) -> str:
        torch.manual_seed(seed)
        return problem_of(nn.Linear(4, 3), dtype=dtype, **changes).sha256

    others = [sha(seed=1), sha(dtype="bfloat16"), sha(parameters=["weight"]), sha(inputs=pairs()[0] + 1)]
    others.append(sha(targets=(pairs()[1] + 1) % 3))
    assert sha() == sha()
    assert len({sha(), *others}) == 6


@pytest.mark.parametrize(
    ("a", "b", "dtype", "same"),
    [
        (1.0, 1.0 + 1e-6, "float32", True),
        (1.0, 1.0 + 1e-4, "float32", False),
        (1.0, 1.0 + 1e-6, "float64", False),
        (0.0, 1e-8, "float32", True),
        (float("nan"), float("nan"), "float32", True),
        (float("nan"), 1.0, "float32", False),
        (float("inf"), float("inf"), "float32", True),
        (float("inf"), -float("inf"), "float32", False),
        (float("inf"), 1.0, "float32", False),
        (1.0, float("inf"), "float32", False),
    ],
)
def test_two_losses_agree_up_to_rounding(a: float, b: float, dtype: str, same: bool) -> None:
    assert agree(a, b, dtype) is same


# ---------------------------------------------------------------- where the classes are


class Grid(nn.Module):
    """(B, 4) -> (B, 3, 5) scores."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 15)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.linear(inputs).unflatten(1, (3, 5))
        return out


def test_soft_labels_that_sum_to_one_elsewhere_must_say_where() -> None:
    probabilities = torch.randn(40, 3, 5).softmax(-1)
    problem_of(Grid(), targets=probabilities)
    with pytest.raises(LandscapeError, match="do not sum to 1 over dimension 2"):
        problem_of(Grid(), targets=torch.randn(40, 3, 5).softmax(1))


def test_labels_out_of_range_in_the_second_dimension_are_refused() -> None:
    with pytest.raises(LandscapeError, match="labels from 0 to 3 and the model 3 classes"):
        problem_of(Grid(), targets=torch.arange(200).reshape(40, 5) % 4)
