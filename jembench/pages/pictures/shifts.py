"""Curves of what happens where images get worse, and how well accuracy is known there without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jembench.pages.pictures import plots, style
from jembench.pages.tables.table import get

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jembench.metrics.metric import Metric
    from jembench.store.results import ResultDocument

EVALUATOR = "unlabelled"  # whose estimates are drawn
SCORE = "log_px"  # whose detection of shifts is drawn
BLIND = 0.5  # AUROC of a score that does not see a shift
#: Estimators of accuracy that are drawn, and what they are called.
ESTIMATORS = {
    "constant": "validation accuracy",
    "confidence": "mean confidence",
    "atc": "ATC",
    "doc_regression": "DoC, regression",
    "energy": "energy (ours)",
}
HEIGHT = 2.3  # inches, of a row of panels
BLOCK = 3  # panels of estimators in a row


class SeverityCurve(NamedTuple):
    """Values against severity, 0 being clean."""

    severity: list[int]
    values: list[float]


def shifts(documents: Sequence[ResultDocument]) -> Figure | None:
    """Accuracy, calibration and detection against severity, a line for every model; None if no model has any.

    Values are means over the kinds of shift; severity 0 is the clean test split, where a result has its accuracy. What
    a model does not have is no line, what no model has is no panel.

    Args:
        documents: results of one run; several of one model complete each other.
    """
    models = list(dict.fromkeys(document.model.name for document in documents))
    accuracy, raw, temperature, detection = ({name: SeverityCurve([], []) for name in models} for _ in range(4))
    for document in documents:
        name = document.model.name
        for curves, tail in (
            (accuracy, "accuracy"),
            (raw, "raw/ece15"),
            (temperature, "temperature/ece15"),
        ):
            value = get(document, f"test/{tail}").value
            start = {} if value is None else {0: value}
            _extend(curves, name, start | by_severity(document, tail))
        _extend(detection, name, shift_aurocs(document))
    panels: list[tuple[str, str, tuple[tuple[dict[str, SeverityCurve], str], ...]]] = [
        ("accuracy under shift", "accuracy", ((accuracy, "-"),)),
        ("calibration under shift", "ECE, 15 bins", ((raw, "-"), (temperature, "--"))),
        ("clean against shifted, log p(x)", "AUROC", ((detection, "-"),)),
    ]
    panels = [panel for panel in panels if any(len(curve.severity) > 1 for curve in panel[2][0][0].values())]
    if not panels:
        return None
    with plots.blank(style.COLUMN if len(panels) == 1 else style.PAGE, HEIGHT, (1, len(panels))) as (figure, axes):
        plots.head(figure, plots.caption(documents, plots.sizes(_shifted(documents))))
        for axis, (title, label, parts) in zip(axes, panels, strict=True):
            plots.decorate(axis, title, "severity, mean over kinds of shift", label)
            for lines, dashes in parts:
                _lines(axis, lines, models, dashes)
            axis.set_xticks(sorted({s for lines, _ in parts for curve in lines.values() for s in curve.severity}))
            if label == "AUROC":
                axis.axhline(BLIND, color=style.GREY, linewidth=0.8, linestyle=":", zorder=1)
            if len(parts) > 1:
                axis.set_ylim(bottom=0)
        if any(len(parts) > 1 for _, _, parts in panels):
            _styles(axes[-1])
        plots.legend(figure)
    return figure


def _shifted(documents: Sequence[ResultDocument]) -> list[Metric]:
    """The metrics behind the lines."""
    tails = ("accuracy", "raw/ece15", "temperature/ece15")
    return [
        metric
        for document in documents
        for metric in document.metrics
        if (metric.source.startswith("severity-") and metric.id.partition("/")[2] in tails)
        or (metric.name == "shift_auroc" and metric.variant == SCORE)
    ]


def by_severity(document: ResultDocument, tail: str) -> dict[int, float]:
    """Severity -> the mean over kinds of a metric, as the evaluator made it."""
    means = {}
    for metric in document.metrics:
        source, _, name = metric.id.partition("/")
        if name == tail and source.startswith("severity-") and metric.value is not None:
            means[int(source.removeprefix("severity-"))] = metric.value
    return means


def shift_aurocs(document: ResultDocument) -> dict[int, float]:
    """Severity -> mean over kinds of the AUROC of clean against shifted images; a severity needs all kinds."""
    aurocs: dict[int, list[float | None]] = {}
    for metric in document.metrics:
        if metric.name == "shift_auroc" and metric.variant == SCORE:
            aurocs.setdefault(int(metric.source.rpartition("-")[2]), []).append(metric.value)
    whole = {severity: [v for v in values if v is not None] for severity, values in sorted(aurocs.items())}
    means = {s: float(np.mean(values)) for s, values in whole.items() if values and len(values) == len(aurocs[s])}
    return {0: BLIND, **means} if means else {}


def unlabelled(document: ResultDocument) -> Figure | None:
    """Estimated against true accuracy, a panel for each of the main estimators; None if there is none."""
    panels = {name: conditions for name in ESTIMATORS if (conditions := points(document, name))}
    if not panels:
        return None
    columns, rows = min(len(panels), BLOCK), -(-len(panels) // BLOCK)
    width = style.COLUMN if columns == 1 else style.PAGE
    with plots.blank(width, HEIGHT * rows, (rows, columns), sharey=True) as (figure, axes):
        mine = [m for m in document.metrics if m.evaluator == EVALUATOR and m.name == "estimated_accuracy"]
        plots.head(figure, plots.caption([document], {"a condition": {each for m in mine for each in m.n.values()}}))
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        for place, (axis, (name, conditions)) in enumerate(zip(axes, panels.items(), strict=False)):
            words = "" if place % columns else "estimated accuracy"
            plots.decorate(axis, ESTIMATORS[name], "true accuracy", words)
            axis.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.8, linestyle="--", zorder=1)
            for series, (group, label) in enumerate(
                (("shifts", "clean and shifted"), ("mixed", "mixed with OOD images"))
            ):
                members = [point for point in conditions if (point.source.startswith("mixed-")) == (group == "mixed")]
                look = style.look(series)
                truth, guess = [point.truth for point in members], [point.estimate for point in members]
                if members:
                    ends = np.abs([[p.estimate - p.low, p.high - p.estimate] for p in members]).T
                    axis.errorbar(
                        truth, guess, yerr=ends, color=look["color"], linestyle="none", elinewidth=0.8, alpha=0.3
                    )
                axis.plot(truth, guess, **look, linestyle="none", markersize=3, label=label)
                error = get(document, f"{group}/{name}/mean_error").value
                if error is not None:
                    words = f"mean error {error:.3f}"
                    at = (0.03, 0.99 - 0.08 * series)
                    axis.text(*at, words, color=look["color"], va="top", transform=axis.transAxes)
            axis.set_xlim(-0.02, 1.02)
            axis.set_ylim(-0.03, 1.27)  # room for the words
            axis.set_xticks(np.linspace(0, 1, 6))
            axis.set_yticks(np.linspace(0, 1, 6))
            axis.set_aspect("equal")
        plots.legend(figure)
    return figure


class Point(NamedTuple):
    """One condition: true and estimated accuracy, and the ends of the estimate's interval."""

    source: str
    truth: float
    estimate: float
    low: float
    high: float


