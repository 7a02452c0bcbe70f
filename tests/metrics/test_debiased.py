"""The debiased squared ECE is its U-statistic, unbiased; its interval inverts its variance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench.metrics.calibration import width_bins
from jembench.metrics.debiased import debiased_squared_ece

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40)


@given(PAIRS, st.integers(1, 15))
def test_the_value_is_the_u_statistic(pairs: list[tuple[float, bool]], bins: int) -> None:
    """sum_j 1 / (n (n_j - 1)) sum_{i != k} r_i r_k, pair by pair; the interval holds its positive part."""
    p, y = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    r, index, total = y - p, width_bins(p, bins), 0.0
    for j in range(bins):
        inside = r[index == j]
        if inside.size > 1:
            total += (np.outer(inside, inside).sum() - (inside**2).sum()) / (p.size * (inside.size - 1))
    estimate = debiased_squared_ece(p, y, bins=bins)
    assert estimate.value == pytest.approx(total, abs=1e-12)
    if estimate.low is None or estimate.high is None:
        assert estimate.method == "none"
        assert estimate.value == 0
    else:
        assert 0 <= estimate.low <= max(estimate.value, 0) + 1e-12
        assert max(estimate.value, 0) - 1e-12 <= estimate.high <= 1


def test_order_does_not_matter() -> None:
    """Permuting the examples changes nothing but rounding."""
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 1, 100)
    y, other = rng.random(100) < p, rng.permutation(100)
    one, two = debiased_squared_ece(p, y), debiased_squared_ece(p[other], y[other])
    assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high), abs=1e-12)


@pytest.mark.parametrize("over", [0.0, 0.1])
def test_it_is_unbiased_and_the_plug_in_is_not(over: float) -> None:
    """Mean over sets = over^2 to 4 standard errors; the squared plug-in is many above."""
    rng = np.random.default_rng(1)
    values, naive = [], []
    for _ in range(2000):
        p = rng.uniform(0.4, 0.9, 150)
        r = (rng.random(150) < p - over) - p
        values.append(debiased_squared_ece(p, r + p > 0.5).value)
        index = width_bins(p, 15)
        naive.append((np.bincount(index, r) ** 2 / np.maximum(np.bincount(index), 1)).sum() / 150)
    error = np.std(values) / np.sqrt(2000)
    assert abs(np.mean(values) - over**2) < 4 * error
    assert np.mean(naive) - over**2 > 20 * error


def test_more_data_decides() -> None:
    """A calibrated model's interval starts at 0 and shrinks as 1/n, a miscalibrated one leaves 0."""
    rng = np.random.default_rng(2)
    highs = []
    for n in (500, 50_000):
        p = rng.uniform(0, 1, n)
        calibrated = debiased_squared_ece(p, rng.random(n) < p)
        assert calibrated.low == 0
        assert calibrated.high is not None
        highs.append(calibrated.high)
    assert highs[1] < highs[0] / 30
    p = rng.uniform(0.4, 1, 2000)
    wrong = debiased_squared_ece(p, rng.random(2000) < p - 0.2)
    assert wrong.low > 0.02


def test_certain_models() -> None:
    """Certain and right: 0, known as well as n examples without an error can tell. Certain and wrong: 1."""
    right = debiased_squared_ece(np.ones(50), np.ones(50))
    assert (right.value, right.low) == (0.0, 0.0)
    assert (3 / 50) ** 2 < right.high < (5 / 50) ** 2
    assert debiased_squared_ece(np.ones(50), np.zeros(50)).value == 1.0
