"""View ``pushed``: against the closed form of a Gaussian, in the ball, never against itself."""

import numpy as np
import pytest
import torch

import jembench
from jembench import data
from jembench.ground import generators
from jembench.measurements.logits import Logits
from jembench.measurements.pushed import Pushed
from jembench.measurements.seen import Seen
from jembench.metrics.scores import max_py
from jembench.types import Batch

N = 60


def batch(track: str, source: str, n: int = N) -> Batch:
    images = data.load(track, source)
    pixels, labels = torch.from_numpy(images.pixels(0, n)), torch.from_numpy(images.labels[:n])
    return Batch(pixels, labels, torch.arange(len(pixels)), images.levels)


class Gaussian:
    """log p(x) = -|x - 1/2|^2 / 2: pushed in within an L2 ball, an image moves straight towards the centre."""

    normalized = False

    def log_density(self, x: torch.Tensor) -> torch.Tensor:
        return -(x - 0.5).flatten(1).square().sum(1) / 2


@pytest.mark.parametrize("inwards", [True, False])
def test_a_gaussian_is_moved_along_its_radius_by_eps(inwards: bool) -> None:
    given = batch("gauss", "test")
    view = Pushed("log_px", inwards, "l2", 0.1, steps=40)
    found = Seen(view).columns(Gaussian(), given, generators.generator("pushed"))
    radius = (given.images - 0.5).flatten(1).norm(dim=1)
    moved = (radius - 0.1).clamp_min(0) if inwards else radius + 0.1
    np.testing.assert_allclose(found["log_density"], -moved.square().numpy() / 2, atol=2e-4)


@pytest.mark.parametrize("score", ["log_px", "max_py"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_images_are_in_the_ball_and_in_range_and_every_score_has_moved(score: str, norm: str) -> None:
    model = jembench.load("jem")
    for source, inwards in (("textures", True), ("test", False)):
        given = batch("digits", source)
        measured = Seen(Pushed(score, inwards, norm, 0.1), keep=True)
        found = measured.columns(model, given, generators.generator("pushed"))
        delta = torch.from_numpy(found["image"]) - given.images.flatten(1)
        length = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
        assert float(length.max()) <= 0.1 * (1 + 1e-5)
        assert 0 <= found["image"].min() <= found["image"].max() <= 1
        clean = Logits().columns(model, given, generators.generator("any"))["logits"]
        before = max_py(clean) if score == "max_py" else torch.from_numpy(clean).logsumexp(1).numpy()
        after = max_py(found["logits"]) if score == "max_py" else found["log_density"]
        sign = 1 if inwards else -1
        assert (sign * (after - before) > -1e-5).all()
        assert (sign * (after - before)).mean() > 1e-3


def test_a_saturated_confidence_is_still_pushed_out() -> None:
    """Its logarithm is 0 in float32 already: the log odds are not."""

    class Sure:
        def logits(self, x: torch.Tensor) -> torch.Tensor:
            level = x.flatten(1).mean(1, keepdim=True)
            return torch.cat([60 * level, torch.zeros_like(level), -60 * level], dim=1)

    x = torch.full((4, 1, 8, 8), 0.9)
    given = Batch(x, torch.zeros(4, dtype=torch.int64), torch.arange(4), 256)
    found = Seen(Pushed("max_py", False, "linf", 0.88, steps=40)).columns(Sure(), given, generators.generator("sure"))
    assert max_py(found["logits"]).max() < 0.99


def test_costs() -> None:
    found = Seen(Pushed("log_px", True, "linf", 0.1, steps=7)).columns(
        Gaussian(), batch("gauss", "test"), generators.generator("cost")
    )
    assert found["gradients"].sum() == N * (7 + 1)
    assert found["forwards"].sum() == N * (7 + 1 + 1)
