r"""Two classifiers on the same images: is one better calibrated, and how sure is that?

ECE is biased upwards, by about the same for both, so that its difference

    D = ECE(p^1, y^1) - ECE(p^2, y^2)

is read against what chance does with it. If neither model is better calibrated, it does not matter which of the two
answers (p_i^1, y_i^1) and (p_i^2, y_i^2) to an image came from which model: the **randomisation test** (Fisher, The
Design of Experiments, 1935) swaps them by fair coins and counts how often |D| is reached,

    p = (1 + #{|D*| >= |D|}) / (1 + replicates),

which is exact where the two are exchangeable and else tests whether the swapped models differ. The spread of D* is that
of D without a difference; D gets the ends D +- z s, s its root mean square (method `randomisation`): what chance alone
adds, without the bias of either ECE.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import flags, fractions
from jembench.metrics.calibration import width_bins
from jembench.metrics.estimate import Estimate
from jembench.metrics.intervals import Z

BLOCK = 1 << 22  # elements drawn at a time: bounds the memory


def ece_difference(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    *,
    rng: np.random.Generator,
    bins: int = 15,
    replicates: int = 4999,
) -> tuple[Estimate, float]:
    """ECE of the first model less that of the second, and the two-sided p-value of no difference.

    Args:
        first: confidences `(n,)` in [0, 1] and whether the predictions are right `(n,)`, of the first model.
        second: the same of the second model, of the same images in the same order.
        rng: source of the coins.
        bins: number of bins of equal width.
        replicates: number of random swaps.

    Returns:
        The difference, method `randomisation`, `none` where the answers do not differ; and p.

    Raises:
        ValueError: empty, NaN, of two lengths, or out of [0, 1].
    """
    excess, places = [], []
    size = None
    for confidence, correct in (first, second):
        p = fractions(confidence, "confidence")
        size = p.size if size is None else size
        if p.size != size:
            raise ValueError(f"confidences must be of the same images, got {size} and {p.size}")
        excess.append(flags(correct, size, "correct").astype(np.float64) - p)
        places.append(width_bins(p, bins))
    assert size is not None
    gaps = np.zeros((2, bins))
    for model in (0, 1):
        np.add.at(gaps[model], places[model], excess[model])
    value = float(np.abs(gaps[0]).sum() - np.abs(gaps[1]).sum()) / size
    moved = np.flatnonzero((excess[0] != excess[1]) | (places[0] != places[1]))
    if not moved.size:
        return Estimate(value), 1.0
    change = np.zeros((moved.size, bins))  # what a swap adds to the gaps of the first, and takes from the second
    rows = np.arange(moved.size)
    np.add.at(change, (rows, places[1][moved]), excess[1][moved])
    np.add.at(change, (rows, places[0][moved]), -excess[0][moved])
    draws, step = [], max(1, BLOCK // moved.size)
    for start in range(0, replicates, step):
        coins = rng.integers(0, 2, size=(min(step, replicates - start), moved.size)).astype(np.float64)
        shift = coins @ change
        draws.append((np.abs(gaps[0] + shift).sum(axis=1) - np.abs(gaps[1] - shift).sum(axis=1)) / size)
    chance = np.concatenate(draws)
    p_value = (1 + int((np.abs(chance) >= abs(value) - 1e-12).sum())) / (1 + replicates)
    half = Z * math.sqrt(float(np.mean(chance**2)))
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half), "randomisation"), p_value
