"""Frechet distance: torch-fidelity's and the closed form's value; its bias and intervals against simulated truth."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from jembench.metrics.estimate import Estimate
from jembench.metrics.frechet import Moments, frechet, frechet_curve, frechet_estimate, frechet_infinity, moments

Draw = Callable[[int, float], np.ndarray]


def fidelity(x: np.ndarray, y: np.ndarray) -> float:
    """torch-fidelity's FID on given features."""
    statistics = (fid_features_to_statistics(torch.from_numpy(z)) for z in (x, y))
    return float(next(iter(fid_statistics_to_metric(*statistics, False).values())))


def sample(seed: int, n: int, d: int, *, shift: float = 0.3) -> np.ndarray:
    """Correlated features of unequal scale."""
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, (n, d)) @ rng.normal(size=(d, d)) / np.sqrt(1 + np.arange(d))


def relu(d: int) -> Draw:
    """Features of a random network: not normal, skewed, correlated."""
    rng, fixed = np.random.default_rng(1), np.random.default_rng(d)
    weights, bias = fixed.normal(size=(d, d)) / np.sqrt(d), fixed.normal(size=d) / 2
    return lambda n, shift: np.maximum(rng.normal(shift, 1, (n, d)) @ weights + bias, 0)


def holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low - 1e-12 <= truth <= estimate.high + 1e-12


@pytest.mark.parametrize(("n", "m", "d"), [(200, 150, 16), (30, 200, 64), (20, 25, 64), (2, 2, 5), (50, 50, 1)])
def test_the_value_is_torch_fidelitys(n: int, m: int, d: int) -> None:
    """Random features, also of fewer examples than dimensions; in both orders."""
    x, y = sample(0, n, d), sample(1, m, d, shift=0.0)
    closed = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    expected = closed if d == 1 else fidelity(x, y)  # torch-fidelity refuses one dimension
    assert frechet(moments(x), moments(y)) == pytest.approx(expected, rel=1e-4)
    assert frechet(moments(y), moments(x)) == pytest.approx(expected, rel=1e-4)
    assert frechet_estimate(x, y).value == pytest.approx(expected, rel=1e-4)


def test_more_dimensions_than_a_block() -> None:
    """The triangular product in blocks is the whole one."""
    x, y = sample(0, 700, 600), sample(1, 800, 600)
    assert frechet(moments(x), moments(y)) == pytest.approx(fidelity(x, y), rel=1e-6)


@pytest.mark.parametrize("constant", [(True, False), (False, True), (True, True)])
def test_constant_columns(constant: tuple[bool, bool]) -> None:
    """A column without spread in one set or both, and sets that are constant altogether."""
    x, y = sample(0, 100, 8), sample(1, 100, 8)
    for each, flat in ((x, constant[0]), (y, constant[1])):
        each[:, 2:4] = 1.0 if flat else each[:, 2:4]
    assert frechet(moments(x), moments(y)) == pytest.approx(fidelity(x, y), rel=1e-4)
    assert frechet(moments(np.ones((5, 3))), moments(np.full((4, 3), 3.0))) == pytest.approx(12.0)
    nothing = frechet_estimate(np.ones((5, 3)), np.full((4, 3), 3.0))
    assert (nothing.low, nothing.high, nothing.method) == (None, None, "none")
    assert frechet(moments(np.ones((5, 3))), moments(sample(0, 50, 3))) > 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 30), st.sampled_from([1e-6, 1.0, 1e6]))
def test_a_set_is_at_no_distance_from_itself(seed: int, n: int, d: int, scale: float) -> None:
    """Zero up to rounding, never below, for regular and singular covariances at any scale; symmetric for two sets."""
    x, y = scale * sample(seed, n, d), scale * sample(seed + 1, n + 3, d)
    m = moments(x)
    size = float(np.trace(m.covariance)) + 1e-300
    assert 0 <= frechet(m, m) <= 1e-5 * size
    assert frechet(m, moments(y)) == pytest.approx(frechet(moments(y), m), rel=1e-6, abs=1e-6 * size)
    estimate = frechet_estimate(x, y)
    assert estimate.low is None or estimate.high is None or 0 <= estimate.low <= estimate.high < np.inf


def test_it_is_the_closed_form_of_commuting_covariances() -> None:
    """Diagonal covariances: |m|^2 + sum (a - b)^2 of the standard deviations; a rotation and a shift change nothing."""
    rng = np.random.default_rng(0)
    a, b, m = rng.uniform(0.1, 2, 12), rng.uniform(0.1, 2, 12), rng.normal(size=12)
    q = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    one, two = Moments(q @ m + 5, q @ np.diag(a**2) @ q.T, 9), Moments(np.full(12, 5.0), q @ np.diag(b**2) @ q.T, 9)
    assert frechet(one, two) == pytest.approx(float(m @ m + np.square(a - b).sum()), rel=1e-10)


