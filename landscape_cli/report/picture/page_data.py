"""What an interactive page is drawn from: grids, scales and critical points as plain values for JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse.convexity import HessianMap, hessian_map
from landscape_cli.analyse.critical import passes
from landscape_cli.analyse.surface import lowest, standard_errors
from landscape_cli.profile import Floats, Surface
from landscape_cli.report.picture.contour import holds_centre, proportion
from landscape_cli.report.picture.curvature import beside_above, flattened, limit_of, negative_share, without
from landscape_cli.report.picture.scale import Scale, scale_of, scales_of
from landscape_cli.report.picture.view import View
from landscape_cli.report.run import Run

DIGITS = 5  # of errors, metrics and curvatures; losses keep all of theirs
# What ends a script, opens a comment, or is a line's end in old JavaScript, as JSON may write it.
ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Panel:
    """A plane of a run, with the run's statistics; `scale` is the number of the losses' scale."""

    view: View
    run: Run
    scale: int

    @property
    def splits(self) -> dict[str, Mapping[str, Any]]:
        """The statistics of each split that is shown."""
        held: Mapping[str, Mapping[str, Any]] = self.run.tree["planes"][self.view.record.name]
        return {split: held[split] for split in self.view.surfaces}

    @property
    def thin(self) -> bool:
        """A line, or a plane of one row, is no surface."""
        surface = self.view.record.surface
        return surface.y is None or min(surface.loss.shape) < 2

    @property
    def equal(self) -> bool:
        """A unit is as long along both axes: where they are alike in length, in units and in parameter distance."""
        first, last = np.sqrt(np.diag(self.view.record.gram))[[0, -1]]
        return not self.thin and proportion(self.view.record.surface) is not None and first / 2 <= last <= 2 * first

    @cached_property
    def maps(self) -> dict[str, HessianMap]:
        """The curvature of each split, cells beside an exploded loss left out; of less than 3 × 3 points none."""
        surfaces = [(split, s) for split, s in self.view.surfaces.items() if s.y is not None and min(s.loss.shape) >= 3]
        scales = [scale_of([s.loss[s.measured]]) for _, s in surfaces]
        return {
            split: without(flattened(hessian_map(s)), beside_above(s, scale))
            for (split, s), scale in zip(surfaces, scales, strict=True)
        }


def panels_of(views: Sequence[View], runs: Sequence[Run]) -> list[Panel]:
    """Of one run every plane on its own scale, or the one that is asked for; of several runs one each, on one scale."""
    if len(views) > 1:
        return [Panel(view, run, 0) for view, run in zip(views, runs, strict=True) if view.profile.planes]
    view, run = views[0], runs[0]
    names = [view.plane] if view.plane else list(view.profile.planes)
    return [Panel(View(view.file, view.profile, name, view.split), run, i) for i, name in enumerate(names)]


def document(panels: Sequence[Panel]) -> dict[str, Any]:
    """{"panels": […], "scales": […]}; grids are flat, x slow and y fast; what is not finite is null."""
    count = 1 + max((panel.scale for panel in panels), default=-1)
    return {
        "panels": [_panel(panel) for panel in panels],
        "scales": [_scales([p for p in panels if p.scale == i]) for i in range(count)],
    }


def as_json(tree: Any) -> str:
    """JSON that may stand in a script element."""
    return json.dumps(tree, allow_nan=False, separators=(",", ":"), ensure_ascii=False).translate(ESCAPES)


def _panel(panel: Panel) -> dict[str, Any]:
    view = panel.view
    x, y = view.record.surface.x, view.record.surface.y
    return {
        "scale": panel.scale,
        "x": x.values.tolist(),
        "y": None if y is None else y.values.tolist(),
        "labels": [view.label(i) for i in range(1 if y is None else 2)],
        "equal": bool(panel.equal),
        "splits": {
            split: {
                **_grids(surface),
                **_singled_out(view, surface),
                "maps": _curvatures(panel.maps.get(split)),
                "points": _points(panel.splits[split], surface),
            }
            for split, surface in view.surfaces.items()
        },
    }


def _singled_out(view: View, surface: Surface) -> dict[str, Any]:
    """The samples; the checkpoint's loss, null where it is outside; which point is the lowest."""
    where, centre = lowest(surface), surface.centre
    return {
        "samples": centre.samples,
        "centre": centre.loss if holds_centre(view) and np.isfinite(centre.loss) else None,
        "lowest": None if where is None else int(np.ravel_multi_index(where, surface.loss.shape)),
    }


def _grids(surface: Surface) -> dict[str, Any]:
    """The arrays of a surface, and of each point a letter that says whether its loss is a number."""
    loss, known = surface.loss, surface.measured
    kinds = [~known, np.isnan(loss), loss == np.inf, loss == -np.inf]
    return {
        "loss": _numbers(loss, known),
        "stderr": _numbers(standard_errors(surface), known, DIGITS),
        "metrics": {name: _numbers(values, known, DIGITS) for name, values in surface.metrics.items()},
        "status": "".join(np.select(kinds, list("unim"), "o").ravel().tolist()),
    }


def _curvatures(found: HessianMap | None) -> dict[str, list[float | None]]:
    """At each point of the plane; null at the border, which has no 3 × 3 points around it."""
    if found is None:
        return {}
    maps = {"lowest": found.lowest, "highest": found.highest, "share": negative_share(found)}
    padded = {name: np.pad(values, 1, constant_values=np.nan) for name, values in maps.items()}
    return {name: _numbers(values, np.isfinite(values), DIGITS) for name, values in padded.items()}


def _numbers(values: Floats, known: NDArray[np.bool_], digits: int = 0) -> list[float | None]:
    there = (known & np.isfinite(values)).ravel().tolist()
    return [
        None if not ok else float(f"{v:.{digits}g}") if digits else v
        for v, ok in zip(values.ravel().tolist(), there, strict=True)
    ]


def _points(tree: Mapping[str, Any], surface: Surface) -> list[dict[str, Any]]:
    """The critical points by number; of a minimum that drains `into` another over `saddle`, the grid point `from` which
    its basin is what is joined below the loss `until`."""
    drains = {entry["minimum"]: entry for entry in tree["merge_tree"] if entry["into"] is not None}
    basins = passes(surface) if drains else {}
    found = []
    for k, point in enumerate(tree["critical_points"]):
        own = {}
        if k in drains:
            start, until = basins[k]
            own = {"into": drains[k]["into"], "saddle": drains[k]["saddle"], "from": start, "until": until}
        found.append(
            {"kind": point["kind"], **{axis: point[axis].value for axis in "xy" if point[axis] is not None},
             "loss": point["loss"].value, "sure": bool(point["resolved"] and not point["at_border"]), **own}
        )  # fmt: skip
    return found


def _scales(panels: Sequence[Panel]) -> dict[str, Any]:
    losses = [np.where(s.measured, s.loss, np.nan) for panel in panels for s in panel.view.surfaces.values()]
    linear, logarithmic = scales_of(losses)
    maps = [array for panel in panels for found in panel.maps.values() for array in (found.lowest, found.highest)]
    return {
        "linear": _scale(linear), "log": _scale(logarithmic),
        "first": "linear" if scale_of(losses).offset is None else "log",
        "curvature": limit_of([np.zeros(0), *maps]),
    }  # fmt: skip


def _scale(scale: Scale) -> dict[str, Any]:
    return {
        "low": scale.low, "high": scale.high, "offset": scale.offset, "ticks": scale.ticks(), "clipped": scale.clipped,
    }  # fmt: skip
