"""How often bands part two equal models: simulated columns of accuracy, ECE and AUROC, on images that all models share.

    python tests/experiments/ranks.py [columns]

Prints, for each metric and number of equal models, the share of columns in which any two of them share no band; at
most .05 is claimed.
"""

import sys

import numpy as np

from jembench.metrics.auroc import auroc_estimate
from jembench.metrics.calibration import ece
from jembench.metrics.intervals import wilson
from jembench.metrics.metric import Metric
from jembench.pages.boards.board import Cell
from jembench.pages.boards.ranking import Entrant, ranked
from jembench.pages.pairs.side import Side

IMAGES = 360


def entrant(metric, sources):
    """A model with one metric and the scalars behind it."""
    side = Side("model", None, None)
    side.__dict__.update(metrics={metric.id: metric}, sources=sources)
    side.__dict__["document"] = Document
    return Entrant(side, metric, Cell(metric), 1)


class Document:
    """What a test reads of a document: a track without known OOD sets, no noise."""

    track, seed = "simulated-v1", 0

    class protocol:
        name, sources = "v1", {}


def accuracy(rng, shared):
    """A model that is right on 90 % of the images, the same ones as the others more often than not."""
    right = shared + rng.normal(size=IMAGES) < np.sqrt(2) * 1.2816
    k = int(right.sum())
    metric = Metric("accuracy", "test", "", k / IMAGES, *wilson(k, IMAGES), "wilson", {"test": IMAGES}, "higher")
    return entrant(metric, {"test": {"label": np.ones(IMAGES, int), "prediction": right.astype(int)}})


def calibration(rng, shared):
    """A calibrated model, as sure as the others of the same images."""
    confidence = 1 / (1 + np.exp(-(1.5 + 0.7 * shared + 0.7 * rng.normal(size=IMAGES))))
    right = rng.random(IMAGES) < confidence
    metric = Metric("ece15", "test", "raw", ece(confidence, right), n={"test": IMAGES}, better="lower")
    label = np.ones(IMAGES, int)
    return entrant(metric, {"test": {"label": label, "prediction": right.astype(int), "confidence": confidence}})


def outliers(rng, shared):
    """A model whose scores of outliers lie one standard deviation below those of the test images."""
    test = shared + rng.normal(size=IMAGES)
    far = np.roll(shared, 7)[:100] + rng.normal(size=100) - np.sqrt(2)
    found = auroc_estimate(test, far)
    n = {"test": IMAGES, "far": 100}
    metric = Metric("auroc", "far", "mass", found.value, found.low, found.high, found.method, n, "higher")
    return entrant(metric, {"test": {"mass": test}, "far": {"mass": far}})


def main():
    columns = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    for build in (accuracy, calibration, outliers):
        for count in (2, 4, 10):
            rng = np.random.default_rng(count)
            parted = 0
            for _ in range(columns if build is accuracy else columns // 4):
                shared = rng.normal(size=IMAGES)
                cells, _ = ranked([build(rng, shared) for _ in range(count)])
                parted += not set.intersection(*(set(cell.band) for cell in cells))
            print(
                f"{build.__name__:12} {count:3} models: {parted / (columns if build is accuracy else columns // 4):.3f}"
            )


if __name__ == "__main__":
    main()
