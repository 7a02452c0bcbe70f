"""The measurement ``rejected`` on the oracle: threshold, verdict and constraints computed again in float64 numpy."""

import math

import numpy as np
import pytest
import torch

from jembench.attacks import reject
from jembench.attacks.contract import Crafted
from jembench.attacks.threat import Threat
from jembench.data import gauss, load
from jembench.ground import generators
from jembench.measurements.input_gradient import InputGradient
from jembench.measurements.rejected import Rejected
from jembench.metrics.fpr import true_positives
from jembench.types import Batch
from jembench.zoo import catalogue
from jembench.zoo.references import parse

N = 40


@pytest.fixture(scope="module")
def model():
    return catalogue.load(catalogue.resolve(parse("oracle"), track="gauss"))


@pytest.fixture(scope="module")
def clean(model):
    """log p(x) of every test image."""
    images = load("gauss", "test")
    x = torch.from_numpy(images.pixels(0, 360))
    batch = Batch(x, torch.from_numpy(images.labels).long(), torch.arange(360), images.levels)
    return InputGradient().columns(model, batch, generators.generator("any"))


def measure(model, clean, *, eps=0.07, given=(), first=0, **settings):
    images = load("gauss", "test")
    x = torch.from_numpy(images.pixels(first, first + N))
    y = torch.from_numpy(images.labels[first : first + N]).long()
    batch = Batch(x, y, torch.arange(first, first + N), images.levels, given, (clean,))
    settings = {"steps": 20, "restarts": 2, **settings}
    columns = Rejected(Threat("l2", eps), **settings).columns(model, batch, generators.generator("rejected"))
    return columns, x, y


def by_hand(images):
    """Class and log p(x) of the mixture."""
    pixels = np.asarray(images, dtype=np.float64).reshape(len(images), 64)
    square = np.square(pixels[:, None] - gauss.means()).sum(axis=2)
    joint = -math.log(10) - 32 * math.log(2 * math.pi * gauss.SIGMA**2) - square / (2 * gauss.SIGMA**2)
    return joint.argmax(axis=1), np.logaddexp.reduce(joint, axis=1)


def test_the_verdict_by_hand(model, clean):
    columns, x, y = measure(model, clean)
    ordered = np.sort(clean["log_density"].astype(np.float64))
    tau = (ordered[17] + ordered[18]) / 2  # 342 of 360
    label, density = by_hand(x)
    found, found_density = by_hand(columns["adversarial"])
    accepted = density >= tau
    fooled = (found != y.numpy()) & (found_density >= tau)
    np.testing.assert_array_equal(columns["accepted"], accepted)
    np.testing.assert_array_equal(columns["claimed"], fooled)
    np.testing.assert_array_equal(columns["vote"], accepted & (label == y.numpy()) & ~fooled)
    np.testing.assert_array_equal(columns["one_shot"], columns["vote"].astype(np.float32))
    np.testing.assert_allclose(columns["log_density"], found_density, rtol=1e-5)
    np.testing.assert_allclose(columns["tau"], tau)
    assert columns["valid"].all()
    assert 5 < columns["vote"].sum() < N - 5


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.95, 0.99, 1.0])
def test_the_threshold_keeps_what_the_fpr_convention_keeps(model, clean, share):
    columns, _, _ = measure(model, clean, restarts=0, kept=share)
    density = clean["log_density"].astype(np.float64)
    assert (density >= columns["tau"][0]).sum() == true_positives(len(density), share)


def test_it_is_independent_of_which_images_are_in_the_batch(model, clean):
    """The threshold is of the whole split: another chunk has the same."""
    one, two = (measure(model, clean, restarts=0, first=first)[0]["tau"][0] for first in (0, 100))
    assert one == two


def test_abstaining_on_everything_is_not_robust(model, clean):
    """An abstention on a clean image is an error: a high threshold keeps out the attacker, and the user."""
    columns, _, _ = measure(model, clean, kept=0.01)
    assert columns["vote"].sum() <= columns["accepted"].sum() <= 3
    broken, _, _ = measure(model, {"log_density": np.r_[clean["log_density"], np.nan]}, restarts=1)
    assert np.isnan(broken["tau"]).all()
    assert broken["vote"].sum() == broken["accepted"].sum() == broken["claimed"].sum() == 0


def test_the_attacker_is_not_weaker_where_more_is_accepted(model, clean):
    claims = [measure(model, clean, eps=0.06, kept=share)[0]["claimed"].sum() for share in (0.2, 0.6, 0.95, 1.0)]
    assert claims == sorted(claims)
    assert claims[-1] > claims[0]


def test_it_starts_from_what_the_worst_case_found(model, clean):
    """A given image that is accepted and misclassified is kept, without a gradient; one of other shape is not read."""
    before, _, _ = measure(model, clean)
    after, _, _ = measure(model, clean, given=(before, None, {"adversarial": before["adversarial"][:3]}), restarts=0)
    np.testing.assert_array_equal(after["claimed"], before["claimed"])
    won = before["claimed"] == 1
    np.testing.assert_array_equal(after["adversarial"][won], before["adversarial"][won])
    assert after["gradients"].sum() == 0


def test_what_is_claimed_counts_only_if_it_holds(model, clean, monkeypatch):
    """Planted: an attack that leaves the ball, and one that says it succeeded on images that are rejected."""
    other = load("gauss", "test")

    def leaves(victim, task, tau, **settings):
        return Crafted(torch.from_numpy(other.pixels(100, 100 + N)), torch.ones(N, dtype=torch.bool))

    def rejected(victim, task, tau, **settings):
        away = torch.randn(task.x.shape, generator=generators.generator("away"))
        away = 0.4 * away / away.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
        return Crafted((task.x + away).clamp(0, 1), torch.ones(N, dtype=torch.bool))

    monkeypatch.setattr(reject, "evade", leaves)
    columns, x, y = measure(model, clean)
    right = (by_hand(x)[0] == y.numpy()) & (columns["accepted"] == 1)
    assert not columns["valid"].any()
    np.testing.assert_array_equal(columns["vote"], right)
    monkeypatch.setattr(reject, "evade", rejected)
    columns, _, _ = measure(model, clean, eps=0.4, kept=0.5)
    held = (by_hand(columns["adversarial"])[0] != y.numpy()) & (columns["log_density"] >= columns["tau"])
    assert held.sum() < N / 2
    assert columns["valid"].all()
    assert columns["vote"].sum() == (right & (columns["accepted"] == 1) & ~held).sum()


def test_it_counts_its_passes(model, clean):
    """Attack, verdict, and the density and class that the rule needs."""
    columns, _, _ = measure(model, clean, restarts=0)
    assert columns["forwards"].sum() == N * (2 + 1 + 3)
    assert columns["gradients"].sum() == 0
    assert all(len(column) == N for column in columns.values())
