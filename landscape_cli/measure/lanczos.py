"""Extreme eigenvalues of a symmetric matrix known by its products, by Lanczos with full reorthogonalisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape_cli.errors import ExitCode, LandscapeError

Product = Callable[[Tensor], Tensor]  # v -> A·v for a symmetric A, both flat; it leaves v as it is
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ROUNDING = 16  # in units of eps·‖A‖, what is taken for rounding
# Steps that a fresh start is given to show another copy of a value. One that stands above the rest by half the spread
# is then missed with a probability of at most 1.65·√P·e^(−23·√½), 0.02 % for a million parameters (Kuczyński &
# Woźniakowski 1992, theorem 4.2).
SEARCH = 12


@dataclass(frozen=True)
class Spectrum:
    """The ends of a spectrum; fewer values than asked only of a smaller matrix, or after an early stop."""

    top: FloatArray  # (k,) largest, descending
    bottom: FloatArray  # (b,) smallest, ascending
    top_residuals: FloatArray  # (k,) at least ‖Au − λu‖, so that an eigenvalue lies this near
    bottom_residuals: FloatArray
    top_vectors: Tensor  # (k, P) of unit length; a view of the basis, all of which it keeps in memory
    bottom_vectors: Tensor  # (b, P)
    converged_top: BoolArray  # (k,)
    converged_bottom: BoolArray
    products: int


class Products:
    """A product that counts its uses, refuses what is not finite, and remembers that it was asked to stop."""

    def __init__(self, product: Product, on_product: Callable[[int], bool] | None = None) -> None:
        self._product = product
        self._on_product = on_product
        self.count = 0
        self.stopped = False

    def __call__(self, vector: Tensor) -> Tensor:
        """A·v.

        Raises:
            LandscapeError: it holds a value that is not finite.
        """
        found = self._product(vector).detach()
        if not math.isfinite(float(torch.linalg.vector_norm(found, ord=math.inf))):
            hint = "look at the loss at the checkpoint, or measure in float64"
            raise LandscapeError("the Hessian product is not finite", hint, ExitCode.INCONCLUSIVE)
        self.count += 1
        if self._on_product is not None and self._on_product(self.count):
            self.stopped = True
        return found


def lanczos(
    product: Product,
    size: int,
    *,
    top: int = 5,
    bottom: int = 2,
    tolerance: float = 1e-3,
    products: int = 200,
    basis: int | None = None,
    search: bool = True,
    seed: int = 0,
    like: Tensor,
    on_product: Callable[[int], bool] | None = None,
) -> Spectrum:
    """The largest and the smallest eigenvalues (with their sign), by thick-restart Lanczos. Wu & Simon 2000, section 2.

    A pair is converged when its residual is at most tolerance·|λ|, or when it is zero to rounding: value and residual
    both at most 16·eps·‖A‖. One start shows one vector of each eigenspace, so values count as found only when a fresh
    start, orthogonal to them, has shown nothing new in twelve products or has run out of new directions. A further
    copy that stands out by little of the spectrum's width may still be missed. Pairs whose residual is at the level of
    rounding are not worked on any further, converged or not.

    Args:
        size: P. Where top + bottom ≥ P all of the spectrum is found, and the two ends overlap.
        products: the most that are made; what has not converged by then is flagged.
        basis: vectors of P values held, two or more above top + bottom; by default 2·(top + bottom) + 10, at least 24.
        search: make the fresh starts; without them, a dozen products less, equal eigenvalues may be found once only.
        seed: of the starts, drawn on the CPU, so that they are the same on every device.
        like: has the dtype (float32 or float64) and the device.
        on_product: called with the number of products made; true asks to stop.

    Raises:
        LandscapeError: a product is not finite; no eigenvalue or product is asked for; the basis is too small.
    """
    top, bottom = min(top, size), min(bottom, size)
    rows = _rows(size, top, bottom, basis)
    if products < 1:
        raise LandscapeError("no product is allowed", "products must be at least 1")
    vectors = torch.empty(max(rows, top + bottom), size, dtype=like.dtype, device=like.device)
    run = _Krylov(Products(product, on_product), rows, vectors, seed)
    ends = _Ends(top, bottom, tolerance, search)
    return ends.spectrum(run, _converge(run, ends, products))


def tridiagonal(product: Product, start: Tensor, steps: int) -> tuple[FloatArray, FloatArray]:
    """Diagonal (n,) and off-diagonal (n,) of QᵀAQ, Q the Lanczos basis from the start: Golub & Welsch 1969's input.

    The last off-diagonal entry leads out of the basis. Full reorthogonalisation, so n vectors of P values are held. n
    is less than the steps where the start's Krylov space is smaller (its last β is rounding), or where the product was
    asked to stop.

    Raises:
        LandscapeError: a product is not finite.
    """
    counted = product if isinstance(product, Products) else Products(product)
    steps = min(steps, start.numel())
    run = _Krylov(counted, steps, start.new_empty(steps, start.numel()), seed=0)
    run.begin(start)
    betas: list[float] = []
    while True:
        run.step()
        if run.count == steps or run.exhausted or counted.stopped:
            return np.diagonal(run.projected)[: run.count].copy(), np.array([*betas, run.beta])
        betas.append(run.beta)
        run.follow()


def negligible(norm: float, dtype: torch.dtype) -> float:
    """What is taken for rounding beside a matrix or vector of this norm."""
    return ROUNDING * torch.finfo(dtype).eps * norm


def orthogonalise(vectors: Tensor, vector: Tensor) -> FloatArray:
    """Takes the vectors' share (n,) out of the vector, in place, and gives it; classical Gram-Schmidt, twice."""
    share = np.zeros(len(vectors))
    for _ in range(2):  # once more for what rounding left: twice is enough (Giraud et al. 2005)
        part = vectors @ vector
        vector.addmv_(vectors.T, part, alpha=-1)
        share += part.double().cpu().numpy()
    return share


