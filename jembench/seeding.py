"""Randomness by name: every random draw comes from a stream keyed by what it is for.

A stream is named by a tuple such as ``(seed, "logits", "test", 3)``. Its 128-bit hash fills the whole state of the
generator, so two names never share a stream (``torch.Generator.manual_seed`` keeps 32 bits of a seed only) and a
number does not depend on the number of workers, on the order of the work or on an interruption.

Integers for data sets come straight from SHAKE-256, in integer arithmetic: the same on every platform and under
every version of every library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from jembench.identity import canonical

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

Key = str | int

_WORDS = 624  # of the Mersenne Twister's state
_STATE_BYTES = 5056  # of torch's serialised CPU generator: a header of 24 bytes, the words as uint64, normal caches


def _key128(key: tuple[Key, ...]) -> bytes:
    return hashlib.sha256(canonical(list(key))).digest()[:16]


def _stream(key: tuple[Key, ...], size: int) -> bytes:
    return hashlib.shake_256(_key128(key)).digest(size)


def generator(*key: Key) -> torch.Generator:
    """A torch CPU generator whose whole state (624 words) is drawn from the 128-bit hash of ``key``.

    Raises:
        RuntimeError: if torch's generator state no longer has the known layout.
    """
    import torch

    result = torch.Generator()
    state = result.get_state().numpy().copy()
    if state.size != _STATE_BYTES:
        raise RuntimeError(f"torch generator state has {state.size} bytes, not {_STATE_BYTES}: seeding must be adapted")
    state[8:12].view(np.int32)[0] = 1  # "left": the next draw makes a new block of words from these
    state[16:24].view(np.uint64)[0] = 0  # "next"
    words = np.frombuffer(_stream(key, 4 * _WORDS), dtype="<u4").astype(np.uint64)
    state[24 : 24 + 8 * _WORDS] = words.view(np.uint8)
    result.set_state(torch.from_numpy(state))
    return result


@contextmanager
def forked(*key: Key) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python by ``key``; their states come back afterwards.

    Our code draws from generators that it is given; third-party code that draws from the global ones runs in here.
    """
    import random

    import torch

    words = _stream(key, 16)
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    # Asking a GPU that nobody uses for its state would start it.
    gpu: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if gpu else []):
        torch.random.set_rng_state(generator(*key).get_state())
        if gpu:
            torch.cuda.manual_seed_all(int.from_bytes(words[:8], "little"))
        np.random.seed(np.frombuffer(words, dtype="<u4"))  # noqa: NPY002
        random.seed(words)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)


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
        words = np.frombuffer(_stream(key, 4 * draws), dtype="<u4").astype(np.int64)
        accepted = words[words < limit]
        if accepted.size >= count:
            return accepted[:count] % high
        draws *= 2


def permutation(*key: Key, n: int) -> NDArray[np.int64]:
    """A fixed random order of ``range(n)``: positions sorted by 64 random bits each."""
    words = np.frombuffer(_stream(key, 8 * n), dtype="<u8")
    return np.argsort(words, kind="stable").astype(np.int64)
