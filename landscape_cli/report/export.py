"""A run's arrays -> the bytes of a file that other tools read, by its ending: EXPORTS = {ending: function}.

Every function takes the profile and its arrays by their path in the run file (`planes/main/train/loss`); all names in
what it writes come from there. The layout of the 2018 code is HDF5, and lives in store/.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.surface import squared_distances, standard_errors
from landscape_cli.profile import PlaneRecord, Profile, Surface
from landscape_cli.report.export_vtp import to_vtp
from landscape_cli.report.json import plain_values, provenance_as_json

Arrays = Mapping[str, NDArray[Any]]
FORMAT_VERSION = 1
POINT = ("plane", "split", "x", "y", "distance", "loss", "stderr")  # then metrics.NAME and measured


def to_npz(profile: Profile, arrays: Arrays) -> bytes:
    """NumPy: every array by its path, `stderr` beside every loss, and `provenance`, a text that is JSON."""
    document = json.dumps(provenance_as_json(profile), allow_nan=False)
    held: dict[str, Any] = {**with_errors(profile, arrays), "provenance": np.array(document)}
    out = io.BytesIO()
    np.savez(out, **held)
    return out.getvalue()


def to_json(profile: Profile, arrays: Arrays) -> bytes:
    """Strict JSON: {"format", "format_version", "complete", "provenance", "planes", "sections", "arrays": {path: …}}.

    A number that is not finite is null. Beside every grid of losses stand `measured` and `status`: "ok", "not
    measured", "nan", "inf" or "-inf".
    """
    held = with_errors(profile, arrays)
    planes = {
        name: {"complete": p.complete, "directions": p.directions, "settings": p.settings}
        for name, p in profile.planes.items()
    }
    sections = {
        name: {"complete": s.complete, "settings": s.settings, "facts": s.facts} for name, s in profile.sections.items()
    }
    document = {
        "format": "landscape-export",
        "format_version": FORMAT_VERSION,
        "complete": profile.complete,
        "provenance": provenance_as_json(profile),
        "planes": plain_values(planes),
        "sections": plain_values(sections),
        "arrays": {path: _nested(values) for path, values in {**held, **_statuses(profile)}.items()},
    }
    return (json.dumps(document, allow_nan=False) + "\n").encode()


def to_csv(profile: Profile, arrays: Arrays) -> bytes:
    """One row for each point and split: plane, split, x, y, distance, loss, stderr, metrics.NAME …, measured.

    `distance` is the point's from the checkpoint in parameter space. A field is empty where there is no number: y of a
    line, and all of a point that is not measured; NaN and infinity are `nan`, `inf` and `-inf`.
    """
    surfaces = [(p.name, split, s) for p in profile.planes.values() for split, s in p.surfaces.items()]
    metrics = list(dict.fromkeys(name for _, _, surface in surfaces for name in surface.metrics))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*POINT, *(f"metrics.{name}" for name in metrics), "measured"])
    for plane, split, surface in surfaces:
        writer.writerows([plane, split, *row] for row in _rows(surface, metrics))
    return out.getvalue().encode()


def with_errors(profile: Profile, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """The arrays, and beside the loss of every split and surface its standard error, under `stderr`."""
    found = dict(arrays)
    for split, centre in profile.centre.items():
        error = jackknife.mean(centre.loss, centre.loss_groups, centre.group_sizes).stderr
        found[f"/centre/{split}/stderr"] = np.array(np.nan if error is None else error)
    for plane, split, surface in _surfaces(profile):
        found[f"/planes/{plane.name}/{split}/stderr"] = standard_errors(surface)
    return {path.removeprefix("/"): found[path] for path in sorted(found)}


def _surfaces(profile: Profile) -> Iterator[tuple[PlaneRecord, str, Surface]]:
    return ((plane, split, surface) for plane in profile.planes.values() for split, surface in plane.surfaces.items())


def _statuses(profile: Profile) -> dict[str, NDArray[Any]]:
    return {f"planes/{plane.name}/{split}/status": _status(surface) for plane, split, surface in _surfaces(profile)}


def _status(surface: Surface) -> NDArray[Any]:
    """Of each loss, one word."""
    loss = surface.loss
    kinds = {"not measured": ~surface.measured, "nan": np.isnan(loss), "inf": loss == np.inf, "-inf": loss == -np.inf}
    return np.select([*kinds.values()], [*kinds], "ok")


def _nested(values: NDArray[Any]) -> Any:
    """As lists; null for what is not finite."""
    if values.dtype.kind != "f":
        return values.tolist()
    held = values.astype(object)
    held[~np.isfinite(values)] = None
    return held.tolist()


def _rows(surface: Surface, metrics: list[str]) -> Iterator[list[str]]:
    """Each point's fields after its plane and split, x slow and y fast."""
    grids = np.meshgrid(*[axis.values for axis in surface.axes], indexing="ij")
    everywhere = [*grids, *([None] if surface.y is None else []), np.sqrt(squared_distances(surface))]
    measured = [surface.loss, standard_errors(surface), *(surface.metrics.get(name) for name in metrics)]
    there = surface.measured.ravel().tolist()
    columns = [_texts(values, [True] * len(there)) for values in everywhere]
    columns += [_texts(values, there) for values in measured]
    return map(list, zip(*columns, ["true" if known else "false" for known in there], strict=True))


def _texts(values: NDArray[Any] | None, there: list[bool]) -> list[str]:
    """Numbers to the last digit; "" where there is none."""
    if values is None:
        return [""] * len(there)
    return [repr(number) if known else "" for number, known in zip(values.ravel().tolist(), there, strict=True)]


EXPORTS: dict[str, Callable[[Profile, Arrays], bytes]] = {
    ".npz": to_npz,
    ".csv": to_csv,
    ".json": to_json,
    ".vtp": to_vtp,
}
