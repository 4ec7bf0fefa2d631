"""The run file: one HDF5 file per run. The only importer of h5py.

The image is built in memory and replaces the file by write, fsync, rename, so that a crash, a full disk or a second
writer never leaves half a file. Every file is read as if an enemy had written it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from landscape_cli.errors import LandscapeError
from landscape_cli.files import check_output, locked, write
from landscape_cli.profile import (
    MAX_BYTES,
    MAX_GROUPS,
    Axis,
    Centre,
    PlaneRecord,
    Profile,
    Provenance,
    Surface,
)

FORMAT = "landscape-profile"
SCHEMA_VERSION = 1
SCHEMA = """
/                        format="landscape-profile" schema_version=1 problem= sha256=
/provenance              text attributes, the fields of profile.Provenance; JSON where a field is no text
/centre                  order: the splits as the job names them (JSON); /planes the same of the planes
/centre/SPLIT            loss [], plain_loss [], samples [], loss_groups [G], group_sizes [G], metrics/NAME []
/planes/NAME             axis_x [nx], axis_y [ny] (absent for a line), gram [d, d];
                         directions, settings (JSON), fingerprint, complete ("true" or "false")
/planes/NAME/SPLIT       loss [nx, ny], loss_groups [nx, ny, G], metrics/NAME [nx, ny], measured [nx, ny] (bool);
                         [nx] and [nx, G] for a line
/planes/NAME/SPLIT/centre   as /centre/SPLIT, where batch norm is recomputed: the checkpoint under that policy

The file begins with a user block of 512 bytes that names the format and the SHA-256 of all that follows: damage is
found before the HDF5 library, which can crash on it, sees the file. d directions (1 or 2), G sample groups (up to 64).
Numbers are float64 datasets with `units` and `description`, text is UTF-8 attributes. sha256 is over every dataset and
attribute above. `problem` is what every section must share; `fingerprint` adds a section's own settings.

version 1   2026-11   first
"""
SAVE_EVERY = 2.0  # seconds: what a crash can cost
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_TEXT = 16 << 20
RESERVED = ("axis_x", "axis_y", "gram")  # of a plane: no split can be called so
SEAL = b"landscape-profile sha256="
BLOCK = 512  # bytes of the user block; HDF5 looks for its own beginning at 0, 512, 1024, …
DAMAGE = (
    OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, RecursionError, MemoryError, OverflowError,
)  # fmt: skip


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
    attributes["/provenance"] = {k: v if isinstance(v, str) else _json(v) for k, v in texts.items()}
    attributes["/centre"] = {"order": _json(list(profile.centre))}
    attributes["/planes"] = {"order": _json(list(profile.planes))}
    for split, centre in profile.centre.items():
        datasets |= _centre_layout(f"/centre/{split}", centre)
    for name, plane in profile.planes.items():
        at = f"/planes/{name}"
        attributes[at] = {
            "directions": _json(list(plane.directions)),
            "settings": _json(plane.settings),
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
    return Layout(datasets, attributes)


def _check_names(profile: Profile) -> None:
    metrics = [name for centre in profile.centre.values() for name in centre.metrics]
    metrics += [name for p in profile.planes.values() for surface in p.surfaces.values() for name in surface.metrics]
    for name in [*profile.centre, *profile.planes, *metrics]:
        if not NAME.fullmatch(name) or (name in RESERVED and name in profile.centre):
            hint = "use up to 64 letters, digits, - and _; not axis_x, axis_y or gram"
            raise LandscapeError(f"nothing in a run file can be called {name!r}", hint)


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
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def image(profile: Profile) -> bytes:
    """The bytes of the run file."""
    whole = layout(profile)
    with h5py.File.in_memory() as file:
        for path, dataset in whole.datasets.items():
            options = {"fletcher32": True, "chunks": True} if dataset.values.size and dataset.values.ndim else {}
            made = file.create_dataset(path, data=dataset.values, **options)
            made.attrs["units"], made.attrs["description"] = dataset.units, dataset.description
        for path, texts in whole.attributes.items():
            file.require_group(path).attrs.update(texts)
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["sha256"] = whole.sha256()
        file.flush()
        content = bytes(file.id.get_file_image())
    return (SEAL + hashlib.sha256(content).hexdigest().encode()).ljust(BLOCK, b"\0") + content


# ---------------------------------------------------------------- writing


def save(profile: Profile, path: Path | str) -> None:
    """Write a profile to a file, replacing what is there.

    Raises:
        LandscapeError: the output cannot be written, or another process is writing it.
    """
    target = check_output(Path(path))
    with locked(target):
        write(target, image(profile))


class Saver:
    """Saves a growing profile at most every two seconds; where saving is slow, a tenth of the time at most."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.due = time.monotonic() + SAVE_EVERY

    def save(self, profile: Profile) -> None:
        """Save now."""
        started = time.monotonic()
        write(self.path, image(profile))
        ended = time.monotonic()
        self.due = ended + max(SAVE_EVERY, 10 * (ended - started))

    def save_if_due(self, profile: Profile) -> None:
        """Save if the last time is long enough ago."""
        if time.monotonic() >= self.due:
            self.save(profile)


