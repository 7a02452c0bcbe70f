"""The chain against its theory: stationary laws of a Gaussian, units, and the three gradients of a refinement.

For log p(x) = -x^2 / (2 v) a step is x' = (1 - a/v) x + s xi. Its stationary variance is s^2 / (1 - (1 - a/v)^2), which
for s^2 = 2 a T is v T / (1 - a / (2 v)): v T as a goes to 0, with a bias of order a.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jembench.ground import generators
from jembench.langevin.sgld import SGLD, chain, noise_like, proximal_step, refine, step
from jembench.models.small import SmallNet

MODES = ("none", "straight-through", "full")


def gaussian(v=1.0):
    """The unnormalised log density of N(0, v I)."""
    return lambda x: -x.square().flatten(1).sum(1) / (2 * v)


def quadratic(matrix):
    """log p(x) = -x' A x / 2."""
    return lambda x: -(x.flatten(1) @ matrix * x.flatten(1)).sum(1) / 2


def stationary_variance(settings, v=1.0, n=200_000):
    """Of many chains that start with the continuous-time variance."""
    start = torch.randn((n, 1, 1, 1), generator=generators.generator("start")) * math.sqrt(v)
    end = chain(gaussian(v), start, settings=settings, generator=generators.generator("noise"))
    return end.double().var().item()


@pytest.mark.parametrize(("v", "a", "temperature"), [(1, 0.4, 1), (1, 0.1, 1), (0.25, 0.05, 1), (2, 0.3, 0.5)])
def test_langevin_has_the_stationary_variance_of_its_theory(v, a, temperature):
    """Standard error of the variance: 0.3 %. Chains forget their start by (1 - a/v)^80 <= 2e-4."""
    settings = SGLD(steps=80, size=a, noise=math.sqrt(2 * a * temperature))
    assert settings.temperature == pytest.approx(temperature)
    expected = v * temperature / (1 - a / (2 * v))
    assert stationary_variance(settings, v) == pytest.approx(expected, rel=0.012)


def test_the_bias_of_langevin_shrinks_linearly_with_the_step():
    biases = [stationary_variance(SGLD(steps=60, size=a, noise=math.sqrt(2 * a))) - 1 for a in (0.4, 0.2, 0.1)]
    for bias, a in zip(biases, (0.4, 0.2, 0.1), strict=True):
        assert bias / a == pytest.approx(0.5 / (1 - a / 2), abs=0.12)
    assert biases[0] > biases[1] > biases[2] > 0


@settings(max_examples=15, deadline=None)
@given(v=st.floats(0.2, 2), a=st.floats(0.05, 0.4), s=st.floats(0.01, 2))
def test_decoupled_noise_is_a_temperature(v, a, s):
    """Any step a < 2 v and any noise s: the variance is T v / (1 - a / (2 v)) with T = s^2 / (2 a)."""
    a *= v
    chosen = SGLD(steps=120, size=a, noise=s)
    expected = s**2 / (2 * a) * v / (1 - a / (2 * v))
    n = 10_000  # standard error 1.4 %; from 0, after 120 steps the variance lacks (1 - a/v)^240 <= 5e-6 of itself
    end = chain(gaussian(v), torch.zeros((n, 1, 1, 1)), settings=chosen, generator=generators.generator("T"))
    assert end.double().var().item() == pytest.approx(expected, rel=0.07)
    assert chosen.temperature * v == pytest.approx(expected * (1 - a / (2 * v)))  # T v, up to a bias of order a


# Three overlapping classes in two dimensions, component covariance I.
WEIGHTS = torch.tensor([0.5, 0.3, 0.2])
CENTRES = torch.tensor([[0.0, 0.0], [1.5, 0.5], [-0.5, 1.5]])
TRUE_MEAN = WEIGHTS @ CENTRES
TRUE_COVARIANCE = torch.eye(2) + (WEIGHTS[:, None] * (CENTRES - TRUE_MEAN)).T @ (CENTRES - TRUE_MEAN)


