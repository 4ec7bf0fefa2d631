"""Runs side by side: differences against closed forms, what is not alike, and how often noise passes for a change."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import Floats
from runs import ALIKE, GROUPS, subject, written
from test_report_command import strict

from landscape_cli.analyse import jackknife
from landscape_cli.analyse.compare import COMPARED, Change, apart, compare, order
from landscape_cli.analyse.gate import CONFIDENCE
from landscape_cli.analyse.hessian import hessian_statistics
from landscape_cli.analyse.neighbourhood import sharpness_statistics
from landscape_cli.cli.main import main
from landscape_cli.errors import LandscapeError
from landscape_cli.profile import Estimate
from landscape_cli.report.legend import LEGEND, legend_key
from landscape_cli.section import Section

Capture = pytest.CaptureFixture[str]
TOP = "hessian.top"


def change(one: Estimate, other: Estimate, name: str = TOP, **how: Any) -> Change:
    (row,) = compare([subject(one, "a.h5"), subject(other, "b.h5")], [name], **how)
    return row.changes[0]


def mean(groups: Floats) -> Estimate:
    return jackknife.mean(float(groups.mean()), groups, np.full(len(groups), 5.0))


# ---------------------------------------------------------------- closed forms


def test_over_the_same_samples_the_error_is_that_of_the_differences() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(3, 1, GROUPS)
    second = first + 0.01 + rng.normal(0, 0.01, GROUPS)
    found = change(mean(first), mean(second)).difference
    assert found is not None
    assert found.value == pytest.approx(float((second - first).mean()))
    assert found.stderr == pytest.approx(float((second - first).std(ddof=1)) / math.sqrt(GROUPS))
    assert change(mean(first), mean(second)).differs
    assert not change(mean(first), mean(rng.normal(3.01, 1, GROUPS))).differs


def test_without_shares_the_errors_add_in_squares() -> None:
    found = change(Estimate.of(3.0, 0.3), Estimate.of(5.0, 0.4)).difference
    assert found is not None
    assert (found.value, found.stderr) == (2.0, 0.5)


@pytest.mark.parametrize(("apart", "error", "tolerance", "differs"), [
    (1.0, 0.1, 0.0, True), (1.0, 1.0, 0.0, False), (-1.0, 0.1, 0.0, True), (0.0, 0.0, 0.0, False),
    (1.0, 0.1, 0.05, True), (1.0, 0.1, 0.15, False), (-1.0, 0.1, 0.15, False), (0.4, 0.1, 0.0, True),
    (0.2, 0.1, 0.0, False), (1.0, 0.0, 0.0, True),
])  # fmt: skip
def test_a_difference_is_beyond_its_interval_and_the_tolerance(
    apart: float, error: float, tolerance: float, differs: bool
) -> None:
    for base in (10.0, -10.0):
        found = change(Estimate.of(base, 0.0), Estimate.of(base + apart, error), tolerance=tolerance)
        assert found.differs is differs


def test_without_an_error_nobody_can_tell_but_of_counts() -> None:
    assert change(Estimate.of(1.0), Estimate.of(2.0)).differs is None
    assert change(Estimate.of(1.0), Estimate.of(1.0)).differs is False
    runs = [
        subject(file=file, tree={"planes": {"p": {"s": {"surface": {"nan_count": Estimate.of(count)}}}}},
                conditions={"planes.p.s": ALIKE})
        for file, count in (("a", 0.0), ("b", 1.0))
    ]  # fmt: skip
    assert compare(runs, ["surface.nan_count"])[0].differs


@pytest.mark.parametrize("weak", [Estimate.of(math.nan), Estimate.of(math.inf), Estimate.missing("not measured"),
                                  Estimate(1.0, 0.1, "not converged"), Estimate.of(1.0, 0.1, "lower")])  # fmt: skip
def test_what_cannot_be_relied_on_is_never_a_difference(weak: Estimate) -> None:
    for one, other in ((weak, Estimate.of(50.0, 0.1)), (Estimate.of(50.0, 0.1), weak)):
        found = change(one, other)
        assert (found.differs, found.difference) == (None, None)
        assert found.why


def test_words_differ_where_both_decide() -> None:
    def words(one: str, other: str) -> bool | None:
        runs = [subject(file=w, tree={"verdict": {"kind": k}}) for w, k in (("a", one), ("b", other))]
        return compare(runs, ["verdict"])[0].changes[0].differs

    assert words("minimum", "saddle") is True
    assert words("minimum", "minimum") is False
    assert words("minimum", "inconclusive") is None
    assert words("inconclusive", "inconclusive") is False
    assert words("not measured", "yes") is None


@pytest.mark.parametrize(("unlike", "branch"), [
    ({"data": "e"}, "hessian"), ({"dtype": "float64"}, "hessian"), ({"samples": "40, drawn with seed 1"}, "hessian"),
    ({"loss": "m"}, "hessian"),
    ({"window x": [0, 2]}, "planes.p.s"), ({"direction x": {"normalize": "layer"}}, "planes.p.s"),
    ({"rho": 0.1}, "sharpness"),
])  # fmt: skip
def test_runs_that_are_not_alike_are_told_apart_by_name(unlike: dict[str, Any], branch: str) -> None:
    tree = {
        "hessian": {"top": [Estimate.of(1.0, 0.1)]},
        "planes": {"p": {"s": {"surface": {"min": Estimate.of(1.0, 0.1)}}}},
        "sharpness": {"worst": Estimate.of(1.0, 0.1, "lower"), "average": Estimate.of(1.0, 0.1)},
    }
    known = {name: {**ALIKE, "rho": 0.05} for name in ("hessian", "planes.p.s", "sharpness")}
    other = {name: {**held, **(unlike if name == branch else {})} for name, held in known.items()}
    runs = [subject(file=f, tree=tree, conditions=c) for f, c in (("a.h5", known), ("b.h5", other))]
    rows = compare(runs, [TOP, "surface.min", "sharpness.worst", "sharpness.average"])
    held_back = {row.metric for row in rows if row.changes[0].differs is None}
    concerned = {
        "hessian": {"hessian.top.0"},
        "planes.p.s": {"planes.p.s.surface.min"},
        "sharpness": {"sharpness.worst"},
    }
    assert held_back == concerned[branch]
    assert apart(runs, rows) == [f"b.h5: {branch}: other {next(iter(unlike))}"]
    assert apart(runs[:1] * 2, rows) == []


def test_other_architectures_are_told_and_compared() -> None:
    runs = [subject(Estimate.of(1.0, 0.1), "a.h5"), subject(Estimate.of(9.0, 0.1), "b.h5", parameters="q")]
    rows = compare(runs, [TOP])
    assert rows[0].differs
    assert apart(runs, rows) == ["b.h5: hessian: other parameters"]


def test_the_order_of_runs() -> None:
    numbers = {"a": 3.0, "b": None, "c": 1.0, "d": 2.0}
    runs = [subject(None if v is None else Estimate.of(v), name) for name, v in numbers.items()]
    assert [run.file for run in order(runs, TOP)] == ["c", "d", "a", "b"]
    assert [run.file for run in order(runs, TOP, descending=True)] == ["a", "d", "c", "b"]
    with pytest.raises(LandscapeError, match="unknown metric"):
        order(runs, "hessian.tip")


# ---------------------------------------------------------------- noise

DRAWN = 500


def hessian(rng: np.random.Generator, probes: int = 8) -> Section:
    """λ₁ = 2 over groups of samples, and a trace of 30 from probes: other samples and other probes each time."""
    groups = rng.normal(2, 0.5, (1, GROUPS))
    arrays = {
        "top": groups.mean(1), "top_residuals": np.zeros(1), "top_converged": np.ones(1), "top_groups": groups,
        "bottom": np.zeros(1), "bottom_residuals": np.ones(1), "bottom_converged": np.ones(1),
        "bottom_groups": rng.normal(0, 1, (1, GROUPS)), "group_sizes": np.full(GROUPS, 5.0),
        "trace_exact": np.float64(20), "trace_residuals": rng.normal(10, 4, probes),
        "squares": rng.normal(25, 2, probes),
    }  # fmt: skip
    return Section({}, "f", {name: np.asarray(a, dtype=np.float64) for name, a in arrays.items()})


def sharpness(rng: np.random.Generator, samples: Floats, draws: int) -> Section:
    """Rises that vary with the samples, and with the perturbations drawn; those of the adaptive grow as σ²."""
    sigmas = np.array([0.1, 0.05, 0.2])
    drawn = rng.normal(1, 0.3, draws)[:, None]
    scaled = (sigmas / 0.1)[:, None, None] ** 2
    arrays = {
        "group_sizes": np.full(GROUPS, 5.0), "centre_groups": samples,
        "average_groups": samples * rng.normal(1, 0.3, draws)[:, None], "adaptive_sigmas": sigmas,
        "adaptive_groups": scaled * samples * drawn,
    }  # fmt: skip
    return Section({"sigma": 0.1, "adaptive_sigma": 0.1, "rise": 2.0, "eta": 0.0}, "f", arrays)


Maker = Callable[[np.random.Generator, Floats], dict[str, Any]]
MAKERS: dict[str, tuple[Maker, list[str]]] = {
    "the same samples, other draws": (
        lambda rng, held: {"sharpness": sharpness_statistics(sharpness(rng, held, 16))},
        ["sharpness.average", "sharpness.average_adaptive", "sharpness.pac_bayes_sigma"],
    ),
    "the same samples, few draws": (
        lambda rng, held: {"sharpness": sharpness_statistics(sharpness(rng, held, 3))},
        ["sharpness.average", "sharpness.average_adaptive"],
    ),
    "other samples and probes": (
        lambda rng, held: {"hessian": hessian_statistics(hessian(rng))},
        ["hessian.top", "hessian.bottom", "hessian.trace", "hessian.frobenius"],
    ),
    "few probes": (
        lambda rng, held: {"hessian": hessian_statistics(hessian(rng, 3))},
        ["hessian.trace", "hessian.frobenius"],
    ),
    "losses of other samples": (
        lambda rng, held: {"centre": {"s": {"loss": mean(rng.exponential(1, GROUPS))}}},
        ["centre.loss"],
    ),
}


def differing(name: str, confidence: float, seed: int) -> Counter[str]:
    """How many of DRAWN comparisons of what has the same truth are called different, by metric."""
    make, metrics = MAKERS[name]
    rng = np.random.default_rng(seed)
    found: Counter[str] = Counter(dict.fromkeys(metrics, 0))
    for _ in range(DRAWN):
        held = rng.normal(1, 0.2, GROUPS)
        branches = dict.fromkeys(("hessian", "sharpness", "centre.s"), ALIKE)
        runs = [subject(file=file, tree=make(rng, held), conditions=branches) for file in "ab"]
        for metric in metrics:
            (row,) = compare(runs, [metric], confidence)
            assert row.changes[0].differs is not None, row
            found[metric] += row.differs is True
    return found


@pytest.mark.parametrize("confidence", [CONFIDENCE, 0.95])
@pytest.mark.parametrize("name", MAKERS)
def test_noise_differs_at_most_as_often_as_stated(name: str, confidence: float) -> None:
    most = DRAWN * (1 - confidence) + 3.5 * math.sqrt(DRAWN * (1 - confidence) * confidence)
    found = differing(name, confidence, seed=3)
    assert max(found.values()) <= most, found


# ---------------------------------------------------------------- the command


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Three runs: alike, and one sharper."""
    runs = [subject(Estimate.of(value, 0.1)) for value in (5.0, 5.01, 50.0)]
    return [written(tmp_path / f"{name}.json", run) for name, run in zip("abc", runs, strict=True)]


