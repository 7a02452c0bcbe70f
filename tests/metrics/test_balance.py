"""Balance: the asked frequencies are met, planted constants are found, saturated probabilities do no harm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jembench.metrics.balance import RHO, balance
from jembench.metrics.classification import softmax


def drawn(seed: int, n: int = 120, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k)) * 3, rng.dirichlet(np.full(k, 3.0))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_the_mean_probabilities_are_the_asked_shares(seed: int) -> None:
    """Up to the ridge: mean p_v - pi = -rho v."""
    logits, shares = drawn(seed)
    v = balance(logits, shares)
    np.testing.assert_allclose(softmax(logits + v).mean(axis=0), shares - RHO * v, atol=2e-7)


def test_it_is_zero_where_the_shares_are_met() -> None:
    logits, _ = drawn(0)
    np.testing.assert_allclose(balance(logits, softmax(logits).mean(axis=0)), 0, atol=1e-6)


def test_planted_class_constants_are_found() -> None:
    """Labels drawn from softmax(f) have frequencies that undo u in f + u, up to a constant and to chance."""
    rng = np.random.default_rng(0)
    f = rng.normal(size=(40_000, 5)) * 2
    labels = (softmax(f).cumsum(axis=1) < rng.random((len(f), 1))).sum(axis=1).clip(max=4)
    u = np.array([2.0, -1.0, 0.5, 0.0, -1.5])
    v = balance(f + u, np.bincount(labels) / len(labels))
    np.testing.assert_allclose(v - v.mean(), u.mean() - u, atol=0.06)


def test_constants_of_rows_and_the_order_of_images_do_not_matter() -> None:
    logits, shares = drawn(1)
    rng = np.random.default_rng(2)
    moved = logits[rng.permutation(len(logits))] + rng.normal(size=(len(logits), 1)) * 50
    np.testing.assert_allclose(balance(moved, shares), balance(logits, shares), atol=1e-5)


def test_classes_can_be_renamed() -> None:
    logits, shares = drawn(3)
    order = np.array([3, 1, 4, 0, 2])
    np.testing.assert_allclose(balance(logits[:, order], shares[order]), balance(logits, shares)[order], atol=1e-5)


@pytest.mark.parametrize("scale", [50.0, 800.0])
def test_certain_probabilities_give_finite_constants(scale: float) -> None:
    """All images in one class, for sure: the ridge bounds what is asked for."""
    logits = np.zeros((30, 4))
    logits[:, 0] = scale
    v = balance(logits, np.full(4, 0.25))
    assert np.isfinite(v).all()
    assert v[0] == v.min()
    np.testing.assert_allclose(softmax(logits + v).mean(axis=0), 0.25 - RHO * v, atol=1e-5)


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.5, 0.5, 0.5], [1.5, -0.5, 0.0]])
def test_bad_shares_are_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="shares"):
        balance(np.zeros((2, 3)), shares)
