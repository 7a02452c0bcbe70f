"""Measurement ``embedded``: the same features at every batch size, of images as a file would hold them."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import jembench
from jembench import data
from jembench.ground import generators
from jembench.measurements.embedded import Embedded
from jembench.measurements.input_gradient import InputGradient
from jembench.measurements.logits import Logits
from jembench.types import Batch
from jembench.zoo import catalogue

Columns = dict[str, NDArray[np.generic]]


class Identity:
    """What it sees, and the mean of it."""

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1), x.flatten(1).mean(1, keepdim=True)


def batch(x: Tensor, given: Columns | None = None, levels: int = 17) -> Batch:
    return Batch(x, torch.zeros(len(x), dtype=torch.int64), torch.arange(len(x)), levels, (given,))


def look(model: object, x: Tensor) -> Columns:
    return Embedded().columns(model, batch(x), generators.generator("unused"))


def images(track: str, n: int = 300) -> Tensor:
    return torch.from_numpy(data.load(track, "train").pixels(0, n))


@pytest.mark.parametrize(("name", "track"), [("digits-ref", "digits"), ("pixels", "gauss")])
def test_features_do_not_depend_on_the_batch_size(name: str, track: str) -> None:
    """Within 1e-5 of their largest value: sums in fp32 are taken in another order."""
    model = catalogue.load(catalogue.extractor(name, track=track))
    x = images(track)
    whole = look(model, x)
    for size in (1, 7, 250):
        parts = [look(model, part) for part in x[: 70 if size == 1 else 300].split(size)]
        for column in ("features", "class_logits"):
            found = np.concatenate([part[column] for part in parts])
            scale = np.abs(whole[column]).max()
            np.testing.assert_allclose(found, whole[column][: len(found)], atol=1e-5 * scale)


@pytest.mark.parametrize("name", ["jem", "igebm", "softmax", "glow-cond"])
def test_logits_and_densities_do_not_depend_on_the_batch_size(name: str) -> None:
    """Within 1e-5 of their largest value, and gradients within 1e-4."""
    model, x = jembench.load(name), images("digits", 250)
    for measurement, tolerances in (
        (Logits(), {"logits": 1e-5}),
        (InputGradient(), {"log_density": 1e-5, "gradient_norm": 1e-4}),
    ):
        whole = measurement.columns(model, batch(x), generators.generator("unused"))
        for size in (1, 7):
            some = x[:49]
            parts = [
                measurement.columns(model, batch(part), generators.generator("unused")) for part in some.split(size)
            ]
            for column, tolerance in tolerances.items():
                found = np.concatenate([part[column] for part in parts])
                scale = np.abs(whole[column]).max()
                np.testing.assert_allclose(found, whole[column][:49], atol=tolerance * scale)


def test_integers_and_floats_of_the_same_grey_levels_are_one_image() -> None:
    """Samples are rounded to k / 16 as real digits are: a generator of unrounded digits gains and loses nothing."""
    real = images("digits", 50)
    noise = 0.49 / 16 * (2 * torch.rand(real.shape, generator=generators.generator("levels")) - 1)
    model = catalogue.load(catalogue.extractor("digits-ref", track="digits"))
    found, moved = look(model, real), look(model, real + noise)
    for column in ("features", "class_logits"):
        np.testing.assert_array_equal(found[column], moved[column])
    assert np.abs(look(model, real + 0.6 / 16)["features"] - found["features"]).max() > 0
    levels = np.unique(np.rint(look(Identity(), torch.rand(20, 1, 8, 8))["features"] * 16) / 16)
    seen = np.unique(look(Identity(), torch.rand(20, 1, 8, 8))["features"])
    np.testing.assert_allclose(seen, levels, atol=1e-7)


def test_what_is_out_of_range_is_clamped() -> None:
    found = look(Identity(), torch.tensor([-3.0, 0.5, 7.0, 1.0]).reshape(1, 1, 2, 2))
    assert found["features"].tolist() == [[0, 0.5, 1, 1]]


def test_the_images_of_a_given_record_are_looked_at() -> None:
    x = torch.rand((5, 1, 8, 8), generator=generators.generator("x"))
    given: Columns = {"image": x.flatten(1).numpy(), "other": np.zeros((5, 64))}
    found = Embedded("image").columns(Identity(), batch(torch.zeros_like(x), given), generators.generator("unused"))
    np.testing.assert_array_equal(found["features"], look(Identity(), x)["features"])


def test_an_image_that_is_not_finite_has_no_features_and_spoils_no_other() -> None:
    x = images("digits", 9)
    broken = x.clone()
    broken[4, 0, 0, 0] = torch.nan
    model = catalogue.load(catalogue.extractor("digits-ref", track="digits"))
    found, clean = look(model, broken), look(model, x)
    assert np.isnan(found["features"][4]).any()
    others = [0, 1, 2, 3, 5, 6, 7, 8]
    np.testing.assert_allclose(found["features"][others], clean["features"][others], rtol=1e-6)


def test_a_classifier_shows_its_penultimate_features() -> None:
    """So that its logits are a linear layer on them."""
    model = catalogue.load(catalogue.extractor("digits-ref", track="digits"))
    found = look(model, images("digits", 20))
    assert found["features"].shape == (20, 64)
    with torch.no_grad():
        read = model.readout(torch.from_numpy(found["features"])).numpy()
    np.testing.assert_allclose(read, found["class_logits"], atol=1e-5)
