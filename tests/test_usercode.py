"""The user's own code is found, imported, called and hashed; what it does wrong is said in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.measure import usercode
from landscape_cli.measure.sourcehash import source_hash
from landscape_cli.measure.usercode import UserCode, load


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Every test must leave the working directory and sys.path alone; what it imported is forgotten."""
    cwd, path, modules = Path.cwd(), list(sys.path), set(sys.modules)
    yield
    after = Path.cwd(), list(sys.path)
    os.chdir(cwd)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    assert after == (cwd, path)


def tree(folder: Path, **sources: str) -> Path:
    """Files from {"a__b": source}: a/b.py below the folder."""
    for name, source in sources.items():
        path = folder / (name.replace("__", "/").replace("/INIT", "/__init__") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return folder


def refusal(call: Callable[[], Any]) -> LandscapeError:
    with pytest.raises(LandscapeError) as caught:
        call()
    assert caught.value.code == ExitCode.USAGE
    assert caught.value.message
    assert caught.value.hint
    return caught.value


# ---------------------------------------------------------------- what names code


@pytest.mark.parametrize("spec", ["net.py:build", "sub/net.py:build", "../n.py:B", "/abs/net.py:f", "pkg.mod:f", "m:f"])
def test_a_file_or_module_and_a_name_are_code(spec: str) -> None:
    assert usercode.looks_like_code(spec)


NO_CODE = "|:|net.py|net.py:|:f|mse|a/b.npz|val.npz|net.py:a b|net.py:1|pkg..mod:f|pkg/mod:f|net.py:a.b"


@pytest.mark.parametrize("spec", NO_CODE.split("|"))
def test_anything_else_is_not(tmp_path: Path, spec: str) -> None:
    assert not usercode.looks_like_code(spec)
    assert "FILE.py:CALLABLE" in refusal(lambda: load(spec, tmp_path)).hint


# ---------------------------------------------------------------- finding it


def test_a_function_of_a_file_is_called_with_its_arguments(tmp_path: Path) -> None:
    tree(tmp_path, net="def build(width, depth=1):\n    return width * depth\n")
    found = load("net.py:build", tmp_path)
    assert found(3) == 3
    assert found(width=3, depth=5) == 15
    assert found.spec == "net.py:build"
    assert found.folder == tmp_path


def test_a_class_of_a_file_is_called(tmp_path: Path) -> None:
    tree(tmp_path, net="class Net:\n    def __init__(self, width=2):\n        self.width = width\n")
    assert load("net.py:Net", tmp_path)(width=7).width == 7


def test_a_file_in_another_folder_is_found(tmp_path: Path) -> None:
    tree(tmp_path, a__net="def build():\n    return 'a'\n", b__job="")
    assert load("../a/net.py:build", tmp_path / "b")() == "a"
    assert load(f"{tmp_path}/a/net.py:build", tmp_path / "b")() == "a"


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    tree(tmp_path, a__net="def build():\n    return 'a'\n", b__net="def build():\n    return 'b'\n")
    first, second = load("a/net.py:build", tmp_path), load("b/net.py:build", tmp_path)
    assert (first(), second()) == ("a", "b")


def test_a_module_of_the_jobs_folder_is_found(tmp_path: Path) -> None:
    tree(
        tmp_path,
        lsc_alone="def build():\n    return 1\n",
        lsc_pkg__INIT="",
        lsc_pkg__net="def build():\n    return 2\n",
    )
    assert load("lsc_alone:build", tmp_path)() == 1
    assert load("lsc_pkg.net:build", tmp_path)() == 2


def test_a_module_that_is_installed_is_found(tmp_path: Path) -> None:
    import torch

    assert load("torch.nn:Linear", tmp_path).call is torch.nn.Linear
    assert load("json:dumps", tmp_path)([1]) == "[1]"


@pytest.mark.parametrize("spec", ["sys:exit", "builtins:print"])
def test_a_module_that_python_itself_holds_is_refused(tmp_path: Path, spec: str) -> None:
    assert spec.partition(":")[0] in refusal(lambda: load(spec, tmp_path)).message


def test_dataclasses_and_pickles_of_a_file_find_their_module(tmp_path: Path) -> None:
    source = (
        "from __future__ import annotations\nimport dataclasses, pickle\n"
        "@dataclasses.dataclass\nclass Config:\n    width: int = 3\n"
        "def build():\n    return pickle.loads(pickle.dumps(Config(5))).width\n"
    )
    tree(tmp_path, net=source)
    assert load("net.py:build", tmp_path)() == 5


def test_main_guards_do_not_run(tmp_path: Path) -> None:
    tree(tmp_path, net="def build():\n    return 1\nif __name__ == '__main__':\n    raise SystemExit(1)\n")
    assert load("net.py:build", tmp_path)() == 1


# ---------------------------------------------------------------- not finding it


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    error = refusal(lambda: load("net.py:build", tmp_path))
    assert str(tmp_path / "net.py") in error.message
    assert "job file's folder" in error.hint


def test_a_folder_called_py_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.py").mkdir()
    refusal(lambda: load("net.py:build", tmp_path))


@pytest.mark.parametrize(
    "head", ["lsc_no_such_module", "lsc_no_such.module", "json.no_such_module", "json.decoder.deeper"]
)
def test_an_absent_module_is_refused(tmp_path: Path, head: str) -> None:
    error = refusal(lambda: load(f"{head}:build", tmp_path))
    assert head in error.message
    assert "cannot be found" in error.message


def test_an_absent_name_is_refused_with_those_that_are_there(tmp_path: Path) -> None:
    tree(tmp_path, net="import os\nfrom json import dumps\ndef resnet20(): ...\nclass Net: ...\nwidth = 3\n")
    error = refusal(lambda: load("net.py:resnet", tmp_path))
    assert "net.py has no resnet" in error.message
    assert "Net, resnet20" in error.hint
    assert "dumps" not in error.hint
    assert "width" not in error.hint


@pytest.mark.parametrize("value", ["3", "'text'", "[]", "{}", "None"])
def test_what_is_not_callable_is_refused(tmp_path: Path, value: str) -> None:
    tree(tmp_path, net=f"build = {value}\n")
    error = refusal(lambda: load("net.py:build", tmp_path))
    assert "net.py" in error.message
    assert "build" in error.message


# ---------------------------------------------------------------- raising

RAISING = [
    ("raise RuntimeError('no weights')\n", "RuntimeError: no weights"),
    ("import lsc_no_such_module\n", "ModuleNotFoundError: No module named 'lsc_no_such_module'"),
    ("def build(:\n", "SyntaxError"),
    ("x = undefined\n", "NameError"),
    ("raise KeyError('k')\n", "KeyError: 'k'"),
    ("assert False, 'python 4'\n", "AssertionError: python 4"),
    ("import sys\nsys.exit(1)\n", "SystemExit"),
    ("raise SystemExit\n", "SystemExit"),
    ("def f():\n    f()\nf()\n", "RecursionError"),
    ("x = 'a\0b'\n", "null byte"),
]


@pytest.mark.parametrize(("source", "said"), RAISING, ids=[said for _, said in RAISING])
def test_a_file_that_raises_while_imported_is_refused(tmp_path: Path, source: str, said: str) -> None:
    tree(tmp_path, net=source)
    before = set(sys.modules)
    error = refusal(lambda: load("net.py:build", tmp_path))
    assert "importing net.py raised" in error.message
    assert said in error.message
    assert not [name for name in set(sys.modules) - before if "landscape_user" in name]


@pytest.mark.parametrize(("source", "said"), RAISING, ids=[said for _, said in RAISING])
def test_a_module_that_raises_while_imported_is_refused(tmp_path: Path, source: str, said: str) -> None:
    tree(tmp_path, lsc_raising=source)
    assert said in refusal(lambda: load("lsc_raising:build", tmp_path)).message


def test_a_package_that_raises_while_imported_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, lsc_bad__INIT="raise RuntimeError('no weights')\n", lsc_bad__net="def build(): ...\n")
    assert "no weights" in refusal(lambda: load("lsc_bad.net:build", tmp_path)).message


