r"""Annealed importance sampling: the normalising constant of an unnormalised density on a cube.

The target :math:`p_1(x) = e^{f(x)} / Z` lives on the cube :math:`[l, u]^D` and nowhere else. Between it and the uniform
distribution lies the geometric path

.. math::
    p_\beta(x) = e^{\beta f(x)} / Z(\beta), \qquad Z(0) = (u - l)^D, \quad Z(1) = Z .

A chain starts with :math:`x_0 \sim p_{\beta_0}` and is moved, for t = 1..n, by a kernel that leaves
:math:`p_{\beta_t}` invariant; its weight (Neal, Statistics and Computing 2001, arXiv physics/9803008)

.. math::
    \log w = \sum_{t=1}^{n} (\beta_t - \beta_{t-1})\, f(x_{t-1}), \qquad E\, w = Z(\beta_n) / Z(\beta_0),

is unbiased whatever the kernel mixes. With :math:`\beta: 0 \to 1` the log of a mean of weights is, by Jensen, a
stochastic **lower** bound of :math:`\log Z - \log Z(0)`; from exact samples of :math:`p_1` with :math:`\beta: 1 \to 0`,
minus the same is an **upper** bound (Grosse, Ghahramani & Adams 2015, arXiv 1511.02543). Both directions are one
function here, :func:`anneal`.

**Kernel.** MALA, as one leap of Hamiltonian Monte Carlo (Neal 2011) with momentum :math:`v \sim N(0, I)`,

.. math::
    v \leftarrow v + \tfrac{\epsilon}{2} \beta \nabla f(x), \quad x, v \leftarrow \mathrm{flight}_\epsilon(x, v), \quad
    v \leftarrow v + \tfrac{\epsilon}{2} \beta \nabla f(x),

accepted with probability :math:`\min(1, e^{H - H'})`, :math:`H = \lvert v \rvert^2 / 2 - \beta f(x)`. The flight is
the free motion of a billiard ball: at a wall a coordinate is reflected and its momentum turned round. It keeps volume
and is undone by turning all momenta round, as the straight flight does, so the kernel is exact up to the walls, with no
change of variables and no Jacobian. (Clamping to the cube would pile mass up on its walls, and bias log Z.) Two leaps
for a gradient's price each were no better than twice the temperatures, four were worse (``gauss``, oracle).

**Settings.** Where the temperatures lie and how long the steps are decides the variance, never the mean, as long as
neither depends on the chains that are weighed. So they come from a pilot (:func:`pilot`) with chains and noise of its
own; adaptation within the measured run would make it biased. The pilot walks up the path at steps of
:math:`\Delta\beta = \delta / \mathrm{sd}_\beta f`, equal in thermodynamic length
:math:`\Lambda = \int_0^1 \mathrm{sd}_\beta f \, d\beta` (Crooks, PRL 2007), and turns the step size towards the wanted
acceptance. With n temperatures equally spaced in length and kernels that mix at once,
:math:`\mathrm{var} \log w = \Lambda^2 / n`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

LogDensity = Callable[[Tensor], Tensor]

# Of a pilot:
MOVES = 4  # transitions at a temperature
ACCEPTANCE = 0.7  # towards which the step size is turned


@dataclass(frozen=True)
class Cube:
    """The domain: every pixel in [low, high]."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"a cube needs low < high, not [{self.low}, {self.high}]")

    @classmethod
    def of_levels(cls, levels: int) -> Cube:
        """Where dequantised images of so many grey levels live: half a cell beyond [0, 1] on both sides.

        >>> Cube.of_levels(17)
        Cube(low=-0.03125, high=1.03125)
        """
        half = 0.5 / (levels - 1)
        return cls(-half, 1 + half)

    @property
    def width(self) -> float:
        """Length of an edge."""
        return self.high - self.low

    def uniform(self, like: Tensor, generator: Generator) -> Tensor:
        """Uniform points of the cube, of the shape of ``like``: drawn on the generator's device, then moved."""
        u = torch.rand(like.shape, generator=generator, device=generator.device, dtype=like.dtype)
        return self.low + self.width * u.to(like.device)

    def flight(self, x: Tensor, momentum: Tensor, time: float) -> tuple[Tensor, Tensor]:
        """Position and momentum after a free flight within the walls, as many reflections as it takes.

        >>> x, v = Cube(0, 1).flight(torch.tensor([0.75]), torch.tensor([2.0]), 0.5)
        >>> x.item(), v.item()
        (0.25, -2.0)
        """
        phase = ((x - self.low + time * momentum) / self.width).remainder(2)
        odd = phase > 1
        position = torch.where(odd, 2 - phase, phase)
        return self.low + self.width * position, torch.where(odd, -momentum, momentum)


