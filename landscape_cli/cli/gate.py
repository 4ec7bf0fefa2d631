"""`landscape gate`: pass, fail or inconclusive, for CI."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from landscape_cli.analyse.gate import CONFIDENCE, KINDS, Outcome, Rule, exit_code, judge
from landscape_cli.analyse.policy import EXITS, WORDS, Policy, confident, from_flag, read_policy
from landscape_cli.analyse.statistics import of_names
from landscape_cli.analyse.subject import Subject
from landscape_cli.cli.console import common
from landscape_cli.cli.output import emit, refuse_to_overwrite, writable
from landscape_cli.cli.subjects import each_subject, read_subjects
from landscape_cli.errors import ExitCode, LandscapeError, one_of
from landscape_cli.report.gate import GATE_FORMATS
from landscape_cli.report.legend import LEGEND, legend_key
from landscape_cli.report.outcomes import Outcomes

MAX_POLICY = 1 << 20  # bytes
SUMMARY = "GITHUB_STEP_SUMMARY"  # where GitHub shows markdown below a job

HELP = {
    "max": "Fail where the number is above: hessian.top=50.",
    "min": "Fail where it is below: basin.radius_mean=0.2.",
    "max_increase": "Fail where it is above the baseline's by more: hessian.top=10% or =0.5.",
    "max_decrease": "Fail where it is below the baseline's by more.",
    "require": "Fail unless it is one of these words: verdict.kind=minimum,plateau.",
}


def _rule_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--max NAME=VALUE` and its kin."""
    for kind in reversed(KINDS):
        flag, form = f"--{kind.replace('_', '-')}", "NAME=WORDS" if kind == "require" else "NAME=VALUE"
        command = click.option(flag, kind, multiple=True, metavar=form, help=HELP[kind])(command)
    return command


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--baseline", help="The run, or its JSON report (- on stdin), that changes are counted from.")
@_rule_options
@click.option("--policy", type=click.Path(path_type=Path), help="A TOML file of rules.")
@click.option("--confidence", type=float, help=f"Of the intervals that decide; {CONFIDENCE:.4f} unless given.")
@click.option(
    "--inconclusive-exit",
    type=click.Choice([*map(str, EXITS)]),
    help="The exit code of an inconclusive gate, in place of 3.",
)
@click.option("--format", "formats", multiple=True, metavar="NAME[=FILE]", help=f"{', '.join(GATE_FORMATS)}; repeat.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@common
def gate(
    runs: tuple[str, ...],
    baseline: str | None,
    policy: Path | None,
    confidence: float | None,
    inconclusive_exit: str | None,
    formats: tuple[str, ...],
    force: bool,
    **limits: tuple[str, ...],
) -> int:
    """Judge RUNS (run files, JSON reports, or - for one on stdin) by rules; every limit by its number's error.

    A rule passes when the limit lies beyond the number's interval on the good side, fails when it lies beyond it on the
    bad side, and is inconclusive in between and wherever there is no number to rely on.

    \b
    A policy file:
      [[rules]]
      metric = "hessian.top"
      max_increase = "10%"              # or max, min, max_decrease, require
      reason = "sharper than main"      # optional, as are: severity = "warn", floor = 0.001
    \b
    Beside its rules it may say confidence = 0.95 and inconclusive_exit = 0.
    \b
    Exit codes: 0 passed, 1 failed, 2 something cannot be read or written, 3 inconclusive.
    """
    given = read(policy) if policy else Policy()
    flags = [from_flag(kind, text) for kind in KINDS for text in limits[kind]]
    outputs = _outputs(formats or ("text",), force)
    inputs = [Path(name) for name in (*runs, baseline, policy) if name]
    refuse_to_overwrite(inputs, *[file for _, file in outputs])
    sure = confident(confidence) if confidence is not None else given.confidence or CONFIDENCE
    outcomes = judged(runs, [*given.rules, *flags], baseline, sure)
    tell(outcomes, outputs, force)
    code = inconclusive_exit if inconclusive_exit is not None else given.inconclusive_exit
    return exit_code(outcomes, ExitCode.INCONCLUSIVE if code is None else int(code))


def read(policy: Path) -> Policy:
    """A policy file.

    Raises:
        LandscapeError: it cannot be read, or is no policy.
    """
    try:
        with policy.open("rb") as stream:
            content = stream.read(MAX_POLICY + 1)
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LandscapeError(f"cannot read {policy}: {error}", "give a TOML file of rules") from None
    if len(content) > MAX_POLICY:
        raise LandscapeError(f"{policy} has more than {MAX_POLICY >> 20} MiB", "no policy is as large")
    return read_policy(text, str(policy))


def judged(runs: Sequence[str], rules: Sequence[Rule], baseline: str | None, confidence: float) -> list[Outcome]:
    """Every rule on every run.

    Raises:
        LandscapeError: there is no rule or no such metric, a run is named twice, or a file cannot be read.
    """
    if not rules:
        raise LandscapeError("there is no rule to judge by", "add --max NAME=VALUE, or --policy FILE.toml")
    if baseline == "-" and "-" in runs:
        raise LandscapeError("stdin is given twice", "give the run or the baseline as a file")
    wanted = of_names(rule.metric for rule in rules)
    base = _only(baseline, read_subjects(baseline, wanted)) if baseline else None
    return [judge_known(rule, run, base, confidence) for run in each_subject(runs, wanted) for rule in rules]


def judge_known(rule: Rule, run: Subject, base: Subject | None, confidence: float) -> Outcome:
    """As `judge`; a metric that the run lacks is inconclusive, one that there is in no run an error."""
    if rule.kind != "require" and rule.metric in WORDS:
        raise LandscapeError(f"{rule.metric} is a word", f"--require {rule.metric}={','.join(WORDS[rule.metric][:2])}")
    if rule.kind != "require" and not _may_lack(rule.metric, run):
        run.named(rule.metric, LEGEND)
    return judge(rule, run, base, confidence)


def _may_lack(metric: str, run: Subject) -> bool:
    """Whether it is a metric that some runs have, of a plane that this one has where it names one."""
    head, _, rest = metric.partition(".")
    there = head != "planes" or rest.partition(".")[0] in (run.tree.get("planes") or {})
    return there and legend_key(metric) in LEGEND


def _only(path: str, subjects: list[Subject]) -> Subject:
    if len(subjects) > 1:
        raise LandscapeError(f"the baseline {path} holds {len(subjects)} runs", "give a report of one run")
    return subjects[0]


def _outputs(formats: Sequence[str], force: bool) -> list[tuple[str, str]]:
    """Each format and the file it goes to, stdout where none is named; all can be written.

    Raises:
        LandscapeError: an unknown format, a file that cannot be written, two that would mix on stdout.
    """
    outputs = [(name, file if equals else "-") for name, equals, file in (item.partition("=") for item in formats)]
    for name, file in outputs:
        if name not in GATE_FORMATS:
            raise one_of("format", name, [*GATE_FORMATS])
        if not file:
            raise LandscapeError(f"--format {name}= names no file", f"write --format {name}=FILE, or {name} alone")
        if file != "-":
            writable(file, force)
    mixed = [name for name, file in outputs if file == "-"]
    if len(mixed) > 1 and set(mixed) - {"text", "github"}:
        raise LandscapeError(f"{' and '.join(mixed)} would mix on stdout", f"send one to a file: {mixed[-1]}=FILE")
    return outputs


def tell(outcomes: Outcomes, outputs: Sequence[tuple[str, str]], force: bool) -> None:
    """Write every format to where it goes; for GitHub its job summary too."""
    for name, file in outputs:
        emit(GATE_FORMATS[name](outcomes), file, force)
    page = os.environ.get(SUMMARY)
    if page and any(name == "github" for name, _ in outputs):
        try:
            with open(page, "a", encoding="utf-8") as stream:
                stream.write(GATE_FORMATS["markdown"](outcomes))
        except OSError as error:
            raise LandscapeError(f"cannot write {page}: {error.strerror}", f"unset {SUMMARY}, or mend it") from None
