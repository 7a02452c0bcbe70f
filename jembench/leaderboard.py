"""Leaderboards: one markdown file per track, from golden results alone.

A figure is bold where it is the best of its column **and** its interval overlaps with no other's: what cannot be told
apart is not ranked. Figures without a confidence interval are never bold.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from jembench import report
from jembench.data.sets import Track
from jembench.evaluators.contract import Metric
from jembench.report import BAND, Cell
from jembench.results import ResultDocument, read_result
from jembench.types import UserError


def leaderboard(track: Track, golden: Sequence[Path]) -> str:
    """The markdown of a track's leaderboard.

    Args:
        track: its description.
        golden: result folders of the suite ``all``, one per baseline.

    Raises:
        UserError: if there is none, or one is not of the track as it is now.
    """
    if not golden:
        raise UserError(f"track {track.name} has no golden results, so no leaderboard")
    documents = [read_result(folder) for folder in golden]
    for document in documents:
        _check_current(document, track)
    blocks = [
        f"# Leaderboard: {track.name}",
        f"{track.about.capitalize()}. Written by `jembench leaderboard --track {track.name}` from the golden results "
        f"in `baselines/{track.name}`; do not edit. Bold: best of its column, and its 95 % interval overlaps with no "
        "other's.",
    ]
    ordered = sorted(documents, key=lambda document: (document.protocol_hash, document.model.name))
    for protocol, group in groupby(ordered, key=lambda document: document.protocol_hash):
        chosen = list(group)
        sizes = ", ".join(f"{name} {facts.n}" for name, facts in chosen[0].protocol.sources.items())
        blocks.append(f"## Protocol {chosen[0].protocol.name} on {track.id} (`{protocol[:12]}`)\n\nExamples: {sizes}.")
        blocks.append(report.markdown(chosen, best=best).rstrip())
        blocks.append(_models(chosen))
    return "\n\n".join(blocks) + "\n"


def _check_current(document: ResultDocument, track: Track) -> None:
    """Refuse a golden result of another track, or of other bytes than the track has now."""
    who = f"golden result of {document.model.name!r}"
    if document.track != track.id:
        raise UserError(f"{who} is of {document.track}, not {track.id}: make it anew")
    known = {source.name: source.sha256 for source in track.sources}
    for name, facts in document.protocol.sources.items():
        if facts.sha256 != known.get(name):
            raise UserError(f"{who} is of other images of {name!r} than {track.id} has: make it anew")


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
        versions = ", ".join(sorted({item.jembench for item in document.provenance.environments}))
        weights = (document.model.weights_sha256 or "none")[:12]
        lines.append(
            f"- `{document.model.name}`: weights `{weights}`, {document.cost.forwards:,} forward passes and "
            f"{document.cost.gradients:,} input gradients of single examples, jembench {versions}"
        )
    return "\n".join(lines)
