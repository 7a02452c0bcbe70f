"""Annealing against closed forms: truncated Gaussians, mixtures, an exact kernel, unbiased weights, planted bugs."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Generator, Tensor

from jembench.ground import generators
from jembench.langevin.ais import (
    ChainStates,
    Cube,
    Schedule,
    anneal,
    equilibrate,
    evaluate,
    pilot,
    resample,
    transition,
)
from jembench.metrics.log_z import bracket, log_mean_exp

CUBE = Cube(-0.5, 1.5)
LogDensity = Callable[[Tensor], Tensor]


def like(n: int, dimension: int = 1) -> Tensor:
    return torch.zeros((n, 1, 1, dimension))


def gaussian(mean: float, sigma: float) -> LogDensity:
    """f = -|x - m|^2 / (2 s^2), unnormalised."""
    return lambda x: -(x - mean).square().flatten(1).sum(1) / (2 * sigma**2)


def gaussian_log_z(mean: float, sigma: float, dimension: int, cube: Cube = CUBE) -> float:
    normal = stats.norm(mean, sigma)
    return dimension * (
        math.log(normal.cdf(cube.high) - normal.cdf(cube.low)) + math.log(sigma * math.sqrt(2 * math.pi))
    )


CENTRES, WIDTHS, SHARES = torch.tensor([-0.2, 1.3]), torch.tensor([0.15, 0.1]), torch.tensor([0.7, 0.3])


def mixture(x: Tensor) -> Tensor:
    """log sum_k a_k exp(-|x - c_k|^2 / (2 s_k^2)): the modes touch the walls of the cube."""
    square = (x.flatten(1)[:, None] - CENTRES[:, None]).square().sum(2)
    return (SHARES.log() - square / (2 * WIDTHS**2)).logsumexp(1)


def mixture_log_z(dimension: int) -> float:
    parts = [gaussian_log_z(c, s, dimension) for c, s in zip(CENTRES.tolist(), WIDTHS.tolist(), strict=True)]
    return math.log(sum(a * math.exp(z) for a, z in zip(SHARES.tolist(), parts, strict=True)))


def truncated(mean: float, sigma: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Exact samples of the Gaussian on the cube."""
    normal = stats.norm(mean, sigma)
    low, high = normal.cdf(CUBE.low), normal.cdf(CUBE.high)
    u = torch.rand(shape, generator=generator, dtype=torch.float64).numpy()
    return torch.from_numpy(normal.ppf(low + (high - low) * u)).float()


def schedule(count: int, size: float = 0.3) -> Schedule:
    return Schedule(torch.linspace(0, 1, count + 1, dtype=torch.float64), torch.full((count + 1,), size))


def forward(
    f: LogDensity, n: int, dimension: int, *, steps: int, name: str = "forward", size: float = 0.3
) -> np.ndarray:
    generator = generators.generator(name)
    x = CUBE.uniform(like(n, dimension), generator)
    return anneal(f, x, schedule=schedule(steps, size), cube=CUBE, generator=generator).log_weights.numpy()


# The cube and its flight.


def test_the_cube_of_dequantised_images() -> None:
    cube = Cube.of_levels(17)
    assert cube.width == pytest.approx(17 / 16)
    with pytest.raises(ValueError, match="low < high"):
        Cube(1, 1)


def test_uniform_points_fill_the_cube() -> None:
    x = CUBE.uniform(like(4000), generators.generator("u")).flatten()
    assert stats.kstest(x.numpy(), stats.uniform(CUBE.low, CUBE.width).cdf).pvalue > 0.01


@settings(max_examples=60, deadline=None)
@given(x=st.floats(-0.5, 1.5), v=st.floats(-40, 40), time=st.floats(0.01, 2))
def test_the_flight_stays_inside_and_is_undone_by_turning_round(x: float, v: float, time: float) -> None:
    position, momentum = torch.tensor([x], dtype=torch.float64), torch.tensor([v], dtype=torch.float64)
    there, then = CUBE.flight(position, momentum, time)
    assert CUBE.low <= there.item() <= CUBE.high
    assert abs(then.item()) == abs(v)
    back, last = CUBE.flight(there, -then, time)
    near_wall = min(there.item() - CUBE.low, CUBE.high - there.item(), x - CUBE.low, CUBE.high - x) < 1e-9
    assert back.item() == pytest.approx(x, abs=1e-9)
    assert near_wall or last.item() == pytest.approx(-v)


