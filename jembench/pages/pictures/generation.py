"""Pictures of sample quality over all models of a run: the distance against n, and the trade-off with accuracy.

``distances``: a Fréchet distance of n samples falls with n, since a covariance of few is wrong. Against 1/n it is
nearly a line (Chong & Forsyth, CVPR 2020), whose intercept is the distance at infinitely many: drawn with its interval
at 1/n = 0. An estimate of it that is not above 0 lies at the lower edge, as a triangle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from jembench.pages.pictures import plots, style
from jembench.pages.tables.samples import DISTANCES, FLOOR, SOURCES, extractor, sources

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jembench.metrics.metric import Metric
    from jembench.store.results import ResultDocument

COLUMNS = 4  # panels in a row
HEIGHT = 2.0  # inches, of a row of panels
LINES = (*style.DASHES[1:], (0, (1, 3)))  # of models without one of accuracy and samples
SEEDS = re.compile(r", (\d+) training seeds$")  # in the method of an interval of a mean over them
MEANS = "×S: mean over S training seeds"
APART = 0.13  # of an axis, between the marks of two n


def distances(documents: Sequence[ResultDocument]) -> Figure | None:
    """The distance against n, a panel for each model that samples; None if there is none."""
    panels = {document.model.name: curves(document) for document in documents}
    panels = {name: series for name, series in panels.items() if set(series) & set(SOURCES)}
    if not panels:
        return None
    who, distance = extractor(documents[0])
    rows = -(-len(panels) // COLUMNS)
    columns = -(-len(panels) // rows)
    width = style.COLUMN if columns == 1 else style.PAGE
    with plots.blank(width, HEIGHT * rows, (rows, columns), sharey=True) as (figure, axes):
        n = plots.sizes(curve.limit for series in panels.values() for curve in series.values())
        plots.head(figure, plots.caption([each for each in documents if each.model.name in panels], n))
        values = [
            v for series in panels.values() for curve in series.values() for v in (*curve.values, curve.limit.value)
        ]
        floor = 0.7 * min((v for v in values if v is not None and v > 0), default=1.0)
        sizes = sorted({n for series in panels.values() for curve in series.values() for n in curve.n})
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        for place, (axis, (name, series)) in enumerate(zip(axes, panels.items(), strict=False)):
            title = "" if place % columns else f"{DISTANCES[distance][0]}, {who}"
            plots.decorate(axis, name, "n, on a scale of 1/n", title)
            for source, curve in series.items():
                look = style.look((*SOURCES, *FLOOR).index(source))
                x = [1 / n for n in curve.n]
                label = source if curve.filtering is None else f"{source}, {curve.filtering}"
                dashes = "-" if source in SOURCES else "--"
                axis.plot(x, curve.values, **look, linestyle=dashes, label=label)
                plots.point(axis, 0.0, curve.limit, look, floor)
            plots.spread(axis, "y", (v for v in values if v is not None))
            axis.set_ylim(floor, 1.4 * max(floor, *(v for v in values if v is not None)))
            _inverse(axis, sizes)
        plots.legend(figure)
    return figure


class DistanceCurve(NamedTuple):
    """Distances at n samples, ascending in n.

    Attributes:
        n: numbers of samples, ascending.
        values: distance of each number of samples.
        limit: the distance extrapolated to infinitely many samples.
        filtering: what the result says of the filter on the samples; None without one.
    """

    n: list[int]
    values: list[float]
    limit: Metric
    filtering: str | None


def curves(document: ResultDocument) -> dict[str, DistanceCurve]:
    """Source of images -> its distances, those that a result has."""
    who, distance = extractor(document)
    series = {}
    for source in (*SOURCES, *FLOOR):
        limit = document.metric(f"{source}/{who}/{distance}_infinity")
        points: dict[int, float] = {}
        filtering = None
        for metric in document.metrics:
            matches = metric.name == distance or metric.name.startswith(f"{distance}_n")
            if matches and (metric.source, metric.variant) == (source, who) and metric.value is not None:
                words, n = next((words, n) for words, n in metric.n.items() if words.startswith(source))
                points[n] = metric.value if metric.name == distance else points.get(n, metric.value)
                filtering = words.removeprefix(source).lstrip(", ") or None
        if points and limit is not None:
            series[source] = DistanceCurve(sorted(points), [points[n] for n in sorted(points)], limit, filtering)
    return series


def tradeoff(documents: Sequence[ResultDocument]) -> Figure | None:
    """Accuracy against the distance of samples, those of the table, over the models that have both; None if none has.

    Args:
        documents: results of one run, or the rows of a leaderboard; several of one model complete each other.
    """
    sampled = [document for document in documents if document.settings("generation")]
    if not sampled:
        return None
    (who, distance), first = extractor(sampled[0]), sources(sampled[0])[0]
    models: dict[str, dict[str, Metric]] = {}
    for document in documents:
        for name, key in (("accuracy", "test/accuracy"), ("distance", f"{first}/{who}/{distance}")):
            metric = document.metric(key)
            if metric is not None and metric.value is not None:
                models.setdefault(document.model.name, {}).setdefault(name, metric)
    both = {name: metrics for name, metrics in models.items() if len(metrics) == 2}
    if not both:
        return None
    with plots.blank(style.COLUMN, 2.3) as (figure, (axis,)):
        shown = [metric for metrics in models.values() for metric in metrics.values()]
        words = plots.caption(documents, plots.sizes(shown))
        plots.head(figure, words + (f"\n{MEANS}" if any(map(_seeds, shown)) else ""))
        title = DISTANCES[distance][0]
        rows = {words for metrics in both.values() for words in metrics["distance"].n if words.startswith(first)}
        across = f"{title} of samples, {' or '.join(sorted(rows)) or first}; {who}; better to the left"  # and filters
        plots.decorate(axis, "accuracy against sample quality", across, "accuracy on the test split")
        for place, (name, metrics) in enumerate(both.items()):
            x, y = (metrics[key].value or 0.0 for key in ("distance", "accuracy"))
            ends = [_ends(metrics[key]) for key in ("distance", "accuracy")]
            axis.errorbar([x], [y], xerr=ends[0], yerr=ends[1], color=style.look(place)["color"], linewidth=0.9)
            axis.plot([x], [y], **style.look(place), linestyle="none", markersize=4.5, label=_label(name, metrics))
        for place, (name, metrics) in enumerate((name, each) for name, each in models.items() if name not in both):
            ((key, metric),) = metrics.items()
            line, lacks = (axis.axhline, "samples") if key == "accuracy" else (axis.axvline, "classifier")
            colour, dashes = style.look(len(both) + place)["color"], LINES[place % len(LINES)]
            line(metric.value or 0.0, color=colour, linestyle=dashes, label=f"{_label(name, metrics)}, no {lacks}")
        plots.spread(axis, "x", (each["distance"].value or 0.0 for each in models.values() if "distance" in each))
        plots.legend(figure, 2)
    return figure


def _label(name: str, metrics: Mapping[str, Metric]) -> str:
    """A model, and over how many training seeds its numbers are means."""
    return " ".join([name, *sorted({f"×{seeds}" for metric in metrics.values() if (seeds := _seeds(metric))})])


def _seeds(metric: Metric) -> str:
    """The number of training seeds that a metric is a mean over; empty if it is of one."""
    match = SEEDS.search(metric.method)
    return match[1] if match else ""


def _ends(metric: Metric) -> list[list[float]]:
    """What an error bar takes."""
    assert metric.value is not None
    low, high = (metric.value if end is None else end for end in (metric.low, metric.high))
    return [[max(0.0, metric.value - low)], [max(0.0, high - metric.value)]]


def _inverse(axis: Axes, sizes: Sequence[int]) -> None:
    """Marks of 1/n, as many as can be read."""
    last = 1 / min(sizes)
    marks = [0.0]
    for n in sorted(sizes, reverse=True):
        if 1 / n - marks[-1] >= APART * last and (last - 1 / n >= APART * last or n == min(sizes)):
            marks.append(1 / n)
    axis.set_xticks(marks, ["∞", *(str(round(1 / mark)) for mark in marks[1:])])
    axis.set_xlim(-0.03 * last, 1.05 * last)
