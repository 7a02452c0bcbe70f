"""Sheets: sections of a board as tables of a page, each number with its interval, band and a small picture of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from jembench.metrics.metric import Metric
from jembench.pages.boards import words
from jembench.pages.boards.board import OVERVIEW, Cell, Heading, Ranking, Standing
from jembench.pages.site.render import visible
from jembench.pages.tables.figures import BAND, ends, number

LONGEST = 400  # letters of a note
DIRECTIONS = {"higher": "higher is better", "lower": "lower is better", "neither": ""}
HEADLINES = "Headlines"


@dataclass(frozen=True)
class Head:
    """A column of a sheet.

    Attributes:
        title: its name, with an arrow to the better values.
        about: one sentence that says what it is.
        first: ``descending`` or ``ascending``: the order that has the best values first.
        detectable: true difference that a test of two models finds with a power of .8; empty where nothing is tested.
    """

    title: str
    about: str
    first: str
    detectable: str = ""


@dataclass(frozen=True)
class Line:
    """A row of a sheet.

    Attributes:
        name: of the model.
        link: address of its page; empty if it has none.
        guest: whether a user added it.
        trainings: number of training seeds behind its numbers.
        cells: elements ``td``.
    """

    name: str
    link: str
    guest: bool
    trainings: int
    cells: tuple[Markup, ...]


@dataclass(frozen=True)
class Sheet:
    """A section of a board as a table.

    Attributes:
        key: of the section.
        title: what it is called.
        about: what it is of, a sentence; may be empty.
        heads: its columns.
        lines: its rows, the best of the first column first.
        notes: why numbers are missing or marked.
        band: letters of the longest band, the room that it needs.
    """

    key: str
    title: str
    about: str
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    band: int


def sheet(section: Ranking, link: Callable[[Standing], str]) -> Sheet:
    """The table of a section; the overview says what measuring took.

    Args:
        section: the section.
        link: function from a row to the address of its page.
    """
    whole = section.key == OVERVIEW
    order = sorted(section.rows, key=lambda row: _rank(section, row))
    spans = [_span([row.cells[place] for row in section.rows]) for place in range(len(section.columns))]
    lines = []
    for row in order:
        cells = [cell(each, span) for each, span in zip(row.cells, spans, strict=True)]
        cells += [_passes(row.passes)] if whole else []
        lines.append(Line(visible(row.name), link(row), row.guest, row.trainings, tuple(cells)))
    heads = [head(column) for column in section.columns]
    if whole:
        about = "forward and backward passes of single examples that measuring took, attacks apart"
        heads.append(Head(f"{words.PASSES}{arrow('lower')}", about, "ascending"))
    title, _, about = section.title.partition(": ")
    band = max((len(each.band) for row in section.rows for each in row.cells), default=0)
    title = HEADLINES if whole else title
    return Sheet(section.key, title, about, tuple(heads), tuple(lines), tuple(notes(section)), band)


def head(column: Heading) -> Head:
    """A column of a board as one of a sheet."""
    first = "ascending" if column.better == "lower" else "descending"
    unit = f", {column.unit}" if column.unit not in ("", column.headline.title) else ""
    about = "; ".join(filter(None, [column.headline.about, DIRECTIONS[column.better]]))
    detectable = "" if column.detectable is None else number(column.detectable)
    return Head(f"{column.headline.title}{unit}{arrow(column.better)}", about, first, detectable)


def arrow(better: str) -> str:
    """Where the better values are, on one line with the word before it."""
    return words.ARROWS[better].replace(" ", "\u00a0")


def cell(cell: Cell, span: tuple[float, float] | None) -> Markup:
    """A number as an element ``td``: value and band, interval and spread below, and both as a dot on a line.

    Args:
        cell: the number.
        span: the ends of that line; None for no picture.
    """
    value = cell.metric.value
    if value is None:
        return Markup('<td class="none">—</td>')
    kind = "v bold" if cell.best else "v"
    mark = '<span class="fault">†</span>' if cell.fault else ""
    rest = interval(cell)
    below = f'<span class="ci">{rest}</span>' if rest else ""
    first = f'<span class="{kind}">{number(value)}{mark}<sup class="band">{escape(cell.band)}</sup></span>'
    return Markup(f'<td data-v="{value:.6g}">{first}{below}{_whisker(cell.metric, span)}</td>')


def interval(cell: Cell) -> str:
    """The interval of the images, and behind ``±`` the standard deviation over training seeds."""
    metric, parts = cell.metric, []
    if metric.low is not None and metric.high is not None:
        both = ends(number(metric.low), number(metric.high))
        parts.append(f"‹{both}›" if metric.method == BAND else both)
    if cell.spread is not None:
        parts.append(f"±{number(cell.spread)}")
    return " ".join(parts)


def notes(section: Ranking) -> list[str]:
    """Why numbers of a section are marked or missing, and what else a reader must know."""
    models: dict[str, dict[str, None]] = {}
    for row in section.rows:
        for each in row.cells:
            if each.fault:
                models.setdefault(f"{words.DAGGER} not reliable, never ranked: {each.fault}", {})[row.name] = None
            elif each.metric.value is None and each.metric.reason:
                models.setdefault(f"— {each.metric.reason}", {})[row.name] = None
    lines = [f"{why} ({', '.join(names)})" for why, names in models.items()]
    lines += ["* added by a user"] if any(row.guest for row in section.rows) else []
    return [shortened(line) for line in [*lines, *section.notes]]


def shortened(text: str) -> str:
    """Text of at most :data:`LONGEST` letters."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()} …"


def rank(cell: Cell, better: str) -> tuple[bool, float]:
    """The place of a number in a column: the best first, those without a value last."""
    value = cell.metric.value
    return value is None, (1.0 if better == "lower" else -1.0) * (value or 0.0)


def _rank(section: Ranking, row: Standing) -> tuple[bool, float]:
    return rank(row.cells[0], section.columns[0].better) if row.cells else (True, 0.0)


def _span(cells: Sequence[Cell]) -> tuple[float, float] | None:
    """The ends of all intervals of a column; None where all are alike."""
    known = [each.metric for each in cells if each.metric.value is not None]
    ends = [end for metric in known for end in _ends(metric)]
    return (min(ends), max(ends)) if ends and min(ends) < max(ends) else None


def _ends(metric: Metric) -> tuple[float, float, float]:
    value = metric.value or 0.0
    if metric.method == BAND or metric.low is None or metric.high is None:
        return value, value, value
    return metric.low, value, metric.high


def _whisker(metric: Metric, span: tuple[float, float] | None) -> str:
    """The number as a dot and its interval as a line between the ends of all."""
    if span is None:
        return ""
    low, value, high = (100 * (end - span[0]) / (span[1] - span[0]) for end in _ends(metric))
    return f'<i class="w" style="--a:{low:.0f};--v:{value:.0f};--b:{high:.0f}"></i>'


def _passes(count: int) -> Markup:
    return Markup('<td data-v="{}"><span class="v">{}</span></td>').format(count, words.thousands(count))
