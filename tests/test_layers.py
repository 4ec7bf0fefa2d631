"""The house rules that a machine can check: who may import whom, how long a function may be, docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import landscape_cli

PACKAGE = "landscape_cli"
ROOT = Path(landscape_cli.__file__).parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
LONGEST = 60  # lines of a function

# What each part of the package may import of the package; "" is the package itself, for its version.
BASE = {"", "errors", "profile", "section"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "profile": {"errors", "section"},
    "section": set(),
    "files": {"errors"},
    "settings": {"errors", "profile"},
    "jobs": {"errors", "settings"},
    "store": {*BASE, "files"},
    "measure": {*BASE, "files", "settings"},
    "analyse": BASE,
    "report": {*BASE, "analyse"},
    "cli": {*BASE, "files", "settings", "jobs", "store", "measure", "analyse", "report", "demo"},
    "demo": set(),
    "__main__": {"cli"},
    "__init__": {"analyse", "measure", "store"},  # the few names that a notebook uses
}
# Who alone may import what of the outside.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "torch": ("measure/", "demo/model.py"),
    "safetensors": ("measure/",),
    "h5py": ("store/",),
    "click": ("cli/",),
    "rich": ("cli/",),
    "matplotlib": ("report/picture/",),
}


def parsed(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def part(file: str) -> str:
    """`measure` of measure/data.py, `store` of store.py."""
    return file.split("/")[0].removesuffix(".py")


def imported(tree: ast.Module, file: str) -> Iterator[str]:
    """The dotted name of everything a file imports, wherever in the file; relative ones made absolute."""
    package = [PACKAGE, *file.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def own_parts(names: Iterator[str]) -> set[str]:
    """The parts of the package among imported names; "" for the package's own attributes."""
    parts = {name.split(".")[1] for name in names if name.startswith(f"{PACKAGE}.")}
    return {p if (ROOT / p).is_dir() or (ROOT / f"{p}.py").is_file() else "" for p in parts}


@pytest.mark.parametrize("file", FILES)
def test_imports_point_one_way(file: str) -> None:
    found = own_parts(imported(parsed(file), file)) - {part(file)}
    assert found <= MAY_IMPORT[part(file)]


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    users = {file for file in FILES if library in {name.split(".")[0] for name in imported(parsed(file), file)}}
    assert users, f"nothing imports {library}"
    assert [file for file in users if not file.startswith(ONLY_IN[library])] == []


def test_measurement_and_analysis_never_see_each_other() -> None:
    assert "analyse" not in MAY_IMPORT["measure"]
    assert "measure" not in MAY_IMPORT["analyse"] | MAY_IMPORT["report"]


@pytest.mark.parametrize("file", FILES)
def test_no_function_is_longer_than_a_screen(file: str) -> None:
    functions = [n for n in ast.walk(parsed(file)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= LONGEST] == []


def undocumented(tree: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[str]:
    """Public classes and functions without a docstring; those nested in a function are nobody's business."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node, f"{node.name}.")


@pytest.mark.parametrize("file", FILES)
def test_everything_public_has_a_docstring(file: str) -> None:
    tree = parsed(file)
    assert not tree.body or ast.get_docstring(tree), "the module has none"
    assert list(undocumented(tree)) == []


def test_the_checks_see_what_they_must() -> None:
    source = "from .. import store\ndef f():\n    import torch.nn\nclass A:\n    def g(self): ...\n"
    tree = ast.parse(source)
    assert set(imported(tree, "analyse/x.py")) == {"landscape_cli.store", "torch.nn"}
    assert own_parts(imported(tree, "analyse/x.py")) == {"store"}
    assert list(undocumented(tree)) == ["f", "A", "A.g"]
