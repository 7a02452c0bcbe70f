"""Tables before they have a format: cells are metrics or words."""

from __future__ import annotations

from dataclasses import dataclass

from jembench.evaluators.contract import Metric
from jembench.results import ResultDocument

Cell = Metric | str


@dataclass(frozen=True)
class Table:
    """A table before it has a format: cells are metrics or words.

    Attributes:
        title: what it shows.
        header: names of the columns.
        rows: cells.
        notes: what a reader must know, a line each.
        wide: has so many columns that a terminal gets half-widths (±.021) in place of intervals.
    """

    title: str
    header: list[str]
    rows: list[list[Cell]]
    notes: list[str]
    wide: bool = False


def get(document: ResultDocument, name: str) -> Metric:
    """A metric by id, or an empty one: a cell for what was not measured."""
    return document.metric(name) or Metric(name, "")
