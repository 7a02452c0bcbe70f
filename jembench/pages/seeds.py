r"""Training seeds: figures of a training procedure, not of one run of it.

``seeds.json`` beside a baseline's recipe holds the metrics of S runs of one recipe with S training seeds, all measured
by one protocol; the weights of one of them are shipped, and the golden result is theirs. A figure then estimates the
performance that the procedure has on the population **in expectation over the seed**, and its interval has to hold two
errors: that of the test images and that of the training.

**Model.** Let p_s be the performance of run s on the population, with mean p and variance :math:`\tau^2` over seeds,
and :math:`a_s = p_s + e_s` what the test images say, :math:`E[e_s | p_s] = 0`, :math:`Var\,e_s = \sigma^2`. All runs
see the same images, and an image that is hard for one is hard for the others: :math:`Cov(e_r, e_s) = \rho\sigma^2`,
:math:`0 \le \rho \le 1` since runs are exchangeable given the images. The mean m of the a_s has

.. math::
    Var\,m = \rho\sigma^2 + \frac{\tau^2 + (1 - \rho)\,\sigma^2}{S},

of which only the second term shrinks with S. The variance :math:`s^2` of the a_s over seeds has the expectation
:math:`\tau^2 + (1 - \rho)\sigma^2`, so that :math:`s^2 / S` is unbiased for that term as a whole. Of the first only
:math:`\sigma^2` is known, by the runs' own intervals. Taking it for :math:`\rho\sigma^2` is exact where the runs fail
on the same images and conservative elsewhere: the excess is :math:`(1 - \rho)\sigma^2`.

**Interval.** m - p is the sum of two uncorrelated errors, of :math:`m - \bar p_S` (test, given the trained runs) and of
:math:`\bar p_S - p` (training). Their limits are combined by square-and-add, which keeps skewed intervals skewed
(Newcombe, Statistics in Medicine 17, 1998; MOVER: Zou & Donner, ibid. 27, 2008). With l_s and u_s the distances of the
ends of run s's own interval from its value, and t the 97.5 % quantile of Student's law with S - 1 degrees of freedom,

.. math::
    m - \sqrt{\bar l^2 + t^2 s^2 / S}, \qquad m + \sqrt{\bar u^2 + t^2 s^2 / S}.

Five identical runs give the interval of one. The training part supposes that runs are about normal around their mean:
five of them do not see a failure that strikes one training in twenty.

**Ends.** Where the interval of a run does not hold its value (a debiased error below 0), distances are from the nearest
point of the interval, and m in the formula is the mean of these points. An end that some run lacks is None. Where the
method of the interval says that the metric lies in [0, 1] (:data:`FRACTIONS`), ends are cut there; others are not: a
metric may exceed 1 though none of its values did.

**What is no interval.** A consistency band becomes the mean of the bands beside the mean of the values, without a
training part, which is no part of its claim: quantiles of comonotone variables add, so it is exact where the runs are
wrong together, and else wider than need be. It keeps its method, as does a value without an interval (the temperature):
a training part alone would pass for the whole error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from jembench.ground import files
from jembench.ground.entry import Entry, reason
from jembench.metrics.metric import Metric
from jembench.pages.tables.figures import BAND
from jembench.store.results import ResultDocument
from jembench.types import UserError

SEEDS = "seeds.json"

#: Methods of intervals of metrics that lie in [0, 1]: see :mod:`jembench.metrics`.
FRACTIONS = frozenset(
    {
        *("wilson", "delong-wilson", "pairs", "one-sided", "influence-wilson", "mover", "debiased"),
        *("wilson given reference", "wilson given samples", "jackknife given reference", "leave-one-kind-out"),
    }
)

#: Two numbers of one metric and the same weights, measured on two machine types, differ by less
# (:mod:`jembench.pages.gate`).
MACHINES = 1e-3

#: t with P(|T| <= t) = 0.95, for 1, 2, … degrees of freedom.
STUDENT = (
    *(12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139),
    *(2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963),
    *(2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272),
)

Numbers = tuple[float | None, float | None, float | None]  # value, low, high


class SeedRun(Entry):
    """One training: its seed, the hash of its weights, and value, low and high of every metric by id."""

    seed: int
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    metrics: dict[str, Numbers]

    @model_validator(mode="after")
    def _ordered(self) -> SeedRun:
        for name, (value, low, high) in self.metrics.items():
            if value is None and (low is not None or high is not None):
                raise ValueError(f"{name} has an interval and no value")
            if low is not None and high is not None and low > high:
                raise ValueError(f"{name} has its low end {low} above its high end {high}")
        return self


class Seeds(Entry):
    """The content of ``seeds.json``: at least two runs, of different seeds and weights, with the same metrics."""

    schema_version: Literal[1] = 1
    protocol_hash: str
    runs: Annotated[list[SeedRun], Field(min_length=2)]

    @model_validator(mode="after")
    def _distinct(self) -> Seeds:
        for what in ("seed", "weights_sha256"):
            if len({getattr(run, what) for run in self.runs}) < len(self.runs):
                raise ValueError(f"two runs have the same {what}")
        for run in self.runs:
            if other := run.metrics.keys() ^ self.runs[0].metrics.keys():
                raise ValueError(f"the runs of seeds {self.runs[0].seed} and {run.seed} differ in metric {min(other)}")
        return self

    def shipped(self, document: ResultDocument) -> SeedRun:
        """The run of a golden result's weights.

        Raises:
            UserError: if there is none, or it is of another protocol.
        """
        if document.protocol_hash != self.protocol_hash:
            ours, theirs = self.protocol_hash[:12], document.protocol_hash[:12]
            raise _stale(document, f"are of protocol {ours}, the golden result is of {theirs}")
        run = next((run for run in self.runs if run.weights_sha256 == document.model.weights_sha256), None)
        if run is None:
            raise _stale(document, f"have no run with its weights {str(document.model.weights_sha256)[:12]}")
        return run

    def absent(self, name: str) -> list[int]:
        """The seeds whose run has no value of a metric."""
        return [run.seed for run in self.runs if run.metrics[name][0] is None]


def collect(runs: Sequence[tuple[int, ResultDocument]]) -> Seeds:
    """The runs of one recipe as a document.

    Args:
        runs: training seed and result of each run, that of the shipped weights among them.

    Raises:
        UserError: if there are fewer than two, they are of different protocols (naming the first difference), one has
            no weights file, or two have the same seed or weights.
    """
    if len(runs) < 2:
        raise UserError(f"training variance needs at least 2 training seeds, not {len(runs)}")
    (first, reference), *_ = runs
    entries = []
    for seed, document in sorted(runs, key=lambda run: run[0]):
        if document.protocol_hash != reference.protocol_hash:
            difference = _difference(document.protocol.model_dump(), reference.protocol.model_dump(), "protocol")
            raise UserError(f"the results of training seeds {seed} and {first} are not comparable: {difference}")
        if document.model.weights_sha256 is None:
            raise UserError(f"the result of training seed {seed} is of a model without a weights file")
        entries.append(SeedRun(seed=seed, weights_sha256=document.model.weights_sha256, metrics=_numbers(document)))
    try:
        return Seeds(protocol_hash=reference.protocol_hash, runs=entries)
    except ValidationError as error:
        raise UserError(f"not results of different training seeds: {error.errors()[0]['msg']}") from error


def write_seeds(folder: Path, seeds: Seeds) -> None:
    """Write ``seeds.json``."""
    files.write(folder / SEEDS, seeds.file())


def read_seeds(folder: Path) -> Seeds | None:
    """The validated ``seeds.json`` of a baseline's folder, or None if it has none.

    Raises:
        UserError: if it is not valid.
    """
    path = folder / SEEDS
    try:
        return Seeds.model_validate_json(path.read_bytes()) if path.exists() else None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValidationError as error:
        raise UserError(f"{path}: not valid training seeds ({reason(error)})") from error


def combined(document: ResultDocument, seeds: Seeds) -> ResultDocument:
    """A golden result with the means over training seeds in place of the figures of the shipped weights.

    A metric that some run lacks stays that of the shipped weights, with a reason.

    Raises:
        UserError: if the golden result is not among the runs.
    """
    run, golden = seeds.shipped(document), _numbers(document)
    for name in sorted(golden.keys() | run.metrics.keys()):
        ours, theirs = run.metrics.get(name), golden.get(name)
        if ours is None or theirs is None or not all(map(_close, ours, theirs)):
            raise _stale(document, f"have {ours} for its {name}, the golden result has {theirs}")
    return document.model_copy(update={"metrics": [_combined(metric, seeds) for metric in document.metrics]})


def images(metric: Metric, seeds: Seeds) -> tuple[Metric, float | None]:
    """The mean of a metric over training seeds with the interval of the test images alone, and the spread apart.

    Returns:
        The metric; and its standard deviation over the seeds. A metric that some run lacks stays as it is, with None.
    """
    runs = [run.metrics.get(metric.id, (None, None, None)) for run in seeds.runs]
    values = [value for value, _, _ in runs if value is not None]
    if len(values) < len(runs):
        return metric, None
    return over_seeds(metric, runs, training=False), deviation(values)


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of a sample, of at least two."""
    mean = fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _stale(document: ResultDocument, what: str) -> UserError:
    return UserError(f"the training seeds of {document.model.name!r} {what}: collect them anew")


