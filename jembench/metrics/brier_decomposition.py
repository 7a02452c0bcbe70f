r"""The Brier score taken apart: how far predictions are from frequencies, and how far frequencies from each other.

For each class k, with p_i its predicted probabilities, y_i whether the label is k, bins B_j of equal width of p
(`calibration.width_bins`), means p_j and y_j over the n_j examples of a bin and y over all,

    reliability = (1/n) sum_j n_j (p_j - y_j)^2         0 if calibrated
    resolution  = (1/n) sum_j n_j (y_j - y)^2           0 if the bins tell nothing of the label
    uncertainty = y (1 - y)                             of the labels alone
    within      = (1/n) sum_j sum_{B_j} [ (p_i - p_j)^2 - 2 (y_i - y_j) (p_i - p_j) ]

    Brier       = reliability - resolution + uncertainty + within.

The first three are Murphy's (1973), complete if all predictions of a bin are equal; the last are the within-bin
variance and covariance of Stephenson, Coelho & Jolliffe (2008), without which the sum is not the score. All terms are
sums over the classes, as `classification.brier` is, and add up to its mean to rounding.

**Bias.** The squares of means add the variance of the means: a calibrated model has a reliability of about (1/n) sum_j
Var_j(y), not 0. As in Broecker (2012) and Ferro & Fricker (2012), but for predictions that vary within their bin, the
corrected terms are, with sample variances over the bins of two and more,

    reliability - (1/n) sum_j Var_j(y - p),                  uncertainty + Var(y) / n,
    resolution  - (1/n) sum_j Var_j(y) + Var(y) / n,         within + (1/n) sum_j [ Var_j(p) - 2 Cov_j(y, p) ].

Each is unbiased given the counts. A bin of one example has no sample variance and gets that of a calibrated bin,
p (1 - p): with 30 such bins in 360 examples of ten classes, a resolution of .756 came out as .778 on average if they
were left as they are, and comes out as .757. The corrections cancel, so that the sum is the same. **Corrected
reliability and resolution may be negative.** But for the bins of one example, the corrected reliability is the debiased
squared ECE (`debiased`) of every class's probability.

**Band.** As for the plain ECE, what is shown of the reliability is where it would lie under perfect calibration, from
labels drawn from the predictions. The resolution has no interval: a normal one by its influence function covered .59 to
.94, since most of the bins hold a handful of examples; the uncertainty is a property of the labels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, Integers, class_labels, probability_matrix
from jembench.metrics.calibration import class_cells, drawn_labels
from jembench.metrics.estimate import Estimate
from jembench.metrics.intervals import central


class Decomposition(NamedTuple):
    """Terms of a mean Brier score: reliability - resolution + uncertainty + within."""

    reliability: float
    resolution: float
    uncertainty: float
    within: float


class _Cells(NamedTuple):
    """Class and bin of each probability `(N, K)`, counted on, and sums over each cell `(K bins,)`: 1, p, p^2."""

    cell: Integers
    size: Floats
    p: Floats
    squares: Floats


def brier_decomposition(
    probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 15, corrected: bool = True
) -> Decomposition:
    """Terms of the Brier score, summed over the classes; with `corrected` without their bias.

    Args:
        probabilities: predicted class probabilities `(N, K)`; rows sum to 1.
        labels: true classes `(N,)` in 0..K-1.
        bins: number of bins of equal width, for each class.
        corrected: whether to subtract what the variance of a bin's mean adds; both kinds add up to the score.

    Raises:
        ValueError: empty, NaN, misaligned, out of range, or bins < 1.
    """
    p = probability_matrix(probabilities, "probabilities")
    hit = np.eye(p.shape[1])[class_labels(labels, p.shape[0], classes=p.shape[1])]
    cells = _cells(p, bins)
    y, py = _sums(cells, hit), _sums(cells, hit * p)
    n, size, rate = p.shape[0], np.maximum(cells.size, 1), hit.mean(axis=0)
    spread_y, spread_p = y - np.square(y) / size, cells.squares - np.square(cells.p) / size
    covariance = py - cells.p * y / size
    plain = Decomposition(
        float((np.square(cells.p - y) / size).sum()) / n,
        float((np.square(y) / size).sum()) / n - float(np.square(rate).sum()),
        float((rate * (1 - rate)).sum()),
        float((spread_p - 2 * covariance).sum()) / n,
    )
    if not corrected or n == 1:
        return plain
    several = 1 / np.maximum(size - 1, 1)
    alone = float((cells.p - cells.squares)[cells.size == 1].sum()) / n
    of_y, of_p = float((spread_y * several).sum()) / n + alone, float(((spread_p - 2 * covariance) * several).sum()) / n
    of_rate = plain.uncertainty / (n - 1)
    return Decomposition(
        plain.reliability - of_y - of_p,
        plain.resolution - of_y + of_rate,
        plain.uncertainty + of_rate,
        plain.within + of_p,
    )


def decomposition_estimates(
    probabilities: ArrayLike, labels: ArrayLike, *, rng: np.random.Generator, bins: int = 15, replicates: int = 1000
) -> dict[str, Estimate]:
    """Corrected terms by their names in `Decomposition`; the reliability with its band under perfect calibration.

    Args:
        probabilities: predicted class probabilities `(N, K)`; rows sum to 1.
        labels: true classes `(N,)` in 0..K-1.
        rng: source of the simulated labels behind the band.
        bins: number of bins of equal width, for each class.
        replicates: number of simulations of the labels of all N examples.

    Raises:
        ValueError: as `brier_decomposition`.
    """
    terms = brier_decomposition(probabilities, labels, bins=bins)
    p = probability_matrix(probabilities, "probabilities")
    band = central(_draws(p, bins, replicates, rng))
    estimates = {name: Estimate(value) for name, value in terms._asdict().items()}
    estimates["reliability"] = Estimate(terms.reliability, *band, "consistency band")
    return estimates


def _cells(p: Floats, bins: int) -> _Cells:
    cell, count = class_cells(p, bins), p.shape[1] * bins
    return _Cells(cell, *(_totals(cell, values, count) for values in (np.ones_like(p), p, np.square(p))))


def _sums(cells: _Cells, values: Floats) -> Floats:
    """Sums of `values` `(N, K)` over each cell."""
    return _totals(cells.cell, values, cells.size.size)


def _totals(cell: Integers, values: Floats, count: int) -> Floats:
    return np.bincount(cell.ravel(), weights=values.ravel(), minlength=count).astype(np.float64)


def _draws(p: Floats, bins: int, replicates: int, rng: np.random.Generator) -> Floats:
    """Corrected reliabilities `(replicates,)` of labels y_i ~ Categorical(p_i).

    With r = y - p over a cell of two and more, its term is ((sum r)^2 - sum r^2) / (n_j - 1); the cell of one has
    r^2 - p (1 - p).
    """
    n, count = p.shape[0], p.shape[1] * bins
    cells, rows = _cells(p, bins), np.arange(n)
    several, alone = cells.size > 1, cells.size == 1
    weight = np.where(several, 1 / np.maximum(cells.size - 1, 1), 1.0)
    least = float((cells.p - cells.squares)[alone].sum())
    chunks = []
    for y in drawn_labels(p, replicates, rng):
        hit = cells.cell[rows, y] + np.arange(len(y))[:, None] * count
        shape = (len(y), count)
        hits = np.bincount(hit.ravel(), minlength=y.shape[0] * count).reshape(shape)
        py = np.bincount(hit.ravel(), weights=p[rows, y].ravel(), minlength=y.shape[0] * count).reshape(shape)
        terms = np.square(hits - cells.p) - several * (hits - 2 * py + cells.squares)
        chunks.append((terms @ weight - least) / n)
    return np.concatenate(chunks)
