r"""Evaluator ``unlabelled``: how well is accuracy known where nobody labels? The labels here only judge.

Every method of :mod:`jembench.metrics.unlabelled` is fitted on the validation split and its held-out shifts
(:attr:`jembench.data.sets.Track.held_out`, of no kind in the tables), then sees, without labels,

- ``clean``: the test split; and ``<kind>-<amount>``: its shifts (:attr:`jembench.data.sets.Track.shifts`);
- ``mixed-<set>``: test images with a share of 1/4 of an OOD set, the first ones of either. An image of no class
  counts as an error whatever the model says of it: accuracy = correct in-distribution images / all images.

Of each condition ``accuracy`` (Wilson's interval; variant ``true``); of each condition and method
``estimated_accuracy`` and its absolute ``estimation_error``. The interval of an estimate reaches as far as the largest
error that its method makes on the held-out shifts, each judged by a fit without its kind (split conformal prediction
with m shifts: if the target were one more such shift, it would hold in m / (m + 1) of them). A bootstrap of images was
tried: it knows nothing of a shift unlike those of the fit, and held the truth of jem in 6 of 26 conditions.

Over ``shifts`` (clean and shifted) and ``mixed``: ``mean_error`` of each method, and for our ``energy``, and
``balanced``, which is the same without the density, ``mean_error_gain``: its mean error less that of the best of
``constant``, ``confidence``, ``temperature``, ``doc`` and ``doc_regression`` by the table itself (below 0: ours is
better). Its paired interval is a percentile bootstrap over test images (the same ones in all conditions), OOD images
and kinds of condition, of the estimators as they were fitted.

A temperature without labels: that at which the mean confidence is the estimated accuracy. Over ``shifts``, ``ece15``
and ``nll`` (means over the conditions) of the raw logits (``raw``), with the temperature of the validation split
(``validation``), with those that the estimates of ``doc_regression`` and of ``energy`` ask for, and with the best
one in hindsight (``oracle``, fitted on the labels of the condition).

**What was measured** on digits (mean error over ``shifts`` / ``mixed``; B is the best baseline):

=========== ============= ============= ================================= ==================================
model       energy        balanced      B (shifts), gain of energy        B (mixed), gain of energy
=========== ============= ============= ================================= ==================================
jem         .101 / .063   .098 / .076   doc, +.014 [-.048, .096]          doc_regression, -.069 [-.13, -.01]
sadajem     .059 / .069   .073 / .035   doc_regression, -.20 [-.25, -.14] confidence, +.024 [-.006, .057]
softmax     .056 / .047   .056 / .047   doc_regression, -.10 [-.17, -.02] doc_regression, -.12 [-.16, -.07]
softmax-adv .057 / .093   .057 / .091   doc_regression, -.08 [-.13, -.01] confidence, -.04 [-.07, -.02]
jempp       .081 / .074   .081 / .074   doc, -.02 [-.05, .03]             doc_regression, -.05 [-.11, -.01]
jem-ssl     .094 / .077   .082 / .048   confidence, -.13 [-.21, -.04]     doc_regression, +.05 [.01, .10]
softmax-10  .067 / .076   .052 / .068   doc_regression, -.12 [-.17, -.04] doc_regression, +.03 [-.02, .07]
igebm       .134 / .123   .122 / .128   doc_regression, -.02 [-.06, .02]  doc_regression, -.01 [-.03, .02]
=========== ============= ============= ================================= ==================================

**Where it fails.** On ``jem`` ours is not below the best baseline under shifts, the one number that it was made for:
contrast (errors to -.35) and brightness (to -.29) lower log p(x) and the confidence more than they lower accuracy;
noise, blur and rotation are within .13. Most of what is gained comes from the class frequencies, which no baseline is
told, and not from the density: that helps sadajem under shifts and jem in mixtures, and hurts jem, jem-ssl,
softmax-10 and igebm under shifts and sadajem and jem-ssl in mixtures. In mixtures the bare ``log_px``, poor under
shifts, is often as good (jem .058, softmax-10 .031, igebm .043). Where the target's classes are not as frequent as the
source's it is useless: on the validation images of the classes 0 to 4 alone it says .54 where jem scores 1.00 (doc:
1.00).

**How it was chosen**: on the validation split alone, leaving one kind of held-out shift out, by the mean error over
eight models. There ``energy`` has .062 on jem (doc .095, doc_regression .078, bare log p(x) .102), and .048 (.096,
.052, .106) on twelve further kinds that took no part in the choice. Tried there and left out, since none gained more
than .003 on average: gradient norm, margin, max logit, entropy, means over the target of log p(x) and of the
confidence, total variation of the predicted classes, predictions after 2, 5 and 20 SGLD steps, distance and change of
log p under them, logits of unit spread, balance weighted by an inlier probability, outliers among what is fitted. The
test split was looked at five times: this table for jem, its conditions one by one, this table for four more models, a
fit with the twelve further kinds (jem .096 under shifts, which does not change the verdict; two further seeds of jem
as shipped: .093 against .081 of doc, and .088 against .138 of doc_regression), and the last three rows of the table.
The estimators were not changed after the first look; the intervals of single estimates were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.evaluators.contract import WithoutScalars
from jembench.evaluators.quantities import Headline
from jembench.ground import seeding
from jembench.measurements.contract import UNDESCRIBED, Measurement, Need, RecordBatch, joined
from jembench.measurements.input_gradient import InputGradient
from jembench.measurements.logits import Logits
from jembench.measurements.seen import Seen, Shifted
from jembench.measurements.twin import Twin
from jembench.metrics import calibration, classification
from jembench.metrics.estimate import Estimate
from jembench.metrics.metric import Kind, Metric
from jembench.metrics.temperature import fit_temperature
from jembench.metrics.unlabelled import METHODS, Estimator, Labelled, Target, temperature_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Severities, Track

OURS = ("energy", "balanced")
BASELINES = ("constant", "confidence", "temperature", "doc", "doc_regression")
DENSE = ("log_px", "energy")
SCALED = ("doc_regression", "energy")
SHARE = 4  # one in so many images of a mixture is OOD
REPLICATES = 200  # of the paired intervals

TRUE = Kind("accuracy", "neither")
ESTIMATED = Kind("estimated_accuracy", "neither")
ERROR = Kind("estimation_error", "lower")
MEAN = Kind("mean_error", "lower", 0.01)
GAIN = Kind("mean_error_gain", "lower", 0.01)
SCALES = (Kind("ece15", "lower", 0.01), Kind("nll", "lower", 0.02))

Records = Mapping[tuple[Measurement, str], Mapping[str, "NDArray[Any]"]]


@dataclass(frozen=True)
class Condition:
    """Images on which accuracy is estimated.

    Attributes:
        name: name of the condition: ``clean``, a shift with its amount, or a mixture with its OOD set.
        kind: kind of shift, or OOD set: the kinds are resampled as wholes.
        images: what the model says of the N images.
        labels: class ``(N,)`` of each image, -1 for an image of no class.
        ood: number of images of no class, which are the last ones.
    """

    name: str
    kind: str
    images: Target
    labels: NDArray[np.int64]
    ood: int = 0

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Where the prediction is the label; never for an image of no class."""
        right: NDArray[np.bool_] = self.images.prediction == self.labels
        return right

    def take(self, index: NDArray[np.int64]) -> Condition:
        """The condition with the images of these positions."""
        return Condition(self.name, self.kind, self.images.take(index), self.labels[index], self.ood)


