r"""Starts: where SGLD chains begin.

- :class:`Uniform`: noise U(0, 1), as in JEM.
- :class:`ClassGaussians`: :math:`x \sim N(\mu_y, \Sigma_y)`, mean and covariance of the training images of class y,
  clamped to [0, 1]: the informative initialisation of JEM++ (Yang & Ji, ICCV 2021, section 4.2). The covariance is kept
  as a factor of at most ``RANK`` columns, :math:`\Sigma_y \approx F_y F_y^\top`, by singular values, and lies with the
  model's weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

RANK = 64
SMALL = 512  # images or dimensions up to which all singular values are computed


class Start(nn.Module):
    """Maps classes ``(n,)`` and a generator to images ``(n, C, H, W)``.

    Attributes:
        shape: (C, H, W) of an image.
        classes: number of classes K.
    """

    def __init__(self, *, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.shape = shape
        self.classes = classes

    def fit(self, of_class: Callable[[int], Tensor]) -> None:
        """Take from the training images ``(N, C, H, W)`` of every class what the start needs."""


class Uniform(Start):
    """U(0, 1), whatever the class."""

    def forward(self, labels: Tensor, generator: Generator) -> Tensor:
        """Noise on the generator's device."""
        return torch.rand((len(labels), *self.shape), generator=generator, device=generator.device)


class ClassGaussians(Start):
    """A Gaussian per class; a class of one image starts there."""

    mean: Tensor
    factor: Tensor

    def __init__(self, *, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__(shape=shape, classes=classes)
        dimension = shape[0] * shape[1] * shape[2]
        self.register_buffer("mean", torch.zeros(classes, dimension))
        self.register_buffer("factor", torch.zeros(classes, dimension, min(RANK, dimension)))

    def fit(self, of_class: Callable[[int], Tensor]) -> None:
        """Mean and leading principal directions of every class."""
        for y in range(self.classes):
            x = of_class(y).flatten(1).double().cpu()
            mean = x.mean(0)
            values, directions = _principal((x - mean) / max(len(x) - 1, 1) ** 0.5, self.factor.shape[2])
            rank = min(len(values), self.factor.shape[2])
            self.mean[y] = mean
            self.factor[y] = 0
            self.factor[y, :, :rank] = (directions[:rank].T * values[:rank]).to(self.factor)

    def forward(self, labels: Tensor, generator: Generator) -> Tensor:
        """``mean[y] + factor[y] z``, z standard normal from the generator, clamped to [0, 1]."""
        device = self.mean.device
        z = torch.randn((len(labels), self.factor.shape[2]), generator=generator, device=generator.device).to(device)
        labels = labels.to(device)
        x = self.mean[labels] + torch.einsum("nr,ndr->nd", z, self.factor[labels])
        return x.reshape(-1, *self.shape).clamp(0, 1)


def _principal(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Singular values ``(k,)``, falling, and right singular vectors ``(k, D)`` of ``x (N, D)``, at least ``count``.

    Of photographs only those, from the Gram matrix: the decomposition of all takes half a minute a class.
    """
    n, dimension = x.shape
    if min(n, dimension) <= SMALL:
        _, values, directions = torch.linalg.svd(x, full_matrices=False)
        return values, directions
    from scipy.linalg import eigh

    squares, vectors = eigh((x.T @ x).numpy(), subset_by_index=[dimension - count, dimension - 1])
    order = slice(None, None, -1)
    values = torch.from_numpy(squares[order].clip(min=0).copy()).sqrt()
    return values, torch.from_numpy(vectors[:, order].T.copy())