def test_exit_codes_and_silence(files: list[str], tmp_path: Path, capsys: Capture) -> None:
    a, b, c = files
    vague = written(tmp_path / "d.json", subject(Estimate.of(5.0, 0.1), data="e"))
    for args, code, silent in (((a, b), 0, True), ((a, c), 1, False), ((a, vague), 3, False), ((a, b, c), 1, False)):
        capsys.readouterr()
        assert main(["compare", *args]) == 0
        assert "metrics differ" in capsys.readouterr().out
        assert main(["compare", *args, "--exit-code", "-q"]) == code
        assert (capsys.readouterr().out == "") is silent
    assert main(["compare", a, c, "--exit-code", "--tolerance", "1000%"]) == 0
    assert main(["compare", a, b, "--exit-code", "--confidence", "0.001"]) == 1


def test_what_is_not_alike_comes_before_the_numbers(files: list[str], tmp_path: Path, capsys: Capture) -> None:
    other = written(tmp_path / "d.json", subject(Estimate.of(5.0, 0.1), data="e", dtype="float64"))
    assert main(["compare", files[0], other]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"not alike: {other}: hessian: other data, dtype"
    assert "cannot be compared: other data, dtype" in lines[2]


def test_formats_parse(files: list[str], capsys: Capture) -> None:
    def shown(name: str) -> str:
        capsys.readouterr()
        assert main(["compare", *files, "--format", name]) == 0
        return capsys.readouterr().out

    document = strict(shown("json"))
    assert document["runs"] == files
    assert [(row["run"], row["differs"]) for row in document["metrics"]] == [(files[1], False), (files[2], True)]
    assert [strict(line) for line in shown("ndjson").splitlines()] == document["metrics"]
    rows = list(csv.DictReader(io.StringIO(shown("csv"))))
    assert [(row["run"], row["differs"]) for row in rows] == [(files[0], ""), (files[1], "false"), (files[2], "true")]
    assert float(rows[2]["difference"]) == 45
    assert float(rows[2]["difference_stderr"]) == pytest.approx(0.1 * math.sqrt(2))
    table = [line for line in shown("markdown").splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert "1 of 1 metrics differ" in shown("text")


def test_sorting_and_many_runs_as_rows(tmp_path: Path, capsys: Capture) -> None:
    values = {"a": 3.0, "b": 1.0, "c": 5.0, "d": 2.0, "e": 4.0}
    files = [written(tmp_path / f"{n}.json", subject(Estimate.of(v, 0.01))) for n, v in values.items()]
    for sort, names in ((TOP, "bdaec"), (f"-{TOP}", "ceadb")):
        assert main(["compare", *files, f"--sort={sort}", "--metric", TOP]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["hessian.top.0", "difference"]
        assert "".join(Path(line.split()[0]).stem for line in lines[1:6]) == names
        assert sum(line.endswith("DIFFERS") for line in lines) == 4


def test_bad_input(files: list[str], tmp_path: Path, capsys: Capture) -> None:
    def refused(*args: str) -> str:
        capsys.readouterr()
        assert main(["compare", *args]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 2
        return err

    twins = written(tmp_path / "twins.json", *[subject(Estimate.of(1.0), "same.h5")] * 2)
    assert "did you mean hessian.top" in refused(*files, "--metric", "hessian.topp")
    assert "did you mean hessian.top" in refused(*files, "--sort", "hessian.topp")
    assert "given twice" in refused(files[0], files[0])
    assert "two runs are called same.h5" in refused(twins)
    assert "one run" in refused(files[0])
    assert "between 0 and 1" in refused(*files, "--confidence", "95")
    assert "0 or more" in refused(*files, "--tolerance", "-5%")
    assert "is read" in refused(*files, "-o", files[0], "--force")
    text = tmp_path / "no.h5"
    text.write_text("no profile")
    assert "no.h5" in refused(files[0], str(text))


def test_all_is_every_number_with_an_error(tmp_path: Path, capsys: Capture) -> None:
    tree = {"hessian": {"top": [Estimate.of(1.0, 0.1), Estimate.of(0.5, 0.1)], "trace": Estimate.of(2.0)}}
    files = [written(tmp_path / f"{n}.json", replace(subject(tree=tree), file=n)) for n in "ab"]
    assert main(["compare", *files, "--metric", "all", "--format", "ndjson"]) == 0
    found = [json.loads(line)["metric"] for line in capsys.readouterr().out.splitlines()]
    assert found == ["hessian.top.0", "hessian.top.1"]


def test_every_metric_compared_by_default_is_explained() -> None:
    assert all(legend_key(name) in LEGEND for name in COMPARED if name != "verdict.kind")


def test_identical_numbers_do_not_differ_whatever_they_hide(tmp_path: Path, capsys: Capture) -> None:
    """A bound, one without an error, one whose groups are not known: the same run again has not changed."""
    for number in (Estimate.of(5.0, 0.1, "lower"), Estimate.of(5.0), Estimate.of(5.0, 0.1)):
        one, other = (written(tmp_path / f"{name}.json", subject(number)) for name in "ab")
        capsys.readouterr()
        assert main(["compare", one, other, "-q", "--exit-code"]) == 0
        assert capsys.readouterr().out == ""
        assert main(["gate", one, "--baseline", other, "--max-increase", f"{TOP}=0"]) == (
            3 if number.bound != "exact" else 0
        )
