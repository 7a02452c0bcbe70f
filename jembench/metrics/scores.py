r"""Scores: per-example numbers, **larger = more in-distribution**.

A score is a pure function of recorded columns, array in, array out, so that a corrected score is computed again from
stored records without the model. A new one is a function here with its :class:`Score`, and a line in :data:`SCORES`.

The SGLD scores are those of the published code of JEM (Grathwohl et al., ICLR 2020), ``refine``, ``refinegrad`` and
``refinel2``: an image of the data is near a mode already, lies where the density is flat and stays there, while an
outlier gains much log p, comes from a slope to flatter ground and moves far.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jembench.ground.families import Family

Floats = NDArray[np.floating]


class Column(NamedTuple):
    """A column of the records of a measurement, both by name."""

    measurement: str
    column: str


@dataclass(frozen=True)
class Score:
    """A named score.

    Attributes:
        name: identifier of the score in files.
        title: name of the score in tables and pictures.
        reads: columns that the score is a function of, which may be of several measurements of the same examples.
        compute: maps these columns, ``(N,)`` or ``(N, K)`` each, and the number of ``fit``, if any, to scores ``(N,)``.
        fit: maps the same columns of the training split to a number; None for a score that needs no such number.
    """

    name: str
    title: str
    reads: tuple[Column, ...]
    compute: Callable[..., Floats]
    fit: Callable[..., float] | None = None


def log_px(log_density: Floats) -> Floats:
    r"""The density itself, :math:`\log p(x)`, ``(N,)`` in nats; for a classifier :math:`\mathrm{logsumexp}_y f(x)[y]`.

    Grathwohl et al., ICLR 2020, section 5.3.1. It is known up to log Z, which moves no rank.
    """
    return log_density.astype(np.float64)


def max_py(logits: Floats) -> Floats:
    r"""The maximum softmax probability (Hendrycks & Gimpel, ICLR 2017), from logits ``(N, K)``.

    It is :math:`\max_y p(y|x) = 1 / \sum_y e^{f_y - \max f}`.

    >>> max_py(np.array([[0.0, 0.0], [800.0, 0.0]])).tolist()
    [0.5, 1.0]
    """
    f = logits.astype(np.float64)
    probability: Floats = 1 / np.exp(f - f.max(axis=1, keepdims=True)).sum(axis=1)
    return probability


def mass(gradient_norm: Floats) -> Floats:
    r"""Approximate mass :math:`-\lVert \partial \log p(x) / \partial x \rVert_2`, from norms ``(N,)`` of the gradient.

    Grathwohl et al., ICLR 2020, section 5.3.2, after Nalisnick et al. (2019): at a point of the typical set the density
    does not only stand high but changes little, so a steep gradient is a sign of an outlier.
    """
    return -gradient_norm.astype(np.float64)


def entropy(logits: Floats) -> Floats:
    r"""Minus the entropy of the predicted classes, :math:`\sum_y p(y|x) \log p(y|x)`, from logits ``(N, K)``.

    Where :math:`\max_y p(y|x)` sees the first class only, the entropy also sees how the rest is spread (Ren et al.,
    NeurIPS 2019, use it as a baseline). Between -log K and 0, in nats.

    >>> entropy(np.array([[0.0, 0.0], [800.0, 0.0]])).round(4).tolist()
    [-0.6931, 0.0]
    """
    f = logits.astype(np.float64)
    f = f - f.max(axis=1, keepdims=True)
    weight = np.exp(f)
    total = weight.sum(axis=1)
    negentropy: Floats = (weight * f).sum(axis=1) / total - np.log(total)
    return negentropy


def max_logit(logits: Floats) -> Floats:
    r"""The largest logit :math:`\max_y f(x)[y]` of logits ``(N, K)`` (Hendrycks et al., ICML 2022, arXiv 1911.11132).

    It is the joint density of x and its best class, :math:`\max_y \log p(x, y)` up to log Z: between ``log_px``, which
    sums over classes, and ``max_py``, which forgets the density.
    """
    largest: Floats = logits.astype(np.float64).max(axis=1)
    return largest


def typicality(log_density: Floats, mean: float) -> Floats:
    r"""Minus the distance, in nats, of log densities ``(N,)`` from their mean m over the **training** images.

    Nalisnick et al. (2019, arXiv 1906.02994): in many dimensions almost all draws of p have a log density close to
    minus its entropy, so an image that is much more likely than the training images is as atypical as one that is much
    less likely. Their test averages over a batch; :math:`-\lvert \log p(x) - m \rvert` is its form for one image.

    >>> typicality(np.array([1.0, 3.0, 7.0]), 3.0).tolist()
    [-2.0, -0.0, -4.0]
    """
    return -np.abs(log_density.astype(np.float64) - mean)


def training_mean(log_density: Floats) -> float:
    """Mean of the training split's log densities ``(N,)``; NaN if one of them is no finite number."""
    values = log_density.astype(np.float64)
    return float(values.mean()) if np.isfinite(values).all() else float("nan")


