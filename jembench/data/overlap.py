"""Overlap: images that are in two sets, to the last bit or slightly changed.

Two images are **near** each other if their thumbnails, at most 8 pixels a side, without the mean of each colour and of
unit length, have a product c of at least .99, and 1 - c is at most half of that of the next best image: noise of a few
per cent, another brightness or contrast, JPEG; not what all images of a simple set have in common. A shifted or a
mirrored image is another one. Of the official splits no test image of digits is near a training image, and 27 of the
10,000 of CIFAR-10 are: it is known to have such pairs (Barz & Denzler, J. Imaging 2020, arXiv 1902.00423).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jembench.types import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jembench.data.sets import ImageSet, Track

SIDE = 8  # pixels of a thumbnail
NEAR = 0.99
RATIO = 0.5
BLOCK = 500  # images that are compared at a time
TRAINING = ("train", "validation", "ood-base")  # roles of what models may have been trained on


@dataclass(frozen=True)
class Overlap:
    """How many images of a set are in another.

    Attributes:
        n: number of images of the set.
        exact: number of them that are in the other, to the last bit.
        near: number of those that are not, and near one that is in it.
        twice: number of images of the set that are in the set itself before.
    """

    n: int
    exact: int
    near: int = 0
    twice: int = 0


def compare(images: ImageSet, others: Sequence[ImageSet], *, near: bool = True) -> Overlap:
    """How many images are among those of other sets, of the same shape and levels.

    Args:
        images: the set whose images are counted.
        others: the sets that they are looked for in.
        near: whether images that are slightly changed are looked for too.
    """
    prints = _prints(images)
    prints_of_others = {name for other in others for name in _prints(other)}
    exact = np.array([name in prints_of_others for name in prints], dtype=bool)
    close = np.zeros(len(prints), dtype=bool)
    if near and prints_of_others:
        thumbnails, theirs = _thumbnails(images), np.concatenate([_thumbnails(other) for other in others])
        for start in range(0, len(thumbnails), BLOCK):
            products = thumbnails[start : start + BLOCK] @ theirs.T
            best = products.argmax(axis=1)[:, None]
            first = np.take_along_axis(products, best, axis=1)[:, 0]
            np.put_along_axis(products, best, -1.0, axis=1)
            close[start : start + BLOCK] = (first >= NEAR) & (1 - first <= RATIO * (1 - products.max(axis=1)))
    return Overlap(len(prints), int(exact.sum()), int((close & ~exact).sum()), len(prints) - len(set(prints)))


def of_track(track: Track, *, near: bool = True) -> Overlap | None:
    """The test images of a track against those that models are trained on; None where these are not at hand."""
    from jembench import data

    try:
        test = data.images(track, "test")
        others = [data.images(track, source.name) for source in track.sources if source.role in TRAINING]
    except UserError:
        return None
    return compare(test, others, near=near) if others else None


def facts(images: ImageSet) -> list[str]:
    """What there is to say of a set: images a class, fewest to most; ends and mean of the pixels, in [0, 1]."""
    x, counts = images.images, np.bincount(images.labels[images.labels >= 0])
    each = "" if not counts.size else "-".join(map(str, dict.fromkeys((counts.min(), counts.max()))))
    low, high, mean = (end / (images.levels - 1) for end in (x.min(), x.max(), x.mean()))
    return [each, f"{low:.3g}..{high:.3g}", f"{mean:.3f}"]


def words(overlap: Overlap, track: str) -> str:
    """What must be known of a track whose test images are shared; empty if nothing."""
    parts = []
    if overlap.exact:
        parts.append(f"{overlap.exact} of {overlap.n} test images are training images too")
    if overlap.near:
        parts.append(f"{overlap.near} of {overlap.n} are nearly the same as one")
    if overlap.twice:
        parts.append(f"{overlap.twice} are there twice")
    return f"track {track}: {', '.join(parts)}" if parts else ""


def _prints(images: ImageSet) -> list[bytes]:
    """The SHA-256 of the pixels of each image."""
    return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images.images]


def _thumbnails(images: ImageSet) -> NDArray[np.float32]:
    """Thumbnails ``(N, P)`` without mean and of unit length; of flat images 0."""
    _, _, height, width = images.images.shape
    rows, columns = (_averaging(length) for length in (height, width))
    parts: list[NDArray[Any]] = []
    for start in range(0, len(images), BLOCK):
        small = np.einsum("ih,nchw,jw->ncij", rows, images.pixels(start, start + BLOCK), columns, optimize=True)
        small = (small - small.mean(axis=(2, 3), keepdims=True)).reshape(len(small), -1)
        size = np.linalg.norm(small, axis=1, keepdims=True)
        parts.append((small / np.maximum(size, 1e-6)).astype(np.float32))
    return np.concatenate(parts) if parts else np.zeros((0, 1), dtype=np.float32)


def _averaging(length: int) -> NDArray[np.float32]:
    """The matrix ``(S, length)`` that averages neighbours, S at most :data:`SIDE`."""
    side = min(SIDE, length)
    place = np.arange(length) * side // length
    matrix: NDArray[np.float32] = (place[None] == np.arange(side)[:, None]).astype(np.float32)
    matrix /= matrix.sum(axis=1, keepdims=True)
    return matrix
