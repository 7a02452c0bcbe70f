r"""Calibration error in bins, and the band it would lie in if the model were perfectly calibrated.

A model is calibrated if, among predictions of probability p, a share p comes true. With predictions p_i,
outcomes y_i in {0, 1} and a partition of the predictions into bins B_j,

    ECE = sum_j (n_j / n) | mean_{B_j} y - mean_{B_j} p |  =  (1/n) sum_j | sum_{B_j} (y_i - p_i) |       (Guo
    et al. 2017)

- `ece`: p is the confidence, y whether the prediction is correct; bins of equal width,
  [0, 1/b), ..., [1 - 1/b, 1]. The last bin is closed: a confidence of exactly 1 belongs to it.
- `adaptive_ece`: bins of equal mass by rank (Nguyen & O'Connor 2015). Equal confidences are never
  separated, they all go to the bin of their mean rank, so the order of the examples cannot matter.
- `classwise_ece`: p is the probability of class k, y whether the label is k; the mean over k
  (Kull et al. 2019).
- `mce`: the largest gap | mean_{B_j} y - mean_{B_j} p | of a bin of `ece`, not the mean (Naeini et al. 2015). Every bin
  that holds an example counts, so on few examples it is the luck of the emptiest bin: its band says how much.

**The band is not a confidence interval.** A mean of absolute values is biased upward: on a calibrated model
the plain ECE is about sqrt(bins / n), never 0, and a bootstrap around it resamples the noise once more and
misses the truth. What can be said of it: drawing the outcomes from the predicted probabilities themselves
gives the distribution of the statistic under perfect calibration (consistency resampling; Broecker & Smith
2007). A value above the band is evidence of miscalibration, a value inside is not evidence of any. For an
interval of a calibration error, see `debiased`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, Integers, check_bins, class_labels, flags, fractions, probability_matrix
from jembench.metrics.estimate import Estimate
from jembench.metrics.intervals import central

Statistic = Literal["ece", "adaptive", "classwise", "mce"]
BLOCK = 1 << 22  # elements drawn at a time by a band: bounds its memory


def ece(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15) -> float:
    """Expected calibration error, 0..1, over `bins` bins of equal width, the last one closed.

    Args:
        confidence: probability `(N,)` of each predicted class, in [0, 1].
        correct: whether each prediction is right, `(N,)` booleans or 0/1.
        bins: number of bins of the confidences.

    Raises:
        ValueError: empty, NaN, misaligned, out of [0, 1], or bins < 1.
    """
    p = fractions(confidence, "confidence")
    y = flags(correct, p.size, "correct")
    return _gap(p, y.astype(np.float64), width_bins(p, bins), bins)


def adaptive_ece(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15) -> float:
    """Expected calibration error, 0..1, over `bins` bins of equal mass; arguments and errors as `ece`."""
    p = fractions(confidence, "confidence")
    y = flags(correct, p.size, "correct")
    return _gap(p, y.astype(np.float64), mass_bins(p, bins), bins)


def classwise_ece(probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 15) -> float:
    """Mean over the classes of the ECE, 0..1, of each class's probability; bins of equal width.

    Args:
        probabilities: predicted class probabilities `(N, K)`; rows sum to 1.
        labels: true classes `(N,)` in 0..K-1.
        bins: number of bins of the confidences.

    Raises:
        ValueError: empty, NaN, misaligned, out of range, or bins < 1.
    """
    p = probability_matrix(probabilities, "probabilities")
    y = class_labels(labels, p.shape[0], classes=p.shape[1])
    classes = range(p.shape[1])
    gaps = [_gap(p[:, k], (y == k).astype(np.float64), width_bins(p[:, k], bins), bins) for k in classes]
    return float(np.mean(gaps))


def mce(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15) -> float:
    """Maximum calibration error, 0..1, over the bins of `ece` that hold an example; arguments and errors as `ece`."""
    p = fractions(confidence, "confidence")
    y = flags(correct, p.size, "correct")
    index = width_bins(p, bins)
    return float((np.abs(np.bincount(index, weights=y - p)) / np.maximum(np.bincount(index), 1)).max())


def width_bins(p: Floats, bins: int) -> Integers:
    """Bin `(N,)` of each p in [0, 1]: equal width, closed on the left, the last one closed on both sides.

    Raises:
        ValueError: bins < 1.
    """
    check_bins(bins)
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.minimum(np.searchsorted(edges, p, side="right") - 1, bins - 1).astype(np.int64)


def mass_bins(p: Floats, bins: int) -> Integers:
    """Bin `(N,)` of each p by rank, as equal in mass as ties allow; equal values share a bin.

    Raises:
        ValueError: bins < 1.
    """
    check_bins(bins)
    order_statistics = np.sort(p)
    first = np.searchsorted(order_statistics, p, side="left")
    last = np.searchsorted(order_statistics, p, side="right") - 1
    return ((first + last) * bins // (2 * p.size)).astype(np.int64)


def consistency_band(
    statistic: Statistic, probabilities: ArrayLike, *, rng: np.random.Generator, bins: int = 15, replicates: int = 1000
) -> tuple[float, float]:
    """Central 95 % of a statistic **under perfect calibration**; a band, not a confidence interval.

    Args:
        statistic: `ece`, `adaptive` or `mce`, of confidences `(N,)`; `classwise`, of probabilities `(N, K)`.
        probabilities: confidences `(N,)` or probabilities `(N, K)`, from which the outcomes are drawn.
        rng: source of the simulated outcomes.
        bins: number of bins of the confidences.
        replicates: number of simulations of the outcomes of all N examples.

    Returns:
        (low, high), each 0..1.

    Raises:
        ValueError: an unknown statistic, or predictions as refused by `ece` or `classwise_ece`.
    """
    if statistic == "classwise":
        draws = _classwise_draws(probability_matrix(probabilities, "probabilities"), bins, replicates, rng)
    elif statistic in ("ece", "adaptive", "mce"):
        p = fractions(probabilities, "confidence")
        index = mass_bins(p, bins) if statistic == "adaptive" else width_bins(p, bins)
        draws = _draws(p, index, bins, replicates, rng, largest=statistic == "mce")
    else:
        raise ValueError(f"statistic must be 'ece', 'adaptive', 'classwise' or 'mce', got {statistic!r}")
    return central(draws)


def calibration_estimate(
    statistic: Statistic,
    predictions: ArrayLike,
    outcomes: ArrayLike,
    *,
    rng: np.random.Generator,
    bins: int = 15,
    replicates: int = 1000,
) -> Estimate:
    """A statistic of `predictions` and `outcomes`, the arguments of `ece` or `classwise_ece`, with its band.

    The other arguments and the errors are those of `consistency_band`.
    """
    statistics = {"ece": ece, "adaptive": adaptive_ece, "classwise": classwise_ece, "mce": mce}
    band = consistency_band(statistic, predictions, rng=rng, bins=bins, replicates=replicates)
    return Estimate(statistics[statistic](predictions, outcomes, bins=bins), *band, "consistency band")


def class_cells(p: Floats, bins: int) -> Integers:
    """Cell `(N, K)` of each probability `(N, K)`: its class times `bins` plus its bin of equal width.

    Raises:
        ValueError: bins < 1.
    """
    return np.stack([k * bins + width_bins(p[:, k], bins) for k in range(p.shape[1])], axis=1)


def drawn_labels(p: Floats, replicates: int, rng: np.random.Generator) -> Iterator[Integers]:
    """Labels y_i ~ Categorical(p_i) of probabilities `(N, K)`, in blocks `(size, N)` of `replicates` altogether."""
    n, classes = p.shape
    ladder = np.cumsum(p / p.sum(axis=1, keepdims=True), axis=1)
    ladder[:, -1] = 1.0
    rungs = (ladder + np.arange(n)[:, None]).ravel()  # one sorted array: row i lies in [i, i + 1]
    for size in blocks(replicates, n):
        positions = np.searchsorted(rungs, rng.random((size, n)) + np.arange(n), side="right")
        yield np.minimum(positions - np.arange(n) * classes, classes - 1)  # u + i may round up to i + 1


def blocks(replicates: int, n: int) -> list[int]:
    """Sizes of the blocks of replicates that keep `size * n` below BLOCK."""
    size = max(1, BLOCK // n)
    return [min(size, replicates - start) for start in range(0, replicates, size)]


def _gap(p: Floats, y: Floats, index: Integers, bins: int) -> float:
    """(1/n) sum_j |sum_{B_j} (y - p)|."""
    return float(np.abs(np.bincount(index, weights=y - p, minlength=bins)).sum() / p.size)


def _draws(
    p: Floats, index: Integers, bins: int, replicates: int, rng: np.random.Generator, *, largest: bool = False
) -> Floats:
    """Gaps `(replicates,)` of outcomes y_i ~ Bernoulli(p_i): their sum over the bins, or the `largest` of a bin."""
    member = np.eye(bins, dtype=np.float32)[index]  # 0/1 sums stay exact in float32 up to 2**24 examples
    expectation = np.bincount(index, weights=p, minlength=bins)
    size = np.maximum(np.bincount(index, minlength=bins), 1)
    chunks = []
    for block in blocks(replicates, p.size):
        y = (rng.random((block, p.size)) < p).astype(np.float32)
        gaps = np.abs(y @ member - expectation)
        chunks.append((gaps / size).max(axis=1) if largest else gaps.sum(axis=1) / p.size)
    return np.concatenate(chunks)


def _classwise_draws(p: Floats, bins: int, replicates: int, rng: np.random.Generator) -> Floats:
    """Mean gaps over classes `(replicates,)` of labels y_i ~ Categorical(p_i)."""
    n, classes = p.shape
    cells = class_cells(p, bins)
    expectation = np.bincount(cells.ravel(), weights=p.ravel(), minlength=classes * bins)
    chunks = []
    for y in drawn_labels(p, replicates, rng):
        hit = cells[np.arange(n), y] + np.arange(len(y))[:, None] * classes * bins
        counts = np.bincount(hit.ravel(), minlength=len(y) * classes * bins).reshape(len(y), classes * bins)
        chunks.append(np.abs(counts - expectation).sum(axis=1) / (n * classes))
    return np.concatenate(chunks)
