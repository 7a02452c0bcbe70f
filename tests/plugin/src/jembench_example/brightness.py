"""A measurement and the evaluator that reads it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from jembench.data.sets import Track
from jembench.measurements.contract import Need, RecordBatch, costs, gather
from jembench.metrics import intervals
from jembench.metrics.metric import Kind, Metric

BRIGHTNESS = Kind("brightness", "neither", least=0.0, most=1.0)


@dataclass(frozen=True)
class Brightness:
    """Column ``brightness (B,)``: the mean pixel of every image."""

    name: ClassVar[str] = "brightness"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset] = frozenset()
    finite: ClassVar[frozenset] = frozenset({"brightness"})

    def columns(self, model: Any, batch: Any, generator: Any) -> dict[str, Any]:
        """Without asking the model."""
        return {"brightness": batch.images.flatten(1).mean(1).cpu().numpy(), **costs(len(batch.images), 0)}


@dataclass(frozen=True)
class Exposure:
    """The mean brightness of the test images, with its interval."""

    name: ClassVar[str] = "exposure"
    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ("brightness",)

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Brightness of the test images."""
        return (Need(Brightness(), "test"),)

    def scalars(self, batch: RecordBatch) -> dict[str, Any]:
        """``brightness``."""
        return {"brightness": batch.columns["brightness"]}

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """``test/brightness``."""
        import numpy as np

        values = gather(batches, "brightness")["test"]["brightness"]
        estimate = intervals.mean(values, rng=np.random.default_rng(0))
        return [BRIGHTNESS.of(estimate, source="test", n={"test": len(values)})]
