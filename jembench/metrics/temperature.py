r"""Temperature scaling: one number that calibrates logits without changing a prediction.

    T* = argmin_T  mean_i - sum_k t_ik log softmax(z_i / T)_k          (Guo et al. 2017, section 4.2)

With one-hot targets t_i this is maximum likelihood. It has no finite optimum where every label is its row's largest
logit, which is common on a small validation split: the limit T -> 0 makes every later error infinitely expensive.
Such **separable** data get the targets of Platt (1999, section 2.2) instead, (n + 1) / (n + 2) on the label and the
rest shared by the other classes: one example's worth of doubt, so that the optimum is finite. It is then the doubt and
not the data that stops T from falling, and the result says so.

In b = 1/T the loss is convex, with slope and curvature

    g(b) = mean_i ( E_{p_i}[z_i] - E_{t_i}[z_i] ),   g'(b) = mean_i Var_{p_i}[z_i] >= 0,   p_i = softmax(b z_i),

so g has one root. It is found by Newton steps on log b, kept inside a bracket that every evaluation shrinks:
a step that would leave it is replaced by bisection. The range is T in [0.01, 100], its ends where the optimum lies
beyond; rows without spread make the loss constant: T = 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, class_labels, finite_matrix

LOWEST, HIGHEST = 0.01, 100.0
TOLERANCE = 1e-12
STEPS = 200  # bisection alone needs 44


class TemperatureFit(NamedTuple):
    """A temperature in [0.01, 100] and how it was found: `maximum likelihood`, or `Platt targets` if separable."""

    temperature: float
    method: str


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> TemperatureFit:
    """The temperature T that calibrates `logits / T` best, by this module's theory.

    Args:
        logits: logits `(N, K)` of the validation split.
        labels: true classes `(N,)` in 0..K-1.

    Raises:
        ValueError: logits empty or not finite; labels of another length or out of range.
    """
    z = finite_matrix(logits, "logits")
    y = class_labels(labels, z.shape[0], classes=z.shape[1])
    z = z - z.max(axis=1, keepdims=True)
    label = z[np.arange(y.size), y]
    if label.any() or not z.any():
        return TemperatureFit(_minimum(z, label), "maximum likelihood")
    doubt = 1 / (y.size + 2)
    target = (1 - doubt) * label + doubt * (z.sum(axis=1) - label) / (z.shape[1] - 1)
    return TemperatureFit(_minimum(z, target), "Platt targets")


def _minimum(z: Floats, target: Floats) -> float:
    """T at the root of g, where E_{t_i}[z_i] is `target`."""
    if not z.any():
        return 1.0
    low, high = -math.log(HIGHEST), -math.log(LOWEST)  # of log b
    if _slope(z, target, math.exp(low))[0] >= 0:
        return HIGHEST
    if _slope(z, target, math.exp(high))[0] <= 0:
        return LOWEST
    return math.exp(-_root(z, target, low, high))


def _root(z: Floats, target: Floats, low: float, high: float) -> float:
    """Root of g over log b in [low, high], where g changes its sign from - to +."""
    log_b = 0.0
    for _ in range(STEPS):
        g, curvature = _slope(z, target, math.exp(log_b))
        if g == 0:
            return log_b
        low, high = (log_b, high) if g < 0 else (low, log_b)
        step = g / (curvature * math.exp(log_b)) if curvature > 0 else math.inf
        newton = log_b - step
        proposal = newton if low < newton < high else (low + high) / 2
        if abs(proposal - log_b) < TOLERANCE:
            return proposal
        log_b = proposal
    return log_b


def _slope(z: Floats, target: Floats, b: float) -> tuple[float, float]:
    """Slope g(b) and curvature g'(b) of the loss of `b z`."""
    p = np.exp(b * z)
    p /= p.sum(axis=1, keepdims=True)
    mean = (p * z).sum(axis=1)
    variance = (p * np.square(z - mean[:, None])).sum(axis=1)
    return float(np.mean(mean - target)), float(np.mean(variance))
