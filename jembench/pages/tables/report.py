"""Reports: the tables that people read, from result documents alone; no model, no data, no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text
from tabulate import tabulate

from jembench.choices.protocols import PROTOCOLS, V1
from jembench.metrics.metric import DEPENDENT, Metric
from jembench.metrics.scores import BASELINE, PAPER, SCORES
from jembench.pages.tables.robustness import distance, robustness
from jembench.pages.tables.samples import chains, generation, hybrid
from jembench.pages.tables.shifts import shifts, stress
from jembench.pages.tables.table import Cell, Table, get, metrics, subset
from jembench.pages.tables.unlabelled import unlabelled
from jembench.store.results import ResultDocument

BAND = "consistency band"
PLATT = "Platt targets"
INTERVALS = "low–high: 95 % interval; n: test + OOD images"
BANDS = "‹low–high›: where 95 % of perfectly calibrated models fall, not an interval of the truth"
DEBIASED = "squared ECE: debiased, so it may fall below 0 where the truth is near it"
ECE = {"squared_ece15": ("squared ECE", DEBIASED), "ece20": ("ECE-20", BANDS)}  # the protocol chooses
PLAIN = {
    "ece15": "ECE-15",
    "ece20": "ECE-20",
    "adaptive_ece15": "adaptive",
    "classwise_ece15": "classwise",
}
FURTHER = {"kde_ece": "by kernel", "mce15": "largest bin", "eaurc": "excess AURC"}
PARTS = {
    "brier_reliability15": "reliability",
    "brier_resolution15": "resolution",
    "brier_uncertainty": "uncertainty",
    "brier_within15": "within bins",
}
MEANS = ("near", "far", "mean")  # over OOD sets
OOD = {"auroc": "AUROC", "fpr95": "FPR95", "aupr_in": "AUPR-in", "aupr_out": "AUPR-out"}


def tables(documents: Sequence[ResultDocument]) -> list[Table]:
    """The tables of every evaluator of ``documents``, results of one suite and track; several models are rows."""
    evaluators = [item["name"] for item in documents[0].protocol.evaluators]
    both = ["hybrid"] if {"accuracy", "generation"} <= set(evaluators) else []
    made = [table for name in [*both, *evaluators] for table in LAYOUTS[name](documents)]
    name = documents[0].protocol.name
    whose = [] if name == V1.name else [f"protocol {name}, not {V1.name}: see `jembench explain {name}`"]
    return [replace(table, notes=[*whose, *table.notes, *_about(table, documents)]) for table in made]


def text(cell: Cell) -> str:
    """A cell as ``0.912 (0.890–0.931)``; a band in angle quotes; a dash where there is no value."""
    if isinstance(cell, str):
        return cell
    if cell.value is None:
        return "—"
    if cell.low is None or cell.high is None:
        return _value(cell)
    left, right = "‹›" if cell.method == BAND else "()"
    return f"{_value(cell)} {left}{number(cell.low)}–{number(cell.high)}{right}"


def markdown(documents: Sequence[ResultDocument], *, best: Callable[[Cell, list[Cell]], bool] | None = None) -> str:
    """GitHub markdown of all tables.

    Args:
        documents: results of one suite and track.
        best: whether a cell is to be set in bold, given its column.
    """
    return markdown_of(tables(documents), best=best)


def markdown_of(found: Sequence[Table], *, best: Callable[[Cell, list[Cell]], bool] | None = None) -> str:
    """GitHub markdown of tables; otherwise as :func:`markdown`."""
    blocks = []
    for table in found:
        rows = []
        for row in table.rows:
            columns = [[other[place] for other in table.rows] for place in range(len(row))]
            bold = [best is not None and best(cell, column) for cell, column in zip(row, columns, strict=True)]
            cells = [text(cell).replace("|", r"\|") for cell in row]
            rows.append([f"**{cell}**" if strong else cell for cell, strong in zip(cells, bold, strict=True)])
        lines = tabulate(rows, headers=table.header, tablefmt="github", disable_numparse=True)
        notes = "\n".join(f"_{note}_  " for note in table.notes)
        blocks.append(f"### {table.title}\n\n{lines}\n\n{notes}".rstrip())
    return "\n\n".join(blocks) + "\n"


def rich(table: Table) -> RichTable:
    """The table for a terminal of 80 columns: intervals dim, below their value."""
    drawn = RichTable(
        title=Text(table.title),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for name in table.header:
        drawn.add_column(name)
    for row in table.rows:
        cells = [(cell, "") if isinstance(cell, str) else (_value(cell), _range(cell, wide=table.wide)) for cell in row]
        drawn.add_row(*(Text.assemble(value, (f"\n{below}" if below else "", "dim")) for value, below in cells))
    return drawn


def number(value: float) -> str:
    """Three decimals; one from 100 on, none from 10,000 on.

    >>> number(0.5), number(316.2951), number(12564.961)
    ('0.500', '316.3', '12565')
    """
    size = abs(value)
    return f"{value:.3f}" if size < 100 else f"{value:.1f}" if size < 10_000 else f"{value:.0f}"


def _value(metric: Metric) -> str:
    return "—" if metric.value is None else number(metric.value)


def _range(metric: Metric, *, wide: bool) -> str:
    """The interval without leading zeros: ``.890–.931``; half its width where the table is wide."""
    if metric.low is None or metric.high is None:
        return ""
    if wide and metric.method != BAND:
        return f"±{number((metric.high - metric.low) / 2)}".replace("±0.", "±.")
    low, high = (
        number(end).replace("0.", ".", 1) if abs(end) < 1 else number(end) for end in (metric.low, metric.high)
    )
    return f"‹{low}–{high}›" if metric.method == BAND else f"{low}–{high}"


def as_json(documents: Sequence[ResultDocument]) -> str:
    """The result documents as a JSON list."""
    return json.dumps([document.model_dump(mode="json") for document in documents], indent=1, allow_nan=False)


def _accuracy(documents: Sequence[ResultDocument]) -> list[Table]:
    rows: list[list[Cell]] = []
    for document in documents:
        found = get(document, "test/accuracy")
        rows.append([document.model.name, found, str(found.n.get("test", 0))])
    notes = ["low–high: 95 % interval, of the test images by Wilson"]
    return [Table(f"accuracy · {documents[0].track}", ["model", "accuracy", "n"], rows, notes)]


def _calibration(documents: Sequence[ResultDocument]) -> list[Table]:
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
        fitted = _value(get(document, "validation/temperature"))
        for variant, label in (("raw", "raw"), ("temperature", f"T = {fitted}"), ("vector", "vector")):
            rows.append([document.model.name, label, *(get(document, f"test/{variant}/{name}") for name in columns)])
    return Table(f"{title} · {documents[0].track}", ["model", "logits", *columns.values()], rows, notes)


def _ood(documents: Sequence[ResultDocument]) -> list[Table]:
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
            found: list[Cell] = [get(document, f"{source}/{score.name}/{name}") for name in OOD]
            rows.append([labels[place] if place < len(labels) else "", score.title, *found])
    header = ["OOD set, n", "score", *OOD.values()]
    title = f"OOD detection · {document.model.name} · {document.track}"
    return Table(title, header, rows, [INTERVALS])


def _gains(document: ResultDocument, sets: list[str]) -> Table:
    """By how much every score's AUROC is above that of the baseline, and the p-value."""
    rows: list[list[Cell]] = []
    for source in sets:
        others = [score for score in SCORES.values() if score != BASELINE]
        for place, score in enumerate(others):
            gain = get(document, f"{source}/{score.name}/auroc_gain")
            p = "" if gain.p is None else f"{gain.p:.3f}" if gain.p >= 0.001 else "<0.001"
            rows.append(["" if place else source, score.title, gain, p])
    notes = [f"gain: AUROC less that of {BASELINE.title}, paired on the same images; p: two-sided, of one test alone"]
    title = f"OOD detection, gain over {BASELINE.title} · {document.model.name} · {document.track}"
    return Table(title, ["OOD set", "score", "gain", "p"], rows, notes)


