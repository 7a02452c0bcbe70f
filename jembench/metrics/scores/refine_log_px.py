r"""``refine_log_px``: minus the gain of log p in n SGLD steps, :math:`\log p(x_0) - \log p(x_n)`.

``refine`` of the published code of JEM (Grathwohl et al., ICLR 2020). The chain climbs log p: an image of the data is
near a mode already and gains little, an outlier gains much.
"""

from __future__ import annotations

import numpy as np

from jembench.metrics.scores.score import Column, Floats, Score


def refine_log_px(before: Floats, after: Floats) -> Floats:
    """log p before the chain less log p after it, ``(N,)`` in nats; NaN where the chain left the finite numbers."""
    with np.errstate(invalid="ignore"):
        gain = before.astype(np.float64) - after.astype(np.float64)
    return np.where(np.isfinite(after), gain, np.nan)


SCORE = Score(
    "refine_log_px",
    "SGLD log p",
    "log p(x) before SGLD less after",
    (Column("refinement", "log_density_before"), Column("refinement", "log_density_after")),
    refine_log_px,
)
