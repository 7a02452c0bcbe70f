"""Summaries: the answer of a run on one screen, from result documents alone.

At most :data:`LINES` lines and :data:`COLUMNS` columns: who was measured and on what, the headlines of every evaluator
with their intervals, why a cell is empty, what to look at, where the pictures lie, and one next command. Of one model
and several headlines each is a row; of suite ``ood`` alone the three scores of the paper are rows and the OOD sets
columns; several models are rows. What does not fit is in all tables, ``--full``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from string import ascii_lowercase

from jembench.evaluators import EVALUATORS
from jembench.evaluators.quantities import Headline, matches
from jembench.metrics.metric import Metric
from jembench.metrics.scores import PAPER, SCORES
from jembench.pages import remarks
from jembench.pages.tables import ood
from jembench.pages.tables.figures import BAND, brief, interval
from jembench.pages.tables.robustness import threats
from jembench.store.results import ResultDocument

LINES = 20
COLUMNS = 100
ROWS = 10  # models of a summary, the first
PLAIN = 5  # metrics that stand for the headlines of an evaluator without any
CHOSEN = ("detectors", "scores")  # evaluators of what a user asks for by name
GAP = "  "
ELLIPSIS = "…"
LABEL = 10  # columns of a label

#: Evaluators as a reader asks for them; others come behind.
INTEREST = ("accuracy", "calibration", "ood", "robustness", "generation", "likelihood", "stress", "shifts", "chains")


@dataclass(frozen=True)
class Summary:
    """A summary before it has a format.

    Attributes:
        title: who was measured, on what.
        header: names of the columns, the first of the rows' names.
        rows: cells of the table: a name, then ``(value, interval)``, either of which may be empty.
        words: a sentence for each row, or none at all.
        notes: why cells are empty, what was left out, what must be known.
        remarks: what to look at, a sentence each.
        more: what there was no room for; empty if all is there.
    """

    title: str
    header: list[str]
    rows: list[list[tuple[str, str]]]
    words: list[str]
    notes: list[str]
    remarks: list[str]
    more: str = ""


def headlines(document: ResultDocument) -> list[tuple[Headline, Metric]]:
    """The headlines of a result with its metrics, in the order of the evaluators; those it has not are left out."""
    known = {f"<{norm}>": f"{norm}-{eps:g}" for norm, eps in threats(document).items()}
    pairs = []
    for entry in document.protocol.evaluators:
        evaluator = EVALUATORS.get(entry["name"])
        mine = [metric for metric in document.metrics if metric.evaluator == entry["name"]]
        plain = tuple(Headline(metric.id, metric.id, "") for metric in mine[:PLAIN])
        for headline in getattr(evaluator, "headlines", ()) or plain:
            found = [metric for metric in mine if matches(headline.id, metric.id, known)]
            if entry["name"] in CHOSEN:  # by the user, so that each is wanted
                pairs += [(replace(headline, title=f"{headline.title} {metric.variant}"), metric) for metric in found]
            else:
                pairs += [(headline, metric) for metric in found[:1]]
    return pairs


def first(document: ResultDocument) -> tuple[Headline, Metric] | None:
    """The headline that a list of results shows: of the evaluator that the suite is called after, or the first one."""
    pairs = [pair for pair in headlines(document) if pair[1].value is not None]
    by_evaluator: dict[str, tuple[Headline, Metric]] = {}
    for pair in pairs:
        by_evaluator.setdefault(pair[1].evaluator, pair)
    return by_evaluator.get(document.suite) or next(iter(by_evaluator.values()), None)


def summary(documents: Sequence[ResultDocument], *, width: int = COLUMNS) -> Summary:
    """The summary of results of one track; several suites of one model are one row.

    Args:
        documents: the results, at least one.
        width: columns that its table may have.
    """
    rows = _rows(documents)
    suites = "+".join(dict.fromkeys(document.suite for document in documents))
    protocols = list(dict.fromkeys(document.protocol.name for document in documents))
    whose = "" if protocols == ["v1"] else f" · protocol {', '.join(protocols)}"
    fair = alike(documents)
    what = _images(documents) if fair else "OF DIFFERENT PROTOCOLS OR SIZES: not to be compared"
    title = f"{documents[0].track} · {suites}{whose} · {what}"
    notes = [f"warning: {words}" for words in dict.fromkeys(w for document in documents for w in document.warnings)]
    looks = list(dict.fromkeys(remarks.remarks(documents)))
    if len(rows) > 1:
        return _of_models(title, rows, notes, looks, width, fair=fair)
    title = f"{remarks.short_name(documents[0].model.name)} · {title}"
    if {entry["name"] for document in documents for entry in document.protocol.evaluators} == {"ood"}:
        return _of_sets(title, documents[0], notes, looks, width)
    return _of_one(title, documents, notes, looks)


def _rows(documents: Sequence[ResultDocument]) -> dict[str, list[ResultDocument]]:
    """The results of each row by its name: several suites of one model, of one seed, limit and protocol."""
    groups: dict[tuple[object, ...], list[ResultDocument]] = {}
    for document in documents:
        model, protocol = document.model, document.protocol.name
        same = (model.name, model.fingerprint, document.seed, document.limit, protocol)
        number = sum(each.suite == document.suite for each in groups.get((*same, 0), []))
        groups.setdefault((*same, number), []).append(document)
    names = [remarks.short_name(group[0].model.name) for group in groups.values()]
    labels = [
        name if names.count(name) == 1 else f"{name} ({names[: place + 1].count(name)})"
        for place, name in enumerate(names)
    ]
    return dict(zip(labels, groups.values(), strict=True))


def alike(documents: Sequence[ResultDocument]) -> bool:
    """Whether results are of the same images under one protocol, as far as they share sources."""
    facts: dict[str, object] = {}
    return len({document.protocol.name for document in documents}) == 1 and all(
        facts.setdefault(name, each) == each
        for document in documents
        for name, each in document.protocol.sources.items()
    )


def _images(documents: Sequence[ResultDocument]) -> str:
    """What was looked at: ``360 test images against 6 OOD sets``."""
    sources = {name: facts.n for document in documents for name, facts in document.protocol.sources.items()}
    words = f"{sources['test']:,} test images" if "test" in sources else f"{sum(sources.values()):,} images"
    sets = list(dict.fromkeys(name for document in documents for name in ood.names(document)))
    return f"{words} against {len(sets)} OOD sets" if sets else words


def _of_sets(
    title: str, document: ResultDocument, notes: list[str], looks: list[str], width: int, left_out: int = 0
) -> Summary:
    """The paper's table: a row for each of its scores, a column for the mean and each OOD set there is room for."""
    sets = ["mean", *ood.names(document)]
    sets = sets[: len(sets) - left_out]
    cells = {(score.name, name): document.metric(f"{name}/{score.name}/auroc") for score in PAPER for name in sets}
    marks = _Marks()
    rows = []
    for score in PAPER:
        metrics = [cells[score.name, name] for name in sets]
        rows += [
            [(score.title, ""), *((marks.cell(metric)[0], "") for metric in metrics)],
            [("", ""), *((_ends(metric), "") for metric in metrics)],
        ]
    page = Summary(title, ["AUROC", *sets], rows, [], [*marks.notes, *notes], looks)
    if not _fits(page, width) and len(sets) > 2:
        return _of_sets(title, document, notes, looks, width, left_out + 1)
    more = f"{left_out} more OOD sets" if left_out else ""
    return replace(page, remarks=[*filter(None, [_best(document)]), *looks], more=more)


