"""Readout: the linear layer that ends a classifier, and what enters it, where a network does not show them."""

from __future__ import annotations

from torch import Tensor, nn


def last_linear(network: nn.Module) -> nn.Linear | None:
    """The linear layer that was registered last, if there is one: in most classifiers it gives the logits."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return layers[-1] if layers else None


def entering(layer: nn.Module, network: nn.Module, x: Tensor) -> Tensor:
    """What enters ``layer`` in a forward pass of ``network`` on ``x (B, …)``, at its last call, ``(B, F)``.

    Raises:
        ValueError: if it is not called, or on something of another shape.
    """
    features: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    try:
        network(x)
    finally:
        handle.remove()
    if not features or features[-1].ndim != 2 or len(features[-1]) != len(x):
        raise ValueError("no features (B, F) enter the network's last linear layer")
    return features[-1]
