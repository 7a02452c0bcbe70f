"""The gradient check tells honest baselines and masked models apart, with room on both sides."""

import numpy as np
import pytest
import torch

from jembench.attacks.defences import Defence, Defended
from jembench.data import load
from jembench.ground import generators
from jembench.measurements.gradient_check import GradientCheck
from jembench.types import Batch
from jembench.zoo import catalogue
from jembench.zoo.references import parse

HONEST = ("softmax", "softmax-10", "softmax-adv", "jem", "jem-ssl", "jempp", "sadajem", "glow-cond", "igebm")
EPS = {"linf": 0.1, "l2": 0.5}


def batch(track="digits", n=60):
    images = load(track, "test")
    labels = torch.from_numpy(images.labels[:n]).long()
    return Batch(torch.from_numpy(images.pixels(0, n)), labels, torch.arange(n), images.levels)


def model(name, track="digits"):
    return catalogue.load(catalogue.resolve(parse(name), track=track))


def measure(chosen, norm="linf", eps=0.1, data=None):
    return GradientCheck(norm, eps).columns(chosen, data or batch(), generators.generator("gradient_check"))


class Masked:
    """A model whose input or logits something was done to."""

    normalized = False

    def __init__(self, base, before=lambda x: x, after=lambda f: f):
        self.base, self.before, self.after = base, before, after

    def logits(self, x):
        return self.after(self.base.logits(self.before(x)))


def nan(x):
    return x + 0 * (x - x.detach()).sqrt()


@pytest.mark.parametrize("norm", sorted(EPS))
@pytest.mark.parametrize("name", HONEST)
def test_honest_baselines_pass(name, norm):
    columns = measure(model(name), norm, EPS[norm], batch(n=60 if name != "igebm" else 30))
    assert columns["zero"].sum() == columns["broken"].sum() == 0
    assert columns["follows"].mean() > 0.93


def test_the_oracle_passes():
    for norm, eps in (("linf", 0.01), ("l2", 0.06)):
        columns = measure(model("oracle", "gauss"), norm, eps, batch("gauss"))
        assert columns["zero"].sum() == columns["broken"].sum() == 0
        assert columns["follows"].mean() > 0.99


@pytest.mark.parametrize("norm", sorted(EPS))
@pytest.mark.parametrize("name", ["softmax", "softmax-adv", "jem"])
def test_planted_bugs_are_told_apart(name, norm):
    base, eps = model(name), EPS[norm]
    for masked in (Masked(base, lambda x: (16 * x).round() / 16), Masked(base, after=lambda f: 1e4 * f)):
        columns = measure(masked, norm, eps)
        assert columns["zero"].mean() > 0.9
        assert columns["broken"].sum() == 0
    for frequency in (1e3, 1e4):
        wave = Masked(base, lambda x, w=frequency: x + 0.05 * (w * x).sin())
        columns = measure(wave, norm, eps)
        assert columns["zero"].sum() == columns["broken"].sum() == 0
        assert columns["follows"].mean() < 0.75
    columns = measure(Masked(base, nan), norm, eps)
    assert columns["broken"].all()
    assert columns["zero"].sum() == 0


def test_a_refined_model_is_checked_without_its_refinement():
    """Same columns as the bare model's, cost and all; a noise defence is checked with its noise."""
    bare = model("jem")
    expected = measure(bare)
    for steps in (1, 10):
        found = measure(Defended(bare, Defence(steps)))
        for name, column in expected.items():
            np.testing.assert_array_equal(found[name], column)
    noisy = measure(Defended(bare, Defence.smoothing(0.25)))
    assert noisy["forwards"].sum() > expected["forwards"].sum()
    assert noisy["follows"].mean() > 0.95


def test_it_counts_its_passes():
    columns = measure(model("softmax"))
    assert (columns["forwards"] == 11).all()  # two gradients, one step along, eight at random
    assert (columns["gradients"] == 2).all()
    assert all(len(column) == 60 for column in columns.values())
