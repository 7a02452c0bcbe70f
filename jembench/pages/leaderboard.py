"""Leaderboards: one markdown file per track, from golden results and published rows alone.

A figure is bold where it is the best of its column **and** its interval overlaps with no other's: what cannot be told
apart is not ranked. Figures without a confidence interval are never bold.

A baseline with ``seeds.json`` beside its golden result (:mod:`jembench.pages.seeds`) shows means over training seeds,
with intervals of test and training variance. Those of one training seed hold test variance only: a bold figure among
them is said of the weights, not of the training, and the leaderboard says so.

Of a track whose images are the user's, results may be over parts of the published sets: of another size or with other
bytes, hence of another protocol, which gets a section and pictures of its own. Published rows
(:mod:`jembench.choices.published`) stand in the last section, where nothing is bold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from jembench import data
from jembench.choices import published
from jembench.choices.protocols import PROTOCOLS, V1
from jembench.data.sets import Track
from jembench.evaluators.quantities import Headline
from jembench.metrics.metric import Metric
from jembench.pages.seeds import SEEDS, Seeds, combined, read_seeds
from jembench.pages.summary import headlines
from jembench.pages.tables import report
from jembench.pages.tables.figures import BAND
from jembench.pages.tables.robustness import battery, met, unreliable
from jembench.pages.tables.samples import extractor, sources
from jembench.pages.tables.table import Cell, Table, fewer, get
from jembench.store.results import RESULT, ResultDocument, read_result
from jembench.types import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = tuple[ResultDocument, Seeds | None]  # what is shown of a model, and the training seeds it is a mean over


#: Evaluators whose first headline opens a leaderboard.
OVERVIEW = ("accuracy", "calibration", "ood", "robustness", "generation", "likelihood")
ARROWS = {"higher": " ↑", "lower": " ↓", "neither": ""}

PICTURE = "robustness"  # names of the pictures beside the leaderboard
HYBRID = "hybrid"

#: What is said of the last section, in one sentence.
PUBLISHED = (
    "What others have printed, in the units used here and with their digits: numbers of other protocols and without "
    "intervals, which are ranked neither with ours nor among themselves."
)


def leaderboard(
    track: Track,
    golden: Sequence[Path],
    attacks: Sequence[ResultDocument] = (),
    publications: Sequence[Table] = (),
    *,
    guests: bool = False,
) -> str:
    """The markdown of a track's leaderboard.

    Args:
        track: the track that the results are of.
        golden: result folders of the suite ``all``, or of a part of it, one per baseline; ``seeds.json``, if there is
            one, lies beside it.
        attacks: results of the suite ``robustness``, of baselines and of those behind a defence (:func:`robustness`).
        publications: tables of published rows (:func:`jembench.pages.tables.publications.tables`).
        guests: whether results that a user names are among the others.

    Raises:
        UserError: if there are neither results nor published rows, if a result is not of the track as it is now, or if
            the training seeds of a result are not of it.
    """
    if not golden and not attacks and not publications:
        raise UserError(f"track {track.name} has no golden results and no published rows, so no leaderboard")
    rows = [_row(folder, track) for folder in golden]
    origins = [f"the golden results in `baselines/{track.name}`"] if (golden or attacks) and not track.file else []
    origins += ["results of a user"] if guests else []
    origins += [f"`leaderboards/{published.PUBLISHED}`"] if publications else []
    bold = "Bold: best of its column, and its 95 % interval overlaps with no other's."
    blocks = [
        f"# Leaderboard: {track.name}",
        f"{_capital(data.about(track.ref))}. Written by `jembench leaderboard --track {track.name}` from "
        f"{' and '.join(origins)}; do not edit. "
        + (bold if golden or attacks else "Nothing of ours is measured on this track yet."),
    ]
    pictures = _pictures(track, HYBRID, [document for document, _ in rows])
    rows.sort(key=lambda row: (row[0].protocol_hash, row[0].model.name))
    opening = len(blocks)
    for protocol, group in groupby(rows, key=lambda row: row[0].protocol_hash):
        members = list(group)
        documents = [document for document, _ in members]
        sizes = ", ".join(f"{name} {facts.n}" for name, facts in documents[0].protocol.sources.items())
        name = documents[0].protocol.name
        head = f"## Protocol {name} on {track.id} (`{protocol[:12]}`)"
        blocks.append(f"{head}\n\nExamples: {sizes}.{_subsets(documents[0])}")
        blocks.append(_training(members))
        if protocol in pictures:
            blocks.append(f"![accuracy against the quality of samples]({pictures[protocol]})")
        several = best if len(documents) > 1 else None  # nobody to be better than
        blocks.append(report.markdown(documents, best=several).rstrip())
        blocks.append(_models(members))
    blocks += _robustness(track, attacks)
    if publications:
        blocks.append(f"## Published\n\n{PUBLISHED}\n\n{report.markdown_of(publications).rstrip()}")
    blocks[opening:opening] = _overview([document for document, _ in rows], attacks, blocks[opening:])
    return "\n\n".join(blocks) + "\n"


def _overview(documents: Sequence[ResultDocument], attacks: Sequence[ResultDocument], blocks: list[str]) -> list[str]:
    """One table of the headlines for every protocol, the best band bold, and links to all tables below."""
    parts = []
    protocols = [document.protocol_hash for document in attacks if bare(document)]
    common = max(protocols, key=protocols.count, default="")  # attacks of other protocols share no column
    attacked = {document.model.name: document for document in attacks if document.protocol_hash == common}
    for protocol, group in groupby(documents, key=lambda document: document.protocol_hash):
        cells: list[list[tuple[Headline, Metric]]] = []
        members = list(group)
        for document in members:
            attack = attacked.get(document.model.name)
            cells.append([*headlines(document), *(headlines(attack) if attack is not None else [])])
        chosen = [(each, metric.better) for evaluator in OVERVIEW for each, metric in _first(cells, evaluator)]
        rows: list[list[Cell]] = [
            [
                document.model.name,
                *(_cell(pairs, headline, attacked.get(document.model.name)) for headline, _ in chosen),
            ]
            for document, pairs in zip(members, cells, strict=True)
        ]
        header = ["model", *(f"{each.title}{ARROWS[better]}" for each, better in chosen)]
        notes = [f"{each.title}: {each.about}" for each, _ in chosen]
        table = Table(f"Headlines, protocol `{protocol[:12]}`", header, rows, notes)
        parts.append(report.markdown_of([table], best=in_best_band).rstrip())
    if not parts:
        return []
    titles = [line for block in blocks for line in block.splitlines() if line.startswith(("## ", "### "))]
    anchors = [_anchor(title) for title in titles]
    links = []
    for place, (title, anchor) in enumerate(zip(titles, anchors, strict=True)):
        again = anchors[:place].count(anchor)
        indent = "  " if title.startswith("###") else ""
        links.append(f"{indent}- [{title.lstrip('# ')}](#{anchor}{f'-{again}' if again else ''})")
    bold = "Bold: the best band, all whose 95 % interval overlaps with the best one's, where others' do not."
    return ["## Headlines", *parts, bold, "\n".join(links)]


def _first(cells: Sequence[Sequence[tuple[Headline, Metric]]], evaluator: str) -> list[tuple[Headline, Metric]]:
    """The first headline of an evaluator, if any of the rows has it."""
    return [pair for pairs in cells for pair in pairs if pair[1].evaluator == evaluator][:1]


def _cell(pairs: Sequence[tuple[Headline, Metric]], headline: Headline, attack: ResultDocument | None) -> Cell:
    """The metric of a headline; words that nobody ranks where a check has taken the word from it."""
    metric = next((metric for each, metric in pairs if each == headline), None)
    if metric is None:
        return "—"
    if attack is not None and metric.evaluator == "robustness":
        norms = [norm for norm in unreliable(attack) if f"/{norm}-" in metric.id]
        return f"{report.text(metric)} unreliable" if norms else metric
    return metric


def _anchor(title: str) -> str:
    """What GitHub calls the place of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lstrip("# ").lower()).replace(" ", "-")


