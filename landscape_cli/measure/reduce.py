"""Per-sample numbers -> weighted means, over fixed groups of samples and in one fixed order."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape_cli.measure.data import Split


def reduce_groups(rows: Tensor, split: Split) -> Tensor:
    """Weighted means of per-sample rows, loss first: (..., rows, N) -> (..., rows + G), then the loss's group means.

    Sums run over the groups' samples, then over the groups, whatever batches the rows came in.
    """
    weighted = torch.where(split.counted, rows * split.weights, 0.0)
    sums = weighted[..., split.group_index].masked_fill_(split.padding, 0.0).sum(-1)  # (..., rows, G)
    sizes = split.group_sizes
    means = sums.sum(-1) / sizes.sum()
    return torch.cat([means, torch.where(sizes > 0, sums[..., 0, :] / sizes.clamp(min=1), 0.0)], dim=-1)
