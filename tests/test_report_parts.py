"""The headline, `--section`, `--metric`, `--confidence` and `landscape explain`."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import surface_of
from test_report_command import CONFIGS, Capture, estimates, printed, strict

from landscape_cli import store
from landscape_cli.analyse.names import named
from landscape_cli.analyse.paths import flatten, numbers, words
from landscape_cli.analyse.statistics import statistics
from landscape_cli.cli.main import main
from landscape_cli.cli.tables import fitting
from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.profile import Centre, Estimate, Profile, Provenance
from landscape_cli.report.critical import GRID_POINT, SHOWN, UNSURE, coordinate, critical_tables
from landscape_cli.report.headline import HEADLINE, RATE, headline
from landscape_cli.report.intervals import Ranged, with_intervals
from landscape_cli.report.json import run_as_json
from landscape_cli.report.legend import KNOWN, LEGEND, found_key, gloss, legend_key, members
from landscape_cli.report.legend_plane import PLANE
from landscape_cli.report.meaning import EVIDENCE, RECIPE
from landscape_cli.report.numbers import estimate_text
from landscape_cli.report.run import Run, Table
from landscape_cli.section import Section


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "run.h5"
    few = [
        "hessian.samples=60",
        "hessian.top=2",
        "hessian.bottom=1",
        "hessian.learning_rate=0.1",
        "sharpness.samples=60",
    ]
    few += ["hessian.density=true", "hessian.starts=2", "hessian.steps=4", "hessian.per_layer=true"]
    few += ["sharpness.fisher_rao=true", "sharpness.relative_flatness=true", "sharpness.draws=4", "gradient.samples=60"]
    sets = ["planes.main.x=-1:1:9", "planes.square.x=-1:1:5", "planes.square.y=-1:1:5", *few]
    asked = [f"--set={item}" for item in [*sets, "sharpness.ascent=2", "sharpness.starts=2"]]
    assert main(["scan", str(CONFIGS / "line.toml"), "-o", str(run), "-q", *asked]) == 0
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "run.h5"))


@pytest.fixture
def full(run: Path) -> Profile:
    """That run with a line between checkpoints and a plane that has many minima too."""
    profile = store.load(run)
    line = replace(profile.planes["main"], name="between", directions=({"kind": "checkpoint"},))
    waves = [
        surface_of(lambda x, y, s=shift: 1 - np.cos(6 * x + s) * np.cos(6 * y), "-1:1:41", "-1:1:41", noise=0.01)
        for shift in (0.0, 0.3)
    ]
    record = replace(profile.planes["square"], name="waves", gram=waves[0].gram)
    bumpy = replace(record, surfaces=dict(zip(record.surfaces, waves, strict=True)))
    return replace(profile, planes={**profile.planes, "between": line, "waves": bumpy})


def test_the_headline_comes_first_and_the_evidence_once(run: Path, capsys: Capture) -> None:
    shown = printed(capsys, "report", str(run), "--format", "markdown").replace("\\", "")
    first = shown.split("### ")[1]
    for name in ("verdict", "sharpness.average_adaptive", "sharpness.worst_adaptive", "learning_rate.stability",
                 "hessian.trace"):  # fmt: skip
        assert name in first
    assert shown.count("anti-correlate") == 1


@pytest.mark.parametrize("kept", [["hessian"], ["sharpness"], []])
def test_what_the_headline_lacks_it_says_how_to_have(run: Path, capsys: Capture, kept: list[str]) -> None:
    profile = store.load(run)
    bare = run.with_name("bare.h5")
    store.save(replace(profile, sections={name: profile.sections[name] for name in kept}), bare)
    shown = printed(capsys, "report", str(bare))
    assert shown.index("Headline") < shown.index("Centre")
    assert all(name in shown for name in ("verdict", *HEADLINE))
    for name in ("hessian", "sharpness"):
        assert (f"scan again with --only {name}" in shown) is (name not in kept)


def test_the_gradient_in_full_has_every_parameter_tensor(run: Path, capsys: Capture) -> None:
    layers = strict(printed(capsys, "report", str(run), "--format", "json"))["runs"][0]["gradient"]["per_layer"]
    shown = printed(capsys, "report", str(run), "--section", "gradient").split("Gradient by parameter tensor")[1]
    lines = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line}
    assert len(layers) > 1
    for layer in layers:
        norm, ratio = (float(text) for text in lines[layer["name"]])
        assert norm == pytest.approx(layer["norm"]["value"], rel=1e-3)
        assert ratio == pytest.approx(layer["ratio"]["value"], rel=1e-3)
    assert "Gradient by parameter tensor" not in printed(capsys, "report", str(run))


def test_a_metric_is_a_bare_number(run: Path, capsys: Capture) -> None:
    only = strict(printed(capsys, "report", str(run), "--format", "json"))["runs"][0]
    for name, value in (
        ("hessian.top", only["hessian"]["top"][0]["value"]),
        ("hessian.top.1", only["hessian"]["top"][1]["value"]),
        ("centre.loss", only["centre"]["train"]["loss"]["value"]),
        ("centre.test.loss", only["centre"]["test"]["loss"]["value"]),
        ("basin.left", only["planes"]["main"]["train"]["basin"]["left"]["value"]),
        ("square.surface.min", only["planes"]["square"]["train"]["surface"]["min"]["value"]),
        ("planes.main.test.surface.min", only["planes"]["main"]["test"]["surface"]["min"]["value"]),
    ):
        assert printed(capsys, "report", str(run), "--metric", name) == f"{value!r}\n"
    assert len(printed(capsys, "report", str(run), "--metric=centre.loss", "--metric=hessian.trace").splitlines()) == 2


def test_the_verdict_is_a_word(run: Path, capsys: Capture) -> None:
    only = strict(printed(capsys, "report", str(run), "--format", "json"))["runs"][0]
    assert printed(capsys, "report", str(run), "--metric", "verdict.kind") == f"{only['verdict']['kind']}\n"


def test_a_metric_that_has_not_converged_is_printed_and_exits_3(run: Path, capsys: Capture) -> None:
    profile = store.load(run)
    held = profile.sections["hessian"]
    arrays = {**held.arrays, "top_converged": np.zeros(2)}
    store.save(replace(profile, sections={**profile.sections, "hessian": replace(held, arrays=arrays)}), run)
    capsys.readouterr()
    assert main(["report", str(run), "--metric", "hessian.top"]) == ExitCode.INCONCLUSIVE
    out, err = capsys.readouterr()
    assert float(out) == held.arrays["top"][0]
    assert "not converged" in err


def test_a_metric_that_is_none_or_has_no_number(run: Path, capsys: Capture) -> None:
    assert main(["report", str(run), "--metric", "hessian.topp"]) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert "did you mean hessian.top" in err
    assert main(["report", str(run), "--metric", "hessian.top_ratio"]) == ExitCode.INCONCLUSIVE
    out, err = capsys.readouterr()
    assert out == ""
    assert "not measured" in err


def test_a_metric_that_another_run_would_have_says_how_and_one_that_none_has_what_is_near(
    run: Path, capsys: Capture
) -> None:
    profile = store.load(run)
    held = profile.sections["hessian"]
    arrays = {**held.arrays, "top": -held.arrays["top"]}
    bare = run.with_name("bare.h5")
    for sections, name, code, said in (
        ({}, "sharpness.average_adaptive", ExitCode.INCONCLUSIVE, "scan again with --only sharpness"),
        ({}, "hessian.top", ExitCode.INCONCLUSIVE, "scan again with --only hessian"),
        ({}, "gradient.norm", ExitCode.INCONCLUSIVE, "scan again with --only gradient"),
        ({}, "verdict", ExitCode.INCONCLUSIVE, "scan again with --only hessian"),
        ({}, "learning_rate.stability", ExitCode.INCONCLUSIVE, "scan again with --only hessian"),
        ({}, "hessian.tip", ExitCode.USAGE, "unknown metric"),
        ({}, "square.basin.rad", ExitCode.USAGE, "square.basin.radius"),
        ({"hessian": replace(held, settings={**held.settings, "learning_rate": None})}, "learning_rate.stability",
         ExitCode.INCONCLUSIVE, "hessian.learning_rate="),
        ({"hessian": replace(held, arrays=arrays)}, "learning_rate.max_stable.gradient_descent",
         ExitCode.INCONCLUSIVE, "undefined"),
    ):  # fmt: skip
        store.save(replace(profile, sections=sections), bare)
        assert main(["report", str(bare), "--metric", name]) == code, name
        out, err = capsys.readouterr()
        assert out == ""
        assert said in err
        assert f"error: {bare}: " in err
        bare.unlink()


def test_a_number_that_is_missing_takes_no_other_s_place(run: Path, capsys: Capture) -> None:
    profile = store.load(run)
    asked = ["--metric=hessian.top_ratio", "--metric=centre.loss"]
    assert main(["report", str(run), *asked]) == ExitCode.INCONCLUSIVE
    out, err = capsys.readouterr()
    assert out == f"\n{profile.centre['train'].loss!r}\n"
    assert "hessian.top_ratio has no number: not measured" in err
    assert main(["report", str(run), *asked, "--metric=hessian.tip"]) == ExitCode.USAGE
    assert capsys.readouterr().out == ""


def test_a_bound_is_said_and_an_inconclusive_verdict_exits_3(run: Path, capsys: Capture) -> None:
    assert main(["report", str(run), "--metric", "sharpness.worst"]) == ExitCode.OK
    assert "sharpness.worst is a lower bound" in capsys.readouterr().err
    assert main(["report", str(run), "--metric", "centre.loss"]) == ExitCode.OK
    assert capsys.readouterr().err == ""
    profile = store.load(run)
    held = profile.sections["hessian"]
    arrays = {**held.arrays, "top_converged": np.zeros(2)}
    store.save(replace(profile, sections={"hessian": replace(held, arrays=arrays)}), run)
    assert main(["report", str(run), "--metric", "verdict"]) == ExitCode.INCONCLUSIVE
    assert capsys.readouterr().out == "inconclusive\n"


def test_an_option_without_its_value_names_the_command_s_help(run: Path, capsys: Capture) -> None:
    assert main(["report", str(run), "--confidence"]) == ExitCode.USAGE
    assert "landscape report --help" in capsys.readouterr().err


@pytest.mark.parametrize("other", ["--section=hessian", "--confidence=0.9", "--format=json"])
def test_a_bare_number_has_no_format(run: Path, capsys: Capture, other: str) -> None:
    assert main(["report", str(run), "--metric=centre.loss", other]) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert "leave out" in err


@pytest.mark.parametrize(("part", "by"), [("gradient", "gradient"), ("verdict", "hessian"), ("sharpness", "sharpness")])
@pytest.mark.parametrize("name", ["text", "json", "csv"])
def test_a_section_that_was_not_measured_says_how(run: Path, capsys: Capture, part: str, by: str, name: str) -> None:
    store.save(replace(store.load(run), sections={}), run.with_name("bare.h5"))
    assert main(["report", str(run.with_name("bare.h5")), "--section", part, "--format", name]) == ExitCode.INCONCLUSIVE
    assert f"--only {by}" in capsys.readouterr().err


def test_words_have_a_column_of_their_own(run: Path, capsys: Capture) -> None:
    only = strict(printed(capsys, "report", str(run), "--format", "json"))["runs"][0]
    point = only["planes"]["square"]["train"]["critical_points"][0]
    for more in ((), ("--confidence", "0.95")):
        rows = list(csv.DictReader(io.StringIO(printed(capsys, "report", str(run), "--format", "csv", *more))))
        texts = {row["metric"]: row["text"] for row in rows if row["text"]}
        assert texts["verdict.kind"] == only["verdict"]["kind"]
        assert texts["planes.square.train.critical_points.0.kind"] == point["kind"]
        assert all(None not in (*row, *row.values()) for row in rows)
        assert all(not row["value"] for row in rows if row["text"])


@pytest.mark.parametrize("name", ["text", "markdown", "json", "csv"])
def test_a_section_alone(run: Path, capsys: Capture, name: str) -> None:
    shown = printed(capsys, "report", str(run), "--section", "hessian", "--format", name).replace("\\", "")
    whole = printed(capsys, "report", str(run), "--format", name).replace("\\", "")
    assert "negative_mass" in shown
    for other in ("basin", "average_adaptive"):
        assert other not in shown
        assert other in whole
    assert main(["report", str(run), "--section", "hesian"]) == ExitCode.USAGE
    assert "did you mean hessian" in capsys.readouterr().err


def test_a_plane_alone_and_all_planes(run: Path, capsys: Capture) -> None:
    one, both = (
        json.loads(printed(capsys, "report", str(run), "--section", name, "--format", "json"))["runs"][0]
        for name in ("square", "planes")
    )
    assert list(one["planes"]) == ["square"]
    assert list(both["planes"]) == ["main", "square"]


def test_the_learning_rate_is_a_part_of_its_own_in_every_format(run: Path, capsys: Capture) -> None:
    for part, other in (("learning_rate", "hessian.trace"), ("hessian", "learning_rate.max_stable")):
        for name in ("text", "markdown", "csv"):
            shown = printed(capsys, "report", str(run), "--section", part, "--format", name).replace("\\", "")
            assert f"{part}." in shown
            assert other not in shown
        (only,) = strict(printed(capsys, "report", str(run), "--section", part, "--format", "json"))["runs"]
        assert {"hessian", "learning_rate"} & {*only} == {part}


def test_a_plane_called_like_a_part_is_no_such_part(run: Path, capsys: Capture) -> None:
    profile = store.load(run)
    square = profile.planes["square"]
    store.save(replace(profile, planes={name: replace(square, name=name) for name in ("checks", "hessian")}), run)
    shown = {part: printed(capsys, "report", str(run), "--section", part) for part in (
        "checks", "planes.checks", "hessian", "planes")}  # fmt: skip
    titles = {part: ("Self-checks" in s, "Plane checks" in s, "Hessian at the" in s, "Plane hessian" in s)
              for part, s in shown.items()}  # fmt: skip
    assert titles == {
        "checks": (True, False, False, False),
        "planes.checks": (False, True, False, False),
        "hessian": (False, False, True, False),
        "planes": (False, True, False, True),
    }


def test_json_has_what_was_asked_for_and_how_each_section_was_measured(run: Path, capsys: Capture) -> None:
    args = ("report", str(run), "--format", "json")
    profile = store.load(run)
    kept = {name: section for name, section in profile.sections.items() if name != "gradient"}
    store.save(replace(profile, sections=kept), run)
    (plain,) = strict(printed(capsys, *args))["runs"]
    assert not {"confidence", "persistence"} & {*plain}
    assert plain["sections"]["hessian"]["facts"]["adam"]
    assert plain["sections"]["hessian"]["complete"] is True
    assert "notes" in plain["sections"]["sharpness"]["facts"]
    assert plain["not_measured"] == {"gradient": "scan again with --only gradient"}
    (asked,) = strict(printed(capsys, *args, "--confidence=0.9", "--persistence=0.25"))["runs"]
    assert (asked["confidence"], asked["persistence"]) == (0.9, 0.25)


def test_an_interval_ends_where_no_such_number_can_lie() -> None:
    sizes = np.ones(10)
    profile = with_sections(hessian=[1.0] * 10)
    tree = {
        "hessian": {"negative_mass": Estimate.of(0.1, 1.0), "top": [Estimate.of(0.1, 1.0)]},
        "learning_rate": {"max_stable": {"gradient_descent": Estimate.of(0.1, 1.0)}}, "centre": {},
        "planes": {"p": {"s": {"surface": {"roughness": Estimate.of(-1e-9, 1.0)}}}},
    }  # fmt: skip
    centre = {"s": Centre(0.0, np.zeros(10), sizes, {}, 0.0, samples=10)}
    found: dict[str, Any] = dict(flatten(with_intervals(replace(profile, centre=centre), tree, 0.95)))
    ends = {path.removeprefix("planes.p.s."): (e.low, e.high) for path, e in found.items()}
    assert ends["hessian.negative_mass"] == (0.0, 1.0)
    assert ends["learning_rate.max_stable.gradient_descent"] == (0.0, pytest.approx(0.1 + 2.26216, rel=1e-4))
    assert ends["hessian.top.0"][0] == pytest.approx(0.1 - 2.26216, rel=1e-4)
    assert ends["surface.roughness"][0] == -1e-9  # never without the value itself


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_intervals_are_student_s(run: Path, capsys: Capture, confidence: float) -> None:
    args = ("report", str(run), "--confidence", str(confidence), "--format")
    few, many = pytest.importorskip("scipy.stats").t.ppf(0.5 + confidence / 2, [59, 63])  # 60 samples, 64 groups
    found = estimates(strict(printed(capsys, *args, "json")))
    wide = [e for e in found if e["stderr"] is not None]
    assert len(wide) > 20
    for estimate in wide:
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert all(e["low"] is None for e in found if e["stderr"] is None)
    rows = list(csv.DictReader(io.StringIO(printed(capsys, *args, "csv"))))
    row = next(row for row in rows if row["metric"] == "hessian.trace")
    half = (float(row["high"]) - float(row["low"])) / 2
    assert half == pytest.approx(few * float(row["stderr"]), rel=1e-4)
    row = next(row for row in rows if row["metric"] == "planes.main.test.basin.left")
    half = (float(row["high"]) - float(row["low"])) / 2
    assert half == pytest.approx(many * float(row["stderr"]), rel=1e-4)
    assert " [" in printed(capsys, *args, "text")


@pytest.mark.parametrize("confidence", ["0", "1", "-1", "95", "nan"])
def test_a_confidence_that_is_none_is_refused(run: Path, capsys: Capture, confidence: str) -> None:
    assert main(["report", str(run), f"--confidence={confidence}"]) == ExitCode.USAGE
    assert "0.95" in capsys.readouterr().err


def test_a_zero_is_written_as_one() -> None:
    assert estimate_text(Estimate.of(0.0, 2.27e-8)) == "0 ± 2.3e-08"
    assert estimate_text(Estimate.of(0.0, 0.5)) == "0.00 ± 0.50"


def test_an_interval_is_rounded_by_its_error() -> None:
    wide = Ranged(1.23456, 0.0321, low=1.17036, high=1.29876)
    assert estimate_text(wide) == "1.235 [1.170, 1.299]"
    assert estimate_text(replace(wide, bound="lower")) == "≥ 1.235 [1.170, 1.299]"
    assert estimate_text(Ranged(1.23456)) == "1.235"
    assert estimate_text(Ranged(None, status="not measured")) == "not measured"


def test_every_name_of_json_and_csv_is_explained(full: Profile) -> None:
    tree = statistics(full)
    names = [path for path, _ in [*numbers(tree), *words(tree)]]
    found = {legend_key(path) for path in names}
    assert found - {*KNOWN} == set()
    document = {*run_as_json(Run("run.h5", full, tree, confidence=0.9, persistence=1.0))}
    assert {name for name in document if name not in KNOWN and not members(name)} == set()
    optional = {"gradient.vanishing", "gradient.exploding", "learning_rate.max_stable.adam"}  # not of every run
    assert {*KNOWN} - found - document <= optional
    assert all(gloss(path) for path in names)


def test_the_short_names_of_a_report_are_explained(full: Profile) -> None:
    for path, _ in flatten(statistics(full)):
        plane, _, short = path.removeprefix("planes.").partition(".")
        if path.startswith("planes."):
            split, _, rest = short.partition(".")
            assert {found_key(f"{head}{rest}") for head in ("", f"{plane}.", f"{split}.", f"{plane}.{split}.")} == {
                legend_key(path)
            }


@pytest.mark.parametrize("name", LEGEND)
def test_every_statistic_has_a_definition_a_unit_and_an_invariance(name: str) -> None:
    meaning = LEGEND[name]
    assert meaning.gloss
    assert meaning.definition
    assert meaning.unit
    assert meaning.survives


@pytest.mark.parametrize("name", KNOWN)
def test_explain_knows_every_name(name: str, capsys: Capture) -> None:
    said = printed(capsys, "explain", name)
    assert said.startswith(f"{name}\n")
    assert KNOWN[name].gloss in said
    plane = name in PLANE
    assert (EVIDENCE in said) == (name in LEGEND and name.startswith(("hessian.", "sharpness.")) and not plane)
    assert (RECIPE in said) == plane


def test_explain_lists_the_members_of_a_part(capsys: Capture) -> None:
    for group in ("surface", "basin", "gradient", "critical_points", "topology", "merge_tree", "checks", "planes"):
        said = printed(capsys, "explain", group).splitlines()
        assert said[0] == group
        below = [name for name in KNOWN if name.startswith(f"{group}.")] if group != "planes" else [*PLANE]
        assert [line.split()[0] for line in said[1:]] == below
    assert "surface.min.drop" in printed(capsys, "explain", "surface.min")


def test_explain_takes_the_paths_of_a_report_and_names_the_nearest(capsys: Capture) -> None:
    assert printed(capsys, "explain", "planes.main.train.surface.min").startswith("surface.min\n")
    assert printed(capsys, "explain", "hessian.top.3").startswith("hessian.top\n")
    assert main(["explain", "hessian.tr"]) == ExitCode.USAGE
    assert "did you mean hessian.trace" in capsys.readouterr().err
    assert all(name in printed(capsys, "explain") for name in LEGEND)


def test_names_mean_the_first_plane_and_split() -> None:
    one, two = Estimate.of(1.0), Estimate.of(2.0)
    tree = {
        "centre": {"a": {"loss": one}, "b": {"loss": two}},
        "planes": {"p": {"a": {"s": {"m": [one, two]}}, "b": {"d": one}}},
    }
    assert named(tree, "centre.loss") == ("centre.a.loss", one)
    assert named(tree, "s.m") == ("planes.p.a.s.m.0", one)
    assert named(tree, "d") == ("planes.p.b.d", one)  # of the first split that has it
    assert named(tree, "s.m.1") == ("planes.p.a.s.m.1", two)
    assert named(tree, "p.s.m.1") == ("planes.p.a.s.m.1", two)
    for name in ("a.s.m.1", "p.a.s.m.1", "planes.p.a.s.m.1"):
        assert named(tree, name) == ("planes.p.a.s.m.1", two)
    assert named({"hessian": {"top": [one]}}, "hessian.top") == ("hessian.top.0", one)


@pytest.mark.parametrize(
    ("name", "near"),
    [("s.n", "s.m"), ("centre.los", "centre.loss or centre.b.loss"), ("t.m", "far.t.m"), ("qqq", None)],
)
def test_an_unknown_name_is_refused_by_the_nearest_short_ones(name: str, near: str | None) -> None:
    one = Estimate.of(1.0)
    planes = {"p": {"a": {"s": {"m": [one, one]}}}, "far": {"a": {"t": {"m": one}}}}
    tree = {"centre": {"a": {"loss": one}, "b": {"loss": one}}, "planes": planes}
    with pytest.raises(LandscapeError, match=f"unknown metric: {name}") as refused:
        named(tree, name)
    meant = f"did you mean {near}? " if near else ""
    assert refused.value.hint == f"{meant}landscape report RUN --format csv shows the name of each"
    with pytest.raises(LandscapeError):
        named({"hessian": {"top": [one]}}, name)


# --- parts of a report made by hand


def with_sections(**sizes: list[float]) -> Profile:
    """A run that holds these sections alone, of sample groups of these sizes; not complete where there are none."""
    arrays: dict[str, Any] = {name: {"group_sizes": np.array(held)} if held else {} for name, held in sizes.items()}
    return Profile("", Provenance(), {}, {}, {name: Section({}, "", held) for name, held in arrays.items()})


def test_an_interval_is_as_wide_as_the_groups_of_its_own_part_make_it() -> None:
    """Student's 97.5 % quantiles of 1 and 2 degrees of freedom, those of 4 and 9 for the sections."""
    profile = with_sections(hessian=[1.0] * 5, gradient=[1.0] * 10, sharpness=[])
    sizes = {"train": np.array([1.0, 2, 3, 0]), "test": np.array([2.0, 1]), "one": np.array([4.0])}
    centre = {name: Centre(0.0, np.zeros(len(n)), n, {}, 0.0, samples=6) for name, n in sizes.items()}
    one, bare, none = Estimate.of(3.0, 0.1), Estimate.of(3.0), Estimate.missing("undefined")
    tree = {
        "hessian": {"top": [one, bare]}, "gradient": {"norm": one, "word": "x"}, "learning_rate": {"stability": one},
        "sharpness": None, "centre": {name: {"loss": one} for name in sizes},
        "planes": {"main": {name: {"list": [{"": one, "no": none}]} for name in sizes}},
    }  # fmt: skip
    found = dict(flatten(with_intervals(replace(profile, centre=centre), tree, 0.95)))
    quantiles = {"hessian.top.0": 2.77645, "gradient.norm": 2.26216, "learning_rate.stability": 2.77645}
    for split, quantile in (("train", 4.30265), ("test", 12.7062), ("one", 12.7062)):
        quantiles |= {f"centre.{split}.loss": quantile, f"planes.main.{split}.list.0": quantile}
    for name, quantile in quantiles.items():
        ranged = found.pop(name)
        assert isinstance(ranged, Ranged)
        assert (ranged.low, ranged.high) == pytest.approx((3 - 0.1 * quantile, 3 + 0.1 * quantile), rel=1e-4)
    assert found.pop("hessian.top.1") == Ranged(3.0)
    assert set(found.values()) == {Ranged(None, None, "undefined")}


