r"""Temperature scaling: one number that calibrates logits without changing a prediction.

    T* = argmin_T  mean_i - sum_k t_ik log softmax(z_i / T)_k          (Guo et al. 2017, section 4.2)

The targets t_i are not one-hot but Platt's (1999, section 2.2): (n + 1) / (n + 2) on the label, the rest shared by the
other classes. One-hot targets have no finite optimum where every label is its row's largest logit, which is common on
a small validation split, and the limit T -> 0 makes every later error infinitely expensive; with one example's worth
of doubt the optimum is finite, and the difference vanishes as 1/n.

In b = 1/T the loss is convex, with slope and curvature

    g(b) = mean_i ( E_{p_i}[z_i] - E_{t_i}[z_i] ),   g'(b) = mean_i Var_{p_i}[z_i] >= 0,   p_i = softmax(b z_i),

so g has one root. It is found by Newton steps on log b, kept inside a bracket that every evaluation shrinks:
a step that would leave it is replaced by bisection. The range is T in [0.01, 100], its ends where the optimum lies
beyond; rows without spread make the loss constant: T = 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, Integers, class_labels, finite_matrix

LOWEST, HIGHEST = 0.01, 100.0
TOLERANCE = 1e-12
STEPS = 200  # bisection alone needs 44


def temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Temperature T in [0.01, 100] that minimises the mean cross-entropy of `logits / T` to Platt's targets.

    Args:
        logits: `(N, K)`.
        labels: `(N,)` in 0..K-1.

    Raises:
        ValueError: logits empty or not finite; labels of another length or out of range.
    """
    z = finite_matrix(logits, "logits")
    y = class_labels(labels, z.shape[0], classes=z.shape[1])
    z = z - z.max(axis=1, keepdims=True)
    if not z.any():
        return 1.0
    wanted = _expected(z, y)
    low, high = -math.log(HIGHEST), -math.log(LOWEST)  # of log b
    if _slope(z, wanted, math.exp(low))[0] >= 0:
        return HIGHEST
    if _slope(z, wanted, math.exp(high))[0] <= 0:
        return LOWEST
    return math.exp(-_root(z, wanted, low, high))


def _expected(z: Floats, y: Integers) -> Floats:
    """E_{t_i}[z_i] `(N,)` under Platt's targets; with one class there is nothing to share."""
    n, classes = z.shape
    label = z[np.arange(n), y]
    if classes == 1:
        return label
    doubt = 1 / (n + 2)
    expected: Floats = (1 - doubt) * label + doubt * (z.sum(axis=1) - label) / (classes - 1)
    return expected


def _root(z: Floats, wanted: Floats, low: float, high: float) -> float:
    """Root of g over log b in [low, high], where g changes its sign from - to +."""
    log_b = 0.0
    for _ in range(STEPS):
        g, curvature = _slope(z, wanted, math.exp(log_b))
        if g == 0:
            return log_b
        low, high = (log_b, high) if g < 0 else (low, log_b)
        step = g / (curvature * math.exp(log_b)) if curvature > 0 else math.inf
        newton = log_b - step
        following = newton if low < newton < high else (low + high) / 2
        if abs(following - log_b) < TOLERANCE:
            return following
        log_b = following
    return log_b


def _slope(z: Floats, wanted: Floats, b: float) -> tuple[float, float]:
    """Slope g(b) and curvature g'(b) of the loss of `b z`."""
    p = np.exp(b * z)
    p /= p.sum(axis=1, keepdims=True)
    mean = (p * z).sum(axis=1)
    variance = (p * np.square(z - mean[:, None])).sum(axis=1)
    return float(np.mean(mean - wanted)), float(np.mean(variance))
