"""A run file -> the profile, every part of it checked."""

from __future__ import annotations

import contextlib
import hashlib
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from landscape_cli.errors import LandscapeError
from landscape_cli.profile import MAX_GROUPS, NAME, Axis, Centre, PlaneRecord, Profile, Provenance, Surface
from landscape_cli.section import OPTIONAL_ARRAYS, SECTION_ARRAYS, Section
from landscape_cli.store.guard import DAMAGE, array, check_tree, clean, group_of, parsed, text
from landscape_cli.store.schema import BLOCK, FORMAT, SCHEMA_VERSION, SEAL, layout


def load(path: Path | str) -> Profile:
    """The profile that a run file holds, every part of it checked.

    Raises:
        LandscapeError: not there, not a run file, of a newer schema, damaged, or made to do harm.
    """
    path = Path(path)
    check_regular(path)
    check_seal(path)
    hint = "is it a file written by `landscape scan`? if it was copied, copy it again"
    try:
        with h5py.File(path, "r", locking=False) as file:
            version = _check_format(file, path)
            check_tree(file)
            profile = _read_profile(file)
            intact = version != SCHEMA_VERSION or layout(profile).sha256() == text(file, "sha256")
    except LandscapeError:
        raise
    except DAMAGE as error:
        first = clean(str(error).splitlines()[0] if str(error) else type(error).__name__)[:200]
        raise LandscapeError(f"{path} is damaged or no landscape profile: {first}", hint) from error
    if not intact:
        raise LandscapeError(f"{path} is damaged: its contents do not match its checksum", hint)
    return profile


def check_regular(path: Path) -> None:
    """Refuse what is not there, empty, or no regular file."""
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


def check_seal(path: Path) -> None:
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
    if "format" not in file.attrs or text(file, "format") != FORMAT:
        raise LandscapeError(f"{path} is an HDF5 file, but no landscape profile", "give a file of landscape scan")
    version = np.asarray(file.attrs["schema_version"]).reshape(())
    if version.dtype.kind not in "iu" or version < 1:
        raise ValueError(f"schema version {version}")
    if version > SCHEMA_VERSION:
        raise LandscapeError(
            f"{path} has schema version {version}, this landscape reads up to {SCHEMA_VERSION}",
            "install a newer one: pip install --upgrade landscape-cli",
        )
    return int(version)


def _read_profile(file: h5py.File) -> Profile:
    centre = {name: _read_centre(group) for name, group in _groups(group_of(file, "centre"))}
    planes = {name: _read_plane(name, group, centre) for name, group in _groups(group_of(file, "planes"))}
    sections = {n: _read_section(n, group_of(file, n)) for n in SECTION_ARRAYS if n in file}
    return Profile(text(file, "problem"), _read_provenance(group_of(file, "provenance")), centre, planes, sections)


def _read_section(name: str, group: h5py.Group) -> Section:
    """A section whose arrays are all there and of lengths that go together, or none of them."""
    known, held = SECTION_ARRAYS[name], set(group)
    arrays = {key: array(group, key, len(axes)) for key, (axes, _, _) in known.items() if key in held}
    optional = {key: row for row in OPTIONAL_ARRAYS for key in row}
    needed = [key for key in known if key not in optional or any(k in arrays for k in optional[key])]
    missing = [key for key in needed if key not in arrays]
    if arrays and missing:
        raise ValueError(f"{group.name} has no {missing[0]}")
    lengths = {axis: int(axis) for axis in "123456789"}
    for key, values in arrays.items():
        for axis, length in zip(known[key][0], values.shape, strict=True):
            if lengths.setdefault(axis, length) != length or not length:
                raise ValueError(f"{group.name}/{key} has {length} values where others have {lengths[axis]}")
    if max(lengths.get(axis, 1) for axis in "GH") > MAX_GROUPS:
        raise ValueError(f"{group.name} has an impossible number of sample groups")
    settings, facts = parsed(group, "settings", dict), parsed(group, "facts", dict)
    return Section(settings, text(group, "fingerprint"), arrays, facts, _texts(group, "argv"))


def _read_provenance(group: h5py.Group) -> Provenance:
    return Provenance(**{field.name: _FIELDS[str(field.type)](group, field.name) for field in fields(Provenance)})


def _texts(group: h5py.Group, name: str) -> tuple[str, ...]:
    values = parsed(group, name, list)
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{group.name}/{name} is no list of texts")
    return tuple(values)


