"""Writes the generated blocks of README.md, or with --check fails when one is stale.

A block stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. Numbers of the session may differ in the last
printed digits between machines; everything else must be equal.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from landscape_cli import settings as settings_module
from landscape_cli.cli.main import COMMANDS, EXIT_CODES
from landscape_cli.measure.batchnorm import POLICIES
from landscape_cli.measure.directions import DIRECTIONS
from landscape_cli.measure.losses import LOSSES, METRICS
from landscape_cli.measure.normalisations import NORMALISATIONS
from landscape_cli.measure.strategies import STRATEGIES
from landscape_cli.report.compare import COMPARE_FORMATS
from landscape_cli.report.export import EXPORTS
from landscape_cli.report.formats import FORMATS
from landscape_cli.report.gate import GATE_FORMATS
from landscape_cli.report.legend import LEGEND

README = Path(__file__).parents[1] / "README.md"
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?")


def session() -> str:
    """What the demo prints on stdout, and the first of the next commands a user would type."""
    with tempfile.TemporaryDirectory() as folder:
        shown = ["landscape demo", "landscape report landscape-demo/run.h5 --format csv | head -4"]
        return "\n".join(f"```console\n$ {command}\n{_output(command, folder)}\n```" for command in shown)


def _output(command: str, folder: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "COLUMNS": "110", "PATH": path, "NO_COLOR": "1"}
    run = subprocess.run(command, shell=True, cwd=folder, env=env, capture_output=True, text=True, check=True)
    return "\n".join(line.rstrip() for line in run.stdout.strip().splitlines())


def names() -> str:
    """Every name that a job file may use, from the dicts of functions."""
    sections: dict[str, Mapping[str, Callable[..., Any]]] = {
        "`directions`": {settings_module.written(k): v for k, v in DIRECTIONS.items()},
        "`normalize`": NORMALISATIONS,
        "`batchnorm`": POLICIES,
        "`run.strategy`": STRATEGIES,
        "`loss.name`": LOSSES,
        "`loss.metrics`": METRICS,
    }
    rows = [
        f"| {key} | `{name}` | {_first(function)} |"
        for key, table in sections.items()
        for name, function in table.items()
    ]
    return "\n".join(["| key | name | what it is |", "|---|---|---|", *rows])


def _first(function: Callable[..., Any]) -> str:
    text = " ".join((function.__doc__ or "").split("\n\n")[0].split())
    return re.sub(r" \([A-Z],.*$", "", text)  # without the shapes


def statistics() -> str:
    """Every statistic of the report."""
    rows = [
        f"| `{name}` | {meaning.unit} | {meaning.gloss.replace('|', chr(92) + '|')} | {meaning.survives} |"
        for name, meaning in LEGEND.items()
    ]
    return "\n".join(["| statistic | unit | what it is | survives rescaling |", "|---|---|---|---|", *rows])


def settings() -> str:
    """Every key of the job file with its default and its comment, from the dataclasses."""
    rows = []
    section = ""
    for line in Path(settings_module.__file__).read_text(encoding="utf-8").splitlines():
        if titled := re.match(r'    """\[([\w.]+)\]:', line):
            section = titled[1]
        key = re.match(r"    (\w+): [^=]+ = (.+?)(?:  # (.+))?$", line)
        if key and section:
            default = re.sub(r"field\(default_factory=(?:lambda: )?(.+)\)", r"\1", key[2])
            default = {"dict": "{}", "list": "[]", '""': "", "None": ""}.get(default, default)
            rows.append(f"| `{section}.{key[1]}` | {f'`{default}`' if default else ''} | {key[3] or ''} |")
        if line.startswith("class Job"):
            break
    return "\n".join(["| key | default | |", "|---|---|---|", *rows])


def commands() -> str:
    """The commands, their formats and the exit codes."""
    rows = [f"    landscape {name:<11} {text}" for name, text in COMMANDS.items()]
    known = {
        "report": ["text", *FORMATS],
        "gate": [*GATE_FORMATS],
        "compare": [*COMPARE_FORMATS],
        "export": [ending.removeprefix(".") for ending in EXPORTS],
    }
    formats = [f"`{command} --format`: {', '.join(f'`{name}`' for name in names)}." for command, names in known.items()]
    codes = [f"    {line.strip()}" for line in EXIT_CODES.splitlines()[2:]]
    return "\n".join([*rows, "", *formats, "", "Exit codes:", "", *codes])


BLOCKS: dict[str, Callable[[], str]] = {
    "session": session,
    "commands": commands,
    "names": names,
    "settings": settings,
    "statistics": statistics,
}


def fresh(text: str) -> str:
    """README.md with every block made anew."""
    for name, make in BLOCKS.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        head, _, rest = text.partition(begin)
        _, found, tail = rest.partition(end)
        if not found:
            sys.exit(f"README.md has no block {name}")
        text = f"{head}{begin}\n{make()}\n{end}{tail}"
    return text


def same(old: str, new: str) -> bool:
    """Equal, numbers to one percent."""
    if [*map(str.split, NUMBER.sub("0", old).splitlines())] != [*map(str.split, NUMBER.sub("0", new).splitlines())]:
        return False
    pairs = zip(NUMBER.findall(old), NUMBER.findall(new), strict=True)
    return all(abs(float(a) - float(b)) <= 0.01 * abs(float(a)) + 1e-12 for a, b in pairs)


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when README.md is stale")
    check = parser.parse_args().check
    old = README.read_text(encoding="utf-8")
    new = fresh(old)
    if not check:
        README.write_text(new, encoding="utf-8")
    elif not same(old, new):
        print("README.md is stale: run make readme", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
