"""Which of two classifiers is better calibrated."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench.metrics.calibration import ece
from jembench.metrics.paired_ece import ece_difference


def answers(rng, n, sharpness=1.0):
    """Confidences of a model that is calibrated at sharpness 1, and whether it is right."""
    logit = rng.normal(1.5, 1.0, n)
    right = rng.random(n) < 1 / (1 + np.exp(-logit))
    return 1 / (1 + np.exp(-sharpness * logit)), right


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 9))
def test_the_difference_is_that_of_the_two_errors(n, bins, seed):
    rng = np.random.default_rng(seed)
    one, other = answers(rng, n), answers(rng, n, 3.0)
    found, p = ece_difference(one, other, rng=rng, bins=bins, replicates=19)
    assert found.value == pytest.approx(ece(*one, bins=bins) - ece(*other, bins=bins), abs=1e-12)
    assert 0.05 - 1e-12 <= p <= 1
    if found.low is not None:
        assert found.low <= found.value <= found.high


def test_a_model_is_no_better_calibrated_than_itself():
    rng = np.random.default_rng(0)
    one = answers(rng, 100)
    assert ece_difference(one, one, rng=rng)[1] == 1.0
    assert ece_difference(one, one, rng=rng)[0].low is None


def test_equal_models_are_told_apart_in_one_of_twenty():
    rng = np.random.default_rng(3)
    found = [ece_difference(answers(rng, 200), answers(rng, 200), rng=rng, replicates=199)[1] for _ in range(600)]
    assert np.mean(np.array(found) <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)


def test_over_confidence_is_found():
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(60):
        logit = rng.normal(1.5, 1.0, 500)
        right = rng.random(500) < 1 / (1 + np.exp(-logit))
        calm, bold = (1 / (1 + np.exp(-s * logit)) for s in (1.0, 3.0))
        found, p = ece_difference((bold, right), (calm, right), rng=rng, replicates=499)
        hits += p < 0.05 and found.low > 0
    assert hits >= 57


@pytest.mark.parametrize("other", [([0.5], [True]), ([0.5, 1.5], [True, False]), ([0.5, np.nan], [True, False])])
def test_bad_input_is_refused(other):
    with pytest.raises(ValueError, match="confidence"):
        ece_difference(([0.5, 0.6], [True, False]), other, rng=np.random.default_rng(0))
