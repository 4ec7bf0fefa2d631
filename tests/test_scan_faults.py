"""`landscape scan` when things go wrong: full disks, kills in mid-write, second writers, damaged files, user code."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_store import same

from landscape_cli import files, store
from landscape_cli.cli.main import main
from landscape_cli.errors import ExitCode
from landscape_cli.profile import Profile

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch

# Two parameters, w: the outputs are inputs @ w, so that everything about the loss is known.
NET = """
import sys, torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(2, 1))
        self.b = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x @ self.w + self.b

def net():
    return Net()

def noisy():
    print("building the network")
    return Net()

def leaving():
    sys.exit(1)

def grown(outputs, targets):
    return outputs[:, 0].exp()

def early(outputs, targets):
    return outputs[:, 0] / 0 * 0
"""
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
y = "-1:1:3"
ignore = []
"""
STATE = {"w": torch.tensor([[1.0], [2.0]]), "b": torch.tensor([0.5])}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: Patch) -> Path:
    """A folder with a model of three parameters, its checkpoint, data and a job file; the working directory."""
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "job.toml").write_text(JOB)
    torch.save(STATE, tmp_path / "net.pt")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", inputs=rng.normal(size=(20, 2)), targets=rng.normal(size=20))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scan(*args: str) -> int:
    return main(["scan", *args])


def measured(path: str = "run.h5") -> Profile:
    """What a file holds, without what tells when and by which command."""
    profile = store.load(path)
    planes = {name: dataclasses.replace(plane, argv=()) for name, plane in profile.planes.items()}
    without = profile.with_provenance(argv=(), started="", finished="", sources={}, notes=())
    return dataclasses.replace(without, planes=planes)


def refused(capsys: Capture, code: int, *args: str) -> str:
    """The two lines with which a command ends; stdout is empty, and nothing is said twice."""
    capsys.readouterr()
    assert scan(*args) == code
    out, err = capsys.readouterr()
    assert out == ""
    said = [line for line in err.splitlines() if line.startswith(("error:", "hint:"))]
    assert [line.split()[0] for line in said] == ["error:", "hint:"], err
    assert "Traceback" not in err
    return said[0]


def after(points: int, monkeypatch: Patch, what: Callable[[], None]) -> None:
    """Do something once so many points have been measured, between two points."""
    left = [points]

    def count(saver: store.Saver, profile: Profile) -> None:
        left[0] -= 1
        if left[0] == 0:
            what()

    monkeypatch.setattr(store.Saver, "save_if_due", count)


# ---------------------------------------------------------------- stopping and going on


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("points", [1, 8])
def test_a_signal_finishes_the_point_and_the_rest_is_bit_identical(
    home: Path, monkeypatch: Patch, number: int, code: int, points: int
) -> None:
    assert scan("job.toml", "-o", "whole.h5") == 0
    after(points, monkeypatch, lambda: signal.raise_signal(number))
    assert scan("job.toml", "-o", "run.h5") == code
    assert store.load("run.h5").done == (points, 9)
    assert store.load("run.h5").provenance.finished == ""
    counts: list[int] = []
    monkeypatch.setattr(store.Saver, "save_if_due", lambda saver, profile: counts.append(profile.done[0]))
    assert scan("job.toml", "-o", "run.h5") == 0
    assert counts == list(range(points + 1, 10))  # no point twice
    assert same(measured(), measured("whole.h5"))


