r"""``refine_distance``: minus the way that n SGLD steps go, :math:`-\lVert x_n - x_0 \rVert_2`.

``refinel2`` of the published code of JEM (Grathwohl et al., ICLR 2020). An image of the data is near where the chain
would have it; an outlier is moved far. In units of [0, 1] pixels.
"""

from __future__ import annotations

import numpy as np

from jembench.metrics.scores.score import Column, Floats, Score


def refine_distance(distance: Floats) -> Floats:
    """Minus the L2 distance ``(N,)`` from an image to the end of its chain; NaN where the chain diverged."""
    return np.where(np.isfinite(distance), -distance.astype(np.float64), np.nan)


SCORE = Score(
    "refine_distance",
    "SGLD L2",
    "minus the L2 distance that SGLD moves the image",
    (Column("refinement", "distance"),),
    refine_distance,
)
