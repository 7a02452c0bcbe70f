"""A metric: a number of a result with its interval and its n, and what all metrics of one name share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jembench.metrics.estimate import Estimate

Direction = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Metric:
    """A number with its interval and its n.

    Attributes:
        name: what it is, such as ``auroc``.
        source: the image set it is of, or ``mean`` over several.
        variant: the score, or the calibration map, it is of; empty if there is but one.
        value: the number; ``None`` if it could not be measured.
        low: lower end of the interval, if any.
        high: upper end.
        method: how the interval was made.
        n: number of examples by source.
        better: which direction is better.
        tolerance: how much worse it may be than a golden value before a gate fails.
        reason: why the value is missing, or what a reader must know of it.
        evaluator: name of the evaluator it is by; the engine fills it in.
        p: of a difference, the two-sided p-value of there being none.
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
    """What all metrics of one name share: see :class:`Metric`."""

    name: str
    better: Direction
    tolerance: float | None = None

    def of(
        self, estimate: Estimate, *, source: str, n: dict[str, int], variant: str = "", p: float | None = None
    ) -> Metric:
        """The metric of an estimate, with the p-value of a difference."""
        e = estimate
        return Metric(
            self.name, source, variant, e.value, e.low, e.high, e.method, n, self.better, tolerance=self.tolerance, p=p
        )

    def missing(self, reason: str, *, source: str, variant: str = "") -> Metric:
        """The metric where there is no value."""
        return Metric(self.name, source, variant, better=self.better, tolerance=self.tolerance, reason=reason)
