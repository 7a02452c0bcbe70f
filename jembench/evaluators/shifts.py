r"""Evaluator ``shifts``: accuracy and calibration where images get worse, under attack, and after a refinement.

Every image of the test split is viewed (:mod:`jembench.measurements.seen`): shifted by every kind and severity of the
track, attacked by PGD at the track's headline eps, refined by ten SGLD steps on the model's own log p(x). Of each,
``accuracy``, and for the raw logits and their temperature twin (T from the clean validation split, as a user of the
model would have it) ``nll``, ``brier``, ``ece15`` with its band and the debiased ``squared_ece15``; ``overconfidence``
is the mean confidence less the accuracy, with the interval of a mean of paired differences.

``severity-s`` are the means over kinds at severity s, without intervals: the kinds share their images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from jembench.evaluators.contract import WithoutScalars
from jembench.evaluators.quantities import Headline
from jembench.ground import seeding
from jembench.measurements.contract import Need, RecordBatch, joined
from jembench.measurements.logits import Logits
from jembench.measurements.seen import Attacked, Refined, Seen, Shifted
from jembench.metrics import classification, debiased, intervals
from jembench.metrics.calibration import calibration_estimate
from jembench.metrics.estimate import Estimate
from jembench.metrics.metric import Kind, Metric
from jembench.metrics.temperature import fit_temperature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Track

VARIANTS = ("raw", "temperature")
ACCURACY = Kind("accuracy", "higher", 0.02, least=0.0, most=1.0)
KINDS = (
    Kind("nll", "lower", 0.05, least=0.0),
    Kind("brier", "lower", 0.02, least=0.0, most=2.0),
    Kind("ece15", "lower", 0.02, least=0.0, most=1.0),
    Kind("squared_ece15", "lower", 0.02),
    Kind("overconfidence", "neither", least=-1.0, most=1.0),
)
NO_LOGITS = "the model gives no logits"


@dataclass(frozen=True)
class Shifts(WithoutScalars):
    """Calibration of viewed test images."""

    name: ClassVar[str] = "shifts"
    version: ClassVar[int] = 1
    headlines: ClassVar[tuple[Headline, ...]] = (
        Headline("severity-3/accuracy", "shifted acc", "accuracy at severity 3 of 5, mean over kinds of shift"),
        Headline("severity-3/raw/ece15", "shifted ECE", "ECE at severity 3 of 5, mean over kinds of shift"),
    )
    assembly: ClassVar[float] = 5e-05
    tables: ClassVar[str] = "jembench.pages.tables.shifts:shifts"
    figures: ClassVar[dict[str, str]] = {"shifts": "jembench.gallery:plot_shifts"}

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Logits of the clean splits, and every view of the test split."""
        views = tuple(Need(view, "test") for view in views_of(track).values())
        return (Need(Logits(), "validation"), Need(Logits(), "test"), *views)

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """The metrics of every view, then the means over kinds at each severity."""
        records = joined(batches)
        validation = records.get((Logits(), "validation"))
        fit = None if validation is None else fit_temperature(validation["logits"], validation["label"]).temperature
        result = []
        for name, view in views_of(track).items():
            record = records.get((view, "test"), {})
            lacks = "differentiable log density" if "density" in view.requires else "logits"
            reason = f"the model gives no {lacks}" if "label" not in record else NO_LOGITS
            if "logits" not in record or fit is None:
                result += missing(name, reason)
            elif bad := int((~np.isfinite(record["logits"]).all(axis=1)).sum()):  # of refined images only
                count = len(record["logits"])
                result += missing(name, f"the logits of {bad} of {count} images are not finite: the chains diverge")
            else:
                result += measured(name, record["logits"], record["label"], fit)
        return [*result, *means(result, _grid(track))]


def views_of(track: Track) -> dict[str, Seen]:
    """The views of the test split by name: ``blur-3``, ``attacked``, ``refined``."""
    views = {
        f"{grid.kind}-{severity}": Seen(Shifted(grid.kind, amount))
        for grid in track.shifts
        for severity, amount in enumerate(grid.amounts, start=1)
    }
    if track.threats:
        threat = track.threats[0]
        views["attacked"] = Seen(Attacked(threat.norm, threat.headline))
    return {**views, "refined": Seen(Refined())}


def missing(name: str, reason: str) -> list[Metric]:
    """The metrics of a view where there are none."""
    cells = [kind.missing(reason, source=name, variant=variant) for variant in VARIANTS for kind in KINDS]
    return [ACCURACY.missing(reason, source=name), *cells]


def measured(
    name: str, logits: NDArray[np.floating], labels: NDArray[np.int64], fit: float, *, split: str = "test"
) -> list[Metric]:
    """Accuracy and calibration on one view.

    Args:
        name: name of the view.
        logits: logits ``(N, K)`` of its images.
        labels: classes ``(N,)`` of its images.
        fit: temperature of the validation split.
        split: name of the source of the images.
    """
    n = {split: len(labels)}
    correct = classification.prediction(logits) == labels
    result = [ACCURACY.of(classification.accuracy(correct), source=name, n=n)]
    rng = partial(seeding.rng, "shifts")
    for variant, divisor in zip(VARIANTS, (1.0, fit), strict=True):
        f = logits.astype(np.float64) / divisor
        confidence = classification.confidence(f)
        estimates = {
            "nll": intervals.mean(classification.nll(f, labels), rng=rng("nll")),
            "brier": intervals.mean(classification.brier(f, labels), rng=rng("brier")),
            "ece15": calibration_estimate("ece", confidence, correct, bins=15, rng=rng("ece15")),
            "squared_ece15": debiased.debiased_squared_ece(confidence, correct, bins=15),
            "overconfidence": intervals.mean(confidence - correct, rng=rng("overconfidence")),
        }
        result += [kind.of(estimates[kind.name], source=name, variant=variant, n=n) for kind in KINDS]
    return result


def _grid(track: Track) -> dict[int, list[str]]:
    """The names of the shifted views at every severity that all kinds have."""
    severities = min((len(grid.amounts) for grid in track.shifts), default=0)
    return {severity: [f"{grid.kind}-{severity}" for grid in track.shifts] for severity in range(1, 1 + severities)}


def means(metrics: list[Metric], grid: Mapping[int, list[str]]) -> list[Metric]:
    """Means over the views of a severity, of what is not missing in any of them.

    Args:
        metrics: the metrics of all views.
        grid: names of the views of each severity.
    """
    by_id = {metric.id: metric for metric in metrics}
    result = []
    for severity, names in grid.items():
        for kind, variants in ((ACCURACY, ("",)), *((kind, VARIANTS) for kind in KINDS)):
            for variant in variants:
                tail = f"{variant}/{kind.name}" if variant else kind.name
                parts = [by_id[f"{name}/{tail}"] for name in names]
                values = [part.value for part in parts if part.value is not None]
                source = f"severity-{severity}"
                if len(values) < len(parts):
                    reason = next(part.reason for part in parts if part.value is None)
                    result.append(kind.missing(reason or NO_LOGITS, source=source, variant=variant))
                else:
                    mean = Estimate(float(np.mean(values)))
                    result.append(kind.of(mean, source=source, variant=variant, n=parts[0].n))
    return result
