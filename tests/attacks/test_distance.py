"""Minimal distances where they are closed forms, what a better attack may not find, and the luck of a draw."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import nn

from jembench.attacks import bracket
from jembench.attacks.contract import Task
from jembench.attacks.defences import Defence, Defended
from jembench.attacks.distance import MinimalDistance
from jembench.attacks.losses import margin
from jembench.attacks.pgd import project
from jembench.attacks.threat import Threat, distance
from jembench.attacks.verify import verify
from jembench.attacks.victim import Victim
from jembench.data import gauss
from jembench.ground import generators
from jembench.models.oracle import Oracle
from jembench.types import UserError

NORMS = ("linf", "l2")
SHAPE = (1, 8, 8)


class Linear:
    """f = W x + b."""

    def __init__(self, seed, *, classes=10, pixels=64):
        g = generators.generator("linear", seed)
        self.W, self.b = torch.randn(classes, pixels, generator=g), torch.randn(classes, generator=g)

    def logits(self, x):
        return x.flatten(1) @ self.W.T + self.b

    def distances(self, x, y, norm):
        """margin / |w_y - w_k|_* of every class, in float64; infinite for y itself."""
        W, b = self.W.double(), self.b.double()
        f = x.flatten(1).double() @ W.T + b
        difference = W[y][:, None] - W
        dual = difference.abs().sum(2) if norm == "linf" else difference.norm(dim=2)
        return ((f.gather(1, y[:, None]) - f) / dual).scatter(1, y[:, None], math.inf)


def middle(n, seed=0):
    """Images so far inside of [0, 1] that the box bounds no adversarial of a linear classifier."""
    return 0.4 + 0.2 * torch.rand((n, *SHAPE), generator=generators.generator("middle", seed))


def search(model, x, y, norm, *, eps=math.inf, starts=(), target=None, key="search", **options):
    attack = MinimalDistance(**{"steps": 12, "restarts": 3, **options})
    generator = generators.generator(key)
    victim = Victim(model, generator=generator, copies=attack.copies)
    found = attack.perturb(victim, Task(x, y, target, Threat(norm, eps), starts, generator, ("d",)))
    return found, distance(found.images - x, norm), victim.meter


@pytest.mark.parametrize("norm", NORMS)
def test_on_random_linear_classifiers_it_is_the_closed_form(norm):
    """100 problems, within 1 %, and never nearer than the truth. The nearest class is often not the second."""
    second = 0
    for seed in range(100):
        model, x = Linear(seed), middle(2, seed)
        f = model.logits(x)
        y = f.argmax(1)
        truth = model.distances(x, y, norm)
        second += int((truth.argmin(1) != f.scatter(1, y[:, None], -math.inf).argmax(1)).sum())
        found, d, _ = search(model, x, y, norm, steps=6, restarts=2)
        assert bool(found.claimed.all())
        tiny = 1e-5  # a float32 pixel is no finer than 6e-8, and a logit no finer than 1e-6
        assert (d <= 1.01 * truth.amin(1) + tiny).all(), (seed, d / truth.amin(1))
        assert (d >= truth.amin(1) * (1 - 1e-4) - tiny).all()
    assert second > 10


@pytest.mark.parametrize("norm", NORMS)
def test_aiming_at_one_class_only_would_miss_the_nearest(norm, monkeypatch):
    """A planted bug: what only ever climbs to the second class finds it, and it is farther."""
    W, b = torch.zeros(3, 64), torch.tensor([0.0, -0.9, -1.0])
    W[1, 0], W[2, :] = 4.0, 2.0  # class 2 is behind by more, and nearer
    model = Linear(0)
    model.W, model.b = W, b - W @ torch.full((64,), 0.5)
    x, y = torch.full((4, *SHAPE), 0.5), torch.zeros(4, dtype=torch.int64)
    truth = model.distances(x, y, norm).amin(1)
    _, good, _ = search(model, x, y, norm)
    assert (good <= 1.01 * truth).all()
    monkeypatch.setattr(bracket, "CLASSES", 1)
    _, single, _ = search(model, x, y, norm)
    assert (single > 1.2 * truth).any()


@pytest.mark.parametrize("norm", NORMS)
def test_towards_a_class_it_is_the_polytopes_distance_for_two_classes(norm):
    """With two classes the target is the only other one; with ten a named one is no nearer than any."""
    model = Linear(7, classes=2)
    x = middle(5)
    y = model.logits(x).argmax(1)
    _, d, _ = search(model, x, y, norm, target=1 - y)
    torch.testing.assert_close(d.double(), model.distances(x, y, norm).amin(1), rtol=0.01, atol=1e-5)
    model = Linear(8)
    y = model.logits(x).argmax(1)
    target = (y + 3) % 10
    found, d, _ = search(model, x, y, norm, target=target, steps=40)
    assert (model.logits(found.images).argmax(1) == target).all()
    assert (d >= model.distances(x, y, norm).gather(1, target[:, None]).squeeze(1) * (1 - 1e-4)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_wrong_are_at_zero_and_the_unbroken_at_infinity(norm):
    """A wrong image costs one query and no gradient; a ball that holds no adversarial is searched and left empty."""
    model, x = Linear(1), middle(6)
    y = model.logits(x).argmax(1)
    wrong = (y + 1) % 10
    found, d, meter = search(model, x, wrong, norm)
    assert torch.equal(found.images, x)
    assert bool(found.claimed.all())
    assert (d == 0).all()
    assert meter.gradients == 0
    assert meter.forwards == 6
    truth = model.distances(x, y, norm).amin(1)
    eps = float(truth.median()) * 1.02
    found, d, _ = search(model, x, y, norm, eps=eps)
    assert torch.equal(found.claimed, truth < eps)
    assert torch.equal(found.images[~found.claimed], x[~found.claimed])
    assert (d <= eps * (1 + 1e-6)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_flat_classifier_is_searched_to_the_widest_ball(norm):
    """Where there is no gradient it says so, and ends."""
    model = Linear(2)
    model.W, model.b = torch.zeros(10, 64), torch.arange(10.0)
    x, y = middle(3), torch.full((3,), 9)
    found, _, _ = search(model, x, y, norm)
    assert not bool(found.claimed.any())
    assert (found.zero == 1).all()
    assert (found.broken == 0).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_given_adversarial_bounds_the_distance(norm):
    """Also one that PGD would not find: here the gradient is hidden, and the segment to the start is all there is."""

    class Hidden(Linear):
        def logits(self, x):
            return super().logits(x.detach()) + (0 * x).flatten(1).amax(1, keepdim=True)

    model, x = Hidden(3), middle(4)
    y = model.logits(x).argmax(1)
    away = torch.randn(x.shape, generator=generators.generator("away"))
    far = project(x + away, x, norm, math.inf if norm == "linf" else 1e3)
    with torch.no_grad():
        usable = margin(model.logits(far), y) < 0
    assert bool(usable.any())
    found, d, _ = search(model, x, y, norm, starts=(far,))
    assert bool(found.claimed[usable].all())
    delta = (far - x)[usable]
    t = d[usable] / distance(delta, norm)
    assert (t < 1).all()
    inside = x[usable] + 0.97 * t.reshape(-1, 1, 1, 1) * delta
    assert (model.logits(inside).argmax(1) == y[usable]).float().mean() >= 0.5  # the end of the segment's broken part


@pytest.mark.parametrize("norm", NORMS)
def test_at_the_ends_of_the_range_it_is_the_solution_of_a_linear_or_quadratic_program(norm):
    """Images whose pixels are mostly 0 or 1, as digits are: for every class scipy finds the nearest point."""
    for seed in range(4):
        model = Linear(seed, classes=4, pixels=9)
        x = torch.rand((3, 1, 3, 3), generator=generators.generator("edge", seed))
        x = torch.where(torch.rand(x.shape, generator=generators.generator("which", seed)) < 0.7, x.round(), x)
        f = model.logits(x)
        y = f.argmax(1)
        found, d, _ = search(model, x, y, norm)
        for i in range(3):
            truth = min(program(model, x[i], int(y[i]), k, norm) for k in range(4) if k != y[i])
            assert bool(found.claimed[i]) == (truth < math.inf)
            if truth < math.inf:
                assert truth * (1 - 1e-4) - 1e-5 <= d[i] <= 1.01 * truth + 1e-5


def program(model, x, y, k, norm):
    """Least |delta| with f_k >= f_y and x + delta in [0, 1]^D; infinite if there is none."""
    g, z = (model.W[y] - model.W[k]).double().numpy(), x.flatten().double().numpy()
    m = float(g @ z + (model.b[y] - model.b[k]))
    if m - (np.maximum(g, 0) @ z + np.maximum(-g, 0) @ (1 - z)) > 0:
        return math.inf
    n = len(z)
    if norm == "linf":
        eye, one = np.eye(n), np.ones((n, 1))
        rows = np.block([[g[None], np.zeros((1, 1))], [eye, -one], [-eye, -one]])
        bounds = [*zip(-z, 1 - z, strict=True), (0, 1)]
        solved = optimize.linprog([0] * n + [1], rows, [-m] + [0] * (2 * n), bounds=bounds)
        return float(solved.fun)
    solved = optimize.minimize(
        lambda u: u @ u,
        -z * (g > 0) + (1 - z) * (g < 0),
        jac=lambda u: 2 * u,
        bounds=list(zip(-z, 1 - z, strict=True)),
        constraints={"type": "ineq", "fun": lambda u: -m - g @ u, "jac": lambda u: -g},
        method="SLSQP",
        options={"ftol": 1e-12},
    )
    return float(np.sqrt(solved.fun))


@pytest.mark.parametrize("norm", NORMS)
def test_around_a_ball_it_is_the_closed_form(norm):
    """Curved: class 1 outside of a ball. L2: R - |u|, u = x - c; L-infinity: the t with | |u| + t | = R."""
    centre, radius, n = 0.5, 0.3, 10

    class Ball:
        def logits(self, x):
            f = (x.flatten(1) - centre).square().sum(1) - radius**2
            return torch.stack([-f, f], 1)

    x = 0.5 + 0.05 * (torch.rand((n, 1, 3, 3), generator=generators.generator("ball")) - 0.5)
    u = (x - centre).flatten(1).abs().double()
    total, square = u.sum(1), u.square().sum(1)
    t = (-total + (total**2 - 9 * (square - radius**2)).sqrt()) / 9
    truth = t if norm == "linf" else radius - square.sqrt()
    found, d, _ = search(Ball(), x, torch.zeros(n, dtype=torch.int64), norm, steps=20)
    assert bool(found.claimed.all())
    torch.testing.assert_close(d.double(), truth, rtol=0.01, atol=1e-6)
    assert (d >= truth * (1 - 1e-5)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_on_two_pixels_it_is_what_a_grid_sees(norm):
    """A network with many small regions: the truth is the nearest of a million points of another class."""
    with generators.forked("two pixels"):
        net = nn.Sequential(nn.Flatten(), nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 4))
    net[1].weight.data.mul_(12)
    net[1].bias.data.mul_(6)
    net[3].bias.data -= net(torch.rand((999, 1, 1, 2), generator=generators.generator("level"))).mean(0).detach()

    class Net:
        def logits(self, x):
            return net(x)

    x = torch.rand((12, 1, 1, 2), generator=generators.generator("pixels"))
    axis = torch.linspace(0, 1, 1001)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        y, classes = net(x).argmax(1), net(grid).argmax(1)
    assert len(classes.unique()) == 4
    found, d, _ = search(Net(), x, y, norm, steps=10, restarts=4)
    assert bool(found.claimed.all())
    for i in range(len(x)):
        truth = distance(grid[classes != y[i]] - x[i].flatten(), norm).min()
        assert truth - 0.0015 <= d[i] <= 1.01 * truth + 0.0005


def test_on_the_oracle_the_l2_distance_is_that_to_the_nearest_bisector():
    """Equal covariances: between two classes the border is the plane halfway between their means."""
    mu = torch.from_numpy(gauss.means()).float()
    model = Oracle(mu, sigma=gauss.SIGMA, shape=SHAPE)
    y = torch.arange(10)
    x = model.sample(10, generator=generators.generator("oracle"), labels=y)
    flat = x.flatten(1)
    step = mu[None] - mu[y][:, None]
    gap = (flat[:, None] - mu[None]).square().sum(2) - (flat - mu[y]).square().sum(1)[:, None]
    truth = (gap / (2 * step.norm(dim=2))).scatter(1, y[:, None], math.inf).amin(1).clamp_min(0)
    found, d, _ = search(model, x, y, "l2", steps=20)
    assert bool(found.claimed.all())
    torch.testing.assert_close(d, truth, rtol=0.01, atol=1e-4)


def test_of_a_stochastic_victim_the_nearest_holds_on_fresh_draws():
    """Linear, behind noise: the truth is the plane's distance, and single draws break far inside of it."""
    model, x = Linear(5), middle(12)
    y = model.logits(x).argmax(1)
    truth = model.distances(x, y, "l2").amin(1)
    noisy = Defended(model, Defence(steps=0, sigma=0.05, votes=5))
    found, d, _ = search(noisy, x, y, "l2", copies=4)
    assert bool(found.claimed.all())
    fresh = verify(
        noisy,
        x,
        y,
        found.images,
        threat=Threat("l2", math.inf),
        target=None,
        draws=25,
        generator=generators.generator("v"),
    )
    assert fresh.vote.float().mean() < 0.1
    right = truth > 0.1
    assert (d[right] > truth[right] * 0.95).all()
    assert (d[right] < truth[right] + 0.15).all()  # the noise of one query is 0.025 across the plane


def test_it_is_a_function_of_its_generator_and_refuses_bad_settings():
    model, x = Linear(4), middle(3)
    y = model.logits(x).argmax(1)
    one, two = (search(model, x, y, "l2")[0].images for _ in range(2))
    assert torch.equal(one, two)
    for options in ({"steps": 0}, {"restarts": 0}, {"tolerance": 0.0}, {"tolerance": 0.5}, {"size": 0.0}):
        with pytest.raises(UserError, match="distance"):
            MinimalDistance(**options)
