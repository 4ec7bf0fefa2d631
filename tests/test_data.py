"""Samples of every source arrive once, exactly, in a fixed order, or are refused in one clear line."""

from __future__ import annotations

import random
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import shared_data
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from landscape_cli import store
from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure import arrays, data, sources
from landscape_cli.measure.data import Inputs, Split
from landscape_cli.settings import DataSettings

CPU = torch.device("cpu")
SUFFIXES = [".npz", ".pt", ".pth", ".safetensors", ".h5", ".hdf5"]
X = torch.arange(60.0).reshape(10, 3, 2)
Y = torch.arange(10) % 4
Arrays = dict[str, Any]


def write(path: Path, arrays: Arrays) -> Path:
    """The arrays under their names in a file of the kind that its ending says."""
    if path.suffix in (".pt", ".pth"):
        torch.save({name: torch.as_tensor(array) for name, array in arrays.items()}, path)
    elif path.suffix == ".safetensors":
        save_file({name: torch.as_tensor(array).clone() for name, array in arrays.items()}, path)
    elif path.suffix in (".h5", ".hdf5"):
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = np.asarray(array)
    else:
        named: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
        np.savez(path, **named)
    return path


def read(path: Path, **options: Any) -> tuple[Inputs, Tensor]:
    return sources.load_file(path, DataSettings(**options), store.READERS)


def ready(path: Path, **options: Any) -> tuple[Inputs, Tensor]:
    """The samples of a file as a model gets them."""
    inputs, targets = read(path, **options)
    return data.prepare(inputs, DataSettings(**options), torch.float32), data.prepare_targets(targets)


def from_source(source: Any, **options: Any) -> tuple[Inputs, Tensor]:
    return sources.materialise(source, DataSettings(**options))


def tensor(inputs: Inputs) -> Tensor:
    assert isinstance(inputs, Tensor)
    return inputs


def refusal(call: Callable[[], Any]) -> LandscapeError:
    """The error of a call that must be refused: exit 2, one line each of what and hint."""
    with pytest.raises(LandscapeError) as caught:
        call()
    assert caught.value.code == ExitCode.USAGE
    assert caught.value.message
    assert caught.value.hint
    return caught.value


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_gives_its_arrays_by_their_names(tmp_path: Path, suffix: str) -> None:
    inputs, targets = read(write(tmp_path / f"val{suffix}", {"inputs": X, "targets": Y, "other": X + 1}))
    assert torch.equal(tensor(inputs), X)
    assert torch.equal(targets, Y)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_list_of_names_makes_a_tuple_in_that_order(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"val{suffix}", {"a": X, "b": X + 1, "labels": Y})
    inputs, targets = read(path, inputs=["b", "a"], targets="labels")
    assert isinstance(inputs, tuple)
    assert torch.equal(inputs[0], X + 1)
    assert torch.equal(inputs[1], X)
    assert torch.equal(targets, Y)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_of_names_makes_a_dict(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"val{suffix}", {"a": X, "b": X + 1, "targets": Y})
    inputs, _ = read(path, inputs={"pixels": "b", "mask": "a"})
    assert isinstance(inputs, dict)
    assert list(inputs) == ["pixels", "mask"]
    assert torch.equal(inputs["pixels"], X + 1)
    assert torch.equal(inputs["mask"], X)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("role", ["inputs", "targets"])
def test_a_name_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path, suffix: str, role: str) -> None:
    path = write(tmp_path / f"val{suffix}", {"pixels": X, "inputs": X, "targets": Y})
    error = refusal(lambda: read(path, **{role: "pixles"}))
    assert "'pixles'" in error.message
    assert "inputs, pixels, targets" in error.message
    assert f"data.NAME.{role}" in error.hint


def test_names_of_groups_in_hdf5_are_paths(tmp_path: Path) -> None:
    path = write(tmp_path / "val.h5", {"train/x": X, "train/y": Y})
    inputs, targets = read(path, inputs="train/x", targets="train/y")
    assert torch.equal(tensor(inputs), X)
    assert torch.equal(targets, Y)


def test_a_pair_in_a_torch_file_is_inputs_and_targets(tmp_path: Path) -> None:
    torch.save((X, Y), tmp_path / "val.pt")
    inputs, targets = read(tmp_path / "val.pt")
    assert torch.equal(tensor(inputs), X)
    assert torch.equal(targets, Y)


def test_a_compressed_npz_reads_like_a_plain_one(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "val.npz", inputs=X.numpy(), targets=Y.numpy())
    assert torch.equal(tensor(read(tmp_path / "val.npz")[0]), X)


@pytest.mark.parametrize(("suffix", "reader"), [(".npz", arrays.read_npz), (".h5", store.Arrays)])
def test_an_array_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, reader: Callable[[Path], Any]
) -> None:
    path = write(tmp_path / f"val{suffix}", {"inputs": X, "targets": Y})
    kind, names = type(reader(path)), []
    real = kind.__getitem__

    def counted(self: Any, name: str) -> Any:
        names.append(name)
        return real(self, name)

    monkeypatch.setattr(kind, "__getitem__", counted)
    read(path)
    assert sorted(names) == ["inputs", "targets"]