def test_the_handlers_of_signals_are_put_back(home: Path, monkeypatch: Patch) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    after(2, monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    scan("job.toml", "-o", "run.h5")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def before_each_pass(monkeypatch: Patch, what: Callable[[int, Any], None]) -> None:
    """Do something before every pass of the engine, with its number, from 1, and its plan."""
    from landscape_cli.measure import evaluate, strategies

    real, seen = strategies.prepare, [0]

    def prepare(*args: Any) -> Any:
        measure = real(*args)

        def counted(points: Any) -> Any:
            seen[0] += 1
            what(seen[0], args[-1])
            return measure(points)

        return counted

    monkeypatch.setattr(evaluate, "prepare", prepare)


def test_a_second_ctrl_c_does_not_wait_for_the_point(home: Path, monkeypatch: Patch, capsys: Capture) -> None:
    def interrupt(number: int, plan: Any) -> None:
        if number == 4:  # after the centre and two points
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    before_each_pass(monkeypatch, interrupt)
    assert scan("job.toml", "-o", "run.h5") == ExitCode.INTERRUPTED
    assert "Traceback" not in capsys.readouterr().err
    assert store.load("run.h5").done == (2, 9)


@pytest.mark.parametrize("force", ["--force", "--force=main"])
def test_the_line_that_resumes_throws_nothing_away(home: Path, monkeypatch: Patch, capsys: Capture, force: str) -> None:
    """A --force that has done its work must not do it again."""
    assert scan("job.toml", "-o", "run.h5", "--set", "planes.main.seed=7") == 0
    after(4, monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    assert scan("job.toml", force, "-o", "run.h5") == ExitCode.INTERRUPTED
    line = re.search(r"^resume: landscape (.*)$", capsys.readouterr().err, re.MULTILINE)
    assert line is not None
    points: list[int] = []
    monkeypatch.setattr(store.Saver, "save_if_due", lambda saver, profile: points.append(profile.done[0]))
    assert main(shlex.split(line[1])) == ExitCode.OK
    assert points == [5, 6, 7, 8, 9]


def test_max_time_is_looked_at_before_the_work(home: Path, capsys: Capture) -> None:
    for wrong in ("soon", "0", "-5", "5 parsecs", "", "nan", "1e3x"):
        assert wrong in refused(capsys, 2, "job.toml", "-o", "run.h5", f"--max-time={wrong}")
    assert not (home / "run.h5").exists()


# A scan that a SIGKILL ends inside its n-th saving: before, in the middle of and after each step.
DYING = """
import os, signal, sys
from landscape_cli import files, store
from landscape_cli.cli.main import main

moment, saving = sys.argv[1], int(sys.argv[2])
store.Saver.save_if_due = store.Saver.save
seen = dict.fromkeys(("write", "fsync", "replace"), 0)

def dying(name, each):
    real = getattr(os, name)
    def call(*args):
        seen[name] += 1
        if seen[name] == each * saving:
            if moment == "torn":
                real(args[0], args[1][: len(args[1]) // 2])
            if moment.startswith("after"):
                real(*args)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)
    setattr(os, name, call)

if moment != "never":
    name = "write" if moment == "torn" else moment.split()[1]
    dying(name, 2 if name == "fsync" else 1)
sys.exit(main(["scan", "job.toml", "-o", "run.h5"]))
"""
MOMENTS = ["before write", "torn", "before replace", "after replace"]


def killed(moment: str, saving: int) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}  # as in this process: the plan tells
    done = subprocess.run([sys.executable, "-c", DYING, moment, str(saving)], env=env, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.slow
@pytest.mark.parametrize("moment", [*MOMENTS, "before fsync", "after fsync"])
def test_a_kill_in_mid_write_leaves_the_last_whole_file(home: Path, moment: str) -> None:
    killed(moment, 1)
    if (home / "run.h5").exists():
        store.load("run.h5")
    killed(moment, 4)
    assert store.load("run.h5").done[0] in (2, 3)
    assert scan("job.toml", "-o", "run.h5") == 0
    assert scan("job.toml", "-o", "whole.h5") == 0
    assert same(measured(), measured("whole.h5"))
    assert not [path.name for path in home.iterdir() if path.name.endswith(".tmp")]


def test_half_precision_tells_what_it_costs(home: Path) -> None:
    assert scan("job.toml", "-o", "run.h5", "--dtype=bfloat16") == 0
    assert scan("job.toml", "-o", "single.h5") == 0
    (note,) = [n for n in store.load("run.h5").provenance.notes if n.startswith("bfloat16")]
    half, single = (store.load(n).planes["main"].surface.loss for n in ("run.h5", "single.h5"))
    error = np.abs(half - single) / single
    assert f"by {error[1, 1]:.2g} relative at the centre" in note
    assert f"up to {max(error[i, j] for i in (0, 2) for j in (0, 2)):.2g} at the corners" in note
    assert not [n for n in store.load("single.h5").provenance.notes if "float" in n]


def test_a_plane_that_the_file_s_plan_does_not_suit_gets_one_of_its_own(home: Path) -> None:
    """A perceptron with a batch norm: stacked where its statistics are frozen, not where they are recomputed."""
    (home / "bn.py").write_text(
        "from torch import nn\n"
        "def net():\n    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))\n"
    )
    (home / "save.py").write_text("import torch, bn\ntorch.save(bn.net().state_dict(), 'bn.pt')\n")
    subprocess.run([sys.executable, "save.py"], check=True)
    args = ["job.toml", "--model=bn.py:net", "--checkpoint=bn.pt", "-o", "run.h5"]
    assert scan(*args, "--max-time=0.000001", "--points-per-pass=2") == ExitCode.INTERRUPTED
    assert store.load("run.h5").provenance.plan["strategy"] == "stacked"
    more = ["--set=planes.other.x=-1:1:3", "--set=planes.other.batchnorm=recompute"]
    assert scan(*args, *more) == 0
    assert store.load("run.h5").complete
    assert store.load("run.h5").provenance.plan["strategy"] != "stacked"


# ---------------------------------------------------------------- what is in the file already


def test_nothing_to_do_is_not_said_while_a_plane_is_unfinished(home: Path, monkeypatch: Patch, capsys: Capture) -> None:
    after(4, monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    assert scan("job.toml", "-o", "run.h5") == ExitCode.INTERRUPTED
    monkeypatch.undo()
    monkeypatch.chdir(home)
    other = ["--model=net.py:net", "--checkpoint=net.pt", "--data=train=data.npz", "--loss=mse"]
    assert scan(*other, "--set", "planes.line.x=-1:1:3", "-o", "run.h5") == 0
    capsys.readouterr()
    scan(*other, "--set", "planes.line.x=-1:1:3", "-o", "run.h5")
    assert "run.h5 is complete" not in capsys.readouterr().err
    assert store.load("run.h5").provenance.finished == ""


def test_the_job_of_a_file_that_planes_have_joined_makes_them_all_again(home: Path, capsys: Capture) -> None:
    assert scan("job.toml", "-o", "run.h5") == 0
    other = ["--model=net.py:net", "--checkpoint=net.pt", "--data=train=data.npz", "--loss=mse"]
    assert scan(*other, "--set", "planes.line.x=-1:1:3", "-o", "run.h5") == 0
    capsys.readouterr()
    assert main(["info", "--job", "run.h5"]) == 0
    (home / "again.toml").write_text(capsys.readouterr().out)
    assert scan("again.toml", "-o", "again.h5") == 0
    assert set(store.load("again.h5").planes) == {"main", "line"}


def change_code(home: Path) -> None:
    (home / "net.py").write_text(NET + "# changed\n")


def change_parameters(home: Path) -> None:
    (home / "job.toml").write_text(JOB.replace("[data", 'parameters = ["w"]\n[data'))


def change_loss(home: Path) -> None:
    (home / "job.toml").write_text(JOB.replace('"mse"', '"l1"'))


def change_data(home: Path) -> None:
    (home / "job.toml").write_text(JOB.replace("[loss]", "samples = 10\n[loss]"))


def change_weights(home: Path) -> None:
    torch.save({**STATE, "b": torch.tensor([0.5000001])}, home / "net.pt")


@pytest.mark.parametrize("change", [change_code, change_parameters, change_loss, change_data, change_weights])
@pytest.mark.parametrize("finished", [True, False])
def test_another_problem_is_refused_and_nothing_is_touched(
    home: Path, monkeypatch: Patch, capsys: Capture, change: Callable[[Path], None], finished: bool
) -> None:
    args = ["job.toml", "-o", "run.h5"]
    assert scan(*args, *([] if finished else ["--max-time=0.000001"])) == (0 if finished else 130)
    before = (home / "run.h5").read_bytes()
    change(home)
    said = refused(capsys, 2, *args)
    assert change.__name__.removeprefix("change_").split("_")[0] in said.replace("data.train", "data")
    assert (home / "run.h5").read_bytes() == before


@pytest.mark.parametrize("how", ["batch size", "data elsewhere", "job elsewhere", "quiet"])
def test_what_changes_no_result_is_no_other_problem(home: Path, monkeypatch: Patch, capsys: Capture, how: str) -> None:
    assert scan("job.toml", "-o", "run.h5") == 0
    extra = {"batch size": ["--batch-size", "7"], "quiet": ["-q"]}.get(how, [])
    (home / "other").mkdir()
    if how == "data elsewhere":
        (home / "data.npz").rename(home / "other" / "data.npz")
        extra = ["--data", "train=other/data.npz"]
    job = "job.toml"
    if how == "job elsewhere":
        for name in ("job.toml", "net.py", "net.pt", "data.npz"):
            (home / name).rename(home / "other" / name)
        job = "other/job.toml"
    capsys.readouterr()
    before = (home / "run.h5").read_bytes()
    assert scan(job, "-o", "run.h5", *extra) == 0
    assert how == "quiet" or "nothing to do" in capsys.readouterr().err
    assert (home / "run.h5").read_bytes() == before


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def a_text(path: Path) -> None:
    path.write_text("precious notes\n")


def an_empty_file(path: Path) -> None:
    path.write_bytes(b"")


def without_a_plan(path: Path) -> None:
    store.save(store.load(path).with_provenance(plan={}), path)


def with_an_odd_plan(path: Path) -> None:
    odd = {"strategy": "in place", "batch": "many", "points_per_pass": -1, "threads": 0}
    store.save(store.load(path).with_provenance(plan=odd), path)


def with_a_batch_of_zero(path: Path) -> None:
    plan = dict(store.load(path).provenance.plan)
    store.save(store.load(path).with_provenance(plan={**plan, "batch": 0}), path)


@pytest.mark.parametrize(
    "damage", [truncated, one_bit, a_text, an_empty_file, without_a_plan, with_an_odd_plan, with_a_batch_of_zero]
)
def test_a_file_that_cannot_be_resumed_is_refused_and_kept(
    home: Path, capsys: Capture, damage: Callable[[Path], None]
) -> None:
    assert scan("job.toml", "-o", "run.h5", "--max-time=0.000001") == ExitCode.INTERRUPTED
    damage(home / "run.h5")
    before = (home / "run.h5").read_bytes()
    refused(capsys, 2, "job.toml", "-o", "run.h5")
    assert (home / "run.h5").read_bytes() == before
    assert scan("job.toml", "-o", "run.h5", "--force") == 0
    assert store.load("run.h5").complete


def test_a_forced_scan_that_cannot_begin_leaves_the_old_file(home: Path, capsys: Capture) -> None:
    assert scan("job.toml", "-o", "run.h5") == 0
    before = (home / "run.h5").read_bytes()
    for wrong in ("--checkpoint=absent.pt", "--data=absent.npz", "--x=1:0:3", "--loss=nll", "--dtype=int8"):
        refused(capsys, 2, "job.toml", "-o", "run.h5", "--force", wrong)
        assert (home / "run.h5").read_bytes() == before


def test_an_output_that_is_a_link_stays_one(home: Path) -> None:
    (home / "elsewhere").mkdir()
    (home / "run.h5").symlink_to(home / "elsewhere" / "real.h5")
    assert scan("job.toml", "-o", "run.h5", "--max-time=0.000001") == ExitCode.INTERRUPTED
    assert scan("job.toml", "-o", "run.h5") == 0
    assert (home / "run.h5").is_symlink()
    assert store.load("elsewhere/real.h5").complete


# ---------------------------------------------------------------- the system refuses


def test_a_second_writer_is_told_who_holds_the_file(home: Path, capsys: Capture) -> None:
    with files.locked(home / "run.h5"):
        said = refused(capsys, 2, "job.toml", "-o", "run.h5")
    assert f"process {os.getpid()}" in said
    assert not (home / "run.h5").exists()


def test_a_lock_left_by_a_dead_process_is_free(home: Path) -> None:
    (home / "run.h5.lock").write_text("process 1 on nowhere since ever")
    with (home / "run.h5.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
    assert scan("job.toml", "-o", "run.h5") == 0


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("saving", [1, 3])
def test_a_disk_that_fills_up_loses_no_point_that_was_saved(
    home: Path, monkeypatch: Patch, capsys: Capture, call: str, saving: int
) -> None:
    real, seen = getattr(os, call), [0]
    calls = {"write": 1, "fsync": 2, "replace": 1}[call]  # each saving syncs the file, then the folder

    def full(*args: Any) -> Any:
        seen[0] += 1
        if seen[0] > calls * (saving - 1):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args)

    monkeypatch.setattr(store.Saver, "save_if_due", store.Saver.save)
    monkeypatch.setattr(os, call, full)
    said = refused(capsys, 2, "job.toml", "-o", "run.h5")
    monkeypatch.undo()
    monkeypatch.chdir(home)
    assert "No space left on device" in said
    assert (home / "run.h5").exists() == (saving > 1)
    assert not list(home.glob(".*.tmp"))
    assert saving == 1 or store.load("run.h5").done == (1, 9)
    assert scan("job.toml", "-o", "run.h5") == 0


def test_out_of_memory_halves_the_pass_and_goes_on(home: Path, monkeypatch: Patch, capsys: Capture) -> None:
    assert scan("job.toml", "-o", "whole.h5") == 0

    def exhaust(number: int, plan: Any) -> None:
        if number > 4 and plan.batch > 5:  # the centre and three points fit
            raise torch.OutOfMemoryError("CUDA out of memory")

    before_each_pass(monkeypatch, exhaust)
    assert scan("job.toml", "-o", "run.h5") == 0
    assert "out of memory: went on with in place" in capsys.readouterr().err
    run, whole = store.load("run.h5"), store.load("whole.h5")
    assert run.complete
    assert run.provenance.plan["batch"] == 5
    assert sum("out of memory" in note for note in run.provenance.notes) == 1
    loss, expected = (profile.planes["main"].surface.loss for profile in (run, whole))
    assert loss.ravel()[:3].tobytes() == expected.ravel()[:3].tobytes()
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_without_memory_for_one_sample_the_points_are_kept(home: Path, monkeypatch: Patch, capsys: Capture) -> None:
    def exhaust(number: int, plan: Any) -> None:
        if number > 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    before_each_pass(monkeypatch, exhaust)
    assert "memory" in refused(capsys, 2, "job.toml", "-o", "run.h5")
    assert store.load("run.h5").done == (3, 9)
    monkeypatch.undo()
    monkeypatch.chdir(home)
    assert scan("job.toml", "-o", "run.h5") == 0


LIMITED = """
import resource, sys
from landscape_cli.cli.main import main
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
sys.exit(main(["scan", "job.toml", "-o", "run.h5", "--x=-1:1:400000000", "--set", "planes.main.ignore=[]"]))
"""


def test_a_grid_beyond_the_cap_is_refused_without_being_made(home: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.USAGE, done.stderr
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["error:", "hint:"]


def test_an_output_whose_name_is_no_utf8_is_written_or_refused(home: Path, capsys: Capture) -> None:
    odd = os.fsdecode(b"run\xff.h5")
    code = scan("job.toml", "-o", odd)
    assert code in (ExitCode.OK, ExitCode.USAGE), capsys.readouterr().err
    assert Path(odd).exists() == (code == ExitCode.OK)


# ---------------------------------------------------------------- the user's code and settings


def test_what_the_users_code_prints_is_no_data(home: Path, capsys: Capture) -> None:
    assert scan("job.toml", "-o", "run.h5", "--model", "net.py:noisy") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "building the network" in err


def test_two_splits_of_one_name_are_refused(home: Path, capsys: Capture) -> None:
    """The second must not silently take the place of the first."""
    flags = ["--model=net.py:net", "--checkpoint=net.pt", "--loss=mse", "--x=-1:1:3", "-o", "run.h5"]
    refused(capsys, 2, *flags, "--data=data.npz", "--data=data.npz")
    refused(capsys, 2, *flags, "--data=val=data.npz", "--data=val=data.npz")


SETTINGS = {
    "the code leaves": ["--model=net.py:leaving"],
    "negative delta": ["--loss=huber", "--set=loss.delta=-1"],
    "zero delta": ["--loss=huber", "--set=loss.delta=0"],
    "no such class dimension": ["--loss=cross_entropy", "--set=loss.class_dim=7", "--data=train=classes.npz"],
    "negative weight decay": ["--set=loss.weight_decay=-1"],
    "weight decay that is NaN": ["--set=loss.weight_decay=nan"],
    "smoothing beyond 1": ["--set=loss.label_smoothing=2"],
    "smoothing that is NaN": ["--set=loss.label_smoothing=nan"],
    "scale of zero": ["--set=data.train.scale=0"],
    "scale that is NaN": ["--set=data.train.scale=nan"],
    "std of zero": ["--set=data.train.std=[1, 0]"],
    "std that is NaN": ["--set=data.train.std=[1, nan]"],
    "three channels for two": ["--set=data.train.mean=[1, 2, 3]"],
    "rows that are none": ["--set=data.train.rows=first"],
    "rows beyond the end": ["--set=data.train.rows=100:"],
    "no samples": ["--set=data.train.samples=0"],
    "a seed beyond 64 bits": ["--set=data.train.samples=3", "--set=data.train.seed=99999999999999999999999"],
    "a dtype of no tensor": ["--set=data.train.dtype=float33"],
    "a dtype that is a function": ["--set=data.train.dtype=zeros"],
    "text for a number": ["--set=run.batch_size=many"],
    "a number for text": ["--set=model.factory=5"],
    "meta device": ["--device=meta"],
    "no parameter of that name": ["--set=model.parameters=['q']"],
    "nothing to ignore of that name": ["--ignore=q"],
    "an unknown call": ["--set=model.call=twice"],
    "an output that is not there": ["--set=model.output=logits"],
    "a state key that is not there": ["--state-key=ema"],
    "arguments that it does not take": ["--set=model.args.depth=3"],
    "a split called as a part of the file": ["--set=data.gram.source=data.npz"],
    "a split with a space": ["--set=data.my split.source=data.npz"],
    "three directions": ["--directions=random,random,random"],
    "three normalisations": ["--set=planes.main.normalize=['filter', 'layer', 'none']"],
    "a line with two directions": ["--set=planes.line.x=-1:1:3", "--set=planes.line.directions=['random', 'random']"],
    "a plane without x": ["--set=planes.line.y=-1:1:3"],
    "a range of one point": ["--x=0:1:1"],
    "a list that descends": ["--x=[1, 0]"],
    "a list of nothing": ["--x=[]"],
    "a list of text": ["--x=['a']"],
    "a list that does not end": ["--x=[1, 2"],
    "a random direction of a path": ["--directions=random:x,random"],
    "a checkpoint direction that is not there": ["--directions=checkpoint:absent.pt,random"],
    "a directions file that is not there": ["--directions=file:absent.npz,random"],
    "a directions file of other names": ["--directions=file:data.npz,random"],
    "an empty key": ["--set==5"],
    "a key without a value": ["--set=model.strict"],
    "a key of a key": ["--set=run.device.name=cpu"],
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_setting_that_cannot_be_is_two_lines_and_loses_nothing(home: Path, capsys: Capture, kind: str) -> None:
    np.savez(home / "classes.npz", inputs=np.ones((4, 2)), targets=np.zeros(4, dtype=int))
    assert scan("job.toml", "-o", "run.h5") == 0
    before = (home / "run.h5").read_bytes()
    for output in ("run.h5", "new.h5"):
        refused(capsys, 2, "job.toml", "-o", output, *(["--force"] if output == "run.h5" else []), *SETTINGS[kind])
    assert (home / "run.h5").read_bytes() == before
    assert not (home / "new.h5").exists()
    assert not list(home.glob(".*.tmp"))


# ---------------------------------------------------------------- checkpoints and data that cannot be used


def saved(state: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(state, path)


def written(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def cut_short(path: Path) -> None:
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:-200])


def inflating(path: Path) -> None:
    torch.save(STATE, path)
    with zipfile.ZipFile(path) as old:
        held = {info.filename: old.read(info) for info in old.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in held.items():
            new.writestr(name, content)
        new.writestr("archive/data/99", bytes(1 << 20))


CHECKPOINTS: dict[str, Callable[[Path], None]] = {
    "empty": written(b""),
    "a folder": lambda path: path.mkdir(),
    "absent": lambda path: None,
    "text": written(b"loss 0.1\nepoch 3\n"),
    "a page": written(b"<!DOCTYPE html><html><body>Sign in</body></html>"),
    "an LFS pointer": written(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    "noise": written(bytes(range(1, 256)) * 9),
    "half a pickle": written(b"\x80\x02}q\x00(X"),
    "half a safetensors": written(struct.pack("<Q", 1 << 60) + b"{"),
    "cut short": cut_short,
    "needs pickle": saved({"w": STATE["w"], "b": STATE["b"], "args": Path("x")}),
    "inflates": inflating,
    "holds no tensors": saved({"epoch": 3}),
    "holds a list": saved([1, 2, 3]),
    "lacks a key": saved({"w": STATE["w"]}),
    "has one too many": saved({**STATE, "c": STATE["b"]}),
    "of another shape": saved({**STATE, "w": torch.zeros(3, 1)}),
    "a zero stride": saved({**STATE, "w": torch.zeros(1).expand(10**6, 10**6)}),
    "NaN": saved({**STATE, "b": torch.tensor([torch.nan])}),
    "infinite": saved({**STATE, "b": torch.tensor([torch.inf])}),
    "integers": saved({**STATE, "b": torch.tensor([1])}),
    "complex": saved({**STATE, "b": torch.tensor([1j])}),
    "meta": saved({**STATE, "b": torch.zeros(1, device="meta")}),
    "sparse": saved({**STATE, "w": torch.ones(2, 1).to_sparse()}),
    "quantised": saved({**STATE, "w": torch.quantize_per_tensor(torch.ones(2, 1), 0.1, 0, torch.qint8)}),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_checkpoint_that_cannot_be_is_two_lines(home: Path, capsys: Capture, kind: str, ending: str) -> None:
    CHECKPOINTS[kind](home / f"bad.{ending}")
    refused(capsys, 2, "job.toml", "-o", "run.h5", f"--checkpoint=bad.{ending}")
    refused(capsys, 2, "job.toml", "-o", "run.h5", f"--directions=checkpoint:bad.{ending},random")
    assert not (home / "run.h5").exists()


DATA = ("empty", "a folder", "absent", "text", "a page", "an LFS pointer", "noise", "half a pickle")


@pytest.mark.parametrize("ending", ["npz", "pt", "safetensors", "h5", "csv", "npy"])
@pytest.mark.parametrize("kind", DATA)
def test_data_that_cannot_be_are_two_lines(home: Path, capsys: Capture, kind: str, ending: str) -> None:
    CHECKPOINTS[kind](home / f"bad.{ending}")
    assert "train" in refused(capsys, 2, "job.toml", "-o", "run.h5", f"--data=train=bad.{ending}")
    assert not (home / "run.h5").exists()


GREEDY = """
import sys, torch
import net

class Greedy(net.Net):
    def forward(self, x):
        if len(x) > 8:
            torch.empty(2**44)
        return super().forward(x)

class Leaving(net.Net):
    def forward(self, x):
        sys.exit(0)
"""


def test_a_model_that_takes_small_batches_only_is_measured_in_them(home: Path) -> None:
    (home / "greedy.py").write_text(GREEDY)
    assert scan("job.toml", "-o", "run.h5", "--model=greedy.py:Greedy") == 0
    assert store.load("run.h5").provenance.plan["batch"] <= 8


def test_a_model_that_takes_not_even_one_sample_is_refused(home: Path, capsys: Capture) -> None:
    (home / "greedy.py").write_text(GREEDY.replace("len(x) > 8", "len(x) > 0"))
    assert "out of memory" in refused(capsys, 2, "job.toml", "-o", "run.h5", "--model=greedy.py:Greedy")


def test_a_forward_that_leaves_is_an_error_and_not_an_exit_code(home: Path, capsys: Capture) -> None:
    (home / "greedy.py").write_text(GREEDY)
    assert "SystemExit" in refused(capsys, 2, "job.toml", "-o", "run.h5", "--model=greedy.py:Leaving")


def test_a_pipe_is_no_checkpoint_and_no_data(home: Path, capsys: Capture) -> None:
    os.mkfifo(home / "pipe.npz")
    for flag in ("--checkpoint=pipe.npz", "--data=train=pipe.npz", "--directions=checkpoint:pipe.npz,random"):
        assert "no regular file" in refused(capsys, 2, "job.toml", "-o", "run.h5", flag)


@pytest.mark.parametrize("flag", ["--set=planes.main=3", "--force="])
def test_what_would_be_without_effect_is_refused(home: Path, capsys: Capture, flag: str) -> None:
    refused(capsys, 2, "job.toml", "-o", "run.h5", flag)


def test_a_range_that_reads_as_a_time_of_day_is_a_range(home: Path) -> None:
    assert scan("job.toml", "-o", "run.h5", "--set=planes.main.x=10:20:30") == 0
    assert len(store.load("run.h5").planes["main"].surface.x) == 30


@pytest.mark.slow
def test_the_number_of_threads_makes_no_other_plane(home: Path) -> None:
    """The norm of a large layer is a sum whose rounding depends on it."""
    (home / "wide.py").write_text(
        "import torch\ndef net():\n    torch.manual_seed(0)\n    return torch.nn.Linear(2, 500000)\n"
        "def loss(o, t):\n    return o.mean(1)\n"
    )
    (home / "save.py").write_text("import torch, wide\ntorch.save(wide.net().state_dict(), 'wide.pt')\n")
    subprocess.run([sys.executable, "save.py"], check=True)
    args = ["job.toml", "--model=wide.py:net", "--checkpoint=wide.pt", "--loss=wide.py:loss", "-o", "run.h5"]
    args += ["--dtype=float64", "--normalize=layer"]
    for threads in ("2", "1"):
        env = {**os.environ, "OMP_NUM_THREADS": threads}
        command = [sys.executable, "-m", "landscape_cli", "scan", *args]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_another_batch_size_on_the_way_is_kept_in_the_notes(home: Path, monkeypatch: Patch) -> None:
    after(4, monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    assert scan("job.toml", "-o", "run.h5") == ExitCode.INTERRUPTED
    monkeypatch.undo()
    monkeypatch.chdir(home)
    assert scan("job.toml", "-o", "run.h5", "--batch-size", "3") == 0
    assert any(
        "resumed by another plan (in place, 1 point per pass, 3 samples" in note
        for note in store.load("run.h5").provenance.notes
    )


def test_a_file_keeps_its_permissions(home: Path) -> None:
    assert scan("job.toml", "-o", "run.h5", "--max-time=0.000001") == ExitCode.INTERRUPTED
    (home / "run.h5").chmod(0o600)
    assert scan("job.toml", "-o", "run.h5") == 0
    assert (home / "run.h5").stat().st_mode & 0o777 == 0o600


def test_stderr_that_nobody_reads_stops_no_scan(home: Path) -> None:
    command = f"{sys.executable} -m landscape_cli scan job.toml -o run.h5"
    subprocess.run(f"{command} 2>&1 | true", shell=True, check=True)
    assert store.load("run.h5").complete
    assert subprocess.run(f"{command} --force 2>&-", shell=True, check=False).returncode == 0


# ---------------------------------------------------------------- checkpoints as scripts leave them

SCRIPT = """
import torch
exec(open("net.py").read())
model = Net()
model.load_state_dict(torch.load("net.pt", weights_only=True))
torch.save(model, "whole.pt")
"""


@pytest.mark.parametrize("where", ["--checkpoint=whole.pt", "--directions=checkpoint:whole.pt,random"])
def test_a_module_that_a_script_pickled_is_found_in_the_factory_s_module(home: Path, where: str) -> None:
    """Its class was called __main__.Net there."""
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
    if "directions" in where:
        torch.save({**STATE, "b": torch.tensor([3.0])}, home / "net.pt")
    assert scan("job.toml", "-o", "run.h5", where) == ExitCode.USAGE  # not without being asked
    assert scan("job.toml", "-o", "run.h5", where, "--allow-pickle") == 0


def test_keys_that_a_direction_lacks_are_noted_with_its_plane(home: Path, capsys: Capture) -> None:
    torch.save({"w": STATE["w"] + 1}, home / "part.pt")
    where = "--directions=checkpoint:part.pt,random"
    assert "missing" in refused(capsys, 2, "job.toml", "-o", "run.h5", where)
    assert scan("job.toml", "-o", "run.h5", where, "--no-strict") == 0
    assert any(note.startswith("main: ") and "1 missing: b" in note for note in store.load("run.h5").provenance.notes)


def test_a_path_may_hold_a_comma(home: Path) -> None:
    torch.save({**STATE, "b": torch.tensor([3.0])}, home / "lr=0.1,wd=0.pt")
    assert scan("job.toml", "-o", "run.h5", "--directions=checkpoint:lr=0.1,wd=0.pt,random") == 0
    assert store.load("run.h5").planes["main"].directions[0]["from"] == "lr=0.1,wd=0.pt"


def test_another_weight_decay_is_another_problem(home: Path, capsys: Capture) -> None:
    assert scan("job.toml", "-o", "run.h5") == 0
    assert "differs in loss" in refused(capsys, 2, "job.toml", "-o", "run.h5", "--set", "loss.weight_decay=0.1")


def test_each_plane_keeps_the_command_that_measures_it(home: Path, monkeypatch: Patch, capsys: Capture) -> None:
    after(4, monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    assert scan("job.toml", "-o", "run.h5") == ExitCode.INTERRUPTED
    monkeypatch.undo()
    monkeypatch.chdir(home)
    (home / "line.toml").write_text(JOB.replace("main", "line").replace('y = "-1:1:3"', ""))
    assert scan("line.toml", "-o", "run.h5") == 0
    assert "unfinished: the plane main; resume: landscape scan job.toml -o run.h5" in capsys.readouterr().err
    assert main(["info", "run.h5"]) == 0
    assert "unfinished; resume: landscape scan job.toml -o run.h5" in capsys.readouterr().out
    assert scan("job.toml", "-o", "run.h5") == 0
    assert store.load("run.h5").complete


# ---------------------------------------------------------------- numbers that are not there


def other_checkpoint(home: Path, b: float) -> str:
    torch.save({**STATE, "b": torch.tensor([b])}, home / f"b{b}.pt")
    return f"checkpoint:b{b}.pt"


def test_a_direction_of_zero_is_inconclusive(home: Path, capsys: Capture) -> None:
    said = refused(capsys, 3, "job.toml", "-o", "run.h5", f"--directions={other_checkpoint(home, 0.5)},random")
    assert "zero" in said


def test_parallel_directions_are_inconclusive(home: Path, capsys: Capture) -> None:
    both = f"--directions={other_checkpoint(home, 1.5)},{other_checkpoint(home, 2.5)}"
    assert "parallel" in refused(capsys, 3, "job.toml", "-o", "run.h5", both)
    assert not (home / "run.h5").exists()


def test_a_centre_that_is_not_finite_is_inconclusive(home: Path, capsys: Capture) -> None:
    assert "not finite" in refused(capsys, 3, "job.toml", "-o", "run.h5", "--loss=net.py:early")
    assert not (home / "run.h5").exists()


def test_a_surface_without_a_finite_point_is_kept_and_inconclusive(home: Path, capsys: Capture) -> None:
    far = ["--loss=net.py:grown", "--x=[1e5, 2e5]", "--y=[0.0]", f"--directions={other_checkpoint(home, 1.5)},random"]
    assert "no point of main is finite" in refused(capsys, 3, "job.toml", "-o", "run.h5", *far)
    assert scan("job.toml", "-o", "run.h5", *far) == ExitCode.INCONCLUSIVE  # and not 0 the second time
    assert main(["report", "run.h5", "-q"]) == ExitCode.INCONCLUSIVE
    surface = store.load("run.h5").planes["main"].surface
    assert surface.measured.all()
    assert (surface.loss == np.inf).all()


# ---------------------------------------------------------------- a bug is a bug


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), AssertionError(), KeyError("plan"), RecursionError()])
def test_a_bug_is_70_keeps_the_file_and_says_how_to_report_it(
    home: Path, monkeypatch: Patch, capsys: Capture, error: Exception
) -> None:
    def bug() -> None:
        raise error

    after(3, monkeypatch, bug)
    assert type(error).__name__ in refused(capsys, ExitCode.BUG, "job.toml", "-o", "run.h5")
    assert store.load("run.h5").done == (3, 9)
    monkeypatch.undo()
    monkeypatch.chdir(home)
    assert scan("job.toml", "-o", "run.h5") == 0
    assert store.load("run.h5").complete
