"""Evasion where the answer is a convex program, against plain PGD of the same budget, and on the oracle by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from jembench.attacks.contract import Task
from jembench.attacks.ladder import Rung
from jembench.attacks.pgd import project
from jembench.attacks.reject import evade
from jembench.attacks.threat import Threat, distance
from jembench.attacks.victim import Victim
from jembench.data import gauss, load
from jembench.ground import generators
from jembench.zoo import catalogue
from jembench.zoo.references import parse

SHAPE = (1, 2, 3)
NORMS = ("linf", "l2")


class Planes:
    """Class 0 where w'x + b > 0, with that margin, and log p(x) = v'x: two half-spaces of which nothing bends."""

    normalized = False

    def __init__(self, key):
        draw = torch.randn((2, 6), generator=generators.generator("planes", key))
        self.w, self.v = draw[0], draw[1]
        self.b = -0.5 * self.w.sum() + 0.1 * self.w.norm()

    def logits(self, x):
        m = x.flatten(1) @ self.w + self.b
        return torch.stack([m, torch.zeros_like(m)], dim=1)

    def log_density(self, x):
        return x.flatten(1) @ self.v


def middle(n=12, key="x"):
    return 0.4 + 0.2 * torch.rand((n, *SHAPE), generator=generators.generator("reject", key))


def attack(model, x, y, norm, eps, tau, *, starts=(), steps=40, restarts=3, key="evade"):
    victim = Victim(model, generator=generators.generator("victim"))
    task = Task(x, y, None, Threat(norm, eps), tuple(starts), generators.generator(key), ())
    return evade(victim, task, tau, steps=steps, restarts=restarts), victim.meter


def nearest(rows, bounds, norm):
    """The length of the shortest d with rows @ d <= bounds: a linear program, or the best of the active sets."""
    if norm == "linf":
        c = np.r_[np.zeros(6), 1.0]
        eye, one = np.eye(6), np.ones((6, 1))
        a = np.block([[rows, np.zeros((len(rows), 1))], [eye, -one], [-eye, -one]])
        done = optimize.linprog(c, A_ub=a, b_ub=np.r_[bounds, np.zeros(12)], bounds=[(None, None)] * 7)
        return float(done.x[-1])
    found = []
    for active in ([], [0], [1], [0, 1]):
        part = rows[active]
        d = np.linalg.lstsq(part, bounds[active], rcond=None)[0] if active else np.zeros(6)
        if (rows @ d <= bounds + 1e-9).all():
            found.append(float(np.linalg.norm(d)))
    return min(found)


@pytest.mark.parametrize("norm", NORMS)
def test_it_succeeds_just_where_two_half_spaces_meet_the_ball(norm):
    """Misclassified and accepted is a convex set: its distance says for which images the attack can succeed."""
    eps, outcomes = (0.06, []) if norm == "linf" else (0.12, [])
    for key in range(5):
        model, x = Planes(key), middle(key=str(key))
        density = model.log_density(x)
        tau = float(density.quantile(0.6))
        crafted, _ = attack(model, x, torch.zeros(12, dtype=torch.int64), norm, eps, tau)
        margins = (x.flatten(1) @ model.w + model.b).double().numpy()
        rows = np.stack([model.w.double().numpy(), -model.v.double().numpy()])
        for i in range(12):
            shortest = nearest(rows, np.array([-margins[i], float(density[i]) - tau]), norm)
            claimed = bool(crafted.claimed[i])
            outcomes.append(claimed)
            if shortest < 0.95 * eps:
                assert claimed, (key, i, shortest)
            if shortest > 1.0001 * eps:
                assert not claimed, (key, i, shortest)
    assert 8 < sum(outcomes) < len(outcomes) - 8


def oracle_task(n=40):
    images = load("gauss", "test")
    model = catalogue.load(catalogue.resolve(parse("oracle"), track="gauss"))
    return model, torch.from_numpy(images.pixels(0, n)), torch.from_numpy(images.labels[:n]).long()


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.012), ("l2", 0.07)])
def test_its_successes_hold_by_hand(norm, eps):
    """The mixture's posterior and density in float64 numpy; and what it does not claim does not hold."""
    model, x, y = oracle_task()
    tau = float(model.log_density(x).quantile(0.3))
    crafted, _ = attack(model, x, y, norm, eps, tau, steps=20, restarts=3)
    pixels = crafted.images.flatten(1).double().numpy()
    square = np.square(pixels[:, None] - gauss.means()).sum(axis=2)
    joint = -math.log(10) - 32 * math.log(2 * math.pi * gauss.SIGMA**2) - square / (2 * gauss.SIGMA**2)
    wrong = joint.argmax(axis=1) != y.numpy()
    accepted = np.logaddexp.reduce(joint, axis=1) >= tau
    claimed = crafted.claimed.numpy()
    np.testing.assert_array_equal(claimed, wrong & accepted)
    assert (distance(crafted.images - x, norm) <= eps * (1 + 1e-5)).all()
    assert 5 < claimed.sum() < 35


def broken(model, x, y):
    with torch.no_grad():
        return model.logits(x).argmax(1) != y


@pytest.mark.parametrize("name", ["oracle", "softmax", "jem"])
@pytest.mark.parametrize("norm", NORMS)
def test_without_a_threshold_it_is_no_weaker_than_pgd(name, norm):
    """Same steps and restarts, from scratch: within one example of 40."""
    if name == "oracle":
        model, x, y = oracle_task()
        eps = 0.012 if norm == "linf" else 0.07
    else:
        images = load("digits", "test")
        model = catalogue.load(catalogue.resolve(parse(name), track="digits"))
        x, y = torch.from_numpy(images.pixels(0, 40)), torch.from_numpy(images.labels[:40]).long()
        eps = 0.08 if norm == "linf" else 0.45
    threat = Threat(norm, eps)
    task = Task(x, y, None, threat, (), generators.generator("pgd"), ())
    plain = Rung(steps=20, restarts=3).perturb(Victim(model, generator=generators.generator("victim")), task)
    crafted, _ = attack(model, x, y, norm, eps, -math.inf, steps=20, restarts=3)
    assert torch.equal(crafted.claimed, broken(model, crafted.images, y))
    assert int(crafted.claimed.sum()) >= int(broken(model, plain.images, y).sum()) - 1


