r"""Evaluator ``calibration``: does p(y|x) mean what it says?

Three rows: ``raw`` logits f(x); their ``temperature`` twin f(x) / T; and their ``vector`` twin, a weight and a bias
for each class. Both maps are fitted on the validation split by maximum likelihood (Guo et al., ICML 2017), or where
that has no optimum as :mod:`jembench.metrics.temperature` and :mod:`jembench.metrics.vector_scaling` say; which it was
is the method of ``validation/temperature`` and of ``validation/vector/fitted_nll``, the NLL that the vector reaches
there. A vector may change predictions: ``test/vector/accuracy``. Each row has

- ``nll`` and ``brier``, proper scores: means over examples with a confidence interval;
- ``ece15``, ``ece20``: expected calibration error of the confidence with 15 and 20 equal-width bins, the last one
  closed; ``mce15``, the largest gap of a bin; ``adaptive_ece15`` with bins of equal mass; ``classwise_ece15``;
  ``kde_ece`` without bins. All are biased upwards, so their range is not an interval of the truth but the band in which
  95 % of perfectly calibrated models would fall;
- ``squared_ece15``: the debiased squared l2 calibration error with a confidence interval (arXiv 2408.08998);
- ``brier_reliability15`` - ``brier_resolution15`` + ``brier_uncertainty`` + ``brier_within15`` = ``brier``, the terms
  of :mod:`jembench.metrics.brier_decomposition` without their bias, the first with its band;
- ``aurc`` and ``eaurc``: area under the risk-coverage curve of the confidence, and its excess over the best order.

Reliability diagrams are made from the examples: ``confidence``, ``prediction`` and ``label``, and those of the twins in
``temperature_confidence``, ``vector_confidence`` and ``vector_prediction`` (a temperature changes no prediction).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.evaluators.quantities import Headline
from jembench.ground import seeding
from jembench.measurements.contract import Need, RecordBatch, gather
from jembench.measurements.logits import Logits
from jembench.metrics import (
    brier_decomposition,
    classification,
    debiased,
    intervals,
    kde_calibration,
    risk_coverage,
    temperature,
    vector_scaling,
)
from jembench.metrics.calibration import calibration_estimate
from jembench.metrics.estimate import Estimate
from jembench.metrics.metric import Kind, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Track

VARIANTS = ("raw", "temperature", "vector")
KINDS = (
    Kind("nll", "lower", 0.01, least=0.0),
    Kind("brier", "lower", 0.005, least=0.0, most=2.0),
    Kind("ece15", "lower", 0.005, least=0.0, most=1.0),
    Kind("ece20", "lower", 0.005, least=0.0, most=1.0),
    Kind("adaptive_ece15", "lower", 0.005, least=0.0, most=1.0),
    Kind("classwise_ece15", "lower", 0.005, least=0.0, most=1.0),
    Kind("squared_ece15", "lower", 0.002),
    Kind("mce15", "lower", 0.02, least=0.0, most=1.0),
    Kind("kde_ece", "lower", 0.005, least=0.0, most=1.0),
    Kind("brier_reliability15", "lower", 0.005),
    Kind("brier_resolution15", "higher", 0.005),
    Kind("brier_uncertainty", "neither"),
    Kind("brier_within15", "neither"),
    Kind("aurc", "lower", 0.002, least=0.0, most=1.0),
    Kind("eaurc", "lower", 0.002),
)
TEMPERATURE = Kind("temperature", "neither")
FITTED = Kind("fitted_nll", "neither", least=0.0)
ACCURACY = Kind("accuracy", "higher", 0.005, least=0.0, most=1.0)
SCALARS = ("label", "prediction", "confidence", "nll", "brier")
TWINS = ("temperature_confidence", "vector_confidence", "vector_prediction")


@dataclass(frozen=True)
class _Maps:
    """What the validation split teaches."""

    temperature: temperature.TemperatureFit
    vector: vector_scaling.VectorScalingFit

    @classmethod
    def fitted(cls, validation: Mapping[str, NDArray[Any]]) -> _Maps:
        logits, labels = validation["logits"], validation["label"]
        return cls(temperature.fit_temperature(logits, labels), vector_scaling.fit_vector(logits, labels))

    def apply(self, logits: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        """Logits ``(N, K)`` of each variant."""
        raw = logits.astype(np.float64)
        return {"raw": raw, "temperature": raw / self.temperature.temperature, "vector": self.vector.apply(raw)}


@dataclass(frozen=True)
class Calibration:
    """Calibration of the test split: raw, temperature-scaled and vector-scaled."""

    name: ClassVar[str] = "calibration"
    version: ClassVar[int] = 2
    headlines: ClassVar[tuple[Headline, ...]] = (
        Headline("test/raw/ece15", "ECE", "gap between confidence and accuracy, 15 bins"),
        Headline("test/temperature/ece15", "ECE scaled", "the same with a temperature fitted on validation data"),
        Headline("test/raw/nll", "NLL", "negative log-likelihood of the true class"),
        Headline("test/raw/aurc", "AURC", "error where the least confident images are left out first"),
    )
    assembly: ClassVar[float] = 3e-4
    tables: ClassVar[str] = "jembench.pages.tables.calibration:calibration"
    pictures: ClassVar[dict[str, str]] = {"reliability": "jembench.gallery:draw_reliability"}
    columns: ClassVar[tuple[str, ...]] = (*SCALARS, *TWINS)

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Logits of the validation split (for the maps) and of the test split."""
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

    def joined(self, batches: Iterable[RecordBatch]) -> dict[str, dict[str, NDArray[Any]]]:
        """The scalars of every source, and those of its twins, whose maps need the whole validation split."""
        chunks = list(batches)
        validation = gather(chunks, "logits", "label").get("validation")
        maps = None if validation is None else _Maps.fitted(validation)
        scalars = (
            RecordBatch(batch.measurement, batch.source, {**self.scalars(batch), **_twins(maps, batch)})
            for batch in chunks
        )
        return gather(scalars, *self.columns)

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """``test/raw/…``, ``test/temperature/…``, ``test/vector/…``, and what is known of the two maps."""
        records = gather(batches, "logits", "label")
        if "test" not in records or "validation" not in records:
            return _missing("the model gives no logits")
        validation, labels = records["validation"], records["test"]["label"]
        maps = _Maps.fitted(validation)
        logits = maps.apply(records["test"]["logits"])
        n = {"test": len(labels)}
        result = []
        for variant in VARIANTS:
            estimates = _estimates(logits[variant], labels)
            result += [kind.of(estimates[kind.name], source="test", variant=variant, n=n) for kind in KINDS]
        accuracy = classification.accuracy(classification.prediction(logits["vector"]) == labels)
        nll = float(classification.nll(maps.vector.apply(validation["logits"]), validation["label"]).mean())
        n_fit = {"validation": len(validation["label"])}
        temperature_of = Estimate(maps.temperature.temperature, method=maps.temperature.method)
        vector_of = Estimate(nll, method=maps.vector.method)
        return [
            *result,
            ACCURACY.of(accuracy, source="test", variant="vector", n=n),
            TEMPERATURE.of(temperature_of, source="validation", n=n_fit),
            FITTED.of(vector_of, source="validation", variant="vector", n=n_fit),
        ]


