"""`landscape export`: every number arrives, at its own place, in every format."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from problems import surface_of

from landscape_cli import store
from landscape_cli.analyse import jackknife
from landscape_cli.analyse.surface import standard_errors
from landscape_cli.cli.export import ENDINGS
from landscape_cli.cli.main import main
from landscape_cli.errors import ExitCode
from landscape_cli.profile import PlaneRecord, Profile, Provenance, Surface
from landscape_cli.report.export import EXPORTS
from landscape_cli.report.export_vtp import to_vtp
from landscape_cli.section import SECTION_ARRAYS, Section

Capture = pytest.CaptureFixture[str]
Change = Callable[[Surface], Surface]
X, Y = (-1.0, -0.25, 0.0, 1 / 3), (-2.0, 0.0, 0.7)  # 4 × 3, no two steps alike
GRAM = np.array([[4.0, 3.0], [3.0, 9.0]])
SHIFT = {"train": 0.0, "test": 0.1}


def f(x: Any, y: Any = 0.0) -> Any:
    """No two points of the grid have the same value, nor would they with the axes exchanged or turned round."""
    return np.exp(x / 3) + 0.3 * (y - 1) ** 2 + x * y / 7


def accuracy(x: Any, y: Any = 0.0) -> Any:
    """Another, between 0 and 1."""
    return 1 / (2 + x + y**2 + x * y / 5)


def surface(shift: float, line: bool) -> Surface:
    made = surface_of(f, X, None if line else Y, None if line else GRAM, noise=0.01, sizes=[1, 2, 3, 4])
    points = np.meshgrid(*[axis.values for axis in made.axes], indexing="ij")
    values = accuracy(*points) + shift / 10
    return dataclasses.replace(
        made, loss=f(*points) + shift, loss_groups=made.loss_groups + shift, metrics={"accuracy": values}
    )


def plane(name: str, line: bool, splits: tuple[str, ...], change: Change) -> PlaneRecord:
    surfaces = {split: change(surface(SHIFT.get(split, 0.2), line)) for split in splits}
    first = next(iter(surfaces.values()))
    return PlaneRecord(name, first.gram, ({"kind": "random"},), {"seed": 0}, "", surfaces)


def section(name: str) -> Section:
    """Every array of a section, no two numbers alike."""
    arrays = {}
    for i, (key, (axes, _, _)) in enumerate(SECTION_ARRAYS[name].items()):
        shape = tuple(int(a) if a.isdigit() else 2 for a in axes)
        arrays[key] = i + np.arange(np.prod(shape, dtype=int)).reshape(shape) / 7
    return Section({}, "fingerprint", arrays, {"names": ["a"]})


def profile(splits: tuple[str, ...] = ("train", "test"), change: Change = lambda s: s, parts: bool = True) -> Profile:
    """A run of a plane and a line."""
    planes = {"main": plane("main", False, splits, change), "line": plane("line", True, splits, lambda s: s)}
    centres = {split: held.centre for split, held in planes["main"].surfaces.items()}
    for split, centre in centres.items():  # one centre for both
        for name, record in planes.items():
            held = {**record.surfaces, split: dataclasses.replace(record.surfaces[split], centre=centre)}
            planes[name] = dataclasses.replace(record, surfaces=held)
    sections = {name: section(name) for name in SECTION_ARRAYS} if parts else {}
    return Profile("problem", Provenance(argv=("landscape", "scan")), centres, planes, sections)


def exported(folder: Path, held: Profile, name: str, *args: str, code: int = ExitCode.OK) -> Path:
    run, out = folder / "run.h5", folder / name
    store.save(held, run)
    assert main(["export", str(run), "-o", str(out), *args]) == code
    return out


# ------------------------------------------------- each format as others read it: {(plane, split, x, y): loss}

Points = dict[tuple[str, str, float, float], float]


def strict(text: str) -> Any:
    """JSON as other parsers read it: no NaN, no Infinity."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def of_arrays(arrays: Mapping[str, Any]) -> Points:
    """By axes and indices [ix][iy]."""
    found: Points = {}
    for path, values in arrays.items():
        if path.startswith("planes/") and path.endswith("/loss") and "centre" not in path:
            _, name, split, _ = path.split("/")
            for ix, x in enumerate(arrays[f"planes/{name}/axis_x"]):
                for iy, y in enumerate(arrays.get(f"planes/{name}/axis_y", [0.0])):
                    value = values[ix][iy] if name == "main" else values[ix]
                    found[name, split, float(x), float(y)] = float("nan") if value is None else float(value)
    return found


