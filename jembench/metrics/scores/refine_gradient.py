r"""``refine_gradient``: minus the fall of the gradient norm by SGLD, :math:`\lVert g_n\rVert - \lVert g_0\rVert`.

``refinegrad`` of the published code of JEM (Grathwohl et al., ICLR 2020), g the input gradient of log p. An image of
the data lies where the density is flat and stays there; an outlier starts on a slope and is moved to flatter ground.
"""

from __future__ import annotations

import numpy as np

from jembench.metrics.scores.score import Column, Floats, Score


def refine_gradient(before: Floats, after: Floats) -> Floats:
    """Norm of the gradient after the chain less that before it, ``(N,)``; NaN where the chain diverged."""
    with np.errstate(invalid="ignore"):
        change = after.astype(np.float64) - before.astype(np.float64)
    return np.where(np.isfinite(after), change, np.nan)


SCORE = Score(
    "refine_gradient",
    "SGLD grad",
    "|d log p(x) / dx| after SGLD less before, L2",
    (Column("refinement", "gradient_norm_before"), Column("refinement", "gradient_norm_after")),
    refine_gradient,
)
