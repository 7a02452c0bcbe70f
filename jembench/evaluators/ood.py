"""Evaluator ``ood``: can a score tell test images from images of elsewhere?

For every OOD set and every score (:mod:`jembench.scores`, larger = more in-distribution), with the test split as
positives: ``auroc`` (DeLong's interval), ``fpr95`` (false-positive rate where 95 % of the test images are accepted),
``aupr_in`` and ``aupr_out`` (average precision with the test split, or the OOD set, as positives).
``mean/<score>/auroc`` is the mean over the sets; its interval knows that they share the test split and that some
share their base images.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.evaluators.contract import Kind, Measurement, Metric, Need, RecordBatch, gather
from jembench.evaluators.input_gradient import InputGradient
from jembench.evaluators.logits import Logits
from jembench.metrics import auroc, detection
from jembench.scores import SCORES, Score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Source, Track

Scored = dict[str, "dict[str, NDArray[Any]]"]

AUROC = Kind("auroc", "higher", 0.005)
KINDS = (AUROC, Kind("fpr95", "lower", 0.02), Kind("aupr_in", "higher", 0.01), Kind("aupr_out", "higher", 0.01))


@dataclass(frozen=True)
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
            if score.measurement == batch.measurement.name
        }

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """Every set and score, then the means."""
        scored = (RecordBatch(batch.measurement, batch.source, self.scalars(batch)) for batch in batches)
        found = gather(scored, *(score.name for score in SCORES))
        result = []
        for source in track.ood:
            for score in SCORES:
                result += _detection(found, source.name, score)
        return result + [_mean(found, track.ood, score) for score in SCORES]


def _detection(found: Scored, source: str, score: Score) -> list[Metric]:
    """The four metrics of one set and one score."""
    if reason := _problem(found, ("test", source), score):
        return [kind.missing(reason, source=source, variant=score.name) for kind in KINDS]
    positive, negative = found["test"][score.name], found[source][score.name]
    estimates = detection.detection_estimates(positive, negative)
    n = {"test": len(positive), source: len(negative)}
    return [kind.of(estimates[kind.name], source=source, variant=score.name, n=n) for kind in KINDS]


def _mean(found: Scored, sources: tuple[Source, ...], score: Score) -> Metric:
    """Mean AUROC of one score over all OOD sets."""
    names = ("test", *(source.name for source in sources))
    if reason := _problem(found, names, score):
        return AUROC.missing(reason, source="mean", variant=score.name)
    pairs = [(found[source.name][score.name], source.base) for source in sources]
    estimate = auroc.mean_auroc_estimate(pairs, found["test"][score.name])
    n = {name: len(found[name][score.name]) for name in names}
    return AUROC.of(estimate, source="mean", variant=score.name, n=n)


def _problem(found: Scored, sources: Iterable[str], score: Score) -> str | None:
    """Why a score cannot be judged on these sources, if it cannot."""
    for source in sources:
        values = found.get(source, {}).get(score.name)
        if values is None:
            needs = {"logits": "logits", "input_gradient": "differentiable log density"}
            return f"the model gives no {needs[score.measurement]}"
        if bad := int(np.isnan(values).sum()):
            return f"{score.title} is NaN on {bad} of {len(values)} images of {source}"
    return None
