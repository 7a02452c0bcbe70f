"""Sections in words: the cells of a table in markdown, for a terminal and in LaTeX, and the notes below it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable

from jembench.pages.boards.board import OVERVIEW, Board, Cell, Ranking, Standing
from jembench.pages.tables.figures import BAND, ends, number, short

ARROWS = {"higher": " ↑", "lower": " ↓", "neither": ""}
DAGGER = "†"
PASSES = "passes"  # the column of what measuring took
ROWS, COLUMNS, NAME, APART = 10, 100, 30, 2  # models, columns of a glance; letters of a name; results set apart


def grid(section: Ranking, cell: Callable[[Cell], str]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a section; the overview says what measuring took.

    Args:
        section: the table.
        cell: function from a cell to its words.
    """
    whole = section.key == OVERVIEW
    header = ["model", *(f"{column.headline.title}{ARROWS[column.better]}" for column in section.columns)]
    rows = []
    for row in section.rows:
        name = f"{row.name} *" if row.guest else row.name
        rows.append([name, *map(cell, row.cells), *([thousands(row.passes)] if whole else [])])
    return [*header, *([PASSES] if whole else [])], rows


def markdown(cell: Cell) -> str:
    """``0.986 (0.968–0.995) ±0.003``: value, interval of images, spread of seeds; the best bold, the band raised."""
    value = f"**{_value(cell)}**" if cell.best else _value(cell)
    band = f"<sup>{cell.band}</sup>" if cell.band else ""
    return " ".join(part for part in (f"{value}{band}", _interval(cell)) if part)


def latex(cell: Cell) -> str:
    """The same for a paper: the band raised, the interval small."""
    value = _value(cell).replace("—", "--").replace(DAGGER, r"$^\dagger$")
    value = rf"\textbf{{{value}}}" if cell.best else value
    band = f"$^{{{cell.band}}}$" if cell.band else ""
    rest = _interval(cell).replace("–", "--").replace("±", r"$\pm$").replace("‹", "$<$").replace("›", "$>$")
    small = rf"{{\scriptsize {rest}}}" if rest else ""
    return " ".join(part for part in (f"{value}{band}", small) if part)


def notes(section: Ranking) -> list[str]:
    """What the columns are, why cells are empty or marked, and what a tie may hide."""
    lines = [f"{column.headline.title}: {column.headline.about}" for column in section.columns]
    if section.key == OVERVIEW:
        lines.append(f"{PASSES}: forward and backward passes of single examples that measuring took, attacks apart")
    powers = [
        f"{column.headline.title} {number(column.detectable)}"
        for column in section.columns
        if column.detectable is not None
    ]
    if powers:
        lines.append(f"A test of two models sees a true difference of this size 4 times in 5: {', '.join(powers)}")
    empty: dict[str, list[str]] = {}
    for row in section.rows:
        for cell in row.cells:
            if cell.fault:
                empty.setdefault(f"{DAGGER} not reliable: {cell.fault}", []).append(row.name)
            elif cell.metric.value is None and cell.metric.reason:
                empty.setdefault(f"— {cell.metric.reason}", []).append(row.name)
    lines += [f"{why} ({', '.join(dict.fromkeys(names))})" for why, names in empty.items()]
    if any(row.guest for row in section.rows):
        lines.append("* added by a user")
    return [*lines, *section.notes]


def thousands(count: int) -> str:
    """A number of passes in thousands or millions.

    >>> thousands(731_262), thousands(12_345_678)
    ('731 k', '12.3 M')
    """
    return f"{count / 1e3:.0f} k" if count < 1_000_000 else f"{count / 1e6:.1f} M"


def _value(cell: Cell) -> str:
    if cell.metric.value is None:
        return "—"
    return number(cell.metric.value) + (DAGGER if cell.fault else "")


def _interval(cell: Cell) -> str:
    """The interval of the images, and the standard deviation over training seeds."""
    metric, parts = cell.metric, []
    if metric.value is not None and metric.low is not None and metric.high is not None:
        opening, closing = "‹›" if metric.method == BAND else "()"
        parts.append(f"{opening}{ends(number(metric.low), number(metric.high))}{closing}")
    if cell.spread is not None:
        parts.append(f"±{number(cell.spread)}")
    return " ".join(parts)


def glance(board: Board) -> str:
    """The overview of the first group for a terminal: values and bands, at most :data:`ROWS` models; empty without one.

    Guests stand first, then the others in the order of the first column; below, why some results stand apart.
    """
    section = next((section for group in board.groups if (section := group.section(OVERVIEW)) is not None), None)
    if section is None:
        return ""
    rows = sorted(section.rows, key=lambda row: (not row.guest, _rank(section, row)))
    header = ["", *(f"{column.headline.title}{ARROWS[column.better]}" for column in section.columns)]
    cells = [[_name(row), *map(_brief, row.cells)] for row in rows[:ROWS]]
    widths = [max(len(line[place]) for line in [header, *cells]) for place in range(len(header))]
    while sum(widths) + 2 * len(widths) > COLUMNS and len(widths) > 2:
        widths.pop()
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in [header, *cells]]
    left = len(rows) - len(cells)
    lines += [f"{left} more model{'' if left == 1 else 's'}"] if left else []
    lines.append("letters: bands that tests have told apart; * yours" if rows[0].guest else "letters: bands told apart")
    for reason in board.apart[:APART]:
        lines += textwrap.wrap(reason.replace("`", ""), COLUMNS, subsequent_indent="  ", max_lines=2, placeholder=" …")
    return "\n".join(lines) + "\n"


def _name(row: Standing) -> str:
    name = f"{row.name} *" if row.guest else row.name
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


def _rank(section: Ranking, row: Standing) -> float:
    value = row.cells[0].metric.value if row.cells else None
    return math.inf if value is None else -value if section.columns[0].better == "higher" else value


def _brief(cell: Cell) -> str:
    value = "—" if cell.metric.value is None else short(cell.metric.value)
    return f"{value}{DAGGER if cell.fault else ''} {cell.band}".rstrip()
