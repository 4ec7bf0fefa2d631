"""`landscape scan --report --gate`: one call that measures, reports and judges, with the gate's exit code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from landscape_cli.cli.main import main

NET = """
import torch

def net():
    return torch.nn.Linear(3, 1)

def nothing(outputs, targets):
    return (outputs - targets)[:, 0] * float("nan")
"""
# The mean of (wᵀx + b - y)²: its Hessian is 2·mean of zzᵀ with z = (x, 1), whatever the weights.
JOB = """
[model]
factory = "net.py:net"
checkpoint = "net.pt"
[data.train]
source = "data.npz"
[loss]
name = "mse"
[planes.main]
x = "-1:1:3"
[hessian]
top = 1
bottom = 1
"""


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """A folder with a job whose largest eigenvalue is this; the working directory."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(400, 3)) * [3, 1, 1]
    torch.manual_seed(0)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "job.toml").write_text(JOB)
    torch.save(torch.nn.Linear(3, 1).state_dict(), tmp_path / "net.pt")
    np.savez(tmp_path / "data.npz", inputs=inputs.astype(np.float32), targets=rng.normal(size=(400, 1)))
    monkeypatch.chdir(tmp_path)
    bordered = np.c_[inputs, np.ones(400)]
    return float(np.linalg.eigvalsh(2 * bordered.T @ bordered / 400)[-1])


def policy(**limits: object) -> str:
    """The name of a policy file with one rule on the largest eigenvalue."""
    rule = "\n".join(f'{name} = "{v}"' if isinstance(v, str) else f"{name} = {v}" for name, v in limits.items())
    Path("policy.toml").write_text(f'[[rules]]\nmetric = "hessian.top"\n{rule}\n')
    return "policy.toml"


def scan(*args: str) -> int:
    return main(["scan", "job.toml", "-o", "run.h5", *args])


def last(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    ("times", "code", "line"),
    [
        (2.0, 0, "gate passed: 1 passed"),
        (0.5, 1, "gate failed: 1 failed"),
        (1.0001, 3, "gate inconclusive: 1 inconclusive"),
    ],
)
def test_the_exit_code_is_the_gates(
    top: float, times: float, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan("-q", "--gate", policy(max=times * top)) == code
    out, err = capsys.readouterr()
    assert [out.splitlines()[-1], err] == [line, ""]


def test_the_report_comes_first_and_then_what_the_gate_says_as_each_alone_does(
    top: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan("-q", "--report", "--gate", policy(max=2 * top)) == 0
    both = capsys.readouterr().out
    assert main(["report", "run.h5"]) == 0
    report = capsys.readouterr().out
    assert main(["gate", "run.h5", "--policy", "policy.toml"]) == 0
    assert both == report + capsys.readouterr().out


def test_a_scan_that_has_nothing_to_do_is_reported_and_judged_all_the_same(
    top: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan() == 0
    assert scan("--report") == 0
    out, err = capsys.readouterr()
    assert "nothing to do" in err
    assert "hessian.top" in out
    assert scan("-q", "--gate", policy(max=top / 2)) == 1


def test_a_scan_that_is_stopped_keeps_its_own_code_and_nothing_is_judged(
    top: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan("--report", "--gate", policy(max=2 * top), "--max-time", "0.000001s") == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert "nothing is reported or judged" in err


def test_a_scan_that_fails_keeps_its_own_code(top: float, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = ("--only", "main", "--loss", "net.py:nothing")
    assert scan("-q", *nothing, "--report", "--gate", policy(max=2 * top)) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: the loss at the checkpoint is not finite")


def test_what_was_not_measured_is_inconclusive_with_the_command_that_would(
    top: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan("-q", "--only", "main", "--gate", policy(max=2 * top)) == 3
    assert "not measured: landscape scan" in capsys.readouterr().out


def test_an_unfinished_part_is_inconclusive_though_this_scan_is_done(
    top: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan("-q", "--max-time", "0.000001s") == 130
    line = '[[rules]]\nmetric = "planes.main.train.surface.min"\nmax = 1e9\n'
    Path("policy.toml").write_text(line)
    assert scan("-q", "--only", "hessian", "--gate", "policy.toml") == 3
    assert "unfinished" in capsys.readouterr().out


def test_a_policy_may_answer_otherwise_where_nothing_decides(top: float) -> None:
    name = policy(max=1.0001 * top)
    Path(name).write_text(f"inconclusive_exit = 0\n{Path(name).read_text()}")
    assert scan("-q", "--gate", name) == 0


def test_changes_are_counted_from_a_baseline(top: float, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", "job.toml", "-q", "-o", "base.h5"]) == 0
    assert scan("-q", "--gate", policy(max_increase="1%"), "--baseline", "base.h5") == 0
    assert scan("-q", "--gate", policy(max_increase="1%")) == 3  # of nothing
    assert "no baseline" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["--gate", "nowhere.toml"], "nowhere.toml"),
        (["--gate", "empty.toml"], "no rule"),
        (["--gate", "typo.toml"], "metrc"),
        (["--gate", "good.toml", "--baseline", "job.toml"], "job.toml"),
        (["--gate", "good.toml", "--baseline", "nowhere.h5"], "nowhere.h5"),
        (["--baseline", "good.toml"], "--gate"),
        (["--gate", "good.toml", "--plan"], "--plan"),
        (["--report", "--plan"], "--plan"),
    ],
)
def test_what_cannot_judge_is_refused_before_the_scan(
    top: float, args: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(policy(max=1)).rename("good.toml")
    Path("empty.toml").write_text("")
    Path("typo.toml").write_text('[[rules]]\nmetrc = "hessian.top"\nmax = 1\n')
    assert scan(*args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert what in err
    assert not Path("run.h5").exists()


def test_a_baseline_is_never_the_output(top: float) -> None:
    assert scan("-q") == 0
    assert scan("--gate", policy(max=1), "--baseline", "run.h5") == 2


def test_a_mistyped_metric_costs_no_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policy.toml").write_text('[[rules]]\nmetric = "hessian.topp"\nmax = 1\n')
    assert scan("--gate", "policy.toml") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: unknown metric: hessian.topp\nhint: did you mean hessian.top?")
