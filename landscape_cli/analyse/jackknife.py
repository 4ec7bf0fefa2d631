"""Standard errors by the delete-one-group jackknife over the sample groups stored at every point.

The same samples are used at every point, so a difference between points is paired. Efron & Stein 1981; for groups of
unequal size the replicate is the weighted mean without the group.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from landscape_cli.profile import Bound, Centre, Estimate, Floats

SIGMAS = 3.0  # standard errors of the interval that every decision uses
CHUNK = 1 << 17  # numbers of one chunk of group losses
ROUNDING = 4 * np.finfo(np.float64).eps  # of a mean loss, relative: what differs by less is equal


def without_each(groups: Floats, sizes: Floats) -> Floats:
    """(..., G) group means -> (..., G) the mean over all samples but those of group g."""
    with np.errstate(invalid="ignore", over="ignore"):
        weighted = np.where(sizes > 0, groups * sizes, 0.0)
    empty = np.zeros((*weighted.shape[:-1], 1))
    before = np.concatenate([empty, weighted[..., :-1].cumsum(-1)], axis=-1)
    after = np.concatenate([weighted[..., :0:-1].cumsum(-1)[..., ::-1], empty], axis=-1)
    rest = sizes.sum() - sizes
    without: Floats = (before + after) / np.where(
        rest > 0, rest, np.nan
    )  # summed, so that a huge group leaves no trace
    return without


def stderr(replicates: Floats, sizes: Floats) -> float | None:
    """The jackknife standard error of a statistic from its replicates (G,); None with fewer than two groups."""
    error = float(stderrs(replicates, sizes))
    return error if math.isfinite(error) else None


def stderrs(replicates: Floats, sizes: Floats) -> Floats:
    """(..., G) replicates -> (...) standard errors; NaN where one is not finite, or of fewer than two groups."""
    return spread(replicates[..., sizes > 0])


def estimate(value: float, replicates: Floats, sizes: Floats, bound: Bound = "exact") -> Estimate:
    """A statistic from its replicates (G,), with its standard error and each group's share of it."""
    found = Estimate.of(value, stderr(replicates, sizes), bound)
    if not found.stderr:
        return found
    used = sizes > 0
    apart = np.where(used, replicates - replicates[used].mean(), 0.0)
    return replace(found, shares=math.sqrt((used.sum() - 1) / used.sum()) * apart)


@cache
def student(freedom: int, tail: float = math.erfc(SIGMAS / math.sqrt(2)) / 2) -> float:
    """How many standard errors are exceeded with probability `tail` on one side, the error itself of few draws.

    Unless told, as seldom as three standard deviations are by a normal mean. Student's quantile, by the integral of
    its density over ψ with t = √n / tan ψ, which is sinⁿ⁻¹ψ; summed from the tail, so that small ones are exact.
    """
    angles = math.pi / 2 * np.linspace(0, 1, 1 << 15) ** 3  # dense where the tail is
    density = np.sin(angles) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) * np.diff(angles))])
    return math.sqrt(freedom) / math.tan(float(np.interp(2 * tail, mass / mass[-1], angles)))


def mean(value: float, groups: Floats, sizes: Floats) -> Estimate:
    """A mean loss with its standard error."""
    return estimate(value, without_each(groups, sizes), sizes)


def difference(value: float, groups: Floats, centre: Centre) -> Estimate:
    """`value` - L(centre), paired by group."""
    sizes = centre.group_sizes
    return estimate(value - centre.loss, without_each(groups - centre.loss_groups, sizes), sizes)


def deviations(groups: Floats, sizes: Floats) -> Floats:
    """(..., G) group values of something linear in the losses -> its replicates minus the whole, of the groups used."""
    if not sizes.all():
        groups, sizes = groups[..., sizes > 0], sizes[sizes > 0]
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        whole = groups @ (sizes / sizes.sum())
        apart: Floats = (whole[..., None] - groups) * (sizes / (sizes.sum() - sizes))
    return apart


def errors(groups: Floats, sizes: Floats) -> Floats:
    """The standard errors of many linear combinations of losses, (..., G) -> (...); NaN where there is none."""
    return spread(deviations(groups, sizes))


