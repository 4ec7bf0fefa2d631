"""The job: who wins, what is refused, what the defaults are, and that it can be written and read again."""

from __future__ import annotations

import dataclasses
import itertools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from landscape_cli import jobs, settings
from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.jobs import Layer
from landscape_cli.measure import batchnorm, directions, losses, model, normalisations
from landscape_cli.settings import Job

MINIMAL = """
[model]
factory = "net.py:build"
checkpoint = "net.pt"
[data.train]
source = "data.npz"
[planes.main]
x = "-1:1:5"
"""
PLANE = MINIMAL + 'y = "-1:1:5"\n'


def job_of(tmp_path: Path, text: str = MINIMAL, sets: tuple[str, ...] = (), flags: Mapping[str, Any] = {}) -> Job:
    """The job of a file, --set and flags ("model.factory": …), all typed in the file's folder."""
    path = tmp_path / "job.toml"
    path.write_text(text, encoding="utf-8")
    layers = [jobs.read_job_file(path), jobs.read_sets(sets, tmp_path)]
    layers.append(Layer("flag", {tuple(key.split(".")): value for key, value in flags.items()}, tmp_path))
    return jobs.resolve(layers, tmp_path)


def refused(tmp_path: Path, text: str = MINIMAL, sets: tuple[str, ...] = ()) -> LandscapeError:
    """The error that the job must be refused with."""
    with pytest.raises(LandscapeError) as caught:
        job_of(tmp_path, text, sets)
    assert caught.value.code is ExitCode.USAGE
    assert caught.value.hint
    return caught.value


# --- precedence

PLACES = ("default", "job file", "--set", "flag")


@pytest.mark.parametrize("given", [c for n in range(4) for c in itertools.combinations(PLACES[1:], n)])
def test_flag_beats_set_beats_job_file_beats_default(tmp_path: Path, given: tuple[str, ...]) -> None:
    text = MINIMAL + ("[run]\nseed = 1\n" if "job file" in given else "")
    sets = ("run.seed=2",) if "--set" in given else ()
    flags = {"run.seed": 3} if "flag" in given else {}
    job = job_of(tmp_path, text, sets, flags)
    winner = max((PLACES.index(place) for place in given), default=0)
    assert job.run.seed == winner
    assert job.sources["run.seed"] == PLACES[winner]


def test_every_setting_has_a_source(tmp_path: Path) -> None:
    job = job_of(tmp_path, PLANE)
    parts: dict[str, Any] = {"model": job.model, "loss": job.loss, "run": job.run}
    parts |= {"data.train": job.data["train"], "planes.main": job.planes["main"]}
    names = {f"{part}.{field.name}" for part, settings in parts.items() for field in dataclasses.fields(settings)}
    assert set(job.sources) == names
    written = {name for name, source in job.sources.items() if source == "job file"}
    assert written == {"model.factory", "model.checkpoint", "data.train.source", "planes.main.x", "planes.main.y"}
    assert {job.sources[name] for name in names - written} == {"default"}


def test_the_last_of_two_sets_wins(tmp_path: Path) -> None:
    assert job_of(tmp_path, sets=("run.seed=1", "run.seed=2")).run.seed == 2


def test_a_set_or_a_flag_may_add_a_plane_or_a_split(tmp_path: Path) -> None:
    job = job_of(tmp_path, sets=("planes.wide.x=-9:9:3",), flags={"data.test.source": "test.npz"})
    assert list(job.planes) == ["main", "wide"]
    assert list(job.data) == ["train", "test"]
    assert job.sources["planes.wide.x"] == "--set"
    assert job.sources["data.test.source"] == "flag"


def test_factory_arguments_of_file_and_set_are_joined_by_name(tmp_path: Path) -> None:
    text = MINIMAL.replace("[data.train]", "args = {depth = 20, width = 1}\n[data.train]")
    assert job_of(tmp_path, text, ("model.args.depth=56",)).model.args == {"depth": 56, "width": 1}


def test_a_nested_argument_is_reached_by_its_dotted_name(tmp_path: Path) -> None:
    text = MINIMAL.replace("[data.train]", "args = {block = {kind = 'a', size = 3}}\n[data.train]")
    job = job_of(tmp_path, text, ("model.args.block.size=5",))
    assert job.model.args == {"block": {"kind": "a", "size": 5}}


