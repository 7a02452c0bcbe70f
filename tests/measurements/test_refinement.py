"""Refinement against the closed form of a quadratic density, and its chain against sgld's."""

import numpy as np
import pytest
import torch

from jembench.ground import generators
from jembench.langevin import sgld
from jembench.measurements.input_gradient import InputGradient
from jembench.measurements.refinement import RefinementEffect
from jembench.types import Batch, UserError


class Quadratic:
    """log p(x) = -c |x - 1/2|^2 / 2, whose step is x - 1/2 -> (1 - a c)(x - 1/2)."""

    normalized = False

    def __init__(self, curvature):
        self.c = curvature

    def log_density(self, x):
        return -self.c / 2 * (x - 0.5).flatten(1).square().sum(1)


def batch(n=5):
    x = torch.rand((n, 1, 4, 4), generator=generators.generator("x"))
    return Batch(x, torch.full((n,), -1), torch.arange(n), 256)


def test_without_noise_the_columns_are_the_closed_form():
    c, n, given = 2.0, 3, batch()
    found = RefinementEffect(steps=n, size=0.1, noise=0.0).columns(Quadratic(c), given, generators.generator("r"))
    away = (given.images - 0.5).flatten(1).double().norm(dim=1).numpy()
    left = (1 - 0.1 * c) ** n
    assert found["log_density_before"] == pytest.approx(-c / 2 * away**2, rel=1e-5)
    assert found["log_density_after"] == pytest.approx(-c / 2 * (left * away) ** 2, rel=1e-5)
    assert found["gradient_norm_before"] == pytest.approx(c * away, rel=1e-5)
    assert found["gradient_norm_after"] == pytest.approx(c * left * away, rel=1e-5)
    assert found["distance"] == pytest.approx((1 - left) * away, rel=1e-5)
    assert set(found["forwards"]) == set(found["gradients"]) == {n + 2}


def test_it_is_the_chain_of_the_paper_and_its_ends_are_input_gradients():
    """20 nats of a chain that another loop made would be a second sampler."""
    model, given = Quadratic(1.5), batch()
    found = RefinementEffect().columns(model, given, generators.generator("r"))
    settings = sgld.SGLD(steps=10, size=0.25, noise=0.005)
    moved = sgld.chain(model.log_density, given.images, settings=settings, generator=generators.generator("r"))
    for name, images in (("before", given.images), ("after", moved)):
        ends = InputGradient().columns(model, Batch(images, given.labels, given.index, 256), generators.generator())
        assert np.array_equal(found[f"log_density_{name}"], ends["log_density"])
        assert np.array_equal(found[f"gradient_norm_{name}"], ends["gradient_norm"])


def test_the_noise_is_the_generators_and_nothing_else_is():
    model, given = Quadratic(1.0), batch()
    torch.manual_seed(1)
    one = RefinementEffect().columns(model, given, generators.generator("r"))
    torch.manual_seed(2)
    two = RefinementEffect().columns(model, given, generators.generator("r"))
    other = RefinementEffect().columns(model, given, generators.generator("s"))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(one["distance"], other["distance"])
    assert given.images.equal(batch().images)  # the batch is as it was


def test_a_chain_that_diverges_is_recorded():
    """Curvature beyond 2 / a: each step goes further out, to infinity."""
    found = RefinementEffect(steps=60).columns(Quadratic(400.0), batch(), generators.generator("r"))
    assert not np.isfinite(found["log_density_after"]).any()
    assert np.isfinite(found["log_density_before"]).all()


def test_a_density_without_gradient_is_refused():
    class Flat(Quadratic):
        def log_density(self, x):
            return super().log_density(x.detach())

    with pytest.raises(UserError, match="has no gradient at the images"):
        RefinementEffect().columns(Flat(1.0), batch(), generators.generator("r"))
