r"""Whether a sampler visits the classes as often as it should, by the labels that a classifier gives its samples.

With counts n_k of N labels of K classes, the total variation from equal shares is

    TV = (1/2) sum_k | n_k / N - 1 / K |.

TV is 0 for perfect balance and never 0 of a sample: it is a mean of absolute values, biased upward by about sqrt(K / 2
pi N), so that it has the band in which labels drawn with equal chances would fall (`calibration`): `consistency band`.
Chains of a buffer or of one start are not independent samples: then the band is too strict.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, Integers, class_labels
from jembench.metrics.estimate import Estimate
from jembench.metrics.intervals import central


def class_imbalance(labels: ArrayLike, classes: int, *, rng: np.random.Generator, replicates: int = 1000) -> Estimate:
    """Total variation, 0..1, of labels `(N,)` in 0..classes-1 from equal shares, with its `consistency band`.

    Args:
        labels: predicted classes `(N,)` of the samples, integers in 0..classes-1.
        classes: number of classes K.
        rng: source of the simulated class counts behind the band.
        replicates: number of simulated class counts behind the band.

    Raises:
        ValueError: no labels, not integers, or out of range; classes or replicates below 1.
    """
    if classes < 1 or replicates < 1:
        raise ValueError(f"classes and replicates must be at least 1, got {classes} and {replicates}")
    y = np.asarray(labels)
    if y.ndim != 1 or y.size == 0:
        raise ValueError(f"labels must be a non-empty vector, got shape {y.shape}")
    counts = np.bincount(class_labels(y, y.size, classes=classes), minlength=classes)
    share = np.full(classes, 1 / classes)
    draws = _variation(rng.multinomial(y.size, share, size=replicates), y.size, share)
    return Estimate(float(_variation(counts[None], y.size, share)[0]), *central(draws), "consistency band")


def _variation(counts: Integers, n: int, share: Floats) -> Floats:
    """Total variation of counts `(R, K)` from the shares."""
    total: Floats = np.abs(counts / n - share).sum(axis=1) / 2
    return total
