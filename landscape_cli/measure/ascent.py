"""The largest loss in a ball around the checkpoint, by ascent from several starts: a lower bound of the maximum."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape_cli.measure.directions import standard_normal
from landscape_cli.measure.objective import Objective, flat
from landscape_cli.measure.perturb import Around, Tick, as_direction
from landscape_cli.profile import Floats

Value = tuple[float, Tensor]  # a loss and its slope


@dataclass(frozen=True)
class Ball:
    """Displacements δ = scale ⊙ u with ‖u‖ ≤ radius: in the ℓ₂ norm, or in each entry for a box.

    Attributes:
        scale: (P,) 1 for the plain ball, |θ| + η for the adaptive one (Kwon et al. 2021).
    """

    scale: Tensor
    radius: float
    box: bool = False

    def highest(self, u: Tensor, slope: Tensor, shift: float) -> Tensor:
        """The v in the ball that maximises slope·v - ½·shift·‖v - u‖²; at a shift of 0 the linearised loss alone."""
        if shift > 0:
            return self.inside(u + slope / shift)
        if self.box:
            return self.radius * slope.sign()
        return slope / _norm(slope) * self.radius

    def inside(self, v: Tensor) -> Tensor:
        """The nearest point of the ball."""
        if self.box:
            return v.clamp(-self.radius, self.radius)
        norm = _norm(v)
        return v * (self.radius / norm) if norm > self.radius else v

    def border(self, noise: Tensor) -> Tensor:
        """The point of the border in the direction of Gaussian noise; a corner of a box."""
        return self.highest(noise, noise, 0.0)

    def stiffness(self, slope: Tensor) -> float:
        """The shift at which a step of the slope is as long as the ball is wide."""
        return _norm(slope) / (self.radius * (math.sqrt(slope.numel()) if self.box else 1.0))


@dataclass(frozen=True)
class Ascent:
    """What was found in one ball.

    Attributes:
        curves: (starts, 1 + steps) the loss minus the checkpoint's at each point tried; the first start's second is
            the one-step value.
        groups: (2, G) by how much each sample group's loss rises at the one step, and at the highest point.
        one_step: false where the checkpoint has no slope to make it along.
    """

    curves: Floats
    groups: Floats
    one_step: bool


def ascend(objective: Objective, around: Around, ball: Ball, steps: int, starts: int, seed: int, tick: Tick) -> Ascent:
    """The highest loss met on `steps` steps from each of `starts` points, the first the checkpoint itself.

    A step goes to the maximiser of the linearised loss over the ball: the first one from the checkpoint is that of
    sharpness-aware minimisation (Foret et al. 2021), and all of them never descend where the loss is convex (the
    generalised power method, Journée et al. 2010). Where a step does descend it is made again, shorter. Another start
    is a random point of the border. A loss that is not finite is the highest.
    """
    centre = objective.gradient()
    curves, best, one_step, highest = [], torch.zeros_like(ball.scale), torch.zeros_like(ball.scale), 0.0
    for start in range(starts):
        curve = []
        for step, (loss, u) in enumerate(_climb(objective, ball, steps, f"{seed}/start {start}", start == 0)):
            rise = loss - centre[0]
            curve.append(rise)
            if start == 0 and step == 1:
                one_step = u
            if math.isfinite(highest) and (rise > highest or not math.isfinite(rise)):
                best, highest = u, rise
            tick(1)
        curves.append(curve)
    found = [as_direction(objective.problem, objective.unflat(ball.scale * u)) for u in (one_step, best)]
    slope = ball.scale * centre[1].to(ball.scale)
    return Ascent(np.array(curves), around.rises(found, np.eye(2)), _usable(slope))


def _climb(objective: Objective, ball: Ball, steps: int, key: str, from_centre: bool) -> Iterator[tuple[float, Tensor]]:
    """Each point tried from one start: its loss and where it is, in the ball's own coordinates."""

    def at(u: Tensor) -> Value:
        loss, gradient = objective.gradient(ball.scale * u)
        return loss, ball.scale * gradient.to(ball.scale)

    def anywhere(step: int) -> Tensor:
        draws = [standard_normal(t, key, step, name) for name, t in objective.problem.centre.items()]
        return ball.border(flat(draws).to(ball.scale))

    u = torch.zeros_like(ball.scale) if from_centre else anywhere(0)
    (loss, slope), shift = at(u), 0.0
    yield loss, u
    for step in range(1, 1 + steps):
        lost = not _usable(slope)
        tried = anywhere(step) if lost else ball.highest(u, slope, shift)
        found, new_slope = at(tried)
        yield found, tried
        bend = 0.0 if lost else _concavity(tried - u, new_slope - slope)
        if math.isfinite(found) and (found >= loss or lost):
            u, loss, slope, shift = tried, found, new_slope, max(shift, bend) / 2
        elif not lost:
            shift = max(2 * shift, bend or ball.stiffness(slope))


def _concavity(step: Tensor, change: Tensor) -> float:
    """-d²L/ds² along a step, by what it changed in the slope; 0 where that is convex, or not finite."""
    square = _norm(step) ** 2
    bend = -float(step.double() @ change.double()) / square if square > 0 else 0.0
    return bend if 0 < bend < math.inf else 0.0


def _usable(slope: Tensor) -> bool:
    """True for a slope that leads somewhere."""
    return 0 < _norm(slope) < math.inf


def _norm(vector: Tensor) -> float:
    return float(torch.linalg.vector_norm(vector, dtype=torch.float64))