def read_npz(path: Path) -> Points:
    with np.load(path, allow_pickle=False) as arrays:
        return of_arrays(dict(arrays))


def read_json(path: Path) -> Points:
    return of_arrays(strict(path.read_text())["arrays"])


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def read_csv(path: Path) -> Points:
    return {
        (row["plane"], row["split"], float(row["x"]), float(row["y"] or 0)): float(row["loss"] or "nan")
        for row in rows(path)
    }


def decoded(array: ElementTree.Element) -> NDArray[Any]:
    """An inline array of VTK's XML."""
    content = base64.b64decode(array.text or "")
    assert int.from_bytes(content[:8], "little") == len(content) - 8
    kinds = {"Float64": "<f8", "Int64": "<i8", "UInt8": "u1"}
    return np.frombuffer(content[8:], kinds[array.attrib["type"]]).reshape(
        -1, int(array.get("NumberOfComponents", "1"))
    )


def vtp_arrays(content: bytes, part: str) -> dict[str, NDArray[Any]]:
    root = ElementTree.fromstring(content)
    assert root.tag == "VTKFile"
    assert root.attrib["type"] == "PolyData"
    return {array.attrib["Name"]: decoded(array) for array in root.iterfind(f"PolyData/Piece/{part}/DataArray")}


def read_vtp(path: Path, name: str = "main") -> Points:
    data, points = (vtp_arrays(path.read_bytes(), part) for part in ("PointData", "Points"))
    places = points["Points"][:, :2].tolist()
    return {
        (name, key.removesuffix(".loss"), x, y): float(loss)
        for key, losses in data.items()
        if key.endswith(".loss")
        for (x, y), (loss,) in zip(places, losses, strict=True)
    }


def read_2018(path: Path, name: str = "main") -> Points:
    """As plot_2D.py and plot_1D.py hold a grid against its coordinates."""
    found: Points = {}
    with h5py.File(path) as file:
        x = file["xcoordinates"][:]
        grids = np.meshgrid(x, file["ycoordinates"][:]) if "ycoordinates" in file else (x, np.zeros_like(x))
        for split in ("train", "test"):
            for a, b, loss in zip(*grids, file[f"{split}_loss"][:], strict=True):
                cells = zip(np.atleast_1d(a), np.atleast_1d(b), np.atleast_1d(loss), strict=True)
                found |= {(name, split, float(i), float(j)): float(k) for i, j, k in cells}
    return found


READ: dict[str, Callable[[Path], Points]] = {
    ".npz": read_npz,
    ".csv": read_csv,
    ".json": read_json,
    ".vtp": read_vtp,
    ".h5": read_2018,
}


def layout(ending: str) -> list[str]:
    return ["--layout", "2018"] if ending == ".h5" else []


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_value_is_at_its_place_to_the_last_digit(ending: str, tmp_path: Path) -> None:
    read = READ[ending](exported(tmp_path, profile(), f"out{ending}", *layout(ending)))
    found = {(split, x, y): value for (name, split, x, y), value in read.items() if name == "main"}
    assert found == {(split, x, y): value for split, x, y, value in cells(profile().planes["main"])}
    assert found == pytest.approx({(s, x, y): f(x, y) + SHIFT[s] for s in SHIFT for x in X for y in Y}, abs=1e-14)


def cells(record: PlaneRecord) -> list[tuple[str, float, float, float]]:
    return [
        (split, x, y, float(held.loss[i, j] if held.y else held.loss[i]))
        for split, held in record.surfaces.items()
        for i, x in enumerate(X)
        for j, y in enumerate(Y if held.y else (0.0,))
    ]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_line_is_at_its_place(ending: str, tmp_path: Path) -> None:
    path = exported(tmp_path, profile(), f"out{ending}", "--plane", "line", *layout(ending))
    exact = {(split, x): value for split, x, _, value in cells(profile().planes["line"])}
    found = READ[ending](path)
    assert {key[1:3]: value for key, value in found.items()} == exact
    assert {key[3] for key in found} == {0.0}


