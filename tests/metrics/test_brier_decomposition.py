"""The terms add to the score; Murphy's by hand; unbiased where corrected; the band of a calibrated model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from jembench.metrics.brier_decomposition import Decomposition, brier_decomposition, decomposition_estimates
from jembench.metrics.calibration import width_bins
from jembench.metrics.debiased import debiased_squared_ece


def drawn(n: int, k: int, seed: int, sharp: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `(n, k)` raised to `sharp`, and labels drawn from the probabilities before."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(k, 0.5), n)
    y = (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=k - 1)
    return p**sharp / (p**sharp).sum(axis=1, keepdims=True), y


def total(terms: Decomposition) -> float:
    return terms.reliability - terms.resolution + terms.uncertainty + terms.within


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 6), st.integers(1, 20), st.integers(0, 10**6), st.booleans())
def test_the_terms_add_to_scikit_learns_score(n: int, k: int, bins: int, seed: int, corrected: bool) -> None:
    p, y = drawn(n, k, seed, 2.0)
    expected = brier_score_loss(y, p, labels=list(range(k)), scale_by_half=False) if k > 1 else 0.0
    assert total(brier_decomposition(p, y, bins=bins, corrected=corrected)) == pytest.approx(expected, abs=1e-10)


def test_without_the_terms_within_bins_it_would_not_add_up() -> None:
    """Planted bug: Murphy's three terms alone miss the score where predictions vary within their bin."""
    p, y = drawn(500, 4, 0)
    terms = brier_decomposition(p, y, bins=5, corrected=False)
    score = np.square(p - np.eye(4)[y]).sum(axis=1).mean()
    assert abs(terms.reliability - terms.resolution + terms.uncertainty - score) > 0.005


def test_murphy_by_hand() -> None:
    """Two predictions, .8 and .4 for class 0; accuracies 3/4 and 1/4; equal predictions have nothing within."""
    first = np.repeat([0.8, 0.4], 4)
    p, y = np.column_stack([first, 1 - first]), np.array([0, 0, 0, 1, 0, 1, 1, 1])
    plain = brier_decomposition(p, y, corrected=False)
    assert plain.reliability == pytest.approx(2 * (0.05**2 + 0.15**2) / 2)
    assert plain.resolution == pytest.approx(2 * 0.25**2)
    assert plain.uncertainty == pytest.approx(0.5)
    assert plain.within == pytest.approx(0, abs=1e-15)
    fair = brier_decomposition(p, y)
    variance = 2 * 0.75 * 0.25 * 4 / 3 / 8 * 2  # (1/n) sum_j Var_j(y), two bins, two classes
    assert fair.reliability == pytest.approx(plain.reliability - variance)
    assert fair.resolution == pytest.approx(plain.resolution - variance + 0.5 / 7)
    assert fair.uncertainty == pytest.approx(0.5 * 8 / 7)


def test_the_corrected_reliability_is_the_debiased_squared_ece_of_every_class() -> None:
    """Where no bin holds one example."""
    p, y = drawn(3000, 3, 1, 1.5)
    assert all((np.bincount(width_bins(p[:, k], 8)) != 1).all() for k in range(3))
    expected = sum(debiased_squared_ece(p[:, k], y == k, bins=8).value for k in range(3))
    assert brier_decomposition(p, y, bins=8).reliability == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("sharp", [1.0, 2.0])
def test_corrected_terms_are_unbiased_and_plain_ones_are_not(sharp: float) -> None:
    """Means over 600 sets of 150 = the terms of 400,000 examples, to 4 standard errors (calibrated, overconfident)."""
    truth = brier_decomposition(*drawn(400_000, 3, 0, sharp), bins=6)
    sets = [drawn(150, 3, seed, sharp) for seed in range(1, 601)]
    fair = np.array([brier_decomposition(p, y, bins=6) for p, y in sets])
    plain = np.array([brier_decomposition(p, y, bins=6, corrected=False) for p, y in sets])
    error = fair.std(axis=0) / np.sqrt(len(sets))
    assert (np.abs(fair.mean(axis=0) - truth) < 4 * error + 0.001).all()
    assert (plain.mean(axis=0) - truth)[0] > 20 * error[0]
    assert (plain.mean(axis=0) - truth)[1] > 4 * error[1]


def test_a_calibrated_model_lies_in_the_band_and_an_overconfident_one_above() -> None:
    """The band of one set of predictions against 300 draws of labels from them, singletons included."""
    p, _ = drawn(120, 4, 7)
    rng = np.random.default_rng(8)
    found = decomposition_estimates(p, drawn(120, 4, 7)[1], rng=rng, replicates=3000)
    band = found["reliability"]
    assert band.method == "consistency band"
    assert band.low < 0 < band.high
    ladder = p.cumsum(axis=1)
    labels = [(rng.random((120, 1)) > ladder).sum(axis=1).clip(max=3) for _ in range(300)]
    values = [brier_decomposition(p, y).reliability for y in labels]
    assert 0.92 <= np.mean([band.low <= v <= band.high for v in values]) <= 0.98
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(300)
    wrong, y = drawn(400, 4, 9, 4.0)
    over = decomposition_estimates(wrong, y, rng=rng)["reliability"]
    assert over.value > over.high
    assert {found[name].method for name in ("resolution", "uncertainty", "within")} == {"none"}


def test_degenerate_predictions() -> None:
    """Certain and right; one class; one example; labels of one class only."""
    certain = brier_decomposition(np.eye(3)[[0, 1, 2, 0, 1, 2]], [0, 1, 2, 0, 1, 2], corrected=False)
    assert certain == pytest.approx((0, 2 / 3, 2 / 3, 0))
    assert brier_decomposition(np.ones((4, 1)), [0, 0, 0, 0]) == pytest.approx((0, 0, 0, 0))
    assert total(brier_decomposition([[0.3, 0.7]], [0])) == pytest.approx(2 * 0.7**2)
    same = brier_decomposition(np.tile([0.9, 0.1], (50, 1)), [0] * 50)
    assert same == pytest.approx((0.02, 0, 0, 0), abs=1e-12)
    with pytest.raises(ValueError, match="labels"):
        brier_decomposition(np.eye(2), [0, 2])
    with pytest.raises(ValueError, match="bins"):
        brier_decomposition(np.eye(2), [0, 1], bins=0)
