"""Wilson against its defining equation, the mean's interval against its limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from jembench.metrics.intervals import Z, mean, mean_test, wilson, wilson_rate


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(case: tuple[int, int]) -> None:
    """An independent implementation agrees, and the value is inside."""
    k, n = case
    low, high = wilson(k, n)
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= k / n <= high <= 1


@given(st.floats(0.01, 0.99), st.floats(1.0, 1e5))
def test_wilson_ends_solve_the_score_equation(rate: float, n: float) -> None:
    """(rate - p)^2 = z^2 p (1 - p) / n at both ends."""
    for p in wilson_rate(rate, n):
        assert (rate - p) ** 2 == pytest.approx(Z * Z * p * (1 - p) / n, rel=1e-6, abs=1e-12)


def test_mean_is_deterministic_and_equivariant() -> None:
    """The same generator, the same interval; it scales and shifts with the values."""
    x = np.random.default_rng(1).exponential(size=200)
    one = mean(x, rng=np.random.default_rng(2))
    assert one == mean(x, rng=np.random.default_rng(2))
    other = mean(3 * x + 7, rng=np.random.default_rng(2))
    assert (other.value, other.low, other.high) == pytest.approx((3 * one.value + 7, 3 * one.low + 7, 3 * one.high + 7))


def test_mean_leans_towards_the_long_tail() -> None:
    """For right-skewed values the upper arm is the longer one; mirrored values mirror the interval."""
    x = np.random.default_rng(3).lognormal(sigma=1.2, size=360)
    up, down = mean(x, rng=np.random.default_rng(0)), mean(-x, rng=np.random.default_rng(0))
    assert down.low is not None
    assert down.high is not None
    assert up.high - up.value > 1.2 * (up.value - up.low)
    assert (down.low, down.high) == pytest.approx((-up.high, -up.low), rel=0.02)


def test_mean_claims_nothing_where_it_knows_nothing() -> None:
    """One value or a constant: no interval. One odd value out: the end that hangs on it alone is None."""
    for values in ([0.3], [0.3, 0.3, 0.3]):
        estimate = mean(values, rng=np.random.default_rng(0))
        assert (estimate.value, estimate.low, estimate.high, estimate.method) == (0.3, None, None, "none")
    odd = mean([0.0] * 50 + [1.0], rng=np.random.default_rng(0))
    assert odd.high is None
    assert odd.low is not None


def test_mean_of_many_goes_by_blocks() -> None:
    """More values than a block holds: the interval is the normal one."""
    x = np.random.default_rng(0).normal(size=100_000)
    estimate = mean(x, rng=np.random.default_rng(0), replicates=200)
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 / np.sqrt(x.size), rel=0.2)


def test_the_p_value_of_a_mean_agrees_with_its_interval() -> None:
    """Below .05 if and only if 0 lies outside, but for the draws of the two; it is the t-test's for a normal sample."""
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.1, 0.15, 0.3):
        x = rng.normal(shift, 1, 200)
        p = mean_test(x, rng=np.random.default_rng(1))
        assert p == pytest.approx(ttest_1samp(x, 0).pvalue, abs=0.02)
        estimate = mean(x, rng=np.random.default_rng(2), replicates=9999)
        assert estimate.low is not None
        assert estimate.high is not None
        if abs(p - 0.05) > 0.01:
            assert (p < 0.05) == (estimate.low > 0 or estimate.high < 0)


def test_the_p_value_of_a_mean_is_uniform_where_there_is_none() -> None:
    """Also of a skewed sample, whose mean is 0."""
    rng = np.random.default_rng(3)
    found = [mean_test(rng.exponential(size=150) - 1, rng=rng, replicates=399) for _ in range(400)]
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.03)


def test_a_constant_sample_tests_nothing() -> None:
    rng = np.random.default_rng(0)
    assert mean_test([0.5], rng=rng) == mean_test([0.5, 0.5], rng=rng) == mean_test(np.zeros(9), rng=rng) == 1
    assert mean_test([1.0, 2.0], rng=rng, replicates=99) >= 2 / 100
    with pytest.raises(ValueError, match="replicates must be at least 1"):
        mean_test([0.0, 1.0], rng=rng, replicates=0)
