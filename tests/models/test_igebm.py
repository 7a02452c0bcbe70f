"""An IGEBM whose energy is known: its constants are found again, and its samples have the moments of its classes."""

import math

import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from torch import nn

from jembench import data
from jembench.ground import generators, seeding
from jembench.langevin.sgld import SGLD
from jembench.langevin.starts import Uniform
from jembench.models.chains import ChainSampler
from jembench.models.igebm import IGEBM, RIDGE, fitted_bias, from_recipe
from jembench.models.recipes import Recipe
from jembench.models.residual import ResidualEBM
from jembench.types import Chained, Classifier, Density, Sampler, capabilities

SHAPE = (1, 1, 2)
MEANS = torch.tensor([[0.3, 0.6], [0.7, 0.4], [0.5, 0.5]])
SIGMAS = torch.tensor([0.05, 0.08, 0.12])
PRIOR = torch.tensor([0.2, 0.5, 0.3])


class Gaussians(nn.Module):
    """E(x, y) = |x - mean[y]|^2 / (2 sigma[y]^2): log Z_y = log(2 pi sigma[y]^2) is another in every class."""

    def energy(self, x, y):
        return self.energies(x).gather(1, y[:, None]).squeeze(1)

    def energies(self, x):
        return (x.flatten(1)[:, None] - MEANS).square().sum(2) / (2 * SIGMAS**2)


def igebm(network=None, *, step=0.1, steps=250, buffer=12, classes=3, mean=0.0, std=1.0):
    """Chains of true Langevin dynamics, a = ``step`` times the smallest variance."""
    settings = SGLD(steps=steps, size=step * 0.05**2, noise=0.05 * math.sqrt(2 * step))
    sampler = ChainSampler(Uniform(shape=SHAPE, classes=classes), settings=settings, buffer=buffer)
    sampler.labels.copy_(torch.arange(buffer) % classes)
    return IGEBM(network or Gaussians(), classes=classes, sampler=sampler, mean=mean, std=std)


def draws(n):
    """Images and labels of the mixture."""
    generator = generators.generator("draws", n)
    y = torch.multinomial(PRIOR, n, replacement=True, generator=generator)
    x = MEANS[y] + SIGMAS[y, None] * torch.randn((n, 2), generator=generator)
    return x.reshape(n, *SHAPE), y


def bayes(x):
    """p(y|x) from the normalised densities."""
    square = (x.flatten(1)[:, None] - MEANS).square().sum(2)
    return (PRIOR.log() - square / (2 * SIGMAS**2) - torch.log(2 * math.pi * SIGMAS**2)).softmax(1)


def posterior_draws(scores, name):
    """Labels drawn from softmax(scores)."""
    return torch.multinomial(scores.softmax(1), 1, generator=generators.generator(name)).squeeze(1)


def test_it_has_its_capabilities():
    model = igebm()
    assert capabilities(model) == {"classifier", "density", "sampler", "chain"}
    assert all(isinstance(model, protocol) for protocol in (Classifier, Density, Sampler, Chained))
    assert model.conditional is True
    assert model.normalized is False


def test_before_fitting_the_logits_are_the_energies():
    x, y = draws(20)
    model = igebm()
    assert torch.equal(model.bias, torch.zeros(3))
    assert torch.equal(model.logits(x), -model.network.energies(x))
    assert torch.allclose(model.log_conditional(x, y), model.logits(x)[torch.arange(20), y])
    assert torch.allclose(model.log_density(x), model.logits(x).exp().sum(1).log(), atol=1e-5)


def test_the_network_sees_normalised_pixels():
    x, y = draws(20)
    plain, model = igebm(), igebm(mean=0.5, std=0.25)
    assert torch.allclose(model.logits(x), plain.logits((x - 0.5) / 0.25))
    assert torch.allclose(model.log_conditional(x, y), plain.log_conditional((x - 0.5) / 0.25, y))


def test_fitted_logits_are_the_posteriors_of_bayes_rule():
    """The true -E leaves log Z_y and the prior open; b = log p(y) - log Z_y is found from labelled draws."""
    model = igebm()
    x, y = draws(40_000)
    unfitted = model.logits(x).softmax(1)
    model.fit_bias(model.logits(x), y)
    wanted = PRIOR.log() - torch.log(2 * math.pi * SIGMAS**2)
    assert model.bias.tolist() == pytest.approx((wanted - wanted.mean()).tolist(), abs=0.06)
    assert (model.logits(x).softmax(1) - bayes(x)).abs().max() < 0.02
    assert (unfitted - bayes(x)).abs().max() > 0.2


