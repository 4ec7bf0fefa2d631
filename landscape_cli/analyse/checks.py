"""Self-checks: what a reader should know before trusting a number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse.basin import DELTA
from landscape_cli.analyse.jackknife import difference
from landscape_cli.profile import Axis, Estimate, PlaneRecord, Profile, Surface, agree


@dataclass(frozen=True)
class Check:
    """One self-check; `ok` false is a caveat the report shows."""

    name: str
    ok: bool
    text: str


Trees = Mapping[str, Mapping[str, Any]]  # the statistics of each split of each plane


def checks(profile: Profile, planes: Trees | None = None) -> list[dict[str, object]]:
    """All self-checks of a run, in the order they should be read; what its planes' statistics say where given."""
    found = [_finished(profile), *_centre(profile), *_groups(profile)]
    for plane in profile.planes.values():
        for split, surface in plane.surfaces.items():
            found += [*_grid_centre(plane, split, surface), *_finite(plane, split, surface)]
        found += _window(plane, (planes or {}).get(plane.name, {}))
    return [asdict(check) for check in found]


def euler_checks(planes: Trees) -> list[dict[str, object]]:
    """Whether the critical points found add up to the Euler characteristic of the surface; one line per plane.

    None of a plane without a finite point.
    """
    found = []
    for name, splits in planes.items():
        sums = {split: tree["topology"]["euler"] for split, tree in splits.items()}
        sums = {split: euler for split, euler in sums.items() if euler["sum"] or euler["expected"]}
        if not sums:
            continue
        ok = all(bool(euler["ok"]) for euler in sums.values())
        told = ", ".join(f"{split} {euler['sum']} of {euler['expected']}" for split, euler in sums.items())
        found.append(asdict(Check("euler", ok, f"{name}: critical points add up to the Euler characteristic: {told}")))
    return found


def _finished(profile: Profile) -> Check:
    done, asked = profile.done
    missing = "".join(f", {name} not measured" for name, s in profile.sections.items() if not s.complete)
    share = f"{done} of {asked} points measured" if asked else "everything that was asked for is measured"
    share = f"no plane{missing}" if missing and not asked else f"{share}{missing}"
    share += "" if done == asked else f" ({done / asked:.1%})"
    return Check("finished", profile.complete, share)


def _centre(profile: Profile) -> Iterator[Check]:
    for split, centre in profile.centre.items():
        text = f"{split}: the centre's loss is {centre.loss:.6g}, by a plain pass {centre.plain_loss:.6g}"
        same = agree(centre.loss, centre.plain_loss, profile.provenance.dtype or "float32")
        yield Check("centre equals checkpoint", same, text)


def _groups(profile: Profile) -> Iterator[Check]:
    """Nothing is known of the noise of a split whose samples are all in one group."""
    for split, centre in profile.centre.items():
        if np.count_nonzero(centre.group_sizes) < 2:
            text = f"{split}: one sample group: no standard errors, and noise counts as structure"
            yield Check("groups", False, text)


def _grid_centre(plane: PlaneRecord, split: str, surface: Surface) -> Iterator[Check]:
    """Where (0, 0) is a grid point its loss must be the centre's."""
    spots = [axis.index(0.0) for axis in surface.axes]
    if any(spot is None for spot in spots) or not surface.measured[tuple(spots)]:
        return
    loss = float(surface.loss[tuple(spots)])
    same = np.isclose(loss, surface.centre.loss, rtol=2e-5, atol=1e-7)
    yield Check(
        "grid centre",
        bool(same),
        f"{plane.name} {split}: the loss at 0 is {loss:.6g}, the centre's {surface.centre.loss:.6g}",
    )


def _finite(plane: PlaneRecord, split: str, surface: Surface) -> Iterator[Check]:
    losses = surface.loss[surface.measured]
    if not losses.size:
        return
    bad, infinite = int(np.isnan(losses).sum()), int(np.isinf(losses).sum())
    yield Check(
        "finite",
        not (bad or infinite),
        f"{plane.name} {split}: {bad} NaN and {infinite} infinite of {losses.size} points",
    )


def _window(plane: PlaneRecord, trees: Mapping[str, Any]) -> Iterator[Check]:
    """Is the window so wide, or so narrow, that it says nothing of the basin?"""
    if plane.complete:
        cut = [split for split, tree in trees.items() if _is_cut(tree["basin"])]
        wrong = next(iter([*_window_faults(plane.surface), *_cut(cut)]), None)
        yield Check("window", wrong is None, f"{plane.name}: {wrong or 'the window fits the basin'}")


def _is_cut(basin: Mapping[str, Any]) -> bool:
    """Whether the window, or a point that is not finite, ends the basin before the loss does."""
    return any(isinstance(found, Estimate) and found.bound == "lower" for found in basin.values())


def _cut(splits: list[str]) -> list[str]:
    """What that means."""
    where = "reaches the window's border or a point that is not finite"
    told = f"the basin of δ = {DELTA} of {', '.join(splits)} {where}"
    return [f"{told}: its size is a lower bound, move the window's border"] if splits else []


def _window_faults(surface: Surface) -> Iterator[str]:
    """What keeps the window from showing the basin, the gravest first."""
    if any(axis.values[0] > 0 or axis.values[-1] < 0 or len(axis) < 2 for axis in surface.axes):
        yield "the window does not lie around the centre: it has no basin"
        return
    if not surface.finite.any():
        yield "no point is finite: narrow the window"
        return
    walls = not surface.finite.all()
    rises = np.where(surface.finite, surface.loss - surface.centre.loss, -np.inf)
    where = np.unravel_index(int(rises.argmax()), rises.shape)
    rise = difference(float(surface.loss[where]), surface.loss_groups[where], surface.centre)
    highest, beside = float(rises[where]), _beside_centre(surface)
    if not walls and highest < DELTA:
        yield f"the loss rises by at most {highest:.2g}, less than δ = {DELTA}: the window is too narrow, widen it"
    if not walls and highest < 3 * (rise.stderr or 0.0):
        yield f"the highest rise, {highest:.2g}, is within three standard errors: widen the window or take more samples"
    if beside > 10 * DELTA:
        much = f"risen by {beside:.2g}" if np.isfinite(beside) else "left what is finite"
        yield f"one grid step from the centre the loss has {much}: the window is too wide or the grid too coarse"


def _beside_centre(surface: Surface) -> float:
    """The smallest rise of the loss at the grid points around the centre; infinite where none is finite."""
    around = np.ix_(*[_around(axis) for axis in surface.axes])
    losses, finite = surface.loss[around].copy(), surface.finite[around].copy()
    at_centre = np.ix_(*[axis.values[_around(axis)] == 0 for axis in surface.axes])
    finite[at_centre] = False
    return float((losses[finite] - surface.centre.loss).min()) if finite.any() else np.inf


def _around(axis: Axis) -> NDArray[np.intp]:
    """The indices of 0, where it is a grid point, and of its neighbours."""
    first = int(np.searchsorted(axis.values, 0.0))
    last = int(np.searchsorted(axis.values, 0.0, side="right"))
    return np.arange(max(0, first - 1), min(len(axis), last + 1))
