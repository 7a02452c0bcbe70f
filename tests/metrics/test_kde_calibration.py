"""The kernel estimate against SciPy's Beta densities, example by example; known errors; the band."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy.stats import beta

from jembench.metrics.kde_calibration import bandwidth, kde_ece_estimate

PAIRS = st.lists(st.tuples(st.floats(0.001, 0.999), st.booleans()), min_size=2, max_size=25)


def kde_ece(c: ArrayLike, y: ArrayLike) -> float:
    return kde_ece_estimate(c, y, rng=np.random.default_rng(0), replicates=1).value


def slow(c: np.ndarray, y: np.ndarray, h: float) -> float:
    """The definition, one example at a time."""
    total = 0.0
    for j in range(c.size):
        others = np.arange(c.size) != j
        k = beta.logpdf(c[j], c[others] / h + 1, (1 - c[others]) / h + 1)
        k = np.exp(k - k.max())
        total += abs((k * y[others]).sum() / k.sum() - c[j])
    return total / c.size


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_it_is_its_definition(pairs: list[tuple[float, bool]]) -> None:
    c, y = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs], dtype=float)
    assert kde_ece(c, y) == pytest.approx(slow(c, y, bandwidth(c)), rel=1e-6, abs=1e-9)


def test_an_example_that_speaks_for_itself_would_be_caught() -> None:
    """Planted bug: without leaving one out, far-apart examples all confirm themselves: |y - c|; here, each other."""
    c, y = np.array([0.01, 0.99]), np.array([1, 0])
    assert kde_ece(c, y) == pytest.approx((abs(0 - 0.01) + abs(1 - 0.99)) / 2)
    assert np.abs(y - c).mean() > 0.98


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    c = rng.random(50)
    y = rng.random(50) < c
    whole = kde_ece_estimate(c, y, rng=np.random.default_rng(1), replicates=50)
    monkeypatch.setattr("jembench.metrics.calibration.BLOCK", 333)
    parts = kde_ece_estimate(c, y, rng=np.random.default_rng(1), replicates=50)
    assert (parts.value, parts.low, parts.high) == pytest.approx((whole.value, whole.low, whole.high), rel=1e-5)


@pytest.mark.parametrize("over", [0.0, 0.1, 0.2])
def test_a_known_error_is_found(over: float) -> None:
    """Accuracy c - over everywhere: the error is `over`, but for chance (about .02 at 0)."""
    rng = np.random.default_rng(2)
    c = rng.uniform(0.3, 1, 3000)
    assert kde_ece(c, rng.random(3000) < c - over) == pytest.approx(over, abs=0.025)


def test_degenerate_predictions() -> None:
    """One example: |y - c|. Ties: the others' accuracy. Certain and right: 0. A lone 1 has an estimate."""
    assert kde_ece([0.7], [0]) == pytest.approx(0.7)
    y = np.array([1, 1, 1, 0])
    assert kde_ece(np.full(4, 0.75), y) == pytest.approx((3 * (0.75 - 2 / 3) + 0.25) / 4)
    assert kde_ece(np.ones(5), np.ones(5)) == pytest.approx(0, abs=1e-12)
    assert kde_ece(np.ones(5), np.zeros(5)) == pytest.approx(1)
    found = kde_ece([1.0, 0.8, 0.7, 0.0], [1, 1, 0, 0])
    assert 0 < found < 1
    tiny = np.nextafter(1.0, 0.0)
    assert kde_ece([tiny, 0.8, 0.7, 0.0], [1, 1, 0, 0]) == pytest.approx(found, abs=1e-7)


def test_the_bandwidth_falls_with_n_and_survives_ties() -> None:
    """h n^(2/5) is the same for the same spread; equal confidences have the narrowest."""
    c = np.random.default_rng(3).random(1000)
    assert bandwidth(np.tile(c, 32)) == pytest.approx(bandwidth(c) / 4)
    assert bandwidth(np.ones(7)) == 1e-6
    t = np.linspace(0, np.pi / 2, 2001)
    assert bandwidth(np.sin(t) ** 2) == pytest.approx((2.12 * np.pi / 2 / np.sqrt(12)) ** 2 / 2001**0.4, rel=2e-3)


def test_the_band_holds_a_calibrated_model_and_no_other() -> None:
    """Outcomes drawn from the confidences: 92-98 % of 300 sets inside; accuracy c^2 above it."""
    rng = np.random.default_rng(4)
    c = rng.beta(5, 1, 200)
    band = kde_ece_estimate(c, rng.random(200) < c, rng=rng, replicates=2000)
    assert band.method == "consistency band"
    assert band.low is not None
    inside = [band.low <= kde_ece(c, rng.random(200) < c) <= band.high for _ in range(300)]
    assert 0.92 <= np.mean(inside) <= 0.98
    assert kde_ece(c, rng.random(200) < c**2) > band.high


def test_malformed_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="confidence"):
        kde_ece([1.2], [1])
