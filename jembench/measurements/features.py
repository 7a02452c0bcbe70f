"""Measurement ``features``: what enters the last layer of a classifier, its penultimate features.

``logits(x) = readout(penultimate(x))`` with a linear ``readout``: the post-hoc detectors of the literature
(:mod:`jembench.measurements.detector`) are functions of these features and of that layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jembench.attacks.passes import ModelFacts, Passes
from jembench.measurements.contract import costs
from jembench.types import Batch, Capability, UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator


@dataclass(frozen=True)
class Features:
    """Column ``features (B, F)``."""

    name: ClassVar[str] = "features"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"classifier", "features"})
    finite: ClassVar[frozenset[str]] = frozenset({"features"})

    def passes(self, facts: ModelFacts) -> Passes:
        """One forward pass."""
        return Passes(1)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """One forward pass without gradients.

        Raises:
            UserError: if the features are not of the size that the readout takes.
        """
        import torch

        with torch.no_grad():
            features = model.penultimate(batch.images)
        count, width = len(batch.images), model.readout.in_features
        if features.shape != (count, width):
            shape = tuple(features.shape)
            raise UserError(f"the model gives features of shape {shape}, its last layer takes {(count, width)}")
        return {"features": features.detach().float().cpu().numpy(), **costs(count, 1)}
