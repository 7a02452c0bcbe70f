r"""Vector scaling: a weight and a bias for each class's logit, fitted on a validation split.

    (w, b)* = argmin  mean_i - sum_k t_ik log softmax(w * z_i + b)_k          (Guo et al. 2017, section 4.2)

2K numbers where temperature scaling has one: it mends classes that are predicted too often or too surely, may change
predictions, and on a few hundred examples it overfits.

**Rows are centred.** A softmax does not know what is added to a row of logits, but w * z does if the weights differ. In
an energy model that is log p(x), and p(y|x) must not hang on it: the mean of each row is taken off first, so that one
classifier has one fit. For logits whose rows have mean 0 this is Guo's.

**Separable data** have no finite optimum: along some direction of (w, b) no example's label loses to any class, so the
loss falls for ever. With 2K numbers and a small split that is the rule rather than the exception: a class that is
never confused with another, or never seen, is enough. As in `temperature`, the targets of Platt (1999) stand in for the
labels there, (n + 1) / (n + 2) on the label and the rest shared by the others, and the result says so: it is the doubt
of one example, not the data, that stops the weights. They are the ridge, and none other is needed: with every target
above 0 the loss rises without bound in every direction that changes a probability.

**Newton.** The loss is convex in (w, b). Columns are brought to mean 0 and variance 1; the start is temperature
scaling, softened where its probabilities would be too sharp to have a slope; steps are halved until the loss falls
(Armijo). A direction without slope (a constant added to b; a logit that never varies) gets none. The end is a step that
moves no logit by 1e-9. On separable data there is no such step, as Newton's step of exp(-s) is 1. So one along which no
label loses to any class, to 1e-6 of what others win, is the proof of separability that this module asks for, as are
logits without an error; a linear programme agrees (tests).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, Integers, class_labels, finite_matrix
from jembench.metrics.classification import log_softmax
from jembench.metrics.temperature import fit_temperature

STEPS = 200
REACH = 5.0  # the largest standard deviation of the logits that steps start from
TOLERANCE = 1e-9  # the largest change of a logit that counts as none
LOSS = 1e-6  # share of the largest gain of a margin that the largest loss may have in a separating direction
RESOLUTION = 1e-6  # share of the largest logit below which float32 logits do not vary
FLAT = 1e-12  # share of the largest curvature that every direction has at least
ROUNDING = 1e-15  # a smaller slope is none


class VectorScalingFit(NamedTuple):
    """Weights `(K,)`, biases `(K,)`, and how they were found: `maximum likelihood`, or `Platt targets` if separable."""

    weight: Floats
    bias: Floats
    method: str

    def apply(self, logits: ArrayLike) -> Floats:
        """Scaled logits `(N, K)`, weight * (z - row mean) + bias."""
        return self.weight * _centred(finite_matrix(logits, "logits")) + self.bias


def fit_vector(logits: ArrayLike, labels: ArrayLike) -> VectorScalingFit:
    """The weights and biases that calibrate the logits best, by this module's theory.

    Args:
        logits: logits `(N, K)` of the validation split.
        labels: true classes `(N,)` in 0..K-1.

    Raises:
        ValueError: logits empty or not finite; labels of another length or out of range; no convergence.
    """
    raw = finite_matrix(logits, "logits")
    y = class_labels(labels, raw.shape[0], classes=raw.shape[1])
    n, classes = raw.shape
    deviations = _centred(raw)
    mean, scale = deviations.mean(axis=0), deviations.std(axis=0)
    scale[scale <= RESOLUTION * np.abs(raw).max()] = np.inf  # a constant column: 0, whatever its weight
    z, spread = (deviations - mean) / scale, max(fit_temperature(raw, y).temperature, float(deviations.std()) / REACH)
    start = np.concatenate([np.where(np.isinf(scale), 0.0, scale), mean]) / spread
    method, hard = "maximum likelihood", np.eye(classes)[y]
    theta = _minimum(z, hard, start, y)
    if theta is None:
        doubt = 1 / (n + 2)
        method, soft = "Platt targets", np.where(hard > 0, 1 - doubt, doubt / max(1, classes - 1))
        theta = _minimum(z, soft, start)
    if theta is None:
        raise ValueError(f"vector scaling found no optimum in {STEPS} steps")
    weight = theta[:classes] / scale
    bias = theta[classes:] - weight * mean
    return VectorScalingFit(weight, bias - bias.mean(), method)


def _centred(z: Floats) -> Floats:
    result: Floats = z - z.mean(axis=1, keepdims=True)
    return result


def _minimum(z: Floats, targets: Floats, start: Floats, labels: Integers | None = None) -> Floats | None:
    """(w, b) `(2K,)` at the minimum, from `start`; None if `labels` are separable, or without an end."""
    theta = start
    loss = _loss(z, targets, theta)
    for _ in range(STEPS):
        gradient, hessian = _derivatives(z, targets, theta)
        step = _newton(gradient, hessian)
        change = _centred(_scaled(z, step))
        if np.abs(change).max() < TOLERANCE:
            return theta
        if labels is not None and (_separates(change, labels, LOSS) or _separates(_scaled(z, theta), labels, 0.0)):
            return None
        slope, length = float(gradient @ step), 1.0
        while (trial := _loss(z, targets, theta + length * step)) > loss + 1e-4 * length * slope + ROUNDING:
            length /= 2
        theta, loss = theta + length * step, trial
    return None


def _scaled(z: Floats, theta: Floats) -> Floats:
    classes = z.shape[1]
    result: Floats = theta[:classes] * z + theta[classes:]
    return result


def _loss(z: Floats, targets: Floats, theta: Floats) -> float:
    return float(-(targets * log_softmax(_scaled(z, theta))).sum(axis=1).mean())


def _derivatives(z: Floats, targets: Floats, theta: Floats) -> tuple[Floats, Floats]:
    """Gradient `(2K,)` and Hessian `(2K, 2K)` of the loss."""
    n, classes = z.shape
    p = np.exp(log_softmax(_scaled(z, theta)))
    error = (p - targets) / n
    gradient = np.concatenate([(error * z).sum(axis=0), error.sum(axis=0)])
    product = np.hstack([p * z, p])
    hessian = -product.T @ product / n
    k = np.arange(classes)
    hessian[k, k] += (p * z * z).mean(axis=0)
    hessian[k + classes, k + classes] += p.mean(axis=0)
    hessian[k, k + classes] += (p * z).mean(axis=0)
    hessian[k + classes, k] += (p * z).mean(axis=0)
    return gradient, hessian


def _newton(gradient: Floats, hessian: Floats) -> Floats:
    """Newton's step, in directions that have a slope."""
    curvature, directions = np.linalg.eigh(hessian)
    slope = directions.T @ gradient
    slope[np.abs(slope) < ROUNDING] = 0.0
    step: Floats = -directions @ (slope / np.maximum(curvature, max(FLAT * float(curvature[-1]), ROUNDING)))
    return step


def _separates(logits: Floats, labels: Integers, loss: float) -> bool:
    """Whether some label wins by these logits, or this change of them, and none loses more than `loss` of that."""
    gain = logits[np.arange(labels.size), labels][:, None] - logits
    return bool(gain.max() > 0 and gain.min() >= -loss * gain.max())
