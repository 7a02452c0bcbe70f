r"""``entropy``: minus the entropy of the predicted classes, :math:`\sum_y p(y|x) \log p(y|x)`.

Where :math:`\max_y p(y|x)` sees the first class only, the entropy also sees how the rest is spread (Ren et al., NeurIPS
2019, use it as a baseline). Between -log K and 0, in nats.
"""

from __future__ import annotations

import numpy as np

from jembench.metrics.scores.score import Column, Floats, Score


def entropy(logits: Floats) -> Floats:
    """Minus the entropy of p(y|x), in nats, from logits ``(N, K)``.

    >>> entropy(np.array([[0.0, 0.0], [800.0, 0.0]])).round(4).tolist()
    [-0.6931, 0.0]
    """
    f = logits.astype(np.float64)
    f = f - f.max(axis=1, keepdims=True)
    weight = np.exp(f)
    total = weight.sum(axis=1)
    negentropy: Floats = (weight * f).sum(axis=1) / total - np.log(total)
    return negentropy


SCORE = Score(
    "entropy", "-H(p(y|x))", "minus the entropy of the predicted classes", (Column("logits", "logits"),), entropy
)
