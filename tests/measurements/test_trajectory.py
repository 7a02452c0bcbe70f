"""Measurement ``trajectory``: looking at a chain does not change it; the marks and times are where they say."""

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Generator, Tensor

import jembench
from jembench.ground import generators
from jembench.langevin import sgld
from jembench.langevin.sgld import SGLD
from jembench.measurements.samples import Samples
from jembench.measurements.trajectory import FINE, MARKS, Trajectory, times
from jembench.types import Batch

SHAPE = (1, 2, 2)
Columns = dict[str, NDArray[Any]]


class Bowl:
    """log p(x) = -|x - 1/2|^2 / 2 with chains from 0; f = (x_0, -x_0)."""

    normalized = False
    conditional = False

    def __init__(self, settings: SGLD) -> None:
        self.chain = settings

    def log_density(self, x: Tensor) -> Tensor:
        return -(x - 0.5).flatten(1).square().sum(1) / 2

    def sample(
        self, n: int, *, generator: Generator, labels: Tensor | None = None, start: str = "fresh", steps: int = 0
    ) -> Tensor:
        return torch.zeros((n, *SHAPE))

    def advance(
        self, x: Tensor, *, generator: Generator, labels: Tensor | None = None, settings: SGLD | None = None
    ) -> Tensor:
        return sgld.chain(self.log_density, x, settings=settings or self.chain, generator=generator)

    def persistent(self) -> tuple[Tensor, Tensor]:
        return torch.zeros((0, *SHAPE)), torch.zeros(0)


class Seeing(Bowl):
    def logits(self, x: Tensor) -> Tensor:
        first = x.flatten(1)[:, 0] - 0.4
        return torch.stack([-first, first], 1)


class Wavering(Seeing):
    """Logits with noise of their own."""

    stochastic: ClassVar[bool] = True

    def logits(self, x: Tensor, *, generator: Generator | None = None) -> Tensor:
        assert generator is not None
        return super().logits(x) + torch.randn((len(x), 2), generator=generator)


def batch(n: int, shape: tuple[int, int, int] = SHAPE) -> Batch:
    return Batch(torch.zeros((n, *shape)), torch.arange(n) % 10, torch.arange(n), 17)


def run(model: Any, n: int = 3) -> Columns:
    return Trajectory().columns(model, batch(n), generators.generator("trajectory"))


@given(st.integers(1, 60))
def test_times_hold_the_start_every_mark_and_eight_in_the_first_k(steps: int) -> None:
    found = times(steps)
    assert found == sorted(set(found))
    assert {mark * steps for mark in MARKS} <= set(found)
    assert found[-1] == MARKS[-1] * steps
    assert len([at for at in found if at < steps]) == min(FINE, steps)
    assert max(np.diff([at for at in found if at >= steps])) == steps


def test_without_noise_it_is_the_closed_form() -> None:
    """x_t - 1/2 = -(1 - a)^t / 2: the density and the images at every time."""
    found = run(Bowl(SGLD(steps=8, size=0.1, noise=0.0)))
    left = 0.5 * 0.9 ** np.array(times(8))
    np.testing.assert_allclose(found["log_density"], np.tile(-4 * left**2 / 2, (3, 1)), atol=1e-6)
    for mark in MARKS:
        np.testing.assert_allclose(found[f"image_{mark}"], 0.5 - 0.5 * 0.9 ** (8 * mark), atol=1e-6)
    assert found["steps"].tolist() == [8] * 3
    assert found["gradients"].tolist() == [160] * 3
    assert found["forwards"].tolist() == [160 + 2 * len(times(8))] * 3


def test_the_images_are_those_of_a_chain_that_nobody_looked_at() -> None:
    """The noise is drawn step by step, so that a chain cut at every look goes on with what it would have had."""
    for name in ("jem", "jempp", "igebm"):
        model, given = jembench.load(name), batch(4, (1, 8, 8))
        found = Trajectory().columns(model, given, generators.generator("same"))
        for mark in MARKS[:3]:
            chained = Samples(steps=mark * model.chain.steps).columns(model, given, generators.generator("same"))
            np.testing.assert_allclose(found[f"image_{mark}"], chained["image"], atol=1e-5)


def test_the_density_is_that_of_the_shown_images() -> None:
    """Clamped to be looked at, not to go on: a chain out of range returns as if nothing had been."""
    settings = SGLD(steps=1, size=2.5, noise=0.0)  # x - 1/2 is multiplied by -1.5: out of [0, 1] at once
    found = run(Bowl(settings))
    x = 0.5 - 0.5 * (-1.5) ** np.array(times(1), dtype=float)
    np.testing.assert_allclose(found["log_density"][0], -4 * (x.clip(0, 1) - 0.5) ** 2 / 2, atol=1e-5)
    assert {float(found[f"image_{mark}"].min()) for mark in MARKS} == {0.0, 1.0}


def test_the_class_seen_is_recorded_and_minus_one_without_logits() -> None:
    settings = SGLD(steps=8, size=0.1, noise=0.0)
    assert (run(Bowl(settings))["seen"] == -1).all()
    x = 0.5 - 0.5 * 0.9 ** np.array(times(8))
    np.testing.assert_array_equal(run(Seeing(settings))["seen"], np.tile((x > 0.4).astype(int), (3, 1)))
    assert set(run(Wavering(settings))["seen"].ravel()) == {0, 1}  # asked with a generator


@pytest.mark.parametrize("size", [3.0, 1e6])
def test_a_chain_that_diverges_is_recorded_to_its_end(size: float) -> None:
    found = run(Seeing(SGLD(steps=20, size=size, noise=0.0)))
    assert set(found) >= {f"image_{mark}" for mark in MARKS}
    assert np.isnan(found["image_20"]).all() or found["image_20"].min() == 0
    if size == 1e6:
        assert np.isnan(found["image_20"]).all()
        assert np.isnan(found["log_density"][:, -1]).all()
    assert np.isfinite(found["image_0"]).all()
