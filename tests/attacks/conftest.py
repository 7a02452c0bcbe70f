"""A task, a victim, and the laws that every attack keeps, for the files of this folder."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from jembench import data
from jembench.attacks.contract import Task
from jembench.attacks.threat import Threat, distance
from jembench.attacks.verify import verify
from jembench.attacks.victim import Victim
from jembench.ground import generators
from jembench.models.softmax import Softmax
from jembench.zoo import catalogue
from jembench.zoo.references import parse


class Attacked:
    """An attack's result, judged."""

    def __init__(self, attack, model, x, y, norm, eps, *, target=None, starts=(), key="attack"):
        goal = "untargeted" if target is None else "targeted"
        task = Task(x, y, target, Threat(norm, eps, goal), tuple(starts), generators.generator(key), (key,))
        self.victim = Victim(
            model,
            generator=generators.generator(key, "victim"),
            copies=attack.copies,
            gradient=attack.gradient,
            precision=attack.precision,
        )
        self.task = task
        self.crafted = attack.perturb(self.victim, task)
        self.images = self.crafted.images
        self.claimed = self.crafted.claimed
        self.verdict = verify(
            model,
            x,
            y,
            self.images,
            threat=task.threat,
            target=target,
            draws=9,
            generator=generators.generator(key, "v"),
        )
        self.broken = ~self.verdict.vote
        self.distance = distance(self.images - x, norm)


@pytest.fixture(scope="session")
def run():
    """Attack a model and verify."""
    return Attacked


@pytest.fixture(scope="session")
def digits():
    """A function from a count to that many test images and labels."""
    source = data.load("digits", "test")

    def first(n):
        return torch.from_numpy(source.pixels(0, n)), torch.from_numpy(source.labels[:n])

    return first


@pytest.fixture(scope="session")
def softmax():
    """The shipped classifier of digits."""
    return catalogue.load(catalogue.resolve(parse("softmax"), track="digits"))


class Linear:
    """Four classes of which two matter: f = (w'x + b, 0, -9, -9), on images that no small ball takes out of [0, 1]."""

    def __init__(self, n=12, side=5):
        generator = generators.generator("linear")
        layer = nn.Linear(side * side, 4)
        self.w = torch.randn(side * side, generator=generator)
        self.x = 0.35 + 0.3 * torch.rand((n, 1, side, side), generator=generator)
        bias = 0.3 - (self.x.flatten(1) @ self.w).mean()
        layer.weight.data = torch.stack([self.w, *[torch.zeros_like(self.w)] * 3])
        layer.bias.data = torch.tensor([bias, 0.0, -9.0, -9.0])
        self.model = Softmax(nn.Sequential(nn.Flatten(), layer)).eval().requires_grad_(False)
        self.score = self.x.flatten(1) @ self.w + bias
        self.y = (self.score <= 0).long()

    def nearest(self, norm):
        """The distance of every image from the other class: |w'x + b| over the dual norm of w."""
        return self.score.abs() / (self.w.abs().sum() if norm == "linf" else self.w.norm())


@pytest.fixture(scope="session")
def linear():
    """A classifier of which the distance of every image from the boundary is known."""
    return Linear()


@pytest.fixture
def untouched():
    """After the test, every global generator is where it was."""
    before = states()
    yield
    for one, other in zip(before, states(), strict=True):
        assert one == other


def states():
    name, words, *rest = np.random.get_state()  # noqa: NPY002
    return torch.random.get_rng_state().tolist(), (name, words.tolist(), rest), random.getstate()
