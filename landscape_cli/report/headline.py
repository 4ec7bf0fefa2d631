"""What a tired person reads: the verdict and the few numbers that runs of one set-up are compared by."""

from __future__ import annotations

from landscape_cli.analyse.paths import flatten
from landscape_cli.report.legend import EVIDENCE
from landscape_cli.report.numbers import plain
from landscape_cli.report.run import Run, Table

# In plain words, and the section that measures them.
HEADLINE: dict[str, tuple[str, str]] = {
    "sharpness.average_adaptive": ("mean rise of the loss at small random changes of every weight", "sharpness"),
    "sharpness.worst_adaptive": (
        "the highest rise found near by, weights moved in proportion",
        "sharpness",
    ),
    "learning_rate.stability": ("η·λ₁/2: above 1 gradient descent at the job's learning rate is unstable", "hessian"),
    "hessian.trace": ("summed curvature over all directions: larger is sharper", "hessian"),
}


def headline(run: Run) -> list[Table]:
    """The verdict in one line, then the numbers with their errors; nothing where neither has been measured."""
    verdict = run.tree["verdict"]
    known = dict(flatten({name: run.tree[name] for name in ("sharpness", "hessian", "learning_rate")}))
    rows = [(name, run.cell(known[name]), text) for name, (text, _) in HEADLINE.items() if name in known]
    if verdict is None and not rows:
        return []
    left = dict.fromkeys(section for _, section in HEADLINE.values() if section not in run.measured)
    told = [f"without {section}: to have it, scan again with --only {section}" for section in left]
    if verdict is not None:
        first, *others = (plain(str(reason)) for reason in verdict["reasons"])
        rows = [("verdict", plain(str(verdict["kind"])), first), *rows]
        told = [*others, *told]
    return [Table("Headline", ("", "", "what it says"), rows, "; ".join([*told, EVIDENCE]), "verdict")]
