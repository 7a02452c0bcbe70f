"""Metrics: pure functions on arrays. Array in, value out; numpy and the standard library only.

Every metric is a number with an interval (`estimate.Estimate`). Which interval, and why:

| metric | module | interval |
| --- | --- | --- |
| accuracy | `classification` | Wilson |
| NLL, Brier | `intervals` | studentised bootstrap |
| ECE, adaptive, classwise | `calibration` | band under perfect calibration (no confidence interval) |
| squared ECE, debiased | `debiased` | score inversion, non-negative |
| AUROC, mean AUROC | `auroc` | DeLong variance, Wilson inversion; one-sided when separated |
| AUPR | `aupr` | influence-function variance, Wilson inversion; one-sided when separated |
| FPR at TPR | `fpr` | Wilson and order statistics, combined by MOVER |

Scores are larger for in-distribution examples, everywhere. Fractions are 0..1, NLL is in nats.
"""
