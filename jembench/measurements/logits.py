"""Measurement ``logits``: the K logits f(x) of every example, from one forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator


@dataclass(frozen=True)
class Logits:
    """Column ``logits (B, K)``; accuracy, calibration and OOD scores of p(y|x) all read it."""

    name: ClassVar[str] = "logits"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"classifier"})
    finite: ClassVar[frozenset[str]] = frozenset({"logits"})

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """One forward pass without gradients; a stochastic model draws from ``generator``."""
        import torch

        with torch.no_grad():
            if getattr(model, "stochastic", False):
                f = model.logits(batch.images, generator=generator)
            else:
                f = model.logits(batch.images)
        count = len(batch.images)
        return {
            "logits": f.detach().float().cpu().numpy(),
            "forwards": np.ones(count, dtype=np.int32),
            "gradients": np.zeros(count, dtype=np.int32),
        }
