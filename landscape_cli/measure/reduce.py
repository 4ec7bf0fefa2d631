"""Per-sample numbers -> weighted means, over fixed groups of samples and in one fixed order."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape_cli.measure.data import Split


def reduce_groups(rows: Tensor, split: Split) -> Tensor:
    """Weighted means of per-sample rows, loss first: (..., rows, N) -> (..., rows + G), then the loss's group means.

    Sums run over the groups' samples, then over the groups, whatever batches the rows came in.
    """
    weights, groups = split.weights, split.group_rows
    weighted = torch.where(weights > 0, rows * weights, 0.0)
    sums = weighted[..., groups.clamp(min=0)].masked_fill(groups < 0, 0.0).sum(-1)  # (..., rows, G)
    sizes = group_sizes(split)
    means = sums.sum(-1) / sizes.sum()
    return torch.cat([means, torch.where(sizes > 0, sums[..., 0, :] / sizes.clamp(min=1), 0.0)], dim=-1)


def group_sizes(split: Split) -> Tensor:
    """(G,) the weight of each sample group."""
    weights = split.weights[split.group_rows.clamp(min=0)]
    return weights.masked_fill(split.group_rows < 0, 0.0).sum(-1)
