"""Evaluator ``ood``: can a score tell test images from images of elsewhere?

For every OOD set and every score (:mod:`jembench.metrics.scores`, larger = more in-distribution), with the test split
as positives: ``auroc`` (DeLong's interval), ``fpr95`` (false-positive rate where 95 % of the test images are accepted),
``aupr_in`` and ``aupr_out`` (average precision with the test split, or the OOD set, as positives).
``mean/<score>/auroc`` is the mean over the sets (of the other three too, without an interval); its interval knows that
they share the test split and that some share their base images. ``near`` is the mean over the sets that a track calls
near, ``far`` that over its other sets, without those that a user adds.

``auroc_gain`` is the difference of a score's AUROC to that of max p(y|x), which every classifier has, on the same
images (:mod:`jembench.metrics.paired_auroc`), with its p-value.

A set that a protocol makes of the test images themselves (``base`` is ``test``) is not independent of them, which
DeLong's and all other intervals here suppose: its figures, and means with it, have neither interval nor p-value, and
say why. One that a protocol cannot have (``absent``) leaves its own figures and the means empty.

A score that needs a number of the training split (``typicality``) gets it from the records of that split alone, of its
first ``FITTED`` images: in the fixed order of a split they are a random sample, whose mean has a standard error of 1 %
of the spread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.evaluators.quantities import Headline
from jembench.measurements.code_length import CodeLength
from jembench.measurements.contract import Measurement, Need, RecordBatch, gather
from jembench.measurements.input_gradient import InputGradient
from jembench.measurements.logits import Logits
from jembench.measurements.refinement import RefinementEffect
from jembench.metrics import aupr, auroc, detection, fpr, paired_auroc
from jembench.metrics.estimate import Estimate
from jembench.metrics.metric import DEPENDENT, Kind, Metric
from jembench.metrics.scores import BASELINE, SCORES, Score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Source, Track

Scores = dict[str, "dict[str, NDArray[Any]]"]

AUROC = Kind("auroc", "higher", 0.005, least=0.0, most=1.0)
KINDS = (
    AUROC,
    Kind("fpr95", "lower", 0.02, least=0.0, most=1.0),
    Kind("aupr_in", "higher", 0.01, least=0.0, most=1.0),
    Kind("aupr_out", "higher", 0.01, least=0.0, most=1.0),
)
GAIN = Kind("auroc_gain", "neither", least=-1.0, most=1.0)  # a gate holds the AUROC itself

#: What a model lacks that gives no records of a measurement.
LACKS = {
    "logits": "logits",
    "input_gradient": "differentiable log density",
    "refinement": "differentiable log density",
    "code_length": "images",
}
FITTED = 10_000  # training images that a score is fitted on
DIVERGED = "refinement"  # the measurement whose chains may leave the finite numbers


@dataclass(frozen=True)
class Ood:
    """OOD detection by every score, against every OOD set of the track."""

    name: ClassVar[str] = "ood"
    version: ClassVar[int] = 2
    headlines: ClassVar[tuple[Headline, ...]] = (
        Headline("mean/log_px/auroc", "AUROC log p", "whether log p(x) tells test images from OOD sets; .5: chance"),
        Headline("mean/max_py/auroc", "AUROC max p", "the same by confidence, as any classifier can"),
        Headline("mean/mass/auroc", "AUROC mass", "the same by the gradient of log p(x)"),
    )
    tables: ClassVar[str] = "jembench.pages.tables.ood:ood"
    pictures: ClassVar[dict[str, str]] = {"scores": "jembench.gallery:draw_scores"}
    columns: ClassVar[tuple[str, ...]] = tuple(SCORES)

    def scores(self) -> tuple[Score, ...]:
        """The scores that are judged."""
        return tuple(SCORES.values())

    def needs(self, track: Track) -> tuple[Need, ...]:
        """All measurements of the test split and of every OOD set at hand; log densities of first training images."""
        measurements: tuple[Measurement, ...] = (Logits(), InputGradient(), CodeLength(), RefinementEffect())
        sources = ("test", *(source.name for source in track.ood if not source.absent))
        needs = tuple(Need(measurement, source) for source in sources for measurement in measurements)
        return (Need(InputGradient(), "train", FITTED), *needs)

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """One column for every score that the batch's measurement carries alone."""
        return {
            score.name: score.compute(*(batch.columns[read.column] for read in score.reads))
            for score in self.scores()
            if score.fit is None and {read.measurement for read in score.reads} == {batch.measurement.name}
        }

    def joined(self, batches: Iterable[RecordBatch]) -> Scores:
        """Every score of every source that has the records which the score reads."""
        records = _by_measurement(list(batches), self.scores())
        result: Scores = {source: {} for columns in records.values() for source in columns}
        for score in self.scores():
            fit: tuple[float, ...] = ()
            if score.fit is not None:
                training = _columns(records, "train", score)
                if training is None:
                    continue
                fit = (score.fit(*training),)
            for source, scores in result.items():
                columns = _columns(records, source, score)
                if columns is not None:
                    scores[score.name] = score.compute(*columns, *fit)
        return result

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """The metrics of every OOD set and score, then their means over sets."""
        scores = self.joined(batches)
        result = []
        for source in track.ood:
            for score in self.scores():
                rows = detected(scores, source.name, score.name, _problem(scores, (source,), score))
                result += _claimed([*rows, *_gain(scores, source.name, (source,), score)], (source,))
        for name, sources in groups(track).items():
            for score in self.scores():
                rows = means(scores, name, sources, score.name, _problem(scores, sources, score))
                result += _claimed([*rows, *_gain(scores, name, sources, score)], sources)
        return result


