"""The slope check where the answer is known: linear, flat, turned round, shattered and broken losses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jembench.attacks.defences import Defence, Defended
from jembench.attacks.sanity import QUERIES, RANDOM, Slope, slope
from jembench.attacks.victim import Victim
from jembench.ground import generators

SHAPE = (1, 4, 4)
NORMS = ("linf", "l2")


class Model:
    """Logits of a linear model of ``seen(x)``, scaled."""

    normalized = False

    def __init__(self, seen=lambda x: x, scale=1.0):
        self.linear = nn.Linear(16, 3).requires_grad_(False)
        self.linear.weight.data = torch.randn((3, 16), generator=generators.generator("weights"))
        self.linear.bias.data.zero_()
        self.seen, self.scale = seen, scale

    def logits(self, x):
        return self.scale * self.linear(self.seen(x).flatten(1))


def images(n=40):
    return 0.3 + 0.4 * torch.rand((n, *SHAPE), generator=generators.generator("x"))


def check(model, x=None, *, norm="linf", eps=0.1, key="check"):
    x = images() if x is None else x
    generator = generators.generator(key)
    victim = Victim(model, generator=generator)
    y = model.base.logits(x).argmax(1) if isinstance(model, Defended) else Model().logits(x).argmax(1)
    return slope(victim, x, y, norm=norm, eps=eps, generator=generator), victim.meter


class Turned(torch.autograd.Function):
    """The identity, whose gradient points the other way."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


def shattered(frequency, amplitude=0.05):
    """A wave so steep that its slope says nothing of the next step."""
    return lambda x: x + amplitude * (frequency * x).sin()


@pytest.mark.parametrize("norm", NORMS)
def test_a_step_along_the_gradient_of_a_linear_model_beats_every_random_one(norm):
    """It is the steepest by definition, as long as the best wrong class stays the same."""
    found, _ = check(Model(), norm=norm, eps=0.02)
    assert found.follows.mean() > 0.99
    assert not found.zero.any()
    assert not found.broken.any()


@pytest.mark.parametrize("norm", NORMS)
def test_a_gradient_that_points_the_wrong_way_loses_to_every_random_one(norm):
    assert check(Model(Turned.apply), norm=norm, eps=0.02)[0].follows.mean() < 0.01


PLANTED = {
    "quantised": Model(lambda x: (16 * x).round() / 16),
    "detached": Model(lambda x: x.detach()),
    "saturated": Model(scale=1e4),
    "constant": Model(lambda x: 0 * x),
}


@pytest.mark.parametrize("name", sorted(PLANTED))
@pytest.mark.parametrize("norm", NORMS)
def test_a_gradient_of_zero_is_called_zero_and_tells_nothing(name, norm):
    """The saturated model has a perfect margin, but its cross-entropy is 0 in float32."""
    found, _ = check(PLANTED[name], norm=norm)
    assert found.zero.float().mean() > 0.9
    assert not found.broken.any()
    assert (found.follows[found.zero] == 0.5).all()


@pytest.mark.parametrize("bad", ["nan", "infinite"])
def test_a_gradient_that_is_not_finite_is_called_broken_and_only_that(bad):
    """The square root at 0 has an infinite slope; times 0 that is NaN. The logits themselves are finite."""

    def seen(x):
        root = (x - x.detach()).sqrt()
        return x + (0 * root if bad == "nan" else root)

    found, _ = check(Model(seen))
    assert found.broken.all()
    assert not found.zero.any()
    assert (found.follows == 0.5).all()


def test_one_bad_example_does_not_spoil_the_others():
    x = images()
    x[3] = 0.0

    def seen(x):
        return x + 0 * x.flatten(1).sum(1).reshape(-1, 1, 1, 1).sqrt()

    found, _ = check(Model(seen), x)
    assert found.broken.nonzero().flatten().tolist() == [3]
    assert found.follows[torch.arange(len(x)) != 3].mean() > 0.95


@pytest.mark.parametrize("norm", NORMS)
def test_a_shattered_gradient_is_no_better_than_chance(norm):
    """Also on images of a grid, where the wave has one phase for all pixels of a value."""
    for x in (images(), (16 * images()).round() / 16):
        assert check(Model(shattered(1e4)), x, norm=norm)[0].follows.mean() < 0.8
        assert check(Model(shattered(1e3)), x, norm=norm)[0].follows.mean() < 0.8
        gentle = check(Model(shattered(1.0)), x, norm=norm, eps=0.02)[0]
        assert gentle.follows.mean() > 0.99


def test_noise_in_the_loss_is_not_taken_for_a_bad_gradient():
    """Behind a noise many times the step, the losses of two steps are compared on the same draws."""
    found, meter = check(Defended(Model(), Defence.smoothing(0.5)), eps=0.02)
    assert found.follows.mean() > 0.9
    rows = 40 * QUERIES
    assert (meter.forwards, meter.gradients) == ((3 + RANDOM) * rows, 2 * rows)


def test_a_gradient_that_only_holds_on_its_own_draw_does_not_follow():
    """A wave with a random phase: every draw has a slope, and the slopes of two draws have nothing in common."""

    class Waves(Model):
        stochastic = True

        def logits(self, x, *, generator):
            phase = 6.3 * torch.rand(x.shape, generator=generator)
            return self.linear((0.05 * (1e3 * x + phase).sin()).flatten(1))

    assert check(Waves())[0].follows.mean() < 0.8


@settings(max_examples=25, deadline=None)
@given(
    norm=st.sampled_from(NORMS),
    eps=st.floats(1e-3, 1.0),
    frequency=st.sampled_from([0.0, 30.0, 1e4]),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    seed=st.integers(0, 99),
)
def test_the_verdict_is_a_share_whatever_the_model(norm, eps, frequency, scale, seed):
    """In [0, 1], never zero and broken at once, a function of the generator, and the images are left alone."""
    x = torch.rand((5, *SHAPE), generator=generators.generator(seed)).round(decimals=1)
    before = x.clone()
    model = Model(shattered(frequency), scale)
    found, _ = check(model, x, norm=norm, eps=eps, key=str(seed))
    again, _ = check(model, x, norm=norm, eps=eps, key=str(seed))
    assert isinstance(found, Slope)
    assert ((found.follows >= 0) & (found.follows <= 1)).all()
    assert not (found.zero & found.broken).any()
    assert torch.equal(found.follows, again.follows)
    assert torch.equal(x, before)
