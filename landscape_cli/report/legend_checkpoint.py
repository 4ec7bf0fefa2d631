"""What every statistic of the checkpoint itself is."""

from __future__ import annotations

from landscape_cli.report.meaning import LAYER, NO, YES, Meaning

STABLE = "The largest step size at which it does not diverge on the local quadratic; undefined where λ₁ ≤ 0."

CHECKPOINT: dict[str, Meaning] = {
    "centre.loss": Meaning(
        "loss",
        "mean loss at the checkpoint",
        "The mean per-sample loss L(θ*) over a split's fixed samples. Its error is a jackknife over sample groups.",
        survives=YES,
    ),
    "centre.metrics": Meaning(
        "1",
        "a metric of the job at the checkpoint",
        "The mean per-sample metric over a split's fixed samples: accuracy is the share of them that is right.",
        survives=YES,
    ),
    "centre.weight_penalty": Meaning(
        "loss",
        "½·weight decay·‖θ‖², not part of the loss",
        "½·wd·‖θ‖² of the selected parameters, wd the job's weight decay; added to the loss it is J.",
        survives=NO,
    ),
    "verdict": Meaning(
        "kind",
        "what the checkpoint is: minimum, saddle, maximum, plateau, slope or inconclusive",
        "Ways down (the gradient, the lowest and largest eigenvectors, the last layer) are found on one half of the "
        "samples and judged on the other, up to 0.01·‖θ‖; a fall counts beyond 0.01·|L| and three standard errors.",
        survives="partly: a rescaling turns the gradient and the eigenvectors that are tried",
    ),
    "gradient.norm": Meaning(
        "loss/parameter",
        "norm of the mean gradient: biased upwards by the noise of the samples",
        "‖g‖, g = ∇L over the fixed samples. A small norm alone says nothing: it is not scale-free. ‖g‖² exceeds the "
        "population's by tr Σ/N on average: gradient.test says whether it is more than that.",
        survives=NO,
    ),
    "gradient.covariance_trace": Meaning(
        "loss²/parameter²",
        "tr Σ, the variance of per-sample gradients over all directions",
        "Σ = the covariance of the samples' gradients.",
        survives=NO,
    ),
    "gradient.test": Meaning(
        "1",
        "N‖g‖²/tr Σ: about 1 where the gradient is nothing but the noise of its samples",
        "T = N‖g‖²/tr Σ, Σ the covariance of per-sample gradients; its mean is 1 if the population's gradient is 0.",
        "McCandlish et al. 2018",
        NO,
    ),
    "gradient.test.null_sd": Meaning(
        "1",
        "how far that strays from 1 where the population's gradient is 0",
        "√(2 tr Σ²)/tr Σ.",
        "Li & Chen 2012, for tr Σ²",
        NO,
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
        survives=NO,
    ),
    "gradient.per_layer.norm": Meaning(
        "loss/parameter", "norm of the mean gradient of one parameter tensor", "‖∇L‖ of its entries.", survives=NO
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
        "loss/parameter²",
        "smallest eigenvalues of the Hessian",
        "As hessian.top, from the other end.",
        "Wu & Simon 2000",
        NO,
    ),
    "hessian.top_ratio": Meaning(
        "1",
        "λ₁/λ₅",
        "Its two eigenvalues share their samples: no error is stated.",
        "Jastrzębski et al. 2020; Foret et al. 2021",
        NO,
    ),
    "hessian.trace": Meaning(
        "loss/parameter²",
        "trace of the Hessian",
        "Hutch++ with at least ten residual probes, Student's interval: the error of the draw.",
        "Meyer et al. 2021",
        NO,
    ),
    "hessian.frobenius": Meaning(
        "loss/parameter²", "Frobenius norm of the Hessian", "√E‖Hz‖² over random signs z.", "Hutchinson 1990", NO
    ),
    "hessian.effective_rank": Meaning(
        "1",
        "(∫|λ|)²·P/∫λ² of the spectral density",
        "How many eigenvalues share the curvature; from stochastic Lanczos quadrature.",
        "Ghorbani et al. 2019",
        NO,
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
        "loss/parameter²", "largest eigenvalue of one parameter tensor's own block", "By Lanczos.", survives=NO
    ),
    "hessian.per_layer.trace": Meaning(
        "loss/parameter²", "trace of that block", "Over random signs.", "Hutchinson 1990", NO
    ),
    "learning_rate.max_stable.gradient_descent": Meaning(
        "parameter²/loss", "2/λ₁: above it gradient descent diverges on the quadratic", STABLE, "Cohen et al. 2021", NO
    ),
    "learning_rate.max_stable.heavy_ball": Meaning(
        "parameter²/loss", "2(1+β)/λ₁, β = 0.9: the same of heavy-ball momentum", STABLE, "Cohen et al. 2021", NO
    ),
    "learning_rate.max_stable.nesterov": Meaning(
        "parameter²/loss", "2(1+β)/((1+2β)λ₁), β = 0.9: the same of Nesterov's", STABLE, "Cohen et al. 2021", NO
    ),
    "learning_rate.max_stable.adam": Meaning(
        "1", "(2+2β₁)/((1-β₁)λ₁(P⁻¹H)), P = √v̂ + ε of the Adam in the checkpoint", STABLE, "Cohen et al. 2022", NO
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
        "as Jiang et al. 2020 measure it",
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
    "sharpness.worst_adaptive.one_step": Meaning(
        "loss",
        "the same after one step along the scaled gradient",
        "A lower bound of it.",
        "Kwon et al. 2021",
        "yes at η = 0",
    ),
    "sharpness.worst": Meaning(
        "loss",
        "highest rise met within a distance of ρ: a maximum, biased by choice",
        "As worst_adaptive, for ‖δ‖₂ ≤ ρ.",
        "Foret et al. 2021",
        NO,
    ),
    "sharpness.worst.one_step": Meaning(
        "loss", "the same after one step along the gradient", "A lower bound of it.", "Foret et al. 2021", NO
    ),
    "sharpness.average": Meaning(
        "loss",
        "mean rise at random perturbations of σ: about ½σ²·tr H",
        "Mean over δ ~ N(0, σ²) of L(θ*+δ) - L(θ*), in antithetic pairs.",
        "",
        NO,
    ),
    "sharpness.keskar": Meaning(
        "% of 1 + L",
        "highest rise met where each θᵢ moves by up to ε·(1 + its size): biased by choice",
        "100·(max over |δᵢ| ≤ ε(|θᵢ|+1) of L(θ*+δ) - L(θ*)) / (1 + L(θ*)).",
        "Keskar et al. 2017",
        NO,
    ),
    "sharpness.relative_flatness": Meaning(
        "loss",
        "Σ ⟨w_s, w_s'⟩·tr H_ss' of the last linear layer",
        "w_s the weights of neuron s, over random probes.",
        "Petzka et al. 2021, definition 3",
        LAYER,
    ),
    "sharpness.fisher_rao": Meaning(
        "loss²",
        "⟨θ, Fθ⟩, F the Fisher matrix of the data's own labels",
        "The mean over samples of ⟨θ, ∇lᵢ⟩².",
        "Liang et al. 2019",
        YES,
    ),
}
