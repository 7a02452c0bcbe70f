"""The scores are their definitions, and larger means more in-distribution."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp, softmax
from scipy.stats import entropy as scipy_entropy

from jembench.data import gauss
from jembench.ground import generators
from jembench.measurements.code_length import CodeLength
from jembench.measurements.input_gradient import InputGradient
from jembench.measurements.logits import Logits
from jembench.measurements.refinement import RefinementEffect
from jembench.metrics import scores
from jembench.metrics.scores import (
    complexity,
    entropy,
    max_logit,
    max_py,
    refine_distance,
    refine_gradient,
    refine_log_px,
    training_mean,
    typicality,
)
from jembench.models.oracle import Oracle
from jembench.models.softmax import Softmax
from jembench.types import Batch

LOGITS = arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(2, 6)), elements=st.floats(-1e3, 1e3))
GENTLE = RefinementEffect(size=1e-4, noise=1e-4)  # the oracle is too curved for the step of the paper
MEASUREMENTS = {made.name: made for made in (Logits(), InputGradient(), CodeLength(), GENTLE)}


def scored(model, images):
    """Every score of ``images``, by way of the measurements and the columns that it names, fitted on the images."""
    batch = Batch(images, torch.full((len(images),), -1), torch.arange(len(images)), 256)
    records = {name: made.columns(model, batch, generators.generator()) for name, made in MEASUREMENTS.items()}
    found = {}
    for score in scores.SCORES.values():
        columns = [records[read.measurement][read.column] for read in score.reads]
        fitted = () if score.fit is None else (score.fit(*columns),)
        found[score.name] = score.compute(*columns, *fitted)
    return found


@given(LOGITS, st.floats(-1e3, 1e3))
def test_max_py_is_the_largest_softmax_and_ignores_a_shift(logits, shift):
    value = max_py(logits)
    assert value == pytest.approx(softmax(logits, axis=1).max(axis=1), abs=1e-12)
    assert value == pytest.approx(max_py(logits + shift), abs=1e-9)
    assert (value >= 1 / logits.shape[1] - 1e-12).all()
    assert (value <= 1).all()


def test_max_py_survives_logits_that_overflow_an_exponential():
    assert max_py(np.array([[1e5, 0.0], [-1e5, -1e5]])).tolist() == [1.0, 0.5]


def test_the_scores_of_a_model_are_their_definitions():
    """log p(x) = logsumexp f; mass = -|d log p / dx|, here of f = (c'x, c'x) the norm of c for every x."""
    linear = torch.nn.Linear(4, 2, bias=False)
    linear.weight.data = torch.tensor([[1.0, 2.0, 2.0, 0.0]] * 2)
    model = Softmax(torch.nn.Sequential(torch.nn.Flatten(), linear))
    x = torch.rand((6, 1, 2, 2), generator=generators.generator("x"))
    found = scored(model, x)
    f = model.logits(x).detach().double().numpy()
    assert found["log_px"] == pytest.approx(logsumexp(f, axis=1), abs=1e-6)
    assert found["mass"] == pytest.approx(-3.0, abs=1e-6)
    assert found["max_py"] == pytest.approx(0.5)


def test_log_px_moves_with_a_shift_of_the_logits_and_the_others_do_not():
    """log Z is unknown: only differences of log p(x) mean something."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    x = torch.rand((6, 1, 2, 2), generator=generators.generator("x"))
    before = scored(Softmax(network), x)
    network[1].bias.data += 2.5
    after = scored(Softmax(network), x)
    assert after["log_px"] - before["log_px"] == pytest.approx(2.5, abs=1e-5)
    assert after["max_logit"] - before["max_logit"] == pytest.approx(2.5, abs=1e-5)
    for name in after.keys() - {"log_px", "max_logit", "complexity"}:
        assert after[name] == pytest.approx(before[name], abs=1e-5), name


def test_larger_is_more_in_distribution_for_the_truth():
    """On the gauss track's mixture, 20,000 draws a set; a shift along w_11 leaves p(y|x), so max p(y|x), alone."""
    oracle = Oracle(torch.from_numpy(gauss.means()), sigma=gauss.SIGMA, shape=(1, 8, 8))
    n, walsh = 20_000, torch.from_numpy(gauss.walsh()).float()
    y = torch.randint(10, (n,), generator=generators.generator("y"))
    noise = gauss.SIGMA * torch.randn((n, 64), generator=generators.generator("z"))
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
    for score in scores.SCORES.values():
        columns = [np.ones((2, 3), np.float32) if r.column == "logits" else np.ones(2, np.float32) for r in score.reads]
        fitted = () if score.fit is None else (1.0,)
        assert score.compute(*columns, *fitted).dtype == np.float64


def test_names_are_those_of_the_family_and_validation_keeps_its_three():
    """The numbers that choose checkpoints are those of the paper's scores, each of one column."""
    assert [score.name for score in scores.SCORES.values()] == list(scores.SCORES)
    assert [score.name for score in scores.PAPER] == ["log_px", "max_py", "mass"]
    assert all(len(score.reads) == 1 and score.fit is None for score in scores.PAPER)


@given(LOGITS, st.floats(-1e3, 1e3))
def test_entropy_is_scipys_and_ignores_a_shift(logits, shift):
    value = entropy(logits)
    assert value == pytest.approx(-scipy_entropy(softmax(logits, axis=1), axis=1), abs=1e-9)
    assert value == pytest.approx(entropy(logits + shift), abs=1e-7)
    assert (value >= -np.log(logits.shape[1]) - 1e-9).all()
    assert (value <= 1e-9).all()


@given(LOGITS)
def test_the_largest_logit_is_at_most_log_px(logits):
    """And by no more than log K: the sum over classes has K terms."""
    gap = logsumexp(logits, axis=1) - max_logit(logits)
    assert (gap >= -1e-9).all()
    assert (gap <= np.log(logits.shape[1]) + 1e-9).all()


def test_typicality_is_highest_at_the_training_mean_from_both_sides():
    mean = training_mean(np.array([0.0, 4.0]))
    assert mean == 2
    assert typicality(np.array([2.0, 5.0, -1.0, np.inf]), mean).tolist() == [0, -3, -3, -np.inf]
    assert np.isnan(training_mean(np.array([0.0, np.inf])))


def test_complexity_is_a_likelihood_ratio():
    """In nats against the code's probability 2^-L: planted, bits taken for nats would not cancel."""
    code = np.array([8.0, 800.0])
    assert complexity(np.log(2.0**-code), code) == pytest.approx(0, abs=1e-9)
    assert not np.allclose(np.log(2.0**-code) + code, 0)


def test_refinement_scores_fall_with_what_the_chain_does():
    """An image that gains more, whose gradient falls further, or that moves further, is more of an outlier."""
    before = np.zeros(2)
    assert refine_log_px(before, np.array([1.0, 9.0])).tolist() == [-1, -9]
    assert refine_gradient(np.array([2.0, 9.0]), np.ones(2)).tolist() == [-1, -8]
    assert refine_distance(np.array([1.0, 9.0])).tolist() == [-1, -9]


def test_a_chain_that_diverged_is_no_score():
    """Its end would otherwise rank as the best of all, or the worst."""
    ends = np.array([1.0, np.inf, -np.inf, np.nan])
    for value in (refine_log_px(np.zeros(4), ends), refine_gradient(np.zeros(4), ends), refine_distance(ends)):
        assert np.isnan(value).tolist() == [False, True, True, True]
