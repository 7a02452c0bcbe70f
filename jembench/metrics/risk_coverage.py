r"""Risk and coverage: what a classifier gets wrong when it may refuse the examples it is least sure of.

Sorted by falling confidence, with e_j = 1 where the prediction of rank j is wrong, the selective risk at coverage i / n
and the area under it are (Geifman, Uziel & El-Yaniv, ICLR 2019)

    risk_i = (1/i) sum_{j <= i} e_j,      AURC = (1/n) sum_i risk_i = (1/n) sum_j e_j w_j,      w_j = sum_{i >= j} 1/i,

0 without an error, 1 with nothing else, and the error rate r for a confidence that says nothing: the mean of w_j is 1.
The best order puts all m errors last, and the excess over it is what the confidence alone is to blame for,

    E-AURC = AURC - (1/n) sum_{i > n - m} (i - n + m) / i  >= 0,       the last sum -> r + (1 - r) log(1 - r).

**Ties.** Equal confidences have no order, and each order gives another area. Here it is the mean over all of them: the
errors of a tied group are spread evenly over its ranks. The order of the examples cannot matter.

**Interval.** AURC is a smooth functional of the sample: with u the coverage at an example's confidence and e(v) the
error rate at coverage v, its influence function is e log(1/u) - int_u^1 e(v)/v dv, up to a constant; in the sample

    IF_j = e_j w_j - sum_{i > j} e_i / i,      IF_j + e_j log(1 - r) for the E-AURC,      V = var(IF) / n.

Then Wilson with AURC (1 - AURC) / V trials: method `influence-wilson`. With few errors V rests on the cheap ones that
happened, and the upper end would be too low (.78 covered at five errors in 360): it is made with one more error of the
average weight 1, that is for AURC + 1/n and V + 1/n^2, Laplace's rule for the next example. Measured with it: .945 to
.977 at n = 360 and 2,000 and error rates from .002 to .89. Without any error, or with nothing but errors, one end is
that of the scale: method `one-sided`. A single example says nothing of the error: `none`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Booleans, Floats, Integers, flags, vector
from jembench.metrics.estimate import Estimate
from jembench.metrics.intervals import wilson, wilson_rate

ROUNDING = 1e-15  # a smaller area or variance is none


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """Coverage `(n,)`, 1/n..1, and the selective risk `(n,)`, 0..1, at each; ties by expectation.

    Args:
        confidence: confidences `(n,)`, any score that is larger where the model is surer.
        correct: whether each prediction is right, `(n,)` booleans or 0/1.

    Raises:
        ValueError: empty, NaN, or misaligned.
    """
    error = _expected_errors(*_checked(confidence, correct))
    ranks = np.arange(1, error.size + 1)
    return ranks / error.size, np.cumsum(error) / ranks


def aurc_estimate(confidence: ArrayLike, correct: ArrayLike) -> Estimate:
    """Area under `risk_coverage`, 0..1, by `influence-wilson`, `one-sided` or `none`; arguments and errors as there."""
    c, y = _checked(confidence, correct)
    return _estimate(float(risk_coverage(c, y)[1].mean()), _influence(c, y), y, excess=False)


def excess_aurc_estimate(confidence: ArrayLike, correct: ArrayLike) -> Estimate:
    """AURC above that of the best order of the same errors, 0..1; otherwise as `aurc_estimate`."""
    c, y = _checked(confidence, correct)
    influence = _influence(c, y)
    if y.any():
        influence = influence + ~y * math.log(y.mean())
    value = float(risk_coverage(c, y)[1].mean()) - _best(int((~y).sum()), y.size)
    return _estimate(max(0.0, value), influence, y, excess=True)


def _checked(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Booleans]:
    c = vector(confidence, "confidence")
    return c, flags(correct, c.size, "correct")


def _best(m: int, n: int) -> float:
    """AURC of m errors ranked last of n."""
    ranks = np.arange(n - m + 1, n + 1)
    return float(((ranks - n + m) / ranks).sum() / n)


def _groups(c: Floats) -> tuple[Integers, Integers]:
    """Order `(n,)` by falling confidence, and the tied group of each rank `(n,)`, counted from 0."""
    order = np.argsort(-c, kind="stable")
    return order, np.concatenate([[0], np.cumsum(c[order][1:] != c[order][:-1])])


def _spread(values: Floats, group: Integers) -> Floats:
    """The mean of the values of its group at each rank `(n,)`."""
    result: Floats = (np.bincount(group, weights=values) / np.bincount(group))[group]
    return result


def _expected_errors(c: Floats, y: Booleans) -> Floats:
    """Probability of an error at each rank `(n,)`, over all orders of equal confidences."""
    order, group = _groups(c)
    return _spread((~y[order]).astype(np.float64), group)


def _influence(c: Floats, y: Booleans) -> Floats:
    """IF `(n,)` of the examples in the order given, up to a constant."""
    order, group = _groups(c)
    ranks = np.arange(1, c.size + 1)
    share = _spread((~y[order]).astype(np.float64), group) / ranks
    weight = _spread(np.cumsum(1 / ranks[::-1])[::-1], group)
    later = _spread(np.cumsum(share[::-1])[::-1] - share, group)
    result = np.empty(c.size)
    result[order] = ~y[order] * weight - later
    return result


def _estimate(value: float, influence: Floats, y: Booleans, *, excess: bool) -> Estimate:
    n = y.size
    if n == 1:
        return Estimate(value)
    if not y.any():  # no ranking of errors at rate `risk` has a smaller area than the best
        risk = wilson(n, n)[0]
        best = risk + (1 - risk) * math.log1p(-risk)
        return Estimate(value, 0.0, 1 - best, "one-sided") if excess else Estimate(value, best, 1.0, "one-sided")
    variance = float(influence.var(ddof=1)) / n
    above = min(value + 1 / n, 1.0)
    spread = above * (1 - above) / (variance + 1 / n**2)
    high = wilson_rate(above, spread)[1] if spread > 0 else 1.0
    if y.all() or value <= ROUNDING or variance <= ROUNDING:
        return Estimate(value, 0.0, high, "one-sided")
    return Estimate(value, wilson_rate(value, value * (1 - value) / variance)[0], high, "influence-wilson")
