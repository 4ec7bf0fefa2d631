"""`landscape explain`: what a statistic is."""

from __future__ import annotations

import click

from landscape_cli.cli.console import common
from landscape_cli.cli.output import say
from landscape_cli.errors import ExitCode, one_of
from landscape_cli.report.legend import EVIDENCE, LEGEND, RECIPE, legend_key


@click.command()
@click.argument("metric", required=False)
@common
def explain(metric: str | None) -> int:
    """Print what METRIC is: definition, unit, invariance, evidence, source; without a METRIC, the names of all."""
    if metric is None:
        width = max(map(len, LEGEND)) + 2
        say("".join(f"{name:<{width}}{meaning.gloss}\n" for name, meaning in LEGEND.items()))
        return ExitCode.OK
    name = next((key for key in (metric, legend_key(metric)) if key in LEGEND), None)
    if name is None:
        raise one_of("metric", metric, [*LEGEND])
    say(explained(name))
    return ExitCode.OK


def explained(name: str) -> str:
    """All that is known of a statistic, line by line."""
    meaning = LEGEND[name]
    lines = {
        "": meaning.gloss,
        "definition": meaning.definition,
        "unit": "none" if meaning.unit == "1" else meaning.unit,
        "survives the rescaling of a ReLU network": meaning.survives,
        "evidence": evidence(name),
        "source": meaning.source,
    }
    told = [f"{what}: {text}" if what else text for what, text in lines.items() if text]
    return "\n".join([name, *(f"  {line}" for line in told)]) + "\n"


def evidence(name: str) -> str:
    """What is known of its use."""
    group = name.split(".")[0]
    if group in ("surface", "basin", "curvature", "asymmetry", "splits") or name == "sharpness.plane_eps":
        return RECIPE
    return EVIDENCE if group in ("hessian", "sharpness") else ""
