r"""WideResNet without dropout, in the layout of the published JEM checkpoints (wgrathwohl/JEM, arXiv 1912.03263).

A wide residual network (Zagoruyko & Komodakis, BMVC 2016, arXiv 1605.07146) of depth 6n + 4 and width k: a 3x3
convolution to 16 channels, three stages of n blocks with 16k, 32k, 64k channels, the last two of which halve the
image, then the mean over all positions and a linear layer. A block is pre-activated, with the stride in its *second*
convolution, and every convolution has a bias:

.. math::
    x + \mathrm{conv}_2(a(\mathrm{norm}_2(\mathrm{conv}_1(a(\mathrm{norm}_1(x)))))), \qquad
    a = \mathrm{LeakyReLU}_{0.2},

with a 1x1 convolution in place of the identity where stride or channels change. JEM has no normalisation layer;
JEM++ (arXiv 2109.09032) and SADA-JEM (arXiv 2209.07959) use batch norm.

:meth:`WideResNet.stem` and :meth:`WideResNet.trunk` are the split of JEM++'s proximal sampling, whose inner steps
differentiate the first convolution alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Norm = Literal["none", "batch", "instance", "layer", "act"]

LEAK = 0.2  # slope of the LeakyReLU left of zero

# In the checkpoints, but not in the logits: a second head, the energy of an unconditional model, JEM++'s second names.
_UNUSED = ("f.linear.", "energy_output.", "f.layer_one.", "f.other_layers.")


class WideResNet(nn.Module):
    """WRN-depth-width: logits of images whose height and width need not be 32.

    Args:
        shape: (C, H, W) of an image.
        classes: number of logits K.
        depth: number of layers, 6n + 4 with n >= 1.
        width: widening factor k of the channels.
        norm: normalisation before every activation: ``none``, ``batch`` (running statistics follow 9 parts of the last
            batch to 1 of the past, as published), ``instance`` (with gain and bias), ``layer`` (over all channels and
            positions of one image: a group norm of one group), or ``act`` (:class:`ChannelAffine`).

    Raises:
        ValueError: for another depth or norm.
    """

    def __init__(
        self, *, shape: tuple[int, int, int], classes: int, depth: int, width: int, norm: Norm = "none"
    ) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"the depth of a wide residual network must be 6n + 4, such as 16 or 28, not {depth}")
        self.f = _Features(shape[0], blocks=(depth - 4) // 6, width=width, norm=norm)
        self.class_output = nn.Linear(64 * width, classes)

    def stem(self, x: Tensor) -> Tensor:
        """The first convolution: h ``(B, 16, H, W)`` of normalised images ``x (B, C, H, W)``."""
        h: Tensor = self.f.conv1(x)
        return h

    def trunk(self, h: Tensor) -> Tensor:
        """All that comes after :meth:`stem`: logits ``(B, K)`` of ``h (B, 16, H, W)``."""
        logits: Tensor = self.class_output(self.f.pooled(h))
        return logits

    @property
    def readout(self) -> nn.Linear:
        """The layer that gives the logits."""
        return self.class_output

    def penultimate(self, x: Tensor) -> Tensor:
        """What enters it, ``(B, 64 k)``, of normalised images ``(B, C, H, W)``."""
        return self.f.pooled(self.stem(x))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)`` of normalised images ``(B, C, H, W)``."""
        return self.trunk(self.stem(x))


class ChannelAffine(nn.Module):
    """A gain and a bias per channel, scale * (x + loc) (Kingma & Dhariwal, NeurIPS 2018, section 3.1).

    It starts as the identity, without the initialisation by the first batch: a forward pass that changes the weights
    would not be a function of its image.

    Args:
        channels: number of channels C of ``x (B, C, H, W)``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as ``x``."""
        return self.scale * (x + self.loc)


class _Features(nn.Module):
    """The network up to its mean over positions, under the published names."""

    def __init__(self, channels: int, *, blocks: int, width: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1)
        self.layer1 = _stage(16, 16 * width, blocks=blocks, stride=1, norm=norm)
        self.layer2 = _stage(16 * width, 32 * width, blocks=blocks, stride=2, norm=norm)
        self.layer3 = _stage(32 * width, 64 * width, blocks=blocks, stride=2, norm=norm)
        self.bn1 = _norm(norm, 64 * width)

    def pooled(self, h: Tensor) -> Tensor:
        """``(B, 64 k)`` of the first convolution's ``h (B, 16, H, W)``."""
        h = self.layer3(self.layer2(self.layer1(h)))
        return _lrelu(self.bn1(h)).mean(dim=(2, 3))


class _WideBlock(nn.Module):
    def __init__(self, before: int, after: int, *, stride: int, norm: Norm) -> None:
        super().__init__()
        self.bn1 = _norm(norm, before)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.bn2 = _norm(norm, after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, stride=stride)
        same = stride == 1 and before == after
        self.shortcut = nn.Sequential(*([] if same else [nn.Conv2d(before, after, 1, stride=stride)]))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(_lrelu(self.bn1(x)))
        h = self.conv2(_lrelu(self.bn2(h)))
        sum_: Tensor = h + self.shortcut(x)
        return sum_


def _stage(before: int, after: int, *, blocks: int, stride: int, norm: Norm) -> nn.Sequential:
    first = _WideBlock(before, after, stride=stride, norm=norm)
    return nn.Sequential(first, *(_WideBlock(after, after, stride=1, norm=norm) for _ in range(blocks - 1)))


def _lrelu(x: Tensor) -> Tensor:
    return nn.functional.leaky_relu(x, LEAK)


def _norm(norm: Norm, channels: int) -> nn.Module:
    match norm:
        case "none":
            return nn.Identity()
        case "batch":
            return nn.BatchNorm2d(channels, momentum=0.9)
        case "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "act":
            return ChannelAffine(channels)
    raise ValueError(f"norm must be one of {', '.join(get_args(Norm))}, not {norm!r}")


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a published checkpoint under the names of :class:`WideResNet`, so that they load strictly.

    Known are the checkpoints of JEM, JEM++ and SADA-JEM (``f.*``, ``class_output.*``) and of VERA (``logp_net.*``, with
    ``logp_net.linear`` as its head), with or without the ``module.`` of a DataParallel. What their logits do not use
    is dropped: the unused heads, JEM++'s second names of its layers, the flags of an actnorm.

    Args:
        state: state dict of the model, not the whole checkpoint around it.

    Raises:
        ValueError: for a VERA network with norm layers, whose first block leaves its norm out: another function; or if
            two names mean the same tensor.
    """
    if any("logp_net.layer1.0.bn1." in name for name in state):
        raise ValueError("a VERA network with norm layers has none in its first block: it is not this WideResNet")
    weights = {_our_name(name): tensor for name, tensor in state.items()}
    if len(weights) < len(state):
        raise ValueError("two of its names mean the same tensor, such as 'f.conv1.bias' beside 'logp_net.conv1.bias'")
    return {
        name: tensor
        for name, tensor in weights.items()
        if not name.startswith(_UNUSED) and not name.endswith(".initialized")
    }


def _our_name(name: str) -> str:
    name = name.removeprefix("module.")
    if name.startswith("logp_net.linear."):
        return "class_output." + name.removeprefix("logp_net.linear.")
    if name.startswith("logp_net."):
        return "f." + name.removeprefix("logp_net.")
    return name
