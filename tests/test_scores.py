"""The three scores are their definitions, and larger means more in-distribution."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp, softmax

from jembench import scores, seeding
from jembench.data import gauss
from jembench.evaluators.input_gradient import InputGradient
from jembench.evaluators.logits import Logits
from jembench.models.oracle import Oracle
from jembench.models.softmax import Softmax
from jembench.types import Batch

LOGITS = arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(2, 6)), elements=st.floats(-1e3, 1e3))
MEASUREMENTS = {measurement.name: measurement for measurement in (Logits(), InputGradient())}


def scored(model, images):
    """Every score of ``images``, by way of the measurement and the column that it names."""
    batch = Batch(images, torch.full((len(images),), -1), torch.arange(len(images)), 256)
    records = {name: made.columns(model, batch, seeding.generator()) for name, made in MEASUREMENTS.items()}
    return {score.name: score.compute(records[score.measurement][score.column]) for score in scores.SCORES}


@given(LOGITS, st.floats(-1e3, 1e3))
def test_max_py_is_the_largest_softmax_and_ignores_a_shift(logits, shift):
    value = scores.max_py(logits)
    assert value == pytest.approx(softmax(logits, axis=1).max(axis=1), abs=1e-12)
    assert value == pytest.approx(scores.max_py(logits + shift), abs=1e-9)
    assert (value >= 1 / logits.shape[1] - 1e-12).all()
    assert (value <= 1).all()


def test_max_py_survives_logits_that_overflow_an_exponential():
    assert scores.max_py(np.array([[1e5, 0.0], [-1e5, -1e5]])).tolist() == [1.0, 0.5]


def test_the_scores_of_a_model_are_their_definitions():
    """log p(x) = logsumexp f; mass = -|d log p / dx|, here of f = (c'x, c'x) the norm of c for every x."""
    linear = torch.nn.Linear(4, 2, bias=False)
    linear.weight.data = torch.tensor([[1.0, 2.0, 2.0, 0.0]] * 2)
    model = Softmax(torch.nn.Sequential(torch.nn.Flatten(), linear))
    x = torch.rand((6, 1, 2, 2), generator=seeding.generator("x"))
    found = scored(model, x)
    f = model.logits(x).detach().double().numpy()
    assert found["log_px"] == pytest.approx(logsumexp(f, axis=1), abs=1e-6)
    assert found["mass"] == pytest.approx(-3.0, abs=1e-6)
    assert found["max_py"] == pytest.approx(0.5)


def test_log_px_moves_with_a_shift_of_the_logits_and_the_others_do_not():
    """log Z is unknown: only differences of log p(x) mean something."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    x = torch.rand((6, 1, 2, 2), generator=seeding.generator("x"))
    before = scored(Softmax(network), x)
    network[1].bias.data += 2.5
    after = scored(Softmax(network), x)
    assert after["log_px"] - before["log_px"] == pytest.approx(2.5, abs=1e-5)
    for name in ("max_py", "mass"):
        assert after[name] == pytest.approx(before[name], abs=1e-6)


def test_larger_is_more_in_distribution_for_the_truth():
    """On the gauss track's mixture, 20,000 draws a set; a shift along w_11 leaves p(y|x), so max p(y|x), alone."""
    oracle = Oracle(torch.from_numpy(gauss.means()), sigma=gauss.SIGMA, shape=(1, 8, 8))
    n, walsh = 20_000, torch.from_numpy(gauss.walsh()).float()
    y = torch.randint(10, (n,), generator=seeding.generator("y"))
    noise = gauss.SIGMA * torch.randn((n, 64), generator=seeding.generator("z"))
    inside = oracle.means[y] + noise
    sets = {
        "inside": inside,
        "shifted": inside + gauss.SHIFT * gauss.SIGMA * walsh[11],
        "scaled": oracle.means[y] + gauss.SCALE * noise,
    }
    mean = {
        name: {score: value.mean() for score, value in scored(oracle, x.reshape(-1, 1, 8, 8)).items()}
        for name, x in sets.items()
    }
    for score in ("log_px", "mass"):
        assert mean["inside"][score] > mean["shifted"][score] + 1
        assert mean["inside"][score] > mean["scaled"][score] + 1
    assert mean["inside"]["max_py"] > mean["scaled"]["max_py"] + 0.005
    assert mean["inside"]["max_py"] == pytest.approx(mean["shifted"]["max_py"], abs=1e-5)


def test_scores_are_in_float64():
    """Ties made by rounding would move an AUROC."""
    for score in scores.SCORES:
        column = np.ones((2, 3), np.float32) if score.column == "logits" else np.ones(2, np.float32)
        assert score.compute(column).dtype == np.float64
