"""A JEM whose network is a Gaussian mixture in closed form: what is known of the mixture must come out."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from jembench import data
from jembench.ground import generators
from jembench.langevin.sgld import SGLD
from jembench.langevin.starts import Uniform
from jembench.models.chains import ChainSampler
from jembench.models.jem import JEM, from_recipe
from jembench.models.recipes import Recipe
from jembench.models.small import SmallNet
from jembench.types import Chained, Classifier, Density, Sampler, capabilities

SHAPE = (1, 1, 2)
PRIOR = torch.tensor([0.3, 0.7])
LOG_C = 5.0  # a constant that no reading may see: -log Z


class Mixture(nn.Module):
    """Logits log p(x, y) + LOG_C of PRIOR[y] N(mean[y], sigma^2 I)."""

    def __init__(self, means, sigma):
        super().__init__()
        self.register_buffer("means", torch.tensor(means))
        self.sigma = sigma

    def conditional(self, x):
        """log p(x|y), ``(B, 2)``."""
        square = (x.flatten(1)[:, None] - self.means).square().sum(2)
        return -square / (2 * self.sigma**2) - self.means.shape[1] / 2 * math.log(2 * math.pi * self.sigma**2)

    def forward(self, x):
        return self.conditional(x) + PRIOR.log() + LOG_C


def jem(means=((0.4, 0.4), (0.6, 0.6)), sigma=0.1, *, step=0.1, steps=250, buffer=10):
    """A JEM of the mixture that samples by true Langevin dynamics, a = ``step`` sigma^2."""
    settings = SGLD(steps=steps, size=step * sigma**2, noise=sigma * math.sqrt(2 * step))
    sampler = ChainSampler(Uniform(shape=SHAPE, classes=2), settings=settings, buffer=buffer)
    sampler.labels.copy_(torch.arange(buffer) % 2)
    return JEM(Mixture(means, sigma), sampler=sampler)


def test_it_has_its_capabilities():
    model = jem()
    assert capabilities(model) == {"classifier", "density", "sampler", "chain"}
    assert all(isinstance(model, protocol) for protocol in (Classifier, Density, Sampler, Chained))
    assert model.conditional is False
    assert model.normalized is False


def test_marginal_and_conditional_are_those_of_the_mixture():
    """log p(x) up to log Z, p(y|x) by Bayes' rule from log p(x|y) and the prior, without it."""
    model = jem()
    x = torch.rand((50, *SHAPE), generator=generators.generator("x"))
    weighted = PRIOR * model.network.conditional(x).exp()
    assert torch.allclose(model.log_density(x), weighted.sum(1).log() + LOG_C, atol=1e-5)
    assert torch.allclose(model.logits(x).softmax(1), weighted / weighted.sum(1, keepdim=True), atol=1e-5)
    for y in (0, 1):
        labels = torch.full((50,), y)
        expected = model.network.conditional(x)[:, y] + PRIOR[y].log() + LOG_C
        assert torch.allclose(model.log_conditional(x, labels), expected, atol=1e-5)


def test_langevin_samples_have_the_moments_of_the_mixture():
    """Overlapping classes, so that chains mix: moments within their errors and the bias of the step."""
    n = 20_000
    x = jem().sample(n, generator=generators.generator("mixture")).double().flatten(1)
    between = 0.3 * 0.7 * 0.2**2
    assert x.mean(0).tolist() == pytest.approx([0.3 * 0.4 + 0.7 * 0.6] * 2, abs=5 * 0.14 / math.sqrt(n))
    covariance = torch.cov(x.T)
    assert covariance[0, 1].item() == pytest.approx(between, abs=0.0006)
    # Within a class the variance is sigma^2 / (1 - a / (2 sigma^2)), see tests/langevin/test_sgld.py.
    assert covariance.diagonal().tolist() == pytest.approx([0.01 / 0.95 + between] * 2, rel=0.05)


