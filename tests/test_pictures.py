"""The documentation's pictures: what the README shows is there, small, and drawn by the script."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from matplotlib.image import imread

from landscape_cli import jobs
from landscape_cli.settings import check

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"


@pytest.fixture(name="script")
def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "scripts" / "pictures.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_shows_pictures_that_the_script_draws_and_that_are_small(script: ModuleType) -> None:
    drawn = {*script.DRAWN, script.PAGE}
    shown = re.findall(r"docs/pictures/([\w-]+\.png)", (ROOT / "README.md").read_text("utf-8"))
    assert len(set(shown)) >= 6
    assert set(shown) <= drawn
    assert {path.name for path in PICTURES.glob("*.png")} == drawn
    assert all(path.stat().st_size < 200_000 for path in PICTURES.glob("*.png"))


def test_the_job_of_the_resnet_is_one() -> None:
    layer = jobs.read_job_file(PICTURES / "resnet20.toml")
    check(jobs.resolve([layer], layer.folder))


def test_a_picture_is_drawn_anew_and_looks_as_it_did(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "PICTURES", tmp_path)
    monkeypatch.setattr(sys, "argv", ["pictures.py", "curve.png", f"--runs={tmp_path / 'runs'}"])
    script.main()
    new, old = (imread(folder / "curve.png") for folder in (tmp_path, PICTURES))
    assert new.shape[1] == pytest.approx(old.shape[1], abs=40)
    assert np.mean(new[..., :3]) == pytest.approx(np.mean(old[..., :3]), abs=0.02)
