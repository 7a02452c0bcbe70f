"""Arrays in the files of others: numpy's formats, never a pickle."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.lib.npyio import NpzFile
    from numpy.typing import NDArray

MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY")  # of an .npz, an empty one, and an .npy file


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
