"""AUROC is Mann-Whitney; DeLong's variance is the bootstrap's; the ends are what their bounds say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from jembench.metrics.auroc import auroc, auroc_estimate, mean_auroc_estimate, placements
from jembench.metrics.estimate import Estimate

SCORES = st.lists(st.integers(-3, 3).map(float) | st.floats(-1e6, 1e6), min_size=1, max_size=30)


def brute(x: np.ndarray, y: np.ndarray, tie: float = 0.5) -> float:
    """Count the pairs."""
    return float(((x[:, None] > y) + tie * (x[:, None] == y)).mean())


def width(estimate: Estimate) -> float:
    """Length of an interval that has both ends."""
    return estimate.high - estimate.low


@given(SCORES, SCORES)
def test_auroc_is_mann_whitney_and_sklearns(positive: list[float], negative: list[float]) -> None:
    """Brute force, scikit-learn, both placement means, and the mirrored problem agree."""
    x, y = np.array(positive), np.array(negative)
    value = auroc(x, y)
    assert value == pytest.approx(brute(x, y), abs=1e-12)
    assert value == pytest.approx(roc_auc_score([1] * x.size + [0] * y.size, np.concatenate([x, y])), abs=1e-12)
    v10, v01 = placements(x, y)
    assert v10.mean() == pytest.approx(value, abs=1e-12)
    assert v01.mean() == pytest.approx(value, abs=1e-12)
    assert value + auroc(y, x) == pytest.approx(1, abs=1e-12)
    assert value == pytest.approx(auroc(-y, -x), abs=1e-12)


@given(SCORES, SCORES)
def test_only_the_order_counts(positive: list[float], negative: list[float]) -> None:
    """A strictly increasing map changes nothing, the interval included."""
    ranks = {v: float(r) ** 3 for r, v in enumerate(sorted(set(positive + negative)))}
    mapped = [ranks[v] for v in positive], [ranks[v] for v in negative]
    assert auroc_estimate(positive, negative) == auroc_estimate(*mapped)


@given(SCORES, SCORES)
def test_an_estimate_is_never_nan_and_mirrors(positive: list[float], negative: list[float]) -> None:
    """Two ends within [0, 1] around the value, whatever the scores; swapping the samples reflects them."""
    one, other = auroc_estimate(positive, negative), auroc_estimate(negative, positive)
    assert other.low is not None
    assert other.high is not None
    assert 0 <= one.low <= one.value <= one.high <= 1
    if one.value != 0.5:
        assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-9)


def test_ties_counted_as_wins_would_be_caught() -> None:
    """Planted bug: with ties as wins the two directions no longer add to 1."""
    x, y = np.array([1.0, 2.0, 2.0]), np.array([2.0, 0.0])
    assert auroc(x, y) + auroc(y, x) == pytest.approx(1)
    assert brute(x, y, tie=1) + brute(y, x, tie=1) > 1.2


def test_infinite_scores_have_an_order() -> None:
    """-inf is the lowest score, and ties with itself."""
    assert auroc([0.0, -np.inf], [-np.inf]) == 0.75


@pytest.mark.parametrize("gap", [0.0, 1.0, 1.8])
def test_delong_is_the_bootstrap_inside(gap: float) -> None:
    """Away from the edges the interval is the normal bootstrap's to 12 %."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(gap, 1, 300), rng.normal(0, 1, 200)
    drawn = [auroc(x[rng.integers(0, 300, 300)], y[rng.integers(0, 200, 200)]) for _ in range(2000)]
    assert width(auroc_estimate(x, y)) == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.12)


def test_separated_scores_get_the_bound_of_disjoint_pairs() -> None:
    """P(all separated) <= theta^min(m, n) = .05 at the lower end."""
    estimate = auroc_estimate(np.arange(90) + 1000.0, np.arange(360.0))
    assert (estimate.value, estimate.high, estimate.method) == (1.0, 1.0, "one-sided")
    assert estimate.low**90 == pytest.approx(0.05)
    reverse = auroc_estimate(np.arange(360.0), np.arange(90) + 1000.0)
    assert (reverse.value, reverse.low) == (0.0, 0.0)
    assert reverse.high == pytest.approx(1 - estimate.low)


def test_silent_samples_fall_back_on_pairs() -> None:
    """All equal, or one score: Wilson's interval of min(m, n) trials, wide."""
    tied = auroc_estimate(np.zeros(360), np.zeros(90))
    assert (tied.value, tied.method) == (0.5, "pairs")
    assert 0.19 < width(tied) < 0.22
    single = auroc_estimate([0.5], [0.1, 0.9])
    assert single.method == "pairs"
    assert width(single) > 0.8


def test_the_mean_of_one_set_is_its_auroc_and_of_equal_sets_the_same() -> None:
    """A set counted twice in one group adds nothing; between 'independent' sets only the positives are shared."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(1, 1, 300), rng.normal(0, 1, 200)
    one = auroc_estimate(x, y)
    assert mean_auroc_estimate([(y, None)], x) == one
    same = mean_auroc_estimate([(y, "a"), (y, "a")], x)
    assert (same.value, same.low, same.high) == pytest.approx((one.value, one.low, one.high))
    apart = mean_auroc_estimate([(y, None), (y, None)], x)
    assert width(one) / np.sqrt(2) < width(apart) < width(same)


def test_the_mean_has_the_variance_of_its_bootstrap() -> None:
    """Shared positives, independent negatives: resampling all of them gives the same width."""
    rng = np.random.default_rng(2)
    x = rng.normal(1, 1, 300)
    sets = [rng.normal(-0.3 * s, 1 + 0.2 * s, 150) for s in range(3)]
    drawn = []
    for _ in range(1500):
        again = x[rng.integers(0, 300, 300)]
        drawn.append(np.mean([auroc(again, y[rng.integers(0, 150, 150)]) for y in sets]))
    estimate = mean_auroc_estimate([(y, None) for y in sets], x)
    assert width(estimate) == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.12)
    assert width(mean_auroc_estimate([(y, "base") for y in sets], x)) > width(estimate)


def test_separated_sets_loosen_the_mean() -> None:
    """A separated set is worth 1 but not exactly: its one-sided slack is added to the lower end."""
    rng = np.random.default_rng(3)
    x = rng.normal(5, 1, 100)
    far, near = np.full(50, -100.0), rng.normal(3, 1, 100)
    estimate = mean_auroc_estimate([(far, None), (near, None)], x)
    alone = auroc_estimate(x, near)
    assert estimate.value == pytest.approx((1 + alone.value) / 2)
    assert estimate.low < (1 + alone.low) / 2
    both = mean_auroc_estimate([(far, None), (far[:20], None)], x)
    assert both.method == "one-sided"
    assert both.high == 1
    assert both.low == pytest.approx((0.05 ** (1 / 50) + 0.05 ** (1 / 20)) / 2)
