"""Tables before they have a format: cells are metrics or words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from jembench import data
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


def fewer(n: Mapping[str, Collection[int]], track: str) -> str:
    """The published sets of which not all images were used: ``svhn 5,000 of 26,032``; empty if all were.

    Args:
        n: numbers of images that were used, by source.
        track: versioned name of their track.
    """
    name = track.rpartition("-v")[0]
    if name not in data.TRACKS or data.track(name).id != track:
        return ""
    words = []
    for source in data.track(name).sources:
        used = n.get(source.name)
        if source.part is not None and used and min(used) < source.n:
            least = f"{min(used):,} to " if min(used) < max(used) else ""
            words.append(f"{source.name} {least}{max(used):,} of {source.n:,}")
    return ", ".join(words)


def subset(metrics: Iterable[Metric], track: str) -> list[str]:
    """A note for metrics over fewer images than the published sets have: a number of theirs is another number."""
    n: dict[str, set[int]] = {}
    for metric in metrics:
        for source, size in metric.n.items():
            n.setdefault(source, set()).add(size)
    words = fewer(n, track)
    return [f"subset: {words}"] if words else []


def metrics(table: Table) -> list[Metric]:
    """The metrics among the cells of a table."""
    return [cell for row in table.rows for cell in row if isinstance(cell, Metric)]
