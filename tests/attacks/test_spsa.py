"""SPSA: its estimate is the gradient of a linear score, and it needs scores and nothing else."""

import pytest
import torch

from jembench.attacks import attack
from jembench.attacks.ascent import Ascent
from jembench.attacks.defences import Defence, Defended
from jembench.attacks.search import Best


def test_the_estimate_has_the_mean_of_the_gradient(run, linear):
    """Of a linear margin every estimate is unbiased, whatever delta is: the mean of many comes near to it."""
    result = run(attack("null"), linear.model, linear.x, linear.y, "l2", 1.0)
    rows = torch.arange(len(linear.x))
    search = Ascent(Best(result.victim, result.task), rows, samples=4000, delta=0.02)
    found = search._estimate(linear.x).flatten(1)
    truth = torch.where(linear.y[:, None] == 0, linear.w, -linear.w)
    assert torch.allclose(found, truth, atol=0.12 * float(linear.w.norm()))
    one = Ascent(Best(result.victim, result.task), rows, samples=1, delta=0.05)._estimate(linear.x).flatten(1)
    assert torch.allclose(one.abs(), one.abs()[:, :1].expand_as(one), rtol=1e-4)  # a multiple of one direction


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_breaks_what_can_be_broken(run, linear, norm):
    """A fifth above the closed form all break; below it none."""
    nearest = linear.nearest(norm)
    eps = float(nearest.sort().values[8:10].mean())
    found = run(attack("spsa"), linear.model, linear.x, linear.y, norm, eps)
    assert found.broken[nearest * 1.2 < eps].all()
    assert not found.broken[nearest > eps].any()


def test_it_asks_for_no_gradient(run, linear):
    class Opaque:
        """Logits without a graph."""

        def logits(self, x):
            with torch.no_grad():
                return linear.model.logits(x)

    found = run(attack("spsa"), Opaque(), linear.x, linear.y, "linf", 1.3 * float(linear.nearest("linf").max()))
    assert found.broken.all()
    assert found.victim.meter.gradients == 0


def test_broken_examples_leave_the_batch_of_a_deterministic_victim(run, linear):
    eps = 3 * float(linear.nearest("linf").max())
    made = attack("spsa", steps=20, samples=4, size=1.0)
    found = run(made, linear.model, linear.x, linear.y, "linf", eps)
    assert found.broken.all()
    full = 20 * 9 * len(linear.x)
    assert found.victim.meter.queries < full / 3
    noisy = run(made, Defended(linear.model, Defence(0, sigma=0.001)), linear.x, linear.y, "linf", eps)
    assert noisy.victim.meter.queries >= full  # of one that draws, nobody leaves on the strength of a draw
    assert noisy.broken.all()


def test_an_example_does_not_depend_on_the_others(run, linear):
    """Its directions are its own, whoever has left; here with the same position in the batch."""
    made = attack("spsa", steps=10, samples=8)
    eps = float(linear.nearest("l2").median())
    all_of_them = run(made, linear.model, linear.x, linear.y, "l2", eps)
    hard = linear.nearest("l2") > eps
    labels = torch.where(hard, linear.y, 1 - linear.y)  # the easy ones are broken from the start
    alone = run(made, linear.model, linear.x, labels, "l2", eps)
    assert torch.allclose(all_of_them.images[hard], alone.images[hard], atol=1e-6)
