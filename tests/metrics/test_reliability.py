"""Bins of a reliability diagram: they add to the ECE, and each interval is Wilson's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench.metrics.calibration import ece
from jembench.metrics.intervals import wilson
from jembench.metrics.reliability import reliability

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(PAIRS, st.integers(1, 20))
def test_the_bins_add_to_the_ece_and_hold_every_example(pairs: list[tuple[float, bool]], bins: int) -> None:
    p, y = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    found = reliability(p, y, bins=bins)
    assert sum(b.examples for b in found) == p.size
    gaps = sum(b.examples * abs(b.accuracy - b.confidence) for b in found) / p.size
    assert gaps == pytest.approx(ece(p, y, bins=bins), abs=1e-12)
    for b in found:
        inside = (p >= b.left) & ((p < b.right) | (b.right == 1))
        assert b.examples == inside.sum() > 0
        assert b.accuracy == pytest.approx(y[inside].mean())
        assert b.left - 1e-12 <= b.confidence <= b.right + 1e-12
        assert (b.low, b.high) == wilson(int(y[inside].sum()), b.examples)


def test_a_confidence_of_one_is_in_the_last_bin_and_empty_bins_are_none() -> None:
    (low, high) = reliability([1.0, 0.95, 0.05], [1, 0, 0], bins=10)
    assert (low.left, low.examples, high.right, high.examples, high.accuracy) == (0.0, 1, 1.0, 2, 0.5)


def test_a_calibrated_model_lies_in_95_of_100_bins() -> None:
    """And the module's word: of the 15 bins of one diagram at least one misses in about half of all diagrams."""
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(400):
        p = rng.random(3000)
        hits.append([b.low <= b.confidence <= b.high for b in reliability(p, rng.random(3000) < p)])
    assert 0.93 <= np.mean(hits) <= 0.97
    assert 0.4 < np.mean([not all(found) for found in hits]) < 0.65


def test_bad_input() -> None:
    for bad in (([], []), ([1.5], [1]), ([0.5, 0.5], [1])):
        with pytest.raises(ValueError, match="must"):
            reliability(*bad)
