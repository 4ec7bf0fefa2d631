"""`landscape report`, `info`, `demo` and `completion` on a real run file of the demo's perceptron."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete

import landscape_cli
from landscape_cli import store
from landscape_cli.cli.main import COMMANDS, cli, main
from landscape_cli.errors import ExitCode

CONFIGS = Path(__file__).parents[1] / "configs"
Capture = pytest.CaptureFixture[str]
FIELDS = {"value", "stderr", "status", "bound"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "run.h5"
    sets = ["--set=planes.main.x=-1:1:9", "--set=planes.square.x=-1:1:5", "--set=planes.square.y=-1:1:5"]
    assert main(["scan", str(CONFIGS / "line.toml"), "-o", str(run), "-q", *sets]) == 0
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "run.h5"))


def printed(capsys: Capture, *args: str) -> str:
    capsys.readouterr()
    assert main(list(args)) == 0
    return capsys.readouterr().out


def strict(text: str) -> Any:
    """JSON as other parsers read it: no NaN, no Infinity."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def estimates(tree: Any) -> list[dict[str, Any]]:
    if isinstance(tree, dict):
        own = [tree] if "status" in tree else []
        return own + [e for value in tree.values() for e in estimates(value)]
    return [e for value in tree for e in estimates(value)] if isinstance(tree, list) else []


def test_json_is_strict_and_every_estimate_is_whole(run: Path, capsys: Capture) -> None:
    document = strict(printed(capsys, "report", str(run), "--format", "json"))
    assert document["format_version"] == 1
    (only,) = document["runs"]
    assert only["file"] == str(run)
    found = estimates(only["planes"])
    assert len(found) > 20
    assert all(estimate.keys() >= FIELDS for estimate in found)
    assert list(only["planes"]) == ["main", "square"]
    assert list(only["planes"]["main"]) == ["train", "test"]
    assert only["verdict"] is None


def test_json_says_what_the_file_holds(run: Path, capsys: Capture) -> None:
    only = strict(printed(capsys, "report", str(run), "--format", "json"))["runs"][0]
    profile = landscape_cli.load(run)
    assert only["centre"]["test"]["loss"]["value"] == profile.centre["test"].loss
    assert only["centre"]["train"]["weight_penalty"]["value"] == profile.provenance.facts["weight_penalty"]
    lowest = profile.planes["main"].surfaces["train"].loss.min()
    assert only["planes"]["main"]["train"]["surface"]["min"]["value"] == lowest


def test_csv_has_a_row_for_every_estimate_of_json(run: Path, capsys: Capture) -> None:
    only = strict(printed(capsys, "report", str(run), "--format", "json"))["runs"][0]
    rows = list(csv.DictReader(io.StringIO(printed(capsys, "report", str(run), "--format", "csv"))))
    named = {row["metric"]: row for row in rows}
    assert len(named) == len(rows)
    assert len(rows) > len(estimates([only["centre"], only["planes"]]))
    assert float(named["planes.main.train.basin.delta"]["value"]) == 0.1
    passed = [float(row["value"]) for name, row in named.items() if name.startswith("checks.") and name.endswith(".ok")]
    assert passed == [check["ok"] for check in only["checks"]]
    box = only["planes"]["square"]["test"]["sharpness"]["plane_eps"][2]
    assert float(named["planes.square.test.sharpness.plane_eps.2"]["value"]) == box["value"]


@pytest.mark.parametrize("name", ["text", "markdown"])
def test_text_and_markdown_show_every_metric_and_check(run: Path, capsys: Capture, name: str) -> None:
    shown = printed(capsys, "report", str(run), "--full", "--format", name).replace("\\", "")
    for word in (
        "basin.left",
        "surface.cliff.times_median",
        "basin.levels.2.right (δ = 1)",
        "curvature.plane.eigenvalues.0",
        "surface.min",
        "metrics.accuracy",
        "Self-checks",
        "slice",
    ):
        assert word in shown


@pytest.mark.parametrize("name", ["text", "markdown"])
def test_in_short_it_shows_what_is_compared_and_how_to_see_the_rest(run: Path, capsys: Capture, name: str) -> None:
    shown = printed(capsys, "report", str(run), "--format", name).replace("\\", "")
    for word in ("basin.left", "surface.roughness", "splits.centre_gap", "Self-checks: ", "--full", "± is one"):
        assert shown.count(word) == {"basin.left": 1, "Self-checks: ": 1, "--full": 1, "± is one": 1}.get(word, 2)
    for word in ("surface.cliff.rise", "basin.levels", "sharpness.plane_eps", "0 NaN and 0 infinite"):
        assert word not in shown


