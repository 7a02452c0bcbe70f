"""Ranks of one column: every pair of models is tested, and bands say who was told apart from whom.

A model whose numbers are means over training seeds is tested by its shipped weights for the variance of the images, to
which that of the trainings is added: with s the standard deviation over S seeds,

    V = V_paired + s_1^2 / S_1 + s_2^2 / S_2,    z = (m_1 - m_2) / sqrt(V),

m the means. Of one training nothing is known of its variance: its bands are said of those weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import NormalDist, median

from jembench.metrics.estimate import Estimate
from jembench.metrics.metric import Metric
from jembench.metrics.paired import holm
from jembench.metrics.ranks import bands, detectable
from jembench.pages.boards.board import Cell
from jembench.pages.pairs.differences import Difference, difference, unpaired
from jembench.pages.pairs.side import Side, same_noise

LEVEL = 0.05  # of the tests of a column, all together
MOST = 40  # models of a column that are tested in pairs of examples; more are by their intervals


@dataclass(frozen=True)
class Entrant:
    """A model in a column.

    Attributes:
        side: the result that its examples are of; None where there is none.
        metric: the metric of that result.
        cell: what is shown.
        trainings: number of training seeds behind what is shown.
    """

    side: Side | None
    metric: Metric
    cell: Cell
    trainings: int


def ranked(entrants: Sequence[Entrant]) -> tuple[list[Cell], float | None]:
    """The cells of a column with their bands, and the difference that a test of two of them finds with a power of .8.

    Args:
        entrants: the models, in the order of the rows.
    """
    cells = [entrant.cell for entrant in entrants]
    places = [place for place, entrant in enumerate(entrants) if _contends(entrant)]
    if len(places) < 2:
        return cells, None
    paired = len(places) <= MOST
    pairs = list(combinations(places, 2)) if paired else _against_best(entrants, places)
    found = {pair: _test(entrants[pair[0]], entrants[pair[1]], paired=paired) for pair in pairs}
    tests = {pair: test for pair, test in found.items() if test is not None}
    if not tests:
        return cells, None
    adjusted = dict(zip(tests, holm([p for p, _ in tests.values()]), strict=True))
    apart = [[False] * len(entrants) for _ in entrants]
    for (one, other), p in adjusted.items():
        apart[one][other] = apart[other][one] = p < LEVEL
    order = _order(entrants, places)
    letters = bands(order, apart) if paired else [""] * len(entrants)
    top, others = order[0], any(apart[order[0]])
    for place in places:
        cells[place] = replace(cells[place], band=letters[place], best=others and not apart[top][place])
    return cells, detectable(median(error for _, error in tests.values()))


def _contends(entrant: Entrant) -> bool:
    """Whether a number can be ranked: it has a value, a direction, and nothing is wrong with it."""
    metric = entrant.cell.metric
    return metric.value is not None and metric.better != "neither" and not entrant.cell.fault


def _order(entrants: Sequence[Entrant], places: Sequence[int]) -> list[int]:
    """Places from the best value to the worst."""
    sign = -1.0 if entrants[places[0]].cell.metric.better == "higher" else 1.0
    return sorted(places, key=lambda place: sign * (entrants[place].cell.metric.value or 0.0))


def _against_best(entrants: Sequence[Entrant], places: Sequence[int]) -> list[tuple[int, int]]:
    top, *others = _order(entrants, places)
    return [(top, other) for other in others]


def _test(one: Entrant, other: Entrant, *, paired: bool) -> tuple[float, float] | None:
    """p-value and standard error of the difference of two models; None without a test."""
    found = _difference(one, other, paired=paired)
    if found is None or found.p is None or found.error is None:
        return None
    training = sum((each.cell.spread or 0.0) ** 2 / each.trainings for each in (one, other) if each.trainings > 1)
    if not training:
        return found.p, found.error
    error = math.sqrt(found.error**2 + training)
    gap = (one.cell.metric.value or 0.0) - (other.cell.metric.value or 0.0)
    return min(1.0, 2 * NormalDist().cdf(-abs(gap) / error)) if error else 1.0, error


def _difference(one: Entrant, other: Entrant, *, paired: bool) -> Difference | None:
    if paired and one.side is not None and other.side is not None and same_noise(one.side, other.side):
        return difference(one.side, other.side, one.metric.id)
    test = unpaired(one.metric, other.metric)
    if test is None:
        return None
    estimate: Estimate = test[0]
    return Difference(one.metric.id, one.metric, other.metric, estimate, test[1])
