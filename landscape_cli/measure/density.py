"""The spectral density of a symmetric matrix known by its products, by stochastic Lanczos quadrature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape_cli.errors import LandscapeError
from landscape_cli.measure.lanczos import FloatArray, Product, Products, tridiagonal


@dataclass(frozen=True)
class Quadrature:
    """Each start's Σ weights·f(nodes) estimates tr f(A) / P; after an early stop only finished starts are here."""

    nodes: FloatArray  # (starts, steps) Ritz values, ascending; NaN where the start's Krylov space is smaller
    weights: FloatArray  # (starts, steps) squared first components, their sum 1; 0 where the node is NaN
    residuals: FloatArray  # (starts, steps) ‖Au − node·u‖ of the node's vector: how far its weight may be spread
    products: int


def density(
    product: Product,
    size: int,
    *,
    starts: int = 10,
    steps: int = 80,
    seed: int = 0,
    like: Tensor,
    on_product: Callable[[int], bool] | None = None,
) -> Quadrature:
    """Gauss quadrature of the spectral density, from Lanczos on random unit starts. Ghorbani et al. 2019, algorithm 2.

    Exact for polynomials up to degree 2·steps − 1, but for the choice of starts: the error is seen in their spread. A
    start's weight on an eigenvalue is about 1/P, so what has less than 1/(P·starts) of the mass is not seen.

    Memory: steps + 3 vectors of P values. At most starts·steps products.

    Args:
        size: P.
        seed: of the starts, drawn on the CPU, so that they are the same on every device.
        like: has the dtype (float32 or float64) and the device.
        on_product: called with the number of products made; true asks to stop.

    Raises:
        LandscapeError: a product is not finite; no start or no step is asked for.
    """
    if min(starts, steps) < 1:
        raise LandscapeError(f"{starts} starts of {steps} steps give no density", "both must be at least 1")
    counted = Products(product, on_product)
    generator = torch.Generator().manual_seed(seed)
    rows: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    while len(rows) < starts and not counted.stopped:
        start = torch.randn(size, generator=generator, dtype=like.dtype).to(like.device)
        row = gauss(*tridiagonal(counted, start, steps))
        if not counted.stopped or len(row[0]) == min(steps, size):
            rows.append(row)
    nodes, weights, residuals = (np.full((len(rows), steps), empty) for empty in (np.nan, 0.0, 0.0))
    for i, row in enumerate(rows):
        nodes[i, : len(row[0])], weights[i, : len(row[0])], residuals[i, : len(row[0])] = row
    return Quadrature(nodes, weights, residuals, counted.count)


def gauss(alphas: FloatArray, betas: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Nodes, weights and residuals (n,) of the Gauss rule of a tridiagonal matrix. Golub & Welsch 1969."""
    values, vectors = np.linalg.eigh(np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1))
    return values, vectors[0] ** 2, betas[-1] * np.abs(vectors[-1])
