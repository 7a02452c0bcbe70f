r"""Logistic regression with a ridge, on weighted examples: P(y = 1 | x) = sigma(b_0 + b . (x - m) / s).

m and s are the weighted mean and standard deviation of every feature (s = 1 for a constant one), so that neither the
unit nor the zero of a feature matters. Minimised is

    - sum_i w_i ( t_i log p_i + (1 - t_i) log(1 - p_i) ) + lambda/2 |b|^2,    t_i = (n y_i + 1/2) / (n + 1),

with weights of mean 1 / n. The targets t hold half an example's worth of doubt (after Platt, 1999), so that the optimum
is finite also where all y are equal. Strictly convex; found by Newton's method with halved steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, finite_matrix, finite_vector, flags

RIDGE = 1e-3
STEPS = 100
TOLERANCE = 1e-10


@dataclass(frozen=True)
class Logistic:
    """A fitted model.

    Attributes:
        mean: weighted mean m `(D,)` of every feature.
        scale: weighted standard deviation s `(D,)` of every feature; 1 for a constant one.
        weights: coefficients b `(1 + D,)`, the constant first.
    """

    mean: Floats
    scale: Floats
    weights: Floats

    def probability(self, features: ArrayLike) -> Floats:
        """P(y = 1 | x) `(N,)` of features `(N, D)`.

        Raises:
            ValueError: features empty, not finite, or not of D columns.
        """
        x = finite_matrix(features, "features")
        if x.shape[1] != self.mean.size:
            raise ValueError(f"features must have {self.mean.size} columns, got {x.shape[1]}")
        return _sigma(_design(x, self.mean, self.scale) @ self.weights)


def fit_logistic(features: ArrayLike, outcome: ArrayLike, *, weights: ArrayLike, ridge: float = RIDGE) -> Logistic:
    """The ridge regression of this module's theory.

    Args:
        features: features x `(N, D)` of the examples.
        outcome: outcome y `(N,)` of the examples, 0 or 1.
        weights: weight w `(N,)` of every example, at least 0, of any sum above 0.
        ridge: penalty lambda > 0 on the squared coefficients.

    Raises:
        ValueError: of features, outcome or weights that are empty, misaligned or not finite; ridge not above 0.
    """
    x = finite_matrix(features, "features")
    y = flags(outcome, len(x), "outcome").astype(np.float64)
    w = finite_vector(weights, "weights")
    if w.size != len(x) or w.min() < 0 or not w.sum() > 0 or not ridge > 0:
        raise ValueError("weights must be at least 0, one for every example and not all 0, and ridge above 0")
    w = w / w.sum()
    mean = w @ x
    spread = np.sqrt(w @ np.square(x - mean))
    scale = np.where(spread > 1e-9 * (1 + np.abs(mean)), spread, 1.0)
    target = (len(y) * y + 0.5) / (len(y) + 1)
    return Logistic(mean, scale, _newton(_design(x, mean, scale), target, w, ridge))


def _design(x: Floats, mean: Floats, scale: Floats) -> Floats:
    return np.column_stack([np.ones(len(x)), (x - mean) / scale])


def _newton(design: Floats, target: Floats, w: Floats, ridge: float) -> Floats:
    penalty = ridge * np.ones(design.shape[1])
    penalty[0] = 0.0
    b = np.zeros(design.shape[1])

    def loss(b: Floats) -> float:
        z = design @ b
        return float(w @ (np.logaddexp(0.0, z) - target * z) + penalty @ np.square(b) / 2)

    current = loss(b)
    for _ in range(STEPS):
        p = _sigma(design @ b)
        gradient = design.T @ (w * (p - target)) + penalty * b
        if np.abs(gradient).max() < TOLERANCE:
            break
        hessian = (design.T * (w * p * (1 - p))) @ design + np.diag(penalty + 1e-12)
        step, share = np.linalg.solve(hessian, gradient), 1.0
        trial = loss(b - step)
        while trial > current and share > 1e-6:
            share /= 2
            trial = loss(b - share * step)
        b, current = b - share * step, trial
    return b


def _sigma(z: Floats) -> Floats:
    result: Floats = np.exp(-np.logaddexp(0.0, -z))
    return result
