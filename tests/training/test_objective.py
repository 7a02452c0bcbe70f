"""The objective's terms in closed form, value and gradient, on networks simple enough to differentiate by hand."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jembench.ground import generators
from jembench.metrics.calibration import ece
from jembench.models.recipes import ObjectivePart
from jembench.training.objective import TERMS, Draws, Objective, soft_ece

D, K, B = 6, 3, 10


class Gaussians(nn.Module):
    """Logits t_y'x - |x|^2 / 2: log p(x|y) is that of N(t_y, I), up to a constant per class."""

    normalized = False

    def __init__(self, t):
        super().__init__()
        self.t = nn.Parameter(t.clone())

    def logits(self, x):
        flat = x.flatten(1)
        return flat @ self.t.T - flat.square().sum(1, keepdim=True) / 2

    def log_density(self, x):
        return self.logits(x).logsumexp(1)

    def log_conditional(self, x, labels):
        return self.logits(x).gather(1, labels[:, None]).squeeze(1)


class Normal(nn.Module):
    """The normalised density N(t, I)."""

    normalized = True

    def __init__(self, t):
        super().__init__()
        self.t = nn.Parameter(t.clone())

    def log_density(self, x):
        return -(x.flatten(1) - self.t).square().sum(1) / 2 - D / 2 * math.log(2 * math.pi)


class Constant(nn.Module):
    """A dead network: a bias, whatever the image."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))

    def logits(self, x):
        return self.bias.expand(len(x), -1)

    def log_density(self, x):
        return self.logits(x).logsumexp(1)

    def log_conditional(self, x, labels):
        return self.bias[labels]


def parameters(same=False):
    t = torch.randn((K, D), generator=generators.generator("t"))
    return t[:1].expand(K, D).clone() if same else t


def batch(*, negative=True, n=B):
    generator = generators.generator("draws", n)
    images = lambda: torch.rand((n, 1, 2, 3), generator=generator)  # noqa: E731
    labels = lambda: torch.randint(K, (n,), generator=generator)  # noqa: E731
    made = (images(), labels(), images(), labels(), images(), labels())
    return Draws(*(made if negative else made[:4]))


def computed(model, draws, **weights):
    """Loss, terms by name, and the gradient of the model's first parameter."""
    part = ObjectivePart(**{"log_py_x": 0.0, **weights})
    loss, terms = Objective(model, weights=part)(draws)
    model.zero_grad()
    loss.backward()
    parameter = next(model.parameters())
    assert not terms.requires_grad
    return loss.detach(), dict(zip(TERMS, terms.tolist(), strict=True)), parameter.grad


def flat(draws):
    return draws.x.flatten(1), draws.positive.flatten(1), None if draws.negative is None else draws.negative.flatten(1)


@pytest.mark.parametrize(("weight", "bound"), [(1.0, 0.0), (0.5, 0.02)])
def test_the_gradient_of_log_px_is_contrastive(weight, bound):
    """-w (mean x+ - mean x-) + 2 l (mean log p(x+) x+ + mean log p(x-) x-), with x- held fixed.

    All classes share one t, so that log p(x) = t'x - |x|^2 / 2 + log K.
    """
    draws, t = batch(), parameters(same=True)
    loss, terms, gradient = computed(Gaussians(t), draws, log_px=weight, energy_l2=bound)
    _, plus, minus = flat(draws)
    density = [x @ t[0] - x.square().sum(1) / 2 + math.log(K) for x in (plus, minus)]
    expected = -weight * (plus.mean(0) - minus.mean(0))
    for x, log_p in zip((plus, minus), density, strict=True):
        expected = expected + 2 * bound * (log_p[:, None] * x).mean(0)
    assert torch.allclose(gradient.sum(0), expected, atol=1e-5)
    value = -weight * (density[0].mean() - density[1].mean()) + bound * sum(p.square().mean() for p in density)
    assert loss.item() == pytest.approx(value.item(), abs=1e-5)
    assert terms["log_px_data"] == pytest.approx(density[0].mean().item(), abs=1e-5)
    assert terms["log_px_samples"] == pytest.approx(density[1].mean().item(), abs=1e-5)
    assert math.isnan(terms["nll"])
    assert math.isnan(terms["accuracy"])


