"""The median by order statistics."""

import math

import numpy as np
import pytest

from jembench.metrics.order import median


def test_the_interval_is_the_textbooks() -> None:
    """n = 10: the 2nd and the 9th value, P(Bin(10, 1/2) < 2) = .0107; below 6 values there is none."""
    estimate = median(np.arange(10.0))
    assert (estimate.value, estimate.low, estimate.high) == (4.0, 1.0, 8.0)
    assert median(np.arange(5.0)).low is None


def test_infinite_values_are_values() -> None:
    x = np.array([0.1] * 30 + [math.inf] * 25)
    estimate = median(x)
    assert (estimate.value, estimate.low, estimate.high) == (0.1, 0.1, None)
    with pytest.raises(ValueError, match="infinite"):
        median([1.0, math.inf, math.inf])
    with pytest.raises(ValueError, match="without NaN"):
        median([math.nan])


def test_it_covers() -> None:
    rng = np.random.default_rng(0)
    hits = [e.low <= 1 <= e.high for e in (median(rng.exponential(1 / math.log(2), 60)) for _ in range(2000))]
    assert 0.94 < np.mean(hits) < 0.98
