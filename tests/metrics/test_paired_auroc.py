"""The paired difference of AUROCs against pairs counted one by one, against the bootstrap, and its coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata

from jembench.metrics import paired_auroc
from jembench.metrics.auroc import auroc
from jembench.metrics.estimate import Estimate
from jembench.metrics.paired_auroc import mean_auroc_difference

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
VALUES = st.integers(-3, 3).map(float) | st.floats(-100, 100)
PAIRS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=15)


def ends(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def difference(x1: ArrayLike, y1: ArrayLike, x2: ArrayLike, y2: ArrayLike) -> tuple[Estimate, float]:
    """The difference of two scores on one OOD set, and its p-value."""
    return mean_auroc_difference([(y1, y2, None)], x1, x2)


def split(positive: list[tuple[float, float]], negative: list[tuple[float, float]]) -> Arrays:
    x, y = np.array(positive), np.array(negative)
    return x[:, 0], y[:, 0], x[:, 1], y[:, 1]


def naive(x1: np.ndarray, y1: np.ndarray, x2: np.ndarray, y2: np.ndarray) -> tuple[float, float]:
    """D and DeLong's variance S_11 + S_22 - 2 S_12, from all m n pairs of both scores."""
    kernels = [(x[:, None] > y) + 0.5 * (x[:, None] == y) for x, y in ((x1, y1), (x2, y2))]
    s10 = np.cov([kernel.mean(1) for kernel in kernels])
    s01 = np.cov([kernel.mean(0) for kernel in kernels])
    s = s10 / len(x1) + s01 / len(y1)
    return float(kernels[0].mean() - kernels[1].mean()), float(s[0, 0] + s[1, 1] - 2 * s[0, 1])


def correlated(
    rng: np.random.Generator, levels: tuple[float, float], rho: float, sizes: tuple[int, int], wide: float = 1.0
) -> Arrays:
    """Two scores of the given AUROCs on the same images, correlated by rho."""
    root = np.linalg.cholesky([[1, rho], [rho, 1]])
    x = rng.normal(size=(sizes[0], 2)) @ root.T + norm.ppf(levels) * np.hypot(1, wide)
    y = wide * rng.normal(size=(sizes[1], 2)) @ root.T
    return x[:, 0], y[:, 0], x[:, 1], y[:, 1]


@given(PAIRS, PAIRS)
def test_the_difference_is_that_of_two_aurocs(positive: list, negative: list) -> None:
    """Bounded, holding its value, its p-value agreeing with its interval; swapped, it mirrors."""
    x1, y1, x2, y2 = split(positive, negative)
    estimate, p = difference(x1, y1, x2, y2)
    low, high = ends(estimate)
    assert estimate.value == pytest.approx(auroc(x1, y1) - auroc(x2, y2), abs=1e-12)
    assert -1 <= low <= estimate.value <= high <= 1
    assert 0 <= p <= 1
    assert (p < 0.05) == (low > 0 or high < 0)
    other, q = difference(x2, y2, x1, y1)
    assert (other.value, *ends(other), q) == pytest.approx((-estimate.value, -high, -low, p), abs=1e-12)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(2, 40), st.booleans())
def test_the_unshrunk_variance_is_delongs(seed: int, m: int, n: int, tied: bool) -> None:
    """With the prior at 0, against the O(mn) definition by the covariance matrix, ties included."""
    rng = np.random.default_rng(seed)
    x1, y1, x2, y2 = correlated(rng, (0.7, 0.6), 0.5, (m, n))
    if tied:
        x1, y1, x2, y2 = (np.round(part) for part in (x1, y1, x2, y2))
    value, variance = naive(x1, y1, x2, y2)
    d10, d01 = paired_auroc._differences(x1, x2, y1, y2)
    assert d10.mean() - d01.mean() == pytest.approx(0, abs=1e-12)
    assert d10.mean() == pytest.approx(value, abs=1e-12)
    assert d10.var(ddof=1) / m + d01.var(ddof=1) / n == pytest.approx(variance, abs=1e-12)
    shrunk, _ = paired_auroc._variance([(d10, d01)], [0.0], [None])
    assert shrunk >= variance * (1 - 1 / min(m, n)) - 1e-12  # towards the largest there is, which has no ddof


