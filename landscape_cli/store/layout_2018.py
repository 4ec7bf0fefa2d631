"""A plane -> HDF5 as the reference code of Li et al. 2018 (github.com/tomgoldstein/loss-landscape) reads it."""

from __future__ import annotations

from collections.abc import Iterable

import h5py
import numpy as np

from landscape_cli.profile import Floats, PlaneRecord, Surface

LAYOUT_2018 = """
xcoordinates [nx], ycoordinates [ny] (absent for a line)
train_loss, test_loss     mean loss         [iy, ix], a line [ix]
train_acc, test_acc       accuracy in percent, likewise

Its plots hold every grid against np.meshgrid(xcoordinates, ycoordinates): y is the first index, where ours is x. (Its
own writer fills a grid in that order too but declares it as [nx, ny], so that only square ones come out right.) -1 is
its mark of what has not been computed: points not yet measured, and the accuracy where none is; NaN stays NaN.
"""
NOT_COMPUTED = -1.0


def names_2018(splits: Iterable[str]) -> dict[str, str]:
    """What each split is called there: `train` and `test` as they are, others take what is free of the two, in order,
    and keep their own names when nothing is."""
    splits = list(splits)
    free = [name for name in ("train", "test") if name not in splits]
    return {split: split if split in ("train", "test") or not free else free.pop(0) for split in splits}


def image_2018(plane: PlaneRecord) -> bytes:
    """The bytes of the file."""
    with h5py.File.in_memory() as file:
        for axis, label in zip(plane.surface.axes, "xy", strict=False):
            file[f"{label}coordinates"] = axis.values
        for split, name in names_2018(plane.surfaces).items():
            surface = plane.surfaces[split]
            file[f"{name}_loss"] = _grid(surface, surface.loss)
            file[f"{name}_acc"] = _accuracy(surface)
        file.flush()
        return bytes(file.id.get_file_image())


def _accuracy(surface: Surface) -> Floats:
    shares = surface.metrics.get("accuracy")
    return np.full(surface.loss.T.shape, NOT_COMPUTED) if shares is None else _grid(surface, 100 * shares)


def _grid(surface: Surface, values: Floats) -> Floats:
    """y first, and marked where nothing is."""
    return np.where(surface.measured, values, NOT_COMPUTED).T
