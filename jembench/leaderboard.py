"""Leaderboards: one markdown file per track, from golden results alone.

A figure is bold where it is the best of its column **and** its interval overlaps with no other's: what cannot be told
apart is not ranked. Figures without a confidence interval are never bold.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from jembench import report
from jembench.baselines import GOLDEN
from jembench.data.sets import Track
from jembench.evaluators.contract import Metric
from jembench.report import BAND, Cell
from jembench.results import RESULT, ResultDocument, read_result
from jembench.types import UserError


def leaderboard(track: Track, folder: Path) -> str:
    """The markdown of a track's leaderboard.

    Args:
        track: its description.
        folder: the track's baselines, each with a ``golden`` result of the suite ``all``.

    Raises:
        UserError: if there is no golden result, or one is of another track version.
    """
    documents = [read_result(path.parent) for path in sorted(folder.glob(f"*/{GOLDEN}/{RESULT}"))]
    if not documents:
        raise UserError(f"{folder}: no golden results, so no leaderboard")
    for document in documents:
        if document.track != track.id:
            raise UserError(
                f"golden result of {document.model.name!r} is of {document.track}, not {track.id}: make it anew"
            )
    blocks = [
        f"# Leaderboard: {track.name}",
        f"{track.about.capitalize()}. Written by `jembench leaderboard --track {track.name}` from the golden results "
        f"in `baselines/{track.name}`; do not edit. Bold: best of its column, and its 95 % interval overlaps with no "
        "other's.",
    ]
    ordered = sorted(documents, key=lambda document: (document.protocol_hash, document.model.name))
    for protocol, group in groupby(ordered, key=lambda document: document.protocol_hash):
        chosen = list(group)
        sizes = ", ".join(f"{name} {facts['n']}" for name, facts in chosen[0].protocol["sources"].items())
        blocks.append(
            f"## Protocol {chosen[0].protocol['name']} on {track.id} (`{protocol[:12]}`)\n\nExamples: {sizes}."
        )
        blocks.append(report.markdown(chosen, best=best).rstrip())
        blocks.append(_models(chosen))
    return "\n\n".join(blocks) + "\n"


def best(cell: Cell, column: list[Cell]) -> bool:
    """Whether a cell's metric is better than all others of its column by non-overlapping intervals."""
    if not isinstance(cell, Metric) or not _has_interval(cell) or cell.better == "neither":
        return False
    others = [other for other in column if isinstance(other, Metric) and other is not cell]
    if not others or not all(_has_interval(other) and _same(cell, other) for other in others):
        return False
    return all(_separated(cell, other) for other in others)


def _same(metric: Metric, other: Metric) -> bool:
    """Whether the two are of the same thing: the rows of one model's OOD table are different image sets."""
    return (metric.name, metric.source) == (other.name, other.source)


def _has_interval(metric: Metric) -> bool:
    return None not in (metric.value, metric.low, metric.high) and metric.method not in (BAND, "none")


def _separated(metric: Metric, other: Metric) -> bool:
    """Whether ``metric`` is better, and the intervals do not overlap."""
    assert metric.low is not None
    assert metric.high is not None
    assert other.low is not None
    assert other.high is not None
    return metric.low > other.high if metric.better == "higher" else metric.high < other.low


def _models(documents: list[ResultDocument]) -> str:
    """Which weights the rows are of, and how they were measured."""
    lines = ["### models", ""]
    for document in documents:
        weights = (document.model.weights_sha256 or "none")[:12]
        lines.append(
            f"- `{document.model.name}`: weights `{weights}`, {document.cost.forwards:,} forward passes and "
            f"{document.cost.gradients:,} input gradients of single examples, jembench {document.provenance.jembench}"
        )
    return "\n".join(lines)
