"""Problems whose every answer is known, as torch modules and as sampled surfaces.

`Exact.loss` uses arithmetic alone, so one definition serves floats, numpy arrays and torch tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from landscape_cli.profile import Axis, Centre, Estimate, Surface

Floats = NDArray[np.float64]
Point = tuple[float, ...]
SKEW = np.array([[4.0, 3.0], [3.0, 9.0]])  # the Gram matrix of directions of length 2 and 3
UNEVEN = [-1.0, -0.7, -0.1, 0.0, 0.5, 0.6, 1.3]  # an axis


@dataclass(frozen=True)
class Exact:
    """A loss of a few coordinates and its answers: minima (point, loss), saddles, Hessian eigenvalues at a point."""

    name: str
    loss: Callable[..., Any]  # (x, y, …) -> loss
    minima: tuple[tuple[Point, float], ...]
    at: Point
    eigenvalues: tuple[float, ...]  # at `at`, lowest first
    saddles: tuple[float, ...] = ()  # their losses, lowest first

    def module(self, at: Point | None = None, dtype: torch.dtype = torch.float64) -> Coordinates:
        """The module whose parameters are the coordinates, standing at `at`."""
        return Coordinates(self.loss, self.at if at is None else at, dtype)


class Coordinates(nn.Module):
    """`weight` holds the coordinates; the output for inputs (B, d) is loss(weight) + inputs @ weight, (B, 1).

    Inputs of zero mean (see `samples`) leave the mean loss exact and give it a standard error that is known.
    """

    def __init__(self, loss: Callable[..., Any], at: Point, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.loss = loss
        self.weight = nn.Parameter(torch.tensor(at, dtype=dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        value = self.loss(*self.weight)
        each: Tensor = value + inputs.to(self.weight) @ self.weight
        return each[:, None]


def itself(outputs: Tensor, targets: Tensor) -> Tensor:
    """The per-sample loss that is the model's output. (B, 1), (B,) -> (B,)"""
    return outputs[:, 0]


