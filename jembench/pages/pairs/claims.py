"""What the examples of a result say of its metrics: the numbers that follow from published scalars, computed again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

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
        n: number of examples of every source that it follows from, whatever the result says of them.
    """

    metric: Metric
    found: Estimate
    n: Mapping[str, int]

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
        """Whether the two agree, in value and in number of examples."""
        return self.metric.n == self.n and self.gap <= TOLERANCE * max(1.0, abs(self.found.value))


Found = tuple[Estimate, dict[str, int]]


def claims(side: Side) -> Iterator[Claim]:
    """The metrics of a result that follow from its examples: accuracy, losses, calibration, detection, attacks.

    Which examples a metric is of is read off the examples: what a result says of its n is a claim too.
    """
    for metric in side.metrics.values():
        if metric.value is None:
            continue
        found = _detection(side, metric) if metric.name in DETECTION else _test(side, metric)
        if found is not None:
            yield Claim(metric, *found)


def _test(side: Side, metric: Metric) -> Found | None:
    """A metric of the test images alone."""
    if metric.source != "test":
        return None
    if metric.name == "robust_accuracy":
        size = _count(side, "test", "null" if metric.variant == "clean" else metric.variant)
        outcome = outcomes(side, replace(metric, n={"test": size})) if size else None
        return None if outcome is None else (classification.accuracy(outcome), {"test": size})
    found = _classified(side, metric)
    return None if found is None else (found, {"test": len(side.sources["test"]["label"])})


def _classified(side: Side, metric: Metric) -> Estimate | None:
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


def _detection(side: Side, metric: Metric) -> Found | None:
    """One set has an interval too, which follows; a mean over several is checked by its value.

    ``mean`` is over every set of which the result has the same metric, whichever its n names.
    """
    single = metric.source in side.sources
    sets = [metric.source] if single else [source for source in metric.n if source != "test"]
    if metric.source == "mean":
        ids = {source: f"{source}/{metric.variant}/{metric.name}" for source in side.sources}
        sets = [source for source, name in ids.items() if name in side.metrics]
    n = {source: _count(side, source, metric.variant) for source in ("test", *sets)}
    columns = {source: side.column(source, metric.variant, count) for source, count in n.items() if count}
    positive, *negatives = (columns.get(source) for source in n)
    known = [negative for negative in negatives if negative is not None]
    if positive is None or not known or len(known) < len(negatives):
        return None
    found = [detection_estimates(positive, negative)[metric.name] for negative in known]
    if single and metric.low is not None:
        return found[0], n
    return Estimate(float(np.mean([each.value for each in found]))), n


def _count(side: Side, source: str, name: str) -> int:
    """How many examples of a source have a scalar: a costly one is of the first ones only."""
    values = side.sources.get(source, {}).get(name)
    if values is None:
        return 0
    return int((~np.isnan(values) if values.dtype.kind == "f" else values >= 0).sum())
