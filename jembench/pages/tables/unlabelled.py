"""Tables of what can be known without labels."""

from __future__ import annotations

from collections.abc import Sequence

from jembench.pages.tables.table import Cell, Table, get
from jembench.store.results import ResultDocument

GROUPS = {"shifts": "shifted", "mixed": "mixed"}
SCALES = {
    "raw": "raw",
    "validation": "validation T",
    "doc_regression": "DoC T",
    "energy": "energy T",
    "oracle": "best T",
}


def unlabelled(documents: Sequence[ResultDocument]) -> list[Table]:
    """Mean absolute error of every estimate of accuracy, and calibration with temperatures that need no labels."""
    rows: list[list[Cell]] = []
    for document in documents:
        for method in dict.fromkeys(metric.variant for metric in document.metrics if metric.name == "mean_error"):
            errors = [get(document, f"{group}/{method}/mean_error") for group in GROUPS]
            gains = [get(document, f"{group}/{method}/mean_error_gain") for group in GROUPS]
            cells = [gain if gain.value is not None else "" for gain in gains]
            rows.append([document.model.name, method, *errors, *cells])
    notes = [
        "mean absolute error of the estimated accuracy; fitted on validation images and shifts of other kinds",
        "shifted: clean and shifted test images; mixed: with a quarter of OOD images",
    ]
    for document in documents:
        remarks = [
            f"{gain.reason} ({words})"
            for group, words in GROUPS.items()
            if (gain := get(document, f"{group}/energy/mean_error_gain")).value is not None
        ]
        if remarks:
            notes.append(
                f"{document.model.name}: gain {', '.join(remarks)}, the best simple one; below 0 ours is better"
            )
    track = documents[0].track
    header = ["model", "estimate", *GROUPS.values(), *(f"gain, {words}" for words in GROUPS.values())]
    first = Table(f"accuracy without labels · {track}", header, rows, notes)
    temperatures: list[list[Cell]] = [
        [document.model.name, title, *(get(document, f"shifts/{variant}/{name}") for variant in SCALES)]
        for document in documents
        for name, title in (("ece15", "ECE-15"), ("nll", "NLL"))
    ]
    more = ["means over clean and shifted test images; best T: fitted on the labels of each condition, in hindsight"]
    return [first, Table(f"temperature without labels · {track}", ["model", "", *SCALES.values()], temperatures, more)]
