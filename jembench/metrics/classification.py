r"""Classification: log-probabilities of logits, and what they lose.

With logits `f(x)` in R^K and the label y,

    log p(k | x) = f(x)[k] - logsumexp_j f(x)[j]
    NLL          = -log p(y | x)                                    (nats)
    Brier        = sum_k (p(k | x) - 1[k = y])^2                    (0..2; Brier 1950, all classes summed)

All are per example: averages and their intervals are made by `intervals.mean`. The logarithm never leaves log
space, so that a confident error costs its logit gap and not `inf`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, Integers, class_labels, finite_matrix, flags
from jembench.metrics.estimate import Estimate
from jembench.metrics.intervals import wilson


def log_softmax(logits: ArrayLike) -> Floats:
    """Log-probabilities `(N, K)` in nats of logits `(N, K)`.

    Raises:
        ValueError: logits empty, not a matrix, or not finite.
    """
    z = finite_matrix(logits, "logits")
    z = z - z.max(axis=1, keepdims=True)
    result: Floats = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return result


def softmax(logits: ArrayLike) -> Floats:
    """Probabilities `(N, K)` of logits `(N, K)`; rows sum to 1.

    Raises:
        ValueError: as `log_softmax`.
    """
    p: Floats = np.exp(log_softmax(logits))
    p /= p.sum(axis=1, keepdims=True)
    return p


def nll(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """Negative log-likelihood `(N,)` in nats of labels `(N,)` under logits `(N, K)`.

    Raises:
        ValueError: as `log_softmax`; labels of another length, not integers, or out of 0..K-1.
    """
    log_p = log_softmax(logits)
    y = class_labels(labels, log_p.shape[0], classes=log_p.shape[1])
    log_likelihood: Floats = np.take_along_axis(log_p, y[:, None], axis=1)[:, 0]
    return -log_likelihood


def brier(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """Brier score `(N,)`, 0..2, of labels `(N,)` under logits `(N, K)`, summed over the classes.

    Raises:
        ValueError: as `nll`.
    """
    error = softmax(logits)
    y = class_labels(labels, error.shape[0], classes=error.shape[1])
    error[np.arange(y.size), y] -= 1.0
    result: Floats = np.square(error).sum(axis=1)
    return result


def confidence(logits: ArrayLike) -> Floats:
    """Largest probability `(N,)`, max_k p(k | x), of logits `(N, K)`.

    Raises:
        ValueError: as `log_softmax`.
    """
    result: Floats = softmax(logits).max(axis=1)
    return result


def prediction(logits: ArrayLike) -> Integers:
    """Predicted class `(N,)` of logits `(N, K)`; the first of equal ones.

    Raises:
        ValueError: as `log_softmax`.
    """
    first: Integers = finite_matrix(logits, "logits").argmax(axis=1).astype(np.int64)
    return first


def accuracy(correct: ArrayLike) -> Estimate:
    """Share of True among `correct` `(N,)`, with Wilson's interval (`intervals.wilson`).

    Raises:
        ValueError: empty, not a vector, or not 0/1.
    """
    hits = flags(correct, None, "correct")
    low, high = wilson(int(hits.sum()), hits.size)
    return Estimate(float(hits.mean()), low, high, "wilson")