def test_every_array_of_the_run_file_is_in_npz_and_json_by_its_path(tmp_path: Path) -> None:
    held = profile()
    npz, text = exported(tmp_path, held, "out.npz"), exported(tmp_path, held, "out.json")
    document = strict(text.read_text())
    with np.load(npz, allow_pickle=False) as arrays, h5py.File(tmp_path / "run.h5") as file:
        paths: list[str] = []
        file.visititems(lambda path, item: paths.append(path) if isinstance(item, h5py.Dataset) else None)
        assert {p.split("/")[0] for p in paths} == {"centre", "planes", "gradient", "hessian", "sharpness"}
        for path in paths:
            assert arrays[path].dtype == file[path].dtype
            assert arrays[path].tobytes() == file[path][()].tobytes(), path
            assert document["arrays"][path] == file[path][()].tolist(), path
        assert json.loads(str(arrays["provenance"]))["argv"] == ["landscape", "scan"]
        more = set(arrays) - set(paths) - {"provenance"}
        assert {path.split("/")[-1] for path in more} == {"stderr"}
        assert len(more) == 2 + 4  # of both centres, of both splits of both planes
        for path in more:
            np.testing.assert_array_equal(arrays[path], document["arrays"][path])
    assert document["format_version"] == 1
    assert document["complete"] is True
    assert document["sections"]["hessian"]["facts"] == {"names": ["a"]}


def test_errors_are_the_jackknifes_at_every_point(tmp_path: Path) -> None:
    held = profile()
    path = exported(tmp_path, held, "out.csv")
    found = {(r["plane"], r["split"], r["x"], r["y"]): float(r["stderr"]) for r in rows(path)}
    for split, each in held.planes["main"].surfaces.items():
        for (i, x), (j, y) in ((a, b) for a in enumerate(X) for b in enumerate(Y)):
            one = jackknife.mean(each.loss[i, j], each.loss_groups[i, j], each.centre.group_sizes).stderr
            assert found["main", split, repr(x), repr(y)] == pytest.approx(one, rel=1e-9)
    for split, centre in held.centre.items():
        with np.load(exported(tmp_path, held, "o.npz", "--force")) as arrays:
            one = jackknife.mean(centre.loss, centre.loss_groups, centre.group_sizes).stderr
            assert arrays[f"centre/{split}/stderr"] == one


def test_a_row_has_distance_metrics_and_state(tmp_path: Path) -> None:
    path = exported(tmp_path, profile(), "out.csv")
    assert path.read_text().splitlines()[0] == "plane,split,x,y,distance,loss,stderr,metrics.accuracy,measured"
    assert len(rows(path)) == 2 * (12 + 4)
    for row in rows(path):
        x, y = float(row["x"]), float(row["y"] or 0)
        square = 4 * x**2 + 6 * x * y + 9 * y**2 if row["plane"] == "main" else x**2
        assert float(row["distance"]) == pytest.approx(np.sqrt(square), abs=1e-12)
        assert float(row["metrics.accuracy"]) == pytest.approx(accuracy(x, y) + SHIFT[row["split"]] / 10, abs=1e-12)
        assert row["measured"] == "true"
        assert (row["y"] == "") == (row["plane"] == "line")


# ---------------------------------------------------------------- what is not finite, and not there yet

ODD = {(0, 0): np.nan, (0, 2): np.inf, (3, 1): -np.inf}


def odd(held: Surface) -> Surface:
    """A surface with walls, and a point (2, 1) that is not measured and another (1, 0) that is NaN there."""
    loss, groups, measured = held.loss.copy(), held.loss_groups.copy(), np.ones(held.loss.shape, dtype=bool)
    for at, value in ODD.items():
        loss[at] = groups[at] = value
    loss[1, 0] = groups[1, 0] = np.nan
    measured[1, 0] = measured[2, 1] = False
    return dataclasses.replace(held, loss=loss, loss_groups=groups, measured=measured)