@dataclass(frozen=True)
class Schedule:
    """Settings along the path, at equal steps of thermodynamic length.

    Attributes:
        betas: inverse temperatures ``(K,)``, ascending from 0 to 1.
        sizes: step size epsilon ``(K,)`` of the kernel at each inverse temperature.
    """

    betas: Tensor
    sizes: Tensor

    def resampled(self, count: int) -> Schedule:
        """``count`` >= 2 settings, interpolated linearly; the ends are exactly 0 and 1."""
        position = torch.linspace(0, len(self.betas) - 1, count, dtype=torch.float64)
        below = position.long().clamp(max=len(self.betas) - 2)
        share = position - below

        def at(values: Tensor) -> Tensor:
            values = values.double()
            return values[below] + share * (values[below + 1] - values[below])

        return Schedule(at(self.betas), at(self.sizes.log()).exp())

    def reversed(self) -> Schedule:
        """The same path from 1 to 0."""
        return Schedule(self.betas.flip(0), self.sizes.flip(0))


class ChainStates(NamedTuple):
    """Where chains are: positions ``(B, C, H, W)``, f ``(B,)`` and its gradient there."""

    x: Tensor
    f: Tensor
    gradient: Tensor


def evaluate(log_density: LogDensity, x: Tensor) -> ChainStates:
    """f and its gradient at ``x (B, C, H, W)``, detached. Where f has no gradient, 0 is one: the kernel stays exact."""
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        f = log_density(x)
        gradient = torch.autograd.grad(f.sum(), x, allow_unused=True)[0] if f.requires_grad else None
    x = x.detach()
    return ChainStates(x, f.detach().double(), torch.zeros_like(x) if gradient is None else gradient.detach())


def transition(
    log_density: LogDensity, chains: ChainStates, *, beta: float, size: float, cube: Cube, generator: Generator
) -> tuple[ChainStates, Tensor]:
    """One step that leaves exp(beta f) on the cube invariant; one forward and one gradient a chain.

    Args:
        log_density: f, maps images ``(B, C, H, W)`` to ``(B,)``, row by row.
        chains: states of the chains before the step.
        beta: inverse temperature of the kernel, from 0 (uniform) to 1 (the target).
        size: step size epsilon.
        cube: domain, whose walls reflect the chains.
        generator: source of the momenta and of the draws that accept or refuse a proposal.

    Returns:
        The chains afterwards, and which of them were moved, ``(B,)``. A proposal where f is NaN is refused.
    """
    x, f, gradient = chains
    device = generator.device
    momentum = torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype).to(x.device)
    chance = torch.rand(len(x), generator=generator, device=device, dtype=torch.float64).to(x.device)
    proposal, v = cube.flight(x, momentum + size / 2 * beta * gradient, size)
    end = evaluate(log_density, proposal)
    v = v + size / 2 * beta * end.gradient
    change = beta * (end.f - f) - (_kinetic(v) - _kinetic(momentum))  # H - H'
    acceptance = chance.log() < change  # false where it is NaN
    rows = acceptance.reshape(-1, *[1] * (x.dim() - 1))
    states = ChainStates(
        torch.where(rows, end.x, x), torch.where(acceptance, end.f, f), torch.where(rows, end.gradient, gradient)
    )
    return states, acceptance


def _kinetic(v: Tensor) -> Tensor:
    return v.double().square().flatten(1).sum(1) / 2


class WeightedSamples(NamedTuple):
    """Log weights ``(B,)`` in nats, ends ``(B, C, H, W)``, and the share of accepted steps ``(B,)``."""

    log_weights: Tensor
    x: Tensor
    acceptance: Tensor


