"""action.yml and docs/integrations.md: what people copy is run here, against stand-ins for the servers."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

import landscape_cli
from landscape_cli.cli.main import cli

ROOT = Path(__file__).parents[1]
ACTION = (ROOT / "action.yml").read_text(encoding="utf-8")
DOCS = (ROOT / "docs/integrations.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w+)\n(.*?)^```$", DOCS, re.M | re.S)
YAML = [ACTION, *[text for language, text in FENCES if language == "yaml"]]
SHELL = [text for language, text in FENCES if language == "bash"]
SLURM = next(text for text in SHELL if "#SBATCH" in text)


def steps() -> list[str]:
    """The shell scripts of the action, in order."""
    return [textwrap.dedent(text) for text in re.findall(r"^      run: \|\n((?:        .*\n|\n)+)", ACTION, re.M)]


def stub(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A script as GitHub's `shell: bash` runs it, the folder first on the PATH."""
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **variables}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with `landscape`, a run and its λ₁ as the limit of a policy: 2·mean of x² of a line through 0."""
    stub(tmp_path, "landscape", f'exec "{sys.executable}" -m landscape_cli "$@"')
    x = torch.linspace(-1, 1, 100).reshape(-1, 1)
    line = torch.nn.Linear(1, 1, bias=False)
    profile = landscape_cli.scan(line, (x, 0 * x), "mse", x=None, sections={"hessian": {"top": 1, "bottom": 1}})
    landscape_cli.save(profile, tmp_path / "run.h5")
    landscape_cli.save(profile, tmp_path / "run 2.h5")
    return tmp_path


def gate(home: Path, **inputs: str) -> tuple[int, str, dict[str, str], str]:
    """The action's gate: exit code, log, outputs, job summary."""
    for name in ("output", "summary"):
        (home / name).write_text("")
    given = {"RUNS": "run.h5", "BASELINE": "", "POLICY": "", "ARGS": "", "JUNIT": "", **inputs}
    servers = {"GITHUB_OUTPUT": "output", "GITHUB_STEP_SUMMARY": "summary", "RUNNER_TEMP": ""}
    done = shell(steps()[1], home, **given, **{name: str(home / file) for name, file in servers.items()})
    outputs = dict(line.split("=", 1) for line in (home / "output").read_text().splitlines())
    return done.returncode, done.stdout, outputs, (home / "summary").read_text()


# ---------------------------------------------------------------- the GitHub Action


@pytest.mark.parametrize(
    ("limit", "code", "outcome", "level"),
    [("5", 0, "passed", "notice"), ("0.1", 1, "failed", "error"), ("0.68", 3, "inconclusive", "warning")],
)
def test_the_actions_gate_annotates_summarises_and_ends_with_the_gates_code(
    home: Path, limit: str, code: int, outcome: str, level: str
) -> None:
    ended, log, outputs, summary = gate(home, ARGS=f"--max hessian.top={limit}", JUNIT="gate.xml")
    assert ended == code
    assert outputs == {"outcome": outcome, "exit-code": str(code)}
    assert f"::{level} title=" in log
    assert f"gate {outcome}" in summary
    assert len([*ElementTree.parse(home / "gate.xml").iter("testcase")]) == 1


def test_the_actions_outcome_is_told_where_the_exit_code_is_lenient(home: Path) -> None:
    code, _, outputs, _ = gate(home, ARGS="--max hessian.top=0.68 --inconclusive-exit 0")
    assert (code, outputs) == (0, {"outcome": "inconclusive", "exit-code": "0"})


def test_the_actions_inputs_are_files_patterns_and_arguments_and_never_run(home: Path) -> None:
    (home / "policy.toml").write_text('[[rules]]\nmetric = "hessian.top"\nmax_increase = "10%"\n')
    code, log, _, _ = gate(home, RUNS="run.h5\nrun 2*.h5\n", BASELINE="run.h5", POLICY="policy.toml")
    assert code == 0
    assert "run 2.h5" in log


@pytest.mark.parametrize("name", ["RUNS", "BASELINE", "POLICY", "ARGS", "JUNIT"])
def test_what_the_actions_inputs_hold_is_never_run(tmp_path: Path, name: str) -> None:
    stub(tmp_path, "landscape", 'printf "%s\\n" "$@"')
    code, log, _, _ = gate(tmp_path, **{name: "$(touch hacked); touch hacked; `touch hacked`; *"})
    assert code == 0
    assert "$(touch" in log
    assert not (tmp_path / "hacked").exists()


def test_the_actions_junit_is_written_anew_on_the_next_run_and_an_error_is_no_outcome_of_the_gate(home: Path) -> None:
    for _ in range(2):
        assert gate(home, ARGS="--max hessian.top=5", JUNIT="gate.xml")[0] == 0
    code, _, outputs, _ = gate(home, RUNS="nowhere.h5", ARGS="--max hessian.top=5")
    assert (code, outputs["outcome"]) == (2, "error")


def test_the_action_installs_itself_with_all_that_it_needs_but_pytorch(tmp_path: Path) -> None:
    stub(tmp_path, "python", 'printf "%s\\n" "$@" >> pip.txt')
    assert shell(steps()[0], tmp_path, GITHUB_ACTION_PATH="/the action").returncode == 0
    asked = (tmp_path / "pip.txt").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [each for each in project["dependencies"] if not each.startswith("torch")]
    assert [each for each in asked if ">=" in each] == needed
    assert asked[-2:] == ["--no-deps", "/the action"]


