"""The temperature is the minimum: recovered, stationary, equivariant; bounded where there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from jembench.metrics.classification import log_softmax, nll, softmax
from jembench.metrics.temperature import HIGHEST, LOWEST, fit_temperature


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    return fit_temperature(logits, labels).temperature


def draw(seed: int, n: int, true: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from softmax(logits / true)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 6)) * 4
    p = softmax(logits / true)
    return logits, (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=5)


@pytest.mark.parametrize("true", [0.3, 1.0, 2.5, 8.0])
def test_a_known_temperature_is_recovered(true: float) -> None:
    """Labels drawn at T give T back, to sampling error."""
    assert temperature(*draw(0, 40_000, true)) == pytest.approx(true, rel=0.03)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 1.0, 3.0]))
def test_it_is_scipys_minimum(seed: int, true: float) -> None:
    """A bounded scalar search over log T finds nothing better."""
    logits, labels = draw(seed, 60, true)

    def loss(log_t: float) -> float:
        return float(nll(logits / np.exp(log_t), labels).mean())

    found = temperature(logits, labels)
    best = minimize_scalar(loss, bounds=np.log([LOWEST, HIGHEST]), method="bounded", options={"xatol": 1e-9})
    assert loss(np.log(found)) <= best.fun + 1e-12


@given(st.floats(0.2, 5.0))
def test_it_scales_with_the_logits(factor: float) -> None:
    """T(c z) = c T(z)."""
    logits, labels = draw(1, 300, 1.5)
    assert temperature(factor * logits, labels) == pytest.approx(factor * temperature(logits, labels), rel=1e-8)


def test_separable_labels_have_a_finite_temperature() -> None:
    """180 correct labels: maximum likelihood would say T = 0, and one later error would cost without bound."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(180, 10))
    labels = logits.argmax(axis=1)
    found = fit_temperature(logits, labels)
    assert found.method == "Platt targets"
    assert 0.02 < found.temperature < 0.5
    worst = nll(logits / found.temperature, logits.argmin(axis=1)).max()
    assert worst < 200
    targets = np.full((180, 10), 1 / 182 / 9)
    targets[np.arange(180), labels] = 181 / 182

    def loss(log_t: float) -> float:
        return float(-(targets * log_softmax(logits / np.exp(log_t))).sum(axis=1).mean())

    best = minimize_scalar(loss, bounds=np.log([LOWEST, HIGHEST]), method="bounded", options={"xatol": 1e-9})
    assert loss(np.log(found.temperature)) <= best.fun + 1e-12


def test_a_sharp_calibrated_model_keeps_its_temperature() -> None:
    """Platt's doubt on every fit would soften it: the planted variant says T > 1.1, maximum likelihood does not."""
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(4000, 10)) * 9
    labels = (rng.random((4000, 1)) > softmax(logits).cumsum(axis=1)).sum(axis=1).clip(max=9)
    found = fit_temperature(logits, labels)
    assert found.method == "maximum likelihood"
    assert found.temperature == pytest.approx(1, abs=0.1)


def test_where_there_is_no_minimum() -> None:
    """Labels the logits argue against: the upper end. No spread, or one class: 1. Beyond the range: its ends."""
    logits = np.array([[3.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    assert temperature(logits, [1, 0, 1]) == HIGHEST
    assert temperature(1e-4 * logits, [0, 1, 0]) == LOWEST
    assert temperature(1e4 * logits, [0, 1, 0]) == HIGHEST
    assert temperature(np.zeros((3, 2)), [0, 1, 0]) == 1.0
    assert temperature(np.zeros((3, 1)), [0, 0, 0]) == 1.0


def test_huge_logits_converge() -> None:
    """One error among certain predictions: still stationary, in closed form."""
    logits = np.array([[1e4, 0.0]] * 9 + [[0.0, 1e4]]) / 200
    assert temperature(logits, [0] * 10) == pytest.approx(50 / np.log(9), rel=1e-6)  # sigmoid(50 / T) = .9
