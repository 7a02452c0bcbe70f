"""Glow: a density that integrates to one, samples that are its own, and a classifier that is Bayes' rule."""

import math
from types import SimpleNamespace

import pytest
import torch

from jembench import data
from jembench.ground import generators
from jembench.models import glow
from jembench.models.flow import ActNorm, Flow, InvertibleConv
from jembench.models.glow import ConditionalGlow, Glow
from jembench.types import Classifier, Density, Sampler, capabilities

SHAPE = (1, 4, 4)


def perturbed(module, sigma=0.1):
    noise = generators.generator("perturbed")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += sigma * torch.randn(parameter.shape, generator=noise)
    return module


def flow(shape=SHAPE, scales=2):
    with generators.forked("glow"):
        return Flow(shape=shape, width=4, depth=2, scales=scales)


def unconditional(shape=SHAPE, scales=2, *, mean=0.4, std=0.2):
    return perturbed(Glow(flow(shape, scales), shape=shape, mean=mean, std=std))


def conditional(shape=SHAPE, scales=2, *, mean=0.4, std=0.2, classes=3):
    return perturbed(ConditionalGlow(flow(shape, scales), shape=shape, classes=classes, mean=mean, std=std))


@torch.no_grad()
def identity(model):
    """Make the flow a permutation of the pixels."""
    for layer in model.modules():
        if isinstance(layer, InvertibleConv):
            layer.permutation.copy_(torch.eye(len(layer.sign)))
            layer.sign.fill_(1)
            for parameter in layer.parameters():
                parameter.zero_()
    return model


def images(n, shape=SHAPE):
    return torch.rand((n, *shape), generator=generators.generator("images"))


def test_capabilities():
    assert capabilities(unconditional()) == {"density", "sampler"}
    assert capabilities(conditional()) == {"classifier", "density", "sampler"}
    assert all(isinstance(conditional(), protocol) for protocol in (Classifier, Density, Sampler))
    assert not isinstance(unconditional(), Classifier)
    assert unconditional().normalized is conditional().normalized is True


@pytest.mark.parametrize("make", [unconditional, conditional])
def test_the_density_integrates_to_one_over_pixel_space(make):
    """By importance sampling from a wider Gaussian in 4 dimensions; the divisor of the pixels is in the log-det."""
    model, n = make((1, 2, 2), 1), 200_000
    proposal = torch.distributions.Normal(0.4, 0.3)
    x = 0.4 + 0.3 * torch.randn((n, 1, 2, 2), generator=generators.generator("proposal"))
    with torch.no_grad():
        weight = (model.log_density(x) - proposal.log_prob(x).flatten(1).sum(1)).exp().double()
    error = weight.std().item() / math.sqrt(n)
    assert error < 0.01
    assert weight.mean().item() == pytest.approx(1, abs=4 * error)


def test_the_density_is_the_change_of_variables():
    """log N(z) + log |det dz/dx|, with the Jacobian of the whole map from pixels, one divisor per channel."""
    model = unconditional((2, 4, 4), mean=(0.4, 0.6), std=(0.2, 0.5)).double()
    x = images(3, (2, 4, 4)).double()

    def latent(flat):
        return model.flow((flat.reshape(1, 2, 4, 4) - model.mean) / model.std)[0][0]

    base = torch.distributions.Normal(model.location[0], model.log_scale[0].exp())
    for image, log_p in zip(x, model.log_density(x), strict=True):
        jacobian = torch.autograd.functional.jacobian(latent, image.flatten())
        expected = base.log_prob(latent(image)).sum() + torch.linalg.slogdet(jacobian).logabsdet
        assert log_p.item() == pytest.approx(expected.item(), abs=1e-8)


def test_p_y_given_x_is_bayes_rule():
    """With a uniform prior, from the densities log p(x|y), of which each is that of an unconditional Glow."""
    model, x = conditional(), images(20)
    given = torch.stack([model.log_conditional(x, torch.full((20,), y)) for y in range(3)], dim=1)
    assert given.shape == (20, 3)
    for y in range(3):
        one = Glow(model.flow, shape=SHAPE, mean=0.4, std=0.2)
        one.location.data, one.log_scale.data = model.location[y : y + 1].data, model.log_scale[y : y + 1].data
        assert torch.allclose(one.log_density(x), given[:, y], atol=1e-4)
    joint = given.double().exp() / 3
    assert torch.allclose(model.log_density(x).double(), joint.sum(1).log(), atol=1e-4)
    posterior = joint / joint.sum(1, keepdim=True)
    assert torch.allclose(model.logits(x).softmax(1).double(), posterior, atol=1e-4)
    assert posterior.std(0).min() > 1e-3  # the classes differ
    assert torch.equal(model(x), model.logits(x))
    assert torch.equal(unconditional()(x), unconditional().log_density(x))


def test_all_classes_cost_one_pass_of_the_flow():
    model, calls = conditional(classes=7), []
    model.flow.register_forward_hook(lambda *_: calls.append(1))
    assert model.logits(images(5)).shape == (5, 7)
    assert calls == [1]


