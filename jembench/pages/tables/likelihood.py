"""The table of evaluator ``likelihood``."""

from __future__ import annotations

from collections.abc import Sequence

from jembench.metrics.metric import Metric
from jembench.pages.tables.table import Cell, Table, get
from jembench.store.results import ResultDocument


def likelihood(documents: Sequence[ResultDocument]) -> list[Table]:
    """Bits per dimension of every model, and the bounds of log Z where it is not known."""
    rows: list[list[Cell]] = []
    for document in documents:
        bits = get(document, "test/bits_per_dim")
        bounds = [get(document, f"chains/log_z_{direction}") for direction in ("forward", "reverse")]
        cells = [bound if bound.value is not None else "" for bound in bounds]
        rows.append([document.model.name, bits, *cells, str(bits.n.get("test", 0))])
    notes = ["low–high: 95 % interval; of dequantised images, an upper bound of their code length"]
    if any(isinstance(cell, Metric) and cell.value is not None for row in rows for cell in row[2:4]):
        notes.append(
            "log Z: annealed forwards (a lower bound) and back (an upper bound), in nats; empty where it is known"
        )
    return [Table(f"likelihood · {documents[0].track}", ["model", "bits/dim", "log Z ≥", "log Z ≤", "n"], rows, notes)]
