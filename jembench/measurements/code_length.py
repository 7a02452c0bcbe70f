r"""Measurement ``code_length``: how many bits a lossless compressor needs for an image, whatever the model.

The image is the integers :math:`k = \text{pixel} \cdot (L - 1)` of L grey levels, as PNG orders them: rows of pixels
with their channels side by side, in 1 byte each, 2 (high one first) where L > 256. Every one of PNG's five filters
(none, sub, up, average, Paeth; ISO 15948, section 9) predicts all bytes from their neighbours, DEFLATE (RFC 1951) packs
the differences, and the shortest stream counts, without container or checksum. Which filter it was takes 2.3 bits more,
for every image.

**zlib's version.** RFC 1951 fixes what a stream means and not which one a compressor writes: at one level, zlib,
zlib-ng and the builds of vendors find different matches and so write streams of different lengths. The strategy is
therefore ``Z_RLE``: its only matches are repetitions of the byte before, which need no search, so that little is left
for an implementation to choose. A test pins the lengths of known images, so that a zlib that chooses otherwise is seen.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.attacks.passes import ModelFacts, Passes
from jembench.measurements.contract import costs
from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator

    Bytes = NDArray[np.uint8]
    Whole = NDArray[np.int16]

MICRO = 1e-6  # seconds for a number of an image, on one core
LEVEL, MEMORY, RAW = 9, 8, -15  # of zlib: RAW is a stream without header, with the largest window


@dataclass(frozen=True)
class CodeLength:
    """Column ``code_length (B,)``, in bits."""

    name: ClassVar[str] = "code_length"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset()
    finite: ClassVar[frozenset[str]] = frozenset({"code_length"})

    def passes(self, facts: ModelFacts) -> Passes:
        """None: five streams, in about a microsecond for a number of the image."""
        return Passes(seconds=MICRO * facts.pixels)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """The model is not asked."""
        images = batch.images.detach().cpu().numpy().astype(np.float64)
        whole = np.rint(images * (batch.levels - 1)).clip(0, batch.levels - 1).astype(np.int64)
        lengths = [code_length(image, batch.levels) for image in whole]
        return {"code_length": np.array(lengths, dtype=np.int64), **costs(len(whole), 0)}


def code_length(image: NDArray[np.integer[Any]], levels: int) -> int:
    """Bits of the shortest stream of integers ``(C, H, W)`` in 0..levels-1, a multiple of 8.

    Raises:
        ValueError: for more than 65,536 levels.
    """
    if levels > 1 << 16:
        raise ValueError(f"a pixel must fit in two bytes, not have {levels} levels")
    rows = np.ascontiguousarray(image.transpose(1, 2, 0).astype(">u2" if levels > 256 else np.uint8))
    raw = rows.reshape(len(rows), -1).view(np.uint8)
    step = raw.shape[1] // image.shape[2]  # bytes of a pixel
    return 8 * min(_deflated(residual.tobytes()) for residual in filters(raw, step))


def _deflated(data: bytes) -> int:
    """Bytes of the stream."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, RAW, MEMORY, zlib.Z_RLE)
    return len(packer.compress(data)) + len(packer.flush())


def filters(raw: Bytes, step: int) -> tuple[Bytes, ...]:
    """PNG's five filters of bytes ``(H, N)`` with ``step`` bytes a pixel, modulo 256; beyond the edges all is 0."""
    x = raw.astype(np.int16)
    left, above, corner = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    left[:, step:], above[1:], corner[1:, step:] = x[:, :-step], x[:-1], x[:-1, :-step]
    guesses = (np.zeros_like(x), left, above, (left + above) // 2, _paeth(left, above, corner))
    return tuple((x - guess).astype(np.uint8) for guess in guesses)


def _paeth(left: Whole, above: Whole, corner: Whole) -> Whole:
    """Whichever neighbour is nearest to left + above - corner; of equal ones the first in this order."""
    p = left + above - corner
    a, b, c = np.abs(p - left), np.abs(p - above), np.abs(p - corner)
    prediction: Whole = np.where((a <= b) & (a <= c), left, np.where(b <= c, above, corner))
    return prediction