def mixture(x):
    """log p(x) of the mixture, up to a constant; |x - c|^2 without its |x|^2, which all classes share."""
    flat = x.flatten(1)
    return (WEIGHTS.log() - CENTRES.square().sum(1) / 2 + flat @ CENTRES.T).logsumexp(1) - flat.square().sum(1) / 2


def mixture_moments(a, *, n, time, looks, wrong=1.0):
    """Mean and covariance at the ends of true Langevin chains of step ``a``, averaged over some looks at them.

    The chains begin with exact draws, so what is measured is the bias of the step alone once ``time`` = sum of a has
    passed; ``wrong`` multiplies the noise. Beside each runs a chain on the Gaussian of the same moments, from the same
    point by the same noise: its covariance C is known, C <- M C M + s^2 I with M = I - a S^-1, and what the draws add
    to it by chance they add to the mixture's too, nearly: a control variate.
    """
    generator = generators.generator("mixture", n)
    y = torch.multinomial(WEIGHTS, n, replacement=True, generator=generator)
    x = (CENTRES[y] + torch.randn((n, 2), generator=generator)).reshape(n, 1, 1, 2)
    control, exact = x, TRUE_COVARIANCE.double()
    inverse = torch.linalg.inv(TRUE_COVARIANCE)
    pull = torch.eye(2, dtype=torch.float64) - a * inverse.double()
    noise = wrong * math.sqrt(2 * a)
    mean, covariance = torch.zeros(2, dtype=torch.float64), torch.zeros((2, 2), dtype=torch.float64)
    for look in range(looks):
        chosen = SGLD(steps=round((1 if look else time) / a), size=a, noise=noise)
        x, control = (
            chain(target, start, settings=chosen, generator=generators.generator("mixture", n, look))
            for target, start in ((mixture, x), (lambda x: quadratic(inverse)(x - TRUE_MEAN), control))
        )
        for _ in range(chosen.steps):
            exact = pull @ exact @ pull + noise**2 * torch.eye(2, dtype=torch.float64)
        one, other = x.flatten(1).double(), control.flatten(1).double()
        mean += (one.mean(0) - other.mean(0) + TRUE_MEAN) / looks
        covariance += (torch.cov(one.T) - torch.cov(other.T) + exact) / looks
    return mean, covariance


def biases(steps, **options):
    """Of the trace of the covariance, and the largest of any moment, by step."""
    found = []
    for a in steps:
        mean, covariance = mixture_moments(a, **options)
        away = max((mean - TRUE_MEAN).abs().max().item(), (covariance - TRUE_COVARIANCE).abs().max().item())
        found.append(((covariance - TRUE_COVARIANCE).trace().item(), away, covariance))
    return found


def test_langevin_on_a_mixture_converges_with_a_bias_of_order_a():
    """Half the step, a little less than half the bias: 2.2 and 2.1 times, of which chance moves 0.02."""
    found = biases((0.4, 0.2, 0.1), n=40_000, time=4, looks=4)
    traces, distances, covariances = zip(*found, strict=True)
    assert traces[0] / traces[1] == pytest.approx(2.2, abs=0.12)
    assert traces[1] / traces[2] == pytest.approx(2.08, abs=0.12)
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 0.06
    extrapolated = 2 * covariances[2] - covariances[1]  # what is left is of order a^2
    assert torch.allclose(extrapolated, TRUE_COVARIANCE.double(), atol=0.02)


def test_the_law_of_the_mixture_notices_a_wrong_noise():
    """The planted bug, s = sqrt(a) for sqrt(2 a), does not converge to the mixture."""
    (trace, distance, _) = biases((0.1,), n=10_000, time=4, looks=1, wrong=math.sqrt(0.5))[0]
    assert trace < -0.3
    assert distance > 0.3


