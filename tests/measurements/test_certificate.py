"""Certificates of a classifier whose radius is a distance to a plane: never above it but by chance, and close to it."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from jembench.attacks.contract import Task
from jembench.attacks.defences import Defence, Defended
from jembench.attacks.distance import MinimalDistance
from jembench.attacks.threat import Threat
from jembench.attacks.verify import verify
from jembench.attacks.victim import Victim
from jembench.ground import generators
from jembench.measurements import certificate
from jembench.measurements.certificate import Certificate
from jembench.metrics.certification import certified
from jembench.types import Batch

SHAPE = (1, 2, 3)
W = torch.tensor([0.5, -2.0, 1.0, 0.01, -0.3, 3.0])


class Plane:
    """Two classes on both sides of a plane through the middle of [0, 1]^6; it says how often it was asked."""

    normalized = False

    def __init__(self):
        self.rows = []

    def logits(self, x):
        self.rows.append(len(x))
        f = (x.flatten(1) - 0.5) @ W
        return torch.stack([-f, f], 1)

    def log_density(self, x):
        return self.logits(x).logsumexp(1)


class Noisy(Plane):
    """The same, with noise of its own along W: in all, a smoothed classifier of larger sigma."""

    stochastic = True

    def __init__(self, sigma):
        super().__init__()
        self.sigma = sigma

    def logits(self, x, *, generator):
        return super().logits(x + self.sigma * torch.randn(x.shape, generator=generator))


def batch(distances):
    """Images at signed distances (B,) from the plane."""
    d = torch.as_tensor(distances, dtype=torch.float32)
    x = (0.5 + d[:, None] * W / W.norm()).reshape(-1, *SHAPE)
    return Batch(x, (d > 0).long(), torch.arange(len(d)), 256)


def columns(model, distances, *, key="noise", **settings):
    return Certificate(**settings).columns(model, batch(distances), generators.generator(key))


def test_the_radius_is_wrong_no_more_often_than_alpha():
    """On 4,000 images at the same distance, and alpha so large that errors are seen; the share itself errs on half."""
    d, sigma, alpha, n = 0.1, 0.25, 0.1, 4000
    found = columns(Plane(), [d] * n, sigma=sigma, selection=20, draws=100, alpha=alpha)
    wrong = (found["predicted"] == 1) & (found["radius"] > d)
    assert wrong.mean() < alpha + 3 * math.sqrt(alpha * (1 - alpha) / n)
    assert wrong.mean() > alpha / 4  # not by being timid
    # The other class has probability below 1/2: it is hardly ever certified.
    other = (found["predicted"] == 0) & (found["radius"] > 0)
    assert other.mean() < alpha


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_it_is_close_to_the_distance_up_to_what_the_draws_can_tell(sigma):
    """Between the distance for p less three standard errors and the distance, both sides; clipped far out."""
    distances = sigma * np.array([-3.0, -1.5, -0.5, 0.5, 1.5, 3.0])
    n, alpha = 2000, 0.001
    found = columns(Plane(), distances, sigma=sigma, draws=n, alpha=alpha)
    truth = np.abs(distances)
    p = norm.cdf(truth / sigma)
    share = np.maximum(p - 7 * np.sqrt(p * (1 - p) / n) - 12 / n, 0.5)
    assert (found["radius"] <= truth).all()
    assert (found["radius"] >= sigma * norm.ppf(share)).all()
    assert (found["radius"] <= sigma * norm.ppf(alpha ** (1 / n)) * (1 + 1e-9)).all()
    assert found["predicted"].tolist() == [0, 0, 0, 1, 1, 1]
    assert not found["abstained"].any()


def test_on_the_plane_it_abstains():
    found = columns(Plane(), [0.0] * 200, sigma=0.25, draws=200, alpha=0.01)
    assert found["abstained"].mean() > 0.9
    assert ((found["radius"] == 0) == (found["abstained"] == 1)).all()
    assert not certified(found["radius"], np.ones(200), 0.0)[found["abstained"] == 1].any()


def test_choosing_and_bounding_on_the_same_draws_would_be_caught(monkeypatch):
    """Planted bug: a coin then has two sides to be lucky on, and is certified nearly twice as often as alpha allows."""
    n, alpha = 4000, 0.1  # P(at least 57 heads of 100) = .097 is certified

    def share(key):
        found = columns(Plane(), [0.0] * n, sigma=0.25, selection=100, draws=100, alpha=alpha, key=key)
        return (found["radius"] > 0).mean()

    slack = 3 * math.sqrt(alpha * (1 - alpha) / n)
    assert share("fresh") < alpha + slack
    fresh, known = Certificate._counts, []

    def again(self, victim, x, draws, generator):
        known.append(fresh(self, victim, x, draws, generator))
        return known[0]

    monkeypatch.setattr(Certificate, "_counts", again)
    assert share("again") > 1.7 * alpha


def test_noise_of_the_models_own_is_part_of_the_smoothed_classifier():
    """The two noises add up, so the certificate for sigma alone is smaller than the distance, by their ratio."""
    d, own, sigma = 0.3, 0.4, 0.3
    found = columns(Noisy(own), [d] * 50, sigma=sigma, draws=2000)
    expected = sigma * d / math.hypot(own, sigma)
    assert (found["radius"] < expected).all()
    assert found["radius"].mean() > 0.8 * expected


def test_a_noise_defence_is_certified_by_its_own_noise():
    """The same numbers as of its base: the noise is not added twice. Of another sigma there is none."""
    distances = [0.05, -0.2, 0.4]
    base = columns(Plane(), distances, sigma=0.25)
    defended = columns(Defended(Plane(), Defence.smoothing(0.25)), distances, sigma=0.25)
    assert all(np.array_equal(base[name], defended[name]) for name in base)
    with pytest.raises(ValueError, match=r"0\.25.*0\.3"):
        columns(Defended(Plane(), Defence.smoothing(0.25)), distances, sigma=0.3)


@pytest.mark.parametrize("defence", [Defence(0, sigma=0.2, votes=3), Defence(1, sigma=0.2, votes=2)], ids=str)
def test_another_defence_is_smoothed_as_a_whole(defence):
    """Votes and refinements cost their passes, gradients too."""
    model, n = Plane(), 4
    found = columns(Defended(model, defence), [0.5] * n, sigma=0.25, selection=10, draws=40)
    assert found["forwards"].sum() == sum(model.rows) == n * 50 * defence.votes * (1 + defence.steps)
    assert found["gradients"].sum() == n * 50 * defence.votes * defence.steps
    assert (found["radius"] > 0).all()


@pytest.mark.parametrize(("n", "rows"), [(3, 7), (5, 2000), (7, 4)])
def test_forwards_are_what_the_network_saw_in_passes_of_a_fixed_size(n, rows, monkeypatch):
    monkeypatch.setattr(certificate, "ROWS", rows)
    model = Plane()
    found = columns(model, [0.2] * n, sigma=0.1, selection=11, draws=90)
    assert found["forwards"].sum() == sum(model.rows) == n * 101
    assert max(model.rows) <= max(rows, n)
    assert found["gradients"].sum() == 0
    assert found["forwards"].dtype == found["gradients"].dtype == np.int64
    assert found["radius"].dtype == np.float64


def test_it_is_a_function_of_its_generator():
    one, same, other = (columns(Plane(), [0.1] * 30, sigma=0.25, key=key) for key in ("a", "a", "b"))
    assert np.array_equal(one["radius"], same["radius"])
    assert not np.array_equal(one["radius"], other["radius"])


def test_nan_logits_vote_for_no_class():
    """Planted bug: a model that fails under noise gets no certificate, although argmax of NaN is a class."""

    class Broken(Plane):
        def logits(self, x):
            return super().logits(x) * math.nan

    found = columns(Broken(), [0.5, -0.5], sigma=0.25)
    assert found["abstained"].tolist() == [1, 1]


def test_certified_is_at_most_empirical_for_the_same_smoothed_model():
    """An attack on the smoothed classifier finds nothing inside its certificate, and adversarials not far outside."""
    sigma, n = 0.25, 12
    distances = np.linspace(0.05, 0.35, n)
    data = batch(distances)
    smooth = Defended(Plane(), Defence.smoothing(sigma))
    radius = Certificate(sigma).columns(smooth, data, generators.generator("certificate"))["radius"]
    generator, threat = generators.generator("attack"), Threat("l2", 1.0)
    task = Task(data.images, data.labels, None, threat, (), generator, ())
    victim = Victim(smooth, generator=generator, copies=20)
    found = MinimalDistance(steps=5, restarts=1).perturb(victim, task)
    judged = verify(
        smooth, data.images, data.labels, found.images, threat=threat, target=None, draws=501, generator=generator
    )
    distance = np.where(judged.vote.numpy(), math.inf, judged.distance.numpy())
    assert (radius <= distance).all()
    assert np.isfinite(distance).all()
    assert (distance <= distances + 0.15).all()  # the noise of a query is 0.056 across the plane


@pytest.mark.parametrize(
    "settings", [{"sigma": 0.0}, {"sigma": math.nan}, {"selection": 0}, {"draws": 0}, {"alpha": 0.0}, {"alpha": 1.0}]
)
def test_settings_without_a_meaning_are_refused(settings):
    with pytest.raises(ValueError, match="certificate needs"):
        Certificate(**{"sigma": 0.25, **settings})
