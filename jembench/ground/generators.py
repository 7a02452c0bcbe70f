"""Randomness by name for torch: generators whose whole state comes from a key (:mod:`jembench.ground.seeding`)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from jembench.ground.seeding import Key, stream

if TYPE_CHECKING:
    import torch

_WORDS = 624  # of the Mersenne Twister's state


_STATE_BYTES = 5056  # of torch's serialised CPU generator: a header of 24 bytes, the words as uint64, normal caches


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
    words = np.frombuffer(stream(key, 4 * _WORDS), dtype="<u4").astype(np.uint64)
    state[24 : 24 + 8 * _WORDS] = words.view(np.uint8)
    result.set_state(torch.from_numpy(state))
    return result


@contextmanager
def forked(*key: Key) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python by ``key``; their states come back afterwards.

    Our code draws from generators that it is given; third-party code that draws from the global ones runs in here.
    """
    import torch

    words = stream(key, 16)
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