def test_a_table_replaces_the_text_that_a_lower_layer_gave(tmp_path: Path) -> None:
    text = MINIMAL.replace("[planes.main]", 'inputs = "images"\n[planes.main]')
    assert job_of(tmp_path, text, ("data.train.inputs.ids=tokens",)).data["train"].inputs == {"ids": "tokens"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("run.device=cpu", "cpu"),
        ("run.device='cpu'", "cpu"),
        ('run.device = "cpu"', "cpu"),
        ("run.seed=7", 7),
        ("model.strict=false", False),
        ('loss.metrics=["accuracy"]', ["accuracy"]),
        ("data.train.scale=255", 255.0),
        ("model.state_key=a=b", "a=b"),
        ("planes.main.x=-1:1:51", "-1:1:51"),
        ("planes.main.x=[0, 1, 2.5]", [0.0, 1.0, 2.5]),
    ],
)
def test_a_set_is_read_as_toml_and_else_as_plain_text(tmp_path: Path, text: str, value: object) -> None:
    job = job_of(tmp_path, sets=(text,))
    *tables, key = text.partition("=")[0].strip().split(".")
    settings: Any = job
    for table in tables:
        settings = settings[table] if isinstance(settings, Mapping) else getattr(settings, table)
    assert getattr(settings, key) == value


# --- refusals


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("model.checkpont", "model.checkpoint"),
        ("model.factroy", "model.factory"),
        ("loss.metric", "loss.metrics"),
        ("run.sed", "run.seed"),
        ("data.train.sorce", "data.train.source"),
        ("planes.main.normalise", "planes.main.normalize"),
        ("planes.main.direction", "planes.main.directions"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path: Path, wrong: str, near: str) -> None:
    table, _, key = wrong.rpartition(".")
    in_file = MINIMAL.replace(f"[{table}]\n", f"[{table}]\n{key} = 1\n")
    in_file = in_file if in_file != MINIMAL else f"{MINIMAL}[{table}]\n{key} = 1\n"
    for error in (refused(tmp_path, in_file), refused(tmp_path, sets=(f"{wrong}=1",))):
        assert wrong in error.message
        assert f"did you mean {near}?" in error.hint


@pytest.mark.parametrize(("wrong", "near"), [("modle", "model"), ("plane", "planes"), ("los", "loss"), ("dta", "data")])
def test_an_unknown_section_of_the_file_is_refused_with_the_nearest(tmp_path: Path, wrong: str, near: str) -> None:
    error = refused(tmp_path, f"{MINIMAL}[{wrong}]\n")
    assert wrong in error.message
    assert f"did you mean {near}?" in error.hint


@pytest.mark.parametrize(
    ("wrong", "near"), [("modle.checkpoint", "model"), ("plane.main.x", "planes"), ("los.name", "loss")]
)
def test_an_unknown_section_of_a_set_is_refused_with_the_nearest(tmp_path: Path, wrong: str, near: str) -> None:
    error = refused(tmp_path, sets=(f"{wrong}=1",))
    assert wrong in error.message
    assert f"did you mean {near}" in error.hint


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        ("run.seed", "has no value"),
        ("=3", "has no value"),
        ("", "has no value"),
        ("model=3", "is a section"),
        ("data=3", "needs a name"),
        ("data.a b.source=x", "needs a name"),
        ("planes..x=1", "needs a name"),
        (f"planes.{'a' * 65}.x=1", "needs a name"),
        ("run.seed.deeper=1", "has no keys of its own"),
        ("planes.main.x.y=1", "has no keys of its own"),
        ("model..factory=a", "unknown key"),
    ],
)
def test_a_malformed_set_is_refused(tmp_path: Path, pair: str, why: str) -> None:
    assert why in refused(tmp_path, sets=(pair,)).message


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("model = 3", "model must be a table"),
        ("data = 3", "data must be a table"),
        ('[data]\nsource = "a.npz"', "data.source must be a table"),
        ("[model", "not valid TOML"),
        ('[model]\nfactory = "a"\nfactory = "b"', "not valid TOML"),
        (MINIMAL + "[planes.empty]\n", "the plane empty has no x"),
        (MINIMAL + "[data.empty]\n", "the split empty has no source"),
        (MINIMAL.replace('"net.py:build"', '""'), "no model.factory"),
        (MINIMAL.replace('checkpoint = "net.pt"', ""), "no model.checkpoint"),
        (MINIMAL.replace('[data.train]\nsource = "data.npz"', ""), "no data"),
    ],
)
def test_a_job_that_lacks_something_is_refused_with_what(tmp_path: Path, text: str, why: str) -> None:
    assert why in refused(tmp_path, text).message


