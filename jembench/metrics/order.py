r"""Quantiles by order statistics: the median and its interval, for any distribution, also of values that are infinite.

Of n values, :math:`P(x_{(j)} \le m \le x_{(n+1-j)}) \ge .95` for the median m of the population and the largest j
with :math:`P(\mathrm{Bin}(n, \tfrac12) < j) \le .025` (David & Nagaraja, Order Statistics, section 7.1).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.estimate import LEVEL, Estimate


def median(values: ArrayLike) -> Estimate:
    """The median of `(n,)` values with its interval; an end that is infinite, or that too few values give, is None.

    The lower of the two middle values is the median of an even number of them.

    Raises:
        ValueError: empty, not a vector, NaN, or an infinite median.
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    if x.ndim != 1 or x.size == 0 or np.isnan(x).any():
        raise ValueError("values must be a vector of at least one number, without NaN")
    j = _rank(x.size, (1 - LEVEL) / 2)
    low, high = (None, None) if j == 0 else (float(x[j - 1]), float(x[x.size - j]))
    middle = float(x[(x.size - 1) // 2])
    if math.isinf(middle):
        raise ValueError("the median is infinite")
    high = None if high is None or math.isinf(high) else high
    return Estimate(middle, low, high, "order")


def _rank(n: int, tail: float) -> int:
    """The largest j with P(Bin(n, 1/2) < j) <= tail."""
    total, j = 0.0, 0
    log_half = -n * math.log(2)
    while True:
        total += math.exp(math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) + log_half)
        if total > tail:
            return j
        j += 1
