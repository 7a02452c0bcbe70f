"""Evaluator ``accuracy``: the fraction of test images whose largest logit is the label's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from jembench.evaluators.contract import Metric, Need, RecordBatch, gather, metric
from jembench.evaluators.logits import Logits
from jembench.metrics import classification

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Track


class Accuracy:
    """Top-1 accuracy with Wilson's interval."""

    name: ClassVar[str] = "accuracy"
    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ("label", "prediction")

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Logits of the test split."""
        return (Need(Logits(), "test"),)

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """``label`` and ``prediction``."""
        return {"label": batch.columns["label"], "prediction": batch.columns["logits"].argmax(axis=1)}

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """``test/accuracy``."""
        test = gather(batches, "logits", "label").get("test")
        if test is None:
            return [Metric("accuracy", "test", better="higher", reason="the model gives no logits")]
        correct = test["logits"].argmax(axis=1) == test["label"]
        estimate = classification.accuracy(correct)
        return [metric(estimate, "accuracy", source="test", n={"test": len(correct)}, better="higher")]
