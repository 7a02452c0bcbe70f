"""A linear network with constant weights, for digits."""

import torch
from torch import nn


def build() -> nn.Module:
    """A module that maps images in [0, 1] to ten logits."""
    layer = nn.Linear(64, 10)
    with torch.no_grad():
        layer.weight.copy_(torch.sin(torch.arange(640.0)).reshape(10, 64))
        layer.bias.zero_()
    return nn.Sequential(nn.Flatten(), layer)
