"""What every name of a report is: LEGEND = {statistic: Meaning}, and BESIDE what stands beside them.

The report's glosses, `explain` and the README come from it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from landscape_cli.report.legend_beside import BESIDE
from landscape_cli.report.legend_checkpoint import CHECKPOINT
from landscape_cli.report.legend_plane import PLANE
from landscape_cli.report.meaning import LAYER, NO, Meaning


def _moved(meaning: Meaning) -> Meaning:
    """A rescaling of layers leaves a filter-normalised surface as it is and changes every parameter distance."""
    return replace(meaning, survives=NO if "parameter" in meaning.unit else LAYER)


LEGEND: dict[str, Meaning] = {**CHECKPOINT, **{name: _moved(meaning) for name, meaning in PLANE.items()}}
KNOWN: dict[str, Meaning] = {**LEGEND, **BESIDE}


def legend_key(path: str) -> str:
    """A name in KNOWN: without the plane, the split and list indices."""
    bare = re.sub(r"^centre\.([^.]+\.)?metrics\..+", "centre.metrics", path)
    bare = re.sub(r"^planes\.[^.]+\.[^.]+\.", "", re.sub(r"^centre\.[^.]+\.", "centre.", bare))
    return re.sub(r"\.\d+(?=\.|$)", "", bare)


def found_key(name: str) -> str | None:
    """The name in KNOWN that a path, or a short form of one with a plane or a split ahead, means; None of no such."""
    parts = name.split(".")
    tails = [".".join(parts[i:]) for i in range(min(3, len(parts)))]
    return next((key for tail in tails for key in (tail, legend_key(tail)) if key in KNOWN), None)


def members(group: str) -> list[str]:
    """The names in KNOWN below one, or below a part of the report."""
    if group == "planes":
        return [*PLANE]
    return [name for name in KNOWN if name.startswith(f"{group}.")]


def gloss(path: str) -> str:
    """The one line that a report has room for; "" of what is the user's own."""
    found = KNOWN.get(legend_key(path))
    return found.gloss if found else ""


def unit(path: str) -> str:
    """The unit of a number; "" of a bare one."""
    found = KNOWN.get(legend_key(path))
    return found.unit if found and found.unit != "1" else ""
