"""Where a report goes and what it is fed: broken pipes, full disks, odd names, files made to do harm."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_store import a_profile

from landscape_cli import store
from landscape_cli.cli.main import main
from landscape_cli.cli.report import analysed
from landscape_cli.errors import ExitCode
from landscape_cli.profile import Profile
from landscape_cli.report.tables import tables

Capture = pytest.CaptureFixture[str]
COMMANDS = (["report"], ["report", "--format", "json"], ["report", "--format", "csv"], ["info"], ["info", "--job"])
FORMATS = ("text", "json", "csv", "markdown")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    store.save(a_profile(("train", "test"), ("main",)), tmp_path / "run.h5")
    return tmp_path / "run.h5"


def two_lines(err: str) -> bool:
    return [line.split()[0] for line in err.splitlines()] == ["error:", "hint:"]


def finite_only(text: str) -> Any:
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


# ---------------------------------------------------------------- stdout


def landscape(*args: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "landscape_cli", *args], text=True, **options)


@pytest.mark.parametrize("args", [["report"], ["info"]])
def test_a_reader_that_has_gone_is_no_failure_and_no_failed_gate(run: Path, args: list[str]) -> None:
    """1 would read as "the gate failed"."""
    reader, writer = os.pipe()
    os.close(reader)
    process = landscape(*args, str(run), stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    _, err = process.communicate()
    assert err == ""
    assert process.returncode in (ExitCode.OK, 141)  # 141: as the shell says of a death by SIGPIPE


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_below_stdout_is_two_lines(run: Path) -> None:
    with open("/dev/full", "w") as full:
        process = landscape("report", str(run), stdout=full, stderr=subprocess.PIPE)
        _, err = process.communicate()
    assert process.returncode == ExitCode.USAGE
    assert two_lines(err)


def test_a_file_gets_no_colour_even_where_stdout_is_a_terminal(run: Path) -> None:
    main_side, terminal = pty.openpty()
    try:
        process = landscape("report", str(run), "-o", "out.txt", stdout=terminal, stderr=subprocess.PIPE)
        process.communicate()
    finally:
        os.close(terminal)
        os.close(main_side)
    assert process.returncode == ExitCode.OK
    assert "\x1b" not in (run.parent / "out.txt").read_text()


def test_a_terminal_that_knows_only_ascii_gets_a_report(run: Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": env}
    process = landscape("report", str(run), **options)
    out, err = process.communicate()
    assert (process.returncode, err) == (ExitCode.OK, "")
    assert "centre" in out.lower()


@pytest.mark.parametrize("width", [20, 60, 100, 300])
def test_however_narrow_the_terminal_no_number_is_lost(
    run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    profile = a_profile(("a", "b", "c", "d", "e", "f"), ("main",))
    store.save(profile, run)
    assert main(["report", str(run), "--full"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    drawn = [cell for table in tables(analysed(run, full=True)) for row in table.rows for cell in row[:-1]]
    assert len(drawn) > 90
    whole = "".join(shown.split())
    assert width < 60 or [cell for cell in drawn if "".join(cell.split()) not in whole] == []
    for cell in {cell for cell in drawn if cell and width < 60}:  # folded over lines, but every letter there
        assert all(shown.count(letter) >= cell.count(letter) for letter in cell.replace(" ", ""))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("args", [["report", "--format", "json"], ["info"]])
def test_without_a_buffer_a_full_disk_is_seen_too(run: Path, args: list[str]) -> None:
    with open("/dev/full", "w") as full:
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = landscape(*args, str(run), stdout=full, stderr=subprocess.PIPE, env=env)
        _, err = process.communicate()
    assert process.returncode == ExitCode.USAGE
    assert two_lines(err)


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_stream_is_no_bug(run: Path, closed: str) -> None:
    number = {"stdout": 1, "stderr": 2}[closed]
    done = subprocess.run(f"{sys.executable} -m landscape_cli report {run} {number}>&-", shell=True, check=False)
    assert done.returncode == {"stdout": ExitCode.USAGE, "stderr": ExitCode.OK}[closed]


def test_a_terminal_that_lacks_letters_gets_the_report(run: Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    for name in FORMATS:
        process = landscape("report", str(run), "--format", name, stdout=subprocess.DEVNULL, env=env)
        process.communicate()
        assert process.returncode == ExitCode.OK


# ---------------------------------------------------------------- -o


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_holds_what_stdout_would(run: Path, capsys: Capture, name: str) -> None:
    assert main(["report", str(run), "--format", name]) == 0
    shown = capsys.readouterr().out
    assert main(["report", str(run), "--format", name, "-o", "out"]) == 0
    assert capsys.readouterr().out == ""
    assert Path("out").read_text() == shown


@pytest.mark.parametrize("output", ["absent/out", ".", "/dev/null", "run.h5"])
def test_an_output_that_cannot_be_loses_nothing(run: Path, capsys: Capture, output: str) -> None:
    before = {path.name: path.read_bytes() for path in run.parent.iterdir()}
    assert main(["report", str(run), "-o", output]) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert two_lines(err)
    assert {path.name: path.read_bytes() for path in run.parent.iterdir()} == before


@pytest.mark.parametrize("output", ["run.h5", "./run.h5", "link.h5"])
def test_force_never_overwrites_the_file_that_is_read(run: Path, capsys: Capture, output: str) -> None:
    Path("link.h5").symlink_to("run.h5")
    before = run.read_bytes()
    assert main(["report", str(run), "-o", output, "--force"]) == ExitCode.USAGE
    assert two_lines(capsys.readouterr().err)
    assert run.read_bytes() == before


def test_an_unfinished_run_is_written_too_and_exits_3(run: Path) -> None:
    profile = a_profile()
    profile.planes["main"].surface.measured[0] = False
    store.save(profile, run)
    assert main(["report", str(run), "--format", "json", "-o", "out.json"]) == ExitCode.INCONCLUSIVE
    (only,) = finite_only(Path("out.json").read_text())["runs"]
    share = only["planes"]["main"]["train"]["surface"]["finite_fraction"]
    assert share.keys() >= {"value", "stderr", "status", "bound"}
    assert [check["ok"] for check in only["checks"] if check["name"] == "finished"] == [False]


def test_one_unreadable_file_among_several_prints_nothing(run: Path, capsys: Capture) -> None:
    assert main(["report", str(run), "absent.h5"]) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert two_lines(err)


# ---------------------------------------------------------------- numbers


def test_numbers_that_are_not_finite_are_null_in_json_and_say_so(run: Path, capsys: Capture) -> None:
    profile = a_profile()
    profile.planes["main"].surface.loss[0, 0] = float("inf")
    profile.planes["main"].surface.loss[2, 1] = float("nan")
    store.save(profile, run)
    assert main(["report", str(run), "--format", "json"]) == 0
    surface = finite_only(capsys.readouterr().out)["runs"][0]["planes"]["main"]["train"]["surface"]
    assert surface["nan_count"]["value"] == 1
    assert surface["inf_count"]["value"] == 1
    assert surface["finite_fraction"]["value"] == pytest.approx(4 / 6)


@pytest.mark.parametrize("args", [["report", "--format", "json"], ["info", "--format", "json"]])
def test_json_is_strict_whatever_the_provenance_holds(run: Path, capsys: Capture, args: list[str]) -> None:
    """A float64 model of huge weights has an infinite norm."""
    store.save(a_profile().with_provenance(facts={"norm": float("inf"), "weight_penalty": float("nan")}), run)
    assert main([*args, str(run)]) == 0
    finite_only(capsys.readouterr().out)


# ---------------------------------------------------------------- names

ODD = ["a b.h5", ":bomb:.h5", "[red]x.h5", "a|b*c.h5", "ñ.h5", "-run.h5"]


@pytest.mark.parametrize("name", ODD)
def test_a_file_is_called_what_it_is_called(run: Path, capsys: Capture, name: str) -> None:
    run.rename(name)
    for command in (["report"], ["report", "--format", "csv"]):
        assert main([*command, "--", name]) == 0
        assert name in capsys.readouterr().out
    assert main(["report", "--format", "json", "--", name]) == 0
    assert finite_only(capsys.readouterr().out)["runs"][0]["file"] == name


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_whose_name_is_no_utf8_is_read(run: Path, name: str) -> None:
    odd = os.fsdecode(b"run\xff.h5")
    run.rename(odd)
    assert main(["report", odd, "--format", name]) == 0
    assert main(["report", odd, "--format", name, "-o", "out"]) == 0


@pytest.mark.parametrize("name", ["text", "markdown"])
def test_a_file_whose_name_moves_the_cursor_does_not(run: Path, capsys: Capture, name: str) -> None:
    odd = "\x1b[2J\x07run.h5"
    run.rename(odd)
    assert main(["report", odd, "--format", name]) == 0
    assert not {"\x1b", "\x07"} & set(capsys.readouterr().out)
    run.with_name(odd).write_bytes(b"no profile")
    assert main(["report", odd, "--format", name]) == ExitCode.USAGE
    assert not {"\x1b", "\x07"} & set(capsys.readouterr().err)


@pytest.mark.parametrize("name", ["estimate", "loss", "order", "centre", "metrics", "train", "value", "status"])
def test_a_split_or_plane_may_be_called_like_a_part_of_the_report(run: Path, capsys: Capture, name: str) -> None:
    store.save(a_profile((name, "other"), (name, "other")), run)
    assert main(["report", str(run), "--format", "json"]) == 0
    only = finite_only(capsys.readouterr().out)["runs"][0]
    assert list(only["centre"]) == list(only["planes"]) == list(only["planes"][name]) == [name, "other"]
    assert only["centre"][name]["loss"]["value"] == 1.5
    assert main(["report", str(run), "--format", "csv"]) == 0
    assert f"centre.{name}.loss,1.5," in capsys.readouterr().out


# ---------------------------------------------------------------- files whose checksum is right and whose text is odd

HOSTILE: dict[str, dict[str, Any]] = {
    "a weight decay without its penalty": {"facts": {"weight_decay": 1}},
    "a penalty that is text": {"facts": {"weight_decay": 1, "weight_penalty": "much"}},
    "a penalty that is a list": {"facts": {"weight_decay": 1, "weight_penalty": [1]}},
    "facts called estimate": {"facts": {"estimate": 5}},
    "facts of facts": {"facts": {"norm": {"estimate": [1]}}},
    "hashes that are numbers": {"hashes": {"weights": 5, "data": [1]}},
    "sources that are lists": {"sources": {"a": ["flag"], "b": None}},
    "versions that are tables": {"versions": {"torch": {"a": 1}}},
    "a plan of nothing": {"plan": {}},
    "seeds that are text": {"seeds": {"planes.main": "0"}},
}


@pytest.mark.parametrize("how", HOSTILE)
@pytest.mark.parametrize("args", [*COMMANDS, ["info", "--format", "json"]])
def test_odd_provenance_is_shown_or_refused_and_never_a_bug(
    run: Path, capsys: Capture, how: str, args: list[str]
) -> None:
    store.save(a_profile().with_provenance(**HOSTILE[how]), run)
    code = main([*args, str(run)])
    err = capsys.readouterr().err
    assert code == ExitCode.OK or (code == ExitCode.USAGE and two_lines(err)), err


def test_odd_settings_and_recipes_are_shown_or_refused_and_never_a_bug(run: Path, capsys: Capture) -> None:
    profile: Profile = a_profile()
    plane = profile.planes["main"]
    object.__setattr__(plane, "directions", ({"kind": ["\x1b"], "seed": {}}, {}))
    object.__setattr__(plane, "settings", {"batchnorm": {"\x1b": 1}})
    store.save(profile, run)
    for name in FORMATS:
        assert main(["report", str(run), "--format", name]) in (ExitCode.OK, ExitCode.USAGE)
        assert "\x1b" not in capsys.readouterr().out


# ---------------------------------------------------------------- what is not imported


@pytest.mark.parametrize("args", [["report"], ["completion", "bash"], ["scan", "--help"]])
def test_what_needs_no_model_imports_no_torch(run: Path, args: list[str]) -> None:
    code = "import sys; from landscape_cli.cli.main import main; main(sys.argv[1:]);"
    code += "sys.exit(any(m == 'torch' or m.startswith('landscape_cli.measure') for m in sys.modules))"
    given = [*args, str(run)] if args[0] in ("report", "info") else args
    assert subprocess.run([sys.executable, "-c", code, *given], capture_output=True, check=False).returncode == 0
