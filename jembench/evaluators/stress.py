r"""Evaluator ``stress``: does a score still tell test images from others when somebody, or the weather, is at work?

For log p(x) and max p(y|x), which an adversary can climb (:mod:`jembench.measurements.pushed`), within the ball of the
track's first threat model at its headline eps, and on the first :data:`LIMIT` images of every set:

- ``clean_auroc``: nobody interferes;
- ``ood_pushed_auroc``: OOD images are optimised to score high;
- ``test_pushed_auroc``: test images are optimised to score low;
- ``both_pushed_auroc``: both.

For the three scores of the paper:

- ``refined_auroc``: test and OOD images alike are first refined by ten SGLD steps on the model's log p(x);
- ``shift_auroc`` of ``blur-3`` and the like, the test split against itself at that severity: .5 where the score does
  not see it; without an interval, since the two are the same images. ``severity_trend`` is Kendall's tau-b between
  severity (0 is clean) and the mean score over the images, from -1 (the score falls with every step) to 1.

``mean`` is over all OOD sets, with an interval that knows what they share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.evaluators.contract import WithoutScalars
from jembench.evaluators.quantities import Headline
from jembench.evaluators.shifts import views_of
from jembench.measurements.contract import Need, RecordBatch, joined
from jembench.measurements.input_gradient import InputGradient
from jembench.measurements.logits import Logits
from jembench.measurements.pushed import ATTACKED, Pushed
from jembench.measurements.seen import Refined, Seen
from jembench.metrics import auroc
from jembench.metrics.estimate import Estimate
from jembench.metrics.metric import Kind, Metric
from jembench.metrics.scores import PAPER, Score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Track
    from jembench.measurements.contract import Measurement

LIMIT = 180  # images of a set that are attacked
DENSITY = "the model gives no differentiable log density"

CLEAN = Kind("clean_auroc", "higher", 0.01, least=0.0, most=1.0)
OOD_PUSHED = Kind("ood_pushed_auroc", "higher", 0.02, least=0.0, most=1.0)
TEST_PUSHED = Kind("test_pushed_auroc", "higher", 0.02, least=0.0, most=1.0)
BOTH_PUSHED = Kind("both_pushed_auroc", "higher", 0.02, least=0.0, most=1.0)
REFINED = Kind("refined_auroc", "higher", 0.02, least=0.0, most=1.0)
SHIFT = Kind("shift_auroc", "higher", 0.02, least=0.0, most=1.0)
TREND = Kind("severity_trend", "lower", least=-1.0, most=1.0)

PUSHES = ((CLEAN, False, False), (OOD_PUSHED, False, True), (TEST_PUSHED, True, False), (BOTH_PUSHED, True, True))


@dataclass(frozen=True)
class Stress(WithoutScalars):
    """Detection under attack, after refinement and along shifts."""

    name: ClassVar[str] = "stress"
    version: ClassVar[int] = 1
    headlines: ClassVar[tuple[Headline, ...]] = (
        Headline("mean/log_px/both_pushed_auroc", "attacked", "AUROC of log p(x), all images optimised against it"),
        Headline("mean/log_px/refined_auroc", "refined", "AUROC of log p(x) after ten SGLD steps on all images"),
    )
    tables: ClassVar[str] = "jembench.pages.tables.shifts:stress"
    figures: ClassVar[dict[str, str]] = {"shifts": "jembench.gallery:plot_shifts"}

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Clean, pushed and refined records of the test split and of every OOD set; shifts of the test split."""
        needs = []
        for source in ("test", *(source.name for source in track.ood)):
            needs += [Need(Logits(), source), Need(InputGradient(), source), Need(Seen(Refined()), source)]
            if track.threats:
                pushes = (pushed(track, score, inwards=source != "test") for score in ATTACKED)
                needs += [Need(push, source, limit=LIMIT) for push in pushes]
        return (*needs, *(Need(view, "test") for view in _shifts(track).values()))

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """The metrics under attack, then after refinement, then along shifts."""
        records = joined(batches)
        result: list[Metric] = []
        for score in PAPER:
            clean = {name: _clean(records, name, score) for name in ("test", *(source.name for source in track.ood))}
            if score.name in ATTACKED and track.threats:
                attacks = {
                    source: _values(records.get((pushed(track, score.name, inwards=source != "test"), source)), score)
                    for source in clean
                }
                first = {source: None if values is None else values[:LIMIT] for source, values in clean.items()}
                for kind, test, ood in PUSHES:
                    positive = (attacks if test else first)["test"]
                    result += _detection(kind, positive, attacks if ood else first, track, score)
            refinements = {source: _values(records.get((Seen(Refined()), source)), score) for source in clean}
            lacks = "" if (Seen(Refined()), "test") in records else DENSITY  # without it nothing is refined
            result += _detection(REFINED, refinements["test"], refinements, track, score, lacks=lacks)
            shifts = {name: _values(records.get((view, "test")), score) for name, view in _shifts(track).items()}
            result += _along(shifts, _first(clean["test"], shifts.values()), track, score)
        return result


