"""Every loss and metric is PyTorch's own in float64, one number per sample, however the samples are split."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure import losses
from landscape_cli.measure.losses import LOSSES, METRICS, Loss, make_loss
from landscape_cli.measure.usercode import UserCode
from landscape_cli.settings import LossSettings

IGNORED = -100
REGRESSIONS = ["mse", "l1", "huber", "bce_with_logits"]
LEADING = [(), (3,), (3, 2)]  # dimensions between the samples and the classes


def loss(name: str = "cross_entropy", code: dict[str, UserCode] | None = None, **options: Any) -> Loss:
    return make_loss(LossSettings(name=name, **options), code or {})


def per_sample(outputs: Tensor, targets: Tensor, name: str = "cross_entropy", **options: Any) -> Tensor:
    """The losses alone, (B,)."""
    rows = loss(name, **options)(outputs, targets)
    assert rows.shape == (1, len(outputs))
    assert rows.dtype == torch.float64
    return rows[0]


def metric(metric_: str, outputs: Tensor, targets: Tensor, name: str = "cross_entropy", **options: Any) -> Tensor:
    return loss(name, metrics=[metric_], **options)(outputs, targets)[1]


def normal(*shape: int, seed: int = 0, scale: float = 3.0, dtype: torch.dtype = torch.float64) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (scale * drawn).to(dtype)


def classes(*shape: int, count: int, seed: int = 1) -> Tensor:
    return torch.randint(count, shape, generator=torch.Generator().manual_seed(seed))


def with_ignored(targets: Tensor, seed: int = 2) -> Tensor:
    """About a third of the targets ignored, all of the first sample's, none of the second's."""
    gone = torch.rand(targets.shape, generator=torch.Generator().manual_seed(seed)) < 0.33
    gone[0], gone[1] = True, False
    return torch.where(gone, IGNORED, targets)


def soft_targets(*shape: int, seed: int = 3) -> Tensor:
    return normal(*shape, seed=seed, scale=1.0).softmax(-1)


def rest_mean(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).mean(1)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


def refusal(call: Callable[[], Any]) -> LandscapeError:
    with pytest.raises(LandscapeError) as caught:
        call()
    assert caught.value.code == ExitCode.USAGE
    assert caught.value.message
    assert caught.value.hint
    return caught.value


# ---------------------------------------------------------------- cross-entropy


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_is_pytorchs(leading: tuple[int, ...], smoothing: float) -> None:
    logits, targets = normal(6, *leading, 5), classes(6, *leading, count=5)
    flat = F.cross_entropy(logits.reshape(-1, 5), targets.reshape(-1), reduction="none", label_smoothing=smoothing)
    close(per_sample(logits, targets, label_smoothing=smoothing), rest_mean(flat.reshape(6, -1)))


@pytest.mark.parametrize("leading", [(3,), (3, 2)])
@pytest.mark.parametrize("name", ["cross_entropy", "nll"])
def test_classes_in_dimension_one_are_found_where_only_that_fits(name: str, leading: tuple[int, ...]) -> None:
    logits, targets = normal(6, 5, *leading).log_softmax(1), classes(6, *leading, count=5)
    reference = F.cross_entropy if name == "cross_entropy" else F.nll_loss
    close(per_sample(logits, targets, name), rest_mean(reference(logits, targets, reduction="none")))


def test_where_the_last_dimension_and_the_second_both_fit_it_must_be_said_which() -> None:
    logits, targets = normal(6, 4, 4), classes(6, 4, count=4)
    assert "class_dim" in refusal(lambda: per_sample(logits, targets)).hint
    expected = F.cross_entropy(logits.movedim(-1, 1), targets, reduction="none").mean(1)
    close(per_sample(logits, targets, class_dim=-1), expected)


def test_the_class_dimension_can_be_named() -> None:
    logits, targets = normal(6, 4, 4), classes(6, 4, count=4)
    close(per_sample(logits, targets, class_dim=1), F.cross_entropy(logits, targets, reduction="none").mean(1))


def test_any_class_dimension_can_be_named() -> None:
    logits, targets = normal(6, 2, 5, 3), classes(6, 2, 3, count=5)
    expected = rest_mean(F.cross_entropy(logits.movedim(2, 1), targets, reduction="none"))
    close(per_sample(logits, targets, class_dim=2), expected)


@pytest.mark.parametrize("class_dim", [0, 1, 7, -7])
def test_a_class_dimension_that_does_not_fit_is_refused(class_dim: int) -> None:
    logits, targets = normal(6, 4, 10), classes(6, 4, count=4)
    assert "fit" in refusal(lambda: per_sample(logits, targets, class_dim=class_dim)).message


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_labels_are_pytorchs(smoothing: float) -> None:
    logits, targets = normal(6, 5), soft_targets(6, 5)
    expected = F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    close(per_sample(logits, targets, label_smoothing=smoothing), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_labels_of_every_token_are_pytorchs(smoothing: float) -> None:
    logits, targets = normal(6, 3, 5), soft_targets(6, 3, 5)
    expected = F.cross_entropy(
        logits.movedim(-1, 1), targets.movedim(-1, 1), reduction="none", label_smoothing=smoothing
    )
    close(per_sample(logits, targets, label_smoothing=smoothing), rest_mean(expected))


def test_soft_labels_in_dimension_one_are_pytorchs() -> None:
    logits, targets = normal(6, 5, 4, 4), soft_targets(6, 4, 4, 5).movedim(-1, 1)
    expected = rest_mean(F.cross_entropy(logits, targets, reduction="none"))
    close(per_sample(logits, targets, class_dim=1), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_hot_soft_labels_are_class_indices(smoothing: float) -> None:
    logits, targets = normal(6, 5), classes(6, count=5)
    one_hot = F.one_hot(targets, 5).double()
    close(
        per_sample(logits, one_hot, label_smoothing=smoothing), per_sample(logits, targets, label_smoothing=smoothing)
    )


@pytest.mark.parametrize("name", ["cross_entropy", "nll"])
def test_a_class_ruled_out_and_not_wanted_costs_nothing(name: str) -> None:
    log_p = torch.tensor([[math.log(0.25), math.log(0.75), -math.inf]], dtype=torch.float64)
    soft = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64)
    assert per_sample(log_p, soft, name).item() == pytest.approx(-0.5 * math.log(0.25 * 0.75), rel=1e-14)


def test_a_class_ruled_out_and_wanted_costs_infinity() -> None:
    logits = torch.tensor([[0.0, -math.inf]], dtype=torch.float64)
    assert per_sample(logits, torch.tensor([1])).item() == math.inf
    assert per_sample(logits, torch.tensor([[0.5, 0.5]])).item() == math.inf


@pytest.mark.parametrize("leading", LEADING[1:])
@pytest.mark.parametrize("name", ["cross_entropy", "nll"])
@pytest.mark.parametrize("ignore", [IGNORED, 3])
def test_ignored_targets_do_not_count(name: str, leading: tuple[int, ...], ignore: int) -> None:
    logits = normal(6, *leading, 5).log_softmax(-1)
    targets = torch.where(with_ignored(classes(6, *leading, count=3)) == IGNORED, ignore, classes(6, *leading, count=3))
    reference = F.cross_entropy if name == "cross_entropy" else F.nll_loss
    found = per_sample(logits, targets, name, ignore_index=ignore)
    assert found[0] == 0
    for i in range(1, 6):
        expected = reference(logits[i].reshape(-1, 5), targets[i].reshape(-1), ignore_index=ignore)
        close(found[i], expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_the_model_says_at_ignored_targets_does_not_matter(bad: float) -> None:
    logits, targets = normal(6, 3, 5), with_ignored(classes(6, 3, count=5))
    spoilt = torch.where((targets == IGNORED).unsqueeze(-1), bad, logits)
    close(per_sample(spoilt, targets), per_sample(logits, targets))
    close(metric("accuracy", spoilt, targets), metric("accuracy", logits, targets))


@given(st.integers(1, 9), st.integers(1, 7), st.integers(2, 6), st.integers(0, 10**6), st.sampled_from([0.0, 0.3]))
@settings(max_examples=40, deadline=None)
def test_the_weighted_mean_of_a_token_model_is_pytorchs_mean_over_tokens(
    samples: int, tokens: int, count: int, seed: int, smoothing: float
) -> None:
    logits, targets = normal(samples, tokens, count, seed=seed), classes(samples, tokens, count=count, seed=seed)
    gone = torch.rand(targets.shape, generator=torch.Generator().manual_seed(seed)) < 0.4
    gone[0, 0] = False
    targets = torch.where(gone, IGNORED, targets)
    made = loss(label_smoothing=smoothing, class_dim=-1)
    weights = made.weights(targets)
    mean = (made(logits, targets)[0] * weights).sum() / weights.sum()
    expected = F.cross_entropy(logits.reshape(-1, count), targets.reshape(-1), label_smoothing=smoothing)
    close(mean, expected)


def test_a_sample_weighs_as_much_as_its_tokens_that_count() -> None:
    targets = torch.tensor([[1, 2, IGNORED], [IGNORED] * 3, [0, 0, 0]])
    for name in ("cross_entropy", "nll"):
        assert loss(name).weights(targets).tolist() == [2, 0, 3]
    assert loss(ignore_index=0).weights(targets).tolist() == [3, 3, 0]
    assert loss().weights(targets).dtype == torch.float64


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_sample_of_probabilities_or_numbers_weighs_one(name: str) -> None:
    assert loss(name).weights(soft_targets(4, 3)).tolist() == [1] * 4


def test_a_sample_of_one_class_weighs_one_or_nothing() -> None:
    assert loss().weights(torch.tensor([3, IGNORED, 0])).tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", ["cross_entropy", "nll"])
def test_targets_in_a_column_are_targets(name: str) -> None:
    logits, targets = normal(6, 5), classes(6, count=5)
    close(per_sample(logits, targets[:, None], name), per_sample(logits, targets, name))
    close(metric("accuracy", logits, targets[:, None], name), metric("accuracy", logits, targets, name))


def test_large_logits_neither_overflow_nor_round() -> None:
    logits = torch.tensor([[1e4, 0.0], [0.0, 1e4], [-1e30, 1e30]], dtype=torch.float64)
    assert per_sample(logits, torch.zeros(3, dtype=torch.long)).tolist() == [0, 1e4, 2e30]


def test_a_tiny_loss_is_not_rounded_to_nothing() -> None:
    logits = torch.tensor([[30.0, 0.0]], dtype=torch.float32)  # float32 would give exactly 0
    assert per_sample(logits, torch.tensor([0])).item() == pytest.approx(math.log1p(math.exp(-30)), rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", list(LOSSES))
def test_outputs_of_every_type_are_taken_as_float64(dtype: torch.dtype, name: str) -> None:
    outputs, targets = normal(6, 5, dtype=dtype), soft_targets(6, 5)
    assert torch.equal(per_sample(outputs, targets, name), per_sample(outputs.double(), targets, name))


# ---------------------------------------------------------------- nll


@pytest.mark.parametrize("leading", LEADING)
def test_nll_is_pytorchs(leading: tuple[int, ...]) -> None:
    log_p, targets = normal(6, *leading, 5).log_softmax(-1), classes(6, *leading, count=5)
    flat = F.nll_loss(log_p.reshape(-1, 5), targets.reshape(-1), reduction="none")
    close(per_sample(log_p, targets, "nll"), rest_mean(flat.reshape(6, -1)))


def test_nll_takes_its_outputs_as_they_are() -> None:
    assert per_sample(torch.tensor([[-3.0, 7.0]]), torch.tensor([1]), "nll").tolist() == [-7]


@pytest.mark.parametrize("leading", LEADING)
def test_nll_of_log_softmax_is_cross_entropy(leading: tuple[int, ...]) -> None:
    logits = normal(6, *leading, 5)
    for targets in (classes(6, *leading, count=5), soft_targets(6, *leading, 5)):
        close(per_sample(logits.log_softmax(-1), targets, "nll"), per_sample(logits, targets))


# ---------------------------------------------------------------- numbers


def reference(name: str, outputs: Tensor, targets: Tensor, delta: float = 1.0) -> Tensor:
    if name == "mse":
        return F.mse_loss(outputs, targets, reduction="none")
    if name == "l1":
        return F.l1_loss(outputs, targets, reduction="none")
    if name == "huber":
        return F.huber_loss(outputs, targets, reduction="none", delta=delta)
    return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 4), (6, 3, 2)])
@pytest.mark.parametrize("name", REGRESSIONS)
def test_losses_of_numbers_are_pytorchs(name: str, shape: tuple[int, ...]) -> None:
    outputs, targets = normal(*shape), normal(*shape, seed=1).sigmoid()
    close(per_sample(outputs, targets, name), rest_mean(reference(name, outputs, targets)))


@pytest.mark.parametrize("delta", [0.1, 1.0, 5.0])
def test_hubers_delta_is_used(delta: float) -> None:
    outputs, targets = normal(50, 2), normal(50, 2, seed=1)
    close(per_sample(outputs, targets, "huber", delta=delta), rest_mean(reference("huber", outputs, targets, delta)))


@pytest.mark.parametrize("name", REGRESSIONS)
@pytest.mark.parametrize(("out", "wanted"), [((6,), (6, 1)), ((6, 1), (6,)), ((6, 1, 4), (6, 4)), ((6, 4), (6, 4, 1))])
def test_dimensions_of_one_are_set_aside_and_never_broadcast(
    name: str, out: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    outputs, targets = normal(*out), normal(*wanted, seed=1).sigmoid()
    expected = rest_mean(reference(name, outputs, targets.reshape(out)))
    close(per_sample(outputs, targets, name), expected)


@pytest.mark.parametrize("name", REGRESSIONS)
@pytest.mark.parametrize(("out", "wanted"), [
    ((6, 4), (6,)), ((6, 4), (6, 1)), ((6, 1), (6, 4)), ((6,), (6, 4)), ((6, 3, 2), (6, 2, 3)), ((6, 6), (6,)),
])  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(name: str, out: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    error = refusal(lambda: per_sample(normal(*out), normal(*wanted).sigmoid(), name))
    assert str(out) in error.message
    assert str(wanted) in error.message


@pytest.mark.parametrize("name", ["cross_entropy", "nll"])
@pytest.mark.parametrize("targets", [
    torch.zeros(6), torch.zeros(6, 4, dtype=torch.long), torch.zeros(6, 4), torch.zeros(6, 5, dtype=torch.long),
], ids=["float", "too many", "probabilities of other classes", "one-hot integers"])  # fmt: skip
def test_class_targets_that_do_not_fit_are_refused(name: str, targets: Tensor) -> None:
    error = refusal(lambda: per_sample(normal(6, 5), targets, name))
    assert "(6, 5)" in error.message
    assert str(tuple(targets.shape)) in error.message


def test_outputs_without_classes_are_refused() -> None:
    refusal(lambda: per_sample(normal(6), torch.zeros(6, dtype=torch.long)))


@pytest.mark.parametrize("name", REGRESSIONS)
def test_integer_targets_are_numbers(name: str) -> None:
    outputs, targets = normal(6, 4), classes(6, 4, count=2)
    close(per_sample(outputs, targets, name), rest_mean(reference(name, outputs, targets.double())))


# ---------------------------------------------------------------- NaN and infinity


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("soft", [False, True])
def test_nan_stays_nan_and_in_its_sample(name: str, soft: bool) -> None:
    outputs = normal(6, 5)
    outputs[2, 0] = math.nan
    targets = soft_targets(6, 5) if soft or name in REGRESSIONS else torch.zeros(6, dtype=torch.long)
    assert per_sample(outputs, targets, name).isnan().tolist() == [False, False, True, False, False, False]


@pytest.mark.parametrize("name", ["cross_entropy", "nll", "bce_with_logits"])
@pytest.mark.parametrize("wanted", [0, 1])
@pytest.mark.parametrize("where", [0, 1])
def test_nan_outputs_have_nan_accuracy_and_not_a_wrong_or_right_one(name: str, wanted: int, where: int) -> None:
    outputs = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    outputs[1, where] = math.nan
    targets = torch.full((2, 2), float(wanted)) if name == "bce_with_logits" else torch.tensor([wanted] * 2)
    assert metric("accuracy", outputs, targets, name).isnan().tolist() == [False, True]


def test_nan_outputs_have_nan_top5() -> None:
    outputs = normal(3, 8)
    outputs[1] = math.nan
    assert metric("top5", outputs, torch.zeros(3, dtype=torch.long)).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("name", ["mse", "l1", "huber"])
def test_infinite_outputs_have_infinite_loss(name: str) -> None:
    outputs = torch.tensor([[1.0], [math.inf], [-math.inf]])
    assert per_sample(outputs, torch.ones(3, 1), name).tolist() == [0, math.inf, math.inf]


# ---------------------------------------------------------------- metrics


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("name", ["cross_entropy", "nll"])
def test_accuracy_is_the_share_of_largest_classes(name: str, leading: tuple[int, ...]) -> None:
    logits, targets = normal(40, *leading, 5), classes(40, *leading, count=5)
    close(metric("accuracy", logits, targets, name), rest_mean((logits.argmax(-1) == targets).double()))


def test_accuracy_of_soft_labels_is_that_of_their_largest_class() -> None:
    logits, targets = normal(40, 3), soft_targets(40, 3)
    close(metric("accuracy", logits, targets), (logits.argmax(-1) == targets.argmax(-1)).double())


def test_accuracy_reads_the_same_class_dimension_as_the_loss() -> None:
    logits, targets = normal(40, 4, 4), classes(40, 4, count=4)
    expected = (logits.argmax(1) == targets).double().mean(1)
    close(metric("accuracy", logits, targets, class_dim=1), expected)


def test_accuracy_leaves_ignored_tokens_out() -> None:
    logits, targets = normal(6, 7, 3), with_ignored(classes(6, 7, count=3))
    found = metric("accuracy", logits, targets)
    assert found[0] == 0
    for i in range(1, 6):
        counted = targets[i] != IGNORED
        close(found[i], (logits[i].argmax(-1) == targets[i])[counted].double().mean())


@pytest.mark.parametrize("shape", [(40,), (40, 1), (40, 3)])
def test_accuracy_of_binary_logits_is_by_sign(shape: tuple[int, ...]) -> None:
    logits, targets = normal(*shape), classes(*shape, count=2)
    expected = rest_mean(((logits > 0) == (targets == 1)).double())
    for wanted in (targets, targets.double()):
        close(metric("accuracy", logits, wanted, "bce_with_logits"), expected)


def test_accuracy_of_binary_logits_does_not_broadcast() -> None:
    logits, targets = torch.tensor([[1.0], [-1.0], [1.0]]), torch.tensor([1.0, 1.0, 0.0])
    assert metric("accuracy", logits, targets, "bce_with_logits").tolist() == [1, 0, 0]


@pytest.mark.parametrize("name", ["cross_entropy", "mse"])
def test_accuracy_of_a_single_output_is_refused(name: str) -> None:
    """Its largest class is always the first: 100 % right or 100 % wrong, whatever the weights."""
    targets = normal(6, 1) if name == "mse" else torch.zeros(6, dtype=torch.long)
    refusal(lambda: metric("accuracy", normal(6, 1), targets, name))


@pytest.mark.parametrize("count", [5, 6, 20])
def test_top5_is_the_share_among_the_five_largest(count: int) -> None:
    logits, targets = normal(60, count), classes(60, count=count)
    rank = (logits > logits.gather(1, targets[:, None])).sum(1)
    close(metric("top5", logits, targets), (rank < 5).double())


@pytest.mark.parametrize("count", [2, 4])
def test_top5_of_fewer_classes_is_refused(count: int) -> None:
    error = refusal(lambda: metric("top5", normal(6, count), classes(6, count=count)))
    assert f"the model has {count}" in error.message
    assert "accuracy" in error.hint


def test_rmse_is_squared_error_per_sample_and_rooted_later() -> None:
    outputs, targets = normal(6, 4), normal(6, 4, seed=1)
    close(metric("rmse", outputs, targets, "l1"), rest_mean((outputs - targets) ** 2))
    assert "rmse" in losses.ROOTED


@pytest.mark.parametrize("name", list(METRICS))
def test_every_metric_is_a_row_after_the_loss(name: str) -> None:
    outputs, targets = normal(6, 8), soft_targets(6, 8)
    rows = loss("mse", metrics=[name])(outputs, targets)
    assert rows.shape == (2, 6)
    close(rows[0], per_sample(outputs, targets, "mse"))


def test_metrics_come_in_the_order_of_the_settings() -> None:
    logits, targets = normal(6, 8), classes(6, count=8)
    rows = loss(metrics=["top5", "accuracy"])(logits, targets)
    close(rows[1], metric("top5", logits, targets))
    close(rows[2], metric("accuracy", logits, targets))
    assert list(loss(metrics=["top5", "accuracy"]).metrics) == ["top5", "accuracy"]


# ---------------------------------------------------------------- splitting


def case(name: str) -> tuple[Tensor, Tensor]:
    """Outputs and targets that fit a loss; token targets, some ignored, where it has classes."""
    if name in REGRESSIONS:
        return normal(17, 6), normal(17, 6, seed=1).sigmoid()
    return normal(17, 3, 6).log_softmax(-1), with_ignored(classes(17, 3, count=6))


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("size", [1, 5, 16, 17])
def test_the_split_into_batches_changes_nothing(name: str, size: int) -> None:
    outputs, targets = case(name)
    made = loss(name, metrics=["accuracy"])
    parts = [made(o, t) for o, t in zip(torch.split(outputs, size), torch.split(targets, size), strict=True)]
    assert torch.equal(torch.cat(parts, dim=1), made(outputs, targets))


def test_what_a_sample_costs_does_not_depend_on_the_others_of_its_batch() -> None:
    """One-hot labels in dimension 1; the first sample's are one-hot in the last dimension too."""
    labels = torch.tensor([[0, 1, 2], [0, 0, 1], [2, 2, 2]])
    logits, targets = normal(3, 3, 3), F.one_hot(labels, 3).double().movedim(-1, 1)
    whole = per_sample(logits, targets)
    close(torch.cat([per_sample(logits[i : i + 1], targets[i : i + 1]) for i in range(3)]), whole)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("chunk", [1, 7, 40, 100])
