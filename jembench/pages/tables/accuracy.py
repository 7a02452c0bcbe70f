"""The table of evaluator ``accuracy``."""

from __future__ import annotations

from collections.abc import Sequence

from jembench.pages.tables.table import Cell, Table, get
from jembench.store.results import ResultDocument


def accuracy(documents: Sequence[ResultDocument]) -> list[Table]:
    """The accuracy of every model."""
    rows: list[list[Cell]] = []
    for document in documents:
        metric = get(document, "test/accuracy")
        rows.append([document.model.name, metric, str(metric.n.get("test", 0))])
    notes = ["low–high: 95 % interval, of the test images by Wilson"]
    return [Table(f"accuracy · {documents[0].track}", ["model", "accuracy", "n"], rows, notes)]
