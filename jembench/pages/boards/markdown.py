"""Leaderboards in markdown: a page per track, from a board and published rows alone.

It opens with the headlines of every model; below, each group of results that may be ranked together has a table for
each evaluator, with bands of what tests have told apart, and all its numbers behind a fold. Published rows
(:mod:`jembench.choices.published`) stand in the last section, where nothing is ranked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from jembench import data
from jembench.choices import published
from jembench.pages.boards import words
from jembench.pages.boards.board import OVERVIEW, Board, Evidence, Group, Ranking
from jembench.pages.seeds import Seeds
from jembench.pages.tables import report
from jembench.pages.tables.robustness import met
from jembench.pages.tables.samples import extractor, sources
from jembench.pages.tables.table import Table, fewer, get
from jembench.store.results import ResultDocument
from jembench.types import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE = "robustness"  # names of the pictures beside the leaderboard
HYBRID = "hybrid"

#: What is said of the last section, in one sentence.
PUBLISHED = (
    "What others have printed, in the units used here and with their digits: numbers of other protocols and without "
    "intervals, which are ranked neither with ours nor among themselves."
)
RULES = (
    "Letters are bands: two models of a column share one unless a test told them apart (on the same images where that "
    "can be, Holm-corrected over all pairs of the column, at 5 %). Bold: no test told it apart from the best. Of "
    "several training seeds there is the mean, the 95 % interval of the images, and behind ± the standard deviation "
    "over the seeds; of one, bands are said of those weights, not of how they were trained. Of more than 40, each "
    "is held against the best one alone, by intervals."
)


def page(board: Board, publications: Sequence[Table] = ()) -> str:
    """The markdown of a track's leaderboard.

    Args:
        board: the results.
        publications: tables of published rows (:func:`jembench.pages.tables.publications.tables`).

    Raises:
        UserError: if there are neither results nor published rows.
    """
    name = board.track.rpartition("-v")[0]
    if not board.groups and not publications:
        raise UserError(f"track {name} has no golden results and no published rows, so no leaderboard")
    rows = list(board.rows())
    origins = [f"the golden results in `baselines/{name}`"] if any(not row.guest for row in rows) else []
    origins += ["results of a user"] if any(row.guest for row in rows) else []
    origins += [f"`leaderboards/{published.PUBLISHED}`"] if publications else []
    nothing = "" if board.groups else " Nothing of ours is measured on this track yet."
    blocks = [
        f"# Leaderboard: {name}",
        f"{board.about[:1].upper()}{board.about[1:]}. Written by `jembench leaderboard --track {name}` from "
        f"{' and '.join(origins)}; do not edit.{nothing}",
    ]
    bodies = [_body(board, group) for group in board.groups]
    if publications:
        bodies.append(f"## Published\n\n{PUBLISHED}\n\n{report.markdown_of(publications).rstrip()}")
    if board.groups:
        blocks += ["## Headlines", *_opening(board), RULES, _links(bodies)]
    return "\n\n".join([*blocks, *bodies]) + "\n"


def _opening(board: Board) -> Iterator[str]:
    """The overview of every group, and which results are in none of the first."""
    for group in board.groups:
        section = group.section(OVERVIEW)
        if section is not None:
            yield f"### Headlines, protocol `{group.hash[:12]}`"
            yield _table(section)
    if board.apart:
        yield "Not ranked together:\n\n" + "\n".join(f"- {report.harmless(reason)}" for reason in board.apart)


def _links(bodies: Sequence[str]) -> str:
    """Links to all tables below."""
    titles = [line for body in bodies for line in body.splitlines() if line.startswith(("## ", "### "))]
    anchors = [_anchor(title) for title in titles]
    links = []
    for place, (title, anchor) in enumerate(zip(titles, anchors, strict=True)):
        again = anchors[:place].count(anchor)
        indent = "  " if title.startswith("###") else ""
        links.append(f"{indent}- [{title.lstrip('# ')}](#{anchor}{f'-{again}' if again else ''})")
    return "\n".join(links)


def _body(board: Board, group: Group) -> str:
    """A group: what it is of, a table for each evaluator, all numbers behind a fold, the models."""
    first = group.members[0].document
    sizes = ", ".join(f"{name} {facts.n}" for name, facts in first.protocol.sources.items())
    attacked = bool(first.settings("robustness"))
    title = f"{group.title[:1].upper()}{group.title[1:]}: protocol {group.protocol} on {board.track}"
    facts = f"Examples: {sizes}.{_subsets(first)}"
    if attacked:
        facts += " eps is in units of [0, 1] pixels; every adversarial was judged anew, in fp32, in ball and range."
        facts += _bounds([part.document for part in group.members]) if _external(first) else ""
    blocks = [f"## {title} (`{group.hash[:12]}`)", facts]
    file = _pictures(board, PICTURE if attacked else HYBRID).get(group.hash)
    if file:
        what = "worst-case accuracy against eps" if attacked else "accuracy against the quality of samples"
        blocks.append(f"![{what}]({file})")
    for section in group.sections:
        if section.key != OVERVIEW:
            blocks += [f"### {section.title}", _table(section)]
    documents = documents_of(group)
    blocks.append(f"<details><summary>All numbers</summary>\n\n{_demoted(report.markdown(documents))}\n\n</details>")
    blocks.append(_models(group.members))
    return "\n\n".join(blocks)


def documents_of(group: Group) -> list[ResultDocument]:
    """The results of a group that are of its whole protocol, with means over training seeds, by name."""
    whole = [part.means or part.document for part in group.members if part.document.protocol_hash == group.hash]
    return sorted(whole, key=lambda document: document.model.name)


def _demoted(text: str) -> str:
    """Tables under titles of a lower level, which no link leads to."""
    return text.replace("### ", "#### ").rstrip()


def _table(section: Ranking) -> str:
    """A section as a table with its notes."""
    header, rows = words.grid(section, words.markdown)
    notes = "\n".join(f"_{report.harmless(note)}_  " for note in words.notes(section))
    rows = [[report.harmless(name), *cells] for name, *cells in rows]
    return f"{report.github(rows, header)}\n\n{notes}".rstrip()


def _anchor(title: str) -> str:
    """What GitHub calls the place of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lstrip("# ").lower()).replace(" ", "-")


