"""The truth of the gauss track, derived again: the integral, a simulation in reduced coordinates, and the images.

In the basis of the Walsh patterns and in units of sigma, an image of class Y has ten coordinates
u_y ~ N(delta [y = Y], 1), one v ~ N(0, 1) along w_11, and 53 others whose squares sum to r ~ chi2(53). Then
log p(x, y) = delta u_y + const(x), and the gradient of log p(x) is (delta p(y|x) - u_y, -v, others) / sigma.
"""

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import logsumexp

from jembench import data
from jembench.data import gauss
from jembench.ground import seeding

DELTA, RHO, C, SIGMA = gauss.SEPARATION, gauss.SHIFT, gauss.SCALE, gauss.SIGMA
N = 400_000


def population(name):
    """``N`` examples of a set: the class, p(y|x), and the three scores, up to constants of the model."""
    rng = seeding.rng("gauss-truth", name)
    scale = C if name == "scaled" else 1.0
    y = rng.integers(0, 10, N)
    u = scale * rng.standard_normal((N, 10)) + DELTA * (np.arange(10) == y[:, None])
    v = scale * rng.standard_normal(N) + (RHO if name == "shifted" else 0.0)
    r = scale**2 * rng.chisquare(53, N)
    log_px = logsumexp(DELTA * u, axis=1) - (np.square(u).sum(1) + v**2 + r) / 2
    p = np.exp(DELTA * u - logsumexp(DELTA * u, axis=1, keepdims=True))
    mass = -np.sqrt(np.square(DELTA * p - u).sum(1) + v**2 + r)
    return {"y": y, "p": p, "log_px": log_px, "max_py": p.max(1), "mass": mass}


@pytest.fixture(scope="module")
def test_set():
    return population("test")


def area(positive, negative):
    """AUROC as the Mann-Whitney statistic of scipy's ranks."""
    ranks = stats.rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return (ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative))


def test_the_accuracy_is_the_integral(test_set):
    value, _ = integrate.quad(lambda t: stats.norm.pdf(t - DELTA) * stats.norm.cdf(t) ** 9, -10, 15, epsabs=1e-10)
    assert value == pytest.approx(gauss.TRUTH["test/accuracy"], abs=1e-6)
    assert (test_set["p"].argmax(1) == test_set["y"]).mean() == pytest.approx(value, abs=2e-3)


def test_nll_and_brier_are_those_of_a_simulation(test_set):
    own = test_set["p"][np.arange(N), test_set["y"]]
    brier = np.square(test_set["p"]).sum(1) - 2 * own + 1
    assert -np.log(own).mean() == pytest.approx(gauss.TRUTH["test/raw/nll"], abs=2e-3)
    assert brier.mean() == pytest.approx(gauss.TRUTH["test/raw/brier"], abs=2e-3)


def test_the_truth_is_calibrated(test_set):
    """In every bin of confidence the accuracy is the confidence, so any ECE is 0."""
    confidence = test_set["p"].max(1)
    correct = test_set["p"].argmax(1) == test_set["y"]
    bins = np.minimum((confidence * 15).astype(int), 14)
    for b in np.unique(bins):
        own = bins == b
        assert abs(correct[own].mean() - confidence[own].mean()) < 4 * 0.5 / np.sqrt(own.sum())
    assert gauss.TRUTH["test/raw/squared_ece15"] == 0


@pytest.mark.parametrize("name", ["shifted", "scaled"])
def test_every_auroc_is_that_of_a_simulation(test_set, name):
    other = population(name)
    for score in ("log_px", "max_py", "mass"):
        expected = gauss.TRUTH[f"{name}/{score}/auroc"]
        assert area(test_set[score], other[score]) == pytest.approx(expected, abs=2e-3), score


def test_the_truth_is_complete():
    ood = {f"{source.name}/{score}/auroc" for source in gauss.TRACK.ood for score in ("log_px", "max_py", "mass")}
    test = {"test/accuracy", "test/raw/nll", "test/raw/brier", "test/raw/squared_ece15"}
    assert set(gauss.TRUTH) == ood | test | {"chains/log_z"}


def test_walsh_patterns_are_orthonormal_signs():
    w = gauss.walsh()
    assert np.array_equal(np.abs(w), np.full((64, 64), 1 / 8))
    assert np.array_equal(w @ w.T, np.eye(64))
    centred = gauss.means() - 0.5
    assert centred @ centred.T == pytest.approx((DELTA * SIGMA) ** 2 * np.eye(10), abs=1e-12)
    assert centred @ w[11] == pytest.approx(0, abs=1e-12)  # the shift is a direction that no class uses


def test_pixels_leave_the_range_with_probability_below_1e_6():
    """Union bound over 64 pixels: so that clipping is no part of the truth."""
    w = SIGMA / 8  # what a pattern moves a pixel by, per unit of delta
    furthest = {"test": (DELTA * w, 1), "shifted": ((DELTA + RHO) * w, 1), "scaled": (DELTA * w, C)}
    for centre, scale in furthest.values():
        room = 0.5 - centre
        assert 64 * 2 * stats.norm.sf(room / (scale * SIGMA)) < 1e-6
    for name in furthest:
        images = data.load("gauss", name).images
        assert images.min() > 0
        assert images.max() < 65535


def coordinates(name):
    """The images of a set in units of sigma, in the Walsh basis, centre 1/2."""
    images = data.load("gauss", name)
    return (images.pixels().astype(np.float64).reshape(-1, 64) - 0.5) / SIGMA @ gauss.walsh().T, images.labels


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_images_are_draws_of_the_mixture(name):
    """Standard normal around their class, all 64 coordinates and their pairs; classes uniform."""
    x, y = coordinates(name)
    residual = x - DELTA * np.eye(64)[y + 1]
    assert stats.kstest(residual.ravel(), "norm").pvalue > 0.01
    assert np.abs(residual.mean(0)).max() < 4.5 / np.sqrt(len(x))
    assert np.abs(np.corrcoef(residual.T) - np.eye(64)).max() < 5 / np.sqrt(len(x))
    assert stats.chisquare(np.bincount(y, minlength=10)).pvalue > 0.01


def test_shifted_images_are_moved_along_w_11_only():
    x, y = coordinates("shifted")
    assert (y == -1).all()
    assert stats.kstest(x[:, 11] - RHO, "norm").pvalue > 0.01
    assert stats.kstest(np.delete(x, range(1, 12), axis=1).ravel(), "norm").pvalue > 0.01
    assert x[:, 1:11].sum(1).mean() == pytest.approx(DELTA, abs=4 * np.sqrt(10 / 360))


def test_scaled_images_are_wider_around_the_same_means():
    x, y = coordinates("scaled")
    assert (y == -1).all()
    assert stats.kstest(np.delete(x, range(1, 11), axis=1).ravel() / C, "norm").pvalue > 0.01
    assert x[:, 1:11].sum(1).mean() == pytest.approx(DELTA, abs=4 * C * np.sqrt(10 / 360))


def test_sets_are_independent_draws():
    """Not the noise of one set under the mean of another."""
    x = [coordinates(name)[0][:180, 12:].ravel() for name in ("train", "validation", "test", "shifted", "scaled")]
    assert np.abs(np.corrcoef(x) - np.eye(5)).max() < 4.5 / np.sqrt(180 * 52)
