"""What the examples of a result say of its metrics: the numbers that follow from published scalars, computed again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from jembench.metrics import calibration, classification
from jembench.metrics.detection import detection_estimates
from jembench.metrics.estimate import Estimate
from jembench.metrics.metric import Metric
from jembench.pages.pairs.differences import CONFIDENCES, outcomes, right
from jembench.pages.pairs.side import Side

TOLERANCE = 1e-9  # of the same sum in another order
DETECTION = ("auroc", "fpr95", "aupr_in", "aupr_out")
BINS: dict[str, Callable[..., float]] = {
    "ece15": lambda p, y: calibration.ece(p, y, bins=15),
    "ece20": lambda p, y: calibration.ece(p, y, bins=20),
    "adaptive_ece15": lambda p, y: calibration.adaptive_ece(p, y, bins=15),
    "mce15": lambda p, y: calibration.mce(p, y, bins=15),
}


@dataclass(frozen=True)
class Claim:
    """A metric that follows from the examples.

    Attributes:
        metric: as the result has it.
        found: as the examples have it, with the ends of its interval where these follow too.
    """

    metric: Metric
    found: Estimate

    @property
    def gap(self) -> float:
        """The largest distance between what is claimed and what is found; infinite where the claim has no value."""
        pairs = [(self.metric.value, self.found.value), (self.metric.low, self.found.low)]
        pairs.append((self.metric.high, self.found.high))
        return max(
            0.0 if found is None else math.inf if claimed is None else abs(claimed - found) for claimed, found in pairs
        )

    @property
    def holds(self) -> bool:
        """Whether the two agree."""
        return self.gap <= TOLERANCE * max(1.0, abs(self.found.value))


def claims(side: Side) -> Iterator[Claim]:
    """The metrics of a result that follow from its examples: accuracy, losses, calibration, detection, attacks."""
    for metric in side.metrics.values():
        if metric.value is None:
            continue
        found = _found(side, metric)
        if found is not None:
            yield Claim(metric, found)


def _found(side: Side, metric: Metric) -> Estimate | None:
    if metric.name in DETECTION:
        return _detection(side, metric)
    if metric.source != "test":
        return None
    if metric.name == "robust_accuracy":
        outcome = outcomes(side, metric)
        return None if outcome is None else classification.accuracy(outcome)
    if metric.id == "test/accuracy":
        correct = right(side)
        return None if correct is None else classification.accuracy(correct)
    if metric.id in ("test/raw/nll", "test/raw/brier"):
        losses = side.column("test", metric.name)
        return None if losses is None else Estimate(float(np.mean(losses, dtype=np.float64)))
    if metric.name in BINS and metric.variant in CONFIDENCES:
        confidence = side.column("test", CONFIDENCES[metric.variant])
        correct = right(side, "vector_prediction" if metric.variant == "vector" else "prediction")
        return None if confidence is None or correct is None else Estimate(BINS[metric.name](confidence, correct))
    return None


def _detection(side: Side, metric: Metric) -> Estimate | None:
    """One set has an interval too, which follows; a mean over several is checked by its value."""
    sets = [source for source in metric.n if source != "test"]
    positive = side.column("test", metric.variant, metric.n.get("test"))
    negatives = [side.column(source, metric.variant, metric.n[source]) for source in sets]
    if positive is None or not sets:
        return None
    known = [negative for negative in negatives if negative is not None and len(negative)]
    if len(known) < len(sets):
        return None
    found = [detection_estimates(positive, negative)[metric.name] for negative in known]
    if len(found) == 1 and metric.source == sets[0] and metric.low is not None:
        return found[0]
    return Estimate(float(np.mean([each.value for each in found])))
