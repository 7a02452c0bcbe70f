r"""``complexity``: log p(x) corrected by the complexity of the image, :math:`\log p(x) + L(x)`.

Serra et al. (ICLR 2020, arXiv 1909.11480): densities of images like simple images, whatever they were trained on. A
lossless compressor knows nothing of the training set, and its code length L(x) is minus the log of a probability, so
the sum is a log-likelihood ratio of the model against a universal one. They write it in bits with the other sign
(larger = outlier); here it is in nats and larger = more in-distribution. L is of the integer image, log p of its point
in [0, 1]; the volume of a cell and log Z are constants, which move no rank.
"""

from __future__ import annotations

import math

import numpy as np

from jembench.metrics.scores.score import Column, Floats, Score


def complexity(log_density: Floats, code_length: Floats) -> Floats:
    """log p(x) ``(N,)`` in nats plus the code length ``(N,)`` in bits, as nats.

    >>> complexity(np.array([-10.0]), np.array([8.0])).round(4).tolist()
    [-4.4548]
    """
    return log_density.astype(np.float64) + math.log(2) * code_length.astype(np.float64)


SCORE = Score(
    "complexity",
    "complexity",
    "log p(x) plus the code length of the image",
    (Column("input_gradient", "log_density"), Column("code_length", "code_length")),
    complexity,
)
