"""Reference samplers: moments of noise, and of the training images of every class."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from jembench import data
from jembench.ground import generators
from jembench.langevin.starts import Uniform
from jembench.models.reference import Reference, class_gaussians, uniform
from jembench.types import capabilities
from jembench.zoo import catalogue
from jembench.zoo.references import parse

N = 4000


def generator() -> torch.Generator:
    return generators.generator("reference")


def test_they_can_sample_and_nothing_else() -> None:
    for track in ("digits", "gauss"):
        for name in ("uniform", "class-gaussians"):
            model = catalogue.load(catalogue.resolve(parse(name), track=track))
            assert capabilities(model) == catalogue.resolve(parse(name), track=track).capabilities == {"sampler"}


def test_noise_is_uniform() -> None:
    x = uniform(data.track("digits")).sample(N, generator=generator()).double()
    assert x.shape == (N, 1, 8, 8)
    count = x.numel()
    assert abs(x.mean().item() - 0.5) < 4 * math.sqrt(1 / 12 / count)
    assert abs(x.var().item() - 1 / 12) < 4 * math.sqrt(1 / 180 / count)
    flat = x.flatten(1)
    assert (torch.corrcoef(flat.T) - torch.eye(64)).abs().max() < 5 / math.sqrt(N)


def test_class_gaussians_have_the_moments_of_the_training_images() -> None:
    """On gauss nothing is clamped, so that mean and covariance are those of the class, of full rank."""
    model, train = class_gaussians(data.track("gauss")), data.load("gauss", "train")
    pixels = train.pixels().reshape(-1, 64).astype(np.float64)
    for y in (0, 7):
        own = pixels[train.labels == y]
        x = model.sample(N, generator=generator(), labels=torch.full((N,), y)).flatten(1).double().numpy()
        spread = own.std(0, ddof=1)
        assert np.abs((x.mean(0) - own.mean(0)) / spread).max() < 4.5 / math.sqrt(N)
        expected, found = np.cov(own.T), np.cov(x.T)
        scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)) + expected**2)
        assert (np.abs(found - expected) / scale).max() < 5.5 / math.sqrt(N)


def test_class_gaussians_of_digits_are_clamped_and_seen_as_their_class() -> None:
    model = catalogue.load(catalogue.resolve(parse("class-gaussians"), track="digits"))
    judge = catalogue.load(catalogue.extractor("digits-ref", track="digits"))
    labels = torch.arange(500) % 10
    x = model.sample(500, generator=generator(), labels=labels)
    assert 0 == x.min() < x.max() == 1
    with torch.no_grad():
        assert (judge.logits(x).argmax(1) == labels).float().mean() > 0.9


def test_without_labels_the_classes_are_drawn_first() -> None:
    model = class_gaussians(data.track("gauss"))
    drawn = generator()
    labels = torch.randint(10, (50,), generator=drawn)
    expected = model.sample(50, generator=drawn, labels=labels)
    assert torch.equal(model.sample(50, generator=generator()), expected)


def test_there_is_no_chain() -> None:
    model = Reference(Uniform(shape=(1, 2, 2), classes=3))
    one, other = (model.sample(4, generator=generator(), steps=steps) for steps in (None, 50))
    assert torch.equal(one, other)
    assert torch.equal(one, model.sample(4, generator=generator(), start="buffer"))


def test_their_fingerprints_are_of_kind_and_track(shelf: Callable[..., Path]) -> None:
    """And those of Gaussians of a user's images of these images."""
    tracks = [name for name in data.TRACKS if not data.track(name).external]
    found = [
        catalogue.resolve(parse(name), track=track).fingerprint
        for name in ("uniform", "class-gaussians")
        for track in tracks
    ]
    found += [catalogue.resolve(parse("uniform"), track=track).fingerprint for track in ("cifar10", "svhn")]
    for n in (500, 600):
        folder = shelf("cifar10_train", n)
        found += [catalogue.resolve(parse("class-gaussians"), track="cifar10", folder=str(folder)).fingerprint]
    assert len(set(found)) == len(found) == 8
