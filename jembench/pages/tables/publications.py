"""Tables of published numbers: words, which no leaderboard can rank, in tables that hold none of our numbers."""

from __future__ import annotations

from collections.abc import Sequence

from jembench.choices.published import Row, Section, place, read
from jembench.pages.tables.table import Cell, Table

#: How a number was checked -> its mark, and what the mark means.
MARKS = {
    "code": ("", "without a mark: read in the authors' repository"),
    "secondary": ("‡", "‡ quoted by a later source"),
    "recalled": ("†", "† recalled from the literature, not read there again"),
}


def tables(track: str) -> list[Table]:
    """The tables of a track's published rows; none if there are no rows.

    Raises:
        UserError: see :func:`read`.
    """
    return [_table(section) for section in read(place()) if section.track == track]


def _table(section: Section) -> Table:
    """Rows of words, with remarks, marks and sources below."""
    remarks = list(dict.fromkeys(row.remark for row in section.rows if row.remark))
    labels = any(row.label for row in section.rows)
    rows: list[list[Cell]] = []
    for row in section.rows:
        label = f"{row.label} ({remarks.index(row.remark) + 1})" if row.remark else row.label
        values = ["—" if value is None else f"{value:f}" for value in row.values]
        rows.append([f"{row.model} {MARKS[row.checked][0]}".rstrip(), *([label] if labels else []), *values])
    notes = [section.remark] if section.remark else []
    notes += [f"({number}) {remark}" for number, remark in enumerate(remarks, start=1)]
    notes += [words for origin, (_, words) in MARKS.items() if any(row.checked == origin for row in section.rows)]
    if any(value is None for row in section.rows for value in row.values):
        notes.append("—: not reported, or not known")
    for source, models in _sources(section.rows).items():
        notes.append(f"{source}: {'; '.join(models)}")
    return Table(f"{section.title} · published", list(section.header), rows, notes)


def _sources(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Source -> the models that it is of."""
    sources: dict[str, dict[str, None]] = {}
    for row in rows:
        sources.setdefault(row.source, {})[row.model] = None
    return {source: list(models) for source, models in sources.items()}
