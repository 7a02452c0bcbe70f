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
        range: the two ends of the pixels' range for the network: [0, 1] is brought there before ``mean`` and ``std``,
            which are in its units.
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
        range: tuple[float, float] = (0.0, 1.0),
        tapped: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.tapped = tapped
        (low, high), centre, spread = range, *(torch.tensor(each, dtype=torch.float64) for each in (mean, std))
        if not low < high:
            raise ValueError(
                f"range goes from the darkest to the brightest pixel, such as 0..255, not {low:g}..{high:g}"
            )
        if not bool(((centre >= low) & (centre <= high)).all()):
            raise ValueError(
                f"mean {mean} is not in the range of the pixels, {low:g}..{high:g}: images are in [0, 1], so give mean "
                "and std in these units (127.5 of 255 is 0.5), or say what range the network takes, such as 0..255"
            )
        if not bool((spread > 0).all()):
            raise ValueError(f"std must be positive, not {std}")
        for name, values in (("mean", (centre - low) / (high - low)), ("std", spread / (high - low))):
            self.register_buffer(name, values.float().reshape(-1, 1, 1), persistent=False)

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
    """Half-precision logits as float32: under autocast a logsumexp would be of bf16 too, and know log p(x) to 0.4 %.

    What is no tensor is left as it is: :func:`jembench.zoo.catalogue.probe` has the words for it.
    """
    return f.float() if isinstance(f, Tensor) and f.dtype in (torch.bfloat16, torch.float16) else f


def network(recipe: Recipe, track: Track) -> nn.Module:
    """The untrained network of a recipe; its weights come from torch's global generator."""
    builder = load(NETWORKS[recipe.model.network].builder)
    net: nn.Module = builder(shape=track.shape, classes=track.classes, **recipe.model.options())
    return net


def from_recipe(recipe: Recipe, track: Track) -> Softmax:
    """An untrained softmax classifier."""
    return Softmax(network(recipe, track), mean=recipe.model.mean, std=recipe.model.std)
