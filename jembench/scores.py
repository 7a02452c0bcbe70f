r"""Scores: per-example numbers, **larger = more in-distribution**.

A score is a pure function of recorded columns, array in, array out, so that a corrected score is computed again from
stored records without the model. The three of Grathwohl et al. (ICLR 2020, section 5.3 and table 3):

- ``log_px``: :math:`\log p(x)`, for a classifier :math:`\mathrm{logsumexp}_y f(x)[y]`;
- ``max_py``: :math:`\max_y p(y|x)`, the maximum softmax probability (Hendrycks & Gimpel, ICLR 2017);
- ``mass``: approximate mass :math:`-\lVert \partial \log p(x) / \partial x \rVert_2` (Nalisnick et al., 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Score:
    """A named score.

    Attributes:
        name: identifier in files.
        title: what people read.
        about: one line of explanation.
        measurement: the measurement whose records it reads.
        column: the column of those records.
        compute: column ``(N,)`` or ``(N, K)`` to scores ``(N,)``.
    """

    name: str
    title: str
    about: str
    measurement: str
    column: str
    compute: Callable[[Floats], Floats]


def log_px(log_density: Floats) -> Floats:
    """log p(x) itself, ``(N,)`` in nats."""
    return log_density.astype(np.float64)


def max_py(logits: Floats) -> Floats:
    r"""Maximum class probability of logits ``(N, K)``: :math:`1 / \sum_y e^{f_y - \max f}`.

    >>> max_py(np.array([[0.0, 0.0], [800.0, 0.0]])).tolist()
    [0.5, 1.0]
    """
    f = logits.astype(np.float64)
    probability: Floats = 1 / np.exp(f - f.max(axis=1, keepdims=True)).sum(axis=1)
    return probability


def mass(gradient_norm: Floats) -> Floats:
    """Approximate mass: minus the L2 norm ``(N,)`` of the input gradient of log p(x)."""
    return -gradient_norm.astype(np.float64)


SCORES: tuple[Score, ...] = (
    Score("log_px", "log p(x)", "log density, logsumexp of the logits", "input_gradient", "log_density", log_px),
    Score("max_py", "max p(y|x)", "maximum softmax probability", "logits", "logits", max_py),
    Score("mass", "mass", "approximate mass, minus |d log p(x) / dx|, L2", "input_gradient", "gradient_norm", mass),
)
