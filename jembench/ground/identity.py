"""Identity: canonical JSON and hashes, the names under which numbers are kept."""

from __future__ import annotations

import hashlib
import json
import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jembench.types import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 2**22  # bytes that are hashed at a time


def canonical(value: Any) -> bytes:
    """The one JSON text of ``value``: sorted keys, no spaces, no NaN.

    >>> canonical({"b": 1, "a": [0.5, None]})
    b'{"a":[0.5,null],"b":1}'

    Raises:
        ValueError: if ``value`` holds NaN or an infinity.
        TypeError: if it holds something that is not JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True).encode()


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def identity(value: Any) -> str:
    """Hexadecimal SHA-256 of the canonical JSON of ``value``."""
    return sha256(canonical(value))


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes; ``UserError`` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def array_sha256(*arrays: NDArray[np.generic]) -> str:
    """Hexadecimal SHA-256 over dtype, shape and little-endian bytes of arrays, in order; no array is copied whole."""
    import numpy as np

    digest = hashlib.sha256()
    for array in arrays:
        little = array.dtype.newbyteorder("<")
        digest.update(canonical([little.str, list(array.shape)]))
        rows = max(1, BLOCK * len(array) // max(1, array.nbytes)) if array.ndim else 1
        blocks = (array[start : start + rows] for start in range(0, len(array), rows)) if array.ndim else (array,)
        for block in blocks:
            whole = np.ascontiguousarray(block.astype(little, copy=False))
            digest.update(whole.reshape(-1).view(np.uint8).data)
            let_go(array)
    return digest.hexdigest()


def let_go(array: NDArray[np.generic]) -> None:
    """Drop the pages of a mapped array that were read: they count as memory of the process until then.

    The system keeps them in its own cache, and reads them again when they are asked for.
    """
    mapping = array.base
    if isinstance(mapping, mmap.mmap) and not array.flags.writeable and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)  # of a private copy that was written to, it would lose what was written