def test_npz_keeps_nan_infinity_and_what_is_measured(tmp_path: Path) -> None:
    held = profile(change=odd)
    with np.load(exported(tmp_path, held, "out.npz", code=ExitCode.INCONCLUSIVE)) as arrays:
        for split, each in held.planes["main"].surfaces.items():
            np.testing.assert_array_equal(arrays[f"planes/main/{split}/loss"], each.loss)
            np.testing.assert_array_equal(arrays[f"planes/main/{split}/measured"], each.measured)
            assert arrays[f"planes/main/{split}/measured"].dtype == bool
            assert (np.isnan(arrays[f"planes/main/{split}/stderr"]) == ~each.finite).all()


def test_json_says_of_each_number_that_is_none_why(tmp_path: Path) -> None:
    document = strict(exported(tmp_path, profile(change=odd), "out.json", code=ExitCode.INCONCLUSIVE).read_text())
    arrays = document["arrays"]
    expected = np.full((4, 3), "ok", dtype=object)
    expected[0, 0], expected[0, 2], expected[3, 1] = "nan", "inf", "-inf"
    expected[1, 0] = expected[2, 1] = "not measured"
    assert arrays["planes/main/train/status"] == expected.tolist()
    assert arrays["planes/main/test/measured"][1] == [False, True, True]
    assert arrays["planes/main/train/loss"][0][0] is None
    assert arrays["planes/main/train/loss"][0][1] is not None
    assert arrays["planes/main/train/loss_groups"][0][0] == [None] * 4
    assert document["complete"] is document["planes"]["main"]["complete"] is False
    assert document["planes"]["line"]["complete"] is True


def test_csv_tells_nan_and_infinity_from_what_is_not_there(tmp_path: Path) -> None:
    path = exported(tmp_path, profile(change=odd), "out.csv", code=ExitCode.INCONCLUSIVE)
    found = {(row["x"], row["y"]): row for row in rows(path) if (row["plane"], row["split"]) == ("main", "test")}
    for (i, j), value in ODD.items():
        row = found[repr(X[i]), repr(Y[j])]
        assert (row["loss"], row["stderr"], row["measured"]) == (repr(float(value)), "nan", "true")
    for i, j in ((1, 0), (2, 1)):
        row = found[repr(X[i]), repr(Y[j])]
        assert (row["loss"], row["stderr"], row["metrics.accuracy"], row["measured"]) == ("", "", "", "false")


def test_2018_marks_what_is_not_computed_as_it_does_and_keeps_nan(tmp_path: Path) -> None:
    held = profile(change=odd)
    with h5py.File(exported(tmp_path, held, "out.h5", "--layout=2018", code=ExitCode.INCONCLUSIVE)) as file:
        expected = np.where(held.planes["main"].measured, held.planes["main"].surface.loss, -1.0).T
        np.testing.assert_array_equal(file["train_loss"][:], expected)
        assert (file["train_acc"][:] == -1).sum() == 2


def test_an_unfinished_run_is_said_to_be_and_a_finished_plane_of_it_is_not(tmp_path: Path, capsys: Capture) -> None:
    exported(tmp_path, profile(change=odd), "out.csv", code=ExitCode.INCONCLUSIVE)
    assert "is unfinished, 14 of 16 points" in capsys.readouterr().err
    exported(tmp_path, profile(change=odd), "line.csv", "--plane", "line")
    assert "is unfinished" not in capsys.readouterr().err


# ---------------------------------------------------------------- ParaView


def triangles(content: bytes) -> list[tuple[int, ...]]:
    polys = vtp_arrays(content, "Polys")
    assert polys["offsets"].ravel().tolist() == [3 * (i + 1) for i in range(len(polys["offsets"]))]
    return [tuple(cell) for cell in polys["connectivity"].reshape(-1, 3).tolist()]


def piece(content: bytes) -> dict[str, str]:
    found = ElementTree.fromstring(content).find("PolyData/Piece")
    assert found is not None
    return found.attrib


def area(points: NDArray[Any], cell: tuple[int, ...]) -> float:
    """Above 0 where the corners go round anticlockwise, seen from above."""
    a, b, c = points[list(cell), :2]
    return float((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]) / 2