def groups(track: Track) -> dict[str, tuple[Source, ...]]:
    """The OOD sets that a mean is over, by the name of the mean; one without sets is left out."""
    near = tuple(source for source in track.ood if source.near)
    far = tuple(source for source in track.ood if not source.near and not source.origin)
    return {name: sources for name, sources in (("near", near), ("far", far), ("mean", track.ood)) if sources}


def detected(scores: Scores, source: str, variant: str, problem: str | None) -> list[Metric]:
    """The four metrics of one OOD set and one score, without values if there is a problem.

    Args:
        scores: per-example scores ``(N,)``, larger = more in-distribution, by source and name of the score.
        source: name of the OOD set.
        variant: name of the score.
        problem: why the score cannot be judged on this set; None or empty if it can.
    """
    if problem:
        return [kind.missing(problem, source=source, variant=variant) for kind in KINDS]
    positive, negative = scores["test"][variant], scores[source][variant]
    estimates = detection.detection_estimates(positive, negative)
    n = {"test": len(positive), source: len(negative)}
    return [kind.of(estimates[kind.name], source=source, variant=variant, n=n) for kind in KINDS]


def means(scores: Scores, name: str, sources: Sequence[Source], variant: str, problem: str | None) -> list[Metric]:
    """The four metrics of one score as means over OOD sets, without values if there is a problem.

    The mean AUROC has an interval; the others have none, since the sets share the test split and some their images.

    Args:
        scores: per-example scores ``(N,)``, larger = more in-distribution, by source and name of the score.
        name: name of the mean, a key of :func:`groups`.
        sources: the OOD sets that the mean is over.
        variant: name of the score.
        problem: why the score cannot be judged on these sets; None or empty if it can.
    """
    if problem:
        return [kind.missing(problem, source=name, variant=variant) for kind in KINDS]
    n, positive = _sizes(scores, sources, variant), scores["test"][variant]
    pairs = [(scores[source.name][variant], source.base) for source in sources]
    estimates = {"auroc": auroc.mean_auroc_estimate(pairs, positive)}
    single = {"fpr95": fpr.fpr_estimate, "aupr_in": aupr.aupr_estimate, "aupr_out": aupr.aupr_out_estimate}
    for kind, function in single.items():
        estimates[kind] = Estimate(float(np.mean([function(positive, negative).value for negative, _ in pairs])))
    return [kind.of(estimates[kind.name], source=name, variant=variant, n=n) for kind in KINDS]


def _gain(scores: Scores, name: str, sources: Sequence[Source], score: Score) -> list[Metric]:
    """Difference of a score's AUROC to that of the baseline, or of the means over several sets; none of itself."""
    if score == BASELINE:
        return []
    if reason := _problem(scores, sources, score) or _problem(scores, sources, BASELINE):
        return [GAIN.missing(reason, source=name, variant=score.name)]
    ours, theirs = _same(scores["test"], score)
    sets = [(*_same(scores[source.name], score), source.base) for source in sources]
    estimate, p = paired_auroc.mean_auroc_difference(sets, ours, theirs)
    return [GAIN.of(estimate, source=name, variant=score.name, n=_sizes(scores, sources, score.name), p=p)]


def _same(scores: dict[str, NDArray[Any]], score: Score) -> tuple[NDArray[Any], NDArray[Any]]:
    """A score and the baseline on the images that have both: a costly score is of the first ones only."""
    n = min(len(scores[score.name]), len(scores[BASELINE.name]))
    return scores[score.name][:n], scores[BASELINE.name][:n]


def _claimed(rows: list[Metric], sources: Sequence[Source]) -> list[Metric]:
    """The metrics; without interval and p-value where an OOD set is made of the test images, on which both depend."""
    if all(source.base != "test" for source in sources):
        return rows
    return [
        row if row.value is None else replace(row, low=None, high=None, method="none", p=None, reason=DEPENDENT)
        for row in rows
    ]


def _sizes(scores: Scores, sources: Sequence[Source], variant: str) -> dict[str, int]:
    return {name: len(scores[name][variant]) for name in ("test", *(source.name for source in sources))}


def _problem(scores: Scores, sources: Sequence[Source], score: Score) -> str | None:
    """Why a score cannot be judged on these OOD sets, if it cannot."""
    if absent := next((source.absent for source in sources if source.absent), None):
        return absent
    measurement = score.reads[0].measurement
    for name in ("test", *(source.name for source in sources)):
        values = scores.get(name, {}).get(score.name)
        if values is None:
            return f"the model gives no {LACKS[measurement]}"
        if bad := int(np.isnan(values).sum()):
            cause = ": its SGLD steps diverge" if measurement == DIVERGED else ""
            return f"{score.title} is NaN on {bad} of {len(values)} images of {name}{cause}"
    return None


def _by_measurement(batches: Sequence[RecordBatch], scores: Iterable[Score]) -> dict[str, Scores]:
    """Measurement -> source -> the columns that scores read."""
    reads: dict[str, list[str]] = {}
    for score in scores:
        for read in score.reads:
            reads.setdefault(read.measurement, []).append(read.column)
    return {
        name: gather((batch for batch in batches if batch.measurement.name == name), *dict.fromkeys(columns))
        for name, columns in reads.items()
    }


def _columns(records: dict[str, Scores], source: str, score: Score) -> list[NDArray[Any]] | None:
    """The columns that a score reads of a source; None if any of them is missing."""
    columns = [records[read.measurement].get(source, {}).get(read.column) for read in score.reads]
    present = [column for column in columns if column is not None]
    return present if len(present) == len(columns) else None
