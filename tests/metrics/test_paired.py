"""The sign test against scipy, Newcombe's interval against his paper and against its exact coverage."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, multinomial

from jembench.metrics.estimate import Estimate
from jembench.metrics.intervals import wilson
from jembench.metrics.paired import difference, holm, sign_test, two_sided

CELLS = st.tuples(*[st.integers(0, 60)] * 4).filter(any)


def of(a: int, b: int, c: int, d: int) -> Estimate:
    """The interval of a table: both, first only, second only, neither."""
    first = np.repeat([1, 1, 0, 0], [a, b, c, d])
    second = np.repeat([1, 0, 1, 0], [a, b, c, d])
    return difference(first, second)


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_sign_test_is_scipys(first: int, second: int) -> None:
    expected = binomtest(first, first + second, 0.5, alternative="greater").pvalue if first + second else 1.0
    assert sign_test(first, second) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 80), st.integers(0, 80))
def test_the_two_sides_share_the_outcome_itself(first: int, second: int) -> None:
    """P(X >= b) + P(X >= c) = 1 + P(X = b)."""
    n = first + second
    assert sign_test(first, second) + sign_test(second, first) == pytest.approx(1 + math.comb(n, first) / 2**n)


def test_the_sign_test_is_right_far_out_in_the_tail() -> None:
    assert sign_test(0, 0) == 1
    assert sign_test(1000, 0) == 2.0**-1000
    assert sign_test(26032, 0) == 0
    assert sign_test(5, 26032) == 1
    with pytest.raises(ValueError, match="at least 0"):
        sign_test(-1, 3)


@pytest.mark.parametrize(("table", "low", "high"), [((36, 12, 2, 0), 0.0569, 0.3404), ((54, 0, 0, 0), -0.0664, 0.0664)])
def test_the_interval_is_the_papers(table: tuple[int, int, int, int], low: float, high: float) -> None:
    """Newcombe's first example, method 10; and one by hand: without losses it is twice Wilson's arm, apart."""
    found = of(*table)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert found.method == "newcombe"


@given(CELLS)
def test_the_interval_holds_the_value_and_turns_round(table: tuple[int, int, int, int]) -> None:
    a, b, c, d = table
    one, other = of(a, b, c, d), of(a, c, b, d)
    assert -1 <= one.low <= one.value <= one.high <= 1
    assert one.value == pytest.approx((b - c) / (a + b + c + d))
    assert one.low < one.high  # also without a discordant pair
    assert (other.low, other.value, other.high) == pytest.approx((-one.high, -one.value, -one.low))
    complement = of(d, b, c, a)  # what is True is False
    assert (complement.low, complement.high) == pytest.approx((one.low, one.high))


@given(st.integers(0, 40), st.integers(1, 40))
def test_against_a_constant_it_is_as_wide_as_two_independent_ones(k: int, n: int) -> None:
    """A margin is empty, so phi = 0: the squares of the Wilson arms add up."""
    k = min(k, n)
    found = difference([1] * k + [0] * (n - k), [0] * n)
    (low, high), (_, top) = wilson(k, n), wilson(0, n)
    assert found.low == pytest.approx(max(-1, k / n - math.hypot(k / n - low, top)))
    assert found.high == pytest.approx(k / n + (high - k / n))


@pytest.mark.parametrize("n", [12, 25])
def test_the_exact_coverage_is_near_its_level(n: int) -> None:
    """Summed over all tables of n pairs, for correlated and independent, equal and unequal proportions."""
    tables = np.array(
        [(a, b, c, n - a - b - c) for a, b, c in itertools.product(range(n + 1), repeat=3) if a + b + c <= n]
    )
    ends = np.array([(found.low, found.high) for found in (of(*map(int, table)) for table in tables)])
    covered = []
    for p in [
        (0.5, 0.1, 0.1, 0.3),
        (0.6, 0.25, 0.05, 0.1),
        (0.25, 0.25, 0.25, 0.25),
        (0.85, 0.05, 0.05, 0.05),
        (0.3, 0.3, 0.1, 0.3),
    ]:
        theta = p[1] - p[2]
        inside = (ends[:, 0] <= theta) & (theta <= ends[:, 1])
        covered.append(float(multinomial.pmf(tables, n, p)[inside].sum()))
    assert min(covered) > 0.92
    assert 0.94 < np.mean(covered) < 0.985


def test_bad_input_is_refused() -> None:
    for first, second in [([], []), ([1, 0], [1]), ([1, 2], [0, 1])]:
        with pytest.raises(ValueError, match=r"first|second"):
            difference(first, second)


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_two_sided_sign_test_is_scipys(first: int, second: int) -> None:
    expected = binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert two_sided(first, second) == pytest.approx(expected, rel=1e-9)
    assert two_sided(first, second) == two_sided(second, first)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_what_his_steps_reject(p_values: list[float]) -> None:
    """Sequentially: the smallest against alpha / k, the next against alpha / (k - 1), … until the first that is not."""
    adjusted = holm(p_values)
    assert all(q >= p for p, q in zip(p_values, adjusted, strict=True))
    for alpha in (0.01, 0.05, 0.3):
        rejected: set[int] = set()
        for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            if min(1.0, (len(p_values) - rank) * p_values[place]) > alpha:
                break
            rejected.add(place)
        assert {i for i, q in enumerate(adjusted) if q <= alpha} == rejected


def test_holm_keeps_false_rejections_rare_and_plain_p_values_do_not() -> None:
    """20 true hypotheses, 2,000 times: one of them is rejected in 5 % of the tables, against 64 %."""
    tables = np.random.default_rng(0).random((2000, 20))
    assert np.mean([min(holm(row.tolist())) <= 0.05 for row in tables]) == pytest.approx(0.05, abs=0.015)
    assert np.mean(tables.min(axis=1) <= 0.05) > 0.6


def test_a_p_value_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"p-values must lie in \[0, 1\]"):
        holm([0.5, 1.5])
