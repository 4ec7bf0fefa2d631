"""KINDS: what can be drawn of a run, and which of it is drawn unless told."""

from __future__ import annotations

from landscape_cli.errors import ExitCode, LandscapeError
from landscape_cli.report.picture.ascent import ascent
from landscape_cli.report.picture.contour import contour
from landscape_cli.report.picture.curvature import curvature
from landscape_cli.report.picture.curve import curve
from landscape_cli.report.picture.layers import gradient
from landscape_cli.report.picture.relief import relief
from landscape_cli.report.picture.spectrum import spectrum
from landscape_cli.report.picture.theme import Draw
from landscape_cli.report.picture.tree import tree
from landscape_cli.report.picture.view import View, cut

KINDS: dict[str, Draw] = {
    "contour": contour,
    "surface": relief,
    "curve": curve,
    "curvature": curvature,
    "spectrum": spectrum,
    "ascent": ascent,
    "gradient": gradient,
    "tree": tree,
}

SECTIONS = {"spectrum": "hessian", "ascent": "sharpness", "gradient": "gradient"}  # measured on one split


def default_kind(view: View) -> str:
    """Of a plane its contours, of a line its curve; else what there is of the checkpoint itself.

    Raises:
        LandscapeError: nothing has been measured.
    """
    if view.profile.planes:
        return "curve" if view.record.surface.y is None else "contour"
    for kind, section in SECTIONS.items():
        held = view.profile.sections.get(section)
        if held is not None and held.complete:
            return kind
    hint = f"rerun the command that `landscape info {view.file}` shows"
    raise LandscapeError(f"{view.file} holds nothing to draw yet", hint, ExitCode.INCONCLUSIVE)


def check_split(kind: str, view: View) -> None:
    """Raise where a split is asked for other than the one that the kind's section was measured on.

    Raises:
        LandscapeError: it is.
    """
    if view.split and kind in SECTIONS:
        held = cut(str(view.section(SECTIONS[kind]).settings.get("split", "?")))
        if held != cut(view.split):
            what = f"the {kind} of {view.file} was measured on {held}, not on {cut(view.split)}"
            raise LandscapeError(what, "leave out --split", ExitCode.USAGE)