# ---------------------------------------------------------------- reading


def load(path: Path | str) -> Profile:
    """The profile that a run file holds, every part of it checked.

    Raises:
        LandscapeError: not there, not a run file, of a newer schema, damaged, or made to do harm.
    """
    path = Path(path)
    _check_regular(path)
    _check_seal(path)
    hint = "is it a file written by `landscape scan`? if it was copied, copy it again"
    try:
        with h5py.File(path, "r", locking=False) as file:
            version = _check_format(file, path)
            profile = _read_profile(file)
            stored = _text(file, "sha256")
    except LandscapeError:
        raise
    except DAMAGE as error:
        first = _clean(str(error).splitlines()[0] if str(error) else type(error).__name__)[:200]
        raise LandscapeError(f"{path} is damaged or no landscape profile: {first}", hint) from error
    if version == SCHEMA_VERSION and layout(profile).sha256() != stored:
        raise LandscapeError(f"{path} is damaged: its contents do not match its checksum", hint)
    return profile


def _check_regular(path: Path) -> None:
    try:
        mode = path.stat().st_mode
        with path.open("rb") if stat.S_ISREG(mode) else contextlib.nullcontext() as file:
            empty = file is not None and not file.read(1)
    except OSError as error:
        raise LandscapeError(f"cannot read {path}: {error.strerror}", "give the path of a run file") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise LandscapeError(f"{path} is {kind}", "give the path of a run file")
    if empty:
        raise LandscapeError(f"{path} is empty", "run landscape scan again")


def _check_seal(path: Path) -> None:
    """Compare the file with the SHA-256 in its user block; a file without one is left to the checks that follow."""
    with path.open("rb") as file:
        head = file.read(BLOCK)
        if not head.startswith(SEAL):
            return
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if head[len(SEAL) :].rstrip(b"\0") != found.encode():
        hint = "was it cut short, or changed by another program? copy it again, or scan again"
        raise LandscapeError(f"{path} is damaged: its contents do not match its checksum", hint)


def _check_format(file: h5py.File, path: Path) -> int:
    if "format" not in file.attrs or _text(file, "format") != FORMAT:
        raise LandscapeError(f"{path} is an HDF5 file, but no landscape profile", "give a file of landscape scan")
    version = int(np.asarray(file.attrs["schema_version"]).reshape(()))
    if version < 1:
        raise ValueError(f"schema version {version}")
    if version > SCHEMA_VERSION:
        raise LandscapeError(
            f"{path} has schema version {version}, this landscape reads up to {SCHEMA_VERSION}",
            "install a newer one: pip install --upgrade landscape-cli",
        )
    return version