def _ends(metric: Metric | None) -> str:
    return "" if metric is None else interval(metric, digits=2)


def _best(document: ResultDocument) -> str:
    """The best of all scores by their means over the sets."""
    means = {score.title: document.metric(f"mean/{score.name}/auroc") for score in SCORES.values()}
    values = {title: metric for title, metric in means.items() if metric is not None and metric.value is not None}
    if not values:
        return ""
    title, metric = max(values.items(), key=lambda item: item[1].value or 0.0)
    return f"highest mean of {len(values)} scores: {title} {brief(metric)} {interval(metric)}".rstrip() + ", not tested"


def _of_one(title: str, documents: Sequence[ResultDocument], notes: list[str], looks: list[str]) -> Summary:
    """A row for each headline, at most as many as there is room for, those of every evaluator first."""
    pairs = _unique([pair for document in documents for pair in headlines(document)])
    ranks = _ranks(pairs)
    last = sorted(ranks)[:ROWS][-1:]
    chosen = [pair for rank, pair in zip(ranks, pairs, strict=True) if rank <= last[0]]
    marks = _Marks()
    rows = [[(_titled(headline, [metric]), ""), marks.cell(metric)] for headline, metric in chosen]
    words = [headline.about for headline, _ in chosen]
    left_out = len(pairs) - len(chosen)
    more = f"{left_out} more headlines" if left_out else ""
    return Summary(title, ["", ""], rows, words, [*marks.notes, *notes], looks, more)


