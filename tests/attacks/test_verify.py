"""Verification: an attack's word counts for nothing."""

import math

import pytest
import torch

from jembench.attacks.threat import Threat
from jembench.attacks.verify import ROUNDING, verify
from jembench.ground import generators


class Bright:
    """Class 1 where the mean is above a half."""

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        t = x.flatten(1).mean(1)
        return torch.stack([0.5 - t, t - 0.5], dim=1)


X = torch.full((1, 1, 2, 2), 0.45)
Y = torch.tensor([0])


def judged(images: torch.Tensor, norm: str = "linf", eps: float = 0.1, model: object = None, **options: object):
    settings = {
        "threat": Threat(norm, eps),
        "target": None,
        "draws": 5,
        "generator": generators.generator("v"),
        **options,
    }
    return verify(model or Bright(), X.expand(len(images), -1, -1, -1), Y.expand(len(images)), images, **settings)


def test_inside_the_ball_it_counts() -> None:
    verdict = judged(X + 0.1)
    assert verdict.valid.item()
    assert not verdict.vote.item()
    assert verdict.distance.item() == pytest.approx(0.1)
    assert verdict.margin.item() == pytest.approx(-0.1, abs=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_out_of_the_ball_by_a_thousandth_it_does_not(norm: str) -> None:
    far = 0.1 if norm == "linf" else 0.05  # of 4 pixels
    verdict = judged(X + far + 1e-3, norm)
    assert not verdict.valid.item()
    assert verdict.vote.item()
    assert torch.equal(verdict.images, X)
    assert verdict.excess.item() == pytest.approx(1e-3 * (1 if norm == "linf" else 2), rel=1e-3)


def test_rounding_is_moved_back_and_tested_there() -> None:
    verdict = judged(X + 0.1 + ROUNDING / 2)
    assert verdict.valid.item()
    assert (verdict.images - X).abs().max() <= 0.1 + 1e-6


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_does_not_count(bad: float) -> None:
    images = X + 0.1
    images[0, 0, 0, 0] = bad
    verdict = judged(images)
    assert (verdict.valid.item(), verdict.vote.item(), verdict.excess.item()) == (False, True, math.inf)


def test_out_of_range_does_not_count() -> None:
    images = X.clone()
    images[0, 0, 0, 0] = 1.2
    assert not judged(images, "l2", 2.0).valid.item()


def test_an_infinite_ball_still_has_a_range() -> None:
    verdict = judged(torch.full_like(X, 1 + 5e-6), "l2", math.inf)
    assert verdict.valid.item()
    assert verdict.images.max() <= 1
    assert verdict.distance.isfinite().all()


def test_nan_logits_are_right_about_nothing() -> None:
    class Lost:
        def logits(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x), 3), math.nan)

    verdict = judged(X, model=Lost())
    assert (verdict.vote.item(), verdict.one_shot.item()) == (False, 0.0)


def test_a_target_must_be_reached() -> None:
    wanted = torch.tensor([1])
    assert judged(X + 0.01, target=wanted).vote.item()
    assert not judged(X + 0.1, target=wanted).vote.item()


def test_votes_and_shots_of_a_coin() -> None:
    """A model that is right in 30 % of draws: one shot says .3, the vote of 25 draws is nearly always wrong."""

    class Coin:
        stochastic = True

        def logits(self, x: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
            right = torch.rand(len(x), generator=generator) < 0.3
            return torch.stack([right.float(), 0.5 * torch.ones(len(x))], dim=1)

    verdict = judged(X.repeat(400, 1, 1, 1), model=Coin(), draws=25)
    assert verdict.one_shot.mean().item() == pytest.approx(0.3, abs=0.02)
    assert verdict.vote.float().mean() < 0.06
    assert verdict.meter.forwards == 400 * 25
