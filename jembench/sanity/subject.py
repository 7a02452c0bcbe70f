"""The subject of a check: a model of the contract and the images that it is asked about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jembench.ground import generators

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 64  # images of a pass


@dataclass(frozen=True)
class Subject:
    """A classifier, and labelled images of its track.

    Attributes:
        name: name of the model.
        model: a model of the contract with logits, in evaluation mode.
        images: images ``(N, C, H, W)`` in [0, 1].
        labels: classes ``(N,)`` of the images.
        classes: number of classes K.
        mean: mean of the pixels of the track, one per channel.
        std: standard deviation of the pixels of the track, one per channel.
        adjustable: whether a user says what is done to the pixels before the model; a recipe says so itself.
    """

    name: str
    model: Any
    images: Tensor
    labels: Tensor
    classes: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    adjustable: bool = True

    @property
    def noisy(self) -> bool:
        """Whether the model says that its logits draw noise."""
        return bool(getattr(self.model, "stochastic", False))

    @cached_property
    def logits(self) -> Tensor:
        """Logits ``(N, K)`` of the images."""
        return self.ask(self.images)

    @cached_property
    def right(self) -> Tensor:
        """Whether each image is told right, bool ``(N,)``."""
        return self.logits.argmax(1) == self.labels

    @property
    def accuracy(self) -> float:
        """Share of the images that are told right."""
        return float(self.right.float().mean())

    def ask(self, x: Tensor) -> Tensor:
        """Logits ``(N, K)`` of other images, of which the model gets a copy.

        Raises:
            ValueError: if they are of another shape.
        """
        import torch

        extra = {"generator": generators.generator("sanity")} if self.noisy else {}
        parts = []
        for part in torch.split(x, BATCH):
            with torch.no_grad():
                f = self.model.logits(part.clone(), **extra)
            if f.shape != (len(part), self.classes):
                shape = (len(part), self.classes)
                raise ValueError(f"logits of {len(part)} images have shape {tuple(f.shape)}, not {shape}")
            parts.append(f.float())
        return torch.cat(parts)


Check = Callable[[Subject], str]
