"""Vector scaling: the minimum by SciPy's account; recovered; separable data by an independent linear programme."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from jembench.metrics.classification import log_softmax, nll, prediction, softmax
from jembench.metrics.temperature import fit_temperature
from jembench.metrics.vector_scaling import fit_vector


def draw(seed: int, n: int, k: int, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Logits of row mean 0, labels drawn from softmax(w z + b), w and b."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * spread
    z -= z.mean(axis=1, keepdims=True)
    w, b = rng.uniform(0.4, 1.6, k), rng.normal(size=k)
    p = softmax(w * z + b)
    return z, (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=k - 1), w, b - b.mean()


def separable(z: np.ndarray, y: np.ndarray) -> bool:
    """Whether some (w, b) lets no label lose and one win: a linear programme over the box [-1, 1]^2K."""
    n, k = z.shape
    rows = []
    for i in range(n):
        for j in range(k):
            if j != y[i]:
                row = np.zeros(2 * k)
                row[y[i]] += z[i, y[i]]
                row[k + y[i]] += 1
                row[j] -= z[i, j]
                row[k + j] -= 1
                rows.append(row)
    a = np.array(rows)
    found = linprog(-a.sum(axis=0), A_ub=-a, b_ub=np.zeros(len(a)), bounds=(-1, 1))
    return bool(-found.fun > 1e-6)


def test_known_weights_are_recovered() -> None:
    z, y, w, b = draw(0, 60_000, 4)
    found = fit_vector(z, y)
    assert found.method == "maximum likelihood"
    np.testing.assert_allclose(found.weight, w, atol=0.06)
    np.testing.assert_allclose(found.bias, b, atol=0.06)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 5), st.sampled_from([40, 150]))
def test_it_is_scipys_minimum_or_separable_by_a_linear_programme(seed: int, k: int, n: int) -> None:
    """Maximum likelihood exactly where there is an optimum; then BFGS finds nothing better, nor does temperature."""
    z, y, _, _ = draw(seed, n, k)
    found = fit_vector(z, y)
    assert (found.method == "Platt targets") == separable(z, y)
    hard = np.eye(k)[y]
    targets = (
        hard if found.method == "maximum likelihood" else np.where(hard > 0, (n + 1) / (n + 2), 1 / (n + 2) / (k - 1))
    )

    def loss(theta: np.ndarray) -> float:
        return float(-(targets * log_softmax(theta[:k] * z + theta[k:])).sum(axis=1).mean())

    value = loss(np.concatenate([found.weight, found.bias]))
    best = minimize(
        loss, np.concatenate([np.full(k, 1 / fit_temperature(z, y).temperature), np.zeros(k)]), method="BFGS"
    )
    assert value <= best.fun + 1e-9
    if found.method == "maximum likelihood":
        assert value <= nll(z / fit_temperature(z, y).temperature, y).mean() + 1e-12


@pytest.mark.slow
def test_hostile_logits_have_a_fit_and_the_right_name() -> None:
    """1,000 sets: scales from 1e-4 to 1e4, offsets, constant columns, ties, more numbers than examples."""
    rng = np.random.default_rng(0)
    for turn in range(1000):
        n, k, scale = int(rng.integers(1, 60)), int(rng.integers(2, 8)), 10 ** rng.uniform(-4, 4)
        z = rng.normal(size=(n, k)) * scale + rng.normal(size=k) * 10 ** rng.uniform(-3, 3) * (turn % 2)
        z = (np.round(z / scale) * scale if turn % 7 == 0 else z).astype(np.float32)
        z[:, 0] = z[0, 0] if turn % 5 == 0 else z[:, 0]
        y = z.argmax(axis=1) if turn % 3 == 0 else rng.integers(0, k, n)
        y = np.where(rng.random(n) < 0.9, z.argmax(axis=1), y) if turn % 3 == 1 else y
        found = fit_vector(z, y)
        assert np.isfinite(found.weight).all()
        assert np.isfinite(found.bias).all()
        centred = z - z.mean(axis=1, keepdims=True, dtype=np.float64)
        spread = centred.std(axis=0)
        standard = (centred - centred.mean(axis=0)) / np.where(spread > 1e-6 * np.abs(z).max(), spread, np.inf)
        assert (found.method == "Platt targets") == separable(standard, y), turn


def test_a_model_that_hardly_varies_has_a_fit() -> None:
    """Logits that differ by .001 around means a hundred times as large, as those of a network after two steps."""
    rng = np.random.default_rng(8)
    z = rng.normal(size=10) / 5 + rng.normal(size=(40, 10)) / 2000
    found = fit_vector(z, rng.integers(0, 3, 40))
    assert found.method == "Platt targets"  # seven classes are never seen
    assert np.isfinite(found.apply(z)).all()


def test_what_is_added_to_a_row_does_not_matter() -> None:
    """In an energy model it is log p(x). Planted bug: on rows as they are, the scaled probabilities hang on it."""
    z, y, _, _ = draw(1, 500, 4)
    offset = np.random.default_rng(2).normal(size=(500, 1)) * 20
    one, two = fit_vector(z, y), fit_vector(z + offset, y)
    np.testing.assert_allclose(softmax(one.apply(z)), softmax(two.apply(z + offset)), atol=1e-9)
    raw = softmax(one.weight * (z + offset) + one.bias)
    assert np.abs(raw - softmax(one.apply(z))).max() > 0.5


def test_classes_have_no_order_and_scale_no_meaning() -> None:
    z, y, _, _ = draw(3, 400, 4)
    names = np.random.default_rng(4).permutation(4)
    found, renamed, scaled = fit_vector(z, y), fit_vector(z[:, np.argsort(names)], names[y]), fit_vector(7 * z, y)
    np.testing.assert_allclose(renamed.weight[names], found.weight, atol=1e-7)
    np.testing.assert_allclose(scaled.weight * 7, found.weight, atol=1e-7)


def test_separable_labels_have_finite_weights_and_a_later_error_a_finite_price() -> None:
    """No error among 180 would let the weights grow for ever; a class that is never seen, its bias."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(180, 10)) * 3
    found = fit_vector(z, z.argmax(axis=1))
    assert found.method == "Platt targets"
    assert np.abs(found.weight).max() < 50
    assert nll(found.apply(z), z.argmin(axis=1)).max() < 500
    z, y, _, _ = draw(5, 2000, 4)
    y[y == 3] = 0
    unseen = fit_vector(z, y)
    assert unseen.method == "Platt targets"
    assert 0 < softmax(unseen.apply(z))[:, 3].mean() < 0.01


