r"""Area under the precision-recall curve as average precision, and its interval.

With positives x_1..x_m and negatives y_1..y_n, and the counts at the threshold of each positive

    A_i = #{k : x_k >= x_i},   B_i = #{j : y_j >= x_i},     AP = (1/m) sum_i A_i / (A_i + B_i)

(the step-wise area sum (R_t - R_{t-1}) P_t; equal scores enter together; no interpolation, which is
optimistic: Davis & Goadrich 2006). The population value depends on the class ratio: it is that of m : n.
`aupr_estimate` has the in-distribution scores as positives (AUPR-in); AUPR-out is that of (-negative, -positive).

**Interval.** AP is a smooth functional of the two samples. With p_i = A_i / (A_i + B_i), a_i = B_i / (A_i +
B_i)^2 and b_i = A_i / (A_i + B_i)^2 (the derivatives of p_i in A_i and -B_i), moving one unit of weight to
example k changes m AP by

    positive k:   p_k + sum_{i : x_i <= x_k} a_i
    negative j:   - L_j,   L_j = sum_{i : x_i <= y_j} b_i

up to constants, so  Var AP = [ m var(p + sum a) + n var(L) ] / m^2  (the infinitesimal jackknife, as
DeLong's for the AUROC). var(L) rests on the few negatives that score high, and is shrunk by the rule of
`auroc` towards the variance of a coin of the same mean that costs either nothing or as much as a
negative above 95 % of the positives (c = 1: one such). Then Wilson with AP (1 - AP) / Var trials:
method `influence-wilson`. Conservative where AP > .99 or less than one example is misplaced in expectation;
short of its claim (.89 to .97 measured) where OOD scores are 2.5 times as wide and only a few of them score high.

**Separated scores.** Let R(u) be the false-positive rate at recall u, increasing, and c = n / m: the
population AP is integral u / (u + c R(u)) du. Take v and r with v^m = (1 - r)^n = alpha / 2. If R(v) > r, the
sample is separated only if all positives lie within recall v (alpha / 2) or all negatives miss the top 1 - r
(alpha / 2). So at 1 - alpha, R <= r up to v, and

    AP >= 1 - c r log( (v + c r) / (c r) ) - c log( (1 + c) / (v + c) ).

With all scores in reverse order, likewise R >= 1 - r from w = 1 - (alpha / 2)^(1/m) on, and AP <= w +
integral_w^1 u / (u + c (1 - r)) du; the other end is the AP of R = 1, 1 - c log((1 + c) / c). Both: method
`one-sided`. A single positive or negative, or examples that all count the same (equal scores), say nothing of
the error: `none`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, vector
from jembench.metrics.auroc import shrunk_variance
from jembench.metrics.estimate import LEVEL, Estimate
from jembench.metrics.intervals import wilson_rate

PRIOR = 1.0  # negatives at fault that the prior counts for
ROUNDING = 1e-20  # a smaller variance is none: every positive and every negative counts the same
REACH = 0.95  # the prior's costly negative lies above this share of the positives


def aupr_estimate(positive: ArrayLike, negative: ArrayLike) -> Estimate:
    """Average precision, 0..1, of detecting `positive` by a large score (AUPR-in).

    Args:
        positive: in-distribution scores `(m,)`.
        negative: OOD scores `(n,)`.

    Returns:
        method `influence-wilson`, `one-sided` or `none`: see the theory of this module.

    Raises:
        ValueError: empty, NaN, or not a vector.
    """
    x, y = np.sort(vector(positive, "positive")), np.sort(vector(negative, "negative"))
    a, b = _counts(x, y)
    value = float(np.mean(a / (a + b)))
    if x[0] > y[-1]:
        return Estimate(value, separated_bound(x.size, y.size), 1.0, "one-sided")
    if y[0] > x[-1]:
        return _reversed(value, x.size, y.size)
    variance = _variance(x, y, a, b) if min(x.size, y.size) > 1 else 0.0
    if variance < ROUNDING:
        return Estimate(value)
    low, high = wilson_rate(value, value * (1 - value) / variance)
    return Estimate(value, low, high, "influence-wilson")


def aupr_out_estimate(positive: ArrayLike, negative: ArrayLike) -> Estimate:
    """Average precision of detecting `negative` by a small score (AUPR-out); otherwise as `aupr_estimate`."""
    return aupr_estimate(-vector(negative, "negative"), -vector(positive, "positive"))


def separated_bound(m: int, n: int) -> float:
    """Lower bound at 95 % of the population AP when m positives all score above n negatives."""
    c, (v, r) = n / m, _corner(m, n)
    return max(0.0, 1 - c * r * math.log((v + c * r) / (c * r)) - c * math.log((1 + c) / (v + c)))


def _reversed(value: float, m: int, n: int) -> Estimate:
    """One-sided interval when all m positives score below all n negatives."""
    v, r = _corner(m, n)
    c, w = n / m, 1 - v
    d = c * (1 - r)
    low, high = 1 - c * math.log((1 + c) / c), 1 - d * math.log((1 + d) / (w + d))
    return Estimate(value, min(value, low), max(value, high), "one-sided")


def _corner(m: int, n: int) -> tuple[float, float]:
    """(v, r) with v^m = (1 - r)^n = .025."""
    tail = (1 - LEVEL) / 2
    return float(tail ** (1 / m)), float(1 - tail ** (1 / n))


def _counts(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return A `(m,)` and B `(m,)` at each positive, of ascending scores."""
    a = x.size - np.searchsorted(x, x, "left")
    b = y.size - np.searchsorted(y, x, "left")
    return a.astype(np.float64), b.astype(np.float64)


def _variance(x: Floats, y: Floats, a: Floats, b: Floats) -> float:
    """Var AP of ascending scores and their counts."""
    m, n = x.size, y.size
    gain = np.concatenate([[0.0], np.cumsum(b / np.square(a + b))])
    loss = np.concatenate([[0.0], np.cumsum(a / np.square(a + b))])
    positives = a / (a + b) + gain[np.searchsorted(x, x, "right")]
    negatives = loss[np.searchsorted(x, y, "right")]
    center, costly = float(negatives.mean()), float(loss[math.ceil(REACH * m)])
    variance = float(negatives.var(ddof=1))
    largest = max(variance, center * (costly - center))
    shrunk = shrunk_variance(negatives, negatives, largest, prior=PRIOR)
    return (m * float(positives.var(ddof=1)) + n * shrunk) / m**2