def in_best_band(cell: Cell, column: list[Cell]) -> bool:
    """Whether a metric is the best of a column, or its interval overlaps with the best one's and not with all."""
    rivals = [other for other in column if isinstance(other, Metric) and _has_interval(other)]
    if not isinstance(cell, Metric) or cell not in rivals or cell.better == "neither" or len(rivals) < 2:
        return False
    order = max if cell.better == "higher" else min
    top = order(rivals, key=lambda other: other.value or 0.0)
    apart = [other for other in rivals if _separated(top, other)]
    return bool(apart) and cell not in apart


def pictures(track: Track, golden: Sequence[Path], attacks: Sequence[ResultDocument]) -> dict[str, Figure]:
    """The pictures beside the leaderboard, by the names of their files; each is of one protocol, and of its rows.

    Args:
        track: the track that the results are of.
        golden: result folders of the suite ``all``, or of a part of it, one per baseline.
        attacks: results of the suite ``robustness``, of baselines and of those behind a defence.
    """
    from jembench.pages.pictures import generation, plots

    documents = [_row(folder, track)[0] for folder in golden]
    figures = {}
    for kind, rows, draw in ((HYBRID, documents, generation.tradeoff), (PICTURE, attacks, plots.robustness)):
        for protocol, file in _pictures(track, kind, rows).items():
            figure = draw([each for each in rows if each.protocol_hash == protocol])
            if figure is not None:
                figures[file] = figure
    return figures


def _pictures(track: Track, kind: str, documents: Sequence[ResultDocument]) -> dict[str, str]:
    """The file of the picture of every protocol that has one; a second one has its protocol in its name."""
    groups: dict[str, list[ResultDocument]] = {}
    for document in documents:
        groups.setdefault(document.protocol_hash, []).append(document)
    if kind == HYBRID:
        keys = [key for key, group in groups.items() if len(group) > 1 and any(map(_traded, group))]
    else:
        keys = [key for key, group in groups.items() if bare(group[0])]
    one = len(keys) == 1
    return {key: f"{track.name}-{kind}{'' if one else f'-{key[:12]}'}.png" for key in keys}


