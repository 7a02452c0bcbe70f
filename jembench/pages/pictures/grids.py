"""Grids of images, with words beside the rows, below the images and above all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jembench.pages.pictures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 8  # images in a row of a grid
TILE = 0.7  # inches that the side of an image has at most
GAP = 2  # pixels between images
EDGE = 0.04  # inches around the grid, and between it and words


@style.settings()
def grid(
    images: NDArray[np.floating[Any]],
    *,
    side: int = SIDE,
    head: str = "",
    rows: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> Figure:
    """Images in rows; every pixel is a square of whole pixels, so that small images can be seen, of 8 bits.

    It is one column of a paper wide, or two where the labels need it.

    Args:
        images: images ``(n, C, H, W)`` in [0, 1], C = 1 or 3, row by row of the grid.
        side: number of images in a row.
        head: words above the grid.
        rows: words to the left of each row; no margin if empty.
        labels: words below each image, n of them; no room if empty.
    """
    from matplotlib.figure import Figure

    columns = min(len(images), side)
    margin = EDGE + (max(map(style.width, rows)) + EDGE if rows else 0.0)
    widest = max(map(style.width, labels), default=0.0)
    for page in (style.COLUMN, style.PAGE):
        tile = min(max(TILE, widest + EDGE), (page - margin - EDGE) / columns)
        if tile >= widest + EDGE:
            break
    large = max(images.shape[2:])
    factor = max(1, -int(-style.DPI * tile // large))
    dpi = (factor * large + GAP) / tile
    below = round((style.height(max(labels, key=style.height)) + EDGE) * dpi) if labels else GAP
    canvas = _tiled(images, side, factor, below)
    top = style.wrapped(head, page - 2 * EDGE, style.TEXT)
    above = style.height(top, style.TEXT) + (2 if head else 1) * EDGE
    left, upper, edge = (round(inches * dpi) for inches in (margin, above, EDGE))
    width, height = round(page * dpi), upper + canvas.shape[0] + edge
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi)
    axis = figure.add_axes(
        (left / width, edge / height, canvas.shape[1] / width, canvas.shape[0] / height), frameon=False
    )
    axis.set_axis_off()
    axis.imshow(canvas, interpolation="none", aspect="auto")
    figure.text(EDGE / page, 1 - EDGE * dpi / height, top, size=style.TEXT, va="top", linespacing=style.LEADING)
    down, right = images.shape[2] * factor + below, images.shape[3] * factor + GAP
    for place, words in enumerate(rows):
        middle = place * down + images.shape[2] * factor / 2
        axis.text(-EDGE * dpi, middle, words, ha="right", va="center", multialignment="right")
    for place, words in enumerate(labels):
        at = (place % side + 0.5) * right - GAP / 2, (place // side) * down + images.shape[2] * factor + GAP
        axis.text(*at, words, ha="center", va="top", linespacing=style.LEADING)
    return figure


def _tiled(images: NDArray[np.floating[Any]], side: int, factor: int, below: int) -> NDArray[np.uint8]:
    """The images side by side as ``(height, width, 3)``, ``below`` pixels under each row; white where there is none."""
    n, channels, height, width = images.shape
    levels = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    large = levels.repeat(factor, axis=1).repeat(factor, axis=2).repeat(3 // channels, axis=3)
    down, right = height * factor + below, width * factor + GAP
    canvas = np.full((-(-n // side) * down, min(n, side) * right - GAP, 3), 255, dtype=np.uint8)
    for i, image in enumerate(large):
        y, x = i // side * down, i % side * right
        canvas[y : y + height * factor, x : x + width * factor] = image
    return canvas
