"""A metric: a number of a result with its interval and its n, and what all metrics of one name share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from jembench.metrics.estimate import Estimate

Direction = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Metric:
    """A number with its interval and its n.

    Attributes:
        name: quantity that is measured, such as ``auroc``.
        source: name of the image set that it is measured on, or ``mean`` over several.
        variant: name of the score or calibration map that it is of; empty if there is but one.
        value: the number, in the units of the metric; ``None`` if it could not be measured.
        low: lower end of the interval; ``None`` without one.
        high: upper end of the interval; ``None`` without one.
        method: how the interval was made, such as ``wilson``; ``none`` without one.
        n: number of examples of every source that it is computed from.
        better: direction in which the value is better.
        tolerance: how much worse it may be than a golden value before a gate fails; ``None`` if no gate reads it.
        reason: why the value is missing, or what a reader must know of it; ``None`` if there is nothing to say.
        evaluator: name of the evaluator that made it; the engine fills it in.
        p: two-sided p-value of no difference, where the metric is a difference; ``None`` for others.
    """

    name: str
    source: str
    variant: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = "none"
    n: dict[str, int] = field(default_factory=dict)
    better: Direction = "neither"
    tolerance: float | None = None
    reason: str | None = None
    evaluator: str = ""
    p: float | None = None

    @property
    def id(self) -> str:
        """``source/variant/name``, unique in a result."""
        return "/".join(part for part in (self.source, self.variant, self.name) if part)


#: Why a metric of a set that is made of the test images has a value and no interval.
DEPENDENT = "made of the test images: intervals and p-values suppose independent sets, so there are none"


@dataclass(frozen=True)
class Kind:
    """What all metrics of one name share: see :class:`Metric`.

    An end of an interval beyond the least or the largest value that there can be is put there: what is known of the
    error does not tell values apart that are not possible.

    Attributes:
        name: quantity that is measured.
        better: direction in which the value is better.
        tolerance: how much worse it may be than a golden value before a gate fails.
        least: least possible value.
        most: largest possible value.
    """

    name: str
    better: Direction
    tolerance: float | None = None
    least: float = -math.inf
    most: float = math.inf

    def of(
        self, estimate: Estimate, *, source: str, n: dict[str, int], variant: str = "", p: float | None = None
    ) -> Metric:
        """The metric of an estimate, with the p-value of a difference."""
        e = estimate
        low = None if e.low is None else max(e.low, min(self.least, e.value))
        high = None if e.high is None else min(e.high, max(self.most, e.value))
        return Metric(
            self.name, source, variant, e.value, low, high, e.method, n, self.better, tolerance=self.tolerance, p=p
        )

    def missing(self, reason: str, *, source: str, variant: str = "") -> Metric:
        """The metric where there is no value."""
        return Metric(self.name, source, variant, better=self.better, tolerance=self.tolerance, reason=reason)
