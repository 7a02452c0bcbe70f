"""Average precision against scikit-learn, its variance against the bootstrap, its bounds against flat curves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from jembench.metrics.aupr import aupr_estimate, aupr_out_estimate, separated_bound

SCORES = st.lists(st.integers(-3, 3).map(float) | st.floats(-1e6, 1e6), min_size=1, max_size=30)


@given(SCORES, SCORES)
def test_aupr_is_sklearns_in_both_directions(positive: list[float], negative: list[float]) -> None:
    """Ties, constants and separated scores included."""
    y = [1] * len(positive) + [0] * len(negative)
    scores = np.array(positive + negative)
    assert aupr_estimate(positive, negative).value == pytest.approx(average_precision_score(y, scores), abs=1e-12)
    assert aupr_out_estimate(positive, negative).value == pytest.approx(
        average_precision_score([1 - v for v in y], -scores), abs=1e-12
    )


@given(SCORES, SCORES)
def test_an_estimate_is_never_nan(positive: list[float], negative: list[float]) -> None:
    """Either no interval or two ends around the value; only the order counts."""
    estimate = aupr_estimate(positive, negative)
    ranks = {v: float(r) ** 3 for r, v in enumerate(sorted(set(positive + negative)))}
    assert estimate == aupr_estimate([ranks[v] for v in positive], [ranks[v] for v in negative])
    if estimate.low is None or estimate.high is None:
        assert estimate.method == "none"
    else:
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


@pytest.mark.parametrize("sizes", [(300, 300), (300, 80)])
def test_the_influence_variance_is_the_bootstraps(sizes: tuple[int, int]) -> None:
    """Away from the edges both widths agree to 15 %, in both directions."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 1, sizes[0]), rng.normal(0, 1, sizes[1])
    resamples = [(rng.choice(x, x.size), rng.choice(y, y.size)) for _ in range(2000)]
    for metric in (aupr_estimate, aupr_out_estimate):
        estimate = metric(x, y)
        assert estimate.high - estimate.low == pytest.approx(
            2 * 1.96 * np.std([metric(*pair).value for pair in resamples]), rel=0.15
        )


@pytest.mark.parametrize(("m", "n"), [(360, 360), (360, 90), (90, 360), (5, 3)])
def test_the_separated_bound_holds_against_flat_curves(m: int, n: int) -> None:
    """For R(u) = r up to v and 1 after, with AP below the bound, a separated sample has probability < 5 %."""
    bound, c = separated_bound(m, n), n / m
    u = (np.arange(20_000) + 0.5) / 20_000
    seen = 0
    for v in (1.0, 0.999, 0.99, 0.95, 0.8):
        for r in np.geomspace(1e-4, 1, 60):
            curve = np.where(u <= v, r, 1.0)
            if np.mean(u / (u + c * curve)) < bound:
                seen += 1
                separated = np.mean(m * u ** (m - 1) * (1 - curve) ** n)  # u: recall at the lowest positive
                assert separated <= 0.05
    assert seen
    assert 0 < bound < 1


def test_edges() -> None:
    """Separated and reversed scores are one-sided; a single example or no spread has no interval."""
    x, y = np.arange(90) + 1000.0, np.arange(360.0)
    top, bottom = aupr_estimate(x, y), aupr_estimate(y, x)
    assert (top.value, top.high, top.method) == (1.0, 1.0, "one-sided")
    assert top.low == separated_bound(90, 360)
    assert bottom.method == "one-sided"
    assert 0.4 < bottom.low <= bottom.value <= bottom.high < 1
    assert aupr_estimate([1.0], [0.0, 2.0]).method == "none"
    assert aupr_estimate([1.0, 1.0], [1.0, 1.0]).method == "none"
    assert aupr_estimate([0.0, 0.0], [0.0, 1.0]).method == "none"
