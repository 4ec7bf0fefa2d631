"""The user's own code: `FILE.py:NAME` or `package.module:NAME`, imported, called and hashed.

It comes from the command line or the job file, never from a checkpoint or a result.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import random
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landscape_cli.errors import LandscapeError
from landscape_cli.measure.sourcehash import source_hash


@dataclass(frozen=True)
class UserCode:
    """A callable of the user's, and the SHA-256 of its source and of the files beside it that it imports."""

    spec: str
    call: Callable[..., Any]
    sha256: str
    folder: Path
    beside: tuple[Path, ...] = ()  # more folders to import from

    @contextlib.contextmanager
    def unpickling(self) -> Iterator[None]:
        """Where the classes of a pickled module are found: beside this code, and those of a script in its module."""
        script, module = sys.modules["__main__"], sys.modules.get(getattr(self.call, "__module__", ""))
        with at_home(self.folder, *self.beside):
            try:
                sys.modules["__main__"] = module or script
                yield
            finally:
                sys.modules["__main__"] = script

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call it in the job's folder; what it raises becomes an error that names it."""
        with at_home(self.folder, *self.beside):
            try:
                return self.call(*args, **kwargs)
            except LandscapeError:
                raise
            except (Exception, SystemExit) as error:
                hint = "run it by itself, or add --debug for its traceback"
                if isinstance(error, TypeError) and not args:
                    hint = "if it needs arguments, give them as args = {...} in the job file; or add --debug"
                raise LandscapeError(f"{self.spec} raised {type(error).__name__}: {error}", hint) from error


def looks_like_code(spec: str) -> bool:
    """True for FILE.py:NAME and package.module:NAME, False for a plain name or the path of a data file."""
    head, colon, name = spec.rpartition(":")
    if not colon or not name.isidentifier():
        return False
    return head.endswith(".py") or all(part.isidentifier() for part in head.split("."))


def load(spec: str, folder: Path) -> UserCode:
    """Import the callable that `spec` names; a relative FILE.py starts from `folder`.

    Raises:
        LandscapeError: malformed, not there, not importable, or not callable.
    """
    head, _, name = spec.rpartition(":")
    if not looks_like_code(spec):
        raise LandscapeError(f"{spec!r} names no code", "write FILE.py:CALLABLE or package.module:CALLABLE")
    path = _file_of(head, folder)
    with at_home(folder, path.parent):
        try:
            module = _import_file(path) if head.endswith(".py") else importlib.import_module(head)
        except (Exception, SystemExit) as error:
            raise LandscapeError(
                f"importing {head} raised {type(error).__name__}: {error}", "mend it, or add --debug for the traceback"
            ) from error
    found = getattr(module, name, None)
    if found is None:
        names = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        raise LandscapeError(f"{head} has no {name}", f"it has: {', '.join(sorted(names)[:10]) or 'no callables'}")
    if not callable(found):
        raise LandscapeError(f"{spec} is not callable", "name a function or a class")
    packages = 0 if head.endswith(".py") else head.count(".") + (path.name == "__init__.py")
    sha256 = source_hash(path, [folder, path.parents[packages]])
    return UserCode(spec, found, sha256, folder, (path.parents[packages],))


def callable_hash(function: Any) -> str:
    """SHA-256 of the source of a function, class or callable object, and of the values that it carries."""
    kind = function if inspect.isroutine(function) or inspect.isclass(function) else type(function)
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):
        source = repr(getattr(kind, "__qualname__", kind))
    cells = [_content(cell) for cell in getattr(function, "__closure__", None) or ()]
    carried = repr((cells, getattr(function, "__defaults__", None), function if kind is not function else None))
    if kind is not function:
        carried += repr(vars(function) if hasattr(function, "__dict__") else "")
    return hashlib.sha256((source + re.sub(r" at 0x[0-9a-f]+", "", carried)).encode()).hexdigest()


def _content(cell: types.CellType) -> Any:
    """What a closure's variable holds; one that has no value holds nothing."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _file_of(head: str, folder: Path) -> Path:
    if head.endswith(".py"):
        path = (folder / head).resolve()
        if not path.is_file():
            raise LandscapeError(f"there is no file {path}", "relative paths start from the job file's folder")
        return path
    with at_home(folder):
        try:
            found = importlib.util.find_spec(head)
        except (Exception, SystemExit) as error:  # finding a part imports its package
            raise LandscapeError(
                f"the module {head} cannot be found: {type(error).__name__}: {error}", "is it installed here?"
            ) from error
    if found is None or found.origin is None or not Path(found.origin).is_file():
        raise LandscapeError(f"the module {head} cannot be found", "is it installed here, or meant as FILE.py:NAME?")
    return Path(found.origin)


def _import_file(path: Path) -> Any:
    name = f"landscape_user_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # pickles and dataclasses look their module up here
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """Every global generator at a fixed seed, and afterwards as it was: user code draws the same numbers each time."""
    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)


@contextlib.contextmanager
def at_home(*folders: Path) -> Iterator[None]:
    """The job's folder as the working directory and, with any others, first on sys.path."""
    before = list(sys.path)
    sys.path[:0] = [str(folder) for folder in folders]
    try:
        with contextlib.chdir(folders[0]):
            yield
    finally:
        sys.path[:] = before


def combined(parts: Mapping[str, str]) -> str:
    """One SHA-256 over named hashes."""
    digest = hashlib.sha256()
    for name in sorted(parts):
        digest.update(f"{name}={parts[name]}\n".encode())
    return digest.hexdigest()
