"""A folder of pictures, in its whole depth, by the order of their names (pillow).

Names that begin with a dot and ``__MACOSX`` are left out; links are followed, once. A picture is shown as viewers show
it (EXIF orientation), without its transparency; of an animation it is the first frame. Pictures of more than 8 bits a
colour are refused rather than cut.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jembench.types import UserError

DOCUMENTS = {".pdf", ".eps", ".ps", ".wmf", ".emf", ".mpg", ".mpeg"}  # what pillow opens and is no picture
HIDDEN = ("__MACOSX", "Thumbs.db", "desktop.ini")
START = 64  # bytes that tell how deep a picture is
PNG_DEPTH = 24  # place of the bits a colour in a PNG
TIFF_DEPTH = 258  # tag of the bits a colour in a TIFF

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """The pictures of a folder, not read yet.

    Attributes:
        paths: files of the pictures, by the order of their names.
        classes: names of the folders at the top that hold them, in order; empty where some lie beside these.
        words: what was left out, in words; empty if nothing was.
    """

    paths: tuple[Path, ...]
    classes: tuple[str, ...]
    words: str

    def label(self, path: Path, folder: Path) -> int:
        """The class of a picture by the folder at the top that holds it; -1 without classes."""
        return self.classes.index(path.relative_to(folder).parts[0]) if self.classes else -1


def found(folder: Path, what: str) -> Pictures:
    """The pictures in a folder.

    Raises:
        UserError: for a link that leads nowhere.
    """
    suffixes = _suffixes()
    paths, others = [], Counter[str]()
    for path in _files(folder, what):
        if path.suffix.lower() in suffixes:
            paths.append(path)
        else:
            others[path.suffix.lower() or "without a suffix"] += 1
    paths.sort()
    tops = ordered({path.relative_to(folder).parts[0] for path in paths if len(path.relative_to(folder).parts) > 1})
    classes = tuple(tops) if all(len(path.relative_to(folder).parts) > 1 for path in paths) else ()
    words = ""
    if others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        words = f"{what}: files in {folder} that are no pictures are left out: {kinds}"
    return Pictures(tuple(paths), classes, words)


def ordered(names: Iterable[str]) -> list[str]:
    """Names of classes in order: numbers by their value, so that 2 comes before 10, others by their letters.

    >>> ordered({"10", "2", "1"}), ordered({"b", "10", "a"})
    (['1', '2', '10'], ['10', 'a', 'b'])
    """
    words = list(names)
    numbers = all(name.isdecimal() for name in words)
    return sorted(words, key=lambda name: (int(name), name) if numbers else (0, name))


def read(path: Path, what: str) -> Bytes:
    """A picture ``(H, W, C)`` of 0..255, C = 1 or 3.

    Raises:
        UserError: if it cannot be read, or has more than 8 bits a colour.
    """
    from PIL import Image, ImageOps

    try:
        with path.open("rb") as file:
            start = file.read(START)
        with Image.open(path) as picture:
            if deep(start, picture):
                raise _too_deep(path, what)
            upright = ImageOps.exif_transpose(picture)
            grey = upright.mode in ("1", "L", "LA")
            pixels = np.asarray(upright.convert("L" if grey else "RGB"), dtype=np.uint8)
    except UserError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{what}: {path} is no picture that can be read ({error})") from error
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def fitted(image: Bytes, shape: tuple[int, int, int], crop: int = 0) -> Bytes:
    """An image ``(H, W, C)`` as one of a track ``(C, H, W)``: the middle of it, resized (antialiased, bilinear).

    Args:
        image: values 0..255, C = 1 or 3.
        shape: shape of the images of the track; colours are made grey, or grey repeated.
        crop: side of the square in the middle that is cut out before; 0 for all of the image.
    """
    from PIL import Image

    channels, height, width = shape
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    picture = picture.convert("L" if channels == 1 else "RGB")
    if crop:
        x, y = (max(0, (side - crop) // 2) for side in picture.size)
        picture = picture.crop((x, y, min(picture.width, x + crop), min(picture.height, y + crop)))
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1).copy()


def _suffixes() -> set[str]:
    from PIL import Image

    return {suffix.lower() for suffix in Image.registered_extensions()} - DOCUMENTS | {".jp2", ".jfif", ".jpe"}


def _files(folder: Path, what: str) -> Iterator[Path]:
    """The files of a folder that are not hidden, those behind links too; a folder is entered once."""
    entered: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in HIDDEN)
        for name in names:
            path = Path(place) / name
            if name.startswith(".") or name in HIDDEN:
                continue
            if not path.exists():
                raise UserError(f"{what}: {path} is a link to nothing: mend it, or remove it")
            yield path


def deep(start: bytes, picture: Any) -> bool:
    """Whether a picture has more than 8 bits a colour, of which pillow would drop the lower ones without a word.

    Args:
        start: first :data:`START` bytes of its file.
        picture: the picture as pillow opens it.
    """
    if picture.mode[0] in "IF":
        return True
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return start[PNG_DEPTH] > 8
    if picture.format == "TIFF":
        return bool(max(picture.tag_v2.get(TIFF_DEPTH, (8,))) > 8)
    if start[:2] in (b"P2", b"P3", b"P5", b"P6"):
        numbers = [word for word in start.split(b"\n") if not word.startswith(b"#")]
        values = b" ".join(numbers).split()[1:4]
        return len(values) == 3 and values[2].isdigit() and int(values[2]) > 255
    return False


def _too_deep(path: Path, what: str) -> UserError:
    return UserError(f"{what}: {path} has more than 8 bits a colour: convert it first")
