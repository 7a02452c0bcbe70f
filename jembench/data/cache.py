"""The cache of this machine: downloads, image sets prepared to be mapped into memory, and converted checkpoints.

It lies in ``$JEMBENCH_CACHE``, or else in ``jembench`` in the user's cache folder; all of it can be removed.
"""

from __future__ import annotations

import os
from pathlib import Path


def root() -> Path:
    """The folder of the cache; it need not exist."""
    if given := os.environ.get("JEMBENCH_CACHE"):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "jembench"


def downloads() -> Path:
    """Where published data sets are kept."""
    return root() / "data"


def prepared(key: str) -> Path:
    """The folder of a prepared image set."""
    return root() / "prepared" / key[:32]


def converted(key: str) -> Path:
    """The folder of a converted checkpoint (:mod:`jembench.official`)."""
    return root() / "converted" / key[:32]


def zoo() -> Path:
    """Where downloaded weights of other libraries are kept (:mod:`jembench.named`)."""
    return root() / "models"