def _read_profile(file: h5py.File) -> Profile:
    centre = {name: _read_centre(group) for name, group in _groups(_group(file, "centre"))}
    planes = {name: _read_plane(name, group, centre) for name, group in _groups(_group(file, "planes"))}
    return Profile(_text(file, "problem"), _read_provenance(_group(file, "provenance")), centre, planes)


def _read_provenance(group: h5py.Group) -> Provenance:
    kinds = {"tuple": list, "Mapping": dict}
    values: dict[str, Any] = {}
    for field in fields(Provenance):
        kind = kinds.get(str(field.type).partition("[")[0])
        values[field.name] = _text(group, field.name) if kind is None else _parsed(group, field.name, kind)
    values |= {name: tuple(str(item) for item in values[name]) for name in ("argv", "notes")}
    return Provenance(**values)


def _read_centre(group: h5py.Group) -> Centre:
    groups = _array(group, "loss_groups", 1)
    sizes = _array(group, "group_sizes", 1)
    if groups.shape != sizes.shape or not 1 <= len(groups) <= MAX_GROUPS:
        raise ValueError(f"{group.name} has {len(groups)} groups and {len(sizes)} sizes")
    metrics = {name: float(_array(_group(group, "metrics"), name, 0)) for name in _names(group, "metrics")}
    loss, plain, samples = (float(_array(group, name, 0)) for name in ("loss", "plain_loss", "samples"))
    return Centre(loss, groups, sizes, metrics, plain, int(samples))


def _read_plane(name: str, group: h5py.Group, centres: Mapping[str, Centre]) -> PlaneRecord:
    x, y = _read_axis(group, "axis_x"), _read_axis(group, "axis_y") if "axis_y" in group else None
    gram = _array(group, "gram", 2)
    if gram.shape != ((1, 1) if y is None else (2, 2)):
        raise ValueError(f"{group.name} has a Gram matrix of shape {gram.shape}")
    surfaces = {}
    for split, centre in centres.items():
        held = _group(group, split)
        own = _read_centre(_group(held, "centre")) if "centre" in held else centre
        surfaces[split] = _read_surface(held, x, y, gram, own)
    recipes, settings = _parsed(group, "directions", list), _parsed(group, "settings", dict)
    if not surfaces or not all(isinstance(recipe, dict) for recipe in recipes):
        raise ValueError(f"{group.name} is not a plane")
    return PlaneRecord(name, gram, tuple(recipes), settings, _text(group, "fingerprint"), surfaces)


def _read_axis(group: h5py.Group, name: str) -> Axis:
    values = _array(group, name, 1)
    if not (values.size and np.isfinite(values).all() and (np.diff(values) > 0).all()):
        raise ValueError(f"{group.name}/{name} is no axis")
    return Axis(values)


def _read_surface(group: h5py.Group, x: Axis, y: Axis | None, gram: NDArray[np.float64], centre: Centre) -> Surface:
    shape = (len(x),) if y is None else (len(x), len(y))

    def grid(parent: h5py.Group, name: str, *extra: int) -> NDArray[Any]:
        values = _array(parent, name, len(shape) + len(extra), "b" if name == "measured" else "f")
        if values.shape != (*shape, *extra):
            raise ValueError(f"{parent.name}/{name} has shape {values.shape}, its axes say {(*shape, *extra)}")
        return values

    metrics = {name: grid(_group(group, "metrics"), name) for name in _names(group, "metrics")}
    groups = grid(group, "loss_groups", len(centre.group_sizes))
    return Surface(x, y, gram, grid(group, "loss"), groups, metrics, grid(group, "measured"), centre)


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    found = _linked(parent, name)
    if not isinstance(found, h5py.Group):
        raise ValueError(f"{parent.name}/{name} is no group")
    return found