def test_a_common_constant_is_the_only_one_left_in_the_density():
    """log p(x), exactly, up to one number: with the true b, and with a fitted one nearly."""
    x, y = draws(20_000)
    square = (x.flatten(1)[:, None] - MEANS).square().sum(2)
    true = (PRIOR.log() - square / (2 * SIGMAS**2) - torch.log(2 * math.pi * SIGMAS**2)).logsumexp(1)
    model = igebm()
    assert (model.log_density(x) - true).std() > 0.3
    model.fit_bias(model.logits(x), y)
    assert (model.log_density(x) - true).std() < 0.02


@pytest.mark.parametrize(("n", "classes", "scale", "spread"), [(500, 3, 1, 2), (2000, 10, 3, 20), (300, 5, 1, 300)])
def test_fitting_finds_the_optimum_that_scipy_finds(n, classes, scale, spread):
    """Also where the constants of the classes are hundreds of nats apart."""
    generator = generators.generator("scipy", n)
    scores = scale * torch.randn((n, classes), generator=generator, dtype=torch.float64)
    labels = posterior_draws(scores, "labels")
    shift = spread * torch.randn(classes, generator=generator, dtype=torch.float64)
    b = fitted_bias(scores - shift, labels).numpy()

    s, y = (scores - shift).numpy(), labels.numpy()

    def objective(b):
        return -log_softmax(s + b, axis=1)[range(n), y].mean() + RIDGE / 2 * b @ b

    assert b.sum() == pytest.approx(0, abs=1e-9)
    start = b + 0.1 * seeding.rng("start").standard_normal(classes)
    found = minimize(objective, start, method="BFGS", options={"gtol": 1e-7})
    assert objective(b) <= found.fun + 1e-12
    # Along a common constant the ridge alone holds BFGS, which stops early there.
    assert b == pytest.approx(found.x - found.x.mean(), abs=1e-4)


def test_fitting_agrees_with_a_logistic_regression():
    """Two classes: the intercept of sklearn's regression on the score difference, its slope pushed to 1.

    The maximum over (slope, intercept) is ours at slope 1 once the scores are multiplied by the slope found there.
    """
    generator = generators.generator("sklearn")
    difference = 2 * torch.randn(3000, generator=generator, dtype=torch.float64)
    labels = posterior_draws(torch.stack((0 * difference, difference + 1), 1), "two")
    regression = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(difference[:, None].numpy(), labels.numpy())
    slope, intercept = regression.coef_.item(), regression.intercept_.item()
    b = fitted_bias(torch.stack((0 * difference, slope * difference), 1), labels)
    assert (b[1] - b[0]).item() == pytest.approx(intercept, abs=1e-3)


def test_the_fitted_mean_posterior_is_the_frequency_of_the_classes():
    """The optimality condition, to the ridge."""
    scores = 5 * torch.randn((400, 4), generator=generators.generator("mean"), dtype=torch.float64)
    labels = posterior_draws(scores * 0.3, "mean labels")
    b = fitted_bias(scores, labels)
    frequency = torch.bincount(labels, minlength=4).double() / 400
    assert torch.allclose((scores + b).softmax(1).mean(0) + RIDGE * b, frequency, atol=1e-9)


def test_data_that_can_be_separated_have_an_optimum():
    """So has a class without examples: it gets a small probability, not -infinity."""
    scores = torch.eye(4).repeat(25, 1)[:, [1, 0, 2, 3]] * 50
    labels = torch.arange(100) % 4
    swapped = fitted_bias(scores, labels)
    assert swapped.isfinite().all()
    alone = fitted_bias(torch.zeros(50, 3), torch.arange(50) % 2)
    assert alone.isfinite().all()
    assert alone.softmax(0)[2] < 1e-4
    assert alone[0].item() == pytest.approx(alone[1].item(), abs=1e-5)
    single = fitted_bias(torch.zeros(1, 2), torch.tensor([1]))
    assert single.softmax(0)[1] > 0.99


