r"""Two scores, or two models, on the same images: which one tells in-distribution from OOD better, and by how much.

The difference D = theta_1 - theta_2 of two AUROCs over the same m positives and n negatives has, with the placements
V10, V01 of :mod:`jembench.metrics.auroc` and their differences d10 = V10^1 - V10^2, d01 = V01^1 - V01^2 per example,

    Var D_hat ~ var(d10) / m + var(d01) / n = S_11 + S_22 - 2 S_12,

S the covariance matrix of DeLong, DeLong & Clarke-Pearson (Biometrics 1988). Where both AUROCs are near 1, or both
scores nearly the same, it rests on the few examples that one score places better, and is far too small if those happen
to be missing. Each part is therefore shrunk, by the rule of :mod:`jembench.metrics.auroc`, towards the largest variance
that a d in [-1, 1] of mean D and mean size q = E|d| can have:

    var(d)  <-  (k var(d) + c (q - D^2)) / (k + c),      k = (sum |d|)^2 / sum d^2,      c = 0.6.

**Interval.** Towards 0 it ends z sqrt(V) from D. A difference that is larger than D needs more such examples, and their
number varies with itself: away from 0, V grows as V (1 + t / q) at a distance t, q the larger of the two parts', and

    t = z^2 V / 2q + sqrt( (z^2 V / 2q)^2 + z^2 V ).

Wald's interval, without c and without this, covers .80 where AUROCs of .999 and .99 meet 90 OOD examples with scores
2.5 times as wide. The two-sided **p-value** of D = 0 is that of D / sqrt(V): below .05 if and only if 0 lies
outside the interval. Method: `delong-paired`.

**Nothing discordant.** If no example is placed differently, D = 0, and the sample shows no difference, whatever there
is. A pair is ordered differently with probability q, |D| <= q, and all of the min(m, n) disjoint pairs agree with
probability (1 - q)^min(m, n) at most: [-q, q] at q = 1 - .05^(1 / min(m, n)), p = 1. Method: `concordant`.

**Several sets** share the positives: their mean difference has d10 averaged over the sets, and negative parts that add
as in :mod:`jembench.metrics.auroc`, those of one group by the bound of perfect correlation. A set of which all d are
the same, 0 among other sets or +-1, shows no variance; it has the standard deviation (1 + |D|) sqrt(2) / min(m, n),
sqrt(2) / min(m, n) the root mean square of a probability under a flat prior after min(m, n) pairs without the event.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, vector
from jembench.metrics.auroc import placements, shrunk_variance
from jembench.metrics.estimate import LEVEL, Estimate
from jembench.metrics.intervals import Z

Pair = tuple[Floats, Floats]


def mean_auroc_difference(
    sets: Sequence[tuple[ArrayLike, ArrayLike, str | None]], first_positive: ArrayLike, second_positive: ArrayLike
) -> tuple[Estimate, float]:
    """Mean over several OOD sets of the difference of two AUROCs, with the same positives in all of them.

    Args:
        sets: (OOD scores `(n_s,)` by the first, OOD scores `(n_s,)` by the second, group) per set; groups as in
            :func:`jembench.metrics.auroc.mean_auroc_estimate`.
        first_positive: in-distribution scores `(m,)` by the first.
        second_positive: in-distribution scores `(m,)` by the second, of the same images in the same order.

    Returns:
        The mean difference, method `delong-paired` or `concordant`; and p, two-sided.

    Raises:
        ValueError: no sets; empty, NaN, not a vector, or of two lengths.
    """
    if not sets:
        raise ValueError("need at least one OOD set")
    x, y = _same_length(first_positive, second_positive, "positive")
    parts = [_differences(x, y, *_same_length(first, second, "negative")) for first, second, _ in sets]
    disjoint = [min(d10.size, d01.size) for d10, d01 in parts]
    if not any(d10.any() or d01.any() for d10, d01 in parts):
        bound = float(np.mean([1 - (1 - LEVEL) ** (1 / size) for size in disjoint]))
        return Estimate(0.0, -bound, bound, "concordant"), 1.0
    value = float(np.mean([d10.mean() for d10, _ in parts]))
    floors = [
        (1 + abs(float(d10[0]))) * math.sqrt(2) / size if _same(d10) and _same(d01) else 0.0
        for (d10, d01), size in zip(parts, disjoint, strict=True)
    ]
    variance, load = _variance(parts, floors, [group for _, _, group in sets])
    near, skew = Z * math.sqrt(variance), Z * Z * variance / (2 * load)
    far = skew + math.hypot(skew, near)
    low, high = value - (far if value < 0 else near), value + (far if value > 0 else near)
    p = 2 * NormalDist().cdf(-abs(value) / math.sqrt(variance))
    return Estimate(value, max(low, -1.0), min(high, 1.0), "delong-paired"), p


def _differences(x: Floats, y: Floats, a: Floats, b: Floats) -> Pair:
    """d10 `(m,)` and d01 `(n,)` of positives x, y and negatives a, b."""
    (v10, v01), (w10, w01) = placements(x, a), placements(y, b)
    return v10 - w10, v01 - w01


def _variance(parts: list[Pair], floors: list[float], groups: list[str | None]) -> tuple[float, float]:
    """V of the mean difference, and q: the larger of the mean sizes of its two parts.

    Of sets that show a variance the floor of their standard deviation is 0.
    """
    mean_d10: Floats = np.mean([d10 for d10, _ in parts], axis=0)
    deviations: dict[str | int, float] = {}
    for number, ((_, d01), floor, group) in enumerate(zip(parts, floors, groups, strict=True)):
        key = number if group is None else group
        deviations[key] = deviations.get(key, 0.0) + math.hypot(math.sqrt(_part(d01)), floor)
    variance = _part(mean_d10) + sum(d * d for d in deviations.values()) / len(parts) ** 2
    sizes = [np.abs(mean_d10).mean(), np.mean([np.abs(d01).mean() for _, d01 in parts])]
    return variance, float(max(sizes))


def _same(d: Floats) -> bool:
    """Whether all are 0, or all are 1 or -1."""
    return bool(np.ptp(d) == 0 and abs(d[0]) in (0, 1))


def _part(d: Floats) -> float:
    """Variance of the mean of placement differences, shrunk."""
    size, mean = np.abs(d), float(d.mean())
    return shrunk_variance(d, size, max(float(size.mean()) - mean * mean, 0.0)) / d.size


def _same_length(first: ArrayLike, second: ArrayLike, name: str) -> Pair:
    """Both as vectors of one length."""
    x, y = vector(first, f"first {name}"), vector(second, f"second {name}")
    if x.size != y.size:
        raise ValueError(f"{name} scores must be of the same images, got {x.size} and {y.size}")
    return x, y