def _linked(parent: h5py.Group, name: str) -> Any:
    """A member by a hard link: soft and external ones could lead to any file of the user's."""
    if not isinstance(parent.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{_clean(name)} is a link to somewhere else")
    return parent[name]


def _names(parent: h5py.Group, name: str) -> list[str]:
    """The members of a subgroup, names checked; none where there is no such subgroup."""
    if name not in parent:
        return []
    names = list(_group(parent, name))[:1001]
    if len(names) > 1000 or not all(NAME.fullmatch(n) for n in names):
        raise ValueError(f"{parent.name}/{name} holds names that cannot be")
    return names


def _groups(parent: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
    """The named subgroups, in the order that the parent states."""
    names = _parsed(parent, "order", list)
    if len(names) > 1000 or not all(isinstance(name, str) and NAME.fullmatch(name) for name in names):
        raise ValueError(f"{parent.name} holds names that cannot be")
    if sorted(names) != sorted(parent):
        raise ValueError(f"{parent.name} does not hold what it says")
    for name in names:
        yield name, _group(parent, name)


def _array(parent: h5py.Group, name: str, rank: int, kind: str = "f") -> NDArray[Any]:
    """A dataset of this rank, float64 or bool, stored in this file, of a size that can be."""
    found = _linked(parent, name)
    if not isinstance(found, h5py.Dataset) or found.ndim != rank:
        raise ValueError(f"{parent.name}/{name} is no array of rank {rank}")
    if found.dtype != (np.dtype(bool) if kind == "b" else np.dtype(np.float64)):
        raise ValueError(f"{parent.name}/{name} holds {found.dtype}")
    check_dataset(found)
    return np.asarray(found[()])


def check_dataset(dataset: h5py.Dataset) -> None:
    """Refuse storage outside the file, unknown filters, and shapes that declare more than the file can hold."""
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{dataset.name} keeps its values in another file")
    options = dataset.id.get_create_plist()
    used = {options.get_filter(i)[0] for i in range(options.get_nfilters())}
    if used - {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}:
        raise ValueError(f"{dataset.name} uses filters that cannot be")
    size = int(np.prod(dataset.shape, dtype=object)) * dataset.dtype.itemsize
    chunk = int(np.prod(dataset.chunks or (0,), dtype=object)) * dataset.dtype.itemsize
    held = dataset.id.get_storage_size() * (1100 if h5py.h5z.FILTER_DEFLATE in used else 1)
    if size > min(MAX_BYTES, held) or chunk > MAX_BYTES:
        raise ValueError(f"{dataset.name} declares {size} bytes and holds {dataset.id.get_storage_size()}")


def _text(parent: h5py.Group, name: str) -> str:
    attribute = h5py.h5a.open(parent.id, name.encode())
    if attribute.shape != () or attribute.get_storage_size() > MAX_TEXT:
        raise ValueError(f"the attribute {name} is no text")
    value = parent.attrs[name]
    if name == "schema_version" or not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError(f"the attribute {name} is no text")
    return value


def _parsed(parent: h5py.Group, name: str, kind: type) -> Any:
    value = json.loads(_text(parent, name))
    if not isinstance(value, kind):
        raise ValueError(f"the attribute {name} is no {kind.__name__}")
    return value


def _clean(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", text)


class Arrays(Mapping[str, Any]):
    """The datasets of any HDF5 file by path without the leading slash, each checked and read when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        with self._open() as file:
            self._walk(file, "", 0)

    @contextlib.contextmanager
    def _open(self) -> Iterator[h5py.File]:
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                yield file
        except DAMAGE as error:
            raise LandscapeError(f"{self.path} cannot be used: {_clean(str(error))}", "save it again") from error

    def _walk(self, group: h5py.Group, prefix: str, depth: int) -> None:
        for name in group if depth < 8 else ():
            if isinstance(group.get(name, getlink=True), h5py.HardLink) and len(self.names) < 100_000:
                if isinstance(group[name], h5py.Group):
                    self._walk(group[name], f"{prefix}{name}/", depth + 1)
                else:
                    self.names.append(f"{prefix}{name}")

    def __getitem__(self, name: str) -> Any:
        with self._open() as file:
            dataset = file[name]
            check_dataset(dataset)
            return dataset[()]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


READERS = {".h5": Arrays, ".hdf5": Arrays}
