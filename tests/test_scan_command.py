"""`landscape scan` as a user types it: job and flags, interruption, joining, refusals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import landscape_cli
from landscape_cli.cli.main import main
from landscape_cli.errors import ExitCode
from landscape_cli.profile import Profile

NET = """
import os, signal, torch

def net(inputs=3):
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(nn.Linear(inputs, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))

CALLS = 0

def loss(outputs, targets):
    '''Cross-entropy that sends this process a signal at its n-th call.'''
    global CALLS
    CALLS += os.path.exists(os.environ.get("COUNT_FROM", ""))  # before it the plan is chosen and the centre measured
    number, _, call = os.environ.get("SIGNAL_AT", "").partition("@")
    if call and CALLS == int(call):
        os.kill(os.getpid(), int(number))
    return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")

def scalar(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs, targets)

def needy(width):
    return net()

def broken():
    raise RuntimeError("no weights today")

def text():
    return "not a module"
"""
JOB = """
[model]
factory = "net.py:net"
checkpoint = "net.pt"
[data.train]
source = "data.npz"
[loss]
metrics = ["accuracy"]
[planes.main]
x = "-1:1:5"
y = "-1:1:4"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, its checkpoint, data and a job file; the working directory."""
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "job.toml").write_text(JOB)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", inputs=rng.normal(size=(50, 3)), targets=rng.integers(0, 3, 50))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIGNAL_AT", raising=False)
    return tmp_path


def scan(*args: str) -> int:
    return main(["scan", *args])


def arrays(profile: Profile) -> list[bytes]:
    """Every measured array, to the bit."""
    surfaces = [s for plane in profile.planes.values() for s in plane.surfaces.values()]
    return [a.tobytes() for s in surfaces for a in (s.loss, s.loss_groups, s.measured, *s.metrics.values())]


def refused(capsys: pytest.CaptureFixture[str], code: int, *args: str) -> str:
    """The two lines with which a command is refused."""
    capsys.readouterr()
    assert scan(*args) == code
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert [line.split()[0] for line in lines] == ["error:", "hint:"]
    assert "Traceback" not in err
    return err


# ---------------------------------------------------------------- what a scan is asked


def test_flags_alone_and_a_job_file_make_the_same_arrays(home: Path) -> None:
    assert scan("job.toml", "-o", "a.h5") == 0
    flags = ["--model", "net.py:net", "--checkpoint", "net.pt", "--data", "train=data.npz", "--metric", "accuracy"]
    assert scan(*flags, "--x=-1:1:5", "--y=-1:1:4", "-o", "b.h5") == 0
    a, b = landscape_cli.load("a.h5"), landscape_cli.load("b.h5")
    assert arrays(a) == arrays(b)
    assert a.problem == b.problem
    assert b.provenance.sources["planes.main.x"] == "flag"


def test_paths_start_from_the_job_file_and_those_of_flags_from_here(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "elsewhere").mkdir()
    monkeypatch.chdir(home / "elsewhere")
    assert scan("../job.toml", "--checkpoint", "../net.pt", "-o", "run.h5") == 0
    assert (home / "elsewhere/run.h5").exists()


def test_a_flag_goes_before_set_and_set_before_the_file(home: Path) -> None:
    assert (
        scan("job.toml", "--set", "planes.main.seed=3", "--set", "planes.main.x=-1:1:3", "--x=-1:1:2", "-o", "r.h5")
        == 0
    )
    plane = landscape_cli.load("r.h5").planes["main"]
    assert len(plane.surface.x) == 2
    assert plane.directions[0]["seed"] == 3


def test_the_plan_writes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(os.listdir(home))
    assert scan("job.toml", "--plan", "-o", "run.h5") == 0
    assert set(os.listdir(home)) - before <= {"__pycache__"}
    assert re.search(r"points +20\b", capsys.readouterr().out)


def test_stdout_is_empty_and_the_next_command_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan("job.toml", "-o", "run.h5") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].endswith("landscape report run.h5")


def test_quiet_is_quiet(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan("job.toml", "-o", "run.h5", "-q") == 0
    assert capsys.readouterr() == ("", "")


# ---------------------------------------------------------------- interruption

SCRIPT = """
import sys
from landscape_cli import store
from landscape_cli.cli.main import main