def _first(clean: NDArray[Any] | None, views: Iterable[NDArray[Any] | None]) -> NDArray[Any] | None:
    """The scores of the clean images of which there are shifted ones: a track may view the first images only."""
    count = min((len(values) for values in views if values is not None), default=None)
    return None if clean is None else clean[:count]


def pushed(track: Track, score: str, *, inwards: bool) -> Seen:
    """The attack on a score at the track's first headline eps."""
    threat = track.threats[0]
    return Seen(Pushed(score, inwards, threat.norm, threat.headline))


def _shifts(track: Track) -> dict[str, Seen]:
    kinds = {grid.kind for grid in track.shifts}
    return {name: view for name, view in views_of(track).items() if name.rpartition("-")[0] in kinds}


def _values(record: Mapping[str, NDArray[Any]] | None, score: Score) -> NDArray[Any] | None:
    """A score from one record; None where the model does not give what it reads."""
    if record is None or any(read.column not in record for read in score.reads):
        return None
    return score.compute(*(record[read.column] for read in score.reads))


def _clean(
    records: Mapping[tuple[Measurement, str], Mapping[str, NDArray[Any]]], source: str, score: Score
) -> NDArray[Any] | None:
    measurement = Logits() if score.reads[0].measurement == Logits.name else InputGradient()
    return _values(records.get((measurement, source)), score)


def _detection(
    kind: Kind,
    positive: NDArray[Any] | None,
    negatives: Mapping[str, NDArray[Any] | None],
    track: Track,
    score: Score,
    *,
    lacks: str = "",
) -> list[Metric]:
    """The AUROC of every OOD set, and their mean; ``lacks`` is what is not there for another reason than the score."""
    result, whole, first = [], [], ""
    for source in track.ood:
        negative = negatives[source.name]
        if reason := lacks or _problem(score, positive, negative):
            first = first or reason
            result.append(kind.missing(reason, source=source.name, variant=score.name))
            continue
        assert positive is not None
        assert negative is not None
        n = {"test": len(positive), source.name: len(negative)}
        estimate = auroc.auroc_estimate(positive, negative)
        result.append(kind.of(estimate, source=source.name, variant=score.name, n=n))
        whole.append((source, negative))
    if first or positive is None or not whole:
        return [*result, kind.missing(first, source="mean", variant=score.name)]
    estimate = auroc.mean_auroc_estimate([(negative, source.base) for source, negative in whole], positive)
    n = {"test": len(positive), **{source.name: len(negative) for source, negative in whole}}
    return [*result, kind.of(estimate, source="mean", variant=score.name, n=n)]


def _along(
    views: Mapping[str, NDArray[Any] | None], clean: NDArray[Any] | None, track: Track, score: Score
) -> list[Metric]:
    """The AUROC of clean against shifted at every severity, and the trend of every kind."""
    result = []
    for grid in track.shifts:
        names = [f"{grid.kind}-{severity}" for severity in range(1, len(grid.amounts) + 1)]
        means, lacks = [], ""
        for name in names:
            values = views[name]
            if reason := _problem(score, clean, values):
                lacks = lacks or reason
                result.append(SHIFT.missing(reason, source=name, variant=score.name))
                continue
            assert clean is not None
            assert values is not None
            means.append(float(np.mean(values)))
            estimate = Estimate(auroc.auroc(clean, values))
            result.append(SHIFT.of(estimate, source=name, variant=score.name, n={"test": len(values)}))
        if not lacks and clean is not None and not np.isfinite([np.mean(clean), *means]).all():
            lacks = f"{score.title} is infinite on some images, so it has no mean"
        if not lacks and clean is not None:
            trend = Estimate(trend_of([float(np.mean(clean)), *means]))
            result.append(TREND.of(trend, source=grid.kind, variant=score.name, n={"test": len(clean)}))
        else:
            result.append(TREND.missing(lacks, source=grid.kind, variant=score.name))
    return result


def trend_of(values: list[float]) -> float:
    """Kendall's tau-b of values against their position, 0 where all are equal.

    >>> trend_of([3.0, 2.0, 1.0]), trend_of([1.0, 1.0, 1.0])
    (-1.0, 0.0)
    """
    x = np.asarray(values)
    above = np.sign(x[None, :] - x[:, None])[np.triu_indices(len(x), 1)]
    pairs = np.sqrt(len(above) * np.abs(above).sum())
    return float(above.sum() / pairs) if pairs else 0.0


def _problem(score: Score, *parts: NDArray[Any] | None) -> str | None:
    """Why the score cannot be judged on these parts, if it cannot."""
    for values in parts:
        if values is None:
            return "the model gives no logits" if score.reads[0].measurement == Logits.name else DENSITY
        if bad := int(np.isnan(values).sum()):
            return f"{score.title} is NaN on {bad} of {len(values)} images"
    return None
