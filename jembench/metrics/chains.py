r"""What parallel chains are worth: the effective number of independent draws behind their states.

Of M chains observed at T equally spaced times, with the mean within-chain variance W, the between-chain variance of the
chain means B/T and the pooled variance :math:`\hat v = \frac{T-1}{T} W + \frac{B}{T}` (Gelman et al., Bayesian Data
Analysis, 3rd ed., section 11.5), the autocorrelation at lag t is estimated from the mean variogram
:math:`V_t = E (x_{s+t} - x_s)^2` as

.. math::
    \hat\rho_t = 1 - \frac{V_t}{2 \hat v}, \qquad
    \mathrm{ESS} = \frac{M T}{1 + 2 \sum_{t=1}^{t^*} (1 - t/T)\, \hat\rho_t},

the variance of a mean of T values, summed in pairs (t, t + 1) while a pair is positive (Geyer, Statistical Science
1992). Chains that do not forget where they began have a large between-chain variance: M of them are then worth M
draws, however long they run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import finite_matrix


def effective_size(traces: ArrayLike) -> float:
    """Effective number of independent draws, in (0, M T], of ``traces (M, T)``.

    Raises:
        ValueError: fewer than 2 chains or 4 times, or states that are not finite.
    """
    x = finite_matrix(traces, "traces")
    m, t = x.shape
    if m < 2 or t < 4:
        raise ValueError(f"traces need at least 2 chains and 4 times, got {m} and {t}")
    within = float(x.var(axis=1, ddof=1).mean())
    variance = (t - 1) / t * within + float(x.mean(axis=1).var(ddof=1))
    if variance == 0:
        return float(m * t)
    rho = [1 - float(np.square(x[:, lag:] - x[:, : t - lag]).mean()) / (2 * variance) for lag in range(1, t)]
    total = 0.0
    for lag in range(0, t - 2, 2):
        pair = rho[lag] + rho[lag + 1]
        if pair < 0:
            break
        total += (1 - (lag + 1) / t) * rho[lag] + (1 - (lag + 2) / t) * rho[lag + 1]
    size: float = min(m * t / (1 + 2 * max(total, 0.0)), m * t)
    return size