def samples(count: int, dims: int = 2, size: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs (count, dims) in pairs of opposite sign, of standard deviation `size`; targets of zero."""
    half = torch.randn(count // 2, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * size
    rest = torch.zeros(count % 2, dims, dtype=torch.float64)
    return torch.cat([half, -half, rest]), torch.zeros(count, dtype=torch.float64)


def turned(spectrum: Sequence[float], seed: int | None = 0) -> Floats:
    """A symmetric matrix of this spectrum; its eigenvectors are the axes where `seed` is None."""
    values = np.asarray(spectrum, dtype=np.float64)
    if seed is None:
        return np.diag(values)
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))
    matrix: Floats = basis @ np.diag(values) @ basis.T
    return (matrix + matrix.T) / 2


def form(matrix: Floats) -> Callable[..., Any]:
    """½ wᵀAw as a function of the coordinates of w."""
    a = matrix.tolist()

    def loss(*w: Any) -> Any:
        pairs = [(i, j) for i in range(len(a)) for j in range(len(a))]
        return sum((0.5 * a[i][j] * w[i] * w[j] for i, j in pairs), 0.0)

    return loss


def quadratic(spectrum: Sequence[float] = (1.0, 9.0), seed: int | None = 0) -> Exact:
    """½ wᵀAw, A of this spectrum in a basis drawn from `seed` (the axes themselves where it is None)."""
    origin = (0.0,) * len(spectrum)
    minima = ((origin, 0.0),) if min(spectrum) > 0 else ()
    saddles = (0.0,) if min(spectrum) < 0 < max(spectrum) else ()
    return Exact("quadratic", form(turned(spectrum, seed)), minima, origin, tuple(sorted(spectrum)), saddles)


ROSENBROCK = Exact(
    "rosenbrock",
    lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
    minima=(((1.0, 1.0), 0.0),),
    at=(1.0, 1.0),
    eigenvalues=(501 - 250601**0.5, 501 + 250601**0.5),  # of [[802, -400], [-400, 200]]
)
HIMMELBLAU = Exact(
    "himmelblau",
    lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2,
    minima=(
        ((3.0, 2.0), 0.0),
        ((-2.805118086952745, 3.131312518250573), 0.0),
        ((-3.779310253377747, -3.283185991286170), 0.0),
        ((3.584428340330492, -1.848126526964404), 0.0),
    ),
    at=(3.0, 2.0),
    eigenvalues=(54 - 800**0.5, 54 + 800**0.5),  # of [[74, 20], [20, 34]]
    saddles=(13.311930, 67.719219, 104.015120, 178.337239),
)
MONKEY_SADDLE = Exact(
    "monkey saddle", lambda x, y: x**3 - 3 * x * y**2, minima=(), at=(0.0, 0.0), eigenvalues=(0.0, 0.0), saddles=(0.0,)
)
CONSTANT = Exact("constant", lambda x, y: 0 * x + 0 * y + 2.5, minima=(), at=(0.0, 0.0), eigenvalues=(0.0, 0.0))

PROBLEMS = {p.name: p for p in (quadratic(), ROSENBROCK, HIMMELBLAU, MONKEY_SADDLE, CONSTANT)}


def grid(spec: str | Sequence[float]) -> Axis:
    """An axis from a range or from values."""
    return Axis.of(spec if isinstance(spec, str) else [float(v) for v in spec])


def surface_of(
    function: Callable[..., Any],
    x: str | Sequence[float],
    y: str | Sequence[float] | None = None,
    gram: Any = None,
    noise: float | Callable[..., Any] = 0.0,
    groups: int = 64,
    sizes: Sequence[float] | None = None,
    seed: int = 0,
) -> Surface:
    """The surface of `function` (x) or (x, y), vectorised, on a grid; the centre is its value at 0.

    Args:
        gram: [d, d] inner products of the directions; the identity unless told.
        noise: added to each group's loss. A number: the standard deviation of independent draws. A function of arrays
            (x[, y]) of shape (..., 1): the groups' deviations, (..., G).
        sizes: of the groups; equal unless told. `loss` is the mean of the groups by these sizes.
    """
    axes = [grid(x)] if y is None else [grid(x), grid(y)]
    weights = np.ones(groups) if sizes is None else np.asarray(sizes, dtype=np.float64)
    random = np.random.default_rng(seed)

    def measure(points: Sequence[Floats]) -> tuple[Floats, Floats]:
        clean = np.asarray(function(*points), dtype=np.float64) + np.zeros(points[0].shape)
        if callable(noise):
            apart = np.asarray(noise(*[p[..., None] for p in points]), dtype=np.float64)
        else:
            apart = random.normal(size=(*clean.shape, len(weights))) * noise
        with np.errstate(invalid="ignore"):
            each = clean[..., None] + apart
            mean = clean if not callable(noise) and noise == 0 else each @ (weights / weights.sum())
        return np.asarray(mean), np.broadcast_to(each, (*clean.shape, len(weights))).copy()

    with np.errstate(all="ignore"):
        loss, each = measure(np.meshgrid(*[axis.values for axis in axes], indexing="ij"))
        middle, middle_each = measure([np.zeros(()) for _ in axes])
    centre = Centre(float(middle), middle_each, weights, {}, float(middle), samples=int(weights.sum()))
    return Surface(
        x=axes[0],
        y=None if y is None else axes[1],
        gram=np.eye(len(axes)) if gram is None else np.asarray(gram, dtype=np.float64),
        loss=loss,
        loss_groups=each,
        metrics={},
        measured=np.ones(loss.shape, dtype=bool),
        centre=centre,
    )


def number(found: Any) -> float:
    """The value of an estimate that must have one."""
    assert isinstance(found, Estimate)
    assert found.status == "ok"
    assert found.value is not None
    return found.value


def deviations(groups: int = 16) -> Floats:
    """Of this many equal groups, whose mean is 0 and has a standard error of 1."""
    own = np.random.default_rng(0).normal(size=groups)
    found: Floats = (own - own.mean()) / own.std(ddof=1) * np.sqrt(groups)
    return found


def swapped(surface: Surface) -> Surface:
    """The same surface with x and y exchanged."""
    assert surface.y is not None
    return replace(
        surface, x=surface.y, y=surface.x, gram=surface.gram[::-1, ::-1], loss=surface.loss.T,
        loss_groups=surface.loss_groups.transpose(1, 0, 2), measured=surface.measured.T,
    )  # fmt: skip


def mirrored(surface: Surface) -> Surface:
    """The same surface with the first direction turned round."""
    turn = np.array([-1, 1][: len(surface.gram)])
    return replace(
        surface, x=replace(surface.x, values=-surface.x.values[::-1]), gram=surface.gram * np.outer(turn, turn),
        loss=surface.loss[::-1], loss_groups=surface.loss_groups[::-1], measured=surface.measured[::-1],
    )  # fmt: skip


def scaled(surface: Surface, scale: float, shift: float = 0.0) -> Surface:
    """The same surface with scale·L + shift for L."""
    centre = replace(
        surface.centre, loss=scale * surface.centre.loss + shift,
        loss_groups=scale * surface.centre.loss_groups + shift,
    )  # fmt: skip
    return replace(
        surface, loss=scale * surface.loss + shift, loss_groups=scale * surface.loss_groups + shift, centre=centre
    )


def rows(surface: Surface, count: int) -> list[Surface]:
    """Every `count` neighbouring rows of the grid, each as a surface."""
    return [
        replace(
            surface, x=replace(surface.x, values=surface.x.values[i : i + count]), loss=surface.loss[i : i + count],
            loss_groups=surface.loss_groups[i : i + count], measured=surface.measured[i : i + count],
        ) for i in range(len(surface.x) - count + 1)
    ]  # fmt: skip