def test_fitting_is_deterministic_and_ignores_a_constant_per_example():
    x, y = draws(500)
    model = igebm()
    scores = model.logits(x)
    first = fitted_bias(scores, y)
    assert torch.equal(first, fitted_bias(scores, y))
    constant = torch.linspace(-50, 50, 500)[:, None]
    assert torch.allclose(fitted_bias(scores.double() + constant, y), first.double(), atol=1e-4)
    assert first.dtype == torch.float32


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), "n > 0"),
        (torch.zeros(4, 3), torch.zeros(3, dtype=torch.int64), r"not \(4, 3\), \(3,\)"),
        (torch.full((4, 3), math.nan), torch.zeros(4, dtype=torch.int64), "must be finite"),
    ],
)
def test_scores_that_cannot_be_fitted_are_refused(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        fitted_bias(scores, labels)


def test_conditional_samples_have_the_moments_of_their_class():
    """Langevin with step a samples N(mean, sigma^2 / (1 - a / (2 sigma^2))), see tests/langevin/test_sgld.py."""
    model, n = igebm(steps=400), 6000
    labels = torch.arange(n) % 2
    x = model.sample(n, generator=generators.generator("moments"), labels=labels).double().flatten(1)
    for y in (0, 1):
        own = x[labels == y]
        variance = SIGMAS[y].item() ** 2
        variance /= 1 - 0.1 * 0.05**2 / (2 * variance)
        assert own.mean(0).tolist() == pytest.approx(MEANS[y].tolist(), abs=5 * math.sqrt(variance / 3000))
        assert own.var(0).tolist() == pytest.approx([variance] * 2, rel=0.12)
        assert torch.cov(own.T)[0, 1].item() == pytest.approx(0, abs=5 * variance / math.sqrt(3000))


def test_the_bias_does_not_move_conditional_samples():
    """log p(x|y) needs no constant."""
    labels = torch.arange(6) % 3
    plain, fitted = igebm(steps=5), igebm(steps=5)
    fitted.bias.copy_(torch.tensor([5.0, -3.0, -2.0]))
    noise = [generators.generator("bias") for _ in range(2)]
    assert torch.equal(
        plain.sample(6, generator=noise[0], labels=labels), fitted.sample(6, generator=noise[1], labels=labels)
    )


def test_without_labels_the_classes_are_uniform():
    x = igebm(steps=400).sample(3000, generator=generators.generator("uniform"))
    model = igebm()
    model.bias.copy_(-torch.log(SIGMAS**2))  # the posteriors of equally likely classes
    assert model.logits(x).softmax(1).mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


def test_a_buffer_start_goes_on_from_different_chains_of_the_class():
    model = igebm(buffer=30)
    model.sampler.chains.copy_(torch.rand(model.sampler.chains.shape, generator=generators.generator("chains")))
    before = model.sampler.chains.clone()
    everything = model.sample(30, generator=generators.generator("b"), start="buffer", steps=0)
    assert sorted(everything.flatten(1).tolist()) == sorted(before.flatten(1).tolist())
    labels = torch.tensor([2, 0, 2, 1, 2, 0])
    x = model.sample(6, generator=generators.generator("b"), labels=labels, start="buffer", steps=0)
    slots = [before.flatten(1).tolist().index(row) for row in x.flatten(1).tolist()]
    assert len(set(slots)) == 6
    assert model.sampler.labels[slots].tolist() == labels.tolist()
    assert torch.equal(model.sampler.chains, before)


def test_a_chain_of_the_buffer_keeps_its_class():
    """Without labels each chain climbs the density of the class that it was started with."""
    model = igebm(buffer=600, steps=300)
    model.sampler.chains.fill_(0.5)
    x = model.sample(600, generator=generators.generator("keep"), start="buffer").flatten(1)
    # By the spread of the ends, for the means are mixed: every class has 200 chains.
    near = torch.stack([((x - MEANS[y]).norm(dim=1) < 1.5 * SIGMAS[y]).sum() for y in (0, 1)])
    inside = 200 * (1 - math.exp(-(1.5**2) / 2))  # of a Gaussian in two dimensions
    assert near[0].item() == pytest.approx(inside, abs=35)
    assert near[1].item() == pytest.approx(inside, abs=35)


@pytest.mark.parametrize("start", ["fresh", "buffer"])
@pytest.mark.parametrize("labels", [None, torch.tensor([1, 0, 2, 1])])
def test_samples_are_a_function_of_the_generator_also_under_no_grad(start, labels):
    model = igebm(steps=5)
    model.sampler.chains.copy_(torch.rand(model.sampler.chains.shape, generator=generators.generator("chains")))
    with torch.no_grad():
        quiet = model.sample(4, generator=generators.generator("g"), labels=labels, start=start)
    assert torch.equal(quiet, model.sample(4, generator=generators.generator("g"), labels=labels, start=start))
    assert not torch.equal(quiet, model.sample(4, generator=generators.generator("h"), labels=labels, start=start))
    assert not quiet.requires_grad


def test_samples_stay_in_range_also_where_the_chain_does_not():
    model = igebm(mean=0.3, std=0.3)  # the network's Gaussians are then partly outside [0, 1]
    x = model.sample(100, generator=generators.generator("r"), steps=0)
    assert 0 <= x.min() < x.max() <= 1
    loud = igebm(step=40.0, steps=1).sample(200, generator=generators.generator("r"))
    assert loud.min() == 0
    assert loud.max() == 1


def test_impossible_requests_are_refused():
    model = igebm(buffer=3)
    with pytest.raises(ValueError, match="holds 3 chains, fewer than 4"):
        model.sample(4, generator=generators.generator(), start="buffer")
    with pytest.raises(ValueError, match="holds 1 chains of class 2, fewer than 2"):
        model.sample(3, generator=generators.generator(), start="buffer", labels=torch.tensor([2, 1, 2]))
    with pytest.raises(ValueError, match=r"labels must have shape \(4,\), not \(3,\)"):
        model.sample(4, generator=generators.generator(), labels=torch.zeros(3, dtype=torch.int64))


def test_what_was_fitted_and_the_chains_travel_with_the_weights():
    def made():
        sampler = ChainSampler(Uniform(shape=(1, 8, 8), classes=3), settings=SGLD(steps=3), buffer=6)
        with generators.forked("made"):
            return IGEBM(ResidualEBM(shape=(1, 8, 8), classes=3, width=4), classes=3, sampler=sampler).eval()

    model, other = made(), made()
    model.bias.copy_(torch.tensor([1.0, 0.0, -1.0]))
    model.sampler.chains.fill_(0.25)
    model.sampler.labels.copy_(torch.tensor([2, 1, 0, 0, 1, 2]))
    assert {"bias", "sampler.chains", "sampler.labels"} <= set(model.state_dict())
    other.load_state_dict(model.state_dict())
    x = torch.rand((4, 1, 8, 8), generator=generators.generator("x"))
    assert torch.equal(other.logits(x), model.logits(x))
    first, second = (
        m.sample(3, generator=generators.generator("s"), start="buffer", labels=torch.tensor([0, 2, 1]))
        for m in (model, other)
    )
    assert torch.equal(first, second)
    assert torch.allclose(
        model.log_conditional(x, torch.tensor([0, 1, 2, 0])), -model.network.energies(x)[range(4), [0, 1, 2, 0]]
    )


def test_a_recipe_makes_the_network_of_its_track():
    recipe = Recipe.model_validate(
        {
            "track": "digits",
            "about": "a test",
            "model": {"kind": "igebm", "network": "residual", "width": 4, "mean": 0.5, "std": 0.5},
            "objective": {"log_py_x": 0.0, "log_px_y": 1.0},
            "training": {"iterations": 1},
            "sampling": {"buffer": 64, "steps": 2},
        }
    )
    with generators.forked("recipe"):
        model = from_recipe(recipe, data.track("digits")).eval()
    x = model.sample(4, generator=generators.generator("r"))
    assert x.shape == (4, 1, 8, 8)
    assert model.logits(x).shape == (4, 10)
    assert model.mean.item() == model.std.item() == 0.5


def test_a_start_that_is_advanced_is_a_sample_and_needs_its_class():
    model, draws, labels = igebm(steps=9), generators.generator("advance"), torch.tensor([2, 0, 1, 0])
    x = model.sample(4, generator=draws, labels=labels, steps=0)
    x = model.advance(x, generator=draws, labels=labels)
    assert torch.equal(x.clamp(0, 1), model.sample(4, generator=generators.generator("advance"), labels=labels))
    with pytest.raises(ValueError, match="need the labels"):
        model.advance(x, generator=draws)


def test_its_persistent_chains_are_shown_with_their_classes():
    x, y = igebm(buffer=12).persistent()
    assert x.shape == (12, *SHAPE)
    assert y.tolist() == [0, 1, 2] * 4
