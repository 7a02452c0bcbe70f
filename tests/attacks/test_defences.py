"""Defences: what they compute, what an attacker sees of them, and who cannot have one."""

import pytest
import torch
from torch import nn

from jembench import data
from jembench.attacks.defences import Defence, Defended
from jembench.attacks.victim import Victim
from jembench.ground import generators
from jembench.langevin import sgld
from jembench.types import UserError, capabilities
from jembench.zoo import catalogue
from jembench.zoo.references import parse


class Quadratic:
    """log p(x) = -|x|^2 / 2 over pixels and logits (x_0, x_1): a refinement is x <- (1 - a) x + s xi."""

    normalized = False

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :2]

    def log_density(self, x: torch.Tensor) -> torch.Tensor:
        return -x.flatten(1).square().sum(1) / 2


def image(n: int = 3) -> torch.Tensor:
    return torch.rand((n, 1, 2, 2), generator=generators.generator("image"))


def test_without_noise_it_is_the_chain_then_the_network() -> None:
    x = image()
    defended = Defended(Quadratic(), Defence(3, sigma=0.0, votes=2, size=0.1, noise=0.0))
    expected = Quadratic().logits(0.9**3 * x)
    assert torch.allclose(defended.logits(x, generator=generators.generator("d")), expected, atol=1e-6)


def test_votes_are_copies_whose_mean_is_taken() -> None:
    """The variance of a vote falls as one over their number: noise sigma on the pixel that is the logit."""
    x = image(4000)
    for votes in (1, 4):
        f = Defended(Quadratic(), Defence(0, sigma=0.2, votes=votes)).logits(x, generator=generators.generator("v"))
        spread = (f - Quadratic().logits(x)).std().item()
        assert spread == pytest.approx(0.2 / votes**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("gradient", "slope"), [("full", 0.9**3), ("straight-through", 1.0)], ids=["full", "straight-through"]
)
def test_what_a_gradient_sees_is_chosen(gradient: str, slope: float) -> None:
    x = image().requires_grad_()
    victim = Victim(
        Defended(Quadratic(), Defence(3, sigma=0.0, votes=2, size=0.1, noise=0.0)),
        generator=generators.generator("g"),
        gradient=gradient,
    )
    (found,) = torch.autograd.grad(victim(x).sum(), x)
    assert torch.allclose(found.flatten(1)[:, :2], torch.full((3, 2), slope), atol=1e-6)


def test_gradient_none_shows_the_model_without_its_defence() -> None:
    x = image()
    victim = Victim(Defended(Quadratic(), Defence(1)), generator=generators.generator("n"), gradient="none")
    assert not victim.stochastic
    assert torch.equal(victim(x), Quadratic().logits(x))


def test_the_full_gradient_is_that_of_finite_differences_on_a_jem() -> None:
    """Through 3 checkpointed steps with common noise, in float64."""
    base = catalogue.load(catalogue.resolve(parse("jem"), track="digits")).double()
    x = torch.from_numpy(data.load("digits", "test").pixels(0, 2)).double()
    chain = sgld.SGLD(3, 0.25, 0.005)

    def value(images: torch.Tensor) -> torch.Tensor:
        refined = sgld.refine(base.log_density, images, settings=chain, generator=generators.generator("fd"))
        return base.logits(refined)[:, 3].sum()

    z = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(z), z)
    direction = torch.randn(x.shape, generator=generators.generator("dir")).double()
    h = 1e-5
    slope = (value(x + h * direction) - value(x - h * direction)) / (2 * h)
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-5)


def test_the_meter_counts_rows_of_every_pass() -> None:
    """2 votes of 5 images, 3 steps: a step is one forward and one gradient, then the logits.

    The gradient of a full rung computes each step again and differentiates it twice.
    """
    x = image(5)
    made = Defended(Quadratic(), Defence(3, votes=2))
    victim = Victim(made, generator=generators.generator("m"))
    with torch.no_grad():
        victim(x)
    assert (victim.meter.queries, victim.meter.forwards, victim.meter.gradients) == (5, 10 * 4, 10 * 3)
    victim = Victim(made, generator=generators.generator("m"), gradient="straight-through", copies=1)
    z = x.clone().requires_grad_()
    torch.autograd.grad(victim(z).sum(), z)
    assert (victim.meter.forwards, victim.meter.gradients) == (5 * 4, 5 * 4)
    victim = Victim(made, generator=generators.generator("m"), copies=1)
    torch.autograd.grad(victim(z).sum(), z)
    assert victim.meter.forwards == 5 * (3 + 1 + 3)
    assert victim.meter.gradients >= 5 * (3 + 1 + 3)


class Blind(nn.Module):
    """Logits alone."""

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


def test_who_cannot_be_refined() -> None:
    with pytest.raises(UserError, match="without a density cannot be refined"):
        Defended(Blind(), Defence(1))
    assert capabilities(Defended(Blind(), Defence.smoothing(0.1))) == {"classifier"}
    with pytest.raises(UserError, match="without logits"):
        Defended(object(), Defence(0))


@pytest.mark.parametrize(
    "bad", [{"steps": -1}, {"steps": 1, "votes": 0}, {"steps": 0, "sigma": -1.0}, {"steps": 1, "size": 0.0}]
)
def test_settings_that_are_no_defence(bad: dict[str, float]) -> None:
    with pytest.raises(UserError):
        Defence(**bad)


def test_a_defended_spec_is_another_model() -> None:
    spec = catalogue.resolve(parse("jem"), track="digits")
    made = [catalogue.defended(spec, Defence(n)) for n in (0, 1, 10)] + [
        catalogue.defended(spec, Defence.smoothing(0.25))
    ]
    assert [item.name for item in made] == ["jem-refine-0", "jem-refine-1", "jem-refine-10", "jem-smooth-0.25"]
    assert len({spec.fingerprint, *(item.fingerprint for item in made)}) == 5
    assert all(item.stochastic and item.capabilities == {"classifier"} for item in made)
    loaded = catalogue.load(made[1])
    x = torch.from_numpy(data.load("digits", "test").pixels(0, 2))
    one, two = (loaded.logits(x, generator=generators.generator("same")) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, loaded.logits(x, generator=generators.generator("other")))


def test_a_flow_without_logits_cannot_be_defended() -> None:
    with pytest.raises(UserError, match="gives no logits"):
        catalogue.defended(catalogue.resolve(parse("glow"), track="digits"), Defence(1))
