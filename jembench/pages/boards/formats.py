"""Boards for other programs: CSV, JSON and LaTeX, each a function from a board to text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

from jembench.pages.boards import words
from jembench.pages.boards.board import OVERVIEW, Board, Cell, Group, Heading, Standing

#: Columns of the CSV, and keys of a number in JSON.
FIELDS = (
    *("track", "protocol", "protocol_hash", "model", "added", "trainings", "evaluator", "metric", "title", "unit"),
    *("better", "value", "low", "high", "method", "n", "spread", "band", "best", "fault", "reason", "detectable"),
)
ESCAPES = {"\\": r"\textbackslash{}", **{each: f"\\{each}" for each in "&%$#_{}"}, "~": r"\~{}", "^": r"\^{}"}


def as_csv(board: Board) -> str:
    """A line for each headline of each model, with :data:`FIELDS`; nothing that a spreadsheet takes for a formula."""
    file = io.StringIO()
    writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
    writer.writeheader()
    for group in board.groups:
        writer.writerows({key: _harmless(item) for key, item in number.items()} for number in _numbers(board, group))
    return file.getvalue()


def as_json(board: Board) -> str:
    """The groups with their numbers, and why results are apart; null where there is no value."""
    groups = [
        {"title": group.title, "protocol": group.protocol, "protocol_hash": group.hash}
        | {
            "numbers": [
                {key: item for key, item in number.items() if key in FIELDS} for number in _numbers(board, group)
            ]
        }
        for group in board.groups
    ]
    content = {"schema_version": 1, "track": board.track, "about": board.about, "groups": groups, "apart": board.apart}
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def as_latex(board: Board) -> str:
    """A booktabs table for each section, with what its marks mean in comments."""
    from tabulate import tabulate

    blocks = []
    for group in board.groups:
        for section in group.sections:
            header, rows = words.grid(section, words.latex)
            names = [[escaped(name), *map(_dashes, cells)] for name, *cells in rows]
            titles = [escaped(title).replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$") for title in header]
            align = ("left", *("right",) * (len(header) - 1))
            table = tabulate(names, headers=titles, tablefmt="latex_raw", disable_numparse=True, colalign=align)
            table = table.replace("\\hline", "\\toprule", 1).replace("\\hline", "\\midrule", 1)
            table = table.replace("\\hline", "\\bottomrule", 1)
            notes = [
                f"{board.track}, {group.title}, protocol {group.hash[:12]}: {section.title}",
                *words.notes(section),
            ]
            comments = [f"% {' '.join(note.split())}" for note in notes]
            blocks.append("\n".join([*comments, table]))
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    r"""Text as LaTeX prints it.

    >>> escaped("a_b & 5 %")
    'a\\_b \\& 5 \\%'
    """
    return "".join(ESCAPES.get(letter, letter) for letter in text)


def _dashes(cell: str) -> str:
    return cell.replace("—", "--")


def _numbers(board: Board, group: Group) -> Iterator[dict[str, Any]]:
    """Every headline of every model, with the fields of the CSV."""
    for section in group.sections:
        if section.key != OVERVIEW:
            for row in section.rows:
                for column, cell in zip(section.columns, row.cells, strict=True):
                    yield _number(board, group, row, column, cell)


def _number(board: Board, group: Group, row: Standing, column: Heading, cell: Cell) -> dict[str, Any]:
    metric = cell.metric
    content = (
        *(board.track, group.protocol, group.hash, row.name, row.guest, row.trainings, column.evaluator, column.metric),
        *(column.headline.title, column.unit, column.better, metric.value, metric.low, metric.high, metric.method),
        *(sum(metric.n.values()), cell.spread, cell.band, cell.best, cell.fault, metric.reason, column.detectable),
    )
    return dict(zip(FIELDS, content, strict=True))


def _harmless(item: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{item}" if isinstance(item, str) and item.startswith(("=", "+", "-", "@", "\t", "\r")) else item


#: Format -> the ending of its file and its function.
FORMATS: dict[str, tuple[str, Callable[[Board], str]]] = {
    "csv": ("csv", as_csv),
    "json": ("json", as_json),
    "latex": ("tex", as_latex),
}
