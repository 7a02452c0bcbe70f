"""Reports: the tables that people read, from result documents alone; no model, no data, no torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from html import escape

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from jembench.choices.protocols import V1
from jembench.evaluators import EVALUATORS
from jembench.ground.families import load
from jembench.metrics.metric import DEPENDENT, Metric
from jembench.pages.tables.figures import BAND, ends, interval, number, short, value
from jembench.pages.tables.samples import hybrid
from jembench.pages.tables.table import Cell, Table, metrics, subset
from jembench.store.results import ResultDocument

COLUMNS = 100  # of a terminal that is none


def tables(documents: Sequence[ResultDocument]) -> list[Table]:
    """The tables of every evaluator of ``documents``, results of one suite and track; several models are rows."""
    documents, marks = _marked(documents)
    evaluators = [description["name"] for description in documents[0].protocol.evaluators]
    drafts = hybrid(documents) if {"accuracy", "generation"} <= set(evaluators) else []
    drafts += [table for evaluator in evaluators for table in _page(evaluator)(documents)]
    name = documents[0].protocol.name
    whose = [] if name == V1.name else [f"protocol {name}, not {V1.name}: see `jembench explain {name}`"]
    return [
        replace(
            table,
            notes=[
                *(marks if table is drafts[0] else []),
                *whose,
                *table.notes,
                *subset(metrics(table), documents[0]),
                *_reasons(table, documents),
            ],
        )
        for table in drafts
    ]


def _marked(documents: Sequence[ResultDocument]) -> tuple[list[ResultDocument], list[str]]:
    """The documents with a mark behind the name of a model whose result has warnings, and these."""
    rows, notes = [], []
    for document in documents:
        if document.warnings:
            name = f"{document.model.name} !"
            document = document.model_copy(update={"model": document.model.model_copy(update={"name": name})})
            notes += [f"! {words}" for words in document.warnings]
        rows.append(document)
    return rows, list(dict.fromkeys(notes))


def plain(evaluator: str, documents: Sequence[ResultDocument]) -> list[Table]:
    """Every metric of an evaluator, a row each: for one that declares no tables, or is not known here."""
    rows: list[list[Cell]] = [
        [document.model.name, metric.id, metric, " + ".join(map(str, metric.n.values()))]
        for document in documents
        for metric in document.metrics
        if metric.evaluator == evaluator
    ]
    return [Table(f"{evaluator} · {documents[0].track}", ["model", "metric", "value", "n"], rows, [])]


def _page(evaluator: str) -> Callable[[Sequence[ResultDocument]], list[Table]]:
    target = getattr(EVALUATORS.get(evaluator), "tables", None)
    return partial(plain, evaluator) if not target else load(target)


def text(cell: Cell) -> str:
    """A cell as ``0.912 (0.890–0.931)``; a band in angle quotes; a dash where there is no value."""
    if isinstance(cell, str):
        return cell
    if cell.value is None:
        return "—"
    if cell.low is None or cell.high is None:
        return number(cell.value)
    opening, closing = "‹›" if cell.method == BAND else "()"
    return f"{number(cell.value)} {opening}{ends(number(cell.low), number(cell.high))}{closing}"


def texts(table: Table) -> list[list[str]]:
    """The cells of a table in words."""
    return [[text(cell) for cell in row] for row in table.rows]


def markdown(documents: Sequence[ResultDocument]) -> str:
    """GitHub markdown of all tables of results of one suite and track."""
    return markdown_of(tables(documents))


def markdown_of(tables: Sequence[Table]) -> str:
    """GitHub markdown of tables."""
    blocks = []
    for table in tables:
        rows = [[harmless(text(cell)) for cell in row] for row in table.rows]
        notes = "\n".join(f"_{harmless(note)}_  " for note in table.notes)
        blocks.append(f"### {table.title}\n\n{github(rows, table.header)}\n\n{notes}".rstrip())
    return "\n\n".join(blocks) + "\n"


def harmless(words: str) -> str:
    r"""Words of whomever as text of markdown: no tag, no link, no picture.

    >>> harmless("<img> ![x](y)")
    '&lt;img> ![x\\](y)'
    """
    return words.replace("<", "&lt;").replace("](", "\\](")


def github(rows: list[list[str]], header: list[str]) -> str:
    """A table of words in GitHub's markdown."""
    from tabulate import tabulate

    cells = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return tabulate(cells, headers=header, tablefmt="github", disable_numparse=True)


