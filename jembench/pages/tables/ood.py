"""The tables of evaluators ``ood`` and ``detectors``."""

from __future__ import annotations

from collections.abc import Sequence

from jembench.metrics.scores import BASELINE, PAPER, SCORES
from jembench.pages.tables.figures import p_value
from jembench.pages.tables.table import Cell, Table, get
from jembench.store.results import ResultDocument

INTERVALS = "low–high: 95 % interval; n: test + OOD images"
MEANS = ("near", "far", "mean")  # over OOD sets
OOD = {"auroc": "AUROC", "fpr95": "FPR95", "aupr_in": "AUPR-in", "aupr_out": "AUPR-out"}


def names(document: ResultDocument) -> list[str]:
    """The OOD sets of a result, without the means over several."""
    sources = dict.fromkeys(metric.source for metric in document.metrics if metric.name == "auroc")
    return [source for source in sources if source not in MEANS]


def ood(documents: Sequence[ResultDocument]) -> list[Table]:
    """All metrics of one model and their gains; of several models the AUROC alone."""
    sets = list(dict.fromkeys(metric.source for metric in documents[0].metrics if metric.name == "auroc"))
    return (
        [_ood_of_one(documents[0], sets), _gains(documents[0], sets)]
        if len(documents) == 1
        else _ood_of_many(documents, sets)
    )


def _ood_of_one(document: ResultDocument, sets: list[str]) -> Table:
    """Every set and score with all four metrics."""
    rows: list[list[Cell]] = []
    for source in sets:
        sizes = " + ".join(str(size) for size in get(document, f"{source}/max_py/auroc").n.values())
        labels = [source, "" if source in MEANS else sizes]
        for place, score in enumerate(SCORES.values()):
            cells: list[Cell] = [get(document, f"{source}/{score.name}/{name}") for name in OOD]
            rows.append([labels[place] if place < len(labels) else "", score.title, *cells])
    header = ["OOD set, n", "score", *OOD.values()]
    title = f"OOD detection · {document.model.name} · {document.track}"
    return Table(title, header, rows, [INTERVALS])


def _gains(document: ResultDocument, sets: list[str]) -> Table:
    """By how much every score's AUROC is above that of the baseline, and the p-value."""
    rows: list[list[Cell]] = []
    for source in sets:
        rivals = [score for score in SCORES.values() if score != BASELINE]
        for place, score in enumerate(rivals):
            gain = get(document, f"{source}/{score.name}/auroc_gain")
            rows.append(["" if place else source, score.title, gain, "" if gain.p is None else p_value(gain.p)])
    notes = [f"gain: AUROC less that of {BASELINE.title}, paired on the same images; p: two-sided, of one test alone"]
    title = f"OOD detection, gain over {BASELINE.title} · {document.model.name} · {document.track}"
    return Table(title, ["OOD set", "score", "gain", "p"], rows, notes)


def _ood_of_many(documents: Sequence[ResultDocument], sets: list[str]) -> list[Table]:
    """AUROC of every model, score and set; then its means."""
    notes = [
        "AUROC with its 95 % interval",
        "FPR95, AUPR and gain: one model at a time, or --format json",
    ]
    apart = [source for source in sets if source not in ("near", "far")]
    rows: list[list[Cell]] = [
        [document.model.name, score.title, *(get(document, f"{source}/{score.name}/auroc") for source in apart)]
        for document in documents
        for score in PAPER
    ]
    first = Table(f"OOD detection · {documents[0].track}", ["model", "score", *apart], rows, notes, wide=True)
    means = [source for source in sets if source in MEANS]
    rows = [
        [document.model.name, score.title, *(get(document, f"{source}/{score.name}/auroc") for source in means)]
        for document in documents
        for score in SCORES.values()
    ]
    title = f"OOD detection, mean AUROC of all scores · {documents[0].track}"
    return [first, Table(title, ["model", "score", *means], rows, notes[:1], wide=True)]


def detectors(documents: Sequence[ResultDocument]) -> list[Table]:
    """AUROC of every detector and set."""
    aurocs = [metric for metric in documents[0].metrics if metric.evaluator == "detectors" and metric.name == "auroc"]
    sets, names = (list(dict.fromkeys(getattr(metric, what) for metric in aurocs)) for what in ("source", "variant"))
    rows: list[list[Cell]] = [
        [document.model.name, name, *(get(document, f"{source}/{name}/auroc") for source in sets)]
        for document in documents
        for name in names
    ]
    notes = ["AUROC with its 95 % interval; fitted on the training split alone, by pytorch-ood"]
    return [Table(f"post-hoc detectors · {documents[0].track}", ["model", "detector", *sets], rows, notes, wide=True)]