@pytest.mark.slow
def test_langevin_on_a_mixture_converges_with_a_bias_of_order_a_in_large():
    found = biases((0.4, 0.2, 0.1, 0.05), n=200_000, time=6, looks=5)
    traces, distances, covariances = zip(*found, strict=True)
    for coarse, fine, expected in zip(traces, traces[1:], (2.2, 2.07, 2.03), strict=False):
        assert coarse / fine == pytest.approx(expected, abs=0.06)
    assert list(distances) == sorted(distances, reverse=True)
    assert torch.allclose(2 * covariances[3] - covariances[2], TRUE_COVARIANCE.double(), atol=0.006)


@pytest.mark.parametrize("temperature", [0.4, 2.0])
def test_the_chain_samples_the_power_of_a_density_that_is_no_gaussian(temperature):
    """p^(1/T) of a mixture in one dimension, its mean and variance by quadrature."""
    weights, centres = np.array([0.7, 0.3]), np.array([-0.5, 1.5])
    grid = np.linspace(-15, 15, 6001)
    density = (weights * np.exp(-((grid[:, None] - centres) ** 2) / 2)).sum(1) ** (1 / temperature)
    mean = (grid * density).sum() / density.sum()
    variance = ((grid - mean) ** 2 * density).sum() / density.sum()

    w, c = torch.from_numpy(weights).float(), torch.from_numpy(centres).float()
    log_density = lambda x: (w.log() - (x.flatten(1) - c).square() / 2).logsumexp(1)  # noqa: E731
    a = 0.05
    chosen = SGLD(steps=300, size=a, noise=math.sqrt(2 * a * temperature))
    start = mean + math.sqrt(variance) * torch.randn((10_000, 1, 1, 1), generator=generators.generator("start"))
    end = chain(log_density, start, settings=chosen, generator=generators.generator("power")).double()
    assert end.mean().item() == pytest.approx(mean, abs=5 * math.sqrt(variance / 10_000) + a * variance / 2)
    assert end.var().item() == pytest.approx(variance, rel=0.07 + a / 2)


def test_the_papers_chain_is_cold():
    """Step and noise are decoupled: T = 5e-5, twenty thousand times colder than Langevin."""
    assert SGLD().temperature == pytest.approx(5e-5)
    cold = SGLD(steps=80, size=0.25, noise=0.005)
    assert stationary_variance(cold) == pytest.approx(5e-5 / (1 - 0.125), rel=0.02)


def test_one_step_is_the_formula():
    x = torch.rand((5, 1, 2, 2), generator=generators.generator("x"), dtype=torch.float64).requires_grad_()
    settings = SGLD(size=0.3, noise=0.02)
    moved = step(gaussian(0.5), x, settings=settings, generator=generators.generator("xi"))
    xi = torch.randn((5, 1, 2, 2), generator=generators.generator("xi"), dtype=torch.float64)
    assert torch.allclose(moved, x - 0.3 * x / 0.5 + 0.02 * xi, atol=1e-15)


def test_without_noise_a_step_climbs_and_draws_nothing():
    generator = generators.generator("unused")
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
        chain(flat, x, settings=settings, generator=generators.generator("n"))
        for x in (torch.zeros((3, 1, 2, 2)), torch.full((3, 1, 2, 2), 0.5))
    )
    assert torch.allclose(there - here, torch.full_like(here, 0.5), atol=1e-6)


def test_rows_are_independent_chains():
    """No example's gradient leaks into another."""
    x = torch.rand((4, 1, 2, 2), generator=generators.generator("rows"))
    settings = SGLD(steps=3, size=0.1, noise=0)
    whole = chain(gaussian(0.3), x, settings=settings, generator=generators.generator())
    alone = [chain(gaussian(0.3), x[i : i + 1], settings=settings, generator=generators.generator()) for i in range(4)]
    assert torch.equal(whole, torch.cat(alone))


def test_clip_bounds_every_element_of_the_gradient():
    """A slope of 1000 moves x by a c, and by its own value where it is below c."""
    x = torch.tensor([[[[0.001, -0.5, 0.5]]]]).requires_grad_()
    steep = gaussian(1e-3)
    moved = step(steep, x, settings=SGLD(size=0.1, noise=0, clip=2.0), generator=generators.generator())
    assert torch.allclose((moved - x).flatten(), torch.tensor([-0.1, 0.2, -0.2]), atol=1e-6)