def anneal(
    log_density: LogDensity, x: Tensor, *, schedule: Schedule, cube: Cube, generator: Generator
) -> WeightedSamples:
    """Carry samples of ``betas[0]`` along the schedule, in either direction, and weigh them.

    The kernel of the last temperature is run too: it moves the ends, not the weights.

    Args:
        log_density: f, maps images ``(B, C, H, W)`` to ``(B,)``, row by row.
        x: independent samples ``(B, C, H, W)`` of exp(betas[0] f) on the cube.
        schedule: inverse temperatures and step sizes, from 0 to 1 or reversed.
        cube: domain, whose walls reflect the chains.
        generator: source of the momenta and of the draws that accept or refuse a proposal.
    """
    chains = evaluate(log_density, x)
    log_weights, acceptances = torch.zeros_like(chains.f), torch.zeros_like(chains.f)
    betas, sizes = schedule.betas.tolist(), schedule.sizes.tolist()
    for t in range(1, len(betas)):
        log_weights += (betas[t] - betas[t - 1]) * chains.f
        chains, acceptance = transition(
            log_density, chains, beta=betas[t], size=sizes[t], cube=cube, generator=generator
        )
        acceptances += acceptance
    return WeightedSamples(log_weights, chains.x, acceptances / (len(betas) - 1))


def equilibrate(
    log_density: LogDensity, x: Tensor, *, steps: int, size: float, cube: Cube, generator: Generator
) -> Tensor:
    """``steps`` transitions at beta = 1 from ``x``."""
    chains = evaluate(log_density, x)
    for _ in range(steps):
        chains, _ = transition(log_density, chains, beta=1.0, size=size, cube=cube, generator=generator)
    return chains.x


def resample(x: Tensor, log_weights: Tensor, *, count: int, generator: Generator) -> Tensor:
    """``count`` of the points ``x (N, ...)`` in proportion to their weights ``(N,)``, systematically, in random order.

    Every point appears as often as its share says, to within one. Of the ends of annealed chains this makes samples of
    p_1 in the limit of many chains only.
    """
    total = (log_weights.double() - log_weights.max()).exp().cumsum(0)
    u = torch.rand(1, generator=generator, dtype=torch.float64)
    places = (torch.arange(count, dtype=torch.float64) + u) / count * total[-1]
    rows = torch.searchsorted(total, places.to(total.device)).clamp(max=len(x) - 1)
    return x[rows[torch.randperm(count, generator=generator).to(rows.device)]]


class PilotRun(NamedTuple):
    """A schedule, the thermodynamic length of its path, and the transitions it cost."""

    schedule: Schedule
    length: float
    transitions: int


def pilot(
    log_density: LogDensity,
    like: Tensor,
    *,
    cube: Cube,
    generator: Generator,
    step: float = 0.25,
    rungs: int = 16,
    most: int = 1000,
) -> PilotRun:
    """Find a schedule by a walk from the uniform distribution to the target, with chains that are then thrown away.

    Args:
        log_density: f, maps images ``(B, C, H, W)`` to ``(B,)``, row by row.
        like: images ``(B, C, H, W)``, as many as the pilot has chains; only their shape, type and device matter.
        cube: domain, whose walls reflect the chains.
        generator: source of the starting points, the momenta and the draws that accept or refuse a proposal.
        step: delta, the thermodynamic length between two temperatures.
        rungs: least number of temperatures: no step is longer than 1 / rungs in beta.
        most: largest number of temperatures; a path that needs more is finished in one jump.
    """
    chains = evaluate(log_density, cube.uniform(like, generator))
    beta, size, length = 0.0, cube.width / 4, 0.0
    betas, sizes = [0.0], [size]
    while beta < 1:
        finite = chains.f[chains.f.isfinite()]
        spread = float(finite.std(correction=0)) if len(finite) else 0.0
        successor = beta + step / max(spread, step * rungs)
        successor = 1.0 if successor > 1 - 1e-9 or len(betas) == most else successor
        length += spread * (successor - beta)
        beta = successor
        for _ in range(MOVES):
            chains, acceptance = transition(log_density, chains, beta=beta, size=size, cube=cube, generator=generator)
            size = min(size * math.exp(0.5 * (float(acceptance.double().mean()) - ACCEPTANCE)), cube.width)
        betas.append(beta)
        sizes.append(size)
    schedule = Schedule(torch.tensor(betas, dtype=torch.float64), torch.tensor(sizes, dtype=torch.float64))
    return PilotRun(schedule, length, MOVES * (len(betas) - 1))