def test_samples_of_a_known_base_have_its_moments():
    """A flow that only permutes pixels: independent pixels of known means and deviations."""
    model = identity(Glow(flow(), shape=SHAPE, mean=0.5, std=0.1))
    noise = generators.generator("base")
    with torch.no_grad():
        model.location += torch.rand(16, generator=noise) - 0.5
        model.log_scale -= torch.rand(16, generator=noise) / 2
        mean = model.flow.inverse(model.location).flatten() * 0.1 + 0.5
        std = model.flow.inverse(model.log_scale).flatten().exp() * 0.1
    n = 40_000
    x = model.sample(n, generator=generators.generator("samples")).double().flatten(1)
    assert ((x.mean(0) - mean) / std).abs().max() < 5 / math.sqrt(n)
    assert (x.std(0) / std - 1).abs().max() < 5 / math.sqrt(2 * n)
    assert torch.corrcoef(x.T).fill_diagonal_(0).abs().max() < 5 / math.sqrt(n)
    with torch.no_grad():
        entropy = (std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum().item()
        assert -model.log_density(x.float().reshape(-1, *SHAPE)).mean().item() == pytest.approx(entropy, abs=0.1)


@pytest.mark.parametrize("labels", [None, [0, 1, 2, 2]])
def test_samples_go_back_to_the_base_that_they_were_drawn_from(labels):
    """Far within [0, 1], so that nothing is clamped: latents of the samples are those of the generator."""
    model, n = conditional(mean=0.5, std=0.005), 4
    given = None if labels is None else torch.tensor(labels)
    x = model.sample(n, generator=generators.generator("back"), labels=given)
    generator = generators.generator("back")
    rows = torch.randint(3, (n,), generator=generator) if labels is None else given
    eps = torch.randn((n, 16), generator=generator)
    z, _ = model.flow((x - model.mean) / model.std)
    assert torch.allclose(z, model.location[rows] + model.log_scale[rows].exp() * eps, atol=1e-3)


def test_samples_of_classes_far_apart_are_recognised():
    model = conditional()
    with torch.no_grad():
        model.location += torch.randn(model.location.shape, generator=generators.generator("apart"))
    labels = torch.arange(300) % 3
    x = model.sample(300, generator=generators.generator("l"), labels=labels)
    assert (model.logits(x).argmax(1) == labels).float().mean() > 0.95
    drawn = model.logits(model.sample(300, generator=generators.generator("l"))).argmax(1)
    assert torch.bincount(drawn, minlength=3).min() > 60  # of 100 expected: the prior is uniform


@pytest.mark.parametrize("make", [unconditional, conditional])
def test_sampling_is_a_function_of_the_generator_alone(make):
    model = make(std=2.0)
    with generators.forked("one"):
        first = model.sample(30, generator=generators.generator("g"))
    again = model.sample(30, generator=generators.generator("g"), start="buffer", steps=3)
    assert torch.equal(first, again)
    assert not torch.equal(first, model.sample(30, generator=generators.generator("h")))
    assert first.shape == (30, *SHAPE)
    assert (first.min(), first.max()) == (0, 1)  # a wide base leaves [0, 1]: clamped
    assert not first.requires_grad


def test_initialising_normalises_the_pixels_first():
    model, x = conditional(), images(500)
    model.initialise(x)
    first = next(layer for layer in model.modules() if isinstance(layer, ActNorm))
    normalised = torch.nn.functional.pixel_unshuffle((x - 0.4) / 0.2, 2)
    assert torch.allclose(first.bias.flatten(), -normalised.mean(dim=(0, 2, 3)), atol=1e-5)


def test_weights_travel():
    model, other = conditional(), ConditionalGlow(flow(), shape=SHAPE, classes=3, mean=0.4, std=0.2)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.logits(images(4)), other.logits(images(4)))


def test_it_works_in_float64():
    model, x = conditional(), images(4)
    double = conditional().double()
    assert double.logits(x.double()).dtype == torch.float64
    assert torch.allclose(double.logits(x.double()).float(), model.logits(x), atol=1e-4)
    assert double.sample(2, generator=generators.generator("d")).dtype == torch.float64


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="cannot sample given labels"):
        unconditional().sample(2, generator=generators.generator(), labels=torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"labels must have shape \(4,\), not \(3,\)"):
        conditional().sample(4, generator=generators.generator(), labels=torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="std must be positive"):
        Glow(flow(), shape=SHAPE, std=0.0)


def test_builders_read_the_recipe():
    part = SimpleNamespace(width=6, depth=2, scales=2, mean=0.5, std=0.25)
    recipe, track = SimpleNamespace(model=part), data.track("digits")
    one, many = glow.from_recipe(recipe, track), glow.conditional_from_recipe(recipe, track)
    assert type(one) is Glow
    assert type(many) is ConditionalGlow
    assert (one.location.shape, many.location.shape) == ((1, 64), (10, 64))
    assert (one.mean.item(), many.std.item(), len(one.flow.scales)) == (0.5, 0.25, 2)
    assert many.logits(images(3, (1, 8, 8))).shape == (3, 10)
