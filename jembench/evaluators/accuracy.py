"""Evaluator ``accuracy``: the fraction of test images whose largest logit is the label's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jembench.evaluators.quantities import Headline
from jembench.measurements.contract import Need, RecordBatch, gather
from jembench.measurements.logits import Logits
from jembench.metrics import classification
from jembench.metrics.metric import Kind, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Track

ACCURACY = Kind("accuracy", "higher", 0.005, least=0.0, most=1.0)


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy with Wilson's interval."""

    name: ClassVar[str] = "accuracy"
    version: ClassVar[int] = 1
    headlines: ClassVar[tuple[Headline, ...]] = (
        Headline("test/accuracy", "accuracy", "share of test images classified right"),
    )
    tables: ClassVar[str] = "jembench.pages.tables.accuracy:accuracy"
    figures: ClassVar[dict[str, str]] = {"hybrid": "jembench.gallery:plot_hybrid"}
    columns: ClassVar[tuple[str, ...]] = ("label", "prediction")

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Logits of the test split."""
        return (Need(Logits(), "test"),)

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """``label`` and ``prediction``."""
        return {"label": batch.columns["label"], "prediction": classification.prediction(batch.columns["logits"])}

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """``test/accuracy``."""
        test = gather(batches, "logits", "label").get("test")
        if test is None:
            return [ACCURACY.missing("the model gives no logits", source="test")]
        correct = classification.prediction(test["logits"]) == test["label"]
        return [ACCURACY.of(classification.accuracy(correct), source="test", n={"test": len(correct)})]
