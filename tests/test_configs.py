"""Every job file of configs/ runs, on a coarser grid; the transformer's on a model trained for a few steps."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import landscape_cli
from landscape_cli.cli.main import main
from landscape_cli.jobs import read_job_file, resolve
from landscape_cli.profile import Profile

CONFIGS = Path(__file__).parents[1] / "configs"
COARSE = {"x": "-0.5:1:4", "y": "-1:1:3"}
TEXT = "To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer.\n" * 40


def coarse(path: Path) -> list[str]:
    """--set for every plane of a job file: the same directions on a few points."""
    layer = read_job_file(path)
    job = resolve([layer], layer.folder)
    return [
        f"planes.{name}.{axis}={COARSE[axis]}"
        for name, plane in job.planes.items()
        for axis in "xy"
        if getattr(plane, axis) is not None
    ]


def scan(path: Path, out: Path, *more: str) -> Profile:
    sets = [part for pair in [*coarse(path), *more] for part in ("--set", pair)]
    assert main(["scan", str(path), "-o", str(out), "-q", *sets]) == 0
    return landscape_cli.load(out)


@pytest.mark.parametrize("name", ["line", "plane", "between", "ci-quick", "checkpoint"])
def test_a_config_runs_and_its_report_is_readable(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = scan(CONFIGS / f"{name}.toml", tmp_path / "run.h5")
    assert profile.complete
    assert main(["report", str(tmp_path / "run.h5")]) == 0
    printed = capsys.readouterr().out
    assert all(f"Plane {plane}" in printed for plane in profile.planes)


def test_between_ends_at_the_other_checkpoint(tmp_path: Path) -> None:
    line = scan(CONFIGS / "between.toml", tmp_path / "line.h5").planes["interpolate"].surfaces["test"]
    other = CONFIGS / "../landscape_cli/demo/cnn_large_batch.pt"
    args = ["scan", str(CONFIGS / "between.toml"), "-o", str(tmp_path / "end.h5"), "-q", "--checkpoint", str(other)]
    sets = [f"--set=planes.{name}.directions=['random']" for name in ("interpolate", "recompute", "frozen")]
    assert main([*args, *sets, *[f"--set={pair}" for pair in coarse(CONFIGS / "between.toml")]]) == 0
    end = landscape_cli.load(tmp_path / "end.h5").centre["test"]
    assert line.loss[-1] == pytest.approx(end.loss, rel=1e-5)
    assert line.metrics["accuracy"][-1] == end.metrics["accuracy"]


def test_every_job_file_is_tried_here() -> None:
    tried = {"line", "plane", "between", "ci-quick", "checkpoint", "transformer"}
    assert {path.stem for path in CONFIGS.glob("*.toml")} == {*tried, "policy"}


def test_the_policy_judges_a_run_of_the_sections_that_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["data.train.samples=64", "hessian.top=1", "hessian.bottom=1", "sharpness.starts=2", "sharpness.ascent=2"]
    sets = [part for pair in small for part in ("--set", pair)]
    only, out = ["--only", "hessian", "--only", "sharpness"], str(tmp_path / "run.h5")
    assert main(["scan", str(CONFIGS / "ci-quick.toml"), "-q", *only, *sets, "-o", out]) == 0
    policy = tomllib.loads((CONFIGS / "policy.toml").read_text(encoding="utf-8"))
    main(["gate", out, "--baseline", out, "--policy", str(CONFIGS / "policy.toml"), "--format", "json"])
    outcomes = json.loads(capsys.readouterr().out)["rules"]
    assert [outcome["metric"] for outcome in outcomes] == [rule["metric"] for rule in policy["rules"]]
    assert all(outcome["value"] for outcome in outcomes)  # each finds its number
    assert not any(outcome["outcome"] == "fail" for outcome in outcomes)  # nothing is worse than itself


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_a_text_model_runs_from_training_to_report(kind: str, tmp_path: Path) -> None:
    text, checkpoint = tmp_path / "input.txt", tmp_path / f"{kind}.pt"
    text.write_text(TEXT)
    train = [sys.executable, str(CONFIGS / "text/train.py"), str(text), kind, "-o", str(checkpoint), "--steps", "2"]
    subprocess.run(train, check=True, capture_output=True)
    args = [f'data.{split}.args.path="{text}"' for split in ("train", "test")]
    args += [f"data.{split}.args.count=5" for split in ("train", "test")]
    more = [f'model.factory="{CONFIGS}/text/model.py:{kind}"', f'model.checkpoint="{checkpoint}"']
    profile = scan(CONFIGS / "transformer.toml", tmp_path / "run.h5", *args, *more)
    tied = 96 * 64 if kind == "transformer" else 0
    state = sum(t.numel() for t in _weights(checkpoint).values())
    assert profile.provenance.facts["parameters"] == state - tied
    assert profile.centre["train"].group_sizes.sum() == 5 * 128  # tokens


def _weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model"]
    return state
