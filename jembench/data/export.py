"""Export: an image set of a track as files that anybody's training loop reads."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jembench.ground import files
from jembench.types import UserError

if TYPE_CHECKING:
    from jembench.data.sets import ImageSet

TOP = 255


def export(images: ImageSet, output: Path) -> None:
    """Write images and labels to an ``.npz`` file, or to a folder of PNGs with a folder for each class.

    Pixels k of 0..L-1 become round(255 k / (L - 1)), which every reader of ours brings back to k.

    Args:
        images: the set.
        output: a path that ends in ``.npz``, or that of a folder.

    Raises:
        UserError: if there is something, or it cannot be written.
    """
    if output.exists():
        raise UserError(f"{output} is there already: choose another path, nothing is overwritten")
    pixels = np.rint(images.images * (TOP / (images.levels - 1))).astype(np.uint8).transpose(0, 2, 3, 1)
    if output.suffix.lower() == ".npz":
        content = io.BytesIO()
        np.savez_compressed(content, images=pixels, labels=images.labels)
        files.write(output, content.getvalue())
        return
    from PIL import Image

    width = len(str(max(0, len(pixels) - 1)))
    digits = len(str(max(0, int(images.labels.max(initial=0)))))
    with files.folder(output) as folder:
        for i, (image, y) in enumerate(zip(pixels, images.labels, strict=True)):
            place = folder / f"{y:0{digits}}" if y >= 0 else folder
            place.mkdir(exist_ok=True)
            Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(place / f"{i:0{width}}.png")
