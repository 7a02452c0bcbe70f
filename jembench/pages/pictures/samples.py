"""Pictures of single samples: grids of images, their neighbours in the training split, and what chains do.

Below an image stands the class that is seen in it (by the extractor where it knows the classes of the track, which is
not the model that drew it) and the model's own score: the confidence max p(y|x), or log p(x).

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
from jembench.pages.pictures import grids, plots, style
from jembench.pages.tables.samples import DISTANCES, STAYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jembench.data.sets import ImageSet, Track
    from jembench.measurements.contract import Need
    from jembench.store.results import ResultDocument

    Records = Mapping[Need, Mapping[str, NDArray[Any]]]

Images = NDArray[np.float32]

ROWS = 8  # of a grid of samples
PAIRS = 3  # rows of samples as they come, above their neighbours; one more of the nearest
CHAINS = 10  # in a picture
CONFIDENCE = "max p(y|x) of the model"
QUANTILES = (0.05, 0.5, 0.95)  # of log p(x) over the chains
HEIGHT = 2.3  # inches


def samples(
    evaluator: Generation, records: Records, name: str, track: Track, document: ResultDocument
) -> Figure | None:
    """The samples of a source, as they come; where classes are asked for, a row for each. None without samples."""
    rows = selection(evaluator, records, name)
    if not len(rows):
        return None
    record = records[evaluator.draws()[name]]
    asked, side, words = record["asked"][rows], grids.SIDE, []
    n = {name: {len(rows)}}
    if name == "conditional":
        present = sorted(set(asked.tolist()))
        side = min(side, *(int((asked == y).sum()) for y in present))
        rows = np.concatenate([rows[asked == y][:side] for y in present])
        words = [f"class {y}" for y in present]
    else:
        rows = rows[: ROWS * side]
    classes, who = seen(evaluator, records, name, track)
    labels, below = marks(classes[rows], record["confidence"][rows], who, CONFIDENCE)
    about = "samples, a row for each class that was asked for" if words else f"{name} samples, as they come"
    return grids.grid(
        _images(record["image"][rows], track),
        side=side,
        head="\n".join([plots.caption([document], n), *filter(None, [about, below])]),
        rows=words,
        labels=labels,
    )


def seen(evaluator: Generation, records: Records, name: str, track: Track) -> tuple[NDArray[np.int64], str]:
    """The class ``(N,)`` that is seen in each sample of a source, and by whom: -1 where nobody knows the classes."""
    look, draw = (records.get(needs[name]) for needs in (evaluator.looks(), evaluator.draws()))
    assert draw is not None
    if look is not None and look["class_logits"].shape[1] == track.classes:
        return look["class_logits"].argmax(1).astype(np.int64), evaluator.extractor.name
    return draw.get("seen", np.full(len(draw["image"]), -1)).astype(np.int64), "the model"


def marks(
    classes: NDArray[np.int64], scores: NDArray[Any], who: str, score: str, form: str = "{:.2f}"
) -> tuple[list[str], str]:
    """Words below images, and what they mean; none where neither class nor score is known.

    Args:
        classes: the class ``(N,)`` that is seen in each image, or -1.
        scores: a score ``(N,)`` of each image, or NaN.
        who: by whom the class is seen.
        score: what the score is called.
        form: how a score is written.

    >>> marks(np.array([3, 5]), np.array([0.987, np.nan]), "digits-ref", "max p(y|x)")
    (['3: 0.99', '5'], 'below: class by digits-ref, max p(y|x)')
    """
    labels = []
    for y, value in zip(classes.tolist(), scores.astype(float).tolist(), strict=True):
        words = form.format(value).replace("-", "−")
        labels.append(": ".join([*([str(y)] if y >= 0 else []), *([words] if np.isfinite(value) else [])]))
    means = [*([f"class by {who}"] if (classes >= 0).any() else []), *([score] if np.isfinite(scores).any() else [])]
    return (labels, f"below: {', '.join(means)}") if means else ([], "")


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


def neighbours(
    evaluator: Generation, records: Records, train: ImageSet, track: Track, document: ResultDocument
) -> Figure | None:
    """Fresh samples, each above its nearest training image; None without samples."""
    rows = pairs(evaluator, records)
    if rows is None:
        return None
    record = records[evaluator.draws()["fresh"]]
    own = _images(record["image"], track)
    classes, who = seen(evaluator, records, "fresh", track)
    words: list[str] = []
    labels: list[str] = []
    images: list[Images] = []
    side = min(grids.SIDE, len(rows.first))
    parts = [("samples", part) for part in np.array_split(rows.first, max(1, len(rows.first) // side))]
    for first, part in [*parts, ("closest", rows.closest)]:
        those = part[:side]
        index = rows.neighbour[those]
        images += [own[those], train.images[index].astype(np.float32) / np.float32(train.levels - 1)]
        words += [first, "training"]
        above, _ = marks(classes[those], record["confidence"][those], who, CONFIDENCE)
        below, _ = marks(train.labels[index].astype(np.int64), rows.distance[those], "", "", "{:.3g}")
        labels += [*(above or [""] * len(those)), *below]
    _, means = marks(classes[rows.first], record["confidence"][rows.first], who, CONFIDENCE)
    n = {"fresh": {int((rows.neighbour >= 0).sum())}, "train": {len(train)}}
    about = [
        "samples above nearest training images; closest: of all samples",
        "; ".join(filter(None, [means, f"of training images: class, distance by {evaluator.extractor.name}"])),
    ]
    head = "\n".join([plots.caption([document], n), *about])
    return grids.grid(np.concatenate(images), side=side, head=head, rows=words, labels=labels)


class Pairs(NamedTuple):
    """Samples to be looked at beside the training.

    Attributes:
        first: row indices of the first samples.
        closest: row indices of the samples with the nearest neighbours, ascending in distance.
        neighbour: index of the training image nearest to each row ``(N,)``; -1 where the sample is left out.
        distance: distance ``(N,)`` to that image, in features of the extractor; NaN where the sample is left out.
    """

    first: NDArray[np.int64]
    closest: NDArray[np.int64]
    neighbour: NDArray[np.int64]
    distance: NDArray[np.float64]


def pairs(evaluator: Generation, records: Records) -> Pairs | None:
    """The samples and their neighbours; None without samples."""
    looks, rows = evaluator.looks(), selection(evaluator, records, "fresh")
    if not len(rows) or looks["train"] not in records:
        return None
    features = [records[looks[name]]["features"].astype(np.float64) for name in ("fresh", "train")]
    index, distance = nearest(features[0][rows], features[1], 1)
    neighbour, far = np.full(len(features[0]), -1), np.full(len(features[0]), np.nan)
    neighbour[rows], far[rows] = index[:, 0], distance[:, 0]
    side = min(grids.SIDE, len(rows))
    first = rows[: max(1, min(PAIRS, len(rows) // side)) * side]
    return Pairs(first, rows[_order(distance[:, 0])[:side]], neighbour, far)


def chains(records: Records, track: Track, document: ResultDocument) -> Figure | None:
    """The same chains, one a column, at 0, K, 5 K and 20 K steps; None without chains."""
    record = records.get(TRAJECTORIES)
    if record is None:
        return None
    steps = int(record["steps"][0])
    images = [_images(record[f"image_{mark}"][:CHAINS], track) for mark in MARKS]
    looks = [times(steps).index(mark * steps) for mark in MARKS]
    classes, density = (record[name][:CHAINS, looks].T.ravel() for name in ("seen", "log_density"))
    labels, below = marks(classes.astype(np.int64), density, "the model", "log p(x) + c in nats", "{:z.1f}")
    words = ["0 steps", *(f"{'K' if mark == 1 else f'{mark} K'} = {mark * steps}" for mark in MARKS[1:])]
    about = "fresh chains, a column each, after so many steps; K: those of the training"
    return grids.grid(
        np.nan_to_num(np.concatenate(images), nan=1.0),
        side=len(images[0]),
        head="\n".join([plots.caption([document], {"chains": {len(record["index"])}}), *filter(None, [about, below])]),
        rows=words,
        labels=labels,
    )


def energy(evaluator: Chains, records: Records, document: ResultDocument) -> Figure | None:
    """log p(x) along the chains, and of the distance at the marks; None without chains."""
    record = records.get(TRAJECTORIES)
    if record is None:
        return None
    steps = int(record["steps"][0])
    with plots.blank(style.PAGE, HEIGHT, (1, 2), width_ratios=[1.5, 1]) as (figure, (axis, right)):
        plots.head(figure, plots.caption([document], {"chains": {len(record["index"])}}))
        trace = band(record["log_density"])
        x = np.array(times(steps)) / max(steps, 1)
        plots.decorate(axis, f"fresh chains, K = {steps}", "steps / K", "log p(x) + c, nats")
        axis.fill_between(
            x,
            trace[0],
            trace[2],
            color=style.COLOURS[0],
            alpha=0.2,
            linewidth=0,
            label="log p(x), 5 to 95 % of the chains",
        )
        axis.plot(x, trace[1], color=style.COLOURS[0], label="median")
        axis.set_xscale("symlog", linthresh=1, linscale=0.8)
        axis.set_xticks(MARKS, [str(mark) for mark in MARKS])
        axis.minorticks_off()
        for mark in MARKS[1:]:
            axis.axvline(mark, color=style.GREY, linewidth=0.8, linestyle=":", zorder=1)
        axis.set_xlim(0, MARKS[-1] * 1.08)
        _distances(right, evaluator, document)
        plots.legend(figure)
    return figure


def band(log_density: NDArray[Any]) -> NDArray[np.float64]:
    """Quantiles ``(3, T)`` over the chains that are finite at a time; NaN where none is."""
    columns = [column[np.isfinite(column)] for column in log_density.astype(np.float64).T]
    return np.array([np.quantile(c, QUANTILES) if len(c) else [np.nan] * len(QUANTILES) for c in columns]).T


def _distances(axis: Axes, evaluator: Chains, document: ResultDocument) -> None:
    """The distance to the training images at the marks, with its intervals."""
    who, distance = evaluator.extractor.name, evaluator.extractor.distance
    metrics = [document.metric(f"{mark}K/{who}/{distance}") for mark in MARKS]
    title = DISTANCES[distance][0]
    plots.decorate(axis, f"{title}, {who}", "steps", f"{title} to the training images")
    points = {place: metric for place, metric in enumerate(metrics) if metric is not None and metric.value is not None}
    for place, metric in points.items():
        plots.point(axis, float(place), metric, {"color": style.COLOURS[0], "marker": "o"})
    line = [metric.value or 0.0 for metric in points.values()]
    axis.plot(list(points), line, color=style.COLOURS[0])
    if 1 in points:
        limit = STAYS * float(points[1].value or 0)
        words = f"{STAYS:g} × {title} at K"
        axis.axhline(limit, color=style.GREY, linewidth=0.8, linestyle="--", label=words)
    axis.set_xticks(range(len(MARKS)), ["0", *("K" if mark == 1 else f"{mark} K" for mark in MARKS[1:])])
    axis.set_xlim(-0.3, len(MARKS) - 0.7)
    plots.spread(
        axis, "y", (end for metric in points.values() for end in (metric.value, metric.low) if end is not None)
    )


def _images(flat: NDArray[Any], track: Track) -> Images:
    return flat.reshape(-1, *track.shape).astype(np.float32)


def _order(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.argsort(values, kind="stable")
