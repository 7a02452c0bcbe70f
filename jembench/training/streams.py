"""Streams: the batches of a training run, labelled and unlabelled, with the recipe's augmentation and noise.

Every process of a team draws for the whole batch from a generator in the same state, and keeps its own part.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional

from jembench.data.sets import ImageSet
from jembench.ground import seeding
from jembench.ground.identity import let_go
from jembench.ground.shares import Share
from jembench.models.recipes import DataPart
from jembench.types import UserError


class Streams:
    """Draws from the training images.

    Args:
        images: the training split.
        part: the ``[data]`` part of the recipe: which labels may be used, augmentation and noise.
        classes: number of classes K.
        share: the part of every batch that this process computes.
        device: torch device that the images are kept on.
        dequantise: whether images get the uniform noise of one grey level that a normalised density needs.

    Raises:
        UserError: if a class has no labelled example, or fewer than the recipe wants.
    """

    def __init__(
        self,
        images: ImageSet,
        part: DataPart,
        *,
        classes: int,
        share: Share,
        device: torch.device,
        dequantise: bool = False,
    ) -> None:
        self.part = part
        self.share = share
        integers = images.images if images.images.dtype == np.uint8 else images.images.astype(np.int32)
        self.images = torch.tensor(
            integers, device=device
        )  # integers: the whole set as floats takes four times as much
        let_go(images.images)
        self.levels = images.levels
        self.labels = torch.from_numpy(images.labels).to(device)
        self.labelled = torch.from_numpy(labelled(images.labels, part, classes=classes)).to(device)
        self.cell = 1 / (images.levels - 1) if dequantise else 0.0

    def pixels(self, index: Tensor) -> Tensor:
        """Training images by their index ``(B,)`` as floats in [0, 1]."""
        return self.images[index].float() / (self.levels - 1)

    def of_labels(self, generator: Generator) -> tuple[Tensor, Tensor]:
        """Images ``(B, C, H, W)`` whose class ``(B,)`` is known."""
        draw = torch.randint(len(self.labelled), (self.share.total,), generator=generator)
        index = self.labelled[draw.to(self.images.device)]
        part = self.part
        x = self._augmented(index, generator, shift=part.shift, flip=part.flip, noise=part.noise)
        return x, self.share.of(self.labels[index])

    def of_density(self, generator: Generator, *, with_labels: bool) -> tuple[Tensor, Tensor | None]:
        """Images for log p(x), of all training images; for log p(x|y) only those whose class is known, with it."""
        if with_labels:
            draw = torch.randint(len(self.labelled), (self.share.total,), generator=generator)
            index = self.labelled[draw.to(self.images.device)]
        else:
            index = torch.randint(len(self.images), (self.share.total,), generator=generator).to(self.images.device)
        part = self.part
        shift = part.shift if part.shift_density is None else part.shift_density
        flip = part.flip if part.flip_density is None else part.flip_density
        noise = part.noise if part.noise_density is None else part.noise_density
        x = self._augmented(index, generator, shift=shift, flip=flip, noise=noise)
        return x, self.share.of(self.labels[index]) if with_labels else None

    def _augmented(self, index: Tensor, generator: Generator, *, shift: int, flip: bool, noise: float) -> Tensor:
        x = shifted(self.pixels(index), shift, padding=self.part.padding, generator=generator)
        if flip:
            mirror = (torch.rand(len(x), generator=generator) < 0.5).to(x.device)
            x = torch.where(mirror[:, None, None, None], x.flip(3), x)
        x = self.share.of(x)
        if self.cell > 0:
            uniform = torch.rand((len(index), *x.shape[1:]), generator=generator)
            x = x + self.cell * (self.share.of(uniform).to(x) - 0.5)
        if noise > 0:
            x = x + noise * self.share.noise_like(x, generator)
        return x


def labelled(labels: NDArray[np.int64], part: DataPart, *, classes: int) -> NDArray[np.int64]:
    """Indices of the examples whose label the run may use, ``labels_per_class`` of every class.

    Raises:
        UserError: if a class has too few.
    """
    indices = []
    for y in range(classes):
        members = np.flatnonzero(labels == y)
        count = part.labels_per_class if part.labels_per_class is not None else max(1, len(members))
        if len(members) < count:
            raise UserError(f"class {y} has {len(members)} labelled training examples, the recipe needs {count}")
        order = seeding.permutation(part.labels_seed or 0, "labels", y, n=len(members))
        indices.append(members[order[:count]])
    return np.sort(np.concatenate(indices))


def shifted(x: Tensor, most: int, *, padding: Literal["zero", "reflect"] = "zero", generator: Generator) -> Tensor:
    """Images ``(B, C, H, W)`` moved by up to ``most`` pixels each way; zeros come in, or their mirror image."""
    if most == 0:
        return x
    count, _, height, width = x.shape
    padded = functional.pad(x, (most,) * 4, mode="constant" if padding == "zero" else padding)
    offset = torch.randint(2 * most + 1, (2, count), generator=generator).to(x.device)
    rows = offset[0][:, None] + torch.arange(height, device=x.device)
    columns = offset[1][:, None] + torch.arange(width, device=x.device)
    index = torch.arange(count, device=x.device)
    return padded.permute(0, 2, 3, 1)[index[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