def _ranks(pairs: Sequence[tuple[Headline, Metric]]) -> list[tuple[int, int]]:
    """How soon each headline is shown: the first of every evaluator, in the order of interest, then the second ones."""
    seen: dict[str, int] = {}
    ranks = []
    for _, metric in pairs:
        rank = seen[metric.evaluator] = seen.get(metric.evaluator, -1) + 1
        ranks.append((rank, INTEREST.index(metric.evaluator) if metric.evaluator in INTEREST else len(INTEREST)))
    return ranks


def _titled(headline: Headline, metrics: Sequence[Metric | None]) -> str:
    """A title with an arrow to where the better values are."""
    better = next((metric.better for metric in metrics if metric is not None), "neither")
    return f"{headline.title}{ {'higher': ' ↑', 'lower': ' ↓'}.get(better, '') }"


def _of_models(
    title: str,
    models: dict[str, list[ResultDocument]],
    notes: list[str],
    looks: list[str],
    width: int,
    *,
    fair: bool,
) -> Summary:
    """A row for each model, a column for each headline that there is room for, those of every evaluator first."""
    found = {name: _unique([p for document in group for p in headlines(document)]) for name, group in models.items()}
    columns: dict[tuple[str, str], tuple[tuple[int, int], Headline]] = {}
    for pairs in found.values():
        for rank, (headline, metric) in zip(_ranks(pairs), pairs, strict=True):
            columns.setdefault((metric.evaluator, headline.id), (rank, headline))
    order = sorted(columns, key=lambda key: columns[key][0])
    cells = {
        name: {(metric.evaluator, headline.id): metric for headline, metric in pairs}
        for name, pairs in list(found.items())[:ROWS]
    }
    while True:
        marks = _Marks()
        header = ["", *(_titled(columns[key][1], [row.get(key) for row in cells.values()]) for key in order)]
        rows = [[(name, ""), *(marks.cell(row.get(key)) for key in order)] for name, row in cells.items()]
        if len(cells) == 2 and fair:
            verdicts = [_better({name: row.get(key) for name, row in cells.items()}) for key in order]
            rows.append([("better", ""), *((verdict, "") for verdict in verdicts)])
        page = Summary(title, header, rows, [], [*marks.notes, *notes], looks)
        if len(order) < 2 or _fits(page, width):
            break
        order = order[:-1]
    left_out = {"models": len(found) - len(cells), "headlines": len(columns) - len(order)}
    return replace(page, more=", ".join(f"{count} more {what}" for what, count in left_out.items() if count))


def _better(metrics: Mapping[str, Metric | None]) -> str:
    """Which of two models is better, where their intervals do not overlap."""
    (one, first), (other, second) = metrics.items()
    ends = [end for metric in (first, second) if metric is not None for end in (metric.low, metric.high)]
    if first is None or second is None or first.better == "neither" or BAND in (first.method, second.method):
        return "–"
    if None in ends or not ends:
        return "–"
    low, high, other_low, other_high = (end or 0.0 for end in ends)
    if low <= other_high and other_low <= high:
        return "not sure"
    return one if (low > other_high) == (first.better == "higher") else other


def _unique(pairs: Sequence[tuple[Headline, Metric]]) -> list[tuple[Headline, Metric]]:
    return list({(metric.evaluator, metric.id): (headline, metric) for headline, metric in pairs}.values())


