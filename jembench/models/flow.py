r"""Glow: an invertible network with a cheap Jacobian (Kingma & Dhariwal, NeurIPS 2018, arXiv 1807.03039).

A chain of bijections maps an image x to a latent z of the same dimension D, and

.. math::
    \log p(x) = \log p_Z(z) + \sum_i \log \lvert \det J_i \rvert, \qquad z = f(x).

One step of the flow has three of them (Table 1 of the paper), on C channels of h x w positions:

- **actnorm** :math:`y = s (x + b)` per channel, log-det :math:`hw \sum_c \log s_c`;
- **invertible 1x1 convolution** :math:`y = W x` at every position with :math:`W = P L (U + \mathrm{diag}\, s)`:
  P a fixed permutation, L unit lower and U strictly upper triangular, log-det :math:`hw \sum_c \log \lvert s_c \rvert`;
- **affine coupling** :math:`y_1 = x_1, \; y_2 = e^{r(x_1)} (x_2 + t(x_1))`, log-det :math:`\sum r`.

A scale squeezes 2x2 blocks into channels, runs ``depth`` steps, and factors half of the channels out as latents; the
last scale keeps all (section 3.6 of Dinh et al., ICLR 2017, arXiv 1605.08803).
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pixel_shuffle, pixel_unshuffle

BOUND = 2.0  # |log-scale| of a coupling stays below
CONSTANT = 1e-6  # a channel of a smaller standard deviation has no scale to be normalised by


class ActNorm(nn.Module):
    """Per-channel affine map y = exp(log_scale) (x + bias), the identity until :meth:`initialise`.

    Args:
        channels: number of channels C of ``x (B, C, h, w)``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Give the output on ``x (B, C, h, w)`` mean 0 and variance 1 in every channel; a constant one keeps its scale.

        Source: section 3.1 of the paper.
        """
        std, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)
        self.bias.copy_(-mean.reshape_as(self.bias))
        self.log_scale.copy_(-std.where(std > CONSTANT, 1).log().reshape_as(self.log_scale))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y ``(B, C, h, w)``, and the log-det ``()`` that all images share."""
        return (x + self.bias) * self.log_scale.exp(), math.prod(x.shape[2:]) * self.log_scale.sum()

    def inverse(self, y: Tensor) -> Tensor:
        """x ``(B, C, h, w)``."""
        return y * (-self.log_scale).exp() - self.bias


class InvertibleConv(nn.Module):
    """The 1x1 convolution in its LU parameterisation: a log-det in O(C), and an inverse by triangular solves.

    It starts as a random rotation (QR of a Gaussian matrix) from torch's global generator. The permutation and the
    signs of s stay what they are then, so W stays invertible under every update of the weights.

    Args:
        channels: number of channels C of ``x (B, C, h, w)``.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation, _ = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64))
        permutation, lower, upper = (part.float() for part in torch.linalg.lu(rotation))
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", upper.diagonal().sign())
        self.log_scale = nn.Parameter(upper.diagonal().abs().log())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y ``(B, C, h, w)``, and the log-det ``()`` that all images share."""
        lower, upper = self._factors()
        weight = self.permutation @ lower @ upper
        return conv2d(x, weight[:, :, None, None]), math.prod(x.shape[2:]) * self.log_scale.sum()

    def inverse(self, y: Tensor) -> Tensor:
        """x ``(B, C, h, w)``."""
        lower, upper = self._factors()
        columns = self.permutation.T @ y.transpose(0, 1).flatten(1)
        columns = torch.linalg.solve_triangular(lower, columns, upper=False, unitriangular=True)
        columns = torch.linalg.solve_triangular(upper, columns, upper=True)
        x: Tensor = columns.reshape(y.shape[1], y.shape[0], *y.shape[2:]).transpose(0, 1)
        return x

    def _factors(self) -> tuple[Tensor, Tensor]:
        """L and U + diag(s), both ``(C, C)``; entries of the parameters outside their triangles have no effect."""
        unit = torch.eye(len(self.sign), dtype=self.lower.dtype, device=self.lower.device)
        scale = self.sign * self.log_scale.exp()
        return self.lower.tril(-1) + unit, self.upper.triu(1) + scale.diag()