def told(profile: Profile, verdict: dict[str, Any] | None = None, full: bool = False, **numbers: float) -> Any:
    """The headline of a run with these numbers."""
    tree: dict[str, Any] = {"verdict": verdict, "sharpness": None, "hessian": None, "learning_rate": None}
    for name, value in numbers.items():
        section, _, metric = name.partition("__")
        tree[section] = {**(tree[section] or {}), metric: Estimate.of(value, 0.5)}
    return headline(Run("", profile, tree, full=full))


def test_the_headline_is_five_rows_the_verdict_first_and_of_what_is_missing_how_to_have_it() -> None:
    verdict = {"kind": "min\x1bimum", "reasons": ["fi\x1brst", "sec\x1bond", "third"]}
    table = told(with_sections(hessian=[1.0]), verdict, full=True, hessian__trace=2.0, hessian__frobenius=3.0)
    scan = "scan again with --only sharpness"
    assert table.rows == [
        ("verdict", "min?imum", "fi?rst"),
        ("sharpness.average_adaptive", "not measured", scan),
        ("sharpness.worst_adaptive", "not measured", scan),
        ("learning_rate.stability", "not measured", RATE),
        ("hessian.trace", "2.00 ± 0.50", HEADLINE["hessian.trace"][0]),
    ]
    assert table.note == "sec?ond; third"
    assert told(with_sections(hessian=[1.0]), verdict).note == ""
    rows = told(with_sections(sharpness=[1.0]), sharpness__worst_adaptive=1.0, learning_rate__stability=2.0).rows
    assert rows[0] == ("verdict", "not measured", "scan again with --only hessian")
    assert rows[2] == ("sharpness.worst_adaptive", "1.00 ± 0.50", HEADLINE["sharpness.worst_adaptive"][0])
    assert rows[3] == ("learning_rate.stability", "2.00 ± 0.50", HEADLINE["learning_rate.stability"][0])
    late = with_sections(sharpness=[1.0])
    late = replace(late, sections={n: replace(s, facts={"out_of_time": ["x"]}) for n, s in late.sections.items()})
    tree = {"verdict": None, "hessian": None, "learning_rate": None}
    missing = {"sharpness": {"worst_adaptive": Estimate.missing("not measured")}}
    assert headline(Run("", late, tree | missing)).rows[2][1:] == ("not measured", "out of time: raise sharpness.time")
    assert "unfinished" in told(with_sections(hessian=[])).rows[0][2]


