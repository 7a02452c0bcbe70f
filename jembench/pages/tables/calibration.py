"""The tables of evaluator ``calibration``."""

from __future__ import annotations

from collections.abc import Sequence

from jembench.choices.protocols import PROTOCOLS, V1
from jembench.pages.tables.figures import value
from jembench.pages.tables.report import text
from jembench.pages.tables.table import Cell, Table, get
from jembench.store.results import ResultDocument

PLATT = "Platt targets"
BANDS = "‹low–high›: where 95 % of perfectly calibrated models fall, not an interval of the truth"
DEBIASED = "squared ECE: debiased, so it may fall below 0 where the truth is near it"
ECE = {"squared_ece15": ("squared ECE", DEBIASED), "ece20": ("ECE-20", BANDS)}  # the protocol chooses
PLAIN = {"ece15": "ECE-15", "ece20": "ECE-20", "adaptive_ece15": "adaptive", "classwise_ece15": "classwise"}
FURTHER = {"kde_ece": "by kernel", "mce15": "largest bin", "eaurc": "excess AURC"}
PARTS = {
    "brier_reliability15": "reliability",
    "brier_resolution15": "resolution",
    "brier_uncertainty": "uncertainty",
    "brier_within15": "within bins",
}


def calibration(documents: Sequence[ResultDocument]) -> list[Table]:
    """Two tables, since an interval of the truth and a band of chance are not the same thing.

    Beside the scores stands the error that the protocol has chosen; a plain one is not among the others once more.
    """
    n = max(get(document, "test/raw/nll").n.get("test", 0) for document in documents)
    ece = PROTOCOLS.get(documents[0].protocol.name, V1).ece
    title, about = ECE[ece]
    notes = [f"low–high: 95 % interval; n = {n}; T: temperature fitted on the validation split", about]
    for document in documents:
        if get(document, "validation/temperature").method == PLATT:
            notes.append(
                f"{document.model.name} makes no error there, so doubt sets its T, not data: see the module temperature"
            )
    for document in documents:
        vector = get(document, "test/vector/accuracy")
        if vector.value is not None:
            notes.append(f"{document.model.name}: with vector scaling its accuracy is {text(vector)}")
    proper = {"nll": "NLL", "brier": "Brier", ece: title, "aurc": "AURC"}
    plain = {name: words for name, words in PLAIN.items() if name != ece}
    parts = ["Brier = reliability - resolution + uncertainty + within bins; 15 bins of the confidence"]
    return [
        _by_variant(documents, "calibration", proper, notes),
        _by_variant(documents, "calibration errors", plain, [BANDS]),
        _by_variant(documents, "further calibration errors", FURTHER, [BANDS, "excess AURC: with its 95 % interval"]),
        _by_variant(documents, "the parts of the Brier score", PARTS, parts),
    ]


def _by_variant(documents: Sequence[ResultDocument], title: str, columns: dict[str, str], notes: list[str]) -> Table:
    rows: list[list[Cell]] = []
    for document in documents:
        temperature = value(get(document, "validation/temperature"))
        for variant, label in (("raw", "raw"), ("temperature", f"T = {temperature}"), ("vector", "vector")):
            rows.append([document.model.name, label, *(get(document, f"test/{variant}/{name}") for name in columns)])
    return Table(f"{title} · {documents[0].track}", ["model", "logits", *columns.values()], rows, notes)
