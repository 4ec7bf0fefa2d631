"""The run file: nothing is lost, plain h5py reads it, and a file made to do harm does none."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from landscape_cli import store
from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.profile import Axis, Centre, PlaneRecord, Profile, Provenance, Surface
from landscape_cli.store.schema import BLOCK, SEAL

NAN_WITH_PAYLOAD = np.array(0x7FF8DEADBEEF0001, dtype=np.uint64).view(np.float64)


def same(a: Any, b: Any) -> bool:
    """Equal to the bit: NaN equals only the very same NaN."""
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        names = [field.name for field in dataclasses.fields(a)]
        return type(a) is type(b) and all(same(getattr(a, n), getattr(b, n)) for n in names)
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    if isinstance(a, Mapping):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(itertools.starmap(same, zip(a, b, strict=True)))
    if isinstance(a, float):
        return np.float64(a).tobytes() == np.float64(b).tobytes()
    return bool(a == b)


def a_centre(groups: int = 3, loss: float = 1.5) -> Centre:
    return Centre(loss, np.linspace(1, 2, groups), np.full(groups, 4.0), {"accuracy": 0.5}, loss, 4 * groups)


def a_surface(x: Axis, y: Axis | None, centre: Centre) -> Surface:
    shape = (len(x),) if y is None else (len(x), len(y))
    loss = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    groups = np.repeat(loss[..., None], len(centre.group_sizes), axis=-1)
    gram = np.eye(len(shape))
    return Surface(x, y, gram, loss, groups, {"accuracy": loss / 9}, np.ones(shape, dtype=bool), centre)


def a_plane(name: str, centres: Mapping[str, Centre], x: str = "-1:1:3", y: str | None = "0:1:2") -> PlaneRecord:
    axes = Axis.of(x), None if y is None else Axis.of(y)
    surfaces = {split: a_surface(*axes, centre) for split, centre in centres.items()}
    gram = next(iter(surfaces.values())).gram
    recipes = tuple({"kind": "random", "seed": 0} for _ in range(len(gram)))
    return PlaneRecord(name, gram, recipes, {"batchnorm": "frozen"}, "fingerprint", surfaces)


def a_profile(splits: tuple[str, ...] = ("train",), planes: tuple[str, ...] = ("main",)) -> Profile:
    centres = {split: a_centre() for split in splits}
    return Profile("problem", Provenance(), centres, {name: a_plane(name, centres) for name in planes})


def with_surface(**changes: Any) -> Profile:
    """A profile of one split and one plane whose surface has some of its arrays replaced."""
    profile = a_profile()
    plane = profile.planes["main"]
    surface = dataclasses.replace(plane.surface, **changes)
    changed = dataclasses.replace(plane, surfaces={"train": surface})
    return dataclasses.replace(profile, planes={"main": changed})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run.h5"
    store.save(a_profile(("train", "test"), ("main", "line")), path)
    return path


# ---------------------------------------------------------------- round trip

any_float = st.integers(0, 2**64 - 1).map(lambda bits: float(np.array(bits, dtype=np.uint64).view(np.float64)))
names = st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True), min_size=1, max_size=2, unique=True)
text = st.text(max_size=8).filter(lambda s: "\x00" not in s and s.encode("utf-8", "ignore").decode() == s)
flat = st.dictionaries(text, text | st.integers() | st.booleans() | st.none(), max_size=3).map(
    lambda d: dict(sorted(d.items()))
)
RESERVED = {"axis_x", "axis_y", "gram", "centre"}


def floats(*shape: int) -> st.SearchStrategy[Any]:
    bits = hnp.arrays(np.uint64, shape, elements=st.integers(0, 2**64 - 1))
    return bits.map(lambda array: array.view(np.float64) if array.shape else array.reshape(1).view(np.float64)[0])


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    values = draw(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3, unique=True))
    try:
        return Axis.of(sorted(values))
    except LandscapeError:  # two values that are both 0 up to rounding
        return Axis.of([0.0])


@st.composite
def centres(draw: st.DrawFn, groups: int, metrics: list[str]) -> Centre:
    numbers = {name: draw(any_float) for name in sorted(metrics)}
    samples = draw(st.integers(1, 2**40))
    sizes = np.array(draw(st.lists(st.floats(0.5, 1e9), min_size=groups, max_size=groups)))
    return Centre(draw(any_float), draw(floats(groups)), sizes, numbers, draw(any_float), samples)


@st.composite
def planes(draw: st.DrawFn, name: str, held: Mapping[str, Centre], metrics: list[str]) -> PlaneRecord:
    x, y = draw(axes()), draw(st.none() | axes())
    shape = (len(x),) if y is None else (len(x), len(y))
    gram = np.diag(draw(st.lists(st.floats(1e-6, 1e6), min_size=len(shape), max_size=len(shape))))
    surfaces = {}
    for split, centre in held.items():
        groups = len(centre.group_sizes)
        own = draw(centres(groups, metrics)) if draw(st.booleans()) else centre
        grids = {metric: draw(floats(*shape)) for metric in sorted(metrics)}
        measured = draw(hnp.arrays(np.bool_, shape))
        surfaces[split] = Surface(x, y, gram, draw(floats(*shape)), draw(floats(*shape, groups)), grids, measured, own)
    recipes = tuple(draw(flat) for _ in shape)
    return PlaneRecord(name, gram, recipes, draw(flat), draw(text), surfaces)


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Any profile at all: every bit pattern of every number, any text, any number of splits and planes."""
    metrics, groups = draw(names | st.just([])), draw(st.integers(1, 3))
    splits = [name for name in draw(names) if name not in RESERVED] or ["data"]
    held = {split: draw(centres(groups, metrics)) for split in splits}
    made = {name: draw(planes(name, held, metrics)) for name in draw(names | st.just([]))}
    provenance = Provenance(
        argv=tuple(draw(st.lists(text, max_size=2))), job=draw(text), folder=draw(text), facts=draw(flat),
        plan=draw(flat), notes=tuple(draw(st.lists(text, max_size=2))), finished=draw(text),
    )  # fmt: skip
    return Profile(draw(text), provenance, held, made)


