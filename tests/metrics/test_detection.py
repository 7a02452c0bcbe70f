"""All metrics of one pair agree with their own modules, resampled or not."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jembench.metrics.aupr import aupr, aupr_out
from jembench.metrics.auroc import auroc
from jembench.metrics.detection import bootstrap_detection, detection_estimates
from jembench.metrics.fpr import fpr_at_tpr
from jembench.metrics.intervals import resample_counts

SCORES = st.lists(st.integers(-3, 3).map(float) | st.floats(-100, 100), min_size=1, max_size=15)


@settings(deadline=None)
@given(SCORES, SCORES, st.integers(0, 1000))
def test_a_resample_is_its_repeated_examples(positive: list[float], negative: list[float], seed: int) -> None:
    """Weighted curves from one sort equal the metrics of the resampled arrays, ties included."""
    rng = np.random.default_rng(seed)
    x, y = np.array(positive), np.array(negative)
    w, v = resample_counts(x.size, 3, rng), resample_counts(y.size, 3, rng)
    drawn = bootstrap_detection(x, y, counts_positive=w, counts_negative=v)
    for r in range(3):
        again = np.repeat(x, w[r]), np.repeat(y, v[r])
        assert drawn["auroc"][r] == pytest.approx(auroc(*again), abs=1e-12)
        assert drawn["fpr95"][r] == pytest.approx(fpr_at_tpr(*again), abs=1e-12)
        assert drawn["aupr_in"][r] == pytest.approx(aupr(*again), abs=1e-12)
        assert drawn["aupr_out"][r] == pytest.approx(aupr_out(*again), abs=1e-12)


def test_the_bootstrap_is_deterministic_and_paired() -> None:
    """One generator, one result; with shared counts a score compared with itself differs by nothing."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 1, 50), rng.normal(0, 1, 40)
    one = bootstrap_detection(x, y, rng=np.random.default_rng(1), replicates=20)
    two = bootstrap_detection(x, y, rng=np.random.default_rng(1), replicates=20)
    other = np.random.default_rng(1)
    counts = resample_counts(50, 20, other), resample_counts(40, 20, other)
    three = bootstrap_detection(2 * x, 2 * y, counts_positive=counts[0], counts_negative=counts[1])
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
        np.testing.assert_array_equal(one[name], three[name])


def test_estimates_are_the_metrics() -> None:
    """Four names, each the value of its module."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 1, 360), rng.normal(0, 1, 90)
    values = {name: estimate.value for name, estimate in detection_estimates(x, y).items()}
    expected = {
        "auroc": auroc(x, y),
        "fpr95": fpr_at_tpr(x, y),
        "aupr_in": aupr(x, y),
        "aupr_out": aupr_out(x, y),
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
