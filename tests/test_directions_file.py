"""`run.directions.h5`: what it holds, resuming with and without it, other runs' files, hostile ones, interruptions."""

from __future__ import annotations

import errno
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from test_scan_faults import after, home, measured, refused, scan
from test_store import same
from torch import Tensor

from landscape_cli import files, store
from landscape_cli.cli.main import main
from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure import derived
from landscape_cli.measure.directions import Vector
from landscape_cli.measure.lanczos import Products
from landscape_cli.store import Directions, beside, save_directions
from landscape_cli.store.directions import FORMAT
from landscape_cli.store.schema import BLOCK

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
__all__ = ["home"]
FILE = "run.directions.h5"
PLANE = ("--set", 'planes.main.directions=["hessian:1", "gradient"]')
LINE = ("--set", 'planes.line.x="-1:1:5"', "--set", 'planes.line.directions=["hessian:-1"]')
RANDOM = ("--set", 'planes.other.x="-1:1:5"')


def run(*args: str, out: str = "run.h5") -> int:
    return scan("job.toml", *PLANE, "-o", out, *args)


def held(path: str = FILE) -> dict[str, np.ndarray[Any, Any]]:
    arrays = Directions(Path(path))
    return {name: arrays[name] for name in arrays}


@pytest.fixture
def computed(monkeypatch: Patch) -> list[list[str]]:
    """What is computed, call by call."""
    calls: list[list[str]] = []
    real = derived.derive

    def counted(problem: Any, specs: Any, *rest: Any) -> Any:
        calls.append(sorted(specs))
        return real(problem, specs, *rest)

    monkeypatch.setattr(derived, "derive", counted)
    return calls


def no_more(monkeypatch: Patch) -> None:
    """Nothing is to be computed from here on."""

    def never(*args: Any) -> None:
        raise AssertionError("it computes")

    monkeypatch.setattr(derived, "derive", never)


def otherwise(monkeypatch: Patch) -> None:
    """From here on everything comes out a little otherwise, as on another machine."""
    real = derived.derive

    def changed(*args: Any) -> Any:
        found = real(*args)
        return found and {spec: nudged(vector) for spec, vector in found.items()}

    monkeypatch.setattr(derived, "derive", changed)


def nudged(vector: Vector) -> Vector:
    return Vector({name: t * (1 + 2**-22) for name, t in vector.parameters.items()}, vector.recipe, vector.notes)


# ---------------------------------------------------------------- what it holds


