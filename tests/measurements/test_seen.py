"""Measurement ``seen``: the record of viewed images is that of the images; views are part of its identity; costs."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import jembench
from jembench import data
from jembench.data import gauss
from jembench.ground import generators
from jembench.langevin import sgld
from jembench.measurements.contract import describe
from jembench.measurements.input_gradient import InputGradient
from jembench.measurements.logits import Logits
from jembench.measurements.seen import Attacked, Refined, Seen, Shifted, View
from jembench.types import Batch

N = 40


@pytest.fixture(scope="module")
def oracle() -> object:
    return jembench.load("oracle", track="gauss")


def batch() -> Batch:
    images = data.load("gauss", "test")
    return Batch(
        torch.from_numpy(images.pixels(0, N)), torch.from_numpy(images.labels[:N]), torch.arange(N), images.levels
    )


def look(model: object, view: View) -> dict[str, NDArray[np.generic]]:
    return Seen(view, keep=True).columns(model, batch(), generators.generator("seen"))


@pytest.mark.parametrize("view", [Shifted("noise", 0.1), Refined(2), Attacked("linf", 0.01, steps=5)])
def test_the_record_is_that_of_the_viewed_images(oracle: object, view: View) -> None:
    found = look(oracle, view)
    images = torch.from_numpy(found["image"]).reshape(N, 1, 8, 8)
    again = Batch(images, batch().labels, batch().index, batch().levels)
    logits = Logits().columns(oracle, again, generators.generator("any"))["logits"]
    gradient = InputGradient().columns(oracle, again, generators.generator("any"))
    np.testing.assert_array_equal(found["logits"], logits)
    np.testing.assert_array_equal(found["log_density"], gradient["log_density"])
    np.testing.assert_array_equal(found["gradient_norm"], gradient["gradient_norm"])
    assert 0 <= found["image"].min() <= found["image"].max() <= 1


def test_noise_lessens_the_oracles_accuracy_as_its_closed_form_says(oracle: object) -> None:
    """Noise of deviation a leaves the classes' separation at delta sigma / sqrt(sigma^2 + a^2)."""
    images = data.load("gauss", "test")
    whole = Batch(
        torch.from_numpy(images.pixels()), torch.from_numpy(images.labels), torch.arange(len(images)), images.levels
    )
    found = Seen(Shifted("noise", 0.06)).columns(oracle, whole, generators.generator("noise"))
    accuracy = (found["logits"].argmax(1) == images.labels).mean()
    separation = gauss.SEPARATION * gauss.SIGMA / np.hypot(gauss.SIGMA, 0.06)
    t = np.random.default_rng(0).normal(size=(200_000, 10))
    truth = (t[:, 0] + separation > t[:, 1:].max(1)).mean()
    assert abs(accuracy - truth) < 3 * np.sqrt(truth * (1 - truth) / len(images))


def test_brightness_moves_where_no_class_is(oracle: object) -> None:
    clean = Logits().columns(oracle, batch(), generators.generator("any"))["logits"]
    found = look(oracle, Shifted("brightness", 0.1))
    np.testing.assert_allclose(
        found["logits"] - found["logits"].max(1, keepdims=True), clean - clean.max(1, keepdims=True), atol=2e-2
    )
    assert (found["log_density"] < clean.max(1)).all()


def test_refinement_is_the_chain_and_climbs(oracle: object) -> None:
    view = Refined(3, size=1e-4, noise=0.0)
    found = look(oracle, view)
    settings = sgld.SGLD(3, 1e-4, 0.0)
    end = sgld.chain(oracle.log_density, batch().images, settings=settings, generator=generators.generator("any"))  # type: ignore[attr-defined]
    np.testing.assert_allclose(found["image"], end.clamp(0, 1).flatten(1).numpy(), atol=1e-7)
    before = InputGradient().columns(oracle, batch(), generators.generator("any"))["log_density"]
    assert (found["log_density"] > before).all()


def test_an_attack_breaks_what_is_near_the_boundary_within_its_ball(oracle: object) -> None:
    found = look(oracle, Attacked("linf", 0.01, steps=10))
    delta = found["image"].reshape(N, -1) - batch().images.flatten(1).numpy()
    assert np.abs(delta).max() <= 0.01 + 1e-6
    clean = Logits().columns(oracle, batch(), generators.generator("any"))["logits"].argmax(1) == batch().labels.numpy()
    left = found["logits"].argmax(1) == batch().labels.numpy()
    assert left.sum() < clean.sum()


def test_the_view_and_its_version_are_in_the_identity() -> None:
    first, second = describe(Seen(Shifted("blur", 0.5))), describe(Seen(Shifted("blur", 0.6)))
    assert first["view"] == {"shift": "blur", "amount": 0.5, "kind": "shift", "version": 1}
    assert first != second
    assert Refined(1).requires == {"density"}


def test_costs_are_counted(oracle: object) -> None:
    found = look(oracle, Refined(4))
    assert found["forwards"].sum() == N * (4 + 2)
    assert found["gradients"].sum() == N * (4 + 1)


def test_a_density_without_gradient_is_left_out() -> None:
    class Hidden:
        normalized = False

        def log_density(self, x: torch.Tensor) -> torch.Tensor:
            return x.detach().flatten(1).sum(1)

    found = look(Hidden(), Shifted("noise", 0.1))
    assert set(found) == {"image", "forwards", "gradients"}
