r"""Validation: what a model in training can do, on data that are neither trained on nor in any table.

- ``accuracy``, ``nll``, ``brier``, ``ece`` (15 equal-width bins) on the validation split;
- ``auroc_log_px``, ``auroc_max_py``, ``auroc_mass`` against OOD images made here (:func:`outliers`);
- ``log_px`` on the validation split and ``gap``, its difference to the outliers', in nats.

The outliers are made from **training** images and are of no kind that a track's table has: ``shuffled`` pixels, and
``mosaics`` of quadrants from images of other classes. A criterion turns these numbers into one to be maximised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jembench.data.sets import ImageSet
from jembench.ground import seeding
from jembench.metrics.auroc import auroc
from jembench.metrics.calibration import ece
from jembench.metrics.classification import brier, confidence, nll, prediction
from jembench.metrics.scores import PAPER
from jembench.models.recipes import SelectionPart
from jembench.types import capabilities

BATCH = 500
OUTLIERS = 180  # of each of the two kinds, at most


@dataclass(frozen=True)
class Validation:
    """The images of a validation.

    Attributes:
        images: images ``(N, C, H, W)`` of the validation split.
        labels: classes ``(N,)`` of the images.
        outliers: OOD images ``(M, C, H, W)`` of :func:`outliers`.
    """

    images: Tensor
    labels: Tensor
    outliers: Tensor

    @classmethod
    def of(cls, validation: ImageSet, train: ImageSet, *, device: torch.device) -> Validation:
        """The images of a validation from the two splits of a track."""
        arrays = (validation.pixels(), validation.labels, outliers(train))
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))

    def measure(self, model: Any) -> dict[str, float]:
        """All numbers that the model can give, by name; it must be in evaluation mode."""
        inside, outside = _columns(model, self.images), _columns(model, self.outliers)
        values: dict[str, float] = {}
        if "logits" in inside:
            labels = self.labels.cpu().numpy()
            logits = inside["logits"]
            correct = prediction(logits) == labels
            values["accuracy"] = float(correct.mean())
            values["nll"] = float(nll(logits, labels).mean())
            values["brier"] = float(brier(logits, labels).mean())
            values["ece"] = ece(confidence(logits), correct)
        for score in PAPER:
            (read,) = score.reads
            if read.column in inside:
                values[f"auroc_{score.name}"] = auroc(
                    score.compute(inside[read.column]), score.compute(outside[read.column])
                )
        if "log_density" in inside:
            values["log_px"] = float(inside["log_density"].mean())
            values["gap"] = values["log_px"] - float(outside["log_density"].mean())
        return values


def _columns(model: Any, images: Tensor) -> dict[str, Any]:
    """Logits, log density and the norm of its gradient, as the measurements record them."""
    able = capabilities(model)
    parts: dict[str, list[Tensor]] = {}
    for x in torch.split(images, BATCH):
        if "classifier" in able:
            with torch.no_grad():
                parts.setdefault("logits", []).append(model.logits(x))
        if "density" in able:
            x = x.clone().requires_grad_()
            density = model.log_density(x)
            (slope,) = torch.autograd.grad(density.sum(), x)
            parts.setdefault("log_density", []).append(density.detach())
            parts.setdefault("gradient_norm", []).append(slope.flatten(1).norm(dim=1))
    return {name: torch.cat(part).float().cpu().numpy() for name, part in parts.items()}


def outliers(train: ImageSet) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Float images ``(M, C, H, W)``: shuffled pixels and mosaics, from the first images of the training split."""
    x = train.pixels(0, OUTLIERS)
    count, channels, height, width = x.shape
    shuffles = x.reshape(count, channels, -1).copy()
    for i in range(count):
        shuffles[i] = shuffles[i][:, seeding.permutation("validation", "shuffled", i, n=height * width)]
    mosaics = x.copy()
    for number, (rows, columns) in enumerate(((0, 1), (1, 0), (1, 1)), start=1):
        other = seeding.permutation("validation", "mosaics", number, n=count)
        part = (slice(None), slice(None), _half(rows, height), _half(columns, width))
        mosaics[part] = x[other][part]
    labels = train.labels[:count]
    donors = np.stack([labels[seeding.permutation("validation", "mosaics", k, n=count)] for k in (1, 2, 3)])
    strange = (donors != labels).all(0)
    return np.concatenate([shuffles.reshape(x.shape), mosaics[strange]])


def _half(second: int, size: int) -> slice:
    return slice(size // 2, size) if second else slice(0, size // 2)


def merit(values: dict[str, float], part: SelectionPart) -> float | None:
    """What the criterion maximises; None where nothing is compared (``last``) or the checkpoint is out."""
    if part.criterion == "last":
        return None
    if part.criterion == "accuracy":
        return values["accuracy"]
    if part.criterion == "nll":
        return -values["nll"]
    if part.criterion == "likelihood":
        return values["log_px"]
    return values["accuracy"] if values["ece"] <= part.max_ece else None