def test_it_holds_float32_by_plane_axis_and_parameter_for_any_hdf5_reader(home: Path) -> None:
    assert run(*LINE) == 0
    with h5py.File(FILE) as file:
        assert file.attrs["format"] == FORMAT
        assert file.attrs["problem"] == store.load("run.h5").problem
        assert {name: sorted(file[name]) for name in ("main/x", "main/y", "line/x")} == {
            folder: ["b", "w"] for folder in ("main/x", "main/y", "line/x")
        }
        assert {file[name].attrs["direction"] for name in ("main/x", "main/y", "line/x")} == {
            "hessian:1", "gradient", "hessian:-1",
        }  # fmt: skip
        assert (file["main/x/w"].dtype, file["main/x/w"].shape) == (np.float32, (2, 1))
        assert {"units", "description"} <= set(file["main/x/w"].attrs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_measured_along_is_what_it_holds(home: Path, dtype: str) -> None:
    """The outputs are x @ w + b: the loss at every point by numpy, from the file's own directions."""
    assert run("--dtype", dtype, "--set", "hessian.tolerance=1e-5") == 0
    with np.load("data.npz") as arrays:
        x, y = arrays["inputs"], arrays["targets"]
    tensors, surface = held(), store.load("run.h5").planes["main"].surface
    w = np.array([[1.0], [2.0]])
    for i, a in enumerate(surface.axes[0].values):
        for j, b in enumerate(surface.axes[1].values):
            moved = [
                start + a * tensors[f"main/x/{n}"].astype(float) + b * tensors[f"main/y/{n}"].astype(float)
                for n, start in (("w", w), ("b", np.array([0.5])))
            ]
            loss = ((x @ moved[0] + moved[1])[:, 0] - y) ** 2
            assert surface.loss[i, j] == pytest.approx(loss.mean(), rel=1e-13 if dtype == "float64" else 1e-6)
    gram = store.load("run.h5").planes["main"].gram
    flat = [np.concatenate([tensors[f"main/{axis}/{n}"].ravel() for n in "wb"]).astype(float) for axis in "xy"]
    np.testing.assert_allclose(gram, [[u @ v for v in flat] for u in flat], rtol=1e-12)


def test_a_run_without_such_directions_has_no_such_file(home: Path) -> None:
    assert scan("job.toml", "-o", "run.h5") == 0
    assert not Path(FILE).exists()


def test_another_run_measures_along_a_folder_of_it(home: Path) -> None:
    assert run("--set", "planes.main.normalize=none") == 0
    asked = ["--directions", f"file:{FILE}#main/x,file:{FILE}#main/y", "--normalize", "none"]
    assert scan("job.toml", *asked, "-o", "other.h5") == 0
    one, other = (store.load(path).planes["main"] for path in ("run.h5", "other.h5"))
    assert same(one.surface, other.surface)
    assert not beside(Path("other.h5")).exists()


def test_info_lists_it_and_says_when_it_is_missing(home: Path, capsys: Capture) -> None:
    assert run() == 0
    capsys.readouterr()
    assert main(["info", "run.h5"]) == 0
    assert f"main/x hessian:1, main/y gradient in {FILE}\n" in capsys.readouterr().out
    Path(FILE).unlink()
    assert main(["info", "run.h5"]) == 0
    assert f"in {FILE}, which is missing\n" in capsys.readouterr().out


def test_the_report_names_them(home: Path, capsys: Capture) -> None:
    assert run() == 0
    capsys.readouterr()
    assert main(["report", "run.h5", "--format", "markdown"]) == 0
    assert "hessian:1 λ = " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("run_file", "expected"),
    [("run.h5", "run.directions.h5"), ("a.b.h5", "a.b.directions.h5"), ("run.hdf5", "run.hdf5.directions.h5")],
)
def test_its_name(run_file: str, expected: str) -> None:
    assert beside(Path("folder", run_file)) == Path("folder", expected)


def test_parameters_of_any_name_are_kept_apart_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.h5"
    one, other = np.array([1.5], np.float32), np.array([2.5], np.float32)
    names = {"a.weight": one, "a/b.weight": other, "ü": one, "a b": other}
    save_directions(path, {"main/x": names}, {"main/x": "gradient"}, "sha")
    assert dict(Directions(path).folder("main/x")) == names
    clashing = ({"a": one, "a/b": other}, {"a": one, "a/": other}, {"a": one, "./a": other})
    for pair in (*clashing, {"a/./b": one}, {"a//b": one}, {"\0": one}):
        with pytest.raises(LandscapeError, match="name cannot be kept"):
            save_directions(path, {"main/x": pair}, {"main/x": "gradient"}, "sha")
    assert dict(Directions(path).folder("main/x")) == names  # the file of before


@pytest.mark.parametrize("place", [BLOCK + 8, 700, -1])
def test_damage_anywhere_is_seen_before_the_library_sees_the_file(tmp_path: Path, place: int) -> None:
    path = tmp_path / "d.h5"
    save_directions(path, {"main/x": {"w": np.ones((2, 1), np.float32)}}, {"main/x": "gradient"}, "sha")
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(LandscapeError, match="checksum"):
        Directions(path)


