"""The paired difference of one metric between two results: its interval, its p-value, and by which test.

- accuracy, robust accuracy: Newcombe's interval and the exact sign test (:mod:`jembench.metrics.paired`);
- NLL and Brier of the raw logits: the mean difference, by the studentised bootstrap;
- ECE: the randomisation test (:mod:`jembench.metrics.paired_ece`);
- AUROC of a score on a set, and its mean over sets: DeLong's paired covariance (:mod:`jembench.metrics.paired_auroc`);
- others, of samples or without published scalars: by their own intervals, as if the two were independent
  (:mod:`jembench.metrics.independent`), which is exact for samples and sees less than a paired test elsewhere.

A metric without an honest interval has no test. All are of the test images: another training is another model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from jembench import data
from jembench.choices.protocols import PROTOCOLS
from jembench.ground import seeding
from jembench.metrics import independent, intervals, paired, paired_auroc
from jembench.metrics.estimate import Estimate
from jembench.metrics.metric import Metric
from jembench.metrics.paired_ece import ece_difference
from jembench.pages.pairs.side import Side
from jembench.pages.tables.figures import BAND
from jembench.store.results import ResultDocument

Tested = tuple[Estimate, float]  # the second model's value less the first one's, and p
CONFIDENCES = {"raw": "confidence", "temperature": "temperature_confidence", "vector": "vector_confidence"}
ECE_BINS = {"ece15": 15, "ece20": 20}


@dataclass(frozen=True)
class Difference:
    """What two results say of one metric.

    Attributes:
        metric: id of the metric.
        before: the metric of the first result, the reference.
        after: the metric of the second.
        estimate: the difference, second less first, with its interval; its method names the test.
        p: two-sided p-value of no difference; None without a test.
    """

    metric: str
    before: Metric
    after: Metric
    estimate: Estimate
    p: float | None

    @property
    def loss(self) -> float:
        """How much worse the second is; negative if it is better."""
        return -self.estimate.value if self.after.better == "higher" else self.estimate.value

    @property
    def error(self) -> float | None:
        """Standard error of the difference, by the arm of its interval towards 0; None without one."""
        low, high = self.estimate.low, self.estimate.high
        if low is None or high is None:
            return None
        return (self.estimate.value - low if self.estimate.value > 0 else high - self.estimate.value) / intervals.Z


def difference(one: Side, other: Side, metric: str) -> Difference | None:
    """The difference of a metric between two results on the same images; None if one of them lacks a value.

    Args:
        one: the reference.
        other: what is held against it.
        metric: id of the metric.
    """
    before, after = one.metrics.get(metric), other.metrics.get(metric)
    if before is None or after is None or before.value is None or after.value is None:
        return None
    tested = _tested(one, other, before, after)
    if tested is None:
        return Difference(metric, before, after, Estimate(after.value - before.value), None)
    return Difference(metric, before, after, *tested)


def _tested(one: Side, other: Side, before: Metric, after: Metric) -> Tested | None:
    """The test that a metric has, by its name."""
    test = _TESTS.get(before.name)
    found = test(one, other, before, after) if test is not None else None
    if found is None and before.name != "auroc":  # which the two have of other images, where it has no test
        return unpaired(before, after)
    return found


def unpaired(before: Metric, after: Metric) -> Tested | None:
    """By the intervals of two metrics; None of consistency bands and of values without an interval."""
    if {before.method, after.method} & {BAND, "none"}:
        return None
    return independent.difference(_estimate(after), _estimate(before))


def _estimate(metric: Metric) -> Estimate:
    return Estimate(metric.value or 0.0, metric.low, metric.high, metric.method)


def accuracy(one: Side, other: Side) -> Tested | None:
    """Accuracy on the test split."""
    before, after = right(one), right(other)
    return None if before is None or after is None else _flags(before, after)


def right(side: Side, prediction: str = "prediction") -> NDArray[np.bool_] | None:
    """Whether the predictions of the test split are right `(n,)`; None where they are not published."""
    label, guess = side.column("test", "label"), side.column("test", prediction)
    if label is None or guess is None:
        return None
    correct: NDArray[np.bool_] = label == guess
    return correct


def _flags(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Tested | None:
    if before.shape != after.shape:
        return None
    p = paired.two_sided(int((after & ~before).sum()), int((before & ~after).sum()))
    return paired.difference(after, before), p


def mean(one: Side, other: Side, name: str) -> Tested | None:
    """Mean of a scalar over the test split, such as ``nll``."""
    reference, candidate = (side.column("test", name) for side in (one, other))
    if reference is None or candidate is None or reference.shape != candidate.shape:
        return None
    change = candidate.astype(np.float64) - reference
    estimate = intervals.mean(change, rng=seeding.rng("compare", name))
    return estimate, intervals.mean_test(change, rng=seeding.rng("compare", name, "p"))


def auroc(one: Side, other: Side, source: str, score: str) -> Tested | None:
    """AUROC of a score on one set, or its mean over several, on the examples of both; None if one side lacks it.

    Means over different sets are different numbers, and of sets made of the test images nothing is known.
    """
    found = [side.metrics.get(f"{source}/{score}/auroc") for side in (one, other)]
    sizes = [metric.n for metric in found if metric is not None]
    if len(sizes) < 2 or sizes[0].keys() != sizes[1].keys() or "test" not in sizes[0]:
        return None
    n = {name: min(size[name] for size in sizes) for name in sizes[0]}
    reference, candidate = (side.column("test", score, n["test"]) for side in (one, other))
    if reference is None or candidate is None:
        return None
    bases = _bases(one.document)
    pairs = []
    for name in sorted(n.keys() - {"test"}, key=lambda name: (list(bases).index(name) if name in bases else 99, name)):
        old, new = (side.column(name, score, n[name]) for side in (one, other))
        if old is None or new is None or bases.get(name) == "test":  # the test supposes independent sets
            return None
        pairs.append((new, old, bases.get(name)))
    return paired_auroc.mean_auroc_difference(pairs, candidate, reference) if pairs else None


def _bases(document: ResultDocument) -> dict[str, str | None]:
    """The OOD sets of a track in its order, with what they are made of; empty for a track of a user."""
    return _bases_of(document.track.rpartition("-v")[0], document.protocol.name)


@lru_cache
def _bases_of(track: str, protocol: str) -> dict[str, str | None]:
    if track not in data.TRACKS or protocol not in PROTOCOLS:
        return {}
    shown = PROTOCOLS[protocol].on(data.track(track), ("ood",))
    return {source.name: source.base for source in shown.ood}


def _accuracy(one: Side, other: Side, before: Metric, _: Metric) -> Tested | None:
    if before.id == "test/accuracy":
        return accuracy(one, other)
    if before.id == "test/vector/accuracy":
        first, second = (right(side, "vector_prediction") for side in (one, other))
        return None if first is None or second is None else _flags(first, second)
    return None


def _loss(one: Side, other: Side, before: Metric, _: Metric) -> Tested | None:
    return mean(one, other, before.name) if before.id == f"test/raw/{before.name}" else None


def _ece(one: Side, other: Side, before: Metric, _: Metric) -> Tested | None:
    """Of the raw logits and of the maps whose confidences are published."""
    column = CONFIDENCES.get(before.variant)
    if before.source != "test" or column is None:
        return None
    answers = []
    for side in (other, one):
        prediction = "vector_prediction" if before.variant == "vector" else "prediction"
        confidence, correct = side.column("test", column), right(side, prediction)
        if confidence is None or correct is None:
            return None
        answers.append((confidence, correct))
    if answers[0][0].shape != answers[1][0].shape:
        return None
    bins = ECE_BINS[before.name]
    return ece_difference(answers[0], answers[1], rng=seeding.rng("compare", before.id), bins=bins)


def _auroc(one: Side, other: Side, before: Metric, _: Metric) -> Tested | None:
    return auroc(one, other, before.source, before.variant)


def _robust(one: Side, other: Side, before: Metric, after: Metric) -> Tested | None:
    """Of an attack by the verdicts on every image."""
    reference, candidate = outcomes(one, before), outcomes(other, after)
    return None if reference is None or candidate is None else _flags(reference, candidate)


def outcomes(side: Side, metric: Metric) -> NDArray[np.bool_] | None:
    """Whether the model is right on every image that was attacked `(n,)`; None of one whose verdicts are of draws."""
    verdicts = side.column("test", "null" if metric.variant == "clean" else metric.variant, metric.n.get("test"))
    if verdicts is None or not np.isin(verdicts, (0, 1)).all():
        return None
    robust: NDArray[np.bool_] = verdicts == 1
    return robust


_TESTS: dict[str, Callable[[Side, Side, Metric, Metric], Tested | None]] = {
    "accuracy": _accuracy,
    "nll": _loss,
    "brier": _loss,
    "ece15": _ece,
    "ece20": _ece,
    "auroc": _auroc,
    "robust_accuracy": _robust,
}
