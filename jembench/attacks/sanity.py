r"""Sanity of gradients: is what an attack climbs the slope of the loss?

Two questions, as an attack would ask them. At the **clean image**: is there a gradient of the cross-entropy at all, or
is it exactly 0 in every pixel, or not finite? And at a random point z near it, :data:`NEAR` eps away at most: with the
gradient g at z, the share of random steps of the same length that raise the loss by less than a step along g does,

.. math::
    \mathrm{follows}(x) = P_r\bigl( L(z + h\, u(g)) > L(z + h\, u(r)) \bigr), \qquad r \sim N(0, I),

with h = :data:`STEP` eps, the u and the ball of :mod:`jembench.attacks.pgd`, and L minus the margin, which rises with
the cross-entropy and is never saturated. It is near 1 where the gradient tells where the loss rises, and 1/2 or less
where it has been shattered: steeper than the step can follow. A gradient that is 0 or not finite tells nothing and
counts as 1/2. These are signs of obfuscated gradients (Athalye et al., ICML 2018, arXiv 1802.00420, section 3.1).

Why not at the clean image itself: its pixels are on a grid, on which a fast wave has one phase for all pixels of a
value, and its gradient looks better than it is. A stochastic victim has its gradient averaged over :data:`QUERIES`
draws, and its losses compared on other draws, the same for all steps, so that noise in the loss is not taken for a bad
gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from jembench.attacks.losses import margin
from jembench.attacks.pgd import direction, project, random_offset
from jembench.types import Norm

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim

NEAR = 0.25  # radius of the ball that z is in, in units of eps
STEP = 0.1  # h, in units of eps: no step of an attack that gets anywhere is much smaller
RANDOM = 8  # random steps at every image
QUERIES = 8  # behind every gradient and every loss of a stochastic victim


@dataclass(frozen=True)
class Slope:
    """What the gradients at and around images are like.

    Attributes:
        zero: whether the gradient of the cross-entropy at the image is exactly 0 everywhere, ``(B,)``.
        broken: whether the gradient of the cross-entropy at the image is not finite, ``(B,)``.
        follows: share of random steps that raise the loss by less than one along the gradient, ``(B,)``.
    """

    zero: Tensor
    broken: Tensor
    follows: Tensor


def slope(victim: Victim, x: Tensor, y: Tensor, *, norm: Norm, eps: float, generator: Generator) -> Slope:
    """The check at images ``x (B, C, H, W)`` of classes ``y (B,)``; the generator is that of the victim's noise."""
    clean = _size(_gradient(victim, x, y))
    zero, broken = clean == 0, ~clean.isfinite()
    z = project(x + random_offset(_normal(x, generator), norm, NEAR * eps), x, norm, NEAR * eps)
    gradient, normals = _gradient(victim, z, y), [_normal(x, generator) for _ in range(RANDOM)]
    blind = zero | broken | (_size(gradient) == 0) | ~_size(gradient).isfinite()
    # Not clamped to [0, 1]: at the edge of the range a clamp would take most of some steps and nothing of others.
    ends = [z + STEP * eps * direction(r, norm) for r in [gradient.nan_to_num(0.0, 0.0, 0.0), *normals]]
    along, *controls = _losses(victim, ends, y, generator)
    share = torch.stack([(along > control).float() for control in controls]).mean(0)
    return Slope(zero, broken, torch.where(blind, torch.full_like(share, 0.5), share))


def _gradient(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    """Of the cross-entropy, the mean over draws of a stochastic victim; 0 where nothing leads back to the image."""
    gradient = torch.zeros_like(x)
    for _ in range(rounds := _rounds(victim)):
        with torch.enable_grad():
            z = x.detach().clone().requires_grad_()
            value = cross_entropy(victim(z), y, reduction="sum")
            if value.requires_grad:
                (part,) = torch.autograd.grad(value, z, allow_unused=True)
                gradient += 0 if part is None else part / rounds
    return gradient


def _losses(victim: Victim, ends: list[Tensor], y: Tensor, generator: Generator) -> list[Tensor]:
    """Minus the margin at each of several sets of images, all on the same draws of a stochastic victim."""
    state = generator.get_state()
    losses = []
    for images in ends:
        generator.set_state(state)
        with torch.no_grad():
            losses.append(-torch.stack([margin(victim(images), y) for _ in range(_rounds(victim))]).mean(0))
    return losses


def _rounds(victim: Victim) -> int:
    return QUERIES if victim.stochastic else 1


def _size(gradient: Tensor) -> Tensor:
    """The largest element of every gradient, ``(B,)``; NaN if one is."""
    return gradient.flatten(1).abs().amax(1)


def _normal(x: Tensor, generator: Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator).to(x)
