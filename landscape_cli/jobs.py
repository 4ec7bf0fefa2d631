"""Job file (TOML), --set and flags -> one typed Job; a key that is not known is refused by name.

Precedence: flag > --set > job file > default. Every value's source is kept in `Job.sources`.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import Any

from landscape_cli.errors import LandscapeError, one_of
from landscape_cli.settings import (
    ARGUMENTS,
    OPTIONAL,
    DataSettings,
    HessianSettings,
    Job,
    LossSettings,
    ModelSettings,
    PlaneSettings,
    RunSettings,
    check,
    derived_in,
    plane_with_defaults,
)


@dataclass(frozen=True)
class Layer:
    """Values from one place: `source` names it, relative paths start from `folder`."""

    source: str
    values: Mapping[tuple[str, ...], Any]
    folder: Path


SECTIONS: dict[str, type] = {"model": ModelSettings, "loss": LossSettings, "run": RunSettings, **OPTIONAL}
TABLES: dict[str, type] = {"data": DataSettings, "planes": PlaneSettings}
DEFAULT = "default"


def choices(module: str, table: str) -> list[str]:
    """The keys of a dict of functions in measure/, read from the source so that torch is not imported."""
    tree = ast.parse((Path(__file__).parent / "measure" / f"{module}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == table:
            assert isinstance(node.value, ast.Dict)
            return [ast.literal_eval(key) for key in node.value.keys if key is not None]
    raise KeyError(f"{module}.{table}")


def read_job_file(path: Path) -> Layer:
    """The values of a TOML job file."""
    hint = "give the path of a TOML job file, or --model, --checkpoint, --data and --x instead"
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise LandscapeError(f"cannot read the job file {path}: {error.strerror}", hint) from None
    except UnicodeDecodeError:
        raise LandscapeError(f"the job file {path} is not text", hint) from None
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise LandscapeError(f"the job file {path} is not valid TOML: {error}", "mend that line") from None
    return Layer("job file", _flatten(tree), path.resolve().parent)


def read_sets(pairs: tuple[str, ...], folder: Path) -> Layer:
    """The values of --set a.b=c; c is read as TOML, and as plain text where it is none."""
    values: dict[tuple[str, ...], Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise LandscapeError(f"--set {pair} has no value", "write --set section.key=value")
        values[tuple(key.strip().split("."))] = toml_value(text.strip())
    return Layer("--set", values, folder)


def toml_value(text: str) -> Any:
    """`text` as a TOML value, or as plain text where it is none."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return text if isinstance(value, date | time) else value  # 10:20:30 is a range here


