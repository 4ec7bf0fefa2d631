"""The SHA-256 of a source file and of the user's own files that it imports, read from the syntax trees."""

from __future__ import annotations

import ast
import hashlib
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path


def source_hash(path: Path, roots: Sequence[Path] = ()) -> str:
    """SHA-256 over `path` and every file that it imports, directly or not, from its own folder or from `roots`.

    Installed packages and the standard library are left out: their versions are stored, not their sources.
    """
    folders = [folder for folder in dict.fromkeys([path.parent, *roots]) if not _installed(folder)]
    digest = hashlib.sha256()
    for name, file in sorted((_name(file, folders), file) for file in _imported_files(path, folders)):
        digest.update(f"{name}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _installed(folder: Path) -> bool:
    """Below the folders of installed packages or of the standard library."""
    homes = [Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "purelib", "platlib")]
    return any(folder.resolve().is_relative_to(home) for home in homes)


def _name(file: Path, folders: list[Path]) -> str:
    """The file's path below the innermost root that holds it, so that moving the whole changes nothing."""
    below = [file.relative_to(folder).as_posix() for folder in folders if file.is_relative_to(folder)]
    return min(below, key=len, default=file.name)


def _imported_files(path: Path, roots: list[Path]) -> set[Path]:
    seen, waiting = {path}, [path]
    while waiting:
        file = waiting.pop()
        found = {f for f in _candidates(file, roots) if f.is_file()} - seen
        seen |= found
        waiting += found
    return seen


def _candidates(path: Path, roots: list[Path]) -> Iterator[Path]:
    """The files that the import statements of `path` may mean."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_of(alias.name, roots)
        elif isinstance(node, ast.ImportFrom):
            homes = [path.parents[node.level - 1]] if 0 < node.level <= len(path.parents) else roots
            module = f"{node.module}." if node.module else ""
            for alias in node.names:
                yield from _files_of(module + alias.name, homes)


def _files_of(dotted: str, homes: list[Path]) -> Iterator[Path]:
    """a.b.c -> every file of a, a.b and a.b.c below each home: importing a part imports its packages."""
    parts = dotted.split(".")
    for home in homes:
        yield home / "__init__.py"
        for count in range(1, len(parts) + 1):
            stem = home.joinpath(*parts[:count])
            yield stem.with_name(f"{stem.name}.py")
            yield stem / "__init__.py"
