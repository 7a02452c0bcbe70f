r"""The oracle of the ``gauss`` track: the mixture itself, behind the model contract.

For a mixture of K equally likely Gaussians :math:`N(\mu_y, \sigma^2 I)` in D dimensions,

.. math::
    f(x)[y] = \log p(x, y) = -\log K - \tfrac{D}{2} \log(2 \pi \sigma^2) - \tfrac{1}{2\sigma^2}\lVert x-\mu_y\rVert^2,

so log Z = 0: the log density is normalised, p(y|x) is Bayes' rule, and samples are exact.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Generator, Tensor, nn

from jembench import data
from jembench.data import gauss
from jembench.langevin import sgld
from jembench.models.exact import ExactSampler

if TYPE_CHECKING:
    from jembench.data.sets import Track


class Oracle(ExactSampler):
    """All three capabilities, exactly.

    Args:
        means: class means ``(K, D)`` in [0, 1].
        sigma: standard deviation of a pixel.
        shape: (C, H, W) of an image, C * H * W = D.
    """

    normalized = True
    means: Tensor

    def __init__(self, means: Tensor, *, sigma: float, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("means", means.float())
        self.sigma = sigma
        self.shape = shape

    def logits(self, x: Tensor) -> Tensor:
        """log p(x, y), shape ``(B, K)``, of images ``(B, C, H, W)``."""
        classes, dimension = self.means.shape
        square = (x.flatten(1)[:, None] - self.means).square().sum(dim=2)
        constant = -math.log(classes) - dimension / 2 * math.log(2 * math.pi * self.sigma**2)
        return constant - square / (2 * self.sigma**2)

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) in nats, normalised, shape ``(B,)``."""
        return self.logits(x).logsumexp(dim=1)

    def _draw(self, n: int, labels: Tensor | None, generator: Generator) -> Tensor:
        if labels is None:
            labels = torch.randint(len(self.means), (n,), generator=generator)
        centre = self.means[labels.to(self.means.device)]
        x = centre + self.sigma * sgld.noise_like(centre, generator)
        return x.reshape(n, *self.shape).clamp(0, 1)


class Pixels(nn.Module):
    """The feature extractor of the ``gauss`` track: x itself, and the classes of the mixture.

    Args:
        oracle: mixture that gives the class logits.
    """

    def __init__(self, oracle: Oracle) -> None:
        super().__init__()
        self.oracle = oracle

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels ``(B, D)`` and log p(x, y) ``(B, K)``."""
        return x.flatten(1), self.oracle.logits(x)


def pixels(track: Track) -> Pixels:
    """The extractor; on a track other than ``gauss`` its classes are Gaussians of one width about their means."""
    return Pixels(for_track(track) if track.exact else _of_images(track))


def _of_images(track: Track) -> Oracle:
    """The mixture of one Gaussian per class, of one width, that fits the training images best."""
    train = data.images(track, "train")
    means = np.stack([train.of_class(y).reshape(-1, math.prod(track.shape)).mean(axis=0) for y in range(track.classes)])
    residues = [train.of_class(y).reshape(-1, means.shape[1]) - means[y] for y in range(track.classes)]
    sigma = float(np.sqrt(np.mean(np.concatenate(residues) ** 2)))
    return Oracle(torch.from_numpy(means), sigma=max(sigma, 1 / 255), shape=track.shape)


def for_track(track: Track) -> Oracle:
    """The oracle of the ``gauss`` track."""
    return Oracle(torch.from_numpy(gauss.means()), sigma=gauss.SIGMA, shape=track.shape)
