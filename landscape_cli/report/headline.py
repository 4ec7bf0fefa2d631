"""What a tired person reads: the verdict and the few numbers that runs of one set-up are compared by."""

from __future__ import annotations

from landscape_cli.analyse.paths import flatten
from landscape_cli.profile import Estimate
from landscape_cli.report.numbers import plain
from landscape_cli.report.run import Run, Table

# In plain words, and the section that measures them.
HEADLINE: dict[str, tuple[str, str]] = {
    "sharpness.average_adaptive": ("mean rise of the loss at small random changes", "sharpness"),
    "sharpness.worst_adaptive": ("highest rise found near by", "sharpness"),
    "learning_rate.stability": ("η·λ₁/2: above 1 gradient descent is unstable", "hessian"),
    "hessian.trace": ("summed curvature: larger is sharper", "hessian"),
}
RATE = "scan again with --set hessian.learning_rate=RATE"


def headline(run: Run) -> Table:
    """The verdict in one line, then the numbers with their errors; of each that is not measured, how to have it."""
    known = dict(flatten({name: run.tree[name] for name in ("sharpness", "hessian", "learning_rate")}))
    rows = [(name, run.cell(known.get(name) or "not measured"), _said(run, name, known.get(name))) for name in HEADLINE]
    verdict, told = run.tree["verdict"], []
    first = ("verdict", "not measured", run.how("verdict"))
    if verdict is not None:
        reason, *told = (plain(str(reason)) for reason in verdict["reasons"])
        first = ("verdict", plain(str(verdict["kind"])), reason)
    note = "; ".join(told) if run.full or run.sections else ""  # what was tried, how far
    return Table("Headline", ("", "", ""), [first, *rows], note, "verdict", spare=False)


def _said(run: Run, name: str, found: Estimate | None) -> str:
    """What a number means, or how to have it."""
    gloss, section = HEADLINE[name]
    if found is None:
        return RATE if section in run.measured else run.how(section)
    late = found.status == "not measured" and run.profile.sections[section].texts("out_of_time")
    return f"out of time: raise {section}.time" if late else gloss
