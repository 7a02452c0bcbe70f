"""All metrics of one pair agree with their own modules."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_ood.metrics import functional as pytorch_ood
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from jembench.metrics.aupr import aupr_estimate, aupr_out_estimate
from jembench.metrics.auroc import auroc
from jembench.metrics.detection import detection_estimates
from jembench.metrics.fpr import fpr_estimate

SCORES = st.lists(st.integers(-3, 3).map(float) | st.floats(-100, 100), min_size=1, max_size=15)


def test_estimates_are_the_metrics() -> None:
    """Four names, each the value of its module."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 1, 360), rng.normal(0, 1, 90)
    values = {name: estimate.value for name, estimate in detection_estimates(x, y).items()}
    expected = {
        "auroc": auroc(x, y),
        "fpr95": fpr_estimate(x, y).value,
        "aupr_in": aupr_estimate(x, y).value,
        "aupr_out": aupr_out_estimate(x, y).value,
    }
    assert values == pytest.approx(expected)


def test_an_evaluation_costs_no_time() -> None:
    """3 scores x 6 OOD sets, every metric with its interval: the bar is .35 s, measured .01."""
    rng = np.random.default_rng(0)
    scores = [rng.normal(2, 1, 360) for _ in range(3)]
    sets = [rng.normal(0, 1, n) for n in (90, 180, 270, 360, 360, 360)]
    start = time.process_time()
    for x in scores:
        for y in sets:
            detection_estimates(x, y)
    assert time.process_time() - start < 0.35


DEGENERATE = {
    "one of each": ([1.0], [0.0]),
    "one of each, tied": ([1.0], [1.0]),
    "all equal": ([2.0] * 7, [2.0] * 4),
    "separated": ([5.0, 6.0], [1.0, 2.0, 3.0]),
    "reversed": ([1.0, 2.0, 3.0], [5.0, 6.0]),
    "certain": ([1.0, 1.0, 0.5], [1.0, 0.1]),
    "large and small": ([1e-300, 1e300], [-1e300, 0.0]),
}


def check_parity(x: np.ndarray, y: np.ndarray) -> None:
    """Each value is scikit-learn's and pytorch-ood's, which calls OOD the class to detect: by minus the score.

    Its AUPR is another number than ours: the trapezoidal area, which draws straight lines where a precision-recall
    curve has none (Davis & Goadrich, ICML 2006); ours is the average precision. The trapezoid of the same curve is its.
    """
    found = {name: estimate.value for name, estimate in detection_estimates(x, y).items()}
    scores, truth = np.concatenate([x, y]), np.array([1] * x.size + [0] * y.size)
    theirs, labels = torch.tensor(-scores), torch.tensor([0] * x.size + [-1] * y.size)
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert found["auroc"] == pytest.approx(float(pytorch_ood.auroc(theirs, labels)), abs=1e-12)
    detected = torch.tensor([-1] * x.size + [0] * y.size)
    assert found["fpr95"] == pytest.approx(
        float(pytorch_ood.fpr_at_tpr(torch.tensor(scores), detected, 0.95)), abs=1e-12
    )
    for name, sign, positive, side in (("aupr_in", 1, truth, "id"), ("aupr_out", -1, 1 - truth, "ood")):
        assert found[name] == pytest.approx(average_precision_score(positive, sign * scores), abs=1e-12)
        precision, recall, _ = precision_recall_curve(positive, sign * scores)
        area = float(pytorch_ood.aupr(theirs, labels, positive=side))
        assert area == pytest.approx(auc(recall, precision), abs=1e-9)
        most = 0.5 * float(np.sum(np.abs(np.diff(precision)) * np.abs(np.diff(recall))))
        assert abs(area - found[name]) <= most + 1e-9


@settings(deadline=None)
@given(SCORES, SCORES)
def test_all_four_are_scikit_learns_and_pytorch_oods(positive: list[float], negative: list[float]) -> None:
    check_parity(np.array(positive), np.array(negative))


@pytest.mark.parametrize("name", DEGENERATE)
def test_so_they_are_where_nothing_can_be_detected_or_all(name: str) -> None:
    positive, negative = DEGENERATE[name]
    check_parity(np.array(positive), np.array(negative))


@pytest.mark.parametrize("wide", [0.5, 2.5])
def test_so_they_are_on_many_scores(wide: float) -> None:
    rng = np.random.default_rng(0)
    check_parity(rng.normal(1, 1, 2000), rng.normal(0, wide, 700))
