"""The chain against its theory: stationary laws of a Gaussian, units, and the three gradients of a refinement.

For log p(x) = -x^2 / (2 v) a step is x' = (1 - a/v) x + s xi. Its stationary variance is s^2 / (1 - (1 - a/v)^2), which
for s^2 = 2 a T is v T / (1 - a / (2 v)): v T as a goes to 0, with a bias of order a.
"""

import math

import pytest
import torch
from torch import nn

from jembench import seeding
from jembench.models.small import SmallNet
from jembench.sgld import SGLD, chain, noise_like, refine, step

MODES = ("none", "straight-through", "full")


def gaussian(v=1.0):
    """The unnormalised log density of N(0, v I)."""
    return lambda x: -x.square().flatten(1).sum(1) / (2 * v)


def quadratic(matrix):
    """log p(x) = -x' A x / 2."""
    return lambda x: -(x.flatten(1) @ matrix * x.flatten(1)).sum(1) / 2


def stationary_variance(settings, v=1.0, n=200_000):
    """Of many chains that start with the continuous-time variance."""
    start = torch.randn((n, 1, 1, 1), generator=seeding.generator("start")) * math.sqrt(v)
    end = chain(gaussian(v), start, settings=settings, generator=seeding.generator("noise"))
    return end.double().var().item()


@pytest.mark.parametrize(("v", "a", "temperature"), [(1, 0.4, 1), (1, 0.1, 1), (0.25, 0.05, 1), (2, 0.3, 0.5)])
def test_langevin_has_the_stationary_variance_of_its_theory(v, a, temperature):
    """Standard error of the variance: 0.3 %. Chains forget their start by (1 - a/v)^80 <= 2e-4."""
    settings = SGLD.langevin(steps=80, size=a, temperature=temperature)
    assert settings.temperature == pytest.approx(temperature)
    expected = v * temperature / (1 - a / (2 * v))
    assert stationary_variance(settings, v) == pytest.approx(expected, rel=0.012)


def test_the_bias_of_langevin_shrinks_linearly_with_the_step():
    biases = [stationary_variance(SGLD.langevin(steps=60, size=a)) - 1 for a in (0.4, 0.2, 0.1)]
    for bias, a in zip(biases, (0.4, 0.2, 0.1), strict=True):
        assert bias / a == pytest.approx(0.5 / (1 - a / 2), abs=0.12)
    assert biases[0] > biases[1] > biases[2] > 0


def test_the_papers_chain_is_cold():
    """Step and noise are decoupled: T = 5e-5, twenty thousand times colder than Langevin."""
    assert SGLD().temperature == pytest.approx(5e-5)
    cold = SGLD(steps=80, size=0.25, noise=0.005)
    assert stationary_variance(cold) == pytest.approx(5e-5 / (1 - 0.125), rel=0.02)


def test_one_step_is_the_formula():
    x = torch.rand((5, 1, 2, 2), generator=seeding.generator("x"), dtype=torch.float64).requires_grad_()
    settings = SGLD(size=0.3, noise=0.02)
    moved = step(gaussian(0.5), x, settings=settings, generator=seeding.generator("xi"))
    xi = torch.randn((5, 1, 2, 2), generator=seeding.generator("xi"), dtype=torch.float64)
    assert torch.allclose(moved, x - 0.3 * x / 0.5 + 0.02 * xi, atol=1e-15)


def test_without_noise_a_step_climbs_and_draws_nothing():
    generator = seeding.generator("unused")
    before = generator.get_state()
    x = torch.full((1, 1, 1, 1), 0.8)
    end = chain(gaussian(), x, settings=SGLD(steps=10, size=0.5, noise=0), generator=generator)
    assert end.item() == pytest.approx(0.8 * 0.5**10)
    assert torch.equal(generator.get_state(), before)


def test_the_noise_does_not_depend_on_where_the_chain_is():
    """So that two models, or two units, can be run on the same noise."""
    settings = SGLD(steps=4, size=0.1, noise=0.5)
    flat = lambda x: 0 * x.flatten(1).sum(1)  # noqa: E731
    here, there = (
        chain(flat, x, settings=settings, generator=seeding.generator("n"))
        for x in (torch.zeros((3, 1, 2, 2)), torch.full((3, 1, 2, 2), 0.5))
    )
    assert torch.allclose(there - here, torch.full_like(here, 0.5), atol=1e-6)


def test_rows_are_independent_chains():
    """No example's gradient leaks into another."""
    x = torch.rand((4, 1, 2, 2), generator=seeding.generator("rows"))
    settings = SGLD(steps=3, size=0.1, noise=0)
    whole = chain(gaussian(0.3), x, settings=settings, generator=seeding.generator())
    alone = [chain(gaussian(0.3), x[i : i + 1], settings=settings, generator=seeding.generator()) for i in range(4)]
    assert torch.equal(whole, torch.cat(alone))


