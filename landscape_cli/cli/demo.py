"""`landscape demo`: the files a user would have written, then the same commands a user would type."""

from __future__ import annotations

import shlex
from importlib.resources import files as package_files
from pathlib import Path

import click

from landscape_cli import files
from landscape_cli.cli.console import CONSOLE, common
from landscape_cli.errors import LandscapeError

ASSETS = ("model.py", "digits.npz", "cnn.pt", "cnn_large_batch.pt", "mlp.pt", "job.toml", "DIGITS.md")


@click.command()
@click.argument("folder", metavar="[DIR]", default="landscape-demo", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite files in DIR that were changed, and measure anew.")
@common
def demo(folder: Path, force: bool) -> int:
    """Write a small trained model, its data and a job file into DIR; then scan and report, offline.

    The data are the 1,797 handwritten digits of the UCI set, the model a small batch-norm CNN.
    """
    from landscape_cli.cli.main import invoke

    write_assets(folder, force)
    run = str(folder / "run.h5")
    scan = ["scan", str(folder / "job.toml"), "-o", run] + ["--force"] * force
    for args in (scan, ["report", run]):
        CONSOLE.note(f"$ {shlex.join(['landscape', *args])}")
        code = invoke(args)
        if code:
            return code
    other = ["scan", str(folder / "job.toml"), "--checkpoint", str(folder / "cnn_large_batch.pt")]
    CONSOLE.note(f"try: {shlex.join(['landscape', *other, '-o', str(folder / 'large_batch.h5')])}")
    return 0


def write_assets(folder: Path, force: bool) -> None:
    """The demo's files; one that is there and differs is kept and refused, unless forced."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LandscapeError(f"cannot make {folder}: {error.strerror}", "give another folder") from None
    contents = {name: (package_files("landscape_cli.demo") / name).read_bytes() for name in ASSETS}
    changed = [name for name, content in contents.items() if _differs(folder / name, content)]
    if changed and not force:
        hint = "give another folder, or --force to overwrite"
        raise LandscapeError(f"{folder} holds other files of these names: {', '.join(changed)}", hint)
    for name, content in contents.items():
        files.write(files.check_output(folder / name, len(content)), content)
    CONSOLE.note(f"wrote {', '.join(ASSETS)} in {folder}")


def _differs(path: Path, content: bytes) -> bool:
    return path.exists() and (not path.is_file() or path.read_bytes() != content)
