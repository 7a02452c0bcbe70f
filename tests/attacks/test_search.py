"""PGD as an attack: closed forms, the ladder where one rung is wrong, bookkeeping, and what bad gradients do."""

import math

import pytest
import torch
from torch import nn

from jembench import data
from jembench.attacks.contract import Task
from jembench.attacks.defences import Defence, Defended
from jembench.attacks.ladder import Rung
from jembench.attacks.pgd import project
from jembench.attacks.search import search
from jembench.attacks.threat import Threat, distance
from jembench.attacks.verify import verify
from jembench.attacks.victim import Victim
from jembench.ground import generators
from jembench.zoo import catalogue
from jembench.zoo.references import parse

SHAPE = (1, 4, 4)


class Linear(nn.Module):
    """f(x) = W x + b."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


def linear(seed: int, classes: int = 5) -> Linear:
    generator = generators.generator("linear", seed)
    return Linear(torch.randn((classes, 16), generator=generator), torch.randn(classes, generator=generator))


def middle(n: int = 40, key: str = "x") -> torch.Tensor:
    return 0.4 + 0.2 * torch.rand((n, *SHAPE), generator=generators.generator(key))


def truth(model: Linear, x: torch.Tensor, y: torch.Tensor, norm: str) -> torch.Tensor:
    """Distance to the nearest other class: the margin over the dual norm of the difference of the weights."""
    f = model.logits(x)
    gap = f.gather(1, y[:, None]) - f
    weight = model.weight[y][:, None] - model.weight[None]
    length = weight.abs().sum(2) if norm == "linf" else weight.norm(dim=2)
    found = gap / length.clamp_min(1e-9)
    return found.scatter(1, y[:, None], math.inf).amin(1)


def task(
    x: torch.Tensor, y: torch.Tensor, norm: str, eps: float, *starts: torch.Tensor, goal: str = "untargeted"
) -> Task:
    return Task(x, y, None, Threat(norm, eps, goal), starts, generators.generator("task"), ("task",))


def victim(model: object, **options: object) -> Victim:
    return Victim(model, generator=generators.generator("victim"), **options)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["ce", "margin", "dlr"])
def test_it_breaks_just_those_that_can_be_broken(norm: str, name: str) -> None:
    """Of a linear classifier, with the box out of the way: all but the ones within 2 % of the radius."""
    for seed in range(4):
        model, x = linear(seed), middle()
        y = model.logits(x).argmax(1)
        nearest = truth(model, x, y, norm)
        eps = 1.003 * float(nearest.median())
        found = Rung(steps=30, restarts=5, losses=(name,)).perturb(victim(model), task(x, y, norm, eps))
        assert (found.claimed <= (nearest <= eps * 1.0001)).all()
        assert (found.claimed | (nearest > eps / 1.02)).float().mean() > 0.95
        verdict = verify(
            model,
            x,
            y,
            found.images,
            threat=Threat(norm, eps),
            target=None,
            draws=1,
            generator=generators.generator("v"),
        )
        assert verdict.valid.all()
        assert torch.equal(~verdict.vote, found.claimed)


def test_one_radius_for_each_example() -> None:
    model, x = linear(7), middle()
    y = model.logits(x).argmax(1)
    nearest = truth(model, x, y, "l2")
    radius = nearest * torch.where(torch.arange(len(x)) % 2 == 0, 1.02, 0.98)
    found = search(victim(model), task(x, y, "l2", 1.0), eps=radius, steps=40, restarts=6, losses=("ce", "margin"))
    even = torch.arange(len(x)) % 2 == 0
    assert not found.claimed[~even].any()
    assert found.claimed[even].float().mean() >= 0.9
    assert (distance(found.images - x, "l2") <= radius * (1 + 1e-4) + 1e-6).all()


def test_a_target_is_reached_where_it_can_be() -> None:
    model, x = linear(3), middle()
    y = model.logits(x).argmax(1)
    target = (y + 1) % 5
    given = Task(x, y, target, Threat("l2", 0.7, "targeted"), (), generators.generator("t"), ("t",))
    found = Rung(steps=30, restarts=3).perturb(victim(model), given)
    assert 0.05 < found.claimed.float().mean() < 1
    assert torch.equal(model.logits(found.images).argmax(1) == target, found.claimed)


class Kinked:
    """One pixel t that matters. log p(x) = -g(t) pulls t down where it is above 1/2, by much; logits (t - 0.35, 0).

    One step of size 1: t -> t - h(t) with h(t) = 2 (t - 1/2) for t > 1/2, so that the refined pixel is 1 - t there: it
    falls as t rises. Class 0 (label 1 below 0.35) is reached from t in (0.35, 0.65) and never from t > 0.65.
    """

    normalized = False

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        t = x.flatten(1)[:, 0]
        return torch.stack([t - 0.35, torch.zeros_like(t)], dim=1)

    def log_density(self, x: torch.Tensor) -> torch.Tensor:
        return -(x.flatten(1)[:, 0] - 0.5).clamp_min(0).square()


def test_where_straight_through_is_wrong_and_full_is_right() -> None:
    """From t = 0.9 (refined to 0.1) the way to class 0 is down; straight-through says up, the full gradient down.

    The start is the image itself: a random one could lie on the right side of 1/2 by luck.
    """
    made = Defended(Kinked(), Defence(1, sigma=0.0, votes=1, size=1.0, noise=0.0))
    x, y = torch.tensor([0.9, 0.2]).reshape(1, 1, 1, 2), torch.tensor([1])
    given = task(x, y, "linf", 0.4, x)
    rungs = {}
    for gradient in ("straight-through", "full"):
        attack = Rung(steps=20, restarts=1, losses=("margin",), size=0.2, decay=False, gradient=gradient)
        found = attack.perturb(victim(made, gradient=gradient), given)
        verdict = verify(
            made, x, y, found.images, threat=given.threat, target=None, draws=1, generator=generators.generator("v")
        )
        rungs[gradient] = bool(verdict.vote)
    assert rungs == {"straight-through": True, "full": False}


def test_a_rung_goes_on_from_what_the_rungs_before_it_found() -> None:
    """With no steps that move, the best of the starts is what comes out."""
    model, x = linear(1), middle()
    y = model.logits(x).argmax(1)
    good = Rung(steps=40, restarts=5).perturb(victim(model), task(x, y, "l2", 0.6)).images
    given = task(x, y, "l2", 0.6, x.clone(), good)
    found = Rung(steps=1, restarts=1, size=1e-6).perturb(victim(model), given)
    assert found.claimed.float().mean() > 0.3
    assert torch.equal(found.claimed, model.logits(good).argmax(1) != y)


def test_broken_examples_leave_unless_it_is_confident() -> None:
    model, x = linear(1), middle()
    y = model.logits(x).argmax(1)
    quick, patient = victim(model), victim(model)
    early = Rung(steps=20, restarts=3).perturb(quick, task(x, y, "l2", 0.8))
    late = Rung(steps=20, restarts=3, confident=True).perturb(patient, task(x, y, "l2", 0.8))
    assert patient.meter.gradients == 20 * 3 * len(x) > 2 * quick.meter.gradients
    from jembench.attacks.losses import margin

    assert (margin(model.logits(late.images), y) <= margin(model.logits(early.images), y) + 1e-6).all()
    assert margin(model.logits(late.images), y).mean() < margin(model.logits(early.images), y).mean() - 0.1


def test_the_best_iterate_is_kept_not_the_last() -> None:
    """A step that is far too long overshoots: the last iterate of a bent loss is worse than one before it."""

    class Bent:
        def logits(self, x: torch.Tensor) -> torch.Tensor:
            t = x.flatten(1).mean(1)
            return torch.stack([torch.ones_like(t), 1.5 - 80 * (t - 0.53).square()], dim=1)

    x = torch.full((1, *SHAPE), 0.5)
    given = task(x, torch.tensor([1]), "linf", 0.2, x)  # class 1 wins around .53: leave it
    found = Rung(steps=7, restarts=1, size=1.9, decay=False, losses=("margin",), confident=True).perturb(
        victim(Bent()), given
    )
    from jembench.attacks.losses import margin

    reached = margin(Bent().logits(found.images), torch.tensor([1])).item()
    assert reached < 0
    assert reached <= margin(Bent().logits(project(x + 0.2, x, "linf", 0.2)), torch.tensor([1])).item() + 1e-6


class Poisoned(nn.Module):
    """Finite logits, NaN gradients on half of the images."""

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(1)
        poison = (
            torch.where(flat[:, :1] > 0.5, flat[:, :1] - flat[:, :1].detach(), torch.zeros_like(flat[:, :1]))
            .abs()
            .sqrt()
        )
        return flat[:, :3] + 0 * poison


def test_gradients_that_are_not_finite_are_counted_and_move_nothing() -> None:
    x = torch.rand((20, *SHAPE), generator=generators.generator("poison"))
    y = Poisoned().logits(x).argmax(1)
    found = Rung(steps=4, restarts=1, size=0.01).perturb(victim(Poisoned()), task(x, y, "linf", 1e-3))
    assert found.images.isfinite().all()
    assert (found.broken > 0).any()


def test_a_flat_model_has_zero_gradients() -> None:
    class Flat:
        def logits(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[2.0, 1.0]]).repeat(len(x), 1) + 0 * x.flatten(1)[:, :2]

    x = middle(6)
    found = Rung(steps=3, restarts=2).perturb(victim(Flat()), task(x, torch.zeros(6, dtype=torch.int64), "linf", 0.1))
    assert found.zero.tolist() == [1.0] * 6
    assert not found.claimed.any()


def test_an_expanded_gradient_is_no_trouble() -> None:
    """Logits of the sum of the pixels: the gradient is one number, expanded."""

    class Sums:
        def logits(self, x: torch.Tensor) -> torch.Tensor:
            total = x.sum(dim=(1, 2, 3))
            return torch.stack([total, 16 - total], dim=1)

    x = torch.full((2, *SHAPE), 0.52)
    found = Rung(steps=5, restarts=1).perturb(victim(Sums()), task(x, torch.zeros(2, dtype=torch.int64), "linf", 0.1))
    assert found.claimed.all()


def test_a_stochastic_victim_is_judged_by_fresh_draws_not_by_one() -> None:
    """Pure noise on the logits flips a margin of .5 in 8 % of draws: the best of 60 iterates looks broken only."""

    class Noisy:
        stochastic = True

        def logits(self, x: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
            f = torch.tensor([[0.5, 0.0]]).repeat(len(x), 1) + 0 * x.flatten(1)[:, :2]
            return f + 0.25 * torch.randn(f.shape, generator=generator)

    x, y = middle(100), torch.zeros(100, dtype=torch.int64)
    found = Rung(steps=20, restarts=3).perturb(victim(Noisy()), task(x, y, "linf", 0.1))
    assert found.claimed.float().mean() < 0.25
    verdict = verify(
        Noisy(),
        x,
        y,
        found.images,
        threat=Threat("linf", 0.1),
        target=None,
        draws=15,
        generator=generators.generator("v"),
    )
    assert verdict.vote.float().mean() > 0.97
    assert verdict.one_shot.mean() == pytest.approx(0.92, abs=0.03)


class Coarse(torch.nn.Module):
    """Two classes that are 1e-3 apart in float32 and the other way round under autocast; more so along the gradient."""

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        a = x.flatten(1).mean(1)
        rounded = torch.is_autocast_enabled("cpu")
        return torch.stack((torch.full_like(a, -1e-3 if rounded else 0.05), a - 0.5), 1)


def test_what_only_rounding_broke_is_searched_on() -> None:
    x, y = torch.full((4, 1, 2, 2), 0.5), torch.zeros(4, dtype=torch.long)
    one = Rung(steps=3, restarts=1, precision="bf16")
    three = Rung(steps=3, restarts=3, precision="bf16")
    queries = []
    for attack in (one, three):
        asked = victim(Coarse(), precision="bf16")
        attack.perturb(asked, task(x, y, "linf", 0.01))
        queries.append(asked.meter.queries)
    assert queries[1] > queries[0] + 4


def test_bf16_crafts_and_fp32_judges() -> None:
    model = catalogue.load(catalogue.resolve(parse("softmax"), track="digits"))
    images = data.load("digits", "test")
    x, y = torch.from_numpy(images.pixels(0, 40)), torch.from_numpy(images.labels[:40])
    left = {}
    for precision in ("fp32", "bf16"):
        attack = Rung(steps=10, restarts=1, precision=precision)
        found = attack.perturb(victim(model, precision=precision), task(x, y, "linf", 0.1))
        assert found.images.dtype == torch.float32
        verdict = verify(
            model,
            x,
            y,
            found.images,
            threat=Threat("linf", 0.1),
            target=None,
            draws=1,
            generator=generators.generator("v"),
        )
        left[precision] = verdict.vote.float().mean().item()
    assert left["bf16"] == pytest.approx(left["fp32"], abs=0.15)