def test_clip_bounds_every_element_of_the_gradient():
    """A slope of 1000 moves x by a c, and by its own value where it is below c."""
    x = torch.tensor([[[[0.001, -0.5, 0.5]]]]).requires_grad_()
    steep = gaussian(1e-3)
    moved = step(steep, x, settings=SGLD(size=0.1, noise=0, clip=2.0), generator=seeding.generator())
    assert torch.allclose((moved - x).flatten(), torch.tensor([-0.1, 0.2, -0.2]), atol=1e-6)


def test_bounds_hold_after_every_step():
    """The image is clamped, noise included, and a chain without bounds leaves the range."""
    x = torch.rand((50, 1, 2, 2), generator=seeding.generator("b"))
    wild = {"size": 0.5, "noise": 2.0}
    seen = []

    def spy(images):
        seen.append(images.detach())
        return gaussian()(images)

    end = chain(spy, x, settings=SGLD(steps=5, bounds=(0, 1), **wild), generator=seeding.generator("w"))
    assert all((images >= 0).all() and (images <= 1).all() for images in [*seen, end])
    free = chain(gaussian(), x, settings=SGLD(steps=5, **wild), generator=seeding.generator("w"))
    assert free.min() < 0
    assert free.max() > 1


@pytest.mark.parametrize("clip", [None, 0.05])
def test_the_published_units_and_ours_are_one_trajectory(clip):
    """[-1, 1], step 1, noise .01, U(-1, 1), gradient clamp c; [0, 1], step .25, noise .005, U(0, 1), clamp 2c."""
    torch.manual_seed(0)
    network = SmallNet(shape=(1, 8, 8), classes=10, width=4).double()
    for parameter in network.parameters():
        parameter.data.mul_(2)  # gradients of a size that matters, so that a wrong factor shows
    start = torch.rand((6, 1, 8, 8), generator=seeding.generator("start"), dtype=torch.float64)

    published, draws = [2 * start - 1], seeding.generator("noise")
    for _ in range(20):
        u = published[-1].clone().requires_grad_()
        (g,) = torch.autograd.grad(network(u).logsumexp(1).sum(), u)
        g = g if clip is None else g.clamp(-clip, clip)
        published.append(u.detach() + 1.0 * g + 0.01 * noise_like(u, draws))

    settings = SGLD(steps=1, size=0.25, noise=0.005, clip=None if clip is None else 2 * clip)
    x, draws, moved = start, seeding.generator("noise"), 0.0
    for u in published[1:]:
        x = chain(lambda x: network(2 * x - 1).logsumexp(1), x, settings=settings, generator=draws)
        assert torch.allclose(2 * x - 1, u, atol=1e-12)
        moved = max(moved, (x - start).abs().max().item())
    assert moved > 0.1


