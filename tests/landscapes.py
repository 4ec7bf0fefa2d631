"""Test functions of two variables with all their critical points, found by Newton's method from everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from problems import HIMMELBLAU, ROSENBROCK

Floats = NDArray[np.float64]
Range = tuple[float, float]
Function = Callable[..., Any]
STARTS = 200  # along each axis


@dataclass(frozen=True)
class Landscape:
    """An analytic function on a window; `cusps` are minima that have no gradient."""

    loss: Function
    x: Range
    y: Range
    cusps: tuple[tuple[float, float], ...] = ()

    @cached_property
    def critical_points(self) -> list[tuple[str, float, float]]:
        """Kind, x, y of every critical point inside the window."""
        starts = [np.linspace(low, high, STARTS) + 1e-3 for low, high in (self.x, self.y)]
        x, y = (start.ravel() for start in np.meshgrid(*starts, indexing="ij"))
        with np.errstate(all="ignore"):
            for _ in range(60):
                slope, (xx, xy, yy) = self._gradient(x, y), self._hessian(x, y)
                determinant = xx * yy - xy**2
                step_x, step_y = yy * slope[0] - xy * slope[1], xx * slope[1] - xy * slope[0]
                short = np.minimum(1, 0.1 / np.maximum(np.hypot(step_x, step_y) / np.abs(determinant), 1e-300))
                x, y = x - short * step_x / determinant, y - short * step_y / determinant
            found = np.abs(self._gradient(x, y)).max(axis=0) < 1e-9 * np.abs(self._hessian(x, y)).max(axis=0)
        found &= (x > self.x[0]) & (x < self.x[1]) & (y > self.y[0]) & (y < self.y[1])
        found &= np.min([np.hypot(x - a, y - b) > 1e-2 for a, b in self.cusps] or [np.ones(len(x), dtype=bool)], axis=0)
        _, first = np.unique(np.rint(np.stack([x[found], y[found]], axis=1) * 1e4), axis=0, return_index=True)
        x, y = x[found][first], y[found][first]
        xx, xy, yy = self._hessian(x, y)
        kinds = np.where(xx * yy < xy**2, "saddle", np.where(xx > 0, "minimum", "maximum")).tolist()
        smooth = zip(kinds, x.tolist(), y.tolist(), strict=True)
        return [*smooth, *(("minimum", a, b) for a, b in self.cusps)]

    def _gradient(self, x: Floats, y: Floats) -> Floats:
        """By complex steps, exact to rounding."""
        h = 1e-30
        return np.stack([self.loss(x + 1j * h, y + 0j).imag, self.loss(x + 0j, y + 1j * h).imag]) / h

    def _hessian(self, x: Floats, y: Floats) -> Floats:
        e = 1e-6
        along_x = (self._gradient(x + e, y) - self._gradient(x - e, y)) / (2 * e)
        along_y = (self._gradient(x, y + e) - self._gradient(x, y - e)) / (2 * e)
        return np.stack([along_x[0], (along_x[1] + along_y[0]) / 2, along_y[1]])


def _mueller_brown(x: Any, y: Any) -> Any:
    terms = [(-200, -1, 0, -10, 1, 0), (-100, -1, 0, -10, 0, 0.5), (-170, -6.5, 11, -6.5, -0.5, 1.5),
             (15, 0.7, 0.6, 0.7, -1, 1)]  # fmt: skip
    return sum(h * np.exp(a * (x - p) ** 2 + b * (x - p) * (y - q) + c * (y - q) ** 2) for h, a, b, c, p, q in terms)


def _ackley(x: Any, y: Any) -> Any:
    waves = (np.cos(2 * np.pi * x) + np.cos(2 * np.pi * y)) / 2
    return -20 * np.exp(-0.2 * np.sqrt((x**2 + y**2) / 2)) - np.exp(waves) + np.e + 20


def turned_quadratic(aspect: float, degrees: float, sign: float = 1.0) -> Function:
    """½(aspect·u² + sign·v²), u at this angle to x."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return lambda x, y: 0.5 * (aspect * (c * x + s * y) ** 2 + sign * (c * y - s * x) ** 2)


LANDSCAPES = {
    "himmelblau": Landscape(HIMMELBLAU.loss, (-5, 5), (-5, 5)),
    "camel": Landscape(
        lambda x, y: (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (4 * y**2 - 4) * y**2, (-3, 3), (-2, 2)
    ),
    "rosenbrock": Landscape(ROSENBROCK.loss, (-2, 2), (-1, 3)),
    "rastrigin": Landscape(
        lambda x, y: 20 + x**2 + y**2 - 10 * (np.cos(2 * np.pi * x) + np.cos(2 * np.pi * y)),
        (-5.12, 5.12),
        (-5.12, 5.12),
    ),
    "ackley": Landscape(_ackley, (-5, 5), (-5, 5), cusps=((0.0, 0.0),)),
    "mueller-brown": Landscape(_mueller_brown, (-1.5, 1.2), (-0.2, 2)),
}
