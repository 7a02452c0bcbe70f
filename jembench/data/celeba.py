"""The photographs of CelebA, read from the archive as it was published, and made as small as those of a track."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CROP = 140  # side of the centre crop of an aligned photograph (178x218)
SIZE = 32
REPORT_EVERY = 5000  # photographs between two words of progress
PARTS = {"test": "2", "all": "012"}  # what the parts of a split are called in the partition

LOG = logging.getLogger("jembench")


def photographs(archive: Path, partition: Path, *, split: str, view: str) -> NDArray[np.uint8]:
    """The photographs of a split, ``(N, H, W, 3)``, in the order of the partition; none is held twice.

    Args:
        archive: the ``.zip`` of the photographs.
        partition: the text that names the part of every photograph.
        split: a key of :data:`PARTS`.
        view: a key of :data:`VIEWS`.

    Raises:
        ValueError: if the photographs have several shapes.
    """
    rows = [line.split() for line in partition.read_text(encoding="ascii").splitlines() if line.strip()]
    names = [name for name, part in rows if part in PARTS[split]]
    images = np.empty((0, SIZE, SIZE, 3), dtype=np.uint8)
    with ZipFile(archive) as content:
        for number, name in enumerate(names):
            if number and number % REPORT_EVERY == 0:
                LOG.info("%s of %s photographs read", number, len(names))
            with content.open(f"{archive.stem}/{name}") as file, Image.open(file) as picture:
                image = VIEWS[view](picture.convert("RGB"))
            if not number:
                images = np.empty((len(names), *image.shape), dtype=np.uint8)
            if image.shape != images.shape[1:]:  # numpy would spread some of them over the row
                raise ValueError(f"{name} has shape {image.shape}, the others have {images.shape[1:]}")
            images[number] = image
    return images


def _crop(picture: Any) -> NDArray[np.uint8]:
    x, y = (picture.width - CROP) // 2, (picture.height - CROP) // 2
    square = picture.crop((x, y, x + CROP, y + CROP))
    return np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.uint8)


def _resize(picture: Any) -> NDArray[np.uint8]:
    short = min(picture.size)
    size = tuple(SIZE * side // short for side in picture.size)
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.uint8)


VIEWS: dict[str, Callable[[Any], NDArray[np.uint8]]] = {"crop": _crop, "resize": _resize}