def test_a_job_without_a_plane_is_a_job(tmp_path: Path) -> None:
    assert job_of(tmp_path, MINIMAL.partition("[planes")[0]).planes == {}


@pytest.mark.parametrize("make", ["absent", "folder", "binary"])
def test_a_job_file_that_cannot_be_read_is_refused(tmp_path: Path, make: str) -> None:
    path = tmp_path / "job.toml"
    if make == "folder":
        path.mkdir()
    if make == "binary":
        path.write_bytes(b"\x89HDF\r\n\x1a\n\xff\xfe")
    with pytest.raises(LandscapeError, match="job file") as caught:
        jobs.read_job_file(path)
    assert "--model" in caught.value.hint


WRONG_TYPES = [
    ("run.seed=true", "a whole number"),
    ("run.seed=1.5", "a whole number"),
    ("run.seed='1'", "a whole number"),
    ("model.strict=1", "true or false"),
    ("model.strict='yes'", "true or false"),
    ("model.factory=3", "text"),
    ("model.args=[1]", "a table"),
    ("model.parameters='*'", "a list"),
    ("loss.metrics=[1]", "text"),
    ("data.train.scale=true", "a number"),
    ("data.train.mean=0.5", "a list"),
    ("data.train.mean=['a']", "a number"),
    ("data.train.inputs={a = 1}", "text"),
    ("data.train.samples=1e3", "a whole number"),
    ("planes.main.x=3", "text or a list"),
    ("planes.main.x=[0, true]", "a number"),
    ("planes.main.directions='random'", "a list"),
    ("planes.main.orthogonal=0", "true or false"),
]


@pytest.mark.parametrize(("pair", "wanted"), WRONG_TYPES)
def test_a_value_of_another_type_is_refused_by_name(tmp_path: Path, pair: str, wanted: str) -> None:
    error = refused(tmp_path, sets=(pair,))
    assert pair.partition("=")[0] in error.message
    assert f"must be {wanted}" in error.message


def test_a_whole_number_passes_for_a_number_and_becomes_one(tmp_path: Path) -> None:
    split = job_of(tmp_path, sets=("data.train.scale=255", "data.train.mean=[0, 1]")).data["train"]
    assert isinstance(split.scale, float)
    assert all(isinstance(value, float) for value in split.mean or [])


@pytest.mark.parametrize(
    "pair",
    [
        "data.train.samples=0",
        "data.train.samples=-1",
        "data.train.scale=0",
        "data.train.scale=nan",
        "run.batch_size=0",
        "loss.weight_decay=-0.1",
        "loss.weight_decay=nan",
        "loss.weight_decay=inf",
        "loss.label_smoothing=1.1",
        "loss.label_smoothing=-0.1",
        "loss.label_smoothing=nan",
        "loss.delta=0",
        "loss.delta=-1",
        "model.call=star",
    ],
)
def test_a_value_out_of_range_is_refused_by_name(tmp_path: Path, pair: str) -> None:
    assert pair.partition("=")[0] in refused(tmp_path, sets=(pair,)).message


@pytest.mark.parametrize(("y", "count"), [(None, 2), (None, 0), ("-1:1:5", 1), ("-1:1:5", 3)])
def test_the_directions_must_be_as_many_as_the_axes(tmp_path: Path, y: str | None, count: int) -> None:
    text = MINIMAL if y is None else PLANE
    error = refused(tmp_path, text, (f"planes.main.directions={['random'] * count}",))
    assert f"{1 if y is None else 2} axes and {count} directions" in error.message


# --- defaults of a plane

ALONE = {
    "random": ("filter", ["bias", "norm"], True, "frozen"),
    "checkpoint:b.pt": ("none", [], False, "interpolate"),
    "file:d.h5": ("none", [], False, "frozen"),
}


