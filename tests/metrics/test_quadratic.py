"""The score interval solves its equation, and covers a squared mean from zero to far away."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench.metrics.intervals import Z
from jembench.metrics.quadratic import score_interval, variance


@given(st.floats(-2, 5), st.floats(1e-3, 5), st.floats(0, 2), st.floats(1e-4, 1))
def test_both_ends_solve_the_equation(t: float, plain: float, jackknife: float, degenerate: float) -> None:
    """(t - theta)^2 = z^2 (D + B max(theta, 0)), around t."""
    low, high = score_interval(t, plain, jackknife, degenerate)
    slope = max(jackknife / max(plain, degenerate**0.5 / 100), (jackknife - degenerate) / max(t, degenerate**0.5))
    assert low <= t <= high
    for end in (low, high):
        assert (t - end) ** 2 == pytest.approx(Z**2 * (degenerate + slope * max(end, 0.0)), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("d", [1, 30])
@pytest.mark.parametrize("length", [0.0, 0.05, 0.1, 0.2, 0.5, 2.0])
def test_it_covers_a_squared_length(d: int, length: float) -> None:
    """|mean|^2 of 100 normal values in d dimensions, 2,000 sets; the variance is right on average, or cut at D."""
    rng, hits, values, rules = np.random.default_rng(0), [], [], []
    for _ in range(2000):
        m = rng.normal(0, 0.1, d) + np.eye(d)[0] * length
        plain = float(m @ m)
        t, jackknife, degenerate = plain - d / 100, 4 * plain / 100, 2 * d / 100**2
        low, high = score_interval(max(t, 0.0), plain, jackknife, degenerate)
        hits.append(max(low, 0.0) <= length**2 <= high)
        values.append(t)
        rules.append(variance(jackknife, degenerate))
    assert 0.92 <= np.mean(hits) <= 0.985
    assert 0.9 < np.mean(rules) / np.var(values) < 2.0
