r"""Intervals for a proportion and for a mean.

**Proportion.** Wilson (1927): the p not rejected by |p_hat - p| <= z sqrt(p (1 - p) / n),

    ( p_hat + z^2/2n  -+  z sqrt( p_hat (1 - p_hat) / n + z^2/4n^2 ) ) / (1 + z^2/n).

Never empty at 0 or n successes. `wilson_rate` takes a real n: the effective size of any statistic in [0, 1]
whose variance has been estimated, n = p_hat (1 - p_hat) / V.

**Mean.** NLL is skewed: most examples cost nothing, a few cost much, and the interval must lean to the right.
The studentised bootstrap (Efron 1981; Hall 1988) resamples the pivot t* = (mean* - mean) / se* and inverts
its quantiles,

    [ mean - t*_{high} se,  mean - t*_{low} se ],        se = s / sqrt(n).

It is second-order correct where percentile and normal intervals are not: at n = 360 on softmax losses of
accuracy .99 it covers in 93 of 100 samples, they in 90. A resample without spread makes t* infinite; if that
reaches a quantile, the sample holds no information on that side and the end is None. So it is for a single
example and for a constant sample.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, finite_vector
from jembench.metrics.estimate import LEVEL, Estimate

BLOCK = 1 << 21  # resampled values held at a time
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)  # P(|N(0, 1)| <= Z) = LEVEL


def central(draws: Floats) -> tuple[float, float]:
    """Ends of the central 95 % of `draws` `(R,)`."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's interval of a proportion, within [0, 1], that always holds `successes / n`.

    Raises:
        ValueError: n < 1, or successes out of 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"need 0 <= successes <= n and n >= 1, got {successes} of {n}")
    return wilson_rate(successes / n, float(n))


def wilson_rate(rate: float, n: float) -> tuple[float, float]:
    """Wilson's interval of a rate in [0, 1] worth `n` > 0 independent trials, n not necessarily whole.

    Raises:
        ValueError: rate out of [0, 1], or n <= 0.
    """
    if not 0 <= rate <= 1 or not n > 0:
        raise ValueError(f"need a rate in [0, 1] and n > 0, got {rate} and {n}")
    w = Z**2 / n
    center = (rate + w / 2) / (1 + w)
    half = math.sqrt(w * (rate * (1 - rate) + w / 4)) / (1 + w)
    return max(0.0, min(rate, center - half)), min(1.0, max(rate, center + half))


def mean(values: ArrayLike, *, rng: np.random.Generator, replicates: int = 1000) -> Estimate:
    """Mean of per-example values `(n,)` with a studentised bootstrap interval, in the units of the values.

    Args:
        values: finite values `(n,)`, one per example.
        rng: source of the bootstrap's resamples.
        replicates: number of the bootstrap's resamples.

    Returns:
        method `bootstrap-t`; an end is None where no honest one exists; method `none` for n = 1 or constant
        values.

    Raises:
        ValueError: empty, not a vector, NaN or infinite; replicates < 1.
    """
    x = finite_vector(values, "values")
    if replicates < 1:
        raise ValueError(f"replicates must be at least 1, got {replicates}")
    center = float(x.mean())
    if np.ptp(x) == 0:
        return Estimate(float(x[0]))
    t = np.sort(_pivots(x - center, replicates, rng))
    tail = (1 - LEVEL) / 2
    low_t = float(t[math.floor(tail * (replicates - 1))])
    high_t = float(t[math.ceil((1 - tail) * (replicates - 1))])
    se = float(x.std(ddof=1)) / math.sqrt(x.size)
    low = center - high_t * se if math.isfinite(high_t) else None
    high = center - low_t * se if math.isfinite(low_t) else None
    return Estimate(center, low, high, "bootstrap-t")


def mean_test(values: ArrayLike, *, rng: np.random.Generator, replicates: int = 9999) -> float:
    """Two-sided p-value of a mean of 0, from the pivots of the studentised bootstrap: twice the smaller tail.

    With t = mean / se, the share of t* at or beyond t counts the sample itself: p >= 2 / (replicates + 1). It is 1 for
    values that are all 0, and where nothing is known of the error (one example, a constant sample).

    Raises:
        ValueError: as :func:`mean`.
    """
    x = finite_vector(values, "values")
    if replicates < 1:
        raise ValueError(f"replicates must be at least 1, got {replicates}")
    if np.ptp(x) == 0:
        return 1.0
    center = float(x.mean())
    t = center * math.sqrt(x.size) / float(x.std(ddof=1))
    pivots = _pivots(x - center, replicates, rng)
    tail = min(int((pivots >= t).sum()), int((pivots <= t).sum()))
    return min(1.0, 2 * (tail + 1) / (replicates + 1))


def _pivots(deviations: Floats, replicates: int, rng: np.random.Generator) -> Floats:
    """Pivots t* `(replicates,)` of resampled deviations from the mean; +-inf for a constant resample."""
    n = deviations.size
    size = max(1, BLOCK // n)
    chunks = []
    for start in range(0, replicates, size):
        resamples = deviations[rng.integers(0, n, size=(min(size, replicates - start), n))]
        shift, spread = resamples.mean(axis=1), resamples.std(axis=1, ddof=1)
        spread[np.ptp(resamples, axis=1) == 0] = 0.0  # exactly, whatever the rounding of the mean
        with np.errstate(divide="ignore", invalid="ignore"):
            chunks.append(np.nan_to_num(shift * math.sqrt(n) / spread, nan=0.0, posinf=np.inf, neginf=-np.inf))
    return np.concatenate(chunks)