def test_away_from_the_edges_it_is_the_paired_bootstrap() -> None:
    """Half its width towards 0 is 1.96 standard deviations; an unpaired variance is far from it."""
    rng = np.random.default_rng(0)
    x1, y1, x2, y2 = correlated(rng, (0.85, 0.8), 0.9, (400, 300))
    drawn = []
    for _ in range(1500):
        i, j = rng.integers(0, 400, 400), rng.integers(0, 300, 300)
        drawn.append(auroc(x1[i], y1[j]) - auroc(x2[i], y2[j]))
    estimate, p = difference(x1, y1, x2, y2)
    low, _ = ends(estimate)
    assert estimate.value - low == pytest.approx(1.96 * np.std(drawn), rel=0.1)
    assert p == pytest.approx(2 * norm.sf(abs(estimate.value) / np.std(drawn)), abs=0.01)
    unpaired, _ = difference(x1, y1, rng.permutation(x2), rng.permutation(y2))
    assert unpaired.value - ends(unpaired)[0] > 2 * (estimate.value - low)  # planted: examples that are not matched


@given(PAIRS, PAIRS)
def test_a_score_that_ranks_alike_differs_by_nothing_and_says_so(positive: list, negative: list) -> None:
    x, y, _, _ = split(positive, negative)
    ranks = rankdata(np.concatenate([x, y]), method="dense") ** 3.0
    estimate, p = difference(x, y, ranks[: x.size], ranks[x.size :])
    bound = 1 - 0.05 ** (1 / min(x.size, y.size))
    assert (estimate.value, estimate.method, p) == (0, "concordant", 1)
    assert ends(estimate) == pytest.approx((-bound, bound))


def test_two_separated_scores_are_not_known_to_be_equal() -> None:
    """Both AUROCs 1: a bound of disjoint pairs. Against one that is not, the interval leans away from 0."""
    x, y = np.arange(90) + 1000.0, np.arange(360.0)
    estimate, _ = difference(x, y, x[::-1].copy(), y)
    assert estimate.method == "concordant"
    assert ends(estimate)[1] == pytest.approx(1 - 0.05 ** (1 / 90))
    worse = x.copy()
    worse[:3] = -1
    estimate, p = difference(x, y, worse, y)
    low, high = ends(estimate)
    assert estimate.value == pytest.approx(3 / 90)
    assert high - estimate.value > estimate.value - low
    assert p > 0.01  # three examples


@pytest.mark.parametrize("sizes", [(1, 1), (1, 5), (5, 1)])
def test_a_single_example_proves_nothing(sizes: tuple[int, int]) -> None:
    x1, y1 = np.ones(sizes[0]), np.zeros(sizes[1])
    estimate, p = difference(x1, y1, -x1, y1)
    assert estimate.value == 1
    assert p > 0.05


def test_the_mean_of_equal_sets_is_the_difference_of_one() -> None:
    """A set counted twice in one group adds nothing; the intervals of independent sets are shorter."""
    x1, y1, x2, y2 = correlated(np.random.default_rng(1), (0.9, 0.85), 0.7, (300, 100))
    one = difference(x1, y1, x2, y2)
    same = mean_auroc_difference([(y1, y2, "a"), (y1, y2, "a")], x1, x2)
    assert (*ends(same[0]), same[1]) == pytest.approx((*ends(one[0]), one[1]))
    apart = mean_auroc_difference([(y1, y2, None), (y1, y2, None)], x1, x2)
    assert apart[1] < one[1]


