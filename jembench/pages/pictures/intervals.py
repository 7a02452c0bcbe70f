"""Metrics of one name with their intervals: a row for each source, a colour for each score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jembench.pages.tables.figures import BAND

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from jembench.store.results import ResultDocument

MARKS = "osD^vPX*<>"
SPREAD = 0.6  # of the scores of one source, in rows


def plot(document: ResultDocument, name: str, axis: Axes | None = None) -> Axes:
    """Plot the metrics of a name, on axes of a new figure if there are none.

    Args:
        document: the result.
        name: name of the metrics.
        axis: what to plot on.
    """
    metrics = [metric for metric in document.metrics if metric.name == name and metric.value is not None]
    sources = list(dict.fromkeys(metric.source for metric in metrics))
    variants = list(dict.fromkeys(metric.variant for metric in metrics))
    if axis is None:
        from matplotlib import pyplot

        _, axis = pyplot.subplots(figsize=(6.9, 1.2 + 0.35 * len(sources)), layout="constrained")
    for number, variant in enumerate(variants):
        mine = [metric for metric in metrics if metric.variant == variant]
        shift = SPREAD * ((number + 0.5) / len(variants) - 0.5)
        values = [metric.value or 0.0 for metric in mine]
        ends = [(metric.low, metric.high) if metric.method != BAND else (None, None) for metric in mine]
        low = [0.0 if end is None else max(0.0, value - end) for value, (end, _) in zip(values, ends, strict=True)]
        high = [0.0 if end is None else max(0.0, end - value) for value, (_, end) in zip(values, ends, strict=True)]
        axis.errorbar(
            values,
            [sources.index(metric.source) + shift for metric in mine],
            xerr=[low, high],
            fmt=MARKS[number % len(MARKS)],
            markersize=4,
            linewidth=1,
            label=variant or name,
        )
    axis.set_yticks(range(len(sources)), sources)
    axis.invert_yaxis()
    bands = all(metric.method == BAND for metric in metrics)
    axis.set_xlabel(name if bands else f"{name}, 95 % interval")
    axis.set_title(f"{document.model.name} · {document.track} · {document.protocol.name} {document.protocol_hash[:8]}")
    if len(variants) > 1:
        axis.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return axis