@dataclass(frozen=True)
class Unlabelled(WithoutScalars):
    """Estimates of accuracy without labels, judged by the labels.

    Attributes:
        twin: name of a baseline of the same recipe and another training seed, for ``gde``; empty if there is none.
            Whether there is one is no part of the protocol: the cells of ``gde`` say so.
    """

    twin: str = field(default="", metadata=UNDESCRIBED)

    name: ClassVar[str] = "unlabelled"
    version: ClassVar[int] = 1
    headlines: ClassVar[tuple[Headline, ...]] = (
        Headline("shifts/doc/mean_error", "DoC error", "error of accuracy estimated by confidence, without labels"),
        Headline("shifts/balanced/mean_error", "ours error", "the same by balanced log-odds"),
    )
    assembly: ClassVar[float] = 5e-4
    tables: ClassVar[str] = "jembench.pages.tables.unlabelled:unlabelled"
    pictures: ClassVar[dict[str, str]] = {"unlabelled": "jembench.gallery:draw_unlabelled"}

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Records of the validation split and its held-out shifts, of the test split and its shifts, of OOD sets."""
        ood = tuple(source.name for source in track.ood)
        clean = [(Logits(), source) for source in ("validation", "test", *ood)]
        density = [(InputGradient(), source) for source in ("validation", "test", *ood)]
        views = [
            (Seen(view), source)
            for source, shifts in (("validation", track.held_out), ("test", track.shifts))
            for view in _views(shifts)
        ]
        pairs: list[tuple[Measurement, str]] = [*clean, *density, *views]
        twins = [
            Need(
                Twin(measurement),
                source,
                given=(Need(measurement, source, model=self.twin),) if self.twin else (),
                essential=True,
            )
            for measurement, source in pairs
            if source != "validation" and not isinstance(measurement, InputGradient)
        ]
        return (*(Need(measurement, source) for measurement, source in pairs), *twins)

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """The metrics of every condition and method, then the means and those of the temperatures."""
        records = joined(batches)
        names = _conditions(track)
        if (Logits(), "test") not in records or (Logits(), "validation") not in records:
            return _empty(names, "the model gives no logits")
        bare = _bare(records, track)
        source = _labelled(records, Logits(), "validation", bare)
        held_out = [(view.shift, _labelled(records, Seen(view), "validation", bare)) for view in _views(track.held_out)]
        conditions = [*_shifted(records, track, bare), *_mixed(records, track, bare)]
        reasons = {name: bare for name in DENSE if bare}
        if not self.twin:
            reasons["gde"] = "no second model of another training seed was given"
        able = [name for name in METHODS if name not in reasons]
        fits = {name: METHODS[name](source, [shift for _, shift in held_out]) for name in able}
        reach = {name: _reach(name, source, held_out) for name in able if name != "gde" and held_out}
        result: list[Metric] = []
        for condition in conditions:
            result += _judged(condition, fits, reach, reasons)
        absent = [name for name in names if name not in {each.name for each in conditions}]
        result += _unjudged(absent, f"fewer than {SHARE - 1} test images")
        for group, ood in (("shifts", False), ("mixed", True)):
            result += _means(group, [each for each in conditions if bool(each.ood) == ood], fits, reasons)
        return result + _scaled(source, [each for each in conditions if not each.ood], fits, reasons)


def _views(shifts: Iterable[Severities]) -> list[Shifted]:
    return [Shifted(each.kind, amount) for each in shifts for amount in each.amounts]


def _conditions(track: Track) -> list[str]:
    shifts = [_name(view) for view in _views(track.shifts)]
    return ["clean", *shifts, *(f"mixed-{source.name}" for source in track.ood)]


def _name(view: Shifted) -> str:
    return f"{view.shift}-{view.amount:g}"


def _bare(records: Records, track: Track) -> str:
    """Why there is no density to build on, if there is none."""
    sources = ("validation", "test", *(each.name for each in track.ood))
    clean: list[tuple[Measurement, str]] = [(InputGradient(), source) for source in sources]
    views: list[tuple[Measurement, str]] = [(Seen(view), "validation") for view in _views(track.held_out)]
    for measurement, source in [*clean, *views, *((Seen(view), "test") for view in _views(track.shifts))]:
        values = records.get((measurement, source), {}).get("log_density")
        if values is None:
            return "the model gives no differentiable log density"
        if bad := int((~np.isfinite(values)).sum()):
            return f"log p(x) is NaN or infinite on {bad} of {len(values)} images of {source}"
    return ""


def _target(records: Records, measurement: Measurement, source: str, bare: str) -> Target:
    columns = records[measurement, source]
    dense = records[InputGradient(), source] if isinstance(measurement, Logits) and not bare else columns
    twin = records.get((Twin(measurement), source), {}).get("twin")
    density = None if bare else dense["log_density"].astype(np.float64)
    return Target(columns["logits"].astype(np.float64), density, twin)


def _labelled(records: Records, measurement: Measurement, source: str, bare: str) -> Labelled:
    return Labelled(_target(records, measurement, source, bare), records[measurement, source]["label"])


def _shifted(records: Records, track: Track, bare: str) -> list[Condition]:
    clean: tuple[str, str, Measurement] = ("clean", "clean", Logits())
    views = [clean, *((_name(view), view.shift, Seen(view)) for view in _views(track.shifts))]
    return [
        Condition(name, kind, _target(records, measurement, "test", bare), records[measurement, "test"]["label"])
        for name, kind, measurement in views
    ]


def _mixed(records: Records, track: Track, bare: str) -> list[Condition]:
    """The first images of the test split and of an OOD set, so many of each that a quarter are OOD."""
    test, labels = _target(records, Logits(), "test", bare), records[Logits(), "test"]["label"]
    result = []
    for source in track.ood:
        outside = _target(records, Logits(), source.name, bare)
        foreign = min(len(outside), len(test) // (SHARE - 1))
        inside = foreign * (SHARE - 1)
        if foreign:
            images = _joined(test.take(np.arange(inside)), outside.take(np.arange(foreign)))
            both = np.concatenate([labels[:inside], np.full(foreign, -1)])
            result.append(Condition(f"mixed-{source.name}", source.name, images, both, foreign))
    return result


def _joined(first: Target, second: Target) -> Target:
    def both(a: NDArray[Any] | None, b: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if a is None or b is None else np.concatenate([a, b])

    logits = np.concatenate([first.logits, second.logits])
    return Target(logits, both(first.log_density, second.log_density), both(first.twin, second.twin))


def _resampled(conditions: Sequence[Condition], rng: np.random.Generator) -> list[Condition]:
    """The conditions with images drawn anew: one draw of test images for all, whose order is the same; OOD apart."""
    longest = max(len(each.images) - each.ood for each in conditions)
    draw = rng.integers(longest, size=4 * longest)
    result = []
    for each in conditions:
        inside = len(each.images) - each.ood
        index = draw[draw < inside][:inside]
        outside = inside + rng.integers(max(each.ood, 1), size=each.ood)
        result.append(each.take(np.concatenate([index, outside])))
    return result


def _reach(name: str, source: Labelled, held_out: Sequence[tuple[str, Labelled]]) -> float:
    """The largest error on a held-out shift of a method that was fitted without the shifts of its kind."""
    worst = 0.0
    for fold in sorted({kind for kind, _ in held_out}):
        fit = METHODS[name](source, [shift for kind, shift in held_out if kind != fold])
        worst = max([worst, *(abs(fit(shift.images) - shift.accuracy) for kind, shift in held_out if kind == fold)])
    return worst


def _judged(
    condition: Condition, fits: Mapping[str, Estimator], reach: Mapping[str, float], reasons: Mapping[str, str]
) -> list[Metric]:
    """The truth of one condition, and what every method says."""
    truth = classification.accuracy(condition.correct)
    n = {"test": len(condition.images) - condition.ood} | ({condition.kind: condition.ood} if condition.ood else {})
    result = [TRUE.of(truth, source=condition.name, variant="true", n=n)]
    for name in METHODS:
        if name in reasons:
            result += [kind.missing(reasons[name], source=condition.name, variant=name) for kind in (ESTIMATED, ERROR)]
            continue
        value = fits[name](condition.images)
        guess = Estimate(value)
        if name in reach:
            low, high = max(0.0, value - reach[name]), min(1.0, value + reach[name])
            guess = Estimate(value, low, high, "leave-one-kind-out")
        error = Estimate(abs(value - truth.value))
        result.append(ESTIMATED.of(guess, source=condition.name, variant=name, n=n))
        result.append(ERROR.of(error, source=condition.name, variant=name, n=n))
    return result


def _errors(conditions: Sequence[Condition], fits: Mapping[str, Estimator]) -> NDArray[np.float64]:
    """Absolute errors (conditions, methods)."""
    rows = [[abs(fit(each.images) - float(each.correct.mean())) for fit in fits.values()] for each in conditions]
    return np.array(rows).reshape(len(conditions), len(fits))


def _means(
    group: str, conditions: Sequence[Condition], fits: Mapping[str, Estimator], reasons: Mapping[str, str]
) -> list[Metric]:
    """Mean errors over a group of conditions, and the paired gain of ours over the best baseline."""
    if not conditions:
        reason = "the track has no such conditions"
        return [MEAN.missing(reason, source=group, variant=name) for name in METHODS] + [
            GAIN.missing(reason, source=group, variant=name) for name in OURS
        ]
    names, n = list(fits), {"test": max(len(each.images) - each.ood for each in conditions)}
    value = _errors(conditions, fits).mean(axis=0)
    kinds = sorted({each.kind for each in conditions})
    places = [[i for i, each in enumerate(conditions) if each.kind == kind] for kind in kinds]
    draws = np.empty((REPLICATES, len(names)))
    for replicate in range(REPLICATES):
        rng = seeding.rng("unlabelled", group, replicate)
        errors = _errors(_resampled(conditions, rng), fits)
        sample = [i for kind in rng.integers(len(kinds), size=len(kinds)) for i in places[kind]]
        draws[replicate] = errors[sample].mean(axis=0)
    result = []
    for name in METHODS:
        if name in reasons:
            result.append(MEAN.missing(reasons[name], source=group, variant=name))
        else:
            place = names.index(name)
            result.append(MEAN.of(_percentile(value[place], draws[:, place]), source=group, variant=name, n=n))
    best = min((names.index(name) for name in BASELINES), key=lambda place: float(value[place]))
    for name in OURS:
        if name in reasons:
            result.append(GAIN.missing(reasons[name], source=group, variant=name))
        else:
            place = names.index(name)
            gain = _percentile(value[place] - value[best], draws[:, place] - draws[:, best])
            metric = GAIN.of(gain, source=group, variant=name, n=n)
            result.append(replace(metric, reason=f"against {names[best]}"))
    return result


def _percentile(value: float, draws: NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(float(value), min(float(value), float(low)), max(float(value), float(high)), "bootstrap")


def _scaled(
    source: Labelled, conditions: Sequence[Condition], fits: Mapping[str, Estimator], reasons: Mapping[str, str]
) -> list[Metric]:
    """Calibration with temperatures that no label of the target gave, beside those that labels gave."""
    temperature = fit_temperature(source.images.logits, source.labels).temperature
    rows: dict[str, list[tuple[float, float]]] = {}
    for each in conditions:
        f = each.images.logits
        divisors = {"raw": 1.0, "validation": temperature, "oracle": fit_temperature(f, each.labels).temperature}
        divisors |= {name: temperature_at(f, fits[name](each.images)) for name in SCALED if name in fits}
        for name, divisor in divisors.items():
            sure = classification.confidence(f / divisor)
            loss = float(classification.nll(f / divisor, each.labels).mean())
            rows.setdefault(name, []).append((calibration.ece(sure, each.correct, bins=15), loss))
    result, n = [], {"test": len(conditions[0].images)}
    for name in ("raw", "validation", *SCALED, "oracle"):
        for kind, place in zip(SCALES, (0, 1), strict=True):
            if name in rows:
                value = float(np.mean([row[place] for row in rows[name]]))
                result.append(kind.of(Estimate(value), source="shifts", variant=name, n=n))
            else:
                result.append(kind.missing(reasons[name], source="shifts", variant=name))
    return result


def _empty(names: Iterable[str], reason: str) -> list[Metric]:
    """Every cell of a model that cannot be judged."""
    result = _unjudged(names, reason)
    for group in ("shifts", "mixed"):
        result += [MEAN.missing(reason, source=group, variant=each) for each in METHODS]
        result += [GAIN.missing(reason, source=group, variant=each) for each in OURS]
    variants = ("raw", "validation", *SCALED, "oracle")
    return result + [kind.missing(reason, source="shifts", variant=each) for each in variants for kind in SCALES]


def _unjudged(names: Iterable[str], reason: str) -> list[Metric]:
    """The cells of conditions without a value."""
    result = []
    for name in names:
        result.append(TRUE.missing(reason, source=name, variant="true"))
        result += [kind.missing(reason, source=name, variant=each) for each in METHODS for kind in (ESTIMATED, ERROR)]
    return result
