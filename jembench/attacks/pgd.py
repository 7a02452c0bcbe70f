r"""Projected gradient descent: the one PGD loop of the project (Madry et al., ICLR 2018, arXiv 1706.06083).

.. math::
    x_{t+1} = \Pi_{B_\epsilon(x) \cap [0,1]^D} \bigl( x_t + a\, u(\nabla_x L(x_t)) \bigr)

u is the steepest direction of unit length in the norm of the ball: the sign for L-infinity, g / |g|_2 for L2. The start
is uniform in the ball (L-infinity), or uniform in direction and radius (L2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

Norm = Literal["linf", "l2"]


@dataclass(frozen=True)
class PGD:
    """The settings of an attack, in units of the [0, 1] pixel range.

    Attributes:
        norm: of the ball.
        eps: its radius.
        steps: number of steps.
        size: length a of a step.
    """

    norm: Norm
    eps: float
    steps: int
    size: float


def pgd(
    loss: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    settings: PGD,
    generator: Generator,
    draw: Callable[[Tensor, Generator], Tensor] | None = None,
) -> Tensor:
    """Adversarial images ``(B, C, H, W)`` in the ball around ``x`` and in [0, 1], detached.

    Args:
        loss: maps images to a loss per image ``(B,)``, row by row; the attack climbs it.
        x: clean images in [0, 1].
        settings: ball and steps.
        generator: source of the random start.
        draw: standard normal noise of the shape of its first argument; from the generator by default.
    """
    normal = draw(x, generator) if draw is not None else torch.randn(x.shape, generator=generator).to(x)
    with torch.enable_grad():
        adversarial = _projected(x + _start(normal, settings), x, settings)
        for _ in range(settings.steps):
            adversarial.requires_grad_()
            (gradient,) = torch.autograd.grad(loss(adversarial).sum(), adversarial)
            moved = adversarial.detach() + settings.size * _direction(gradient, settings.norm)
            adversarial = _projected(moved, x, settings)
    return adversarial.detach()


def _start(normal: Tensor, settings: PGD) -> Tensor:
    """A random point of the ball from standard normal numbers, by their distribution function."""
    if settings.norm == "linf":
        uniform: Tensor = torch.special.ndtr(normal)
        return settings.eps * (2 * uniform - 1)
    flat = normal.flatten(1)
    square = flat.square().sum(1)  # chi-squared, independent of the direction
    radius: Tensor = torch.special.gammainc(torch.full_like(square, flat.shape[1] / 2), square / 2)
    return settings.eps * radius.reshape(-1, *[1] * (normal.ndim - 1)) * _direction(normal, "l2")


def _direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The unit vector of steepest ascent; zero where the gradient is."""
    if norm == "linf":
        return gradient.sign()
    length: Tensor = gradient.flatten(1).norm(dim=1).reshape(-1, *[1] * (gradient.ndim - 1))
    return gradient / length.clamp_min(torch.finfo(gradient.dtype).tiny)


def _projected(moved: Tensor, x: Tensor, settings: PGD) -> Tensor:
    """The nearest point of the ball, then of [0, 1]: for these two norms the result is in both."""
    delta = moved - x
    if settings.norm == "linf":
        delta = delta.clamp(-settings.eps, settings.eps)
    else:
        length = delta.flatten(1).norm(dim=1).reshape(-1, *[1] * (delta.ndim - 1))
        delta = delta * (settings.eps / length.clamp_min(settings.eps))
    return (x + delta).clamp(0, 1).detach()