def _combined(metric: Metric, seeds: Seeds) -> Metric:
    if metric.value is None:
        return metric
    if absent := seeds.absent(metric.id):
        words = ", ".join(map(str, absent))
        return replace(metric, reason=f"{metric.id} is of the shipped weights alone: none with training seed {words}")
    return over_seeds(metric, [run.metrics[metric.id] for run in seeds.runs])


def over_seeds(metric: Metric, runs: Sequence[Numbers], *, training: bool = True) -> Metric:
    """The mean of a metric over training seeds, with the interval of this module's theory.

    Args:
        metric: the metric of one of the runs, which says what it is of and the method of its interval.
        runs: value, low end and high end of the metric in every run; at least two runs, each with a value.
        training: whether the interval holds the variance of the training, beside that of the test images.
    """
    values = [value for value, _, _ in runs if value is not None]
    count = len(runs)
    center = fmean(_nearest(value, low, high) for value, (_, low, high) in zip(values, runs, strict=True))
    alone = metric.method == BAND or not training
    error = 0.0 if alone else student(count - 1) * deviation(values) / math.sqrt(count)
    below = _distance(center, [low for _, low, _ in runs], error)
    above = _distance(center, [high for _, _, high in runs], error)
    low, high = None if below is None else center - below, None if above is None else center + above
    method = metric.method
    if method in FRACTIONS:
        low, high = low if low is None else max(low, 0.0), high if high is None else min(high, 1.0)
    if not alone and (low, high) != (None, None):
        method = f"{method}, {count} training seeds"
    return replace(metric, value=fmean(values), low=low, high=high, method=method, p=None)  # p is of one training