def test_the_shared_images_read() -> None:
    path = shared_data("cifar10_subset.npz")
    inputs, targets = read(path, inputs="test_images", targets="test_labels")
    assert tensor(inputs).shape == (846, 3, 32, 32)
    assert tensor(inputs).dtype == torch.uint8
    assert len(targets) == 846


@pytest.mark.parametrize("dtype", [
    "<f8", ">f8", "<f4", ">f4", "<f2", ">i8", "<i4", ">i4", "<i2", "i1", "u1", "<u2", "<u4", "<u8", "?",
])  # fmt: skip
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_numeric_type_keeps_its_values(tmp_path: Path, dtype: str, order: Any) -> None:
    array = np.asarray(np.arange(12).reshape(4, 3) % 2, dtype=dtype, order=order)
    np.savez(tmp_path / "val.npz", inputs=array, targets=np.arange(4))
    inputs, _ = read(tmp_path / "val.npz")
    assert tensor(inputs).tolist() == array.tolist()


@pytest.mark.parametrize("dtype", ["O", "U3", "S3", "M8[s]", "m8[s]", "c16", "V4", np.longdouble])
def test_arrays_that_are_no_numbers_are_refused_by_name(tmp_path: Path, dtype: Any) -> None:
    np.savez(tmp_path / "val.npz", inputs=np.zeros(4, dtype=dtype), targets=np.arange(4))
    assert "inputs" in refusal(lambda: read(tmp_path / "val.npz")).message


@pytest.mark.filterwarnings("ignore")  # torch's own, about what these tensors are
@pytest.mark.parametrize("role", ["inputs", "targets"])
@pytest.mark.parametrize("change", [
    lambda t: t.to(torch.complex64),
    lambda t: t.to_sparse(),
    lambda t: t.to("meta"),
    lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.quint8),
    lambda t: torch.nested.nested_tensor(list(t)),
], ids=["complex", "sparse", "meta", "quantised", "ragged"])  # fmt: skip
def test_tensors_that_are_no_plain_numbers_are_refused(
    tmp_path: Path, role: str, change: Callable[[Tensor], Tensor]
) -> None:
    held = {"inputs": torch.ones(4, 2), "targets": torch.ones(4, 2)}
    torch.save({**held, role: change(held[role])}, tmp_path / "val.pt")
    refusal(lambda: ready(tmp_path / "val.pt"))


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_strings_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"val{suffix}"
    names = ["cat", "dog"]
    if suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["inputs"], file["targets"] = X[:2].numpy(), names
    else:
        np.savez(path, inputs=X[:2].numpy(), targets=names)
    assert "targets" in refusal(lambda: read(path)).message


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_unequal_lengths_are_refused(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"val{suffix}", {"inputs": X, "targets": Y[:7]})
    message = refusal(lambda: read(path)).message
    assert "10" in message
    assert "7" in message


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("shape", [(0, 3), (0,)])
def test_no_samples_are_refused(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    path = write(tmp_path / f"val{suffix}", {"inputs": torch.zeros(shape), "targets": torch.zeros(0)})
    assert "empty" in refusal(lambda: read(path)).message


def test_single_numbers_are_refused(tmp_path: Path) -> None:
    refusal(lambda: read(write(tmp_path / "val.npz", {"inputs": 1.0, "targets": 1.0})))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("content", "said"), [
    (b"", "is empty"), (b"<html><body>Sign in</body></html>", "web page"),
    (b"version https://git-lfs.github.com/spec/v1\n", "LFS"), (b"\0\1\2\3" * 50, ""), (b"a,b,c\n1,2,3\n" * 9, ""),
], ids=["empty", "html", "lfs", "binary", "text"])  # fmt: skip
def test_what_is_no_data_file_is_refused(tmp_path: Path, suffix: str, content: bytes, said: str) -> None:
    path = tmp_path / f"val{suffix}"
    path.write_bytes(content)
    message = refusal(lambda: read(path)).message
    assert said in message
    assert str(path) in message


def test_an_absent_file_a_folder_and_an_unknown_ending_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "table.csv").write_text("1,2\n")
    assert "No such file" in refusal(lambda: read(tmp_path / "val.npz")).message
    assert "folder" in refusal(lambda: read(tmp_path / "folder.npz")).message
    error = refusal(lambda: read(tmp_path / "table.csv"))
    assert "unknown ending" in error.message
    assert ".npz" in error.hint
    assert ".h5" in error.hint


# ---------------------------------------------------------------- damage and harm


