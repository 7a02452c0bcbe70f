r"""Ranks that say only what tests have shown: bands of models that cannot be told apart, and what a test could show.

**Bands.** Of k models every pair is tested and Holm's method corrects the k (k - 1) / 2 p-values together, so that two
equal models are told apart anywhere in the column in 5 % of all columns at most. Models then share a band if and only
if no test has told them apart: a compact letter display (Piepho, Journal of Computational and Graphical Statistics
2004). Not to be told apart is not transitive, so that a model may be in several bands, as `ab`.

**Power.** A two-sided test at level alpha of a difference with standard error s finds a true difference of

    (z_{1 - alpha / 2} + z_{power}) s

with that power: at .05 and .80 that is 2.80 s. A difference below it may well be there and not be seen: a tie is no
proof of equality.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from string import ascii_lowercase

POWER = 0.8


def bands(order: Sequence[int], apart: Sequence[Sequence[bool]]) -> list[str]:
    """The letters of every model, best first: two share a letter if and only if they are not told apart.

    Args:
        order: places of the models, the best one first.
        apart: whether models i and j are told apart, symmetric `(k, k)`.

    >>> far = [[False, False, True], [False, False, False], [True, False, False]]
    >>> bands([0, 1, 2], far)
    ['a', 'ab', 'b']
    """
    groups: list[set[int]] = [set(order)] if order else []
    for place, one in enumerate(order):
        for other in order[place + 1 :]:
            if apart[one][other]:
                groups = _split(groups, one, other)
    rank = {model: place for place, model in enumerate(order)}
    groups.sort(key=lambda group: sorted(rank[model] for model in group))
    words = [""] * len(apart)
    for number, group in enumerate(groups):
        for model in group:
            words[model] += _letter(number)
    return words


def _split(groups: list[set[int]], one: int, other: int) -> list[set[int]]:
    """Groups without one that holds both; a group within another one is left out."""
    parts: list[set[int]] = []
    for group in groups:
        parts += [group - {other}, group - {one}] if {one, other} <= group else [group]
    unique = [group for place, group in enumerate(parts) if group not in parts[:place]]
    return [group for group in unique if not any(group < wider for wider in unique)]


def _letter(number: int) -> str:
    """a to z, then a2 and so on."""
    turn, place = divmod(number, len(ascii_lowercase))
    return ascii_lowercase[place] + (str(turn + 1) if turn else "")


def detectable(error: float, *, alpha: float = 0.05, power: float = POWER) -> float:
    """The true difference that a two-sided test finds with that power.

    Args:
        error: standard error of the difference, in the units of the metric.
        alpha: level of the test.
        power: probability of finding the difference.

    >>> round(detectable(1.0), 3)
    2.802
    """
    law = NormalDist()
    return error * (law.inv_cdf(1 - alpha / 2) + law.inv_cdf(power))