@given(profile=profiles())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_saved_is_loaded_to_the_bit(profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("run") / "run.h5"
    store.save(profile, path)
    assert same(store.load(path), profile)


def test_nan_payloads_infinities_and_negative_zero_are_kept(tmp_path: Path) -> None:
    loss = np.array([[NAN_WITH_PAYLOAD, -np.nan], [np.inf, -np.inf], [-0.0, 5e-324]])
    profile = with_surface(loss=loss)
    store.save(profile, tmp_path / "run.h5")
    assert store.load(tmp_path / "run.h5").planes["main"].surface.loss.tobytes() == loss.tobytes()


def test_a_point_not_measured_is_told_from_one_that_is_nan(tmp_path: Path) -> None:
    measured = np.array([[True, False], [True, True], [False, True]])
    store.save(with_surface(loss=np.full((3, 2), np.nan), measured=measured), tmp_path / "run.h5")
    loaded = store.load(tmp_path / "run.h5")
    assert (loaded.planes["main"].surface.measured == measured).all()
    assert (loaded.complete, loaded.done) == (False, (4, 6))


def test_splits_and_planes_keep_their_order(tmp_path: Path) -> None:
    store.save(a_profile(("z", "a", "m"), ("late", "early")), tmp_path / "run.h5")
    loaded = store.load(tmp_path / "run.h5")
    assert [*loaded.centre, *loaded.planes] == ["z", "a", "m", "late", "early"]
    assert list(loaded.planes["late"].surfaces) == ["z", "a", "m"]


def test_a_split_without_a_centre_of_its_own_shares_the_checkpoints(run: Path) -> None:
    loaded = store.load(run)
    assert loaded.planes["main"].surfaces["test"].centre is loaded.centre["test"]


def test_saving_what_was_loaded_gives_the_same_bytes(run: Path) -> None:
    assert store.image(store.load(run)) == run.read_bytes()


@pytest.mark.parametrize("name", ["gram", "axis_x", "axis_y", "centre", "my split", "a/b", "..", "é", "x" * 65, ""])
def test_a_name_that_cannot_be_read_back_is_not_written(tmp_path: Path, name: str) -> None:
    """Or it is written so that it can be; a file that its own reader refuses would be a lost run."""
    held = {name: a_centre()}
    profile = Profile("problem", Provenance(), held, {"line": a_plane("line", held, y=None)})
    path = tmp_path / "run.h5"
    try:
        store.save(profile, path)
    except LandscapeError:
        assert not path.exists()
    else:
        assert same(store.load(path), profile)


@pytest.mark.parametrize("metric", ["précision", "m" * 65, "a/b"])
def test_a_metric_that_cannot_be_read_back_is_not_written(tmp_path: Path, metric: str) -> None:
    profile = with_surface(metrics={metric: np.zeros((3, 2))})
    path = tmp_path / "run.h5"
    try:
        store.save(profile, path)
    except LandscapeError:
        assert not path.exists()
    else:
        assert same(store.load(path), profile)


# ---------------------------------------------------------------- for other tools


def walk(file: h5py.File) -> dict[str, Any]:
    found: dict[str, Any] = {}
    file.visititems(lambda name, item: found.update({name: item}))
    return found


def test_every_dataset_has_units_and_a_description(run: Path) -> None:
    with h5py.File(run) as file:
        datasets = {name: item for name, item in walk(file).items() if isinstance(item, h5py.Dataset)}
        assert len(datasets) > 20
        for name, dataset in datasets.items():
            assert {"units", "description"} <= set(dataset.attrs), name
            assert all(isinstance(dataset.attrs[key], str) and dataset.attrs[key] for key in ("units", "description"))


def test_numbers_are_float64_masks_are_bool_text_is_utf8(run: Path) -> None:
    with h5py.File(run) as file:
        for name, item in walk(file).items():
            if isinstance(item, h5py.Dataset):
                assert item.dtype == (bool if name.endswith("/measured") else np.float64), name
            for key in item.attrs:
                kind = h5py.check_string_dtype(item.attrs.get_id(key).dtype)
                assert kind is not None, (name, key)
                assert kind.encoding == "utf-8", (name, key)


def test_plain_h5py_reads_what_the_schema_says(run: Path) -> None:
    with h5py.File(run) as file:
        assert file.attrs["format"] == "landscape-profile"
        assert file.attrs["schema_version"] == 1
        assert file.attrs["problem"] == "problem"
        assert len(file.attrs["sha256"]) == 64
        assert file["planes/main/axis_x"][()].tolist() == [-1.0, 0.0, 1.0]
        assert file["planes/main/axis_y"][()].tolist() == [0.0, 1.0]
        assert file["planes/main/gram"][()].tolist() == [[1.0, 0.0], [0.0, 1.0]]
        assert file["planes/main/train/loss"][()].tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
        assert file["planes/main/test/loss_groups"].shape == (3, 2, 3)
        assert file["centre/test/loss"][()] == 1.5
        assert file["centre/test/group_sizes"][()].tolist() == [4.0, 4.0, 4.0]
        assert json.loads(file["planes/main"].attrs["directions"])[0] == {"kind": "random", "seed": 0}
        assert file["planes/main"].attrs["complete"] == "true"


def test_text_of_any_script_survives(tmp_path: Path) -> None:
    told = Provenance(folder="/tmp/δεδομένα/数据", notes=("naïve ‘quoted’", "line\nbreak"), facts={"ключ": "значение"})
    profile = dataclasses.replace(a_profile(), provenance=told)
    store.save(profile, tmp_path / "run.h5")
    assert same(store.load(tmp_path / "run.h5").provenance, told)
    with h5py.File(tmp_path / "run.h5") as file:
        assert file["provenance"].attrs["folder"] == "/tmp/δεδομένα/数据"


def test_text_longer_than_an_object_header_survives(tmp_path: Path) -> None:
    profile = dataclasses.replace(a_profile(), provenance=Provenance(job="# ä\n" * 50_000))
    store.save(profile, tmp_path / "run.h5")
    assert same(store.load(tmp_path / "run.h5"), profile)


# ---------------------------------------------------------------- hostile files


def unsealed(path: Path) -> Path:
    """The file without its seal, which would find any change before the checks that are to be tested do."""
    if path.is_file() and path.read_bytes().startswith(SEAL):
        with path.open("r+b") as file:
            file.write(bytes(BLOCK))
    return path


def test_a_file_without_its_seal_is_read_all_the_same(run: Path) -> None:
    before = store.load(run)
    assert same(store.load(unsealed(run)), before)


@pytest.mark.parametrize("place", [len(SEAL) + 3, BLOCK + 8, -1])
def test_the_seal_finds_a_changed_byte_before_hdf5_does(run: Path, place: int) -> None:
    content = bytearray(run.read_bytes())
    content[place] ^= 1
    run.write_bytes(content)
    with pytest.raises(LandscapeError, match="checksum"):
        store.load(run)


def refused(path: Path, *said: str) -> str:
    """The message with which a file is refused, its seal aside; it must fit in one clean line."""
    unsealed(path)
    with pytest.raises(LandscapeError) as caught:
        store.load(path)
    assert caught.value.code == ExitCode.USAGE
    assert path.name in caught.value.message
    assert caught.value.message.isprintable()
    for part in said:
        assert part in caught.value.message
    return caught.value.message


def replaced(file: h5py.File, name: str, **options: Any) -> Any:
    """A dataset of the same name made otherwise."""
    old = file[name]
    made = {"shape": old.shape, "dtype": old.dtype, **options}
    del file[name]
    return file.create_dataset(name, **made)


LOSS = "planes/main/train/loss"


def soft_link(file: h5py.File, folder: Path) -> None:
    file[LOSS[:-4] + "other"] = file[LOSS][()]
    del file[LOSS]
    file[LOSS] = h5py.SoftLink(f"/{LOSS[:-4]}other")


def external_link(file: h5py.File, folder: Path) -> None:
    del file[LOSS]
    file[LOSS] = h5py.ExternalLink(str(folder / "secret.h5"), "/loss")


def external_group(file: h5py.File, folder: Path) -> None:
    del file["centre/train"]
    file["centre/train"] = h5py.ExternalLink(str(folder / "secret.h5"), "/")


def external_storage(file: h5py.File, folder: Path) -> None:
    replaced(file, LOSS, external=[(str(folder / "secret.bin"), 0, 48)])


def virtual_dataset(file: h5py.File, folder: Path) -> None:
    whole = h5py.VirtualLayout(shape=(3, 2), dtype="f8")
    whole[:] = h5py.VirtualSource(str(folder / "secret.h5"), "loss", shape=(3, 2))
    del file[LOSS]
    file.create_virtual_dataset(LOSS, whole)


def giant_shape(file: h5py.File, folder: Path) -> None:
    replaced(file, LOSS, shape=(10**6, 10**6), chunks=(1, 2))


def giant_group_axis(file: h5py.File, folder: Path) -> None:
    replaced(file, f"{LOSS}_groups", shape=(3, 2, 10**12), chunks=(1, 1, 8))


def giant_axis(file: h5py.File, folder: Path) -> None:
    replaced(file, "planes/main/axis_x", shape=(10**10,), chunks=(8,))


def giant_inflation(file: h5py.File, folder: Path) -> None:
    replaced(file, LOSS, shape=(2**16, 2**16), chunks=(2**10, 2**10), compression="gzip")[: 2**10, : 2**10] = 0


def giant_chunk(file: h5py.File, folder: Path) -> None:
    replaced(file, LOSS, chunks=(2**14, 2**15 - 1), maxshape=(None, None))


def foreign_filter(file: h5py.File, folder: Path) -> None:
    replaced(file, LOSS, chunks=(3, 2), compression="lzf", data=np.zeros((3, 2)))


def wrong_rank(file: h5py.File, folder: Path) -> None:
    replaced(file, LOSS, shape=(6,))


def wrong_shape(file: h5py.File, folder: Path) -> None:
    replaced(file, LOSS, shape=(2, 3))


def a_group_for_a_dataset(file: h5py.File, folder: Path) -> None:
    del file[LOSS]
    file.create_group(LOSS)


def a_dataset_for_a_group(file: h5py.File, folder: Path) -> None:
    del file["centre/train"]
    file["centre/train"] = np.zeros(3)


def of_dtype(dtype: Any) -> Callable[[h5py.File, Path], None]:
    def change(file: h5py.File, folder: Path) -> None:
        replaced(file, LOSS, dtype=dtype)

    return change


def odd_name(where: str, name: str) -> Callable[[h5py.File, Path], None]:
    def change(file: h5py.File, folder: Path) -> None:
        file.copy(file[where + "/" + {"centre": "train", "planes": "main"}.get(where, "accuracy")], file[where], name)
        if "order" in file[where].attrs:
            file[where].attrs["order"] = json.dumps([*json.loads(file[where].attrs["order"]), name])

    return change


def without(name: str) -> Callable[[h5py.File, Path], None]:
    def change(file: h5py.File, folder: Path) -> None:
        del file[name]

    return change


def attribute(where: str, name: str, value: Any) -> Callable[[h5py.File, Path], None]:
    def change(file: h5py.File, folder: Path) -> None:
        file[where].attrs[name] = value

    return change


def number(name: str, value: Any) -> Callable[[h5py.File, Path], None]:
    def change(file: h5py.File, folder: Path) -> None:
        file[name][...] = value

    return change


def many_groups(file: h5py.File, folder: Path) -> None:
    for name in ("loss_groups", "group_sizes"):
        replaced(file, f"centre/train/{name}", shape=(65,), data=np.ones(65))


TAMPERED: dict[str, Callable[[h5py.File, Path], None]] = {
    "soft link": soft_link,
    "external link": external_link,
    "external group": external_group,
    "external storage": external_storage,
    "virtual dataset": virtual_dataset,
    "giant shape": giant_shape,
    "giant group axis": giant_group_axis,
    "giant axis": giant_axis,
    "giant inflation": giant_inflation,
    "giant chunk": giant_chunk,
    "foreign filter": foreign_filter,
    "wrong rank": wrong_rank,
    "wrong shape": wrong_shape,
    "group for dataset": a_group_for_a_dataset,
    "dataset for group": a_dataset_for_a_group,
    "more groups than can be": many_groups,
    **{f"dtype {d}": of_dtype(d) for d in ("f4", ">f8", "i8", "S8", "c16", "V8")},
    "dtype of strings": of_dtype(h5py.string_dtype()),
    "dtype of references": of_dtype(h5py.ref_dtype),
    "split name moves the cursor": odd_name("centre", "\x1b[2Jtrain"),
    "plane name forges a line": odd_name("planes", "x\nerror: forged"),
    "metric name with a bell": odd_name("centre/train/metrics", "\x07"),
    "name of another script": odd_name("planes", "план"),
    "endless name": odd_name("planes", "x" * 65),
    "split not in the order": attribute("centre", "order", '["train"]'),
    "order names what is not there": attribute("centre", "order", '["train", "test", "val"]'),
    "order names one twice": attribute("centre", "order", '["train", "train"]'),
    "order is no list": attribute("centre", "order", "5"),
    "order of lists": attribute("centre", "order", '[["train"], ["test"]]'),
    "samples are infinite": number("centre/train/samples", np.inf),
    "samples are not a number": number("centre/train/samples", np.nan),
    "axis descends": number("planes/main/axis_x", [1, 0, -1]),
    "axis is not finite": number("planes/main/axis_x", [-1, 0, np.inf]),
    "attribute is a number": attribute("provenance", "device", 3),
    "attribute is an array": attribute("provenance", "device", ["a", "b"]),
    "attribute is empty": attribute("provenance", "device", h5py.Empty("S1")),
    "attribute is no UTF-8": attribute("provenance", "device", np.bytes_(b"\xff\xfe")),
    "facts are no JSON": attribute("provenance", "facts", "{"),
    "facts are a list": attribute("provenance", "facts", "[]"),
    "facts are nested without end": attribute("provenance", "facts", "[" * 50_000),
    "directions are numbers": attribute("planes/main", "directions", "[1, 2]"),
    "settings are a number": attribute("planes/main", "settings", "1"),
    "checksum is wrong": attribute("/", "sha256", "0" * 64),
    "checksum is no text": attribute("/", "sha256", 1),
    "version is text": attribute("/", "schema_version", "one"),
    "version is an array": attribute("/", "schema_version", [1, 1]),
    "version is zero": attribute("/", "schema_version", 0),
    "version is negative": attribute("/", "schema_version", -1),
    "one loss is changed": number(LOSS, 1.0),
    "centre is changed": number("centre/train/loss", 1.25),
    "the mask is changed": number("planes/main/train/measured", False),
    "the problem is changed": attribute("/", "problem", "another"),
    "the device is changed": attribute("provenance", "device", "another"),
    **{
        f"no {name}": without(name)
        for name in (
            "provenance", "centre", "planes", "centre/train", "centre/train/loss", "centre/train/group_sizes",
            "centre/train/metrics/accuracy", "planes/main/train", "planes/main/axis_x", "planes/main/axis_y",
            "planes/main/gram", LOSS, f"{LOSS}_groups", "planes/main/test/measured",
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("how", TAMPERED)
def test_a_file_that_was_tampered_with_is_refused(run: Path, how: str) -> None:
    folder = run.parent
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["loss"] = np.full((3, 2), 42.0)
    (folder / "secret.bin").write_bytes(np.full((3, 2), 42.0).tobytes())
    with h5py.File(run, "r+") as file:
        TAMPERED[how](file, folder)
    assert "42" not in refused(run).replace(str(run), "")


@pytest.mark.parametrize("name", ["format", "schema_version", "sha256", "problem"])
def test_a_missing_attribute_is_refused(run: Path, name: str) -> None:
    with h5py.File(run, "r+") as file:
        del file.attrs[name]
    refused(run)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Provenance)])
def test_a_missing_part_of_the_provenance_is_refused(run: Path, name: str) -> None:
    with h5py.File(run, "r+") as file:
        del file["provenance"].attrs[name]
    refused(run)


@pytest.mark.parametrize("how", ["giant shape", "giant group axis", "giant axis", "giant inflation", "giant chunk"])
def test_a_giant_declared_shape_takes_no_memory(run: Path, how: str) -> None:
    with h5py.File(run, "r+") as file:
        TAMPERED[how](file, run.parent)
    tracemalloc.start()
    try:
        refused(run)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("how", [external_storage, virtual_dataset])
def test_a_direction_or_data_file_that_points_elsewhere_is_refused(
    tmp_path: Path, how: Callable[[h5py.File, Path], None]
) -> None:
    (tmp_path / "secret.bin").write_bytes(np.full((3, 2), 42.0).tobytes())
    with h5py.File(tmp_path / "secret.h5", "w") as secret:
        secret["loss"] = np.full((3, 2), 42.0)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file[LOSS] = np.zeros((3, 2))
        how(file, tmp_path)
    with pytest.raises(LandscapeError):
        store.Arrays(tmp_path / "data.h5")[LOSS]


@pytest.mark.parametrize("how", [soft_link, external_link])
def test_links_in_a_data_file_are_not_followed(tmp_path: Path, how: Callable[[h5py.File, Path], None]) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file[LOSS] = np.zeros((3, 2))
        how(file, tmp_path)
    assert LOSS not in store.Arrays(tmp_path / "data.h5")


def test_a_newer_schema_is_refused_with_what_to_install(run: Path) -> None:
    with h5py.File(run, "r+") as file:
        file.attrs["schema_version"] = 2
    with pytest.raises(LandscapeError) as caught:
        store.load(unsealed(run))
    assert "schema version 2" in caught.value.message
    assert "install" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"epoch,loss\n1,2\n", "damaged or no landscape profile"),
        (b"<!DOCTYPE html><html></html>", "damaged or no landscape profile"),
        (b"\x89HDF\r\n\x1a\n", "damaged or no landscape profile"),
        (b"\x89HDF\r\n\x1a\n" + bytes(4096), "damaged or no landscape profile"),
    ],
)
def test_a_file_that_is_no_hdf5_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "run.h5").write_bytes(content)
    refused(tmp_path / "run.h5", said)