store.Saver.save_if_due = store.Saver.save  # after every point
sys.exit(main(sys.argv[1:]))
"""
SIGNALLED = ["scan", "job.toml", "--loss", "net.py:loss", "--strategy", "in place", "-o", "run.h5"]


def signalled(signal_at: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "SIGNAL_AT": signal_at, "COUNT_FROM": "run.h5", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *SIGNALLED], env=env, capture_output=True, text=True, check=False
    )


def whole(home: Path) -> list[bytes]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", SCRIPT, *SIGNALLED[:-1], "whole.h5"], env=env, check=True, capture_output=True
    )
    return arrays(landscape_cli.load("whole.h5"))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_an_interrupted_scan_resumes_to_the_bit(home: Path, number: int, code: int) -> None:
    first = signalled(f"{int(number)}@12")
    assert first.returncode == code
    profile = landscape_cli.load("run.h5")
    done, asked = profile.done
    assert 0 < done < asked
    assert not profile.complete
    if number != signal.SIGKILL:
        assert "resume: landscape scan job.toml --loss net.py:loss --strategy 'in place' -o run.h5" in first.stderr
    assert main(["report", "run.h5"]) == ExitCode.INCONCLUSIVE
    assert signalled("").returncode == 0
    assert arrays(landscape_cli.load("run.h5")) == whole(home)


@pytest.mark.slow
def test_killed_again_and_again_it_gets_there(home: Path) -> None:
    for call in (8, 4, 4, 4):
        assert signalled(f"{int(signal.SIGKILL)}@{call}").returncode == -signal.SIGKILL
        landscape_cli.load("run.h5")
    assert signalled("").returncode == 0
    assert arrays(landscape_cli.load("run.h5")) == whole(home)


def test_max_time_stops_resumably(home: Path) -> None:
    step = ["--strategy", "in place"]
    assert scan("job.toml", "-o", "run.h5", "--max-time", "0.000001s", *step) == ExitCode.INTERRUPTED
    assert landscape_cli.load("run.h5").done[0] == 1
    assert scan("job.toml", "-o", "run.h5") == 0
    assert scan("job.toml", "-o", "whole.h5", *step) == 0
    assert arrays(landscape_cli.load("run.h5")) == arrays(landscape_cli.load("whole.h5"))


# ---------------------------------------------------------------- an output that exists


def test_a_finished_file_has_nothing_to_do(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan("job.toml", "-o", "run.h5") == 0
    before = Path("run.h5").read_bytes()
    assert scan("job.toml", "-o", "run.h5") == 0
    assert "nothing to do" in capsys.readouterr().err
    assert Path("run.h5").read_bytes() == before


def changed_weights(home: Path) -> None:
    state = torch.load(home / "net.pt", weights_only=True)
    state["0.bias"] += 1
    torch.save(state, home / "net.pt")


def changed_data(home: Path) -> None:
    with np.load(home / "data.npz") as held:
        np.savez(home / "data.npz", inputs=held["inputs"] + 1, targets=held["targets"])


def changed_code(home: Path) -> None:
    (home / "net.py").write_text(NET + "# changed\n")


@pytest.mark.parametrize(
    ("change", "named"),
    [(changed_weights, "weights"), (changed_data, "data.train"), (changed_code, "code")],
)
def test_another_problem_is_refused_by_what_differs(
    home: Path, capsys: pytest.CaptureFixture[str], change: object, named: str
) -> None:
    assert scan("job.toml", "-o", "run.h5") == 0
    before = Path("run.h5").read_bytes()
    change(home)  # type: ignore[operator]
    assert f"it differs in {named}" in refused(capsys, 2, "job.toml", "-o", "run.h5")
    assert Path("run.h5").read_bytes() == before
    assert scan("job.toml", "-o", "run.h5", "--force") == 0


def test_another_dtype_and_loss_are_refused_by_name(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan("job.toml", "-o", "run.h5") == 0
    said = refused(capsys, 2, "job.toml", "-o", "run.h5", "--dtype", "float64", "--set", "loss.label_smoothing=0.1")
    assert "it differs in dtype, loss" in said


def test_another_plane_of_one_name_is_refused_and_can_be_forced(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan("job.toml", "-o", "run.h5") == 0
    assert "it differs in directions" in refused(capsys, 2, "job.toml", "-o", "run.h5", "--seed", "1")
    assert scan("job.toml", "-o", "run.h5", "--seed", "1", "--force", "main") == 0
    assert landscape_cli.load("run.h5").planes["main"].directions[0]["seed"] == 1


def test_a_plane_joins_a_file(home: Path) -> None:
    assert scan("job.toml", "-o", "run.h5") == 0
    before = landscape_cli.load("run.h5").planes["main"]
    assert scan("job.toml", "-o", "run.h5", "--set", "planes.line.x=-1:1:3") == 0
    profile = landscape_cli.load("run.h5")
    assert list(profile.planes) == ["main", "line"]
    assert profile.planes["main"].surface.loss.tobytes() == before.surface.loss.tobytes()


def test_force_before_the_job_file_means_the_whole_file(home: Path) -> None:
    assert scan("job.toml", "-o", "run.h5") == 0
    assert scan("--force", "job.toml", "-o", "run.h5", "--seed", "1") == 0


# ---------------------------------------------------------------- bad input: one clear line each, nothing lost

FLAGS = ["--model", "net.py:net", "--checkpoint", "net.pt", "--data", "data.npz"]
BAD = {
    "no job and no flags": ([], "model.factory"),
    "a job file that is not there": (["nothing.toml"], "nothing.toml"),
    "a job file that is no TOML": (["net.py"], "net.py"),
    "no output": (["job.toml"], "output"),
    "HDF5 to stdout": (["job.toml", "-o", "-"], "stdout"),
    "an unknown key": (["job.toml", "--set", "planes.main.sed=1"], "planes.main.sed"),
    "a section of later": (["job.toml", "--set", "hesian.top=5"], "hesian"),
    "a grid of zero": (["job.toml", "--x=-1:1:0"], "-1:1:0"),
    "a count that is no whole number": (["job.toml", "--x=-1:1:2.5"], "2.5"),
    "min above max": (["job.toml", "--x=1:-1:5"], "1:-1:5"),
    "a range that is not finite": (["job.toml", "--x=-inf:1:5"], "-inf"),
    "NaN in a range": (["job.toml", "--x=nan:1:5"], "nan"),
    "a third axis": (["job.toml", "--set", "planes.main.z=-1:1:5"], "planes.main.z"),
    "a grid beyond memory": (["job.toml", "--x=-1:1:100001", "--y=-1:1:100001"], "points"),
    "an unknown loss": (["job.toml", "--loss", "cross_entorpy"], "cross_entorpy"),
    "an unknown direction": (["job.toml", "--directions", "radnom,random"], "radnom"),
    "an unknown normalisation": (["job.toml", "--normalize", "filters"], "filters"),
    "an unknown batch-norm policy": (["job.toml", "--batchnorm", "thawed"], "thawed"),
    "an unknown metric": (["job.toml", "--metric", "acuracy"], "acuracy"),
    "an unknown dtype": (["job.toml", "--dtype", "float31"], "float31"),
    "an unknown device": (["job.toml", "--device", "gpu"], "gpu"),
    "a device that is absent": (["job.toml", "--device", "cuda:99"], "cuda:99"),
    "an unknown option": (["job.toml", "--seeed", "1"], "--seeed"),
    "a duration that is none": (["job.toml", "--max-time", "soon"], "soon"),
    "a section to force that is none": (["job.toml", "--force", "mian"], "mian"),
    "a factory that is not there": (["job.toml", "--model", "net.py:nte"], "nte"),
    "a file of code that is not there": (["job.toml", "--model", "nte.py:net"], "nte.py"),
    "a factory that is not callable": (["job.toml", "--model", "net.py:CALLS"], "callable"),
    "a factory that needs arguments": (["job.toml", "--model", "net.py:needy"], "width"),
    "a factory that raises": (["job.toml", "--model", "net.py:broken"], "no weights today"),
    "a factory that makes no module": (["job.toml", "--model", "net.py:text"], "str"),
    "a loss that is a mean": (["job.toml", "--loss", "net.py:scalar"], "50"),
    "a checkpoint that is not there": (["job.toml", "--checkpoint", "nothing.pt"], "nothing.pt"),
    "a checkpoint that is a folder": (["job.toml", "--checkpoint", "."], "folder"),
    "a checkpoint of another shape": (["job.toml", "--set", "model.args.inputs=5"], "another shape"),
    "data that are not there": (["job.toml", "--data", "nothing.npz"], "nothing.npz"),
    "an array that is not there": (["job.toml", "--set", "data.train.inputs=images"], "images"),
    "more samples than there are": (["job.toml", "--set", "data.train.samples=51"], "51"),
    "a folder that is not there": (["job.toml", "-o", "no/run.h5"], "no"),
    "an output that is a folder": (["job.toml", "-o", "."], "folder"),
    "an output that is a device": (["job.toml", "-o", "/dev/null"], "no regular file"),
    "an output that is no profile": (["job.toml", "-o", "net.py"], "net.py"),
    "no path for a checkpoint": (["job.toml", "--directions", "checkpoint,random"], "checkpoint"),
    "a batch size of zero": (["job.toml", "--batch-size", "0"], "batch_size"),
    "top5 of three classes": (["job.toml", "--metric", "top5"], "top5"),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(BAD))
def test_bad_input_is_two_lines_and_loses_nothing(home: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    args, said = BAD[kind]
    out = [] if "-o" in args or kind == "no output" else ["-o", "run.h5"]
    before = {p.name: p.read_bytes() for p in home.iterdir() if p.is_file()}
    assert said in refused(capsys, ExitCode.USAGE, *args, *out)
    after = {p.name: p.read_bytes() for p in home.iterdir() if p.is_file() and p.suffix != ".lock"}
    assert after == before


def bad_data(home: Path, **arrays: object) -> None:
    np.savez(home / "data.npz", **arrays)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arrays_", "said"),
    [
        ({"inputs": np.zeros((4, 3)), "targets": np.array([0, 1, 2, 3])}, "labels from 0 to 3"),
        ({"inputs": np.zeros((4, 3)), "targets": np.array([0, 1, -1, 0])}, "labels from -1"),
        ({"inputs": np.full((4, 3), np.nan), "targets": np.zeros(4, int)}, "NaN"),
        ({"inputs": np.zeros((4, 3)), "targets": np.zeros(3, int)}, "3 and 4"),
        ({"inputs": np.zeros((0, 3)), "targets": np.zeros(0, int)}, "empty"),
        ({"inputs": np.zeros((4, 2)), "targets": np.zeros(4, int)}, "(4, 2)"),
        ({"inputs": np.array([None, 1]), "targets": np.zeros(2, int)}, "object"),
    ],
)
def test_bad_data_are_two_lines(
    home: Path, capsys: pytest.CaptureFixture[str], arrays_: dict[str, object], said: str
) -> None:
    bad_data(home, **arrays_)
    assert said in refused(capsys, ExitCode.USAGE, "job.toml", "-o", "run.h5")
    assert not Path("run.h5").exists()


def test_weights_that_are_not_finite_are_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.load(home / "net.pt", weights_only=True)
    state["0.bias"][0] = float("nan")
    torch.save(state, home / "net.pt")
    assert "not finite" in refused(capsys, ExitCode.USAGE, "job.toml", "-o", "run.h5")


def test_a_loss_that_is_not_finite_at_the_centre_is_inconclusive(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "inf.py").write_text("def loss(o, t):\n    return o[:, 0] * float('inf')\n")
    said = refused(capsys, ExitCode.INCONCLUSIVE, "job.toml", "-o", "run.h5", "--loss", "inf.py:loss")
    assert "not finite" in said


@pytest.mark.slow
def test_a_surface_of_nothing_but_nan_is_kept_and_inconclusive(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "wall.py").write_text(WALL)
    args = ["job.toml", "-o", "run.h5", "--loss", "wall.py:loss", "--x=[0.5, 1.0]", "--y=[0.5, 1.0]"]
    assert "no point of main is finite" in refused_after_progress(capsys, *args)
    profile = landscape_cli.load("run.h5")
    assert profile.complete
    assert np.isnan(profile.planes["main"].surface.loss).all()


WALL = """
import gc, torch

def loss(outputs, targets):
    '''1 at the checkpoint, NaN once the network is moved.'''
    gc.collect()  # networks of earlier scans in this process
    held = torch.load("net.pt", weights_only=True)["0.weight"].to(outputs.device)
    nets = [o for o in gc.get_objects() if type(o) is torch.nn.Sequential and o[0].weight.shape == held.shape]
    there = any(torch.equal(net[0].weight, held) for net in nets)
    return torch.full_like(outputs[:, 0], 1.0 if there else torch.nan)
"""


def refused_after_progress(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    capsys.readouterr()
    assert scan(*args) == ExitCode.INCONCLUSIVE
    err = capsys.readouterr().err
    assert [line.split()[0] for line in err.splitlines()[-2:]] == ["error:", "hint:"]
    return err


def test_a_bug_is_exit_70_and_never_1(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bug(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("landscape_cli.measure.scan.load_planes", bug)
    assert "this is a bug" in refused(capsys, ExitCode.BUG, "job.toml", "-o", "run.h5")


def test_debug_shows_the_traceback(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan("job.toml", "-o", "run.h5", "--model", "net.py:broken", "--debug") == 2
    assert "RuntimeError: no weights today" in capsys.readouterr().err