def student(freedom: int) -> float:
    """Return t with P(|T| <= t) = 0.95 for T of Student's law; above 30 degrees that of 30, at most 5 % too large."""
    return STUDENT[min(freedom, len(STUDENT)) - 1]


def _nearest(value: float, low: float | None, high: float | None) -> float:
    """The point of the interval that is nearest to the value: itself, as a rule."""
    value = value if low is None else max(value, low)
    return value if high is None else min(value, high)


def _distance(center: float, ends: Sequence[float | None], training: float) -> float | None:
    """Square-and-add of the mean distance of the runs' ends and of the training part; None if a run lacks its end."""
    present = [end for end in ends if end is not None]
    return math.hypot(fmean(present) - center, training) if len(present) == len(ends) else None


def _numbers(document: ResultDocument) -> dict[str, Numbers]:
    return {metric.id: (metric.value, metric.low, metric.high) for metric in document.metrics}


def _close(ours: float | None, theirs: float | None) -> bool:
    """Whether two measurements of the same weights agree, wherever they were made."""
    if ours is None or theirs is None:
        return ours is theirs
    return math.isclose(ours, theirs, rel_tol=MACHINES, abs_tol=MACHINES)


def _difference(ours: Any, theirs: Any, where: str) -> str:
    """Where two JSON values first differ, and what they hold there."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        name = next(name for name in [*ours, *theirs] if ours.get(name) != theirs.get(name))
        return _difference(ours.get(name), theirs.get(name), f"{where}/{name}")
    return f"{where} is {ours} and {theirs}"
