"""From result folders to a board: which results share a group, and what is ranked in it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from jembench.data.sets import Track
from jembench.evaluators import EVALUATORS
from jembench.evaluators.quantities import QUANTITIES
from jembench.metrics.metric import Metric
from jembench.pages.boards.board import OVERVIEW, Board, Cell, Evidence, Group, Heading, Ranking, Standing
from jembench.pages.boards.current import check_current
from jembench.pages.boards.models import Model, Number, models
from jembench.pages.boards.ranking import Entrant, ranked
from jembench.pages.pairs.fit import excess
from jembench.pages.seeds import SEEDS, combined, read_seeds
from jembench.pages.tables.robustness import battery
from jembench.store.results import ProtocolEntry, ResultDocument, read_result
from jembench.types import UserError

#: Evaluators whose first headline is in the overview, in its order.
FIRST = ("accuracy", "calibration", "ood", "robustness", "generation", "likelihood")
BARE = -1  # the refinement of what has no defence


def board(track: Track, about: str, shipped: Iterable[Path], guests: Sequence[Evidence] = ()) -> Board:
    """The leaderboard of a track.

    Args:
        track: the track as it is now.
        about: what its images are.
        shipped: result folders of baselines, of any suite; ``seeds.json`` may lie beside them.
        guests: results that a user adds (:func:`added`, :func:`of_track`).

    Raises:
        UserError: if a result is damaged, of another track, or of other images than the track has now.
    """
    own = [_part(folder, track) for folder in shipped]
    strangers = {id(part) for part in guests}
    kinds: dict[tuple[str, int], list[Evidence]] = {}
    for part in [*own, *guests]:
        kinds.setdefault(kind(part.document), []).append(part)
    groups: list[Group] = []
    reasons: list[str] = []
    for each in sorted(kinds):
        found, words = _grouped(kinds[each], strangers)
        reasons += words
        groups += [_group(members, strangers) for members in found]
    bare = next((group for group in groups if group.bare), None)
    whole = tuple(_with_overview(group, bare) for group in groups)
    return Board(track.id, about, whole, tuple(dict.fromkeys(reasons)))


def added(folder: Path, track: Track) -> Evidence:
    """A result that a user adds.

    Raises:
        UserError: if it is damaged, of another track, or of other images than the track has now.
    """
    document = read_result(folder)
    check_current(document, track)
    return Evidence(document, folder)


def of_track(folders: Iterable[Path], track: Track) -> list[Evidence]:
    """The results of a track among folders that a user names, in their order.

    Raises:
        UserError: if a result is damaged, or of other images than the track has now.
    """
    found = [Evidence(read_result(folder), folder) for folder in folders]
    mine = [part for part in found if part.document.track == track.id]
    for part in mine:
        check_current(part.document, track)
    return mine


def _part(folder: Path, track: Track) -> Evidence:
    """A result of a baseline, with the training seeds beside it."""
    part = added(folder, track)
    seeds = None if part.document.settings("robustness") else read_seeds(folder.parent)
    if seeds is None:
        return part
    try:
        return replace(part, seeds=seeds, means=combined(part.document, seeds))
    except UserError as error:
        raise UserError(f"{folder.parent / SEEDS}: {error}") from error


def kind(document: ResultDocument) -> tuple[str, int]:
    """What is never in one table: all but attacks, attacks without a defence, attacks behind so many SGLD steps."""
    if not document.settings("robustness"):
        return "", 0
    settings = battery(document)
    return "robustness", int(settings["refinement"]) if settings["copies"] else BARE


def _grouped(parts: Sequence[Evidence], strangers: Collection[int]) -> tuple[list[list[Evidence]], list[str]]:
    """Parts by what they may share a table with, and why the others may not.

    The first group is of the protocol of the most evaluators, and of most results, that of shipped ones before a
    user's; a result of fewer evaluators joins the first group of whose protocol its own is a part.
    """
    protocols: dict[str, list[Evidence]] = {}
    for part in parts:
        protocols.setdefault(part.document.protocol_hash, []).append(part)
    order = sorted(
        protocols,
        key=lambda key: (
            all(id(part) in strangers for part in protocols[key]),
            -len(protocols[key][0].document.protocol.evaluators),
            -len(protocols[key]),
            key,
        ),
    )
    groups: list[list[Evidence]] = []
    anchors: list[ProtocolEntry] = []
    reasons = []
    for key in order:
        protocol = protocols[key][0].document.protocol
        misfits = [excess(protocol, anchor) for anchor in anchors]
        if None in misfits:
            groups[misfits.index(None)] += protocols[key]
            continue
        anchors.append(protocol)
        groups.append(list(protocols[key]))
        if misfits:
            names = ", ".join(sorted({f"{part.document.model.name}" for part in protocols[key]}))
            reasons.append(f"{names} (`{key[:12]}`): not ranked with `{order[0][:12]}`, since {misfits[0]}")
    return groups, reasons


def _group(members: list[Evidence], strangers: set[int]) -> Group:
    """The tables of results that may be ranked together, a section for each evaluator of the first."""
    first = members[0].document
    found = models(members, strangers)
    sections = [_section(entry["name"], found) for entry in first.protocol.evaluators]
    what, steps = kind(first)
    title = f"suite {first.suite}"
    if what:
        title = "no defence" if steps == BARE else f"refined by {steps} SGLD step{'' if steps == 1 else 's'}"
        title = f"attacks, {title}"
    present = tuple(section for section in sections if section.columns)
    bare = (what, steps) == ("robustness", BARE)
    return Group(first.protocol.name, first.protocol_hash, title, bare, tuple(members), present)


def _section(evaluator: str, found: Sequence[Model]) -> Ranking:
    """The headlines of an evaluator, over the models that have one of them."""
    ids = {key: number for model in found for key, number in model.numbers.items() if _evaluator(number) == evaluator}
    rows = [model for model in found if ids.keys() & model.numbers.keys()]
    columns, table = [], []
    for key, number in ids.items():
        empty = Metric(*_named(number.entrant.metric))
        entrants = [
            model.numbers[key].entrant if key in model.numbers else Entrant(None, empty, Cell(empty), 1)
            for model in rows
        ]
        cells, detectable = ranked(entrants)
        quantity = next((each for each in QUANTITIES.get(evaluator, ()) if each.matches(key)), None)
        unit = quantity.unit if quantity is not None else ""
        columns.append(Heading(number.headline, key, evaluator, number.entrant.metric.better, unit, detectable))
        table.append(cells)
    title = f"{evaluator}: {EVALUATORS.about(evaluator)}" if evaluator in EVALUATORS else evaluator
    cells_of = [tuple(column[place] for column in table) for place in range(len(rows))]
    return Ranking(evaluator, title, tuple(columns), tuple(map(_row, rows, cells_of)))


def _row(model: Model, cells: tuple[Cell, ...]) -> Standing:
    return Standing(model.name, model.parts, model.trainings, model.guest, cells, model.passes)


def _evaluator(number: Number) -> str:
    return number.entrant.metric.evaluator


def _named(metric: Metric) -> tuple[str, str, str]:
    return metric.name, metric.source, metric.variant


def _with_overview(group: Group, bare: Group | None) -> Group:
    """A group with one table more, before the others: the first headline of every evaluator, attacks among them."""
    if kind(group.members[0].document)[0]:
        return group
    sections = {section.key: section for section in group.sections}
    for section in bare.sections if bare is not None and bare.protocol == group.protocol else ():
        sections.setdefault(section.key, section)
    chosen = [sections[key] for key in FIRST if key in sections]
    names = {row.name: row for section in group.sections for row in section.rows}
    rows = []
    for name in sorted(names):
        cells = []
        for section in chosen:
            match = next((row for row in section.rows if row.name == name and _same(row, names[name])), None)
            cells.append(Cell(Metric("", "")) if match is None else match.cells[0])
        rows.append(replace(names[name], cells=tuple(cells)))
    overview = Ranking(OVERVIEW, "headlines", tuple(section.columns[0] for section in chosen), tuple(rows))
    return replace(group, sections=(overview, *group.sections))


def _same(one: Standing, other: Standing) -> bool:
    """Whether two rows are of the same weights."""
    weights = [{part.document.model.weights_sha256 for part in row.parts} for row in (one, other)]
    return bool(weights[0] & weights[1])