def test_degenerate_logits() -> None:
    """One class; one example; equal logits give the class frequencies; a constant column; two classes; huge logits."""
    assert softmax(fit_vector(np.zeros((3, 1)), [0, 0, 0]).apply(np.zeros((3, 1)))).tolist() == [[1.0]] * 3
    assert np.isfinite(fit_vector([[1.0, 2.0]], [0]).weight).all()
    y = np.repeat([0, 1, 2], [5, 3, 2])
    flat = fit_vector(np.zeros((10, 3)), y)
    np.testing.assert_allclose(softmax(flat.apply(np.zeros((10, 3))))[0], [0.5, 0.3, 0.2], atol=1e-9)
    rng = np.random.default_rng(6)
    z = np.column_stack([rng.normal(size=200), np.zeros(200)])
    labels = (rng.random(200) > softmax(z)[:, 0]).astype(int)
    two = fit_vector(z, labels)
    assert nll(two.apply(z), labels).mean() <= nll(z / fit_temperature(z, labels).temperature, labels).mean()
    huge = fit_vector(1e4 * z, labels)
    np.testing.assert_allclose(softmax(huge.apply(1e4 * z)), softmax(two.apply(z)), atol=1e-6)


def test_it_may_change_predictions_and_temperature_may_not() -> None:
    """A class whose logit is too low by 2 everywhere."""
    rng = np.random.default_rng(7)
    z = rng.normal(size=(3000, 3)) * 2
    y = (rng.random((3000, 1)) > softmax(z).cumsum(axis=1)).sum(axis=1).clip(max=2)
    low = z - np.array([2.0, 0, 0])
    found = fit_vector(low, y)
    before, after = (prediction(low) == y).mean(), (prediction(found.apply(low)) == y).mean()
    assert after > before + 0.05
    assert (prediction(low / 3) == prediction(low)).all()


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="infinity"):
        fit_vector([[np.inf, 0.0]], [0])
    with pytest.raises(ValueError, match="labels"):
        fit_vector(np.zeros((2, 2)), [0, 2])
