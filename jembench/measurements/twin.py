"""Measurement ``twin``: what another model predicts of the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.measurements.contract import Measurement
from jembench.metrics import classification
from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator


@dataclass(frozen=True)
class Twin:
    """What another model predicts of the same images, ``twin (B,)``: its record is ``batch.given``.

    Attributes:
        of: the measurement whose logits it reads.
    """

    of: Measurement

    name: ClassVar[str] = "twin"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"classifier"})
    finite: ClassVar[frozenset[str]] = frozenset()

    @property
    def costly(self) -> bool:
        """Of the same images as what it reads."""
        return getattr(self.of, "costly", False)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """No pass of any model."""
        count = len(batch.index)
        given = batch.given[0] if batch.given else None
        if given is None:
            raise ValueError("the second model's logits are not there")
        none = np.zeros(count, dtype=np.int32)
        return {"twin": classification.prediction(given["logits"]), "forwards": none, "gradients": none}
