"""`landscape explain`: what a statistic is."""

from __future__ import annotations

import click

from landscape_cli.cli.console import common
from landscape_cli.cli.output import say
from landscape_cli.errors import ExitCode, one_of
from landscape_cli.report.legend import KNOWN, LEGEND, found_key, members
from landscape_cli.report.legend_plane import PLANE
from landscape_cli.report.meaning import EVIDENCE, RECIPE


@click.command()
@click.argument("metric", required=False)
@common
def explain(metric: str | None) -> int:
    """Print what METRIC is: definition, unit, invariance, evidence, source; of a part of the report what it holds.

    Without a METRIC, the names of all.
    """
    if metric is None:
        say(_listed([*KNOWN]))
        return ExitCode.OK
    name = found_key(metric)
    if name is not None:
        say(explained(name))
    elif members(metric):
        say(f"{metric}\n{_listed(members(metric), '  ')}")
    else:
        raise one_of("metric", metric, [*KNOWN])
    return ExitCode.OK


def _listed(names: list[str], indent: str = "") -> str:
    width = max(map(len, names)) + 2
    return "".join(f"{indent}{name:<{width}}{KNOWN[name].gloss}\n" for name in names)


def explained(name: str) -> str:
    """All that is known of a name, line by line; then what it holds."""
    meaning = KNOWN[name]
    lines = {
        "": meaning.gloss,
        "definition": meaning.definition,
        "unit": "none" if meaning.unit == "1" else meaning.unit,
        "survives the rescaling of a ReLU network": meaning.survives + FILTERED * (name in PLANE),
        "evidence": evidence(name),
        "source": meaning.source,
    }
    told = [f"{what}: {text}" if what else text for what, text in lines.items() if text]
    below = _listed(members(name), "    ") if members(name) else ""
    return "\n".join([name, *(f"  {line}" for line in told)]) + "\n" + below


FILTERED = ", of filter-normalised directions"


def evidence(name: str) -> str:
    """What is known of its use."""
    if name in PLANE:
        return RECIPE
    group, *rest = name.split(".")
    return EVIDENCE if name in LEGEND and group in ("hessian", "sharpness") and rest else ""
