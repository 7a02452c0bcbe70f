"""Sketches: the pictures of a model as SVG, from ``result.json``, ``examples.parquet`` and ``training.json`` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from jembench.metrics.reliability import reliability
from jembench.metrics.scores import PAPER
from jembench.pages.pictures import calibration, ood, plots
from jembench.pages.site.svg import COLOURS, Drawing, Span, key, ticks
from jembench.pages.tables.figures import number
from jembench.pages.tables.ood import names
from jembench.pages.tables.report import text
from jembench.pages.tables.robustness import NORMS

if TYPE_CHECKING:
    from jembench.metrics.metric import Metric
    from jembench.store.history import History
    from jembench.store.results import ResultDocument

Columns = Mapping[str, NDArray[Any]]

MOST = 240  # points of a curve
UNIT = ticks(0.0, 1.0)
ROW, PEAK = 54.0, 0.68  # pixels of a row of histograms, and the share that its peaks have


@dataclass(frozen=True)
class Sketch:
    """Drawings that belong together.

    Attributes:
        title: what they show.
        words: how they are read, a sentence.
        drawings: the SVGs.
        key: the legend; may be empty.
    """

    title: str
    words: str
    drawings: tuple[Markup, ...]
    key: Markup | None = None


def calibrated(columns: Columns) -> Sketch | None:
    """Accuracy against confidence in 15 bins, raw and by both maps; None without predictions."""
    panels = calibration.of_examples(columns)
    drawings = []
    for place, (name, predictions) in enumerate(panels.items()):
        drawing = Drawing((0.0, 1.0), (0.0, 1.0), 300.0, 250.0)
        drawing.axes(UNIT, UNIT, f"confidence, {name}", "accuracy")
        drawing.line([(0.0, 0.0), (1.0, 1.0)], "guide")
        for each in reliability(*predictions):
            words = f"{each.examples} images: confidence {each.confidence:.3f}, accuracy {each.accuracy:.3f}"
            drawing.dot(each.confidence, each.accuracy, (each.low, each.high), f"c{place}", words)
        drawings.append(drawing.svg(f"Reliability diagram, {name}: accuracy against confidence on the test images"))
    words = "Accuracy of each bin of confidence with its 95 % interval. Points below the line: too sure of itself."
    return Sketch("Reliability", words, tuple(drawings)) if drawings else None


def histograms(columns: Columns, document: ResultDocument) -> Sketch | None:
    """Densities of the paper's scores, of the test images and every OOD set; None without scores."""
    drawings, sets = [], names(document)
    for score in PAPER:
        positions = ood.by_source(columns, score.name, sets) if "source" in columns else {}
        if "test" in positions and len(positions) > 1:
            drawings.append(_histograms(positions, score.name, document))
    words = "Test images (filled) and each OOD set (line), larger = more in-distribution; the number is the AUROC."
    return Sketch("OOD scores", words, tuple(drawings), key(["test", "OOD set"])) if drawings else None


