"""`landscape info`: what was run, with what, when, by which version."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

from landscape_cli import store
from landscape_cli.cli.console import common
from landscape_cli.cli.output import say
from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.profile import Profile
from landscape_cli.report.json import provenance_as_json
from landscape_cli.report.numbers import plain


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--job", is_flag=True, help="Print the job file that makes this run again.")
@click.option("--format", "name", type=click.Choice(["text", "json"]), default="text", show_default=True)
@common
def info(run: Path, job: bool, name: str) -> int:
    """Print the provenance of RUN."""
    profile = store.load(run)
    if name == "json" and not job:
        say(json.dumps(provenance_as_json(profile), indent=2, allow_nan=False) + "\n")
        return ExitCode.OK
    if job and not profile.provenance.job:
        raise LandscapeError(f"{run} was made from Python, without a job", "look at landscape info")
    head = f"# relative paths start from {profile.provenance.folder}"
    lines = [head, *profile.provenance.job.splitlines()] if job else _lines(profile, run)
    say("".join(f"{plain(line)}\n" for line in lines))
    return ExitCode.OK


def _lines(profile: Profile, run: Path) -> list[str]:
    record = profile.provenance
    done, asked = profile.done
    state = "finished" if profile.complete else "unfinished"
    table: dict[str, Any] = {
        "state": f"{state}, {done} of {asked} points",
        "command": shlex.join(record.argv) or "from Python",
        "typed in": record.directory or "-",
        "paths from": record.folder or "-",
        "started": record.started,
        "finished": record.finished or "-",
        "device": f"{record.device}, {record.dtype}",
        "plan": _pairs(record.plan),
        "versions": _pairs(record.versions),
        "git commit": record.git_commit or "-",
        "problem": profile.problem,
        **{f"sha256 {key}": value for key, value in record.hashes.items()},
        "model": _pairs(record.facts),
        "seeds": _pairs(record.seeds),
    }
    for name, plane in profile.planes.items():
        size = " × ".join(str(len(axis)) for axis in plane.surface.axes)
        state = "complete" if plane.complete else f"unfinished; resume: {shlex.join(plane.argv)}"
        table[f"plane {name}"] = f"{size} points, {state}"
    kept = [f"{name}/{axis} {what}" for name, plane in profile.planes.items() for axis, what in plane.derived.items()]
    if kept:
        file = store.beside(run)
        table["directions"] = f"{', '.join(kept)} in {file.name}{'' if file.is_file() else ', which is missing'}"
    lines = [f"{key:<20} {value}" for key, value in table.items()]
    changed = {key: source for key, source in record.sources.items() if source != "default"}
    lines += [f"set by {source:<12} {key}" for key, source in sorted(changed.items())]
    return lines + [f"note                 {note}" for note in record.notes]


def _pairs(values: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())
