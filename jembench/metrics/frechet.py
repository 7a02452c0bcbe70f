r"""Frechet distance between normal fits of two sets of features, at n samples and at infinitely many.

For moments (m_1, S_1), (m_2, S_2) (Dowson & Landau 1982; as FID, on Inception features, Heusel et al. 2017),

    F = |m_1 - m_2|^2 + tr( S_1 + S_2 - 2 (S_1 S_2)^{1/2} ) >= 0.

With a root S_2 = L L' (Cholesky; symmetric eigenvalues where it is singular) the last trace is sum_a s_a, s_a^2 =
lambda_a the eigenvalues of the symmetric L' S_1 L: no eigenvalue is complex, and rounding below 0 is 0.

**F at n is not F.** With L' S_1 L = V diag(lambda) V', A = L V, the map T = A diag(1/s) A' carries the first fit to the
second, and one more example x of the first set moves F by (1/n) of its influence

    f(x) = 2 (m_1 - m_2)'(x - m_1) + |x - m_1|^2 - y' diag(1/s) y,       y = A'(x - m_1),

up to a constant. J = var(f) / n is the (infinitesimal) jackknife variance. The next order is a quadratic form, whose
mean is the **bias** of F at n and whose variance is the degenerate part D of `quadratic`: with w_ab = 1 / (s_a s_b
(s_a + s_b)) and v_ab = Var(y_a y_b) / n,

    bias = tr S_1 / n + (1/2) sum_ab v_ab w_ab,       D = 2 tr (S_1 / n)^2 + sum_ab (v_ab w_ab)^2 / (1 + [a = b]).

A reference that is a sample adds the same with y = (S_1 A diag(1/s))'(x - m_2) (v and S / n add before they are
squared); one that is given as moments is taken as exact. D neglects correlations among products y_a y_b.
`frechet_estimate` is F, and its
interval holds **the mean of F over samples of this size**: that of `quadratic` around F - bias, moved by the bias.
Method `jackknife at n`.

**Infinitely many samples** (`frechet_infinity`). Chong & Forsyth (CVPR 2020, arXiv 1911.07023) draw F against 1/n and
read the line's intercept. Its slope is known here, it is the bias; what is left is c / n^2, four times as large in
halves, so

    F_infinity = ( 4 (F - bias) - mean over random halves of (F - bias) ) / 3

is free of both orders; the interval is that of `quadratic`: method `extrapolation`. Both sets are halved where both are
samples. The expansion needs halves of more examples than dimensions; with fewer there is no value, since a singular
covariance for want of samples says nothing of what it would be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Booleans, Floats, finite_matrix
from jembench.metrics.estimate import Estimate
from jembench.metrics.quadratic import score_interval

EPS = float(np.finfo(np.float64).eps)
DRAWS = 4  # random subsets of each size of a curve
BLOCK = 256  # columns of a triangular product at a time
MARGIN = 2  # examples of a half beyond its rank


class Moments(NamedTuple):
    """Mean `(D,)`, covariance `(D, D)` with n - 1, and the number n of examples behind them."""

    mean: Floats
    covariance: Floats
    n: int


class _Expansion(NamedTuple):
    """F with what this module's theory says of it."""

    value: float
    bias: float
    jackknife: float
    degenerate: float
    rank: int


class _SamplingTerms(NamedTuple):
    """What the sampling of one set contributes: J, v `(r, r)` and S / n `(D, D)`."""

    jackknife: float
    spread: Floats
    mean: Floats


def moments(features: ArrayLike, *, name: str = "features") -> Moments:
    """Moments of features `(n, D)`.

    Raises:
        ValueError: not a finite matrix, or fewer than 2 examples.
    """
    x = finite_matrix(features, name)
    if len(x) < 2:
        raise ValueError(f"{name} need at least 2 examples for a covariance, got {len(x)}")
    mean = x.mean(axis=0)
    deviations = x - mean
    return Moments(mean, deviations.T @ deviations / (len(x) - 1), len(x))


def frechet(a: Moments, b: Moments) -> float:
    """F >= 0, in squared units of the features.

    Raises:
        ValueError: moments of different dimensions, or not finite.
    """
    _check(a, b)
    root = _cholesky(b.covariance)
    if root is None:
        a, b = b, a
        root = _cholesky(b.covariance)
    if root is None:
        root = _root(b.covariance)
        product = root.T @ a.covariance @ root
    else:
        product = _product(root, a.covariance)
    eigenvalues = np.asarray(np.linalg.eigvalsh(product), dtype=np.float64)
    return _assemble(a, b, np.sqrt(np.maximum(eigenvalues, 0.0)))


