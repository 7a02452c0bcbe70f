r"""``typicality``: :math:`-\lvert \log p(x) - m \rvert` with m the mean of log p over the **training** images.

Nalisnick et al. (2019, arXiv 1906.02994): in many dimensions almost all draws of p have a log density close to minus
its entropy, so an image that is much more likely than the training images is as atypical as one that is much less
likely. Their test averages over a batch; this is its form for one image.
"""

from __future__ import annotations

import numpy as np

from jembench.metrics.scores.score import Column, Floats, Score


def typicality(log_density: Floats, mean: float) -> Floats:
    """Minus the distance, in nats, of log densities ``(N,)`` from their mean over the training split.

    >>> typicality(np.array([1.0, 3.0, 7.0]), 3.0).tolist()
    [-2.0, -0.0, -4.0]
    """
    return -np.abs(log_density.astype(np.float64) - mean)


def training_mean(log_density: Floats) -> float:
    """Mean of the training split's log densities ``(N,)``; NaN if one of them is no finite number."""
    values = log_density.astype(np.float64)
    return float(values.mean()) if np.isfinite(values).all() else float("nan")


SCORE = Score(
    "typicality",
    "typicality",
    "minus the distance of log p(x) from its mean over the training images",
    (Column("input_gradient", "log_density"),),
    typicality,
    training_mean,
)
