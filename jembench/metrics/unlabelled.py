r"""Accuracy without labels: what a classifier scores on images that nobody labelled.

An estimator is **fitted** on labelled images (the `source` and shifts of it that are in no table) and then sees a
`Target`, which has no labels: it cannot use them. With the confidence c(x) = max_y p(y|x), the means over the source
S and the target T, and a(S) the accuracy of the source:

================ ===================================================================================== ==============
method           estimate of a(T)                                                                      source
================ ===================================================================================== ==============
constant         a(S)
confidence       mean_T c
temperature      mean_T c of f / T, T fitted on the source                                             Guo 2017
doc              a(S) - (mean_S c - mean_T c)                                                          Guillory 2021
doc_regression   a(S) - (alpha (mean_S c - mean_T c) + beta), by least squares on the shifts           Guillory 2021
atc              share of T with c above t, where t leaves the share a(S) of S above it                Garg 2022
atc_entropy      the same with -H(p(y|x)) for c                                                        Garg 2022
gde              share of T on which a second training seed predicts the same class                    Jiang 2022
mde              alpha MDE(T) + beta, least squares on the shifts, of the meta-distribution energy     Peng 2024
log_px           mean_T P(correct | log p(x)), a logistic regression on the shifts                     (bare)
balanced         mean_T P(correct | b(x)), a logistic regression on the shifts                         ours, no density
energy           mean_T P(correct | b(x), log p(x)), a logistic regression on the shifts               ours
================ ===================================================================================== ==============

arXiv 2107.03315 (DoC), 2201.04234 (ATC), 2106.13799 (GDE), 2401.12689 (MDE).

**Ours.** A model that is sure of the wrong class is the failure of every average of confidences. Two things betray it
without a label: too many images of one class, and images where the density is low. So the evidence of an image is

    b(x) = log p_v(y^|x) / (1 - p_v(y^|x)),   y^ = argmax f(x),

the log-odds of its prediction after the constants v of :mod:`jembench.metrics.balance` gave the target the class
frequencies of the source, and log p(x); a ridge regression (:mod:`jembench.metrics.logistic`) learns from the shifts
how far to trust either. Every condition weighs the same. An unknown log Z, a constant, is absorbed by the
standardisation. **Its assumption**: the target's classes are as frequent as the source's. Where they are not, or where
images of no class are mixed in, b(x) is misled.

**MDE** is -mean_i log softmax(Z)_i over the images of T, with Z(x) = -logsumexp f(x); here less log n, so that samples
of different sizes compare.

A **temperature** follows from an estimated accuracy a: the T at which the mean confidence of f / T is a.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Floats, Integers, class_labels, finite_matrix, finite_vector
from jembench.metrics.balance import balance
from jembench.metrics.classification import log_softmax
from jembench.metrics.logistic import fit_logistic
from jembench.metrics.temperature import HIGHEST, LOWEST, fit_temperature

ODDS = 14.0  # log-odds are cut here: beyond it they say nothing that 180 images could teach


@dataclass(frozen=True)
class Target:
    """Unlabelled images, as a model sees them.

    Attributes:
        logits: logits `(N, K)` of the images.
        log_density: log p(x) `(N,)` in nats, up to a constant; None for a model without a density.
        twin: predictions `(N,)` of the same architecture from another training seed, if there is one.
    """

    logits: Floats
    log_density: Floats | None = None
    twin: Integers | None = None

    def __post_init__(self) -> None:
        n = len(finite_matrix(self.logits, "logits"))
        if self.log_density is not None and finite_vector(self.log_density, "log_density").size != n:
            raise ValueError(f"log_density must have {n} values")
        if self.twin is not None and np.shape(self.twin) != (n,):
            raise ValueError(f"twin must have {n} values")

    def __len__(self) -> int:
        return len(self.logits)

    @cached_property
    def log_p(self) -> Floats:
        """log p(y|x) `(N, K)`."""
        return log_softmax(self.logits)

    @cached_property
    def prediction(self) -> Integers:
        """The class `(N,)`."""
        first: Integers = np.asarray(self.logits).argmax(axis=1)
        return first

    @cached_property
    def confidence(self) -> Floats:
        """max p(y|x) `(N,)`."""
        top: Floats = np.exp(self.log_p.max(axis=1))
        return top

    @cached_property
    def certainty(self) -> Floats:
        """The negative entropy of p(y|x) `(N,)` in nats."""
        total: Floats = (np.exp(self.log_p) * self.log_p).sum(axis=1)
        return total

    @cached_property
    def odds(self) -> dict[bytes, Floats]:
        """Balanced log-odds by class frequencies, see :func:`balanced_odds`."""
        return {}

    def take(self, index: ArrayLike) -> Target:
        """The images of these positions, with repetitions."""
        positions = np.asarray(index)
        density = None if self.log_density is None else self.log_density[positions]
        return Target(self.logits[positions], density, None if self.twin is None else self.twin[positions])


@dataclass(frozen=True)
class Labelled:
    """Images with labels `(N,)`, to fit on."""

    images: Target
    labels: Integers

    def __post_init__(self) -> None:
        class_labels(self.labels, len(self.images), classes=self.images.logits.shape[1])

    @cached_property
    def correct(self) -> Floats:
        """1 where the prediction is the label `(N,)`."""
        right: Floats = (self.images.prediction == self.labels).astype(np.float64)
        return right

    @cached_property
    def accuracy(self) -> float:
        """The share of them."""
        return float(self.correct.mean())

    @property
    def shares(self) -> Floats:
        """Class frequencies `(K,)`, with half an image of each class more."""
        classes = self.images.logits.shape[1]
        counts = np.bincount(self.labels, minlength=classes) + 0.5
        shares: Floats = counts / counts.sum()
        return shares

    def take(self, index: ArrayLike) -> Labelled:
        """The images of these positions, with repetitions."""
        return Labelled(self.images.take(index), self.labels[np.asarray(index)])


Estimator = Callable[[Target], float]
Method = Callable[[Labelled, Sequence[Labelled]], Estimator]


def constant(source: Labelled, shifts: Sequence[Labelled]) -> Estimator:
    """The accuracy of the source."""
    return lambda _: source.accuracy


def confidence(source: Labelled, shifts: Sequence[Labelled]) -> Estimator:
    """Mean confidence; unbiased for a calibrated model."""
    return lambda target: float(target.confidence.mean())


def temperature(source: Labelled, shifts: Sequence[Labelled]) -> Estimator:
    """Mean confidence after temperature scaling on the source."""
    divisor = fit_temperature(source.images.logits, source.labels).temperature
    return lambda target: mean_confidence(target.logits, divisor)


def doc(source: Labelled, shifts: Sequence[Labelled]) -> Estimator:
    """Difference of confidences."""
    base = source.accuracy - float(source.images.confidence.mean())
    return lambda target: _clipped(base + float(target.confidence.mean()))


def doc_regression(source: Labelled, shifts: Sequence[Labelled]) -> Estimator:
    """Difference of confidences, with the line that fits the source and its shifts."""
    source_confidence = float(source.images.confidence.mean())
    conditions = (source, *shifts)
    slope, offset = _line(
        [source_confidence - float(condition.images.confidence.mean()) for condition in conditions],
        [source.accuracy - condition.accuracy for condition in conditions],
    )
    return lambda target: _clipped(
        source.accuracy - slope * (source_confidence - float(target.confidence.mean())) - offset
    )


def atc(source: Labelled, shifts: Sequence[Labelled]) -> Estimator:
    """Average thresholded confidence."""
    cutoff = threshold(source.images.confidence, source.correct)
    return lambda target: float((target.confidence > cutoff).mean())


def atc_entropy(source: Labelled, shifts: Sequence[Labelled]) -> Estimator:
    """Average thresholded negative entropy."""
    cutoff = threshold(source.images.certainty, source.correct)
    return lambda target: float((target.certainty > cutoff).mean())


def gde(source: Labelled, shifts: Sequence[Labelled]) -> Estimator:
    """Agreement of two training seeds; ValueError for a target without a twin."""

    def estimate(target: Target) -> float:
        if target.twin is None:
            raise ValueError("gde needs the predictions of a second model")
        return float((target.prediction == target.twin).mean())

    return estimate


def mde(source: Labelled, shifts: Sequence[Labelled]) -> Estimator:
    """Meta-distribution energy, with the line that fits the source and its shifts."""
    conditions = (source, *shifts)
    slope, offset = _line(
        [meta_energy(condition.images.logits) for condition in conditions],
        [condition.accuracy for condition in conditions],
    )
    return lambda target: _clipped(slope * meta_energy(target.logits) + offset)


def log_px(source: Labelled, shifts: Sequence[Labelled]) -> Estimator:
    """The bare density; ValueError for images without one."""
    return _regressed(source, shifts, lambda images: density(images)[:, None])


def balanced(source: Labelled, shifts: Sequence[Labelled]) -> Estimator:
    """Balanced log-odds: ours without the density, to tell what the density adds."""
    shares = source.shares
    return _regressed(source, shifts, lambda images: balanced_odds(images, shares)[:, None])


def energy(source: Labelled, shifts: Sequence[Labelled]) -> Estimator:
    """Balanced log-odds and log p(x): ours; ValueError for images without a density."""
    shares = source.shares
    return _regressed(source, shifts, lambda images: np.column_stack([balanced_odds(images, shares), density(images)]))


#: name, part of the ids of metrics -> method, in the order of the tables.
METHODS: dict[str, Method] = {
    "constant": constant,
    "confidence": confidence,
    "temperature": temperature,
    "doc": doc,
    "doc_regression": doc_regression,
    "atc": atc,
    "atc_entropy": atc_entropy,
    "gde": gde,
    "mde": mde,
    "log_px": log_px,
    "balanced": balanced,
    "energy": energy,
}


def balanced_odds(images: Target, shares: ArrayLike) -> Floats:
    """b(x) `(N,)`, within 14 of 0, of images with the class frequencies `shares` `(K,)`; kept with the images."""
    key = np.asarray(shares, dtype=np.float64).tobytes()
    if key not in images.odds:
        images.odds[key] = _balanced_odds(images, shares)
    return images.odds[key]


def _balanced_odds(images: Target, shares: ArrayLike) -> Floats:
    log_p = images.log_p + balance(images.log_p, shares)
    rows = np.arange(len(images))
    own = log_p[rows, images.prediction]
    rivals = log_p.copy()
    rivals[rows, images.prediction] = -np.inf
    top = rivals.max(axis=1)
    rivalry: Floats = top + np.log(np.exp(rivals - top[:, None]).sum(axis=1))
    return np.clip(own - rivalry, -ODDS, ODDS)


def density(images: Target) -> Floats:
    """log p(x) `(N,)`; ValueError where there is none."""
    if images.log_density is None:
        raise ValueError("the images have no log density")
    return np.asarray(images.log_density, dtype=np.float64)


def threshold(scores: ArrayLike, correct: ArrayLike) -> float:
    """The t that leaves as many `scores` `(N,)` above it as there are `correct` ones `(N,)`, half-way between two."""
    order_statistics = np.sort(finite_vector(scores, "scores"))
    wrong = round(float((1 - np.asarray(correct, dtype=np.float64)).sum()))
    if wrong == 0:
        return -math.inf
    return (
        float(order_statistics[wrong - 1] + order_statistics[wrong]) / 2 if wrong < order_statistics.size else math.inf
    )


def meta_energy(logits: ArrayLike) -> float:
    """MDE of images with these logits `(N, K)`, less log N: at least 0, and 0 where all energies are equal."""
    f = finite_matrix(logits, "logits")
    top = f.max(axis=1)
    z = -(top + np.log(np.exp(f - top[:, None]).sum(axis=1)))
    return float(np.log(np.exp(z - z.max()).mean()) + z.max() - z.mean())


def mean_confidence(logits: ArrayLike, divisor: float) -> float:
    """Mean over rows of max softmax(logits / divisor)."""
    z = finite_matrix(logits, "logits") / divisor
    return float((1 / np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1)).mean())


def temperature_at(logits: ArrayLike, accuracy: float) -> float:
    """The temperature in [0.01, 100] at which the mean confidence of logits `(N, K)` is `accuracy`, or its nearest.

    The mean confidence falls in T, so bisection of log T finds it; rows without spread have T = 1.

    Raises:
        ValueError: logits empty or not finite, or accuracy out of [0, 1].
    """
    f = finite_matrix(logits, "logits")
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy must lie in [0, 1], got {accuracy}")
    if not np.ptp(f, axis=1).any():
        return 1.0
    low, high = math.log(LOWEST), math.log(HIGHEST)
    if mean_confidence(f, HIGHEST) >= accuracy:
        return HIGHEST
    if mean_confidence(f, LOWEST) <= accuracy:
        return LOWEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_confidence(f, math.exp(middle)) > accuracy else (low, middle)
    return math.exp((low + high) / 2)


def _regressed(source: Labelled, shifts: Sequence[Labelled], features: Callable[[Target], Floats]) -> Estimator:
    """Mean over the target of P(correct | features), fitted on all conditions, each of the same weight."""
    conditions = (source, *shifts)
    fit = fit_logistic(
        np.concatenate([features(condition.images) for condition in conditions]),
        np.concatenate([condition.correct for condition in conditions]),
        weights=np.concatenate([np.full(len(condition.labels), 1 / len(condition.labels)) for condition in conditions]),
    )
    return lambda target: float(fit.probability(features(target)).mean())


def _line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Slope and offset of the least squares; the slope of equal x is 0."""
    a, b = np.asarray(x), np.asarray(y)
    spread = float(np.square(a - a.mean()).sum())
    slope = float((a - a.mean()) @ (b - b.mean())) / spread if spread > 1e-18 else 0.0
    return slope, float(b.mean()) - slope * float(a.mean())


def _clipped(value: float) -> float:
    return min(1.0, max(0.0, value))