def frechet_estimate(features: ArrayLike, reference: Moments | ArrayLike) -> Estimate:
    """F at these sizes, with the interval of its mean over samples of these sizes: `jackknife at n`.

    Args:
        features: features `(n, D)` of the samples.
        reference: moments, taken as exact, or features `(m, D)`, whose sampling error then counts.

    Returns:
        method `none` and no interval where neither set has any spread.

    Raises:
        ValueError: as `moments`, or of different dimensions.
    """
    expansion = _expand(*_pair(features, reference))
    if expansion.degenerate <= 0:
        return Estimate(expansion.value)
    distance = expansion.value - expansion.bias  # without its bias: the error depends on that
    low, high = score_interval(distance, expansion.value, expansion.jackknife, expansion.degenerate)
    return Estimate(expansion.value, max(0.0, low + expansion.bias), high + expansion.bias, "jackknife at n")


def frechet_infinity(
    features: ArrayLike, reference: Moments | ArrayLike, *, rng: np.random.Generator, splits: int = 2
) -> Estimate:
    """F at infinitely many samples, possibly below 0 since unbiased, with an interval within [0, inf): `extrapolation`.

    Args:
        features: features `(n, D)` of the samples.
        reference: moments, taken as exact, or features `(m, D)`, whose number then goes to infinity also.
        rng: source of the random halves.
        splits: number of random splits of a set into two halves.

    Returns:
        method `none` and no interval where neither set has any spread.

    Raises:
        ValueError: as `frechet_estimate`, fewer than 2 (rank + 2) examples, or splits < 1.
    """
    if splits < 1:
        raise ValueError(f"splits must be at least 1, got {splits}")
    x, y = _pair(features, reference)
    whole = _expand(x, y)
    for name, examples in (("features", x), ("reference", y)):
        if not isinstance(examples, Moments):
            _check_half(name, examples, whole.rank)
    if whole.degenerate <= 0:
        return Estimate(whole.value)
    halves = []
    for _ in range(splits):
        first, second = _halves(x, rng)
        one, other = (y, y) if isinstance(y, Moments) else _halves(y, rng)
        halves += [_expand(first, one), _expand(second, other)]
    halves_mean = float(np.mean([half.value - half.bias for half in halves]))
    value = (4 * (whole.value - whole.bias) - halves_mean) / 3
    low, high = score_interval(max(value, 0.0), whole.value, whole.jackknife, whole.degenerate)
    return Estimate(value, max(low, 0.0), high, "extrapolation")


def frechet_curve(
    features: ArrayLike, reference: Moments | ArrayLike, sizes: Sequence[int], *, rng: np.random.Generator
) -> Floats:
    """F `(len(sizes),)` of subsets of each size against the whole reference, the mean of 4 random subsets.

    Raises:
        ValueError: as `frechet_estimate`, no sizes, or a size out of 2..n.
    """
    x, y = _pair(features, reference)
    target = y if isinstance(y, Moments) else moments(y)
    if len(sizes) == 0 or not all(2 <= size <= len(x) for size in sizes):
        raise ValueError(f"need sizes in 2..{len(x)}, got {list(sizes)}")
    subsets = ([x[rng.permutation(len(x))[:size]] for _ in range(1 if size == len(x) else DRAWS)] for size in sizes)
    return np.array([np.mean([frechet(moments(subset), target) for subset in group]) for group in subsets])


def _pair(features: ArrayLike, reference: Moments | ArrayLike) -> tuple[Floats, Moments | Floats]:
    x = finite_matrix(features, "features")
    y = reference if isinstance(reference, Moments) else finite_matrix(reference, "reference")
    dimensions = len(y.mean) if isinstance(y, Moments) else y.shape[1]
    if x.shape[1] != dimensions:
        raise ValueError(f"features have {x.shape[1]} dimensions, the reference has {dimensions}")
    return x, y


def _check(a: Moments, b: Moments) -> None:
    for side in (a, b):
        if side.mean.ndim != 1 or side.covariance.shape != (side.mean.size, side.mean.size):
            raise ValueError(f"moments have a mean {side.mean.shape} and a covariance {side.covariance.shape}")
        if not (np.isfinite(side.mean).all() and np.isfinite(side.covariance).all()):
            raise ValueError("moments contain NaN or an infinity")
    if a.mean.size != b.mean.size:
        raise ValueError(f"moments have {a.mean.size} and {b.mean.size} dimensions")


