r"""Interval of a statistic that is a square near zero: squared distances of distributions, from samples.

theta = |d|^2 >= 0 with d estimated by d_hat: far from zero theta_hat is normal with error 1 / sqrt(n), at zero it is a
quadratic form with error 1 / n, and a percentile bootstrap is wrong at both, since it resamples the noise once more.
Let T be unbiased for theta, F = T + bias the plug-in (|d_hat|^2 itself), and

    D = Var T at theta = 0 (the degenerate part),      J = the jackknife variance of F.

The jackknife takes d_hat for d, so that it counts the degenerate part twice: for the mean of n values of variance s^2,
F = m^2 has Var = 4 d^2 s^2 / n + 2 s^4 / n^2 and E J = 4 d^2 s^2 / n + 4 s^4 / n^2 up to smaller terms. Hence

    Var T ~ max(J - D, D)                                (`variance`).

As a function of the unknown theta, with the direction of d kept and its length left free, V(theta) = D + B theta, and
the interval holds the theta >= 0 with (T - theta)^2 <= z^2 V(theta), the roots of a quadratic (`score_interval`; a
score interval, as Wilson's). B is the larger of J / F, exact in one dimension (4 s^2 / n above), and
(J - D) / max(T, sqrt D), for the many where F at small theta is mostly bias: V(T) is then J, too large by D at most.
Where theta cannot be
negative, callers judge T < 0 as 0 and cut the interval at 0: it is never empty.
"""

from __future__ import annotations

import math

from jembench.metrics.intervals import Z

LEAST = 0.01  # of sqrt D: a plug-in below it says nothing of the slope


def variance(jackknife: float, degenerate: float) -> float:
    """Var T from the jackknife's variance J >= 0 and the degenerate part D >= 0."""
    return max(jackknife - degenerate, degenerate)


def score_interval(t: float, plain: float, jackknife: float, degenerate: float) -> tuple[float, float]:
    """The theta with (t - theta)^2 <= z^2 V(theta), V(theta) = D below 0; for D = `degenerate` > 0.

    Args:
        t: the unbiased estimate T.
        plain: the plug-in F >= 0; it is 0 only where the two sets share their examples.
        jackknife: J, the jackknife variance of F.
        degenerate: D, the variance at theta = 0.
    """
    near = Z * math.sqrt(degenerate)
    scale = math.sqrt(degenerate)
    slope = max(jackknife / max(plain, LEAST * scale), (jackknife - degenerate) / max(t, scale), 0.0)
    if t + near <= 0:
        return t - near, t + near
    half = t + Z * Z * slope / 2
    root = math.sqrt(max(half * half - t * t + near * near, 0.0))
    return (t - near if t < near else half - root), half + root
