r"""Whether a sampler visits the classes as often as it should, by the labels that a classifier gives its samples.

Counts n_k of N labels, expected shares e_k (1 / K, or the shares of a reference that are taken as exact):

    TV = (1/2) sum_k | n_k / N - e_k |,        X^2 = sum_k (n_k - N e_k)^2 / (N e_k).

TV is 0 for perfect balance and never 0 of a sample: it is a mean of absolute values, biased upward by about sqrt(K / 2
pi N), so that it has the band in which draws from e would fall (`calibration`): `consistency band`. X^2 gives the
p-value of the same hypothesis by the chi-squared law with K - 1 degrees of freedom, k with e_k = 0 left out, and 0 if
one of these was seen. The law is a limit, good for N e_k >= 5 or so.

**Tail of chi-squared**, Q(x; v) = P(chi^2_v > x), by its finite sums (Abramowitz & Stegun 26.4.4, 26.4.5), h = x / 2:

    v even:  e^-h sum_{i < v/2} h^i / i!,
    v odd:   erfc sqrt h + e^-h sum_{i < (v-1)/2} h^(i+1/2) / Gamma(i + 3/2).

Chains of a buffer or of one start are not independent samples: then the p-value and the band are too strict.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, Integers, check_level, class_labels, fractions
from jembench.metrics.estimate import Estimate


class ClassBalance(NamedTuple):
    """Counts `(K,)`, classes never seen, total variation 0..1 with its band, and the p-value of X^2."""

    counts: Integers
    missing: int
    total_variation: Estimate
    p_value: float


def class_balance(
    labels: ArrayLike,
    classes: int,
    *,
    rng: np.random.Generator,
    expected: ArrayLike | None = None,
    replicates: int = 1000,
    level: float = 0.95,
) -> ClassBalance:
    """Balance of labels `(N,)` in 0..classes-1.

    Args:
        labels: integers, one per sample.
        classes: K.
        rng: source of the draws behind the band.
        expected: shares `(K,)` that sum to 1; None: 1 / K each.
        replicates: draws behind the band.
        level: probability of the band.

    Raises:
        ValueError: no labels, not integers, or out of range; shares of another length or sum; classes or replicates
            below 1; level out of (0, 1).
    """
    check_level(level)
    if classes < 1 or replicates < 1:
        raise ValueError(f"classes and replicates must be at least 1, got {classes} and {replicates}")
    y = np.asarray(labels)
    if y.ndim != 1 or y.size == 0:
        raise ValueError(f"labels must be a non-empty vector, got shape {y.shape}")
    counts = np.bincount(class_labels(y, y.size, classes=classes), minlength=classes)
    share = _shares(expected, classes)
    drawn = _variation(rng.multinomial(y.size, share, size=replicates), y.size, share)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    value = float(_variation(counts[None], y.size, share)[0])
    band = Estimate(value, float(low), float(high), "consistency band")
    return ClassBalance(counts, int((counts == 0).sum()), band, _p_value(counts, y.size * share))


def chi_squared_tail(x: float, freedom: int) -> float:
    """P(chi^2 > x), x >= 0, with `freedom` >= 1 degrees of freedom.

    Raises:
        ValueError: x negative or NaN, or freedom < 1.
    """
    if not x >= 0 or freedom < 1:
        raise ValueError(f"need x >= 0 and freedom >= 1, got {x} and {freedom}")
    h, odd = x / 2, freedom % 2
    if h == 0 or math.isinf(h):
        return float(h == 0)
    powers = np.arange(freedom // 2) + odd / 2
    logs = np.array([power * math.log(h) - h - math.lgamma(power + 1) for power in powers])
    return min(1.0, (math.erfc(math.sqrt(h)) if odd else 0.0) + float(np.exp(logs).sum()))


def _shares(expected: ArrayLike | None, classes: int) -> Floats:
    if expected is None:
        return np.full(classes, 1 / classes)
    share = fractions(expected, "expected")
    if share.size != classes or abs(share.sum() - 1) > 1e-6:
        raise ValueError(f"expected must be {classes} shares that sum to 1, got {share.size} with sum {share.sum():g}")
    normalised: Floats = share / share.sum()
    return normalised


def _variation(counts: Integers, n: int, share: Floats) -> Floats:
    """Total variation of counts `(R, K)` from the shares."""
    total: Floats = np.abs(counts / n - share).sum(axis=1) / 2
    return total


def _p_value(counts: Integers, expected: Floats) -> float:
    possible = expected > 0
    if counts[~possible].any():
        return 0.0
    if possible.sum() == 1:
        return 1.0
    e = expected[possible]
    return chi_squared_tail(float((np.square(counts[possible] - e) / e).sum()), int(possible.sum()) - 1)
