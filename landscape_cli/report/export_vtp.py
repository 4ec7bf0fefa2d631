"""A plane as VTK XML PolyData (.vtp), which ParaView opens: the triangulated surface with its numbers at the points.

Arrays are inline base64, a UInt64 of their length before them: exact to the last bit, NaN and infinity included, and
half as long as digits. Format: docs.vtk.org, "VTK XML formats".
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analyse.surface import standard_errors
from landscape_cli.profile import Floats, PlaneRecord, Profile, Surface
from landscape_cli.report.numbers import plain

Whole = NDArray[np.int64]
TYPES = {"f": "Float64", "i": "Int64", "u": "UInt8"}


def to_vtp(profile: Profile, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """ParaView: the first plane, x and y its coordinates and z the loss of its first split; every split's numbers are
    point data: `SPLIT.loss`, `SPLIT.stderr`, `SPLIT.metrics.NAME`, `SPLIT.measured`.

    Points that are not finite or not measured belong to no triangle; as coordinates they have the lowest loss there is,
    as data what they are. A line is drawn as lines in the x-z plane.
    """
    plane = next(iter(profile.planes.values()))
    points = _points(plane.surface)
    joined = _cells(plane.surface.finite)
    lines, triangles = (joined, _none(3)) if joined.shape[1] == 2 else (_none(2), joined)
    data = "".join(_array(name, values.ravel()) for name, values in _point_data(plane).items())
    counts = f'NumberOfVerts="0" NumberOfLines="{len(lines)}" NumberOfStrips="0" NumberOfPolys="{len(triangles)}"'
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">
<PolyData>
<Piece NumberOfPoints="{len(points)}" {counts}>
<PointData Scalars={_quoted(f"{next(iter(plane.surfaces))}.loss")}>
{data}</PointData>
<Points>
{_array("Points", points)}</Points>
<Lines>
{_joints(lines)}</Lines>
<Polys>
{_joints(triangles)}</Polys>
</Piece>
</PolyData>
</VTKFile>
""".encode()


def _points(surface: Surface) -> Floats:
    """(points, 3), x slow and y fast, as the grids are laid out."""
    x, *rest = (grid.ravel() for grid in np.meshgrid(*[axis.values for axis in surface.axes], indexing="ij"))
    there = surface.finite.ravel()
    lowest = surface.loss.ravel()[there].min() if there.any() else 0.0
    return np.stack([x, rest[0] if rest else np.zeros_like(x), np.where(there, surface.loss.ravel(), lowest)], axis=1)


def _point_data(plane: PlaneRecord) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for split, surface in plane.surfaces.items():
        found[f"{split}.loss"] = surface.loss
        found[f"{split}.stderr"] = standard_errors(surface)
        found |= {f"{split}.metrics.{name}": values for name, values in surface.metrics.items()}
        found[f"{split}.measured"] = surface.measured.astype(np.uint8)
    return found


def _cells(there: NDArray[np.bool_]) -> Whole:
    """(cells, 3) triangles, each cell split from its low corner to its high one, seen from above anticlockwise; or
    (cells, 2) joints of a line, also where a grid is one point wide. Only between points that are there."""
    index = np.arange(there.size, dtype=np.int64).reshape(there.shape)
    if there.ndim == 2 and min(there.shape) > 1:
        low, right, high, left = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
        corners = np.stack([low, right, high, low, high, left], axis=-1).reshape(-1, 3)
    else:
        corners = np.stack([index.ravel()[:-1], index.ravel()[1:]], axis=-1)
    kept: Whole = corners[there.ravel()[corners].all(axis=1)]
    return kept


def _none(corners: int) -> Whole:
    return np.empty((0, corners), dtype=np.int64)


def _joints(cells: Whole) -> str:
    ends = cells.shape[1] * np.arange(1, len(cells) + 1, dtype=np.int64)
    return _array("connectivity", cells.ravel()) + _array("offsets", ends)


def _array(name: str, values: NDArray[Any]) -> str:
    wide = f' NumberOfComponents="{values.shape[1]}"' if values.ndim == 2 else ""
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
    content = base64.b64encode(len(little).to_bytes(8, "little") + little).decode()
    kind = TYPES[values.dtype.kind]
    return f'<DataArray type="{kind}" Name={_quoted(name)}{wide} format="binary">{content}</DataArray>\n'


def _quoted(text: str) -> str:
    return quoteattr(plain(text))
