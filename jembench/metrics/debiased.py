r"""Squared calibration error without its bias, and a confidence interval of it.

With r = correct - confidence, bins B_j of equal width (`calibration.width_bins`), p_j = P(B_j), mu_j = E[r |
B_j] and sigma_j^2 = Var(r | B_j), the target is the binned squared l2 error

    theta = sum_j p_j mu_j^2  >= 0,      zero for a calibrated model.

The plug-in has the bias (1/n) sum_j sigma_j^2, all of its value on a calibrated model. Leaving out the
squares r_i r_i removes it:

    T = sum_j (1/n) (1/(n_j - 1)) sum_{i != k in B_j} r_i r_k        (U-statistic per bin; Kumar et al. 2019,
    section 4;
                                                                      Sun et al. 2024, arXiv 2408.08998)

E[T | n_j] = sum_j (n_j / n) mu_j^2 over bins of two and more; a bin of one example has no estimate and adds
nothing. **T may be negative**: it is unbiased for a number near 0, and is reported as it is.

**Variance.** Hoeffding's decomposition of T - theta, in order: the counts, the linear and the degenerate
part,

    V = (1/n) Var_j(mu_j^2)  +  (4/n) sum_j p_j mu_j^2 sigma_j^2  +  (2/n^2) sum_j sigma_j^4 n_j / (n_j - 1).

The first two vanish with mu: the rate is sqrt(n) for a miscalibrated model and n for a calibrated one, and a
Wald interval that estimates mu is wrong in between. Here they are written as functions of the unknown theta.
With the shape of the miscalibration s_j = mu_j^2 / theta (estimated) kept and its size theta left free,

    V(theta) = A + B theta + C theta^2,     A = (2/n^2) sum sigma_j^4 n_j / (n_j - 1),
               B = (4/n) sum p_j s_j sigma_j^2,     C = (sum p_j s_j^2 - 1) / n,

and the interval holds the theta >= 0 with (T - theta)^2 <= z^2 V(theta), the roots of a quadratic: a score
interval, as Wilson's is for a proportion. For one bin and theta = 0 it covers chi^2_1 <= 1 + 1.96 sqrt 2,
probability .948; for many the terms of T add to a normal law. Since theta >= 0, a negative T is judged as 0,
so that the interval is never empty.

sigma_j^2 is the largest of the sample variance; of the mean of confidence (1 - confidence), the variance of a
calibrated bin; and of a (1 - a) with a the bin's accuracy after one more success and one more failure (Laplace):
a bin without errors has no sample variance, but its next example may well be one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, Integers, flags, fractions
from jembench.metrics.calibration import width_bins
from jembench.metrics.estimate import Estimate
from jembench.metrics.intervals import Z


class _Bins(NamedTuple):
    """Bins of two and more examples: sizes, means and variances of r, and the least variance to reckon with."""

    size: Floats
    mean: Floats
    variance: Floats
    least: Floats


def debiased_squared_ece(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15) -> Estimate:
    """Debiased squared ECE, at most 1 and possibly negative, with a confidence interval within [0, 1].

    Args:
        confidence: probability `(N,)` of each predicted class, in [0, 1].
        correct: whether each prediction is right, `(N,)` booleans or 0/1.
        bins: number of bins of equal width.

    Returns:
        method `debiased`; `none`, value 0 and no interval, where no bin holds two examples.

    Raises:
        ValueError: empty, NaN, misaligned, out of range; bins < 1.
    """
    p = fractions(confidence, "confidence")
    y = flags(correct, p.size, "correct")
    moments = _bins(p, y - p, width_bins(p, bins), bins)
    if moments.size.size == 0:
        return Estimate(0.0)
    value = float((moments.size * (np.square(moments.mean) - moments.variance / moments.size)).sum() / p.size)
    low, high = _invert(max(value, 0.0), *_coefficients(moments, p.size))
    return Estimate(value, low, high, "debiased")


def _bins(p: Floats, r: Floats, index: Integers, bins: int) -> _Bins:
    """Moments of r `(N,)` within the bins of two and more."""
    size = np.bincount(index, minlength=bins).astype(np.float64)
    keep = size >= 2
    mean = np.bincount(index, weights=r, minlength=bins) / np.maximum(size, 1)
    scatter = np.bincount(index, weights=np.square(r - mean[index]), minlength=bins)
    bernoulli = np.bincount(index, weights=p * (1 - p), minlength=bins) / np.maximum(size, 1)
    accuracy = (np.bincount(index, weights=r + p, minlength=bins) + 1) / (size + 2)
    least = np.maximum(bernoulli, accuracy * (1 - accuracy))
    return _Bins(size[keep], mean[keep], scatter[keep] / (size[keep] - 1), least[keep])


def _coefficients(moments: _Bins, n: int) -> tuple[float, float, float]:
    """Return (A, B, C) of V(theta)."""
    size, squares = moments.size, np.square(moments.mean)
    variance = np.maximum(moments.variance, moments.least)
    share = size / n
    total = float((share * squares).sum())
    shape = squares / total if total > 0 else np.full(size.size, 1 / share.sum())
    a = 2 * float((np.square(variance) * size / (size - 1)).sum()) / n**2
    b = 4 * float((share * shape * variance).sum()) / n
    c = max(0.0, float((share * np.square(shape)).sum()) - 1) / n
    return a, b, c


def _invert(t: float, a: float, b: float, c: float) -> tuple[float, float]:
    """Return the theta in [0, 1] with (t - theta)^2 <= z^2 (a + b theta + c theta^2)."""
    q, half, constant = 1 - Z * Z * c, t + Z * Z * b / 2, t * t - Z * Z * a  # q theta^2 - 2 half theta + constant
    if q <= 0:  # the shape rests on one bin of a few examples: no upper end but the scale's
        return 0.0, 1.0
    root = math.sqrt(max(half * half - q * constant, 0.0))
    return min(max((half - root) / q, 0.0), 1.0), min((half + root) / q, 1.0)