def test_the_triangles_cover_the_window_once_and_face_up(tmp_path: Path) -> None:
    content = exported(tmp_path, profile(), "out.vtp").read_bytes()
    points = vtp_arrays(content, "Points")["Points"]
    areas = [area(points, cell) for cell in triangles(content)]
    assert len(areas) == int(piece(content)["NumberOfPolys"]) == 2 * 3 * 2
    assert min(areas) > 0
    assert sum(areas) == pytest.approx((X[-1] - X[0]) * (Y[-1] - Y[0]))
    expected = [(x, y, f(x, y)) for x in X for y in Y]
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-15)


def test_no_triangle_touches_a_wall_and_the_others_stay(tmp_path: Path) -> None:
    held = profile(change=odd)
    content = exported(tmp_path, held, "out.vtp", code=ExitCode.INCONCLUSIVE).read_bytes()
    there = held.planes["main"].surface.finite.ravel()
    used = {corner for cell in triangles(content) for corner in cell}
    assert all(there[list(used)])
    whole = triangles(to_vtp(profile(), {}))
    assert triangles(content) == [cell for cell in whole if all(there[list(cell)])]
    points, data = vtp_arrays(content, "Points")["Points"], vtp_arrays(content, "PointData")
    assert np.isfinite(points).all()
    np.testing.assert_array_equal(data["train.loss"].ravel(), held.planes["main"].surface.loss.ravel())
    np.testing.assert_array_equal(
        data["test.stderr"].ravel(), standard_errors(held.planes["main"].surfaces["test"]).flat
    )
    assert data["train.measured"].ravel().tolist() == held.planes["main"].measured.ravel().tolist()
    assert {"train.metrics.accuracy", "test.metrics.accuracy"} < set(data)


