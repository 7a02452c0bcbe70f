r"""Evaluator ``calibration``: does p(y|x) mean what it says?

Two rows: ``raw`` logits f(x), and their ``temperature`` twin f(x) / T with T fitted on the validation split by
maximum likelihood (Guo et al., ICML 2017), or where that has no optimum as
:mod:`jembench.metrics.temperature` says; the method is that of the metric ``validation/temperature``. Each has

- ``nll`` and ``brier``, proper scores: means over examples with a confidence interval;
- ``ece15``, ``ece20``: expected calibration error of the confidence with 15 and 20 equal-width bins, the last one
  closed; ``adaptive_ece15`` with bins of equal mass; ``classwise_ece15``. A plain ECE is biased upwards, so its range
  is not an interval of the truth but the band in which 95 % of perfectly calibrated models would fall;
- ``squared_ece15``: the debiased squared l2 calibration error with a confidence interval (arXiv 2408.08998).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench import seeding
from jembench.evaluators.contract import Kind, Metric, Need, RecordBatch, gather
from jembench.evaluators.logits import Logits
from jembench.metrics import calibration, classification, debiased, intervals
from jembench.metrics.estimate import Estimate
from jembench.metrics.temperature import fit_temperature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Track

VARIANTS = ("raw", "temperature")
KINDS = (
    Kind("nll", "lower", 0.01),
    Kind("brier", "lower", 0.005),
    Kind("ece15", "lower", 0.005),
    Kind("ece20", "lower", 0.005),
    Kind("adaptive_ece15", "lower", 0.005),
    Kind("classwise_ece15", "lower", 0.005),
    Kind("squared_ece15", "lower", 0.002),
)
TEMPERATURE = Kind("temperature", "neither")


@dataclass(frozen=True)
class Calibration:
    """Calibration of the test split, raw and temperature-scaled."""

    name: ClassVar[str] = "calibration"
    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ("label", "prediction", "confidence", "nll", "brier")

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Logits of the validation split (for the temperature) and of the test split."""
        return (Need(Logits(), "validation"), Need(Logits(), "test"))

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """``label``, ``prediction``, ``confidence``, ``nll`` and ``brier`` of the raw logits."""
        logits, labels = batch.columns["logits"], batch.columns["label"]
        return {
            "label": labels,
            "prediction": classification.prediction(logits),
            "confidence": classification.confidence(logits),
            "nll": classification.nll(logits, labels),
            "brier": classification.brier(logits, labels),
        }

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """``test/raw/…``, ``test/temperature/…`` and the temperature itself."""
        found = gather(batches, "logits", "label")
        if "test" not in found or "validation" not in found:
            reason = "the model gives no logits"
            result = [kind.missing(reason, source="test", variant=variant) for variant in VARIANTS for kind in KINDS]
            return [*result, TEMPERATURE.missing(reason, source="validation")]
        validation, test = found["validation"], found["test"]
        fit = fit_temperature(validation["logits"], validation["label"])
        n = {"test": len(test["label"])}
        result = []
        for variant, divisor in zip(VARIANTS, (1.0, fit.temperature), strict=True):
            estimates = _estimates(test["logits"].astype(np.float64) / divisor, test["label"])
            result += [kind.of(estimates[kind.name], source="test", variant=variant, n=n) for kind in KINDS]
        estimate = Estimate(fit.temperature, None, None, fit.method)
        return [*result, TEMPERATURE.of(estimate, source="validation", n={"validation": len(validation["label"])})]


def _estimates(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, Estimate]:
    """All metrics of one set of logits ``(N, K)``; each interval resamples from a stream of its own."""
    probabilities = classification.softmax(logits)
    confidence = classification.confidence(logits)
    correct = classification.prediction(logits) == labels

    def rng(name: str) -> np.random.Generator:
        return seeding.rng("calibration", name)

    return {
        "nll": intervals.mean(classification.nll(logits, labels), rng=rng("nll")),
        "brier": intervals.mean(classification.brier(logits, labels), rng=rng("brier")),
        "ece15": calibration.ece_estimate(confidence, correct, bins=15, rng=rng("ece15")),
        "ece20": calibration.ece_estimate(confidence, correct, bins=20, rng=rng("ece20")),
        "adaptive_ece15": calibration.adaptive_ece_estimate(confidence, correct, bins=15, rng=rng("adaptive")),
        "classwise_ece15": calibration.classwise_ece_estimate(probabilities, labels, bins=15, rng=rng("classwise")),
        "squared_ece15": debiased.debiased_squared_ece(confidence, correct, bins=15),
    }
