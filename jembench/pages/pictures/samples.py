"""Pictures of single samples: grids of images, their neighbours in the training split, and what chains do.

``neighbours``: samples above the training images that are nearest to them by the extractor's features; first those that
come first, then, of all samples, those that come nearest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jembench.evaluators.chains import TRAJECTORIES, Chains
from jembench.evaluators.generation import Generation, top
from jembench.measurements.trajectory import MARKS, times
from jembench.metrics.neighbours import nearest
from jembench.pages.pictures import plots
from jembench.pages.tables.samples import DISTANCES, STAYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from jembench.data.sets import ImageSet, Track
    from jembench.measurements.contract import Need
    from jembench.store.results import ResultDocument

    Records = Mapping[Need, Mapping[str, NDArray[Any]]]

Images = NDArray[np.float32]

ROWS = 8  # of a grid of samples
PAIRS = 3  # rows of samples as they come, above their neighbours; one more of the nearest
CHAINS = 10  # in a picture
QUANTILES = (0.05, 0.5, 0.95)  # of log p(x) over the chains
WIDTH, HEIGHT = 7.2, 3.2  # inches


def samples(evaluator: Generation, records: Records, name: str, track: Track) -> bytes | None:
    """The PNG of the samples of a source, as they come; where classes are asked for, a row for each."""
    rows = selection(evaluator, records, name)
    if not len(rows):
        return None
    record = records[evaluator.draws()[name]]
    labels, side, words = record["asked"][rows], plots.SIDE, []
    if name == "conditional":
        present = sorted(set(labels.tolist()))
        side = min(side, *(int((labels == y).sum()) for y in present))
        rows = np.concatenate([rows[labels == y][:side] for y in present])
        words = [str(y) for y in present]
    else:
        rows = rows[: ROWS * side]
    return plots.grid(_images(record["image"][rows], track), side=side, rows=words)


def selection(evaluator: Generation, records: Records, name: str) -> NDArray[np.int64]:
    """The rows of a source's records that its figures are of."""
    record = records.get(evaluator.draws()[name])
    if record is None:
        return np.arange(0)
    there = record["there"] & np.isfinite(record["image"]).all(axis=1)
    if evaluator.keep_top < 1 and there.any():
        classes = record["seen"] if evaluator.by_class else None
        there = top(record["confidence"], there, evaluator.keep_top, classes=classes)
    return np.flatnonzero(there)