def _ood_of_many(documents: Sequence[ResultDocument], sets: list[str]) -> list[Table]:
    """AUROC of every model, score and set; then its means."""
    notes = [
        "AUROC with its 95 % interval (in a terminal: ± half its width)",
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


def _likelihood(documents: Sequence[ResultDocument]) -> list[Table]:
    rows: list[list[Cell]] = []
    for document in documents:
        found = get(document, "test/bits_per_dim")
        bounds = [get(document, f"chains/log_z_{direction}") for direction in ("forward", "reverse")]
        shown = [bound if bound.value is not None else "" for bound in bounds]
        rows.append([document.model.name, found, *shown, str(found.n.get("test", 0))])
    notes = ["low–high: 95 % interval; of dequantised images, an upper bound of their code length"]
    if any(isinstance(cell, Metric) and cell.value is not None for row in rows for cell in row[2:4]):
        notes.append(
            "log Z: annealed forwards (a lower bound) and back (an upper bound), in nats; empty where it is known"
        )
    return [Table(f"likelihood · {documents[0].track}", ["model", "bits/dim", "log Z ≥", "log Z ≤", "n"], rows, notes)]


def _detectors(documents: Sequence[ResultDocument]) -> list[Table]:
    """AUROC of every detector and set."""
    found = [metric for metric in documents[0].metrics if metric.evaluator == "detectors" and metric.name == "auroc"]
    sets, names = (list(dict.fromkeys(getattr(metric, what) for metric in found)) for what in ("source", "variant"))
    rows: list[list[Cell]] = [
        [document.model.name, name, *(get(document, f"{source}/{name}/auroc") for source in sets)]
        for document in documents
        for name in names
    ]
    notes = ["AUROC with its 95 % interval; fitted on the training split alone, by pytorch-ood"]
    return [Table(f"post-hoc detectors · {documents[0].track}", ["model", "detector", *sets], rows, notes, wide=True)]


def _about(table: Table, documents: Sequence[ResultDocument]) -> list[str]:
    """Which sets the numbers of a table see a part of, and why its cells are empty."""
    return [*subset(metrics(table), documents[0]), *_reasons(table, documents)]


def _reasons(table: Table, documents: Sequence[ResultDocument]) -> list[str]:
    """Why cells of a table are empty: a line for every reason, with the models that have it."""
    found: dict[str, dict[str, None]] = {}
    for row in table.rows:
        name = documents[0].model.name if len(documents) == 1 else str(row[0])
        for cell in row:
            if isinstance(cell, Metric) and cell.value is None and cell.reason:
                found.setdefault(cell.reason, {})[name] = None
    lines = [f"— {', '.join(names)}: {reason}" for reason, names in found.items()]
    bare = {cell.source: None for row in table.rows for cell in row if isinstance(cell, Metric) and _dependent(cell)}
    return [*lines, *([f"{', '.join(bare)}: {DEPENDENT}"] if bare else [])]


def _dependent(cell: Metric) -> bool:
    return cell.value is not None and cell.reason == DEPENDENT


LAYOUTS: dict[str, Callable[[Sequence[ResultDocument]], list[Table]]] = {
    "accuracy": _accuracy,
    "calibration": _calibration,
    "shifts": shifts,
    "ood": _ood,
    "stress": stress,
    "detectors": _detectors,
    "unlabelled": unlabelled,
    "generation": generation,
    "chains": chains,
    "hybrid": hybrid,
    "likelihood": _likelihood,
    "robustness": robustness,
    "distance": distance,
}