def test_a_chain_leaves_no_gradient_behind():
    """Neither in the result nor in the parameters, also under no_grad, and the start is untouched."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh())
    x = torch.rand((2, 1, 2, 2), generator=seeding.generator("c"))
    before = x.clone()
    ends = []
    for mode in (torch.no_grad(), torch.enable_grad()):
        with mode:
            ends.append(chain(lambda x: network(x).logsumexp(1), x, settings=SGLD(), generator=seeding.generator("d")))
    assert torch.equal(*ends)
    assert not torch.equal(ends[0], x)
    assert not any(end.requires_grad for end in ends)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(x, before)
    assert not x.requires_grad


def test_a_chain_of_no_steps_is_the_identity():
    x = torch.rand((2, 1, 2, 2), generator=seeding.generator("0"))
    assert torch.equal(chain(gaussian(), x, settings=SGLD(steps=0), generator=seeding.generator()), x)


def nonlinear(x):
    """A log density with a gradient and a curvature everywhere."""
    return torch.stack([x.flatten(1).sin().sum(1), -x.square().flatten(1).sum(1), x.flatten(1)[:, 0] ** 3]).logsumexp(0)


REFINEMENT = SGLD(steps=3, size=0.2, noise=0.1)


def refined(x, gradient, settings=REFINEMENT, log_density=nonlinear):
    return refine(log_density, x, settings=settings, generator=seeding.generator("refine"), gradient=gradient)


@pytest.mark.parametrize("settings", [REFINEMENT, SGLD(steps=3, size=0.2, noise=0.3, clip=0.5, bounds=(0, 1))])
def test_the_values_do_not_depend_on_the_gradient_mode(settings):
    """Nor on whether anyone will differentiate."""
    x = torch.rand((4, 1, 2, 2), generator=seeding.generator("x"))
    expected = chain(nonlinear, x, settings=settings, generator=seeding.generator("refine"))
    for gradient in MODES:
        assert torch.equal(refined(x, gradient, settings), expected)
        assert torch.equal(refined(x.clone().requires_grad_(), gradient, settings), expected)
        with torch.no_grad():
            result = refined(x.clone().requires_grad_(), gradient, settings)
            assert torch.equal(result, expected)
            assert not result.requires_grad


def test_none_passes_no_gradient():
    x = torch.rand((2, 1, 2, 2), generator=seeding.generator("x")).requires_grad_()
    assert not refined(x, "none").requires_grad


def test_straight_through_is_the_identity_to_the_last_bit():
    x = torch.rand((2, 1, 2, 2), generator=seeding.generator("x")).requires_grad_()
    upstream = torch.randn((2, 1, 2, 2), generator=seeding.generator("up"))
    (gradient,) = torch.autograd.grad(refined(x, "straight-through"), x, upstream)
    assert torch.equal(gradient, upstream)


def test_straight_through_keeps_the_values_to_the_last_bit():
    """Where x + (refined - x), the usual way to write it, rounds them away."""
    x = 1e4 * torch.rand((2, 1, 2, 2), generator=seeding.generator("far")).requires_grad_()
    settings = SGLD(steps=3, size=0.9, noise=0.1)
    expected = refined(x, "none", settings, gaussian())
    assert not torch.equal(x + (expected - x), expected)
    assert torch.equal(refined(x, "straight-through", settings, gaussian()), expected)


@pytest.mark.parametrize("clip", [None, 0.7])
def test_full_is_the_jacobian_of_the_chain(clip):
    """Finite differences in float64, with the noise held fixed; a clipped gradient has no slope."""
    x = torch.rand((2, 1, 2, 2), generator=seeding.generator("x"), dtype=torch.float64).requires_grad_()
    settings = SGLD(steps=3, size=0.2, noise=0.1, clip=clip)
    assert torch.autograd.gradcheck(lambda x: refined(x, "full", settings), (x,))


def test_full_of_a_quadratic_is_a_matrix_power():
    """J = (I - a A)^k, whatever the noise; straight-through says I."""
    root = torch.randn((4, 4), generator=seeding.generator("A"), dtype=torch.float64)
    matrix = root @ root.T
    x = torch.rand((1, 1, 2, 2), generator=seeding.generator("x"), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: refined(x, "full", log_density=quadratic(matrix)), x)
    expected = torch.linalg.matrix_power(torch.eye(4, dtype=torch.float64) - 0.2 * matrix, 3)
    assert torch.allclose(jacobian.reshape(4, 4), expected, atol=1e-12)


def test_straight_through_can_point_nowhere_where_full_knows_better():
    """One step of a = v removes the direction w from x altogether: what follows cannot depend on w'x.

    Straight-through reports the slope w of the loss w'x; the truth, and ``full``, is 0, as moving x along w shows.
    """
    w = torch.tensor([0.6, 0.8, 0.0, 0.0], dtype=torch.float64)
    v = 0.1
    settings = SGLD(steps=1, size=v, noise=0.01)
    log_density = lambda x: -((x.flatten(1) @ w) ** 2) / (2 * v)  # noqa: E731

    def loss(x, gradient):
        return (refined(x, gradient, settings, log_density).flatten(1) @ w).sum()

    x = torch.rand((1, 1, 2, 2), generator=seeding.generator("x"), dtype=torch.float64).requires_grad_()
    along = x + 0.3 * w.reshape(1, 1, 2, 2)
    assert loss(along, "none").item() == pytest.approx(loss(x, "none").item(), abs=1e-12)
    slopes = {mode: torch.autograd.grad(loss(x, mode), x)[0].flatten() for mode in ("straight-through", "full")}
    assert torch.allclose(slopes["straight-through"], w)
    assert slopes["full"].abs().max() < 1e-12


@pytest.mark.parametrize("bad", [{"steps": -1}, {"size": 0.0}, {"size": -1.0}, {"noise": -0.1}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ValueError, match="SGLD needs"):
        SGLD(**bad)


def test_an_unknown_gradient_mode_is_refused():
    with pytest.raises(ValueError, match="none, straight-through, full, not 'bpda'"):
        refined(torch.rand((1, 1, 2, 2)), "bpda")


def test_refinement_works_in_inference_mode():
    """Serving code runs in inference mode, where autograd is off and no tensor may require a gradient."""
    with torch.inference_mode():
        x = torch.ones(2, 1, 2, 2)
        settings = SGLD(steps=3, size=0.1, noise=0.0)
        moved = refine(
            lambda y: -y.flatten(1).square().sum(1) / 2, x, settings=settings, generator=seeding.generator("t")
        )
    assert torch.allclose(moved, torch.full((2, 1, 2, 2), 0.9**3))
