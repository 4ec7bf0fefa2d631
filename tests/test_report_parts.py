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
from test_report_command import CONFIGS, Capture, estimates, printed, strict

from landscape_cli import store
from landscape_cli.analyse.names import named
from landscape_cli.analyse.paths import flatten
from landscape_cli.analyse.statistics import statistics
from landscape_cli.cli.main import main
from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.profile import Centre, Estimate, Profile, Provenance
from landscape_cli.report.critical import SHOWN, critical_tables
from landscape_cli.report.headline import HEADLINE, headline
from landscape_cli.report.intervals import Ranged, with_intervals
from landscape_cli.report.legend import EVIDENCE, LEGEND, legend_key
from landscape_cli.report.numbers import estimate_text
from landscape_cli.report.run import Run
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
    sets = ["planes.main.x=-1:1:9", "planes.square.x=-1:1:5", "planes.square.y=-1:1:5", *few, "sharpness.draws=4"]
    asked = [f"--set={item}" for item in [*sets, "sharpness.ascent=2", "sharpness.starts=2"]]
    assert main(["scan", str(CONFIGS / "line.toml"), "-o", str(run), "-q", *asked]) == 0
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "run.h5"))


def test_the_headline_comes_first_and_the_evidence_once(run: Path, capsys: Capture) -> None:
    shown = printed(capsys, "report", str(run), "--format", "markdown").replace("\\", "")
    first = shown.split("### ")[1]
    for name in ("verdict", "sharpness.average_adaptive", "sharpness.worst_adaptive", "learning_rate.stability",
                 "hessian.trace"):  # fmt: skip
        assert name in first
    assert shown.count("anti-correlate") == 1


def test_a_run_without_sections_has_no_headline_and_one_with_some_says_what_it_lacks(
    run: Path, capsys: Capture
) -> None:
    profile = store.load(run)
    for kept, lacks in ((["hessian"], "--only sharpness"), (["sharpness"], "--only hessian"), ([], None)):
        sections = {name: profile.sections[name] for name in kept}
        run.unlink()
        store.save(replace(profile, sections=sections), run)
        shown = printed(capsys, "report", str(run), "--format", "markdown")
        assert ("Headline" in shown) is bool(kept)
        assert lacks is None or lacks in shown


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
    assert main(["report", str(run), "--metric", "hessian.negative_mass"]) == ExitCode.INCONCLUSIVE
    out, err = capsys.readouterr()
    assert out == ""
    assert "not measured" in err


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


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_intervals_are_student_s(run: Path, capsys: Capture, confidence: float) -> None:
    args = ("report", str(run), "--confidence", str(confidence), "--format")
    few, many = pytest.importorskip("scipy.stats").t.ppf(0.5 + confidence / 2, [59, 63])  # 60 samples, 64 groups
    found = estimates(strict(printed(capsys, *args, "json")))
    wide = [e for e in found if e["stderr"] is not None]
    assert len(wide) > 20
    for estimate in wide:
        low, high = estimate["low"], estimate["high"]
        assert (high + low) / 2 == pytest.approx(estimate["value"])
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


def test_an_interval_is_rounded_by_its_error() -> None:
    wide = Ranged(1.23456, 0.0321, low=1.17036, high=1.29876)
    assert estimate_text(wide) == "1.235 [1.170, 1.299]"
    assert estimate_text(replace(wide, bound="lower")) == "≥ 1.235 [1.170, 1.299]"
    assert estimate_text(Ranged(1.23456)) == "1.2346"
    assert estimate_text(Ranged(None, status="not measured")) == "not measured"


def test_every_number_of_a_report_is_explained(run: Path) -> None:
    tree = statistics(store.load(run))
    for path, _ in flatten({key: tree[key] for key in ("hessian", "sharpness", "learning_rate", "planes")}):
        assert legend_key(path) in LEGEND, path


@pytest.mark.parametrize("name", LEGEND)
def test_explain_knows_every_metric(name: str, capsys: Capture) -> None:
    said = printed(capsys, "explain", name)
    assert said.startswith(f"{name}\n")
    assert LEGEND[name].gloss in said
    assert (EVIDENCE in said) == (name.startswith(("hessian.", "sharpness.")) and name != "sharpness.plane_eps")


def test_explain_takes_the_paths_of_a_report_and_names_the_nearest(capsys: Capture) -> None:
    assert printed(capsys, "explain", "planes.main.train.surface.min").startswith("surface.min\n")
    assert printed(capsys, "explain", "hessian.top.3").startswith("hessian.top\n")
    assert main(["explain", "hessian.tr"]) == ExitCode.USAGE
    assert "did you mean hessian.trace" in capsys.readouterr().err
    assert all(name in printed(capsys, "explain") for name in LEGEND)


