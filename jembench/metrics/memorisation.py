r"""Whether samples are copies of training images: are they nearer to them than images are that nobody has trained on?

With d(.) the distance to the nearest training image, samples y_1..y_m and test images x_1..x_n, d(y) and d(x) have one
law if the samples are drawn from the law of the images, and copies are nearer (Meehan et al., AISTATS 2020, arXiv
2004.05675).

- `nearer`: P(d(y) < d(x)) + P(=) / 2, 1/2 without copying: an AUROC, with the interval of `auroc`.
- `z`: the Mann-Whitney statistic (U - mn/2) / sd, sd^2 = (mn/12) (N + 1 - sum_t (t^3 - t) / N(N - 1)) for ties of t
  among N = m + n, U counting pairs with the **test** image nearer: negative = copying. With `cells` (classes, say) it
  is taken in each cell that holds both and combined, sum_c w_c z_c / sqrt(sum_c w_c^2), w_c the share of the test
  images in the cell, so that copying in one region is not made good by bad samples in another. `p_value` is one-sided,
  P(N(0, 1) <= z).
- `copies`: samples nearer than the nearest test image. If all N distances are exchangeable, the k smallest are all
  samples with probability prod_{i<k} (m - i) / (N - i) = `copies_p_value`: exact, and seen also where a few are copied,
  which do not move z.

A low p says that samples are nearer to the training images than test images are, which is also so for a sampler of a
narrower law than the images' (a small temperature, means of classes): look at the neighbours (`neighbours.nearest`).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, vector
from jembench.metrics.auroc import auroc_estimate
from jembench.metrics.estimate import Estimate


class Memorisation(NamedTuple):
    """What the distances of samples and of test images to the training images say; see the module.

    Attributes:
        nearer: probability that a sample is nearer than a test image, with its interval.
        z: Mann-Whitney statistic, negative where samples are nearer; None where no cell holds both or all are equal.
        p_value: of z, one-sided; None likewise.
        copies: samples nearer than every test image.
        copies_p_value: exact probability of so many by chance.
    """

    nearer: Estimate
    z: float | None
    p_value: float | None
    copies: int
    copies_p_value: float


def memorisation(
    samples: ArrayLike,
    test: ArrayLike,
    *,
    cells: tuple[ArrayLike, ArrayLike] | None = None,
    level: float = 0.95,
) -> Memorisation:
    """Compare distances to the nearest training image of samples `(m,)` and of test images `(n,)`.

    Args:
        samples: distances, as column 0 of `neighbours.nearest(samples, train, 1)`.
        test: distances of images that were not trained on.
        cells: integers `(m,)` and `(n,)`, the cell of each sample and test image; None: one cell.
        level: intended coverage of `nearer`.

    Raises:
        ValueError: not vectors, empty, NaN, negative, cells of other lengths, or level out of (0, 1).
    """
    y, x = vector(samples, "samples"), vector(test, "test")
    if min(y.min(), x.min()) < 0:
        raise ValueError("distances must not be negative")
    nearer = auroc_estimate(-y, -x, level=level)
    z = _combined(y, x, *((np.zeros(y.size), np.zeros(x.size)) if cells is None else cells))
    copies = int((y < x.min()).sum())
    by_chance = sum(math.log((y.size - i) / (y.size + x.size - i)) for i in range(copies))
    return Memorisation(nearer, z, None if z is None else NormalDist().cdf(z), copies, math.exp(by_chance))


def mann_whitney(samples: ArrayLike, test: ArrayLike) -> float | None:
    """z of two vectors, negative where `samples` are smaller; None where all values are equal.

    Raises:
        ValueError: not vectors, empty, or NaN.
    """
    y, x = vector(samples, "samples"), np.sort(vector(test, "test"))
    m, n = y.size, x.size
    below = int(np.searchsorted(x, y, "left").sum()) + int(np.searchsorted(x, y, "right").sum())  # 2 U
    ties = np.unique(np.concatenate([x, y]), return_counts=True)[1].astype(np.float64)
    total = m + n
    spread = m * n / 12 * (total + 1 - float((ties**3 - ties).sum()) / (total * (total - 1)))
    return (below - m * n) / 2 / math.sqrt(spread) if spread > 0 and ties.size > 1 else None


def _combined(y: Floats, x: Floats, of_samples: ArrayLike, of_test: ArrayLike) -> float | None:
    """z over the cells that hold samples and test images."""
    a, b = np.asarray(of_samples), np.asarray(of_test)
    if a.shape != y.shape or b.shape != x.shape:
        raise ValueError(f"cells must have shapes {y.shape} and {x.shape}, got {a.shape} and {b.shape}")
    found = []
    for cell in np.intersect1d(a, b):
        inside = x[b == cell]
        z = mann_whitney(y[a == cell], inside)
        if z is not None:
            found.append((inside.size / x.size, z))
    if not found:
        return None
    weights, values = np.array(found).T
    return float(weights @ values) / math.sqrt(float(weights @ weights))