def test_a_line_is_drawn_as_lines_and_so_is_a_grid_one_point_wide(tmp_path: Path) -> None:
    content = exported(tmp_path, profile(), "out.vtp", "--plane=line").read_bytes()
    assert (piece(content)["NumberOfLines"], piece(content)["NumberOfPolys"]) == ("3", "0")
    joints = [[0, 1], [1, 2], [2, 3]]
    assert vtp_arrays(content, "Lines")["connectivity"].reshape(-1, 2).tolist() == joints
    narrow = surface_of(f, [0.0], [0.0, 1.0, 2.0, 5.0])
    record = PlaneRecord("main", narrow.gram, (), {}, "", {"train": narrow})
    content = to_vtp(Profile("", Provenance(), {}, {"main": record}), {})
    assert vtp_arrays(content, "Lines")["connectivity"].reshape(-1, 2).tolist() == joints
    assert vtp_arrays(content, "Points")["Points"][:, 1].tolist() == [0.0, 1.0, 2.0, 5.0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_surface_without_a_finite_point_is_still_a_file(value: float, tmp_path: Path) -> None:
    held = profile(change=lambda s: dataclasses.replace(s, loss=np.full(s.loss.shape, value)))
    content = exported(tmp_path, held, "out.vtp").read_bytes()
    assert triangles(content) == []
    assert np.isfinite(vtp_arrays(content, "Points")["Points"]).all()


def test_names_cannot_break_the_xml() -> None:
    evil = '"><a>&amp;\x00\x1b[31m\n'
    held = surface(0.0, line=False)
    held = dataclasses.replace(held, metrics={evil: held.loss})
    record = PlaneRecord("main", held.gram, (), {}, "", {evil: held})
    data = vtp_arrays(to_vtp(Profile("", Provenance(), {}, {"main": record}), {}), "PointData")
    safe = '"><a>&amp;??[31m?'
    assert set(data) == {f"{safe}.loss", f"{safe}.stderr", f"{safe}.metrics.{safe}", f"{safe}.measured"}


@pytest.mark.parametrize("change", [lambda s: s, odd], ids=["whole", "walls"])
def test_vtk_opens_it(change: Change, tmp_path: Path) -> None:
    xml = pytest.importorskip("vtkmodules.vtkIOXML")
    to_numpy = pytest.importorskip("vtkmodules.util.numpy_support").vtk_to_numpy
    held = profile(change=change)
    code = ExitCode.OK if held.complete else ExitCode.INCONCLUSIVE
    path = exported(tmp_path, held, "out.vtp", code=code)
    reader = xml.vtkXMLPolyDataReader()
    reader.SetFileName(str(path))
    assert reader.CanReadFile(str(path))
    reader.Update()
    read = reader.GetOutput()
    assert reader.GetErrorCode() == 0
    assert (read.GetNumberOfPoints(), read.GetNumberOfPolys()) == (12, len(triangles(path.read_bytes())))
    data = read.GetPointData()
    assert data.GetScalars().GetName() == "train.loss"
    for split, each in held.planes["main"].surfaces.items():
        np.testing.assert_array_equal(to_numpy(data.GetArray(f"{split}.loss")), each.loss.ravel())
        np.testing.assert_array_equal(to_numpy(data.GetArray(f"{split}.measured")), each.measured.ravel())


# ---------------------------------------------------------------- the layout of 2018


def test_2018_has_the_datasets_and_shapes_that_its_scripts_index(tmp_path: Path) -> None:
    with h5py.File(exported(tmp_path, profile(), "out.h5", "--layout", "2018")) as file:
        assert set(file) == {"xcoordinates", "ycoordinates", "train_loss", "train_acc", "test_loss", "test_acc"}
        assert file["xcoordinates"][:].tolist() == list(X)
        assert file["ycoordinates"][:].tolist() == list(Y)
        x, y = np.meshgrid(file["xcoordinates"][:], file["ycoordinates"][:])
        for split, shift in SHIFT.items():
            assert file[f"{split}_loss"].shape == x.shape == (3, 4)
            np.testing.assert_allclose(file[f"{split}_loss"][:], f(x, y) + shift, atol=1e-14)
            np.testing.assert_allclose(file[f"{split}_acc"][:], 100 * (accuracy(x, y) + shift / 10), atol=1e-12)
    with h5py.File(exported(tmp_path, profile(), "line.h5", "--layout=2018", "--plane=line")) as file:
        assert "ycoordinates" not in file
        np.testing.assert_allclose(file["train_loss"][:], f(np.array(X)), atol=1e-14)


@pytest.mark.parametrize(
    ("splits", "called"),
    [
        (("val",), ["train"]),
        (("train", "val"), ["train", "test"]),
        (("test", "other"), ["test", "train"]),
        (("test",), ["test"]),
        (("a", "b", "c"), ["train", "test", "c"]),
        (("c", "test", "train"), ["c", "test", "train"]),
    ],
)
def test_2018_calls_splits_train_and_test(splits: tuple[str, ...], called: list[str], tmp_path: Path) -> None:
    held = profile(splits)
    with h5py.File(exported(tmp_path, held, "out.h5", "--layout=2018")) as file:
        for split, name in zip(splits, called, strict=True):
            np.testing.assert_array_equal(file[f"{name}_loss"][:], held.planes["main"].surfaces[split].loss.T)


def test_2018_without_an_accuracy_marks_it_as_not_computed_and_says_so(tmp_path: Path, capsys: Capture) -> None:
    held = profile(("val",), lambda s: dataclasses.replace(s, metrics={}))
    with h5py.File(exported(tmp_path, held, "out.h5", "--layout=2018")) as file:
        assert file["train_acc"][:].tolist() == [[-1.0] * 4] * 3
    told = capsys.readouterr().err
    assert "the split val is train there" in told
    assert "val has no accuracy" in told


# ---------------------------------------------------------------- the command


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    store.save(profile(), "run.h5")
    return tmp_path / "run.h5"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-o", "out.cvs"], "unknown ending: .cvs|did you mean .csv? it must be one of: .npz, .csv, .json, .vtp, .h5"),
        (["-o", "out"], "out has no ending|it must be one of: .npz, .csv, .json, .vtp, .h5"),
        (["-o", "out.h5"], "add --layout 2018"),
        (["-o", "out.npz", "--layout", "2018"], "the layout 2018 is HDF5, not .npz|-o surface.h5"),
        (["-o", "-", "--layout", "2018"], "the layout 2018 is HDF5, not stdout"),
        (["-o", "out.h5", "--layout", "2018", "--format", "csv"], "is HDF5, not --format csv"),
        (["-o", "-"], "add --format csv, json, vtp"),
        (["-o", "-", "--format", "npz"], ".npz is no text and cannot be streamed|-o run.npz"),
        (["-o", "out.csv", "--plane", "mian"], "unknown plane: mian|did you mean main? it must be one of: main, line"),
        (["-o", "run.h5", "--layout", "2018", "--force"], "run.h5 is the file that is read"),
        (["-o", "absent/out.csv"], "absent does not exist"),
        (["-o", "there.csv"], "there.csv exists|--force"),
        (["-o", "folder.csv"], "folder.csv is a folder"),
        (["--format", "csv"], "Missing option '-o'"),
    ],
)
def test_a_wrong_command_is_answered_and_nothing_written(
    run: Path, args: list[str], words: str, capsys: Capture
) -> None:
    Path("there.csv").write_text("mine")
    Path("folder.csv").mkdir()
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    assert main(["export", "run.h5", *args]) == ExitCode.USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert all(word in told.err for word in words.split("|")), told.err
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