class Payload:
    """Unpickles as a call that makes a folder: proof that it ran."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.proof,)


def test_objects_in_data_are_never_unpickled(tmp_path: Path) -> None:
    payload = Payload(tmp_path / "proof")
    np.savez(tmp_path / "val.npz", inputs=np.array([payload], dtype=object), targets=np.arange(1))
    torch.save({"inputs": payload, "targets": Y}, tmp_path / "val.pt")
    assert "object array" in refusal(lambda: read(tmp_path / "val.npz")).message
    refusal(lambda: read(tmp_path / "val.pt"))
    assert not (tmp_path / "proof").exists()


def with_header(path: Path, shape: tuple[int, ...], descr: str = "<f4") -> Path:
    """A .npz whose `inputs` declares a shape that its bytes do not hold."""
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("inputs.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, {"descr": descr, "fortran_order": False, "shape": shape})
            member.write(b"\0" * 64)
        with archive.open("targets.npy", "w") as member:
            np.lib.format.write_array(member, np.arange(4))
    return path


@pytest.mark.parametrize("shape", [(10**12,), (4, 10**12), (2**40, 2**40), (2**63, 2), (10**6,)])
def test_a_shape_that_the_file_does_not_hold_is_refused_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    path = with_header(tmp_path / "val.npz", shape)
    monkeypatch.setattr(np, "load", lambda *args, **kwargs: pytest.fail("it was read"))
    assert "damaged" in refusal(lambda: read(path)).message


@pytest.mark.parametrize("shape", [(17,), (-1,), (4, -4)])
def test_a_shape_that_cannot_be_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = with_header(tmp_path / "val.npz", shape)
    assert "damaged" in refusal(lambda: read(path)).message


def test_a_giant_hdf5_dataset_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "val.h5", "w") as file:
        file.create_dataset("inputs", shape=(10**6, 10**6), dtype="f8", chunks=(1000, 1000), compression="gzip")
        file["targets"] = Y.numpy()
    assert "inputs" in refusal(lambda: read(tmp_path / "val.h5")).message


@pytest.mark.parametrize("link", ["soft", "external", "storage"])
def test_hdf5_data_that_lie_in_another_file_are_refused(tmp_path: Path, link: str) -> None:
    write(tmp_path / "secret.h5", {"x": X})
    with h5py.File(tmp_path / "val.h5", "w") as file:
        file["targets"] = Y.numpy()
        if link == "storage":
            place = [(str(tmp_path / "secret.h5"), 0, 40)]
            file.create_dataset("inputs", shape=(10,), dtype="f4", external=place)
        else:
            file["inputs"] = h5py.SoftLink("/targets") if link == "soft" else h5py.ExternalLink("secret.h5", "x")
    assert "inputs" in refusal(lambda: read(tmp_path / "val.h5")).message


@pytest.mark.parametrize("shapes", [((10**12,), (10**12,)), ((4, 10**12), (4,))], ids=["samples", "features"])
def test_a_giant_tensor_through_a_zero_stride_is_refused(tmp_path: Path, shapes: tuple[tuple[int, ...], ...]) -> None:
    held = [torch.zeros(1).as_strided(shape, (0,) * len(shape)) for shape in shapes]
    torch.save(dict(zip(("inputs", "targets"), held, strict=True)), tmp_path / "val.pt")
    assert (tmp_path / "val.pt").stat().st_size < 4000
    refusal(lambda: read(tmp_path / "val.pt"))


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors", ".h5"])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"val{suffix}", {"inputs": X, "targets": Y})
    whole = path.read_bytes()
    for length in sorted({*range(1, len(whole) - 1, max(1, len(whole) // 40)), len(whole) - 1}):
        path.write_bytes(whole[:length])
        refusal(lambda: read(path))


def small(path: Path) -> bytes:
    """A small file of the kind that the ending says; .npz compressed."""
    write(path, {"inputs": X[:3], "targets": Y[:3]})
    if path.suffix == ".npz":
        np.savez_compressed(path, inputs=X[:3].numpy(), targets=Y[:3].numpy())
    return path.read_bytes()


def flipped(content: bytes, seed: int, where: list[int]) -> bytes:
    draw, damaged = random.Random(seed), bytearray(content)
    for _ in range(draw.choice([1, 1, 4])):
        damaged[draw.choice(where)] = draw.randrange(256)
    return bytes(damaged)


def outcome(path: Path) -> str:
    try:
        read(path)
    except LandscapeError:
        return "refused"
    return "read"


@pytest.mark.filterwarnings("ignore")  # a flipped byte can make a library warn
@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors", ".h5"])
def test_flipped_bytes_read_or_are_refused_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"val{suffix}"
    whole = small(path)
    where = [i for i, byte in enumerate(whole) if byte] if suffix == ".h5" else list(range(len(whole)))
    counts: Counter[str] = Counter()
    for seed in range(500):
        path.write_bytes(flipped(whole, seed, where))
        counts[outcome(path)] += 1
    assert counts["refused"]
    assert counts["read"]


# ---------------------------------------------------------------- which samples


@pytest.mark.parametrize(("rows", "chosen"), [
    ("0:4", [0, 1, 2, 3]), ("7:", [7, 8, 9]), (":2", [0, 1]), ("-2:", [8, 9]), (":", list(range(10))), ("8:99", [8, 9]),
])  # fmt: skip
def test_rows_choose_a_range(tmp_path: Path, rows: str, chosen: list[int]) -> None:
    inputs, targets = read(write(tmp_path / "val.npz", {"inputs": X, "targets": Y}), rows=rows)
    assert torch.equal(tensor(inputs), X[chosen])
    assert torch.equal(targets, Y[chosen])


@pytest.mark.parametrize("rows", ["5", "a:b", "1:2:3", "", "1.5:3"])
def test_rows_that_are_no_range_are_refused(rows: str) -> None:
    assert "no range" in refusal(lambda: sources.chosen_rows(10, DataSettings(rows=rows))).message


@pytest.mark.parametrize("rows", ["5:5", "9:2", "10:"])
def test_rows_that_choose_nothing_are_refused(rows: str) -> None:
    assert "empty" in refusal(lambda: sources.chosen_rows(10, DataSettings(rows=rows))).message


@given(st.integers(1, 200), st.integers(0, 5), st.data())
@settings(max_examples=40, deadline=None)
def test_a_subset_is_seeded_without_repeats_and_in_order(count: int, seed: int, draw: st.DataObject) -> None:
    samples = draw.draw(st.integers(1, count))
    chosen = DataSettings(samples=samples, seed=seed)
    rows = sources.chosen_rows(count, chosen).tolist()
    assert rows == sorted(set(rows))
    assert len(rows) == samples
    assert set(rows) <= set(range(count))
    assert rows == sources.chosen_rows(count, chosen).tolist()


def test_a_subset_depends_on_its_seed_and_not_on_the_global_generator() -> None:
    state = torch.get_rng_state()
    subsets = {tuple(sources.chosen_rows(100, DataSettings(samples=50, seed=seed)).tolist()) for seed in range(5)}
    assert len(subsets) == 5
    assert torch.equal(torch.get_rng_state(), state)


def test_every_sample_is_equally_likely_to_be_in_a_subset() -> None:
    chosen = [sources.chosen_rows(20, DataSettings(samples=5, seed=seed)) for seed in range(2000)]
    counts = torch.bincount(torch.cat(chosen), minlength=20)
    expected = 2000 * 5 / 20
    assert float(((counts - expected) ** 2 / expected).sum()) < 45  # chi-squared, 19 degrees: p < 1e-3


def test_samples_are_taken_within_rows() -> None:
    rows = sources.chosen_rows(100, DataSettings(rows="40:50", samples=9))
    assert set(rows.tolist()) < set(range(40, 50))


def test_more_samples_than_there_are_are_refused() -> None:
    message = refusal(lambda: sources.chosen_rows(10, DataSettings(rows="0:4", samples=5))).message
    assert "5" in message
    assert "4" in message


def test_inputs_and_targets_stay_together_in_a_subset(tmp_path: Path) -> None:
    path = write(tmp_path / "val.npz", {"a": X, "b": X + 100, "targets": X[:, 0, 0]})
    inputs, targets = read(path, inputs=["a", "b"], samples=4)
    assert torch.equal(data.leaves(inputs)[0][:, 0, 0], targets)
    assert torch.equal(data.leaves(inputs)[1][:, 0, 0], targets + 100)


# ---------------------------------------------------------------- groups


@given(st.integers(1, 700), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_groups_partition_the_samples_evenly(count: int, seed: int) -> None:
    groups = data.deal(count, seed)
    sizes = (groups >= 0).sum(1)
    assert len(groups) == min(64, count)
    assert int(sizes.max() - sizes.min()) <= 1
    assert sorted(groups[groups >= 0].tolist()) == list(range(count))
    assert set(groups[groups < 0].tolist()) <= {-1}


def test_groups_are_dealt_by_seed_alone() -> None:
    torch.manual_seed(1)
    first = data.deal(1000, 3)
    torch.manual_seed(2)
    assert torch.equal(data.deal(1000, 3), first)
    assert not torch.equal(data.deal(1000, 4), first)


def test_neighbours_are_dealt_apart() -> None:
    groups = data.deal(640, 0)
    steps = groups.sort(dim=1).values.diff(dim=1)
    assert len(set(steps.flatten().tolist())) > 50  # neither blocks (1) nor every 64th row (64)


# ---------------------------------------------------------------- sources in code


class Rows(Dataset[Any]):
    """Sample i by a function of i; counts what is read."""

    def __init__(self, length: int = 10, sample: Callable[[int], Any] | None = None) -> None:
        self.length, self.sample = length, sample or (lambda i: (X[i], int(Y[i])))
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> Any:
        self.asked.append(row)
        return self.sample(row)


class Stream(IterableDataset[Any]):
    def __init__(self, samples: Callable[[], Iterator[Any]]) -> None:
        self.samples = samples

    def __iter__(self) -> Iterator[Any]:
        return self.samples()


def in_order() -> Iterator[Any]:
    return ((X[i], int(Y[i])) for i in range(10))


def half(i: int) -> Any:
    return X[5 * i : 5 * i + 5], Y[5 * i : 5 * i + 5]


def whole_sources() -> dict[str, Any]:
    return {
        "pair": (X, Y),
        "list pair": [X, Y],
        "pair of arrays": (X.numpy(), Y.numpy()),
        "dataset": Rows(),
        "tensor dataset": TensorDataset(X, Y),
        "list of samples": [(X[i], int(Y[i])) for i in range(10)],
        "loader": DataLoader(Rows(), batch_size=3),
        "loader that shuffles": DataLoader(Rows(), batch_size=3, shuffle=True),
        "loader that drops": DataLoader(Rows(), batch_size=4, drop_last=True),
        "loader that shuffles and drops": DataLoader(Rows(), batch_size=4, shuffle=True, drop_last=True),
        "loader without batches": DataLoader(Rows(), batch_size=None),
        "loader of whole batches": DataLoader(Rows(2, half), batch_size=None),
        "stream": Stream(in_order),
        "loader of a stream": DataLoader(Stream(in_order), batch_size=3),
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(whole_sources()))
def test_every_kind_of_source_gives_all_samples_in_order(kind: str) -> None:
    inputs, targets = from_source(whole_sources()[kind])
    assert torch.equal(tensor(inputs).float(), X)
    assert torch.equal(targets, Y)


@pytest.mark.parametrize("kind", list(whole_sources()))
def test_every_kind_of_source_takes_the_same_subset(kind: str) -> None:
    rows = sources.chosen_rows(10, DataSettings(rows="1:9", samples=4))
    inputs, targets = from_source(whole_sources()[kind], rows="1:9", samples=4)
    assert torch.equal(tensor(inputs).float(), X[rows])
    assert torch.equal(targets, Y[rows])


def test_only_the_rows_asked_for_are_read() -> None:
    source = Rows(10**6, lambda i: (torch.tensor([float(i)]), 0))
    inputs, _ = from_source(source, rows="500:503")
    assert tensor(inputs).flatten().tolist() == [500, 501, 502]
    assert set(source.asked) == {500, 501, 502}


def test_many_samples_keep_their_order() -> None:
    inputs, targets = from_source(Rows(1000, lambda i: (torch.tensor([float(i)]), i)))
    assert tensor(inputs).flatten().tolist() == targets.tolist() == list(range(1000))


def test_a_loaders_own_collate_function_is_used() -> None:
    def collate(samples: list[Any]) -> Any:
        return torch.stack([x for x, _ in samples]) * 2, torch.tensor([y for _, y in samples])

    inputs, targets = from_source(DataLoader(Rows(), batch_size=3, collate_fn=collate))
    assert torch.equal(tensor(inputs), 2 * X)
    assert torch.equal(targets, Y)


@pytest.mark.parametrize("options", [
    {"sampler": [7, 2, 5]},
    {"batch_sampler": [[7, 2], [5]]},
    {"batch_sampler": BatchSampler([7, 2, 5], 2, False)},
], ids=["sampler", "batches", "batch sampler"])  # fmt: skip
def test_a_loader_with_a_sampler_of_its_own_is_read_as_it_comes(options: Any) -> None:
    source = DataLoader(Rows(), **options)
    expected = torch.cat([batch[1] for batch in source])
    assert torch.equal(from_source(source)[1], expected)


@pytest.mark.parametrize("sampler", [
    SubsetRandomSampler(range(10)), WeightedRandomSampler([1.0] * 10, 10),
    torch.utils.data.RandomSampler(range(10), replacement=True),
])  # fmt: skip
def test_a_sampler_that_draws_at_random_is_refused(sampler: Any) -> None:
    torch.manual_seed(0)
    source = DataLoader(Rows(), batch_size=10, sampler=sampler)
    assert "differently twice" in refusal(lambda: from_source(source)).message


def noisy(row: int) -> Any:
    return X[row] + torch.randn(3, 2), int(Y[row])


def noisy_targets(row: int) -> Any:
    return X[row], torch.randn(2)


def noisy_shape(row: int, calls: list[int] = [0]) -> Any:  # noqa: B006
    calls[0] += 1
    return torch.ones(2 if calls[0] <= 10 else 3), 0


@pytest.mark.parametrize("sample", [noisy, noisy_targets, noisy_shape])
@pytest.mark.parametrize("wrap", [
    lambda d: d, lambda d: DataLoader(d, batch_size=4), lambda d: DataLoader(d, batch_size=4, shuffle=True),
], ids=["dataset", "loader", "shuffled loader"])  # fmt: skip
def test_augmentation_is_refused(sample: Callable[[int], Any], wrap: Callable[[Any], Any]) -> None:
    noisy_shape.__defaults__[0][0] = 0  # type: ignore[index]
    assert "differently twice" in refusal(lambda: from_source(wrap(Rows(10, sample)))).message


def test_rare_augmentation_in_one_of_the_inputs_is_refused() -> None:
    torch.manual_seed(0)

    def sample(row: int) -> Any:
        return {"x": X[row], "mask": torch.rand(50) < 0.1, "targets": 0}

    refusal(lambda: from_source(Rows(10, sample)))


def test_a_stream_that_shuffles_is_refused() -> None:
    draw = random.Random(0)

    def samples() -> Iterator[Any]:
        order = draw.sample(range(10), 10)
        return ((X[i], int(Y[i])) for i in order)

    for source in (Stream(samples), DataLoader(Stream(samples), batch_size=5)):
        assert "differently twice" in refusal(lambda source=source: from_source(source)).message  # type: ignore[misc]


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: DataLoader(d, batch_size=1)], ids=["stream", "loader"])
def test_a_stream_that_augments_some_of_its_samples_is_refused(wrap: Callable[[Any], Any]) -> None:
    """The first sample answers the same: looking at it alone is not enough."""
    torch.manual_seed(0)
    source = Stream(lambda: ((X[i] + (i > 0) * torch.randn(3, 2), 0) for i in range(10)))
    assert "differently twice" in refusal(lambda: from_source(wrap(source))).message


def test_data_that_hold_nan_answer_the_same_twice() -> None:
    assert bool(tensor(from_source(Rows(3, lambda i: (torch.tensor([float("nan")]), i)))[0]).isnan().all())


def dict_rows() -> Rows:
    return Rows(10, lambda i: {"ids": X[i], "mask": X[i] > 5, "labels": int(Y[i]), "extra": 0})


def test_dict_samples_give_their_labels_and_all_the_rest() -> None:
    inputs, targets = from_source(dict_rows())
    assert isinstance(inputs, dict)
    assert set(inputs) == {"ids", "mask", "extra"}
    assert torch.equal(inputs["ids"], X)
    assert torch.equal(targets, Y)


def test_dict_samples_give_the_named_targets() -> None:
    inputs, targets = from_source(dict_rows(), targets="extra")
    assert set(inputs) == {"ids", "mask", "labels"}
    assert targets.tolist() == [0] * 10


def test_dict_samples_give_the_one_named_input() -> None:
    assert torch.equal(tensor(from_source(dict_rows(), inputs="ids")[0]), X)


def test_dict_samples_give_the_named_inputs_as_a_tuple() -> None:
    inputs, _ = from_source(dict_rows(), inputs=["mask", "ids"])
    assert isinstance(inputs, tuple)
    assert torch.equal(inputs[0], X > 5)
    assert torch.equal(inputs[1], X)


def test_dict_samples_give_the_named_inputs_as_a_dict() -> None:
    inputs, _ = from_source(dict_rows(), inputs={"x": "ids"})
    assert isinstance(inputs, dict)
    assert list(inputs) == ["x"]
    assert torch.equal(inputs["x"], X)


@pytest.mark.parametrize("inputs", ["pixels", ["ids", "pixels"], {"x": "pixels"}])
def test_dict_samples_without_the_named_input_are_refused(inputs: Any) -> None:
    assert "pixels" in refusal(lambda: from_source(dict_rows(), inputs=inputs)).message


def test_dict_samples_without_targets_are_refused() -> None:
    error = refusal(lambda: from_source(Rows(3, lambda i: {"ids": X[i]})))
    assert "'targets'" in error.message
    assert "ids" in error.hint


def test_samples_of_three_are_two_inputs_and_a_target() -> None:
    inputs, targets = from_source(Rows(10, lambda i: (X[i], X[i] + 1, int(Y[i]))))
    assert isinstance(inputs, tuple)
    assert torch.equal(inputs[1], X + 1)
    assert torch.equal(targets, Y)


def test_a_dict_in_a_pair_is_the_inputs() -> None:
    inputs, targets = from_source(Rows(10, lambda i: ({"a": X[i]}, int(Y[i]))))
    assert isinstance(inputs, dict)
    assert torch.equal(inputs["a"], X)
    assert torch.equal(targets, Y)


def raising(row: int) -> Any:
    raise FileNotFoundError(f"img{row}.png")


def stopping() -> Iterator[Any]:
    yield X[0], 0
    raise FileNotFoundError("shard1.tar")


def bad_sources() -> dict[str, Any]:
    return {
        "nothing": None,
        "a number": 3,
        "a tensor pair of unequal lengths": (X, Y[:3]),
        "an empty pair": (X[:0], Y[:0]),
        "an empty dataset": Rows(0),
        "an empty stream": Stream(lambda: iter(())),
        "samples of unequal shapes": Rows(4, lambda i: (torch.ones(i + 1), i)),
        "a stream of unequal shapes": Stream(lambda: iter([(torch.ones(2), 0), (torch.ones(3), 0)])),
        "samples that are no pairs": Rows(4, lambda i: X[i]),
        "samples without targets": Rows(4, lambda i: (X[i],)),
        "texts": Rows(4, lambda i: ("text", i)),
        "nothings": Rows(4, lambda i: (None, i)),
        "nested inputs": Rows(4, lambda i: ({"a": {"b": X[i]}}, i)),
        "a ragged pair": (X[:2], [[0, 1], [2]]),
        "a dataset that raises": Rows(4, raising),
        "a stream that raises": Stream(stopping),
        "a loader that raises": DataLoader(Rows(4, raising), batch_size=2),
    }


@pytest.mark.parametrize("kind", list(bad_sources()))
def test_a_source_of_no_use_is_refused(kind: str) -> None:
    refusal(lambda: from_source(bad_sources()[kind]))


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64, torch.int32])
def test_images_are_scaled_then_normalised_per_channel(dtype: torch.dtype) -> None:
    images = (torch.arange(2 * 3 * 4 * 4) % 256).reshape(2, 3, 4, 4).to(dtype)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]
    made = tensor(data.prepare(images, DataSettings(scale=255.0, mean=mean, std=std), torch.float64))
    pixels, tolerance = images.double().numpy() / 255, 1e-14 if dtype == torch.float64 else 1e-6
    for channel in range(3):
        expected = (pixels[:, channel] - mean[channel]) / std[channel]
        np.testing.assert_allclose(made[:, channel].numpy(), expected, rtol=tolerance, atol=tolerance)


def test_the_runs_type_does_not_change_what_the_samples_are() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
    chosen = DataSettings(scale=255.0, mean=[0.1307], std=[0.3081])
    single, double = (tensor(data.prepare(images, chosen, dtype)) for dtype in (torch.float32, torch.float64))
    assert double.dtype == torch.float64
    assert torch.equal(single.double(), double)


@pytest.mark.parametrize(("options", "expected"), [
    ({"scale": 2.0}, 3.0), ({"mean": [2.0]}, 4.0), ({"std": [3.0]}, 2.0), ({}, 6.0),
    ({"scale": 2.0, "mean": [2.0]}, 1.0), ({"mean": [2.0], "std": [2.0]}, 2.0),
])  # fmt: skip
def test_each_step_of_normalising_is_optional(options: Any, expected: float) -> None:
    made = tensor(data.prepare(torch.full((2, 3), 6.0), DataSettings(**options), torch.float32))
    assert made.tolist() == [[expected] * 3] * 2


def test_features_are_normalised_by_column() -> None:
    made = data.prepare(torch.ones(5, 3), DataSettings(mean=[0.0, 1.0, 2.0]), torch.float32)
    assert tensor(made)[0].tolist() == [1, 0, -1]


@pytest.mark.parametrize(("shape", "mean"), [((4, 3), [1.0, 2.0]), ((4,), [1.0]), ((4, 8, 8, 3), [1.0, 2.0, 3.0])])
def test_channels_that_do_not_fit_are_refused(shape: tuple[int, ...], mean: list[float]) -> None:
    error = refusal(lambda: data.prepare(torch.zeros(shape), DataSettings(mean=mean), torch.float32))
    assert str(shape) in error.message


@pytest.mark.parametrize("std", [[0.0], [-1.0], [1.0, 0.0, 1.0], [], [float("nan")], [float("inf")]])
def test_a_std_that_is_no_positive_number_is_refused(std: list[float]) -> None:
    refusal(lambda: data.prepare(torch.ones(4, 3), DataSettings(std=std), torch.float32))


@pytest.mark.parametrize(("given_", "wanted", "expected"), [
    (torch.uint8, None, torch.int64),
    (torch.int32, None, torch.int64),
    (torch.bool, None, torch.bool),
    (torch.float64, None, torch.float32),
    (torch.float16, None, torch.float32),
    (torch.uint8, "float32", torch.float32),
    (torch.int64, "float64", torch.float64),
    (torch.float32, "int64", torch.int64),
    (torch.int64, "int32", torch.int32),
])  # fmt: skip
def test_inputs_get_the_models_type_or_the_one_asked_for(
    given_: torch.dtype, wanted: str | None, expected: torch.dtype
) -> None:
    made = data.prepare(torch.ones(2, 2).to(given_), DataSettings(dtype=wanted), torch.float32)
    assert tensor(made).dtype == expected
    assert tensor(made).tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("dtype", ["flaot32", "nn", "Tensor", "complex64", "int8", "qint8", "uint4", "zeros"])
def test_a_type_that_is_none_is_refused(dtype: str) -> None:
    assert dtype in refusal(lambda: data.prepare(X, DataSettings(dtype=dtype), torch.float32)).message


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("where", ["only", "tuple", "dict"])
def test_nan_in_the_inputs_is_refused(dtype: torch.dtype, where: str) -> None:
    bad = X.clone().to(dtype)
    bad[3, 1, 1] = float("nan")
    inputs: Inputs = {"only": bad, "tuple": (X, bad), "dict": {"a": X, "b": bad}}[where]  # type: ignore[assignment]
    assert "NaN" in refusal(lambda: data.prepare(inputs, DataSettings(), torch.float32)).message


def test_infinity_in_the_inputs_is_data() -> None:
    mask = torch.tensor([[0.0, -float("inf")]])
    assert torch.equal(tensor(data.prepare(mask, DataSettings(), torch.float32)), mask)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_targets_that_are_not_finite_are_refused(value: float) -> None:
    assert "targets" in refusal(lambda: data.prepare_targets(torch.tensor([1.0, value]))).message


@pytest.mark.parametrize(("given_", "expected"), [
    (torch.uint8, torch.int64), (torch.bool, torch.int64), (torch.int64, torch.int64),
    (torch.float16, torch.float64), (torch.float32, torch.float64),
])  # fmt: skip
def test_targets_are_class_indices_or_float64(given_: torch.dtype, expected: torch.dtype) -> None:
    made = data.prepare_targets(torch.ones(3).to(given_))
    assert made.dtype == expected
    assert made.tolist() == [1, 1, 1]


def test_preparing_leaves_the_samples_as_they_are() -> None:
    images, before = X.clone(), X.clone()
    data.prepare(images, DataSettings(scale=255.0, mean=[0.5], std=[0.5]), torch.float32)
    assert torch.equal(images, before)


# ---------------------------------------------------------------- hashes


def sha(inputs: Inputs = X, targets: Tensor = Y, **options: Any) -> str:
    return data.samples_sha256(inputs, targets, DataSettings(**options))


def test_the_hash_is_of_what_the_samples_are() -> None:
    assert sha() == sha(X.clone(), Y.clone())
    assert sha(X.transpose(1, 2).contiguous().transpose(1, 2)) == sha()  # another memory layout
    assert sha(source="elsewhere.npz", rows="0:10") == sha(source="here.npz")


@given(st.integers(0, X.numel() - 1), st.integers(0, 31))
@settings(max_examples=50, deadline=None)
def test_one_bit_of_one_input_changes_the_hash(at: int, bit: int) -> None:
    changed = X.clone()
    bits = changed.view(-1).view(torch.int32)
    bits[at] ^= torch.tensor(1 << bit).to(torch.int32)
    assert sha(changed) != sha()


@pytest.mark.parametrize("at", range(10))
def test_one_target_changes_the_hash(at: int) -> None:
    changed = Y.clone()
    changed[at] += 1
    assert sha(X, changed) != sha()


def different_inputs() -> list[Inputs]:
    return [
        X, X.reshape(10, 2, 3), X.double(), X[:, :, :1], X.flip(0), (X,) * 2, (X, X + 1), (X + 1, X),
        {"a": X}, {"b": X}, {"a": X, "b": X + 1}, {"b": X, "a": X + 1}, X.view(torch.int32),
    ]  # fmt: skip


def test_different_inputs_have_different_hashes() -> None:
    assert len({sha(inputs) for inputs in different_inputs()}) == len(different_inputs())


def test_the_type_of_the_targets_is_hashed() -> None:
    assert len({sha(X, Y), sha(X, Y.double()), sha(X, Y.int())}) == 3


def test_every_way_of_normalising_has_its_own_hash() -> None:
    options: list[dict[str, Any]] = [
        {}, {"scale": 255.0}, {"scale": 128.0}, {"mean": [0.5]}, {"std": [0.5]}, {"mean": [0.5], "std": [0.5]},
        {"mean": [0.5, 0.5, 0.5]}, {"dtype": "float32"}, {"dtype": "float64"},
    ]  # fmt: skip
    assert len({sha(**option) for option in options}) == len(options)


def test_another_dealing_into_groups_is_another_problem() -> None:
    """A run resumed with another seed would mix two dealings in one surface."""
    assert not torch.equal(data.deal(10, 0), data.deal(10, 1))
    assert sha(seed=0) != sha(seed=1)


@pytest.mark.parametrize("value", [
    torch.tensor([1, 256]), torch.tensor([[1.5], [2.5]]).T, torch.tensor([True, False]), torch.tensor(3.0),
    torch.tensor([1.0, -2.0], dtype=torch.bfloat16), torch.empty(0, 3),
], ids=str)  # fmt: skip
def test_bytes_are_in_c_order(value: Tensor) -> None:
    as_is = value.view(torch.int16) if value.dtype == torch.bfloat16 else value
    assert bytes(data.tensor_bytes(value)) == as_is.numpy().tobytes(order="C")


# ---------------------------------------------------------------- batches


def split(inputs: Inputs, targets: Tensor) -> Split:
    return Split("val", inputs, targets, torch.ones(len(targets)), data.deal(len(targets), 0), "")


@pytest.mark.parametrize("size", [1, 3, 5, 10, 11, 1000])
@pytest.mark.parametrize("inputs", [X, (X, X + 1), {"a": X, "b": X + 1}], ids=["single", "tuple", "dict"])
def test_batches_of_any_size_make_up_the_samples(size: int, inputs: Inputs) -> None:
    batches = list(split(inputs, Y).batches(size, CPU))
    parts = [data.leaves(part) for _, part, _ in batches]
    for joined, whole in zip(zip(*parts, strict=True), data.leaves(inputs), strict=True):
        assert torch.equal(torch.cat(joined), whole)
    assert torch.equal(torch.cat([targets for *_, targets in batches]), Y)
    assert [i for rows, *_ in batches for i in range(rows.start, rows.stop)] == list(range(10))
    assert all(len(targets) == rows.stop - rows.start <= size for rows, _, targets in batches)
    assert all(type(part) is type(inputs) for _, part, _ in batches)


def test_a_split_is_as_long_as_its_targets() -> None:
    assert len(split(X, Y)) == 10


def test_a_function_of_inputs_keeps_their_structure() -> None:
    doubled = data.apply(lambda t: 2 * t, {"a": X, "b": X + 1})
    assert isinstance(doubled, dict)
    assert list(doubled) == ["a", "b"]
    assert torch.equal(doubled["b"], 2 * X + 2)


# ---------------------------------------------------------------- several inputs, padding, archives of other things


def test_of_several_inputs_it_must_be_said_which_is_scaled() -> None:
    inputs: Inputs = {"image": X, "meta": X}
    assert "which of several" in refusal(lambda: data.prepare(inputs, DataSettings(scale=255), torch.float32)).message


def padded(rows: list[Any]) -> tuple[Tensor, Tensor]:
    """Rows of different lengths, padded to the longest."""
    longest = max(len(x) for x, _ in rows)
    return torch.stack([torch.nn.functional.pad(x, (0, longest - len(x))) for x, _ in rows]), torch.tensor(
        [y for _, y in rows]
    )


def test_a_loader_that_pads_to_the_longest_is_read_whole() -> None:
    lengths = [3] * 299
    lengths[137] = 9
    rows = [(torch.full((n,), float(i)), i % 4) for i, n in enumerate(lengths)]
    loader: Any = DataLoader(rows, batch_size=7, collate_fn=padded)  # type: ignore[arg-type]
    inputs, targets = from_source(loader)
    assert isinstance(inputs, Tensor)
    assert inputs.shape == (299, 9)
    assert inputs[137].tolist() == [137.0] * 9
    assert targets.tolist() == [y for _, y in rows]


def test_an_archive_of_other_things_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inputs", b"no array")
    assert "no array named" in refusal(lambda: read(path)).message
