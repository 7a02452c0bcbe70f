"""PGD where the optimum is known, in its ball whatever the loss, and step by step the attack of torchattacks."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from jembench.attacks.pgd import pgd
from jembench.ground import compat, generators
from jembench.ground.shares import Share
from jembench.models.small import SmallNet

SHAPE = (1, 2, 3)
NORMS = ("linf", "l2")
W = torch.tensor([0.5, -2.0, 1.0, 0.01, -0.3, 3.0]).reshape(SHAPE)


def linear(x):
    """A loss w'x: the steepest direction is the same everywhere."""
    return (x * W).flatten(1).sum(1)


def middle(n=20):
    """Images so far inside [0, 1] that no ball of radius 0.2 leaves it."""
    return 0.25 + 0.5 * torch.rand((n, *SHAPE), generator=generators.generator("x"))


def attack(x, norm="linf", *, eps=0.1, steps=40, size=0.02, loss=linear, key="pgd", **options):
    ball = {"norm": norm, "eps": eps}
    return pgd(loss, x, **ball, steps=steps, size=size, generator=generators.generator(key), **options)


def from_the_image(x, generator):
    """Noise in the middle of its distribution: the attack starts at the image."""
    return torch.zeros_like(x)


def test_the_linf_optimum_of_a_linear_loss_is_a_corner():
    """x + eps sign(w), exactly; clipped where that leaves [0, 1]."""
    x = middle()
    assert torch.allclose(attack(x), x + 0.1 * W.sign(), atol=1e-7)
    anywhere = torch.rand((50, *SHAPE), generator=generators.generator("anywhere"))
    assert torch.allclose(attack(anywhere), (anywhere + 0.1 * W.sign()).clamp(0, 1), atol=1e-7)


def test_the_l2_optimum_of_a_linear_loss_is_the_end_of_a_radius():
    """x + eps w / |w|; a step along w keeps the part across it until the projection turns it away."""
    x = middle()
    optimum = x + 0.1 * W / W.norm()
    found = attack(x, "l2", steps=200, size=0.1)
    assert torch.allclose(found, optimum, atol=1e-5)
    assert ((found - x).flatten(1).norm(dim=1) <= 0.1 + 1e-6).all()


@pytest.mark.parametrize("norm", NORMS)
def test_from_the_image_one_step_is_the_formula(norm):
    x = middle()
    direction = W.sign() if norm == "linf" else W / W.norm()
    found = attack(x, norm, steps=1, size=0.03, draw=from_the_image)
    assert torch.allclose(found, x + 0.03 * direction, atol=1e-6)
    far = attack(x, norm, steps=1, size=5.0, draw=from_the_image)
    assert torch.allclose(far, x + 0.1 * direction, atol=1e-6)


LOSSES = {
    "linear": linear,
    "steep": lambda x: 1e6 * (x * W).flatten(1).sum(1),
    "tiny": lambda x: 1e-20 * (x * W).flatten(1).sum(1),
    "bent": lambda x: (20 * x).sin().flatten(1).sum(1),
    "flat": lambda x: 0 * x.flatten(1).sum(1),
    "some": lambda x: x.flatten(1)[:, 0] ** 3,
}


@settings(max_examples=80, deadline=None)
@given(
    norm=st.sampled_from(NORMS),
    eps=st.floats(1e-4, 3),
    size=st.floats(1e-4, 3),
    steps=st.integers(0, 6),
    loss=st.sampled_from(sorted(LOSSES)),
    edge=st.booleans(),
    seed=st.integers(0, 99),
)
def test_it_stays_in_the_ball_and_in_range(norm, eps, size, steps, loss, edge, seed):
    """Whatever the loss, the step and the image, also one on the ends of the range; and nothing is NaN."""
    x = torch.rand((4, *SHAPE), generator=generators.generator("images", seed))
    x = x.round() if edge else x
    found = attack(x, norm, eps=eps, steps=steps, size=size, loss=LOSSES[loss], key=str(seed))
    assert found.min() >= 0
    assert found.max() <= 1
    delta = (found - x).flatten(1)
    length = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    assert (length <= eps * (1 + 1e-5) + 1e-7).all()
    assert found.shape == x.shape
    assert not found.requires_grad


@pytest.mark.parametrize("norm", NORMS)
def test_a_tiny_gradient_is_as_good_as_a_large_one(norm):
    """The step has one length, however small the slope: 1e-20 is no zero."""
    x = middle()
    ends = [attack(x, norm, loss=LOSSES[name], steps=10) for name in ("linear", "tiny", "steep")]
    assert torch.allclose(ends[0], ends[1], atol=1e-5)
    assert torch.allclose(ends[0], ends[2], atol=1e-5)


def test_the_linf_start_is_uniform_in_the_ball():
    x = middle(4000)
    start = ((attack(x, steps=0, eps=0.2) - x) / 0.2).double()
    assert stats.kstest(start.flatten().numpy(), "uniform", args=(-1, 2)).pvalue > 0.01
    correlation = torch.corrcoef(start.flatten(1).T) - torch.eye(6)
    assert correlation.abs().max() < 0.08


