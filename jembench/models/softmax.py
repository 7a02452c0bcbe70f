r"""The softmax classifier, read as an energy-based model.

Its logits f(x) define :math:`p(y|x) = \mathrm{softmax}\, f(x)` by training, and
:math:`\log p(x) = \mathrm{logsumexp}_y f(x)[y] - \log Z` by the paper's reading (Grathwohl et al., ICLR 2020,
section 3): cross-entropy leaves this second function free, which is what the baseline is there to show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from jembench.ground.families import load
from jembench.models import NETWORKS
from jembench.models.readout import entering, last_linear

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.models.recipes import Recipe


class Softmax(nn.Module):
    """A network of logits behind the contract: :class:`~jembench.types.Classifier`, :class:`~jembench.types.Density`.

    Args:
        network: maps normalised images ``(B, C, H, W)`` to logits ``(B, K)``.
        mean: number, or one per channel, that is subtracted from the [0, 1] pixels.
        std: number, or one per channel, that the pixels are then divided by.
        tapped: whether the last linear layer of a network that shows no ``readout`` of its own is taken for it. Whoever
            says so must check that it is (:func:`jembench.zoo.foreign.abilities`).
    """

    normalized = False
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        mean: float | tuple[float, ...] = 0.0,
        std: float | tuple[float, ...] = 1.0,
        tapped: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.tapped = tapped
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(-1, 1, 1), persistent=False)
        if not bool((self.std > 0).all()):
            raise ValueError(f"std must be positive, not {std}")

    def logits(self, x: Tensor) -> Tensor:
        """f(x), shape ``(B, K)``, of images ``(B, C, H, W)`` in [0, 1]."""
        return full(self.network((x - self.mean) / self.std))

    @property
    def readout(self) -> nn.Linear | None:
        """The linear layer that gives the logits, if the network shows it."""
        layer = getattr(self.network, "readout", None)
        if isinstance(layer, nn.Linear):
            return layer
        return last_linear(self.network) if self.tapped else None

    def penultimate(self, x: Tensor) -> Tensor:
        """What enters :attr:`readout`: features ``(B, F)`` of images ``(B, C, H, W)`` in [0, 1].

        Raises:
            ValueError: if nothing of this shape enters it.
        """
        network: Any = self.network
        inputs = (x - self.mean) / self.std
        if callable(getattr(type(network), "penultimate", None)):
            return full(network.penultimate(inputs))
        if self.readout is None:
            raise ValueError("the network shows no linear layer that gives its logits")
        return full(entering(self.readout, network, inputs))

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) + log Z = logsumexp f(x), shape ``(B,)``."""
        return self.logits(x).logsumexp(dim=1)

    def log_conditional(self, x: Tensor, labels: Tensor) -> Tensor:
        """log p(x|y) + log Z_y = f(x)[y], shape ``(B,)``, of classes ``labels (B,)``."""
        return self.logits(x).gather(1, labels[:, None]).squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """The logits, so that the model is also an ordinary module."""
        return self.logits(x)


def full(f: Tensor) -> Tensor:
    """Half-precision logits as float32: under autocast a logsumexp would be of bf16 too, and know log p(x) to 0.4 %."""
    return f.float() if f.dtype in (torch.bfloat16, torch.float16) else f


def network(recipe: Recipe, track: Track) -> nn.Module:
    """The untrained network of a recipe; its weights come from torch's global generator."""
    builder = load(NETWORKS[recipe.model.network].builder)
    net: nn.Module = builder(shape=track.shape, classes=track.classes, **recipe.model.options())
    return net


def from_recipe(recipe: Recipe, track: Track) -> Softmax:
    """An untrained softmax classifier."""
    return Softmax(network(recipe, track), mean=recipe.model.mean, std=recipe.model.std)
