"""Reports: cells, markdown that is a table, terminal tables that fit, JSON that says the same."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from jembench.api import Result
from jembench.evaluators import EVALUATORS
from jembench.metrics.metric import Metric
from jembench.metrics.scores import PAPER
from jembench.pages import EXPORTERS
from jembench.pages.tables import calibration, figures, report
from jembench.pages.tables.figures import BAND
from jembench.pages.tables.report import text
from jembench.store.results import ResultDocument

FULL = Metric("auroc", "textures", "mass", 0.91234, 0.8904, 0.9316, "wilson", {"test": 2}, "higher")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (FULL, "0.912 (0.890–0.932)"),
        (replace(FULL, method=BAND), "0.912 ‹0.890–0.932›"),
        (replace(FULL, low=None), "0.912"),
        (replace(FULL, low=None, high=None, method="none"), "0.912"),
        (replace(FULL, value=None, low=None, high=None), "—"),
        (replace(FULL, value=-0.0004, low=-0.1, high=1.5), "-0.000 (-0.100 to 1.500)"),
        ("jem", "jem"),
    ],
)
def test_a_cell(cell: Metric | str, expected: str) -> None:
    assert text(cell) == expected


def lines(markdown: str) -> list[list[list[str]]]:
    """The tables of a markdown text: rows of cells; a bar behind a backslash ends no cell."""
    blocks = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE)
    return [[re.split(r"(?<!\\)\|", line.strip())[1:-1] for line in block.splitlines()] for block in blocks]


@pytest.mark.parametrize("names", [("jem",), ("softmax",), ("jem", "softmax")])
def test_markdown_is_tables_of_equal_rows(digits: dict[str, Result], names: tuple[str, ...]) -> None:
    documents = [digits[name].document for name in names]
    markdown = report.markdown(documents)
    tables = lines(markdown)
    assert len(tables) == len(report.tables(documents)) >= 16
    for rows, table in zip(tables, report.tables(documents), strict=True):
        assert {len(row) for row in rows} == {len(table.header)}
        assert len(rows) == len(table.rows) + 2
        assert [cell.strip() for cell in rows[0]] == table.header
        assert all(re.fullmatch(r":?-+:?", cell.strip()) for cell in rows[1])


@pytest.mark.parametrize("names", [("jem",), ("softmax",), ("jem", "softmax")])
def test_terminal_tables_of_the_shipped_models_fit_80_columns(
    digits: dict[str, Result], names: tuple[str, ...]
) -> None:
    """Nothing cut, nothing wrapped: every word of every cell stands whole on a line of its own cell."""
    documents = [digits[name].document for name in names]
    for table in (part for whole in report.tables(documents) for part in report.parts(whole, 80)):
        stream = io.StringIO()
        Console(width=80, file=stream).print(report.rich(table))
        drawn = stream.getvalue()
        assert max(len(line.rstrip()) for line in drawn.splitlines()) <= 80
        assert "…" not in drawn
        for word in (*table.header, *(cell for row in table.rows for cell in row if isinstance(cell, str))):
            assert word in drawn
        narrow = drawn.count("\n")
        stream = io.StringIO()
        Console(width=400, file=stream).print(report.rich(table))
        assert stream.getvalue().count("\n") == narrow


def test_a_terminal_shows_the_numbers_of_the_result(digits: dict[str, Result]) -> None:
    document = digits["jem"].document
    stream = io.StringIO()
    for table in report.tables([document]):
        Console(width=100, file=stream).print(report.rich(table))
    for metric in document.metrics:
        if metric.value is not None and metric.evaluator in ("accuracy", "calibration", "ood", "likelihood"):
            shown = metric.name not in ("fitted_nll", "effective_size", "log_z")
            assert not shown or figures.number(metric.value) in stream.getvalue(), metric.id


def test_one_model_shows_all_metrics_of_every_set_and_score(digits: dict[str, Result]) -> None:
    """Several models show their AUROC side by side."""
    documents = [result.document for result in digits.values()]
    one, many = (
        next(table for table in report.tables(chosen) if table.title.startswith("OOD"))
        for chosen in (documents[:1], documents)
    )
    sets = [metric.source for metric in documents[0].metrics if metric.id.endswith("/mass/auroc")]
    assert [row[0] for row in one.rows if row[0] in sets] == sets
    assert one.header[2:] == ["AUROC", "FPR95", "AUPR-in", "AUPR-out"]
    assert many.header == ["model", "score", *(name for name in sets if name not in ("near", "far"))]
    assert len(many.rows) == 2 * len(PAPER)


def test_json_is_the_documents(oracle: Result, digits: dict[str, Result]) -> None:
    documents = [oracle.document, digits["jem"].document]
    found = json.loads(report.as_json(documents))
    assert [ResultDocument.model_validate(item) for item in found] == documents


@pytest.mark.parametrize("format", EXPORTERS)
def test_every_format_has_every_suite_and_every_model(digits: dict[str, Result], format: str) -> None:
    """And several suites are one after the other."""
    documents = [digits[name].document for name in ("jem", "softmax")]
    other = documents[0].model_copy(update={"suite": "other"})
    text = EXPORTERS[format]([*documents, other])
    apart = [EXPORTERS[format](group) for group in (documents, [other])]
    if format == "json":
        assert json.loads(text) == [document for part in apart for document in json.loads(part)]
    else:
        assert text == "\n".join(apart)
    assert "jem" in text
    assert "softmax" in text


def test_a_missing_metric_is_a_dash_and_its_reason_a_note(oracle: Result) -> None:
    document = oracle.document
    empty = [replace(item, value=None, low=None, high=None, reason="no density") for item in document.metrics]
    markdown = report.markdown([document.model_copy(update={"metrics": empty})])
    assert "—" in markdown
    assert "no density" in markdown


def test_a_reason_stands_under_every_table_with_an_empty_cell_and_under_no_other(oracle: Result) -> None:
    document = oracle.document
    gone = [
        replace(item, value=None, low=None, high=None, reason="no density") if item.variant == "mass" else item
        for item in document.metrics
    ]
    made = report.tables([document.model_copy(update={"metrics": gone})])
    found = 0
    for table in made:
        cells = [cell for row in table.rows for cell in row if isinstance(cell, Metric)]
        empty = any(cell.value is None and cell.reason == "no density" for cell in cells)
        assert ("— oracle: no density" in table.notes) == empty
        found += empty
    assert 0 < found < len(made)


def test_a_temperature_of_platts_targets_is_noted_by_name(digits: dict[str, Result]) -> None:
    """It was set by doubt: the validation split has no error."""
    document = digits["jem"].document
    for method, expected in ((calibration.PLATT, ["jem"]), ("maximum likelihood", [])):
        metrics = [replace(item, method=method) if item.name == "temperature" else item for item in document.metrics]
        made = report.tables([document.model_copy(update={"metrics": metrics})])
        notes = next(table for table in made if table.title.startswith("calibration ·")).notes
        assert [note.split()[0] for note in notes if "doubt sets its T" in note] == expected


def test_a_table_over_a_part_of_a_published_set_says_so(part: Callable[..., Result], digits: dict[str, Result]) -> None:
    (table,) = report.tables([part(limit=40).document])
    assert table.notes[-1] == "subset: test 40 of 10,000"
    found = report.tables([digits["jem"].document])
    assert not [note for table in found for note in table.notes if note.startswith("subset")]


def strangers(document: ResultDocument) -> ResultDocument:
    """A result as an evaluator ``theirs``, which is not here, would have made it."""
    metrics = [replace(metric, evaluator="theirs") for metric in document.metrics]
    protocol = document.protocol.model_copy(update={"evaluators": [{"name": "theirs", "version": 1}]})
    return document.model_copy(update={"metrics": metrics, "protocol": protocol})


def test_an_evaluator_that_is_not_here_gets_a_plain_table(digits: dict[str, Result]) -> None:
    documents = [strangers(result.document) for result in digits.values()]
    (table,) = report.tables(documents)
    assert (table.title, table.header) == ("theirs · digits-v1", ["model", "metric", "value", "n"])
    shown = [(document.model.name, metric.id, metric) for document in documents for metric in document.metrics]
    assert [tuple(row[:3]) for row in table.rows] == shown
    row = next(row for row in table.rows if row[1] == "textures/max_py/auroc")
    assert row[3] == "360 + 360"
    assert "theirs" in report.markdown(documents)


def test_an_evaluator_without_a_page_gets_a_plain_table(
    digits: dict[str, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of no metric but its own."""
    monkeypatch.delattr(EVALUATORS["accuracy"], "tables")
    document = digits["jem"].document
    (table,) = [table for table in report.tables([document]) if table.title.startswith("accuracy ·")]
    assert table.rows == [["jem", "test/accuracy", document.metric("test/accuracy"), "360"]]
