"""What every statistic is: LEGEND = {metric: Meaning}. The report's glosses, `explain` and the README come from it."""

from __future__ import annotations

import re
from dataclasses import dataclass

# What is known of sharpness and generalisation, said once in a report.
EVIDENCE = (
    "these compare runs of one set-up (architecture, data, recipe) well; they do not rank unrelated models, and can "
    "anti-correlate with generalisation (Dziugaite et al. 2020; Andriushchenko et al. 2023)"
)
SLICE = "A slice's minimum is a statement about the slice, not about the loss in all its parameters."
RECIPE = "Depends on the directions drawn: compare it between planes of the same recipe only."

YES, NO, LAYER = "yes", "no", "per layer only"  # does it survive the rescaling of a ReLU network (Dinh et al. 2017)?


@dataclass(frozen=True)
class Meaning:
    """A statistic: its unit, a gloss of one line, its definition, where it comes from, and whether it is invariant."""

    unit: str
    gloss: str
    definition: str = ""
    source: str = ""
    survives: str = ""  # the rescaling of a ReLU network; "" where the question does not arise


LEGEND: dict[str, Meaning] = {
    "centre.loss": Meaning(
        "loss",
        "mean loss at the checkpoint",
        "The mean per-sample loss L(θ*) over a split's fixed samples. Its error is a jackknife over sample groups.",
        survives=YES,
    ),
    "centre.weight_penalty": Meaning(
        "loss", "½·weight decay·‖θ‖² of the selected parameters, not part of the loss", survives=NO
    ),
    "verdict": Meaning(
        "kind",
        "what the checkpoint is: minimum, saddle, maximum, plateau, slope or inconclusive",
        "Ways down (the gradient, the lowest and largest eigenvectors, the last layer) are found on one half of the "
        "samples and judged on the other, up to 0.01·‖θ‖; a fall counts beyond 0.01·|L| and three standard errors.",
    ),
    "surface.finite_fraction": Meaning("1", "share of the measured points that are finite"),
    "surface.nan_count": Meaning("points", "measured points whose loss is NaN"),
    "surface.inf_count": Meaning("points", "measured points whose loss is infinite"),
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
    "surface.convex_fraction.certain": Meaning("1", "share whose curvature is certainly positive, above +2 SE"),
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
    "surface.cliff.rise": Meaning("loss", "the rise of the loss there"),
    "surface.cliff.times_median": Meaning("1", "the cliff over the median slope"),
    "surface.cliff.infinite_neighbours": Meaning("pairs", "neighbours of which one is infinite"),
    "surface.plateau_fraction": Meaning(
        "1",
        "share of points where the loss hardly moves",
        "Points where the upper limit of slope × half the window is at most 0.01·(1 + |L|).",
    ),
    "sharpness.plane_eps": Meaning(
        "% of 1 + L",
        "highest rise in the box of half-width ε: biased by choice",
        "100·(max over the box of half-width ε - L(θ*)) / (1 + L(θ*)), in the plane: a lower bound of that maximum.",
        "Keskar et al. 2017, metric 2.1, restricted to the plane",
        LAYER,
    ),
    "basin.radius_mean": Meaning(
        "parameter",
        "distance to a rise of δ, mean over rays",
        "The basin is the connected part of {L ≤ L(θ*) + δ} that holds the centre. Distance to its nearest edge along "
        "rays, linearly interpolated; a lower bound where the window cuts it. Biased small, and its interval too "
        "narrow, where δ is within a few errors of the loss.",
    ),
    "basin.radius_median": Meaning("parameter", "distance to a rise of δ, median over rays"),
    "basin.area": Meaning("parameter²", "area that stays within δ of the checkpoint"),
    "basin.left": Meaning("parameter", "distance to a rise of δ, to the left"),
    "basin.right": Meaning("parameter", "distance to a rise of δ, to the right"),
    "basin.asymmetry": Meaning("1", "(right - left) / (right + left)", source="He et al. 2019"),
    "critical_points.x": Meaning(
        "direction",
        "where a critical point is along x",
        "In multiples of the stored direction. Of the polynomial through the points around, its error by their first "
        "order; without one the grid point's, and no error.",
    ),
    "critical_points.y": Meaning("direction", "where a critical point is along y"),
    "critical_points.loss": Meaning(
        "loss",
        "loss at a critical point of the slice; of one that is not refined biased by choice",
        "Minima, maxima and saddles of the piecewise-linear surface, from the sign changes of L around each point; "
        "where a polynomial through the points around has such a point, its place and loss. Else the loss is that of "
        "a grid point chosen for it: a minimum's too low, a maximum's too high.",
    ),
    "critical_points.persistence": Meaning(
        "loss",
        "how far the loss changes from it to where it merges with a deeper (higher) one: may be biased by choice",
        "A minimum's rise to the saddle over which its basin joins a deeper one's; of the deepest a lower bound. Kept "
        "beyond what noise makes on one surface in a hundred; `resolved` where the grid's step cannot have made it. "
        "Biased by choice where noise decides which of two extrema is deeper, or where it is rough from point to "
        "point.",
    ),
    "merge_tree.barrier": Meaning(
        "loss",
        "height of the saddle over which a basin drains into a deeper one: may be biased by choice",
        "The persistence of that minimum.",
    ),
    "basin.levels.radius_mean": Meaning("parameter", "the same at other δ"),
    "basin.levels.radius_median": Meaning("parameter", "the same at other δ"),
    "basin.levels.area": Meaning("parameter²", "the same at other δ"),
    "basin.levels.left": Meaning("parameter", "the same at other δ"),
    "basin.levels.right": Meaning("parameter", "the same at other δ"),
    "basin.levels.asymmetry": Meaning("1", "the same at other δ"),
    "asymmetry": Meaning(
        "loss",
        "rise to the right minus rise to the left, as far",
        "L(+t) - L(-t) at mirrored points of a line, paired.",
        "He et al. 2019",
    ),
    "asymmetry.distance": Meaning("parameter", "how far that is"),
    "asymmetry.right": Meaning("loss", "rise to the right there"),
    "asymmetry.left": Meaning("loss", "rise to the left there"),
    "asymmetry.relative": Meaning("1", "their difference over their sum"),
    "barrier": Meaning(
        "loss",
        "highest rise over the chord between two checkpoints: biased by choice",
        "max over t in [0, 1] of L(t) - [(1-t)·L(0) + t·L(1)].",
        "Entezari et al. 2022",
    ),
    "barrier.over_mean": Meaning("loss", "the same over the mean of the ends", "", "Frankle et al. 2020"),
    "barrier.ends": Meaning("loss", "L(1) - L(0)"),
    "monotone": Meaning(
        "1",
        "1: no rise on the way from the higher end to the lower; 0: there is one",
        "No rise along the line beyond 3 SE.",
        "Goodfellow et al. 2015",
    ),
    "monotone.bump": Meaning("loss", "the largest rise on that way"),
    "splits.minima_distance": Meaning(
        "parameter",
        "between the lowest points of this split and the first",
        "No finer than the grid's resolution.",
    ),
    "splits.minima_distance.resolution": Meaning("parameter", "diagonal of the grid's widest cell"),
    "splits.minima_distance.loss": Meaning("loss", "this split's loss at the first's lowest point minus at its own"),
    "splits.centre_gap": Meaning("loss", "this split's loss minus the first's at the checkpoint"),
    "splits.correlation": Meaning("1", "Pearson's, of the two splits' losses over the plane; noise lowers it"),
    "splits.loss_in_basin": Meaning("loss", "this split's mean loss in the first's basin"),
    "splits.loss_in_basin.gap": Meaning("loss", "the same minus the first's own"),
    "curvature.plane.eigenvalues": Meaning(
        "loss/parameter²",
        "of the fitted quadratic",
        "Eigenvalues of G⁻¹H, H of a least-squares quadratic in a window of two grid steps to each side. Noise drives "
        "two that are nearly equal apart: their intervals are too narrow.",
    ),
    "curvature.plane.eigenvalues_unit": Meaning("loss", "the same per squared direction unit"),
    "curvature.plane.lack_of_fit": Meaning(
        "1",
        "0: a quadratic; near 1: no quadratic at all",
        "Root mean square of the fit's residuals over the standard deviation of the window's losses.",
    ),
    "gradient.norm": Meaning(
        "loss/parameter",
        "norm of the mean gradient at the checkpoint",
        "‖g‖, g = ∇L over the fixed samples. A small norm alone says nothing: it is not scale-free.",
        survives=NO,
    ),
    "gradient.covariance_trace": Meaning(
        "loss²/parameter²", "tr Σ, the variance of per-sample gradients over all directions", survives=NO
    ),
    "gradient.test": Meaning(
        "1",
        "N‖g‖²/tr Σ: about 1 where the gradient is nothing but the noise of its samples",
        "T = N‖g‖²/tr Σ, Σ the covariance of per-sample gradients; its mean is 1 if the population's gradient is 0.",
        "McCandlish et al. 2018",
        NO,
    ),
    "gradient.test.null_sd": Meaning(
        "1", "how far that strays from 1 where the population's gradient is 0", "√(2 tr Σ²)/tr Σ."
    ),
    "gradient.noise_scale": Meaning(
        "samples",
        "tr Σ/‖G‖²: the batch size up to which larger batches pay",
        "tr Σ/‖G‖² with ‖G‖² = ‖g‖² - tr Σ/N; a lower bound where ‖G‖² may be 0.",
        "McCandlish et al. 2018, appendix A.1",
        NO,
    ),
    "gradient.drop": Meaning(
        "loss",
        "largest drop down the gradient of one half of the samples, on the other half",
        "Of J = L + ½·weight decay·‖θ‖², at geometric steps up to 0.01·‖θ‖ along -∇J.",
    ),
    "gradient.per_layer.norm": Meaning(
        "loss/parameter", "norm of the mean gradient of one parameter tensor", survives=NO
    ),
    "gradient.per_layer.ratio": Meaning(
        "loss/parameter²",
        "the same over the norm of the tensor",
        "Below 1e-3 of the median over the tensors it is listed as vanishing, above 1e3 as exploding.",
        survives=NO,
    ),
    "hessian.top": Meaning(
        "loss/parameter²",
        "largest eigenvalues of the Hessian",
        "Largest eigenvalues of ∇²L by Lanczos with full reorthogonalisation, until the residual is at most 1e-3·|λ|. "
        "The error is that of uᵀHu over sample groups, and at least the residual of one that is 0 within it; the "
        "largest eigenvalue of few samples is biased upwards.",
        "Wu & Simon 2000",
        NO,
    ),
    "hessian.bottom": Meaning(
        "loss/parameter²", "smallest eigenvalues of the Hessian", "As hessian.top, from the other end.", "", NO
    ),
    "hessian.top_ratio": Meaning("1", "λ₁/λ₅", source="Jastrzębski et al. 2020; Foret et al. 2021", survives=NO),
    "hessian.trace": Meaning(
        "loss/parameter²",
        "trace of the Hessian",
        "Hutch++ with at least ten residual probes, Student's interval: the error of the draw.",
        "Meyer et al. 2021",
        NO,
    ),
    "hessian.frobenius": Meaning(
        "loss/parameter²", "Frobenius norm of the Hessian", "√E‖Hz‖² over random signs z.", "", NO
    ),
    "hessian.effective_rank": Meaning(
        "1", "(∫|λ|)²·P/∫λ² of the spectral density", "From stochastic Lanczos quadrature.", "Ghorbani et al. 2019", NO
    ),
    "hessian.negative_mass": Meaning(
        "1",
        "share of the spectral density below -1e-3·max|λ|",
        "Its error is that over the starts and, in squares, what the quadrature cannot tell from the other side of the "
        "limit. It cannot see less than 1/(P·starts).",
        "Ghorbani et al. 2019",
        NO,
    ),
    "hessian.per_layer.top": Meaning(
        "loss/parameter²", "largest eigenvalue of one parameter tensor's own block", survives=NO
    ),
    "hessian.per_layer.trace": Meaning("loss/parameter²", "trace of that block", survives=NO),
    "learning_rate.max_stable.gradient_descent": Meaning(
        "parameter²/loss", "2/λ₁: above it gradient descent diverges on the quadratic", "", "Cohen et al. 2021", NO
    ),
    "learning_rate.max_stable.heavy_ball": Meaning(
        "parameter²/loss", "2(1+β)/λ₁, β = 0.9", "", "Cohen et al. 2021", NO
    ),
    "learning_rate.max_stable.nesterov": Meaning(
        "parameter²/loss", "2(1+β)/((1+2β)λ₁), β = 0.9", "", "Cohen et al. 2021", NO
    ),
    "learning_rate.max_stable.adam": Meaning(
        "1", "(2+2β₁)/((1-β₁)λ₁(P⁻¹H)), P = √v̂ + ε of the Adam in the checkpoint", "", "Cohen et al. 2022", NO
    ),
    "learning_rate.stability": Meaning(
        "1",
        "η·λ₁/2 of the job's learning rate: above 1 gradient descent is unstable",
        "Says whether gradient descent is stable at this learning rate, nothing of generalisation.",
        "Cohen et al. 2021",
        NO,
    ),
    "sharpness.average_adaptive": Meaning(
        "loss",
        "mean rise of the loss at random perturbations of σ times each parameter",
        "Mean over δ ~ N(0, (σ|θᵢ|)²) of L(θ*+δ) - L(θ*), in antithetic pairs; error over draws and samples.",
        "",
        YES,
    ),
    "sharpness.pac_bayes_sigma": Meaning(
        "1",
        "the σ at which that mean rise is the one asked for",
        "The largest σ with an average rise of at most the one asked for (sharpness.rise, 0.1), by bisection.",
        "Jiang et al. 2020",
        YES,
    ),
    "sharpness.worst_adaptive": Meaning(
        "loss",
        "highest rise met within ρ, in multiples of each parameter: a maximum, biased by choice",
        "Reached by ascent from several starts for max over ‖δ/(|θ*|+η)‖₂ ≤ ρ of L(θ*+δ) - L(θ*); converged where the "
        "starts agree within 5 %; a lower bound of the true maximum.",
        "Kwon et al. 2021",
        "yes at η = 0",
    ),
    "sharpness.worst_adaptive.one_step": Meaning("loss", "the same after one step along the scaled gradient"),
    "sharpness.worst": Meaning(
        "loss",
        "highest rise met within a distance of ρ: a maximum, biased by choice",
        "As worst_adaptive, for ‖δ‖₂ ≤ ρ.",
        "Foret et al. 2021",
        NO,
    ),
    "sharpness.worst.one_step": Meaning(
        "loss", "the same after one step along the gradient", "", "Foret et al. 2021", NO
    ),
    "sharpness.average": Meaning(
        "loss", "mean rise at random perturbations of σ: about ½σ²·tr H", "The same mean for N(0, σ²).", "", NO
    ),
    "sharpness.keskar": Meaning(
        "% of 1 + L",
        "highest rise met where each θᵢ moves by up to ε·(1 + its size): biased by choice",
        "100·(max over |δᵢ| ≤ ε(|θᵢ|+1) of L(θ*+δ) - L(θ*)) / (1 + L(θ*)).",
        "Keskar et al. 2017",
        NO,
    ),
    "sharpness.relative_flatness": Meaning(
        "loss", "Σ ⟨w_s, w_s'⟩·tr H_ss' of the last linear layer", "", "Petzka et al. 2021, definition 3", LAYER
    ),
    "sharpness.fisher_rao": Meaning(
        "loss²", "⟨θ, Fθ⟩, F the Fisher matrix of the data's own labels", "", "Liang et al. 2019", YES
    ),
}


def legend_key(path: str) -> str:
    """A metric's name in LEGEND: without the plane, the split and list indices."""
    bare = re.sub(r"^planes\.[^.]+\.[^.]+\.", "", re.sub(r"^centre\.[^.]+\.", "centre.", path))
    return re.sub(r"\.\d+(?=\.|$)", "", bare)


def gloss(path: str) -> str:
    """The one line that a report has room for; "" of a metric of the user's own."""
    found = LEGEND.get(legend_key(path))
    return found.gloss if found else ""