NONE = dict.fromkeys(("minima", "maxima", "saddles", "monkey_saddles", "unresolved", "at_border", "dropped"), 0)


def critical_run(
    points: list[dict[str, Any]], walls: int = 0, persistence: float = 0.0, merging: Any = (), **counts: int
) -> Run:
    """A plane whose one split, of an evil name, has these points; how many of each kind is told apart from them."""
    common = {"loss": Estimate.of(1.0), "persistence": Estimate.of(2.0, 0.1, "lower")}
    topology = {"counts": NONE | counts, "walls": walls}
    tree = {"critical_points": [common | p for p in points], "topology": topology, "merge_tree": merging}
    return Run("", with_sections(), {"planes": {"main": {"tr\x1bain": tree}}}, persistence=persistence)


def point(
    kind: str, x: float, y: float | None, at_border: bool = False, resolved: bool = True, error: float | None = None
) -> dict[str, Any]:
    place = {"x": Estimate.of(x, error), "y": None if y is None else Estimate.of(y, error)}
    return {"kind": kind, **place, "at_border": at_border, "resolved": resolved, "coarse": not resolved,
            "refined": error is not None}  # fmt: skip


def test_critical_points_are_a_table_and_their_counts_a_sentence() -> None:
    points = [
        point("saddle", 1 / 3, 0.0, at_border=True, resolved=False),
        point("maximum", -0.5, -2 / 3, resolved=False),
        point("saddle", 0.25, 0.5),
        point("minimum", 1 / 8, 0.0, error=0.01),
        point("minimum", 0.75, 0.5, resolved=False) | {"coarse": False},
    ]
    counts = dict(zip(NONE, range(1, 8), strict=True))
    merging = [
        {"minimum": 0, "into": None, "saddle": None, "barrier": Estimate.of(3.0)},
        {"minimum": 3, "into": 0, "saddle": 2, "barrier": Estimate.of(2.0, 0.1)},
    ]
    table, tree = critical_tables(critical_run(points, 8, merging=merging, **counts), "main")
    assert table.columns == ("split", "#", "kind", "at", "loss", "persistence", "drains into", "")
    assert table.rows == [  # what is of the slice comes first, extrema before saddles; each by its number in JSON
        ("tr?ain", "#3", "minimum", "(0.125 ± 0.010, 0.000 ± 0.010)", "1", "≥ 2.00 ± 0.10", "#0 over #2", ""),
        ("tr?ain", "#2", "saddle", "(0.25, 0.5)", "1", "≥ 2.00 ± 0.10", "", ""),
        ("tr?ain", "#1", "maximum", "(-0.5, -0.6667)", "1", "≥ 2.00 ± 0.10", "", "unresolved"),
        ("tr?ain", "#4", "minimum", "(0.75, 0.5)", "1", "≥ 2.00 ± 0.10", "", "place unsure"),
        ("tr?ain", "#0", "saddle", "(0.3333, 0)", "1", "≥ 2.00 ± 0.10", "", "at border"),
    ]
    assert table.note == (
        "tr?ain: 1 minimum, 2 maxima, 3 saddles, 4 monkey saddles inside and resolved; "
        f"4 unresolved, which this grid may have made; 1 {UNSURE}; 6 at the border; {GRID_POINT}; 7 pairs below what "
        "noise alone makes; 8 points not finite or not measured"
    )
    assert tree.rows == [("tr?ain", "#3", "#0", "#2", "2.00 ± 0.10")]
    assert critical_tables(critical_run(points, merging=merging), "main", full=False)[1:] == []


