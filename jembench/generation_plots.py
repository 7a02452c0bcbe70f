"""Pictures of sample quality over all models of a run: the distance against n, and the trade-off with accuracy.

``distances``: a Fréchet distance of n samples falls with n, since a covariance of few is wrong. Against 1/n it is nearly
a line (Chong & Forsyth, CVPR 2020), whose intercept is the distance at infinitely many: drawn with its interval at 1/n =
0. An estimate of it that is not above 0 lies at the lower edge, as a triangle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from jembench import plots
from jembench.sample_tables import DISTANCES, FLOOR, SOURCES, extractor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from jembench.evaluators.contract import Metric
    from jembench.results import ResultDocument

COLUMNS = 4  # panels in a row
WIDTH, HEIGHT = 3.0, 2.8  # inches, of a panel
APART = 0.13  # of an axis, between the marks of two n


def distances(documents: Sequence[ResultDocument]) -> bytes | None:
    """The PNG of the distance against n, a panel for each model that samples; None if there is none."""
    shown = {document.model.name: curves(document) for document in documents}
    shown = {name: found for name, found in shown.items() if set(found) & set(SOURCES)}
    if not shown:
        return None
    who, distance = extractor(documents[0])
    columns, rows = min(COLUMNS, len(shown)), -(-len(shown) // COLUMNS)
    figure, axes = plots.blank(WIDTH * columns + 0.3, HEIGHT * rows + 0.3, (rows, columns), sharex=True, sharey=True)
    values = [v for found in shown.values() for curve in found.values() for v in (*curve.values, curve.limit.value)]
    floor = 0.7 * min((v for v in values if v is not None and v > 0), default=1.0)
    sizes = sorted({n for found in shown.values() for curve in found.values() for n in curve.n})
    for place, axis in enumerate(axes):
        if place >= len(shown):
            axis.set_axis_off()
            continue
        name, found = list(shown.items())[place]
        plots.decorate(axis, name, "n, on a scale of 1/n", f"{DISTANCES[distance][0]}, {who}")
        for source, curve in found.items():
            look = plots.look((*SOURCES, *FLOOR).index(source))
            x = [1 / n for n in curve.n]
            label = source if curve.kept is None else f"{source}, {curve.kept}"
            style = "-" if source in SOURCES else "--"
            axis.plot(x, curve.values, **look, linestyle=style, markersize=3.5, linewidth=1.2, label=label)
            plots.point(axis, 0.0, curve.limit, look, floor)
        axis.set_yscale("log", nonpositive="clip")
        axis.set_ylim(bottom=floor)
        _inverse(axis, sizes)
        axis.label_outer()
    plots.legend(figure, 6)
    return plots.drawn(figure)


class Curve(NamedTuple):
    """Distances at n samples, ascending in n.

    Attributes:
        n: numbers of samples.
        values: distances.
        limit: the extrapolation to infinitely many.
        kept: what is said of a filter.
    """

    n: list[int]
    values: list[float]
    limit: Metric
    kept: str | None


def curves(document: ResultDocument) -> dict[str, Curve]:
    """Source of images -> its distances, those that a result has."""
    who, distance = extractor(document)
    found = {}
    for source in (*SOURCES, *FLOOR):
        limit = document.metric(f"{source}/{who}/{distance}_infinity")
        points: dict[int, float] = {}
        kept = None
        for metric in document.metrics:
            known = metric.name == distance or metric.name.startswith(f"{distance}_n")
            if known and (metric.source, metric.variant) == (source, who) and metric.value is not None:
                words, n = next((words, n) for words, n in metric.n.items() if words.startswith(source))
                points[n] = metric.value
                kept = words.removeprefix(source).lstrip(", ") or None
        if points and limit is not None:
            found[source] = Curve(sorted(points), [points[n] for n in sorted(points)], limit, kept)
    return found


def tradeoff(documents: Sequence[ResultDocument]) -> bytes | None:
    """The PNG of accuracy against the distance of fresh samples, over the models that have both; None if none has.

    Args:
        documents: of one run; several of one model complete each other.
    """
    who, distance = next((extractor(each) for each in documents if _has(each, "generation")), ("", "fd"))
    found: dict[str, dict[str, Metric]] = {}
    for document in documents:
        for name, key in (("accuracy", "test/accuracy"), ("distance", f"fresh/{who}/{distance}")):
            metric = document.metric(key)
            if metric is not None and metric.value is not None:
                found.setdefault(document.model.name, {}).setdefault(name, metric)
    both = {name: metrics for name, metrics in found.items() if len(metrics) == 2}
    if not both:
        return None
    figure, (axis,) = plots.blank(5.6, 4.0)
    title = DISTANCES[distance][0]
    plots.decorate(axis, "accuracy against sample quality", f"{title} of fresh samples, {who}; better to the left")
    axis.set_ylabel("accuracy on the test split", fontsize=8)
    for place, (name, metrics) in enumerate(found.items()):
        look = plots.look(place)
        if name in both:
            x, y = metrics["distance"], metrics["accuracy"]
            axis.errorbar([x.value], [y.value], xerr=_ends(x), yerr=_ends(y), color=look["color"], linewidth=1)
            axis.plot([x.value], [y.value], **look, linestyle="none", markersize=6, label=name)
            continue
        words, line = ("no samples", axis.axhline) if "accuracy" in metrics else ("no classifier", axis.axvline)
        (metric,) = metrics.values()
        line(metric.value, color=look["color"], linewidth=1, linestyle=":", label=f"{name}, {words}")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("{x:g}")
    axis.tick_params(axis="x", which="minor", labelsize=7)
    plots.legend(figure, 3)
    return plots.drawn(figure)


def _has(document: ResultDocument, evaluator: str) -> bool:
    return any(item["name"] == evaluator for item in document.protocol.evaluators)


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