class Coupling(nn.Module):
    """Affine coupling with the log-scale r = BOUND tanh(raw / BOUND), the identity at the start.

    The paper's sigmoid(raw + 2) may come as near to 0 as it likes, and then the inverse explodes, first of all on
    images unlike the training's (Behrmann et al., AISTATS 2021, arXiv 2006.09347). Here a layer stretches and shrinks
    by at most e^2, so that samples are exact in float32 and log p(x) of an OOD image is a number. The last convolution
    starts at zero.

    Args:
        channels: number of channels C of ``x (B, C, h, w)``, even.
        width: number of hidden channels of the network of t and r.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        last = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Conv2d(channels // 2, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(), last
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y ``(B, C, h, w)`` and the log-det ``(B,)``."""
        x1, x2 = x.chunk(2, dim=1)
        t, r = self._affine(x1)
        return torch.cat([x1, (x2 + t) * r.exp()], dim=1), r.flatten(1).sum(dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        """x ``(B, C, h, w)``."""
        y1, y2 = y.chunk(2, dim=1)
        t, r = self._affine(y1)
        return torch.cat([y1, y2 * (-r).exp() - t], dim=1)

    def _affine(self, x1: Tensor) -> tuple[Tensor, Tensor]:
        """Shift t and log-scale r, both ``(B, C / 2, h, w)``."""
        t, raw = self.network(x1).chunk(2, dim=1)
        return t, BOUND * torch.tanh(raw / BOUND)


class Squeeze(nn.Module):
    """2x2 blocks of positions into channels: ``(B, C, 2 h, 2 w)`` to ``(B, 4 C, h, w)``, log-det 0."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y ``(B, 4 C, h, w)`` and the log-det ``()``."""
        return pixel_unshuffle(x, 2), x.new_zeros(())

    def inverse(self, y: Tensor) -> Tensor:
        """x ``(B, C, 2 h, 2 w)``."""
        return pixel_shuffle(y, 2)


class Chain(nn.Sequential):
    """Bijections one after the other: their log-dets add up."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The last one's output, and the log-dets ``(B,)``."""
        log_det = x.new_zeros(len(x))
        for layer in self:
            x, change = layer(x)
            log_det = log_det + change
        return x, log_det

    def inverse(self, y: Tensor) -> Tensor:
        """The input of the first one."""
        layers: list[Any] = list(self)
        for layer in reversed(layers):
            y = layer.inverse(y)
        return y


def one_scale(channels: int, *, width: int, depth: int) -> Chain:
    """A squeeze to an even number of ``channels``, then ``depth`` steps of actnorm, 1x1 convolution and coupling."""
    steps = [(ActNorm(channels), InvertibleConv(channels), Coupling(channels, width)) for _ in range(depth)]
    return Chain(Squeeze(), *chain.from_iterable(steps))


class Flow(nn.Module):
    """The multi-scale flow from images ``(B, C, H, W)`` to latents ``(B, D)``, D = C H W.

    A latent holds what each scale factors out, flattened, the finest first, then the last scale.

    Args:
        shape: (C, H, W) of an image, H and W divisible by 2^scales.
        width: number of hidden channels of the coupling networks.
        depth: number of steps of a scale.
        scales: number of scales.

    Raises:
        ValueError: for a shape that cannot be squeezed ``scales`` times.
    """

    def __init__(self, *, shape: tuple[int, int, int], width: int, depth: int, scales: int) -> None:
        super().__init__()
        channels, height, breadth = shape
        if height % 2**scales or breadth % 2**scales:
            side = 2**scales
            raise ValueError(f"{scales} scales need a height and width divisible by {side}, not {height}x{breadth}")
        self.scales = nn.ModuleList()
        self.shapes: list[tuple[int, int, int]] = []  # of what each scale contributes to the latent
        for index in range(1, scales + 1):
            channels, height, breadth = 4 * channels, height // 2, breadth // 2
            self.scales.append(one_scale(channels, width=width, depth=depth))
            if index < scales:
                channels //= 2
            self.shapes.append((channels, height, breadth))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Initialise every actnorm on what it sees of ``x (B, C, H, W)``, one layer after the other."""

        def at_input(layer: ActNorm, inputs: tuple[Tensor]) -> None:
            layer.initialise(*inputs)

        layers = [module for module in self.modules() if isinstance(module, ActNorm)]
        hooks = [layer.register_forward_pre_hook(at_input) for layer in layers]
        try:
            self(x)
        finally:
            for hook in hooks:
                hook.remove()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents ``(B, D)`` and log-dets ``(B,)`` of images ``(B, C, H, W)``."""
        latents: list[Tensor] = []
        log_det = x.new_zeros(len(x))
        for index, scale in enumerate(self.scales):
            if index > 0:
                x, latent = x.chunk(2, dim=1)
                latents.append(latent.flatten(1))
            x, change = scale(x)
            log_det = log_det + change
        return torch.cat([*latents, x.flatten(1)], dim=1), log_det

    def inverse(self, z: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` of latents ``(B, D)``."""
        flat = torch.split(z, [math.prod(shape) for shape in self.shapes], dim=1)
        parts = [part.reshape(len(z), *shape) for part, shape in zip(flat, self.shapes, strict=True)]
        scales: list[Any] = list(self.scales)
        x = parts.pop()
        for scale in reversed(scales):
            x = scale.inverse(x)
            if parts:
                x = torch.cat([x, parts.pop()], dim=1)
        return x
