r"""Whether samples are copies of training images: are they nearer to them than images are that nobody has trained on?

With d(.) the distance to the nearest training image, samples y_1..y_m and test images x_1..x_n, d(y) and d(x) have one
law if the samples are drawn from the law of the images, and copies are nearer (Meehan et al., AISTATS 2020, arXiv
2004.05675).

- `nearer`: P(d(y) < d(x)) + P(=) / 2, 1/2 without copying: an AUROC, with the interval of `auroc`.
- `copies`: samples nearer than the nearest test image. If all N = m + n distances are exchangeable, the k smallest are
  all samples with probability prod_{i<k} (m - i) / (N - i) = `copies_p_value`: exact, and small also where so few are
  copied that they do not move `nearer`.

A low p says that samples are nearer to the training images than test images are, which is also so for a sampler of a
narrower law than the images' (a small temperature, means of classes): look at the neighbours (`neighbours.nearest`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from numpy.typing import ArrayLike

from jembench.metrics.arrays import vector
from jembench.metrics.auroc import auroc_estimate
from jembench.metrics.estimate import Estimate


class Memorisation(NamedTuple):
    """What the distances of samples and of test images to the training images say; see the module.

    Attributes:
        nearer: probability that a sample is nearer than a test image, with its interval.
        copies: number of samples nearer than every test image.
        copies_p_value: exact probability of so many copies by chance.
    """

    nearer: Estimate
    copies: int
    copies_p_value: float


def memorisation(samples: ArrayLike, test: ArrayLike) -> Memorisation:
    """Compare distances to the nearest training image of samples `(m,)` and of test images `(n,)`.

    Args:
        samples: distances `(m,)` of the samples, as column 0 of `neighbours.nearest(samples, train, 1)`.
        test: distances `(n,)` of images that were not trained on.

    Raises:
        ValueError: not vectors, empty, NaN, or negative.
    """
    y, x = vector(samples, "samples"), vector(test, "test")
    if min(y.min(), x.min()) < 0:
        raise ValueError("distances must not be negative")
    nearer = auroc_estimate(-y, -x)
    copies = int((y < x.min()).sum())
    by_chance = sum(math.log((y.size - i) / (y.size + x.size - i)) for i in range(copies))
    return Memorisation(nearer, copies, math.exp(by_chance))
