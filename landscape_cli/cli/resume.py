"""What an existing run file means for a new scan: resume, join, nothing to do, or refuse, naming what differs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscape_cli.errors import LandscapeError
from landscape_cli.profile import PlaneRecord, Profile
from landscape_cli.section import UNMEASURED, Section


def refuse_another_problem(stored: Profile, hashes: Mapping[str, str], path: Path) -> None:
    """Refuse a file whose weights, data, loss, code, parameters or dtype are not these."""
    own, other = (
        {key: value for key, value in found.items() if not key.startswith("file.") and key != "criterion"}
        for found in (stored.provenance.hashes, hashes)  # the criterion is part of the loss
    )
    differs = differing(own, other)
    if differs:
        raise LandscapeError(
            f"{path.name} holds another problem: it differs in {', '.join(differs)}",
            "choose another -o, or replace the whole file with --force",
        )


def refuse_another_plane(stored: PlaneRecord, settings: Mapping[str, Any], fingerprint: str, path: Path) -> None:
    """Refuse a plane that has the same name and was made otherwise."""
    if stored.fingerprint == fingerprint:
        return
    differs = differing(stored.settings, settings) or ["recipe"]
    raise LandscapeError(
        f"{path.name} holds another plane called {stored.name}: it differs in {', '.join(differs)}",
        f"give the plane another name, or replace it with --force={stored.name}",
    )


def refuse_another_section(name: str, stored: Section, wanted: Section, path: Path) -> None:
    """Refuse a section that was measured with other settings."""
    if stored.fingerprint == wanted.fingerprint:
        return
    differs = [key for key in differing(stored.settings, wanted.settings) if key not in UNMEASURED]
    raise LandscapeError(
        f"{path.name} holds another {name}: it differs in {', '.join(differs) or 'recipe'}",
        f"choose another -o, or replace it with --force={name}",
    )


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The keys whose values are not the same."""
    return [key for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)]