def pictures(board: Board) -> dict[str, Figure]:
    """The pictures beside the leaderboard, by the names of their files; each is of one group."""
    from jembench.pages.pictures import generation, plots

    figures = {}
    for kind, draw in ((HYBRID, generation.tradeoff), (PICTURE, plots.robustness)):
        files = _pictures(board, kind)
        for group in board.groups:
            figure = draw(documents_of(group)) if group.hash in files else None
            if figure is not None:
                figures[files[group.hash]] = figure
    return figures


def _pictures(board: Board, kind: str) -> dict[str, str]:
    """The file of the picture of every group that has one; of several, each has its protocol in its name."""
    if kind == HYBRID:
        keys = [
            group.hash
            for group in board.groups
            if len(documents_of(group)) > 1 and any(map(_traded, documents_of(group)))
        ]
    else:
        keys = [group.hash for group in board.groups if group.bare]
    name = board.track.rpartition("-v")[0]
    return {key: f"{name}-{kind}{'' if len(keys) == 1 else f'-{key[:12]}'}.png" for key in keys}


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


def _external(document: ResultDocument) -> bool:
    """Whether the images of a result are photographs of published sets."""
    name = document.track.rpartition("-v")[0]
    return name in data.TRACKS and data.track(name).external


def _bounds(documents: Sequence[ResultDocument]) -> str:
    """A sentence about the attacks on photographs: numbers of a short battery are read beside RobustBench's."""
    words = met(documents)
    if not words:
        return ""
    if "AutoAttack" in words:
        return f" Attacks: {words}: upper bounds."
    return f" Attacks: {words}, no AutoAttack: upper bounds, not to be held against AutoAttack's."


def _models(members: Sequence[Evidence]) -> str:
    """Which weights the rows are of, how they were measured, and over how many trainings they are means."""
    lines = ["### models", ""]
    for part in sorted(members, key=lambda part: part.document.model.name):
        document = part.document
        versions = ", ".join(sorted({environment.jembench for environment in document.provenance.environments}))
        weights = (document.model.weights_sha256 or "none")[:12]
        lines.append(
            f"- `{document.model.name}`: {_seeds(document, part.seeds)}; weights `{weights}`, "
            f"{document.cost.forwards:,} forward passes and {document.cost.gradients:,} input gradients of single "
            f"examples, jembench {versions}"
        )
    return "\n".join(lines)


def _seeds(document: ResultDocument, seeds: Seeds | None) -> str:
    """The training seeds of a model; the figures that some of them lack are named."""
    if seeds is None:
        return "1 training seed: its intervals hold test variance only"
    words = f"mean of {len(seeds.runs)} training seeds; weights of seed {seeds.shipped(document).seed} shipped"
    alone = [metric.id for metric in document.metrics if metric.value is not None and seeds.absent(metric.id)]
    return words + (f"; of these weights alone: {', '.join(alone)}" if alone else "")
