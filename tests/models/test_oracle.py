"""The oracle is the mixture: density, posterior, gradient, samples and accuracy against independent formulas."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from scipy.special import logsumexp

from jembench.data import gauss
from jembench.ground import generators
from jembench.models.oracle import Oracle, Pixels
from jembench.types import Classifier, Density, Sampler, capabilities
from jembench.zoo import catalogue

SIGMA = gauss.SIGMA


def oracle():
    return Oracle(torch.from_numpy(gauss.means()), sigma=SIGMA, shape=(1, 8, 8))


def near(n, name="near"):
    """Images around the mixture, so that no class posterior is trivial."""
    return 0.5 + 1.5 * SIGMA * torch.randn((n, 1, 8, 8), generator=generators.generator(name))


def reference(x):
    """log p(x, y) of images by scipy, ``(B, 10)``."""
    flat = x.double().flatten(1).numpy()
    one = [stats.multivariate_normal(mean, SIGMA**2).logpdf(flat) for mean in gauss.means()]
    return np.stack(one, axis=1) - math.log(10)


def test_it_has_all_three_capabilities_and_a_normalised_density():
    model = oracle()
    assert capabilities(model) == {"classifier", "density", "sampler"}
    assert all(isinstance(model, protocol) for protocol in (Classifier, Density, Sampler))
    assert model.normalized is True


def test_logits_and_density_are_scipys():
    """Absolutely, the constant included: log Z = 0. In float32 the square has an error of 1e-6 of itself."""
    x = near(200)
    assert oracle().logits(x).numpy() == pytest.approx(reference(x), rel=2e-6, abs=2e-3)
    assert oracle().log_density(x).numpy() == pytest.approx(logsumexp(reference(x), axis=1), rel=2e-6, abs=2e-3)


def test_the_density_integrates_to_one():
    """In two dimensions, on a grid; in 64, by importance sampling from a mixture 1.1 times as wide."""
    flat = Oracle(torch.tensor([[0.3, 0.5], [0.6, 0.4]]), sigma=0.05, shape=(1, 1, 2))
    axis = torch.linspace(0, 1, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis).reshape(-1, 1, 1, 2)
    assert flat.log_density(grid).exp().sum().item() / 400**2 == pytest.approx(1, abs=1e-6)

    n, wide = 20_000, Oracle(torch.from_numpy(gauss.means()), sigma=1.1 * SIGMA, shape=(1, 8, 8))
    x = wide.sample(n, generator=generators.generator("wide"))
    flat = x.double().flatten(1).numpy()
    proposal = [stats.multivariate_normal(mean, (1.1 * SIGMA) ** 2).logpdf(flat) for mean in gauss.means()]
    weights = np.exp(oracle().log_density(x).double().numpy() - logsumexp(proposal, axis=0) + math.log(10))
    assert weights.mean() == pytest.approx(1, abs=4 * weights.std() / math.sqrt(n))
    assert weights.std() < 2  # so that the mean is worth something


def test_the_posterior_is_bayes_rule():
    joint = reference(near(200))
    bayes = np.exp(joint) / np.exp(joint).sum(1, keepdims=True)
    assert oracle().logits(near(200)).softmax(1).numpy() == pytest.approx(bayes, abs=1e-3)
    assert np.median(bayes.max(1)) < 0.95  # not a trivial posterior


def test_the_gradient_is_the_pull_of_the_posterior_mean():
    """d log p / dx = (sum_y p(y|x) mu_y - x) / sigma^2."""
    x = near(20).double().requires_grad_()
    model = oracle().double()
    (gradient,) = torch.autograd.grad(model.log_density(x).sum(), x)
    posterior = model.logits(x).softmax(1).detach()
    expected = (posterior @ model.means - x.detach().flatten(1)) / SIGMA**2
    assert torch.allclose(gradient.flatten(1), expected, rtol=1e-9)


def test_samples_have_the_moments_of_their_class():
    n = 5000
    labels = torch.arange(n) % 10
    x = oracle().sample(n, generator=generators.generator("moments"), labels=labels).double().flatten(1).numpy()
    residual = (x - gauss.means()[labels]) / SIGMA
    assert residual.mean(0) == pytest.approx(0, abs=5 / math.sqrt(n))
    assert np.cov(residual.T) == pytest.approx(np.eye(64), abs=5.5 / math.sqrt(n) * math.sqrt(2))
    assert stats.kstest(residual.ravel(), "norm").pvalue > 0.01


def test_unlabelled_samples_come_from_all_classes_equally():
    x = oracle().sample(20_000, generator=generators.generator("classes"))
    # The posterior is calibrated, so its mean over the mixture is the prior.
    assert oracle().logits(x).softmax(1).mean(0).tolist() == pytest.approx([0.1] * 10, abs=5 * 0.3 / math.sqrt(20_000))


def test_the_accuracy_on_its_own_samples_is_the_integral():
    """Class y is told iff its coordinate N(delta, 1) beats nine others N(0, 1)."""
    n, delta = 40_000, gauss.SEPARATION
    expected, _ = integrate.quad(lambda t: stats.norm.pdf(t - delta) * stats.norm.cdf(t) ** 9, -10, 15)
    labels = torch.randint(10, (n,), generator=generators.generator("y"))
    x = oracle().sample(n, generator=generators.generator("accuracy"), labels=labels)
    correct = int((oracle().logits(x).argmax(1) == labels).sum())
    assert stats.binomtest(correct, n, expected).pvalue > 0.01


def test_samples_are_exact_so_start_and_steps_do_nothing():
    one = oracle().sample(5, generator=generators.generator("s"))
    other = oracle().sample(5, generator=generators.generator("s"), start="buffer", steps=3)
    assert torch.equal(one, other)
    assert not torch.equal(one[0], one[1])


def test_the_extractor_sees_the_pixels_and_the_classes_of_the_mixture():
    extractor = catalogue.load(catalogue.extractor("pixels", track="gauss"))
    assert isinstance(extractor, Pixels)
    assert capabilities(extractor) == frozenset()  # it is no model that could be evaluated
    x = near(20)
    features, f = extractor.embed(x)
    assert torch.equal(features, x.flatten(1))
    assert f.numpy() == pytest.approx(reference(x), rel=2e-6, abs=2e-3)
