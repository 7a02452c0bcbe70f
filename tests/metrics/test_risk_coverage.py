"""AURC against its definition over all orders of ties; closed forms; its interval at the ends of the scale."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jembench.metrics.risk_coverage import aurc_estimate, excess_aurc_estimate, risk_coverage

TIED = st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=6)
PAIRS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40)


def by_hand(correct: np.ndarray) -> float:
    """The definition: the mean of the error rates among the first 1, 2, ..., n."""
    return float(np.mean([1 - correct[:i].mean() for i in range(1, correct.size + 1)]))


@settings(max_examples=40, deadline=None)
@given(TIED)
def test_ties_are_the_mean_over_all_their_orders(pairs: list[tuple[float, bool]]) -> None:
    c, y = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs], dtype=float)
    orders = [p for p in itertools.permutations(range(c.size)) if (np.diff(c[list(p)]) <= 0).all()]
    assert aurc_estimate(c, y).value == pytest.approx(np.mean([by_hand(y[list(p)]) for p in orders]))


def test_ties_in_the_order_of_the_examples_would_be_caught() -> None:
    """Planted bug: a stable sort gives one model 0 or .75 for the same predictions; the law gives the error rate."""
    c = np.full(4, 0.5)
    naive = [by_hand(np.array(y)[np.argsort(-c, kind="stable")]) for y in ([1, 1, 0, 0], [0, 0, 1, 1])]
    assert naive[0] < 0.25 < 0.75 < naive[1]
    assert aurc_estimate(c, [1, 1, 0, 0]).value == aurc_estimate(c, [0, 0, 1, 1]).value == 0.5


@given(PAIRS)
def test_order_bounds_and_excess(pairs: list[tuple[float, bool]]) -> None:
    """Order does not matter; the best order is below, the worst above; E-AURC is the distance to the former."""
    c, y = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    other = np.random.default_rng(c.size).permutation(c.size)
    value = aurc_estimate(c, y).value
    assert value == pytest.approx(aurc_estimate(c[other], y[other]).value, abs=1e-12)
    best, worst = by_hand(np.sort(y)[::-1]), by_hand(np.sort(y))
    assert best - 1e-12 <= value <= worst + 1e-12
    assert excess_aurc_estimate(c, y).value == pytest.approx(value - best, abs=1e-12)
    for estimate in (aurc_estimate(c, y), excess_aurc_estimate(c, y)):
        if estimate.low is not None and estimate.high is not None:
            assert 0 <= estimate.low <= estimate.value + 1e-12
            assert estimate.value - 1e-12 <= estimate.high <= 1


def test_the_curve() -> None:
    coverage, risk = risk_coverage([0.9, 0.8, 0.8, 0.1], [1, 0, 1, 0])
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 0.25, 1 / 3, 0.5])
    coverage, risk = risk_coverage([np.inf, np.inf, 3.0], [0, 1, 1])
    np.testing.assert_allclose(risk, [0.5, 0.5, 1 / 3])


def test_limits_for_many_examples() -> None:
    """Errors in random order: r. Sorted last: r + (1 - r) log(1 - r). Risk v / 2 at coverage v: 1/4."""
    rng, n = np.random.default_rng(0), 400_000
    y, c = rng.random(n) > 0.3, rng.random(n)
    assert aurc_estimate(c, y).value == pytest.approx(0.3, abs=0.005)
    assert excess_aurc_estimate(y, y).value == 0
    assert aurc_estimate(y, y).value == pytest.approx(0.3 + 0.7 * np.log(0.7), abs=0.003)
    assert aurc_estimate(c, rng.random(n) < c).value == pytest.approx(0.25, abs=0.005)


def test_what_the_data_cannot_tell() -> None:
    """One example: no interval. No error: from 0 up to about 5 / n. Nothing else: down from 1. One class of outcome."""
    assert aurc_estimate([0.7], [0]).method == excess_aurc_estimate([0.7], [1]).method == "none"
    assert aurc_estimate([0.7], [0]).value == 1
    for function in (aurc_estimate, excess_aurc_estimate):
        sure = function(np.linspace(0, 1, 360), np.ones(360))
        assert (sure.value, sure.low, sure.method) == (0.0, 0.0, "one-sided")
        assert 3 / 360 < sure.high < 6 / 360
    wrong, excess = (f(np.ones(360), np.zeros(360)) for f in (aurc_estimate, excess_aurc_estimate))
    assert (wrong.value, wrong.high, excess.value, excess.low) == (1.0, 1.0, 0.0, 0.0)
    assert 0.9 < wrong.low < 1 - excess.high + 1e-12
    assert excess_aurc_estimate([0.9, 0.8, 0.1], [1, 1, 0]).method == "one-sided"


def test_all_confidences_equal() -> None:
    """The area is the error rate, and so, but for the one more error, is its interval."""
    y = np.arange(1000) % 10 > 0
    found = aurc_estimate(np.ones(1000), y)
    assert found.value == pytest.approx(0.1)
    assert found.low == pytest.approx(0.1 - 0.0171, abs=2e-3)
    assert found.high == pytest.approx(0.1 + 0.0203, abs=2e-3)


def test_bad_input() -> None:
    for bad in (([], []), ([0.5, np.nan], [1, 0]), ([0.5], [1, 0]), ([0.5, 0.6], [1, 2])):
        with pytest.raises(ValueError, match=r"must|contains"):
            aurc_estimate(*bad)
