"""Randomness by name: every random draw comes from a stream keyed by what it is for.

A stream is named by a tuple such as ``(seed, "logits", "test", 3)``. Its 128-bit hash fills the whole state of the
generator, so two names never share a stream (``torch.Generator.manual_seed`` keeps 32 bits of a seed only) and a
number does not depend on the number of workers, on the order of the work or on an interruption.

Integers for data sets come straight from SHAKE-256, in integer arithmetic: the same on every platform and under
every version of every library.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from jembench.ground.identity import canonical

if TYPE_CHECKING:
    from numpy.typing import NDArray

Key = str | int


def _key128(key: tuple[Key, ...]) -> bytes:
    return hashlib.sha256(canonical(list(key))).digest()[:16]


def stream(key: tuple[Key, ...], size: int) -> bytes:
    """So many bytes of SHAKE-256 of a key."""
    return hashlib.shake_256(_key128(key)).digest(size)


def rng(*key: Key) -> np.random.Generator:
    """A numpy generator (PCG64) seeded with the 128-bit hash of ``key``, for resampling."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(_key128(key), "little")))


def integers(*key: Key, count: int, high: int) -> NDArray[np.int64]:
    """``count`` uniform integers in [0, high), by rejection from SHAKE-256: exact, and the same everywhere.

    >>> integers("example", count=5, high=17).tolist()
    [4, 10, 6, 13, 1]

    Raises:
        ValueError: if ``high`` is not in 1..2**31.
    """
    if not 1 <= high <= 2**31:
        raise ValueError(f"high must be in 1..2**31, not {high}")
    limit = 2**32 - 2**32 % high
    draws = 2 * count + 64  # at least half of the words are accepted
    while True:
        words = np.frombuffer(stream(key, 4 * draws), dtype="<u4").astype(np.int64)
        words = words[words < limit]
        if words.size >= count:
            return words[:count] % high
        draws *= 2


def permutation(*key: Key, n: int) -> NDArray[np.int64]:
    """A fixed random order of ``range(n)``: positions sorted by 64 random bits each."""
    words = np.frombuffer(stream(key, 8 * n), dtype="<u8")
    return np.argsort(words, kind="stable").astype(np.int64)
