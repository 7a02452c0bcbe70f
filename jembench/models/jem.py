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

from torch import Tensor

from jembench.models import chains
from jembench.models.chains import EnergyModel
from jembench.models.softmax import full, network

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.models.recipes import Recipe


class JEM(EnergyModel):
    """A classifier trained with its density; its chains climb log p(x), or f(x)[y] for a given class."""

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


def from_recipe(recipe: Recipe, track: Track) -> JEM:
    """An untrained JEM with the chain and the buffer of its ``[sampling]`` part."""
    part, sampler = recipe.model, chains.from_recipe(recipe, track)
    return JEM(network(recipe, track), sampler=sampler, mean=part.mean, std=part.std)
