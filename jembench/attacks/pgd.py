r"""Projected gradient ascent: the one PGD loop of the project (Madry et al., ICLR 2018, arXiv 1706.06083).

.. math::
    x_{t+1} = \Pi_{B_\epsilon(x) \cap [0,1]^D} \bigl( x_t + a_t\, u(\nabla_x L(x_t)) \bigr)

u is the steepest direction of unit length in the norm of the ball: the sign for L-infinity, g / |g|_2 for L2. A random
start is uniform in the ball (L-infinity), or uniform in direction and radius (L2). :func:`climb` is the loop;
adversarial training takes it as :func:`pgd`, the attacks as :mod:`jembench.attacks.ladder`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from jembench.attacks.threat import column
from jembench.types import Norm

Watch = Callable[[Tensor, Tensor], Tensor | None]


def pgd(
    loss: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    norm: Norm,
    eps: float,
    steps: int,
    size: float,
    generator: Generator,
    draw: Callable[[Tensor, Generator], Tensor] | None = None,
) -> Tensor:
    """Adversarial images ``(B, C, H, W)`` in the ball around ``x`` and in [0, 1], detached.

    Args:
        loss: maps images to a loss per image ``(B,)``, row by row; the attack climbs it.
        x: clean images ``(B, C, H, W)`` in [0, 1].
        norm: norm of the ball.
        eps: radius of the ball, in units of the [0, 1] pixel range.
        steps: number of steps.
        size: length a of a step, in units of the [0, 1] pixel range.
        generator: source of the random start.
        draw: draws standard normal noise of the shape of its first argument; by default from the generator.
    """
    normal = draw(x, generator) if draw is not None else torch.randn(x.shape, generator=generator).to(x)
    start = project(x + random_offset(normal, norm, eps), x, norm, eps)
    return climb(loss, x, start, norm=norm, eps=eps, sizes=[size] * steps)


def climb(
    loss: Callable[[Tensor], Tensor],
    x: Tensor,
    start: Tensor,
    *,
    norm: Norm,
    eps: float | Tensor,
    sizes: Sequence[float | Tensor],
    watch: Watch | None = None,
) -> Tensor:
    """The last images of the ascent from ``start``, of the examples that were not taken out.

    Args:
        loss: maps images to a loss per image ``(B,)``, row by row; after rows were taken out, of fewer.
        x: clean images ``(B, C, H, W)``, the centres of the balls.
        start: images ``(B, C, H, W)`` in the balls, where the ascent begins.
        norm: norm of the balls.
        eps: radius of the balls, one number or one for each example ``(B,)``.
        sizes: length of every step, one number or one for each example ``(B,)``.
        watch: called with every iterate and its gradient; it returns the rows that go on, or None if all do.
    """
    adversarial = start
    with torch.enable_grad():
        for step in range(len(sizes)):
            adversarial.requires_grad_()
            gradient = _slope(loss(adversarial).sum(), adversarial)
            adversarial = adversarial.detach()
            if watch is not None and (rows := watch(adversarial, gradient)) is not None:
                x, adversarial, gradient = x[rows], adversarial[rows], gradient[rows]
                eps, *sizes = (setting[rows] if isinstance(setting, Tensor) else setting for setting in (eps, *sizes))
                if not len(rows):
                    break
            steepest = direction(gradient.nan_to_num(0.0, 0.0, 0.0), norm)  # no direction: stay, and let others go on
            iterate = adversarial + _column(sizes[step], gradient) * steepest
            adversarial = project(iterate, x, norm, eps)
    return adversarial.detach()


def decayed(steps: int) -> list[float]:
    """The length of every step over that of the first, by half a cosine: (1 + cos pi t / T) / 2."""
    return [(1 + math.cos(math.pi * t / steps)) / 2 for t in range(steps)]


def _slope(total: Tensor, x: Tensor) -> Tensor:
    """The gradient of a sum of losses; zero where no path leads to the images (a model under ``torch.no_grad``)."""
    if not total.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(total, x, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient


def random_offset(normal: Tensor, norm: Norm, eps: float | Tensor) -> Tensor:
    """A random point of the ball around 0 from standard normal numbers, by their distribution function."""
    radius = _column(eps, normal)
    if norm == "linf":
        uniform: Tensor = torch.special.ndtr(normal)
        return radius * (2 * uniform - 1)
    flat = normal.flatten(1)
    square = flat.square().sum(1)  # chi-squared, independent of the direction
    share: Tensor = torch.special.gammainc(torch.full_like(square, flat.shape[1] / 2), square / 2)
    return radius * _column(share, normal) * direction(normal, "l2")


def direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The unit vector of steepest ascent; zero where the gradient is."""
    if norm == "linf":
        return gradient.sign()
    length = _length(gradient)
    return gradient / length.clamp_min(torch.finfo(gradient.dtype).tiny)


def project(images: Tensor, x: Tensor, norm: Norm, eps: float | Tensor) -> Tensor:
    """The nearest point of the ball, then of [0, 1]: for these two norms the result is in both."""
    delta = images - x
    radius = _column(eps, x)
    if norm == "linf":
        delta = delta.clamp(-radius, radius)  # type: ignore[arg-type]
    else:
        length = _length(delta)
        longest = torch.maximum(length, radius) if isinstance(radius, Tensor) else length.clamp_min(radius)
        delta = delta * (radius / longest)
    return (x + delta).clamp(0, 1).detach()


def _length(delta: Tensor) -> Tensor:
    """The Euclidean norm of each example, in the shape ``(B, 1, 1, 1)``."""
    length: Tensor = torch.linalg.vector_norm(delta, dim=tuple(range(1, delta.ndim)), keepdim=True)
    return length


def _column(value: float | Tensor, like: Tensor) -> float | Tensor:
    """A number as it is; one for each example by :func:`column`."""
    return column(value, like) if isinstance(value, Tensor) else value
