"""The trace of a symmetric matrix known by its products, by Hutch++."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape_cli.errors import LandscapeError
from landscape_cli.measure.lanczos import FloatArray, Product, Products, negligible, orthogonalise

PROBES = 10  # fewer give no standard error worth the name


@dataclass(frozen=True)
class Trace:
    """tr A is estimated by exact_part + mean(residuals), ‖A‖_F² by mean(squares); the errors are those of the means.

    After an early stop the arrays are shorter, and the exact part is NaN if the stop came before it was known.
    """

    exact_part: float  # tr QᵀAQ
    residuals: FloatArray  # (probes,) each an estimate of the remainder's trace
    squares: FloatArray  # (probes,) each an estimate of ‖A‖_F²
    products: int


def hutchpp(
    product: Product,
    size: int,
    *,
    sketch: int = 10,
    probes: int = 10,
    seed: int = 0,
    like: Tensor,
    on_product: Callable[[int], bool] | None = None,
) -> Trace:
    """tr QᵀAQ, and zᵀ(I−QQᵀ)A(I−QQᵀ)z for random signs z, Q an orthonormal basis of A·S.

    Meyer et al. 2021, algorithm 1. The same products give ‖AQ‖_F² + ‖A(I−QQᵀ)z‖², whose mean is ‖A‖_F². 2·sketch +
    probes products, and sketch + 3 vectors of P values. Exact where sketch ≥ P, from P products.

    Args:
        size: P.
        sketch: columns of S, random signs too.
        seed: of all signs, drawn on the CPU, so that they are the same on every device.
        like: has the dtype (float32 or float64) and the device.
        on_product: called with the number of products made; true asks to stop.

    Raises:
        LandscapeError: fewer than ten probes; an empty sketch; a product is not finite.
    """
    if probes < PROBES or sketch < 1:
        raise LandscapeError(f"{probes} probes and a sketch of {sketch} are too few", "10 probes and a sketch of 1 do")
    counted = Products(product, on_product)
    if sketch >= size:
        return _exact(counted, size, probes, like)
    generator = torch.Generator().manual_seed(seed)
    basis = _range(counted, size, sketch, generator, like)
    exact, square = _captured(counted, basis)
    residuals: list[float] = []
    squares: list[float] = []
    while len(residuals) < probes and not counted.stopped:
        z = _signs(size, generator, like)
        orthogonalise(basis, z)
        column = counted(z)
        residuals.append(float(z @ column))
        squares.append(square + float(column @ column))
    return Trace(exact, np.array(residuals), np.array(squares), counted.count)


def _range(product: Products, size: int, sketch: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Orthonormal rows that span A·S."""
    basis = like.new_empty(sketch, size)
    rank = 0
    for _ in range(sketch):
        if product.stopped:
            break
        column = product(_signs(size, generator, like)).clone()
        length = float(torch.linalg.vector_norm(column))
        orthogonalise(basis[:rank], column)
        left = float(torch.linalg.vector_norm(column))
        if left > negligible(length, like.dtype):  # else A is of lower rank, and the rest is rounding
            torch.div(column, left, out=basis[rank])
            rank += 1
    return basis[:rank]


def _captured(product: Products, basis: Tensor) -> tuple[float, float]:
    """tr QᵀAQ and ‖AQ‖_F², or NaN if asked to stop before they are known."""
    trace = square = 0.0
    for q in basis:
        if product.stopped:
            return math.nan, math.nan
        column = product(q)
        trace += float(q @ column)
        square += float(column @ column)
    return trace, square


def _exact(product: Products, size: int, probes: int, like: Tensor) -> Trace:
    """The diagonal and all columns, one by one."""
    trace = squares = 0.0
    for i in range(size):
        if product.stopped:
            return Trace(math.nan, np.zeros(0), np.zeros(0), product.count)
        unit = like.new_zeros(size)
        unit[i] = 1
        column = product(unit)
        trace += float(column[i])
        squares += float(column @ column)
    return Trace(trace, np.zeros(probes), np.full(probes, squares), product.count)


def _signs(size: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Rademacher: ±1 with equal probabilities."""
    signs = torch.randint(0, 2, (size,), generator=generator, dtype=like.dtype)
    return signs.mul_(2).sub_(1).to(like.device)
