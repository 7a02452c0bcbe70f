"""Distal chains where their length is a closed form, on baselines, and where one lucky query would end them."""

import math

import numpy as np
import pytest
import torch

from jembench.attacks.defences import Defence, Defended
from jembench.data import load
from jembench.ground import generators
from jembench.measurements.distal import Distal
from jembench.types import Batch
from jembench.zoo import catalogue
from jembench.zoo.references import parse

SHAPE = (1, 2, 3)


def batch(y, shape=SHAPE):
    """Images that no chain looks at."""
    x = torch.full((len(y), *shape), math.nan)
    return Batch(x, torch.as_tensor(y), torch.arange(len(y)), 17)


def measure(model, data, key="distal", **settings):
    return Distal(**settings).columns(model, data, generators.generator(key))


class Pixel:
    """Class 1 where the first pixel is large: f = (0, 10 x_1); p(1|x) >= .9 where x_1 >= ln(9) / 10."""

    def logits(self, x):
        f = 10 * x.flatten(1)[:, 0]
        return torch.stack([torch.zeros_like(f), f], dim=1)


def test_a_chain_takes_the_steps_that_the_closed_form_says():
    """From u to ln(9) / 10 in steps of a along the one pixel that matters; the others stay where they were."""
    a, n, y = 0.03, 60, [1] * 60
    columns = measure(Pixel(), batch(y), size=a)
    start = torch.rand((n, 6), generator=generators.generator("distal")).double().numpy()
    needed = np.ceil(np.maximum(math.log(9) / 10 - start[:, 0], 0) / a)
    np.testing.assert_array_equal(columns["steps"], needed)
    assert needed.max() > 5
    assert columns["reached"].all()
    np.testing.assert_allclose(columns["adversarial"][:, 1:], start[:, 1:], rtol=1e-6)
    np.testing.assert_allclose(columns["adversarial"][:, 0], start[:, 0] + a * needed, atol=1e-6)
    np.testing.assert_allclose(columns["confidence"], 1 / (1 + np.exp(-10 * columns["adversarial"][:, 0])), rtol=1e-5)
    assert np.isnan(columns["log_density"]).all()
    assert columns["gradients"].sum() == columns["forwards"].sum() - n  # and one judgement of each end
    assert columns["forwards"].sum() == (needed + 1).sum() + n


def test_a_class_that_has_no_confident_image_is_not_reached():
    """p(0|x) is at most 1/2, at the edge of the range, where the chain ends and stays."""
    columns = measure(Pixel(), batch([0] * 10), steps=50)
    assert not columns["reached"].any()
    assert (columns["steps"] == 50).all()
    np.testing.assert_allclose(columns["confidence"], 0.5)
    np.testing.assert_allclose(columns["adversarial"][:, 0], 0)


def test_fewer_steps_are_a_prefix():
    """A chain that has not arrived is a chain that would have gone on."""
    few, many = (measure(Pixel(), batch([1] * 60), size=0.03, steps=steps) for steps in (3, 100))
    np.testing.assert_array_equal(few["steps"], np.minimum(many["steps"], 3))
    np.testing.assert_array_equal(few["reached"], many["steps"] <= 3)
    assert 0 < few["reached"].sum() < 60


@pytest.mark.parametrize("name", ["softmax", "jem", "glow-cond"])
def test_ends_are_images_that_the_model_is_confident_of(name):
    """Judged here, by the bare model; every chain of these gets there, however far from its data."""
    model, y = catalogue.load(catalogue.resolve(parse(name), track="digits")), np.arange(20) % 10
    columns = measure(model, batch(y, (1, 8, 8)))
    x = torch.from_numpy(columns["adversarial"]).reshape(-1, 1, 8, 8)
    assert x.min() >= 0
    assert x.max() <= 1
    with torch.no_grad():
        p = model.logits(x).softmax(1)[torch.arange(20), torch.from_numpy(y)].numpy()
        density = model.log_density(x).numpy()
    np.testing.assert_allclose(columns["confidence"], p, rtol=1e-3)
    np.testing.assert_allclose(columns["log_density"], density, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(columns["reached"], columns["confidence"] >= 0.9)
    assert columns["reached"].mean() > 0.9
    assert {name: column.dtype.kind for name, column in columns.items()} == {
        "reached": "i",
        "steps": "i",
        "confidence": "f",
        "log_density": "f",
        "adversarial": "f",
        "forwards": "i",
        "gradients": "i",
    }


def test_the_oracle_is_confident_of_images_that_it_gives_no_density():
    """A joint model that is right about p(x): the ends are far below every test image in log p."""
    model, images = catalogue.load(catalogue.resolve(parse("oracle"), track="gauss")), load("gauss", "test")
    columns = measure(model, batch(np.arange(30) % 10, (1, 8, 8)))
    with torch.no_grad():
        lowest = float(model.log_density(torch.from_numpy(images.pixels(0, 360))).min())
    assert columns["reached"].all()
    assert columns["log_density"].max() < lowest - 100


def test_behind_a_defence_the_chain_climbs_the_defended_model():
    """Reached is judged on a fresh draw; log p(x) is the model's, of the image itself."""
    model = catalogue.load(catalogue.resolve(parse("jem"), track="digits"))
    for defence in (Defence(0, sigma=0.05), Defence(2)):
        columns = measure(Defended(model, defence), batch(np.arange(10), (1, 8, 8)))
        assert columns["reached"].mean() > 0.6
        x = torch.from_numpy(columns["adversarial"]).reshape(-1, 1, 8, 8)
        with torch.no_grad():
            np.testing.assert_allclose(columns["log_density"], model.log_density(x).numpy(), rtol=1e-4, atol=1e-4)


def test_a_lucky_query_ends_a_chain_but_is_not_counted():
    """Planted: logits that are noise. Nearly every chain ends at a lucky draw; of fresh ones a fifth is."""

    class Noise:
        stochastic = True

        def logits(self, x, *, generator):
            f = 2.61 * torch.randn(len(x), generator=generator) + 0 * x.square().flatten(1).sum(1)
            return torch.stack([torch.zeros_like(f), f], dim=1)

    columns = measure(Noise(), batch([1] * 400), steps=40)
    assert (columns["steps"] < 40).mean() > 0.99
    assert columns["reached"].mean() == pytest.approx(0.2, abs=0.08)  # P(2.61 n > ln 9) = .2


@pytest.mark.parametrize("bad", ["logits", "gradient"])
def test_what_is_not_finite_moves_nothing_and_reaches_nothing(bad):
    class Broken(Pixel):
        def logits(self, x):
            f = super().logits(x)
            return f * math.nan if bad == "logits" else f + 0 * (x - x.detach()).sqrt().flatten(1).sum(1)[:, None]

    columns = measure(Broken(), batch([0] * 5), steps=5)
    assert not columns["reached"].any()
    start = torch.rand((5, 6), generator=generators.generator("distal"))
    np.testing.assert_array_equal(columns["adversarial"], start.numpy())


def test_it_is_a_function_of_its_generator_in_any_gradient_mode():
    one, other = measure(Pixel(), batch([1] * 9)), measure(Pixel(), batch([1] * 9), key="other")
    with torch.no_grad():
        again = measure(Pixel(), batch([1] * 9))
    for name, column in one.items():
        np.testing.assert_array_equal(column, again[name])
    assert not np.array_equal(one["adversarial"], other["adversarial"])