def test_bounds_hold_after_every_step():
    """The image is clamped, noise included, and a chain without bounds leaves the range."""
    x = torch.rand((50, 1, 2, 2), generator=generators.generator("b"))
    wild = {"size": 0.5, "noise": 2.0}
    seen = []

    def spy(images):
        seen.append(images.detach())
        return gaussian()(images)

    end = chain(spy, x, settings=SGLD(steps=5, bounds=(0, 1), **wild), generator=generators.generator("w"))
    assert all((images >= 0).all() and (images <= 1).all() for images in [*seen, end])
    free = chain(gaussian(), x, settings=SGLD(steps=5, **wild), generator=generators.generator("w"))
    assert free.min() < 0
    assert free.max() > 1


@pytest.mark.parametrize("clip", [None, 0.05])
def test_the_published_units_and_ours_are_one_trajectory(clip):
    """[-1, 1], step 1, noise .01, U(-1, 1), gradient clamp c; [0, 1], step .25, noise .005, U(0, 1), clamp 2c."""
    torch.manual_seed(0)
    network = SmallNet(shape=(1, 8, 8), classes=10, width=4).double()
    for parameter in network.parameters():
        parameter.data.mul_(2)  # gradients of a size that matters, so that a wrong factor shows
    start = torch.rand((6, 1, 8, 8), generator=generators.generator("start"), dtype=torch.float64)

    published, draws = [2 * start - 1], generators.generator("noise")
    for _ in range(20):
        u = published[-1].clone().requires_grad_()
        (g,) = torch.autograd.grad(network(u).logsumexp(1).sum(), u)
        g = g if clip is None else g.clamp(-clip, clip)
        published.append(u.detach() + 1.0 * g + 0.01 * noise_like(u, draws))

    settings = SGLD(steps=1, size=0.25, noise=0.005, clip=None if clip is None else 2 * clip)
    x, draws, moved = start, generators.generator("noise"), 0.0
    for u in published[1:]:
        x = chain(lambda x: network(2 * x - 1).logsumexp(1), x, settings=settings, generator=draws)
        assert torch.allclose(2 * x - 1, u, atol=1e-12)
        moved = max(moved, (x - start).abs().max().item())
    assert moved > 0.1


def test_a_chain_leaves_no_gradient_behind():
    """Neither in the result nor in the parameters, also under no_grad, and the start is untouched."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh())
    x = torch.rand((2, 1, 2, 2), generator=generators.generator("c"))
    before = x.clone()
    ends = []
    for mode in (torch.no_grad(), torch.enable_grad()):
        with mode:
            ends.append(
                chain(lambda x: network(x).logsumexp(1), x, settings=SGLD(), generator=generators.generator("d"))
            )
    assert torch.equal(*ends)
    assert not torch.equal(ends[0], x)
    assert not any(end.requires_grad for end in ends)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(x, before)
    assert not x.requires_grad


def test_a_chain_of_no_steps_is_the_identity():
    x = torch.rand((2, 1, 2, 2), generator=generators.generator("0"))
    assert torch.equal(chain(gaussian(), x, settings=SGLD(steps=0), generator=generators.generator()), x)


STEM = torch.randn((3, 4), generator=generators.generator("stem"), dtype=torch.float64)


def linear_stem(x):
    return x.flatten(1) @ STEM.T


def nonlinear_stem(x):
    return (x.flatten(1) @ STEM.T).tanh()


def bent(hidden):
    """A head with a slope and a curvature."""
    return hidden.sin().sum(1) - hidden.square().sum(1) / 3


def doubles(n=5, key="p"):
    return torch.rand((n, 1, 2, 2), generator=generators.generator(key), dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(inner=st.integers(1, 12), size=st.floats(1e-3, 2))
def test_behind_a_linear_stem_n_moves_are_one_move_of_n_times_the_size(inner, size):
    """The Jacobian of the stem does not change, so neither does the direction: x + n a A' grad h(A x)."""
    x = doubles()
    quiet = SGLD(size=size, noise=0, inner=inner)
    moved = proximal_step(bent, x, stem=linear_stem, settings=quiet, generator=generators.generator())
    hidden = linear_stem(x)
    slope = hidden.cos() - 2 * hidden / 3
    assert torch.allclose(moved, x + inner * size * (slope @ STEM).reshape(x.shape), atol=1e-12)
    once = SGLD(size=inner * size, noise=0)
    plain = step(lambda x: bent(linear_stem(x)), x.requires_grad_(), settings=once, generator=generators.generator())
    assert torch.allclose(moved, plain, atol=1e-12)