def _twins(maps: _Maps | None, batch: RecordBatch) -> dict[str, NDArray[Any]]:
    """The columns of the twins; none without a validation split."""
    if maps is None:
        return {}
    logits = maps.apply(batch.columns["logits"])
    return {
        "temperature_confidence": classification.confidence(logits["temperature"]),
        "vector_confidence": classification.confidence(logits["vector"]),
        "vector_prediction": classification.prediction(logits["vector"]),
    }


def _missing(reason: str) -> list[Metric]:
    """All metrics, without a value."""
    result = [kind.missing(reason, source="test", variant=variant) for variant in VARIANTS for kind in KINDS]
    return [
        *result,
        ACCURACY.missing(reason, source="test", variant="vector"),
        TEMPERATURE.missing(reason, source="validation"),
        FITTED.missing(reason, source="validation", variant="vector"),
    ]


def _estimates(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, Estimate]:
    """All metrics of one set of logits ``(N, K)``; each interval resamples from a stream of its own."""
    probabilities = classification.softmax(logits)
    confidence = classification.confidence(logits)
    correct = classification.prediction(logits) == labels
    rng = partial(seeding.rng, "calibration")
    terms = brier_decomposition.decomposition_estimates(probabilities, labels, bins=15, rng=rng("decomposition"))
    return {
        "nll": intervals.mean(classification.nll(logits, labels), rng=rng("nll")),
        "brier": intervals.mean(classification.brier(logits, labels), rng=rng("brier")),
        "ece15": calibration_estimate("ece", confidence, correct, bins=15, rng=rng("ece15")),
        "ece20": calibration_estimate("ece", confidence, correct, bins=20, rng=rng("ece20")),
        "adaptive_ece15": calibration_estimate("adaptive", confidence, correct, bins=15, rng=rng("adaptive")),
        "classwise_ece15": calibration_estimate("classwise", probabilities, labels, bins=15, rng=rng("classwise")),
        "squared_ece15": debiased.debiased_squared_ece(confidence, correct, bins=15),
        "mce15": calibration_estimate("mce", confidence, correct, bins=15, rng=rng("mce15")),
        "kde_ece": kde_calibration.kde_ece_estimate(confidence, correct, rng=rng("kde_ece")),
        "brier_reliability15": terms["reliability"],
        "brier_resolution15": terms["resolution"],
        "brier_uncertainty": terms["uncertainty"],
        "brier_within15": terms["within"],
        "aurc": risk_coverage.aurc_estimate(confidence, correct),
        "eaurc": risk_coverage.excess_aurc_estimate(confidence, correct),
    }
