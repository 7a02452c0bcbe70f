"""Figures in words: a value, its interval, a p-value, as tables and summaries print them."""

from __future__ import annotations

from jembench.metrics.metric import Metric

BAND = "consistency band"  # the method of what is no interval of the value


def number(value: float) -> str:
    """Three decimals; one from 100 on, none from 10,000 on.

    >>> number(0.5), number(316.2951), number(12564.961)
    ('0.500', '316.3', '12565')
    """
    size = abs(value)
    return f"{value:.3f}" if size < 100 else f"{value:.1f}" if size < 10_000 else f"{value:.0f}"


def short(value: float, digits: int = 3, *, like: float | None = None) -> str:
    """A number without its leading zero, in about three digits.

    Args:
        value: the number.
        digits: decimals of numbers up to 1; larger ones have two, from 100 on none.
        like: the number whose decimals it gets, if not its own.

    >>> short(0.5), short(-0.02), short(9.8765), short(316.2951), short(0.97, 2)
    ('.500', '-.020', '9.88', '316', '.97')
    """
    size = abs(value if like is None else like)
    words = f"{value:.{digits if size <= 1 else 2 if size < 100 else 0}f}"
    sign = "-" if float(words) < 0 else ""
    bare = words.lstrip("-")
    return sign + (bare.removeprefix("0") if "." in bare else bare)


def value(metric: Metric) -> str:
    """The value of a metric without its interval; a dash where there is none."""
    return "—" if metric.value is None else number(metric.value)


def brief(metric: Metric) -> str:
    """The value of a metric as a summary shows it; a dash where there is none."""
    return "—" if metric.value is None else short(metric.value)


def interval(metric: Metric, *, digits: int = 3) -> str:
    """The interval of a metric: ``±.023`` where it is as wide on both sides, else its two ends.

    Half a width is honest only of an interval that is symmetric in the digits that are shown; then it cannot leave the
    range of the metric either, which both ends lie in. A consistency band stands in angle quotes.

    Args:
        metric: the metric.
        digits: decimals of numbers below 1.
    """
    if metric.value is None or metric.low is None or metric.high is None:
        return ""
    low, high = (short(end, digits, like=metric.value) for end in (metric.low, metric.high))
    if metric.method == BAND:
        return f"‹{low}–{high}›"
    sides = (metric.value - metric.low, metric.high - metric.value)
    below, above = (short(side, digits, like=metric.value) for side in sides)
    if below != above or min(sides) < 0:  # a debiased value may lie outside
        return ends(low, high)
    return f"±{below}" if float(below) else f"±<{below[:-1]}1"


def ends(low: str, high: str) -> str:
    """The two ends of an interval, apart from a minus.

    >>> ends(".1", ".2"), ends("-.2", "-.1")
    ('.1–.2', '-.2 to -.1')
    """
    return f"{low} to {high}" if "-" in low + high else f"{low}–{high}"


def p_value(p: float) -> str:
    """Three decimals; ``<0.001`` below.

    >>> p_value(0.04), p_value(2e-5)
    ('0.040', '<0.001')
    """
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def sure(p: float) -> str:
    """A p-value in a sentence.

    >>> sure(0.04), sure(2e-5)
    ('p=.040', 'p<.001')
    """
    return f"p={short(min(p, 1.0))}" if p >= 0.001 else "p<.001"
