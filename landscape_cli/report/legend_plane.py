"""What every statistic of a line or a plane is."""

from __future__ import annotations

from landscape_cli.report.meaning import Meaning

AT = "As at δ = 0.1, at the δ beside it."

PLANE: dict[str, Meaning] = {
    "surface.finite_fraction": Meaning(
        "1", "share of the measured points that are finite", "Finite points over measured ones."
    ),
    "surface.nan_count": Meaning("points", "measured points whose loss is NaN", "A count."),
    "surface.inf_count": Meaning("points", "measured points whose loss is infinite", "A count."),
    "surface.min": Meaning(
        "loss",
        "lowest loss on the grid",
        "The lowest finite point of the grid; of equal ones the nearest to the centre. As the lowest of many noisy "
        "points it is biased downwards by choice.",
    ),
    "surface.min.distance": Meaning("parameter", "its distance from the checkpoint", "√(aᵀGa), G the Gram matrix."),
    "surface.min.drop": Meaning(
        "loss", "lowest loss minus the checkpoint's", "L(min) - L(θ*), its error paired by sample group."
    ),
    "surface.convex_fraction": Meaning(
        "1",
        "share of interior points with no certain negative curvature in the plane",
        "Points whose 3×3 discrete Hessian has no eigenvalue below -2 SE. Convex in the plane does not mean minimum.",
    ),
    "surface.convex_fraction.certain": Meaning(
        "1",
        "share of certainly positive curvature, above +2 SE",
        "As convex_fraction; the two bracket what more samples would show.",
    ),
    "surface.roughness": Meaning(
        "1",
        "how much the loss goes up and down beyond one descent and one ascent, over its range",
        "Over all grid lines, total variation - (first + last - 2·min), counting only reversals beyond 3 SE, over "
        "the summed ranges; 0 for a constant. A wave adds 2 per period. Biased low: what noise hides is not counted.",
    ),
    "surface.cliff": Meaning(
        "loss/parameter",
        "largest slope between neighbours: biased by choice",
        "Largest |ΔL| between grid neighbours over their parameter distance; neighbours of which one is infinite are "
        "counted apart.",
    ),
    "surface.cliff.rise": Meaning("loss", "the rise of the loss there", "|ΔL| between those two neighbours, paired."),
    "surface.cliff.times_median": Meaning(
        "1", "largest slope as a multiple of the median one", "The cliff over the median slope between neighbours."
    ),
    "surface.cliff.infinite_neighbours": Meaning(
        "pairs", "neighbours of which one is infinite", "A count; they have no slope and no part in the cliff."
    ),
    "surface.plateau_fraction": Meaning(
        "1",
        "share of points where the loss hardly moves",
        "Points where the upper limit of slope × half the window is at most 0.01·(1 + |L|).",
    ),
    "sharpness.plane_eps": Meaning(
        "% of 1 + L",
        "highest rise in the box of half-width ε, in % of 1 + loss: biased by choice",
        "100·(max over the box of half-width ε - L(θ*)) / (1 + L(θ*)), in the plane: a lower bound of that maximum.",
        "Keskar et al. 2017, metric 2.1, restricted to the plane",
    ),
    "basin.radius_mean": Meaning(
        "parameter",
        "distance to a rise of δ, mean over rays",
        "The basin is the connected part of {L ≤ L(θ*) + δ} that holds the centre. Distance to its nearest edge along "
        "rays, linearly interpolated; a lower bound where the window cuts it. Biased small, and its interval too "
        "narrow, where δ is within a few errors of the loss.",
    ),
    "basin.radius_median": Meaning("parameter", "distance to a rise of δ, median over rays", "As radius_mean."),
    "basin.area": Meaning(
        "parameter²",
        "area that stays within δ of the checkpoint",
        "Area of the connected part of {L ≤ L(θ*) + δ} that holds the centre, on the triangulated grid.",
    ),
    "basin.left": Meaning(
        "parameter", "distance to a rise of δ, to the left", "Of a line: to the first crossing of L(θ*) + δ."
    ),
    "basin.right": Meaning("parameter", "distance to a rise of δ, to the right", "As left."),
    "basin.asymmetry": Meaning(
        "1",
        "(right - left) / (right + left)",
        "Of those two distances; undefined where the window cuts one.",
        "He et al. 2019",
    ),
    "critical_points.loss": Meaning(
        "loss",
        "loss at a critical point of the slice; of one that is not refined biased by choice",
        "Minima, maxima and saddles of the piecewise-linear surface, from the sign changes of L around each point; "
        "where a polynomial through the points around has such a point, its place and loss. Else the loss is that of "
        "a grid point chosen for it: a minimum's too low, a maximum's too high.",
        "Banchoff 1970",
    ),
    "critical_points.persistence": Meaning(
        "loss",
        "depth of a minimum (height of a maximum) up to the saddle where a deeper (higher) one takes over",
        "A minimum's rise to the saddle over which its basin joins a deeper one's; of the deepest a lower bound. Kept "
        "beyond what noise makes on one surface in a hundred; `resolved` where the grid's step cannot have made it. "
        "Biased by choice where noise decides which of two extrema is deeper, or is rough from point to point.",
        "Edelsbrunner, Letscher & Zomorodian 2002",
    ),
    "merge_tree.barrier": Meaning(
        "loss",
        "rise from a minimum to the saddle over which its basin drains into a deeper one",
        "The minimum's persistence, with the minimum `into` which it drains and the `saddle` over which it does.",
        "Edelsbrunner, Letscher & Zomorodian 2002",
    ),
    "basin.levels.radius_mean": Meaning("parameter", "basin radius mean at another rise δ", AT),
    "basin.levels.radius_median": Meaning("parameter", "basin radius median at another rise δ", AT),
    "basin.levels.area": Meaning("parameter²", "basin area at another rise δ", AT),
    "basin.levels.left": Meaning("parameter", "basin left at another rise δ", AT),
    "basin.levels.right": Meaning("parameter", "basin right at another rise δ", AT),
    "basin.levels.asymmetry": Meaning("1", "basin asymmetry at another rise δ", AT),
    "asymmetry": Meaning(
        "loss",
        "rise to the right minus rise to the left, at the same distance",
        "L(+t) - L(-t) at mirrored points of a line, paired.",
        "He et al. 2019",
    ),
    "asymmetry.distance": Meaning(
        "parameter", "how far that is", "From the checkpoint to either of the mirrored points."
    ),
    "asymmetry.right": Meaning("loss", "rise to the right there", "L(+t) - L(0), paired."),
    "asymmetry.left": Meaning("loss", "rise to the left there", "L(-t) - L(0), paired."),
    "asymmetry.relative": Meaning(
        "1", "(right - left) / (right + left) of those rises", "Undefined where a side does not rise.", "He et al. 2019"
    ),
    "barrier": Meaning(
        "loss",
        "highest rise over the chord between two checkpoints: biased by choice",
        "max over t in [0, 1] of L(t) - [(1-t)·L(0) + t·L(1)].",
        "Entezari et al. 2022",
    ),
    "barrier.over_mean": Meaning(
        "loss", "the same over the mean of the ends", "max over t of L(t) - [L(0) + L(1)]/2.", "Frankle et al. 2020"
    ),
    "barrier.ends": Meaning("loss", "L(1) - L(0)", "The other checkpoint's loss minus this one's, paired."),
    "monotone": Meaning(
        "1",
        "1: no rise on the way from the higher end to the lower; 0: there is one",
        "No rise along the line beyond 3 SE.",
        "Goodfellow et al. 2015",
    ),
    "monotone.bump": Meaning(
        "loss",
        "the largest rise on that way",
        "Of a point over the lowest before it, from t = start to t = end, paired.",
    ),
    "splits.minima_distance": Meaning(
        "parameter",
        "between the lowest points of this split and the first",
        "No finer than the grid's resolution.",
    ),
    "splits.minima_distance.resolution": Meaning(
        "parameter", "diagonal of the grid's widest cell", "Below it the distance says nothing."
    ),
    "splits.minima_distance.loss": Meaning(
        "loss", "this split's loss at the first's lowest point minus at its own", "Paired; biased upwards by choice."
    ),
    "splits.centre_gap": Meaning(
        "loss", "this split's loss minus the first's at the checkpoint", "Two sets of samples: errors add in squares."
    ),
    "splits.correlation": Meaning(
        "1",
        "Pearson's, of the two splits' losses over the plane; noise lowers it",
        "Over the points where both are finite.",
    ),
    "splits.loss_in_basin": Meaning(
        "loss", "this split's mean loss in the first's basin", "Over the grid points within δ of the first's centre."
    ),
    "splits.loss_in_basin.gap": Meaning(
        "loss", "the same minus the first's own", "Over the same points; errors add in squares."
    ),
    "curvature.plane.eigenvalues": Meaning(
        "loss/parameter²",
        "curvature of the quadratic fitted around the checkpoint",
        "Eigenvalues of G⁻¹H, H of a least-squares quadratic in a window of two grid steps to each side. Noise drives "
        "two that are nearly equal apart: their intervals are too narrow.",
    ),
    "curvature.plane.eigenvalues_unit": Meaning(
        "loss", "the same per squared unit of the direction", "Eigenvalues of that H, the coordinates' own."
    ),
    "curvature.plane.lack_of_fit": Meaning(
        "1",
        "0: a quadratic; near 1: no quadratic at all",
        "Root mean square of the fit's residuals over the standard deviation of the window's losses.",
    ),
}