def complexity(log_density: Floats, code_length: Floats) -> Floats:
    """log p(x) ``(N,)`` in nats plus the code length L(x) ``(N,)`` of the image in bits, as nats.

    Serra et al. (ICLR 2020, arXiv 1909.11480): densities of images like simple images, whatever they were trained on. A
    lossless compressor knows nothing of the training set, and its code length is minus the log of a probability, so the
    sum is a log-likelihood ratio of the model against a universal one. They write it in bits with the other sign
    (larger = outlier). L is of the integer image, log p of its point in [0, 1]; the volume of a cell and log Z are
    constants, which move no rank.

    >>> complexity(np.array([-10.0]), np.array([8.0])).round(4).tolist()
    [-4.4548]
    """
    return log_density.astype(np.float64) + math.log(2) * code_length.astype(np.float64)


def refine_log_px(before: Floats, after: Floats) -> Floats:
    r"""Minus the gain of log p in n SGLD steps, :math:`\log p(x_0) - \log p(x_n)`, ``(N,)`` in nats.

    NaN where the chain left the finite numbers.
    """
    with np.errstate(invalid="ignore"):
        gain = before.astype(np.float64) - after.astype(np.float64)
    return np.where(np.isfinite(after), gain, np.nan)


def refine_gradient(before: Floats, after: Floats) -> Floats:
    r"""Minus the fall of the gradient norm by n SGLD steps, :math:`\lVert g_n\rVert - \lVert g_0\rVert`, ``(N,)``.

    g is the input gradient of log p; NaN where the chain diverged.
    """
    with np.errstate(invalid="ignore"):
        change = after.astype(np.float64) - before.astype(np.float64)
    return np.where(np.isfinite(after), change, np.nan)


def refine_distance(distance: Floats) -> Floats:
    r"""Minus the way that n SGLD steps go, :math:`-\lVert x_n - x_0 \rVert_2`, ``(N,)`` in units of [0, 1] pixels.

    NaN where the chain diverged.
    """
    return np.where(np.isfinite(distance), -distance.astype(np.float64), np.nan)


def _ends(column: str) -> tuple[Column, ...]:
    return tuple(Column("refinement", f"{column}_{end}") for end in ("before", "after"))


_F, _LOG_P = Column("logits", "logits"), Column("input_gradient", "log_density")

LOG_PX = Score("log_px", "log p(x)", (_LOG_P,), log_px)
MAX_PY = Score("max_py", "max p(y|x)", (_F,), max_py)
MASS = Score("mass", "mass", (Column("input_gradient", "gradient_norm"),), mass)
ENTROPY = Score("entropy", "-H(p(y|x))", (_F,), entropy)
MAX_LOGIT = Score("max_logit", "max logit", (_F,), max_logit)
TYPICALITY = Score("typicality", "typicality", (_LOG_P,), typicality, training_mean)
COMPLEXITY = Score("complexity", "complexity", (_LOG_P, Column("code_length", "code_length")), complexity)
REFINE_LOG_PX = Score("refine_log_px", "SGLD log p", _ends("log_density"), refine_log_px)
REFINE_GRADIENT = Score("refine_gradient", "SGLD grad", _ends("gradient_norm"), refine_gradient)
REFINE_DISTANCE = Score("refine_distance", "SGLD L2", (Column("refinement", "distance"),), refine_distance)

#: The three of Grathwohl et al. (ICLR 2020, section 5.3 and table 3). Validation chooses checkpoints by these alone.
PAPER = (LOG_PX, MAX_PY, MASS)

#: The score that every classifier has; others are tested against it on the same images.
BASELINE = MAX_PY

SCORES: Family[Score] = Family(
    "score",
    {
        "log_px": (".scores:LOG_PX", "log p(x): log density, logsumexp of the logits"),
        "max_py": (".scores:MAX_PY", "max p(y|x): maximum softmax probability"),
        "mass": (".scores:MASS", "mass: approximate mass, minus |d log p(x) / dx|, L2"),
        "entropy": (".scores:ENTROPY", "-H(p(y|x)): minus the entropy of the predicted classes"),
        "max_logit": (".scores:MAX_LOGIT", "max logit: largest logit, max log p(x, y)"),
        "typicality": (
            ".scores:TYPICALITY",
            "typicality: minus the distance of log p(x) from its mean over the training images",
        ),
        "complexity": (".scores:COMPLEXITY", "complexity: log p(x) plus the code length of the image"),
        "refine_log_px": (".scores:REFINE_LOG_PX", "SGLD log p: log p(x) before SGLD less after"),
        "refine_gradient": (".scores:REFINE_GRADIENT", "SGLD grad: |d log p(x) / dx| after SGLD less before, L2"),
        "refine_distance": (".scores:REFINE_DISTANCE", "SGLD L2: minus the L2 distance that SGLD moves the image"),
    },
    __package__,
    group="jembench.scores",
    fits=lambda thing: isinstance(thing, Score),
)
