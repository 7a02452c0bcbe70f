r"""SGLD: the one Langevin chain of the project.

One step of stochastic gradient Langevin dynamics (Welling & Teh, ICML 2011) on an unnormalised log density:

.. math::
    x_{t+1} = x_t + a\, g_t + s\, \xi_t, \qquad g_t = \nabla_x \log p(x_t), \quad \xi_t \sim N(0, I)

True Langevin dynamics at temperature 1 has :math:`s = \sqrt{2 a}`; in general the chain samples
:math:`p(x)^{1/T}` with :math:`T = s^2 / (2 a)` up to a bias of order a. JEM (Grathwohl et al., ICLR 2020, appendix H)
decouples the two: a = 1, s = 0.01 for pixels in [-1, 1], that is a = 0.25, s = 0.005 in our [0, 1], T = 5e-5.

:func:`refine` runs a chain from a given image, as a defence. What an attacker's gradient sees of it is the named
choice behind every published robustness number of a JEM: ``none`` (no gradient passes), ``straight-through`` (the
refinement counts as the identity: BPDA, Athalye et al., ICML 2018), ``full`` (through every step, by second
derivatives; only the image of each step is kept, so that the memory does not grow with a network times the steps).

Proximal sampling (JEM++: Yang & Ji, ICCV 2021) saves gradients: with the network split as
:math:`\log p(x) = h(\phi(x))`, phi its first layer, one gradient :math:`p = \nabla h(\phi(x_t))` serves ``inner`` moves
along :math:`J_\phi(x)^\top p`, each with its own Jacobian of the cheap first layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Generator, Tensor

from jembench.types import Precision

LogDensity = Callable[[Tensor], Tensor]
Noise = Callable[[Tensor, Generator], Tensor]
Gradient = Literal["none", "straight-through", "full"]


@dataclass(frozen=True)
class SGLD:
    """The settings of a chain, in units of the [0, 1] pixel range.

    Attributes:
        steps: number of steps of a chain.
        size: step size a on the gradient of log p(x), > 0.
        noise: standard deviation s of the noise of a step, >= 0.
        clip: bound c on every element of the gradient, ``None`` for no bound.
        bounds: range (low, high) that images are clamped to after each step, ``None`` for no clamp.
        inner: number of moves per gradient; more than one needs the network's first layer.
        precision: precision of the network; ``bf16`` runs it under autocast, images and moves stay fp32.
    """

    steps: int = 20
    size: float = 0.25
    noise: float = 0.005
    clip: float | None = None
    bounds: tuple[float, float] | None = None
    inner: int = 1
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        if self.steps < 0 or self.size <= 0 or self.noise < 0 or self.inner < 1:
            raise ValueError(f"SGLD needs steps >= 0, size > 0, noise >= 0 and inner >= 1, not {self}")

    @property
    def temperature(self) -> float:
        """T = s^2 / (2 a): the chain samples p(x)^(1/T), up to a bias of order a.

        >>> SGLD(size=0.5, noise=1.0).temperature
        1.0
        """
        return self.noise**2 / (2 * self.size)


def noise_like(x: Tensor, generator: Generator) -> Tensor:
    """Standard normal noise of the shape of ``x``, drawn on the generator's device, then moved."""
    return torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype).to(x.device)


def step(
    log_density: LogDensity, x: Tensor, *, settings: SGLD, generator: Generator, noise: Noise = noise_like
) -> Tensor:
    """One step x + a g + s xi from images ``x (B, C, H, W)``, detached.

    Args:
        log_density: maps ``(B, C, H, W)`` to ``(B,)``, row by row.
        x: images ``(B, C, H, W)`` before the step; it must require a gradient.
        settings: step size a, noise s, clip and bounds of the step.
        generator: source of the noise xi.
        noise: draws xi, of the shape of its first argument.
    """
    (gradient,) = torch.autograd.grad(log_density(x).sum(), x)
    return _move(x.detach(), gradient, settings, generator, noise)


def proximal_step(
    head: LogDensity,
    x: Tensor,
    *,
    stem: Callable[[Tensor], Tensor],
    settings: SGLD,
    generator: Generator,
    noise: Noise = noise_like,
) -> Tensor:
    """``settings.inner`` moves from ``x (B, C, H, W)`` with one gradient of ``head``; log p(x) = head(stem(x))."""
    hidden = stem(x).detach().requires_grad_()
    (slope,) = torch.autograd.grad(head(hidden).sum(), hidden)
    for _ in range(settings.inner):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(stem(x), x, grad_outputs=slope)
        x = _move(x.detach(), gradient, settings, generator, noise)
    return x


def _move(x: Tensor, gradient: Tensor, settings: SGLD, generator: Generator, noise: Noise) -> Tensor:
    if settings.clip is not None:
        gradient = gradient.clamp(-settings.clip, settings.clip)
    x = x + settings.size * gradient
    if settings.noise > 0:
        x = x + settings.noise * noise(x, generator)
    return x if settings.bounds is None else x.clamp(*settings.bounds)


