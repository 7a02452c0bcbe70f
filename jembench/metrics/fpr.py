r"""False-positive rate at a fixed true-positive rate (FPR95), and its interval.

With in-distribution scores x_1..x_m (positives, larger = more in-distribution) and OOD scores y_1..y_n,

    t   = the largest threshold with  #{x_i >= t} / m >= tpr   (an order statistic of x)
    FPR = #{y_j >= t} / n

Two errors meet in it: that of a proportion at a given threshold, and that of the threshold. Each has a
distribution-free description: Wilson's interval [l_w, u_w] at the threshold found; and ranks, since the
number of positives below the true threshold is binomial (m, 1 - tpr), so that it lies between the order
statistics m (1 - tpr) -+ z sqrt(m tpr (1 - tpr)), at which the OOD scores give [l_r, u_r]. The distances from
the value are combined as if the two errors were independent (MOVER; Zou & Donner 2008, Donner & Zou 2012):

    low  = FPR - sqrt((FPR - l_w)^2 + (FPR - l_r)^2),
    high = FPR + sqrt((u_w - FPR)^2 + (u_r - FPR)^2).

No resampling, no density, and at FPR = 0 or 1 the ends stay honest where a bootstrap returns a point. With
so few positives that the rank passes the smallest one, the threshold has no lower bound and u_r = 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, vector
from jembench.metrics.estimate import Estimate
from jembench.metrics.intervals import Z, wilson


def fpr_estimate(positive: ArrayLike, negative: ArrayLike, *, tpr: float = 0.95) -> Estimate:
    """Share of the OOD scores at or above the largest threshold that keeps a share `tpr` of the positives.

    Args:
        positive: in-distribution scores `(m,)`.
        negative: OOD scores `(n,)`.
        tpr: share of the positives to keep, in (0, 1].

    Raises:
        ValueError: empty, NaN, not a vector, or tpr out of (0, 1].
    """
    x, y = np.sort(vector(positive, "positive")), np.sort(vector(negative, "negative"))
    below = x.size - true_positives(x.size, tpr)
    false_positives = y.size - int(np.searchsorted(y, x[below]))
    value = false_positives / y.size
    spread = Z * math.sqrt(x.size * tpr * (1 - tpr))
    low_rank = _rate(x, y, x.size * (1 - tpr) + spread)
    high_rank = _rate(x, y, x.size * (1 - tpr) - spread)
    low_wilson, high_wilson = wilson(false_positives, y.size)
    low = value - math.hypot(value - low_wilson, value - min(low_rank, value))
    high = value + math.hypot(high_wilson - value, max(high_rank, value) - value)
    return Estimate(value, max(low, 0.0), min(high, 1.0), "mover")


def true_positives(m: int, tpr: float) -> int:
    """Smallest k with k / m >= tpr, the comparison made in floating point as a curve would make it.

    Raises:
        ValueError: tpr out of (0, 1].
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr must lie in (0, 1], got {tpr}")
    k = min(math.ceil(tpr * m), m)
    return k - 1 if k > 1 and (k - 1) / m >= tpr else k


def _rate(x: Floats, y: Floats, rank: float) -> float:
    """Share of sorted y at or above the sorted x with `rank` scores below it, linear between ranks."""
    if rank < 0:
        return 1.0
    at = min(rank, x.size - 1.0)
    lower, upper = math.floor(at), math.ceil(at)
    shares = 1 - np.searchsorted(y, x[[lower, upper]]) / y.size
    return float(shares[0] + (at - lower) * (shares[1] - shares[0]))
