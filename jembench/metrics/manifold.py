r"""Precision and recall, density and coverage of samples, by balls that reach to the k-th neighbour.

With reals x_1..x_N, samples y_1..y_M and B(x_i) the closed ball around x_i up to its k-th nearest other real, B(y_j)
likewise,

    precision = (1/M) #{ j : y_j in some B(x_i) },      recall = (1/N) #{ i : x_i in some B(y_j) }

(Kynkaanniemi et al., NeurIPS 2019, arXiv 1904.06991; k = 3), and

    density = (1/kM) sum_ij [ y_j in B(x_i) ],          coverage = (1/N) #{ i : some y_j in B(x_i) }

(Naeem et al., ICML 2020, arXiv 2002.09797; k = 5). Density has mean 1 for samples of the reals' law and may exceed it.
An outlier has a wide ball, which precision and recall trust. All depend on k, N and M.

**Intervals are conditional**: they hold the value over new examples of one set, given the other one and its balls.

- precision, density: means over the samples given the reals. Wilson; studentised bootstrap. `... given reference`.
- recall: a mean over the reals given the samples. Wilson, `wilson given samples`.
- coverage: the balls are the reals', so that it is no mean of independent values over them; over new samples of the
  same number, given the reals, it is a function of M independent y_j. Leaving y_j out empties the e_j balls it is
  alone in, and the jackknife J = (M - 1)/M sum_j (e_j - e)^2 / N^2 is at least Var coverage on average (Efron & Stein
  1981). Wilson's interval with c (1 - c) / J trials, c the share after one more ball that is covered and one more that
  is not: `jackknife given reference`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Booleans, Floats
from jembench.metrics.estimate import Estimate
from jembench.metrics.intervals import mean, wilson, wilson_rate
from jembench.metrics.neighbours import inside, pair, radii


class PrecisionRecall(NamedTuple):
    """Shares of samples near the reals, and of reals near the samples."""

    precision: Estimate
    recall: Estimate


class DensityCoverage(NamedTuple):
    """How many balls of reals hold a sample, relative to k; share of balls that hold any."""

    density: Estimate
    coverage: Estimate


def precision_recall(features: ArrayLike, reference: ArrayLike, *, k: int = 3) -> PrecisionRecall:
    """Precision and recall, 0..1, of features `(M, D)` of the samples against those `(N, D)` of the reals.

    Raises:
        ValueError: not finite matrices of one D, k < 1, or k or fewer examples.
    """
    y, x = _sets(features, reference, k, both=True)
    hits = _in_any(y, x, k)
    precision = Estimate(float(hits.mean()), *wilson(int(hits.sum()), len(y)), "wilson given reference")
    return PrecisionRecall(precision, recall(y, x, k=k))


def recall(features: ArrayLike, reference: ArrayLike, *, k: int = 3) -> Estimate:
    """Recall alone, for which the balls of the reals, which may be many, are not needed.

    Raises:
        ValueError: as `precision_recall`.
    """
    y, x = _sets(features, reference, k, both=True)
    hits = _in_any(x, y, k)
    return Estimate(float(hits.mean()), *wilson(int(hits.sum()), len(x)), "wilson given samples")


def density_coverage(
    features: ArrayLike, reference: ArrayLike, *, rng: np.random.Generator, k: int = 5, reach: Floats | None = None
) -> DensityCoverage:
    """Density >= 0 and coverage 0..1 of features `(M, D)` of the samples against those `(N, D)` of the reals.

    Args:
        features: features `(M, D)` of the samples.
        reference: features `(N, D)` of the reals.
        rng: source of the bootstrap's resamples for the density.
        k: rank of the neighbour up to which a ball reaches.
        reach: radii `(N,)` of the balls of the reals, by `reaches`; None if they are still to be computed.

    Raises:
        ValueError: as `precision_recall`; of samples one is enough.
    """
    y, x = _sets(features, reference, k, both=False)
    balls, counts, last = np.zeros(len(y)), np.zeros(len(x), dtype=np.int64), np.zeros(len(x), dtype=np.int64)
    for start, membership in inside(y, x, reaches(x, k=k) if reach is None else reach):
        balls[start : start + len(membership)] = membership.sum(axis=1)
        counts += membership.sum(axis=0)
        last = np.where(
            membership.any(axis=0), start + membership.argmax(axis=0), last
        )  # the one sample, where it is alone
    density = mean(balls / k, rng=rng)
    alone = np.bincount(last[counts == 1], minlength=len(y)).astype(np.float64)
    method = density.method if density.method == "none" else f"{density.method} given reference"
    return DensityCoverage(Estimate(density.value, density.low, density.high, method), _coverage(counts > 0, alone))


def reaches(reference: ArrayLike, *, k: int = 5) -> Floats:
    """How far the balls `(N,)` of the reals reach: the distance of each to its k-th nearest other.

    Raises:
        ValueError: not a finite matrix, k < 1, or k or fewer examples.
    """
    _, x = _sets(reference, reference, k, both=False)
    return radii(x, k)


def _coverage(hits: Booleans, alone: Floats) -> Estimate:
    """Coverage from the balls `(N,)` that hold a sample, and the number `(M,)` of them that each is alone in."""
    value, samples = float(hits.mean()), alone.size
    jackknife = (samples - 1) / samples * float(np.square(alone - alone.mean()).sum()) / hits.size**2
    smooth = (hits.sum() + 1) / (hits.size + 2)  # a share of 1 has a variance too, where single samples hold balls
    trials = max(1.0, float(smooth * (1 - smooth)) / jackknife) if jackknife > 0 else float(samples)
    return Estimate(value, *wilson_rate(value, trials), "jackknife given reference")


def _in_any(queries: Floats, points: Floats, k: int) -> Booleans:
    """Which queries `(m,)` lie in the ball of some point."""
    parts = [membership.any(axis=1) for _, membership in inside(queries, points, radii(points, k))]
    return np.concatenate(parts)


def _sets(features: ArrayLike, reference: ArrayLike, k: int, *, both: bool) -> tuple[Floats, Floats]:
    y, x = pair(features, reference, "features", "reference")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    for name, examples in (("features", y), ("reference", x)) if both else (("reference", x),):
        if len(examples) <= k:
            raise ValueError(f"{name} need at least {k + 1} examples for neighbour {k}, got {len(examples)}")
    return y, x