def test_names_mean_the_first_plane_and_split() -> None:
    one, two = Estimate.of(1.0), Estimate.of(2.0)
    tree = {"centre": {"a": {"loss": one}, "b": {"loss": two}}, "planes": {"p": {"a": {"s": {"m": [one, two]}}}}}
    assert named(tree, "centre.loss") == ("centre.a.loss", one)
    assert named(tree, "s.m") == ("planes.p.a.s.m.0", one)
    assert named(tree, "s.m.1") == ("planes.p.a.s.m.1", two)
    assert named(tree, "p.s.m.1") == ("planes.p.a.s.m.1", two)
    for name in ("a.s.m.1", "p.a.s.m.1", "planes.p.a.s.m.1"):
        assert named(tree, name) == ("planes.p.a.s.m.1", two)
    assert named({"hessian": {"top": [one]}}, "hessian.top") == ("hessian.top.0", one)


@pytest.mark.parametrize(
    ("name", "near"),
    [("s.n", "s.m"), ("centre.los", "centre.loss or centre.b.loss"), ("t.m", "s.m"), ("qqq", None)],
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


def told(profile: Profile, verdict: dict[str, Any] | None = None, **numbers: float) -> Any:
    """The headline of a run with these numbers."""
    tree: dict[str, Any] = {"verdict": verdict, "sharpness": None, "hessian": None, "learning_rate": None}
    for name, value in numbers.items():
        section, _, metric = name.partition("__")
        tree[section] = {**(tree[section] or {}), metric: Estimate.of(value, 0.5)}
    return headline(Run("", profile, tree))


def test_the_headline_has_the_verdict_first_then_what_was_measured_and_what_to_do_for_the_rest() -> None:
    verdict = {"kind": "min\x1bimum", "reasons": ["fi\x1brst", "sec\x1bond"]}
    only = with_sections(hessian=[1.0], sharpness=[])
    (table,) = told(only, verdict, hessian__trace=2.0, learning_rate__stability=1.0, hessian__frobenius=3.0)
    assert table.rows == [
        ("verdict", "min?imum", "fi?rst"),
        ("learning_rate.stability", "1.00 ± 0.50", HEADLINE["learning_rate.stability"][0]),
        ("hessian.trace", "2.00 ± 0.50", HEADLINE["hessian.trace"][0]),
    ]
    advice = "without sharpness: to have it, scan again with --only sharpness"
    assert table.note == f"sec?ond; {advice}; {EVIDENCE}"
    (bare,) = told(with_sections(sharpness=[1.0]), sharpness__worst_adaptive=1.0)
    assert [row[0] for row in bare.rows] == ["sharpness.worst_adaptive"]
    assert told(with_sections(), {"kind": "slope", "reasons": ["why"]})[0].rows == [("verdict", "slope", "why")]
    assert told(with_sections()) == []


NONE = dict.fromkeys(("minima", "maxima", "saddles", "monkey_saddles", "unresolved", "at_border", "dropped"), 0)


def critical_run(points: list[dict[str, Any]], walls: int = 0, **counts: int) -> Run:
    """A plane whose one split, of an evil name, has these points; how many of each kind is told apart from them."""
    common = {"loss": Estimate.of(1.0), "persistence": Estimate.of(2.0, 0.1, "lower")}
    tree = {"critical_points": [common | p for p in points], "topology": {"counts": NONE | counts, "walls": walls}}
    return Run("", with_sections(), {"planes": {"main": {"tr\x1bain": tree}}})


def test_critical_points_are_a_table_and_their_counts_a_sentence() -> None:
    points = [
        {"kind": "minimum", "x": 1 / 8, "y": None, "at_border": False, "resolved": True},
        {"kind": "saddle", "x": 1 / 3, "y": 0.0, "at_border": True, "resolved": False},
        {"kind": "maximum", "x": -0.5, "y": -2 / 3, "at_border": False, "resolved": False},
    ]
    counts = dict(zip(NONE, range(1, 8), strict=True))
    (table,) = critical_tables(critical_run(points, 8, **counts), "main")
    assert table.rows == [
        ("tr?ain", "minimum", "(0.125)", "1", "≥ 2.00 ± 0.10", ""),
        ("tr?ain", "saddle", "(0.3333, 0)", "1", "≥ 2.00 ± 0.10", "at the border"),
        ("tr?ain", "maximum", "(-0.5, -0.6667)", "1", "≥ 2.00 ± 0.10", "not resolved by this grid"),
    ]
    assert table.note == (
        "tr?ain: 1 minima, 2 maxima, 3 saddles, 4 monkey saddles inside and resolved; 5 not resolved; "
        "6 at the border; 7 in the noise; 8 points not finite or not measured"
    )


def test_a_long_list_of_critical_points_is_cut_and_says_so() -> None:
    point = {"kind": "minimum", "x": 0.0, "y": 0.0, "at_border": False, "resolved": True}
    nothing = "tr?ain: 0 minima, 0 maxima, 0 saddles inside and resolved"
    for count, note in ((SHOWN, nothing), (SHOWN + 1, f"{nothing}; the {SHOWN} most persistent of {SHOWN + 1} shown")):
        (table,) = critical_tables(critical_run([point] * count), "main")
        assert (len(table.rows), table.note) == (SHOWN, note)
    assert critical_tables(critical_run([]), "main") == []
