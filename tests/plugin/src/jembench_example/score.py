"""A score and a post-hoc detector."""

import numpy as np

from jembench.measurements.detector import PostHoc
from jembench.metrics.scores import Column, Score


def margin(logits: np.ndarray) -> np.ndarray:
    """The largest logit less the second largest."""
    ordered = np.sort(logits.astype(np.float64), axis=1)
    return ordered[:, -1] - ordered[:, -2]


MARGIN = Score("margin", "margin", (Column("logits", "logits"),), margin)
ENERGY = PostHoc(lambda ood, model, last: ood.EnergyBased(None), "logits", fitted=False)
