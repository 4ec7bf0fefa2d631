"""What stands beside the statistics in JSON and CSV: places, sizes, counts, words."""

from __future__ import annotations

from landscape_cli.report.meaning import Meaning


def _same(names: str, unit: str, gloss: str) -> dict[str, Meaning]:
    return {name: Meaning(unit, gloss) for name in names.split()}


BESIDE: dict[str, Meaning] = {
    "centre.samples": Meaning("samples", "how many samples the split has"),
    **_same("surface.min.x surface.min.y", "direction", "where the lowest point is, in multiples of the direction"),
    "surface.min.at_border": Meaning("0 or 1", "whether that is the window's edge: the loss may go on falling there"),
    **_same("surface.cliff.x surface.cliff.y", "direction", "the middle of the two neighbours"),
    "surface.cliff.axis": Meaning("word", "the axis that they lie along: x or y"),
    "surface.cliff.chosen_of": Meaning("pairs", "of how many slopes it is the largest, which biases it upwards"),
    "surface.plateau_fraction.rule": Meaning("word", "when a point counts as one of a plateau"),
    **_same("sharpness.plane_eps.eps sharpness.keskar.eps", "1", "ε: half the width of the box"),
    **_same("basin.delta basin.levels.delta splits.loss_in_basin.delta", "loss", "δ: the rise that ends the basin"),
    **_same("basin.touches_border basin.levels.touches_border", "0 or 1", "whether it reaches the window's edge"),
    "curvature.plane.window": Meaning("direction", "half-width along each axis of the window that is fitted"),
    "critical_points.kind": Meaning("word", "minimum, maximum, saddle or monkey saddle"),
    **_same("critical_points.x critical_points.y", "direction", "where it is, in multiples of the direction"),
    "critical_points.essential": Meaning("0 or 1", "1: the lowest minimum or the highest maximum, which none outlives"),
    "critical_points.at_border": Meaning("0 or 1", "1: at the window's edge or beside a wall, no minimum of the loss"),
    "critical_points.resolved": Meaning("0 or 1", "0: a grid of this step makes such points by itself"),
    "critical_points.refined": Meaning("0 or 1", "1: place and loss are a fitted polynomial's, not a grid point's"),
    "merge_tree.minimum": Meaning("position", "which critical point it is, by its position in critical_points"),
    "merge_tree.into": Meaning("position", "the deeper minimum that its basin drains into; none of the lowest"),
    "merge_tree.saddle": Meaning("position", "the saddle over which it drains; none on a line"),
    "topology.walls": Meaning("points", "points that are not finite or not measured"),
    "topology.counts.minima": Meaning("points", "resolved minima inside the window"),
    "topology.counts.maxima": Meaning("points", "resolved maxima inside the window"),
    "topology.counts.saddles": Meaning("points", "resolved saddles inside the window"),
    "topology.counts.monkey_saddles": Meaning("points", "resolved monkey saddles inside the window"),
    "topology.counts.unresolved": Meaning("points", "those that the grid's step may have made"),
    "topology.counts.at_border": Meaning("points", "those at the window's edge or beside a wall"),
    "topology.counts.dropped": Meaning("pairs", "pairs below what noise alone makes, or below --persistence"),
    "topology.euler.sum": Meaning("1", "Σ(1 - χ(lower link)) over all points"),
    "topology.euler.expected": Meaning("1", "the surface's Euler characteristic V - E + F, which it must equal"),
    "topology.euler.ok": Meaning("0 or 1", "whether it does"),
    **_same("splits.minima_distance.x splits.minima_distance.y", "direction", "from the first's minimum to this one's"),
    "splits.loss_in_basin.points": Meaning("points", "grid points of that basin"),
    "asymmetry.t": Meaning("direction", "the coordinate of the mirrored points"),
    **_same("barrier.t barrier.over_mean.t", "1", "where on the way: 0 is the checkpoint, 1 the other"),
    "barrier.chosen_of": Meaning("points", "of how many differences it is the largest, which biases it upwards"),
    "monotone.start": Meaning("1", "t of the lowest point before that rise"),
    "monotone.end": Meaning("1", "t where that rise is reached"),
    "gradient.critical": Meaning("word", "yes: no step down the gradient helps any more; no: one does; or undecided"),
    "gradient.tau": Meaning("loss", "τ: the drop that counts, 0.01·|L| or the numeric error"),
    "gradient.vanishing": Meaning("word", "tensors whose ratio is below 1e-3 of the median"),
    "gradient.exploding": Meaning("word", "tensors whose ratio is above 1e3 of the median"),
    **_same("gradient.per_layer.name hessian.per_layer.name", "word", "the parameter tensor"),
    **_same("hessian.top.residual hessian.bottom.residual hessian.per_layer.top.residual", "loss/parameter²",
            "‖Hu - λu‖: how far the eigenvalue may be off"),
    "learning_rate.momentum": Meaning("1", "β of heavy ball and Nesterov"),
    **_same("sharpness.average_adaptive.sigma sharpness.average.sigma", "1", "σ: the size of the perturbations"),
    "sharpness.pac_bayes_sigma.rise": Meaning("loss", "the mean rise asked for"),
    **_same("sharpness.worst_adaptive.rho sharpness.worst.rho", "1", "ρ: the radius of the ball"),
    "sharpness.worst_adaptive.eta": Meaning("1", "η: what is added to each |θᵢ|"),
    **{f"sharpness.{name}.rescaling": Meaning("word", "whether it survives the rescaling of a ReLU network")
       for name in ("average_adaptive", "pac_bayes_sigma", "worst_adaptive", "worst", "average", "keskar",
                    "relative_flatness", "fisher_rao")},
    "verdict.kind": Meaning("word", "minimum, saddle, maximum, plateau, slope or inconclusive"),
    "verdict.reasons": Meaning("word", "why: what was tried, how far, and the largest drop"),
    "checks.name": Meaning("word", "which self-check"),
    "checks.ok": Meaning("0 or 1", "whether it passed"),
    "checks.text": Meaning("word", "what was found"),
}  # fmt: skip
