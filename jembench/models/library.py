"""Classifiers of the timm and torchvision libraries as networks, with fresh weights: nothing is ever downloaded.

A network is tried on two images of the track before it is returned, in training and in evaluation mode, because many
of these networks are made for one image size or return more than logits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from jembench.ground import guard
from jembench.types import UserError, require


def from_timm(name: str, *, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """An untrained timm classifier; its weights come from torch's global generator.

    Args:
        name: name as in ``timm.list_models()``, without the tag of pretrained weights.
        shape: (C, H, W) of an image.
        classes: number of logits K.

    Raises:
        UserError: for an unknown name, or a network that does not map such images to K logits.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm's own use of what torch deprecates
        timm: Any = import_module("timm")
    # The check also keeps names such as hf-hub:… away from timm, which would fetch their configuration.
    require(name, timm.list_models(), "timm model")

    def build() -> Any:
        return timm.create_model(name, pretrained=False, in_chans=shape[0], num_classes=classes)

    return _trial(build, f"timm model {name!r}", shape, classes)


def from_torchvision(name: str, *, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """An untrained torchvision classifier; its weights come from torch's global generator.

    Args:
        name: name as in ``torchvision.models.list_models(module=torchvision.models)``.
        shape: (C, H, W) of an image; these networks have three input channels, so that C is 3, or 1 and repeated.
        classes: number of logits K.

    Raises:
        UserError: for an unknown name, another C, or a network that does not map such images to K logits.
    """
    models: Any = import_module("torchvision.models")
    require(name, models.list_models(module=models), "torchvision model")
    if shape[0] not in (1, 3):
        raise UserError(f"torchvision model {name!r} takes 1 or 3 channels, not {shape[0]}")

    def build() -> Any:
        network = models.get_model(name, weights=None, num_classes=classes)
        return network if shape[0] == 3 else Repeated(network)

    return _trial(build, f"torchvision model {name!r}", shape, classes)


class Repeated(nn.Module):
    """A network of three channels that sees the one channel of an image three times.

    Args:
        network: network that maps images ``(B, 3, H, W)``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """What ``network`` makes of ``x (B, 1, H, W)``."""
        output: Tensor = self.network(x.expand(-1, 3, -1, -1))
        return output


def _trial(build: Callable[[], Any], what: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network, if it maps two images to logits ``(2, classes)`` in both modes; its buffers are as they were."""
    with guard.guarded(f"{what} fails on images of shape {shape}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network: nn.Module = build()
        outputs = _outputs(network, torch.zeros((2, *shape)))
    for output in outputs:
        if not isinstance(output, Tensor) or output.shape != (2, classes):
            result = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UserError(f"{what} returns {result} for 2 images of shape {shape}, not logits (2, {classes})")
    return network.train()


def _outputs(network: nn.Module, x: Tensor) -> list[Any]:
    """Outputs in training and in evaluation mode, without a trace in running statistics or the global generator."""
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        outputs = [network.train(mode)(x) for mode in (True, False)]
        for name, buffer in network.named_buffers():
            buffer.copy_(before[name])
    return outputs
