r"""``mass``: approximate mass :math:`-\lVert \partial \log p(x) / \partial x \rVert_2`.

Grathwohl et al., ICLR 2020, section 5.3.2, after Nalisnick et al. (2019): at a point of the typical set the density
does not only stand high but changes little, so a steep gradient is a sign of an outlier.
"""

from __future__ import annotations

import numpy as np

from jembench.metrics.scores.score import Column, Floats, Score


def mass(gradient_norm: Floats) -> Floats:
    """Approximate mass: minus the L2 norm ``(N,)`` of the input gradient of log p(x)."""
    return -gradient_norm.astype(np.float64)


SCORE = Score(
    "mass",
    "mass",
    "approximate mass, minus |d log p(x) / dx|, L2",
    (Column("input_gradient", "gradient_norm"),),
    mass,
)