def test_the_gradient_of_log_px_y_is_contrastive_in_every_class():
    """d/dt_k: -w (sum of x+ of class k - sum of x- of class k) / B."""
    draws = batch()
    _, terms, gradient = computed(Gaussians(parameters()), draws, log_px_y=0.7)
    _, plus, minus = flat(draws)
    ours, theirs = (nn.functional.one_hot(y, K).float() for y in (draws.positive_y, draws.negative_y))
    assert torch.allclose(gradient, -0.7 * (ours.T @ plus - theirs.T @ minus) / B, atol=1e-5)
    conditional = plus @ parameters().T - plus.square().sum(1, keepdim=True) / 2
    assert terms["log_px_data"] == pytest.approx(conditional[range(B), draws.positive_y].mean().item(), abs=1e-5)


def test_the_gradient_of_log_py_x_is_that_of_logistic_regression():
    """w (p - onehot)' x / B; the density's images have no part in it."""
    draws, t = batch(), parameters()
    loss, terms, gradient = computed(Gaussians(t), draws, log_py_x=2.0)
    x, _, _ = flat(draws)
    p = (x @ t.T).softmax(1)
    assert torch.allclose(gradient, 2 * (p - nn.functional.one_hot(draws.y, K)).T @ x / B, atol=1e-5)
    assert loss.item() == pytest.approx(-2 * p[range(B), draws.y].log().mean().item(), abs=1e-5)
    assert terms["nll"] == pytest.approx(loss.item() / 2)
    assert terms["accuracy"] == pytest.approx((p.argmax(1) == draws.y).float().mean().item())
    assert math.isnan(terms["log_px_data"])
    assert math.isnan(terms["log_px_samples"])


def test_a_normalised_density_is_trained_exactly():
    """-w log p(x) itself: gradient w (t - mean x), zero at the maximum of the likelihood; no samples."""
    draws, t = batch(negative=False), parameters()[0]
    loss, terms, gradient = computed(Normal(t), draws, log_px=0.5)
    _, plus, _ = flat(draws)
    assert torch.allclose(gradient, 0.5 * (t - plus.mean(0)), atol=1e-6)
    expected = torch.distributions.Normal(t, 1.0).log_prob(plus).sum(1).mean().item()
    assert loss.item() == pytest.approx(-0.5 * expected, abs=1e-5)
    assert terms["log_px_data"] == pytest.approx(expected, abs=1e-5)
    assert math.isnan(terms["log_px_samples"])
    _, _, there = computed(Normal(plus.mean(0)), draws, log_px=1.0)
    assert there.abs().max() < 1e-6


def test_the_gradient_penalty_of_a_quadratic():
    """grad log p(x) = t - x: the penalty is g mean |t - x+|^2, its gradient 2 g mean (t - x+)."""
    draws, t = batch(), parameters(same=True)
    _, plus, minus = flat(draws)
    plain, _, before = computed(Gaussians(t), draws, log_px=1.0)
    loss, _, gradient = computed(Gaussians(t), draws, log_px=1.0, gradient_penalty=0.3)
    slope = t[0] - plus
    assert (loss - plain).item() == pytest.approx(0.3 * slope.square().sum(1).mean().item(), abs=1e-5)
    assert torch.allclose((gradient - before).sum(0), 0.6 * slope.mean(0), atol=1e-5)
    again, _, _ = computed(Gaussians(t), draws, log_px=1.0, gradient_penalty=0.3)
    assert torch.equal(again, loss)  # the batch can be used again, as by SAM
    exact, _, _ = computed(Normal(t[0]), draws, log_px=1.0, gradient_penalty=0.3)
    bare, _, _ = computed(Normal(t[0]), draws, log_px=1.0)
    assert (exact - bare).item() == pytest.approx((loss - plain).item(), abs=1e-5)
    assert not torch.equal(plus, minus)