def test_the_action_is_a_composite_one_whose_steps_all_name_their_shell() -> None:
    assert re.findall(r"^(\w+):", ACTION, re.M) == ["name", "description", "inputs", "outputs", "runs"]
    assert "using: composite" in ACTION
    assert ACTION.count("      run: |") == ACTION.count("      shell: bash") == len(steps()) == 2
    used = set(re.findall(r"\$\{\{ inputs\.(\w+)", ACTION))
    inputs = ACTION[ACTION.index("inputs:") : ACTION.index("outputs:")]
    assert used == set(re.findall(r"^  (\w+):$", inputs, re.M))
    assert not any("${{" in step for step in steps())


@pytest.mark.parametrize("text", YAML)
def test_yaml_is_indented_by_spaces_and_its_texts_need_no_quotes(text: str) -> None:
    """As far as it can be told without a parser; where there is one it is asked."""
    plain = re.sub(r"(: \|\n)(?: {8}.*\n)+", r"\1", text)
    for line in plain.splitlines():
        value = line.strip().removeprefix("- ").partition(": ")[2]
        assert "\t" not in line
        assert (len(line) - len(line.lstrip())) % 2 == 0
        assert value.startswith(('"', "'", "#")) or (": " not in value and " #" not in value)


@pytest.mark.parametrize("text", YAML)
def test_a_yaml_parser_reads_it(text: str) -> None:
    assert pytest.importorskip("yaml").safe_load(text)


# ---------------------------------------------------------------- the pages to copy from


def commands() -> list[list[str]]:
    """Every command of ours in the pages, without what the shell takes."""
    made = re.findall(r"^\s*(?:- |entry: )?(landscape (?:gate|scan|report) .*)$", DOCS, re.M)
    return [shlex.split(re.split(r" (?:>|\|\||\|) ", line.replace("$<", "job.toml").replace("$@", "run.h5"))[0])
            for line in made]  # fmt: skip


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_of_the_pages_has_the_options_it_names(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.toml").touch()
    name, *args = command[1:]
    found = cli.get_command(cli.make_context("landscape", [], resilient_parsing=True), name)
    assert found is not None
    hook = ["reports/a.json"] if "run.h5" not in args and name == "gate" else []  # pre-commit adds the files
    assert found.make_context(name, [*args, *hook]).params


@pytest.mark.parametrize("text", [*SHELL, *steps()])
def test_bash_reads_it(text: str) -> None:
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_make_reads_it(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(next(text for language, text in FENCES if language == "make"))
    for name in ("job.toml", "net.pt"):
        (tmp_path / name).touch()
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", "-n", "gate"], cwd=tmp_path, env=alone, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "landscape scan job.toml -o run.h5 --force",
        "landscape gate run.h5 --baseline baseline.json --policy policy.toml",
    ]


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, False), (3, False), (130, True)])
def test_the_slurm_job_ends_with_the_gates_code_and_goes_on_when_out_of_time(
    code: int, requeued: bool, tmp_path: Path
) -> None:
    stub(tmp_path, "landscape", f"echo judged; exit {code}")
    stub(tmp_path, "scontrol", 'echo "$@" > scontrol.txt')
    assert shell(SLURM, tmp_path, SLURM_JOB_ID="7").returncode == code
    assert (tmp_path / "landscape-7.txt").read_text() == "judged\n"
    assert (tmp_path / "scontrol.txt").exists() == requeued


# ---------------------------------------------------------------- callbacks


def callback(monkeypatch: pytest.MonkeyPatch, package: str, **names: Any) -> Any:
    """The class that the pages define, its framework stood in for."""
    parts = package.split(".")
    for end in range(1, len(parts) + 1):
        module = ModuleType(".".join(parts[:end]))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        if end > 1:
            monkeypatch.setattr(sys.modules[".".join(parts[: end - 1])], parts[end - 1], module, raising=False)
    vars(sys.modules[package]).update(names)
    text = next(text for language, text in FENCES if language == "python" and package in text)
    scope: dict[str, Any] = {}
    exec(compile(text, "docs/integrations.md", "exec"), scope)
    return scope["Landscape"]


def data(width: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(60, width, generator=generator), torch.arange(60) % 3


def held(path: Path) -> set[str]:
    """The sections that a run holds in full."""
    profile = landscape_cli.load(path)
    return {name for name, section in profile.sections.items() if section.complete}


def test_the_lightning_callback_measures_where_training_ended_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = callback(monkeypatch, "lightning.pytorch", Callback=object)(*data(), path=tmp_path / "run.h5")
    module = torch.nn.Linear(2, 3).train()
    made.on_fit_end(SimpleNamespace(is_global_zero=False), module)
    assert not (tmp_path / "run.h5").exists()
    made.on_fit_end(SimpleNamespace(is_global_zero=True), module)
    assert held(tmp_path / "run.h5") == {"hessian", "sharpness"}
    assert module.training


class Classifier(torch.nn.Module):
    """Answers as a model of transformers does, to keyword arguments alone."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = torch.nn.Embedding(7, 4), torch.nn.Linear(4, 3)

    def forward(self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        mean = (self.embed(input_ids) * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True)
        return SimpleNamespace(loss=None, logits=self.head(mean))


def test_the_hugging_face_callback_measures_where_training_ended_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = {"input_ids": torch.arange(300).reshape(60, 5) % 7, "attention_mask": torch.ones(60, 5, dtype=torch.long)}
    made = callback(monkeypatch, "transformers", TrainerCallback=object)(inputs, data()[1], path=tmp_path / "run.h5")
    made.on_train_end(None, SimpleNamespace(is_world_process_zero=False), None, model=Classifier())
    assert not (tmp_path / "run.h5").exists()
    made.on_train_end(None, SimpleNamespace(is_world_process_zero=True), None, model=Classifier(), tokenizer=None)
    assert held(tmp_path / "run.h5") == {"hessian", "sharpness"}