def test_one_of_a_kind_is_told_as_one_and_a_persistence_that_was_asked_for_too() -> None:
    run = critical_run([point("minimum", 0.0, None, error=1.0)], 1, 0.5, minima=2, maxima=1, saddles=1, dropped=1)
    assert critical_tables(run, "main")[0].note == (
        "tr?ain: 2 minima, 1 maximum, 1 saddle inside and resolved; 1 pair below what noise alone makes or "
        "--persistence 0.5; 1 point not finite or not measured"
    )


def test_a_long_list_of_critical_points_is_cut_and_says_so_and_an_empty_one_too() -> None:
    nothing = "tr?ain: none inside and resolved"
    for count, note in ((SHOWN, nothing), (SHOWN + 1, f"{nothing}; 1 more")):
        run = critical_run([point("minimum", 0.0, 0.0, error=1.0)] * count)
        (table,) = critical_tables(run, "main", full=False)
        assert (len(table.rows), table.note) == (SHOWN, note)
        (table,) = critical_tables(run, "main")
        assert (len(table.rows), table.note) == (count, nothing)
    (empty,) = critical_tables(critical_run([]), "main")
    assert (empty.rows, empty.note) == ([], "tr?ain: none stands out of the noise")
    (empty,) = critical_tables(critical_run([], persistence=2.0), "main")
    assert empty.note == "tr?ain: none stands out of the noise and above --persistence 2"


