"""A user's own OOD set: ``name=PATH``, made into images of a track.

- a folder of pictures, in its whole depth, by the order of their names (pillow);
- an ``.npz`` or ``.npy`` file of integers: its ``images``, ``x`` or ``data``, or its only array, ``(N, H, W)``,
  ``(N, H, W, C)`` or ``(N, C, H, W)``, 0..255 (other ranges are refused rather than guessed), never unpickled;
- ``torchvision:NAME:FOLDER``, a data set of torchvision that lies in the folder (nothing is downloaded), its test
  part, or all of it where it has no parts;
- the name of an entry point of the group ``jembench.ood``: a function without arguments that returns such an array.

Images of another size or number of colours are resized (antialiased, bilinear), made grey or repeated, and rounded to
the track's grey levels: a score must not tell them by how they are stored. They count as neither near nor far. They
are then put in a fixed shuffled order, like every source, so that ``--limit`` takes a random sample of them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jembench.data import arrays
from jembench.data.sets import ImageSet, Source, Track
from jembench.ground import guard, seeding
from jembench.types import UserError, unknown

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
GROUP = "jembench.ood"
TORCHVISION = "torchvision:"
LEVELS = 256
KEYS = ("images", "x", "data")

Bytes = NDArray[np.uint8]


def source(name: str, origin: str, track: Track) -> Source:
    """The description of a user's set: it is read once, for its hash.

    Args:
        name: name of the set in tables.
        origin: path of a folder or file, ``torchvision:NAME:FOLDER``, or the name of an entry point.
        track: track whose shape and grey levels the images are brought to.

    Raises:
        UserError: for a name that cannot be one or that the track has, or a set that cannot be read.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", name):
        raise UserError(f"OOD set {name!r}: a name is made of letters, digits, '.', '_' and '-', at most 40")
    if name in {other.name for other in track.sources} | {"mean", "near", "far"}:
        raise UserError(f"OOD set {name!r}: track {track.name} has that name already: choose another")
    images = load(name, origin, track)
    digest = images.sha256
    return Source(name, "ood", len(images), digest, about=f"of the user: {origin}", origin=origin)


def extended(track: Track, sets: Mapping[str, str]) -> Track:
    """A track with OOD sets of the user: name -> origin.

    Raises:
        UserError: see :func:`source`.
    """
    for name, origin in sets.items():
        track = replace(track, sources=(*track.sources, source(name, origin, track)))
    return track


def load(name: str, origin: str, track: Track) -> ImageSet:
    """The images of a user's set in their fixed shuffled order, without labels.

    Raises:
        UserError: if they cannot be read, or there are none.
    """
    raw = _read(name, str(origin))
    if not len(raw):
        raise UserError(f"OOD set {name!r}: {origin} holds no images")
    images = np.stack([_fitted(image, track.shape) for image in raw])
    order = seeding.permutation("user-ood", n=len(images))
    values = np.rint(images[order] * ((track.levels - 1) / (LEVELS - 1)))
    kind = np.uint8 if track.levels <= LEVELS else np.uint16
    return ImageSet(values.astype(kind), np.full(len(images), -1, dtype=np.int64), track.levels)


def _read(name: str, origin: str) -> list[Bytes]:
    """Images ``(H, W, C)``, C = 1 or 3."""
    path = Path(origin)
    if origin.startswith(TORCHVISION):
        return _torchvision(name, origin)
    if path.is_dir():
        return _folder(name, path)
    if path.suffix in (".npz", ".npy"):
        return _arrays(name, _from_numpy(name, path))
    if path.exists():
        raise UserError(f"OOD set {name!r}: {origin} is neither a folder of pictures nor .npz nor .npy")
    entry = next(iter(metadata.entry_points(group=GROUP, name=origin)), None)
    if entry is None:
        names = ", ".join(sorted(metadata.entry_points(group=GROUP).names)) or "none"
        raise UserError(
            f"OOD set {name!r}: {origin} is no folder, no file and no entry point of {GROUP} (known: {names})"
        )
    with guard.guarded(f"OOD set {name!r}: entry point {origin!r} fails"):
        array = np.asarray(entry.load()())
    return _arrays(name, array)


