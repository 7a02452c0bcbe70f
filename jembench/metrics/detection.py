r"""Detection of OOD inputs by a score: AUROC, FPR95, AUPR-in and AUPR-out of one pair of samples.

Each metric and its interval has a module of its own (`auroc`, `fpr`, `aupr`); all intervals are analytic, so
`detection_estimates` costs a few sorts and is deterministic.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from jembench.metrics.arrays import vector
from jembench.metrics.aupr import aupr_estimate, aupr_out_estimate
from jembench.metrics.auroc import auroc_estimate
from jembench.metrics.estimate import Estimate
from jembench.metrics.fpr import fpr_estimate


def detection_estimates(positive: ArrayLike, negative: ArrayLike) -> dict[str, Estimate]:
    """Estimates `auroc`, `fpr95`, `aupr_in`, `aupr_out` of in-distribution `(m,)` and OOD scores `(n,)`.

    Raises:
        ValueError: empty, NaN or not a vector.
    """
    x, y = vector(positive, "positive"), vector(negative, "negative")
    return {
        "auroc": auroc_estimate(x, y),
        "fpr95": fpr_estimate(x, y),
        "aupr_in": aupr_estimate(x, y),
        "aupr_out": aupr_out_estimate(x, y),
    }
