"""Metrics: array in, value out.

- Here: pure functions on numpy arrays, each with its interval; scores of single examples (`scores`).
- Never: torch, a track, a file; a function that draws from anything but its own seed.
- A new one: a module with the formula and its source, a test of a law and of parity; a score is a line in `SCORES`
  too.

Every metric is a number with an interval (`estimate.Estimate`). Which interval, and why:

| metric | module | interval |
| --- | --- | --- |
| accuracy | `classification` | Wilson |
| NLL, Brier | `intervals` | studentised bootstrap |
| ECE, adaptive, classwise, MCE | `calibration` | band under perfect calibration (no confidence interval) |
| kernel ECE | `kde_calibration` | band under perfect calibration |
| Brier: reliability | `brier_decomposition` | band under perfect calibration |
| Brier: resolution, uncertainty, within bins | `brier_decomposition` | none |
| accuracy of a bin | `reliability` | Wilson |
| AURC, E-AURC | `risk_coverage` | influence-function variance, Wilson inversion; one-sided without an error |
| squared ECE, debiased | `debiased` | score inversion, non-negative |
| AUROC, mean AUROC | `auroc` | DeLong variance, Wilson inversion; one-sided when separated |
| AUPR | `aupr` | influence-function variance, Wilson inversion; one-sided when separated |
| FPR at TPR | `fpr` | Wilson and order statistics, combined by MOVER |
| Frechet distance at n | `frechet` | infinitesimal jackknife, of the mean at this n |
| Frechet distance at infinitely many samples | `frechet` | second-order extrapolation, score inversion, non-negative |
| inception score | `inception_score` | delete-one jackknife on the log scale, bias removed |
| kernel distance | `kernel_distance` | variance of the U-statistic, score inversion, non-negative |
| precision, recall | `manifold` | Wilson, given the other set's balls |
| density | `manifold` | studentised bootstrap, given the reference |
| coverage | `manifold` | jackknife over the samples, Wilson inversion, given the reference |
| nearer to training than test images | `memorisation` | DeLong variance, Wilson inversion |
| total variation of class shares | `class_balance` | band under equal shares (no confidence interval) |

Scores are larger for in-distribution examples, everywhere. Fractions are 0..1, NLL is in nats.
"""
