"""Ridge logistic regression: parity with scikit-learn, units that do not matter, outcomes that are all the same."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jembench.metrics.logistic import fit_logistic


def drawn(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) * [1.0, 5.0, 0.1] + [0.0, 100.0, -3.0]
    p = 1 / (1 + np.exp(-(1 + 2 * x[:, 0] - 0.3 * (x[:, 1] - 100))))
    return x, rng.random(n) < p, rng.random(n)


@pytest.mark.parametrize("ridge", [1e-3, 0.1, 10.0])
def test_it_is_scikit_learns(ridge: float) -> None:
    """Soft targets as two weighted copies of every example; the same standardisation."""
    x, y, w = drawn(0)
    found = fit_logistic(x, y, weights=w, ridge=ridge)
    share = w / w.sum()
    mean = share @ x
    z = (x - mean) / np.sqrt(share @ np.square(x - mean))
    target = (len(y) * y + 0.5) / (len(y) + 1)
    theirs = LogisticRegression(C=1 / ridge, tol=1e-10, max_iter=10_000).fit(
        np.concatenate([z, z]),
        np.repeat([1, 0], len(y)),
        sample_weight=np.concatenate([share * target, share * (1 - target)]),
    )
    np.testing.assert_allclose(found.weights, [*theirs.intercept_, *theirs.coef_[0]], rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(found.probability(x), theirs.predict_proba(z)[:, 1], atol=2e-4)


def test_units_and_zeros_of_features_do_not_matter() -> None:
    x, y, w = drawn(1)
    moved = x * [3.0, 0.01, 1e4] + [1e3, -7.0, 0.0]
    first, second = fit_logistic(x, y, weights=w), fit_logistic(moved, y, weights=w)
    np.testing.assert_allclose(second.probability(moved), first.probability(x), atol=1e-7)


def test_the_mean_prediction_is_the_mean_outcome() -> None:
    """The constant carries no ridge, so its gradient is the weighted residual, 0; but for half an example's doubt."""
    x, y, w = drawn(2)
    fit = fit_logistic(x, y, weights=w, ridge=5.0)
    assert w @ fit.probability(x) / w.sum() == pytest.approx((len(y) * (w @ y) / w.sum() + 0.5) / (len(y) + 1))


@pytest.mark.parametrize("outcome", [0, 1])
def test_equal_outcomes_have_a_finite_fit(outcome: int) -> None:
    x, y, w = drawn(3)
    p = fit_logistic(x, np.full(len(y), outcome), weights=w).probability(x)
    np.testing.assert_allclose(p, outcome, atol=2 / len(y))
    assert ((p > 0) & (p < 1)).all()


def test_a_constant_feature_is_ignored() -> None:
    x, y, w = drawn(4)
    constant = np.column_stack([x, np.full(len(x), 7.0)])
    np.testing.assert_allclose(
        fit_logistic(constant, y, weights=w).probability(constant), fit_logistic(x, y, weights=w).probability(x)
    )


def test_a_weight_is_a_number_of_copies() -> None:
    """But for the doubt, which counts examples."""
    x, y, _ = drawn(5, n=2000)
    w = np.random.default_rng(0).integers(1, 4, size=len(y))
    copies = fit_logistic(np.repeat(x, w, axis=0), np.repeat(y, w), weights=np.ones(w.sum()))
    np.testing.assert_allclose(fit_logistic(x, y, weights=w).probability(x), copies.probability(x), atol=2e-3)


def test_bad_input_is_refused() -> None:
    x, y, w = drawn(6)
    for weights, ridge in ((w[1:], 1.0), (-w, 1.0), (0 * w, 1.0), (w, 0.0)):
        with pytest.raises(ValueError, match="weights"):
            fit_logistic(x, y, weights=weights, ridge=ridge)
    with pytest.raises(ValueError, match="columns"):
        fit_logistic(x, y, weights=w).probability(x[:, :2])