def test_labels_make_every_chain_climb_its_class():
    """Classes far apart: each image is a draw from N(mean[y], sigma^2 / .95), and the classifier agrees."""
    model = jem(means=((0.3, 0.6), (0.7, 0.4)), sigma=0.05)
    labels = torch.arange(4000) % 2
    x = model.sample(4000, generator=generators.generator("labels"), labels=labels)
    assert torch.equal(model.logits(x).argmax(1), labels)
    for y in (0, 1):
        own = x[labels == y].double().flatten(1)
        assert own.mean(0).tolist() == pytest.approx(model.network.means[y].tolist(), abs=5 * 0.05 / math.sqrt(2000))
        assert own.var(0).tolist() == pytest.approx([0.05**2 / 0.95] * 2, rel=0.15)


def test_the_prior_does_not_move_conditional_samples():
    """log p(x|y) and log p(x, y) have one gradient in x."""
    model, noise = jem(steps=20), "prior"
    before = model.sample(10, generator=generators.generator(noise), labels=torch.ones(10, dtype=torch.int64))
    shifted = jem(steps=20)
    shifted.network.forward = lambda x: model.network(x) + torch.tensor([3.0, -2.0])
    after = shifted.sample(10, generator=generators.generator(noise), labels=torch.ones(10, dtype=torch.int64))
    assert torch.allclose(before, after, atol=1e-6)


def test_a_buffer_start_goes_on_from_different_chains():
    model = jem(buffer=50)
    model.sampler.chains.copy_(torch.rand(model.sampler.chains.shape, generator=generators.generator("chains")))
    x = model.sample(50, generator=generators.generator("b"), start="buffer", steps=0)
    assert sorted(x.flatten(1).tolist()) == sorted(model.sampler.chains.flatten(1).tolist())
    few = model.sample(7, generator=generators.generator("b"), start="buffer", steps=0)
    assert len({tuple(row) for row in few.flatten(1).tolist()}) == 7
    labels = torch.tensor([1, 0, 1, 1])
    own = model.sample(4, generator=generators.generator("b"), start="buffer", steps=0, labels=labels)
    slots = [model.sampler.chains.flatten(1).tolist().index(row) for row in own.flatten(1).tolist()]
    assert model.sampler.labels[slots].tolist() == labels.tolist()


def test_without_labels_a_persistent_chain_climbs_the_marginal():
    """A JEM's chains have a class each, which log p(x) does not know: they mix as the prior says."""
    model = jem(means=((0.3, 0.3), (0.7, 0.7)), sigma=0.25, steps=400, buffer=2000)
    model.sampler.chains.fill_(0.5)
    x = model.sample(2000, generator=generators.generator("marginal"), start="buffer")
    assert model.logits(x).softmax(1).mean(0).tolist() == pytest.approx(PRIOR.tolist(), abs=0.05)


def test_sampling_from_the_buffer_does_not_change_it():
    """Evaluation reads the chains of the training; the first sample is no better than the second."""
    model = jem(buffer=5)
    before = model.sampler.chains.clone()
    model.sample(5, generator=generators.generator("b"), start="buffer")
    assert torch.equal(model.sampler.chains, before)


def test_a_fresh_start_is_uniform_noise_and_steps_override_the_training():
    model = jem()
    x = model.sample(5000, generator=generators.generator("f"), steps=0)
    assert x.mean().item() == pytest.approx(0.5, abs=0.02)
    assert x.var().item() == pytest.approx(1 / 12, abs=0.005)
    near = model.sample(500, generator=generators.generator("f"), steps=250)
    far = model.sample(500, generator=generators.generator("f"), steps=1)
    assert torch.equal(near, model.sample(500, generator=generators.generator("f")))
    assert model.log_density(near).mean() > model.log_density(far).mean() + 1


def test_samples_stay_in_range_also_where_the_chain_does_not():
    """The mass of this mixture is outside [0, 1]."""
    x = jem(means=((-0.5, 0.5), (1.5, 0.5)), sigma=0.1).sample(100, generator=generators.generator("r"))
    assert x.min() == 0
    assert x.max() == 1


def test_samples_are_a_function_of_the_generator_also_under_no_grad():
    model = jem(steps=5)
    with torch.no_grad():
        quiet = model.sample(4, generator=generators.generator("g"))
    assert torch.equal(quiet, model.sample(4, generator=generators.generator("g")))
    assert not torch.equal(quiet, model.sample(4, generator=generators.generator("h")))
    assert not quiet.requires_grad


