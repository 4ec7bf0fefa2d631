"""A loss-landscape profiler for PyTorch checkpoints: measure, read, report.

From a notebook or at the end of a training script::

    import landscape_cli

    profile = landscape_cli.scan(model, (inputs, targets), x="-1:1:21", y="-1:1:21")
    landscape_cli.save(profile, "run.h5")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load", "save", "scan", "statistics"]

if TYPE_CHECKING:
    from landscape_cli.analyse.statistics import statistics
    from landscape_cli.measure.notebook import scan
    from landscape_cli.store import load, save

# Imported when first used: `scan` needs torch, the rest must start without it.
_HOMES = {"scan": "measure.notebook", "load": "store", "save": "store", "statistics": "analyse.statistics"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