def by_hand(x, chosen, generator):
    """JEM++'s inner moves for tanh(A x) with every Jacobian written out."""
    slope = nonlinear_stem(x).cos() - 2 * nonlinear_stem(x) / 3
    for _ in range(chosen.inner):
        jacobian = (1 - nonlinear_stem(x).square())[:, :, None] * STEM  # (B, 3, 4), of this move's x
        gradient = torch.einsum("bh,bhd->bd", slope, jacobian).reshape(x.shape)
        if chosen.clip is not None:
            gradient = gradient.clamp(-chosen.clip, chosen.clip)
        x = x + chosen.size * gradient + chosen.noise * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        if chosen.bounds is not None:
            x = x.clamp(*chosen.bounds)
    return x


@pytest.mark.parametrize("inner", [2, 5])
@pytest.mark.parametrize("bounded", [False, True])
def test_behind_any_stem_the_slope_is_kept_and_its_jacobian_is_not(inner, bounded):
    limits = {"clip": 0.4, "bounds": (0.0, 1.0)} if bounded else {}
    chosen = SGLD(steps=3, size=0.2, noise=0.1, inner=inner, **limits)
    x, draws = doubles(), generators.generator("inner")
    for _ in range(chosen.steps):
        x = by_hand(x, chosen, draws)
    end = chain(bent, doubles(), settings=chosen, generator=generators.generator("inner"), stem=nonlinear_stem)
    assert torch.allclose(end, x, atol=1e-12)
    frozen = SGLD(steps=3, size=0.2 * inner, noise=0.0, **limits)
    stale = chain(
        lambda x: bent(nonlinear_stem(x)), doubles(), settings=frozen, generator=generators.generator("inner")
    )
    assert not torch.allclose(end, stale, atol=1e-3)


def test_one_inner_move_is_a_step():
    x, chosen = doubles(), SGLD(size=0.3, noise=0.1, clip=0.5, bounds=(0, 1))
    moved = proximal_step(bent, x, stem=nonlinear_stem, settings=chosen, generator=generators.generator("one"))
    plain = step(
        lambda x: bent(nonlinear_stem(x)), x.requires_grad_(), settings=chosen, generator=generators.generator("one")
    )
    assert torch.allclose(moved, plain, atol=1e-14)
    assert not moved.requires_grad


def test_proximal_sampling_saves_passes_of_the_head():
    """One per step, and ``inner`` + 1 of the cheap stem."""
    passes = {"head": 0, "stem": 0}

    def counted(name, function):
        def call(x):
            passes[name] += 1
            return function(x)

        return call

    chosen = SGLD(steps=4, size=0.1, noise=0, inner=5)
    chain(
        counted("head", bent),
        doubles(),
        settings=chosen,
        generator=generators.generator(),
        stem=counted("stem", nonlinear_stem),
    )
    assert passes == {"head": 4, "stem": 4 * 6}


@pytest.mark.parametrize(("inner", "stem"), [(1, nonlinear_stem), (2, None)])
def test_a_stem_and_the_number_of_moves_must_agree(inner, stem):
    with pytest.raises(ValueError, match=f"inner = {inner} needs {'no' if stem else 'a'} stem"):
        chain(bent, doubles(), settings=SGLD(inner=inner), generator=generators.generator(), stem=stem)


