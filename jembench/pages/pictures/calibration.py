"""Reliability diagrams: accuracy against confidence of several models, with what is known of each bin.

A panel for each model. Above, every bin that holds an example: its accuracy at its mean confidence, with Wilson's 95 %
interval (:mod:`jembench.metrics.reliability`); points below the diagonal are too sure. Below, how many examples each
bin holds, on a logarithmic scale, since most confidences of a good model are near 1 and the bins that look worst are
often those of a handful.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jembench.metrics.reliability import Bin, reliability
from jembench.pages.pictures import plots, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4  # panels in a row
HEIGHT = 2.5  # inches, of a row of panels
BASE = 0.5  # where the bars begin: one example has a height


class Predictions(NamedTuple):
    """Confidences ``(N,)`` in [0, 1] and whether each prediction is correct ``(N,)``."""

    confidence: ArrayLike
    correct: ArrayLike


def of_examples(columns: Mapping[str, NDArray[np.generic]]) -> dict[str, Predictions]:
    """The test split's predictions, raw and by either map, from the columns of ``examples.parquet``.

    What a result made before these columns, or a model without logits, does not have is left out.
    """
    if "label" not in columns:
        return {}
    test = np.asarray(columns["source"] == "test")
    label = columns["label"][test]
    names = {
        "raw": ("confidence", "prediction"),
        "temperature": ("temperature_confidence", "prediction"),
        "vector": ("vector_confidence", "vector_prediction"),
    }
    return {
        variant: Predictions(columns[confidence][test], columns[prediction][test] == label)
        for variant, (confidence, prediction) in names.items()
        if confidence in columns
    }


def reliability_diagram(models: Mapping[str, Mapping[str, Predictions]], *, head: str = "", bins: int = 15) -> Figure:
    """A reliability diagram.

    Args:
        models: title of a panel -> name of a series, such as ``raw`` or ``temperature``, -> its predictions. One name
            has one colour in all panels.
        head: words above all panels.
        bins: number of bins of equal width.

    Raises:
        ValueError: no model or no series, or predictions as refused by :func:`reliability`.
    """
    names = list(dict.fromkeys(name for series in models.values() for name in series))
    if not names:
        raise ValueError("a reliability diagram needs at least one model with predictions")
    columns, rows = min(COLUMNS, len(models)), -(-len(models) // COLUMNS)
    width = style.COLUMN if columns == 1 else style.PAGE
    with plots.blank(width, HEIGHT * rows, (2 * rows, columns), height_ratios=[3, 1] * rows) as (figure, axes):
        plots.head(figure, head)
        for place in range(rows * columns):
            upper, lower = (axes[(place // columns * 2 + part) * columns + place % columns] for part in (0, 1))
            if place >= len(models):
                upper.set_axis_off()
                lower.set_axis_off()
                continue
            title = list(models)[place]
            upper.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.8, linestyle="--", zorder=1)
            for name, predictions in models[title].items():
                _series(upper, lower, (names.index(name), len(names)), name, reliability(*predictions, bins=bins))
            _decorate(upper, lower, title, first=place % columns == 0)
        plots.legend(figure)
    return figure


def _series(upper: Axes, lower: Axes, place: tuple[int, int], name: str, bins: list[Bin]) -> None:
    """Points with their intervals above, counts below; the bars of a bin stand side by side, at `place` of so many."""
    index, of = place
    colour = style.look(index)["color"]
    x, y = np.array([b.confidence for b in bins]), np.array([b.accuracy for b in bins])
    ends = [y - [b.low for b in bins], np.array([b.high for b in bins]) - y]
    upper.errorbar(x, y, yerr=np.maximum(ends, 0), color=colour, linestyle="none", elinewidth=0.8, alpha=0.55)
    upper.plot(x, y, **style.look(index), linestyle="none", label=name)
    width = np.array([b.right - b.left for b in bins]) * 0.85 / of
    start = np.array([(b.left + b.right) / 2 for b in bins]) + (index - of / 2) * width
    lower.bar(start, [b.examples - BASE for b in bins], width, bottom=BASE, align="edge", color=colour)


def _decorate(upper: Axes, lower: Axes, title: str, *, first: bool) -> None:
    """Scales and names of a panel."""
    plots.decorate(upper, title, y="accuracy" if first else "")
    plots.decorate(lower, x="confidence", y="examples" if first else "")
    upper.set_ylim(-0.03, 1.03)
    upper.tick_params(labelbottom=False)
    lower.set_yscale("log")
    lower.set_ylim(bottom=BASE)
    lower.yaxis.set_major_formatter("{x:g}")
    for axis in (upper, lower):
        axis.set_xlim(-0.02, 1.02)
        axis.set_xticks(np.linspace(0, 1, 6))
