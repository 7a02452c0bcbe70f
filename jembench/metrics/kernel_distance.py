r"""Kernel distance of two sets of features: unbiased, with its variance.

With k(x, y) = (x'y / D + 1)^3 on D features (as KID, on Inception features, Binkowski et al., ICLR 2018, arXiv
1801.01401),

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y) >= 0,

    T = sum_{i != j} k(x_i, x_j) / m(m-1) + sum_{i != j} k(y_i, y_j) / n(n-1) - 2 sum_ij k(x_i, y_j) / mn

over **all** pairs: the U-statistic, unbiased, possibly below 0 (Gretton et al., JMLR 2012), of the least variance. The
usual figure is the mean of T over random subsets: of the same mean, with a spread that depends on the size of the
subsets and is no error of the figure.

**Variance** (Hoeffding's decomposition; Bounliphone et al. 2016, Sutherland et al. 2017). With the row means r_i of
k(x, x'), c_i of k(x_i, y), likewise q_j and d_j of the second set, and k~ the kernel less its row and column means,

    J = (4/m) var(r - c) + (4/n) var(q - d),
    D = 2 E k~(x,x')^2 / m^2 + 2 E k~(y,y')^2 / n^2 + 4 E k~(x,y)^2 / mn,

J the jackknife variance and D the degenerate part, all that is left where both sets have one law. The interval is that
of `quadratic`, F the statistic with its diagonals (the V-statistic). Method `u-statistic`. Work is O((m + n)^2 D),
memory that of a block of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, finite_matrix
from jembench.metrics.estimate import Estimate
from jembench.metrics.quadratic import score_interval

BLOCK = 1 << 22  # kernel values held at a time; the result depends on it by rounding only
LEAST = 4  # examples of a set, for the variance of its degenerate part


class _Within(NamedTuple):
    """Of k(x, x') without its diagonal: row means `(m,)`, E k~^2; and the mean of the diagonal."""

    rows: Floats
    degenerate: float
    diagonal: float


def kernel_distance_estimate(features: ArrayLike, reference: ArrayLike) -> Estimate:
    """T of features `(m, D)` of the samples and `(n, D)` of the images, possibly below 0, and its interval in [0, inf).

    Returns:
        method `u-statistic`; `none` where both sets are constant.

    Raises:
        ValueError: not finite matrices of one D, or fewer than 4 examples of a set.
    """
    x, y = _sets(features, reference)
    m, n = len(x), len(y)
    first, second = _within(x), _within(y)
    rows, columns, squares = np.empty(m), np.zeros(n), 0.0
    for start, k in _blocks(x, y):
        rows[start : start + len(k)] = k.mean(axis=1)
        columns += k.sum(axis=0) / m
        squares += float(np.square(k).sum())
    cross = float(rows.mean())
    residue = squares - n * float(np.square(rows).sum()) - m * float(np.square(columns).sum()) + m * n * cross**2
    cross_degenerate = max(residue, 0.0) / ((m - 1) * (n - 1))
    value = float(first.rows.mean()) + float(second.rows.mean()) - 2 * cross
    plug_in = value + sum((term.diagonal - float(term.rows.mean())) / len(term.rows) for term in (first, second))
    jackknife = 4 * float((first.rows - rows).var(ddof=1)) / m + 4 * float((second.rows - columns).var(ddof=1)) / n
    degenerate = 2 * first.degenerate / m**2 + 2 * second.degenerate / n**2 + 4 * cross_degenerate / (m * n)
    if degenerate <= np.finfo(np.float64).eps * squares / (m * n):
        return Estimate(value)
    low, high = score_interval(max(value, 0.0), plug_in, jackknife, degenerate)
    return Estimate(value, max(low, 0.0), high, "u-statistic")


def _sets(features: ArrayLike, reference: ArrayLike) -> tuple[Floats, Floats]:
    x, y = finite_matrix(features, "features"), finite_matrix(reference, "reference")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"features have {x.shape[1]} dimensions, the reference has {y.shape[1]}")
    if min(len(x), len(y)) < LEAST:
        raise ValueError(f"features and reference need at least {LEAST} examples, got {len(x)} and {len(y)}")
    return x, y


def _blocks(x: Floats, y: Floats) -> Iterator[tuple[int, Floats]]:
    """The kernel of x `(m, D)` and y `(n, D)`, some rows at a time: (first row, values `(rows, n)`)."""
    rows = max(1, BLOCK // len(y))
    for start in range(0, len(x), rows):
        k = x[start : start + rows] @ y.T
        k /= x.shape[1]
        k += 1
        yield start, k * k * k


def _within(x: Floats) -> _Within:
    """Moments of the kernel of a set with itself."""
    m = len(x)
    rows, diagonal, squares = np.empty(m), 0.0, 0.0
    for start, k in _blocks(x, x):
        own = np.arange(len(k))
        diagonal += float(k[own, start + own].sum())
        k[own, start + own] = 0.0
        rows[start : start + len(k)] = k.sum(axis=1) / (m - 1)
        squares += float(np.square(k).sum())
    residue = squares / (m * (m - 1)) - 2 * float(np.square(rows).mean()) + float(rows.mean()) ** 2
    return _Within(rows, max(residue, 0.0) * (m - 1) / max(m - 3, 1), diagonal / m)
