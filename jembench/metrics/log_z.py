r"""log Z from annealed log weights, and the bracket of two directions.

A forward run (:mod:`jembench.langevin.ais`) gives weights with E w = Z / Z_0, a reverse run from exact samples of the
model weights with E w = Z_0 / Z. Of n chains each, with logmeanexp the log of the mean of the exponentials,

    L = log Z_0 + logmeanexp(log w_forward),      U = log Z_0 - logmeanexp(log w_reverse).

The logarithm is concave, so E L <= log Z <= E U (Jensen), and by Markov's inequality

    P(L >= log Z + t) <= e^-t,      P(U <= log Z - t) <= e^-t,

whatever the distribution of the weights (Burda, Grosse & Salakhutdinov, AISTATS 2015; Grosse, Ghahramani & Adams
2015). Chains that miss a mode are not seen in L: it is a lower bound and no more. If the reverse chains did not
start from the model, U is no upper bound; where it lies below L by more than chance, they did not.

**Interval of one direction.** The mean of weights has the studentised bootstrap interval of `intervals.mean`, and the
logarithm is monotone, so the ends are the logarithms of its ends. Where the low end is not positive, Markov's
log(mean) - log 40 takes its place, which always exists and is usually wider. The upper end of a mean of
heavy-tailed weights covers too seldom; the bracket does not use it.

**Bracket.** [low end of L, high end of U]: each fails in 2.5 % of all cases, so it holds log Z at 95 %.
Its value is the mean of L and U. Where U lies below L by chance it is widened to hold both: starts that were resampled
are not independent, and the interval of U knows nothing of that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics import intervals
from jembench.metrics.arrays import Floats, vector
from jembench.metrics.estimate import LEVEL, Estimate


@dataclass(frozen=True)
class Bracket:
    """What two directions say of log Z, in nats.

    Attributes:
        forward: L, the lower bound of log Z by chains from the base to the model, with its interval.
        reverse: U, the upper bound of log Z by chains from the model to the base, with its interval.
    """

    forward: Estimate
    reverse: Estimate

    @property
    def value(self) -> float:
        """The mean of L and U."""
        return (self.forward.value + self.reverse.value) / 2

    @property
    def low(self) -> float:
        """Low end of L, or U if that is lower."""
        assert self.forward.low is not None  # Markov's always exists
        return min(self.forward.low, self.reverse.value)

    @property
    def high(self) -> float:
        """High end of U, or L if that is higher."""
        assert self.reverse.high is not None
        return max(self.reverse.high, self.forward.value)

    @property
    def crossed(self) -> bool:
        """Whether U lies below L by more than chance."""
        assert self.forward.low is not None
        assert self.reverse.high is not None
        return self.reverse.high < self.forward.low

    def estimate(self, method: str) -> Estimate:
        """The bracket as an estimate."""
        return Estimate(self.value, self.low, self.high, method)


def log_mean_exp(log_weights: ArrayLike, *, rng: np.random.Generator) -> Estimate:
    """log of the mean of exp(log_weights) `(n,)`, in nats; -inf is a weight of 0.

    Args:
        log_weights: log weights `(n,)` of independent chains, in nats.
        rng: source of the bootstrap's resamples.

    Returns:
        method `bootstrap-t` or, where that has no low end, `markov`; equal weights have themselves for both ends.

    Raises:
        ValueError: empty, NaN, +inf or all -inf.
    """
    w, largest = _scaled(log_weights)
    value = largest + math.log(w.mean())
    if np.ptp(w) == 0 and w.size > 1:
        return Estimate(value, value, value, "bootstrap-t")
    estimate = intervals.mean(w, rng=rng)
    high = largest + math.log(estimate.high) if estimate.high is not None else None
    if estimate.low is not None and estimate.low > 0:
        return Estimate(value, largest + math.log(estimate.low), high, "bootstrap-t")
    return Estimate(value, value - math.log(2 / (1 - LEVEL)), high, "markov")


def effective_size(log_weights: ArrayLike) -> float:
    """Number of equal weights that would be as good: (sum w)^2 / sum w^2, in 1..n.

    Raises:
        ValueError: as `log_mean_exp`.

    >>> effective_size([0.0, 0.0, 0.0, -1000.0])
    3.0
    """
    w, _ = _scaled(log_weights)
    return float(w.sum() ** 2 / (w**2).sum())


def bracket(forward: ArrayLike, reverse: ArrayLike, *, log_z0: float, rng: np.random.Generator) -> Bracket:
    """log Z from log weights of both directions, each `(n,)`.

    Args:
        forward: log weights `(n,)` of chains from the base to the model, in nats.
        reverse: log weights `(n,)` of chains from the model to the base, in nats.
        log_z0: log normalising constant of the base, in nats.
        rng: source of the bootstrap's resamples.

    Raises:
        ValueError: as `log_mean_exp`.
    """
    up = log_mean_exp(forward, rng=rng)
    down = log_mean_exp(reverse, rng=rng)
    return Bracket(_shifted(up, log_z0, 1), _shifted(down, log_z0, -1))


def _shifted(estimate: Estimate, log_z0: float, sign: int) -> Estimate:
    """log_z0 + sign times the estimate; the ends change places with the sign."""
    ends = [None if end is None else log_z0 + sign * end for end in (estimate.low, estimate.high)]
    low, high = ends[::sign]
    return Estimate(log_z0 + sign * estimate.value, low, high, estimate.method)


def _scaled(log_weights: ArrayLike) -> tuple[Floats, float]:
    """The weights relative to the largest, and the logarithm of that."""
    x = vector(log_weights, "log_weights")
    largest = float(x.max())
    if not math.isfinite(largest):
        raise ValueError("log_weights must hold a finite largest value")
    return np.exp(x - largest), largest