@pytest.mark.parametrize("kind", ALONE)
@pytest.mark.parametrize("text", [MINIMAL, PLANE])
def test_the_defaults_follow_the_kind_of_direction(tmp_path: Path, kind: str, text: str) -> None:
    count = 1 if text == MINIMAL else 2
    plane = job_of(tmp_path, text, (f"planes.main.directions={[kind] * count}",)).planes["main"]
    assert (plane.normalize, plane.ignore, plane.orthogonal, plane.batchnorm) == ALONE[kind]


@pytest.mark.parametrize("text", [MINIMAL, PLANE])
def test_without_directions_they_are_random_one_for_each_axis(tmp_path: Path, text: str) -> None:
    plane = job_of(tmp_path, text).planes["main"]
    assert plane.directions == ["random"] * (1 if text == MINIMAL else 2)
    assert (plane.normalize, plane.ignore, plane.orthogonal, plane.batchnorm) == ALONE["random"]


@pytest.mark.parametrize(
    ("pair", "normalize", "batchnorm"),
    [
        (["checkpoint:b.pt", "random"], ["none", "filter"], "interpolate"),
        (["random", "checkpoint:b.pt"], ["filter", "none"], "interpolate"),
        (["file:d.h5", "random"], ["none", "filter"], "frozen"),
        (["checkpoint:b.pt", "file:d.h5"], "none", "interpolate"),
        (["file:d.h5", "checkpoint:b.pt"], "none", "interpolate"),
    ],
)
def test_in_a_mixed_plane_coordinate_1_still_is_the_checkpoint(
    tmp_path: Path, pair: list[str], normalize: str | list[str], batchnorm: str
) -> None:
    plane = job_of(tmp_path, PLANE, (f"planes.main.directions={pair}",)).planes["main"]
    assert (plane.normalize, plane.ignore, plane.orthogonal, plane.batchnorm) == (normalize, [], False, batchnorm)


@pytest.mark.parametrize("kind", ALONE)
def test_what_a_plane_says_itself_beats_every_default(tmp_path: Path, kind: str) -> None:
    sets = (f"planes.main.directions=['{kind}', '{kind}']", "planes.main.normalize=layer", "planes.main.ignore=['x*']",
            "planes.main.orthogonal=true", "planes.main.batchnorm=recompute")  # fmt: skip
    plane = job_of(tmp_path, PLANE, sets).planes["main"]
    assert (plane.normalize, plane.ignore, plane.orthogonal, plane.batchnorm) == ("layer", ["x*"], True, "recompute")


def test_empty_and_false_are_said_too(tmp_path: Path) -> None:
    plane = job_of(tmp_path, PLANE, ("planes.main.ignore=[]", "planes.main.orthogonal=false")).planes["main"]
    assert plane.ignore == []
    assert plane.orthogonal is False


def test_a_plane_without_a_seed_has_the_run_s(tmp_path: Path) -> None:
    sets = ("run.seed=5", "planes.other.x=-1:1:5", "planes.other.seed=0")
    planes = job_of(tmp_path, MINIMAL, sets).planes
    assert (planes["main"].seed, planes["other"].seed) == (5, 0)


# --- paths


