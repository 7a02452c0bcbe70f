"""Tables of shifted, attacked and refined images: suites ``calibration`` and ``ood``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jembench.metrics.metric import Metric
from jembench.metrics.scores import PAPER
from jembench.pages.tables.table import Cell, Table, get
from jembench.store.results import ResultDocument

PUSHED = {
    "clean_auroc": "clean",
    "ood_pushed_auroc": "OOD pushed",
    "test_pushed_auroc": "test pushed",
    "both_pushed_auroc": "both",
    "refined_auroc": "refined",
}
ALONG = "severities are means over the kinds of shift, so without intervals; T as fitted on clean validation images"


def shifts(documents: Sequence[ResultDocument]) -> list[Table]:
    """Accuracy, ECE and NLL against severity, attacked and refined: a row for every model and quantity."""
    columns = _views(documents)
    rows: list[list[Cell]] = []
    for document in documents:
        for label, tail in (
            ("accuracy", "accuracy"),
            ("ECE raw", "raw/ece15"),
            ("ECE T", "temperature/ece15"),
            ("NLL raw", "raw/nll"),
            ("NLL T", "temperature/nll"),
            ("excess", "raw/overconfidence"),
        ):
            cells = [get(document, f"test/{tail}" if view == "clean" else f"{view}/{tail}") for view in columns]
            rows.append([document.model.name, label, *(_bare(cell) for cell in cells)])
    titles = {"attacked": "attack", "refined": "refine"}
    header = ["model", "", *(titles.get(view, view.removeprefix("severity-")) for view in columns)]
    notes = [
        f"1 to {len(columns) - 3}: severity; {ALONG}",
        "attack: PGD at the headline eps; refine: 10 SGLD steps on log p(x); excess: raw confidence - accuracy",
    ]
    return [Table(f"calibration under shift · {documents[0].track}", header, rows, notes, wide=True)]


def corruptions(documents: Sequence[ResultDocument]) -> list[Table]:
    """Accuracy, ECE and NLL on corrupted copies of the test images, means over corruptions at each severity."""
    severities = range(1, int(documents[0].settings("corruptions")["severities"]) + 1)
    tails = {"accuracy": "accuracy", "ECE raw": "raw/ece15", "ECE T": "temperature/ece15", "NLL raw": "raw/nll"}
    rows: list[list[Cell]] = [
        [document.model.name, label, *(get(document, f"severity-{severity}/{tail}") for severity in severities)]
        for document in documents
        for label, tail in tails.items()
    ]
    count = len(documents[0].settings("corruptions")["names"])
    notes = [f"means over {count} corruptions at each severity, so without intervals; each alone in result.json"]
    header = ["model", "", *map(str, severities)]
    return [Table(f"corrupted test images · {documents[0].track}", header, rows, notes)]


def stress(documents: Sequence[ResultDocument]) -> list[Table]:
    """Mean AUROC clean, attacked and refined; then the AUROC of clean against shifted images."""
    rows: list[list[Cell]] = [
        [document.model.name, score.title, *(get(document, f"mean/{score.name}/{name}") for name in PUSHED)]
        for document in documents
        for score in PAPER
    ]
    rows = [[*row[:2], *(cell if _there(cell) else "" for cell in row[2:])] for row in rows]
    notes = [
        "mean AUROC over the OOD sets, of the first 180 images of each where somebody attacks",
        "OOD pushed: optimised within eps to score high; test pushed: to score low; refined: all by 10 SGLD steps",
    ]
    header = ["model", "score", *PUSHED.values()]
    first = Table(f"OOD detection under attack · {documents[0].track}", header, rows, notes, wide=True)
    return [first, _along(documents)]


def _along(documents: Sequence[ResultDocument]) -> Table:
    """The AUROC of clean against shifted test images, mean over kinds, and the trend."""
    kinds = list(dict.fromkeys(m.source for m in documents[0].metrics if m.name == "severity_trend"))
    numbers = sorted({m.source.rpartition("-")[2] for m in documents[0].metrics if m.name == "shift_auroc"})
    rows: list[list[Cell]] = []
    for document in documents:
        for score in PAPER:
            cells: list[Cell] = []
            for number in numbers:
                aurocs = [get(document, f"{kind}-{number}/{score.name}/shift_auroc") for kind in kinds]
                cells.append(_mean(aurocs))
            trends = [get(document, f"{kind}/{score.name}/severity_trend") for kind in kinds]
            rows.append([document.model.name, score.title, *cells, _mean(trends)])
    notes = [
        f"AUROC of clean against shifted test images, mean over {', '.join(kinds)}: .5 where the score sees nothing",
        "trend: Kendall's tau of severity and mean score, -1 where it falls with every step",
    ]
    title = f"does the score fall as images get worse? · {documents[0].track}"
    return Table(title, ["model", "score", *numbers, "trend"], rows, notes)


def _views(documents: Sequence[ResultDocument]) -> list[str]:
    """Clean, the severities, attacked, refined: as far as there are any."""
    sources = dict.fromkeys(metric.source for metric in documents[0].metrics if metric.evaluator == "shifts")
    severities = sorted(source for source in sources if source.startswith("severity-"))
    return ["clean", *severities, *(view for view in ("attacked", "refined") if view in sources)]


def _bare(metric: Metric) -> Metric:
    """A metric without its interval, for tables of curves."""
    return replace(metric, low=None, high=None)


def _there(cell: Cell) -> bool:
    """Whether a metric exists at all: of some scores there is no attack."""
    return isinstance(cell, str) or cell.value is not None or cell.reason is not None


def _mean(metrics: list[Metric]) -> Metric:
    """The mean of metrics that all have a value, as one for a table; the first without one otherwise."""
    values = [metric.value for metric in metrics if metric.value is not None]
    if not metrics or len(values) < len(metrics):
        return next((metric for metric in metrics if metric.value is None), Metric("mean", ""))
    return replace(_bare(metrics[0]), value=sum(values) / len(values))
