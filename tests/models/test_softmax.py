"""A softmax classifier is a density by the paper's reading; normalisation is its own business."""

import pytest
import torch
from torch import nn

import jembench
from jembench.ground import generators
from jembench.models.softmax import Softmax
from jembench.types import Classifier, Density, Sampler, capabilities

X = torch.rand((4, 3, 2, 2), generator=generators.generator("x"))


class Recorder(nn.Module):
    """Remembers what it is called with."""

    def forward(self, x):
        self.seen = x
        return x.flatten(1)


def test_it_classifies_and_has_a_density_but_does_not_sample():
    model = Softmax(nn.Flatten())
    assert capabilities(model) == {"classifier", "density"}
    assert isinstance(model, Classifier)
    assert isinstance(model, Density)
    assert not isinstance(model, Sampler)
    assert model.normalized is False
    assert capabilities(nn.Flatten()) == frozenset()


def test_the_network_sees_normalised_pixels_channel_by_channel():
    model = Softmax(Recorder(), mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    model.logits(X)
    for c, (mean, std) in enumerate(((0.1, 1), (0.2, 2), (0.3, 4))):
        assert torch.allclose(model.network.seen[:, c], (X[:, c] - mean) / std)


def test_by_default_the_network_sees_the_pixels():
    model = Softmax(Recorder())
    assert torch.equal(model.logits(X), X.flatten(1))
    assert torch.equal(model(X), model.logits(X))


def test_the_joint_gives_marginal_and_conditional():
    """log p(x) = logsumexp f, and p(y|x) = exp(f[y] - log p(x)): one set of logits, nothing to disagree."""
    model = Softmax(nn.Flatten())
    f, density = model.logits(X), model.log_density(X)
    assert torch.allclose(density, f.exp().sum(1).log())
    assert torch.allclose((f - density[:, None]).exp(), f.softmax(1))


def test_the_density_survives_logits_that_overflow_an_exponential():
    assert torch.isfinite(Softmax(nn.Flatten()).log_density(1e4 * X)).all()


def test_normalisation_is_configuration_and_not_weights():
    """A weights file fits whatever the normalisation; the fingerprint sees the buffers."""
    model = Softmax(nn.Linear(2, 2), mean=0.5, std=0.5)
    assert set(model.state_dict()) == {"network.weight", "network.bias"}
    assert {"mean", "std"} <= set(dict(model.named_buffers()))


def test_wrap_is_the_constructor():
    wrapped = jembench.wrap(nn.Flatten(), mean=0.5, std=0.25)
    assert torch.equal(wrapped.logits(X), ((X - 0.5) / 0.25).flatten(1))


@pytest.mark.parametrize("std", [0.0, -1.0, (1.0, 0.0, 1.0), float("nan")])
def test_a_std_that_is_not_positive_is_refused(std):
    with pytest.raises(ValueError, match="std must be positive"):
        Softmax(nn.Flatten(), std=std)
