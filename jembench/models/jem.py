r"""JEM: one network as classifier, density and sampler (Grathwohl et al., ICLR 2020, arXiv 1912.03263).

The logits f(x) define the joint :math:`\log p(x, y) = f(x)[y] - \log Z`. Marginal and conditional are

.. math::
    \log p(x) = \mathrm{logsumexp}_y f(x)[y] - \log Z, \qquad p(y|x) = \mathrm{softmax}\, f(x), \qquad
    \log p(x|y) = f(x)[y] - \log Z_y

Training maximises log p(y|x) by cross-entropy and log p(x) by the contrastive gradient between data and SGLD samples
(:mod:`jembench.training.loop`); samples come from SGLD chains on log p(x), or on f(x)[y] for a given class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Generator, Tensor, nn

from jembench.langevin import sgld
from jembench.models import chains as chains_of
from jembench.models.chains import ChainSampler
from jembench.models.softmax import Softmax, full
from jembench.models.softmax import network as network_of

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.models.recipes import Recipe
    from jembench.types import Start


class JEM(Softmax):
    """A classifier trained with its density; also a :class:`~jembench.types.Sampler`, by chains.

    Args:
        network: maps normalised images to logits; one with ``stem`` and ``trunk`` can be sampled proximally.
        sampler: sampler of the model by SGLD chains.
        mean: number, or one per channel, that is subtracted from the [0, 1] pixels.
        std: number, or one per channel, that the pixels are then divided by.
    """

    conditional = False

    def __init__(
        self,
        network: nn.Module,
        *,
        sampler: ChainSampler,
        mean: float | tuple[float, ...] = 0.0,
        std: float | tuple[float, ...] = 1.0,
    ) -> None:
        super().__init__(network, mean=mean, std=std)
        self.sampler = sampler

    def stem(self, x: Tensor) -> Tensor:
        """The output of the network's first layer on images ``(B, C, H, W)`` in [0, 1]."""
        network: Any = self.network
        hidden: Tensor = network.stem((x - self.mean) / self.std)
        return hidden

    def head(self, hidden: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(x), or log p(x|y) of ``labels (B,)``, from the first layer's output, ``(B,)``."""
        network: Any = self.network
        f = full(network.trunk(hidden))
        return f.logsumexp(dim=1) if labels is None else f.gather(1, labels[:, None]).squeeze(1)

    def sample(
        self,
        n: int,
        *,
        generator: Generator,
        labels: Tensor | None = None,
        start: Start = "fresh",
        steps: int | None = None,
    ) -> Tensor:
        """Ends ``(n, C, H, W)`` of SGLD chains: :meth:`jembench.models.chains.ChainSampler.sample`."""
        return self.sampler.sample(self, n, generator=generator, labels=labels, start=start, steps=steps)

    @property
    def chain(self) -> sgld.SGLD:
        """The chain of its training."""
        return self.sampler.settings

    def advance(
        self, x: Tensor, *, generator: Generator, labels: Tensor | None = None, settings: sgld.SGLD | None = None
    ) -> Tensor:
        """Chains on log p(x), or on log p(x|y) of ``labels (n,)``, from ``x (n, C, H, W)``; not clamped."""
        return self.sampler.climb(self, x, labels, settings=settings or self.chain, generator=generator)

    def persistent(self) -> tuple[Tensor, Tensor]:
        """See :meth:`jembench.models.chains.ChainSampler.persistent`."""
        return self.sampler.persistent()


def from_recipe(recipe: Recipe, track: Track) -> JEM:
    """An untrained JEM with the chain and the buffer of its ``[sampling]`` part."""
    return JEM(
        network_of(recipe, track),
        sampler=chains_of.from_recipe(recipe, track),
        mean=recipe.model.mean,
        std=recipe.model.std,
    )