def _mapping(*kinds: type) -> Callable[[h5py.Group, str], dict[str, Any]]:
    def read(group: h5py.Group, name: str) -> dict[str, Any]:
        values: dict[str, Any] = parsed(group, name, dict)
        if not all(isinstance(value, kinds) for value in values.values()):
            raise ValueError(f"{group.name}/{name} holds what cannot be")
        return values

    return read


# How a field of Provenance is read, by its type as written there.
_FIELDS: dict[str, Callable[[h5py.Group, str], Any]] = {
    "str": text,
    "tuple[str, ...]": _texts,
    "Mapping[str, str]": _mapping(str),
    "Mapping[str, int]": _mapping(int),
    "Mapping[str, Any]": _mapping(str, int, float, type(None)),
}


def _read_centre(group: h5py.Group) -> Centre:
    groups = array(group, "loss_groups", 1)
    sizes = array(group, "group_sizes", 1)
    if groups.shape != sizes.shape or not 1 <= len(groups) <= MAX_GROUPS:
        raise ValueError(f"{group.name} has {len(groups)} groups and {len(sizes)} sizes")
    if not (np.isfinite(sizes).all() and (sizes >= 0).all() and sizes.sum() > 0):
        raise ValueError(f"{group.name} has groups of impossible sizes")
    metrics = {name: float(array(group_of(group, "metrics"), name, 0)) for name in _names(group, "metrics")}
    loss, plain, samples = (float(array(group, name, 0)) for name in ("loss", "plain_loss", "samples"))
    return Centre(loss, groups, sizes, metrics, plain, int(samples))


def _read_plane(name: str, group: h5py.Group, centres: Mapping[str, Centre]) -> PlaneRecord:
    x, y = _read_axis(group, "axis_x"), _read_axis(group, "axis_y") if "axis_y" in group else None
    gram = array(group, "gram", 2)
    if gram.shape != ((1, 1) if y is None else (2, 2)) or not _positive_definite(gram):
        raise ValueError(f"{group.name} has a Gram matrix that is none")
    surfaces = {}
    for split, centre in centres.items():
        held = group_of(group, split)
        own = _read_centre(group_of(held, "centre")) if "centre" in held else centre
        surfaces[split] = _read_surface(held, x, y, gram, own)
    recipes, settings = parsed(group, "directions", list), parsed(group, "settings", dict)
    if not surfaces or not all(isinstance(recipe, dict) for recipe in recipes):
        raise ValueError(f"{group.name} is not a plane")
    fingerprint, argv = text(group, "fingerprint"), _texts(group, "argv")
    return PlaneRecord(name, gram, tuple(recipes), settings, fingerprint, surfaces, argv)


def _positive_definite(gram: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(gram).all() and (gram == gram.T).all() and np.linalg.eigvalsh(gram)[0] > 0)


def _read_axis(group: h5py.Group, name: str) -> Axis:
    values = array(group, name, 1)
    if not (values.size and np.isfinite(values).all() and (np.diff(values) > 0).all()):
        raise ValueError(f"{group.name}/{name} is no axis")
    return Axis(values)


def _read_surface(group: h5py.Group, x: Axis, y: Axis | None, gram: NDArray[np.float64], centre: Centre) -> Surface:
    shape = (len(x),) if y is None else (len(x), len(y))

    def grid(parent: h5py.Group, name: str, *extra: int) -> NDArray[Any]:
        values = array(parent, name, len(shape) + len(extra), "b" if name == "measured" else "f")
        if values.shape != (*shape, *extra):
            raise ValueError(f"{parent.name}/{name} has shape {values.shape}, its axes say {(*shape, *extra)}")
        return values

    metrics = {name: grid(group_of(group, "metrics"), name) for name in _names(group, "metrics")}
    groups = grid(group, "loss_groups", len(centre.group_sizes))
    return Surface(x, y, gram, grid(group, "loss"), groups, metrics, grid(group, "measured"), centre)


def _names(parent: h5py.Group, name: str) -> list[str]:
    """The members of a subgroup, names checked; none where there is no such subgroup."""
    if name not in parent:
        return []
    names = list(group_of(parent, name))[:1001]
    if len(names) > 1000 or not all(NAME.fullmatch(n) for n in names):
        raise ValueError(f"{parent.name}/{name} holds names that cannot be")
    return names


def _groups(parent: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
    """The named subgroups, in the order that the parent states."""
    names = parsed(parent, "order", list)
    if len(names) > 1000 or not all(isinstance(name, str) and NAME.fullmatch(name) for name in names):
        raise ValueError(f"{parent.name} holds names that cannot be")
    if sorted(names) != sorted(parent):
        raise ValueError(f"{parent.name} does not hold what it says")
    for name in names:
        yield name, group_of(parent, name)
