"""Corrupted copies of test images: CIFAR-10-C and CIFAR-100-C, as published, or a folder like theirs.

Hendrycks & Dietterich (ICLR 2019, arXiv 1903.12261): a file ``NAME.npy`` for every corruption, uint8 ``(5 N, H, W,
3)``, N images at severity 1, then at 2 and so on, and ``labels.npy``, ``(5 N,)`` or ``(N,)``. They are at
zenodo.org/records/2535967 and 3555552. Arrays are mapped from disk, never unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jembench.data.sets import ImageSet, Source, Track
from jembench.ground import guard, seeding
from jembench.types import UserError

START = "corruption:"  # before the origin of such a source
LABELS = "labels"
SEVERITIES = 5
WHENCE = "CIFAR-10-C is at zenodo.org/records/2535967, CIFAR-100-C at zenodo.org/records/3555552"


def names(folder: Path) -> tuple[str, ...]:
    """The corruptions that a folder has.

    Raises:
        UserError: if it has none, or no labels.
    """
    stems = tuple(sorted(path.stem for path in folder.glob("*.npy") if path.stem != LABELS))
    if not stems or not (folder / f"{LABELS}.npy").is_file():
        raise UserError(f"--corruptions {folder}: no NAME.npy with {LABELS}.npy is in it; {WHENCE}")
    return stems


def sources(folder: Path, track: Track) -> tuple[Source, ...]:
    """The sources of a folder, ``NAME-1`` to ``NAME-5`` for every corruption.

    Raises:
        UserError: if there are none, or the images are not those of the track.
    """
    folder = folder.expanduser().resolve()
    copies = []
    for name in names(folder):
        for severity in range(1, SEVERITIES + 1):
            origin = f"{START}{severity}:{name}:{folder}"
            images = load(origin, track)
            about = f"{name} at severity {severity}"
            copies.append(Source(f"{name}-{severity}", "shift", len(images), images.sha256, about=about, origin=origin))
    return tuple(copies)


def load(origin: str, track: Track) -> ImageSet:
    """The images of such a source with their labels, in a fixed shuffled order, the same for every corruption.

    Raises:
        UserError: if they cannot be read, or are not of the track's shape and classes.
    """
    number, name, place = origin.removeprefix(START).split(":", 2)
    path, severity = Path(place) / f"{name}.npy", int(number)
    images, labels = _mapped(path), _mapped(Path(place) / f"{LABELS}.npy")
    channels, height, width = track.shape
    if images.dtype != np.uint8 or images.shape[1:] != (height, width, channels) or len(images) % SEVERITIES:
        shape = f"uint8 (5 N, {height}, {width}, {channels})"
        raise UserError(f"{path}: is {images.dtype} {images.shape}, track {track.name} needs {shape}")
    n = len(images) // SEVERITIES
    if (
        labels.dtype.kind not in "iu"
        or labels.shape not in ((n,), (len(images),))
        or not 0 <= labels.min() <= labels.max() < track.classes
    ):
        raise UserError(f"{Path(place) / LABELS}.npy: {labels.dtype} {labels.shape} are no classes of {n} images")
    order = seeding.permutation("corruptions", n=n)
    block = images[(severity - 1) * n : severity * n][order].transpose(0, 3, 1, 2)
    values = np.rint(block * ((track.levels - 1) / 255)).astype(np.uint8)
    start = (severity - 1) * n if len(labels) > n else 0
    return ImageSet(values, labels[start : start + n][order].astype(np.int64), track.levels)


def _mapped(path: Path) -> NDArray[Any]:
    with guard.guarded(f"{path}: not a readable array"):
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
