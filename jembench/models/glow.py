r"""Glow as a density and a sampler, and its class-conditional twin (Kingma & Dhariwal, NeurIPS 2018, arXiv 1807.03039).

A flow f (:mod:`jembench.models.flow`) on normalised pixels and a Gaussian base with learned mean :math:`\mu` and
log-scale :math:`\lambda` per latent dimension give a normalised log density in pixel space,

.. math::
    \log p(x) = \log N\bigl(f(\tfrac{x - m}{s}); \mu, e^{2 \lambda}\bigr) + \log \lvert \det J_f \rvert
                - \textstyle\sum_i \log s_i.

With a base :math:`(\mu_y, \lambda_y)` for every class y, one pass of the flow gives all K densities
:math:`\log p(x|y)`, and with a uniform prior :math:`f(x)[y] = \log p(x, y) = \log p(x|y) - \log K`: log Z = 0, and
p(y|x) is Bayes' rule.

**Dequantisation** (Theis et al., ICLR 2016, arXiv 1511.01844). The density is over continuous pixels, images are not:
a pixel of L levels is k / (L - 1). Each lattice point is the centre of a cell of width 1 / (L - 1), and a dequantised
image is uniform in its cell, :math:`\tilde x = x + (u - \tfrac12) / (L - 1)`, :math:`u \sim U[0, 1)^D`. By Jensen's
inequality the probability of the cell is

.. math::
    P(k) = (L - 1)^{-D} \, E_u\, p(\tilde x) \;\ge\; (L - 1)^{-D} \exp E_u \log p(\tilde x),

so that :math:`-E \log_2 p(\tilde x) / D + \log_2(L - 1)` bits per dimension are enough to code an image. Training
maximises log p of dequantised images; the measurement ``dequantised`` evaluates them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn

from jembench.langevin import sgld
from jembench.models.exact import ExactSampler
from jembench.models.flow import Flow

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.models.recipes import Recipe


class Glow(ExactSampler):
    """A :class:`~jembench.types.Density` and :class:`~jembench.types.Sampler`, both exact.

    Args:
        flow: bijection from normalised images ``(B, C, H, W)`` to latents ``(B, D)``.
        shape: (C, H, W) of an image, D = C H W.
        classes: number of Gaussians of the base: 1, or one for every class of a conditional flow.
        mean: number, or one per channel, that is subtracted from the [0, 1] pixels.
        std: number, or one per channel, that the pixels are then divided by.

    Raises:
        ValueError: if ``std`` is not positive.
    """

    normalized = True
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        flow: Flow,
        *,
        shape: tuple[int, int, int],
        classes: int = 1,
        mean: float | tuple[float, ...] = 0.0,
        std: float | tuple[float, ...] = 1.0,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.shape = shape
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(-1, 1, 1), persistent=False)
        if not bool((self.std > 0).all()):
            raise ValueError(f"std must be positive, not {std}")
        self.location = nn.Parameter(torch.zeros(classes, math.prod(shape)))
        self.log_scale = nn.Parameter(torch.zeros(classes, math.prod(shape)))

    def initialise(self, x: Tensor) -> None:
        """Data-initialise the actnorms on images ``(B, C, H, W)``, dequantised if the training's are."""
        self.flow.initialise((x - self.mean) / self.std)

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) in nats, normalised, shape ``(B,)``, of images ``(B, C, H, W)`` in [0, 1]."""
        return self._log_components(x).squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """The log density, so that the model is also an ordinary module."""
        return self.log_density(x)

    def _draw(self, n: int, labels: Tensor | None, generator: Generator) -> Tensor:
        if labels is not None:
            raise ValueError("an unconditional Glow cannot sample given labels: use a conditional one")
        return self._decode(torch.zeros(n, dtype=torch.int64), generator)

    def _log_components(self, x: Tensor) -> Tensor:
        """log p(x) under every base, shape ``(B, rows)``, from one pass of the flow."""
        z, log_det = self.flow((x - self.mean) / self.std)
        log_det = log_det - self.std.log().expand(self.shape).sum()
        square = ((z[:, None] - self.location) * (-self.log_scale).exp()).square()
        log_base = -(square / 2 + self.log_scale + math.log(2 * math.pi) / 2).sum(dim=2)
        log_p: Tensor = log_base + log_det[:, None]
        return log_p

    @torch.no_grad()
    def _decode(self, rows: Tensor, generator: Generator) -> Tensor:
        """One image ``(C, H, W)`` in [0, 1] for each base in ``rows (n,)``."""
        rows = rows.to(self.location.device)
        centre = self.location[rows]
        z = centre + self.log_scale[rows].exp() * sgld.noise_like(centre, generator)
        return (self.flow.inverse(z) * self.std + self.mean).clamp(0, 1)


class ConditionalGlow(Glow):
    """One flow, and a base for every class; also a :class:`~jembench.types.Classifier` by Bayes' rule."""

    def log_conditional(self, x: Tensor, labels: Tensor) -> Tensor:
        """log p(x|y) in nats, shape ``(B,)``, of images ``(B, C, H, W)`` in [0, 1] and classes ``labels (B,)``."""
        return self._log_components(x).gather(1, labels[:, None]).squeeze(1)

    def logits(self, x: Tensor) -> Tensor:
        """log p(x, y) = log p(x|y) - log K, shape ``(B, K)``."""
        return self._log_components(x) - math.log(len(self.location))

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) = logsumexp of the logits, in nats, normalised, shape ``(B,)``."""
        return self.logits(x).logsumexp(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """The logits, so that the model is also an ordinary classifier."""
        return self.logits(x)

    def _draw(self, n: int, labels: Tensor | None, generator: Generator) -> Tensor:
        if labels is None:
            labels = torch.randint(len(self.location), (n,), generator=generator, device=generator.device)
        elif labels.shape != (n,):
            raise ValueError(f"labels must have shape ({n},), not {tuple(labels.shape)}")
        return self._decode(labels, generator)


def from_recipe(recipe: Recipe, track: Track) -> Glow:
    """An untrained Glow; its rotations and coupling networks come from torch's global generator."""
    part = recipe.model
    return Glow(_flow(recipe, track), shape=track.shape, mean=part.mean, std=part.std)


def conditional_from_recipe(recipe: Recipe, track: Track) -> ConditionalGlow:
    """An untrained class-conditional Glow; its rotations and networks come from torch's global generator."""
    part = recipe.model
    return ConditionalGlow(_flow(recipe, track), shape=track.shape, classes=track.classes, mean=part.mean, std=part.std)


def _flow(recipe: Recipe, track: Track) -> Flow:
    part = recipe.model
    assert part.width is not None  # a recipe of a flow without one of the three is refused
    assert part.depth is not None
    assert part.scales is not None
    return Flow(shape=track.shape, width=part.width, depth=part.depth, scales=part.scales)