@pytest.mark.parametrize("inner", [1, 3])
def test_half_precision_is_the_networks_alone(inner):
    """The network computes in bf16; images, gradients and moves are fp32, and near to those of fp32."""
    torch.manual_seed(0)
    network = SmallNet(shape=(1, 8, 8), classes=10, width=4)
    for parameter in network.parameters():
        parameter.data.mul_(2)  # gradients of a size that matters
    x = torch.rand((16, 1, 8, 8), generator=generators.generator("half"))
    seen = []

    def head(h):
        f = network.trunk(h)
        seen.append((h.dtype, f.dtype))
        return f.logsumexp(1)

    target, stem = (head, network.stem) if inner > 1 else (lambda x: head(network.stem(x)), None)
    ends = {}
    for precision in ("fp32", "bf16"):
        chosen = SGLD(steps=3, size=0.25, noise=0, inner=inner, precision=precision)
        ends[precision] = chain(target, x, settings=chosen, generator=generators.generator(), stem=stem)
        assert ends[precision].dtype == torch.float32
        assert {dtypes[1] for dtypes in seen} == {torch.float32 if precision == "fp32" else torch.bfloat16}
        seen.clear()
    moves = {precision: (end - x).flatten() for precision, end in ends.items()}
    assert not torch.equal(moves["bf16"], moves["fp32"])
    assert torch.cosine_similarity(moves["bf16"], moves["fp32"], dim=0) > 0.999
    assert (moves["bf16"] - moves["fp32"]).norm() < 0.05 * moves["fp32"].norm()


def test_half_precision_keeps_small_moves():
    """A move of 1e-5 is below the resolution of bf16 at 0.7: images that were bf16 would stay where they are."""
    x = torch.full((1, 1, 1, 1), 0.7)
    chosen = SGLD(steps=100, size=1e-5, noise=0, precision="bf16")
    end = chain(lambda x: x.flatten(1).sum(1), x, settings=chosen, generator=generators.generator())
    assert end.item() == pytest.approx(0.701, abs=1e-5)


def test_the_noise_can_be_given():
    """As by a share of a team: every move adds s times what the function says, of its generator."""
    flat = lambda x: 0 * x.flatten(1).sum(1)  # noqa: E731
    given_generator, asked = generators.generator("given"), []

    def ones(x, generator):
        asked.append(generator)
        return torch.ones_like(x)

    x = doubles()
    moved = chain(flat, x, settings=SGLD(steps=6, noise=0.5), generator=given_generator, noise=ones)
    assert torch.allclose(moved, x + 6 * 0.5)
    inner = SGLD(steps=6, noise=0.5, inner=2)
    moved = chain(lambda h: 0 * h.sum(1), x, settings=inner, generator=given_generator, noise=ones, stem=linear_stem)
    assert torch.allclose(moved, x + 12 * 0.5)
    assert len(asked) == 18
    assert all(item is given_generator for item in asked)


def nonlinear(x):
    """A log density with a gradient and a curvature everywhere."""
    return torch.stack([x.flatten(1).sin().sum(1), -x.square().flatten(1).sum(1), x.flatten(1)[:, 0] ** 3]).logsumexp(0)


REFINEMENT = SGLD(steps=3, size=0.2, noise=0.1)


def refined(x, gradient, settings=REFINEMENT, log_density=nonlinear):
    return refine(log_density, x, settings=settings, generator=generators.generator("refine"), gradient=gradient)