def test_the_slope_of_log_px_y_is_penalised_for_its_own_class():
    draws, t = batch(), parameters()
    loss, _, _ = computed(Gaussians(t), draws, log_px_y=1.0, gradient_penalty=0.3)
    plain, _, _ = computed(Gaussians(t), draws, log_px_y=1.0)
    slope = t[draws.positive_y] - flat(draws)[1]
    assert (loss - plain).item() == pytest.approx(0.3 * slope.square().sum(1).mean().item(), abs=1e-5)


def test_energy_l2_does_not_scale_with_the_densitys_weight():
    draws, t = batch(), parameters()
    added = []
    for weight in (0.1, 1.0):
        with_bound, _, _ = computed(Gaussians(t), draws, log_px=weight, energy_l2=0.2)
        without, _, _ = computed(Gaussians(t), draws, log_px=weight)
        added.append((with_bound - without).item())
    assert added[0] == pytest.approx(added[1], rel=1e-4)


def test_entropy_is_that_of_the_unlabelled_images():
    """Value and gradient by torch's Categorical; at its most, log K, for equal logits."""
    draws, t = batch(negative=False), parameters()
    plain, _, before = computed(Gaussians(t), draws, log_py_x=1.0)
    loss, _, gradient = computed(Gaussians(t), draws, log_py_x=1.0, entropy=0.4)
    free = t.clone().requires_grad_()
    entropy = torch.distributions.Categorical(logits=flat(draws)[1] @ free.T).entropy().mean()
    entropy.backward()
    assert (loss - plain).item() == pytest.approx(0.4 * entropy.item(), abs=1e-5)
    assert torch.allclose(gradient - before, 0.4 * free.grad, atol=1e-6)
    same, _, _ = computed(Gaussians(parameters(same=True)), draws, log_py_x=1.0, entropy=1.0)
    bare, _, _ = computed(Gaussians(parameters(same=True)), draws, log_py_x=1.0)
    assert (same - bare).item() == pytest.approx(math.log(K), abs=1e-5)


