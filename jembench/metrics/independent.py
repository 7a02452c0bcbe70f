r"""Two figures with intervals of their own, from independent samples: their difference, and how sure it is.

The interval of a - b combines those of a and b by square-and-add (Newcombe, Statistics in Medicine 1998; MOVER: Zou &
Donner, ibid. 2008), which keeps skewed intervals skewed:

    low  = a - b - sqrt((a - l_a)^2 + (u_b - b)^2),
    high = a - b + sqrt((u_a - a)^2 + (b - l_b)^2).

Of samples that are positively correlated, as of two models on the same images, it is wider than need be. The two-sided
p-value is that of a normal law whose 95 % arm is the one towards 0: below .05 if and only if 0 lies outside the
interval.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from jembench.metrics.estimate import Estimate
from jembench.metrics.intervals import Z


def difference(first: Estimate, second: Estimate) -> tuple[Estimate, float] | None:
    """The first figure less the second, method `mover`, and p; None where an end of an interval is missing.

    An end on the wrong side of its value, as of a debiased figure below 0, counts as the value itself.
    """
    if None in (first.low, first.high, second.low, second.high):
        return None
    (below, above), (under, over) = _arms(first), _arms(second)
    value = first.value - second.value
    left, right = math.hypot(below, over), math.hypot(above, under)
    arm = left if value > 0 else right
    p = 1.0 if value == 0 else 0.0 if arm == 0 else 2 * NormalDist().cdf(-abs(value) * Z / arm)
    return Estimate(value, value - left, value + right, "mover"), p


def _arms(estimate: Estimate) -> tuple[float, float]:
    """Distances from the value to the two ends."""
    assert estimate.low is not None
    assert estimate.high is not None
    return max(0.0, estimate.value - estimate.low), max(0.0, estimate.high - estimate.value)
