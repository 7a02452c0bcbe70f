r"""AUROC with DeLong's variance, alone and averaged over OOD sets.

With in-distribution scores x_1..x_m (positives, larger = more in-distribution) and OOD scores y_1..y_n,

    theta = P(X > Y) + P(X = Y) / 2,      theta_hat = (1 / mn) sum_ij psi(x_i, y_j),
    psi = 1, 1/2, 0 for >, =, <

(Mann & Whitney 1947), computed from ranks in O((m + n) log(m + n)). The placements

    V10_i = mean_j psi(x_i, y_j),       V01_j = mean_i psi(x_i, y_j)

both have mean theta_hat, and Var theta_hat ~ var(V10) / m + var(V01) / n (DeLong et al. 1988). Several OOD
sets share the positives: their mean has V10 averaged over the sets, and negative parts that add as variances
between independent sets and, as the worst that correlation can do, as standard deviations between sets made
from the same images (`group`).

**Near 1** the variance is unreliable: it rests on the few examples that are misplaced, and if those happen to
be missing, it is far too small (measured: 95 % intervals cover 83 % at theta = .99, n = 90, OOD scores 2.5
times as wide). Each part is therefore shrunk towards the largest variance its mean allows, that of a coin,
theta (1 - theta), with a weight that counts examples at fault: with losses e = 1 - V (V if theta < 1/2) and
Kish's number k = (sum e)^2 / sum e^2,

    var(V)  <-  (k var(V) + c theta (1 - theta)) / (k + c),      c = 0.6,
    Var theta_hat <= theta (1 - theta) / min(m, n)

(the last is Birnbaum & Klose 1957). The interval is Wilson's with n = theta (1 - theta) / Var theta_hat
trials: like the logit interval inside, but it does not explode at the edge. Method: `delong-wilson`. Where
the variance says nothing (m or n = 1, all scores equal) n is min(m, n), the number of disjoint pairs: method
`pairs`.

**Separated scores** (theta_hat = 1): the min(m, n) disjoint pairs are independent, and each is in order with
probability theta at most, so P(separated) <= theta^min(m, n), and theta >= .05^(1 / min(m, n)) at 95 %.
Method: `one-sided`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, vector
from jembench.metrics.estimate import LEVEL, Estimate
from jembench.metrics.intervals import wilson_rate

PRIOR = 0.6  # c above: examples at fault that the prior counts for


def placements(positive: ArrayLike, negative: ArrayLike) -> tuple[Floats, Floats]:
    """Placements (V10 `(m,)`, V01 `(n,)`), 0..1: the share of the other sample each score is in order with.

    Args:
        positive: in-distribution scores `(m,)`.
        negative: OOD scores `(n,)`.

    Raises:
        ValueError: empty, NaN, or not a vector.
    """
    x, y = vector(positive, "positive"), vector(negative, "negative")
    xs, ys = np.sort(x), np.sort(y)
    v10 = (np.searchsorted(ys, x, "left") + np.searchsorted(ys, x, "right")) / (2 * y.size)
    v01 = 1 - (np.searchsorted(xs, y, "left") + np.searchsorted(xs, y, "right")) / (2 * x.size)
    return v10, v01


def auroc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Area under the ROC curve, 0..1: the share of (positive, negative) pairs in order, ties counting 1/2.

    Args:
        positive: in-distribution scores `(m,)`.
        negative: OOD scores `(n,)`.

    Raises:
        ValueError: empty, NaN, or not a vector.
    """
    x, y = vector(positive, "positive"), np.sort(vector(negative, "negative"))
    wins = np.searchsorted(y, x, "left").sum() + np.searchsorted(y, x, "right").sum()
    return int(wins) / (2 * x.size * y.size)


def auroc_estimate(positive: ArrayLike, negative: ArrayLike) -> Estimate:
    """`auroc` with the interval of this module's theory, `delong-wilson`, `pairs` or `one-sided`; errors as there."""
    return mean_auroc_estimate([(negative, None)], positive)


def mean_auroc_estimate(pairs: Sequence[tuple[ArrayLike, str | None]], positive: ArrayLike) -> Estimate:
    """Mean of the AUROCs of several OOD sets against the same positives, with its interval.

    Sets that are separated add the slack of their one-sided bounds to the end they limit: conservative.

    Args:
        pairs: (OOD scores `(n_s,)`, group) per set. Sets of one group were made from the same images and are bounded by
            perfect correlation (conservative); group None is independent of all others.
        positive: in-distribution scores `(m,)`.

    Raises:
        ValueError: no sets; as `auroc`.
    """
    if not pairs:
        raise ValueError("need at least one OOD set")
    x = vector(positive, "positive")
    sets = [placements(x, negative) for negative, _ in pairs]
    thetas = [float(v10.mean()) for v10, _ in sets]
    theta = float(np.mean(thetas))
    separation = [float(v10.min()) == 1 or float(v10.max()) == 0 for v10, _ in sets]
    slack = [(1 - LEVEL) ** (1 / min(x.size, v01.size)) for _, v01 in sets]
    below = sum(1 - b for t, b, s in zip(thetas, slack, separation, strict=True) if s and t == 1) / len(sets)
    above = sum(1 - b for t, b, s in zip(thetas, slack, separation, strict=True) if s and t == 0) / len(sets)
    if all(separation):
        return Estimate(theta, theta - below, theta + above, "one-sided")
    disjoint = min(x.size, *(v01.size for _, v01 in sets))
    if any(not s and _silent(*v) for s, v in zip(separation, sets, strict=True)):
        trials, method = float(disjoint), "pairs"
    else:
        variance = _variance(sets, thetas, [group for _, group in pairs])
        trials, method = max(theta * (1 - theta) / variance, float(disjoint)), "delong-wilson"
    low, high = wilson_rate(theta, trials)
    return Estimate(theta, max(low - below, 0.0), min(high + above, 1.0), method)


def _variance(sets: list[tuple[Floats, Floats]], thetas: list[float], groups: list[str | None]) -> float:
    """Variance of the mean: shared positives once, negatives by group."""
    variance = _part(np.mean([v10 for v10, _ in sets], axis=0), float(np.mean(thetas)))
    deviations: dict[str | int, float] = {}
    for number, ((_, v01), theta, group) in enumerate(zip(sets, thetas, groups, strict=True)):
        key = number if group is None else group
        deviations[key] = deviations.get(key, 0.0) + _part(v01, theta) ** 0.5
    return variance + sum(d * d for d in deviations.values()) / len(sets) ** 2


def _part(placement: Floats, theta: float) -> float:
    """Variance of the mean of a placement, shrunk."""
    losses = 1 - placement if theta >= 0.5 else placement
    return shrunk_variance(placement, losses, theta * (1 - theta)) / placement.size


def shrunk_variance(values: Floats, losses: Floats, largest: float, *, prior: float = PRIOR) -> float:
    """(k var + prior largest) / (k + prior), k = Kish's effective number of losses; `largest` without any."""
    squares = float(np.square(losses).sum())
    if squares == 0 or values.size == 1:
        return largest
    k = float(losses.sum()) ** 2 / squares
    return (k * float(values.var(ddof=1)) + prior * largest) / (k + prior)


def _silent(v10: Floats, v01: Floats) -> bool:
    """Whether the placements say nothing of their variance: a single example, or no spread at all."""
    return min(v10.size, v01.size) == 1 or (np.ptp(v10) == 0 and np.ptp(v01) == 0)
