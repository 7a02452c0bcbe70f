r"""``log_px``: the density itself, :math:`\log p(x)`; for a classifier :math:`\mathrm{logsumexp}_y f(x)[y]`.

Grathwohl et al., ICLR 2020, section 5.3.1. In nats, up to log Z, which moves no rank.
"""

from __future__ import annotations

import numpy as np

from jembench.metrics.scores.score import Column, Floats, Score


def log_px(log_density: Floats) -> Floats:
    """log p(x) itself, ``(N,)`` in nats."""
    return log_density.astype(np.float64)


SCORE = Score(
    "log_px",
    "log p(x)",
    "log density, logsumexp of the logits",
    (Column("input_gradient", "log_density"),),
    log_px,
)
