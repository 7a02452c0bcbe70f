r"""Calibration error without bins: the accuracy at each confidence by kernel regression.

With confidences c_i and y_i = 1 where the prediction is correct, the estimate of Popordanoska, Sayer & Blaschko
(NeurIPS 2022) for the confidence of the predicted class is

    ECE_kde = (1/n) sum_j | a_j - c_j |,     a_j = sum_{i != j} k(c_j; c_i) y_i / sum_{i != j} k(c_j; c_i),

with the Beta kernel of Chen (1999), k(c; c_i) = Beta(c; c_i / h + 1, (1 - c_i) / h + 1): it lives on [0, 1], loses no
mass over the ends, where most confidences are, and narrows towards them. No example speaks for itself (leave one out),
but a single one: a = y, a bin of one. Kernels are compared as logarithms, so that also a lone example far from all has
an estimate, its neighbour's, and confidences closer to 0 or 1 than 1e-9 count as 1e-9 away, so that exactly 1 has some.

**Bandwidth.** In t = arcsin sqrt c the kernel has the same width everywhere, sqrt(h) / 2. Silverman's rule there,
sqrt(h) / 2 = 1.06 sd(t) n^{-1/5}, gives

    h = (2.12 sd(t))^2 n^{-2/5},

at least 1e-6. It depends on the confidences alone, so that the band is of the same statistic, and, unlike the paper's
choice by likelihood, has an answer where confidences are tied.

**Not a confidence interval.** A mean of absolute values is biased upwards like the plain ECE, also without bins, and is
shown with the same band under perfect calibration (see `calibration`). All n^2 kernels are evaluated: 3 s for 10,000
examples on one core, 10 s with the band of 200 replicates, which is why they are not 1,000; .02 s for 360.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Booleans, Floats, flags, fractions
from jembench.metrics.calibration import blocks
from jembench.metrics.estimate import Estimate
from jembench.metrics.intervals import central

NARROWEST = 1e-6
CLOSEST = 1e-9


def bandwidth(confidence: ArrayLike) -> float:
    """h of this module's rule for confidences `(N,)`.

    Raises:
        ValueError: empty, NaN, or out of [0, 1].
    """
    c = fractions(confidence, "confidence")
    spread = float(np.arcsin(np.sqrt(c)).std())
    return max((2 * 1.06 * spread) ** 2 / math.pow(c.size, 0.4), NARROWEST)


def kde_ece_estimate(
    confidence: ArrayLike, correct: ArrayLike, *, rng: np.random.Generator, replicates: int = 200
) -> Estimate:
    """Expected calibration error, 0..1, by leave-one-out kernel regression, with its band under perfect calibration.

    Args:
        confidence: probability `(N,)` of each predicted class, in [0, 1].
        correct: whether each prediction is right, `(N,)` booleans or 0/1.
        rng: source of the simulated outcomes behind the band.
        replicates: number of simulations of the outcomes of all N examples.

    Raises:
        ValueError: empty, NaN, misaligned, or out of [0, 1].
    """
    c = fractions(confidence, "confidence")
    y = flags(correct, c.size, "correct")
    draws = rng.random((c.size, replicates), dtype=np.float32) < c[:, None]
    value, errors = _errors(c, y, draws)
    return Estimate(value, *central(errors), "consistency band")


def _errors(c: Floats, y: Booleans, draws: Booleans) -> tuple[float, Floats]:
    """ECE_kde of outcomes `(n,)`, and `(R,)` of R sets of outcomes `(n, R)`, these in single precision."""
    outcomes = draws.astype(np.float32)
    value, errors, start = 0.0, np.zeros(outcomes.shape[1]), 0
    for weights in _weights(c):
        rows = slice(start, start + len(weights))
        value += float(np.abs(weights @ y - c[rows]).sum())
        gaps = weights.astype(np.float32) @ outcomes
        gaps -= c[rows, None].astype(np.float32)
        errors += np.abs(gaps, out=gaps).sum(axis=0)
        start = rows.stop
    return value / c.size, errors / c.size


def _weights(c: Floats) -> Iterator[Floats]:
    """Weights of all examples in the estimate at each, `(rows, n)` at a time; none of its own, rows sum to 1."""
    h = bandwidth(c)
    a, b = c / h, (1 - c) / h
    constant = [math.lgamma(x + y + 2) - math.lgamma(x + 1) - math.lgamma(y + 1) for x, y in zip(a, b, strict=True)]
    inside = np.clip(c, CLOSEST, 1 - CLOSEST)
    start = 0
    for size in blocks(c.size, c.size):
        rows = slice(start, start + size)
        logs = np.log(inside[rows, None]) * a + np.log1p(-inside[rows, None]) * b + constant
        if c.size > 1:
            logs[np.arange(size), np.arange(start, start + size)] = -np.inf
        logs = np.exp(logs - logs.max(axis=1, keepdims=True))
        yield logs / logs.sum(axis=1, keepdims=True)
        start += size
