"""The layout of the run file: which dataset and which attribute holds what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape_cli.profile import Centre, Profile, Surface, check_names
from landscape_cli.section import SECTION_ARRAYS

FORMAT = "landscape-profile"
SCHEMA_VERSION = 1
SCHEMA = """
/                        format="landscape-profile" schema_version=1 problem= sha256=
/provenance              text attributes, the fields of profile.Provenance; JSON where a field is no text
/centre                  order: the splits as the job names them (JSON); /planes the same of the planes
/centre/SPLIT            loss [], plain_loss [], samples [], loss_groups [G], group_sizes [G], metrics/NAME []
/planes/NAME             axis_x [nx], axis_y [ny] (absent for a line), gram [d, d];
                         directions, settings, argv (JSON), fingerprint, complete ("true" or "false")
/planes/NAME/SPLIT       loss [nx, ny], loss_groups [nx, ny, G], metrics/NAME [nx, ny], measured [nx, ny] (bool);
                         [nx] and [nx, G] for a line
/gradient /hessian /sharpness   settings, facts, argv (JSON), fingerprint, complete; when complete the arrays that
                         section.SECTION_ARRAYS names: the mean loss's derivatives at the checkpoint, and how it rises
                         around it, in all parameters
/planes/NAME/SPLIT/centre   as /centre/SPLIT, where batch norm is recomputed: the checkpoint under that policy

The file begins with a user block of 512 bytes that names the format and the SHA-256 of all that follows: damage is
found before the HDF5 library, which can crash on it, sees the file. d directions (1 or 2), G sample groups (up to 64).
Numbers are float64 datasets with `units` and `description`, text is UTF-8 attributes. sha256 is over every dataset and
attribute above. `problem` is what every section must share; `fingerprint` adds a section's own settings.

version 1   2026-11   first
"""
SEAL = b"landscape-profile sha256="
BLOCK = 512  # bytes of the user block; HDF5 looks for its own beginning at 0, 512, 1024, …


@dataclass(frozen=True)
class Dataset:
    """An array with its unit and its meaning."""

    values: NDArray[Any]
    units: str
    description: str


@dataclass(frozen=True)
class Layout:
    """A profile as the file holds it: datasets and text attributes by path."""

    datasets: Mapping[str, Dataset]
    attributes: Mapping[str, Mapping[str, str]]

    def sha256(self) -> str:
        """Over names, types, shapes and bytes of the datasets, and over the attributes."""
        digest = hashlib.sha256(json.dumps(self.attributes, sort_keys=True).encode())
        for path, dataset in sorted(self.datasets.items()):
            values = np.ascontiguousarray(dataset.values)
            digest.update(f"\n{path} {values.dtype.str} {values.shape}\n".encode())
            digest.update(values.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()


def layout(profile: Profile) -> Layout:
    """Where everything of a profile goes."""
    _check_names(profile)
    datasets: dict[str, Dataset] = {}
    attributes = {"/": {"format": FORMAT, "schema_version": str(SCHEMA_VERSION), "problem": profile.problem}}
    texts = asdict(profile.provenance)
    attributes["/provenance"] = {k: _utf8(v) if isinstance(v, str) else _json(v) for k, v in texts.items()}
    attributes["/centre"] = {"order": _json(list(profile.centre))}
    attributes["/planes"] = {"order": _json(list(profile.planes))}
    for split, centre in profile.centre.items():
        datasets |= _centre_layout(f"/centre/{split}", centre)
    for name, plane in profile.planes.items():
        at = f"/planes/{name}"
        attributes[at] = {
            "directions": _json(list(plane.directions)),
            "settings": _json(plane.settings),
            "argv": _json(list(plane.argv)),
            "fingerprint": plane.fingerprint,
            "complete": "true" if plane.complete else "false",
        }
        for axis, label in zip(plane.surface.axes, "xy", strict=False):
            text = f"coordinates of {label}, in multiples of its direction"
            datasets[f"{at}/axis_{label}"] = Dataset(axis.values, "1", text)
        datasets[f"{at}/gram"] = Dataset(plane.gram, "parameter^2", "inner products of the directions")
        for split, surface in plane.surfaces.items():
            datasets |= _surface_layout(f"{at}/{split}", surface)
            if surface.centre is not profile.centre[split]:
                datasets |= _centre_layout(f"{at}/{split}/centre", surface.centre)
    for name, section in profile.sections.items():
        attributes[f"/{name}"] = {
            "settings": _json(section.settings),
            "facts": _json(section.facts),
            "argv": _json(list(section.argv)),
            "fingerprint": section.fingerprint,
            "complete": "true" if section.complete else "false",
        }
        for key, (_, units, text) in SECTION_ARRAYS[name].items():
            if key in section.arrays:
                datasets[f"/{name}/{key}"] = Dataset(np.asarray(section.arrays[key], dtype=np.float64), units, text)
    return Layout(datasets, attributes)


def _check_names(profile: Profile) -> None:
    metrics = [name for centre in profile.centre.values() for name in centre.metrics]
    metrics += [name for p in profile.planes.values() for surface in p.surfaces.values() for name in surface.metrics]
    check_names(profile.centre, [*profile.planes, *metrics])


def _centre_layout(at: str, centre: Centre) -> dict[str, Dataset]:
    def number(value: float, units: str, text: str) -> Dataset:
        return Dataset(np.array(value, dtype=np.float64), units, text)

    return {
        f"{at}/loss": number(centre.loss, "loss", "mean loss at the checkpoint"),
        f"{at}/plain_loss": number(centre.plain_loss, "loss", "the same by one separate plain pass"),
        f"{at}/samples": number(centre.samples, "1", "number of samples"),
        f"{at}/loss_groups": Dataset(centre.loss_groups, "loss", "mean loss of each sample group"),
        f"{at}/group_sizes": Dataset(centre.group_sizes, "1", "weight of each sample group: samples, or tokens"),
        **{f"{at}/metrics/{n}": number(v, "1", f"{n} at the checkpoint") for n, v in centre.metrics.items()},
    }


def _surface_layout(at: str, surface: Surface) -> dict[str, Dataset]:
    return {
        f"{at}/loss": Dataset(surface.loss, "loss", "mean loss [ix, iy]"),
        f"{at}/loss_groups": Dataset(surface.loss_groups, "loss", "mean loss of each sample group [ix, iy, group]"),
        f"{at}/measured": Dataset(surface.measured, "1", "whether the point has been measured [ix, iy]"),
        **{f"{at}/metrics/{n}": Dataset(v, "1", f"{n} [ix, iy]") for n, v in surface.metrics.items()},
    }


def _json(value: Any) -> str:
    return _utf8(json.dumps(value, sort_keys=True, ensure_ascii=False))


def _utf8(text: str) -> str:
    """Names of files may hold bytes that no UTF-8 can; a text attribute cannot, nor a NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")