def _histograms(positions: Mapping[str, NDArray[Any]], score: str, document: ResultDocument) -> Markup:
    """A row for each set, on the axis of its score."""
    scale, bars = ood.SCALES[score], ood.histograms(positions)
    sets = [name for name in bars if name != "test"]
    edges = bars["test"].edges
    low, high = float(edges[0]), float(edges[-1])
    drawing = Drawing((low, high), (0.0, float(len(sets))), 340.0, 60.0 + ROW * len(sets), left=14.0)
    marks = ood.ticks(low, high)[:: max(1, len(ood.ticks(low, high)) // 4)] if scale.words else []
    across = [(place, scale.words(float(f"{10**-place:.2g}"))) for place in marks] if scale.words else []
    drawing.axes(across or ticks(low, high, 4), [], scale.title)
    for place, name in enumerate(sets):
        base = float(len(sets) - 1 - place)
        peak = max(bars["test"].density.max(), bars[name].density.max(), ood.TINY)
        for which, style in (("test", "fill c0"), (name, "outline c1")):
            drawing.line(_steps(edges, base + PEAK * bars[which].density / peak, base), style)
        metric = document.metric(f"{name}/{score}/auroc")
        words = name if metric is None or metric.value is None else f"{name} {number(metric.value)}"
        x, y = drawing.at(low, base + 1.0)
        drawing.text(words, x + 4, y + 13)
    sets_words = ", ".join(sets)
    return drawing.svg(f"Histograms of {scale.title}: test images against {sets_words}")


def _steps(edges: NDArray[Any], heights: NDArray[Any], base: float) -> list[tuple[float, float]]:
    """The outline of bars; neighbours of one height are one bar."""
    points = [(float(edges[0]), base)]
    for place, height in enumerate(heights.tolist()):
        if place and abs(height - points[-1][1]) < 1e-9:
            points[-1] = (float(edges[place + 1]), height)
        else:
            points += [(float(edges[place]), height), (float(edges[place + 1]), height)]
    return [*points, (float(edges[-1]), base)]


def attacked(documents: Sequence[tuple[str, ResultDocument]]) -> Sketch | None:
    """Worst-case accuracy against eps, a drawing for each norm and a curve for each defence; None without attacks."""
    known = [title for title, document in documents if any(plots.curves([document], norm) for norm in NORMS)]
    titles = list(dict.fromkeys(known))
    drawings = []
    for norm, words in NORMS.items():
        curves: dict[str, list[tuple[float, Metric]]] = {}
        for title, document in documents:
            for curve in plots.curves([document], norm).values():
                curves[title] = curve
        if not curves:
            continue
        most = max(eps for curve in curves.values() for eps, _ in curve)
        drawing = Drawing((0.0, most), (0.0, 1.0), 340.0, 240.0)
        drawing.axes(ticks(0.0, most), UNIT, f"eps, {words}, pixels in [0, 1]", "worst-case accuracy")
        for title, curve in curves.items():
            _curve(drawing, title, curve, f"c{titles.index(title) % COLOURS}")
        drawings.append(drawing.svg(f"Worst-case accuracy against eps in {words}: {', '.join(curves)}"))
    text = "Accuracy under the strongest of all attacks, with 95 % intervals; an upper bound."
    return Sketch("Accuracy under attack", text, tuple(drawings), key(titles)) if drawings else None


def _curve(drawing: Drawing, title: str, curve: Sequence[tuple[float, Metric]], colour: str) -> None:
    """A curve with the area of its intervals, and words at its points."""
    known = [(eps, metric.value, metric) for eps, metric in curve if metric.value is not None]
    ends = [(eps, m.low, m.high) for eps, _, m in known if m.low is not None and m.high is not None]
    drawing.area([(eps, low) for eps, low, _ in ends], [(eps, high) for eps, _, high in ends], colour)
    drawing.line([(eps, value) for eps, value, _ in known], colour)
    for eps, value, metric in known:
        drawing.dot(eps, value, None, colour, f"{title}, eps {eps:g}: {text(metric)}")


def trained(history: History) -> Sketch | None:
    """The values of a training run against the iteration, a drawing for each kind; None without validations."""
    series, drawings = plots.series(history), []
    for title, panel in plots.PANELS.items():
        known = [(place, name) for place, name in enumerate(panel) if name in series]
        ends = _range([value for _, name in known for value in series[name][1]])
        if ends is None:
            continue
        drawing = Drawing((0.0, float(max(1, history.iterations))), ends, 300.0, 210.0)
        drawing.axes(ticks(*drawing.x, 4), ticks(*ends, 4), "iteration")
        drawing.line([(history.chosen.iteration, ends[0]), (history.chosen.iteration, ends[1])], "guide")
        for event in history.rollbacks:
            drawing.line([(event.iteration, ends[0]), (event.iteration, ends[1])], "warning")
        for place, name in known:
            x, y = series[name]
            step = -(-len(x) // MOST)
            drawing.line([*zip(map(float, x[::step]), y[::step], strict=True)], f"c{place}")
        svg = drawing.svg(f"{title} against the iteration: {', '.join(panel[name] for _, name in known)}")
        legend = key([panel[name] for _, name in known], [place for place, _ in known])
        drawings.append(Markup("<div><h3>{}</h3>{}{}</div>").format(title, svg, legend))
    chosen = f"Vertical line: the chosen weights ({history.chosen.iteration:,}, by {history.chosen.criterion})."
    lost = f" Red: {len(history.rollbacks)} rollbacks." if history.rollbacks else ""
    return Sketch("Training", chosen + lost, tuple(drawings)) if drawings else None


def _range(values: Sequence[float]) -> Span | None:
    """The ends of an axis that holds all but the most extreme of the finite values."""
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return None
    low, high = (float(each) for each in np.quantile(finite, (0.01, 0.99)))
    edge = 0.05 * (high - low) or 0.5
    return low - edge, high + edge