def test_force_replaces_and_another_name_of_the_input_is_still_the_input(run: Path) -> None:
    Path("out.csv").write_text("mine")
    assert main(["export", "run.h5", "-o", "out.csv", "--force"]) == 0
    assert len(rows(Path("out.csv"))) == 32
    Path("other.json").symlink_to(run)
    assert main(["export", "run.h5", "-o", "other.json", "--force"]) == ExitCode.USAGE
    assert store.load(run).complete


def test_a_format_may_be_named_and_an_ending_in_capitals_is_one(run: Path) -> None:
    assert main(["export", "run.h5", "-o", "points.txt", "--format", "csv"]) == 0
    assert main(["export", "run.h5", "-o", "points.CSV"]) == 0
    assert Path("points.txt").read_bytes() == Path("points.CSV").read_bytes()


@pytest.mark.parametrize("name", ["csv", "json", "vtp"])
def test_text_goes_to_stdout_as_it_goes_to_a_file(run: Path, name: str, capsys: Capture) -> None:
    assert main(["export", "run.h5", "-o", f"out.{name}", "--plane", "main"]) == 0
    capsys.readouterr()
    assert main(["export", "run.h5", "-o", "-", "--format", name, "--plane", "main"]) == 0
    assert capsys.readouterr().out == Path(f"out.{name}").read_text()


def test_one_plane_leaves_alone_where_asked_and_where_no_more_fit(run: Path, capsys: Capture) -> None:
    assert main(["export", "run.h5", "-o", "out.npz", "--plane", "line"]) == 0
    with np.load("out.npz") as arrays:
        assert {path.split("/")[1] for path in arrays if path.startswith("planes/")} == {"line"}
        assert "hessian/top" in arrays
    assert "with --plane" not in capsys.readouterr().err
    assert main(["export", "run.h5", "-o", "out.vtp"]) == 0
    assert ".vtp holds one plane: main; with --plane: line" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_run_without_a_plane_has_its_other_arrays(run: Path, ending: str, capsys: Capture) -> None:
    store.save(dataclasses.replace(profile(), planes={}), "bare.h5")
    code = main(["export", "bare.h5", "-o", f"out{ending}", *layout(ending)])
    if ending in (".npz", ".json"):
        assert code == ExitCode.OK
        held = dict(np.load("out.npz")) if ending == ".npz" else strict(Path("out.json").read_text())["arrays"]
        assert {path.split("/")[0] for path in held} - {"provenance"} == {"centre", *SECTION_ARRAYS}
    else:
        assert code == ExitCode.USAGE
        assert f"bare.h5 has no plane, and {ending} holds nothing else" in capsys.readouterr().err


def test_the_same_run_makes_the_same_bytes(tmp_path: Path) -> None:
    held = profile()
    arrays = {path: dataset.values for path, dataset in store.layout(held).datasets.items()}
    for make in EXPORTS.values():
        assert make(held, arrays) == make(held, arrays)


def test_export_imports_no_torch(tmp_path: Path) -> None:
    store.save(profile(), tmp_path / "run.h5")
    code = "import sys; from landscape_cli.cli.main import main; code = main(sys.argv[1:]); "
    code += "sys.exit(code or 'torch' in sys.modules)"
    for ending in ENDINGS:
        args = ["export", str(tmp_path / "run.h5"), "-o", str(tmp_path / f"out{ending}"), *layout(ending)]
        assert subprocess.run([sys.executable, "-c", code, *args], check=False).returncode == 0