def chain(
    log_density: LogDensity,
    x: Tensor,
    *,
    settings: SGLD,
    generator: Generator,
    noise: Noise = noise_like,
    stem: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """``settings.steps`` steps from ``x``; the result is detached, also where the caller takes no gradients.

    Args:
        log_density: maps images ``(B, C, H, W)`` to ``(B,)``; with a ``stem``, its output instead.
        x: images ``(B, C, H, W)`` where the chains start.
        settings: number and size of the steps, their noise, clip and bounds.
        generator: source of the noise of every step.
        noise: draws the noise of a step, of the shape of its first argument.
        stem: first layer of the network, for proximal sampling; None where ``log_density`` maps images.

    Raises:
        ValueError: if there is a stem and one move per gradient, or none and more.
    """
    if (stem is not None) != (settings.inner > 1):
        raise ValueError(f"inner = {settings.inner} needs {'no ' if settings.inner == 1 else 'a '}stem")
    with torch.inference_mode(False), torch.enable_grad(), _precision(x, settings):
        x = x.detach().clone()  # an inference tensor cannot require a gradient, its copy can
        for _ in range(settings.steps):
            x = x.detach().requires_grad_()
            if stem is None:
                x = step(log_density, x, settings=settings, generator=generator, noise=noise)
            else:
                x = proximal_step(log_density, x, stem=stem, settings=settings, generator=generator, noise=noise)
    return x.detach()


def _precision(x: Tensor, settings: SGLD) -> torch.autocast:
    return torch.autocast(x.device.type, torch.bfloat16, enabled=settings.precision == "bf16")


def refine(
    log_density: LogDensity, x: Tensor, *, settings: SGLD, generator: Generator, gradient: Gradient = "full"
) -> Tensor:
    """Refine ``x`` by a chain; ``gradient`` says what d refine / d x is for whoever differentiates it.

    Args:
        log_density: maps images ``(B, C, H, W)`` to ``(B,)``, row by row.
        x: images ``(B, C, H, W)`` where the chains start.
        settings: number and size of the steps, with one move per gradient.
        generator: source of the noise of every step.
        gradient: ``none`` (zero), ``straight-through`` (the identity) or ``full`` (the chain's own Jacobian).

    Returns:
        The same values in all three modes, for the same generator state.

    Raises:
        ValueError: for an unknown mode, or more than one move per gradient.
    """
    if gradient not in get_args(Gradient):
        raise ValueError(f"gradient must be one of {', '.join(get_args(Gradient))}, not {gradient!r}")
    if settings.inner > 1:
        raise ValueError(f"a refinement takes one move per gradient, not inner = {settings.inner}")
    if gradient == "none" or not (torch.is_grad_enabled() and x.requires_grad):
        return chain(log_density, x, settings=settings, generator=generator)
    if gradient == "straight-through":
        ends: Tensor = _StraightThrough.apply(x, chain(log_density, x, settings=settings, generator=generator))
        return ends
    for _ in range(settings.steps):
        x = _Step.apply(x, log_density, settings, generator)
    return x


class _Step(torch.autograd.Function):
    r"""One step with its own Jacobian, keeping only its image: what backward needs it computes again.

    For a cotangent v, with the Hessian H of log p and the masks of ``clip`` and ``bounds`` as projections C and P,

    .. math::
        v \mapsto P v + a\, H\, C\, P v.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, log_density: LogDensity, settings: SGLD, generator: Generator) -> Tensor:
        with torch.enable_grad(), _precision(x, settings):
            end = step(
                log_density, x.detach().requires_grad_(), settings=replace(settings, bounds=None), generator=generator
            )
        ctx.save_for_backward(x)
        ctx.log_density, ctx.settings, ctx.inside = log_density, settings, None
        if settings.bounds is not None:
            low, high = settings.bounds
            ctx.inside = (end >= low) & (end <= high)
            end = end.clamp(low, high)
        return end

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (x,), settings, v = ctx.saved_tensors, ctx.settings, gradients[0]
        if ctx.inside is not None:
            v = v * ctx.inside
        with torch.enable_grad(), _precision(x, settings):
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(ctx.log_density(x).sum(), x, create_graph=True)
            if settings.clip is not None:
                slope = slope.clamp(-settings.clip, settings.clip)
            curvature = (
                torch.autograd.grad(slope, x, grad_outputs=v, allow_unused=True)[0] if slope.requires_grad else None
            )
        return (v if curvature is None else v + settings.size * curvature), None, None, None


class _StraightThrough(torch.autograd.Function):
    """The values of ``ends`` to the last bit, the gradient of ``x``."""

    @staticmethod
    def forward(ctx: object, x: Tensor, ends: Tensor) -> Tensor:
        return ends.clone()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None
