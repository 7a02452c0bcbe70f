"""Tables before they have a format: cells are metrics or words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jembench import data
from jembench.choices.protocols import PROTOCOLS
from jembench.data import folders
from jembench.metrics.metric import Metric
from jembench.store.results import ResultDocument
from jembench.types import UserError

if TYPE_CHECKING:
    from jembench.data.sets import Source

Cell = Metric | str
JOINT = " + "  # between the sources of a metric over several


@dataclass(frozen=True)
class Table:
    """A table before it has a format: cells are metrics or words.

    Attributes:
        title: words that say what the table shows.
        header: names of the columns.
        rows: cells of the table, row by row.
        notes: what a reader must know to read the table, a line each.
        wide: whether the table has so many columns that a terminal gets half-widths (±.021) in place of intervals.
    """

    title: str
    header: list[str]
    rows: list[list[Cell]]
    notes: list[str]
    wide: bool = False


def get(document: ResultDocument, name: str) -> Metric:
    """A metric by id, or an empty one: a cell for what was not measured."""
    return document.metric(name) or Metric(name, "")


def fewer(n: Mapping[str, Collection[int]], track: str, *, protocol: str) -> str:
    """The published sets of which not all images were used: ``svhn 5,000 of 26,032``; empty if all were.

    Args:
        n: numbers of images that were used, by source, or by the names of several with a plus between them.
        track: versioned name of the track of the sources.
        protocol: name of the choices that say how the track is shown: how large its sets are. Nothing is known of an
            unknown one.
    """
    name, choices = track.rpartition("-v")[0], PROTOCOLS.get(protocol)
    if name not in data.TRACKS or data.track(name).id != track or choices is None:
        return ""
    sources = {source.name: source for source in choices.on(data.track(name), ()).sources if source.part is not None}
    words = []
    for key in (*sources, *(key for key in n if JOINT in key)):
        used, parts = n.get(key), key.split(JOINT)
        if not used or not set(parts) <= sources.keys():
            continue
        whole = sum(sources[part].n for part in parts)
        if min(used) < whole:
            least = f"{min(used):,} to " if min(used) < max(used) else ""
            other = " (or of another split)" if any(_any_split(sources[part]) for part in parts) else ""
            words.append(f"{key} {least}{max(used):,} of {whole:,}{other}")
    return ", ".join(words)


def _any_split(source: Source) -> bool:
    """Whether a part of a set may be of another split than the source: a folder's sample does not say of which."""
    part = source.part
    return part is not None and part.view != "resize" and len(folders.splits(part.set, part.split)) > 1


def subset(metrics: Iterable[Metric], document: ResultDocument) -> list[str]:
    """A note for metrics over fewer images than the published sets have: a number of theirs is another number.

    Args:
        metrics: the metrics that the note is for.
        document: a result of the same track and protocol.
    """
    n: dict[str, set[int]] = {}
    for metric in metrics:
        for source, size in metric.n.items():
            n.setdefault(source, set()).add(size)
    words = fewer(n, document.track, protocol=document.protocol.name)
    return [f"subset: {words}"] if words else []


def one_track(documents: Sequence[ResultDocument]) -> None:
    """Raise :class:`UserError` unless results are of one track."""
    tracks = sorted({document.track for document in documents})
    if len(tracks) > 1:
        raise UserError(f"results of one track share a page, these are of {', '.join(tracks)}")


def metrics(table: Table) -> list[Metric]:
    """The metrics among the cells of a table."""
    return [cell for row in table.rows for cell in row if isinstance(cell, Metric)]