def neighbours(evaluator: Generation, records: Records, train: ImageSet, track: Track) -> bytes | None:
    """The PNG of fresh samples, each above its nearest training image; None without samples."""
    rows = pairs(evaluator, records)
    if rows is None:
        return None
    own = _images(records[evaluator.draws()["fresh"]]["image"], track)
    words: list[str] = []
    images: list[Images] = []
    side = min(plots.SIDE, len(rows.first))
    parts = [("", part) for part in np.array_split(rows.first, max(1, len(rows.first) // side))]
    for label, part in [*parts, ("nearest ", rows.closest)]:
        theirs = train.images[rows.neighbour[part[:side]]].astype(np.float32) / np.float32(train.levels - 1)
        images += [own[part[:side]], theirs]
        words += [f"{label}samples", "training"]
    return plots.grid(np.concatenate(images), side=side, rows=words)


class Pairs(NamedTuple):
    """Samples to be looked at beside the training.

    Attributes:
        first: row indices of the first samples.
        closest: row indices of the samples with the nearest neighbours, ascending in distance.
        neighbour: index of the training image nearest to each row ``(N,)``; -1 where the sample is left out.
    """

    first: NDArray[np.int64]
    closest: NDArray[np.int64]
    neighbour: NDArray[np.int64]


def pairs(evaluator: Generation, records: Records) -> Pairs | None:
    """The samples and their neighbours; None without samples."""
    looks, rows = evaluator.looks(), selection(evaluator, records, "fresh")
    if not len(rows) or looks["train"] not in records:
        return None
    features = [records[looks[name]]["features"].astype(np.float64) for name in ("fresh", "train")]
    index, distance = nearest(features[0][rows], features[1], 1)
    neighbour = np.full(len(features[0]), -1)
    neighbour[rows] = index[:, 0]
    side = min(plots.SIDE, len(rows))
    return Pairs(rows[: max(1, min(PAIRS, len(rows) // side)) * side], rows[_order(distance[:, 0])[:side]], neighbour)


def chains(records: Records, track: Track) -> bytes | None:
    """The PNG of the same chains, one a column, at 0, K, 5 K and 20 K steps; None without chains."""
    record = records.get(TRAJECTORIES)
    if record is None:
        return None
    steps = int(record["steps"][0])
    images = [_images(record[f"image_{mark}"][:CHAINS], track) for mark in MARKS]
    words = [f"{mark * steps} steps" for mark in MARKS]
    return plots.grid(np.nan_to_num(np.concatenate(images), nan=1.0), side=len(images[0]), rows=words)


def energy(evaluator: Chains, records: Records, document: ResultDocument) -> bytes | None:
    """The PNG of log p(x) along the chains, and of the distance at the marks; None without chains."""
    record = records.get(TRAJECTORIES)
    if record is None:
        return None
    steps = int(record["steps"][0])
    figure, (axis, marks) = plots.blank(WIDTH, HEIGHT, (1, 2), width_ratios=[1.5, 1])
    trace = band(record["log_density"])
    x = np.array(times(steps)) / max(steps, 1)
    plots.decorate(axis, f"{document.model.name}: {len(record['index'])} fresh chains, K = {steps}", "steps / K")
    axis.set_ylabel("log p(x) + c, nats", fontsize=8)
    axis.fill_between(
        x, trace[0], trace[2], color=plots.COLOURS[0], alpha=0.2, linewidth=0, label="log p(x), 5 to 95 % of the chains"
    )
    axis.plot(x, trace[1], color=plots.COLOURS[0], linewidth=1.4, label="median")
    axis.set_xscale("symlog", linthresh=1, linscale=0.8)
    axis.set_xticks(MARKS, [str(mark) for mark in MARKS])
    axis.minorticks_off()
    for mark in MARKS[1:]:
        axis.axvline(mark, color="#888888", linewidth=1, linestyle=":", zorder=1)
    axis.set_xlim(0, MARKS[-1] * 1.08)
    _marks(marks, evaluator, document)
    plots.legend(figure)
    return plots.png(figure, colours=256)


def band(log_density: NDArray[Any]) -> NDArray[np.float64]:
    """Quantiles ``(3, T)`` over the chains that are finite at a time; NaN where none is."""
    columns = [column[np.isfinite(column)] for column in log_density.astype(np.float64).T]
    return np.array([np.quantile(c, QUANTILES) if len(c) else [np.nan] * len(QUANTILES) for c in columns]).T


def _marks(axis: Axes, evaluator: Chains, document: ResultDocument) -> None:
    """The distance to the training images at the marks, with its intervals."""
    who, distance = evaluator.extractor.name, evaluator.extractor.distance
    metrics = [document.metric(f"{mark}K/{who}/{distance}") for mark in MARKS]
    title = DISTANCES[distance][0]
    plots.decorate(axis, f"{title}, {who}", "steps", f"{title} to the training images")
    points = {place: metric for place, metric in enumerate(metrics) if metric is not None and metric.value is not None}
    for place, metric in points.items():
        plots.point(axis, float(place), metric, {"color": plots.COLOURS[0], "marker": "o"})
    line = [metric.value or 0.0 for metric in points.values()]
    axis.plot(list(points), line, color=plots.COLOURS[0], linewidth=1.2)
    if 1 in points:
        limit = STAYS * float(points[1].value or 0)
        words = f"{STAYS:g} × {title} at K"
        axis.axhline(limit, color="#888888", linewidth=1, linestyle="--", label=words)
    axis.set_xticks(range(len(MARKS)), ["0", *("K" if mark == 1 else f"{mark} K" for mark in MARKS[1:])])
    axis.set_xlim(-0.3, len(MARKS) - 0.7)
    plots.spread(
        axis, "y", (end for metric in points.values() for end in (metric.value, metric.low) if end is not None)
    )


def _images(flat: NDArray[Any], track: Track) -> Images:
    return flat.reshape(-1, *track.shape).astype(np.float32)


def _order(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.argsort(values, kind="stable")