def _traded(document: ResultDocument) -> bool:
    """Whether a result has both accuracy and quality of samples."""
    if not document.settings("generation"):
        return False
    (who, distance), first = extractor(document), sources(document)[0]
    return all(get(document, name).value is not None for name in ("test/accuracy", f"{first}/{who}/{distance}"))


def _subsets(document: ResultDocument) -> str:
    """A sentence about the sources that are parts of published sets, if there are any."""
    sizes = {name: (facts.n,) for name, facts in document.protocol.sources.items()}
    words = fewer(sizes, document.track, protocol=document.protocol.name)
    return f" Subsets of published sets: {words}." if words else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def measured(track: Track, places: Sequence[Path], suite: str) -> list[Path]:
    """The result folders of a track and a suite in or below places, by the name of the model."""
    folders = {path.parent for place in places for path in place.rglob(RESULT)}
    documents = {folder: read_result(folder) for folder in folders}
    fitting = [folder for folder, each in documents.items() if (each.track, each.suite) == (track.id, suite)]
    return sorted(fitting, key=lambda folder: (documents[folder].model.name, str(folder)))


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


def _robustness(track: Track, documents: Sequence[ResultDocument]) -> list[str]:
    """A section for every protocol of attacks."""
    blocks = []
    pictures = _pictures(track, PICTURE, documents)
    for protocol, group in groupby(documents, key=lambda document: document.protocol_hash):
        members = list(group)
        steps = _refinement(members[0])
        words = "no defence" if steps < 0 else f"refined by {steps} SGLD step{'' if steps == 1 else 's'}"
        blocks.append(f"## Robustness, {words}: protocol {members[0].protocol.name} on {track.id} (`{protocol[:12]}`)")
        if protocol in pictures:
            blocks.append(f"![worst-case accuracy against eps]({pictures[protocol]})")
        blocks.append(
            "One training seed each, with test variance only in the intervals. eps is in units of [0, 1] pixels; every "
            "adversarial was judged anew, in fp32, in ball and range. An `unreliable` row failed a check of its own."
            + _subsets(members[0])
            + (_bounds(members) if track.external else "")
        )
        blocks.append(report.markdown(members, best=best).rstrip())
        blocks.append(_models([(document, None) for document in members]))
    return blocks


def _bounds(documents: Sequence[ResultDocument]) -> str:
    """A sentence about the attacks on photographs: numbers of a short battery are read beside RobustBench's."""
    words = met(documents)
    if not words:
        return ""
    if "AutoAttack" in words:
        return f" Attacks: {words}: upper bounds."
    return f" Attacks: {words}, no AutoAttack: upper bounds, not to be held against AutoAttack's."


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
    """Refuse a golden result of another track, or of other bytes than the track has now.

    Of a published set there may be a part at hand, whose bytes cannot be checked; its size is said instead.
    """
    who = f"golden result of {document.model.name!r}"
    if document.track != track.id:
        raise UserError(f"{who} is of {document.track}, not {track.id}: make it anew")
    view = PROTOCOLS.get(document.protocol.name, V1).on(track, ())
    sources = {source.name: data.found(track, source.name) if track.file else source for source in view.sources}
    for name, facts in document.protocol.sources.items():
        source = sources.get(name)
        if source is not None and source.part is not None:
            whole = facts.n == source.n and source.sha256 not in ("", facts.sha256)
            other = whole or facts.n > source.n
        else:
            other = source is None or facts.sha256 != source.sha256
        if other:
            raise UserError(f"{who} is of other images of {name!r} than {track.id} has: make it anew")


def best(cell: Cell, column: list[Cell]) -> bool:
    """Whether a cell's metric is better than all others of its column by non-overlapping intervals."""
    if not isinstance(cell, Metric) or not _has_interval(cell) or cell.better == "neither":
        return False
    rivals = [other for other in column if isinstance(other, Metric) and other is not cell]
    if not rivals or not all(_has_interval(other) and _same(cell, other) for other in rivals):
        return False
    return all(_separated(cell, other) for other in rivals)


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
    sentences = []
    if several:
        sentences.append(
            f"Means over training seeds, with test and training variance in their intervals: {', '.join(several)}."
        )
    if single:
        sentences.append(
            f"One training seed, with test variance only: {', '.join(single)}. Bold in these rows, or over them, is "
            "said of those weights, not of how they were trained."
        )
    return " ".join(sentences)


def _models(rows: list[Row]) -> str:
    """Which weights the rows are of, how they were measured, and over how many trainings they are means."""
    lines = ["### models", ""]
    for document, seeds in rows:
        versions = ", ".join(sorted({environment.jembench for environment in document.provenance.environments}))
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
