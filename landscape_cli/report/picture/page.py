"""One interactive page of one or more runs: a single file that opens from disk and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from landscape_cli.analyse.statistics import statistics
from landscape_cli.errors import LandscapeError
from landscape_cli.report.picture.kinds import default_kind
from landscape_cli.report.picture.markup import text, titled
from landscape_cli.report.picture.page_data import Panel, as_json, document, panels_of
from landscape_cli.report.picture.page_parts import critical, key, provenance, report
from landscape_cli.report.picture.page_sections import sections
from landscape_cli.report.picture.theme import MOST
from landscape_cli.report.picture.view import View, counted
from landscape_cli.report.run import Run

MAPS = {"loss": "loss", "lowest": "lowest curvature", "highest": "highest curvature", "share": "negative curvature"}
# One after the other, in one scope.
SCRIPTS = tuple(f"page{name}.js" for name in ("_tools", "_marks", "_curve", "_chart", "_surface", "_panel", ""))


def page(views: Sequence[View], dark: bool = False) -> str:
    """The page. It is light or dark as its reader's system is, unless it is to be dark.

    Raises:
        LandscapeError: nothing has been measured, there is no such plane or split, or there are too many runs.
    """
    if len(views) > MOST:
        raise LandscapeError(f"{len(views)} runs do not fit on one page", f"give at most {MOST}")
    for view in views:
        default_kind(view)
    runs = [Run(view.file, view.profile, statistics(view.profile)) for view in views]
    panels = panels_of(views, runs)
    script = f'"use strict";\n{{\n{"".join(map(_resource, SCRIPTS))}}}\n'
    return _filled(
        _resource("page.html"),
        {
            "theme": ' data-theme="dark"' if dark else "",
            "hash": f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
            "title": text(", ".join(dict.fromkeys(view.name for view in views))),
            "style": _resource("page.css"),
            "captions": "\n".join(f"<p>{_caption(view, len(views) > 1)}</p>" for view in views),
            "controls": _controls(panels),
            "panels": _panels(panels, len(views) > 1),
            "sections": sections(views),
            "reports": "\n".join(report(run) for run in runs),
            "provenance": "\n".join(provenance(view) for view in views),
            "data": as_json(document(panels)),
            "script": script,
        },
    )


def _resource(name: str) -> str:
    return (files("landscape_cli.report.picture") / name).read_text("utf-8")


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """In one pass, so that a name that looks like a place is none."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _caption(view: View, named: bool) -> str:
    return text(f"{view.file}: {view.caption}" if named else view.caption)


def _controls(panels: Sequence[Panel]) -> str:
    """The switches; none where there is no plane."""
    if not panels:
        return ""
    splits = dict.fromkeys(split for panel in panels for split in panel.view.surfaces)
    options = "".join(f'<option value="{escape(split)}">{text(split)}</option>' for split in splits)
    scales = "".join(
        f'<label><input type="radio" name="scale" value="{value}"> {told}</label>'
        for value, told in (("log", "logarithmic"), ("linear", "linear"))
    )
    maps = "".join(f'<option value="{value}">{told}</option>' for value, told in MAPS.items())
    maps = f'<label>Map <select id="map">{maps}</select></label>' if any(panel.maps for panel in panels) else ""
    spin = '<button id="spin" type="button">Rotate</button>'
    turns = not all(panel.thin for panel in panels)
    return (
        f'<div class="controls"><fieldset><legend>Loss scale&nbsp;</legend>{scales}</fieldset>'
        f'<label>Split <select id="split">{options}</select></label>{maps}{spin if turns else ""}</div>'
    )


def _panels(panels: Sequence[Panel], many: bool) -> str:
    made = "\n".join(_panel(panel, i, many) for i, panel in enumerate(panels))
    return f'<div class="many">{made}</div>' if many else made


def _panel(panel: Panel, i: int, many: bool) -> str:
    record, flat = panel.view.record, panel.view.record.surface.y is None
    title = titled(panel.view, f"{panel.view.name} · {'line' if flat else 'plane'} {record.name}", many)
    split, surface_shown = panel.view.shown
    shown = f'<span class="shown">{text(counted(split, surface_shown.centre))}</span>'
    help_map = "Arrow keys move the cursor, with Shift by five points; Home is the checkpoint."
    surface = "" if panel.thin else (
        '<canvas class="surface" tabindex="0" role="application" '
        'aria-label="Surface of the loss. Arrow keys turn it."></canvas>'
    )  # fmt: skip
    names = [f"{'ab'[axis]} along {panel.view.label(axis)}" for axis in range(1 if flat else 2)]
    return (
        f'<section class="panel" data-panel="{i}">{title} · {shown}</h2>'
        f'<p class="note">{"; ".join(map(text, names))}<span class="mapped"></span></p>'
        f'<div class="views">{surface}<canvas class="map" tabindex="0" role="application" '
        f'aria-label="{"Curve" if flat else "Contours"} of the loss. {help_map}"></canvas></div>{key(panel)}'
        f'<output aria-live="polite"></output>{critical(panel)}</section>'
    )
