"""The cache of this machine: downloads, image sets prepared to be mapped into memory, and converted checkpoints.

It lies in ``$JEMBENCH_CACHE``, or else in ``jembench`` in the user's cache folder; all of it can be removed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jembench.types import UserError


def root() -> Path:
    """The folder of the cache; it need not exist."""
    if folder := os.environ.get("JEMBENCH_CACHE"):
        return Path(folder).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache").absolute() / "jembench"


def downloads() -> Path:
    """Where published data sets are kept."""
    return root() / "data"


def prepared(key: str) -> Path:
    """The folder of a prepared image set."""
    return root() / "prepared" / key[:32]


def converted(key: str) -> Path:
    """The folder of a converted checkpoint (:mod:`jembench.zoo.official`)."""
    return root() / "converted" / key[:32]


def zoo() -> Path:
    """Where downloaded weights of other libraries are kept (:mod:`jembench.zoo.named`)."""
    return root() / "models"


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock ``name`` of the cache: others that want it wait, so that work is done once.

    It only saves work: files are written whole or not at all, with or without it. Where a file system has no locks,
    nobody waits. A process that dies lets go of it.

    Raises:
        UserError: if the cache cannot be written.
    """
    path = root() / "locks" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
    except OSError as error:
        raise UserError(
            f"the cache {root()} cannot be written ({error.strerror or error}): set JEMBENCH_CACHE to a folder that can"
        ) from error
    with file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
