"""Self-checks: what a reader should know before trusting a number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from landscape_cli.analyse.basin import DELTA
from landscape_cli.analyse.jackknife import difference
from landscape_cli.profile import PlaneRecord, Profile, Surface, agree

NARROW = 0.1  # of δ: a window whose losses rise less than this says nothing of the basin


@dataclass(frozen=True)
class Check:
    """One self-check; `ok` false is a caveat the report shows."""

    name: str
    ok: bool
    text: str


def checks(profile: Profile) -> list[dict[str, object]]:
    """All self-checks of a run, in the order they should be read."""
    found = [_finished(profile), *_centre(profile)]
    for plane in profile.planes.values():
        for split, surface in plane.surfaces.items():
            found += [*_grid_centre(plane, split, surface), *_finite(plane, split, surface)]
        found += _window(plane)
    return [asdict(check) for check in found]


def _finished(profile: Profile) -> Check:
    done, asked = profile.done
    share = f"{done} of {asked} points measured" + ("" if profile.complete else f" ({done / asked:.1%})")
    return Check("finished", profile.complete, share)


def _centre(profile: Profile) -> Iterator[Check]:
    for split, centre in profile.centre.items():
        text = f"{split}: the centre's loss is {centre.loss:.6g}, by a plain pass {centre.plain_loss:.6g}"
        same = agree(centre.loss, centre.plain_loss, profile.provenance.dtype or "float32")
        yield Check("centre equals checkpoint", same, text)


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
    bad, infinite = int(np.isnan(losses).sum()), int(np.isinf(losses).sum())
    yield Check(
        "finite",
        not (bad or infinite),
        f"{plane.name} {split}: {bad} NaN and {infinite} infinite of {losses.size} points",
    )


def _window(plane: PlaneRecord) -> Iterator[Check]:
    """Is the window so wide, or so narrow, that it says nothing of the basin?"""
    surface = plane.surface
    if not plane.complete or not surface.finite.any():
        return
    rises = np.where(surface.finite, surface.loss - surface.centre.loss, -np.inf)
    flat = int(rises.argmax())
    where = np.unravel_index(flat, rises.shape)
    rise = difference(float(surface.loss[where]), surface.loss_groups[where], surface.centre)
    highest = float(rises[where])
    beside, noise = _beside_centre(surface), 3 * (rise.stderr or 0.0)
    found = {
        f"the loss rises by at most {highest:.2g}: the window is too narrow, widen it": highest < NARROW * DELTA,
        f"the highest rise, {highest:.2g}, is within three standard errors: widen the window or take more samples": (
            highest < noise
        ),
        f"one grid step from the centre the loss has risen by {beside:.2g}: the window is too wide or the grid too "
        "coarse for the basin": beside > 10 * DELTA,
    }
    wrong = next((text for text, so in found.items() if so), None)
    yield Check("window", wrong is None, f"{plane.name}: {wrong or 'the window fits the basin'}")


def _beside_centre(surface: Surface) -> float:
    """The smallest rise of the loss one grid step from the centre; infinite where none is finite."""
    distance = np.zeros(surface.loss.shape)
    for i, axis in enumerate(surface.axes):
        shape = [-1 if j == i else 1 for j in range(len(surface.axes))]
        steps = np.abs(axis.values) / max(axis.step, 1e-300)
        distance = np.maximum(distance, steps.reshape(shape))
    ring = surface.finite & (distance > 0) & (distance <= 1 + 1e-9)
    return float((surface.loss[ring] - surface.centre.loss).min()) if ring.any() else np.inf
