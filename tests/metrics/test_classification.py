"""Per-example losses against scikit-learn and torch, and at extreme logits."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import brier_score_loss, log_loss

from jembench.metrics.classification import accuracy, brier, confidence, log_softmax, nll, prediction, softmax

LOGITS = hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(2, 6)), elements=st.floats(-1e4, 1e4))


@given(LOGITS)
def test_log_softmax_is_torchs(logits: np.ndarray) -> None:
    """Torch agrees to float64 precision, and confident rows stay finite."""
    expected = torch.log_softmax(torch.from_numpy(logits), dim=1).numpy()
    np.testing.assert_allclose(log_softmax(logits), expected, atol=1e-9)


@given(LOGITS, st.floats(-100, 100))
def test_losses_do_not_see_a_shift_of_the_logits(logits: np.ndarray, shift: float) -> None:
    """f(x) + c is the same model; the free constant is the energy's."""
    labels = np.zeros(len(logits), dtype=int)
    np.testing.assert_allclose(nll(logits + shift, labels), nll(logits, labels), atol=1e-8)
    np.testing.assert_allclose(brier(logits + shift, labels), brier(logits, labels), atol=1e-8)


def test_losses_are_sklearns() -> None:
    """Mean NLL is log_loss; mean Brier is the unscaled multi-class brier_score_loss."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 5)) * 3, rng.integers(0, 5, 200)
    p = softmax(logits)
    classes = list(range(5))
    assert nll(logits, labels).mean() == pytest.approx(log_loss(labels, p, labels=classes))
    reference = brier_score_loss(labels, p, labels=classes, scale_by_half=False)
    assert brier(logits, labels).mean() == pytest.approx(reference)


def test_extreme_logits() -> None:
    """Certain and right costs nothing; certain and wrong costs the gap in nats, and 2."""
    logits = np.array([[1e6, 0.0], [1e6, 0.0]])
    np.testing.assert_array_equal(nll(logits, [0, 1]), [0.0, 1e6])
    np.testing.assert_array_equal(brier(logits, [0, 1]), [0.0, 2.0])
    np.testing.assert_array_equal(confidence(logits), [1.0, 1.0])


def test_prediction_takes_the_first_of_equals() -> None:
    """Ties are broken by the class number; confidence is the predicted class's probability."""
    logits = np.array([[0.0, 0.0, -1.0], [0.0, 2.0, 2.0]])
    np.testing.assert_array_equal(prediction(logits), [0, 1])
    np.testing.assert_allclose(confidence(logits), softmax(logits)[[0, 1], [0, 1]])


def test_accuracy() -> None:
    """Its interval is Wilson's, also at 1."""
    estimate = accuracy([True] * 10)
    assert (estimate.value, estimate.high, estimate.method) == (1.0, 1.0, "wilson")
    assert estimate.low == pytest.approx(1 / (1 + 1.959964**2 / 10), rel=1e-6)
