"""What the parameters of a network are: which slice is a filter, which is a bias, which belongs to a norm."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from landscape_cli.errors import LandscapeError

NORM_LAYERS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
NORM_NAME = re.compile(r"norm(\dd)?$", re.IGNORECASE)  # T5LayerNorm, LlamaRMSNorm, FrozenBatchNorm2d


def matches(name: str, patterns: list[str]) -> bool:
    """True if the name matches any of the shell patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def owners(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """The module that holds each parameter, and its name there; tied ones under their first name."""
    found: dict[str, tuple[nn.Module, str]] = {}
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{prefix}.{leaf}" if prefix else leaf] = (module, leaf)
    return found


def output_dims(model: nn.Module) -> dict[str, int]:
    """The output dimension of each parameter: 1 for transposed convolutions and GPT-2's Conv1D, else 0."""
    transposed = nn.modules.conv._ConvTransposeNd
    return {
        name: 1 if isinstance(module, transposed) or type(module).__name__ == "Conv1D" else 0
        for name, (module, _) in owners(model).items()
    }


def ignored(model: nn.Module, names: Mapping[str, Any], ignore: list[str]) -> set[str]:
    """The parameters that do not move: "bias", "norm" (normalisation layers), or name patterns."""
    still: set[str] = set()
    patterns = [pattern for pattern in ignore if pattern not in ("bias", "norm")]
    for name, (module, leaf) in owners(model).items():
        weight = getattr(module, leaf)
        bias = leaf == "bias" or leaf.startswith("bias_") or leaf.endswith("_bias")
        norm = isinstance(module, NORM_LAYERS) or bool(NORM_NAME.search(type(module).__name__) and weight.dim() < 2)
        if ("bias" in ignore and bias) or ("norm" in ignore and norm) or matches(name, patterns):
            still.add(name)
    for pattern in patterns:
        if not any(matches(name, [pattern]) for name in names):
            raise LandscapeError(f"nothing to ignore matches {pattern!r}", 'write "bias", "norm" or a name pattern')
    return still & set(names)
