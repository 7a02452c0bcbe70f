r"""``max_logit``: the largest logit :math:`\max_y f(x)[y]` (Hendrycks et al., ICML 2022, arXiv 1911.11132).

It is the joint density of x and its best class, :math:`\max_y \log p(x, y)` up to log Z: between ``log_px``, which
sums over classes, and ``max_py``, which forgets the density.
"""

from __future__ import annotations

import numpy as np

from jembench.metrics.scores.score import Column, Floats, Score


def max_logit(logits: Floats) -> Floats:
    """The largest of logits ``(N, K)``."""
    largest: Floats = logits.astype(np.float64).max(axis=1)
    return largest


SCORE = Score("max_logit", "max logit", "largest logit, max log p(x, y)", (Column("logits", "logits"),), max_logit)
