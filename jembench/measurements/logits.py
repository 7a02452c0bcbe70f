"""Measurement ``logits``: the K logits f(x) of every example, from one forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jembench.attacks.passes import ModelFacts, Passes
from jembench.measurements.contract import costs
from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Logits:
    """Column ``logits (B, K)``; accuracy, calibration and OOD scores of p(y|x) all read it."""

    name: ClassVar[str] = "logits"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"classifier"})
    finite: ClassVar[frozenset[str]] = frozenset({"logits"})

    def passes(self, facts: ModelFacts) -> Passes:
        """One forward pass."""
        return facts.query()

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """One forward pass without gradients."""
        f = logits(model, batch.images, generator)
        return {"logits": f.float().cpu().numpy(), **costs(len(batch.images), 1)}


def logits(model: Any, x: Tensor, generator: Generator) -> Tensor:
    """Logits ``(B, K)`` of a classifier, without gradients; a stochastic one draws from ``generator``."""
    import torch

    with torch.no_grad():
        f: Tensor = model.logits(x, **({"generator": generator} if getattr(model, "stochastic", False) else {}))
    return f.detach()
