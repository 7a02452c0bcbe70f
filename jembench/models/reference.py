r"""Reference samplers: what a generator has to beat, without a network.

- ``uniform``: noise :math:`x \sim U(0, 1)^D`, where the chains of a JEM start;
- ``class-gaussians``: :math:`x \sim N(\mu_y, \Sigma_y)` of the training images of class y, clamped to [0, 1], where
  those of JEM++ start (:class:`jembench.langevin.starts.ClassGaussians`). On small images it is a strong generator: a
  chain that starts there and ends farther away has learned nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from jembench import data
from jembench.langevin import starts
from jembench.models.exact import ExactSampler

if TYPE_CHECKING:
    from jembench.data.sets import Track


class Reference(ExactSampler):
    """A sampler that draws the start of a chain and leaves it there.

    Args:
        origin: distribution of the starts of the chains.
    """

    def __init__(self, origin: starts.Start) -> None:
        super().__init__()
        self.origin = origin

    def _draw(self, n: int, labels: Tensor | None, generator: Generator) -> Tensor:
        if labels is None:
            labels = torch.randint(self.origin.classes, (n,), generator=generator)
        x: Tensor = self.origin(labels.cpu(), generator)
        return x


def uniform(track: Track) -> Reference:
    """Noise."""
    return Reference(starts.Uniform(shape=track.shape, classes=track.classes))


def class_gaussians(track: Track) -> Reference:
    """The Gaussians of the track's training images."""
    train = data.images(track, "train")
    origin = starts.ClassGaussians(shape=track.shape, classes=track.classes)
    origin.fit(lambda y: torch.from_numpy(train.of_class(y)))
    return Reference(origin)
