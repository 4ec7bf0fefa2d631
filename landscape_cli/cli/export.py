"""`landscape export`: the arrays of a run in a format that others read."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from landscape_cli import store
from landscape_cli.cli.console import CONSOLE, common
from landscape_cli.cli.output import emit, refuse_to_overwrite, writable
from landscape_cli.errors import ExitCode, LandscapeError, one_of
from landscape_cli.profile import Profile
from landscape_cli.report.export import EXPORTS, Arrays

HDF5 = (".h5", ".hdf5")  # with --layout 2018
ONE_PLANE = (".vtp", *HDF5)
POINTS = (".csv", *ONE_PLANE)  # hold planes and no more
TEXT = (".csv", ".json", ".vtp")  # may go to stdout
ENDINGS = (*EXPORTS, HDF5[0])


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, help="The file; its ending says the format. - with --format is stdout.")
@click.option("--plane", metavar="NAME", help="This plane alone.")
@click.option("--format", "name", type=click.Choice([e[1:] for e in EXPORTS]), help="Whatever the file's ending.")
@click.option("--layout", type=click.Choice(["2018"]), help="HDF5 as the loss-landscape code of 2018 reads it.")
@click.option("--force", is_flag=True, help="Overwrite an existing output.")
@common
def export(run: Path, output: str, plane: str | None, name: str | None, layout: str | None, force: bool) -> int:
    """Write the arrays of RUN for other tools.

    .npz, .json: every array by its path in the run file. .csv: a row for each point and split. .vtp: a surface for
    ParaView. .h5 with --layout 2018: a plane as the reference code of Li et al. 2018 reads it. The last two hold one
    plane, the first unless told. Exit code 3 where what is written is unfinished.
    """
    refuse_to_overwrite([run], output)
    ending = _ending(output, name, layout)
    if output != "-":
        writable(output, force)
    profile = chosen(store.load(run), run, plane, ending)
    arrays = {path: dataset.values for path, dataset in store.layout(profile).datasets.items()}
    content = _writer(ending)(profile, arrays)
    if output == "-":
        emit(content.decode(), output, force)
    else:
        emit(content, output, force)
    if profile.complete:
        return ExitCode.OK
    done, asked = profile.done
    CONSOLE.note(f"{run} is unfinished, {done} of {asked} points: rerun the command that `landscape info {run}` shows")
    return ExitCode.INCONCLUSIVE


def _ending(output: str, name: str | None, layout: str | None) -> str:
    """The format, as the ending of a file.

    Raises:
        LandscapeError: none is known by it, it takes --layout, or it cannot go to stdout.
    """
    own = Path(output).suffix.lower()
    if layout:
        return _ending_2018(output, own, name)
    if output == "-" and name is None:
        raise LandscapeError("stdout has no ending that says the format", f"add --format {', '.join(_names(TEXT))}")
    ending = f".{name}" if name else own
    if ending in HDF5:
        raise LandscapeError(f"{ending} has more than one layout", "add --layout 2018; RUN itself is HDF5 already")
    if not ending:
        raise LandscapeError(f"{output} has no ending", f"it must be one of: {', '.join(ENDINGS)}")
    if ending not in EXPORTS:
        raise one_of("ending", ending, [*ENDINGS])
    if output == "-" and ending not in TEXT:
        raise LandscapeError(f"{ending} is no text and cannot be streamed", f"give a file: -o run{ending}")
    return ending


def _ending_2018(output: str, own: str, name: str | None) -> str:
    if name or own not in HDF5:
        what = f"--format {name}" if name else "stdout" if output == "-" else own or "no ending"
        raise LandscapeError(f"the layout 2018 is HDF5, not {what}", "give a file: --layout 2018 -o surface.h5")
    return own


def _names(endings: tuple[str, ...]) -> list[str]:
    return [ending[1:] for ending in endings]


def chosen(profile: Profile, run: Path, plane: str | None, ending: str) -> Profile:
    """What of a run goes into a file of this ending.

    Raises:
        LandscapeError: there is no such plane, or none where the format holds nothing else.
    """
    planes = profile.planes
    if plane is not None and plane not in planes:
        raise one_of("plane", plane, [*planes]) if planes else _no_plane(run, f"no plane {plane}, nor any other")
    if not planes and ending in POINTS:
        raise _no_plane(run, f"no plane, and {ending} holds nothing else")
    kept = [plane] if plane is not None else [*planes][:1] if ending in ONE_PLANE else [*planes]
    if plane is None and len(kept) < len(planes):
        others = ", ".join(name for name in planes if name not in kept)
        CONSOLE.note(f"{ending} holds one plane: {kept[0]}; with --plane: {others}")
    sections = {} if ending in POINTS else profile.sections
    return replace(profile, planes={name: planes[name] for name in kept}, sections=sections)


def _no_plane(run: Path, what: str) -> LandscapeError:
    file = shlex.quote(str(run))
    hint = f"export .npz or .json, or measure one: see landscape info --job {file} and landscape scan --help"
    return LandscapeError(f"{run} has {what}", hint)


def _writer(ending: str) -> Callable[[Profile, Arrays], bytes]:
    return _to_2018 if ending in HDF5 else EXPORTS[ending]


def _to_2018(profile: Profile, arrays: Arrays) -> bytes:
    """The layout of 2018, and what in it is called otherwise or missing."""
    plane = next(iter(profile.planes.values()))
    for split, known in store.names_2018(plane.surfaces).items():
        if known != split:
            CONSOLE.note(f"the split {split} is {known} there: {known}_loss, {known}_acc")
        if "accuracy" not in plane.surfaces[split].metrics:
            CONSOLE.note(f"{split} has no accuracy: {known}_acc is -1, that layout's mark of what is not computed")
    return store.image_2018(plane)