def test_a_plane_of_two_splits_is_a_screen(run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    profile = landscape_cli.load(run)
    store.save(replace(profile, planes={"square": profile.planes["square"]}), run)
    lines = printed(capsys, "report", str(run)).splitlines()
    assert len(lines) <= 60
    assert [line for line in lines if line != line.rstrip()] == []


def test_the_legend_says_how_sure_an_interval_is(run: Path, capsys: Capture) -> None:
    shown = printed(capsys, "report", str(run), "--confidence", "0.9")
    assert "[low, high] holds the truth 0.9 of the time" in " ".join(shown.split())
    assert "± is one" not in shown


def test_an_output_is_written_once_and_overwritten_only_by_force(run: Path, capsys: Capture) -> None:
    out = run.with_name("report.json")
    args = ["report", str(run), "--format", "json", "-o", str(out)]
    assert printed(capsys, *args) == ""
    strict(out.read_text())
    assert main(args) == ExitCode.USAGE
    assert main([*args, "--force"]) == 0


def test_several_files_are_several_runs(run: Path, capsys: Capture) -> None:
    assert len(strict(printed(capsys, "report", str(run), str(run), "--format", "json"))["runs"]) == 2


def unfinished(run: Path) -> None:
    profile = landscape_cli.load(run)
    for surface in profile.planes["square"].surfaces.values():
        surface.measured[0] = False
    store.save(profile, run)


def test_an_unfinished_run_is_printed_with_its_share_and_exits_3(run: Path, capsys: Capture) -> None:
    unfinished(run)
    assert main(["report", str(run)]) == ExitCode.INCONCLUSIVE
    out, err = capsys.readouterr()
    assert "UNFINISHED, 85.3%" in out
    assert "unfinished" in err


def test_control_characters_of_a_file_are_never_printed(run: Path, capsys: Capture) -> None:
    evil = "\x1b]0;title\x07\x1b[2J\u202e"
    profile = landscape_cli.load(run).with_provenance(device=evil, notes=(evil,), argv=(evil,), job=evil, folder=evil)
    store.save(profile, run)
    for args in (["report"], ["report", "--format", "markdown"], ["info"], ["info", "--job"]):
        shown = printed(capsys, *args, str(run))
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n", None])
def test_what_is_no_run_file_is_two_lines(tmp_path: Path, capsys: Capture, content: bytes | None) -> None:
    path = tmp_path / "run.h5"
    if content is not None:
        path.write_bytes(content)
    assert main(["report", str(path)]) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split()[0] for line in err.splitlines()] == ["error:", "hint:"]


def test_info_prints_the_job_that_makes_the_run_again(run: Path, capsys: Capture) -> None:
    job = CONFIGS / "again.toml"  # beside the first: relative paths start there
    try:
        job.write_text(printed(capsys, "info", "--job", str(run)))
        again = run.with_name("again.h5")
        assert main(["scan", str(job), "-o", str(again), "-q"]) == 0
    finally:
        job.unlink()
    a, b = landscape_cli.load(run), landscape_cli.load(again)
    assert a.problem == b.problem
    assert [p.fingerprint for p in a.planes.values()] == [p.fingerprint for p in b.planes.values()]


def test_info_tells_state_command_versions_and_sources(run: Path, capsys: Capture) -> None:
    shown = printed(capsys, "info", str(run))
    for word in (
        "finished, 34 of 34 points",
        "landscape scan",
        "torch 2",
        "sha256 weights",
        "planes.square.x",
        "--set",
    ):
        assert word in shown
    assert strict(printed(capsys, "info", "--format", "json", str(run)))["dtype"] == "float32"


@pytest.mark.parametrize("args", [["report"], ["report", "--format", "json"], ["info"]])
def test_reading_a_file_imports_no_torch(run: Path, args: list[str]) -> None:
    code = "import sys; from landscape_cli.cli.main import COMMANDS, cli, main; code = main(sys.argv[1:]); "
    code += "sys.exit(code or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *args, str(run)], capture_output=True, check=False)
    assert done.returncode == 0


def test_a_closed_pipe_is_quiet(run: Path) -> None:
    command = f"{sys.executable} -m landscape_cli report {run} {run} {run} {run} | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_code_that_the_shell_accepts(shell: str, capsys: Capture) -> None:
    code = printed(capsys, "completion", shell)
    assert "_LANDSCAPE_COMPLETE" in code
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=code, text=True, check=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_completion_knows_every_command(command: str) -> None:
    found = ShellComplete(cli, {}, "landscape", "_LANDSCAPE_COMPLETE").get_completions([], command[:-1])
    assert command in [item.value for item in found]


def test_the_gates_help_tells_its_exit_codes(capsys: Capture) -> None:
    text = " ".join(printed(capsys, "gate", "--help").split())
    assert "0 passed, 1 failed, 2 something cannot be read or written, 3 inconclusive" in text


@pytest.mark.slow
def test_the_demo_runs_and_keeps_what_the_user_changed(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "demo"
    assert "Plane main: 21 × 21 points" in printed(capsys, "demo", str(folder))
    assert landscape_cli.load(folder / "run.h5").complete
    (folder / "job.toml").write_text("# mine\n")
    assert main(["demo", str(folder)]) == ExitCode.USAGE
    assert (folder / "job.toml").read_text() == "# mine\n"


def test_every_command_has_help_and_no_wrong_one_is_taken(capsys: Capture) -> None:
    assert "Exit codes:" in printed(capsys, "--help")
    for command in COMMANDS:
        assert "Usage: landscape" in printed(capsys, command, "--help")
    assert main(["raport"]) == ExitCode.USAGE
    assert "did you mean report" in capsys.readouterr().err
