"""Starts: uniform noise is uniform, and a class's Gaussian has the mean and the covariance of its images."""

import numpy as np
import pytest
import torch
from scipy import stats

from jembench.ground import generators
from jembench.langevin.starts import RANK, ClassGaussians, Uniform

SHAPE = (1, 2, 3)


def images(n=400, classes=3, shape=SHAPE):
    """Correlated images well inside [0, 1], each class with a mean and a covariance of its own."""
    generator, dimension = generators.generator("images", n), int(np.prod(shape))
    labels = torch.arange(n) % classes
    mean = 0.35 + 0.3 * torch.rand((classes, dimension), generator=generator)
    root = 0.04 / dimension**0.5 * torch.randn((classes, dimension, dimension), generator=generator)
    z = torch.randn((n, dimension), generator=generator)
    x = (
        mean[labels]
        + torch.einsum("nij,nj->ni", root[labels], z)
        + 0.01 * torch.randn((n, dimension), generator=generator)
    )
    return x.reshape(n, *shape), labels


def fitted(x, labels, shape=SHAPE, classes=3):
    start = ClassGaussians(shape=shape, classes=classes)
    start.fit(lambda y: x[labels == y])
    return start


def test_uniform_noise_is_uniform_whatever_the_class():
    start = Uniform(shape=SHAPE, classes=3)
    x = start(torch.arange(3000) % 3, generators.generator("u"))
    assert stats.kstest(x.flatten().double().numpy(), "uniform").pvalue > 0.01
    assert torch.equal(x, start(torch.zeros(3000, dtype=torch.int64), generators.generator("u")))
    start.fit(lambda y: images()[0][:9])
    assert torch.equal(x, start(torch.zeros(3000, dtype=torch.int64), generators.generator("u")))
    assert not start.state_dict()  # nothing to keep


def test_the_fit_is_the_mean_and_the_covariance_of_every_class():
    """Of numpy, with its n - 1; the factor's columns are principal directions, so its Gram matrix is diagonal."""
    x, labels = images()
    start = fitted(x, labels)
    for y in range(3):
        own = x[labels == y].flatten(1).double().numpy()
        assert start.mean[y].numpy() == pytest.approx(own.mean(0), abs=1e-6)
        factor = start.factor[y].double()
        assert (factor @ factor.T).numpy() == pytest.approx(np.cov(own.T), abs=1e-8)
        gram = factor.T @ factor
        assert torch.allclose(gram, gram.diagonal().diag(), atol=1e-8)


def test_of_large_images_the_factor_is_the_best_of_its_rank():
    """Eckart & Young: the leading eigenvalues and directions of the covariance, and nothing else."""
    shape = (1, 9, 9)
    x, labels = images(600, 2, shape)
    start = fitted(x, labels, shape, classes=2)
    assert start.factor.shape == (2, 81, RANK)
    for y in range(2):
        values, vectors = np.linalg.eigh(np.cov(x[labels == y].flatten(1).double().numpy().T))
        best = (vectors[:, -RANK:] * values[-RANK:]) @ vectors[:, -RANK:].T
        factor = start.factor[y].double()
        assert (factor @ factor.T).numpy() == pytest.approx(best, abs=1e-8)


def test_few_images_span_few_directions():
    """Two images: a line through both; the other columns are 0, also where an earlier fit left something."""
    start = fitted(*images())
    x = torch.tensor([0.2, 0.6])[:, None, None, None].expand(2, *SHAPE).repeat(3, 1, 1, 1)
    labels = torch.arange(3).repeat_interleave(2)
    start.fit(lambda y: x[labels == y])
    drawn = start(torch.zeros(4000, dtype=torch.int64), generators.generator("line")).flatten(1)
    assert torch.allclose(drawn, drawn[:, :1].expand(-1, 6), atol=1e-6)
    assert start.mean.flatten().tolist() == pytest.approx([0.4] * 18)
    assert torch.allclose(start.factor[0] @ start.factor[0].T, torch.full((6, 6), 0.08), atol=1e-6)  # 0.4^2 / 2


def test_samples_have_the_mean_and_the_covariance_of_their_class():
    """Standard errors: of a mean sigma / sqrt(n), of a covariance about sigma^2 / sqrt(n)."""
    x, labels = images()
    start, n = fitted(x, labels), 60_000
    y = torch.arange(n) % 3
    drawn = start(y, generators.generator("samples"))
    assert drawn.shape == (n, *SHAPE)
    for k in range(3):
        own, of = drawn[y == k].flatten(1).double().numpy(), x[labels == k].flatten(1).double().numpy()
        sigma = np.cov(of.T).diagonal().max() ** 0.5
        assert own.mean(0) == pytest.approx(of.mean(0), abs=5 * sigma / 20_000**0.5)
        assert np.cov(own.T) == pytest.approx(np.cov(of.T), abs=6 * sigma**2 / 20_000**0.5)
    wrong = np.cov(drawn[y == 0].flatten(1).double().numpy().T)  # the classes do differ by more than that
    assert abs(wrong - np.cov(x[labels == 1].flatten(1).double().numpy().T)).max() > 6 * sigma**2 / 20_000**0.5


def test_a_row_depends_on_its_class_and_the_draw_of_its_position_alone():
    start = fitted(*images())
    y = torch.arange(12) % 3
    whole = start(y, generators.generator("rows"))
    changed = y.clone()
    changed[4] = (y[4] + 1) % 3
    other = start(changed, generators.generator("rows"))
    same = (whole == other).flatten(1).all(1)
    assert same.tolist() == [i != 4 for i in range(12)]


def test_samples_stay_in_range():
    """Half of the mass of a class of black images is below 0."""
    x = 0.2 * torch.randn((60, *SHAPE), generator=generators.generator("black"))
    drawn = fitted(x, torch.arange(60) % 3)(torch.arange(300) % 3, generators.generator("range"))
    assert drawn.min() == 0
    assert 0 < drawn.max() <= 1
    assert (drawn == 0).float().mean() == pytest.approx(0.5, abs=0.15)


def test_the_fit_travels_with_the_weights():
    start, other = fitted(*images()), ClassGaussians(shape=SHAPE, classes=3)
    other.load_state_dict(start.state_dict())
    y = torch.arange(6) % 3
    assert torch.equal(other(y, generators.generator("t")), start(y, generators.generator("t")))
    assert not list(start.parameters())  # no optimiser moves it


def test_photographs_get_the_same_directions_from_fewer_numbers(monkeypatch):
    """The partial decomposition is the whole one's start, up to signs, which a Gaussian does not know."""
    x, labels = images(n=240, shape=(1, 6, 6))
    whole = fitted(x, labels, shape=(1, 6, 6))
    monkeypatch.setattr("jembench.langevin.starts.SMALL", 10)
    monkeypatch.setattr("jembench.langevin.starts.RANK", 5)
    part = fitted(x, labels, shape=(1, 6, 6))
    assert part.factor.shape == (3, 36, 5)
    for y in range(3):
        leading = whole.factor[y, :, :5]
        assert torch.allclose(part.factor[y] @ part.factor[y].T, leading @ leading.T, atol=1e-6)