def elsewhere(tmp_path: Path, values: dict[str, Any]) -> Job:
    """A job file in one folder and flags typed in another."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    (home / "job.toml").write_text(PLANE)
    flags = Layer("flag", {tuple(key.split(".")): value for key, value in values.items()}, here)
    return jobs.resolve([jobs.read_job_file(home / "job.toml"), flags], home)


@pytest.mark.parametrize(
    ("key", "given", "path"),
    [
        ("model.checkpoint", "b.pt", "{}/b.pt"),
        ("model.checkpoint", "runs/b.pt", "{}/runs/b.pt"),
        ("model.checkpoint", "/abs/b.pt", "/abs/b.pt"),
        ("model.factory", "other.py:build", "{}/other.py:build"),
        ("model.factory", "package.module:build", "package.module:build"),
        ("model.factory", "/abs/net.py:Nets.small", "/abs/net.py:Nets.small"),
        ("loss.name", "l.py:mine", "{}/l.py:mine"),
        ("loss.name", "cross_entropy", "cross_entropy"),
        ("loss.metrics", ["accuracy", "m.py:top3"], ["accuracy", "{}/m.py:top3"]),
        ("data.train.source", "d.npz", "{}/d.npz"),
        ("data.train.source", "d.py:load", "{}/d.py:load"),
        ("data.train.source", "package.data:load", "package.data:load"),
        ("data.train.inputs", "d.npz", "d.npz"),
        ("planes.main.directions", ["random", "checkpoint:b.pt"], ["random", "checkpoint:{}/b.pt"]),
        ("planes.main.directions", ["file:d.h5#x", "checkpoint:/abs/b.pt"], ["file:{}/d.h5#x", "checkpoint:/abs/b.pt"]),
        ("planes.main.x", "-1:1:7", "-1:1:7"),
        ("run.device", "cuda:0", "cuda:0"),
    ],
)
def test_a_path_on_the_command_line_starts_from_where_it_was_typed(
    tmp_path: Path, key: str, given: Any, path: Any
) -> None:
    job = elsewhere(tmp_path, {key: given})
    here = str(tmp_path / "here")
    expected = [p.format(here) for p in path] if isinstance(path, list) else path.format(here)
    *tables, name = key.split(".")
    settings: Any = job
    for table in tables:
        settings = settings[table] if isinstance(settings, Mapping) else getattr(settings, table)
    assert getattr(settings, name) == expected


def test_paths_of_the_job_file_stay_relative_to_its_folder(tmp_path: Path) -> None:
    job = elsewhere(tmp_path, {"run.seed": 1})
    assert (job.model.checkpoint, job.model.factory, job.data["train"].source) == ("net.pt", "net.py:build", "data.npz")
    assert job.folder == tmp_path / "home"


# --- writing it down

FULL = """
[model]
factory = "net.py:build"
args = {depth = 20, name = 'a "quoted" \\ name', nested = {on = true, list = [1, 2]}}
checkpoint = "net.pt"
parameters = ["*", "!head.*"]
call = "kwargs"
output = "logits"
[data.train]
source = "data.npz"
inputs = {ids = "tokens", mask = "mask"}
scale = 255
mean = [0.5]
samples = 100
[data.test-2]
source = "net.py:load"
args = {split = "test"}
inputs = ["a", "b"]
[loss]
name = "net.py:loss"
metrics = ["accuracy"]
weight_decay = 5e-4
[planes.main]
x = "-1:1:5"
y = [-1, 0, 0.1]
directions = ["checkpoint:b.pt", "random"]
[planes.line]
x = "-1:1:5"
normalize = "layer"
seed = 3
[run]
dtype = "float64"
seed = 9
batch_size = 32
"""


@pytest.mark.parametrize("text", [MINIMAL, PLANE, FULL])
def test_the_job_written_down_makes_the_same_job_again(tmp_path: Path, text: str) -> None:
    job = job_of(tmp_path, text)
    again = job_of(tmp_path, jobs.to_toml(job))
    assert dataclasses.replace(again, sources={}) == dataclasses.replace(job, sources={})
    assert jobs.to_toml(again) == jobs.to_toml(job)


def test_the_job_written_down_holds_every_default_in_full(tmp_path: Path) -> None:
    written = tomllib.loads(jobs.to_toml(job_of(tmp_path)))
    assert written["planes"]["main"]["normalize"] == "filter"
    assert written["loss"]["name"] == "cross_entropy"
    assert written["run"]["dtype"] == "float32"


# --- the names known


@pytest.mark.parametrize(
    ("module", "table", "real"),
    [
        ("losses", "LOSSES", losses.LOSSES),
        ("losses", "METRICS", losses.METRICS),
        ("directions", "DIRECTIONS", directions.DIRECTIONS),
        ("normalisations", "NORMALISATIONS", normalisations.NORMALISATIONS),
        ("batchnorm", "POLICIES", batchnorm.POLICIES),
        ("model", "DTYPES", model.DTYPES),
    ],
)
def test_the_choices_read_from_the_source_are_those_of_the_dict(module: str, table: str, real: dict[str, Any]) -> None:
    assert jobs.choices(module, table) == list(real)


def test_a_table_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        jobs.choices("losses", "NOTHING")


def test_the_defaults_name_only_what_exists() -> None:
    assert set(settings.PLANE_DEFAULTS) <= set(directions.DIRECTIONS)
    for rule in settings.PLANE_DEFAULTS.values():
        assert rule["normalize"] in normalisations.NORMALISATIONS
        assert rule["batchnorm"] in batchnorm.POLICIES