def test_the_bias_is_the_mean_excess() -> None:
    """F at n exceeds the truth by what F at infinity takes away; F at infinity is unbiased to 3 standard errors."""
    draw = relu(8)
    exact = moments(draw(400_000, 0.0))
    truth, rng = frechet(moments(draw(400_000, 0.3)), exact), np.random.default_rng(0)
    plain, infinite = [], []
    for _ in range(300):
        x = draw(100, 0.3)
        plain.append(frechet(moments(x), exact))
        infinite.append(frechet_infinity(x, exact, rng=rng, splits=1).value)
    error = float(np.std(infinite)) / np.sqrt(300)
    assert abs(np.mean(infinite) - truth) < 3 * error + 0.002
    assert np.mean(plain) - truth > 8 * error


def cover(d: int, n: int, m: int | None, shift: float, sets: int) -> tuple[float, float]:
    """Shares of sets whose intervals hold F at infinity, and the mean of F at n; m None: moments as the reference."""
    draw, rng = relu(d), np.random.default_rng(0)
    exact = moments(draw(200_000, 0.0))
    truth = frechet(moments(draw(200_000, shift)), exact) if shift else 0.0
    at_n, infinite = [], []
    for _ in range(sets):
        x, y = draw(n, shift), exact if m is None else draw(m, 0.0)
        at_n.append(frechet_estimate(x, y))
        infinite.append(frechet_infinity(x, y, rng=rng, splits=1))
    mean = float(np.mean([e.value for e in at_n]))
    return float(np.mean([holds(e, truth) for e in infinite])), float(np.mean([holds(e, mean) for e in at_n]))


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5])
def test_the_intervals_cover(shift: float) -> None:
    """200 sets of 150 examples with 8 features, against moments."""
    infinite, at_n = cover(8, 150, None, shift, 200)
    assert infinite >= 0.88
    assert at_n >= 0.88


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2, 0.5])
@pytest.mark.parametrize(
    ("d", "n", "m"), [(8, 100, None), (8, 360, None), (32, 200, None), (32, 400, 400), (32, 400, 200)]
)
def test_the_intervals_cover_at_length(d: int, n: int, m: int | None, shift: float) -> None:
    """1,000 sets."""
    infinite, at_n = cover(d, n, m, shift, 1000)
    print(f"FD d {d} n {n} m {m} shift {shift}: infinity {infinite:.3f}, at n {at_n:.3f}")  # noqa: T201
    assert infinite >= 0.88
    assert at_n >= 0.88


def test_a_percentile_bootstrap_would_be_caught() -> None:
    """Planted bug: two samples of one law; the bootstrap's interval holds 0 never, ours mostly."""
    draw, rng = relu(8), np.random.default_rng(0)
    exact, theirs, ours = moments(draw(200_000, 0.0)), [], []
    for _ in range(40):
        x = draw(100, 0.0)
        drawn = [frechet(moments(x[rng.integers(0, 100, 100)]), exact) for _ in range(50)]
        theirs.append(np.quantile(drawn, 0.025) <= 0)
        ours.append(holds(frechet_infinity(x, exact, rng=rng, splits=1), 0.0))
    assert np.mean(theirs) == 0
    assert np.mean(ours) > 0.75


def test_the_curve_falls_to_the_value() -> None:
    """F against n decreases, and all examples give F itself."""
    draw, rng = relu(8), np.random.default_rng(0)
    x, y = draw(800, 0.1), draw(900, 0.0)
    curve = frechet_curve(x, y, [50, 100, 200, 400, 800], rng=rng)
    assert (np.diff(curve) < 0).all()
    assert curve[-1] == pytest.approx(frechet(moments(x), moments(y)), rel=1e-9)
    again = frechet_curve(x, moments(y), [50], rng=np.random.default_rng(0))
    assert again[0] == curve[0]


def test_order_does_not_matter() -> None:
    """Permuted examples have the same moments and interval but for rounding."""
    x, y = sample(0, 60, 5), sample(1, 70, 5)
    one, two = frechet_estimate(x, y), frechet_estimate(x[::-1], y[::-1])
    assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high), rel=1e-9)


X = sample(0, 20, 4)
NAN = np.where(np.arange(80).reshape(20, 4) == 7, np.nan, X)
RNG = np.random.default_rng(0)


def test_malformed_inputs_are_refused(refused: Callable[..., None]) -> None:
    refused("at least 2 examples", moments, X[:1])
    refused("features contains NaN", frechet_estimate, NAN, X)
    refused("reference contains NaN", frechet_infinity, X, NAN, rng=RNG)
    refused("4 dimensions, the reference has 3", frechet_estimate, X, X[:, :3])
    refused("4 and 3 dimensions", frechet, moments(X), moments(X[:, :3]))
    refused("NaN", frechet, moments(X), Moments(np.full(4, np.nan), np.eye(4), 9))
    refused("features need at least 12 examples", frechet_infinity, X[:11], X, rng=RNG)
    refused("reference need at least 12 examples", frechet_infinity, X, X[:5], rng=RNG)
    refused("splits", frechet_infinity, X, X, rng=RNG, splits=0)
    refused("2..20", frechet_curve, X, X, [21], rng=RNG)
