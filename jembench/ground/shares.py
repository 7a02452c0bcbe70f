"""Shares: which positions of a batch are whose, where several processes hold one batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Share:
    """Positions ``start:stop`` of a batch of ``total``."""

    start: int
    stop: int
    total: int

    def of(self, batch: Tensor) -> Tensor:
        """The rows of a whole batch that are ours."""
        return batch[self.start : self.stop]

    def noise_like(self, x: Tensor, generator: Generator) -> Tensor:
        """Our rows of standard normal noise that is drawn for the whole batch; ``x`` are our rows of the images."""
        whole = (self.total, *x.shape[1:])
        return self.of(torch.randn(whole, generator=generator, device=generator.device, dtype=x.dtype)).to(x.device)