def _flatten(tree: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """{("data", "train", "source"): ...}; refuses what is not a table where one must be."""
    flat: dict[tuple[str, ...], Any] = {}
    for section, body in tree.items():
        if section not in SECTIONS and section not in TABLES:
            raise one_of("section of the job", section, [*SECTIONS, *TABLES])
        if not isinstance(body, dict):
            raise LandscapeError(f"{section} must be a table", f"write [{section}] above its keys")
        if section in SECTIONS:
            flat |= {(section, key): value for key, value in body.items()}
            if section in OPTIONAL:
                flat.setdefault((section,), {})
            continue
        for name, table in body.items():
            if not isinstance(table, dict):
                raise LandscapeError(f"{section}.{name} must be a table", f"write [{section}.NAME]")
            flat |= {(section, name, key): value for key, value in table.items()}
            flat.setdefault((section, name), {})
    return flat


def resolve(layers: list[Layer], folder: Path) -> Job:
    """The job that the layers (lowest first) make, its relative paths starting from `folder`."""
    merged: dict[str, dict[str, Any]] = {}  # "data.train" -> {"source": ...}
    sources: dict[str, str] = {}
    for layer in layers:
        for path, value in layer.values.items():
            table, key, rest = _locate(path)
            body = merged.setdefault(table, {})
            if not key and value != {}:
                raise LandscapeError(f"{table} is a table, not {value!r}", f"write {table}.key=value")
            if not key:
                continue
            value = _rebased(f"{table}.{key}", value, layer.folder, folder)
            body[key] = _nested(body.get(key), rest, value)
            sources[f"{table}.{key}"] = layer.source
    return _build(merged, sources, folder)


def _nested(table: Any, path: tuple[str, ...], value: Any) -> Any:
    """`table` with `value` at the path; whatever is no table on the way is replaced by one."""
    if not path:
        return value
    table = table if isinstance(table, dict) else {}
    return {**table, path[0]: _nested(table.get(path[0]), path[1:], value)}


def _locate(path: tuple[str, ...]) -> tuple[str, str, tuple[str, ...]]:
    """(table, key, what is left of the path), the names checked."""
    if path[0] not in SECTIONS and path[0] not in TABLES:
        raise one_of(f"section in {'.'.join(path)}", path[0], [*SECTIONS, *TABLES])
    depth = 1 if path[0] in SECTIONS else 2
    table, rest = ".".join(path[:depth]), path[depth:]
    if depth == 2 and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", path[1] if len(path) > 1 else ""):
        raise LandscapeError(
            f"{path[0]} needs a name of letters, digits, - and _: {table!r}", f"write {path[0]}.NAME.key=value"
        )
    if not rest:
        if depth == 2 or table in OPTIONAL:
            return table, "", ()
        raise LandscapeError(f"{table} is a section, not a key", f"write {table}.key=value")
    kind = {**SECTIONS, **TABLES}[path[0]]
    known = [f.name for f in dataclasses.fields(kind)]
    if rest[0] not in known:
        raise one_of("key of the job", ".".join(path), [f"{table}.{name}" for name in known])
    if len(rest) > 1 and rest[0] not in ("args", "inputs"):
        raise LandscapeError(f"{table}.{rest[0]} has no keys of its own", f"write {table}.{rest[0]}=value")
    return table, rest[0], rest[1:]


def _build(merged: dict[str, dict[str, Any]], sources: dict[str, str], folder: Path) -> Job:
    def settings(kind: type, table: str) -> Any:
        hints = typing.get_type_hints(kind)
        given = merged.get(table, {})
        for name in hints:
            sources.setdefault(f"{table}.{name}", DEFAULT)
        return kind(**{key: _typed(f"{table}.{key}", value, hints[key]) for key, value in given.items()})

    def tables(section: str) -> dict[str, Any]:
        names = [table.split(".", 1)[1] for table in merged if table.startswith(f"{section}.")]
        return {name: settings(TABLES[section], f"{section}.{name}") for name in names}

    run = settings(RunSettings, "run")
    planes = {name: plane_with_defaults(name, plane, run.seed) for name, plane in tables("planes").items()}
    asked = {name: settings(kind, name) for name, kind in OPTIONAL.items() if name in merged}
    job = Job(
        settings(ModelSettings, "model"), tables("data"), settings(LossSettings, "loss"), planes, run, folder, sources,
        **asked, eigenvectors=asked.get("hessian", HessianSettings()),
    )  # fmt: skip
    _check_present(job)
    check(job)
    return job


def _check_present(job: Job) -> None:
    for value, key, flag in (
        (job.model.factory, "model.factory", "--model FILE.py:CALLABLE"),
        (job.model.checkpoint, "model.checkpoint", "--checkpoint PATH"),
    ):
        if not value:
            raise LandscapeError(f"the job names no {key}", f"give {flag}, or set it in the job file")
    if not job.data:
        raise LandscapeError("the job names no data", "give --data PATH, or a [data.NAME] table in the job file")
    for name, split in job.data.items():
        if not split.source:
            raise LandscapeError(f"the split {name} has no source", f"set data.{name}.source")


def _typed(key: str, value: Any, hint: Any) -> Any:
    """`value` as the type `hint`; ints pass for floats, and nothing else is converted."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        origin, args = typing.get_origin(option) or option, typing.get_args(option)
        if origin is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, int) and abs(value) >= 2**63:
            raise LandscapeError(f"{key} is too large: {value}", "give a number below 2^63")
        if origin is list and isinstance(value, list):
            return [_typed(f"{key}.{i}", item, args[0]) for i, item in enumerate(value)]
        if origin is dict and isinstance(value, dict):
            return value if args[1] is Any else {k: _typed(f"{key}.{k}", v, args[1]) for k, v in value.items()}
        if isinstance(origin, type) and isinstance(value, origin) and isinstance(value, bool) == (origin is bool):
            return value
    names = " or ".join(_TYPE_NAMES.get(typing.get_origin(o) or o, "") for o in options if o is not types.NoneType)
    raise LandscapeError(f"{key} must be {names}, not {value!r}", f"change {key}")


_TYPE_NAMES = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "a table",
}  # fmt: skip


def _rebased(key: str, value: Any, base: Path, folder: Path) -> Any:
    """`value` with the paths in it made absolute, where they start from another folder than the job's."""
    if base == folder:
        return value
    if isinstance(value, list):
        return [_rebased(key, item, base, folder) for item in value]
    if not isinstance(value, str):
        return value
    if key.endswith(".directions"):
        kind, colon, path = value.partition(":")
        return f"{kind}:{base / path}" if colon and ARGUMENTS.get(kind) == "PATH" else value
    code = re.fullmatch(r".+\.py:\w[\w.]*", value)
    module = not code and re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value)
    is_path = not module and (key == "model.checkpoint" or re.fullmatch(r"data\..*\.source", key))
    names_code = key in ("model.factory", "loss.name", "loss.metrics")
    return str(base / value) if is_path or (names_code and code) else value


def joined(stored: str, folder: Path, job: Job) -> Job:
    """`job` with the planes that another job, stored as TOML with paths from `folder`, has and it has not.

    They are kept to be written down again; nothing that they name is read.
    """
    try:
        before = resolve([Layer("file", _flatten(tomllib.loads(stored)), folder)], job.folder)
    except (tomllib.TOMLDecodeError, LandscapeError):
        return job  # made by Python, which has no job, or by another version
    kept = {name: getattr(job, name) or getattr(before, name) for name in OPTIONAL}
    return dataclasses.replace(job, planes={**before.planes, **job.planes}, **kept)


def to_toml(job: Job) -> str:
    """The job as a TOML file that makes the same job again."""
    import tomli_w

    def table(settings: Any) -> dict[str, Any]:
        return {k: v for k, v in dataclasses.asdict(settings).items() if v is not None}

    return tomli_w.dumps(
        {
            "model": table(job.model),
            "data": {name: table(split) for name, split in job.data.items()},
            "loss": table(job.loss),
            "planes": {name: table(plane) for name, plane in job.planes.items()},
            "run": table(job.run),
            **{name: table(found) for name in OPTIONAL if (found := getattr(job, name) or _of_planes(job, name))},
        }
    )


def _of_planes(job: Job, section: str) -> Any:
    """A section that is not measured, but says how a plane's directions are computed."""
    derived = [spec for plane in job.planes.values() for spec in derived_in(plane)]
    told = section == "hessian" and any(spec.startswith("hessian:") for spec in derived)
    return job.eigenvectors if told and job.eigenvectors != HessianSettings() else None
