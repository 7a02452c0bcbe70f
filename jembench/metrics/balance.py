r"""Class balance: what a classifier must believe if the classes are as frequent as they are known to be.

A shift moves what a model says of some classes more than of others: it calls everything an 8. In the words of a joint
model, log p(x, y) = f(x)[y] - log Z keeps its form but every class gets a constant of its own, -log Z_y. The constants
are those under which the n images have the known class frequencies pi:

    p_v(y|x) = softmax(f(x) + v)[y],     mean_i p_v(y|x_i) = pi_y     for all y,

the stationary point of the strictly convex

    L(v) = mean_i logsumexp(f(x_i) + v) - pi . v + rho/2 |v|^2,     grad = mean_i p_v - pi + rho v,
    hessian = diag(mean_i p_v) - mean_i p_v p_v' + rho I.

Without rho it is the scaling of an optimal transport between images and classes with entropy as its cost (Cuturi 2013;
as an estimate of errors, after Lu et al., NeurIPS 2023, arXiv 2305.15640); rho = 1e-4 makes v unique and bounded where
the probabilities are 0 and 1. Found by Newton's method with halved steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, finite_matrix, vector

RHO = 1e-4
STEPS = 100
TOLERANCE = 1e-7  # of the gradient, a share of the images


def balance(logits: ArrayLike, shares: ArrayLike) -> Floats:
    """The constants v `(K,)` under which `softmax(logits + v)` has the class frequencies `shares` on average.

    Args:
        logits: logits `(N, K)` of the images; log-probabilities give the same.
        shares: class frequencies `(K,)`, at least 0, of sum 1.

    Raises:
        ValueError: logits empty or not finite; shares of another length, negative, or of another sum.
    """
    z = finite_matrix(logits, "logits")
    pi = vector(shares, "shares")
    if pi.size != z.shape[1] or pi.min() < 0 or abs(pi.sum() - 1) > 1e-6:
        raise ValueError(f"shares must be {z.shape[1]} numbers of at least 0 with sum 1")
    z = z - z.max(axis=1, keepdims=True)
    v = np.zeros(pi.size)
    loss, p = _loss(z, v, pi)
    for _ in range(STEPS):
        gradient = p.mean(axis=0) - pi + RHO * v
        if np.abs(gradient).max() < TOLERANCE:
            break
        hessian = np.diag(p.mean(axis=0) + RHO) - p.T @ p / len(p)
        step, share = np.linalg.solve(hessian, gradient), 1.0
        trial = _loss(z, v - step, pi)
        while trial[0] > loss and share > 1e-6:
            share /= 2
            trial = _loss(z, v - share * step, pi)
        v, (loss, p) = v - share * step, trial
    return v


def _loss(z: Floats, v: Floats, pi: Floats) -> tuple[float, Floats]:
    """L(v) and p_v `(N, K)`."""
    logits = z + v
    top = logits.max(axis=1, keepdims=True)
    p = np.exp(logits - top)
    total = p.sum(axis=1, keepdims=True)
    return float((np.log(total) + top).mean() - pi @ v + RHO / 2 * v @ v), p / total
