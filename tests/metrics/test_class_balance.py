"""Class balance: scipy's chi-squared, a level that holds, a band that holds, and imbalance found."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, chisquare

from jembench.metrics.class_balance import chi_squared_tail, class_balance

RNG = np.random.default_rng(0)


@given(st.floats(0, 3000), st.integers(1, 1200))
def test_the_tail_is_scipys(x: float, freedom: int) -> None:
    assert chi_squared_tail(x, freedom) == pytest.approx(chi2.sf(x, freedom), rel=1e-8, abs=1e-290)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.booleans())
def test_the_p_value_is_scipys(labels: list[int], uneven: bool) -> None:
    """Against equal and against given shares."""
    share = np.array([0.3, 0.2, 0.2, 0.1, 0.1, 0.1]) if uneven else np.full(6, 1 / 6)
    found = class_balance(labels, 6, rng=RNG, expected=share if uneven else None, replicates=20)
    counts = np.bincount(labels, minlength=6)
    assert found.counts.tolist() == counts.tolist()
    assert found.missing == 6 - len(set(labels))
    assert found.p_value == pytest.approx(chisquare(counts, len(labels) * share).pvalue, rel=1e-6, abs=1e-12)
    assert found.total_variation.value == pytest.approx(np.maximum(counts / len(labels) - share, 0).sum())


def test_the_level_and_the_band_hold() -> None:
    """Balanced labels, 100 of 10 classes: p below .05 in about .05 of 600 sets, outside the band in about .05."""
    rng = np.random.default_rng(0)
    rejected, outside = [], []
    for _ in range(600):
        found = class_balance(rng.integers(0, 10, 100), 10, rng=rng, replicates=400)
        tv = found.total_variation
        assert tv.low is not None
        assert tv.high is not None
        rejected.append(found.p_value < 0.05)
        outside.append(not tv.low <= tv.value <= tv.high)
    assert 0.025 <= np.mean(rejected) <= 0.08
    assert np.mean(outside) <= 0.08


def test_extremes() -> None:
    """Perfect balance: 0 and p 1. One class of ten: .9, p 0, nine missing. A class that cannot be: p 0."""
    even = class_balance(np.arange(100) % 10, 10, rng=RNG)
    assert (even.total_variation.value, even.p_value) == (pytest.approx(0), 1.0)
    one = class_balance(np.zeros(100, dtype=int), 10, rng=RNG)
    assert (one.total_variation.value, one.missing) == (pytest.approx(0.9), 9)
    assert one.p_value < 1e-100
    assert one.total_variation.high is not None
    assert one.total_variation.high < 0.3
    assert class_balance([0, 1], 2, rng=RNG, expected=[1.0, 0.0]).p_value == 0.0
    assert class_balance([0, 0], 2, rng=RNG, expected=[1.0, 0.0]).p_value == 1.0
    assert chi_squared_tail(float("inf"), 3) == 0.0


BAD: list[tuple[str, Callable[[], object], str]] = [
    ("empty", lambda: class_balance([], 3, rng=RNG), "non-empty"),
    ("range", lambda: class_balance([3], 3, rng=RNG), "0..2"),
    ("floats", lambda: class_balance([0.5], 3, rng=RNG), "integers"),
    ("shares", lambda: class_balance([0], 2, rng=RNG, expected=[0.5, 0.4]), "sum to 1"),
    ("length", lambda: class_balance([0], 2, rng=RNG, expected=[1.0]), "2 shares"),
    ("classes", lambda: class_balance([0], 0, rng=RNG), "at least 1"),
    ("level", lambda: class_balance([0], 2, rng=RNG, level=1), "level"),
    ("x", lambda: chi_squared_tail(-1.0, 2), "x >= 0"),
]


@pytest.mark.parametrize(("what", "call", "words"), BAD, ids=[name for name, _, _ in BAD])
def test_malformed_inputs_are_refused(what: str, call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=rf"^[^\n]*{words}[^\n]*$"):
        call()