def _check_half(name: str, x: Floats, rank: int) -> None:
    """More dimensions than half of the examples: of all dimensions where the rank itself wants examples."""
    n, dimensions = x.shape
    if n // 2 < rank + MARGIN:
        least = 2 * ((dimensions if rank >= n - 1 else rank) + MARGIN)
        raise ValueError(f"{name} need at least {least} examples for F at infinitely many samples, got {n}")


def _halves(x: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    order = rng.permutation(len(x))
    return x[order[: len(x) // 2]], x[order[len(x) // 2 :]]


def _expand(x: Floats, y: Moments | Floats) -> _Expansion:
    """Value, bias and variances; a reference of moments adds nothing to the last three."""
    a = moments(x)
    b = y if isinstance(y, Moments) else moments(y, name="reference")
    _check(a, b)
    root = _cholesky(b.covariance)
    root = _root(b.covariance) if root is None else root
    eigenvalues, vectors = np.linalg.eigh(root.T @ a.covariance @ root)
    support = _positive(eigenvalues)
    s, basis = np.sqrt(eigenvalues[support]), root @ vectors[:, support]
    delta = a.mean - b.mean
    terms = [_sampling_terms(x, a, basis, s, delta)]
    if not isinstance(y, Moments):
        terms.append(_sampling_terms(y, b, a.covariance @ basis / s, s, -delta))
    mean = np.sum([term.mean for term in terms], axis=0)
    form = np.sum([term.spread for term in terms], axis=0) / (np.outer(s, s) * (s[:, None] + s))
    bias = float(np.trace(mean)) + float(form.sum()) / 2
    squares = np.square(form)
    degenerate = 2 * float(np.square(mean).sum()) + float(squares.sum()) - float(np.trace(squares)) / 2
    value = _assemble(a, b, np.sqrt(np.maximum(eigenvalues, 0.0)))
    return _Expansion(value, bias, sum(term.jackknife for term in terms), degenerate, s.size)


def _sampling_terms(x: Floats, own: Moments, basis: Floats, s: Floats, delta: Floats) -> _SamplingTerms:
    """Contribution of the examples `(n, D)` with these moments; `basis` `(D, r)` carries x to y."""
    deviations = x - own.mean
    y = deviations @ basis
    squares = np.square(y)
    influence = 2 * deviations @ delta + np.square(deviations).sum(axis=1) - squares @ (1 / s)
    spread = squares.T @ squares / own.n
    spread[np.diag_indices(s.size)] -= s**4
    return _SamplingTerms(float(influence.var(ddof=1)) / own.n, spread / own.n, own.covariance / own.n)


def _assemble(a: Moments, b: Moments, s: Floats) -> float:
    delta = a.mean - b.mean
    value = float(delta @ delta) + float(np.trace(a.covariance)) + float(np.trace(b.covariance)) - 2 * float(s.sum())
    return max(value, 0.0)


def _product(root: Floats, covariance: Floats) -> Floats:
    """The lower triangle `(D, D)` of L' S L, all that eigvalsh reads: a third of the work of two whole products."""
    size = len(root)
    product = np.zeros((size, size))
    for start in range(0, size, BLOCK):
        own = slice(start, start + BLOCK)
        part = covariance[start:, start:] @ root[start:, own]  # L is 0 above its diagonal
        for first in range(start, size, BLOCK):
            rows = slice(first, first + BLOCK)
            product[rows, own] = root[first:, rows].T @ part[first - start :]
    return product


def _cholesky(covariance: Floats) -> Floats | None:
    """Lower root `(D, D)`, or None where the covariance is singular."""
    try:
        return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    except np.linalg.LinAlgError:
        return None


def _root(covariance: Floats) -> Floats:
    """Root `(D, r)` of a singular covariance, without its null space."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    support = _positive(eigenvalues)
    root: Floats = vectors[:, support] * np.sqrt(eigenvalues[support])
    return root


def _positive(eigenvalues: Floats) -> Booleans:
    """Which of `(D,)` are above rounding."""
    largest = max(float(eigenvalues.max(initial=0.0)), 0.0)
    support: Booleans = eigenvalues > largest * eigenvalues.size * EPS
    return support
