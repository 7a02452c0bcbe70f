r"""Optimisers: torch's own, the schedule, sharpness-aware minimisation and the moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from jembench.models.recipes import OptimiserPart


def optimiser(parameters: Iterable[nn.Parameter], part: OptimiserPart) -> torch.optim.Optimizer:
    """Adam or SGD with momentum over ``parameters``."""
    if part.name == "adam":
        return torch.optim.Adam(parameters, lr=part.learning_rate, weight_decay=part.weight_decay)
    return torch.optim.SGD(parameters, lr=part.learning_rate, momentum=part.momentum, weight_decay=part.weight_decay)


def learning_rate(part: OptimiserPart, iteration: int, total: int) -> float:
    """Linear warm-up, then a factor ``decay`` at every fraction in ``decay_at`` of the ``total`` iterations."""
    drops = sum(iteration >= fraction * total for fraction in part.decay_at)
    warm = min(1.0, (iteration + 1) / part.warmup) if part.warmup else 1.0
    return part.learning_rate * warm * part.decay**drops


@contextmanager
def sharpened(
    parameters: list[nn.Parameter], slopes: list[Tensor | None], *, rho: float, adaptive: bool
) -> Iterator[None]:
    r"""Move the weights up their gradients ``slopes`` for the time of the block (SAM: Foret et al., ICLR 2021).

    .. math::
        w \mapsto w + \rho \, \frac{t^2 g}{\lVert t g \rVert_2}, \qquad t = 1 \text{ or, adaptive, } |w|

    The adaptive form is ASAM (Kwon et al., ICML 2021). On leaving, the weights are what they were, to the last bit.
    """
    before = [parameter.detach().clone() for parameter in parameters]
    gradients = [torch.zeros_like(w) if g is None else g for w, g in zip(before, slopes, strict=True)]
    directions = [w.abs() * g if adaptive else g for w, g in zip(before, gradients, strict=True)]
    length = torch.stack([direction.norm() for direction in directions]).norm().clamp_min(1e-12)
    with torch.no_grad():
        for parameter, weight, direction in zip(parameters, before, directions, strict=True):
            parameter.add_((weight.abs() * direction if adaptive else direction) * (rho / length))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, weight in zip(parameters, before, strict=True):
                parameter.copy_(weight)


class Average:
    """The exponential moving average of a model's parameters: a <- d a + (1 - d) w, d growing to ``decay``.

    Early on d = (1 + t) / (10 + t), so that the average forgets the initial weights.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.values: dict[str, Tensor] = {name: p.detach().clone() for name, p in model.named_parameters()}

    def update(self, model: nn.Module) -> None:
        """Take in the weights after an update."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, parameter in model.named_parameters():
            self.values[name].lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """Give the model the averaged weights for the time of the block."""
        own = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        self._copy(model, self.values)
        try:
            yield
        finally:
            self._copy(model, own)

    def _copy(self, model: nn.Module, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(values[name])
