"""Identity: canonical JSON and hashes, the names under which numbers are kept."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jembench.types import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
    """Hexadecimal SHA-256 over dtype, shape and little-endian bytes of arrays, in order."""
    import numpy as np

    digest = hashlib.sha256()
    for array in arrays:
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(canonical([little.dtype.str, list(little.shape)]))
        digest.update(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
