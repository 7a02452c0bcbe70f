"""Measurement ``twin``: what another model predicts of the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jembench.attacks.passes import ModelFacts, Passes
from jembench.measurements.contract import Measurement, costs
from jembench.metrics import classification
from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator


@dataclass(frozen=True)
class Twin:
    """What another model predicts of the same images, ``twin (B,)``: its record is ``batch.given``.

    Attributes:
        of: the measurement of the other model whose logits are read.
    """

    of: Measurement

    name: ClassVar[str] = "twin"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"classifier"})
    finite: ClassVar[frozenset[str]] = frozenset()

    @property
    def costly(self) -> bool:
        """Whether the measurement that is read is costly: then it is of first images only, as is this one."""
        return getattr(self.of, "costly", False)

    def passes(self, facts: ModelFacts) -> Passes:
        """None."""
        return Passes()

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """No pass of any model."""
        record = batch.given[0] if batch.given else None
        if record is None:
            raise ValueError("the second model's logits are not there")
        return {"twin": classification.prediction(record["logits"]), **costs(len(batch.index), 0)}
