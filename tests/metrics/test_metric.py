"""Ends of intervals are values that there can be, and hold the value itself."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench.evaluators import calibration, generation, ood, robustness, shifts, stress
from jembench.metrics import classification, intervals
from jembench.metrics.estimate import Estimate
from jembench.metrics.metric import Kind

ends = st.floats(-10, 10) | st.none()


@given(st.floats(-2, 3), ends, ends, st.floats(-1, 0), st.floats(1, 2))
def test_ends_stay_in_the_range_and_around_the_value(value, low, high, least, most):
    low = None if low is None else min(low, value)
    high = None if high is None else max(high, value)
    metric = Kind("m", "lower", least=least, most=most).of(Estimate(value, low, high, "x"), source="s", n={})
    assert metric.value == value
    assert (metric.low is None, metric.high is None) == (low is None, high is None)
    if low is not None:
        assert low <= metric.low <= value
        assert metric.low >= least or metric.low == min(low, value) or value < least
    if high is not None:
        assert value <= metric.high <= high
        assert metric.high <= most or value > most


@given(st.floats(-2, 3), st.floats(-10, 0), st.floats(0, 10))
def test_a_kind_without_a_range_leaves_ends_alone(value, below, above):
    metric = Kind("m", "lower").of(Estimate(value, value + below, value + above, "x"), source="s", n={})
    assert (metric.low, metric.high) == (value + below, value + above)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_brier_and_nll_of_few_examples_stay_in_range(n, scale):
    """The studentised bootstrap of a few examples reaches below 0 and beyond 2, by thousands."""
    kinds = {kind.name: kind for kind in calibration.KINDS}
    beyond = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        f, y = scale * rng.standard_normal((n, 10)), rng.integers(0, 10, n)
        for name, values, most in (
            ("brier", classification.brier(f, y), 2.0),
            ("nll", classification.nll(f, y), math.inf),
        ):
            estimate = intervals.mean(values, rng=np.random.default_rng(0))
            beyond += (estimate.low or 0) < 0 or (estimate.high or 0) > most
            metric = kinds[name].of(estimate, source="test", n={"test": n})
            assert metric.low is None or 0 <= metric.low <= metric.value
            assert metric.high is None or metric.value <= metric.high <= most
    assert beyond or n < 5 or scale < 1


RANGES = {
    (0.0, 1.0): ("ece15", "adaptive_ece15", "mce15", "kde_ece", "aurc", "accuracy", "auroc", "fpr95", "aupr_in",
                 "precision", "recall", "coverage", "robust_accuracy", "one_shot_accuracy", "shift_auroc"),
    (0.0, 2.0): ("brier",),
    (0.0, math.inf): ("nll", "density"),
    (-1.0, 1.0): ("overconfidence", "severity_trend", "auroc_gain"),
    (1.0, math.inf): ("inception_score",),
}  # fmt: skip


def test_kinds_know_the_range_of_their_quantity():
    modules = (calibration, generation, ood, robustness, shifts, stress)
    kinds = [kind for module in modules for thing in vars(module).values() for kind in _kinds(thing)]
    for (least, most), names in RANGES.items():
        for name in names:
            ours = [kind for kind in kinds if kind.name == name]
            assert ours, name
            assert all((kind.least, kind.most) == (least, most) for kind in ours), name


def _kinds(thing):
    return [each for each in (thing if isinstance(thing, tuple) else (thing,)) if isinstance(each, Kind)]
