r"""Inception score: how certain the labels of samples are, each and how varied, together.

    IS = exp E KL( p(y|x) || p(y) ),    p(y) = E p(y|x),    1 <= IS <= K    (Salimans et al., 2016, arXiv 1606.03498)

The plug-in over n samples, L = H(p_bar) - mean_i H(p_i) for log IS, is too small: H(p_bar) lies below H(p(y)) by about
(1/2n) tr C, C = Cov(p_i / sqrt p_bar), which is (K - 1) / 2n for certain labels. Splitting n into ten makes it ten
times that, and the spread of the ten is no error of their mean.

`inception_score_estimate` works on log IS by the delete-one jackknife, exact in O(nK), since leaving one out only
moves p_bar:

    L_J = n L - (n - 1) mean_i L_(i),       J = (n - 1)/n sum_i (L_(i) - mean L_(i))^2.

Where the labels are certain and balanced, or say nothing, the influence KL_i - L vanishes, L is a quadratic form in
p_bar - p(y) with variance D = tr C^2 / 2 n^2, and the jackknife counts it twice (see `quadratic`), so Var L_J = max(J
- D, D). Interval: exp(L_J +- z sqrt Var) within [1, K]. Method `jackknife`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, probability_matrix
from jembench.metrics.estimate import Estimate
from jembench.metrics.intervals import Z
from jembench.metrics.quadratic import variance


def inception_score_estimate(probabilities: ArrayLike) -> Estimate:
    """IS of all samples `(N, K)` without its bias, within [1, K], with its interval.

    Returns:
        method `jackknife`; `none` and no interval where all samples have the same p(y|x).

    Raises:
        ValueError: not a matrix of probabilities, or fewer than 2 samples.
    """
    p = probability_matrix(probabilities, "probabilities")
    n, classes = p.shape
    if n < 2:
        raise ValueError(f"probabilities need at least 2 samples for a jackknife, got {n}")
    top = math.log(classes)
    marginal, certainty = p.mean(axis=0), _plogp(p)
    plug_in = float(certainty.mean()) - float(_plogp(marginal))
    marginals = np.maximum((n * marginal - p) / (n - 1), 0.0)
    leave_one_out = (certainty.sum() - certainty) / (n - 1) - _plogp(marginals)
    log_score = min(max(n * plug_in - (n - 1) * float(leave_one_out.mean()), 0.0), top)
    support = marginal > 0
    deviations = (p[:, support] - marginal[support]) / np.sqrt(marginal[support])
    degenerate = float(np.square(deviations.T @ deviations / (n - 1)).sum()) / (2 * n * n)
    if np.ptp(p, axis=0).max() == 0:
        return Estimate(math.exp(log_score))
    jackknife = (n - 1) ** 2 / n * float(leave_one_out.var(ddof=1))
    half = Z * math.sqrt(variance(jackknife, degenerate))
    low, high = max(log_score - half, 0.0), min(log_score + half, top)
    return Estimate(math.exp(log_score), math.exp(low), math.exp(high), "jackknife")


def _plogp(p: Floats) -> Floats:
    """Sum of p log p over the last axis; 0 log 0 = 0."""
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    total: Floats = np.sum(p * logs, axis=-1)
    return total