@pytest.mark.parametrize("format_", [None, "keras", 5, ["landscape-profile"]])
def test_a_foreign_hdf5_is_refused(tmp_path: Path, format_: Any) -> None:
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file["weights"] = np.zeros(3)
        if format_ is not None:
            file.attrs["format"] = format_
    refused(tmp_path / "run.h5")


@pytest.mark.parametrize(
    ("path", "said"), [("absent.h5", "No such file"), (".", "is a folder"), ("/dev/null", "no re")]
)
def test_what_is_no_file_is_refused(tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(LandscapeError, match=said):
        store.load(tmp_path / path)


def test_a_file_without_planes_is_a_run(tmp_path: Path) -> None:
    store.save(a_profile(planes=()), tmp_path / "run.h5")
    assert store.load(tmp_path / "run.h5").complete


# ---------------------------------------------------------------- damage


def test_links_that_go_in_circles_are_refused(tmp_path: Path) -> None:
    """Read as a tree, 8 links of a group to itself are 8^8 groups."""
    path = tmp_path / "circle.h5"
    with h5py.File(path, "w") as file:
        for i in range(8):
            file[f"link{i}"] = file["/"]
        file["inputs"] = np.zeros(3)
    with pytest.raises(LandscapeError, match="same object"):
        store.Arrays(path)


@pytest.mark.parametrize("change", ["zero", "negative", "singular", "asymmetric", "nan"])
def test_a_gram_matrix_that_is_none_is_refused(run: Path, change: str) -> None:
    gram = {
        "zero": np.zeros((2, 2)), "negative": -np.eye(2), "singular": np.ones((2, 2)),
        "asymmetric": np.array([[1.0, 0.5], [0.0, 1.0]]), "nan": np.full((2, 2), np.nan),
    }[change]  # fmt: skip
    profile = a_profile()
    plane = dataclasses.replace(profile.planes["main"], gram=gram)
    run.write_bytes(store.image(dataclasses.replace(profile, planes={"main": plane})))
    with pytest.raises(LandscapeError, match="Gram"):
        store.load(run)


@pytest.mark.parametrize("sizes", [[0.0, 0.0, 0.0], [4.0, -1.0, 4.0], [4.0, np.nan, 4.0], [4.0, np.inf, 4.0]])
def test_group_sizes_that_cannot_be_are_refused(run: Path, sizes: list[float]) -> None:
    profile = a_profile()
    centre = dataclasses.replace(profile.centre["train"], group_sizes=np.array(sizes))
    run.write_bytes(store.image(dataclasses.replace(profile, centre={"train": centre})))
    with pytest.raises(LandscapeError, match="impossible sizes"):
        store.load(run)


@pytest.mark.parametrize("share", np.linspace(0, 1, 60, endpoint=False).tolist())
def test_a_truncated_file_is_refused(run: Path, share: float) -> None:
    content = run.read_bytes()
    run.write_bytes(content[: int(share * len(content))])
    refused(run)


def test_a_file_that_lost_its_last_byte_is_refused(run: Path) -> None:
    run.write_bytes(run.read_bytes()[:-1])
    refused(run)


# Loads a file over and over, each time with one other bit flipped. A crash or an endless loop inside HDF5 kills this
# process, not the tests; the last line it printed is then the bit.
FLIPS = """
import random, signal, sys
from pathlib import Path
from test_store import same
from landscape_cli import store
from landscape_cli.errors import LandscapeError

path, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
content, original = path.read_bytes(), store.load(path)
chance, kept, refused = random.Random(seed), 0, 0
for bit in [int(b) for b in sys.argv[4:]] or (chance.randrange(8 * len(content)) for _ in range(count)):
    print(f"bit {bit}", flush=True)
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    path.write_bytes(flipped)
    signal.alarm(20)
    try:
        assert same(store.load(path), original), "another profile"
        kept += 1
    except LandscapeError:
        refused += 1
    signal.alarm(0)
assert kept + refused == count and refused, (kept, refused)
"""


def flipping(path: Path, seed: int, count: int, *bits: int) -> None:
    code = [sys.executable, "-c", FLIPS, str(path), str(seed), str(len(bits) or count), *map(str, bits)]
    done = subprocess.run(code, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    assert done.returncode == 0, f"{done.stdout.splitlines()[-1]}: exit {done.returncode} {done.stderr[-500:]}"


def test_a_flipped_bit_gives_the_same_profile_or_an_error(tmp_path: Path) -> None:
    store.save(a_profile(), tmp_path / "run.h5")
    flipping(tmp_path / "run.h5", 0, 400)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_flipped_bits_give_the_same_profile_or_an_error(run: Path, seed: int) -> None:
    flipping(run, seed, 2500)


def test_a_flipped_bit_where_hdf5_keeps_its_text_neither_hangs_nor_crashes(tmp_path: Path) -> None:
    """HDF5 loops for ever on a text heap whose sizes are wrong, and follows the pointers of a damaged text type."""
    path = tmp_path / "run.h5"
    store.save(a_profile(), path)
    content = path.read_bytes()
    heap, kinds = content.find(b"GCOL"), content.find(b"notes\0")
    sizes = range(8 * (heap + 8), 8 * (heap + 40), 5) if heap >= 0 else ()
    types = range(8 * (kinds + 8), 8 * (kinds + 24), 3)
    flipping(path, 0, 0, *sizes, *types)
