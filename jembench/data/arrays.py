"""Arrays in the files of others: numpy's formats, never a pickle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jembench.ground import guard
from jembench.types import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.lib.npyio import NpzFile

MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY")  # of an .npz, an empty one, and an .npy file
SUFFIXES = (".npz", ".npy")
IMAGES = ("images", "x", "data")  # names of the member with the images, the best first
LABELS = ("labels", "y", "targets", "label")
COLOURS = (1, 3)
TOP = 255.0
DARK = 127  # a set whose brightest pixel is below it is likely on another scale


@dataclass(frozen=True)
class Range:
    """The two ends of the pixels of an array, such as 0 and 255.

    Attributes:
        low: value of black.
        high: value of white.
    """

    low: float = 0.0
    high: float = TOP

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


BYTES = Range()


@contextmanager
def opened(path: Path) -> Iterator[NDArray[Any] | NpzFile]:
    """The array or the arrays of a file, while it is open.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is of neither format: numpy itself takes any other for a pickle, and tells how to load it.
    """
    with path.open("rb") as file:
        if not file.peek(max(map(len, MAGIC))).startswith(MAGIC):
            raise ValueError("damaged, or neither .npz nor .npy")
        yield np.load(file, allow_pickle=False)


def member(content: Mapping[str, Any], name: str) -> NDArray[Any]:
    """A member of an ``.npz``.

    Raises:
        TypeError: if it is no array: an archive holds whatever somebody put there.
        ValueError: if it is one of objects.
    """
    try:
        array = content[name]
    except ValueError as error:
        raise ValueError(f"its {name!r}: {error}") from error
    if not isinstance(array, np.ndarray):
        raise TypeError(f"its {name!r} is not an array: the archive was not written by numpy alone")
    return array


def read(
    path: Path, what: str, pixels: Range | None = None, *, labelled: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """Images ``(N, H, W, C)`` of 0..255 and, where there are some, labels ``(N,)`` of an ``.npz`` or ``.npy`` file.

    Args:
        path: of the file: its ``images``, ``x`` or ``data``, or its only array; its ``labels``, ``y`` or ``targets``.
        what: what it is to be, for the message.
        pixels: the range of the pixels, if it was said.
        labelled: whether labels are asked for.

    Raises:
        UserError: if it cannot be read, or holds no images.
    """
    with guard.guarded(f"{what}: {path} cannot be read"), opened(path) as content:
        if isinstance(content, np.ndarray):
            return images(content, f"{what}: {path}", pixels), None
        with content:
            names = content.files
            key = next((key for key in IMAGES if key in names), None)
            label = next((key for key in LABELS if key in names), None)
            members = [name for name in names if name != label]
            if key is None and len(members) != 1:
                raise UserError(f"{what}: {path} holds {', '.join(names) or 'nothing'}: call the images 'images'")
            array = images(member(content, key or members[0]), f"{what}: {path}", pixels)
            labels = member(content, label) if labelled and label is not None else None
    if labels is None:
        return array, None
    if labels.shape != (len(array),) or labels.dtype.kind not in "iu":
        raise UserError(f"{what}: {path}: {label!r} is {labels.dtype} {labels.shape}, needs integers ({len(array)},)")
    return array, labels.astype(np.int64)


def images(array: NDArray[Any], what: str, pixels: Range | None = None) -> NDArray[np.uint8]:
    """Images ``(N, H, W, C)`` of 0..255 from an array whose axes are told by their lengths.

    Args:
        array: ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)``, C = 1 or 3.
        what: where it is from, for the message.
        pixels: the range of its numbers; 0..255 by default, and refused if that cannot be meant.

    Raises:
        UserError: for other shapes and types, one image without its axis, or a range that is another.
    """
    array = _with_axes(array, what)
    if array.dtype.kind not in "iuf":
        raise UserError(f"{what}: needs numbers of pixels, not {array.dtype}")
    if not array.size:
        return array.astype(np.uint8)
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UserError(f"{what}: holds pixels that are NaN or infinite")
    if pixels is None:
        pixels = _guessed(array, low, high, what)
    if low < pixels.low or high > pixels.high:
        raise UserError(f"{what}: its pixels are {low:g}..{high:g}, not {pixels}")
    if pixels == BYTES and array.dtype.kind in "iu":
        return array.astype(np.uint8)
    unit = (array.astype(np.float64) - pixels.low) / (pixels.high - pixels.low)
    return np.rint(unit * TOP).astype(np.uint8)


def _guessed(array: NDArray[Any], low: Any, high: Any, what: str) -> Range:
    """0..255, or an error that says what else it looks like: no range is guessed."""
    likely = next((each for each in ("0..1", "-1..1", "0..16", "0..255") if _holds(each, low, high)), None)
    name = what.rpartition("/")[2].rpartition(": ")[2]
    advice = f"say which range it is, {name}@{likely or '0..255'}"
    if array.dtype.kind == "f":
        raise UserError(f"{what}: needs integers 0..255, not {array.dtype} {low:g}..{high:g}: {advice}")
    if low < BYTES.low or high > BYTES.high:
        raise UserError(f"{what}: needs integers 0..255, not {low}..{high}: {advice}")
    if high < DARK:
        raise UserError(
            f"{what}: its pixels are {low}..{high}, which would be nearly black of 0..255: {advice} (@0..255 if it is "
            "as dark as that)"
        )
    return BYTES


def _holds(words: str, low: Any, high: Any) -> bool:
    bottom, _, top = words.partition("..")
    return bool(float(bottom) <= low and high <= float(top))


def _with_axes(array: NDArray[Any], what: str) -> NDArray[Any]:
    """An array as ``(N, H, W, C)``."""
    if array.ndim == 3 and (array.shape[2] in COLOURS or array.shape[0] in COLOURS) and array.size:
        raise UserError(
            f"{what}: {array.shape} is one image, or grey ones of which one axis is {min(array.shape)}: add the axis "
            "that is missing, array[None] for one image, array[..., None] for grey ones"
        )
    if array.ndim == 3:
        array = array[..., None]
    elif array.ndim == 4 and array.shape[3] not in COLOURS and array.shape[1] in COLOURS:
        array = array.transpose(0, 2, 3, 1)
    if array.ndim != 4 or array.shape[3] not in COLOURS or 0 in array.shape[1:]:
        raise UserError(f"{what}: images are (N, H, W), (N, H, W, C) or (N, C, H, W), C = 1 or 3, not {array.shape}")
    return array
