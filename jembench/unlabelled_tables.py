"""Tables of what can be known without labels."""

from __future__ import annotations

from collections.abc import Sequence

from jembench.results import ResultDocument
from jembench.tables import Cell, Table, get

GROUPS = {"shifts": "clean and shifted", "mixed": "mixed with OOD"}
SCALES = {
    "raw": "raw",
    "validation": "T of validation",
    "doc_regression": "T by doc_regression",
    "energy": "T by energy",
    "oracle": "best T",
}


def unlabelled(documents: Sequence[ResultDocument]) -> list[Table]:
    """Mean absolute error of every estimate of accuracy, and calibration with temperatures that need no labels."""
    methods = list(dict.fromkeys(metric.variant for metric in documents[0].metrics if metric.name == "mean_error"))
    rows: list[list[Cell]] = [
        [
            document.model.name,
            words,
            *(get(document, f"{group}/{method}/mean_error") for method in methods),
            get(document, f"{group}/energy/mean_error_gain"),
        ]
        for document in documents
        for group, words in GROUPS.items()
    ]
    notes = ["mean absolute error of the estimated accuracy; fitted on validation images and shifts of other kinds"]
    for document in documents:
        found = [get(document, f"{group}/energy/mean_error_gain") for group in GROUPS]
        said = [
            f"{metric.reason} ({words})" for metric, words in zip(found, GROUPS.values(), strict=True) if metric.value
        ]
        if said:
            notes.append(f"{document.model.name}: gain of energy {', '.join(said)}; below 0 ours is better")
    track = documents[0].track
    header = ["model", "images", *methods, "gain"]
    first = Table(f"accuracy without labels · {track}", header, rows, notes, wide=True)
    scaled: list[list[Cell]] = [
        [document.model.name, title, *(get(document, f"shifts/{variant}/{name}") for variant in SCALES)]
        for document in documents
        for name, title in (("ece15", "ECE-15"), ("nll", "NLL"))
    ]
    more = ["means over clean and shifted test images; best T: fitted on the labels of each condition, in hindsight"]
    return [first, Table(f"temperature without labels · {track}", ["model", "", *SCALES.values()], scaled, more)]