def test_the_chunks_cast_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch, name: str, chunk: int) -> None:
    outputs, targets = case(name)
    made = loss(name, metrics=["accuracy"])
    whole, calls = made(outputs, targets), []
    counting = Loss(made.settings, lambda *args: calls.append(1) or made.loss(*args), made.metrics, {})  # type: ignore[func-returns-value]
    monkeypatch.setattr(losses, "CHUNK", chunk)
    assert torch.equal(counting(outputs, targets), whole)
    assert len(calls) == math.ceil(17 / max(1, chunk // outputs[0].numel()))


def test_a_large_vocabulary_is_cast_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def watch(outputs: Tensor, targets: Tensor, chosen: LossSettings) -> Tensor:
        seen.append(outputs.numel())
        return losses.cross_entropy(outputs, targets, chosen)

    made = Loss(LossSettings(), watch, {}, {})
    monkeypatch.setattr(losses, "CHUNK", 1000)
    made(torch.zeros(10, 3, 100), torch.zeros(10, 3, dtype=torch.long))
    assert max(seen) <= 1000
    assert sum(seen) == 3000


def test_the_inputs_are_left_as_they_are() -> None:
    for name in LOSSES:
        outputs, targets = case(name)
        before = outputs.clone(), targets.clone()
        loss(name, metrics=["accuracy"])(outputs, targets)
        assert torch.equal(outputs, before[0])
        assert torch.equal(targets, before[1])


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_has_the_gradient_of_its_finite_differences(name: str) -> None:
    outputs, targets = case(name)
    outputs, targets = outputs[:3].requires_grad_(), targets[:3]
    assert torch.autograd.gradcheck(lambda o: per_sample(o, targets, name), outputs)


# ---------------------------------------------------------------- names and user code


@pytest.mark.parametrize(
    ("name", "near"), [("cross_entrpy", "cross_entropy"), ("mse_loss", "mse"), ("hubert", "huber")]
)
def test_an_unknown_loss_is_refused_with_the_nearest(name: str, near: str) -> None:
    error = refusal(lambda: loss(name))
    assert name in error.message
    assert near in error.hint


def test_an_unknown_metric_is_refused_with_the_nearest() -> None:
    error = refusal(lambda: loss(metrics=["accuracy", "top_5"]))
    assert "unknown metric: top_5" in error.message
    assert "top5" in error.hint


def user(call: Callable[..., Any], spec: str = "mine.py:mine") -> dict[str, UserCode]:
    return {spec: UserCode(spec, call, "0" * 64, Path.cwd())}


def test_a_users_loss_is_called_with_float64_outputs_and_targets() -> None:
    def mine(outputs: Tensor, targets: Tensor) -> Tensor:
        assert outputs.dtype == torch.float64
        return (outputs - targets).abs().sum(1)

    outputs, targets = normal(6, 4, dtype=torch.float32), normal(6, 4, seed=1)
    close(per_sample(outputs, targets, "mine.py:mine", code=user(mine)), (outputs.double() - targets).abs().sum(1))


def test_a_users_metric_is_stored_under_its_own_name() -> None:
    code = user(lambda outputs, targets: outputs[:, 0], "lib.metrics:first")
    made = loss("mse", metrics=["lib.metrics:first", "rmse"], code=code)
    outputs = normal(6, 4)
    assert list(made.metrics) == ["first", "rmse"]
    close(made(outputs, outputs)[1], outputs[:, 0])
    assert made.code == {"lib.metrics:first": "0" * 64}


@pytest.mark.parametrize("metrics", [["mine.py:accuracy", "accuracy"], ["a.py:f", "b.py:f"]])
def test_two_metrics_of_one_name_are_refused(metrics: list[str]) -> None:
    code = {name: user(lambda o, t: o[:, 0], name)[name] for name in metrics if ":" in name}
    error = refusal(lambda: loss(metrics=metrics, code=code))
    assert metrics[0].rpartition(":")[2] in error.message


@pytest.mark.parametrize("what", ["loss", "metric"])
@pytest.mark.parametrize(("answer", "said"), [
    (lambda o, t: (o - t).mean(), "without bias"),
    (lambda o, t: o - t, "(6, 4)"),
    (lambda o, t: (o - t).mean(0), "(4,)"),
    (lambda o, t: (o - t).mean(1, keepdim=True), "(6, 1)"),
    (lambda o, t: 0.5, "float"),
    (lambda o, t: None, "NoneType"),
    (lambda o, t: [0.5] * 6, "list"),
], ids=["scalar", "every entry", "by column", "a column", "a number", "nothing", "a list"])  # fmt: skip
def test_user_code_that_does_not_answer_one_number_per_sample_is_refused(
    what: str, answer: Callable[..., Any], said: str
) -> None:
    options: dict[str, Any] = {"metrics": ["mine.py:mine"]} if what == "metric" else {}
    made = loss("mse" if what == "metric" else "mine.py:mine", code=user(answer), **options)
    error = refusal(lambda: made(normal(6, 4), normal(6, 4, seed=1)))
    assert f"the {what} mine.py:mine" in error.message
    assert said in error.message
    assert "reduction='none'" in error.hint


def test_a_scalar_is_refused_even_for_one_sample() -> None:
    made = loss("mine.py:mine", code=user(lambda o, t: (o - t).mean()))
    refusal(lambda: made(normal(1, 4), normal(1, 4)))


def test_a_users_loss_that_raises_is_named() -> None:
    def mine(outputs: Tensor, targets: Tensor) -> Tensor:
        raise ZeroDivisionError("no reason")

    error = refusal(lambda: per_sample(normal(6, 4), normal(6, 4), "mine.py:mine", code=user(mine)))
    assert "mine.py:mine raised ZeroDivisionError: no reason" in error.message


def test_a_users_loss_keeps_nan_and_takes_integers() -> None:
    code = user(lambda o, t: torch.tensor([1, 2]))
    assert per_sample(normal(2, 4), normal(2, 4), "mine.py:mine", code=code).tolist() == [1, 2]
    code = user(lambda o, t: torch.tensor([math.nan, math.inf]))
    found = per_sample(normal(2, 4), normal(2, 4), "mine.py:mine", code=code)
    assert found[0].isnan()
    assert found[1] == math.inf


def test_a_users_loss_may_see_the_same_samples_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, targets = normal(17, 4), normal(17, 4, seed=1)
    made = loss("mine.py:mine", code=user(lambda o, t: ((o - t) ** 2).sum(1)))
    whole = made(outputs, targets)
    monkeypatch.setattr(losses, "CHUNK", 13)
    assert torch.equal(made(outputs, targets), whole)
