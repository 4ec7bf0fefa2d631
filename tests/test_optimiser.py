"""Adam's state in a checkpoint: found, matched without doubt or refused, and the bound that follows from it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from problems import quadratic
from test_scan_faults import STATE, home, scan
from test_sections import exact_problem, section
from torch import Tensor, nn

from landscape_cli.analyse.hessian import learning_rates
from landscape_cli.cli.main import main
from landscape_cli.measure.optimiser import Adam, adam_in
from landscape_cli.settings import HessianSettings

__all__ = ["home"]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 4))


def trained(model: nn.Module, optimiser: torch.optim.Optimizer, steps: int = 5) -> Any:
    """The checkpoint of a training loop, by way of a file's types."""
    for _ in range(steps):
        optimiser.zero_grad()
        (model(torch.randn(8, 3)) ** 2).mean().backward()
        optimiser.step()
    return {"model": model.state_dict(), "optimizer": optimiser.state_dict()}


def scale_by_hand(optimiser: torch.optim.Optimizer, parameter: Tensor) -> Tensor:
    state = optimiser.state[parameter]
    made: Tensor = (state["exp_avg_sq"] / (1 - 0.98 ** float(state["step"]))).sqrt() + 1e-6
    return made


@pytest.mark.parametrize("kind", ["one group", "two groups", "named", "a list of optimisers"])
def test_moments_are_matched(kind: str) -> None:
    model = network()
    named = dict(model.named_parameters())
    matrices = [p for p in named.values() if p.dim() > 1]
    vectors = [p for p in named.values() if p.dim() == 1]
    groups: Any = {
        "two groups": [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        "named": list(reversed(named.items())),
    }.get(kind, model.parameters())
    optimiser = torch.optim.AdamW(groups, betas=(0.8, 0.98), eps=1e-6)
    tree = trained(model, optimiser)
    tree = {"optimizer_states": [tree["optimizer"]]} if kind.startswith("a list") else tree
    if kind == "named" and "param_names" not in tree["optimizer"]["param_groups"][0]:
        pytest.skip("this PyTorch does not store the names")
    found, why = adam_in(tree, model)
    assert found is not None, why
    assert found.beta == 0.8
    assert found.scale.keys() == named.keys()
    for name, parameter in named.items():
        torch.testing.assert_close(found.scale[name], scale_by_hand(optimiser, parameter))


def test_the_maximum_of_amsgrad_and_frozen_parameters() -> None:
    model = network()
    model[0].requires_grad_(False)
    kept = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(kept, betas=(0.9, 0.98), eps=1e-6, amsgrad=True)
    found, why = adam_in(trained(model, optimiser), model)
    assert found is not None, why
    assert set(found.scale) == {n for n, p in model.named_parameters() if p.requires_grad}
    entry = optimiser.state[kept[2]]
    exact = (entry["max_exp_avg_sq"] / (1 - 0.98**5)).sqrt() + 1e-6
    torch.testing.assert_close(found.scale["2.weight"], exact)


def test_what_is_in_doubt_is_refused() -> None:
    model = network()
    twins = [{"params": [model[2].weight]}, {"params": [model[3].weight]}]
    found, why = adam_in(trained(model, torch.optim.Adam(twins)), model)
    assert found is None
    assert "matched" in why
    both = {
        "a": trained(model, torch.optim.Adam(model.parameters())),
        "b": trained(model, torch.optim.Adam(model.parameters())),
    }
    assert "2 states" in adam_in(both, model)[1]
    assert "no states" in adam_in({"model": model.state_dict()}, model)[1]
    for other in (torch.optim.SGD(model.parameters(), 0.1, 0.9), torch.optim.RAdam(model.parameters()),
                  torch.optim.NAdam(model.parameters()), torch.optim.RMSprop(model.parameters())):  # fmt: skip
        assert "no states" in adam_in(trained(model, other), model)[1]
    groups: Any = [{"params": [model[2].weight], "betas": (0.5, 0.9)}, {"params": list(model[0].parameters())}]
    apart = torch.optim.Adam(groups)
    assert "β₁" in adam_in(trained(model, apart), model)[1]
    equal = [{"params": [model[2].weight, model[2].bias]}, {"params": [model[3].weight, model[3].bias]}]
    small = nn.Sequential(nn.Identity(), nn.Identity(), model[2], model[3])
    assert "matched" in adam_in(trained_on(small, torch.optim.Adam(equal)), small)[1]


def trained_on(model: nn.Module, optimiser: torch.optim.Optimizer) -> Any:
    (model(torch.randn(8, 4)) ** 2).mean().backward()
    optimiser.step()
    return optimiser.state_dict()


def test_the_bound_is_that_of_the_preconditioned_hessian() -> None:
    """Of ½Σλᵢwᵢ² and P = diag(p): λ₁(P⁻¹H) = max λᵢ/pᵢ, and the bound 38/λ₁ at β₁ = 0.9."""
    problem = exact_problem(quadratic((1.0, 2.0, 8.0), seed=None))
    (name,) = problem.centre
    adam = Adam({name: torch.tensor([0.1, 4.0, 2.0])}, 0.9)
    found = section("hessian", dataclasses.replace(problem, adam=(adam, "")), HessianSettings(tolerance=1e-9))
    rates = learning_rates(found)["max_stable"]
    assert rates["adam"].value == pytest.approx(38 / 10, rel=1e-6)
    assert rates["gradient_descent"].value == pytest.approx(2 / 8, rel=1e-8)
    other = dataclasses.replace(problem, adam=(Adam({}, 0.9), ""))
    lacking = section("hessian", other, HessianSettings())
    assert "lacks" in lacking.facts["adam"]
    assert "adam" not in learning_rates(lacking)["max_stable"]


def test_the_command_reads_adam_from_the_checkpoint(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weight, bias = (nn.Parameter(STATE[name].clone()) for name in ("w", "b"))
    optimiser = torch.optim.Adam([weight, bias], lr=0.0)
    with np.load("data.npz") as data:
        inputs, targets = (torch.from_numpy(data[name]).float() for name in ("inputs", "targets"))
    loss: Tensor = (((inputs @ weight + bias)[:, 0] - targets) ** 2).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    torch.save({"state_dict": STATE, "optimizer": optimiser.state_dict()}, "net.pt")
    assert scan("job.toml", "--hessian", "-o", "run.h5") == 0
    capsys.readouterr()
    assert main(["report", "run.h5", "--format", "json"]) == 0
    rates = json.loads(capsys.readouterr().out)["runs"][0]["learning_rate"]["max_stable"]
    x = torch.hstack([inputs, torch.ones(20, 1)]).double()
    scale = torch.cat([optimiser.state[p]["exp_avg_sq"].flatten() for p in (weight, bias)]).double() / (1 - 0.999)
    root = (scale.sqrt() + 1e-8).rsqrt()
    first = float(torch.linalg.eigvalsh(root[:, None] * (2 * x.T @ x / 20) * root)[-1])
    assert rates["adam"]["value"] == pytest.approx(38 / first, rel=1e-3)
    torch.save(STATE, "net.pt")
    assert scan("job.toml", "--hessian", "-o", "other.h5") == 0
    assert main(["report", "other.h5", "--section", "learning_rate"]) == 0
    assert "no bound for Adam" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["betas", "beta", "step", "params", "negative"])
def test_a_state_that_is_none_is_refused_not_used(what: str) -> None:
    model = network()
    tree = trained(model, torch.optim.Adam(model.parameters()))
    state, group = tree["optimizer"]["state"], tree["optimizer"]["param_groups"][0]
    group |= {"betas": ("a", "b")} if what == "betas" else {"betas": (1.0, 0.9)} if what == "beta" else {}
    group |= {"params": [[0]]} if what == "params" else {}
    state[0]["step"] = "x" if what == "step" else state[0]["step"]
    state[0]["exp_avg_sq"] = -state[0]["exp_avg_sq"] if what == "negative" else state[0]["exp_avg_sq"]
    found, why = adam_in(tree, model)
    assert found is None
    assert why
