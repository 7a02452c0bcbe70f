"""The measurement ``dequantised``: uniform noise within the cells, the mean of log p over it, and its cost."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from jembench.ground import generators
from jembench.measurements.dequantised import Dequantised, Unnormalised
from jembench.types import Batch

LEVELS = 5
SHAPE = (1, 2, 3)


class Told:
    """A density that keeps what it is asked for."""

    def __init__(self, log_density: Callable[[Tensor], Tensor], *, normalized: bool = True) -> None:
        self.function, self.normalized = log_density, normalized
        self.seen: list[Tensor] = []

    def log_density(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return self.function(x)


def flat(x: Tensor) -> Tensor:
    return x.flatten(1).sum(dim=1)


def batch(n: int) -> Batch:
    k = torch.randint(LEVELS, (n, *SHAPE), generator=generators.generator("k"))
    return Batch(k / (LEVELS - 1), torch.zeros(n, dtype=torch.int64), torch.arange(n), LEVELS)


def measure(model: Told, given: Batch, *, draws: int = 10, stream: str = "u") -> dict[str, np.ndarray]:
    return Dequantised(draws).columns(model, given, generators.generator(stream))


def test_noise_is_uniform_in_the_cell_around_the_pixel() -> None:
    model, given = Told(flat), batch(500)
    measure(model, given, draws=20)
    offset = torch.stack([(x - given.images) * (LEVELS - 1) for x in model.seen]).double()
    assert offset.abs().max() <= 0.5 + 1e-6
    n = offset.numel()
    assert offset.mean().item() == pytest.approx(0, abs=5 / math.sqrt(12 * n))
    assert offset.var().item() == pytest.approx(1 / 12, rel=0.02)
    counts = torch.histc(offset, bins=10, min=-0.5, max=0.5)
    assert (counts / n * 10 - 1).abs().max() < 0.05
    flattened = offset.flatten(1)
    assert torch.corrcoef(flattened).fill_diagonal_(0).abs().max() < 0.1  # every draw is another
    pixels = offset.flatten(2).flatten(0, 1).T
    assert torch.corrcoef(pixels).fill_diagonal_(0).abs().max() < 0.06  # and every pixel


def test_the_column_is_the_mean_over_the_draws() -> None:
    model, given = Told(flat), batch(7)
    columns = measure(model, given, draws=4)
    expected = torch.stack([flat(x) for x in model.seen]).mean(dim=0)
    np.testing.assert_allclose(columns["log_density"], expected, rtol=1e-6)
    assert columns["log_density"].dtype == np.float32


def test_the_mean_is_that_of_a_gaussian_in_closed_form() -> None:
    """E log N(x + u; m, s^2) = log N(x; m, s^2) - D w^2 / (24 s^2), for a cell of width w."""
    mean, std, width = 0.3, 0.4, 1 / (LEVELS - 1)
    normal = torch.distributions.Normal(mean, std)
    given = batch(200)
    columns = measure(Told(lambda x: normal.log_prob(x).flatten(1).sum(1)), given, draws=200)
    expected = normal.log_prob(given.images).flatten(1).sum(1).numpy() - 6 * width**2 / (24 * std**2)
    error = columns["log_density"] - expected
    assert abs(error.mean()) < 0.01
    assert np.abs(error).max() < 0.25


def test_it_costs_a_forward_a_draw_and_no_gradient() -> None:
    weight = torch.ones(1, requires_grad=True)
    model = Told(lambda x: weight * flat(x))
    columns = measure(model, batch(3), draws=6)
    assert len(model.seen) == 6
    assert columns["forwards"].tolist() == [6] * 3
    assert columns["gradients"].tolist() == [0] * 3
    assert columns["normalized"].tolist() == [1] * 3
    assert {len(column) for column in columns.values()} == {3}
    assert len(Dequantised().columns(model, batch(3), generators.generator("u"))["forwards"]) == 3
    assert len(model.seen) == 6 + 10


def test_an_unnormalised_density_is_not_evaluated() -> None:
    model = Told(flat, normalized=False)
    columns = measure(model, batch(3))
    assert not model.seen
    assert np.isnan(columns["log_density"]).all()
    assert columns["log_density"].dtype == np.float32
    assert columns["normalized"].tolist() == columns["forwards"].tolist() == columns["gradients"].tolist() == [0] * 3


def test_noise_comes_from_the_given_stream_alone() -> None:
    given = batch(4)
    with generators.forked("elsewhere"):
        first = measure(Told(flat), given)["log_density"]
    again, other = (measure(Told(flat), given, stream=name)["log_density"] for name in ("u", "v"))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_a_density_that_is_no_number_is_recorded() -> None:
    """The evaluators say so; it stops no run."""
    columns = measure(Told(lambda x: torch.tensor([0.0, math.nan, -math.inf])), batch(3))
    np.testing.assert_array_equal(columns["log_density"], [0, np.nan, -np.inf])
    assert not Dequantised.finite


def test_of_an_unnormalised_density_the_same_mean_is_recorded() -> None:
    """With the same stream it is the same number, and a normalised density costs nothing."""
    given = batch(7)
    normalised = measure(Told(flat), given)
    model = Told(flat, normalized=False)
    columns = Unnormalised().columns(model, given, generators.generator("u"))
    np.testing.assert_array_equal(columns["log_unnormalised"], normalised["log_density"])
    assert columns["forwards"].tolist() == [10] * 7
    assert columns["gradients"].tolist() == [0] * 7
    told = Told(flat)
    nothing = Unnormalised().columns(told, given, generators.generator("u"))
    assert not told.seen
    assert np.isnan(nothing["log_unnormalised"]).all()
    assert nothing["log_unnormalised"].dtype == np.float32
    assert not nothing["forwards"].any()
