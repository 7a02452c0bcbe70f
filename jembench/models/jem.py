r"""JEM: one network as classifier, density and sampler (Grathwohl et al., ICLR 2020, arXiv 1912.03263).

The logits f(x) define the joint :math:`\log p(x, y) = f(x)[y] - \log Z`. Marginal and conditional are

.. math::
    \log p(x) = \mathrm{logsumexp}_y f(x)[y] - \log Z, \qquad p(y|x) = \mathrm{softmax}\, f(x), \qquad
    \log p(x|y) = f(x)[y] - \log Z_y

Training maximises log p(y|x) by cross-entropy and log p(x) by the contrastive gradient between data and SGLD samples
(:mod:`jembench.training`); samples come from SGLD chains on log p(x), or on f(x)[y] for a given class.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn

from jembench import sgld
from jembench.models.softmax import Softmax
from jembench.models.softmax import network as network_of

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.recipes import Recipe
    from jembench.types import Start


class JEM(Softmax):
    """A classifier trained with its density; also a :class:`~jembench.types.Sampler`.

    Args:
        network: maps normalised images to logits.
        shape: (C, H, W) of an image.
        settings: the SGLD chain it was trained with.
        buffer: number of persistent chains kept with the weights.
        mean: subtracted from the pixels.
        std: divides them.
    """

    chains: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        shape: tuple[int, int, int],
        settings: sgld.SGLD,
        buffer: int,
        mean: float | tuple[float, ...] = 0.0,
        std: float | tuple[float, ...] = 1.0,
    ) -> None:
        super().__init__(network, mean=mean, std=std)
        self.shape = shape
        self.settings = settings
        self.register_buffer("chains", torch.zeros((buffer, *shape)))

    def sample(
        self,
        n: int,
        *,
        generator: Generator,
        labels: Tensor | None = None,
        start: Start = "fresh",
        steps: int | None = None,
    ) -> Tensor:
        """Images ``(n, C, H, W)`` at the ends of ``n`` chains, clamped to [0, 1].

        Args:
            n: number of chains.
            generator: source of starts and of the chains' noise.
            labels: ``(n,)`` classes: the chains then climb log p(x|y) instead of log p(x).
            start: ``fresh`` from U(0, 1), or ``buffer`` from different persistent chains of the training.
            steps: length of a chain; the training's by default.

        Raises:
            ValueError: if ``start`` is ``buffer`` and n exceeds it, or the labels are not ``(n,)``.
        """
        if labels is not None and labels.shape != (n,):
            raise ValueError(f"labels must have shape ({n},), not {tuple(labels.shape)}")
        if start == "buffer":
            if n > len(self.chains):
                raise ValueError(f"the buffer holds {len(self.chains)} chains, fewer than {n}")
            x = self.chains[torch.randperm(len(self.chains), generator=generator)[:n].to(self.chains.device)]
        else:
            x = torch.rand((n, *self.shape), generator=generator).to(self.chains.device)
        settings = self.settings if steps is None else replace(self.settings, steps=steps)

        def conditional(images: Tensor) -> Tensor:
            assert labels is not None
            return self.logits(images).gather(1, labels.to(images.device)[:, None]).squeeze(1)

        target = self.log_density if labels is None else conditional
        return sgld.chain(target, x, settings=settings, generator=generator).clamp(0, 1)


def from_recipe(recipe: Recipe, track: Track) -> JEM:
    """An untrained JEM with the chain and the buffer of its ``[sampling]`` part."""
    part = recipe.sampling
    assert part is not None  # a recipe of a jem without it is refused
    settings = sgld.SGLD(part.steps, part.size, part.noise, bounds=(0.0, 1.0) if part.clamp else None)
    return JEM(
        network_of(recipe, track),
        shape=track.shape,
        settings=settings,
        buffer=part.buffer,
        mean=recipe.model.mean,
        std=recipe.model.std,
    )
