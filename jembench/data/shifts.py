r"""Shifts: what can happen to images between a laboratory and the world, as functions of an amount.

After Hendrycks & Dietterich (ICLR 2019, arXiv 1903.12261): five kinds for the tables, at amounts that a track fixes
(:attr:`jembench.data.sets.Track.shifts`), and others that no table has (:attr:`~jembench.data.sets.Track.held_out`),
on which estimators may be fitted. Every shift maps images ``(B, C, H, W)`` in [0, 1] to such images; amount 0 leaves
them as they are (``gamma``: exactly, ``rotation``, ``translation``, ``shear``: up to the rounding of the
interpolation).

========== ==================================================================== =============================
kind       x becomes                                                            unit of the amount a
========== ==================================================================== =============================
noise      :math:`x + a\,\xi,\ \xi \sim N(0, I)`                                pixel range
blur       x convolved with a Gaussian                                          pixels
contrast   :math:`m + (1 - a)(x - m)`, m the mean of the image                  share of the contrast lost
brightness :math:`x + a`                                                        pixel range
rotation   x turned by a, anti-clockwise                                        degrees
========== ==================================================================== =============================

Held out: ``occlusion`` (a grey square of side a, in image sides, somewhere), ``translation`` (by a image sides, in a
random direction), ``impulse`` (a share a of the pixels becomes 0 or 1), ``shear`` (by a), ``gamma``
(:math:`x^{1 + a}`), ``pixelate`` (means of blocks, a share a of the resolution lost).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from jembench.types import unknown


def shift(kind: str, x: Tensor, amount: float, *, generator: Generator) -> Tensor:
    """Shifted images ``(B, C, H, W)`` in [0, 1].

    Args:
        kind: name of the shift, a key of :data:`SHIFTS`.
        x: images ``(B, C, H, W)`` in [0, 1].
        amount: amount a of the shift, at least 0.
        generator: source of the noise, the directions and the positions of a shift.

    Raises:
        UserError: for an unknown kind.
        ValueError: for a negative amount.
    """
    if kind not in SHIFTS:
        raise unknown("shift", kind, SHIFTS)
    if not amount >= 0:
        raise ValueError(f"a shift has an amount of at least 0, not {amount}")
    return SHIFTS[kind](x, amount, generator).clamp(0, 1)


def _blur(x: Tensor, a: float, _: Generator) -> Tensor:
    if a == 0:
        return x
    radius = max(1, math.ceil(3 * a))
    offsets = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (offsets / a).square())
    kernel = kernel / kernel.sum()
    channels = x.shape[1]
    x = functional.pad(x, (radius, radius, radius, radius), mode="replicate")
    x = functional.conv2d(x, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return functional.conv2d(x, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def _contrast(x: Tensor, a: float, _: Generator) -> Tensor:
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (1 - a) * (x - mean)


def _rotation(x: Tensor, a: float, _: Generator) -> Tensor:
    angle = math.radians(a)
    cos, sin = math.cos(angle), math.sin(angle)
    return _affine(x, torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]).expand(len(x), 2, 3))


def _translation(x: Tensor, a: float, generator: Generator) -> Tensor:
    angle = 2 * math.pi * torch.rand(len(x), generator=generator)
    matrices = torch.eye(2, 3).repeat(len(x), 1, 1)
    matrices[:, :, 2] = 2 * a * torch.stack([angle.cos(), angle.sin()], dim=1)  # the image spans [-1, 1]
    return _affine(x, matrices)


def _shear(x: Tensor, a: float, generator: Generator) -> Tensor:
    matrices = torch.eye(2, 3).repeat(len(x), 1, 1)
    matrices[:, 0, 1] = a * (2 * torch.randint(2, (len(x),), generator=generator) - 1)
    return _affine(x, matrices)


def _affine(x: Tensor, matrices: Tensor) -> Tensor:
    """Where the images are asked for what is outside of them, their border goes on."""
    if not len(x):
        return x
    grid = functional.affine_grid(matrices.to(x), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _occlusion(x: Tensor, a: float, generator: Generator) -> Tensor:
    height, width = x.shape[2:]
    tall, wide = (min(round(a * side), side) for side in (height, width))
    y0 = torch.randint(height - tall + 1, (len(x), 1), generator=generator)
    x0 = torch.randint(width - wide + 1, (len(x), 1), generator=generator)
    rows, columns = torch.arange(height), torch.arange(width)
    mask = ((rows >= y0) & (rows < y0 + tall))[:, :, None] & ((columns >= x0) & (columns < x0 + wide))[:, None]
    return x.masked_fill(mask[:, None].to(x.device), 0.5)


def _impulse(x: Tensor, a: float, generator: Generator) -> Tensor:
    mask = (torch.rand(x.shape, generator=generator) < a).to(x.device)
    extreme = torch.randint(2, x.shape, generator=generator).to(x)
    return torch.where(mask, extreme, x)


def _pixelate(x: Tensor, a: float, _: Generator) -> Tensor:
    height, width = (max(1, round((1 - a) * side)) for side in x.shape[2:])
    return functional.interpolate(functional.adaptive_avg_pool2d(x, (height, width)), size=x.shape[2:], mode="nearest")


SHIFTS: dict[str, Callable[[Tensor, float, Generator], Tensor]] = {
    "noise": lambda x, a, generator: x + a * torch.randn(x.shape, generator=generator).to(x),
    "blur": _blur,
    "contrast": _contrast,
    "brightness": lambda x, a, _: x + a,
    "rotation": _rotation,
    "occlusion": _occlusion,
    "translation": _translation,
    "impulse": _impulse,
    "shear": _shear,
    "gamma": lambda x, a, _: x ** (1 + a),
    "pixelate": _pixelate,
}
