r"""Detection of OOD inputs by a score: AUROC, FPR95, AUPR-in and AUPR-out of one pair of samples.

Each metric and its interval has a module of its own (`auroc`, `fpr`, `aupr`); all intervals are analytic, so
`detection_estimates` costs a few sorts and is deterministic.

`bootstrap_detection` resamples all four metrics from **one** sort. With counts w_i of a resample and the
distinct scores in descending order t_1 > ... > t_G, the weighted counts TP_g = sum w_i 1[x_i >= t_g] and FP_g
likewise are two cumulative sums, and every metric is a function of them. It is meant for *paired* comparisons
(two models, two scores), for which both sides are given the same counts; as an interval of one value it is
invalid at the edges (a separated sample stays separated in every resample).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jembench.metrics.arrays import Floats, vector
from jembench.metrics.aupr import aupr_estimate, aupr_out_estimate
from jembench.metrics.auroc import auroc_estimate
from jembench.metrics.estimate import Estimate
from jembench.metrics.fpr import fpr_estimate, kept
from jembench.metrics.intervals import resample_counts


def detection_estimates(positive: ArrayLike, negative: ArrayLike, *, level: float = 0.95) -> dict[str, Estimate]:
    """Estimates `auroc`, `fpr95`, `aupr_in`, `aupr_out` of in-distribution `(m,)` and OOD scores `(n,)`.

    Raises:
        ValueError: empty, NaN or not a vector; level out of (0, 1).
    """
    x, y = vector(positive, "positive"), vector(negative, "negative")
    return {
        "auroc": auroc_estimate(x, y, level=level),
        "fpr95": fpr_estimate(x, y, level=level),
        "aupr_in": aupr_estimate(x, y, level=level),
        "aupr_out": aupr_out_estimate(x, y, level=level),
    }


def bootstrap_detection(
    positive: ArrayLike,
    negative: ArrayLike,
    *,
    rng: np.random.Generator | None = None,
    replicates: int = 1000,
    counts_positive: ArrayLike | None = None,
    counts_negative: ArrayLike | None = None,
) -> dict[str, Floats]:
    """Replicates `(R,)` of `auroc`, `fpr95`, `aupr_in` and `aupr_out`.

    Args:
        positive: in-distribution scores `(m,)`.
        negative: OOD scores `(n,)`.
        rng: draws the counts of `replicates` resamples, where they are not given.
        replicates: R, where the counts are drawn.
        counts_positive: whole counts `(R, m)`, rows summing to m, in place of rng.
        counts_negative: whole counts `(R, n)`, rows summing to n.

    Raises:
        ValueError: scores empty, NaN or not a vector; neither rng nor both counts, or all of them; counts of
        another
            shape or sum.
    """
    x, y = vector(positive, "positive"), vector(negative, "negative")
    if rng is not None and counts_positive is None and counts_negative is None:
        w, v = resample_counts(x.size, replicates, rng), resample_counts(y.size, replicates, rng)
    elif rng is None and counts_positive is not None and counts_negative is not None:
        w, v = np.asarray(counts_positive), np.asarray(counts_negative)
    else:
        raise ValueError("need either rng or both counts_positive and counts_negative")
    _check_counts(w, x.size, "counts_positive")
    _check_counts(v, y.size, "counts_negative")
    if w.shape[0] != v.shape[0]:
        raise ValueError(f"counts must have the same replicates, got {w.shape[0]} and {v.shape[0]}")
    thresholds = np.unique(np.concatenate([x, y]))[::-1]
    return _curves(_cumulative(x, w, thresholds), _cumulative(y, v, thresholds))


def _cumulative(scores: Floats, counts: NDArray[np.integer], thresholds: Floats) -> Floats:
    """Weighted counts `(R, G)` of scores at or above each of the descending thresholds."""
    order = np.argsort(-scores, kind="stable")
    sums = np.zeros((counts.shape[0], scores.size + 1))
    np.cumsum(counts[:, order], axis=1, out=sums[:, 1:])
    return sums[:, scores.size - np.searchsorted(scores[order][::-1], thresholds, "left")]


def _curves(tp: Floats, fp: Floats) -> dict[str, Floats]:
    """Return the four metrics `(R,)` of cumulative counts `(R, G)`."""
    m, n = tp[0, -1], fp[0, -1]
    steps_tp, steps_fp = np.diff(tp, axis=1, prepend=0.0), np.diff(fp, axis=1, prepend=0.0)
    out_tp, out_fp = n - (fp - steps_fp), m - (tp - steps_tp)  # at or below each threshold
    first = (tp >= kept(int(m), 0.95)).argmax(axis=1)
    return {
        "auroc": (steps_fp * (tp - steps_tp / 2)).sum(axis=1) / (m * n),
        "fpr95": np.take_along_axis(fp, first[:, None], axis=1)[:, 0] / n,
        "aupr_in": (steps_tp * tp / np.maximum(tp + fp, 1.0)).sum(axis=1) / m,
        "aupr_out": (steps_fp * out_tp / np.maximum(out_tp + out_fp, 1.0)).sum(axis=1) / n,
    }


def _check_counts(counts: NDArray[np.integer], n: int, name: str) -> None:
    if counts.ndim != 2 or counts.shape[1] != n or counts.shape[0] == 0:
        raise ValueError(f"{name} must have shape (R, {n}), got {counts.shape}")
    if not np.issubdtype(counts.dtype, np.integer) or counts.min() < 0 or (counts.sum(axis=1) != n).any():
        raise ValueError(f"{name} must be whole counts whose rows sum to {n}")
