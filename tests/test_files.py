"""Output files are replaced whole or not at all, by one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.files import check_output, locked, write

OLD, NEW = b"the old file", b"the new file, which is longer than the old one"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "run.h5"
    path.write_bytes(OLD)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusing(code: int) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return refuse


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    write(tmp_path / "new", NEW)
    assert (tmp_path / "new").read_bytes() == NEW
    assert names(tmp_path) == ["new"]


def test_an_old_file_is_replaced(target: Path) -> None:
    write(target, NEW)
    assert target.read_bytes() == NEW
    assert names(target.parent) == ["run.h5"]


def test_a_reader_of_the_old_file_keeps_it(target: Path) -> None:
    with target.open("rb") as reader:
        write(target, NEW)
        assert reader.read() == OLD


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_refusing_system_leaves_the_old_file(
    target: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    monkeypatch.setattr(os, call, refusing(code))
    with pytest.raises(LandscapeError) as caught:
        write(target, NEW)
    monkeypatch.undo()
    assert caught.value.code == ExitCode.USAGE
    assert os.strerror(code) in caught.value.message
    assert str(target) in caught.value.message
    assert target.read_bytes() == OLD
    assert names(target.parent) == ["run.h5"]


def test_a_disk_that_fills_up_halfway_leaves_the_old_file(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = os.write, [7, 7]

    def filling(handle: int, data: Any) -> int:
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle, data[: left.pop()])

    monkeypatch.setattr(os, "write", filling)
    with pytest.raises(LandscapeError):
        write(target, NEW)
    assert target.read_bytes() == OLD
    assert names(target.parent) == ["run.h5"]


@pytest.mark.parametrize("most", [1, 3, len(NEW) - 1])
def test_short_writes_are_gone_on_with(target: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:most]))
    write(target, NEW)
    assert target.read_bytes() == NEW


def test_ctrl_c_while_writing_leaves_the_old_file(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(target, NEW)
    assert target.read_bytes() == OLD
    assert names(target.parent) == ["run.h5"]


def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def noting(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any) -> Any:
            calls.append(name)
            return real(*args)

        return call

    for name in ("write", "fsync", "replace"):
        monkeypatch.setattr(os, name, noting(name))
    write(target, NEW)
    assert calls == ["write", "fsync", "replace", "fsync"]


LIMITED = """
import resource, sys
from pathlib import Path
from landscape_cli.errors import LandscapeError
from landscape_cli.files import write
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    write(Path(sys.argv[1]), bytes(1000))
except LandscapeError as error:
    sys.exit(int(error.code))
"""


def test_a_limit_on_the_size_of_files_leaves_the_old_file(target: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, str(target)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (ExitCode.USAGE, "")
    assert target.read_bytes() == OLD
    assert names(target.parent) == ["run.h5"]


def test_a_planted_link_in_place_of_the_temporary_is_not_followed(target: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (target.parent / f".{target.name}.tmp").symlink_to(victim)
    with pytest.raises(LandscapeError):
        write(target, NEW)
    assert victim.read_bytes() == b"precious"
    assert target.read_bytes() == OLD


def test_a_link_to_the_output_is_followed_and_stays_a_link(target: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.h5"
    link.parent.mkdir()
    link.symlink_to(target)
    real = check_output(link)
    write(real, NEW)
    assert link.is_symlink()
    assert target.read_bytes() == NEW
    assert names(link.parent) == ["link.h5"]


def test_a_link_to_a_file_not_there_yet_makes_that_file(tmp_path: Path) -> None:
    (tmp_path / "link.h5").symlink_to(tmp_path / "real.h5")
    write(check_output(tmp_path / "link.h5"), NEW)
    assert (tmp_path / "real.h5").read_bytes() == NEW


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("absent/run.h5", "does not exist"),
        ("folder", "is a folder"),
        (".", "is a folder"),
        ("/dev/null", "no regular file"),
        ("fifo", "no regular file"),
        ("file/run.h5", "does not exist"),
        ("n" * 300, "name"),
    ],
)
def test_an_output_that_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    before = names(tmp_path)
    with pytest.raises(LandscapeError) as caught:
        check_output(Path(output))
    assert said in caught.value.message
    assert caught.value.code == ExitCode.USAGE
    assert names(tmp_path) == before


def test_a_disk_with_too_little_room_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(LandscapeError, match="KiB free"):
        check_output(tmp_path / "run.h5", 1 << 60)


def test_a_second_writer_is_told_who_holds_it(target: Path) -> None:
    with locked(target), pytest.raises(LandscapeError) as caught, locked(target):
        pytest.fail("both hold the lock")
    assert f"process {os.getpid()} on {os.uname().nodename}" in caught.value.message
    assert caught.value.code == ExitCode.USAGE
    assert target.read_bytes() == OLD


def test_a_refused_writer_does_not_take_the_holders_name_away(target: Path) -> None:
    with locked(target):
        for _ in range(2):
            with pytest.raises(LandscapeError, match=f"process {os.getpid()}"), locked(target):
                pytest.fail("both hold the lock")


def test_the_lock_is_free_again_afterwards_even_after_an_error(target: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(target):
        raise ZeroDivisionError
    with locked(target):
        pass
    assert names(target.parent) == ["run.h5", "run.h5.lock"]


DYING = """
import os, sys
from pathlib import Path
from landscape_cli.files import locked
with locked(Path(sys.argv[1])):
    os._exit(9)
"""


def test_the_lock_of_a_dead_process_is_free(target: Path) -> None:
    assert subprocess.run([sys.executable, "-c", DYING, str(target)], check=False).returncode == 9
    lock = target.with_name("run.h5.lock")
    assert lock.read_text().startswith("process ")  # it died without saying so
    with locked(target):
        assert lock.read_text().startswith(f"process {os.getpid()} ")


def test_what_a_lock_file_says_is_shown_without_control_characters(target: Path) -> None:
    lock = target.with_name("run.h5.lock")
    lock.write_text("\x1b[31mprocess 1\n\rerror: forged")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LandscapeError) as caught, locked(target):
            pytest.fail("both hold the lock")
    assert caught.value.message.isprintable()


def test_a_lock_file_that_is_a_link_is_not_followed(target: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    target.with_name("run.h5.lock").symlink_to(victim)
    with pytest.raises(LandscapeError), locked(target):
        pytest.fail("the link was followed")
    assert victim.read_bytes() == b"precious"