@pytest.mark.parametrize(
    "settings",
    [
        REFINEMENT,
        SGLD(steps=3, size=0.2, noise=0.3, clip=0.5, bounds=(0, 1)),
        SGLD(steps=3, size=0.2, noise=0.1, precision="bf16"),
    ],
)
def test_the_values_do_not_depend_on_the_gradient_mode(settings):
    """Nor on whether anyone will differentiate."""
    x = torch.rand((4, 1, 2, 2), generator=generators.generator("x"))
    weight = torch.randn((4, 4), generator=generators.generator("weight"))
    log_density = lambda x: nonlinear(x) + (x.flatten(1) @ weight).sin().sum(1)  # noqa: E731
    expected = chain(log_density, x, settings=settings, generator=generators.generator("refine"))
    for gradient in MODES:
        assert torch.equal(refined(x, gradient, settings, log_density), expected)
        assert torch.equal(refined(x.clone().requires_grad_(), gradient, settings, log_density), expected)
        with torch.no_grad():
            result = refined(x.clone().requires_grad_(), gradient, settings, log_density)
            assert torch.equal(result, expected)
            assert not result.requires_grad


def test_none_passes_no_gradient():
    x = torch.rand((2, 1, 2, 2), generator=generators.generator("x")).requires_grad_()
    assert not refined(x, "none").requires_grad


def test_straight_through_is_the_identity_to_the_last_bit():
    x = torch.rand((2, 1, 2, 2), generator=generators.generator("x")).requires_grad_()
    upstream = torch.randn((2, 1, 2, 2), generator=generators.generator("up"))
    (gradient,) = torch.autograd.grad(refined(x, "straight-through"), x, upstream)
    assert torch.equal(gradient, upstream)


def test_straight_through_keeps_the_values_to_the_last_bit():
    """Where x + (refined - x), the usual way to write it, rounds them away."""
    x = 1e4 * torch.rand((2, 1, 2, 2), generator=generators.generator("far")).requires_grad_()
    settings = SGLD(steps=3, size=0.9, noise=0.1)
    expected = refined(x, "none", settings, gaussian())
    assert not torch.equal(x + (expected - x), expected)
    assert torch.equal(refined(x, "straight-through", settings, gaussian()), expected)


@pytest.mark.parametrize("clip", [None, 0.7])
def test_full_is_the_jacobian_of_the_chain(clip):
    """Finite differences in float64, with the noise held fixed; a clipped gradient has no slope."""
    x = torch.rand((2, 1, 2, 2), generator=generators.generator("x"), dtype=torch.float64).requires_grad_()
    settings = SGLD(steps=3, size=0.2, noise=0.1, clip=clip)
    assert torch.autograd.gradcheck(lambda x: refined(x, "full", settings), (x,))


def test_full_of_a_quadratic_is_a_matrix_power():
    """J = (I - a A)^k, whatever the noise; straight-through says I."""
    root = torch.randn((4, 4), generator=generators.generator("A"), dtype=torch.float64)
    matrix = root @ root.T
    x = torch.rand((1, 1, 2, 2), generator=generators.generator("x"), dtype=torch.float64)
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

    x = torch.rand((1, 1, 2, 2), generator=generators.generator("x"), dtype=torch.float64).requires_grad_()
    along = x + 0.3 * w.reshape(1, 1, 2, 2)
    assert loss(along, "none").item() == pytest.approx(loss(x, "none").item(), abs=1e-12)
    slopes = {mode: torch.autograd.grad(loss(x, mode), x)[0].flatten() for mode in ("straight-through", "full")}
    assert torch.allclose(slopes["straight-through"], w)
    assert slopes["full"].abs().max() < 1e-12


@pytest.mark.parametrize("gradient", MODES)
def test_a_refinement_has_no_stem_in_any_mode(gradient):
    x = torch.rand((1, 1, 2, 2)).requires_grad_()
    with pytest.raises(ValueError, match="one move per gradient, not inner = 2"):
        refined(x, gradient, SGLD(inner=2))


@pytest.mark.parametrize("bad", [{"steps": -1}, {"size": 0.0}, {"size": -1.0}, {"noise": -0.1}, {"inner": 0}])
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
            lambda y: -y.flatten(1).square().sum(1) / 2, x, settings=settings, generator=generators.generator("t")
        )
    assert torch.allclose(moved, torch.full((2, 1, 2, 2), 0.9**3))