def test_an_attacker_who_looks_at_the_density_finds_what_plain_pgd_does_not():
    """Most plain adversarials of a JEM in a wide ball are rejected; most of its images have an accepted one."""
    images = load("digits", "test")
    model = catalogue.load(catalogue.resolve(parse("jem"), track="digits"))
    x, y = torch.from_numpy(images.pixels(0, 30)), torch.from_numpy(images.labels[:30]).long()
    with torch.no_grad():
        tau = float(model.log_density(torch.from_numpy(images.pixels(0, 180))).quantile(0.05))
    task = Task(x, y, None, Threat("linf", 0.2), (), generators.generator("pgd"), ())
    plain = Rung(steps=20, restarts=2).perturb(Victim(model, generator=generators.generator("victim")), task).images
    with torch.no_grad():
        before = int((broken(model, plain, y) & (model.log_density(plain) >= tau)).sum())
    crafted, _ = attack(model, x, y, "linf", 0.2, tau, starts=(plain,))
    with torch.no_grad():
        held = broken(model, crafted.images, y) & (model.log_density(crafted.images) >= tau)
    assert int(held.sum()) >= before + 8
    assert torch.equal(held, crafted.claimed)


def test_a_lower_threshold_is_no_harder():
    """What was accepted above a threshold is accepted above a lower one; and from scratch it finds as many."""
    model, x, y = oracle_task()
    taus = [float(model.log_density(x).quantile(q)) for q in (0.9, 0.5, 0.2, 0.0)]
    before, counts = (), []
    for tau in (*taus, -math.inf):
        crafted, _ = attack(model, x, y, "l2", 0.06, tau, steps=15, restarts=2, starts=before)
        fresh, _ = attack(model, x, y, "l2", 0.06, tau, steps=15, restarts=2)
        if before:
            assert not (last & ~crafted.claimed).any()  # noqa: F821
        before, last = (crafted.images,), crafted.claimed  # noqa: F841
        counts.append(int(fresh.claimed.sum()))
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_a_start_that_succeeds_costs_no_gradient_and_one_out_of_the_ball_is_moved_into_it():
    model, x, y = oracle_task()
    tau = float(model.log_density(x).quantile(0.05))
    first, _ = attack(model, x, y, "linf", 0.02, tau)
    won = first.claimed
    again, meter = attack(model, x[won], y[won], "linf", 0.02, tau, starts=(first.images[won],))
    assert again.claimed.all()
    assert meter.gradients == 0
    far = x + 10 * (first.images - x)
    moved, _ = attack(model, x, y, "linf", 0.02, tau, starts=(far,), steps=1, restarts=0)
    assert (distance(moved.images - x, "linf") <= 0.02 * (1 + 1e-5)).all()
    assert torch.equal(moved.images[moved.claimed], project(far, x, "linf", 0.02)[moved.claimed])


def test_examples_that_succeed_leave_the_batch():
    """A pass is of the rows that are left: with an easy threshold the attack is cheaper."""
    model, x, y = oracle_task()
    costs = [attack(model, x, y, "l2", 0.08, tau)[1].gradients for tau in (-math.inf, math.inf)]
    assert costs[0] < costs[1] / 2
    assert costs[1] == 2 * 40 * 40 * 3  # two functions, rows, steps, restarts: nothing is ever accepted


@settings(max_examples=30, deadline=None)
@given(
    norm=st.sampled_from(NORMS),
    eps=st.floats(1e-3, 2),
    tau=st.sampled_from([-math.inf, -1e9, -2.0, 0.0, 0.3, 1e9, math.inf, math.nan]),
    restarts=st.integers(0, 4),
    seed=st.integers(0, 99),
)
def test_it_stays_in_the_ball_and_claims_only_what_holds(norm, eps, tau, restarts, seed):
    """For every threshold, also one that is no number; it leaves the images alone and is a function of its keys."""
    model = Planes(seed % 5)
    x = torch.rand((4, *SHAPE), generator=generators.generator("any", seed))
    before, y = x.clone(), torch.tensor([0, 1, 0, 1])
    found, _ = attack(model, x, y, norm, eps, tau, steps=4, restarts=restarts, key=str(seed))
    again, _ = attack(model, x, y, norm, eps, tau, steps=4, restarts=restarts, key=str(seed))
    assert torch.equal(found.images, again.images)
    assert torch.equal(x, before)
    assert ((found.images >= 0) & (found.images <= 1)).all()
    assert (distance(found.images - x, norm) <= eps * (1 + 1e-5) + 1e-7).all()
    held = broken(model, found.images, y) & (model.log_density(found.images) >= tau)
    assert not (found.claimed & ~held).any()


def test_a_density_that_is_no_number_accepts_nothing_and_hurts_no_other_example():
    class Holed(Planes):
        def log_density(self, x):
            return super().log_density(x) * torch.tensor([1.0, math.nan])[-len(x) :]

    x, y = middle(2), torch.zeros(2, dtype=torch.int64)
    found, _ = attack(Holed(0), x, y, "l2", 3.0, -1e9, steps=5, restarts=1)
    assert found.claimed.tolist() == [True, False]
    assert found.images.isfinite().all()