def test_a_coordinate_that_is_rounding_of_the_grid_is_0() -> None:
    assert [coordinate(x, 0.1) for x in (4.421e-17, -3e-11, 1e-9, -0.123456)] == ["0", "0", "1e-09", "-0.1235"]


def test_where_a_table_is_split_every_row_keeps_what_it_is_and_nothing_is_dropped_but_a_gloss() -> None:
    rows = [("train", "#0", "minimum", "1 ± 1", "≥ 2 ± 1", "at the border"), ("test", "#0", "saddle", "2", "", "")]
    columns = ("split", "#", "kind", "loss", "persistence", "")
    for width in range(30, 90):
        parts = fitting(Table("t", columns, rows, keys=2, gloss=0), width)
        assert all(part.columns[:2] == columns[:2] for part in parts)
        assert [c for part in parts for c in part.columns[2:]] == [*columns[2:]]
        assert ("train", "#0") in {row[:2] for part in parts for row in part.rows if "at the border" in row}
        assert all(any(row[2:]) for part in parts for row in part.rows)
    glossed = Table("t", ("metric", "value", "what it is"), [("a", "1", "much to say" * 9)])
    assert [part.columns for part in fitting(glossed, 30)] == [("metric", "value")]
    (whole,) = fitting(glossed, 60)
    assert whole == glossed
    kept = fitting(replace(glossed, spare=False), 30)
    assert [part.columns for part in kept] == [("metric", "value"), ("metric", "what it is")]
