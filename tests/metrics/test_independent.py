"""The difference of two figures with intervals of their own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench.metrics import independent
from jembench.metrics.estimate import Estimate
from jembench.metrics.intervals import wilson

ARM = st.floats(1e-3, 1)
FIGURES = st.builds(
    lambda value, below, above: Estimate(value, value - below, value + above), st.floats(-2, 2), ARM, ARM
)


@given(FIGURES, FIGURES)
def test_p_is_below_a_twentieth_if_and_only_if_zero_lies_outside(one, other):
    found, p = independent.difference(one, other)
    assert found.low <= found.value <= found.high
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (not found.low <= 0 <= found.high)
    back, again = independent.difference(other, one)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert again == pytest.approx(p)


def test_symmetric_intervals_give_the_test_of_two_normal_figures():
    one, other = (
        Estimate(3.0, 3 - 1.959964 * 0.3, 3 + 1.959964 * 0.3),
        Estimate(2.0, 2 - 1.959964 * 0.4, 2 + 1.959964 * 0.4),
    )
    found, p = independent.difference(one, other)
    assert found.high - found.value == pytest.approx(1.959964 * 0.5, rel=1e-5)
    assert p == pytest.approx(0.0455003, rel=1e-4)  # z = 2


def test_what_has_no_interval_has_no_test():
    assert independent.difference(Estimate(0.5), Estimate(0.4, 0.3, 0.5)) is None
    assert independent.difference(Estimate(0.5, 0.4, None), Estimate(0.4, 0.3, 0.5)) is None


def test_the_interval_of_two_shares_holds_their_difference():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        counts = rng.binomial(100, (0.9, 0.8))
        one, other = (Estimate(k / 100, *wilson(k, 100)) for k in counts)
        found, _ = independent.difference(one, other)
        held += found.low <= 0.1 <= found.high
    assert 0.93 <= held / 1000 <= 0.98
