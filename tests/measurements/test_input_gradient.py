"""The measurement ``input_gradient`` against the closed form of a Gaussian mixture and against finite differences."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from jembench.data import gauss, load
from jembench.ground import generators
from jembench.measurements.input_gradient import InputGradient
from jembench.models.softmax import Softmax
from jembench.types import Batch, UserError
from jembench.zoo import catalogue
from jembench.zoo.references import parse


def images(n: int) -> torch.Tensor:
    return torch.rand((n, 1, 8, 8), generator=generators.generator("input_gradient"))


def measure(model: object, x: torch.Tensor) -> dict[str, np.ndarray]:
    batch = Batch(x, torch.zeros(len(x), dtype=torch.int64), torch.arange(len(x)), 256)
    return InputGradient().columns(model, batch, generators.generator("any"))


def test_the_oracle_has_the_mixtures_density_and_score() -> None:
    """log p = logsumexp_k log N(x; mu_k), |d log p / dx| = |E[mu | x] - x| / sigma^2, both in float64 numpy."""
    pixels = load("gauss", "test").pixels(0, 50)
    columns = measure(catalogue.load(catalogue.resolve(parse("oracle"), track="gauss")), torch.from_numpy(pixels))
    x, mu, sigma = pixels.reshape(50, 64).astype(np.float64), gauss.means(), gauss.SIGMA
    square = np.square(x[:, None] - mu).sum(axis=2)
    joint = -math.log(10) - 32 * math.log(2 * math.pi * sigma**2) - square / (2 * sigma**2)
    density = np.logaddexp.reduce(joint, axis=1)
    expected = np.linalg.norm(np.exp(joint - density[:, None]) @ mu - x, axis=1) / sigma**2
    np.testing.assert_allclose(columns["log_density"], density, rtol=1e-5)
    np.testing.assert_allclose(columns["gradient_norm"], expected, rtol=1e-4)


def test_the_norm_is_per_unit_of_the_pixel_range_not_of_the_normalised_one() -> None:
    """f(x) = (w (x - m) / s): the gradient in [0, 1] units is w / s, whatever the model normalises by."""
    linear = nn.Linear(64, 1, bias=False)
    model = Softmax(nn.Sequential(nn.Flatten(), linear), mean=0.5, std=0.25).requires_grad_(False)
    columns = measure(model, images(3))
    np.testing.assert_allclose(columns["gradient_norm"], linear.weight.norm().item() / 0.25, rtol=1e-5)


def test_the_gradient_of_an_example_does_not_depend_on_its_batch() -> None:
    model = catalogue.load(catalogue.resolve(parse("oracle"), track="gauss"))
    x = images(6)
    together = measure(model, x)["gradient_norm"]
    alone = np.concatenate([measure(model, x[i : i + 1])["gradient_norm"] for i in range(6)])
    np.testing.assert_allclose(together, alone, rtol=1e-5)


@pytest.mark.parametrize("outside", [torch.no_grad, torch.enable_grad])
def test_it_works_in_any_gradient_mode_and_leaves_the_images_alone(outside: type) -> None:
    x = images(2)
    before = x.clone()
    with outside():
        columns = measure(catalogue.load(catalogue.resolve(parse("oracle"), track="gauss")), x)
    assert (columns["gradient_norm"] > 0).all()
    assert not x.requires_grad
    assert torch.equal(x, before)
    assert columns["forwards"].tolist() == columns["gradients"].tolist() == [1, 1]


def test_no_gradient_reaches_the_weights() -> None:
    model = Softmax(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    measure(model, images(2))
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("hide", [True, False], ids=["no_grad", "constant"])
def test_a_density_without_gradient_is_a_user_error(hide: bool) -> None:
    """Rather than a norm of 0, which would be a score like any other."""

    class Flat:
        weight = torch.ones(1, requires_grad=True)

        def log_density(self, x: torch.Tensor) -> torch.Tensor:
            if hide:
                with torch.no_grad():
                    return x.flatten(1).sum(dim=1)
            return self.weight.expand(len(x))

    with pytest.raises(UserError, match="no gradient at the images"):
        measure(Flat(), images(2))
