"""Leaderboards: one markdown file per track, from golden results alone.

A figure is bold where it is the best of its column **and** its interval overlaps with no other's: what cannot be told
apart is not ranked. Figures without a confidence interval are never bold.

A baseline with ``seeds.json`` beside its golden result (:mod:`jembench.seeds`) shows means over training seeds, with
intervals of test and training variance. Those of one training seed hold test variance only: a bold figure among them is
said of the weights, not of the training, and the leaderboard says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from jembench import report
from jembench.data.sets import Track
from jembench.evaluators.contract import Metric
from jembench.report import BAND
from jembench.results import ResultDocument, read_result
from jembench.robustness_tables import battery
from jembench.seeds import SEEDS, Seeds, combined, read_seeds
from jembench.tables import Cell
from jembench.types import UserError

Row = tuple[ResultDocument, Seeds | None]  # what is shown of a model, and the training seeds it is a mean over


PICTURE = "robustness"  # names of the pictures beside the leaderboard
HYBRID = "hybrid"


def leaderboard(track: Track, golden: Sequence[Path], attacked: Sequence[ResultDocument] = ()) -> str:
    """The markdown of a track's leaderboard.

    Args:
        track: its description.
        golden: result folders of the suite ``all``, one per baseline; ``seeds.json``, if there is one, lies beside it.
        attacked: results of the suite ``robustness``, of baselines and of those behind a defence (:func:`robustness`).

    Raises:
        UserError: if there is none, one is not of the track as it is now, or its training seeds are not of it.
    """
    if not golden:
        raise UserError(f"track {track.name} has no golden results, so no leaderboard")
    rows = [_row(folder, track) for folder in golden]
    blocks = [
        f"# Leaderboard: {track.name}",
        f"{track.about.capitalize()}. Written by `jembench leaderboard --track {track.name}` from the golden results "
        f"in `baselines/{track.name}`; do not edit. Bold: best of its column, and its 95 % interval overlaps with no "
        "other's.",
    ]
    ordered = sorted(rows, key=lambda row: (row[0].protocol_hash, row[0].model.name))
    for protocol, group in groupby(ordered, key=lambda row: row[0].protocol_hash):
        chosen = list(group)
        documents = [document for document, _ in chosen]
        sizes = ", ".join(f"{name} {facts.n}" for name, facts in documents[0].protocol.sources.items())
        name = documents[0].protocol.name
        blocks.append(f"## Protocol {name} on {track.id} (`{protocol[:12]}`)\n\nExamples: {sizes}.")
        blocks.append(_training(chosen))
        if len(documents) > 1 and any(item["name"] == "generation" for item in documents[0].protocol.evaluators):
            blocks.append(f"![accuracy against the quality of samples]({track.name}-{HYBRID}.png)")
        several = best if len(documents) > 1 else None  # nobody to be better than
        blocks.append(report.markdown(documents, best=several).rstrip())
        blocks.append(_models(chosen))
    blocks += _attacked(track, attacked)
    return "\n\n".join(blocks) + "\n"


def robustness(track: Track, folders: Sequence[Path]) -> list[ResultDocument]:
    """The golden results of suite ``robustness``, checked: bare models first, then refinements by their steps.

    Raises:
        UserError: if one is not of the track as it is now.
    """
    documents = [read_result(folder) for folder in folders]
    for document in documents:
        _check_current(document, track)
    return sorted(documents, key=lambda document: (_refinement(document), document.protocol_hash, document.model.name))


def bare(document: ResultDocument) -> bool:
    """Whether a result of suite ``robustness`` is of a deterministic model."""
    return not battery(document)["copies"]


def _refinement(document: ResultDocument) -> int:
    settings = battery(document)
    return -1 if not settings["copies"] else int(settings["refinement"])


def _attacked(track: Track, documents: Sequence[ResultDocument]) -> list[str]:
    """A section for every protocol of attacks."""
    blocks = []
    for protocol, group in groupby(documents, key=lambda document: document.protocol_hash):
        chosen = list(group)
        steps = _refinement(chosen[0])
        words = "no defence" if steps < 0 else f"refined by {steps} SGLD step{'' if steps == 1 else 's'}"
        blocks.append(f"## Robustness, {words}: protocol {chosen[0].protocol.name} on {track.id} (`{protocol[:12]}`)")
        if steps < 0:
            blocks.append(f"![worst-case accuracy against eps]({track.name}-{PICTURE}.png)")
        blocks.append(
            "One training seed each, with test variance only in the intervals. eps is in units of [0, 1] pixels; every "
            "adversarial was judged anew, in fp32, in ball and range. An `unreliable` row failed a check of its own."
        )
        blocks.append(report.markdown(chosen, best=best).rstrip())
        blocks.append(_models([(document, None) for document in chosen]))
    return blocks


def _row(folder: Path, track: Track) -> Row:
    """A golden result, with the means over training seeds where there are several."""
    document = read_result(folder)
    _check_current(document, track)
    seeds = read_seeds(folder.parent)
    try:
        return (document if seeds is None else combined(document, seeds)), seeds
    except UserError as error:
        raise UserError(f"{folder.parent / SEEDS}: {error}") from error


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


def _training(rows: list[Row]) -> str:
    """Whose figures are means over training seeds, and what the intervals of the others do not hold."""
    several = [f"`{document.model.name}` {len(seeds.runs)}" for document, seeds in rows if seeds is not None]
    single = [f"`{document.model.name}`" for document, seeds in rows if seeds is None]
    said = []
    if several:
        said.append(
            f"Means over training seeds, with test and training variance in their intervals: {', '.join(several)}."
        )
    if single:
        said.append(
            f"One training seed, with test variance only: {', '.join(single)}. Bold in these rows, or over them, is "
            "said of those weights, not of how they were trained."
        )
    return " ".join(said)


def _models(rows: list[Row]) -> str:
    """Which weights the rows are of, how they were measured, and over how many trainings they are means."""
    lines = ["### models", ""]
    for document, seeds in rows:
        versions = ", ".join(sorted({item.jembench for item in document.provenance.environments}))
        weights = (document.model.weights_sha256 or "none")[:12]
        lines.append(
            f"- `{document.model.name}`: {_seeds(document, seeds)}; weights `{weights}`, {document.cost.forwards:,} "
            f"forward passes and {document.cost.gradients:,} input gradients of single examples, jembench {versions}"
        )
    return "\n".join(lines)


def _seeds(document: ResultDocument, seeds: Seeds | None) -> str:
    """The training seeds of a model; the figures that some of them lack are named."""
    if seeds is None:
        return "1 training seed: its intervals hold test variance only"
    words = f"mean of {len(seeds.runs)} training seeds; weights of seed {seeds.shipped(document).seed} shipped"
    alone = [metric.id for metric in document.metrics if metric.value is not None and seeds.absent(metric.id)]
    return words + (f"; of these weights alone: {', '.join(alone)}" if alone else "")