def test_the_flight_is_straight_away_from_the_walls() -> None:
    x, v = CUBE.flight(torch.tensor([0.2]), torch.tensor([0.5]), 0.4)
    assert (x.item(), v.item()) == (pytest.approx(0.4), 0.5)


# The kernel.


def pvalue(kernel: Callable[..., Tensor], mean: float = 1.2, sigma: float = 0.4, size: float = 0.9) -> float:
    """Kolmogorov-Smirnov: exact samples at a wall, after 20 steps of the kernel, against what they were drawn from."""
    generator = generators.generator("kernel")
    start = truncated(mean, sigma, (20_000, 1, 1, 1), generator)
    end = kernel(gaussian(mean, sigma), start, size, generator).flatten().numpy()
    exact = stats.truncnorm((CUBE.low - mean) / sigma, (CUBE.high - mean) / sigma, mean, sigma)
    return float(stats.kstest(end, exact.cdf).pvalue)


def right(f: LogDensity, x: Tensor, size: float, generator: Generator) -> Tensor:
    return equilibrate(f, x, steps=20, size=size, cube=CUBE, generator=generator)


def without_verdict(f: LogDensity, x: Tensor, size: float, generator: Generator) -> Tensor:
    for _ in range(20):
        v = torch.randn(x.shape, generator=generator) + size / 2 * evaluate(f, x).gradient
        x, _ = CUBE.flight(x, v, size)
    return x


def clamped(f: LogDensity, x: Tensor, size: float, generator: Generator) -> Tensor:
    """Clamp where the right kernel reflects."""

    class Walls(Cube):
        def flight(self, x: Tensor, momentum: Tensor, time: float) -> tuple[Tensor, Tensor]:
            return (x + time * momentum).clamp(self.low, self.high), momentum

    return equilibrate(f, x, steps=20, size=size, cube=Walls(CUBE.low, CUBE.high), generator=generator)


def unturned(f: LogDensity, x: Tensor, size: float, generator: Generator) -> Tensor:
    """Reflect positions and forget the momentum."""

    class Walls(Cube):
        def flight(self, x: Tensor, momentum: Tensor, time: float) -> tuple[Tensor, Tensor]:
            return super().flight(x, momentum, time)[0], momentum

    return equilibrate(f, x, steps=20, size=size, cube=Walls(CUBE.low, CUBE.high), generator=generator)


def test_the_kernel_leaves_its_target_invariant_at_the_walls() -> None:
    assert pvalue(right) > 0.01
    assert pvalue(right, size=0.2) > 0.01


@pytest.mark.parametrize("bug", [without_verdict, clamped, unturned])
def test_the_invariance_test_catches_planted_bugs(bug: Callable[..., Tensor]) -> None:
    assert pvalue(bug) < 1e-4


def test_the_kernel_converges_to_its_tempered_target() -> None:
    """exp(beta f) of N(m, s^2) is N(m, s^2 / beta) on the cube."""
    generator = generators.generator("tempered")
    f, beta = gaussian(1.2, 0.3), 0.25
    chains = evaluate(f, CUBE.uniform(like(4000), generator))
    for _ in range(60):
        chains, _ = transition(f, chains, beta=beta, size=0.5, cube=CUBE, generator=generator)
    exact = truncated(1.2, 0.3 / math.sqrt(beta), (4000,), generator)
    assert stats.ks_2samp(chains.x.flatten().numpy(), exact.numpy()).pvalue > 0.01
    again = evaluate(f, chains.x)  # what is carried along is what is there
    torch.testing.assert_close(chains.f, again.f)
    torch.testing.assert_close(chains.gradient, again.gradient)


def test_a_step_is_sharp_where_the_density_is_no_number() -> None:
    """A proposal with NaN or log p = -inf is refused, and one without gradient is an ordinary random walk."""
    x = torch.full((500, 1, 1, 1), 0.4)

    def half(x: Tensor) -> Tensor:
        return torch.where(x.flatten(1)[:, 0] < 0.5, 0.0, -math.inf)

    def undefined(x: Tensor) -> Tensor:
        return torch.where(x.flatten(1)[:, 0] < 0.5, 0.0, math.nan)

    for f in (half, undefined):
        end = equilibrate(f, x, steps=50, size=0.5, cube=CUBE, generator=generators.generator("half"))
        assert end.max() < 0.5
        assert stats.kstest(end.flatten().numpy(), stats.uniform(-0.5, 1.0).cdf).pvalue > 0.01


# Weights.