def spread(replicates: Floats) -> Floats:
    """The jackknife standard errors of many statistics from their replicates, (..., G) -> (...); NaN where none."""
    count = replicates.shape[-1]
    if count < 2:
        return np.full(replicates.shape[:-1], np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = replicates - replicates.mean(-1, keepdims=True)
        found: Floats = np.sqrt((count - 1) / count * np.einsum("...g,...g->...", apart, apart))
    return found


def halves(value: Floats, groups: Floats, sizes: Floats) -> Floats:
    """(...) losses, (..., G) of the groups -> (..., R) losses by balanced halves of the groups; R = 0 of one group.

    The delete-half jackknife (Shao & Wu 1989) for what is not smooth in the losses: a replicate gives the groups of one
    half twice their weight and the others none, nearly, which moves it by a whole standard error where leaving out one
    of G groups moves it by 1/√G of it. R is the power of two from G on, the halves are the rows of Sylvester's Hadamard
    matrix (McCarthy 1969). Exact: Σ(replicate - value)²/R of anything linear in the losses is the square of its
    delete-one error, whatever the sizes, and groups that are not used do not count. NaN where a used group is not
    finite.
    """
    apart = deviations(groups, sizes)
    count = apart.shape[-1]
    if count < 2:
        return np.empty((*apart.shape[:-1], 0))
    with np.errstate(invalid="ignore", over="ignore"):
        centred = math.sqrt((count - 1) / count) * (apart - apart.mean(-1, keepdims=True))
        replicates: Floats = value[..., None] - centred @ _signs(count)
    return replicates


@cache
def _signs(count: int) -> Floats:
    """(count, R): columns of +1 and -1; of any two rows as many are alike as not."""
    signs = np.ones((1, 1))
    while len(signs) < count:
        signs = np.block([[signs, signs], [signs, -signs]])
    return signs[:count]


def half_estimate(value: float, replicates: Floats, bound: Bound = "exact") -> Estimate:
    """A statistic from its replicates by `halves` (R,), with its standard error and each half's share of it."""
    with np.errstate(invalid="ignore", over="ignore"):
        shares = (replicates - value) / math.sqrt(max(1, len(replicates)))
        found = Estimate.of(value, float(np.linalg.norm(shares)) if len(shares) else None, bound)
    return replace(found, shares=shares) if found.stderr else found


def draw_shares(values: Floats) -> Floats:
    """(n,) draws -> each one's share of their mean's standard error; none of fewer than two.

    The error is that of few independent draws, widened so that three of it are Student's interval.
    """
    count = len(values)
    if count < 2:
        return np.empty(0)
    shares: Floats = (values - values.mean()) / math.sqrt(count * (count - 1)) * student(count - 1) / SIGMAS
    return shares


def of_draws(values: Floats) -> float | None:
    """The standard error of a mean of few independent draws."""
    return float(np.linalg.norm(draw_shares(values))) if len(values) > 1 else None


def joined(value: float, *shares: Floats) -> Estimate:
    """A statistic whose error has several sources, from the shares of each; without an error where there are none."""
    together = np.concatenate(shares)
    found = Estimate.of(value, float(np.linalg.norm(together)) if len(together) else None)
    return replace(found, shares=together) if found.stderr else found


def scaled(found: Estimate, value: float, slope: float) -> Estimate:
    """A function of a statistic, to first order: its error and shares are `slope` times the statistic's."""
    if found.stderr is None:
        return Estimate.of(value)
    shares = None if found.shares is None else slope * found.shares
    return replace(Estimate.of(value, abs(slope) * found.stderr), shares=shares)


def sure(sizes: Floats) -> float:
    """How many standard errors decide: Student's equal of three for as many groups as there are."""
    return student(max(1, int((sizes > 0).sum()) - 1))


def chunks(shape: tuple[int, ...], groups: int) -> Iterator[slice]:
    """Rows of a grid, a few at a time, so that the sample groups' losses at these rows stay in the cache."""
    row = groups * math.prod(shape[1:])
    count = max(1, CHUNK // max(1, row))
    return (slice(start, min(start + count, shape[0])) for start in range(0, shape[0], count))
