r"""Certificates of randomised smoothing (Cohen et al., ICML 2019, arXiv 1902.02918).

The smoothed classifier g(x) says the class that f(x + sigma xi), xi ~ N(0, I), says most often. If that class has
probability p > 1/2, no perturbation of L2 length below

    R = sigma Phi^-1(p)

changes it (theorem 1, with all other probability in one class). p is not known: of n fresh draws k had the class, and
the Clopper-Pearson bound is the p_low with

    P(Bin(n, p_low) >= k) = alpha,

below p with probability at least 1 - alpha whatever p is. Where p_low <= 1/2 there is no certificate: g abstains, and
R = 0. The class must be chosen on other draws than the n.

The binomial tail is a sum of positive terms, each from the one before it, in logarithms: nothing cancels.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Booleans, Floats, flags, vector

HALVINGS = 64  # of a probability's range: to the last bit


@lru_cache(maxsize=4096)
def lower_bound(successes: int, n: int, *, alpha: float) -> float:
    """The Clopper-Pearson lower bound p_low of a probability, wrong in at most `alpha` of all cases.

    Raises:
        ValueError: n < 1, successes out of 0..n, or alpha out of (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {alpha}")
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"need 0 <= successes <= n and n >= 1, got {successes} of {n}")
    if successes == 0:
        return 0.0
    low, high, target = 0.0, 1.0, math.log(alpha)
    for _ in range(HALVINGS):
        p = (low + high) / 2
        if not low < p < high:
            break
        low, high = (low, p) if log_tail(successes, n, p) > target else (p, high)
    return low


def log_tail(k: int, n: int, p: float) -> float:
    """log P(Bin(n, p) >= k) for 0 < p < 1 and 0 <= k <= n."""
    j = np.arange(k, n, dtype=np.float64)
    odds = math.log(p) - math.log1p(-p)
    first = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
    )
    terms = np.concatenate([[0.0], np.cumsum(np.log((n - j) / (j + 1)) + odds)])
    top = float(terms.max())
    return min(0.0, first + top + math.log(float(np.exp(terms - top).sum())))


def radii(counts: ArrayLike, n: int, *, sigma: float, alpha: float) -> Floats:
    """Certified L2 radii `(B,)`, in the units of sigma, from counts `(B,)` of the chosen class in `n` draws; 0: none.

    Raises:
        ValueError: counts that are no whole numbers of 0..n, sigma not above 0, or as `lower_bound`.
    """
    k = vector(counts, "counts")
    if not 0 < sigma < math.inf or (k != np.rint(k)).any():
        raise ValueError(f"need sigma > 0 and whole counts, got sigma {sigma}")
    return np.array([_radius(lower_bound(int(count), n, alpha=alpha), sigma) for count in k])


def certified(radius: ArrayLike, correct: ArrayLike, eps: float) -> Booleans:
    """Which of `(B,)` examples are right for sure within L2 distance `eps`: right class, and a radius above eps.

    Raises:
        ValueError: empty, of different lengths, NaN, or not 0/1.
    """
    r = vector(radius, "radius")
    result: Booleans = flags(correct, r.size, "correct") & (r > eps)
    return result


def _radius(p: float, sigma: float) -> float:
    return sigma * NormalDist().inv_cdf(p) if p > 0.5 else 0.0
