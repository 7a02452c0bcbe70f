"""FPR at TPR against pytorch-ood and a scan of all thresholds."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_ood.metrics.functional import fpr_at_tpr as pytorch_ood_fpr
from sklearn.metrics import roc_curve

from jembench.metrics.fpr import fpr_estimate, true_positives

SCORES = st.lists(st.integers(-3, 3).map(float) | st.floats(-100, 100), min_size=1, max_size=50)
TPR = st.sampled_from([0.05, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0])


@given(SCORES, SCORES, TPR)
def test_fpr_is_its_definition(positive: list[float], negative: list[float], tpr: float) -> None:
    """The smallest FPR of the thresholds that keep the share: by scan, and on scikit-learn's full curve."""
    x, y = np.array(positive), np.array(negative)
    largest = max(t for t in x if np.mean(x >= t) >= tpr)
    value = fpr_estimate(x, y, tpr=tpr).value
    assert value == np.mean(y >= largest)
    fpr, rate, _ = roc_curve([1] * x.size + [0] * y.size, np.concatenate([x, y]), drop_intermediate=False)
    assert value == pytest.approx(fpr[rate >= tpr].min())


@given(SCORES, SCORES, TPR)
def test_fpr_is_pytorch_oods(positive: list[float], negative: list[float], tpr: float) -> None:
    """Same definition; there OOD is the class to detect, so our positives take its label -1 (large = detected)."""
    scores = torch.tensor(positive + negative, dtype=torch.float64)
    labels = torch.tensor([-1] * len(positive) + [0] * len(negative))
    assert fpr_estimate(positive, negative, tpr=tpr).value == pytest.approx(float(pytorch_ood_fpr(scores, labels, tpr)))


@given(SCORES, SCORES)
def test_keeping_more_accepts_more(positive: list[float], negative: list[float]) -> None:
    """FPR does not fall as the TPR rises, nor as OOD scores rise; the interval holds the value."""
    rates = [fpr_estimate(positive, negative, tpr=t).value for t in (0.1, 0.5, 0.9, 0.95, 1.0)]
    assert rates == sorted(rates)
    assert fpr_estimate(positive, [s + 1 for s in negative]).value >= rates[3]
    estimate = fpr_estimate(positive, negative)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_the_share_kept_is_exact() -> None:
    """.95 of 360 is 342 and of 20 is 19, whatever .95 * m rounds to."""
    for m in range(1, 2000):
        k = true_positives(m, 0.95)
        assert k / m >= 0.95
        assert k == 1 or (k - 1) / m < 0.95


def test_the_ends_are_honest() -> None:
    """FPR 0 or 1 keeps Wilson's room; a handful of positives does not bound the threshold from below."""
    x = np.arange(360.0)
    zero, one = fpr_estimate(x, x[:90] - 1000), fpr_estimate(x, x[:90] + 1000)
    assert (zero.value, zero.low, one.value, one.high) == (0.0, 0.0, 1.0, 1.0)
    room = 1.959964**2 / (90 + 1.959964**2)
    assert zero.high == pytest.approx(room, rel=1e-5)
    assert one.low == pytest.approx(1 - room, rel=1e-5)
    few = fpr_estimate([1.0, 2.0, 3.0], np.zeros(50))
    assert few.high == 1.0
