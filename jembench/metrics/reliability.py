"""Reliability diagram: accuracy against confidence in bins, each with Wilson's interval.

Murphy & Winkler 1977; bins of equal width as in `calibration`, so that the gaps |accuracy - confidence|, weighted by
the counts, add to the ECE. In a bin of n examples the interval is that of the share of correct ones
(`intervals.wilson`): a bin whose interval holds its mean confidence is no evidence of miscalibration. It holds for each
bin on its own: of 15 bins of a calibrated model one lies outside as often as not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import flags, fractions
from jembench.metrics.calibration import width_bins
from jembench.metrics.intervals import wilson


class Bin(NamedTuple):
    """The examples of confidence in [left, right), the last bin closed.

    Attributes:
        left: lower edge of the bin.
        right: upper edge of the bin.
        examples: number of examples, at least 1.
        confidence: mean confidence of the examples.
        accuracy: share of correct predictions among the examples.
        low: lower end of the interval of the accuracy.
        high: upper end of the interval of the accuracy.
    """

    left: float
    right: float
    examples: int
    confidence: float
    accuracy: float
    low: float
    high: float


def reliability(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15) -> list[Bin]:
    """The bins that hold an example, from left to right.

    Args:
        confidence: probability `(N,)` of each predicted class, in [0, 1].
        correct: whether each prediction is right, `(N,)` booleans or 0/1.
        bins: number of bins of equal width.

    Raises:
        ValueError: empty, NaN, misaligned, out of [0, 1]; bins < 1.
    """
    p = fractions(confidence, "confidence")
    y = flags(correct, p.size, "correct")
    index = width_bins(p, bins)
    counts, hits = np.bincount(index, minlength=bins), np.bincount(index, weights=y, minlength=bins)
    sums, edges = np.bincount(index, weights=p, minlength=bins), np.linspace(0.0, 1.0, bins + 1)
    return [
        Bin(
            float(edges[j]),
            float(edges[j + 1]),
            int(counts[j]),
            float(sums[j] / counts[j]),
            float(hits[j] / counts[j]),
            *wilson(int(hits[j]), int(counts[j])),
        )
        for j in np.flatnonzero(counts)
    ]
