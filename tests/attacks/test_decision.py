"""Decision attacks: nearer and nearer from outside, within their queries, and what is said without foolbox."""

import sys

import pytest
import torch

from jembench.attacks import attack
from jembench.attacks.nearest import _Judge
from jembench.types import UserError


@pytest.mark.parametrize(("name", "norm"), [("boundary", "l2"), ("hopskipjump", "l2"), ("hopskipjump", "linf")])
def test_they_come_near_to_the_nearest_image(run, linear, name, norm):
    """A quarter above the closed form is enough for most; below it nothing is."""
    nearest = linear.nearest(norm)
    eps = float(nearest.sort().values[8:10].mean())
    found = run(attack(name, queries=2000), linear.model, linear.x, linear.y, norm, eps)
    easy = nearest * 1.25 < eps
    assert easy.any()
    assert found.broken[easy].float().mean() > 0.7
    assert not found.broken[nearest > eps].any()
    assert torch.equal(found.claimed, found.broken)
    assert torch.equal(found.images[~found.claimed], linear.x[~found.claimed])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pointwise_finds_an_image_that_no_single_pixel_brings_nearer(run, linear, norm):
    found = run(attack("pointwise"), linear.model, linear.x, linear.y, norm, 0.6 if norm == "linf" else 2.0)
    assert found.broken.float().mean() > 0.8


def test_more_queries_are_not_weaker(run, linear):
    nearest = linear.nearest("l2")
    eps = 1.2 * float(nearest.median())
    few, many = (
        run(attack("hopskipjump", queries=n), linear.model, linear.x, linear.y, "l2", eps).broken for n in (100, 1500)
    )
    assert torch.equal(few & many, few)


def test_the_budget_is_held_and_what_is_broken_is_not_asked_about(run, linear):
    found = run(attack("boundary", queries=50), linear.model, linear.x, linear.y, "l2", 1e-3)
    assert found.victim.meter.queries <= 51 * len(linear.x)
    easy = run(attack("boundary", queries=500), linear.model, linear.x, linear.y, "l2", 5.0)
    assert easy.broken.all()
    assert easy.victim.meter.queries <= 10 * len(linear.x)


def test_what_is_misclassified_stays_and_what_has_no_start_is_left_alone(run, linear):
    wrong = 1 - linear.y
    found = run(attack("hopskipjump"), linear.model, linear.x, wrong, "l2", 0.01)
    assert found.claimed.all()
    assert torch.equal(found.images, linear.x)
    never = torch.full_like(linear.y, 3)  # a class that the model gives to no image
    found = run(attack("boundary"), linear.model, linear.x, linear.y, "l2", 5.0, target=never)
    assert not found.claimed.any()
    assert torch.equal(found.images, linear.x)


def test_a_start_that_the_task_brings_is_used(run, linear):
    """A single image has no other to start from."""
    step = -(linear.score.sign() * 1.2 * linear.nearest("l2"))[:, None] * linear.w / linear.w.norm()
    start = linear.x + step.reshape(linear.x.shape)
    row = int(linear.nearest("l2").argmax())
    one = slice(row, row + 1)
    eps = 1.3 * float(linear.nearest("l2")[row])
    found = run(
        attack("boundary", queries=1), linear.model, linear.x[one], linear.y[one], "l2", eps, starts=(start[one],)
    )
    assert found.broken.all()


def test_one_image_has_one_class(run, linear):
    """The answer of a noisy victim stands, so that no search waits for the same image to change its class."""

    class Coin:
        stochastic = True

        def logits(self, x, generator):
            return torch.randn((len(x), 4), generator=generator)

    task = run(attack("null"), linear.model, linear.x, linear.y, "l2", 1.0)
    judge = _Judge(run(attack("null"), Coin(), linear.x, linear.y, "l2", 1.0).victim, task.task, 10)
    assert torch.equal(judge.decide(linear.x), judge.decide(linear.x))
    assert torch.equal(judge.decide(linear.x[3:5]), judge.decide(linear.x)[3:5])
    for name in ("boundary", "hopskipjump", "pointwise"):
        found = run(attack(name, queries=60), Coin(), linear.x, linear.y, "l2", 1.0)
        assert found.verdict.valid.all()


@pytest.mark.parametrize("name", ["boundary", "hopskipjump", "pointwise"])
def test_without_foolbox_one_line_says_what_to_install(run, linear, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    made = attack(name)
    with pytest.raises(UserError) as error:
        run(made, linear.model, linear.x, linear.y, "l2", 0.1)
    assert str(error.value) == f"attack '{name}' needs foolbox: pip install 'jembench[foolbox]'"
