"""A number and what is known of its error.

An interval `[low, high]` of method `m` claims: over repeated samples it holds the true value in 95 % of
them. Two methods claim something else and say so in their name: `one-sided` (one end is the limit of the
scale, the other holds alone at 95 %) and `consistency band` (where the value would lie if the model were
perfectly calibrated).
"""

from __future__ import annotations

from dataclasses import dataclass

LEVEL = 0.95  # share of repeated samples in which an interval holds the true value


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes:
        value: the estimate itself, in the units of the metric.
        low: lower end of the interval, or None where no honest one exists (a single example, a constant sample).
        high: upper end of the interval, or None where no honest one exists.
        method: how the interval was made, e.g. `wilson`; `none` where there is no interval.
    """

    value: float
    low: float | None = None
    high: float | None = None
    method: str = "none"
