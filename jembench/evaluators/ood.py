"""Evaluator ``ood``: can a score tell test images from images of elsewhere?

For every OOD set and every score (:mod:`jembench.scores`, larger = more in-distribution), with the test split as
positives: ``auroc`` (DeLong's interval), ``fpr95`` (false-positive rate where 95 % of the test images are accepted),
``aupr_in`` and ``aupr_out`` (average precision with the test split, or the OOD set, as positives).
``mean/<score>/auroc`` is the mean over the sets; its interval knows that they share the test split and that some
share their base images.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from jembench.evaluators.contract import Direction, Measurement, Metric, Need, RecordBatch, gather, metric
from jembench.evaluators.input_gradient import InputGradient
from jembench.evaluators.logits import Logits
from jembench.metrics import auroc, detection
from jembench.scores import SCORES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from jembench.data.sets import Source, Track

DIRECTIONS: dict[str, Direction] = {"auroc": "higher", "fpr95": "lower", "aupr_in": "higher", "aupr_out": "higher"}


class Ood:
    """OOD detection by every score, against every OOD set of the track."""

    name: ClassVar[str] = "ood"
    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = tuple(score.name for score in SCORES)

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Logits and input gradients of the test split and of every OOD set."""
        measurements: tuple[Measurement, ...] = (Logits(), InputGradient())
        sources = ("test", *(source.name for source in track.ood))
        return tuple(Need(measurement, source) for source in sources for measurement in measurements)

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """One column for every score that the batch's measurement carries."""
        return {
            score.name: score.compute(batch.columns[score.column])
            for score in SCORES
            if score.measurement == batch.measurement
        }

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """Every set and score, then the means."""
        scored = (RecordBatch(batch.measurement, batch.source, self.scalars(batch)) for batch in batches)
        found = gather(scored, *(score.name for score in SCORES))
        result = []
        for source in track.ood:
            for score in SCORES:
                positive = found.get("test", {}).get(score.name)
                negative = found.get(source.name, {}).get(score.name)
                result += _detection(positive, negative, source.name, score.name)
        for score in SCORES:
            result.append(_mean(found, track.ood, score.name))
        return result


def _detection(
    positive: NDArray[np.float64] | None, negative: NDArray[np.float64] | None, source: str, score: str
) -> list[Metric]:
    """The four metrics of one set and one score."""
    if positive is None or negative is None:
        return [
            Metric(name, source, score, better=better, reason=_missing(score)) for name, better in DIRECTIONS.items()
        ]
    n = {"test": len(positive), source: len(negative)}
    estimates = detection.detection_estimates(positive, negative)
    return [
        metric(estimates[name], name, source=source, variant=score, n=n, better=better)
        for name, better in DIRECTIONS.items()
    ]


def _mean(found: dict[str, dict[str, NDArray[Any]]], sources: tuple[Source, ...], score: str) -> Metric:
    """Mean AUROC of one score over all OOD sets."""
    if any(score not in found.get(name, {}) for name in ("test", *(source.name for source in sources))):
        return Metric("auroc", "mean", score, better="higher", reason=_missing(score))
    positive = found["test"][score]
    pairs = [(found[source.name][score], source.base) for source in sources]
    n = {"test": len(positive), **{source.name: len(found[source.name][score]) for source in sources}}
    estimate = auroc.mean_auroc_estimate(pairs, positive)
    return metric(estimate, "auroc", source="mean", variant=score, n=n, better="higher")


def _missing(score: str) -> str:
    needs = {"logits": "logits", "input_gradient": "differentiable log density"}
    measurement = next(item.measurement for item in SCORES if item.name == score)
    return f"the model gives no {needs[measurement]}"