def test_chains_travel_with_the_weights():
    model, other = jem(), jem()
    model.sampler.chains.fill_(0.25)
    other.load_state_dict(model.state_dict())
    assert (other.sampler.chains == 0.25).all()
    assert {"sampler.chains", "sampler.labels"} <= set(model.state_dict())


def test_half_precision_does_not_round_the_density_as_it_rounds_the_network():
    """logsumexp in bf16 would know log p(x) = 40 to 0.1 only, and its softmax would not sum to one.

    Here the logits are exact in bf16, so whatever is lost is lost after the network.
    """

    class Logits(nn.Module):
        def forward(self, x):
            return (40 + x.flatten(1)).to(torch.bfloat16)

    model = JEM(Logits(), sampler=jem().sampler)
    x = torch.tensor([0.0, 0.5, 1.0, 3.0]).reshape(2, *SHAPE).requires_grad_()
    expected = (40 + x.detach().flatten(1)).logsumexp(1)
    with torch.autocast("cpu", torch.bfloat16):
        found = model.log_density(x)
    assert torch.allclose(found.float(), expected, atol=1e-4)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert gradient.flatten(1).sum(1).tolist() == pytest.approx([1, 1], abs=4e-3)
    model.network.trunk = lambda h: (40 + h.flatten(1)).to(torch.bfloat16)
    assert torch.allclose(model.head(x.detach()), expected, atol=1e-4)


def test_a_recipe_makes_the_network_and_the_chain_of_its_track():
    recipe = Recipe.model_validate(
        {
            "track": "digits",
            "about": "a test",
            "model": {"kind": "jem", "network": "small", "width": 4, "mean": 0.5, "std": 0.25},
            "objective": {"log_px": 1.0},
            "training": {"iterations": 1},
            "sampling": {"buffer": 64, "steps": 2, "inner": 2},
        }
    )
    with generators.forked("recipe"):
        model = from_recipe(recipe, data.track("digits"))
    with generators.forked("recipe"):
        network = SmallNet(shape=(1, 8, 8), classes=10, width=4)
    x = model.sample(3, generator=generators.generator("r"))
    assert torch.equal(model.logits(x), network((x - 0.5) / 0.25))
    assert model.sampler.settings == SGLD(steps=2, inner=2)
    assert len(model.sampler.chains) == 64


def test_impossible_requests_are_refused():
    model = jem(buffer=3)
    with pytest.raises(ValueError, match="holds 3 chains, fewer than 4"):
        model.sample(4, generator=generators.generator(), start="buffer")
    with pytest.raises(ValueError, match=r"labels must have shape \(4,\), not \(3,\)"):
        model.sample(4, generator=generators.generator(), labels=torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("labels", [None, torch.tensor([1, 0, 1, 1])])
def test_a_start_that_is_advanced_is_a_sample(labels):
    """In one go or in two, clamped or not: the same draws in the same order."""
    model, draws = jem(steps=12), generators.generator("advance")
    x = model.sample(4, generator=draws, labels=labels, steps=0)
    for steps in (5, 7):
        x = model.advance(x, generator=draws, labels=labels, settings=replace(model.chain, steps=steps))
    whole = model.sample(4, generator=generators.generator("advance"), labels=labels)
    assert torch.equal(x.clamp(0, 1), whole)
    assert not x.requires_grad


def test_it_advances_by_its_own_chain_and_clamps_nothing():
    model = jem(steps=3)
    assert model.chain == model.sampler.settings
    far = torch.full((3, *SHAPE), 4.0)
    one = model.advance(far, generator=generators.generator("own"))
    other = model.advance(far, generator=generators.generator("own"), settings=model.chain)
    assert torch.equal(one, other)
    assert one.max() > 1
    assert torch.equal(far, torch.full((3, *SHAPE), 4.0))


def test_its_persistent_chains_are_shown_as_they_lie():
    model = jem(buffer=6)
    model.sampler.chains.copy_(torch.linspace(-1, 2, 12).reshape(6, *SHAPE))  # not clamped
    x, y = model.persistent()
    assert torch.equal(x, torch.linspace(-1, 2, 12).reshape(6, *SHAPE))
    assert y.tolist() == [0, 1] * 3