# ---------------------------------------------------------------- resuming


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lost", [False, True], ids=["with the file", "without it"])
def test_an_interrupted_run_resumes_to_the_bit(home: Path, monkeypatch: Patch, dtype: str, lost: bool) -> None:
    assert run("--dtype", dtype, *LINE, out="whole.h5") == 0
    after(4, monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    assert run("--dtype", dtype, *LINE) == 130
    assert store.load("run.h5").done == (4, 14)
    before = Path(FILE).read_bytes()
    if lost:
        Path(FILE).unlink()
    else:
        no_more(monkeypatch)
    assert run("--dtype", dtype, *LINE) == 0
    assert Path(FILE).read_bytes() == before
    assert same(measured("run.h5").planes, measured("whole.h5").planes)
    assert {n: a.tobytes() for n, a in held().items()} == {
        n: a.tobytes() for n, a in held("whole.directions.h5").items()
    }


def test_a_finished_run_has_nothing_to_do(home: Path, monkeypatch: Patch, capsys: Capture) -> None:
    assert run() == 0
    before = Path("run.h5").read_bytes(), Path(FILE).read_bytes()
    Path(FILE).unlink()
    assert run() == 0  # computed anew, and the same
    no_more(monkeypatch)
    assert run() == 0
    assert "nothing to do" in capsys.readouterr().err
    assert (Path("run.h5").read_bytes(), Path(FILE).read_bytes()) == before


@pytest.mark.parametrize("points", [4, 9])
def test_a_lost_file_that_does_not_come_out_the_same_is_told(
    home: Path, monkeypatch: Patch, capsys: Capture, points: int
) -> None:
    after(points, monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    run()
    before = Path("run.h5").read_bytes()
    Path(FILE).unlink()
    otherwise(monkeypatch)
    said = refused(capsys, 2, "job.toml", *PLANE, "-o", "run.h5")
    assert f"{FILE} is missing, and hessian:1 of main" in said or f"{FILE} is missing, and gradient of main" in said
    assert Path("run.h5").read_bytes() == before
    assert not Path(FILE).exists()
    assert run("--force=main") == 0
    assert store.load("run.h5").complete


def test_with_its_file_a_run_goes_on_where_everything_would_come_out_otherwise(home: Path, monkeypatch: Patch) -> None:
    assert run(out="whole.h5") == 0
    after(4, monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    assert run() == 130
    otherwise(monkeypatch)
    assert run() == 0
    assert same(measured("run.h5").planes, measured("whole.h5").planes)


def test_a_plane_that_joins_is_computed_and_the_other_one_read(home: Path, computed: list[list[str]]) -> None:
    assert run() == 0
    first = held()
    assert scan("job.toml", *PLANE, *LINE, "-o", "run.h5") == 0
    assert (
        scan("job.toml", *LINE, "--only", "line", "--set", 'planes.line.x="-2:2:5"', "--force=line", "-o", "run.h5")
        == 0
    )
    assert computed == [["gradient", "hessian:1"], ["gradient", "hessian:-1", "hessian:1"], ["hessian:-1"]]
    joined = held()
    assert all(joined[name].tobytes() == array.tobytes() for name, array in first.items())
    assert Directions(Path(FILE)).folders == {"main/x", "main/y", "line/x"}


def test_a_random_plane_joins_without_the_file(home: Path, monkeypatch: Patch) -> None:
    assert run() == 0
    Path(FILE).write_bytes(b"nothing")
    no_more(monkeypatch)
    assert scan("job.toml", *PLANE, *RANDOM, "--only", "other", "-o", "run.h5") == 0
    assert Path(FILE).read_bytes() == b"nothing"


def test_what_is_no_longer_used_is_removed(home: Path) -> None:
    assert run(*LINE) == 0
    assert scan("job.toml", *LINE, "--force=main", "-o", "run.h5") == 0
    assert Directions(Path(FILE)).folders == {"line/x"}
    assert scan("job.toml", "--set", 'planes.line.x="-1:1:5"', "--force=line", "-o", "run.h5") == 0
    assert not Path(FILE).exists()


def test_forcing_the_whole_file_replaces_it_or_removes_it(home: Path, monkeypatch: Patch) -> None:
    assert run() == 0
    Path(FILE).write_bytes(b"nothing")
    assert run("--force") == 0
    assert Directions(Path(FILE)).folders == {"main/x", "main/y"}
    assert scan("job.toml", "-o", "run.h5", "--force") == 0
    assert not Path(FILE).exists()


def test_forcing_a_plane_computes_it_anew(home: Path, monkeypatch: Patch) -> None:
    assert run() == 0
    before = held()
    otherwise(monkeypatch)
    assert run("--force=main") == 0
    assert any(array.tobytes() != before[name].tobytes() for name, array in held().items())
    no_more(monkeypatch)
    assert run() == 0


@pytest.mark.parametrize(
    "changes",
    [
        ("--set", "hessian.samples=10"), ("--set", "hessian.seed=1"), ("--x=-2:2:3",),
        ("--set", 'planes.main.directions=["hessian:2", "gradient"]'),
        ("--set", 'planes.main.directions=["random", "gradient"]'),
    ],
)  # fmt: skip
def test_another_plane_is_refused_before_anything_is_computed(
    home: Path, monkeypatch: Patch, capsys: Capture, changes: tuple[str, ...]
) -> None:
    assert run("--only", "main") == 0
    Path(FILE).unlink()
    no_more(monkeypatch)
    said = refused(capsys, 2, "job.toml", *PLANE, "--only", "main", "-o", "run.h5", *changes)
    assert f"it differs in {'x' if changes[0].startswith('--x') else 'directions'}" in said


def test_a_table_that_is_not_measured_still_says_how_directions_are_computed(home: Path, capsys: Capture) -> None:
    with Path("job.toml").open("a") as file:
        file.write("[hessian]\nsamples = 12\n")
    assert run("--only", "main") == 0
    profile = store.load("run.h5")
    assert profile.sections == {}
    assert profile.planes["main"].directions[0]["samples"] == 12
    capsys.readouterr()
    assert main(["info", "--job", "run.h5"]) == 0
    Path("again.toml").write_text(capsys.readouterr().out)
    assert scan("again.toml", "--only", "main", "-o", "run.h5") == 0
    assert "nothing to do" in capsys.readouterr().err


# ---------------------------------------------------------------- other runs' files, and worse


def test_another_runs_file_is_never_used(home: Path, monkeypatch: Patch, capsys: Capture) -> None:
    assert run("--set", "hessian.samples=10", out="other.h5") == 0
    assert run(out="whole.h5") == 0
    Path("other.directions.h5").rename(FILE)
    assert run() == 0  # a new run beside a leftover
    assert "belongs to another run, and is replaced" in capsys.readouterr().err
    assert same(measured("run.h5").planes, measured("whole.h5").planes)
    assert run("--set", "hessian.samples=10", "--force", out="other.h5") == 0
    Path("other.directions.h5").rename(FILE)
    before = Path("run.h5").read_bytes(), Path(FILE).read_bytes()
    said = refused(capsys, 2, "job.toml", *PLANE, "-o", "run.h5")
    assert f"{FILE} does not hold the direction hessian:1 along which main in run.h5 was measured" in said
    assert (Path("run.h5").read_bytes(), Path(FILE).read_bytes()) == before


def edited(change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    """Change the file as HDF5, its checksum taken off so that it is not the first to notice."""

    def apply(path: Path) -> None:
        path.write_bytes(path.read_bytes()[BLOCK:])
        with h5py.File(path, "r+") as file:
            change(file)

    return apply


def replaced(name: str, value: Any) -> Callable[[Path], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return edited(change)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def grouped(file: h5py.File) -> None:
    file.move("main/x/w", "main/x/w2")
    file.create_group("main/x/w")


def linked(path: Path) -> None:
    Path("secret.h5").write_bytes(path.read_bytes())
    replaced("main/x/w", h5py.ExternalLink("secret.h5", "/main/x/w"))(path)


HOSTILE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello"),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "a flipped bit": flipped,
    "a folder": a_folder,
    "a run file": lambda path: path.write_bytes(Path("run.h5").read_bytes()),
    "no format": edited(lambda file: file.attrs.__delitem__("format")),
    "a format that is no text": edited(lambda file: file.attrs.__setitem__("format", [1, 2])),
    "a parameter missing": replaced("main/x/w", None),
    "another shape": replaced("main/x/w", np.zeros((3, 1), np.float32)),
    "not a number": replaced("main/x/w", np.full((2, 1), np.nan, np.float32)),
    "integers": replaced("main/x/w", np.ones((2, 1), np.int64)),
    "text for numbers": replaced("main/x/w", "hello"),
    "other numbers": replaced("main/x/w", np.ones((2, 1), np.float32)),
    "a group for an array": edited(grouped),
    "a soft link": replaced("main/x/w", h5py.SoftLink("/main/y/w")),
    "a link outside": linked,
    "a second name": edited(lambda file: file.__setitem__("main/x/v", file["main/x/w"])),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_damaged_or_hostile_file_is_two_lines_and_loses_nothing(
    home: Path, monkeypatch: Patch, capsys: Capture, kind: str
) -> None:
    after(4, monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    assert run() == 130
    HOSTILE[kind](Path(FILE))
    no_more(monkeypatch)
    before = Path("run.h5").read_bytes()
    assert FILE in refused(capsys, 2, "job.toml", *PLANE, "-o", "run.h5")
    assert Path("run.h5").read_bytes() == before
    assert Path(FILE).exists()


@pytest.mark.parametrize("kind", ["text", "a folder", "no format", "a flipped bit"])
def test_a_file_that_is_not_ours_is_never_overwritten(
    home: Path, monkeypatch: Patch, capsys: Capture, kind: str
) -> None:
    assert run() == 0
    Path("run.h5").unlink()
    HOSTILE[kind](Path(FILE))
    no_more(monkeypatch)
    assert FILE in refused(capsys, 2, "job.toml", *PLANE, "-o", "run.h5")
    assert not Path("run.h5").exists()
    assert Path(FILE).exists()


@pytest.mark.parametrize(
    "change", [{"eigenvalue": "x" * 99, "residual": {}}, {"eigenvector": "1\n"}, {"sha256": 5}, {"over": None}]
)
def test_a_hostile_recipe_is_no_bug(home: Path, capsys: Capture, change: dict[str, Any]) -> None:
    from dataclasses import replace as changed

    assert run() == 0
    profile = store.load("run.h5")
    plane = profile.planes["main"]
    recipes = ({**plane.directions[0], **change}, *plane.directions[1:])
    for held_by in (recipes, recipes[:1], ()):
        planes = {"main": changed(plane, directions=held_by)}
        store.save(changed(profile, planes=planes), "run.h5")
        assert run() in (ExitCode.OK, ExitCode.USAGE)
        assert main(["info", "run.h5"]) == 0
        assert main(["report", "run.h5"]) == 0
    assert "Traceback" not in capsys.readouterr().err


# ---------------------------------------------------------------- interruptions and full disks


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("existing", [False, True])
def test_a_signal_while_it_computes_stops_it_cleanly(
    home: Path, monkeypatch: Patch, capsys: Capture, number: int, code: int, existing: bool
) -> None:
    if existing:
        assert scan("job.toml", *LINE, "--only", "line", "-o", "run.h5") == 0
    before = {path: path.read_bytes() for path in home.glob("*.h5")}
    real = Products.__call__

    def signalling(products: Products, vector: Tensor) -> Tensor:
        signal.raise_signal(number)
        return real(products, vector)

    monkeypatch.setattr(Products, "__call__", signalling)
    assert run() == code
    err = capsys.readouterr().err
    assert "the directions are not computed yet" in err
    assert "Traceback" not in err
    assert {path: path.read_bytes() for path in home.glob("*.h5")} == before
    monkeypatch.undo()
    monkeypatch.chdir(home)
    again = next(line for line in err.splitlines() if line.startswith("again: "))
    assert main(shlex.split(again.removeprefix("again: landscape "))) == 0 or run() == 0


@pytest.mark.parametrize("direction", ["gradient", "hessian:1"])
def test_the_time_that_is_over_while_it_computes_stops_it(home: Path, capsys: Capture, direction: str) -> None:
    line = ["--set", "planes.main.y=[0.0, 1.0]", "--directions", f"{direction},random"]
    assert scan("job.toml", *line, "-o", "run.h5", "--max-time", "0.000001s") == 130
    assert "stopped: --max-time is over" in capsys.readouterr().err
    assert not list(home.glob("*.h5"))


def test_a_full_disk_loses_nothing(home: Path, monkeypatch: Patch, capsys: Capture) -> None:
    assert scan("job.toml", *LINE, "--only", "line", "-o", "run.h5") == 0
    before = {path: path.read_bytes() for path in home.glob("*.h5")}

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    assert "No space left on device" in refused(capsys, 2, "job.toml", *PLANE, "-o", "run.h5")
    assert {path: path.read_bytes() for path in home.glob("*.h5")} == before
    assert not list(home.glob(".*.tmp"))


def test_it_is_written_before_the_first_point_is(home: Path, monkeypatch: Patch) -> None:
    seen: list[bool] = []
    real = store.Saver.save

    def save(saver: store.Saver, profile: Any) -> None:
        seen.append(Path(FILE).exists())
        real(saver, profile)

    monkeypatch.setattr(store.Saver, "save", save)
    assert run() == 0
    assert all(seen)


def test_a_run_that_is_killed_before_its_first_saving_begins_anew(home: Path, monkeypatch: Patch) -> None:
    def killed(*args: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(store.Saver, "save", killed)
        assert run() != 0
    assert Path(FILE).exists()
    assert not Path("run.h5").exists()
    assert run() == 0


# ---------------------------------------------------------------- the plan, and early refusals


def test_the_plan_computes_nothing_and_says_what_comes_first(home: Path, monkeypatch: Patch, capsys: Capture) -> None:
    no_more(monkeypatch)
    assert scan("job.toml", *PLANE, "--plan", "--set", "hessian.products=77") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["first, gradient", "first, hessian:1"]
    assert "at most 77 Hessian products" in lines[1]
    assert not list(home.glob("*.h5"))


@pytest.mark.parametrize(
    ("directions", "hint"),
    [
        ("hessian:0,random", "hessian:1 is"), ("hessian:x,random", "hessian:1 is"), ("hessian,random", "hessian:1 is"),
        ("random,hessian:99999", "hessian:1 is"), ("gradient:2,random", "write gradient"),
        ("hessian:1,file:none.npz", "path"), ("hessian:1,checkpoint", "checkpoint:PATH"),
    ],
)  # fmt: skip
def test_whatever_is_wrong_with_a_plane_is_said_before_anything_is_computed(
    home: Path, monkeypatch: Patch, capsys: Capture, directions: str, hint: str
) -> None:
    no_more(monkeypatch)
    assert scan("job.toml", "--directions", directions, "-o", "run.h5") == 2
    out, err = capsys.readouterr()
    assert hint in next(line for line in err.splitlines() if line.startswith("hint:"))
    assert out == ""


def test_a_comma_separates_directions(home: Path) -> None:
    assert scan("job.toml", "--directions", "hessian:1,hessian:-1", "-o", "run.h5") == 0
    assert store.load("run.h5").planes["main"].derived == {"x": "hessian:1", "y": "hessian:-1"}


def test_what_has_not_converged_is_inconclusive_and_writes_nothing(home: Path, capsys: Capture) -> None:
    few = ("--set", "hessian.products=1")
    assert "has not converged in 1 products" in refused(capsys, 3, "job.toml", *PLANE, *few, "-o", "run.h5")
    assert not list(home.glob("*.h5"))


def test_a_file_is_removed_whole_or_the_reason_is_told(tmp_path: Path) -> None:
    files.remove(tmp_path / "absent")
    with pytest.raises(LandscapeError, match="cannot remove"):
        files.remove(tmp_path)
    assert torch.is_grad_enabled()