def test_the_l2_start_is_uniform_in_direction_and_radius():
    """And the two are independent: the mean is the image, in every pixel (radius from a pixel's own noise is not)."""
    n = 20_000
    x = middle(n)
    delta = ((attack(x, "l2", steps=0, eps=0.2) - x) / 0.2).flatten(1).double()
    radius = delta.norm(dim=1)
    assert stats.kstest(radius.numpy(), "uniform").pvalue > 0.01
    direction = delta / radius[:, None]
    standard = math.sqrt(1 / 3 / 6)  # of a pixel of r u: E r^2 = 1/3, E u_i^2 = 1/6
    assert delta.mean(0).abs().max() < 5 * standard / math.sqrt(n)
    assert direction.square().mean(0).tolist() == pytest.approx([1 / 6] * 6, abs=0.01)
    for i in range(6):  # a coordinate of a direction in 6 dimensions: (1 + u_i) / 2 is Beta(5/2, 5/2)
        assert stats.kstest((direction[:, i].numpy() + 1) / 2, "beta", args=(2.5, 2.5)).pvalue > 0.001
        assert abs(stats.spearmanr(radius.numpy(), direction[:, i].numpy()).statistic) < 0.03


@pytest.mark.parametrize("norm", NORMS)
def test_without_a_gradient_it_stays_where_it_started(norm):
    x = middle()
    assert torch.equal(attack(x, norm, loss=LOSSES["flat"]), attack(x, norm, steps=0))
    assert torch.equal(attack(x, norm, loss=LOSSES["flat"], draw=from_the_image), x)


@pytest.mark.parametrize("norm", NORMS)
def test_it_is_a_function_of_its_generator(norm):
    x = middle()
    bent = LOSSES["bent"]
    one = attack(x, norm, loss=bent, steps=2)
    assert torch.equal(one, attack(x, norm, loss=bent, steps=2))
    assert not torch.equal(one, attack(x, norm, loss=bent, steps=2, key="other"))
    with torch.no_grad():
        assert torch.equal(one, attack(x, norm, loss=bent, steps=2))


@pytest.mark.parametrize("norm", NORMS)
def test_shares_make_up_the_attack_of_one_process(norm):
    x = middle(8)
    whole = attack(x, norm, steps=3, loss=LOSSES["bent"])
    parts = []
    for start in (0, 2, 4, 6):
        share = Share(start, start + 2, 8)
        parts.append(attack(share.of(x), norm, steps=3, loss=LOSSES["bent"], draw=share.noise_like))
    assert torch.equal(torch.cat(parts), whole)


def network():
    with generators.forked("network"):
        made = SmallNet(shape=(1, 8, 8), classes=10, width=4).eval()
    for p in made.parameters():
        p.data.mul_(3)
    return made


def test_it_leaves_images_and_weights_alone():
    made, x = network(), torch.rand((3, 1, 8, 8), generator=generators.generator("alone"))
    before = x.clone()
    attack(x, loss=lambda x: made(x).logsumexp(1), steps=3)
    assert torch.equal(x, before)
    assert not x.requires_grad
    assert all(p.grad is None for p in made.parameters())


@pytest.mark.parametrize("norm", NORMS)
def test_more_steps_do_not_find_less_on_a_network(norm):
    """The loss rises with the steps and with the radius, and every attack beats random noise."""
    made, x = network(), torch.rand((32, 1, 8, 8), generator=generators.generator("more"))
    y = made(x).argmax(1)
    loss = lambda x: nn.functional.cross_entropy(made(x), y, reduction="none")  # noqa: E731
    eps = 0.1 if norm == "linf" else 0.6
    with torch.no_grad():
        found = [loss(attack(x, norm, loss=loss, eps=eps, steps=k, size=eps / 5)).mean() for k in (0, 1, 3, 15)]
        wide = loss(attack(x, norm, loss=loss, eps=2 * eps, steps=15, size=eps / 5)).mean()
    assert found == sorted(found)
    assert wide > found[-1] > 1.05 * found[0]


@pytest.mark.parametrize("norm", NORMS)
def test_it_is_the_attack_of_torchattacks(norm):
    """From the same start, the image: an independent implementation, whose L2 step divides by |g| + 1e-10."""
    torchattacks = compat.torchattacks()
    made, x = network(), torch.rand((16, 1, 8, 8), generator=generators.generator("parity"))
    y = torch.arange(16) % 10
    eps, steps, size = (0.1, 7, 0.03) if norm == "linf" else (0.8, 7, 0.2)
    kind = torchattacks.PGD if norm == "linf" else torchattacks.PGDL2
    expected = kind(made, eps=eps, alpha=size, steps=steps, random_start=False)(x, y)
    found = attack(
        x,
        norm,
        eps=eps,
        steps=steps,
        size=size,
        loss=lambda x: nn.functional.cross_entropy(made(x), y, reduction="none"),
        draw=from_the_image,
    )
    assert torch.allclose(found, expected, atol=1e-5)
    assert (found - x).abs().max() > 0.05