def test_weights_are_unbiased_in_z_even_with_two_temperatures_and_a_bad_kernel() -> None:
    """The mean of 40,000 weights within five of its standard errors, whatever the kernel mixes."""
    truth = gaussian_log_z(1.0, 0.3, 2) - 2 * math.log(CUBE.width)
    for steps, size in ((1, 0.3), (3, 0.05), (10, 1.5)):
        w = np.exp(forward(gaussian(1.0, 0.3), 40_000, 2, steps=steps, size=size) - truth)
        assert w.mean() == pytest.approx(1, abs=5 * w.std() / 200)


@pytest.mark.parametrize("dimension", [1, 3])
def test_the_bracket_of_a_truncated_gaussian(dimension: int) -> None:
    f, truth, n = gaussian(1.3, 0.35), gaussian_log_z(1.3, 0.35, dimension), 400
    generator = generators.generator("reverse", dimension)
    x = truncated(1.3, 0.35, (n, 1, 1, dimension), generator)
    down = anneal(f, x, schedule=schedule(100).reversed(), cube=CUBE, generator=generator).log_weights.numpy()
    up = forward(f, n, dimension, steps=100)
    found = bracket(up, down, log_z0=dimension * math.log(CUBE.width), rng=np.random.default_rng(0))
    assert found.low <= truth <= found.high
    assert found.high - found.low < 0.35


def test_reverse_is_above_forward_in_expectation() -> None:
    """Few chains and few temperatures: a gap of a nat that Jensen gives its sign."""
    f, truth, n = gaussian(1.3, 0.15), gaussian_log_z(1.3, 0.15, 4), 2000
    generator = generators.generator("gap")
    x = truncated(1.3, 0.15, (n, 1, 1, 4), generator)
    down = anneal(f, x, schedule=schedule(8).reversed(), cube=CUBE, generator=generator).log_weights.numpy()
    up = forward(f, n, 4, steps=8)
    rng, base = np.random.default_rng(0), 4 * math.log(CUBE.width)
    lower = base + np.mean([log_mean_exp(w, rng=rng).value for w in up.reshape(-1, 10)])
    upper = base - np.mean([log_mean_exp(w, rng=rng).value for w in down.reshape(-1, 10)])
    assert lower < truth < upper
    assert upper - lower > 0.1
    assert log_mean_exp(up, rng=rng).value + base == pytest.approx(truth, abs=0.2)


@pytest.mark.parametrize("dimension", [1, 2])
def test_a_mixture_with_modes_at_two_walls(dimension: int) -> None:
    up = forward(mixture, 4000, dimension, steps=40)
    found = log_mean_exp(up, rng=np.random.default_rng(0)).value + dimension * math.log(CUBE.width)
    assert found == pytest.approx(mixture_log_z(dimension), abs=0.08)


def test_planted_bugs_move_log_z() -> None:
    """A wrong base, a wrong direction and reverse chains of one mode only are all caught by the closed form."""
    truth, n = mixture_log_z(1), 1000
    up = forward(mixture, n, 1, steps=40)
    generator = generators.generator("one mode")
    one_mode = torch.full((n, 1, 1, 1), 1.3) + 0.02 * torch.randn((n, 1, 1, 1), generator=generator)
    settled = equilibrate(mixture, one_mode, steps=30, size=0.1, cube=CUBE, generator=generator)
    down = anneal(mixture, settled, schedule=schedule(40, 0.1).reversed(), cube=CUBE, generator=generator).log_weights
    rng = np.random.default_rng(0)
    assert bracket(up, down.numpy(), log_z0=1 * math.log(CUBE.width), rng=rng).crossed
    lower = log_mean_exp(up, rng=rng)
    base = 1 * math.log(CUBE.width)
    assert lower.low + base - 0.05 < truth < lower.high + base + 0.05
    for wrong in (0.0, -base):  # no volume, or its inverse
        assert not lower.low + wrong - 0.05 < truth < lower.high + wrong + 0.05
    assert not -lower.high + base < truth < -lower.low + base


def test_annealing_down_undoes_annealing_up() -> None:
    """log w is antisymmetric in the schedule where chains do not move: f constant along them."""
    x = CUBE.uniform(like(5), generators.generator("x"))
    frozen = Schedule(torch.linspace(0, 1, 8), torch.full((8,), 1e-12))
    f = gaussian(0.0, 1.0)
    up, down = (
        anneal(f, x, schedule=s, cube=CUBE, generator=generators.generator("v")) for s in (frozen, frozen.reversed())
    )
    torch.testing.assert_close(up.log_weights, -down.log_weights)
    torch.testing.assert_close(up.log_weights, f(x).double())