@dataclass(frozen=True)
class _Pairs:
    """Eigenpairs of the projected matrix."""

    values: FloatArray  # (n,) ascending
    rotation: FloatArray  # (n, n): columns are the eigenvectors in the basis
    residuals: FloatArray  # (n,)
    rounding: float  # what is taken for rounding


class _Krylov:
    """An orthonormal basis, A projected on it, and how much of A times the basis lies outside.

    The projection holds every Gram-Schmidt coefficient, mirrored, not just three diagonals: it stays QᵀAQ whatever the
    basis is made of, restarts and fresh starts included.
    """

    def __init__(self, product: Products, rows: int, vectors: Tensor, seed: int) -> None:
        self.product = product
        self.rows = rows  # vectors held at most
        self.size = vectors.shape[1]
        self.vectors = vectors  # (rows or more, P)
        self.rest = torch.empty_like(vectors[0])  # what of the last product lies outside the basis
        self.beta = 0.0  # its length
        self.projected: FloatArray = np.zeros((rows, rows))
        self.lost: FloatArray = np.zeros((0, rows))  # lengths of the abandoned rests, by basis vector
        self.count = 0  # basis vectors that have been multiplied
        self.since = 0  # of these, those since the last fresh start
        self.searches = -1  # fresh starts after the first
        self.norm = 0.0  # the largest ‖Aq‖ seen, at most ‖A‖
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def rounding(self) -> float:
        """The length up to which a vector is taken for rounding."""
        return negligible(self.norm, self.vectors.dtype)

    @property
    def exhausted(self) -> bool:
        """Whether the basis holds all of A times the last start's Krylov space."""
        return self.beta <= self.rounding

    def begin(self, start: Tensor) -> None:
        """Takes a vector as the next of the basis."""
        self.rest.copy_(start)
        for _ in range(2):  # the first leaves little of a start in a nearly full basis, and its rounding
            orthogonalise(self.vectors[: self.count], self.rest)
            self.rest.div_(torch.linalg.vector_norm(self.rest))
        self.vectors[self.count].copy_(self.rest)
        self.since = 0
        self.searches += 1

    def leap(self) -> None:
        """A random vector, orthogonal to the basis, becomes its next."""
        self.begin(torch.randn(self.size, generator=self._generator, dtype=self.rest.dtype))

    def follow(self, kept: _Pairs | None = None) -> None:
        """What the last product left becomes the next vector of the basis; a full one shrinks to the pairs first."""
        if kept is not None and self.count == self.rows:
            self.compress(kept)
        torch.div(self.rest, self.beta, out=self.vectors[self.count])

    def abandon(self, kept: _Pairs) -> None:
        """What lies outside is given up, and remembered by its length; the pairs that are not fine go with it.

        They must: of equal eigenvalues any mixture is a pair, and would have the residual of the worst.
        """
        if not self.exhausted:
            row = np.zeros((1, self.rows))
            row[0, self.count - 1] = self.beta
            self.lost = np.concatenate([self.lost, row])
        whole = self.rows == self.size  # nothing is outside in the end
        if self.count == self.rows or not (self.exhausted or whole):
            self.compress(kept)

    def step(self) -> None:
        """Multiplies the newest vector of the basis."""
        self.rest.copy_(self.product(self.vectors[self.count]))  # a copy, for the product may answer its argument
        self.count += 1
        self.since += 1
        share = orthogonalise(self.vectors[: self.count], self.rest)
        self.projected[: self.count, self.count - 1] = self.projected[self.count - 1, : self.count] = share
        self.beta = float(torch.linalg.vector_norm(self.rest))
        self.norm = max(self.norm, math.hypot(self.beta, *share))
        if self.count == self.size:  # nothing lies outside
            self.beta, self.lost = 0.0, self.lost[:0]

    def pairs(self) -> _Pairs:
        """Ritz pairs. Residual: the rest's length times the pair's last component, and so for each abandoned rest."""
        values, rotation = np.linalg.eigh(self.projected[: self.count, : self.count])
        self.norm = max(self.norm, float(np.abs(values).max()))
        outside = self.beta * np.abs(rotation[-1]) + np.abs(self.lost[:, : self.count] @ rotation).sum(0)
        return _Pairs(values, rotation, np.maximum(outside, self.rounding), self.rounding)

    def compress(self, kept: _Pairs) -> None:
        """Thick restart: the basis shrinks to these pairs."""
        count, self.count = self.count, len(kept.values)
        rotate(self.vectors, kept.rotation)
        self.projected[:] = 0
        np.fill_diagonal(self.projected[: self.count, : self.count], kept.values)
        lost = self.lost[:, :count] @ kept.rotation
        lost[np.abs(lost) <= kept.rounding] = 0  # counted as rounding already
        self.lost = np.pad(lost, ((0, 0), (0, self.rows - self.count)))