def test_ctrl_c_while_importing_is_ctrl_c(tmp_path: Path) -> None:
    tree(tmp_path, net="raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load("net.py:build", tmp_path)


CALLS = [
    ("raise ValueError('too wide')", "ValueError: too wide"),
    ("return 1 / 0", "ZeroDivisionError"),
    ("raise SystemExit(1)", "SystemExit"),
    ("return build()", "RecursionError"),
]


@pytest.mark.parametrize(("body", "said"), CALLS, ids=[said for _, said in CALLS])
def test_what_a_callable_raises_is_said_with_its_name(tmp_path: Path, body: str, said: str) -> None:
    tree(tmp_path, net=f"def build():\n    {body}\n")
    error = refusal(lambda: load("net.py:build", tmp_path)())
    assert "net.py:build raised" in error.message
    assert said in error.message
    assert "--debug" in error.hint


def test_what_was_raised_is_kept_for_the_traceback(tmp_path: Path) -> None:
    tree(tmp_path, net="def build():\n    raise ValueError('too wide')\n")
    assert isinstance(refusal(lambda: load("net.py:build", tmp_path)()).__cause__, ValueError)


@pytest.mark.parametrize(("signature", "arguments"), [
    ("width", {}), ("width", {"width": 1, "depth": 2}), ("", {"widht": 3}), ("width, /", {"width": 1}),
])  # fmt: skip
def test_wrong_arguments_say_where_they_are_given(tmp_path: Path, signature: str, arguments: dict[str, int]) -> None:
    tree(tmp_path, net=f"def build({signature}):\n    return 1\n")
    error = refusal(lambda: load("net.py:build", tmp_path)(**arguments))
    assert "TypeError" in error.message
    assert "args = {...}" in error.hint


def test_an_error_of_our_own_passes_through(tmp_path: Path) -> None:
    source = (
        "from landscape_cli.errors import LandscapeError\n"
        "def build():\n    raise LandscapeError('the data are gone', 'get them again')\n"
    )
    tree(tmp_path, net=source)
    error = refusal(lambda: load("net.py:build", tmp_path)())
    assert (error.message, error.hint) == ("the data are gone", "get them again")


def test_ctrl_c_in_a_call_is_ctrl_c(tmp_path: Path) -> None:
    tree(tmp_path, net="def build():\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load("net.py:build", tmp_path)()


# ---------------------------------------------------------------- where it runs


def test_siblings_are_imported(tmp_path: Path) -> None:
    tree(tmp_path, net="import lsc_blocks\ndef build():\n    return lsc_blocks.WIDTH\n", lsc_blocks="WIDTH = 8\n")
    assert load("net.py:build", tmp_path)() == 8


def test_siblings_of_a_file_in_another_folder_are_imported(tmp_path: Path) -> None:
    tree(tmp_path, src__net="import lsc_far\ndef build():\n    return lsc_far.WIDTH\n", src__lsc_far="WIDTH = 9\n")
    assert load("src/net.py:build", tmp_path)() == 9


def test_modules_of_the_jobs_folder_are_imported_from_a_file_elsewhere(tmp_path: Path) -> None:
    tree(tmp_path, src__net="import lsc_home\ndef build():\n    return lsc_home.WIDTH\n", lsc_home="WIDTH = 10\n")
    assert load("src/net.py:build", tmp_path)() == 10


@pytest.mark.parametrize("head", ["net", "src__net"])
def test_siblings_are_imported_when_they_are_first_needed(tmp_path: Path, head: str) -> None:
    beside = head.replace("net", "lsc_late")
    tree(tmp_path, **{head: "def build():\n    import lsc_late\n    return lsc_late.WIDTH\n", beside: "WIDTH = 11\n"})
    assert load(f"{head.replace('__', '/')}.py:build", tmp_path)() == 11


def test_relative_imports_work_in_a_package(tmp_path: Path) -> None:
    tree(
        tmp_path,
        lsc_rel__INIT="",
        lsc_rel__net="from .parts import WIDTH\ndef build():\n    return WIDTH\n",
        lsc_rel__parts="WIDTH = 12\n",
    )
    assert load("lsc_rel.net:build", tmp_path)() == 12


def test_files_are_opened_from_the_jobs_folder(tmp_path: Path) -> None:
    source = "TEXT = open('width.txt').read()\ndef build():\n    return TEXT, open('width.txt').read()\n"
    tree(tmp_path, src__net=source)
    (tmp_path / "width.txt").write_text("13")
    assert load("src/net.py:build", tmp_path)() == ("13", "13")


def test_the_jobs_folder_comes_before_what_is_installed(tmp_path: Path) -> None:
    tree(tmp_path, net="import sys\ndef build():\n    return sys.path[0]\n")
    assert load("net.py:build", tmp_path)() == str(tmp_path)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("when", ["import", "call"])
def test_the_working_directory_and_sys_path_are_put_back(tmp_path: Path, fails: bool, when: str) -> None:
    mess = "import os, sys\nsys.path.insert(0, '/nowhere')\nos.chdir('/')\n" + ("raise ValueError\n" if fails else "")
    indented = "".join(f"    {line}\n" for line in mess.splitlines())
    tree(tmp_path, net=f"{mess}def build(): ...\n" if when == "import" else f"def build():\n{indented}    return 1\n")
    cwd, path = Path.cwd(), list(sys.path)
    try:
        load("net.py:build", tmp_path)()
    except LandscapeError:
        assert fails
    assert Path.cwd() == cwd
    assert sys.path == path


# ---------------------------------------------------------------- hashes


def code_hash(folder: Path, spec: str = "net.py:build") -> str:
    """The hash of a spec, its modules imported afresh."""
    before = set(sys.modules)
    try:
        return load(spec, folder).sha256
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]


def changes(folder: Path, changed: str, spec: str = "net.py:build", source: str = "# changed\n") -> bool:
    """Whether the hash of `spec` changes with a line more in the file `changed`."""
    before, path = code_hash(folder, spec), folder / changed
    path.write_text(path.read_text() + source)
    return code_hash(folder, spec) != before


BUILD = "def build(): ...\n"


def test_the_hash_is_the_same_for_the_same_source(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tree(tmp_path / name, net="import lsc_s\n" + BUILD, lsc_s="X = 1\n")
    assert code_hash(tmp_path / "a") == code_hash(tmp_path / "b")
    assert len(code_hash(tmp_path / "a")) == 64


def test_the_hash_changes_with_the_file(tmp_path: Path) -> None:
    assert changes(tree(tmp_path, net=BUILD), "net.py")


def test_the_hash_does_not_change_with_a_file_that_is_not_imported(tmp_path: Path) -> None:
    assert not changes(tree(tmp_path, net=BUILD, other="X = 1\n"), "other.py")


IMPORTS = [
    "import lsc_s",
    "import os, lsc_s",
    "import lsc_s as s",
    "from lsc_s import X",
    "from lsc_s import *",
    "def late():\n    import lsc_s",
    "try:\n    import lsc_s\nexcept ImportError:\n    pass",
    "if True:\n    from lsc_s import X as Y",
]


@pytest.mark.parametrize("statement", IMPORTS)
def test_the_hash_changes_with_an_imported_sibling(tmp_path: Path, statement: str) -> None:
    assert changes(tree(tmp_path, net=f"{statement}\n{BUILD}", lsc_s="X = 1\n"), "lsc_s.py")


def test_the_hash_changes_with_a_sibling_of_a_sibling(tmp_path: Path) -> None:
    tree(tmp_path, net="import lsc_a\n" + BUILD, lsc_a="import lsc_b\n", lsc_b="from lsc_c import X\n", lsc_c="X = 1\n")
    assert changes(tmp_path, "lsc_c.py")


def test_the_hash_changes_with_every_one_of_many_siblings(tmp_path: Path) -> None:
    names = [f"lsc_m{i}" for i in range(6)]
    tree(tmp_path, net=f"import {', '.join(names)}\n" + BUILD, **dict.fromkeys(names, "X = 1\n"))
    assert all(changes(tmp_path, f"{name}.py") for name in names)


@pytest.mark.parametrize("statement", [
    "import lsc_p.parts", "from lsc_p import parts", "from lsc_p.parts import X", "from lsc_p.parts import X as Y",
])  # fmt: skip
@pytest.mark.parametrize("changed", ["lsc_p/parts.py", "lsc_p/__init__.py"])
def test_the_hash_changes_with_an_imported_package(tmp_path: Path, statement: str, changed: str) -> None:
    tree(tmp_path, net=f"{statement}\n{BUILD}", lsc_p__INIT="", lsc_p__parts="X = 1\n")
    assert changes(tmp_path, changed)


def test_siblings_that_import_each_other_are_hashed_once(tmp_path: Path) -> None:
    tree(tmp_path, net="import lsc_a\n" + BUILD, lsc_a="import lsc_b\n", lsc_b="import lsc_a\n")
    assert changes(tmp_path, "lsc_a.py")
    assert changes(tmp_path, "lsc_b.py")


@pytest.mark.parametrize("statement", [
    "from .parts import X", "from . import parts", "from lsc_q.parts import X", "import lsc_q.parts",
    "from lsc_q import parts", "import lsc_t", "from ..lsc_q.parts import X", "from .sub.deep import X",
])  # fmt: skip
def test_the_hash_of_a_module_changes_with_what_it_imports(tmp_path: Path, statement: str) -> None:
    top = "lsc_r" if statement.startswith("from ..") else ""
    base, prefix = (tmp_path / top, "lsc_r.") if top else (tmp_path, "")
    sources = {
        "lsc_q__INIT": "", "lsc_q__parts": "X = 1\n", "lsc_q__sub__INIT": "", "lsc_q__sub__deep": "X = 1\n",
        "lsc_q__net": f"{statement}\n{BUILD}", "lsc_t": "X = 1\n",
    }  # fmt: skip
    tree(base, **sources)
    tree(tmp_path, **({"lsc_r__INIT": ""} if top else {}))
    changed = "lsc_t.py" if "lsc_t" in statement else "lsc_q/sub/deep.py" if "deep" in statement else "lsc_q/parts.py"
    assert changes(tmp_path, f"{top}/{changed}" if top else changed, f"{prefix}lsc_q.net:build")


def test_the_hash_of_a_module_changes_with_a_part_of_its_parent_package(tmp_path: Path) -> None:
    tree(
        tmp_path,
        lsc_u__INIT="",
        lsc_u__common="X = 1\n",
        lsc_u__sub__INIT="",
        lsc_u__sub__net="from ..common import X\n" + BUILD,
    )
    assert changes(tmp_path, "lsc_u/common.py", "lsc_u.sub.net:build")


def test_the_hash_of_a_file_elsewhere_changes_with_what_it_imports_from_the_jobs_folder(tmp_path: Path) -> None:
    tree(tmp_path, src__net="import lsc_home\n" + BUILD, lsc_home="X = 1\n")
    assert changes(tmp_path, "lsc_home.py", "src/net.py:build")


def test_where_two_siblings_exchange_their_contents_the_hash_changes(tmp_path: Path) -> None:
    tree(tmp_path, net="import lsc_a, lsc_b\n" + BUILD, lsc_a="X = 1\n", lsc_b="X = 2\n")
    before = code_hash(tmp_path)
    tree(tmp_path, lsc_a="X = 2\n", lsc_b="X = 1\n")
    assert code_hash(tmp_path) != before


def test_where_a_line_moves_from_one_sibling_to_the_next_the_hash_changes(tmp_path: Path) -> None:
    tree(tmp_path, net="import lsc_a, lsc_b\n" + BUILD, lsc_a="X = 1\n", lsc_b="Y = 1\n")
    before = code_hash(tmp_path)
    tree(tmp_path, lsc_a="X = 1\nY = 1\n", lsc_b="")
    assert code_hash(tmp_path) != before


def test_a_sibling_that_is_no_python_is_hashed_all_the_same(tmp_path: Path) -> None:
    tree(tmp_path, net="try:\n    import lsc_s\nexcept SyntaxError:\n    pass\n" + BUILD, lsc_s="def (:\n")
    assert changes(tmp_path, "lsc_s.py")


def test_the_hash_of_a_file_depends_on_its_bytes_and_not_its_place(tmp_path: Path) -> None:
    tree(tmp_path, a__net=BUILD, b__net=BUILD, c__net=BUILD + "\n")
    one, same, other = (source_hash(tmp_path / name / "net.py") for name in "abc")
    assert one == same != other


def test_the_hash_of_a_function_is_of_its_source() -> None:
    def one() -> int:
        return 1

    def two() -> int:
        return 2

    assert usercode.callable_hash(one) == usercode.callable_hash(one)
    assert usercode.callable_hash(one) != usercode.callable_hash(two)
    assert usercode.callable_hash(len) != usercode.callable_hash(max)


def test_combined_hashes_depend_on_names_and_values_and_not_on_their_order() -> None:
    assert usercode.combined({"a": "1", "b": "2"}) == usercode.combined({"b": "2", "a": "1"})
    different: list[dict[str, str]] = [{"a": "1", "b": "2"}, {"a": "2", "b": "1"}, {"a": "1"}, {"a": "1", "b": ""}, {}]
    assert len({usercode.combined(parts) for parts in different}) == len(different)


def test_a_call_passes_its_arguments_and_its_answer_unchanged(tmp_path: Path) -> None:
    code = UserCode("x.py:f", lambda *args, **kwargs: (args, kwargs), "", tmp_path)
    assert code(1, 2, a=3) == ((1, 2), {"a": 3})