def test_noise_comes_from_the_given_stream_alone() -> None:
    f = gaussian(1.0, 0.3)
    with generators.forked("elsewhere"):
        first = forward(f, 20, 3, steps=5)
    np.testing.assert_array_equal(first, forward(f, 20, 3, steps=5))
    assert (first != forward(f, 20, 3, steps=5, name="other")).all()


def test_no_gradient_and_no_inference_mode_are_fine() -> None:
    with torch.no_grad():
        first = forward(gaussian(1.0, 0.3), 4, 2, steps=3)
    with torch.inference_mode():
        second = forward(gaussian(1.0, 0.3), 4, 2, steps=3)
    np.testing.assert_array_equal(first, second)


# Starts, schedules and the pilot.


def test_resampling_is_in_proportion_and_mixed() -> None:
    x, w = torch.arange(4.0)[:, None], torch.tensor([0.5, 0.25, 0.25, 0.0]).log()
    drawn = resample(x, w + 1000, count=400, generator=generators.generator("r")).flatten()
    assert np.bincount(drawn.long().numpy(), minlength=4).tolist() == pytest.approx([200, 100, 100, 0], abs=1)
    assert (drawn[1:] < drawn[:-1]).any()


def test_schedules_keep_their_ends_and_their_order() -> None:
    given_ = Schedule(torch.tensor([0.0, 0.1, 1.0]), torch.tensor([1.0, 0.5, 0.1]))
    fine = given_.resampled(41)
    assert (fine.betas[0], fine.betas[-1], fine.betas[20]) == (0, 1, pytest.approx(0.1))
    assert (fine.betas.diff() > 0).all()
    assert fine.sizes[[0, 20, 40]].tolist() == pytest.approx([1, 0.5, 0.1])
    coarse = fine.resampled(3)
    assert coarse.betas.tolist() == pytest.approx([0, 0.1, 1])
    assert fine.reversed().betas[0] == 1


def test_the_pilot_measures_the_length_of_a_path_and_turns_steps_to_it() -> None:
    """f = c x on the unit interval: sd_beta f has a closed form."""
    c, cube = 12.0, Cube(0, 1)

    def spread(b: float) -> float:
        return c * math.sqrt(1 / b**2 - math.exp(b) / (math.exp(b) - 1) ** 2) if b > 1e-3 else c / math.sqrt(12)

    betas = np.linspace(0, 1, 2001)
    truth = np.trapezoid([spread(c * b) for b in betas], betas)
    found = pilot(
        lambda x: c * x.flatten(1).sum(1), like(500), cube=cube, generator=generators.generator("p"), rungs=4, step=0.1
    )
    assert found.length == pytest.approx(truth, rel=0.1)
    steps = found.schedule.betas.diff()
    assert (steps > 0).all()
    assert steps[-2] > 2 * steps[0]
    assert (found.schedule.betas[0], found.schedule.betas[-1]) == (0, 1)
    assert found.transitions == 4 * len(steps)
    assert found.schedule.sizes[-1] < found.schedule.sizes.max()


def test_step_sizes_reach_the_wanted_acceptance() -> None:
    f = gaussian(0.5, 0.1)
    generator = generators.generator("acceptance")
    found = pilot(f, like(200, 8), cube=CUBE, generator=generator)
    run = anneal(f, CUBE.uniform(like(200, 8), generator), schedule=found.schedule, cube=CUBE, generator=generator)
    assert run.acceptance.mean().item() == pytest.approx(0.7, abs=0.12)


def test_a_pilot_of_one_chain_or_of_a_flat_density_has_even_steps() -> None:
    for f, n in ((gaussian(0.5, 0.5), 1), (lambda x: 0 * x.flatten(1).sum(1), 50)):
        found = pilot(f, like(n), cube=CUBE, generator=generators.generator("one"))
        assert found.length == 0
        assert found.schedule.betas.tolist() == pytest.approx(np.linspace(0, 1, 17).tolist())


def test_a_path_that_is_too_long_ends() -> None:
    found = pilot(gaussian(0.5, 0.001), like(20, 8), cube=CUBE, generator=generators.generator("long"), most=30)
    assert len(found.schedule.betas) == 31
    assert found.schedule.betas[-1] == 1


def test_chains_carry_what_was_evaluated() -> None:
    x = CUBE.uniform(like(3, 2), generators.generator("e"))
    chains = evaluate(gaussian(0.5, 0.5), x)
    assert isinstance(chains, ChainStates)
    torch.testing.assert_close(chains.gradient, -(x - 0.5) / 0.25)
    assert not chains.f.requires_grad
