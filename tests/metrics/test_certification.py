"""Clopper-Pearson against scipy and against its definition, radii against the theorem on a half-space."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom, norm

from jembench.metrics.certification import certified, log_tail, lower_bound, radii

ALPHAS = st.sampled_from([1e-6, 0.001, 0.05, 0.5, 0.99])


@settings(deadline=None)
@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), ALPHAS)
def test_the_bound_is_scipys(case: tuple[int, int], alpha: float) -> None:
    k, n = case
    expected = beta.ppf(alpha, k, n - k + 1) if k else 0.0
    assert lower_bound(k, n, alpha=alpha) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(1e-3, 0.999))
def test_the_tail_is_scipys(case: tuple[int, int], p: float) -> None:
    k, n = case
    expected = binom.logsf(k - 1, n, p)
    assume(expected > -650)  # scipy takes the logarithm of a float64, which is denormal further out
    assert log_tail(k, n, p) == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_all_of_n_is_a_closed_form_also_for_many() -> None:
    for n in (1, 100, 100_000):
        assert lower_bound(n, n, alpha=0.001) == pytest.approx(0.001 ** (1 / n), rel=1e-9)
    assert lower_bound(0, 100, alpha=0.001) == 0
    assert lower_bound(99_000, 100_000, alpha=0.001) == pytest.approx(beta.ppf(0.001, 99_000, 1001), rel=1e-8)


@pytest.mark.parametrize("p", [0.3, 0.5, 0.77, 0.99])
@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.2])
def test_it_is_wrong_no_more_often_than_alpha(p: float, alpha: float) -> None:
    """Exactly, over all counts of 100 draws; and the share itself is wrong about half of the time."""
    counts = np.arange(101)
    wrong = np.array([lower_bound(int(k), 100, alpha=alpha) > p for k in counts])
    chance = binom.pmf(counts, 100, p)
    assert chance[wrong].sum() <= alpha
    assert chance[counts / 100 > p].sum() > 0.2


@given(st.integers(1, 500), st.floats(1e-4, 0.3))
def test_the_radius_rises_with_the_count_and_scales_with_sigma(n: int, alpha: float) -> None:
    counts = np.unique(np.linspace(0, n, 12).astype(int))
    one, two = radii(counts, n, sigma=0.25, alpha=alpha), radii(counts, n, sigma=0.5, alpha=alpha)
    assert (np.diff(one) >= 0).all()
    np.testing.assert_allclose(two, 2 * one)
    assert (one[counts <= n / 2] == 0).all()


def test_on_a_half_space_it_tends_to_the_distance() -> None:
    """A linear classifier is right under noise with probability Phi(d / sigma): the radius is d, from below."""
    sigma, d = 0.5, 0.4
    for n, within in ((1000, 0.08), (100_000, 0.008)):
        (found,) = radii([math.floor(n * norm.cdf(d / sigma))], n, sigma=sigma, alpha=0.001)
        assert d - within < found < d


def test_the_papers_largest_radius() -> None:
    """Section 4: with n = 100,000 and alpha = .001 no radius above 3.8 sigma can be certified."""
    (found,) = radii([100_000], 100_000, sigma=1.0, alpha=0.001)
    assert found == pytest.approx(3.81, abs=0.02)


def test_certified_needs_the_class_and_a_larger_radius() -> None:
    """The ball is closed and the certificate open: at its own radius nothing is promised."""
    found = certified([0.0, 0.5, 0.5, 1.0], [1, 1, 0, 1], 0.5)
    assert found.tolist() == [False, False, False, True]
    assert certified([0.0, 0.5], [1, 1], 0.0).tolist() == [False, True]  # abstaining is not correct


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="successes"):
        lower_bound(5, 4, alpha=0.1)
    with pytest.raises(ValueError, match="strictly"):
        lower_bound(2, 4, alpha=1.0)
    for counts, sigma in [([1.5], 1.0), ([1], 0.0), ([1], math.inf)]:
        with pytest.raises(ValueError, match="whole counts"):
            radii(counts, 4, sigma=sigma, alpha=0.1)