@dataclass(frozen=True)
class _Ends:
    """How many pairs are wanted of each end, and how exact."""

    top: int
    bottom: int
    tolerance: float
    search: bool

    @property
    def wanted(self) -> int:
        """Pairs of both ends."""
        return self.top + self.bottom

    def chosen(self, count: int) -> NDArray[np.intp]:
        """Of so many ascending values the largest, descending, then the smallest, ascending."""
        order = np.arange(count)
        return np.concatenate([order[::-1][: self.top], order[: self.bottom]])

    def fine(self, pairs: _Pairs, searches: int) -> BoolArray:
        """Which pairs need no more work; each search leaves the next half of what is left of the tolerance."""
        size = np.abs(pairs.values)
        allowed = self.tolerance * (1 - 0.5 ** (searches + 1) if self.search else 1) * size
        if (size[self.chosen(len(size))] <= pairs.rounding).any():  # another zero must not mix with what is less exact
            allowed = np.zeros_like(size)
        return np.asarray(pairs.residuals <= np.maximum(allowed, pairs.rounding))

    def kept(self, pairs: _Pairs, fine: BoolArray) -> _Pairs:
        """What a restart keeps: the wanted pairs, and at each end a share of half of the others, where fine."""
        count = len(pairs.values)
        more = max(0, count - self.wanted) // 2
        low = self.bottom + more * self.bottom // self.wanted
        order = np.arange(count)
        chosen = order[fine & ((order < low) | (order >= count - (self.wanted + more - low)))]
        return _Pairs(pairs.values[chosen], pairs.rotation[:, chosen], pairs.residuals[chosen], pairs.rounding)

    def spectrum(self, run: _Krylov, pairs: _Pairs) -> Spectrum:
        """The wanted pairs, their vectors written over the basis."""
        chosen = self.chosen(run.count)
        values, residuals = pairs.values[chosen], pairs.residuals[chosen]
        zero = np.maximum(np.abs(values), residuals) <= pairs.rounding
        converged = zero | (residuals <= self.tolerance * np.abs(values))
        rotate(run.vectors, pairs.rotation[:, chosen])
        k, n = min(self.top, run.count), len(chosen)
        return Spectrum(
            values[:k], values[k:], residuals[:k], residuals[k:], run.vectors[:k], run.vectors[k:n],
            converged[:k], converged[k:], run.product.count,
        )  # fmt: skip


def _rows(size: int, top: int, bottom: int, basis: int | None) -> int:
    """How many vectors are held."""
    wanted = min(top + bottom, size)
    if min(top, bottom) < 0 or wanted < 1:
        raise LandscapeError("no eigenvalue is asked for", "top + bottom must be at least 1, and neither below 0")
    rows = min(size, max(2 * wanted + 10, 24) if basis is None else basis)
    if rows < min(size, wanted + 2):
        raise LandscapeError(f"a basis of {rows} is too small", f"{wanted} eigenvalues need {wanted + 2}")
    return rows


def _converge(run: _Krylov, ends: _Ends, products: int) -> _Pairs:
    """Steps, restarts and fresh starts until the wanted pairs are found, or products or patience are used up."""
    known: FloatArray = np.zeros(0)  # the wanted values before the present search
    run.leap()
    while True:
        run.step()
        pairs = run.pairs()
        if run.count == run.size or run.product.count >= products or run.product.stopped:
            return pairs
        chosen, fine = ends.chosen(run.count), ends.fine(pairs, run.searches)
        searched = run.exhausted or run.since >= SEARCH or not ends.search
        settled = searched and run.count >= min(ends.wanted, run.size) and bool(fine[chosen].all())
        found = pairs.values[chosen]
        if settled and (not ends.search or _same(found, known, ends.tolerance, pairs.rounding)):
            return pairs
        if settled or run.exhausted:
            run.abandon(ends.kept(pairs, fine))
            run.leap()
            known = found
        else:
            run.follow(ends.kept(pairs, np.ones_like(fine)))


def rotate(vectors: Tensor, rotation: FloatArray) -> None:
    """Writes the combinations in the rotation's columns over the first vectors, with room for one more vector only."""
    before, after = rotation.shape
    turn = torch.from_numpy(rotation.T.copy()).to(vectors)
    for columns in torch.split(vectors, max(1, vectors.shape[1] // len(vectors)), dim=1):
        columns[:after] = turn @ columns[:before]


def _same(found: FloatArray, known: FloatArray, tolerance: float, rounding: float) -> bool:
    """Whether a search has brought nothing new."""
    return found.shape == known.shape and bool((np.abs(found - known) <= tolerance * np.abs(found) + rounding).all())