def html(table: Table) -> str:
    """A table with its notes as a fragment of HTML, all text escaped."""
    from tabulate import tabulate

    rows = [[text(cell) for cell in row] for row in table.rows]
    grid = tabulate(rows, headers=table.header, tablefmt="html", disable_numparse=True)
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return f"<p><b>{escape(table.title)}</b></p>{grid}<ul>{notes}</ul>"


def rich(table: Table) -> RichTable:
    """The table for a terminal of 80 columns: intervals dim, below their value."""
    grid = RichTable(
        title=Text(table.title) if table.title else None,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for name in table.header:
        grid.add_column(name)
    for row in table.rows:
        cells = [(cell, "") if isinstance(cell, str) else (value(cell), _range(cell, wide=table.wide)) for cell in row]
        grid.add_row(*(Text.assemble(above, (f"\n{below}" if below else "", "dim")) for above, below in cells))
    return grid


def _range(metric: Metric, *, wide: bool) -> str:
    """The interval without leading zeros; in a wide table half its width, where that is honest."""
    if metric.low is None or metric.high is None:
        return ""
    if wide:
        return interval(metric)
    both = ends(short(metric.low), short(metric.high))
    return f"‹{both}›" if metric.method == BAND else both


def terminal(tables: Sequence[Table]) -> str:
    """Tables with their notes, for stdout: nothing is wider than the terminal, and no digit is lost.

    What the encoding of stdout lacks is a question mark.
    """
    width = Console().width if sys.stdout.isatty() else COLUMNS
    console = Console(width=width)
    blocks = []
    for table in tables:
        with console.capture() as block:
            for part in parts(table, width):
                console.print(rich(part))
            for note in table.notes:
                console.print(note, style="dim", markup=False, highlight=False)
            console.print()
        blocks.append(block.get())
    return "".join(blocks).encode(console.encoding, "replace").decode(console.encoding)


def parts(table: Table, width: int) -> list[Table]:
    """A table in parts of that width at most, each with the columns of words that its rows begin with."""
    if len(table.header) < 2 or Console(width=1000).measure(rich(table)).maximum <= width:
        return [table]
    words = next(
        (place for place in range(len(table.header)) if not all(isinstance(row[place], str) for row in table.rows)), 1
    )
    for count in range(len(table.header) - 1, max(words, 1), -1):
        if Console(width=1000).measure(rich(_columns(table, range(count)))).maximum <= width:
            break
    else:
        return [table]  # its words alone are too wide: they are wrapped
    rest = _columns(table, [*range(words), *range(count, len(table.header))])
    return [_columns(table, range(count)), *parts(replace(rest, title=""), width)]


def _columns(table: Table, places: Sequence[int]) -> Table:
    """Some columns of a table."""
    rows = [[row[place] for place in places] for row in table.rows]
    return replace(table, header=[table.header[place] for place in places], rows=rows)


def as_table(documents: Sequence[ResultDocument]) -> str:
    """The tables of results of one track for a terminal, a suite after the other."""
    return "".join(terminal(tables(group)) for group in _suites(documents)).removesuffix("\n")


def as_markdown(documents: Sequence[ResultDocument]) -> str:
    """The tables of results of one track in GitHub markdown, a suite after the other."""
    return "\n".join(markdown(group) for group in _suites(documents))


def _suites(documents: Sequence[ResultDocument]) -> list[list[ResultDocument]]:
    groups: dict[str, list[ResultDocument]] = {}
    for document in documents:
        groups.setdefault(document.suite, []).append(document)
    return list(groups.values())


def as_json(documents: Sequence[ResultDocument]) -> str:
    """The result documents as a JSON list."""
    return json.dumps([document.model_dump(mode="json") for document in documents], indent=1, allow_nan=False)


def _reasons(table: Table, documents: Sequence[ResultDocument]) -> list[str]:
    """Why cells of a table are empty: a line for every reason, with the models that have it."""
    models: dict[str, dict[str, None]] = {}
    for row in table.rows:
        name = documents[0].model.name if len(documents) == 1 else str(row[0])
        for cell in row:
            if isinstance(cell, Metric) and cell.value is None and cell.reason:
                models.setdefault(cell.reason, {})[name] = None
    lines = [f"— {', '.join(names)}: {reason}" for reason, names in models.items()]
    bare = {cell.source: None for cell in metrics(table) if cell.value is not None and cell.reason == DEPENDENT}
    return [*lines, *([f"{', '.join(bare)}: {DEPENDENT}"] if bare else [])]
