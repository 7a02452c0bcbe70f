r"""The class-conditional residual energy network of IGEBM, at the size of digits (Du & Mordatch, arXiv 1903.08689).

A scalar energy E(x, y) from residual blocks without normalisation layers. The class enters every block as a gain and a
bias per channel, learned per class,

.. math::
    h \mapsto \mathrm{pool}\bigl(s(h) + g_y \odot c_2(a(b_y + c_1(a(h))))\bigr), \qquad
    E(x, y) = w^\top \sum_{i,j} a(h)_{ij} + w_0,

with 3x3 convolutions c, the identity or a 1x1 convolution s, and average pooling. As in the paper (section 3), every
convolution and linear layer has spectral norm 1 (Miyato et al., ICLR 2018, arXiv 1802.05957), the norm of its weight
as a matrix of (outputs) x (inputs x kernel): the energy is smooth enough for Langevin chains whatever the optimiser
does, and only the gains set its scale.

Two choices are ours. The activation is :math:`a(t) = 2\, \mathrm{SiLU}(t)` where the paper's CIFAR-10 network has
LeakyReLU: chains follow the gradient of E, which would be piecewise constant, and the factor makes a'(0) = 1, without
which a signal would halve at every activation between layers of norm 1. And the last layer is normalised too, which
in the authors' code it is not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, silu
from torch.nn.utils.parametrizations import spectral_norm


class ResidualEBM(nn.Module):
    """E(x, y): a convolution, three residual blocks of which two halve the image, a sum over positions, a linear layer.

    A forward pass in training mode makes one power iteration of every layer's spectral norm; evaluation mode reads the
    stored singular vectors and changes nothing. Chains are therefore run in evaluation mode.

    Args:
        shape: (C, H, W) of an image, H and W at least 4.
        classes: number of classes K.
        width: number of channels of the first block; the others have twice as many.
    """

    def __init__(self, *, shape: tuple[int, int, int], classes: int, width: int) -> None:
        super().__init__()
        self.classes = classes
        self.stem = _convolution(shape[0], width, 3)
        self.blocks = nn.ModuleList(
            (
                _ResidualBlock(width, width, classes=classes, pool=2),
                _ResidualBlock(width, 2 * width, classes=classes, pool=2),
                _ResidualBlock(2 * width, 2 * width, classes=classes, pool=1),
            )
        )
        self.head = spectral_norm(nn.Linear(2 * width, 1))

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """E(x, y), shape ``(B,)``, of normalised images ``x (B, C, H, W)`` and classes ``y (B,)``."""
        return self._after_stem(self.stem(x), y)

    def energies(self, x: Tensor) -> Tensor:
        """E(x, y) for all classes, shape ``(B, K)``: one pass of B * K rows; the first convolution knows no class."""
        h = self.stem(x).repeat_interleave(self.classes, dim=0)
        y = torch.arange(self.classes, device=x.device).repeat(len(x))
        return self._after_stem(h, y).reshape(len(x), self.classes)

    def forward(self, x: Tensor) -> Tensor:
        """The logits -E(x, y) of all classes, ``(B, K)``, so that the network is also an ordinary classifier."""
        return -self.energies(x)

    def _after_stem(self, h: Tensor, y: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h, y)
        energy: Tensor = self.head(_active(h).sum(dim=(2, 3)))
        return energy.squeeze(1)


class _ResidualBlock(nn.Module):
    def __init__(self, before: int, after: int, *, classes: int, pool: int) -> None:
        super().__init__()
        self.conv1 = _convolution(before, after, 3, bias=False)  # the class has the bias
        self.conv2 = _convolution(after, after, 3)
        self.shortcut = nn.Identity() if before == after else _convolution(before, after, 1)
        self.gain = nn.Parameter(torch.ones(classes, after))
        self.bias = nn.Parameter(torch.zeros(classes, after))
        self.pool = pool

    def forward(self, h: Tensor, y: Tensor) -> Tensor:
        """``h (B, C, H, W)`` and ``y (B,)`` to ``(B, C', H / pool, W / pool)``."""
        branch = self.conv1(_active(h)) + self.bias[y][:, :, None, None]
        branch = self.conv2(_active(branch)) * self.gain[y][:, :, None, None]
        return avg_pool2d(self.shortcut(h) + branch, self.pool)


def _active(h: Tensor) -> Tensor:
    return 2 * silu(h)


def _convolution(before: int, after: int, kernel: int, *, bias: bool = True) -> nn.Module:
    return spectral_norm(nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=bias))