def test_a_concordant_set_among_others_widens_their_mean() -> None:
    """It is not known that the two agree there: its unseen difference counts."""
    x1, y1, x2, y2 = correlated(np.random.default_rng(2), (0.9, 0.85), 0.7, (300, 100))
    far = np.full(20, -100.0)
    estimate, _ = mean_auroc_difference([(y1, y2, None), (far, far, None)], x1, x2)
    alone, _ = difference(x1, y1, x2, y2)
    assert estimate.value == pytest.approx(alone.value / 2)
    assert estimate.value - ends(estimate)[0] > (alone.value - ends(alone)[0]) / 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1.0], [0.0], [1.0, 2.0], [0.0]), "positive scores must be of the same images, got 1 and 2"),
        (([1.0], [0.0, 1.0], [1.0], [0.0]), "negative scores must be of the same images, got 2 and 1"),
        (([1.0], [], [1.0], []), "first negative must be a non-empty vector"),
        (([np.nan], [0.0], [1.0], [0.0]), "first positive contains NaN"),
    ],
)
def test_bad_input_is_refused(arguments: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        difference(*arguments)
    with pytest.raises(ValueError, match="need at least one OOD set"):
        mean_auroc_difference([], [1.0], [1.0])


SETTINGS = [
    ((0.75, 0.75), 0.9, (360, 90), 1.0),
    ((0.9, 0.85), 0.99, (360, 360), 1.0),
    ((0.97, 0.97), 0.0, (360, 90), 2.5),
    ((0.99, 0.95), 0.9, (360, 90), 2.5),
    ((0.999, 0.99), 0.9, (360, 90), 2.5),
]


@pytest.mark.parametrize(("levels", "rho", "sizes", "wide"), SETTINGS, ids=str)
def test_it_covers(levels: tuple[float, float], rho: float, sizes: tuple[int, int], wide: float) -> None:
    """1,000 simulated sets; where a difference rests on a handful of examples it may hold more than it says."""
    rng, hits = np.random.default_rng(0), []
    for _ in range(1000):
        estimate, _ = difference(*correlated(rng, levels, rho, sizes, wide))
        low, high = ends(estimate)
        hits.append(low - 1e-12 <= levels[0] - levels[1] <= high + 1e-12)
    assert np.mean(hits) >= 0.92
    assert np.mean(hits) <= 0.98 or min(levels) > 0.94


def test_walds_interval_would_be_caught_near_the_edge() -> None:
    """Planted bug: DeLong's plain variance, symmetric."""
    rng, hits = np.random.default_rng(0), []
    for _ in range(400):
        value, variance = naive(*correlated(rng, (0.999, 0.99), 0.9, (360, 90), 2.5))
        hits.append(abs(value - 0.009) <= 1.96 * np.sqrt(variance))
    assert np.mean(hits) < 0.85


def means(levels: list[tuple[float, float]], *, same: bool, sets: int, rng: np.random.Generator) -> list[bool]:
    """Hits of the mean difference; `same`: all OOD sets made from one base sample."""
    root, hits = np.linalg.cholesky([[1, 0.9], [0.9, 1]]), []
    truth = float(np.mean([a - b for a, b in levels]))
    for _ in range(sets):
        x = rng.normal(size=(360, 2)) @ root.T
        base = rng.normal(size=(90, 2)) @ root.T
        parts = []
        for level in levels:
            y = (base if same else rng.normal(size=(90, 2)) @ root.T) - np.sqrt(2) * norm.ppf(level)
            parts.append((y[:, 0], y[:, 1], "base" if same else None))
        low, high = ends(mean_auroc_difference(parts, x[:, 0], x[:, 1])[0])
        hits.append(low - 1e-12 <= truth <= high + 1e-12)
    return hits


def test_the_mean_covers() -> None:
    """Of independent sets, and of sets of one base, for which perfect correlation is a bound."""
    rng = np.random.default_rng(0)
    levels = [(0.75, 0.7), (0.9, 0.95), (0.97, 0.96)]
    assert 0.92 <= np.mean(means(levels, same=False, sets=500, rng=rng)) <= 0.985
    assert np.mean(means(levels, same=True, sets=500, rng=rng)) >= 0.92
    assert np.mean(means([(0.9, 0.85), (0.9999, 0.9999)], same=False, sets=300, rng=rng)) >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("sizes", [(360, 360), (360, 90), (90, 360), (30, 30)], ids=str)
@pytest.mark.parametrize("wide", [1.0, 2.5])
@pytest.mark.parametrize(
    "levels", [(0.75, 0.75), (0.9, 0.85), (0.97, 0.97), (0.99, 0.95), (0.999, 0.99), (0.9999, 0.98)], ids=str
)
def test_it_covers_at_length(levels: tuple[float, float], wide: float, sizes: tuple[int, int], rho: float) -> None:
    rng, hits, rejected = np.random.default_rng(0), [], []
    for _ in range(2000):
        estimate, p = difference(*correlated(rng, levels, rho, sizes, wide))
        low, high = ends(estimate)
        hits.append(low - 1e-12 <= levels[0] - levels[1] <= high + 1e-12)
        rejected.append(p < 0.05)
    assert np.mean(hits) >= 0.915
    assert levels[0] != levels[1] or np.mean(rejected) <= 0.08