def _folder(name: str, folder: Path) -> list[Bytes]:
    from PIL import Image

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    pictures = []
    for path in paths:
        try:
            with Image.open(path) as picture:
                if picture.mode[0] in "IF":
                    raise UserError(f"OOD set {name!r}: {path} has more than 8 bits a colour: convert it first")
                grey = picture.mode in ("1", "L", "LA")
                pictures.append(np.asarray(picture.convert("L" if grey else "RGB"), dtype=np.uint8))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"OOD set {name!r}: {path} is no picture that can be read ({error})") from error
    return [image if image.ndim == 3 else image[:, :, None] for image in pictures]


def _torchvision(name: str, origin: str) -> list[Bytes]:
    """The test part of a data set of torchvision, whose own checksums guard its files."""
    from torchvision import datasets

    kind, _, folder = origin.removeprefix(TORCHVISION).partition(":")
    if kind not in datasets.__all__:
        raise unknown(f"torchvision data set of OOD set {name!r}:", kind, datasets.__all__)
    constructor = getattr(datasets, kind)
    parameters = inspect.signature(constructor).parameters
    if {"classes", "background"} & set(parameters):
        raise UserError(f"OOD set {name!r}: torchvision's {kind} has no test part")
    options: dict[str, Any] = {"root": folder} if "root" in parameters else {}
    options |= {"train": False} if "train" in parameters else {"split": "test"} if "split" in parameters else {}
    with guard.guarded(f"OOD set {name!r}: torchvision's {kind} cannot be read from {folder!r}"):
        data_set = constructor(**options)
        pictures = [data_set[i][0] for i in range(len(data_set))]
        colours = [
            np.asarray(picture if picture.mode == "L" else picture.convert("RGB"), dtype=np.uint8)
            for picture in pictures
        ]
    return [image if image.ndim == 3 else image[:, :, None] for image in colours]


def _from_numpy(name: str, path: Path) -> NDArray[Any]:
    with guard.guarded(f"OOD set {name!r}: {path} cannot be read"), arrays.opened(path) as content:
        if isinstance(content, np.ndarray):
            return content
        with content:
            key = next((key for key in KEYS if key in content.files), None)
            if key is None and len(content.files) != 1:
                raise UserError(
                    f"OOD set {name!r}: {path} holds {', '.join(content.files) or 'nothing'}: call the images 'images'"
                )
            array: NDArray[Any] = content[key or content.files[0]]
            return array


def _arrays(name: str, array: NDArray[Any]) -> list[Bytes]:
    """Images of an array whose axes are told by their lengths."""
    if not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"OOD set {name!r}: needs integers 0..255, not {array.dtype}: multiply by 255 and round")
    if array.size and (array.min() < 0 or array.max() >= LEVELS):
        raise UserError(f"OOD set {name!r}: needs integers 0..255, not {array.min()}..{array.max()}")
    if array.ndim == 3:
        array = array[..., None]
    elif array.ndim == 4 and array.shape[3] not in (1, 3) and array.shape[1] in (1, 3):
        array = array.transpose(0, 2, 3, 1)
    if array.ndim != 4 or array.shape[3] not in (1, 3) or 0 in array.shape[1:]:
        raise UserError(f"OOD set {name!r}: images are (N, H, W), (N, H, W, C) or (N, C, H, W), not {array.shape}")
    return list(array.astype(np.uint8))


def _fitted(image: Bytes, shape: tuple[int, int, int]) -> Bytes:
    """An image ``(H, W, C)`` as one of the track ``(C, H, W)``."""
    from PIL import Image

    channels, height, width = shape
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    picture = picture.convert("L" if channels == 1 else "RGB")
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1).copy()
