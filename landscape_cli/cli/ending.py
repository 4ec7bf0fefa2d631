"""What `landscape scan` goes on with when it has measured all: its report, and what the gate says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from landscape_cli.analyse.gate import CONFIDENCE, Rule, exit_code
from landscape_cli.analyse.policy import Policy
from landscape_cli.cli.console import CONSOLE
from landscape_cli.cli.gate import judged, read, tell
from landscape_cli.cli.output import refuse_to_overwrite
from landscape_cli.cli.report import report
from landscape_cli.errors import ExitCode, LandscapeError, one_of
from landscape_cli.report.legend import LEGEND, found_key


@dataclass(frozen=True)
class Ending:
    """`scan --report --gate POLICY --baseline BASE`."""

    reported: bool = False
    policy: Policy | None = None
    baseline: str | None = None

    def __bool__(self) -> bool:
        return self.reported or self.policy is not None

    def after(self, code: int, run: str) -> int:
        """Print what was asked for of a scan that ended well; the exit code of the last of it, gate or report.

        A scan that did not end well keeps its own code: nothing is judged, so nothing passes.
        """
        if code != ExitCode.OK:
            if self:
                CONSOLE.note("nothing is reported or judged: the scan did not finish")
            return code
        if self.reported:
            code = report.main(["--", run], standalone_mode=False)
        if self.policy is None:
            return code
        outcomes = judged([run], self.policy.rules, self.baseline, self.policy.confidence or CONFIDENCE)
        tell(outcomes, [("text", "-")], force=False)
        lenient = self.policy.inconclusive_exit
        return exit_code(outcomes, ExitCode.INCONCLUSIVE if lenient is None else lenient)


def ending(reported: bool, policy: Path | None, baseline: Path | None, run: str | None, plan: bool) -> Ending:
    """Read what will judge the scan before it starts, so that a mistyped rule costs no hours.

    Raises:
        LandscapeError: there is nothing to judge by or nothing to judge, or a file cannot be read.
    """
    if plan and (reported or policy):
        raise LandscapeError("--plan measures nothing to report or judge", "leave out --report and --gate")
    if baseline and policy is None:
        raise LandscapeError("--baseline is of the gate, and there is none", "add --gate POLICY.toml")
    if policy is None:
        return Ending(reported)
    refuse_to_overwrite([policy, *([baseline] if baseline else [])], *([run] if run else []))
    rules = read(policy)
    base = str(baseline) if baseline else None
    judged([], rules.rules, base, CONFIDENCE)  # no run yet: there are rules, and a baseline that can be read
    _refuse_unknown(rules.rules)
    return Ending(reported, rules, base)


def _refuse_unknown(rules: Sequence[Rule]) -> None:
    """A metric that no run can have; those of the user's own are looked up in the run."""
    for name in dict.fromkeys(rule.metric for rule in rules):
        if found_key(name) is None and "metrics" not in name.split("."):
            raise one_of("metric", name, [*LEGEND])
