"""Histograms of OOD scores: table 2 of Grathwohl et al. (ICLR 2020).

A panel for each of the paper's three scores, in it a row for each OOD set: densities of the test split and of the set,
in units of the larger peak. Scores have tails that would press all else into one bin, so an axis is one on which they
spread, always with larger = more in-distribution to the right:

- log p(x) as it is;
- max p(y|x) by -log10(1 - max p), the number of nines;
- mass by -log10 of the gradient norm.

The rows of a panel share their axis. It holds the central 99 % of the test scores, and as much of the sets as lies
within three times that range of it; the share of examples that lie outside is written at that side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jembench.metrics.scores import PAPER
from jembench.pages.pictures import plots, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jembench.data.sets import Track
    from jembench.store.results import ResultDocument

Floats = NDArray[np.floating[Any]]

BINS = 30
CENTRAL = (0.005, 0.995)  # quantiles that an axis shows
EDGE = 0.04  # of it is added on both sides
POINT = 1e-9  # of its ends: a shorter axis is a point, and gets a width of 1
TICKS = 3  # marks of a logarithmic axis at least, where its powers of ten are fewer
BEYOND = 3.0  # times the range of the test scores that it reaches further
TINY = 1e-16  # a probability or norm below which all are alike
ROW = 0.56  # inches, of an OOD set
PEAK, UPPER, LOWER = 0.64, 0.93, 0.77  # of a row: the height of its peaks, and the tops of two lines of words
LEFT, RIGHT = "◂", "▸"
SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class Scale(NamedTuple):
    """An axis on which a score spreads.

    Attributes:
        title: name of the axis.
        spread: function from scores to positions on the axis, increasing.
        words: function from the argument of the logarithm to the words at its mark; None for a linear axis.
    """

    title: str
    spread: Callable[[Floats], Floats]
    words: Callable[[float], str] | None = None


class Histogram(NamedTuple):
    """Densities on an axis and what lies outside.

    Attributes:
        edges: edges ``(B + 1,)`` of the bins, as positions on the axis.
        density: density ``(B,)`` in each bin, of all examples, those outside of the axis too.
        below: share of the examples to the left of the axis.
        above: share of the examples to the right of the axis.
    """

    edges: Floats
    density: Floats
    below: float
    above: float


def _below_one(gap: float) -> str:
    """One minus a small number.

    >>> [_below_one(gap) for gap in (1.0, 0.5, 0.02, 1e-3, 1e-7, 2e-12)]
    ['0', '0.5', '0.98', '0.999', '1−10⁻⁷', '1−2·10⁻¹²']
    """
    if gap >= 1e-3:
        return f"{1 - gap:.3g}"
    factor, _, power = f"{gap:.0e}".partition("e-")
    power = power.lstrip("0").translate(SUPERSCRIPT)
    return f"1−{'' if factor == '1' else f'{factor}·'}10⁻{power}"


SCALES = {
    "log_px": Scale("log p(x), nats", lambda score: score),
    "max_py": Scale("max p(y|x)", lambda score: -np.log10(np.maximum(1 - score, TINY)), _below_one),
    "mass": Scale("mass", lambda score: -np.log10(np.maximum(-score, TINY)), "−{:g}".format),
}


def scores(columns: Mapping[str, NDArray[Any]], track: Track, document: ResultDocument) -> Figure | None:
    """A result's histograms, with the AUROC of each; None if the model has none of the scores.

    Args:
        columns: columns ``(N,)`` of the result's ``examples.parquet``.
        track: the track of the result, which says what its OOD sets are.
        document: the result, for its AUROCs.
    """
    panels = {score.name: by_source(columns, score.name, [source.name for source in track.ood]) for score in PAPER}
    panels = {name: positions for name, positions in panels.items() if "test" in positions and len(positions) > 1}
    if not panels:
        return None
    sets = [source.name for source in track.ood if any(source.name in positions for positions in panels.values())]
    width = style.COLUMN if len(panels) == 1 else style.PAGE
    with plots.blank(width, ROW * len(sets) + 0.5, (1, len(panels)), sharey=True) as (figure, axes):
        n = {
            name: {len(positions[each]) for positions in panels.values() for each in of if each in positions}
            for name, of in (("test", ["test"]), ("OOD set", sets))
        }
        plots.head(figure, plots.caption([document], n))
        auroc = {metric.id: metric.value for metric in document.metrics}
        for axis, (name, positions) in zip(axes, panels.items(), strict=True):
            bars = histograms(positions)
            for place, source in enumerate(sets):
                if source in positions:
                    _row(axis, len(sets) - 1 - place, bars["test"], bars[source], auroc.get(f"{source}/{name}/auroc"))
            _frame(axis, SCALES[name], sets)
        plots.legend(figure)
    return figure


def by_source(columns: Mapping[str, NDArray[Any]], name: str, sets: Sequence[str]) -> dict[str, Floats]:
    """Positions on its axis of a score's values of the test split and of every OOD set.

    NaN is left out, and so is a source without any finite value.
    """
    if name not in columns:
        return {}
    positions = {}
    for source in ("test", *sets):
        values = np.asarray(columns[name][columns["source"] == source], dtype=np.float64)
        values = values[~np.isnan(values)]
        if np.isfinite(values).any():
            positions[source] = SCALES[name].spread(values)
    return positions


def histograms(positions: Mapping[str, Floats]) -> dict[str, Histogram]:
    """Histograms of all sources on one axis."""
    low, high = span(positions["test"], [values for source, values in positions.items() if source != "test"])
    edges = np.linspace(low, high, BINS + 1)
    result = {}
    for source, values in positions.items():
        counts, _ = np.histogram(values, edges)
        below, above = float((values < low).mean()), float((values > high).mean())
        result[source] = Histogram(edges, counts / (len(values) * (edges[1] - edges[0])), below, above)
    return result


def span(test: Floats, sets: Sequence[Floats]) -> tuple[float, float]:
    """The ends of an axis.

    >>> span(np.linspace(0, 1, 101), [np.array([-100.0, -50.0]), np.array([0.5, 1.5])])
    (-3.18, 1.68)
    """
    inner = [np.quantile(values[np.isfinite(values)], CENTRAL, method="nearest") for values in (test, *sets)]
    low, high = inner[0]
    reach = BEYOND * (high - low)
    first, last = max(low - reach, min(ends[0] for ends in inner)), min(high + reach, max(ends[1] for ends in inner))
    point = last - first <= POINT * max(1.0, abs(first), abs(last))
    edge = 0.5 if point else EDGE * (last - first)
    return round(float(first - edge), 12), round(float(last + edge), 12)


def _row(axis: Axes, base: int, test: Histogram, ood: Histogram, auroc: float | None) -> None:
    """The histograms of the test split and of a set, what is outside of the axis, and the AUROC."""
    unit = PEAK / max(test.density.max(), ood.density.max(), TINY)
    for place, (histogram, label, top) in enumerate(((test, "test", UPPER), (ood, "OOD set", LOWER))):
        colour = style.COLOURS[place]
        filling: dict[str, Any] = {"fill": True, "alpha": 0.45, "linewidth": 0} if label == "test" else {}
        axis.stairs(
            base + unit * histogram.density, histogram.edges, baseline=base, color=colour, label=label, **filling
        )
        for share, at, align in ((histogram.below, 0.01, "left"), (histogram.above, 0.99, "right")):
            if share > 0:
                words = "< 1 %" if share < 0.01 else f"{100 * share:.0f} %"
                words = f"{LEFT} {words}" if align == "left" else f"{words} {RIGHT}"
                _words(axis, at, base + top, words, colour, align)
    if auroc is not None:
        _words(axis, 0.5, base + UPPER, f"AUROC {auroc:.3f}", "black", "center")


def _words(axis: Axes, x: float, y: float, words: str, colour: str, align: str) -> None:
    axis.text(x, y, words, color=colour, ha=align, va="top", transform=axis.get_yaxis_transform())


def _frame(axis: Axes, scale: Scale, sets: Sequence[str]) -> None:
    axis.set_xlabel(scale.title)
    axis.margins(x=0)
    axis.set_ylim(-0.03, len(sets))
    axis.set_yticks(range(len(sets)), [*reversed(sets)], va="bottom")
    axis.tick_params(axis="y", length=0)
    if scale.words is None:
        axis.locator_params(axis="x", nbins=4)
        return
    marks = ticks(*axis.get_xlim())
    axis.set_xticks(marks[:: max(1, -(-len(marks) // 4))])
    axis.xaxis.set_major_formatter(lambda position, place: scale.words(_argument(position)))  # type: ignore[misc]


def ticks(low: float, high: float) -> list[float]:
    """Positions -log10(v) between the ends where v is a power of ten; if these are few, 2 and 5 times one, or three.

    >>> ticks(0.5, 4.2), [round(10**-position, 2) for position in ticks(0.5, 1.5)]
    ([1.0, 2.0, 3.0, 4.0], [0.2, 0.1, 0.05])
    >>> [round(10**-position, 2) for position in ticks(0.04, 0.08)]
    [0.89, 0.87, 0.85]
    """
    powers = np.arange(np.floor(low), np.ceil(high) + 1)
    for factors in ((1,), (1, 2, 5)):
        positions = sorted(float(power - np.log10(factor)) for power in powers for factor in factors)
        marks = [position for position in positions if low <= position <= high]
        if len(marks) >= TICKS:
            return marks
    return [float(-np.log10(_argument(position))) for position in np.linspace(low, high, TICKS + 2)[1:-1]]


def _argument(position: float) -> float:
    return float(f"{10**-position:.2g}")
