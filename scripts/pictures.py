"""Measures the runs whose pictures the documentation shows, and draws them: docs/pictures.

    python scripts/pictures.py [--data ../shared/data] [--runs build/pictures] [NAME.png ...]

Runs that are there are not measured again; an unfinished one goes on. The ResNet-20 needs its published weights and
CIFAR-10 in the data folder, and time: its plane took half a minute on an H100, its Hessian and sharpness 25 minutes on
one core. The screenshot needs a Chromium.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path
from shutil import which

from PIL import Image

from landscape_cli.cli.main import main as landscape

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
DEMO = ROOT / "landscape_cli" / "demo"
COLOURS = 256  # of a picture's palette: a third of the bytes

# By name, what `landscape scan` is given; {data} is the data folder.
RUNS: dict[str, list[str]] = {
    "resnet20": [
        str(PICTURES / "resnet20.toml"),
        "--checkpoint={data}/resnet20-12fca82f.th",
        "--set=data.train.source={data}/cifar10_subset.npz",
        "--set=data.test.source={data}/cifar10_subset.npz",
    ],
    "small-batch": [str(DEMO / "job.toml")],
    "large-batch": [str(DEMO / "job.toml"), f"--checkpoint={DEMO / 'cnn_large_batch.pt'}"],
    "between": [str(ROOT / "configs" / "between.toml")],
}
# By name, what `landscape plot` is given before the output: runs, and how they are drawn.
DRAWN: dict[str, list[str]] = {
    "contour.png": ["resnet20"],
    "contour-dark.png": ["resnet20", "--dark"],
    "surface.png": ["resnet20", "--kind=surface"],
    "curvature.png": ["resnet20", "--kind=curvature"],
    "spectrum.png": ["resnet20", "--kind=spectrum"],
    "ascent.png": ["resnet20", "--kind=ascent"],
    "gradient.png": ["resnet20", "--kind=gradient"],
    "both.png": ["small-batch", "large-batch"],
    "curve.png": ["between"],
}
PAGE, PAGE_OF = "page.png", "resnet20"  # a screenshot of the interactive page


def run(name: str, options: argparse.Namespace) -> Path:
    """A run's file, measured as far as it is not."""
    path: Path = options.runs / f"{name}.h5"
    argv = [part.format(data=options.data) for part in RUNS[name]]
    _landscape("scan", *argv, "-o", str(path))
    return path


def draw(name: str, options: argparse.Namespace) -> None:
    """One picture, its colours as a palette."""
    target = options.runs / name
    if name == PAGE:
        page = target.with_suffix(".html")
        _landscape("plot", str(run(PAGE_OF, options)), "-o", str(page), "--force")
        png = screenshot(page)
    else:
        files = [str(run(part, options)) if part in RUNS else part for part in DRAWN[name]]
        _landscape("plot", *files, "-o", str(target), "--force")
        png = target.read_bytes()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    # refined, because the first guess gives small marks the colours of large areas
    image.quantize(COLOURS, kmeans=8, dither=Image.Dither.NONE).save(PICTURES / name, optimize=True)
    print(f"{PICTURES / name}: {(PICTURES / name).stat().st_size / 1024:.0f} KiB", file=sys.stderr)


def screenshot(page: Path) -> bytes:
    """What a browser shows of a page, at its top."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = os.environ.get("LANDSCAPE_CHROMIUM") or which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 1200, "height": 1000})
        view.goto(page.resolve().as_uri())
        png = view.screenshot()
        browser.close()
    return png


def _landscape(*argv: str) -> None:
    code = landscape(list(argv))
    if code:
        raise SystemExit(f"landscape {' '.join(argv)} ended with {code}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*DRAWN, PAGE]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="weights and CIFAR-10")
    parser.add_argument("--runs", type=Path, default=ROOT / "build" / "pictures", help="where the runs are kept")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    for name in options.names or names:
        if name not in names:
            parser.error(f"{name} is none of {', '.join(names)}")
        draw(name, options)


if __name__ == "__main__":
    main()
