r"""``max_py``: the maximum softmax probability :math:`\max_y p(y|x)` (Hendrycks & Gimpel, ICLR 2017)."""

from __future__ import annotations

import numpy as np

from jembench.metrics.scores.score import Column, Floats, Score


def max_py(logits: Floats) -> Floats:
    r"""Maximum class probability of logits ``(N, K)``: :math:`1 / \sum_y e^{f_y - \max f}`.

    >>> max_py(np.array([[0.0, 0.0], [800.0, 0.0]])).tolist()
    [0.5, 1.0]
    """
    f = logits.astype(np.float64)
    probability: Floats = 1 / np.exp(f - f.max(axis=1, keepdims=True)).sum(axis=1)
    return probability


SCORE = Score("max_py", "max p(y|x)", "maximum softmax probability", (Column("logits", "logits"),), max_py)
