"""Rules as people write them: `NAME=VALUE` on the command line, or a policy file in TOML.

confidence = 0.9973
[[rules]]
metric = "hessian.top"
max = 50
max_increase = "10%"
reason = "sharper than the optimiser is stable at"
severity = "warn"
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from landscape_cli.analyse.gate import FLOOR, KINDS, RELATIVE, Kind, Rule
from landscape_cli.analyse.verdict import KINDS as VERDICTS
from landscape_cli.errors import LandscapeError, one_of

WORDS = {"verdict.kind": VERDICTS, "verdict": VERDICTS, "gradient.critical": ("yes", "no")}
SEVERITIES = ("error", "warn")
EXITS = (0, 1, 3)  # what an inconclusive gate may answer
KEYS = ("metric", *KINDS, "floor", "reason", "severity")


@dataclass(frozen=True)
class Policy:
    """Rules, and what else a policy file may say; None where it does not."""

    rules: tuple[Rule, ...] = ()
    confidence: float | None = None
    inconclusive_exit: int | None = None


def from_flag(kind: Kind, text: str) -> Rule:
    """A rule from `NAME=VALUE`, `NAME=10%` or, of `require`, `NAME=WORD,WORD`.

    Raises:
        LandscapeError: it is malformed, or no rule of that kind can mean it.
    """
    name, equals, value = text.partition("=")
    if not (equals and name.strip() and value.strip()):
        example = "verdict.kind=minimum,plateau" if kind == "require" else "hessian.top=50"
        raise LandscapeError(f"--{_flag(kind)} {text!r} is no rule", f"write --{_flag(kind)} {example}")
    return _rule(kind, name.strip(), value.strip())


def read_policy(text: str, source: str) -> Policy:
    """A policy file's contents; `source` is what errors call it.

    Raises:
        LandscapeError: it is no TOML, has keys that no policy has, or a rule that can mean nothing.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of too many digits is a ValueError alone
        raise LandscapeError(f"{source} is no TOML: {error}", "see `landscape gate --help` for a policy file") from None
    for key in document:
        if key not in ("rules", "confidence", "inconclusive_exit"):
            raise one_of(f"key of {source}", key, ["rules", "confidence", "inconclusive_exit"])
    rules = document.get("rules", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise LandscapeError(f"{source}: rules must be a list of tables", "begin each with [[rules]]")
    confidence, code = document.get("confidence"), document.get("inconclusive_exit")
    if confidence is not None:
        confidence = confident(_number(confidence, f"{source}: confidence"))
    if code is not None and (code not in EXITS or isinstance(code, bool)):
        raise one_of(f"inconclusive_exit in {source}", str(code), [*map(str, EXITS)])
    return Policy(tuple(r for i, table in enumerate(rules) for r in _rules(table, f"{source}, rule {i + 1}")),
                  confidence, code)  # fmt: skip


def confident(confidence: float) -> float:
    """A confidence between 0 and 1.

    Raises:
        LandscapeError: it is none.
    """
    if not 0 < confidence < 1:
        raise LandscapeError(f"a confidence of {confidence:g} is none", "give a number between 0 and 1: 0.95")
    return confidence


def share(text: str) -> float:
    """A share of something, from "5%" or "0.05".

    Raises:
        LandscapeError: it is no number, or negative.
    """
    found = _number(text.removesuffix("%"), "the tolerance") / (100 if text.endswith("%") else 1)
    if found < 0:
        raise LandscapeError(f"a tolerance of {text} is none", "give 0 or more: 5%")
    return found


def _rules(table: Mapping[str, Any], where: str) -> list[Rule]:
    """The rules of one table: one for each kind of limit that it names."""
    for key in table:
        if key not in KEYS:
            raise one_of(f"key of {where}", key, [*KEYS])
    metric, kinds = table.get("metric"), [kind for kind in KINDS if kind in table]
    if not isinstance(metric, str) or not metric:
        raise LandscapeError(f"{where} names no metric", 'add for example metric = "hessian.top"')
    if not kinds:
        raise LandscapeError(f"{where} ({metric}) limits nothing", f"add one of: {', '.join(KINDS)}")
    reason, severity = table.get("reason", ""), table.get("severity", "error")
    if not isinstance(reason, str):
        raise LandscapeError(f"{where} ({metric}): the reason is no text", "put it in quotes")
    if severity not in SEVERITIES:
        raise one_of(f"severity in {where}", str(severity), [*SEVERITIES])
    floor = _number(table.get("floor", FLOOR), f"{where} ({metric}): floor")
    if not 0 <= floor < math.inf:
        raise LandscapeError(f"{where} ({metric}): a floor of {floor:g} is none", "give 0 or more")
    made = [_rule(kind, metric, table[kind]) for kind in kinds]
    return [replace(rule, reason=reason, severity=severity, floor=floor) for rule in made]


def _rule(kind: Kind, metric: str, value: Any) -> Rule:
    if kind == "require":
        return Rule(kind, metric, allowed=_words(metric, value))
    percent = isinstance(value, str) and value.endswith("%")
    if percent and kind not in RELATIVE:
        raise LandscapeError(f"{_flag(kind)} of {metric} is in percent of nothing", "give a number, or --max-increase")
    limit = _number(value[:-1] if percent else value, f"{_flag(kind)} of {metric}")
    if kind in RELATIVE and limit < 0:
        raise LandscapeError(f"{_flag(kind)} of {metric} is negative", "give 0 or more")
    return Rule(kind, metric, limit / 100 if percent else limit, percent)


def _words(metric: str, value: Any) -> tuple[str, ...]:
    """Words that pass: "minimum,plateau", or a list of them in a policy."""
    if metric not in WORDS:
        raise one_of("word to require", metric, [*WORDS])
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list) or not given or not all(isinstance(word, str) for word in given):
        raise LandscapeError(f"what {metric} must be is no word", f"it must be some of: {', '.join(WORDS[metric])}")
    for word in (word.strip() for word in given):
        if word not in WORDS[metric]:
            raise one_of(f"word of {metric}", word, [*WORDS[metric]])
    return tuple(word.strip() for word in given)


def _number(value: Any, what: str) -> float:
    """A finite number, or the text of one."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise LandscapeError(f"{what} is no number: {str(value)[:80]!r}", "give a finite number, such as 0.5")
    return number


def _flag(kind: str) -> str:
    return kind.replace("_", "-")