class _Marks:
    """Cells of metrics; an empty one has a letter, which a note explains."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    @property
    def notes(self) -> list[str]:
        """Why cells are empty, a line for each reason."""
        return [f"({letter}) {reason}" for reason, letter in self._letters.items()]

    def cell(self, metric: Metric | None) -> tuple[str, str]:
        """The value of a metric and its interval."""
        if metric is None:
            return "—", ""
        if metric.value is None:
            letter = self._letters.setdefault(metric.reason or "not measured", ascii_lowercase[len(self._letters) % 26])
            return f"— ({letter})", ""
        return brief(metric), interval(metric)


def text(
    page: Summary, *, width: int = COLUMNS, aside: str = "", more: Sequence[tuple[str, str]] = (), table: bool = False
) -> str:
    """A summary for a terminal: warnings, reasons and one remark have their room, if need be in place of rows.

    Args:
        page: the summary.
        width: columns of the terminal.
        aside: words at the end of the first line, such as how long it took.
        more: further lines with their labels, such as ``("Pictures", …)``.
        table: whether the table stands alone.
    """
    lines = _grid(page, width)
    if table:
        return "\n".join(lines) + "\n"
    space = width - len(page.title) - len(aside)
    head = [f"{page.title}{' ' * space}{aside}"] if space >= 2 else _wrapped(f"{page.title}  {aside}", width)
    head = [line.rstrip() for line in head if line.strip()]
    tail = [line for label, words in more for line in _labelled(label, words, width)]
    notes = [_wrapped(note, width) for note in page.notes]
    looks = [_labelled("Look at" if place == 0 else "", look, width) for place, look in enumerate(page.remarks)]
    needed = sum(map(len, [*notes, *looks[:1]]))
    lost = max(0, len(lines) + needed + bool(page.more) - (LINES - len(head) - len(tail) - 2))
    kept = max(len(lines) - lost - (lost > 0 and not page.more), 2)
    words = [page.more, f"{len(lines) - kept} more lines" * (kept < len(lines))]
    rest = _wrapped(f"{', '.join(filter(None, words))}: --full", width) if any(words) else []
    room = LINES - len(head) - len(tail) - 2 - kept - len(rest)
    shown: list[list[str]] = []
    for block in (*notes, *looks[:1], *looks[1:]):
        if len(block) <= room:
            shown.append(block)
            room -= len(block)
    middle = [line for block in notes if block in shown for line in block]
    looking = [line for block in looks if block in shown for line in block]
    parts = [head, [*lines[:kept], *middle, *rest], [*looking, *tail]]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _sizes(page: Summary) -> list[int]:
    """The widths of the columns of a table."""
    table = [page.header, *([_joined(cell) for cell in row] for row in page.rows)]
    return [max(len(row[place]) for row in table) for place in range(len(page.header))]


def _fits(page: Summary, width: int) -> bool:
    """Whether the table is not wider than that."""
    sizes = _sizes(page)
    return sum(sizes) + len(GAP) * (len(sizes) - 1) <= width


def _grid(page: Summary, width: int) -> list[str]:
    """The lines of the table, each with its sentence if there are some."""
    sizes = _sizes(page)
    lines = []
    table = [page.header, *([_joined(cell) for cell in row] for row in page.rows)]
    for words, row in zip(["", *(page.words or [""] * len(page.rows))], table, strict=True):
        line = GAP.join([*(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)), words])
        lines.append(_cut(line.rstrip(), width))
    return lines if any(page.header) else lines[1:]


def _joined(cell: tuple[str, str]) -> str:
    return " ".join(filter(None, cell))


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 1].rstrip()}{ELLIPSIS}"


def _wrapped(words: str, width: int) -> list[str]:
    return textwrap.wrap(
        words, max(width, LABEL), subsequent_indent="    ", break_long_words=True, break_on_hyphens=False
    )


def _labelled(label: str, words: str, width: int) -> list[str]:
    lines = textwrap.wrap(
        words, max(width - LABEL, LABEL), break_long_words=False, break_on_hyphens=False
    )  # a path stays whole
    return [f"{label if place == 0 else '':{LABEL}}{line}" for place, line in enumerate(lines)]


def html(page: Summary) -> str:
    """A summary as a fragment of HTML, all text escaped."""

    def row(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"

    body = []
    for place, cells in enumerate(page.rows):
        shown = [f"{escape(value)} <small>{escape(ends)}</small>" if ends else escape(value) for value, ends in cells]
        body.append(row([*shown, *([escape(page.words[place])] if page.words else [])], "td"))
    header = [*map(escape, page.header), *([""] if page.words else [])]
    notes = "".join(
        f"<li>{escape(note)}</li>"
        for note in (*page.notes, *page.remarks, *([f"{page.more}: frame()"] if page.more else []))
    )
    return (
        f'<div class="jembench"><p><b>{escape(page.title)}</b></p><table><thead>{row(header, "th")}</thead>'
        f"<tbody>{''.join(body)}</tbody></table>{f'<ul>{notes}</ul>' if notes else ''}</div>"
    )