def points(document: ResultDocument, estimator: str) -> list[Point]:
    """Every condition of evaluator ``unlabelled`` whose accuracy is known and estimated."""
    mine = [metric for metric in document.metrics if metric.evaluator == EVALUATOR]
    truths = {m.source: m.value for m in mine if m.name == "accuracy" and m.variant == "true"}
    conditions = []
    for metric in mine:
        truth, value = truths.get(metric.source), metric.value
        if metric.name != "estimated_accuracy" or metric.variant != estimator or truth is None or value is None:
            continue
        low, high = (value if end is None else end for end in (metric.low, metric.high))
        conditions.append(Point(metric.source, truth, value, low, high))
    return conditions


def _extend(curves: dict[str, SeverityCurve], name: str, values: Mapping[int, float]) -> None:
    """Take over a model's values unless it has some."""
    if len(values) > 1 and not curves[name].severity:
        curves[name] = SeverityCurve(sorted(values), [values[severity] for severity in sorted(values)])


def _lines(axis: Axes, curves: Mapping[str, SeverityCurve], models: Sequence[str], dashes: str) -> None:
    for name, curve in curves.items():
        if curve.severity:
            label = name if dashes == "-" else f"_{name}"
            axis.plot(*curve, **style.look(models.index(name)), linestyle=dashes, label=label)


def _styles(axis: Axes) -> None:
    """Names of the styles of lines, for the legend."""
    for words, dashes in (("ECE, raw", "-"), ("ECE, temperature", "--")):
        axis.plot([], [], color=style.DARK, linestyle=dashes, label=words)