def test_the_calibration_term_is_of_the_labelled_batch():
    draws, t = batch(), parameters()
    plain, _, _ = computed(Gaussians(t), draws, log_py_x=1.0)
    loss, _, _ = computed(Gaussians(t), draws, log_py_x=1.0, soft_ece=0.4)
    assert (loss - plain).item() == pytest.approx(0.4 * soft_ece(flat(draws)[0] @ t.T, draws.y).item(), abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(*(st.floats(0, 3).filter(lambda w: w == 0 or w > 1e-3) for _ in range(3)))
def test_the_three_weights_are_linear(w1, w2, w3):
    """L(w1, w2, w3) = w1 L(1, 0, 0) + w2 L(0, 1, 0) + w3 L(0, 0, 1), and so is its gradient."""
    names, draws, model = ("log_py_x", "log_px", "log_px_y"), batch(), Gaussians(parameters())
    whole, slope = torch.zeros(()), torch.zeros(K, D)
    for name, w in zip(names, (w1, w2, w3), strict=True):
        loss, _, gradient = computed(model, draws, **{name: 1.0})
        whole, slope = whole + w * loss, slope + w * gradient
    if w1 == w2 == w3 == 0:
        return
    loss, _, gradient = computed(model, draws, log_py_x=w1, log_px=w2, log_px_y=w3)
    assert loss.item() == pytest.approx(whole.item(), abs=1e-4)
    assert torch.allclose(gradient, slope, atol=1e-4)


def test_samples_are_held_fixed():
    """No gradient goes into the chains, nor into the labelled batch."""
    draws = batch()
    computed(Gaussians(parameters()), draws, log_py_x=1.0, log_px=1.0, log_px_y=1.0, energy_l2=0.1, entropy=0.1)
    assert not any(x.requires_grad for x in (draws.x, draws.positive, draws.negative))


def test_half_precision_is_near_and_its_loss_is_fp32():
    network = nn.Sequential(nn.Flatten(), nn.Linear(D, 16), nn.SiLU(), nn.Linear(16, K))
    with generators.forked("half"):
        for layer in (network[1], network[3]):
            layer.reset_parameters()

    class Model(Gaussians):
        def logits(self, x):
            return network(x)

    found = {}
    for precision in ("fp32", "bf16"):
        network.zero_grad()
        objective = Objective(Model(parameters()), weights=ObjectivePart(log_px=1.0), precision=precision)
        loss, terms = objective(batch())
        loss.backward()
        assert loss.dtype == terms.dtype == torch.float32
        found[precision] = loss.detach(), torch.cat([p.grad.flatten() for p in network.parameters()])
    assert not torch.equal(found["bf16"][0], found["fp32"][0])
    assert torch.allclose(found["bf16"][0], found["fp32"][0], atol=0.02)
    assert torch.cosine_similarity(found["bf16"][1], found["fp32"][1], dim=0) > 0.999


@pytest.mark.parametrize(
    "weights", [{"log_py_x": 1.0}, {"log_px": 1.0}, {"log_px_y": 1.0}, {"log_py_x": 1.0, "log_px": 1.0}]
)
def test_the_spread_of_a_dead_network_is_0(weights):
    """Cross-entropy and gap of a dead network look healthy; of one that lives the spread is a standard deviation."""
    draws = batch()
    alike = Draws(draws.x, draws.y, draws.positive, 0 * draws.y, draws.negative, 0 * draws.y)
    _, terms, _ = computed(Constant(), alike, **weights)
    assert terms["spread"] == pytest.approx(0, abs=1e-6)
    model = Gaussians(parameters())
    _, terms, _ = computed(model, draws, **weights)
    with torch.no_grad():
        expected = []
        if "log_py_x" in weights:
            expected.append(model.logits(draws.x).std(0).max())
        if "log_px" in weights:
            expected += [model.log_density(x).std() for x in (draws.positive, draws.negative)]
        if "log_px_y" in weights:
            pairs = (draws.positive, draws.positive_y), (draws.negative, draws.negative_y)
            expected += [model.log_conditional(x, y).std() for x, y in pairs]
    assert terms["spread"] == pytest.approx(max(expected).item(), rel=1e-5)


@pytest.mark.parametrize("negative", [True, False])
def test_a_batch_of_one_has_no_spread(negative):
    """A share of one position is no error and no warning."""
    draws = batch(negative=negative, n=1)
    loss, terms, _ = computed(Gaussians(parameters()), draws, log_py_x=1.0, log_px=1.0)
    assert loss.isfinite()
    assert math.isnan(terms["spread"])


def calibration_batch(n=400, k=4, key="ece"):
    """Logits of all confidences, and labels that a too confident model would have."""
    generator = generators.generator(key)
    logits = 3 * torch.randn((n, k), generator=generator, dtype=torch.float64)
    return logits, torch.multinomial((logits / 2).softmax(1), 1, generator=generator).squeeze(1)


def rms_ece(confidence, correct, bins):
    """The root of the mean square of (accuracy - confidence) over bins of equal width, weighted by their members."""
    total = 0.0
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    for m in range(bins):
        if (inside := which == m).any():
            total += inside.mean() * (correct[inside].mean() - confidence[inside].mean()) ** 2
    return math.sqrt(total)


@pytest.mark.parametrize("bins", [5, 15])
def test_with_hard_bins_it_is_the_plain_error(bins):
    """As the softness goes to 0: the error of equal bins in the root of the mean square."""
    logits, labels = calibration_batch()
    confidence, predicted = logits.softmax(1).max(1)
    expected = rms_ece(confidence.numpy(), (predicted == labels).numpy(), bins)
    found = [soft_ece(logits, labels, bins=bins, softness=t).item() for t in (1e-2, 1e-4, 1e-8)]
    assert found[2] == pytest.approx(expected, abs=1e-6)
    assert abs(found[1] - expected) < abs(found[0] - expected)


def test_with_one_bin_it_is_the_ece_of_the_metrics():
    """Where the mean absolute and the root mean square are one: |accuracy - mean confidence|."""
    logits, labels = calibration_batch()
    confidence, predicted = (t.numpy() for t in logits.softmax(1).max(1))
    expected = ece(confidence, (predicted == labels.numpy()).astype(float), bins=1)
    assert soft_ece(logits, labels, bins=1).item() == pytest.approx(expected, abs=1e-9)


def test_it_bounds_the_ece_of_the_metrics():
    """By Jensen's inequality, in the limit of hard bins; and it sees an over-confident model."""
    logits, labels = calibration_batch()
    confidence, predicted = (t.numpy() for t in logits.softmax(1).max(1))
    plain = ece(confidence, (predicted == labels.numpy()).astype(float), bins=15)
    assert soft_ece(logits, labels, softness=1e-8).item() >= plain
    assert soft_ece(2 * logits, labels) > soft_ece(logits, labels) > soft_ece(logits / 2, labels)


@pytest.mark.parametrize("softness", [1e-8, 1e-2, 1.0])
def test_a_perfectly_calibrated_batch_has_none(softness):
    """Confidences 1/2, 3/4 and 9/10, of which exactly 1/2, 3/4 and 9/10 are right."""
    logits, labels = [], []
    for right, of in ((2, 4), (6, 8), (9, 10)):
        logits += [[math.log(right / (of - right)) + 1e-9, 0.0]] * of
        labels += [0] * right + [1] * (of - right)
    found = soft_ece(torch.tensor(logits, dtype=torch.float64), torch.tensor(labels), softness=softness)
    assert found.item() == pytest.approx(0, abs=2e-6)
    wrong = soft_ece(torch.tensor(logits, dtype=torch.float64), 1 - torch.tensor(labels), softness=softness)
    assert wrong.item() > 0.4


@pytest.mark.parametrize(("bins", "softness"), [(15, 0.01), (5, 0.1)])
def test_its_gradient_is_right(bins, softness):
    logits, labels = calibration_batch(12)
    assert torch.autograd.gradcheck(
        lambda f: soft_ece(f, labels, bins=bins, softness=softness), (logits.requires_grad_(),)
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.sampled_from([1e-3, 1.0, 50.0, 1e4]), st.booleans())
def test_its_gradient_is_finite_everywhere(n, scale, right):
    """Also where all confidences are 1, equal, or their bins have no members."""
    logits = (scale * torch.randn((n, 3), generator=generators.generator("finite", n))).requires_grad_()
    labels = logits.argmax(1) if right else logits.argmin(1)
    found = soft_ece(logits, labels)
    found.backward()
    assert 0 <= found.item() <= 1
    assert logits.grad.isfinite().all()


def test_descending_it_calibrates():
    """A temperature that is trained by it alone comes near to the true one, 2."""
    logits, labels = calibration_batch(1500)
    temperature = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([temperature], lr=0.1)
    for _ in range(50):
        optimiser.zero_grad()
        soft_ece(logits / temperature, labels).backward()
        optimiser.step()
    assert temperature.item() == pytest.approx(2, abs=0.3)


def test_every_term_is_reported_under_its_name():
    for weights in product((0.0, 1.0), repeat=3):
        names = dict(zip(("log_py_x", "log_px", "log_px_y"), weights, strict=True))
        if sum(weights) == 0:
            continue
        _, terms, _ = computed(Gaussians(parameters()), batch(), **names)
        applies = {"nll": weights[0], "accuracy": weights[0], "log_px_data": sum(weights[1:]), "spread": 1}
        assert {name: not math.isnan(terms[name]) for name in applies} == {n: w > 0 for n, w in applies.items()}
